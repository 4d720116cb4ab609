"""Turns any functional segmenter into an equal network that layer-wise relevance can walk.

Batch norm is folded into its neighbour, dropout removed, nested models flattened, normalizations
taken apart, the last activation stripped. What is left consists of a few kinds of layers, which
`kerasgan.explain.canonical_layers.kind_of` tells apart.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.carry import ADVICE, carry, carry_with_constants, keep_opaque
from kerasgan.explain.carry_tf import carry_tf
from kerasgan.explain.fold import fold_batch_norms, strip_last_activation
from kerasgan.explain.forward import Forward, throwaway_variables
from kerasgan.explain.network import Network, Op, Refusal, refusal
from kerasgan.models.outputs import Reading, read_output, refuse_labels

__all__ = ["Canonical", "canonize", "check_reading"]


class Canonical:
    """A network equal to a model up to its last activation, with weights that follow the model's.

    Made by `canonize`.

    Attributes:
        activation: The activation stripped from the end: "tanh", "sigmoid", "softmax",
            "hard_sigmoid", "log_softmax" or "linear" (none).
        names: Original layer name -> name of the canonical layer whose output stands for that
            layer's: `{"down_2_bn": "down_2_conv"}`. Layers of nested models also go by
            "outer/inner".
        gates: What is the gate of each product that relevance passes: name of its layer ->
            indices of its inputs.
        dtype: "float32", or "float64" for a model in float64.
        output_name: Name of its last layer.
    """

    def __init__(self, net: Network, output: Op, activation: str, name: str):
        self._ops = net.ops
        self._output = output
        self._name = name
        reached = net.receives_relevance(output)
        self.gates = dict(found for op, found in net.products.items() if op in reached)
        self.activation = activation
        self.dtype = net.dtype
        self.names = {original: op.name for original, op in net.origins.items()}
        self.output_name = output.name
        self._order: list[str] | None = None
        self._model: keras.Model | None = None

    @property
    def model(self) -> keras.Model:
        """The canonical network with the weights of now; same inputs, output logits.

        Made at the first use, because it holds a copy of all weights. Where that is not needed,
        call `build`.
        """
        if self._model is None:
            self._model = self.build()
            self.update()
        return self._model

    def build(self) -> keras.Model:
        """Builds the network anew, for `kerasgan.explain.forward.Forward` to compute with.

        Its variables hold nothing: layers know where their weights come from.
        """
        tensors: dict[Op, tf.Tensor] = {}
        for op in self._ops:
            if op.kind == "InputLayer":
                tensors[op] = keras.Input(op.shape, name=op.name, dtype=self.dtype)
                continue
            layer = op.layer(name=op.name, dtype=self.dtype, **op.config)
            inputs = [tensors[before] for before in op.inputs]
            with throwaway_variables():
                tensors[op] = layer(inputs if len(inputs) > 1 else inputs[0])
            layer.live = functools.partial(self.weights_of, op.name)
        inputs = [tensors[op] for op in self._ops if op.kind == "InputLayer"]
        model = keras.Model(inputs, tensors[self._output], name=self._name)
        self._order = [layer.name for layer in model.layers]
        return model

    def weights(self) -> list[tf.Tensor]:
        """Computes the canonical weights from the original model's present ones.

        Pure TensorFlow operations on the original's variables: inside a `tf.function` it follows
        training with nothing rebuilt.

        Returns:
            Tensors in the order of `model.weights`.
        """
        if self._order is None:
            self.build()
        return [weight for name in self._order for weight in self.weights_of(name)]

    def weights_of(self, layer: str) -> list[tf.Tensor]:
        """Computes the weights of one layer of `model`, as `weights` does."""
        (op,) = [op for op in self._ops if op.name == layer]
        return [source() for source in op.sources]

    def update(self) -> None:
        """Copies the original's present weights into `model`."""
        for variable, value in zip(self.model.weights, self.weights()):
            variable.assign(value)


def canonize(
    model: keras.Model,
    *,
    gates: Mapping[str, int | tuple[int, ...]] | None = None,
    check: bool = True,
) -> Canonical:
    """Turns a functional model into an equal network that layer-wise relevance can walk.

    Args:
        model: A functional (or built sequential) `keras.Model` of one output, channels last. It is
            neither changed nor copied: the result reads its variables. Models in mixed precision
            are computed in float32.
        gates: For products whose gate cannot be told: name of the Multiply layer -> index of the
            input that is the gate (a tuple of indices if it has more than two inputs).
        check: Whether to compare the result with the model on random input.

    Returns:
        The canonical network.

    Raises:
        KerasganError: If the model is not functional, has several outputs, holds NaN or a layer
            that cannot be carried over (the message names it and says what to do), or if the
            check fails.

    Example:
        >>> import kerasgan as kg
        >>> canonical = canonize(kg.models.unet(size=32, filters=2, levels=2))
        >>> canonical.activation, canonical.names["down_1_bn_a"]
        ('sigmoid', 'down_1_conv_a')
    """
    check_model(model)
    declared = check_form(gates)
    double = any(weight.dtype == tf.float64 for weight in model.weights)
    dtype = "float64" if double else "float32"
    net = Network(dtype, declared)
    inputs = [
        net.add(keras.layers.InputLayer, [], name=name, shape=tuple(tensor.shape[1:]))
        for name, tensor in zip(model.input_names, model.inputs)
    ]
    net.origins.update({op.name: op for op in inputs})
    (output,) = trace(net, model, inputs)
    check_gates(net)
    net.keep_only_before(output)
    output, activation = strip_last_activation(net, output, reading_of(model))
    output = fold_batch_norms(net, output)
    reached = net.receives_relevance(output)
    for op in [op for op in net.ops if op in reached]:
        if op.problem is not None:
            raise op.problem
        if op.squashes(("softmax", "log_softmax")):
            raise KerasganError(
                f"Layer '{op.name}' (softmax) cannot be explained: inside a network a softmax may "
                "only compute a gate. Apply it by keras.layers.Multiply (argument 'gates' says "
                "which input it is), or explain a model that ends there"
            )
    net.name_uniquely()
    canonical = Canonical(net, output, activation, f"{model.name}_canonical")
    if check or net.guessed:
        compare(model, canonical, net.guessed)
    return canonical


def reading_of(model: keras.Model) -> Reading | None:
    """Returns what a model's output means; None where no mask can be read from it."""
    try:
        return read_output(model)
    except KerasganError:
        return None


def check_reading(model: keras.Model, canonical: Canonical) -> None:
    """Raises unless a canonical network gives the logits of classes that exclude each other."""
    reading = reading_of(model)
    if reading is None:
        return
    refuse_labels(model, "an explanation")
    if canonical.activation == "linear" != reading.activation:
        raise KerasganError(
            f"Explanations are of logits, but '{model.name}' gives what a {reading.activation} "
            f"makes of them, and '{canonical.output_name}', where it ends, cannot be taken off. "
            "Build a model that ends in the logits, or in keras.layers.Activation or Softmax "
            "applied to them"
        )


def check_model(model: keras.Model) -> None:
    if not tf.executing_eagerly():
        raise KerasganError(
            "A network is made ready for explanations outside of tf.function and with eager "
            "execution on: make the Explainer there, and call it inside"
        )
    if not isinstance(model, keras.Model):
        raise KerasganError(
            f"Argument 'model' must be a functional keras.Model. Received: {type(model).__name__}"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise KerasganError(
            f"Argument 'model' must be built. Received: Sequential '{model.name}' without input "
            "shape; call model.build((None, height, width, channels)) first"
        )
    if not is_functional(model):
        raise KerasganError(
            "Argument 'model' must be a functional keras.Model. Received: "
            f"{type(model).__name__}; build it as keras.Model(inputs, outputs)"
        )
    if len(model.outputs) != 1:
        raise KerasganError(
            f"Argument 'model' must have one output. Received: '{model.name}' with "
            f"{len(model.outputs)}; explain keras.Model(model.input, model.outputs[0]), or another"
        )
    for layer in model._flatten_layers(recursive=True, include_self=False):
        for weight in layer._trainable_weights + layer._non_trainable_weights:
            if weight.dtype.is_floating and not np.isfinite(tf.reduce_sum(weight)):
                raise refusal(
                    layer,
                    f"its weight '{weight.name}' holds NaN or infinity",
                    "Load weights from before training diverged",
                )


def is_functional(model) -> bool:
    plain = type(model).call.__qualname__ in ("Functional.call", "Sequential.call")
    return plain and getattr(model, "_is_graph_network", False)


def check_form(gates: Any) -> dict[str, tuple[int, ...]]:
    """Returns gates as tuples of indices by name."""
    if not isinstance(gates, (Mapping, type(None))):
        raise KerasganError(
            "Argument 'gates' must be a dict from products to inputs that are gates, such as "
            f"{{'multiply': 0}}. Received: {gates!r}"
        )
    declared = {}
    for name, indices in (gates or {}).items():
        several = indices if isinstance(indices, (list, tuple)) else [indices]
        if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in several):
            raise KerasganError(
                f"Argument 'gates' must hold indices of inputs, counted from 0. Received: "
                f"{indices!r} for {name!r}"
            )
        declared[str(name)] = tuple(int(i) for i in several)
    return declared


def check_gates(net: Network) -> None:
    products = [path for path, _ in net.products.values()]
    short = [path.rsplit("/", 1)[-1] for path in products]
    for name in net.gates:
        if name not in products and name not in short:
            known = sorted({*products, *short})
            near = difflib.get_close_matches(name, known, n=3) or sorted(set(products))
            which = f"such as {near}" if products else "of which it has none"
            raise KerasganError(
                f"Argument 'gates' must name products of tensors of the model, {which}. "
                f"Received: {name!r}"
            )


def trace(net: Network, model: keras.Model, inputs: list[Op]) -> list[Op]:
    """Carries over all calls inside a functional model; returns what its outputs became."""
    values = {id(tensor): op for tensor, op in zip(model.inputs, inputs)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            before = [values[id(tensor)] for tensor in node.keras_inputs]
            after = call(net, node, before)
            for tensor, op in zip(tf.nest.flatten(node.outputs), after):
                values[id(tensor)] = op
    return [values[id(tensor)] for tensor in model.outputs]


def call(net: Network, node, before: list[Op]) -> list[Op]:
    """Carries over one call of a layer or nested model."""
    layer = node.layer
    if node.call_kwargs.get("training"):
        raise refusal(
            layer,
            "it is called with training=True, so its output depends on the batch or on chance",
            "Build the model without that argument",
        )
    if is_functional(layer):
        outer, net.outer = net.outer, (*net.outer, layer.name)
        after = trace(net, layer, before)
        net.outer = outer
    elif not tf.is_tensor(node.outputs) and not hasattr(node.outputs, "shape"):
        problem = refusal(layer, "it has several outputs", ADVICE)
        places = range(len(tf.nest.flatten(node.outputs)))
        after = [keep_opaque(net, node, before, problem, place) for place in places]
    else:
        try:
            after = [(carry_tf if hasattr(layer, "symbol") else carry_layer)(net, node, before)]
        except Refusal as problem:
            after = [keep_opaque(net, node, before, problem)]
    for op, tensor in zip(after, tf.nest.flatten(node.outputs)):
        op.shape = tuple(tensor.shape[1:])
    if len(after) == 1:
        net.origins.setdefault(layer.name, after[0])
        net.origins.setdefault("/".join((*net.outer, layer.name)), after[0])
    return after


def carry_layer(net: Network, node, before: list[Op]) -> Op:
    layer = node.layer
    options = {key: value for key, value in node.call_kwargs.items() if key != "training"}
    given = tf.nest.flatten((node.call_args, options))
    if sum(value is not None and value is not False for value in given) != len(before):
        by_id = {id(tensor): op for tensor, op in zip(node.keras_inputs, before)}
        values = [by_id.get(id(value), value) for value in tf.nest.flatten(node.call_args)]
        carried = None if options else carry_with_constants(net, layer, values, layer.name)
        if carried is None:
            reason = "it is called on more than tensors of the model"
            raise refusal(layer, reason, "Leave constants and further arguments out of the call")
        return carried
    return carry(net, layer, before, layer.name)


def random_image(tensor) -> tf.Tensor:
    """Returns one random image for a model's input; a size left open is 128."""
    rng = np.random.default_rng(0)
    shape = [1, *(size or 128 for size in tensor.shape[1:])]
    whole = tensor.dtype.is_integer
    values = rng.integers(0, 256, shape) if whole else rng.uniform(-1, 1, shape)
    return tf.cast(values, tensor.dtype)


def compare(model: keras.Model, canonical: Canonical, guessed: Op | None = None) -> None:
    """Raises if model and canonical network differ on random input."""
    images = [random_image(tensor) for tensor in model.inputs]
    try:
        expected = tf.cast(model(images, training=False), canonical.dtype)
    except (ValueError, tf.errors.OpError) as error:
        raise KerasganError(
            f"Argument 'model' must run on images {[tuple(image.shape) for image in images]}. "
            f"Received: '{model.name}', which does not; give its inputs a fixed size"
        ) from error
    images = [tf.cast(image, canonical.dtype) for image in images]
    received = Forward(canonical.build(), images).logits
    if canonical.activation != "linear":
        received = keras.activations.get(canonical.activation)(received)
    compute = {layer.compute_dtype for layer in model._flatten_layers()}
    tolerance = 0.1 if compute & {"float16", "bfloat16"} else 1e-3
    same = received.shape == expected.shape
    error = float(tf.reduce_max(tf.abs(received - expected))) if same else np.inf
    scale = float(tf.reduce_max(tf.abs(expected)))
    if error <= tolerance * scale + 1e-30:
        return
    if guessed is not None:
        raise guessed.problem or KerasganError(
            f"Explanations are of logits, but '{guessed.name}' is more than a "
            f"{canonical.activation} of them. Build a model that ends in the logits, or in "
            "keras.layers.Activation or Softmax applied to them"
        )
    raise KerasganError(
        f"The canonical network of '{model.name}' differs from it by {error:.2g} on outputs up "
        f"to {scale:.2g}. A layer does something else outside training than its class "
        "says; put one of Keras' own in its place"
    )

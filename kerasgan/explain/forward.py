"""A forward pass through a canonical network on the weights that its model has at that moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import keras
import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

from kerasgan.explain.canonical_layers import kind_of

__all__ = ["Forward", "Node", "live_weights", "output_of", "throwaway_variables"]

NONNEGATIVE = ("exponential", "hard_sigmoid", "relu", "relu6", "sigmoid", "softmax", "softplus")


class Node(NamedTuple):
    """One call of one layer."""

    name: str
    layer: keras.layers.Layer
    inputs: list[tf.Tensor]
    output: tf.Tensor


class Forward:
    """A forward pass through a canonical network, every tensor of it kept.

    Args:
        network: A functional model of canonical layers.
        images: Its input, or a list of them.

    Attributes:
        images: The (first) input.
        nodes: Calls of layers in the order in which they were made.
        logits: The output.
        nonnegative: Ids of tensors known to be at least 0.
        valid: By id of a tensor, 1 where it holds pixels and 0 where it holds padding.
    """

    def __init__(self, network: keras.Model, images: tf.Tensor | list[tf.Tensor]):
        inputs = images if isinstance(images, list) else [images]
        self.images = inputs[0]
        self.nodes: list[Node] = []
        self.nonnegative: set[int] = set()
        self.valid: dict[int, tf.Tensor] = {}
        tensors = {id(tensor): value for tensor, value in zip(network.inputs, inputs)}
        seen: dict[str, int] = {}
        sources: dict[int, list[tf.Tensor]] = {}
        for depth in sorted(network._nodes_by_depth, reverse=True):
            for call in network._nodes_by_depth[depth]:
                layer = call.layer
                if isinstance(layer, keras.layers.InputLayer):
                    continue
                inputs = [tensors[id(tensor)] for tensor in call.keras_inputs]
                # weights wait, to save memory, but not for the input itself: TensorFlow may join
                # padding and convolution into one operation, which would then wait for itself
                ready = [before for tensor in inputs for before in sources.get(id(tensor), [])]
                with tf.control_dependencies(ready), live_weights(layer):
                    output = output_of(layer, inputs, self.images.dtype)
                tensors[id(call.outputs)] = output
                sources[id(output)] = inputs
                count = seen[layer.name] = seen.get(layer.name, -1) + 1
                name = f"{layer.name}:{count}" if count else layer.name
                self._note(Node(name, layer, inputs, output))
        self.logits = tensors[id(network.outputs[0])]

    def _note(self, node: Node) -> None:
        self.nodes.append(node)
        if _keeps_nonnegative(node, self.nonnegative):
            self.nonnegative.add(id(node.output))
        if kind_of(node.layer) == "routed" and len(node.inputs) == 1:
            source = node.inputs[0]
            known = self.valid.get(id(source))
            if known is not None or isinstance(node.layer, keras.layers.ZeroPadding2D):
                ones = tf.ones_like(source[:1]) if known is None else known
                self.valid[id(node.output)] = node.layer(ones)


def output_of(layer: keras.layers.Layer, inputs: list[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """Calls a layer with one input or several."""
    output = layer(inputs if len(inputs) > 1 else inputs[0])
    return tf.cast(output, dtype)  # bilinear upsampling gives float32


def _keeps_nonnegative(node: Node, known: set[int]) -> bool:
    layer, kind = node.layer, kind_of(node.layer)
    settings = getattr(layer, "settings", None)
    if settings is not None:
        return settings["negative_slope"] == 0 and settings["threshold"] >= 0
    function = getattr(getattr(layer, "activation", None), "__name__", "")
    if kind == "passed":
        return function in NONNEGATIVE
    if kind == "weighted" or type(layer).__name__ in ("Subtract", "Centre", "Opaque"):
        return False
    if getattr(layer, "interpolation", "nearest") not in ("nearest", "bilinear"):
        return False  # longer kernels overshoot
    return all(id(tensor) in known for tensor in node.inputs)


@contextlib.contextmanager
def throwaway_variables() -> Iterator[None]:
    """Makes variables created inside take no memory: their values are never used.

    Canonical networks compute with `live_weights`, and iNNvestigate puts other weights into the
    layers that it copies as soon as they are built.
    """

    def create(_next_creator, shape=None, dtype=None, name=None, trainable=True, **_):
        with tf.init_scope():
            return resource_variable_ops.UninitializedVariable(
                shape=shape, dtype=dtype or keras.backend.floatx(), name=name, trainable=trainable
            )

    with tf.variable_creator_scope(create):
        yield


@contextlib.contextmanager
def live_weights(*layers: keras.layers.Layer) -> Iterator[None]:
    """Lets layers compute with what their attribute `live` returns, in place of their variables.

    Every such block computes them anew, and they are gone after it: all at once, they would take as
    much memory as the model.

    Args:
        *layers: Layers; those without the attribute, a function that returns a tensor for each of
            their weights, are left as they are.
    """
    undo = []
    for layer in layers:
        tensors = layer.live() if hasattr(layer, "live") else []
        by_id = {id(variable): tensor for variable, tensor in zip(layer.weights, tensors)}
        for part in layer._flatten_layers():
            for name, value in list(vars(part).items()):
                if id(value) in by_id:
                    undo.append((vars(part), name, value))
                    vars(part)[name] = by_id[id(value)]
            for weights in (part._trainable_weights, part._non_trainable_weights):
                for index, value in enumerate(weights):
                    if id(value) in by_id:
                        undo.append((weights, index, value))
                        weights[index] = by_id[id(value)]
    try:
        yield
    finally:
        for owner, key, value in undo:
            owner[key] = value

"""Carries Keras layers over into operations of a canonical network, a function a kind of layer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.canonical_layers import (
    KIND_BY_CLASS,
    Affine,
    Centre,
    Deviation,
    Gate,
    Opaque,
    Rectifier,
    swish,
    with_rank,
)
from kerasgan.explain.network import BOUNDED, Network, Op, constant, once, read, refusal

__all__ = ["activate", "affine", "carry", "carry_with_constants", "gate", "is_own", "keep_opaque"]

ADVICE = (
    "Put layers in its place that can be explained ('Explain your own model' in the documentation "
    "lists them), or explain a model that ends before it. What only computes a gate may stay: "
    "argument 'gates' says which input of a product is one"
)
AVERAGE = "Use AveragePooling2D to shrink, bilinear interpolation to grow"
TRUSTED = ("keras.", "tensorflow_addons.", "kerasgan.")

# Nothing happens in these outside training, whoever wrote them.
IDENTITIES = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "FixedDropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SeededDropout",
    "SpatialDropout2D",
}
MERGING = {"Add", "Average", "Concatenate", "Maximum", "Minimum", "Subtract"}
UNCHANGED = {
    *MERGING,
    "AveragePooling2D",
    "Cropping2D",
    "ELU",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "MaxPooling2D",
    "PReLU",
    "Permute",
    "Reshape",
    "Resizing",
    "UpSampling2D",
    "ZeroPadding2D",
}
MOVING = {
    "UpSampling2D",
    "Resizing",
    *(name for name, kind in KIND_BY_CLASS.items() if kind in ("routed", "proportional")),
}
ACTIVATIONS = {
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
}


def carry(net: Network, layer: keras.layers.Layer, inputs: list[Op], name: str) -> Op:
    """Adds to `net` what equals a layer's inference, and returns the last operation.

    Args:
        net: Network under construction.
        layer: A built Keras layer.
        inputs: What it is called on.
        name: Name for the operation whose output is the layer's.

    Raises:
        KerasganError: If nothing equals it, with what to do.
    """
    if getattr(layer, "data_format", None) == "channels_first" and len(inputs[0].shape) > 1:
        raise channels_first(layer)
    for base in type(layer).__mro__:
        if base.__name__ in IDENTITIES and base is not keras.layers.Layer:
            return inputs[0]
        known = base.__name__ in CARRIERS or base.__name__ in UNCHANGED
        if known and is_own(layer, base):
            carrier: Callable = CARRIERS.get(base.__name__, functools.partial(unchanged, base))
            return carrier(net, layer, inputs, name)
    if isinstance(layer, keras.Model):
        reason = "it is a subclassed model, whose layers do not show"
        raise refusal(
            layer,
            reason,
            "Explain keras.Model(image, yours.call(image)), with image = keras.Input((height, "
            "width, channels)): there they do",
        )
    if type(layer).__name__ == "Lambda":
        reason = "a Lambda's function cannot be looked into"
    elif isinstance(layer, (keras.layers.RNN, keras.layers.Wrapper)):
        reason = "there is no rule for this wrapper or recurrent layer"
    elif type(layer).__module__.startswith(TRUSTED):
        reason = "there is no rule for it"
    else:
        reason = "it is a custom layer, for which there is no rule"
    raise refusal(layer, reason, ADVICE)


def is_own(layer: keras.layers.Layer, base: type) -> bool:
    """Whether a layer computes what this class of Keras (or tensorflow-addons) does."""
    return base.__module__.startswith(TRUSTED) and type(layer).call is base.call


def channels_first(layer: keras.layers.Layer):
    """Builds the error about channels that do not come last."""
    return refusal(
        layer,
        "its channels do not come last",
        "Build the model with data_format='channels_last' (and batch norm over the last axis) and "
        "copy the weights: kernels are the same in both",
    )


def own_config(layer: keras.layers.Layer) -> dict:
    config = layer.get_config()
    for key in ("name", "dtype", "trainable", "batch_input_shape"):
        config.pop(key, None)
    return config


def unchanged(base, net: Network, layer, inputs, name) -> Op:
    if len(inputs) == 1 and base.__name__ in MERGING:
        return inputs[0]
    if base.__name__ == "Concatenate" and layer.axis % (len(inputs[0].shape) + 1) == 0:
        raise refusal(layer, "it joins images to one batch", "Let it join along another axis")
    if getattr(layer, "interpolation", None) == "area":
        raise refusal(layer, "TensorFlow cannot go back through area interpolation", AVERAGE)
    sources = [read(weight, net.dtype) for weight in layer.weights]
    return net.add(base, inputs, own_config(layer), sources, name)


def shapes(sources) -> list[tuple]:
    return [tuple(source().shape) for source in sources]


def affine(net: Network, before: Op, scale, shift, name: str, **more) -> Op:
    """Adds `before * scale + shift`, the last two given as sources."""
    scale_shape, shift_shape = shapes([scale, shift])
    config = {"scale_shape": scale_shape, "shift_shape": shift_shape}
    return net.add(Affine, [before], config, [scale, shift], name, **more)


def activate(net: Network, before: Op, function, name: str, owner=None) -> Op:
    """Adds an activation given by name, function or layer; `owner` is the layer it belongs to."""
    if isinstance(function, keras.layers.Layer):
        return carry(net, function, [before], name)
    label = getattr(function, "__name__", function)
    label = str(label)[:-3] if str(label).endswith("_v2") else label
    label = "swish" if label == "silu" else label
    official = getattr(function, "__module__", "keras.").startswith(("keras.", "tensorflow."))
    if official and label == "linear":
        return before
    if official and label in ("relu6", "leaky_relu"):
        settings = {"max_value": 6.0} if label == "relu6" else {"negative_slope": 0.2}
        return net.add(Rectifier, [before], settings, name=name)
    if official and label in ACTIVATIONS:
        function = swish if label == "swish" else label
    elif not is_elementwise(function):
        raise refusal(owner, f"its activation '{label}' does not work element by element", ADVICE)
    return net.add(keras.layers.Activation, [before], {"activation": function}, name=name)


def is_elementwise(function: Callable) -> bool:
    """Whether changing one element of an input changes that element of the output alone."""
    values = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    changed = values.copy()
    changed[1, 2, 1, 1] += 1
    first, second = (np.asarray(function(tf.constant(v))) for v in (values, changed))
    if first.shape != values.shape:
        return False
    return np.allclose(np.where(changed == values, first - second, 0), 0, atol=1e-6)


def weighted(net, layer, before, name, kernel, base, config) -> Op:
    bias = [read(layer.bias, net.dtype)] if layer.use_bias else []
    config = {**config, "use_bias": layer.use_bias}
    op = net.add(base, [before], config, [read(kernel, net.dtype), *bias], name)
    return activate(net, op, layer.activation, f"{name}_activation", layer)


def geometry(layer) -> dict:
    keys = ("kernel_size", "strides", "padding", "dilation_rate")
    return {key: getattr(layer, key) for key in keys}


def conv(net, layer, inputs, name) -> Op:
    config = {**geometry(layer), "filters": layer.filters, "groups": layer.groups}
    config["kernel_initializer"] = "zeros"
    return weighted(net, layer, inputs[0], name, layer.kernel, keras.layers.Conv2D, config)


def conv_transpose(net, layer, inputs, name) -> Op:
    config = {**geometry(layer), "filters": layer.filters, "kernel_initializer": "zeros"}
    config["output_padding"] = layer.output_padding
    base = keras.layers.Conv2DTranspose
    return weighted(net, layer, inputs[0], name, layer.kernel, base, config)


def depthwise(net, layer, inputs, name) -> Op:
    config = {**geometry(layer), "depth_multiplier": layer.depth_multiplier}
    config["depthwise_initializer"] = "zeros"
    base = keras.layers.DepthwiseConv2D
    return weighted(net, layer, inputs[0], name, layer.depthwise_kernel, base, config)


def separable(net, layer, inputs, name) -> Op:
    config = {**geometry(layer), "depth_multiplier": layer.depth_multiplier, "use_bias": False}
    config["depthwise_initializer"] = "zeros"
    sources = [read(layer.depthwise_kernel, net.dtype)]
    first = net.add(keras.layers.DepthwiseConv2D, inputs, config, sources, name=f"{name}_depthwise")
    config = {"kernel_size": 1, "filters": layer.filters, "kernel_initializer": "zeros"}
    return weighted(net, layer, first, name, layer.pointwise_kernel, keras.layers.Conv2D, config)


def dense(net, layer, inputs, name) -> Op:
    config = {"units": layer.units, "kernel_initializer": "zeros"}
    return weighted(net, layer, inputs[0], name, layer.kernel, keras.layers.Dense, config)


def activation(net, layer, inputs, name) -> Op:
    return activate(net, inputs[0], layer.activation, name, layer)


def softmax(net, layer, inputs, name) -> Op:
    if layer.axis not in (-1, len(inputs[0].shape)):
        raise refusal(layer, f"it runs over axis {layer.axis}, not over the channels", ADVICE)
    return activate(net, inputs[0], "softmax", name)


def rectifier(net, layer, inputs, name) -> Op:
    settings = {
        "negative_slope": getattr(layer, "negative_slope", getattr(layer, "alpha", 0.0)),
        "max_value": getattr(layer, "max_value", None),
        "threshold": getattr(layer, "threshold", getattr(layer, "theta", 0.0)),
    }
    settings = {key: None if value is None else float(value) for key, value in settings.items()}
    if settings == {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}:
        return activate(net, inputs[0], "relu", name)
    return net.add(Rectifier, inputs, settings, name=name)


def over_last_axis(layer, inputs) -> None:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    rank = len(inputs[0].shape) + 1
    if [axis % rank for axis in axes] != [rank - 1]:
        raise channels_first(layer)


def batch_norm(net, layer, inputs, name) -> Op:
    over_last_axis(layer, inputs)
    dtype = net.dtype

    @once
    def scale():
        scale = tf.math.rsqrt(tf.cast(layer.moving_variance, dtype) + layer.epsilon)
        return scale if layer.gamma is None else scale * tf.cast(layer.gamma, dtype)

    @once
    def shift():
        shift = -tf.cast(layer.moving_mean, dtype) * scale()
        return shift if layer.beta is None else shift + tf.cast(layer.beta, dtype)

    return affine(net, inputs[0], scale, shift, name, foldable=True)


def group_norm(net, layer, inputs, name) -> Op:
    over_last_axis(layer, inputs)
    axes = tuple(range(1, len(inputs[0].shape) + 1))
    return normalize(net, layer, inputs[0], name, axes, layer.groups, (inputs[0].shape[-1],))


def layer_norm(net, layer, inputs, name) -> Op:
    shape = inputs[0].shape
    rank = len(shape) + 1
    axes = tuple(axis % rank for axis in layer.axis)
    kept = [shape[axis - 1] if axis in axes else 1 for axis in range(1, rank)]
    return normalize(net, layer, inputs[0], name, axes, 1, tuple(kept))


def normalize(net, layer, before, name, axes, groups, weight_shape) -> Op:
    learned = layer.gamma is not None or layer.beta is not None
    config = {"axes": axes, "groups": groups}
    centred = net.add(Centre, [before], config, name=f"{name}_centre")
    config = {**config, "epsilon": layer.epsilon}
    last = f"{name}_deviation" if learned else name
    normal = net.add(Deviation, [centred], config, name=last)
    if not learned:
        return normal

    def shaped(weight, default):
        if weight is None:
            return constant(default, net.dtype)
        return lambda: tf.reshape(tf.cast(weight, net.dtype), weight_shape)

    return affine(net, normal, shaped(layer.gamma, 1.0), shaped(layer.beta, 0.0), name)


def rescaling(net, layer, inputs, name) -> Op:
    scale, offset = layer.scale, layer.offset
    return affine(net, inputs[0], read(scale, net.dtype), read(offset, net.dtype), name)


def normalization(net, layer, inputs, name) -> Op:
    def statistic(value):
        value = tf.cast(value, net.dtype)
        return tf.reshape(value, value.shape[1:]) if value.shape.rank else value

    def deviation():
        return tf.maximum(tf.sqrt(statistic(layer.variance)), keras.backend.epsilon())

    if layer.invert:
        return affine(net, inputs[0], deviation, lambda: statistic(layer.mean), name)
    return affine(
        net,
        inputs[0],
        lambda: 1 / deviation(),
        lambda: -statistic(layer.mean) / deviation(),
        name,
    )


def spectral_norm(net, layer, inputs, name) -> Op:
    return carry(net, layer.layer, inputs, name)


def carry_with_constants(net: Network, layer, values: Sequence, name: str) -> Op | None:
    """Adds a sum, difference, mean or product of tensors of the model and of constants.

    Args:
        net: Network under construction.
        layer: The layer.
        values: What it is called on: operations, and constants as they were given.
        name: Name for the operation whose output is the layer's.

    Returns:
        The last operation; None for another layer.

    Raises:
        KerasganError: If a constant would be lined up with the images of a batch.
    """
    kinds = ("Add", "Average", "Multiply", "Subtract")
    kind = next((b.__name__ for b in type(layer).__mro__ if b.__name__ in kinds), None)
    if kind is None or not is_own(layer, getattr(keras.layers, kind)):
        return None
    ops = [value for value in values if isinstance(value, Op)]
    rank = max(len(op.shape) + 1 for op in ops)
    rank = max(rank, *(np.ndim(value) for value in values if not isinstance(value, Op)))
    constants = []
    for value in values:
        if isinstance(value, Op):
            continue
        full = with_rank(tf.cast(tf.convert_to_tensor(value), net.dtype), rank)
        into = [np.broadcast_shapes(full.shape[1:], [n or 1 for n in op.shape]) for op in ops]
        if full.shape[0] != 1 or any(len(one) != len(op.shape) for one, op in zip(into, ops)):
            raise refusal(
                layer,
                f"its constant of shape {tuple(np.shape(value))} is lined up with the images of a "
                "batch",
                f"Give it {rank} axes, the first of length 1",
            )
        constants.append(full[0])
    one, zero = constant(1.0, net.dtype), constant(0.0, net.dtype)
    if kind == "Multiply":
        product = gate(net, layer, ops, f"{name}_product") if len(ops) > 1 else ops[0]
        factor = functools.reduce(tf.multiply, constants)
        return affine(net, product, lambda: factor, zero, name)
    if kind == "Subtract":
        first = isinstance(values[0], Op)
        scale = one if first else constant(-1.0, net.dtype)
        shift = -constants[0] if first else constants[0]
        return affine(net, ops[0], scale, lambda: shift, name)
    total = net.add(keras.layers.Add, ops, name=f"{name}_sum") if len(ops) > 1 else ops[0]
    parts = len(values) if kind == "Average" else 1
    shift = sum(constants) / parts
    return affine(net, total, constant(1.0 / parts, net.dtype), lambda: shift, name)


def boundedness(net: Network, op: Op) -> int:
    """Says whether an operation's values are bounded by design, as those of gates are.

    Returns:
        2 for values of a sigmoid or softmax, or of a function that gives values from 0 to 1 for
        any input; 1 for otherwise bounded ones (tanh, ReLU6); 0 for others. They may be moved,
        mixed, scaled or shifted behind it.
    """
    if op not in net.bounded:
        net.bounded[op] = _boundedness(net, op)
    return net.bounded[op]


def _boundedness(net: Network, op: Op) -> int:
    function = op.config.get("activation")
    if op.kind == "Opaque" or callable(function):
        least, largest = extremes(net, op, 30.0)
        if least >= -1 and largest <= 1:
            return 2 if least >= 0 else 1
        moves = op.kind == "Opaque" and len(op.inputs) == 1
        moves = moves and max(map(abs, extremes(net, op, 1.0))) <= 2
        return boundedness(net, op.inputs[0]) if moves else 0
    if op.kind == "Activation":
        return 2 if op.squashes(BOUNDED) else int(function in ("tanh", "softsign"))
    if op.kind == "Rectifier":
        return int(op.config.get("max_value") is not None and not op.config.get("negative_slope"))
    if op.kind == "Affine" and not op.foldable:
        return 2 * min(boundedness(net, op.inputs[0]), 1)  # a sigmoid made of tanh or ReLU6
    if op.kind in MOVING or op.kind in ("Affine", "Gate", "Maximum", "Minimum"):
        return min(boundedness(net, before) for before in op.inputs)
    return 0


def extremes(net: Network, op: Op, size: float) -> tuple[float, float]:
    """Returns the least and largest value that a function gives for random input of this size."""
    rng = np.random.default_rng(0)
    function = op.config.get("function") or (lambda tensors: op.config["activation"](tensors[0]))
    shapes = [(2, *(n or 8 for n in before.shape)) for before in op.inputs]
    try:
        values = [rng.uniform(0 if size == 1 else -size, size, shape) for shape in shapes]
        found = np.asarray(function([tf.constant(value, net.dtype) for value in values]))
    except Exception:  # of whatever somebody's function may raise
        return -np.inf, np.inf
    return float(found.min()), float(found.max())


def gate(net: Network, layer, inputs, name) -> Op:
    """Adds a product; the gate is the input declared, else the bounded one, else the broadcast one.

    A product whose gate cannot be told is added with a problem, which counts only where relevance
    reaches it.
    """
    if len(inputs) == 1:
        return inputs[0]
    path = "/".join((*net.outer, layer.name))
    declared = net.gates.get(path, net.gates.get(layer.name))
    problem = None
    count = len(inputs)
    if declared is not None and len(set(declared) & set(range(count))) != count - 1:
        raise KerasganError(
            f"Argument 'gates' must for '{path}' leave one of its {count} inputs, counted from 0, "
            f"as the signal and name the others. Received: {declared}. "
            f"{choices_of(net, path, inputs)}"
        )
    if declared is None:
        rank = max(len(op.shape) for op in inputs)
        sizes = [(*[1] * (rank - len(op.shape)), *(n or -1 for n in op.shape)) for op in inputs]
        full = tuple(next((n for n in axis if n != 1), 1) for axis in zip(*sizes))
        bounded = [boundedness(net, op) for op in inputs]
        strong = [i for i, found in enumerate(bounded) if found == 2]
        weak = [i for i, found in enumerate(bounded) if found == 1]
        broadcast = [i for i, size in enumerate(sizes) if size != full]
        choices = [sorted({*strong, *broadcast})]
        choices += [broadcast] if len(strong) == count else []
        choices += [strong] if len(broadcast) == count else []
        choices += [sorted({*strong, *weak, *broadcast})]
        fitting = [found for found in choices if len(found) == count - 1]
        declared = tuple(fitting[0]) if fitting else tuple(range(1, count))
        if not fitting:
            bounded = sorted({*strong, *weak})
            problem = refusal(
                layer,
                "which input is the signal and which the gate cannot be told, because "
                f"of {count} inputs {bounded} are bounded and {broadcast} are broadcast",
                choices_of(net, path, inputs),
            )
    (signal,) = [i for i in range(count) if i not in declared]
    ordered = [inputs[signal], *(inputs[i] for i in declared)]
    product = net.add(Gate, ordered, name=name, problem=problem)
    net.products[product] = (path, declared)
    return product


def choices_of(net: Network, product: str, inputs: list[Op]) -> str:
    """Says what `gates` can be for a product, and what each choice means."""
    names = [[name for name, own in net.origins.items() if own is op] for op in inputs]
    names = [known[-1] if known else op.name for known, op in zip(names, inputs)]
    said = []
    for signal, name in enumerate(names):
        rest = [i for i in range(len(inputs)) if i != signal]
        held = ", ".join(f"'{names[i]}'" for i in rest)
        value = rest[0] if len(rest) == 1 else tuple(rest)
        said.append(
            f"gates={{'{product}': {value}}} to hold {held} as the gate, so that relevance goes on "
            f"to '{name}'"
        )
    return f"Pass {'; or '.join(said)}"


def keep_opaque(net: Network, node, inputs, problem, place: int | None = None) -> Op:
    """Adds a call that no rule applies to, or one of its outputs; it may only compute a gate.

    The layer itself is called, so it computes with the weights that it has at that moment.
    """
    layer = node.layer

    def function(tensors):
        flat = list(node._flat_arguments)
        for (_, index), tensor in zip(node._keras_inputs_ids_and_indices, tensors):
            flat[index] = tensor
        args, kwargs = tf.nest.pack_sequence_as((node.call_args, node.call_kwargs), flat)
        if hasattr(layer, "symbol"):
            output = layer.call(*args, **kwargs)
        else:
            if "training" in inspect.signature(layer.call).parameters:
                kwargs = {**kwargs, "training": False}
            output = layer(*args, **kwargs)
        output = output if place is None else tf.nest.flatten(output)[place]
        return tf.cast(output, net.dtype)

    name = layer.name if place is None else f"{layer.name}_{place}"
    return net.add(Opaque, inputs, {"function": function}, name=name, problem=problem)


CARRIERS: dict[str, Callable] = {
    "Activation": activation,
    "BatchNormalization": batch_norm,
    "Conv2D": conv,
    "Conv2DTranspose": conv_transpose,
    "Dense": dense,
    "DepthwiseConv2D": depthwise,
    "GroupNormalization": group_norm,
    "InstanceNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "LeakyReLU": rectifier,
    "Multiply": gate,
    "Normalization": normalization,
    "ReLU": rectifier,
    "Rescaling": rescaling,
    "SeparableConv2D": separable,
    "Softmax": softmax,
    "SpectralNormalization": spectral_norm,
    "SyncBatchNormalization": batch_norm,
    "ThresholdedReLU": rectifier,
}

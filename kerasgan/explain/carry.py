"""Carries Keras layers over into operations of a canonical network, a function a kind of layer."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerasgan.explain.canonical_layers import (
    KIND_BY_CLASS,
    Affine,
    Centre,
    Deviation,
    Gate,
    Opaque,
    Rectifier,
    swish,
)
from kerasgan.explain.network import BOUNDED, Network, Op, constant, once, read, refusal

__all__ = ["activate", "affine", "carry", "gate", "keep_opaque"]

ADVICE = (
    "Build it from Keras' own layers, or explain a model that ends before it; what only computes a "
    "gate may stay"
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
        if known and base.__module__.startswith(TRUSTED) and type(layer).call is base.call:
            carrier: Callable = CARRIERS.get(base.__name__, functools.partial(unchanged, base))
            return carrier(net, layer, inputs, name)
    if type(layer).__name__ == "Lambda":
        reason = "a Lambda's function cannot be looked into"
    elif isinstance(layer, (keras.layers.RNN, keras.layers.Wrapper)):
        reason = "there is no rule for this wrapper or recurrent layer"
    elif type(layer).__module__.startswith(TRUSTED):
        reason = "there is no rule for it"
    else:
        reason = "it is a custom layer, for which there is no rule"
    raise refusal(layer, reason, ADVICE)


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


def is_bounded(op: Op) -> bool:
    """Whether an operation's values are those of a bounded activation, moved or mixed."""
    while not op.squashes(BOUNDED):
        if op.kind == "Rectifier" and op.config.get("max_value") is not None:
            return not op.config.get("negative_slope")
        moved = op.kind == "Affine" or op.kind in MOVING
        if not moved or len(op.inputs) != 1:
            return False
        op = op.inputs[0]
    return True


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
    if declared is None:
        rank = max(len(op.shape) for op in inputs)
        sizes = [(*[1] * (rank - len(op.shape)), *(n or -1 for n in op.shape)) for op in inputs]
        full = tuple(next((n for n in axis if n != 1), 1) for axis in zip(*sizes))
        bounded = [i for i, op in enumerate(inputs) if is_bounded(op)]
        broadcast = [i for i, size in enumerate(sizes) if size != full]
        choices = [sorted({*bounded, *broadcast})]
        choices += [broadcast] if len(bounded) == len(inputs) else []
        choices += [bounded] if len(broadcast) == len(inputs) else []
        fitting = [found for found in choices if len(found) == len(inputs) - 1]
        declared = tuple(fitting[0]) if fitting else tuple(range(1, len(inputs)))
        if not fitting:
            problem = refusal(
                layer,
                "which input is the signal and which the gate cannot be told, because "
                f"of {len(inputs)} inputs {bounded} are bounded and {broadcast} are broadcast",
                f"Pass gates={{'{layer.name}': 0}} if the first input is the gate, 1 if the second",
            )
    elif len(set(declared) & set(range(len(inputs)))) != len(inputs) - 1:
        problem = refusal(
            layer,
            f"argument 'gates' must leave one of its {len(inputs)} inputs (counted from 0) as the "
            f"signal, but it says {declared}",
            "Give the index of every other input",
        )
        declared = tuple(range(1, len(inputs)))
    (signal,) = [i for i in range(len(inputs)) if i not in declared]
    ordered = [inputs[signal], *(inputs[i] for i in declared)]
    return net.add(Gate, ordered, name=name, problem=problem)


def keep_opaque(net: Network, node, inputs, problem) -> Op:
    """Adds a call that no rule applies to; it may only compute a gate."""
    layer = node.layer
    lambda_like = hasattr(layer, "symbol")
    config = {}
    if not lambda_like:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = layer.get_config()
                type(layer).from_config(dict(config))
        except (NotImplementedError, TypeError, ValueError):
            raise problem from None

    def make():
        inner = layer if lambda_like else type(layer).from_config(dict(config))

        def function(tensors):
            flat = list(node._flat_arguments)
            for (_, index), tensor in zip(node._keras_inputs_ids_and_indices, tensors):
                flat[index] = tensor
            args, kwargs = tf.nest.pack_sequence_as((node.call_args, node.call_kwargs), flat)
            return inner.call(*args, **kwargs) if lambda_like else inner(*args, **kwargs)

        if not lambda_like:
            function.layer = inner
        return function

    sources = [read(weight, net.dtype) for weight in layer.weights]
    return net.add(Opaque, inputs, {"make": make}, sources, layer.name, problem=problem)


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

"""The few layers that a canonical network needs beside Keras' own, and what each layer is to LRP.

A canonical network consists of Keras' plain layers and of these:

- `Affine`: scale and shift that could not be folded into a convolution;
- `Rectifier`: every kind of ReLU;
- `Centre` and `Deviation`: group, instance and layer normalization, taken apart;
- `Gate`: a signal times its gates;
- `Slice`: indexing;
- `Opaque`: whatever computes a gate and never receives relevance.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError

__all__ = [
    "Affine",
    "Centre",
    "Deviation",
    "Gate",
    "Opaque",
    "Rectifier",
    "Slice",
    "kind_of",
    "swish",
    "with_rank",
]

KINDS = {
    "input": ("InputLayer",),
    "weighted": ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense"),
    "proportional": (
        "Add",
        "Subtract",
        "Average",
        "AveragePooling2D",
        "GlobalAveragePooling2D",
        "Centre",
    ),
    "routed": (
        "Concatenate",
        "Cropping2D",
        "Flatten",
        "Permute",
        "Reshape",
        "Slice",
        "ZeroPadding2D",
    ),
    "winner": ("MaxPooling2D", "GlobalMaxPooling2D", "Maximum", "Minimum"),
    "passed": ("Activation", "Affine", "Deviation", "ELU", "PReLU", "Rectifier"),
    "gate": ("Gate",),
    "opaque": ("Opaque",),
}
KIND_BY_CLASS = {name: kind for kind, names in KINDS.items() for name in names}


def kind_of(layer: keras.layers.Layer) -> str:
    """Names what a layer of a canonical network is to LRP.

    Args:
        layer: A layer of `Canonical.model`.

    Returns:
        - "input": an input.
        - "weighted": a kernel and perhaps a bias; the rule of the composite applies.
        - "proportional": linear without weights (sum, mean, interpolation, centring): every input
          receives in proportion to what it contributed, `x * J^T (R / (z + eps sign(z)))`.
        - "routed": every output is one input's value; relevance goes back along `J^T R`.
        - "winner": every output is the largest (or smallest) input; `J^T R` again.
        - "passed": one input each, shape unchanged; relevance passes as it is. This holds for
          activations, lone scale and shift, and division by a deviation held fixed.
        - "gate": the first input is the signal and receives all (summed over what it was broadcast
          to), the others receive nothing.
        - "opaque": computes gates only; relevance never reaches it.

    Raises:
        KerasganError: If canonical networks have no such layer.

    Example:
        >>> kind_of(keras.layers.UpSampling2D(interpolation="bilinear"))
        'proportional'
    """
    name = type(layer).__name__
    if name in ("UpSampling2D", "Resizing"):
        return "routed" if layer.interpolation == "nearest" else "proportional"
    if name not in KIND_BY_CLASS:
        raise KerasganError(
            f"Layer '{layer.name}' ({name}) is none of a canonical network. Pass the model through "
            "kerasgan.explain.canonize first"
        )
    return KIND_BY_CLASS[name]


@keras.saving.register_keras_serializable("kerasgan")
def swish(values: tf.Tensor) -> tf.Tensor:
    """Multiplies values by their sigmoid.

    TensorFlow's own has a gradient function of its own, which it keeps for good once it is traced,
    and with it the whole graph.

    Example:
        >>> swish(tf.constant(0.0)).numpy()
        0.0

    Source: Ramachandran et al. 2017 (arXiv 1710.05941).
    """
    return values * tf.sigmoid(values)


@keras.saving.register_keras_serializable("kerasgan")
class Affine(keras.layers.Layer):
    """Multiplies by `scale` and adds `shift`, each broadcast to the input.

    Args:
        scale_shape: Shape of the scale; `()` for one number.
        shift_shape: Shape of the shift.

    Example:
        >>> Affine((3,), (3,))(tf.ones((1, 2, 2, 3))).shape
        TensorShape([1, 2, 2, 3])
    """

    def __init__(self, scale_shape: Sequence[int], shift_shape: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.scale_shape = tuple(scale_shape)
        self.shift_shape = tuple(shift_shape)

    def build(self, input_shape):
        """Creates scale and shift."""
        self.scale = self.add_weight("scale", self.scale_shape, initializer="ones")
        self.shift = self.add_weight("shift", self.shift_shape, initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        """Scales and shifts."""
        return inputs * self.scale + self.shift

    def get_config(self):
        """Returns what rebuilds the layer."""
        shapes = {"scale_shape": self.scale_shape, "shift_shape": self.shift_shape}
        return {**super().get_config(), **shapes}


@keras.saving.register_keras_serializable("kerasgan")
class Rectifier(keras.layers.Layer):
    """ReLU, LeakyReLU, ReLU6 and thresholded ReLU in one.

    Args:
        negative_slope: Slope below the threshold.
        max_value: Where it saturates; None for nowhere.
        threshold: Where it starts.

    Example:
        >>> Rectifier(negative_slope=0.5)(tf.constant([-2.0, 3.0])).numpy()
        array([-1.,  3.], dtype=float32)
    """

    def __init__(
        self,
        negative_slope: float = 0.0,
        max_value: float | None = None,
        threshold: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = {
            "negative_slope": float(negative_slope),
            "max_value": None if max_value is None else float(max_value),
            "threshold": float(threshold),
        }

    def call(self, inputs):
        """Applies the activation."""
        settings = self.settings
        return keras.activations.relu(
            inputs, settings["negative_slope"], settings["max_value"], settings["threshold"]
        )

    def get_config(self):
        """Returns what rebuilds the layer."""
        return {**super().get_config(), **self.settings}


class Grouped(keras.layers.Layer):
    """What `Centre` and `Deviation` share: means over axes, by groups of channels."""

    def __init__(self, axes: Sequence[int], groups: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.axes = tuple(axes)
        self.groups = groups

    def by_group(self, inputs, function):
        """Applies `function(x, axes)` to the input, its channels split into the groups."""
        if self.groups == 1:
            return function(inputs, self.axes)
        if self.groups == inputs.shape[-1]:
            return function(inputs, self.axes[:-1])
        shape = tf.shape(inputs)
        last = inputs.shape.rank - 1
        split = [self.groups, inputs.shape[-1] // self.groups]
        inner = tf.reshape(inputs, tf.concat([shape[:-1], split], 0))
        axes = [axis + 1 if axis == last else axis for axis in self.axes]
        outputs = tf.reshape(function(inner, axes), shape)
        outputs.set_shape(inputs.shape)
        return outputs

    def get_config(self):
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "axes": self.axes, "groups": self.groups}


@keras.saving.register_keras_serializable("kerasgan")
class Centre(Grouped):
    """Subtracts the mean.

    Args:
        axes: Axes of the input, from 1 up, that the mean runs over; with `groups` > 1 the last
            axis is among them.
        groups: Number of groups of channels with a mean of their own.

    Example:
        >>> Centre((1,))(tf.constant([[1.0, 2.0, 3.0]])).numpy()
        array([[-1.,  0.,  1.]], dtype=float32)
    """

    def call(self, inputs):
        """Subtracts the mean."""
        return self.by_group(inputs, lambda x, axes: x - tf.reduce_mean(x, axes, keepdims=True))


@keras.saving.register_keras_serializable("kerasgan")
class Deviation(Grouped):
    """Divides what `Centre` gave by its standard deviation, `sqrt(mean(x^2) + epsilon)`.

    Args:
        axes: As of `Centre`.
        groups: As of `Centre`.
        epsilon: Added to the variance.

    Example:
        >>> Deviation((1,), epsilon=0.0)(tf.constant([[-2.0, 2.0]])).numpy()
        array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, axes: Sequence[int], groups: int = 1, epsilon: float = 1e-3, **kwargs):
        super().__init__(axes, groups, **kwargs)
        self.epsilon = epsilon

    def call(self, inputs):
        """Divides by the deviation."""

        def divide(x, axes):
            variance = tf.reduce_mean(tf.square(x), axes, keepdims=True)
            return x * tf.math.rsqrt(variance + self.epsilon)

        return self.by_group(inputs, divide)

    def get_config(self):
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("kerasgan")
class Gate(keras.layers.Layer):
    """Multiplies a signal, its first input, by one or more gates, broadcast as Keras' Multiply.

    Example:
        >>> Gate()([tf.ones((5, 2, 2, 3)), tf.ones((5, 3))]).shape
        TensorShape([5, 2, 2, 3])
    """

    def call(self, inputs):
        """Multiplies."""
        rank = max(tensor.shape.rank for tensor in inputs)
        return functools.reduce(operator.mul, [with_rank(tensor, rank) for tensor in inputs])


def with_rank(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Inserts axes of length 1 behind the batch, as Keras' merging layers do.

    Example:
        >>> with_rank(tf.ones((5, 3)), 4).shape
        TensorShape([5, 1, 1, 3])
    """
    for _ in range(rank - values.shape.rank):
        values = tf.expand_dims(values, 1)
    return values


@keras.saving.register_keras_serializable("kerasgan")
class Slice(keras.layers.Layer):
    """Indexes its input as `x[index]`.

    Args:
        index: One entry an axis: "..." or [start, stop, step] with None for the ends.

    Example:
        >>> Slice(["...", [None, None, -1]])(tf.constant([[1, 2, 3]])).numpy()
        array([[3, 2, 1]], dtype=int32)
    """

    def __init__(self, index: Sequence, **kwargs):
        super().__init__(**kwargs)
        self.index = list(index)

    def call(self, inputs):
        """Indexes."""
        return inputs[tuple(Ellipsis if i == "..." else slice(*i) for i in self.index)]

    def get_config(self):
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "index": self.index}


class Opaque(keras.layers.Layer):
    """Calls anything; only for what computes a gate, because no rule applies to it.

    Args:
        function: From a list of tensors to a tensor.

    Example:
        >>> Opaque(lambda tensors: tensors[0] ** 2)([tf.constant(3.0)]).numpy()
        9.0
    """

    def __init__(self, function: Callable[[list], Any], **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, inputs):
        """Calls the function."""
        return self.function(list(inputs) if isinstance(inputs, (list, tuple)) else [inputs])

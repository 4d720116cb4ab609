"""A layer with weights as rules see it: contributions, and sharing in proportion to them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

__all__ = [
    "STABILISER",
    "Contributions",
    "Linear",
    "add_up",
    "below_zero",
    "per_image",
    "sign_of",
    "stabilised",
    "supported",
    "to_bias",
    "vjp",
]

STABILISER = 1e-6
TINY = 1e-20

Backward = Callable[[tf.Tensor], list[tf.Tensor]]


def vjp(
    function: Callable[..., tf.Tensor], inputs: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, Backward]:
    """Applies a function, and keeps how it can be differentiated.

    It is applied to copies of its inputs, to be called backwards before much is made of its
    outputs: `tf.gradients` looks through all that its inputs lead to, so that on tensors of the
    forward pass a network of twice the layers would take four times as long to trace.

    Args:
        function: Of as many tensors as there are inputs.
        inputs: Floating tensors.

    Returns:
        Its outputs, and a function from `R_j` to `sum_j R_j dy_j/dx_i` for each input.
    """
    inputs = [tf.identity(tensor) for tensor in inputs]
    outputs = function(*inputs)
    return outputs, lambda factors: tf.gradients(outputs, inputs, factors, stop_gradients=inputs)


class Contributions:
    """Contributions `c_ij = a_i w_ij` of some inputs through some kernel.

    Attributes:
        inputs: The `a_i`.
        sums: `sum_i c_ij`, of the shape of the layer's outputs.
    """

    def __init__(self, inputs: tf.Tensor, sums: tf.Tensor, backward: Backward):
        self.inputs = inputs
        self.sums = sums
        self._backward = backward

    def transposed(self, factors: tf.Tensor) -> tf.Tensor:
        """Returns `sum_j w_ij factors_j`, of the shape of the inputs."""
        return self._backward(factors)[0]

    def backward(self, factors: tf.Tensor) -> tf.Tensor:
        """Returns `sum_j c_ij factors_j`, of the shape of the inputs."""
        return self.inputs * self.transposed(factors)


class Linear:
    """A layer with weights at work, as a rule sees it.

    Args:
        layer: Conv2D, Conv2DTranspose, DepthwiseConv2D or Dense, without activation.
        inputs: Its inputs.
        outputs: Its outputs, bias included.
        nonnegative: Whether the inputs are known to be at least 0, which saves time.
        valid: 1 where the inputs are pixels, 0 where they are padding, (1, height, width, 1 or
            channels); None where all are pixels.

    Attributes:
        kernel: The `w_ij`, of the layer's shape.
        bias: The `b_j`, or None.

    Example:
        In `Rule.share`, LRP-0 of the layer:

        >>> linear.contributions().backward(relevance / linear.outputs)  # doctest: +SKIP
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        inputs: tf.Tensor,
        outputs: tf.Tensor,
        nonnegative: bool = False,
        valid: tf.Tensor | None = None,
    ):
        self.layer = layer
        self.inputs = inputs
        self.outputs = outputs
        self.nonnegative = nonnegative
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        self.kernel = layer.depthwise_kernel if depthwise else layer.kernel
        self.bias = layer.bias if layer.use_bias else None
        self._valid = valid

    @property
    def valid(self) -> tf.Tensor:
        """1 where the inputs are pixels, 0 where they are padding, (1, height, width, channels)."""
        ones = tf.ones_like(self.inputs[:1])
        return ones if self._valid is None else ones * self._valid

    def apply(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Applies the layer to other inputs, with another kernel and no bias."""
        layer = self.layer
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            return keras.backend.depthwise_conv2d(
                inputs,
                kernel,
                strides=layer.strides,
                padding=layer.padding,
                dilation_rate=layer.dilation_rate,
                data_format=layer.data_format,
            )
        if isinstance(layer, keras.layers.Conv2DTranspose):
            outputs = keras.backend.conv2d_transpose(
                inputs,
                kernel,
                tf.concat([tf.shape(inputs)[:1], tf.shape(self.outputs)[1:]], 0),
                strides=layer.strides,
                padding=layer.padding,
                data_format=layer.data_format,
                dilation_rate=layer.dilation_rate,
            )
            return tf.ensure_shape(outputs, inputs.shape[:1] + self.outputs.shape[1:])
        if isinstance(layer, keras.layers.Conv2D):
            if layer.groups == 1:
                return layer.convolution_op(inputs, kernel)
            # TensorFlow cannot differentiate a grouped convolution on a CPU
            parts = zip(tf.split(inputs, layer.groups, -1), tf.split(kernel, layer.groups, -1))
            return tf.concat([layer.convolution_op(*part) for part in parts], -1)
        return tf.tensordot(inputs, kernel, 1) if inputs.shape.rank > 2 else inputs @ kernel

    def contributions(
        self, inputs: tf.Tensor | None = None, kernel: tf.Tensor | None = None
    ) -> Contributions:
        """Returns the contributions of the layer's own, or of other, inputs and kernel."""
        own = inputs is None and kernel is None
        inputs = self.inputs if inputs is None else inputs
        kernel = self.kernel if kernel is None else kernel
        sums, backward = vjp(lambda inputs: self.apply(inputs, kernel), [inputs])
        if own:
            sums = self.outputs if self.bias is None else self.outputs - self.bias
        return Contributions(inputs, sums, backward)

    def signed(self, sign: int) -> list[Contributions]:
        """Returns the contributions of one sign, +1 or -1, as parts to be added up.

        They are computed from clipped inputs and kernels, so that an output without a contribution
        of that sign gets exactly zero.
        """
        positive, negative = tf.nn.relu(self.kernel), below_zero(self.kernel)
        along, against = (positive, negative) if sign > 0 else (negative, positive)
        if self.nonnegative:
            return [self.contributions(kernel=along)]
        return [
            self.contributions(tf.nn.relu(self.inputs), along),
            self.contributions(below_zero(self.inputs), against),
        ]


def stabilised(
    relevance: tf.Tensor, outputs: tf.Tensor, epsilon: tf.Tensor | float
) -> tuple[tf.Tensor, tf.Tensor | float]:
    """Divides relevance by outputs that are kept from zero.

    Args:
        relevance: `R_j`.
        outputs: `z_j`.
        epsilon: At least 0.

    Returns:
        `R_j / (z_j + epsilon sign(z_j))`, 0 where the denominator is, and what goes to the
        stabiliser, `sum_j epsilon sign(z_j) R_j / (z_j + epsilon sign(z_j))`, (batch,).
    """
    if isinstance(epsilon, (int, float)) and epsilon == 0:
        return tf.math.divide_no_nan(relevance, outputs), 0.0
    signed = sign_of(outputs, epsilon)
    factors = relevance / (outputs + signed)
    return factors, per_image(signed * factors)


def supported(relevance: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Divides relevance by outputs, 0 where they are; also sums the relevance there, (batch,)."""
    zero = tf.abs(outputs) < TINY
    nothing = tf.zeros_like(outputs)
    factors = tf.where(zero, nothing, relevance / tf.where(zero, tf.ones_like(outputs), outputs))
    return factors, per_image(tf.where(zero, relevance, nothing))


def per_image(values: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the first."""
    return tf.reduce_sum(values, list(range(1, values.shape.rank)))


def to_bias(factors: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor | float:
    """Returns what goes to the biases, `sum_j b_j factors_j`, (batch,); 0 if bias is None."""
    if bias is None:
        return 0.0
    axes = list(range(1, factors.shape.rank - 1))
    return tf.linalg.matvec(tf.reduce_sum(factors, axes), bias)


def below_zero(values: tf.Tensor) -> tf.Tensor:
    """Returns `min(values, 0)`."""
    return tf.minimum(values, tf.zeros((), values.dtype))


def sign_of(values: tf.Tensor, size: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Returns +size where values are at least 0, else -size."""
    return tf.cast(values >= 0, values.dtype) * (2 * size) - size


def add_up(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds tensors up."""
    return functools.reduce(operator.add, values)

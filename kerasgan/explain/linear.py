"""A layer with weights as rules see it: contributions, and sharing in proportion to them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kerasgan.explain.graph import Backward, Node, Run, vjp

STABILISER = 1e-6
TINY = 1e-20


class Contributions:
    """Contributions `c_ij = a_i w_ij` of inputs `a_i`; `sums` are `sum_i c_ij`."""

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
    """A node with weights at work, as a rule sees it.

    Attributes:
        node: The node: its `name`, and its Keras layer as `layer`.
        inputs: Its inputs, `a_i`, images first.
        outputs: Its outputs, bias included, likewise.
        nonnegative: Whether the inputs are known to be at least 0, which saves time.
        kernel: The `w_ij`, scale before and behind included.
        bias: The `b_j`, of the shape of the outputs' last axis (or axes), or None.

    Example:
        In `Rule.redistribute`, LRP-0 of the layer:

        >>> linear.contributions().backward(relevance / linear.outputs)  # doctest: +SKIP
    """

    def __init__(self, run: Run, node: Node):
        self.node = node
        self._run = run
        self.inputs = run.batch_first(run.tensor(node.inputs[0]), node.inputs[0])
        self.outputs = run.batch_first(run.output(node), node.output)
        self.nonnegative = node.inputs[0] in run.graph.nonnegative
        self.kernel = run.kernel(node)
        self.bias = run.bias(node)

    @property
    def valid(self) -> tf.Tensor:
        """1 where the inputs are pixels, 0 where they are padding, of their shape."""
        valid = self._run.valid(self.node.inputs[0])
        if valid is None:
            return tf.ones_like(self.inputs)
        return self._run.batch_first(valid, self.node.inputs[0])

    def apply(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Applies the layer to other inputs, with another kernel and no bias."""
        run, node = self._run, self.node
        outputs = run.apply(node, run.from_batch_first(inputs, node.inputs[0]), kernel)
        return run.batch_first(outputs, node.output)

    def for_each_image(self, reduce: Callable[..., tf.Tensor], values: tf.Tensor) -> tf.Tensor:
        """Reduces all values of an image to one, of a shape that goes with them.

        `reduce` is such as `tf.reduce_mean`; values are inputs or outputs.
        """
        by_image = tf.reshape(values, [self._run.batch, -1])
        reduced = reduce(by_image, axis=1, keepdims=True)
        rows = tf.shape(values)[0] // self._run.batch
        return tf.reshape(tf.repeat(reduced, rows, 0), [-1] + [1] * (values.shape.rank - 1))

    def contributions(
        self, inputs: tf.Tensor | None = None, kernel: tf.Tensor | None = None
    ) -> Contributions:
        """Returns the contributions of the layer's own, or of other, inputs and kernel."""
        plain = inputs is None and kernel is None
        inputs = self.inputs if inputs is None else inputs
        kernel = self.kernel if kernel is None else kernel
        sums, backward = vjp(lambda inputs: self.apply(inputs, kernel), [inputs])
        if plain:
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
    """Divides relevance by outputs kept from zero: `R_j / (z_j + epsilon sign(z_j))`.

    Also returns what goes to the stabiliser, `sum_j epsilon sign(z_j) factor_j`, (batch,).
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


def bias_relevance(factors: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor | float:
    """Returns what goes to the biases, `sum_j b_j factors_j`, (batch,); 0 if bias is None."""
    if bias is None:
        return 0.0
    axes = list(range(1, factors.shape.rank - bias.shape.rank))
    return per_image(tf.reduce_sum(factors, axes) * bias)


def below_zero(values: tf.Tensor) -> tf.Tensor:
    """Returns `min(values, 0)`."""
    return tf.minimum(values, tf.zeros((), values.dtype))


def sign_of(values: tf.Tensor, size: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Returns +size where values are at least 0, else -size."""
    return tf.cast(values >= 0, values.dtype) * (2 * size) - size

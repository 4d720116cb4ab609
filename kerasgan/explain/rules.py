"""LRP rules: how a layer with weights shares the relevance of its outputs among its inputs.

Notation: `a_i` inputs, `w_ij` kernel, `b_j` bias, contributions `c_ij = a_i w_ij`, outputs
`z_j = sum_i c_ij + b_j`, `R_j` relevance of the outputs. `x+` is `max(x, 0)`, `x-` is `min(x, 0)`,
and `sign(0) = +1`. Where a bias is left out (`bias=False`), `b_j` is 0 in every formula.

A rule of your own is a subclass of `Rule` with one method:

Example:
    >>> class InputTimesGradient(Rule):
    ...     def redistribute(self, linear, relevance):
    ...         return Redistribution(linear.contributions().backward(relevance))
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.linear import (
    STABILISER,
    TINY,
    Linear,
    below_zero,
    bias_relevance,
    per_image,
    sign_of,
    stabilised,
    supported,
)
from kerasgan.validation import check_number, invalid


class Redistribution(NamedTuple):
    """What a rule makes of the relevance of a layer's outputs.

    Attributes:
        inputs: Relevance of the layer's inputs, of their shape.
        bias: (batch,). What went to the biases.
        stabiliser: (batch,). What went to the term that keeps denominators from zero.
        unsupported: (batch,). What belongs to outputs without a contribution of the required sign.

    Example:
        >>> Redistribution(tf.zeros((1, 8, 8, 3))).bias
        0.0
    """

    inputs: tf.Tensor
    bias: tf.Tensor | float = 0.0
    stabiliser: tf.Tensor | float = 0.0
    unsupported: tf.Tensor | float = 0.0


class Rule:
    """How a layer with weights shares relevance. Subclass it and override `redistribute`.

    Example:
        >>> class InputTimesGradient(Rule):
        ...     def redistribute(self, linear, relevance):
        ...         return Redistribution(linear.contributions().backward(relevance))
    """

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """Redistributes the relevance of a layer's outputs.

        Args:
            linear: The layer, its inputs and its outputs.
            relevance: `R_j`, of the shape of the outputs.

        Returns:
            The relevance of the inputs, and what went elsewhere.
        """
        raise KerasganError(
            f"Rule {type(self).__name__} must have a method redistribute(self, linear, relevance). "
            f"It has {[name for name in vars(type(self)) if not name.startswith('_')]}"
        )


@dataclasses.dataclass(frozen=True)
class Epsilon(Rule):
    """LRP-epsilon: `R_i = sum_j c_ij / (z_j + epsilon_j sign(z_j)) R_j`.

    Args:
        epsilon: Absolute, `epsilon_j = epsilon`, from 0 up, in units of the layer's outputs; 0
            gives LRP-0. Layers without weights, such as average pooling, keep 1e-6.
        relative: Whether to take `epsilon_j = epsilon * mean |z|` instead, the mean over all
            outputs of the layer for that image.
        bias: Whether the bias counts among the contributions.

    Example:
        >>> Epsilon(0.25, relative=True)
        Epsilon(epsilon=0.25, relative=True, bias=True)

    Source: Bach et al. 2015, eq. 58 (doi 10.1371/journal.pone.0130140).
    """

    epsilon: float = STABILISER
    relative: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        check_number("epsilon", self.epsilon, least=0)

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        contributions = linear.contributions()
        outputs = linear.outputs if self.bias else contributions.sums
        epsilon = self.epsilon
        if self.relative:
            epsilon *= linear.for_each_image(tf.reduce_mean, tf.abs(outputs))
            epsilon = tf.maximum(epsilon, TINY)
        factors, stabiliser = stabilised(relevance, outputs, epsilon)
        unsupported = 0.0
        if self.epsilon == 0:
            unsupported = per_image(tf.where(outputs == 0, relevance, tf.zeros_like(relevance)))
        bias = bias_relevance(factors, linear.bias) if self.bias else 0.0
        return Redistribution(contributions.backward(factors), bias, stabiliser, unsupported)


@dataclasses.dataclass(frozen=True)
class AlphaBeta(Rule):
    """LRP-alpha-beta: `R_i = sum_j (alpha c+_ij / z+_j - beta c-_ij / z-_j) R_j`.

    Here `z+_j = sum_i c+_ij + b+_j` and `z-_j = sum_i c-_ij + b-_j`. Where such a sum is zero
    (below 1e-20), its share of `R_j` has nowhere to go and is counted as unsupported.

    Args:
        alpha: Weight of the contributions that speak for the output, at least 1.
        beta: Weight of those that speak against it; alpha - beta must be 1.
        bias: Whether the bias counts among the contributions.

    Example:
        >>> AlphaBeta(2, 1, bias=False)
        AlphaBeta(alpha=2, beta=1, bias=False)

    Source: Bach et al. 2015, eq. 60 (doi 10.1371/journal.pone.0130140).
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: bool = True

    def __post_init__(self) -> None:
        check_number("beta", self.beta, least=0)
        if abs(self.alpha - self.beta - 1) > 1e-6:
            raise KerasganError(
                f"Arguments 'alpha' and 'beta' must differ by 1. Received: {self.alpha!r} and "
                f"{self.beta!r}"
            )

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        positive = self._redistribute_sign(linear, self.alpha * relevance, +1)
        if not self.beta:
            return positive
        negative = self._redistribute_sign(linear, -self.beta * relevance, -1)
        return Redistribution(*(a + b for a, b in zip(positive, negative)))

    def _redistribute_sign(self, linear: Linear, relevance: tf.Tensor, sign: int) -> Redistribution:
        parts = linear.signed(sign)
        outputs, bias = tf.add_n([part.sums for part in parts]), None
        if self.bias and linear.bias is not None:
            bias = sign * tf.nn.relu(sign * linear.bias)
            outputs += bias
        factors, unsupported = supported(relevance, outputs)
        inputs = tf.add_n([part.backward(factors) for part in parts])
        return Redistribution(inputs, bias_relevance(factors, bias), unsupported=unsupported)


@dataclasses.dataclass(frozen=True)
class ZPlus(Rule):
    """The z-plus rule, alpha 1 and beta 0: `R_i = sum_j c+_ij / z+_j R_j`.

    Args:
        bias: Whether the positive bias counts among the contributions, in
            `z+_j = sum_i c+_ij + b+_j`.

    Example:
        >>> ZPlus()
        ZPlus(bias=True)

    Source: Montavon et al. 2017, eq. 9 (doi 10.1016/j.patcog.2016.11.008), there for inputs of at
        least 0 and no bias.
    """

    bias: bool = True

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        return AlphaBeta(1, 0, self.bias).redistribute(linear, relevance)


@dataclasses.dataclass(frozen=True)
class Gamma(Rule):
    """LRP-gamma: contributions of the output's own sign count 1 + gamma times.

    `R_i = sum_j c'_ij / z'_j R_j`, where `c'_ij = c_ij + gamma c+_ij` if `z_j >= 0` and
    `c_ij + gamma c-_ij` otherwise, `z'_j` sums them, and the bias is treated as a contribution.
    `z'_j` always has the sign of `z_j` and at least its size, so it needs hardly any stabiliser
    (1e-6). For inputs of at least 0 and positive outputs this is the rule as first published,
    `w_ij + gamma w+_ij`, which inputs and outputs of both signs make unstable.

    Args:
        gamma: At least 0, which gives LRP-0.
        bias: Whether the bias counts among the contributions.
        generalized: False for the rule as first published, at every output.

    Example:
        >>> Gamma(0.1)
        Gamma(gamma=0.1, bias=True, generalized=True)

    Source: Montavon et al. 2019 (doi 10.1007/978-3-030-28954-6_10); generalized as in Andeol et
        al. 2021 (arXiv 2106.13727).
    """

    gamma: float = 0.25
    bias: bool = True
    generalized: bool = True

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, least=0)

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        if not self.generalized:
            return self._redistribute_as_published(linear, relevance)
        # c + gamma c+ = (1 + gamma/2) c + gamma/2 |c|, likewise with a minus for c-
        half = self.gamma / 2
        contributions = linear.contributions()
        size = linear.contributions(tf.abs(linear.inputs), tf.abs(linear.kernel))
        signed, absolute = contributions.sums, size.sums
        if self.bias and linear.bias is not None:
            signed, absolute = linear.outputs, absolute + tf.abs(linear.bias)
        sign = sign_of(signed)
        outputs = (1 + half) * signed + half * sign * absolute
        factors, stabiliser = stabilised(relevance, outputs, STABILISER)
        factors, aligned = (1 + half) * factors, half * sign * factors
        inputs = contributions.backward(factors) + size.backward(aligned)
        bias = 0.0
        if self.bias and linear.bias is not None:
            bias = bias_relevance(factors, linear.bias) + bias_relevance(
                aligned, tf.abs(linear.bias)
            )
        return Redistribution(inputs, bias, stabiliser)

    def _redistribute_as_published(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        contributions = linear.contributions(
            kernel=linear.kernel + self.gamma * tf.nn.relu(linear.kernel)
        )
        outputs, bias = contributions.sums, None
        if self.bias and linear.bias is not None:
            bias = linear.bias + self.gamma * tf.nn.relu(linear.bias)
            outputs += bias
        factors, stabiliser = stabilised(relevance, outputs, STABILISER)
        return Redistribution(
            contributions.backward(factors), bias_relevance(factors, bias), stabiliser
        )


@dataclasses.dataclass(frozen=True)
class Flat(Rule):
    """Redistributes evenly over all the inputs that an output sees, padding excluded.

    For the first layer, where it shows how finely the layers above can place relevance.

    Example:
        >>> Flat()
        Flat()

    Source: Bach 2015, as in Lapuschkin et al. 2019 (doi 10.1038/s41467-019-08987-4).
    """

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        return _redistribute_by(linear, relevance, tf.ones_like(linear.kernel))


@dataclasses.dataclass(frozen=True)
class WSquare(Rule):
    """Redistributes by squared weight: `R_i = sum_j w_ij^2 / (sum_i w_ij^2) R_j`, padding excluded.

    For the first layer, where inputs are not bounded.

    Example:
        >>> WSquare()
        WSquare()

    Source: Montavon et al. 2017, eq. 7 (doi 10.1016/j.patcog.2016.11.008).
    """

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        return _redistribute_by(linear, relevance, tf.square(linear.kernel))


@dataclasses.dataclass(frozen=True)
class ZBox(Rule):
    """The rule for bounded inputs: contributions `a_i w_ij - low w+_ij - high w-_ij`.

    For the first layer, where inputs are pixels. Outside the bounds its contributions change sign.

    Args:
        low: Smallest value of a pixel.
        high: Largest value of a pixel, above `low`.
        widen: Whether an image that goes beyond a bound moves it, for itself, to its own smallest
            or largest value.

    Example:
        >>> ZBox(0, 1)
        ZBox(low=0, high=1, widen=False)

    Source: Montavon et al. 2017, eq. 11 (doi 10.1016/j.patcog.2016.11.008).
    """

    low: float = -1.0
    high: float = 1.0
    widen: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise invalid("low", f"below 'high', {self.high!r}", self.low)

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        low, high = self._bounds(linear) if self.widen else (self.low, self.high)
        above = linear.inputs - low * linear.valid
        below = linear.inputs - high * linear.valid
        parts = [
            linear.contributions(above, tf.nn.relu(linear.kernel)),
            linear.contributions(below, below_zero(linear.kernel)),
        ]
        factors, unsupported = supported(relevance, tf.add_n([part.sums for part in parts]))
        inputs = tf.add_n([part.backward(factors) for part in parts])
        return Redistribution(inputs, unsupported=unsupported)

    def _bounds(self, linear: Linear) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, valid = linear.inputs, linear.valid > 0
        low, high = (tf.constant(bound, pixels.dtype) for bound in (self.low, self.high))
        smallest = linear.for_each_image(tf.reduce_min, tf.where(valid, pixels, low))
        largest = linear.for_each_image(tf.reduce_max, tf.where(valid, pixels, high))
        return tf.minimum(low, smallest), tf.maximum(high, largest)


def _redistribute_by(linear: Linear, relevance: tf.Tensor, kernel: tf.Tensor) -> Redistribution:
    sums = linear.apply(linear.valid, kernel)
    factors, unsupported = supported(relevance, sums)
    inputs = linear.valid * linear.contributions(kernel=kernel).transposed(factors)
    return Redistribution(inputs, unsupported=unsupported)

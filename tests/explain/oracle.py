"""Layer-wise relevance propagation written out from its formulas, slow, in float64.

Every linear layer becomes the list of its connections: input `source`, output `sink`, weight, so
that a rule is its formula over contributions c = a * w, and nothing else. Whole networks:
`oracle_network`.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 and 2019 (z-plus, z-box,
w-square, gamma), Lapuschkin et al. 2017 (flat), Andeol et al. 2021 (generalized gamma).
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

# --------------------------------------------------------------------------- linear maps


@dataclasses.dataclass
class LinearMap:
    """All connections of a linear layer, for one image."""

    source: np.ndarray
    sink: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    input_shape: tuple
    output_shape: tuple

    def to_inputs(self, values):
        size = int(np.prod(self.input_shape))
        return np.bincount(self.source, values, size).reshape(self.input_shape)

    def to_outputs(self, values):
        return np.bincount(self.sink, values, self.bias.size)

    def __call__(self, a):
        z = self.to_outputs(a.ravel()[self.source] * self.weight) + self.bias
        return z.reshape(self.output_shape)

    def then(self, scale, shift):
        """Followed by an affine layer, scale and shift by channel."""
        scale = np.broadcast_to(scale, self.output_shape).ravel()
        shift = np.broadcast_to(shift, self.output_shape).ravel()
        return dataclasses.replace(
            self, weight=self.weight * scale[self.sink], bias=self.bias * scale + shift
        )

    def after(self, scale, shift):
        """Preceded by an affine layer, scale and shift by channel."""
        scale = np.broadcast_to(scale, self.input_shape).ravel()
        shift = np.broadcast_to(shift, self.input_shape).ravel()
        return dataclasses.replace(
            self,
            weight=self.weight * scale[self.source],
            bias=self.bias + self.to_outputs(self.weight * shift[self.source]),
        )

    def without(self, padding):
        """Less the connections of inputs that are padding, which count no more than the layer's."""
        kept = ~padding.ravel()[self.source]
        fields = {name: getattr(self, name)[kept] for name in ("source", "sink", "weight")}
        return dataclasses.replace(self, **fields)


def jacobian_map(layer, input_shape):
    """Reads the connections off a built Keras layer by moving one input at a time."""
    size, saved = int(np.prod(input_shape)), layer.get_weights()
    is_bias = ["bias" in w.name for w in layer.weights]
    activation = getattr(layer, "activation", None)
    if activation is not None:
        layer.activation = keras.activations.linear

    def outputs(units):
        return layer(units.reshape(-1, *input_shape)).numpy().astype("float64")

    def matrix(kernel):
        layer.set_weights([0 * w if b else kernel(w) for w, b in zip(saved, is_bias)])
        firsts = range(0, size, 256)
        rows = [outputs(np.eye(min(256, size - first), size, first)) for first in firsts]
        return np.concatenate(rows).reshape(size, -1)

    weights, connected = matrix(lambda w: w), matrix(np.ones_like)
    layer.set_weights(saved)
    bias = outputs(np.zeros(size))[0]
    if activation is not None:
        layer.activation = activation
    source, sink = np.nonzero(connected)
    values = weights[source, sink]
    return LinearMap(source, sink, values, bias.ravel(), tuple(input_shape), bias.shape)


def centring_map(shape, groups):
    """Connections of x - mean(x), the mean taken over all pixels of a group of channels."""
    size = int(np.prod(shape))
    group = np.arange(size) % shape[-1] // (shape[-1] // groups)
    source, sink, weight = [], [], []
    for g in range(groups):
        members = np.flatnonzero(group == g)
        i, j = (m.ravel() for m in np.meshgrid(members, members, indexing="ij"))
        source, sink = [*source, i], [*sink, j]
        weight.append((i == j) - 1 / len(members))
    joined = [np.concatenate(x) for x in (source, sink, weight)]
    return LinearMap(*joined, np.zeros(size), tuple(shape), tuple(shape))


# --------------------------------------------------------------------------- rules
# A rule takes a linear map, its input a and the relevance of its output, and returns the relevance
# of its input and three sums: gone to biases, to the stabiliser, to outputs without support.


def _signed(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def _share(linear, contributions, bias, relevance, epsilon=0.0, tiny=0.0, factor=1.0):
    """Relevance in proportion to contributions: factor * c / (sum c + bias, stabilised) * R."""
    relevance = factor * relevance.ravel()
    z = linear.to_outputs(contributions) + bias
    denominator = _signed(z, epsilon)
    supported = np.abs(denominator) > tiny
    per_unit = np.where(supported, relevance / np.where(supported, denominator, 1.0), 0.0)
    return (
        linear.to_inputs(contributions * per_unit[linear.sink]),
        np.sum(bias * per_unit),
        np.sum((denominator - z) * per_unit),
        np.sum(relevance[~supported]),
    )


def _contributions(linear, a):
    return a.ravel()[linear.source] * linear.weight


def epsilon(epsilon=1e-6, relative=False, bias=True):
    def rule(linear, a, relevance):
        c, b = _contributions(linear, a), linear.bias * bias
        scale = np.mean(np.abs(linear.to_outputs(c) + b)) if relative else 1.0
        return _share(linear, c, b, relevance, epsilon * scale)

    return rule


def alpha_beta(alpha, beta, bias=True, tiny=0.0):
    def rule(linear, a, relevance):
        c, b = _contributions(linear, a), linear.bias * bias
        up = _share(linear, np.maximum(c, 0), np.maximum(b, 0), relevance, 0, tiny, alpha)
        down = _share(linear, np.minimum(c, 0), np.minimum(b, 0), relevance, 0, tiny, -beta)
        return tuple(u + d for u, d in zip(up, down))

    return rule


def z_plus(bias=True, tiny=0.0):
    return alpha_beta(1.0, 0.0, bias, tiny)


def classic_gamma(gamma=0.25, bias=True, stabiliser=0.0):
    def rule(linear, a, relevance):
        c = a.ravel()[linear.source] * (linear.weight + gamma * np.maximum(linear.weight, 0))
        b = (linear.bias + gamma * np.maximum(linear.bias, 0)) * bias
        return _share(linear, c, b, relevance, stabiliser)

    return rule


def gamma(gamma=0.25, bias=True, stabiliser=0.0):
    """Generalized gamma: the side that agrees with the sign of z is favoured."""

    def rule(linear, a, relevance):
        c, b = _contributions(linear, a), linear.bias * bias
        positive = linear.to_outputs(c) + b >= 0
        favoured = np.where(positive[linear.sink], np.maximum(c, 0), np.minimum(c, 0))
        favoured_bias = np.where(positive, np.maximum(b, 0), np.minimum(b, 0))
        return _share(
            linear, c + gamma * favoured, b + gamma * favoured_bias, relevance, stabiliser
        )

    return rule


def flat(linear, a, relevance):
    return _share(linear, np.ones_like(linear.weight), 0.0 * linear.bias, relevance)


def w_square(linear, a, relevance):
    return _share(linear, linear.weight**2, 0.0 * linear.bias, relevance)


def z_box(low, high, stabiliser=0.0):
    def rule(linear, a, relevance):
        w = linear.weight
        c = _contributions(linear, a) - low * np.maximum(w, 0) - high * np.minimum(w, 0)
        return _share(linear, c, 0.0 * linear.bias, relevance, stabiliser)

    return rule

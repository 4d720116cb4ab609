"""Layer-wise relevance propagation written out from its formulas, slow, in float64.

Every linear layer becomes the list of its connections: input `source`, output `sink`, weight, so
that a rule is its formula over contributions c = a * w, and nothing else. Whole networks:
`oracle_network`.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 and 2019 (z-plus, z-box,
w-square, gamma), Lapuschkin et al. 2017 (flat), Andeol et al. 2021 (generalized gamma).
"""

from __future__ import annotations

import dataclasses

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
    saved = layer.get_weights()
    is_bias = ["bias" in w.name for w in layer.weights]
    unit = np.eye(int(np.prod(input_shape))).reshape(-1, *input_shape)

    def matrix(kernel):
        layer.set_weights([0 * w if b else kernel(w) for w, b in zip(saved, is_bias)])
        return layer(unit).numpy().reshape(len(unit), -1).astype("float64")

    weights, connected = matrix(lambda w: w), matrix(np.ones_like)
    layer.set_weights(saved)
    bias = layer(0 * unit[:1]).numpy()[0]
    source, sink = np.nonzero(connected)
    values = weights[source, sink]
    flat_bias = bias.ravel().astype("float64")
    return LinearMap(source, sink, values, flat_bias, tuple(input_shape), bias.shape)


def _taps(size, kernel, stride, dilation, padding):
    """One axis of a convolution: output size, and (tap, outputs, inputs) for each kernel tap."""
    reach = (kernel - 1) * dilation + 1
    if padding == "same":
        out = -(-size // stride)
        before = max((out - 1) * stride + reach - size, 0) // 2
    else:
        out, before = (size - reach) // stride + 1, 0
    taps = []
    for tap in range(kernel):
        inputs = np.arange(out) * stride - before + tap * dilation
        inside = (inputs >= 0) & (inputs < size)
        taps.append((tap, np.arange(out)[inside], inputs[inside]))
    return out, taps


def _windows(shape, kernel_size, strides, dilation, padding):
    """Pairs of pixels that a sliding window connects, by kernel tap."""
    h, w = shape[:2]
    out_h, rows = _taps(h, kernel_size[0], strides[0], dilation[0], padding)
    out_w, columns = _taps(w, kernel_size[1], strides[1], dilation[1], padding)
    pairs = []
    for u, oy, iy in rows:
        for v, ox, ix in columns:
            sink = (oy[:, None] * out_w + ox).ravel()
            source = (iy[:, None] * w + ix).ravel()
            pairs.append((u, v, source, sink))
    return (out_h, out_w), pairs


def _assemble(parts, bias, input_shape, output_shape):
    """Parts: (source pixels, sink pixels, source channel, sink channel, weight)."""
    cin, cout = input_shape[-1], output_shape[-1]
    source = np.concatenate([p * cin + ci for p, _, ci, _, _ in parts])
    sink = np.concatenate([q * cout + co for _, q, _, co, _ in parts])
    weight = np.concatenate([np.full(len(p), float(w)) for p, _, _, _, w in parts])
    bias = np.broadcast_to(np.asarray(bias, "float64"), output_shape).ravel()
    return LinearMap(source, sink, weight, bias, tuple(input_shape), tuple(output_shape))


def convolution_map(layer, shape):
    """Connections of a Conv2D."""
    kernel = layer.kernel.numpy()
    kh, kw, per_group, filters = kernel.shape
    size, pairs = _windows(shape, (kh, kw), layer.strides, layer.dilation_rate, layer.padding)
    parts = [
        (source, sink, co // (filters // layer.groups) * per_group + k, co, kernel[u, v, k, co])
        for u, v, source, sink in pairs
        for k in range(per_group)
        for co in range(filters)
    ]
    return _assemble(parts, _bias(layer), shape, (*size, filters))


def transposed_map(layer, shape):
    """Connections of a Conv2DTranspose: those of a convolution, walked the other way."""
    kernel = layer.kernel.numpy()
    kh, kw, filters, cin = kernel.shape
    size = layer.compute_output_shape((1, *shape))[1:3]
    back, pairs = _windows(size, (kh, kw), layer.strides, layer.dilation_rate, layer.padding)
    assert back == tuple(shape[:2])
    parts = [
        (source, sink, ci, co, kernel[u, v, co, ci])
        for u, v, sink, source in pairs
        for ci in range(cin)
        for co in range(filters)
    ]
    return _assemble(parts, _bias(layer), shape, (*size, filters))


def depthwise_map(layer, shape, bias=None):
    """Connections of a DepthwiseConv2D."""
    kernel = layer.get_weights()[0]
    kh, kw, cin, multiplier = kernel.shape
    size, pairs = _windows(shape, (kh, kw), layer.strides, layer.dilation_rate, layer.padding)
    parts = [
        (source, sink, ci, ci * multiplier + m, kernel[u, v, ci, m])
        for u, v, source, sink in pairs
        for ci in range(cin)
        for m in range(multiplier)
    ]
    bias = _bias(layer) if bias is None else bias
    return _assemble(parts, bias, shape, (*size, cin * multiplier))


def dense_map(layer, shape, kernel=None):
    """Connections of a Dense layer, or of a 1 x 1 convolution, on the last axis."""
    kernel = (layer.kernel if kernel is None else kernel).numpy()
    kernel = kernel.reshape(kernel.shape[-2:])
    pixels = np.arange(int(np.prod(shape[:-1])))
    parts = [(pixels, pixels, ci, co, kernel[ci, co]) for ci, co in np.ndindex(*kernel.shape)]
    return _assemble(parts, _bias(layer), shape, (*shape[:-1], kernel.shape[1]))


def average_map(layer, shape):
    """Connections of an average pooling, each window divided by its inputs within the image."""
    size, pairs = _windows(shape, layer.pool_size, layer.strides, (1, 1), layer.padding)
    parts = [(p, q, c, c, 1.0) for _, _, p, q in pairs for c in range(shape[-1])]
    pooled = _assemble(parts, 0.0, shape, (*size, shape[-1]))
    count = pooled.to_outputs(pooled.weight).reshape(pooled.output_shape)
    return pooled.then(1 / count, 0.0)


def global_average_map(shape, keepdims):
    """Connections of a global average pooling."""
    pixels = np.arange(shape[0] * shape[1])
    parts = [(pixels, 0 * pixels, c, c, 1 / len(pixels)) for c in range(shape[2])]
    return _assemble(parts, 0.0, shape, (1, 1, shape[2]) if keepdims else (shape[2],))


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


def _bias(layer):
    return layer.bias.numpy() if layer.use_bias else 0.0


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

"""Layer-wise relevance propagation through whole functional models, slow, in float64.

Models are walked as they were built. Batch normalization is part of the linear map before it, or
after it where that one is unpadded, through gamma * (z - mean) / sqrt(variance + epsilon) + beta
applied to that map's connections; no new kernel is made.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import oracle
import tensorflow as tf

from kerasgan.stack import KERAS_3

IDENTITY = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout")
IDENTITY += ("SeededDropout", "ActivityRegularization")
LINEAR = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense", "pointwise")
MOVING = ("ZeroPadding2D", "Cropping2D", "UpSampling2D", "Reshape", "Flatten")
AFFINE = ("BatchNormalization", "Rescaling", "Normalization")
NORM = ("GroupNormalization", "InstanceNormalization")


@dataclasses.dataclass
class Step:
    """One application of one layer."""

    layer: keras.layers.Layer
    inputs: list
    output: int
    kind: str
    before: list = dataclasses.field(default_factory=list)  # affine layers taken in
    after: list = dataclasses.field(default_factory=list)
    linear: oracle.LinearMap = None

    part: str = ""  # of a layer that is several steps

    @property
    def names(self):
        return [self.layer.name + self.part] + [layer.name for layer in self.after]


def steps_of(model):
    """Flattens a functional model into steps in order of computation; the input is value 0."""
    steps = []
    counter = iter(range(1, 10**6))

    def add(layer, inputs, kind, part=""):
        steps.append(Step(layer, inputs, next(counter), kind, part=part))
        return [steps[-1].output]

    def apply(layer, inputs):
        kind = type(layer).__name__
        if isinstance(layer, keras.Model):
            return expand(layer, inputs)
        if kind == "SeparableConv2D":
            inputs = add(layer, inputs, "DepthwiseConv2D", "_depthwise")
            inputs = add(layer, inputs, "pointwise")
        elif kind != "Activation":
            inputs = add(layer, inputs, kind, "_centre" if kind in NORM else "")
        activation = getattr(layer, "activation", None)
        if activation in (None, keras.activations.linear):
            return inputs
        return add(layer, inputs, "Activation", "" if kind == "Activation" else "_activation")

    def expand(network, values):
        if isinstance(network, keras.Sequential):
            for layer in network.layers:
                values = apply(layer, values)
            return values
        config = network.get_config()
        calls = {}
        for entry in config["layers"]:
            nested = isinstance(network.get_layer(entry["name"]), keras.Model)
            first = int(nested and not KERAS_3)  # Keras 2 counts how the model itself was made
            for number, call in enumerate(entry["inbound_nodes"], first):
                calls[entry["name"], number] = histories(call)
        known = dict(zip(histories(config["input_layers"]), values))

        def value(history):
            if history not in known:
                name, number, _ = history
                outputs = apply(network.get_layer(name), list(map(value, calls[name, number])))
                known.update({(name, number, i): output for i, output in enumerate(outputs)})
            return known[history]

        return [value(history) for history in histories(config["output_layers"])]

    (result,) = expand(model, [0])
    return steps, result


def histories(config):
    """The tensors that a model's configuration names: (layer, number of its call, output)."""
    if isinstance(config, dict):
        config = config.get("keras_history") or list(config.values())
    if not isinstance(config, (list, tuple)):
        return []
    if len(config) >= 3 and isinstance(config[0], str) and isinstance(config[1], int):
        return [tuple(config[:3])]
    return [history for part in config for history in histories(part)]


def _skip(steps, result, dropped):
    """Removes steps that hand their input on."""
    renamed = {}
    for step in steps:
        step.inputs = [renamed.get(i, i) for i in step.inputs]
        if dropped(step):
            renamed[step.output] = step.inputs[0]
    return [s for s in steps if not dropped(s)], renamed.get(result, result)


def merged_steps(model):
    """Steps without dropout and the final activation, batch norm merged where it can be."""
    steps, result = _skip(*steps_of(model), lambda s: s.kind in IDENTITY)
    last = result
    ends = ("Activation", "Softmax")
    steps, result = _skip(steps, result, lambda s: s.output == last and s.kind in ends)

    def users(value):
        return [s for s in steps if value in s.inputs]

    for step in [s for s in steps if s.kind == "BatchNormalization"]:
        maker = next((s for s in steps if s.output == step.inputs[0]), None)
        if maker is not None and maker.kind in LINEAR and len(users(maker.output)) == 1:
            maker.after.append(step.layer)
            maker.output = step.output
            steps.remove(step)
    for step in [s for s in reversed(steps) if s.kind == "BatchNormalization"]:
        following = users(step.output)
        if step.output != result and len(following) == 1 and _unpadded(following[0]):
            following[0].before.insert(0, step.layer)
            following[0].inputs = step.inputs
            steps.remove(step)
    return steps, result


def _unpadded(step):
    if step.kind in ("Dense", "pointwise"):
        return True
    if step.kind not in ("Conv2D", "DepthwiseConv2D"):
        return False
    return step.layer.padding == "valid" or set(step.layer.kernel_size) == {1}


def affine_of(layer):
    """Scale and shift of an affine layer, from its formula."""
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        deviation = np.sqrt(layer.moving_variance.numpy().astype("float64") + layer.epsilon)
        scale = (layer.gamma.numpy() if layer.scale else 1.0) / deviation
        shift = layer.beta.numpy() if layer.center else 0.0
        return scale, shift - layer.moving_mean.numpy() * scale
    if kind == "Rescaling":
        return np.asarray(layer.scale, "float64"), np.asarray(layer.offset, "float64")
    deviation = np.sqrt(np.asarray(layer.variance, "float64"))
    return 1 / deviation, -np.asarray(layer.mean, "float64") / deviation


def linear_map(step, shape):
    """The linear map of a step on an input of this shape, None if it has none."""
    layer, kind = step.layer, step.kind
    interpolates = kind == "UpSampling2D" and layer.interpolation != "nearest"
    if kind in NORM:
        linear = oracle.centring_map(shape, _groups(layer, shape[-1]))
    elif kind in (*LINEAR, "AveragePooling2D", "GlobalAveragePooling2D") or interpolates:
        separable = type(layer).__name__ == "SeparableConv2D"
        layer = _half(layer, kind, shape) if separable else layer
        linear = oracle.jacobian_map(layer, shape)
    else:
        return None
    for inner in reversed(step.before):
        linear = linear.after(*affine_of(inner))
    for outer in step.after:
        linear = linear.then(*affine_of(outer))
    return linear


def _half(layer, kind, shape):
    """One of the two convolutions that a separable one is."""
    depthwise, pointwise, *bias = layer.get_weights()
    if kind == "pointwise":
        half = keras.layers.Conv2D(layer.filters, 1, use_bias=layer.use_bias, dtype=layer.dtype)
        weights = [pointwise, *bias]
    else:
        names = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
        options = {name: getattr(layer, name) for name in names}
        half = keras.layers.DepthwiseConv2D(**options, use_bias=False, dtype=layer.dtype)
        weights = [depthwise]
    half.build((None, *shape))
    half.set_weights(weights)
    return half


# --------------------------------------------------------------------------- the other layers


def _routing(step):
    """What a layer that moves values does to an array; None for another layer."""
    if step.kind not in MOVING:
        return None
    return lambda x: step.layer(x[None].astype("float64")).numpy()[0].astype(x.dtype)


def _activate(layer, kind, x):
    if kind == "Activation":
        return layer.activation(tf.constant(x)).numpy()
    if kind not in ("ReLU", "LeakyReLU", "PReLU", "ELU"):
        raise NotImplementedError(f"{layer.name}: {kind}")
    return layer(x[None]).numpy()[0].astype("float64")


def _winners(layer, x):
    """For each output of a max pooling, the flat index of the first largest input."""
    options = (layer.pool_size, layer.strides, layer.padding.upper())
    return tf.nn.max_pool_with_argmax(x[None], *options).argmax[0].numpy()


def _groups(layer, channels):
    if type(layer).__name__ == "InstanceNormalization" or layer.groups == -1:
        return channels
    return layer.groups


def _divide_by_deviation(layer, centred):
    groups = _groups(layer, centred.shape[-1])
    split = centred.reshape(-1, groups, centred.shape[-1] // groups)
    variance = np.mean(split**2, axis=(0, 2), keepdims=True)
    normed = (split / np.sqrt(variance + layer.epsilon)).reshape(centred.shape)
    gamma = layer.gamma.numpy().astype("float64") if layer.scale else 1.0
    return normed * gamma + (layer.beta.numpy() if layer.center else 0.0)


# --------------------------------------------------------------------------- the walk


@dataclasses.dataclass
class Walk:
    """What an explanation of one image gives.

    input: relevance of the image. output: relevance at the output of each layer, by name; of a
    shared layer, summed. ledger: by layer name, in, out, bias, stabiliser, unsupported.
    """

    input: np.ndarray
    output: dict
    ledger: dict


class Network:
    """A functional model, walked image by image.

    Args:
        model: functional, one input, one output; small.
        proportional: rule of sums, averages, interpolation and centring.
        shape: of the input, without the batch.
    """

    def __init__(self, model, proportional=None, shape=None):
        self.steps, self.result = merged_steps(model)
        self.proportional = proportional or oracle.epsilon(1e-6, bias=False)
        shapes = {0: tuple(shape or model.input_shape[1:])}
        padding = {}  # by value, where it holds what a padding layer added
        for step in self.steps:
            shape = shapes[step.inputs[0]]
            step.linear = linear_map(step, shape)
            padded = padding.get(step.inputs[0], np.zeros(shape, bool))
            if step.kind == "ZeroPadding2D":
                padding[step.output] = ~_routing(step)(~padded)
            elif _routing(step):
                padding[step.output] = _routing(step)(padded)
            elif step.kind in LINEAR and step.inputs[0] in padding:
                step.linear = step.linear.without(padded)
            given = [np.zeros(shapes[i]) for i in step.inputs]
            shapes[step.output] = self._compute(step, given).shape

    def forward(self, image):
        """Every value of the network for one image (h, w, c)."""
        values = {0: np.asarray(image, "float64")}
        for step in self.steps:
            values[step.output] = self._compute(step, [values[i] for i in step.inputs])
        return values

    def logits(self, image):
        """What the final activation is given."""
        return self.forward(image)[self.result]

    def explain(self, image, rule_of, weights=None, start=None, kept=None):
        """Relevance for one image.

        Args:
            image: (h, w, c).
            rule_of: layer name -> rule.
            weights: start from logits * weights,
            start: or from this.
            kept: which input of each Concatenate receives relevance; None for all.
        """
        values = self.forward(image)
        relevance = {i: np.zeros(v.shape) for i, v in values.items()}
        first = values[self.result] * weights if start is None else start
        relevance[self.result] = np.asarray(first, "float64").reshape(values[self.result].shape)
        outputs, ledger = {}, {}
        for step in reversed(self.steps):
            arriving = relevance[step.output]
            inputs = [values[i] for i in step.inputs]
            parts, *gone = self._send_back(step, inputs, arriving, rule_of)
            if step.kind == "Concatenate" and kept is not None:
                gone[2] = sum(p.sum() for i, p in enumerate(parts) if i != kept)
                parts = [p * (i == kept) for i, p in enumerate(parts)]
            for i, part in zip(step.inputs, parts):
                relevance[i] = relevance[i] + part
            row = np.array([arriving.sum(), sum(p.sum() for p in parts), *gone])
            for name in step.names:
                outputs[name] = outputs.get(name, 0) + arriving
                ledger[name] = ledger.get(name, 0) + row
        return Walk(relevance[0], outputs, ledger)

    def _compute(self, step, inputs):
        layer, kind, x = step.layer, step.kind, inputs[0]
        if kind in NORM:
            return _divide_by_deviation(layer, step.linear(x))
        if step.linear is not None:
            return step.linear(x)
        if kind in AFFINE:
            scale, shift = affine_of(layer)
            return x * scale + shift
        if _routing(step):
            return _routing(step)(x)
        if kind == "Add":
            return sum(inputs)
        if kind == "Concatenate":
            return np.concatenate(inputs, -1)
        if kind == "Multiply":
            return inputs[0] * inputs[1]
        if kind == "MaxPooling2D":
            return x.ravel()[_winners(layer, x)]
        return _activate(layer, kind, x)

    def _send_back(self, step, inputs, relevance, rule_of):
        """Relevance of each input, then what went to biases, stabiliser, unsupported."""
        layer, kind, x = step.layer, step.kind, inputs[0]
        if kind in LINEAR:
            part, *gone = rule_of(layer.name)(step.linear, x, relevance)
            return [part], *gone
        if step.linear is not None:
            part, *gone = self.proportional(step.linear, x, relevance)
            return [part], *gone
        if kind == "Add":
            total = sum(inputs)
            both = oracle.LinearMap(
                np.arange(total.size * len(inputs)),
                np.tile(np.arange(total.size), len(inputs)),
                np.ones(total.size * len(inputs)),
                np.zeros(total.size),
                (len(inputs), *total.shape),
                total.shape,
            )
            parts, *gone = self.proportional(both, np.stack(inputs), relevance)
            return list(parts), *gone
        if kind == "Concatenate":
            edges = np.cumsum([i.shape[-1] for i in inputs])[:-1]
            parts = np.split(relevance, edges, -1)
        elif kind == "Multiply":
            gate = self._gate(step, inputs)
            parts = [np.zeros(i.shape) if k == gate else relevance for k, i in enumerate(inputs)]
        elif kind == "MaxPooling2D":
            where = _winners(layer, x).ravel()
            parts = [np.bincount(where, relevance.ravel(), x.size).reshape(x.shape)]
        elif _routing(step):
            where = _routing(step)(np.arange(1, x.size + 1).reshape(x.shape)).ravel()
            routed = np.bincount(where, relevance.ravel(), x.size + 1)
            return [routed[1:].reshape(x.shape)], 0.0, 0.0, routed[0]  # routed[0]: on padding
        else:
            parts = [relevance]
        return parts, 0.0, 0.0, 0.0

    def _gate(self, step, inputs):
        small = [i.size < max(j.size for j in inputs) for i in inputs]
        if any(small):
            return small.index(True)
        bounded = [
            next(s for s in self.steps if s.output == i).layer.activation.__name__ == "sigmoid"
            if any(s.output == i and s.kind == "Activation" for s in self.steps)
            else False
            for i in step.inputs
        ]
        return bounded.index(True)

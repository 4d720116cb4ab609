"""What the tests of canonical networks share: small models, random weights, the comparison."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

LINEAR = keras.activations.linear


def randomize(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.dtype.is_floating:
            continue
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "bias" in weight.name or "beta" in weight.name or "mean" in weight.name:
            weight.assign(rng.normal(0, 0.5, weight.shape))
        else:
            fan_in = max(1, np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(0, 1 / np.sqrt(fan_in), weight.shape))
    return model


def images_for(model, batch=2):
    rng = np.random.default_rng(1)
    shapes = [[n or 16 for n in tensor.shape[1:]] for tensor in model.inputs]
    images = [tf.constant(rng.uniform(-1, 1, [batch, *shape])) for shape in shapes]
    return [tf.cast(image, tensor.dtype) for image, tensor in zip(images, model.inputs)]


def logits_of(model, images):
    history = model.outputs[0]._keras_history
    last = history.layer
    if isinstance(last, (layers.Activation, layers.Softmax)) or hasattr(last, "symbol"):
        before = history.layer._inbound_nodes[history.node_index].keras_inputs
        model = keras.Model(model.inputs, before)
    elif hasattr(history.layer, "activation"):
        kept, history.layer.activation = history.layer.activation, LINEAR
        logits = model(images, training=False)
        history.layer.activation = kept
        return logits
    return model(images, training=False)


def check(model, tolerance=1e-10, seed=0, **options):
    """Asserts that the canonical network gives the model's logits, and returns it."""
    randomize(model, seed)
    canonical = canonize(model, check=False, **options)
    images = images_for(model)
    expected = logits_of(model, images).numpy()
    received = canonical.model(images).numpy()
    assert received.dtype == expected.dtype
    assert np.ptp(expected) > 1e-3
    assert np.abs(received - expected).max() <= tolerance * np.abs(expected).max()
    for layer in canonical.model.layers:
        kind_of(layer)
    return canonical


def kinds(canonical):
    return [type(layer).__name__ for layer in canonical.model.layers]


def small(*body, shape=(16, 16, 4), last=None):
    """A model of some layers and a last convolution."""
    image = x = keras.Input(shape, name="image")
    for layer in body:
        x = layer(x)
    return keras.Model(image, (last or layers.Conv2D(2, 1, name="last"))(x))


def copy(layer, **changes):
    """The same layer, of the precision that holds now."""
    config = {**layer.get_config(), **changes}
    del config["dtype"]
    return type(layer).from_config(config)


def norm(**options):
    return layers.BatchNormalization(name="norm", **options)

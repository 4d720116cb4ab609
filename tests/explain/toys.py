"""A small network with a skip connection, and images for it."""

import functools

import keras
import numpy as np
from keras import layers

from kerasgan.explain import Explainer
from kerasgan.explain.canonize import read_graph
from kerasgan.explain.linear import Linear
from kerasgan.explain.methods import DEFAULT_RULE


def close(a, b, tolerance=1e-5):
    """Asserts that arrays differ by no more than this part of the largest value."""
    np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def with_random_weights(model, seed=10):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variance = "variance" in variable.name
        values = (
            rng.uniform(0.5, 2, variable.shape) if variance else rng.normal(size=variable.shape)
        )
        variable.assign(values)
    return model


def small(batch_norm=False, slope=0.2):
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="down_1_conv")(image)
    skip = layers.LeakyReLU(slope, name="down_1_act")(x)
    x = layers.Conv2D(6, 4, strides=2, padding="same", name="down_2_conv")(skip)
    if batch_norm:
        x = layers.BatchNormalization(name="down_2_bn")(x)
    x = layers.ReLU(name="down_2_act")(x)
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up_1_conv")(x)
    x = layers.Concatenate(name="up_1_skip")([x, skip])
    x = layers.ReLU(name="up_1_act")(x)
    x = layers.Conv2D(1, 1, name="head")(x)
    return with_random_weights(keras.Model(image, layers.Activation("sigmoid", name="mask")(x)))


@functools.cache
def shared_explainer(rule=DEFAULT_RULE, batch_norm=False):
    """An explainer of `small`, traced once for all tests that change neither it nor the network."""
    return Explainer(small(batch_norm), rule)


IMAGES = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 3)).astype("float32")


def linear_of(layer, shape, valid=None, nonnegative=False):
    """What makes, in a function being traced, a layer at work as a rule sees it.

    Args:
        layer: A layer with weights.
        shape: Of an image that it is given.
        valid: 1 where images are pixels and 0 where padding, if not all are.
        nonnegative: Whether images are known to be at least 0.

    Returns:
        A function from images to `Linear`.
    """
    image = keras.Input(shape, dtype=layer.compute_dtype)
    graph = read_graph(keras.Model(image, layer(image)))
    (node,) = graph.nodes

    class Known(Linear):
        valid = property(lambda self: Linear.valid.fget(self) if given is None else given)

    given = valid

    def linear(images):
        found = Known(graph.run(images), node)
        found.nonnegative = nonnegative
        return found

    return linear

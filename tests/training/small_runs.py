"""A small GAN, and data to train it on for a moment."""

import numpy as np

import kerasgan as kg
from kerasgan.training import store


def some_data(count):
    """Images, and masks of what is bright in their first channel."""
    images = np.random.default_rng(0).uniform(-1, 1, (count, 32, 32, 3)).astype("float32")
    return images, (images[..., :1] > 0).astype("float32")


IMAGES, MASKS = some_data(6)


def small_gan(**changes):
    small = {"size": 32, "filters": 2, "discriminator": "pixel_discriminator"}
    return kg.recipes.build("pix2pix", **{**small, **changes})


def fit(gan, epochs, **kwargs):
    return gan.fit(IMAGES, MASKS, batch_size=3, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def weights(gan):
    variables = store.optimizer_variables(gan)
    networks = gan.generator.get_weights() + gan.discriminator.get_weights()
    return networks + [value.numpy() for value in variables.values()]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_allclose(a, b, atol=1e-6)

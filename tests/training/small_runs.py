"""A small GAN, and data to train it on for a moment."""

import numpy as np
import tensorflow as tf

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


def two_devices():
    """Two devices; their ring of collectives allows one strategy a process."""
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)


def renewal(gan):
    """Return what sets a compiled GAN back to where it began: its steps need no second tracing."""
    kept = [*gan.weights, *store.optimizer_variables(gan).values()]
    optimizers = (gan.optimizer, getattr(gan, "discriminator_optimizer", None))
    kept += [optimizer.learning_rate for optimizer in optimizers if optimizer is not None]
    values = [value.numpy() for value in kept]

    def renew():
        for variable, value in zip(kept, values):
            variable.assign(value)
        return gan

    return renew


def fit(gan, epochs, **kwargs):
    return gan.fit(IMAGES, MASKS, batch_size=3, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def weights(gan):
    networks = [value for network in gan._networks() for value in network.weights]
    return [value.numpy() for value in (*networks, *store.optimizer_variables(gan).values())]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_allclose(a, b, atol=1e-6)

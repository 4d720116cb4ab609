"""Parts that the networks share."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.addons import addons
from kerasgan.errors import KerasganError

__all__ = ["SeededDropout"]


@keras.saving.register_keras_serializable("kerasgan")
class SeededDropout(keras.layers.Layer):
    """Dropout whose every mask is given by a seed and a counter of training steps.

    Keras' own layer keeps a random state that no checkpoint holds. Here the counter is a weight:
    it is saved and restored with the network, so a resumed run drops what the uninterrupted run
    would have dropped. Under `tf.distribute` each replica gets a mask of its own.

    Args:
        rate: fraction of the inputs set to zero in training, in [0, 1).
        seed: int; layers of one network should have different seeds.

    Example:
        >>> import tensorflow as tf
        >>> import kerasgan as kg
        >>> layer = kg.models.SeededDropout(0.5, seed=1)
        >>> kept = layer(tf.ones((1, 8)), training=True)
        >>> float(tf.reduce_max(layer(tf.ones((1, 8)))))
        1.0
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise KerasganError(f"Argument 'rate' must lie in [0, 1). Received: {rate}")
        self.rate = rate
        self.seed = int(seed)

    def build(self, input_shape):
        """Create the step counter."""
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs, training=None):
        """Drop in training, pass through otherwise."""
        if training is None:
            training = keras.backend.learning_phase()

        def drop():
            seed = tf.stack([tf.constant(self.seed, tf.int64), self.step.assign_add(1)])
            replica = tf.distribute.get_replica_context()
            if replica is not None and replica.num_replicas_in_sync > 1:
                number = replica.replica_id_in_sync_group
                seed = tf.random.experimental.stateless_fold_in(seed, number)
            return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed, rng_alg="philox")

        return tf.__internal__.smart_cond.smart_cond(training, drop, lambda: tf.identity(inputs))

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return what rebuilds the layer."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def conv_settings(seed: int, number: int) -> dict:
    """Return the paper's start values, N(0, 0.02), for convolution `number` of a network."""
    start = keras.initializers.RandomNormal(0.0, 0.02, seed=1000 * seed + number)
    return {"kernel_initializer": start}


def batch_norm(name: str) -> keras.layers.BatchNormalization:
    """Return a batch normalisation with the constants of the published code."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def bounded(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a layer whose kernel is kept at a largest singular value of 1, under its own name."""
    name = layer.name
    layer._name = f"{name}_inner"
    return addons().layers.SpectralNormalization(layer, name=name)


def check_counts(**arguments) -> None:
    """Raise unless every argument is an int from 1 up."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise KerasganError(f"Argument '{name}' must be an int from 1 up. Received: {value!r}")


def check_power_of_two(size) -> None:
    """Raise unless `size` is a power of two from 32 up."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 32 or size & (size - 1):
        raise KerasganError(
            f"Argument 'size' must be a power of two from 32 up. Received: {size!r}"
        )


def mask_activation(classes: int, single: str) -> keras.layers.Activation:
    """Return the last layer of a generator: `single` for one channel, softmax for several."""
    return keras.layers.Activation(
        single if classes == 1 else "softmax", dtype="float32", name="mask"
    )

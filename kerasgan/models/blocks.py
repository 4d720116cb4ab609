"""Parts that the networks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasgan.stack import ONLY_FIRST_REPLICA, spectral_normalization
from kerasgan.validation import (
    check_number,
    check_seed,
    check_size,
    check_whole_number,
    invalid,
    is_whole,
)


@keras.saving.register_keras_serializable("kerasgan")
class SeededDropout(keras.layers.Layer):
    """Dropout whose every mask is given by a seed and a counter of training steps.

    Keras' own layer keeps a random state that no checkpoint holds. Here the counter is a weight:
    it is saved and restored with the network, so a resumed run drops what the uninterrupted run
    would have dropped. Under `tf.distribute` each replica gets a mask of its own.

    Args:
        rate: fraction of the inputs set to zero in training, in [0, 1).
        seed: int; layers of one network should have different seeds.
        noise_shape: shape of the mask, as of `keras.layers.Dropout`: None for the input's own
            sizes, 1 for what is dropped together. (None, 1, 1, 1) drops whole images, which is
            stochastic depth on a branch.

    Example:
        >>> import tensorflow as tf
        >>> import kerasgan as kg
        >>> layer = kg.models.SeededDropout(0.5, seed=1)
        >>> kept = layer(tf.ones((1, 8)), training=True)
        >>> float(tf.reduce_max(layer(tf.ones((1, 8)))))
        1.0
    """

    def __init__(
        self,
        rate: float,
        seed: int = 0,
        noise_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.rate = check_number("rate", rate, least=0, below=1)
        self.seed = check_seed(seed)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def build(self, input_shape):
        """Create the step counter."""
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation=ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs, training=None):
        """Drop in training, pass through otherwise."""
        mask_shape = self.noise_shape
        if mask_shape is not None:
            sizes = tf.shape(inputs)
            mask_shape = [sizes[i] if n is None else n for i, n in enumerate(mask_shape)]

        def drop():
            seed = tf.stack([tf.constant(self.seed, tf.int64), self.step.assign_add(1)])
            replica = tf.distribute.get_replica_context()
            if replica is not None and replica.num_replicas_in_sync > 1:
                number = replica.replica_id_in_sync_group
                seed = tf.random.experimental.stateless_fold_in(seed, number)
            return tf.nn.experimental.stateless_dropout(
                inputs, self.rate, seed, rng_alg="philox", noise_shape=mask_shape
            )

        if tf.is_tensor(training):
            return tf.cond(tf.cast(training, tf.bool), drop, lambda: tf.identity(inputs))
        return drop() if training else tf.identity(inputs)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        shape = self.noise_shape and list(self.noise_shape)
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": shape}


@keras.saving.register_keras_serializable("kerasgan")
class WeightClip(keras.constraints.Constraint):
    """Keeps each weight within a limit, after every step.

    Source: Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1.
    """

    def __init__(self, limit: float):
        self.limit = float(check_number("limit", limit, above=0))

    def __call__(self, w):
        """Return the weight, clipped."""
        return tf.clip_by_value(w, -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the constraint."""
        return {"limit": self.limit}


def conv_settings(seed: int, number: int) -> dict:
    """Return the paper's start values, N(0, 0.02), for convolution `number` of a network."""
    start = keras.initializers.RandomNormal(0.0, 0.02, seed=1000 * seed + number)
    return {"kernel_initializer": start}


def batch_norm(name: str, **settings) -> keras.layers.BatchNormalization:
    """Return a batch normalisation with the constants of the published code."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name, **settings)


def apply_spectral_norm(layer: keras.layers.Layer, x, name: str):
    """Apply a layer whose kernel is kept at a largest singular value of 1 in training."""
    wrapped = spectral_normalization()(layer, name=name)
    x = wrapped(x)
    (vector,) = wrapped.non_trainable_weights
    vector.assign(tf.ones(vector.shape))
    return x


def he_start(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Return start values of He et al. 2015, for what a ReLU follows."""
    return keras.initializers.HeNormal(seed=next(seeds))


def glorot_start(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Return start values of Glorot and Bengio 2010, for logits."""
    return keras.initializers.GlorotUniform(seed=next(seeds))


def conv(x, channels: int, side: int, name: str, start, **settings):
    """Apply a convolution whose kernel has these start values."""
    layer = keras.layers.Conv2D(channels, side, kernel_initializer=start, name=name, **settings)
    return layer(x)


def conv_block(x, channels: int, prefix: str, seeds: Iterator[int]):
    """Apply what a U-Net does at each level: twice 3 x 3 convolution, batch norm, ReLU."""
    for part in "ab":
        x = conv(x, channels, 3, f"{prefix}_conv_{part}", he_start(seeds), padding="same")
        x = batch_norm(f"{prefix}_bn_{part}")(x)
        x = keras.layers.ReLU(name=f"{prefix}_act_{part}")(x)
    return x


def mask_head(x, classes: int, seeds: Iterator[int], factor: int = 1):
    """Compute logits, grow them bilinearly, and apply the last activation, in full precision."""
    precise = {"dtype": full_precision()}
    x = conv(x, classes, 1, "mask_conv", glorot_start(seeds), **precise)
    if factor > 1:
        grow = keras.layers.UpSampling2D(
            factor, interpolation="bilinear", name="mask_grow", **precise
        )
        x = grow(x)
    return mask_activation(classes, "sigmoid")(x)


def check_multiple(size, of: int, meaning: str = "") -> tuple[int, int]:
    """Return `size` as (height, width), or raise unless both are multiples of a number."""
    height, width = check_size("size", size)
    if height % of or width % of:
        raise invalid("size", f"a multiple of {meaning}{of}", size)
    return height, width


def check_counts(**arguments) -> None:
    """Raise unless every argument is a whole number from 1 up."""
    for name, value in arguments.items():
        check_whole_number(name, value, 1)


def check_power_of_two(size) -> None:
    """Raise unless `size` is a power of two from 32 up."""
    if not is_whole(size) or size < 32 or size & (size - 1):
        raise invalid("size", "a power of two from 32 up", size)


def full_precision() -> str:
    """Return the type that logits are computed in: that of weights, in mixed precision too."""
    return keras.mixed_precision.global_policy().variable_dtype


def mask_activation(classes: int, single: str) -> keras.layers.Activation:
    """Return the last layer of a generator: `single` for one channel, softmax for several."""
    return keras.layers.Activation(
        single if classes == 1 else "softmax", dtype=full_precision(), name="mask"
    )

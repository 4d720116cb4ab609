"""A loss on what a network looks at: the user says where it must not look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasgan.data.region import Region, as_region, mean_fraction_inside
from kerasgan.models.outputs import final_activation, to_probability, with_logits
from kerasgan.training.replicas import sample_uniform
from kerasgan.validation import check_seed


class _RegionPenalty:
    def __init__(self, region: Region, seed: int = 0):
        self.region = as_region(region)
        self.seed = check_seed(seed)

    def _key(self, step: tf.Tensor) -> tf.Tensor:
        return tf.stack([self.seed, tf.cast(step, tf.int32)])


class InvariancePenalty(_RegionPenalty):
    """Penalise how far a prediction changes when what is out of bounds is exchanged.

    Pass it to `SegmentationGAN.compile` as `penalty`, with a `penalty_weight`. What lies in the
    region of each image is replaced by what lies there in another image of the batch, drawn anew in
    every step. The loss is the mean over pixels and classes of the squared difference between the
    probabilities before and after. A network that does not use the region has none.

    It costs a second pass through the generator, and needs batches of two images or more. The
    region must be one where objects do not lie: exchanged with the rest, they would change the
    mask that is right.

    Args:
        region: Where the network must not look. An array (height, width) of weights from 0 to 1, 1
            inside; or a function from images (batch, height, width, channels) and masks (batch,
            height, width, classes) to such weights, (batch, height, width).
        seed: Key of the exchanges.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> corner = np.zeros((32, 32))
        >>> corner[24:, :8] = 1  # lower left, where a box is drawn
        >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
        >>> gan.compile(penalty=kg.training.InvariancePenalty(corner), penalty_weight=10.0)

    Source: Veitch et al. 2021 (arXiv 2106.00545) for invariance to what must not matter, as a
    penalty.
    """

    def __call__(self, network: keras.Model) -> Callable[..., tf.Tensor]:
        """Return the loss on a network, as `SegmentationGAN.compile` calls it."""
        activation = final_activation(network)

        def loss(
            image: tf.Tensor, mask: tf.Tensor, probability: Any, step: tf.Tensor, training: bool
        ) -> tf.Tensor:
            exchanged = _exchanged(image, self.region(image, mask), self._key(step))
            output = tf.cast(network(exchanged, training=training), tf.float32)
            return tf.reduce_mean((to_probability(output, activation) - probability) ** 2)

        return loss


class InputGradientPenalty(_RegionPenalty):
    """Penalise the share of the logits' slope that lies on pixels that are out of bounds.

    Pass it to `SegmentationGAN.compile` as `penalty`, with a `penalty_weight`. The loss is the mean
    over images of a number from 0 to 1: of the squared derivatives of the logits by all pixels, the
    share of those by pixels of the region. Being a share, it cannot be lowered by logits that are
    small everywhere.

    Derivatives are not taken logit by logit: the logits are added up with random signs, drawn anew
    in every step. Nor are they taken at the image alone, where a sign that the network has made up
    its mind about has no slope: the region is blended with that of another image of the batch, by
    a random part.

    It costs a second pass through the generator and a gradient through its gradient.
    `InvariancePenalty` asks for the same at less cost, and for more: no change rather than a
    smaller share.

    Args:
        region: As of `InvariancePenalty`.
        seed: Key of the signs and blends.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> corner = np.zeros((32, 32))
        >>> corner[24:, :8] = 1  # lower left, where a box is drawn
        >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
        >>> gan.compile(penalty=kg.training.InputGradientPenalty(corner), penalty_weight=10.0)

    Source: Ross et al. 2017 (arXiv 1703.03717) for the idea; Erion et al. 2021 (arXiv 1906.10670)
    for gradients on the way to other images; random projections as in Hoffman et al. 2019 (arXiv
    1908.02729).
    """

    def __call__(self, network: keras.Model) -> Callable[..., tf.Tensor]:
        """Return the loss on a network, as `SegmentationGAN.compile` calls it."""
        run = with_logits(network)

        def loss(
            image: tf.Tensor, mask: tf.Tensor, probability: Any, step: tf.Tensor, training: bool
        ) -> tf.Tensor:
            key, region = self._key(step), self.region(image, mask)
            part = sample_uniform(tf.stack([tf.shape(image)[0], 1, 1]), key + [1, 0])
            blended = _exchanged(image, region * part, key)
            with tf.GradientTape() as tape:
                tape.watch(blended)
                _, logits = run(blended, training=training)
                total = tf.reduce_sum(logits * tf.sign(sample_uniform(tf.shape(logits), key) - 0.5))
            slope = tf.reduce_sum(tf.cast(tape.gradient(total, blended), tf.float32) ** 2, -1)
            return mean_fraction_inside(slope, region)

        return loss


def _exchanged(image: tf.Tensor, region: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Images in which a region holds what lies there in another image of the batch."""
    others = tf.maximum(tf.shape(image)[0] - 1, 1)
    shift = 1 + tf.random.stateless_uniform((), key, 0, others, tf.int32)
    inside = tf.cast(tf.minimum(region, 1.0)[..., None], image.dtype)
    return image + inside * (tf.roll(image, shift, 0) - image)

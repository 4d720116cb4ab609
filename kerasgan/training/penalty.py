"""A loss on what a network looks at: the user says where it must not look."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from kerasgan.data.region import Region, region_of
from kerasgan.errors import KerasganError
from kerasgan.training.replicas import uniform

__all__ = ["GradientPenalty"]


class GradientPenalty:
    """Penalise how strongly the logits depend on pixels that are out of bounds.

    Pass it to `SegmentationGAN.compile` as `penalty`, with a `penalty_weight`. The loss is the mean
    over images, and over logits, of the squared derivatives of all logits by all pixels of the
    region. It is not computed logit by logit: the logits are added up with random signs, drawn
    anew in every step, and the square of that sum's gradient has the same expectation.

    It costs a second pass through the generator and a gradient through its gradient.

    Args:
        region: Where the network must not look. An array (height, width) of weights from 0 up, 1
            inside; or a function from images (batch, height, width, channels) and masks (batch,
            height, width, classes) to such weights, (batch, height, width).
        seed: Key of the signs.

    Raises:
        KerasganError: If the region is neither; from `compile`, if the generator does not end in
            an activation layer.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> corner = np.zeros((32, 32))
        >>> corner[24:, :8] = 1  # lower left, where a box is drawn
        >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
        >>> gan.compile(penalty=kg.training.GradientPenalty(corner), penalty_weight=10.0)

    Source: Ross et al. 2017 (arXiv 1703.03717) for the idea; random projections as in Hoffman et
    al. 2019 (arXiv 1908.02729).
    """

    def __init__(self, region: Region, seed: int = 0):
        self.region = region_of(region)
        self.seed = seed

    def __call__(self, network: keras.Model) -> Callable[..., tf.Tensor]:
        """Return the loss on a network: from images, masks and the step to a scalar."""
        logits_of = _before_activation(network)

        def loss(image: tf.Tensor, mask: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(image)
                logits = tf.cast(logits_of(image, training=False), tf.float32)
                key = tf.stack([self.seed, tf.cast(step, tf.int32)])
                draws = uniform(tf.shape(logits), key)
                total = tf.reduce_sum(logits * tf.sign(draws - 0.5))
            slope = tf.cast(tape.gradient(total, image), tf.float32)
            squares = tf.reduce_sum(slope**2, -1) * self.region(image, mask)
            count = tf.cast(tf.size(logits), tf.float32)
            return tf.reduce_sum(squares) / count

        return loss


def _before_activation(network: keras.Model) -> keras.Model:
    history = network.outputs[0]._keras_history
    if not isinstance(history.layer, (keras.layers.Activation, keras.layers.Softmax)):
        raise KerasganError(
            "Argument 'penalty' needs a generator that ends in an activation layer of its own, as "
            f"those of kerasgan.models do. Received: '{network.name}', which ends in "
            f"'{history.layer.name}'; move its activation into keras.layers.Activation"
        )
    node = history.layer._inbound_nodes[history.node_index]
    return keras.Model(network.inputs, node.keras_inputs[0])

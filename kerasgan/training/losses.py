"""Losses of the two networks, by name."""

from __future__ import annotations

import tensorflow as tf

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.heads import to_drawing

__all__ = ["ADVERSARIAL", "SEGMENTATION", "check_losses"]


def l1(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of the drawings in [-1, 1], as in pix2pix.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].

    Returns:
        A scalar in [0, 2].

    Example:
        >>> import tensorflow as tf
        >>> float(l1(tf.ones((1, 2, 2, 1)), tf.zeros((1, 2, 2, 1))))
        2.0

    Source: Isola et al. 2017 (arXiv 1611.07004), equation 3.
    """
    return tf.reduce_mean(tf.abs(to_drawing(truth) - to_drawing(probability)))


def cross_entropy(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy per pixel: binary for one channel, categorical for several.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].

    Returns:
        A scalar from 0 up, in nats. Probabilities are clipped to [1e-7, 1 - 1e-7].

    Example:
        >>> import tensorflow as tf
        >>> round(float(cross_entropy(tf.ones((1, 2, 2, 1)), tf.fill((1, 2, 2, 1), 0.5))), 4)
        0.6931
    """
    probability = tf.clip_by_value(probability, 1e-7, 1 - 1e-7)
    entropy = truth * tf.math.log(probability)
    if truth.shape[-1] == 1:
        entropy += (1 - truth) * tf.math.log1p(-probability)
    return -tf.reduce_mean(tf.reduce_sum(entropy, axis=-1))


def dice(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """One minus the soft Dice score, mean over images and channels.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].

    Returns:
        A scalar in [0, 1]. One pixel is added above and below, so an empty mask drawn empty is 0.

    Example:
        >>> import tensorflow as tf
        >>> float(dice(tf.ones((1, 2, 2, 1)), tf.ones((1, 2, 2, 1))))
        0.0

    Source: Milletari et al. 2016 (arXiv 1606.04797).
    """
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2))
    total = tf.reduce_sum(truth + probability, axis=(1, 2))
    return 1 - tf.reduce_mean((2 * overlap + 1) / (total + 1))


def _mean_entropy(label: float, logits: tf.Tensor) -> tf.Tensor:
    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


def vanilla(true_logits: tf.Tensor | None, drawn_logits: tf.Tensor) -> tuple:
    """The original loss of adversarial training, in its non-saturating form.

    Args:
        true_logits: the discriminator's of true masks, any shape; None where only the generator's
            loss is wanted.
        drawn_logits: the discriminator's of drawn masks.

    Returns:
        The generator's loss, BCE(drawn, 1), and the discriminator's, half of
        BCE(true, 1) + BCE(drawn, 0), both scalars.

    Example:
        >>> import tensorflow as tf
        >>> [round(float(x), 4) for x in vanilla(tf.zeros((1, 2)), tf.zeros((1, 2)))]
        [0.6931, 0.6931]

    Source: Goodfellow et al. 2014 (arXiv 1406.2661); the half as in Isola et al. 2017.
    """
    judged = (_mean_entropy(1.0, true_logits) + _mean_entropy(0.0, drawn_logits)) / 2
    return _mean_entropy(1.0, drawn_logits), judged


SEGMENTATION = {"l1": l1, "cross_entropy": cross_entropy, "dice": dice}
"""Losses between truth and probability, by name."""

ADVERSARIAL = {"vanilla": vanilla}
"""Pairs of losses of the two networks, by name."""


def check_losses(losses: dict, adversarial: str) -> None:
    """Raise unless the names are known and the weights numbers from 0 up.

    Args:
        losses: name -> weight, of `SEGMENTATION`.
        adversarial: a name of `ADVERSARIAL`.

    Raises:
        KerasganError: naming what is wrong.

    Example:
        >>> check_losses({"l1": 100.0}, "vanilla")
    """
    for name, weight in losses.items():
        if name not in SEGMENTATION:
            raise unknown_name("losses", name, SEGMENTATION)
        if not weight >= 0:
            raise KerasganError(
                f"Argument 'losses' must give every loss a weight from 0 up. "
                f"Received: {weight!r} for '{name}'"
            )
    if adversarial not in ADVERSARIAL:
        raise unknown_name("adversarial", adversarial, ADVERSARIAL)

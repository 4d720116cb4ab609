"""Losses between true masks and drawn ones, by name."""

from __future__ import annotations

import tensorflow as tf

from kerasgan.addons import addons, quiet
from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.outputs import to_drawing

__all__ = ["SEGMENTATION", "check_losses"]


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


def jaccard(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """One minus the soft Jaccard score, mean over images and channels.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].

    Returns:
        A scalar in [0, 1]. One pixel is added above and below, so an empty mask drawn empty is 0.

    Example:
        >>> import tensorflow as tf
        >>> float(jaccard(tf.ones((1, 2, 2, 1)), tf.ones((1, 2, 2, 1))))
        0.0

    Source: Rahman and Wang 2016 (doi 10.1007/978-3-319-50835-1_22).
    """
    return tversky(truth, probability, 1.0, 1.0)


def tversky(
    truth: tf.Tensor, probability: tf.Tensor, alarms: float = 0.3, misses: float = 0.7
) -> tf.Tensor:
    """One minus the soft Tversky index, which weighs what is missed above what is added.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].
        alarms: weight of false positives, alpha in the paper.
        misses: weight of false negatives, beta in the paper. 0.5 and 0.5 give the Dice loss.

    Returns:
        A scalar in [0, 1], mean over images and channels, one pixel added above and below.

    Example:
        >>> import tensorflow as tf
        >>> round(float(tversky(tf.ones((1, 2, 2, 1)), tf.zeros((1, 2, 2, 1)))), 4)
        0.7368

    Source: Salehi et al. 2017 (arXiv 1706.05721), equation 4.
    """
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2))
    added = tf.reduce_sum((1 - truth) * probability, axis=(1, 2))
    missed = tf.reduce_sum(truth * (1 - probability), axis=(1, 2))
    return 1 - tf.reduce_mean((overlap + 1) / (overlap + alarms * added + misses * missed + 1))


def focal(truth: tf.Tensor, probability: tf.Tensor, gamma: float = 2.0) -> tf.Tensor:
    """Mean focal loss per pixel: cross-entropy that fades where the network is already right.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].
        gamma: how fast it fades; 0 gives the cross-entropy.

    Returns:
        A scalar from 0 up. Probabilities are clipped to [1e-7, 1 - 1e-7].

    Example:
        >>> import tensorflow as tf
        >>> round(float(focal(tf.ones((1, 2, 2, 1)), tf.fill((1, 2, 2, 1), 0.5))), 4)
        0.1733

    Source: Lin et al. 2017 (arXiv 1708.02002), equation 4.
    """
    probability = tf.clip_by_value(probability, 1e-7, 1 - 1e-7)
    loss = truth * (1 - probability) ** gamma * tf.math.log(probability)
    if truth.shape[-1] == 1:
        loss += (1 - truth) * probability**gamma * tf.math.log1p(-probability)
    return -tf.reduce_mean(tf.reduce_sum(loss, axis=-1))


def boundary(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Mean signed distance of what is drawn to the true border, outside positive.

    It says how far off a false pixel is, which overlap losses do not; use it beside one of them.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        probability: the generator's, of the same shape, in [0, 1].

    Returns:
        A scalar, in shares of the longer side; least, and below 0, where the true mask is drawn.
        With several classes the background's border is left out. A mask without a border adds 0.

    Example:
        >>> import tensorflow as tf
        >>> truth = tf.reshape([1.0, 0, 0, 0], (1, 1, 4, 1))
        >>> float(boundary(truth, tf.reshape([0.0, 0, 0, 1], (1, 1, 4, 1))))
        0.1875

    Source: Kervadec et al. 2019 (arXiv 1812.07032), equation 5.
    """
    if truth.shape[-1] > 1:
        truth, probability = truth[..., 1:], probability[..., 1:]
    distance = tf.stop_gradient(_signed_distance(truth))
    return tf.reduce_mean(tf.cast(distance, probability.dtype) * probability)


def _signed_distance(truth: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(truth)
    planes = tf.reshape(tf.transpose(truth, (0, 3, 1, 2)), (-1, shape[1], shape[2], 1))
    inside = tf.cast(planes > 0.5, tf.uint8)
    distance = addons().image.euclidean_dist_transform
    with quiet():
        outward, inward = distance(1 - inside), distance(inside)
    signed = tf.where(inside > 0, 1 - inward, outward)
    mean = tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2), keepdims=True)
    signed = tf.where((mean > 0) & (mean < 1), signed, 0.0)
    signed /= tf.cast(tf.maximum(shape[1], shape[2]), tf.float32)
    planes = tf.reshape(signed, (shape[0], shape[3], shape[1], shape[2]))
    return tf.transpose(planes, (0, 2, 3, 1))


SEGMENTATION = {
    "l1": l1,
    "cross_entropy": cross_entropy,
    "dice": dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "focal": focal,
    "boundary": boundary,
}
"""Losses between truth and probability, by name."""


def check_losses(losses: dict) -> None:
    """Raise unless the names are known and the weights numbers from 0 up.

    Args:
        losses: name -> weight, of `SEGMENTATION`.

    Raises:
        KerasganError: naming what is wrong.

    Example:
        >>> check_losses({"l1": 100.0})
    """
    for name, weight in losses.items():
        if name not in SEGMENTATION:
            raise unknown_name("losses", name, SEGMENTATION)
        check_weight(f"losses[{name!r}]", weight)


def check_weight(name: str, value, most: float = float("inf")) -> None:
    """Raise unless `value` is a number from 0 up, below `most`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < most:
        limit = "up" if most == float("inf") else f"to below {most:g}"
        raise KerasganError(
            f"Argument '{name}' must be a number from 0 {limit}. Received: {value!r}"
        )

"""Losses between a generator and its discriminator, by name, and what steadies them."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.training.replicas import sample_uniform

__all__ = ["ADVERSARIAL", "THRESHOLDS", "check_adversarial"]


def _mean_entropy(label: float, logits: tf.Tensor) -> tf.Tensor:
    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


def vanilla(true_logits: tf.Tensor, drawn_logits: tf.Tensor, smoothing: float = 0.0) -> tuple:
    """The original loss of adversarial training, in its non-saturating form.

    Args:
        true_logits: the discriminator's of true masks, any shape.
        drawn_logits: the discriminator's of drawn masks.
        smoothing: true masks are labelled 1 - smoothing for the discriminator (Salimans et al.
            2016, arXiv 1606.03498, section 3.4).

    Returns:
        The generator's loss, BCE(drawn, 1), and the discriminator's, half of
        BCE(true, 1) + BCE(drawn, 0), both scalars.

    Example:
        >>> import tensorflow as tf
        >>> [round(float(x), 4) for x in vanilla(tf.zeros((1, 2)), tf.zeros((1, 2)))]
        [0.6931, 0.6931]

    Source: Goodfellow et al. 2014 (arXiv 1406.2661); the half as in Isola et al. 2017.
    """
    judged = _mean_entropy(1.0 - smoothing, true_logits) + _mean_entropy(0.0, drawn_logits)
    return _mean_entropy(1.0, drawn_logits), judged / 2


def least_squares(true_logits: tf.Tensor, drawn_logits: tf.Tensor, smoothing: float = 0.0) -> tuple:
    """Least squares: true masks are pulled to 1, drawn ones to 0.

    Args:
        true_logits: as for `vanilla`.
        drawn_logits: as for `vanilla`.
        smoothing: as for `vanilla`.

    Returns:
        The generator's loss, mean (drawn - 1)^2, and the discriminator's, half of
        mean (true - 1)^2 + mean drawn^2.

    Example:
        >>> import tensorflow as tf
        >>> [float(x) for x in least_squares(tf.ones((1, 2)), tf.zeros((1, 2)))]
        [1.0, 0.0]

    Source: Mao et al. 2017 (arXiv 1611.04076), equation 9.
    """
    judged = tf.reduce_mean((true_logits - (1 - smoothing)) ** 2) + tf.reduce_mean(drawn_logits**2)
    return tf.reduce_mean((drawn_logits - 1) ** 2), judged / 2


def hinge(true_logits: tf.Tensor, drawn_logits: tf.Tensor) -> tuple:
    """Hinge: the discriminator stops caring about what it tells apart by a margin of 1.

    Args:
        true_logits: as for `vanilla`.
        drawn_logits: as for `vanilla`.

    Returns:
        The generator's loss, -mean drawn, and the discriminator's,
        mean max(0, 1 - true) + mean max(0, 1 + drawn).

    Example:
        >>> import tensorflow as tf
        >>> float(hinge(tf.ones((1, 2)), -tf.ones((1, 2)))[1])
        0.0

    Source: Lim and Ye 2017 (arXiv 1705.02894).
    """
    judged = tf.reduce_mean(tf.nn.relu(1 - true_logits)) + tf.reduce_mean(
        tf.nn.relu(1 + drawn_logits)
    )
    return -tf.reduce_mean(drawn_logits), judged


def wasserstein(true_logits: tf.Tensor, drawn_logits: tf.Tensor) -> tuple:
    """Wasserstein: the difference of the means; it needs a gradient penalty (10 in the paper).

    Args:
        true_logits: as for `vanilla`.
        drawn_logits: as for `vanilla`.

    Returns:
        The generator's loss, -mean drawn, and the discriminator's, mean drawn - mean true.

    Example:
        >>> import tensorflow as tf
        >>> float(wasserstein(tf.ones((1, 2)), -tf.ones((1, 2)))[1])
        -2.0

    Source: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3.
    """
    return -tf.reduce_mean(drawn_logits), tf.reduce_mean(drawn_logits) - tf.reduce_mean(true_logits)


def segan(true_logits: tf.Tensor, drawn_logits: tf.Tensor) -> tuple:
    """SegAN: the mean absolute difference of a critic's features, which it widens.

    Args:
        true_logits: a critic's features of image and true mask, as `feature_critic` gives them.
        drawn_logits: those of image and drawn mask.

    Returns:
        The generator's loss, mean |true - drawn|, and the critic's, its negative.

    Example:
        >>> import tensorflow as tf
        >>> [float(x) for x in segan(tf.ones((1, 2)), tf.zeros((1, 2)))]
        [1.0, -1.0]

    Source: Xue et al. 2018 (arXiv 1706.01805), equation 2.
    """
    apart = tf.reduce_mean(tf.abs(true_logits - drawn_logits))
    return apart, -apart


ADVERSARIAL = {
    "vanilla": vanilla,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "segan": segan,
}
"""Pairs of losses of the two networks, by name."""

THRESHOLDS = {"vanilla": 0.0, "least_squares": 0.5, "hinge": 0.0}
"""The logit above which a discriminator takes a mask for true, where the loss has one."""


def accuracy(true: tf.Tensor, drawn: tf.Tensor, border: float) -> tf.Tensor:
    """Return the share of all masks that the discriminator tells right.

    Args:
        true: its logits of true masks.
        drawn: its logits of drawn masks.
        border: the logit above which it takes a mask for true.

    Example:
        >>> import tensorflow as tf
        >>> float(accuracy(tf.constant([1.0, -1.0]), tf.constant([-1.0, -1.0]), 0.0))
        0.75
    """
    told = [tf.cast(right, tf.float32) for right in (true > border, drawn <= border)]
    return tf.reduce_mean(tf.stack(told))


def check_adversarial(adversarial: str, label_smoothing: float) -> None:
    """Raise unless the loss is known and has labels that can be smoothed, where that is asked.

    Args:
        adversarial: a name of `ADVERSARIAL`.
        label_smoothing: in [0, 1).

    Raises:
        KerasganError: naming what is wrong.

    Example:
        >>> check_adversarial("hinge", 0.0)
    """
    if adversarial not in ADVERSARIAL:
        raise unknown_name("adversarial", adversarial, ADVERSARIAL)
    if label_smoothing and adversarial not in ("vanilla", "least_squares"):
        raise KerasganError(
            f"Argument 'label_smoothing' must be 0 for '{adversarial}', which has no labels. "
            f"Received: {label_smoothing!r}"
        )


def expose_features(discriminator: keras.Model) -> keras.Model:
    """Return the discriminator with its hidden activations as further outputs.

    Args:
        discriminator: functional `keras.Model`.

    Returns:
        A model on the same weights, inputs -> [logits, activation, ...].

    Raises:
        KerasganError: if it has no hidden activation layer.

    Example:
        >>> import kerasgan as kg
        >>> len(expose_features(kg.models.patch_discriminator(size=32, filters=2)).outputs)
        5
    """
    kinds = (keras.layers.LeakyReLU, keras.layers.ReLU, keras.layers.Activation)
    hidden = [
        layer.output
        for layer in discriminator.layers
        if isinstance(layer, kinds) and layer.output is not discriminator.output
    ]
    if not hidden:
        raise KerasganError(
            "Argument 'feature_matching' must be 0 for a discriminator without activation layers. "
            f"Received: '{discriminator.name}'"
        )
    return keras.Model(discriminator.inputs, [discriminator.output, *hidden])


def feature_matching_loss(true_features: list, drawn_features: list) -> tf.Tensor:
    """Mean over layers of the mean absolute difference of a discriminator's features.

    Args:
        true_features: of image and true mask; no gradient flows into them.
        drawn_features: of image and drawn mask.

    Returns:
        A scalar from 0 up.

    Example:
        >>> import tensorflow as tf
        >>> float(feature_matching_loss([tf.ones(2)], [tf.zeros(2)]))
        1.0

    Source: Wang et al. 2018 (arXiv 1711.11585), equation 4.
    """
    pairs = zip(true_features, drawn_features)
    apart = [
        tf.reduce_mean(tf.abs(tf.cast(tf.stop_gradient(a), tf.float32) - tf.cast(b, tf.float32)))
        for a, b in pairs
    ]
    return tf.add_n(apart) / len(apart)


def gradient_norm_penalty(
    discriminator, image: tf.Tensor, mask: tf.Tensor, slope: float
) -> tf.Tensor:
    """Mean over images of (length of the discriminator's gradient by the mask - slope)^2.

    Args:
        discriminator: a function (image, mask) -> logits.
        image: float tensor (batch, height, width, channels).
        mask: float tensor (batch, height, width, classes) in [-1, 1].
        slope: the wanted length: 1 on mixtures for the gradient penalty, 0 on true masks for R1.

    Returns:
        A scalar from 0 up, differentiable once more.

    Example:
        >>> import tensorflow as tf
        >>> one = tf.ones((1, 1, 1, 1))
        >>> float(gradient_norm_penalty(lambda image, mask: 3 * mask, one, one, 1.0))
        4.0

    Source: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3; Mescheder et al. 2018
    (arXiv 1801.04406), equation 9.
    """
    with tf.GradientTape() as tape:
        tape.watch(mask)
        logits = discriminator(image, mask)
        score = tf.reduce_mean(tf.reshape(logits, (tf.shape(logits)[0], -1)), axis=1)
    gradient = tape.gradient(score, mask)
    squared = tf.reduce_sum(gradient**2, axis=(1, 2, 3))
    if not slope:
        return tf.reduce_mean(squared)
    return tf.reduce_mean((tf.sqrt(squared + 1e-12) - slope) ** 2)


def gradient_norm_penalties(
    discriminator, image, true, mask, weights: dict, step: tf.Tensor
) -> tf.Tensor:
    """What a discriminator loses for steep slopes: the gradient penalty and R1, weighed.

    Args:
        discriminator: a function (image, mask) -> logits.
        image: float tensor (batch, height, width, channels).
        true: float tensor (batch, height, width, classes) in [-1, 1].
        mask: of the same shape; no gradient flows into it.
        weights: holds those of `gradient_penalty` and of `r1`, from 0 up.
        step: the key of `interpolate_masks`.

    Returns:
        A scalar from 0 up.

    Example:
        >>> import tensorflow as tf
        >>> one, weights = tf.ones((1, 1, 1, 1)), {"gradient_penalty": 0.0, "r1": 4.0}
        >>> float(gradient_norm_penalties(lambda image, mask: 3 * mask, one, one, -one, weights, 0))
        18.0
    """
    total = tf.zeros(())
    if weights["gradient_penalty"]:
        mixed = interpolate_masks(true, tf.stop_gradient(mask), step)
        total += weights["gradient_penalty"] * gradient_norm_penalty(
            discriminator, image, mixed, 1.0
        )
    if weights["r1"]:
        total += weights["r1"] / 2 * gradient_norm_penalty(discriminator, image, true, 0.0)
    return total


def interpolate_masks(true: tf.Tensor, drawn: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Mix true and drawn masks, each image at a place of its own, given by the step.

    Args:
        true: float tensor (batch, height, width, classes).
        drawn: of the same shape.
        step: int64 scalar, the key of the draw.

    Returns:
        share * true + (1 - share) * drawn, with a uniform share for each image.

    Example:
        >>> import tensorflow as tf
        >>> mixed = interpolate_masks(tf.ones((1, 1, 1, 1)), tf.zeros((1, 1, 1, 1)), tf.constant(3))
        >>> 0 <= mixed.numpy().item() <= 1
        True
    """
    share = sample_uniform((tf.shape(true)[0], 1, 1, 1), tf.stack([0, step]))
    return share * true + (1 - share) * drawn

"""Losses between true masks and drawn ones, by name."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.outputs import to_signed_mask

__all__ = ["SEGMENTATION", "named_losses"]


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
    return tf.reduce_mean(tf.abs(to_signed_mask(truth) - to_signed_mask(probability)))


def cross_entropy(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy per pixel: binary for one channel, categorical for several.

    It is computed from logits, so that a pixel which is confidently wrong has its full gradient.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        logits: the generator's, of the same shape: log-odds, or logarithms of the probabilities of
            exclusive classes up to a number for each pixel.

    Returns:
        A scalar from 0 up, in nats.

    Example:
        >>> import tensorflow as tf
        >>> float(cross_entropy(tf.ones((1, 2, 2, 1)), tf.fill((1, 2, 2, 1), -50.0)))
        50.0
    """
    entropy = truth * _log_probability(logits)
    if truth.shape[-1] == 1:
        entropy += (1 - truth) * _log_probability(-logits)
    return -tf.reduce_mean(tf.reduce_sum(entropy, axis=-1))


def _log_probability(logits: tf.Tensor) -> tf.Tensor:
    return tf.math.log_sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.log_softmax(logits)


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


def focal(truth: tf.Tensor, logits: tf.Tensor, gamma: float = 2.0) -> tf.Tensor:
    """Mean focal loss per pixel: cross-entropy that fades where the network is already right.

    Args:
        truth: float tensor (batch, height, width, classes) in {0, 1}.
        logits: as for `cross_entropy`.
        gamma: how fast it fades; 0 gives the cross-entropy.

    Returns:
        A scalar from 0 up.

    Example:
        >>> import tensorflow as tf
        >>> round(float(focal(tf.ones((1, 2, 2, 1)), tf.zeros((1, 2, 2, 1)))), 4)
        0.1733

    Source: Lin et al. 2017 (arXiv 1708.02002), equation 4.
    """
    right = _log_probability(logits)
    loss = truth * (-tf.math.expm1(right)) ** gamma * right
    if truth.shape[-1] == 1:
        wrong = _log_probability(-logits)
        loss += (1 - truth) * tf.exp(right) ** gamma * wrong
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
    signed = tf.numpy_function(_distances, [truth > 0.5], tf.float32, stateful=False)
    return tf.ensure_shape(signed, truth.shape)


def _distances(inside: np.ndarray) -> np.ndarray:
    signed = np.zeros(inside.shape, np.float32)
    for image, plane in itertools.product(range(len(inside)), range(inside.shape[-1])):
        mask = inside[image, ..., plane]
        if 0 < mask.sum() < mask.size:
            outward, inward = map(ndimage.distance_transform_edt, (~mask, mask))
            signed[image, ..., plane] = np.where(mask, 1 - inward, outward) / max(mask.shape)
    return signed


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

ON_LOGITS = ("cross_entropy", "focal")
"""Those of `SEGMENTATION` that take logits in place of probabilities."""

TAKEN = ("adversarial", "discriminator", "feature", "generator", "penalty")
"""What is logged of other losses."""


def named_losses(
    losses: dict, shape: tuple = (32, 32, 1), eagerly: bool = False
) -> tuple[dict, dict]:
    """Return the functions of losses, and their weights, by name.

    Args:
        losses: a name of `SEGMENTATION`, or a function of one's own or `keras.losses.Loss`, ->
            weight from 0 up.
        shape: (height, width, classes) of the masks, on which functions of one's own are tried.
        eagerly: whether these are called as they are, and not traced by `tf.function`.

    Returns:
        Name -> function from masks and probabilities to a scalar; and name -> weight.

    Raises:
        KerasganError: naming what is wrong.

    Example:
        >>> def squares(truth, probability):
        ...     return tf.reduce_mean((truth - probability) ** 2)
        >>> functions, weights = named_losses({"dice": 1.0, squares: 0.5})
        >>> weights, float(functions["squares"](tf.ones((1, 2, 2, 1)), tf.zeros((1, 2, 2, 1))))
        ({'dice': 1.0, 'squares': 0.5}, 1.0)
    """
    if not isinstance(losses, dict):
        raise KerasganError(
            "Argument 'losses' must be a dict of weights, such as {'cross_entropy': 1.0, 'dice': "
            f"1.0}}. Received: {losses!r}"
        )
    functions, weights = {}, {}
    for key, weight in losses.items():
        if callable(key):
            name, function = _own(key, shape, eagerly)
            if name in functions or name in losses:
                raise KerasganError(f"Argument 'losses' has two of the name '{name}'; rename one")
        elif key in SEGMENTATION:
            name, function = key, SEGMENTATION[key]
        else:
            error = unknown_name("losses", key, SEGMENTATION)
            raise KerasganError(f"{error}. A function of yours goes in without quotes")
        check_weight(f"losses[{name!r}]", weight)
        functions[name], weights[name] = function, float(weight)
    return functions, weights


def _own(loss: Callable, shape: tuple, eagerly: bool) -> tuple[str, Callable]:
    """Return the name of a loss of one's own, and what gives its mean; raise unless it works."""
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if not str(name).isidentifier() or name in SEGMENTATION or name in TAKEN:
        raise KerasganError(
            f"Argument 'losses' has a loss of yours named {name!r}. Write it as a function with a "
            f"name of its own, which is none of {', '.join([*SEGMENTATION, *TAKEN])}"
        )
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits"):
        raise KerasganError(
            f"Argument 'losses': '{name}' must take probabilities; leave from_logits out. For a "
            "cross-entropy computed from logits there is losses={'cross_entropy': 1.0}"
        )

    called = loss if eagerly else tf.function(loss)

    def mean(truth, probability):
        value = called(truth, probability)
        if isinstance(value, (tuple, list)):
            raise TypeError(f"it returned {len(value)} values")
        return tf.reduce_mean(tf.cast(value, tf.float32))

    size = [2, *(32 if side is None else side for side in shape)]
    one, other = (tf.random.stateless_normal(size, [0, seed]) for seed in (0, 1))
    several = size[-1] > 1
    truth = tf.one_hot(tf.argmax(one, -1), size[-1]) if several else tf.cast(one > 0, tf.float32)
    probability = tf.nn.softmax(other) if several else tf.sigmoid(other)
    try:
        with tf.GradientTape() as tape:
            tape.watch(probability)
            value = mean(truth, probability)
        slope = tape.gradient(value, probability)
    except Exception as error:  # whatever a function of the user's raises
        raise KerasganError(
            f"Argument 'losses': '{name}' cannot be used. It is called with masks and "
            f"probabilities, float32 of shape {truth.shape}, and must return a number, or one for "
            "each image; it is traced, so NumPy and .numpy() cannot be used in it: "
            f"{type(error).__name__}: {error}"
        ) from error
    if slope is None or not np.any(slope) or not np.isfinite(value):
        fault = "has no gradient by the probabilities"
        fault = fault if np.isfinite(value) else f"gives {value:g}"
        raise KerasganError(
            f"Argument 'losses': '{name}' {fault}, so nothing can be learned from it; compute it "
            "with TensorFlow, without thresholds"
        )
    return name, mean


def check_weight(name: str, value, most: float = float("inf")) -> None:
    """Raise unless `value` is a number from 0 up, below `most`."""
    number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not number or not 0 <= value < most:
        limit = "up" if most == float("inf") else f"to below {most:g}"
        raise KerasganError(
            f"Argument '{name}' must be a number from 0 {limit}. Received: {value!r}"
        )

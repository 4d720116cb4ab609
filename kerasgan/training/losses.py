"""Segmentation losses, by name, and losses of the user's own.

A loss takes true masks, float (batch, height, width, classes) in {0, 1}, and probabilities of the
same shape, or logits for those in `ON_LOGITS`; it returns a scalar.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.outputs import to_signed_mask
from kerasgan.validation import check_number


def l1(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of the masks in [-1, 1], as in pix2pix; from 0 to 2.

    Source: Isola et al. 2017 (arXiv 1611.07004), equation 3.
    """
    return tf.reduce_mean(tf.abs(to_signed_mask(truth) - to_signed_mask(probability)))


def cross_entropy(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy per pixel: binary for one channel, categorical for several.

    It is computed from logits, so that a pixel which is confidently wrong has its full gradient.
    """
    return tf.reduce_mean(cross_entropy_of_pixels(truth, logits))


def cross_entropy_of_pixels(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each pixel, (batch, height, width)."""
    entropy = truth * _log_probability(logits)
    if truth.shape[-1] == 1:
        entropy += (1 - truth) * _log_probability(-logits)
    return -tf.reduce_sum(entropy, axis=-1)


def _log_probability(logits: tf.Tensor) -> tf.Tensor:
    return tf.math.log_sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.log_softmax(logits)


def dice(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """One minus the soft Dice score, mean over images and channels; see `tversky`.

    `counts.score` would divide by 0 for empty masks, and through its weights the last bits differ.

    Source: Milletari et al. 2016 (arXiv 1606.04797).
    """
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2))
    total = tf.reduce_sum(truth + probability, axis=(1, 2))
    return 1 - tf.reduce_mean((2 * overlap + 1) / (total + 1))


def jaccard(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """One minus the soft Jaccard score, mean over images and channels.

    Source: Rahman and Wang 2016 (doi 10.1007/978-3-319-50835-1_22).
    """
    return tversky(truth, probability, 1.0, 1.0)


def tversky(
    truth: tf.Tensor, probability: tf.Tensor, alpha: float = 0.3, beta: float = 0.7
) -> tf.Tensor:
    """One minus the soft Tversky index: false positives weigh `alpha`, false negatives `beta`.

    It is a mean over images and channels. One pixel is added above and below, so that an empty mask
    predicted empty has the loss 0.

    Source: Salehi et al. 2017 (arXiv 1706.05721), equation 4.
    """
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2))
    false_positives = tf.reduce_sum((1 - truth) * probability, axis=(1, 2))
    false_negatives = tf.reduce_sum(truth * (1 - probability), axis=(1, 2))
    weighted = overlap + alpha * false_positives + beta * false_negatives
    return 1 - tf.reduce_mean((overlap + 1) / (weighted + 1))


def focal(truth: tf.Tensor, logits: tf.Tensor, gamma: float = 2.0) -> tf.Tensor:
    """Mean focal loss per pixel: cross-entropy that fades where the network is already right.

    Source: Lin et al. 2017 (arXiv 1708.02002), equation 4.
    """
    right = _log_probability(logits)
    loss = truth * (-tf.math.expm1(right)) ** gamma * right
    if truth.shape[-1] == 1:
        wrong = _log_probability(-logits)
        loss += (1 - truth) * tf.exp(right) ** gamma * wrong
    return -tf.reduce_mean(tf.reduce_sum(loss, axis=-1))


def boundary(truth: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """Mean of probability times signed distance to the true border, outside positive.

    Distances are in fractions of the longer side. It measures how far off a false pixel is, which
    overlap losses do not; use it beside one of them. With several classes the background is left
    out. A mask without a border adds 0.

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
ON_LOGITS = ("cross_entropy", "focal")
"""Those of `SEGMENTATION` that take logits in place of probabilities."""

LOGGED = ("adversarial", "discriminator", "feature", "generator", "penalty")
"""Names that other losses are logged under."""


def named_losses(
    losses: dict, shape: tuple = (32, 32, 1), eagerly: bool = False
) -> tuple[dict, dict]:
    """Return functions from masks and predictions to a scalar, and their weights, by name.

    `shape` is that of the masks, (height, width, classes), on which losses of the user's own are
    tried; `eagerly` whether these are called as they are, and not traced by `tf.function`.
    """
    if not isinstance(losses, dict):
        raise KerasganError(
            "Argument 'losses' must be a dict of weights, such as {'cross_entropy': 1.0, 'dice': "
            f"1.0}}. Received: {losses!r}"
        )
    functions, weights = {}, {}
    for key, weight in losses.items():
        if callable(key):
            name, function = _custom_loss(key, shape, eagerly)
            if name in functions or name in losses:
                raise KerasganError(f"Argument 'losses' has two of the name '{name}'; rename one")
        elif key in SEGMENTATION:
            name, function = key, SEGMENTATION[key]
        else:
            error = unknown_name("losses", key, SEGMENTATION)
            raise KerasganError(f"{error}. A function of yours goes in without quotes")
        weights[name] = float(check_number(f"losses[{name!r}]", weight, least=0))
        functions[name] = function
    return functions, weights


def _custom_loss(loss: Callable, shape: tuple, eagerly: bool) -> tuple[str, Callable]:
    """Return the name and the mean of a loss of the user's own; raise unless it works."""
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if not str(name).isidentifier() or name in SEGMENTATION or name in LOGGED:
        raise KerasganError(
            f"Argument 'losses' has a loss of yours named {name!r}. Write it as a function with a "
            f"name of its own, which is none of {', '.join([*SEGMENTATION, *LOGGED])}"
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
        finite = np.isfinite(value)
        fault = "has no gradient by the probabilities" if finite else f"gives {value:g}"
        raise KerasganError(
            f"Argument 'losses': '{name}' {fault}, so nothing can be learned from it; compute it "
            "with TensorFlow, without thresholds"
        )
    return name, mean

"""True and false positives and negatives, and the scores made of them.

Every score in kerasgan, in training metrics and in evaluation alike, is a ratio of two weighted
sums of the four counts. `SCORES` is the table of those weights; nothing else defines a score.

With NumPy arrays in, counting is exact at any size. With TensorFlow tensors in, everything runs
inside a `tf.function` and on soft (probability) masks too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice

SCORES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: (numerator, denominator), each as weights of (tp, fp, fn, tn)
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "jaccard": ((1, 0, 0, 0), (1, 1, 1, 0)),
    "dice": ((2, 0, 0, 0), (2, 1, 1, 0)),
    "recall": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "precision": ((1, 0, 0, 0), (1, 1, 0, 0)),
    "f2": ((5, 0, 0, 0), (5, 1, 4, 0)),
    "specificity": ((0, 0, 0, 1), (0, 1, 0, 1)),
}
"""Name of each score -> (numerator, denominator), as weights of (tp, fp, fn, tn)."""

EMPTY_POLICIES = ("agree", "medai", "nan")
"""What `score` can do where a denominator is zero."""


class Counts(NamedTuple):
    """True and false positives, false and true negatives: arrays or tensors of one shape."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def count(truth: Any, prediction: Any, axis: int | tuple[int, ...] | None = None) -> Counts:
    """Count true and false positives and negatives.

    Args:
        truth: Mask of any shape, boolean or in [0, 1]; NumPy array or TensorFlow tensor.
        prediction: The same shape. Values between 0 and 1 count in proportion ("soft" counts).
        axis: Axes to sum over. For a batch (batch, height, width, classes), `(1, 2)` gives counts
            per image and class, one class against the rest. None sums over everything.

    Returns:
        Counts. From boolean and integer NumPy masks int64, from floating ones float64. From tensors
        the wider of their dtypes, at least float32, which counts exactly up to 2**24 pixels.

    Example:
        >>> count([[1, 1], [0, 0]], [[1, 0], [1, 0]], axis=1)
        Counts(tp=array([1, 0]), fp=array([0, 1]), fn=array([1, 0]), tn=array([0, 1]))
    """
    if tf.is_tensor(truth) or tf.is_tensor(prediction):
        truth, prediction = _as_float(truth), _as_float(prediction)
        dtype = max(truth.dtype, prediction.dtype, key=lambda dtype: dtype.size)
        truth, prediction = tf.cast(truth, dtype), tf.cast(prediction, dtype)
        same, total = truth.shape.is_compatible_with(prediction.shape), tf.reduce_sum
    else:
        truth, prediction = _as_number("truth", truth), _as_number("prediction", prediction)
        same, total = truth.shape == prediction.shape, np.sum
    _check_shapes(same, truth, prediction)
    return Counts(
        tp=total(truth * prediction, axis=axis),
        fp=total((1 - truth) * prediction, axis=axis),
        fn=total(truth * (1 - prediction), axis=axis),
        tn=total((1 - truth) * (1 - prediction), axis=axis),
    )


def count_labels(truth: Any, prediction: Any, classes: int) -> Counts:
    """Count each class of two label images (NumPy) against the rest: int64 (classes,) each."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth.shape == prediction.shape, truth, prediction)
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.size and (
            labels.dtype.kind not in "biu" or not 0 <= labels.min() <= labels.max() < classes
        ):
            known = labels.dtype.kind in "biuf"
            values = f" from {labels.min()} to {labels.max()}" if known else ""
            if known and classes == 2 and 0 < labels.max() <= 1:
                values += "; pass mask > 0.5"
            elif known and classes == 2 and labels.max() == 255:
                values += "; pass mask > 127"
            raise KerasganError(
                f"Argument {name!r} must hold whole labels from 0 to {classes - 1}. "
                f"Received: {labels.dtype}{values}"
            )
    pairs = truth.astype(np.int64).ravel() * classes + prediction.astype(np.int64).ravel()
    confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    tp = confusion.diagonal().copy()
    fp = confusion.sum(axis=0) - tp
    fn = confusion.sum(axis=1) - tp
    return Counts(tp, fp, fn, confusion.sum() - tp - fp - fn)


def score(name: str, counts: Counts, empty: str = "agree") -> Any:
    """Turn counts into a score.

    Args:
        name: A key of `SCORES`.
        counts: What `count` returned; a score comes out for every element.
        empty: What to do where there is nothing to divide by (say, recall without any true
            foreground). `"agree"`: 1 where truth and prediction are equal, 0 where they differ.
            `"medai"`: where the truth is empty, both masks are inverted before scoring (the rule of
            the challenge "MedAI: Transparency in Medical Image Segmentation", 2021); what is left
            is as for `"agree"`.
            `"nan"`: NaN.

    Returns:
        Scores in [0, 1], of the shape of the counts; a tensor where the counts are tensors.

    Example:
        >>> nothing_there = count([0, 0, 0, 0], [0, 0, 0, 1])
        >>> [float(score("jaccard", nothing_there, empty)) for empty in ("agree", "medai")]
        [0.0, 0.75]
    """
    check_choice("name", name, SCORES)
    check_choice("empty", empty, EMPTY_POLICIES)
    where = tf.where if any(tf.is_tensor(part) for part in counts) else np.where
    if empty == "medai":
        inverted = Counts(counts.tn, counts.fn, counts.fp, counts.tp)
        no_truth = counts.tp + counts.fn == 0
        counts = Counts(*(where(no_truth, b, a) for a, b in zip(counts, inverted)))
    numerator, denominator = (
        sum(weight * part for weight, part in zip(weights, counts) if weight)
        for weights in SCORES[name]
    )
    fraction = numerator / where(denominator == 0, denominator + 1, denominator)
    if empty == "nan":
        return where(denominator == 0, fraction + np.nan, fraction)
    agrees = where(counts.fp + counts.fn == 0, fraction * 0 + 1, fraction * 0)
    return where(denominator == 0, agrees, fraction)


def _check_shapes(same: bool, truth: Any, prediction: Any) -> None:
    if not same:
        raise KerasganError(
            "Arguments 'truth' and 'prediction' must have the same shape. "
            f"Received: {tuple(truth.shape)} and {tuple(prediction.shape)}"
        )


def _as_float(mask: Any) -> tf.Tensor:
    mask = tf.convert_to_tensor(mask)
    return mask if mask.dtype in (tf.float32, tf.float64) else tf.cast(mask, tf.float32)


def _as_number(name: str, mask: Any) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):
        raise KerasganError(
            f"Argument {name!r} must be a mask with values from 0 to 1. "
            f"Received: {mask.min()} to {mask.max()}"
        )
    return mask.astype(np.float64 if mask.dtype.kind == "f" else np.int64)

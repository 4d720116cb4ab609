"""Probabilities that are as often right as they say: temperature, and how far off they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from kerasgan.data import Samples
from kerasgan.data.resize import resize_mask
from kerasgan.errors import KerasganError, warn
from kerasgan.inference.members import members_of, with_input_shape
from kerasgan.inference.stream import iterate_logits
from kerasgan.models.outputs import refuse_classes, refuse_labels
from kerasgan.validation import check_whole_number

PIXELS = 10_000
COLDEST, HOTTEST = 0.01, 100.0


def fit_temperature(model: Any, samples: Samples, **options: Any) -> float:
    """Find the temperature at which a model's probabilities fit labelled images best.

    It is what the logits are to be divided by, one number for all pixels, so that the true masks
    have the highest likelihood. It changes how sure the model is, not which class is likeliest.
    Masks are resized to the logits, and of larger ones 10,000 pixels each are drawn, the same in
    every call.

    Args:
        model: As for `predict`; an ensemble is one model here, with one temperature.
        samples: Labelled `Samples` that took no part in training: the validation part.
        **options: As for `iterate_logits`. Predict with the same ones.

    Returns:
        The temperature: above 1 where the model was too sure of itself. Between 0.01 and 100.

    Example:
        >>> temperature = kg.inference.fit_temperature(gan, val)  # doctest: +SKIP
        >>> kg.inference.predict_probability(gan, images, temperature=temperature)  # doctest: +SKIP

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599), section
    4.2.
    """
    if not isinstance(samples, Samples) or samples.mask_paths is None or not len(samples):
        raise KerasganError(
            "Argument 'samples' must be labelled Samples, at least one. Received: "
            f"{type(samples).__name__}"
        )
    model = with_input_shape(model, samples, options.get("size"))
    member = members_of(model)[0]
    refuse_labels(member.network, "a temperature")
    classes = member.network.outputs[0].shape[-1]
    refuse_classes(member.network, samples)

    def drawn(index: int, logits: np.ndarray, _: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        mask = resize_mask(samples.mask(index), logits.shape[:2]).ravel()
        logits = logits.reshape(-1, classes)
        if len(mask) > PIXELS:
            chosen = np.random.default_rng(index).choice(len(mask), PIXELS, replace=False)
            mask, logits = mask[chosen], logits[chosen]
        return logits, mask

    logits, labels = map(np.concatenate, zip(*iterate_logits(model, samples, drawn, **options)))
    logits = logits.astype(np.float64)

    def surprise(logarithm: float) -> float:
        return _surprise(logits / math.exp(logarithm), labels, member.exclusive)

    ends = math.log(COLDEST), math.log(HOTTEST)
    best = minimize_scalar(surprise, bounds=ends, method="bounded", options={"xatol": 1e-5})
    if min(map(surprise, ends)) <= best.fun + 1e-9:
        warn(
            f"No temperature from {COLDEST:g} to {HOTTEST:g} fits these {len(samples)} images "
            "best: the model is always right on them, or no better than chance"
        )
    return math.exp(best.x)


class Calibration(NamedTuple):
    """How far probabilities are from how often they are right.

    Attributes:
        error: Expected calibration error, from 0 to 1: by how much probability and accuracy
            differ, on average over all pixels.
        table: A row for each bin: `low`, `high`, its edges; `pixels` in it; their mean
            `confidence`, the probability of the predicted class; and their `accuracy`, how often
            that class was the true one. NaN in empty bins.
        brier: Brier score: the mean over pixels of the squared difference of probability and truth,
            from 0 to 1; with several channels summed over them, from 0 to 2.

    Example:
        >>> Calibration(0.0, pd.DataFrame()).error
        0.0
    """

    error: float
    table: pd.DataFrame
    brier: float = math.nan

    def sums(self) -> np.ndarray:
        """Return pixels, the sum of their confidence, and how many are right: (3, bins)."""
        pixels = self.table["pixels"].to_numpy(np.float64)
        means = [self.table[name].fillna(0).to_numpy() for name in ("confidence", "accuracy")]
        return np.stack([pixels, *(pixels * mean for mean in means)])


def expected_calibration_error(
    truths: Iterable[np.ndarray], probabilities: Iterable[np.ndarray], bins: int = 15
) -> Calibration:
    """Compare how sure predictions are with how often they are right, pixel by pixel.

    Pixels are put in bins of equal width by the probability of their predicted class; within each,
    mean probability and accuracy should be equal.

    Args:
        truths: True masks (height, width), {0, 1} or labels, one for each image.
        probabilities: Arrays (height, width, channels) in [0, 1], as `iterate_probability` gives
            them, one for each image. Both are read as they come, so no more than one is held.
        bins: How many bins there are from 0 to 1. With one channel no pixel is below 0.5.

    Returns:
        The error, the table behind it, to draw a reliability diagram from, and the Brier score.

    Example:
        >>> truth, sure = np.array([[1, 0]]), np.array([[[0.9], [0.9]]])
        >>> round(expected_calibration_error([truth], [sure]).error, 3)
        0.4

    Source: Guo et al. 2017 (arXiv 1706.04599), equations 2 and 3, bins open below and closed above;
    Naeini et al. 2015; Brier 1950, of one channel in half, as is usual.
    """
    check_whole_number("bins", bins, 1)
    edges = np.linspace(0, 1, bins + 1)
    sums, squares = np.zeros((3, bins)), 0.0
    missing, images = object(), 0
    truths = iter(truths)
    for images, probability in enumerate(probabilities, 1):
        judged = _judged(next(truths, missing), np.asarray(probability), images - 1)
        confidence, right, square = judged
        squares += square
        bin_index = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
        for total, weights in zip(sums, (None, confidence, right)):
            total += np.bincount(bin_index, weights, bins)
    if not images or next(truths, missing) is not missing:
        raise KerasganError(
            f"Argument 'probabilities' must hold one array for each truth. Received: {images}"
        )
    return _calibration(sums, edges, squares / sums[0].sum())


def pool_calibrations(parts: Sequence[Calibration]) -> Calibration:
    """Return the calibration of the pixels of all images from that of each image."""
    sums = [part.sums() for part in parts]
    pixels = [each[0].sum() for each in sums]
    edges = np.append(parts[0].table["low"], parts[0].table["high"].iloc[-1])
    brier = np.average([part.brier for part in parts], weights=pixels)
    return _calibration(np.sum(sums, 0), edges, brier)


def _calibration(sums: np.ndarray, edges: np.ndarray, brier: float) -> Calibration:
    pixels, confidence, right = sums
    with np.errstate(invalid="ignore"):
        means = {"confidence": confidence / pixels, "accuracy": right / pixels}
    counts = {"low": edges[:-1], "high": edges[1:], "pixels": np.rint(pixels).astype(int)}
    error = np.abs(right - confidence).sum() / pixels.sum()
    return Calibration(float(error), pd.DataFrame({**counts, **means}), float(brier))


def _judged(
    truth: Any, probability: np.ndarray, index: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Confidence in the predicted class and whether it is the true one, of each pixel.

    The last is the sum over pixels of squared differences of probability and truth.
    """
    fits = probability.ndim == 3 and probability.size and probability.dtype.kind in "fui"
    if not fits or not (probability.min() >= 0 and probability.max() <= 1):
        raise KerasganError(
            f"Argument 'probabilities[{index}]' must be (height, width, channels), from 0 to 1. "
            f"Received: {probability.dtype} of shape {probability.shape}"
        )
    if np.shape(truth) != probability.shape[:2]:
        raise KerasganError(
            f"Argument 'truths[{index}]' must be a mask of shape {probability.shape[:2]}, as the "
            f"probabilities. Received: {np.shape(truth) or 'no more truths'}"
        )
    pixels = probability.reshape(-1, probability.shape[-1]).astype(np.float64)
    share = 0.5 if pixels.shape[1] == 1 else 1.0
    if pixels.shape[1] == 1:
        pixels = np.hstack([1 - pixels, pixels])
    truth = np.ravel(truth)
    if not np.isin(np.unique(truth), range(pixels.shape[1])).all():
        raise KerasganError(
            f"Argument 'truths[{index}]' must hold whole numbers from 0 to {pixels.shape[1] - 1}. "
            f"Received: {truth.min()} to {truth.max()}"
        )
    true = np.take_along_axis(pixels, truth[:, None].astype(int), 1)[:, 0]
    squares = share * (np.square(pixels).sum() - 2 * true.sum() + len(true))
    return pixels.max(1), pixels.argmax(1) == truth, float(squares)


def _surprise(logits: np.ndarray, labels: np.ndarray, exclusive: bool) -> float:
    """Mean negative log-likelihood of labels."""
    if exclusive:
        true_logits = np.take_along_axis(logits, labels[:, None].astype(int), 1)[:, 0]
        return float(np.mean(logsumexp(logits, axis=1) - true_logits))
    classes = np.arange(logits.shape[1]) if logits.shape[1] > 1 else [1]
    truth = labels[:, None] == classes
    return float(np.mean(np.sum(np.logaddexp(0, logits) - truth * logits, 1)))

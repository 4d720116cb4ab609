"""Means over images drawn anew: the bootstrap behind every interval."""

from __future__ import annotations

import numpy as np

from kerasgan.validation import check_number, check_whole_number


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw rows with replacement, the same for all columns, and take each column's mean.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    there = ~np.isnan(values)
    values = np.where(there, values, 0)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    with np.errstate(invalid="ignore"):
        for resample in means:
            drawn = rng.integers(len(values), size=len(values))
            resample[:] = values[drawn].sum(0) / there[drawn].sum(0)
    return means


def interval(means: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resampled means."""
    means = means[~np.isnan(means)]
    if not means.size:
        return float("nan"), float("nan")
    low, high = np.quantile(means, (0.5 - confidence / 2, 0.5 + confidence / 2))
    return float(low), float(high)


def check_draws(confidence: float, resamples: int) -> None:
    """Check a confidence and a number of resamples."""
    check_number("confidence", confidence, above=0, below=1)
    check_whole_number("resamples", resamples, 1)

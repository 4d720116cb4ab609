"""Means over images drawn anew: the bootstrap behind every interval."""

from __future__ import annotations

import numpy as np

from kerasgan.errors import KerasganError

__all__ = ["check_draws", "interval", "resampled_means"]


def resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw rows with replacement, the same for all columns, and take each column's mean.

    Args:
        values: float64 (rows, columns). NaN is left out.
        resamples: How often to draw.
        seed: Key of the draws.

    Returns:
        float64 (resamples, columns); NaN where no value was drawn.

    Example:
        >>> resampled_means(np.array([[1.0], [1.0]]), resamples=3, seed=0).ravel()
        array([1., 1., 1.])

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
    """Return the percentile interval of resampled means.

    Args:
        means: (resamples,). NaN is left out.
        confidence: Share of the means inside the interval.

    Returns:
        The lower and the upper end; NaN if there is no mean.

    Example:
        >>> interval(np.arange(101.0), confidence=0.5)
        (25.0, 75.0)
    """
    means = means[~np.isnan(means)]
    if not means.size:
        return float("nan"), float("nan")
    low, high = np.quantile(means, (0.5 - confidence / 2, 0.5 + confidence / 2))
    return float(low), float(high)


def check_draws(confidence: float, resamples: int) -> None:
    """Raise a `KerasganError` for a confidence or a number of resamples out of range."""
    if not 0 < confidence < 1:
        raise KerasganError(
            f"Argument 'confidence' must lie between 0 and 1. Received: {confidence!r}"
        )
    if resamples < 1:
        raise KerasganError(f"Argument 'resamples' must be 1 or more. Received: {resamples!r}")

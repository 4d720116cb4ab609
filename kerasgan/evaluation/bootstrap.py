"""Sums and means over images drawn anew: the bootstrap behind every interval."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Callable, Optional

import numpy as np
import pandas as pd

from kerasgan.errors import KerasganError
from kerasgan.validation import ask_groups, check_number, check_whole_number

Groups = Optional[Callable[[str], Hashable]]


def resampled_means(
    values: np.ndarray,
    resamples: int,
    seed: Any,
    rows: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Draw rows with replacement, the same for all columns, and take each column's mean.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    there = ~np.isnan(values)
    sums = resampled_sums(np.hstack([np.where(there, values, 0), there]), resamples, seed, rows)
    with np.errstate(invalid="ignore"):
        return sums[:, : values.shape[1]] / sums[:, values.shape[1] :]


def resampled_sums(
    values: np.ndarray, resamples: int, seed: Any, rows: Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """Draw rows, or whole groups of `rows`, with replacement, and take each column's sum.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8: groups
    are drawn, and what is in a group stays together.
    """
    rng = np.random.default_rng(seed)
    count = len(values) if rows is None else len(rows)
    sums = np.empty((resamples, values.shape[1]))
    for resample in sums:
        drawn = rng.integers(count, size=count)
        if rows is not None:
            drawn = np.concatenate([rows[group] for group in drawn])
        resample[:] = values[drawn].sum(0)
    return sums


def group_rows(names: Iterable[str], groups: Groups) -> list[np.ndarray] | None:
    """Return the rows of each group, or None without groups."""
    if groups is None:
        return None
    rows: dict[Hashable, list[int]] = {}
    names = list(names)
    for row, (name, group) in enumerate(zip(names, ask_groups("groups", groups, names))):
        rows.setdefault(group, []).append(row)
        if any(map(pd.isna, group if isinstance(group, tuple) else [group])):
            raise KerasganError(
                f"Argument 'groups' must return the group of every image. Received: {group!r} for "
                f"{name!r}, a missing value; an image that stands alone can have its name as group"
            )
    if len(rows) < 2:
        raise KerasganError(
            "Argument 'groups' must tell the images apart into two groups or more. "
            f"Received: {list(rows)} for all of them"
        )
    return [np.array(indices) for indices in rows.values()]


def units_with_value(there: np.ndarray, rows: Sequence[np.ndarray] | None = None) -> int:
    """Count the images, or groups of `rows`, that have a value; `there` says so of each image."""
    return int(sum(there[group].any() for group in rows) if rows is not None else there.sum())


def interval(means: np.ndarray, confidence: float, units: int) -> tuple[float, float]:
    """Return the percentile interval of resampled means.

    NaN if fewer than two `units`, images or groups, have a value: one says nothing of others.
    """
    means = means[~np.isnan(means)]
    if not means.size or units < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(means, (0.5 - confidence / 2, 0.5 + confidence / 2))
    return float(low), float(high)


def check_draws(confidence: float, resamples: int) -> tuple[float, int]:
    """Check a confidence and a number of resamples."""
    confidence = check_number("confidence", confidence, above=0, below=1)
    return confidence, check_whole_number("resamples", resamples, 1)


def check_finite(argument: str, column: Any, values: np.ndarray, names: Sequence[Any]) -> None:
    """Raise a `KerasganError` for scores of images that are infinite: no mean is left of them."""
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise KerasganError(
            f"Argument {argument!r} must hold finite numbers, or NaN where there is none. "
            f"Received: {values[infinite[0]]} in column {column!r} for {names[infinite[0]]!r}"
        )

"""Where a model is good and where it is not: scores by size and by group, and the worst images."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Callable

import numpy as np
import pandas as pd

from kerasgan.errors import KerasganError
from kerasgan.evaluation.surface import DISTANCES
from kerasgan.validation import ask_groups, check_whole_number, is_whole

LOW_IS_GOOD = (*DISTANCES, "false_positives_per_image", "brier", "ece")


def by_size(table: pd.DataFrame, bins: int | Iterable[float] = 4) -> pd.DataFrame:
    """Take the mean of every score for small and large structures apart.

    Args:
        table: What `evaluate` returned: one row per image with `true_area`, a fraction of the
            frame.
        bins: A whole number for so many groups of about as many images each; or the areas between
            groups, rising, between 0 and 1: `[0.01, 0.1]` gives three groups, up to 0.01, up to
            0.1, and above.

    Returns:
        One row per group that has images, the smallest first: `smallest` and `largest`, the true
        areas in it; `images`; the mean of every column of numbers. Images without any true
        foreground are a group of their own, the first. NaN is left out.

    Example:
        >>> table = pd.DataFrame({"true_area": [0.3, 0.02, 0.0], "dice": [0.9, 0.4, 1.0]})
        >>> by_size(table, bins=[0.1])[["largest", "images", "dice"]]
           largest  images  dice
        0     0.00       1   1.0
        1     0.02       1   0.4
        2     0.30       1   0.9
    """
    _check_table(table, "true_area")
    area = table["true_area"].to_numpy(np.float64)
    edges = _edges(bins, area[area > 0])
    groups = np.where(area > 0, 1 + np.searchsorted(edges, area), 0)
    rows = []
    for group in np.unique(groups):
        part = table[groups == group]
        sizes = part["true_area"]
        span = {"smallest": sizes.min(), "largest": sizes.max(), "images": len(part)}
        rows.append({**span, **column_means(part.drop(columns="true_area"))})
    return pd.DataFrame(rows)


def by_group(table: pd.DataFrame, key: str | Callable[[str], Hashable]) -> pd.DataFrame:
    """Take the mean of every score for each group: patient, surgery, hospital, fold.

    Args:
        table: What `evaluate` returned.
        key: From the name of an image to its group, as `Samples.split_groups` takes; or the name of
            a column that holds the group.

    Returns:
        One row per group, in order: `group`; `images`; the mean of every column of
        numbers. NaN is left out.

    Example:
        >>> table = pd.DataFrame({"name": ["p1_a", "p2_a", "p1_b"], "dice": [0.5, 0.9, 1.0]})
        >>> by_group(table, lambda name: name.split("_")[0])
          group  images  dice
        0    p1       2  0.75
        1    p2       1  0.90
    """
    column = key if isinstance(key, str) else "name"
    _check_table(table, column)
    groups = list(table[column]) if column == key else ask_groups("key", key, table["name"])
    rows = []
    for group in sorted(set(groups), key=_order):
        part = table[[other == group for other in groups]]
        part = part.drop(columns=key) if column == key else part
        rows.append({"group": group, "images": len(part), **column_means(part)})
    return pd.DataFrame(rows)


def worst(table: pd.DataFrame, count: int = 10, column: str = "dice") -> pd.DataFrame:
    """List the images that went worst.

    The index of the result is that of the table, so that `samples[worst(table).index]` are those
    images, in that order.

    Args:
        table: What `evaluate` returned.
        count: How many images, 1 at least; all, if there are fewer.
        column: The score to go by. The lowest is the worst, but of a distance, of false positives
            and of a calibration error the highest.

    Returns:
        Rows of the table, the worst first, equals in the order of the table. Images without a value
        are left out; a distance is missing where a mask is empty, which `recall` tells.

    Example:
        >>> table = pd.DataFrame({"name": ["a", "b", "c"], "dice": [0.5, 0.9, 0.1]})
        >>> worst(table, 2)
          name  dice
        2    c   0.1
        0    a   0.5
    """
    _check_table(table, column)
    if column not in table.select_dtypes("number"):
        raise KerasganError(f"Argument 'column' must be a column of numbers. Received: {column!r}")
    check_whole_number("count", count, 1)
    values = table[column].to_numpy(np.float64)
    values = -values if column.startswith(LOW_IS_GOOD) else values
    order = np.argsort(values, kind="stable")  # NaN comes last
    return table.iloc[order[: min(count, np.sum(~np.isnan(values)))]]


def _edges(bins: Any, areas: np.ndarray) -> np.ndarray:
    if is_whole(bins) and bins >= 1:
        return np.quantile(areas, np.arange(1, bins) / bins) if areas.size else np.empty(0)
    try:
        edges = np.asarray([float(edge) for edge in bins])
    except (TypeError, ValueError):
        edges = np.empty(0)
    if not edges.size or not (edges.min() > 0 and edges.max() < 1) or (np.diff(edges) <= 0).any():
        raise KerasganError(
            "Argument 'bins' must be a whole number from 1 up, or rising areas between 0 and 1. "
            f"Received: {bins!r}"
        )
    return edges


def column_means(table: pd.DataFrame) -> dict[str, float]:
    """Return the mean of every column of numbers, by its name."""
    return {str(name): float(mean) for name, mean in table.mean(numeric_only=True).items()}


def _check_table(table: pd.DataFrame, column: str) -> None:
    if not isinstance(table, pd.DataFrame) or table.empty:
        raise KerasganError(
            "Argument 'table' must be a table with at least one row, as evaluate returns. "
            f"Received: {type(table).__name__}"
        )
    if column not in table:
        raise KerasganError(
            f"Argument 'table' must have a column {column!r}. Received: {list(table)}"
        )


def _order(group: Hashable) -> tuple:
    """Numbers by value, anything else by its words."""
    number = isinstance(group, (int, float, np.number))
    return (not number, group if number else 0, str(group))

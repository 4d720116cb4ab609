"""Is one model better than another? Both are scored on the same images, and compared on each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kerasgan.errors import KerasganError
from kerasgan.evaluation.bootstrap import (
    Groups,
    check_draws,
    check_finite,
    group_rows,
    interval,
    resampled_means,
    units_with_value,
)
from kerasgan.validation import check_seed


def paired_difference(
    table_a: pd.DataFrame,
    table_b: pd.DataFrame,
    *,
    groups: Groups = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two models, image by image, with a paired bootstrap.

    Images are drawn with replacement, each with the scores of both models, so what makes an image
    hard for both cancels out. The interval and p say what other images from the same source would
    change, not what another training of the same network would.

    Args:
        table_a: What `evaluate` returned for the first model, or the same read from a file.
        table_b: Likewise for the second, on the same images, in any order.
        groups: From the name of an image to its group: patient, video, surgery. Whole groups are
            drawn then.
        confidence: Share of the bootstrap differences inside the interval, between 0 and 1.
        resamples: How often images or groups are drawn.
        seed: Key of the draws.

    Returns:
        One row for each column of numbers that both tables have, but the true area and the number
        of true objects: `score`, its name; `mean_a` and `mean_b`; `difference`, the second less the
        first; `low` and `high`, its percentile interval; `p`, two-sided: twice the share of
        resamples whose difference is zero or of the other sign, 1 at most; `images`, those with a
        value in both tables, on which all of the row rests. Interval and p are NaN where fewer than
        two images, or groups, have one.

    Raises:
        KerasganError: If the tables are not of the same images, one image is there twice, the true
            masks or the policies for empty ones differ, or an argument is out of range.

    Example:
        >>> a = pd.DataFrame({"name": ["x", "y", "z"], "dice": [0.5, 0.25, 0.75]})
        >>> b = pd.DataFrame({"name": ["z", "y", "x"], "dice": [1.0, 0.5, 0.5]})
        >>> paired_difference(a, b)[["score", "mean_a", "mean_b", "difference", "images"]]
          score  mean_a    mean_b  difference  images
        0  dice     0.5  0.666667    0.166667       3

    Source: Efron and Tibshirani 1993, chapters 13 and 15; Davison and Hinkley 1997, chapter 4 (one
    is added to both counts, so that p is never zero).
    """
    check_draws(confidence, resamples)
    check_seed(seed)
    table_a, table_b = _aligned(table_a, table_b)
    rows, grouped = [], group_rows(table_a.index, groups)
    for column in table_a.select_dtypes("number"):
        if column not in table_b or column.startswith(("true_area", "objects")):
            continue
        pair = np.stack([table_a[column], table_b[column]], axis=1).astype(np.float64)
        for argument, values in zip(("table_a", "table_b"), pair.T):
            check_finite(argument, column, values, table_a.index)
        every = pair[:, 1:] - pair[:, :1]
        pair = pair[~np.isnan(every[:, 0])]
        row = {"score": column, "mean_a": np.nan, "mean_b": np.nan, "difference": np.nan}
        row.update(low=np.nan, high=np.nan, p=np.nan, images=len(pair))
        if len(pair):
            difference = pair[:, 1:] - pair[:, :1]
            drawn = difference if grouped is None else every
            drawn = resampled_means(drawn, resamples, seed, grouped)[:, 0]
            row["mean_a"], row["mean_b"] = pair.mean(axis=0)
            row["difference"] = difference.mean()
            units = units_with_value(~np.isnan(every[:, 0]), grouped)
            row["low"], row["high"] = interval(drawn, confidence, units)
            row["p"] = _two_sided(drawn[~np.isnan(drawn)]) if units > 1 else np.nan
        rows.append(row)
    if not rows:
        raise KerasganError(
            "Arguments 'table_a' and 'table_b' must share a column of numbers. "
            f"Received: {list(table_a)} and {list(table_b)}"
        )
    return pd.DataFrame(rows)


def _two_sided(drawn: np.ndarray) -> float:
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return float(min(1, 2 * (tail + 1) / (len(drawn) + 1)))


def _aligned(table_a: pd.DataFrame, table_b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables in the order of the first, by name, once they prove to be comparable."""
    tables = {"table_a": table_a, "table_b": table_b}
    for argument, table in tables.items():
        if not isinstance(table, pd.DataFrame) or "name" not in table or table.empty:
            raise KerasganError(
                f"Argument '{argument}' must be a table with a column 'name', as evaluate returns, "
                f"and a row at least. Received: {type(table).__name__}"
            )
        twice = table["name"][table["name"].duplicated()]
        if len(twice):
            raise KerasganError(
                f"Argument '{argument}' must name each image once. "
                f"Received: {twice.iloc[0]!r} more than once"
            )
    names = [set(table["name"]) for table in tables.values()]
    if names[0] != names[1]:
        alone = sorted(map(str, names[0] ^ names[1]))
        raise KerasganError(
            "Arguments 'table_a' and 'table_b' must be of the same images. Received: "
            f"{len(alone)} in one of them alone, such as {alone[0]!r}"
        )
    policies = [table.attrs.get("summary", {}).get("empty") for table in tables.values()]
    if None not in policies and policies[0] != policies[1]:
        raise KerasganError(
            "Arguments 'table_a' and 'table_b' must be scored with the same policy for empty "
            f"masks. Received: {policies[0]!r} and {policies[1]!r}"
        )
    first = table_a.set_index("name")
    second = table_b.set_index("name").loc[first.index]
    if "true_area" in first and "true_area" in second:
        other = ~np.isclose(first["true_area"], second["true_area"], rtol=0, atol=1e-9)
        if other.any():
            raise KerasganError(
                "Arguments 'table_a' and 'table_b' must be scored against the same true masks. "
                f"Received: true masks of {first.index[other][0]!r} that differ in area"
            )
    return first, second

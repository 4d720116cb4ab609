"""What is gained by sending the most uncertain images to a person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kerasgan.errors import KerasganError
from kerasgan.evaluation.breakdown import LOW_IS_GOOD
from kerasgan.validation import invalid


def referral_curve(table: pd.DataFrame, by: str, score: str = "dice") -> pd.DataFrame:
    """Give the mean score of the images that are kept when the most uncertain ones are referred.

    Args:
        table: A row for each image, with a score, such as the table of `evaluate` merged with that
            of `kerasgan.inference.uncertainty_table` by `name`.
        by: Column of how uncertain each image is; those with the largest values go first.
        score: Column of the score; images where it is NaN are left out. For distances and areas
            of error, where low is good, as of `worst`, the images with the largest are the poor.

    Returns:
        A row for each number of images referred, from none to all but one: `referred`, as a share
        of the images; `kept`, the mean score of the others; `random`, the same for images referred
        at random; `best`, for the images with the lowest scores referred. `attrs["area"]` is the
        mean of `kept`; `attrs["gain"]` says where it lies between that of `random`, 0, and of
        `best`, 1; NaN where all scores are equal. Images of equal uncertainty count as in any
        order: the mean over all of them.

    Example:
        >>> table = pd.DataFrame({"dice": [0.9, 0.2, 0.8], "entropy": [0.1, 0.7, 0.3]})
        >>> curve = referral_curve(table, by="entropy")
        >>> curve["kept"].round(3).tolist(), curve.attrs["gain"]
        ([0.633, 0.85, 0.9], 1.0)

    Source: the risk-coverage curve, Geifman and El-Yaniv 2017 (arXiv 1705.08500), for a score.
    """
    for name, column in (("by", by), ("score", score)):
        if not isinstance(table, pd.DataFrame):
            raise invalid("table", "a DataFrame", type(table).__name__)
        if not isinstance(column, str) or column not in table:
            raise invalid(name, f"a column of the table, {list(table)}", column)
        values = table[column]
        if values.dtype.kind not in "biuf" or np.isinf(values.to_numpy(float)).any():
            raise invalid(name, "a column of finite numbers", column)
    rows = table[table[score].notna()]
    if rows[by].isna().any():
        raise KerasganError(
            f"Column '{by}' has no value for {rows[by].isna().sum()} of the images that have a "
            "score; merge the tables by 'name', and leave out those images"
        )
    if len(rows) < 2:
        raise KerasganError(
            f"Argument 'table' must hold at least two images with '{score}'. Received: {len(rows)}"
        )
    low_is_good = score.startswith(LOW_IS_GOOD)
    scores = rows[score].to_numpy(float)
    equal = rows.groupby(by)[score].transform("mean").to_numpy(float)
    order = np.argsort(rows[by].to_numpy(float), kind="stable")
    curve = pd.DataFrame(
        {
            "referred": np.arange(len(rows)) / len(rows),
            "kept": _means(equal[order]),
            "random": scores.mean(),
            "best": _means(np.sort(scores) if low_is_good else np.sort(scores)[::-1]),
        }
    )
    kept, chance, best = (curve[name].mean() for name in ("kept", "random", "best"))
    spread = best - chance
    curve.attrs["area"] = float(kept)
    curve.attrs["gain"] = float((kept - chance) / spread) if abs(spread) > 1e-12 else float("nan")
    return curve


def _means(scores: np.ndarray) -> np.ndarray:
    """Mean of the first n, n - 1, ..., 1 scores."""
    return (np.cumsum(scores) / np.arange(1, len(scores) + 1))[::-1]

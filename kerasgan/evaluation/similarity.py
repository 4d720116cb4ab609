"""How alike two maps of the same image are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each map with another; ties share their mean rank."""
    first, second = (
        pd.DataFrame(m.reshape(len(m), -1).T).rank().to_numpy().T for m in (maps, others)
    )
    return _cosine(*(ranks - ranks.mean(1, keepdims=True) for ranks in (first, second)))


def cosine(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each map with another, blind to their scale."""
    return _cosine(maps.reshape(len(maps), -1), others.reshape(len(others), -1))


def ratio(part: Any, whole: Any) -> np.ndarray:
    """Return a part by its whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def relative_change(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the Frobenius norm of the difference of maps, over that of the first."""
    first = np.linalg.norm(maps, axis=(1, 2))
    return ratio(np.linalg.norm(np.subtract(others, maps), axis=(1, 2)), first)


def similarities(maps: np.ndarray, others: np.ndarray, where: str = "") -> dict[str, np.ndarray]:
    """Return `rank_correlation` and `cosine` as metrics; `where` ends their names."""
    return {
        f"rank correlation{where}": rank_correlation(maps, others),
        f"cosine{where}": cosine(maps, others),
    }


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    there = (norms[0] > 0) & (norms[1] > 0)
    safe = [np.where(there, norm, 1)[:, None] for norm in norms]
    cosines = ((first / safe[0]) * (second / safe[1])).sum(1)
    return np.where(there, np.clip(cosines, -1, 1), np.nan)

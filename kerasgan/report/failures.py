"""Errors of each image, and which images to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

SPECK = 1 / 5000
"""Share of the frame below which a spot counts neither as an object nor as a false positive."""
POOR = 0.5
"""Jaccard below which an object counts as found in part only."""
KINDS = ("missed", "false positive", "partial", "found", "correctly empty")
"""What can be said of an image with a true mask; several hold at once."""
FAILURES = KINDS[:3]


class ObjectCounts(NamedTuple):
    """Objects of one image, in truth and prediction.

    Attributes:
        objects: Connected parts of the true mask, class by class, specks left out.
        missed: How many of them hold not one pixel predicted as their class.
        regions: Connected parts of the predicted mask, likewise.
        false: How many of them hold not one pixel that is of their class.
    """

    objects: int
    missed: int
    regions: int
    false: int


def count_objects(truth: np.ndarray, prediction: np.ndarray) -> ObjectCounts:
    """Count objects in a true and a predicted mask, and those that do not overlap the other."""
    truth, prediction = np.asarray(truth).astype(int), np.asarray(prediction).astype(int)
    return ObjectCounts(*_without_answer(truth, prediction), *_without_answer(prediction, truth))


def failure_kinds(findings: ObjectCounts, jaccard: float) -> list[str]:
    """Name the errors of an image."""
    kinds = []
    if findings.missed:
        kinds.append("missed")
    if findings.false:
        kinds.append("false positive")
    if findings.objects > findings.missed and jaccard < POOR:
        kinds.append("partial")
    return kinds or (["found"] if findings.objects else ["correctly empty"])


class ShownImage(NamedTuple):
    """An image to show in full.

    Attributes:
        index: Its position.
        group: Why it is shown, such as "worst" or "missed".
    """

    index: int
    group: str


def choose(table: pd.DataFrame, column: str, count: int) -> list[ShownImage]:
    """Choose the images to show: lowest, middle and highest, then failures of each kind."""
    values = table[column].to_numpy(np.float64)
    order = np.argsort(values, kind="stable")  # NaN comes last
    count = min(count, len(order))
    kinds = table["finding"] if "finding" in table else pd.Series([""] * len(table))
    failed = [[i for i in order if kind in kinds.iloc[i].split("; ")] for kind in FAILURES]
    spare = len({i for part in failed for i in part})
    each = max(1, -(-max(count // 2, count - spare) // 3))
    known = int(np.sum(~np.isnan(values))) or len(order)
    middle = known // 2
    near = sorted(range(known), key=lambda position: (abs(position - middle), position))
    groups = {
        "worst": list(order),
        "best": [*order[:known][::-1], *order[known:]],
        "median": [order[position] for position in near],
    }
    taken: dict[int, str] = {}
    for turn in range(each):
        for group in ("worst", "best", "median") if turn or count > 1 else ("worst",):
            add_first_unused(taken, groups[group], group, count)
    while len(taken) < count and any(set(part) - set(taken) for part in failed):
        for kind, part in zip(FAILURES, failed):
            add_first_unused(taken, part, kind, count)
    for _ in range(count):
        add_first_unused(taken, list(order), "worst", count)
    position = {index: rank for rank, index in enumerate(order)}
    names = ("worst", "median", "best", *FAILURES)
    ranked = sorted(taken, key=lambda i: (names.index(taken[i]), position[i]))
    return [ShownImage(int(i), taken[i]) for i in ranked]


def add_first_unused(
    taken: dict[int, str], candidates: Sequence[int], group: str, count: int
) -> None:
    """Add the first candidate that is not taken yet to a choice, unless that has enough."""
    left = [index for index in candidates if index not in taken]
    if left and len(taken) < count:
        taken[left[0]] = group


def _without_answer(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Number of connected parts of a mask, and of those where the other is nowhere the same."""
    parts = alone = 0
    for label in np.unique(mask[mask != 0]):
        numbered, _ = ndimage.label(mask == label, np.ones((3, 3)))
        sizes = np.bincount(numbered.ravel())
        answered = np.bincount(numbered.ravel(), (other == label).ravel())
        large = sizes >= SPECK * mask.size
        large[0] = False
        parts += int(large.sum())
        alone += int((large & (answered == 0)).sum())
    return parts, alone

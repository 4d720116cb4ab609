"""Which images went wrong, in what way, and which of them to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

__all__ = [
    "FAILURES",
    "KINDS",
    "SPECK",
    "ShownImage",
    "ObjectCounts",
    "choose",
    "count_objects",
    "failure_kinds",
    "add_first_unused",
]

SPECK = 1 / 5000
"""Share of the frame below which a spot counts neither as an object nor as a false alarm."""
POOR = 0.5
"""Jaccard below which an object counts as found in part only."""
KINDS = ("missed", "false alarm", "partial", "found", "rightly empty")
"""What can be said of an image with a true mask; several hold at once."""
FAILURES = KINDS[:3]


class ObjectCounts(NamedTuple):
    """Objects of one image, in truth and prediction.

    Attributes:
        objects: Connected parts of the true mask, class by class, specks left out.
        missed: How many of them hold not one pixel predicted as their class.
        regions: Connected parts of the predicted mask, likewise.
        false: How many of them hold not one pixel that is of their class.

    Example:
        >>> count_objects(np.eye(4), np.zeros((4, 4)))
        ObjectCounts(objects=1, missed=1, regions=0, false=0)
    """

    objects: int
    missed: int
    regions: int
    false: int


def count_objects(truth: np.ndarray, prediction: np.ndarray) -> ObjectCounts:
    """Count objects in a true and a predicted mask, and those that nothing answers to.

    Args:
        truth: Labels (height, width), 0 the background. Pixels touching at a corner are connected.
        prediction: Likewise.

    Returns:
        The counts.

    Example:
        >>> truth, prediction = np.zeros((2, 9, 9), int)
        >>> truth[:2, :2] = prediction[:1, :2] = prediction[8, 8] = 1
        >>> count_objects(truth, prediction)
        ObjectCounts(objects=1, missed=0, regions=2, false=1)
    """
    truth, prediction = np.asarray(truth).astype(int), np.asarray(prediction).astype(int)
    return ObjectCounts(*_without_answer(truth, prediction), *_without_answer(prediction, truth))


def failure_kinds(findings: ObjectCounts, jaccard: float) -> list[str]:
    """Say in words what went wrong in an image.

    Args:
        findings: Of the image.
        jaccard: Its score.

    Returns:
        Those of `KINDS` that hold: "missed" where an object was, "false alarm" where a region was
        drawn that touches no object, "partial" where objects were found and the Jaccard index is
        below 0.5; else "found", or "rightly empty" where there is nothing.

    Example:
        >>> failure_kinds(ObjectCounts(2, 1, 1, 0), 0.3)
        ['missed', 'partial']
    """
    kinds = []
    if findings.missed:
        kinds.append("missed")
    if findings.false:
        kinds.append("false alarm")
    if findings.objects > findings.missed and jaccard < POOR:
        kinds.append("partial")
    return kinds or (["found"] if findings.objects else ["rightly empty"])


class ShownImage(NamedTuple):
    """An image to show in full.

    Attributes:
        index: Its position.
        group: Why it is shown, such as "worst" or "missed".

    Example:
        >>> ShownImage(3, "worst").group
        'worst'
    """

    index: int
    group: str


def choose(table: pd.DataFrame, column: str, count: int) -> list[ShownImage]:
    """Choose the images to show: lowest, middle and highest, then failures of each kind.

    Args:
        table: A row per image, with the column to go by, and `finding` where there is a truth.
        column: Score; images without a value come last.
        count: How many to choose at most, 1 at least.

    Returns:
        The choice, no image twice. Half of it, if there are failures to fill the other half, goes
        to lowest, middle and highest in equal parts; failures are taken from each kind in turn, the
        lowest first. If there are too few, more of the lowest are taken.

    Example:
        >>> table = pd.DataFrame({"dice": [0.5, 0.9, 0.1]})
        >>> [(chosen.index, chosen.group) for chosen in choose(table, "dice", 3)]
        [(2, 'worst'), (0, 'median'), (1, 'best')]
    """
    values = table[column].to_numpy(np.float64)
    order = np.argsort(values, kind="stable")  # NaN comes last
    count = min(count, len(order))
    kinds = table["finding"] if "finding" in table else pd.Series([""] * len(table))
    failed = [[i for i in order if kind in kinds.iloc[i].split("; ")] for kind in FAILURES]
    spare = len({i for part in failed for i in part})
    each = max(1, -(-max(count // 2, count - spare) // 3))
    known = int(np.sum(~np.isnan(values))) or len(order)
    middle = known // 2
    near = sorted(range(known), key=lambda place: (abs(place - middle), place))
    groups = {
        "worst": list(order),
        "best": [*order[:known][::-1], *order[known:]],
        "median": [order[place] for place in near],
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
    place = {index: rank for rank, index in enumerate(order)}
    names = ("worst", "median", "best", *FAILURES)
    ranked = sorted(taken, key=lambda i: (names.index(taken[i]), place[i]))
    return [ShownImage(int(i), taken[i]) for i in ranked]


def add_first_unused(
    taken: dict[int, str], candidates: Sequence[int], group: str, count: int
) -> None:
    """Add the first candidate that is not taken yet to a choice, unless that has enough.

    Example:
        >>> taken = {3: "worst"}
        >>> add_first_unused(taken, [3, 1], "best", count=2)
        >>> taken
        {3: 'worst', 1: 'best'}
    """
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

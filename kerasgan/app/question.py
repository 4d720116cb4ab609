"""What can be asked of a mask, and the logits that are explained in answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from kerasgan.app.network import Prediction
from kerasgan.app.painting import Point
from kerasgan.data.resize import resize_mask
from kerasgan.errors import KerasganError
from kerasgan.explain.methods import DEFAULT_RULE

TARGETS = {
    "mask": "whole mask",
    "pixel": "one pixel",
    "component": "one component",
    "border": "border",
    "false_positives": "false positives",
    "false_negatives": "false negatives",
}
"""What can be explained, and what the page calls it."""
NEED_POINT = ("pixel", "component")
NEED_TRUTH = ("false_positives", "false_negatives")
MOST_VIEWS = 2
EIGHT = np.ones((3, 3), bool)


class View(NamedTuple):
    """One of the explanations that are seen beside each other.

    Attributes:
        model: Which of the session's models, from 0.
        rule: Name of the rule.
        before: Whether of the image before anything was painted over.
    """

    model: int = 0
    rule: str = DEFAULT_RULE
    before: bool = False


@dataclasses.dataclass(frozen=True)
class Question:
    """What is to be explained, and how.

    Attributes:
        target: A key of `TARGETS`.
        point: Where was clicked, as shares (x, y) of width and height, from 0 to 1; or None.
        views: One or two, the same of each.
    """

    target: str = "mask"
    point: Point | None = None
    views: tuple[View, ...] = (View(),)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise KerasganError(f"There is no target {self.target!r}")
        if not 1 <= len(self.views) <= MOST_VIEWS:
            raise KerasganError("One or two explanations can be seen at once")


def weights_of(
    question: Question, prediction: Prediction, truth: np.ndarray | None, same_classes: bool = True
) -> tuple[np.ndarray, str]:
    """Weights of the logits (rows, columns, classes or 1), and what they are in words.

    Args:
        question: What is asked.
        prediction: Of the model.
        truth: Labels (height, width), or None.
        same_classes: Whether the labels of the truth are those of the model; else only where any
            foreground is counts.

    Raises:
        KerasganError: If there is nothing of that kind.
    """
    grid, name = prediction.grid, question.target
    if name in NEED_POINT and question.point is None:
        raise KerasganError("Point at a place of the image first")
    at = None if question.point is None else cell_of(question.point, grid.shape)
    if name == "pixel":
        assert at is not None
        chosen = np.zeros(grid.shape, bool)
        chosen[at] = True
        return _plane(chosen), f"the pixel in row {at[0] + 1}, column {at[1] + 1}"
    if name in NEED_TRUTH:
        if truth is None:
            raise KerasganError("There is no true mask of this image, so errors are not known")
        labels = resize_mask(truth, grid.shape)
        return _errors(name, prediction, labels, at, same_classes)
    if not grid.any():
        raise KerasganError("The mask is empty. Point at a pixel and explain that")
    if name == "mask":
        return _plane(grid > 0), "the whole mask"
    label = 0 if at is None else grid[at]
    if label == 0 and name == "component":
        raise KerasganError("There is no mask at this point. Point into the mask")
    if label:
        chosen, _ = _part_at(grid == label, at)
    else:
        chosen = grid > 0
    if name == "component":
        return _plane(chosen), "the component at the point"
    rim = chosen & _next_to_another(grid)
    if not rim.any():
        raise KerasganError("The mask covers the whole image, so it has no border")
    return _plane(rim), "the border" + (" of the component at the point" if label else "")


def cell_of(point: Point, size: Sequence[int]) -> tuple[int, int]:
    """Row and column of a place."""
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise KerasganError("This point lies outside the image")
    return min(int(y * size[0]), size[0] - 1), min(int(x * size[1]), size[1] - 1)


def _errors(
    name: str,
    prediction: Prediction,
    truth: np.ndarray,
    at: tuple[int, int] | None,
    same_classes: bool,
) -> tuple[np.ndarray, str]:
    """As `weights_of`, of false positives or negatives."""
    grid, is_found = prediction.grid, name == "false_positives"
    if not same_classes:
        if not is_found and prediction.classes > 1:
            raise KerasganError(
                "The true mask has other classes than this model, so it is not known which class "
                "was missed. Its false positives can be explained"
            )
        grid, truth = (grid > 0).astype(np.uint8), (truth > 0).astype(np.uint8)
    chosen, here = _part_at((grid != truth) & ((grid if is_found else truth) > 0), at)
    if not chosen.any():
        raise KerasganError(f"There are no {TARGETS[name]} in this image")
    weights = _plane(chosen)
    if not is_found and prediction.classes > 1:
        if truth.max() >= prediction.classes:
            raise KerasganError("The true mask has classes that the model does not tell apart")
        weights = weights * np.eye(prediction.classes, dtype=np.float32)[truth]
    return weights, f"the {TARGETS[name]}" + (" at the point" if here else "")


def _part_at(region: np.ndarray, at: tuple[int, int] | None) -> tuple[np.ndarray, bool]:
    """The connected part of a region at a place, and True; all of it where there is none."""
    if at is None or not region[at]:
        return region, False
    parts, _ = ndimage.label(region, EIGHT)
    return parts == parts[at], True


def _next_to_another(grid: np.ndarray) -> np.ndarray:
    """Pixels beside which another label is; the edge of the image is no border."""
    return ndimage.maximum_filter(grid, 3) != ndimage.minimum_filter(grid, 3)


def _plane(chosen: np.ndarray) -> np.ndarray:
    return chosen[..., None].astype(np.float32)

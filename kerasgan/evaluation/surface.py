"""Scores of the outlines of two masks: how far off a border is, and how much of it is right.

The outline of a mask is its pixels with one of the four neighbours outside it; beyond the frame all
is outside, so a mask that is cut off by the frame has its outline there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.validation import check_number, check_pair, check_plane

TOLERANCE = 2.0
ROUNDING = 1e-9
"""Three pixels of 0.1 mm are 0.3 mm, whatever the last digit of a float says."""


def surface_distances(
    truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the distance from each pixel of either outline to the nearest of the other.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: Height and width of a pixel, or one number for both, in the unit that distances
            are wanted in; 1 for pixels.

    Returns:
        float64 distances from the pixels of the true outline, and from those of the predicted one,
        in the order of the pixels. Both are empty if either mask is: there is nothing to measure.

    Example:
        >>> there, back = surface_distances([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        >>> there, back
        (array([0.]), array([0., 3.]))
    """
    outlines = _outlines(truth, prediction, spacing)
    return (np.empty(0), np.empty(0)) if outlines is None else _distances(outlines)


def hausdorff_95(truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0) -> float:
    """Measure how far off the outline is where it is far off: the 95 % Hausdorff distance.

    The 95th percentile of the distances from one outline to the other, the larger of the two ways.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: As for `surface_distances`.

    Returns:
        The distance: 0 for equal masks, two empty ones among them; NaN if one of them is empty.

    Example:
        >>> hausdorff_95([[1, 0, 0, 0]], [[0, 0, 1, 0]])
        2.0

    Source: Huttenlocher, Klanderman and Rucklidge 1993 (the ranked distance); Maier-Hein et al.
    2024 (Metrics reloaded), which takes the larger of the two percentiles.
    """
    return _from_distances(_ranked, truth, prediction, spacing)


def mean_surface_distance(
    truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0
) -> float:
    """Measure how far off the outline is on average: the average symmetric surface distance.

    The mean over the pixels of both outlines of the distance to the other one.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: As for `surface_distances`.

    Returns:
        The distance: 0 for equal masks, two empty ones among them; NaN if one of them is empty.

    Example:
        >>> mean_surface_distance([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        1.0

    Source: Heimann et al. 2009, IEEE TMI 28(8), "average symmetric surface distance".
    """
    return _from_distances(_mean, truth, prediction, spacing)


def surface_dice(
    truth: Any,
    prediction: Any,
    tolerance: float = TOLERANCE,
    spacing: float | Sequence[float] = 1.0,
) -> float:
    """Measure what share of both outlines is right within a tolerance: normalized surface Dice.

    The pixels of either outline that are no further than the tolerance from the other one, of all
    pixels of both. Choose the tolerance from how far the outlines of two experts differ.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        tolerance: Distance above 0, in the unit of `spacing`: pixels, if that is 1.
        spacing: As for `surface_distances`.

    Returns:
        From 0 to 1: 1 for equal masks, two empty ones among them; 0 if one of them is empty.

    Example:
        >>> surface_dice([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        0.6666666666666666

    Source: Nikolov et al. 2021 (surface Dice at tolerance; they weigh pixels by the length of the
    outline in them); Maier-Hein et al. 2024 (Metrics reloaded), "NSD", which counts pixels.
    """
    return _within(_surface_dice, truth, prediction, tolerance, spacing)


def boundary_iou(
    truth: Any,
    prediction: Any,
    tolerance: float = TOLERANCE,
    spacing: float | Sequence[float] = 1.0,
) -> float:
    """Measure the overlap of the two masks near their outlines: boundary IoU.

    Of each mask only the rim counts: its pixels that are less than the tolerance from its outline,
    the outline itself among them. The score is the Jaccard index of the two rims.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        tolerance: Width of the rim above 0, in the unit of `spacing`: pixels, if that is 1. A whole
            number of pixels makes a rim that many pixels thick.
        spacing: As for `surface_distances`.

    Returns:
        From 0 to 1: 1 for equal masks, two empty ones among them; 0 if one of them is empty.

    Example:
        >>> boundary_iou([[1, 1, 0, 0]], [[0, 1, 1, 0]])
        0.3333333333333333

    Source: Cheng et al. 2021 (arXiv 2103.16562), equation 3; Maier-Hein et al. 2024 (Metrics
    reloaded), with Euclidean distances.
    """
    return _within(_boundary_iou, truth, prediction, tolerance, spacing)


class _Outlines(NamedTuple):
    """Two masks that are not empty, cut to what holds them, and the distances from their outlines.

    Attributes:
        masks: The true and the predicted one.
        outlines: Pixels of the outline of each.
        distances: float64, from each pixel to the outline of each.
    """

    masks: tuple[np.ndarray, np.ndarray]
    outlines: tuple[np.ndarray, np.ndarray]
    distances: tuple[np.ndarray, np.ndarray]


def _outlines(truth: Any, prediction: Any, spacing: Any) -> _Outlines | None:
    """Measure two masks, or None if either is empty."""
    masks = check_masks(truth, prediction)
    spacing = check_pair("spacing", spacing, above=0)
    if not (masks[0].any() and masks[1].any()):
        return None
    box = ndimage.find_objects((masks[0] | masks[1]).astype(np.int8))[0]
    masks = masks[0][box], masks[1][box]
    outlines = tuple(map(_outline, masks))
    distances = tuple(ndimage.distance_transform_edt(~outline, spacing) for outline in outlines)
    return _Outlines(masks, outlines, distances)


def _distances(measured: _Outlines) -> tuple[np.ndarray, np.ndarray]:
    (true, predicted), (to_true, to_predicted) = measured.outlines, measured.distances
    return to_predicted[true], to_true[predicted]


def _surface_dice(measured: _Outlines, tolerance: float) -> float:
    return float(np.mean(np.concatenate(_distances(measured)) <= tolerance * (1 + ROUNDING)))


def _boundary_iou(measured: _Outlines, tolerance: float) -> float:
    true, predicted = (
        mask & (distance < tolerance * (1 - ROUNDING))
        for mask, distance in zip(measured.masks, measured.distances)
    )
    return float((true & predicted).sum() / (true | predicted).sum())


def surface_row(
    truth: np.ndarray,
    prediction: np.ndarray,
    empty: str,
    tolerance: float = TOLERANCE,
    spacing: Any = 1.0,
) -> dict[str, float]:
    """Return all scores of outlines of a pair of checked masks, as columns of a table."""
    measured = _outlines(truth, prediction, spacing)
    if measured is None:
        equal = not (truth.any() or prediction.any())
        undefined = np.nan if empty == "nan" and equal else float(equal)
        distance = 0.0 if empty != "nan" and equal else np.nan
        return {**dict.fromkeys(DISTANCES, distance), **dict.fromkeys(SHARES, undefined)}
    distances = _distances(measured)
    return {
        **{name: measure(*distances) for name, measure in DISTANCES.items()},
        **{name: measure(measured, tolerance) for name, measure in SHARES.items()},
    }


def _ranked(there: np.ndarray, back: np.ndarray) -> float:
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _mean(there: np.ndarray, back: np.ndarray) -> float:
    return float(np.concatenate([there, back]).mean())


DISTANCES = {"hausdorff_95": _ranked, "mean_surface_distance": _mean}
SHARES = {"surface_dice": _surface_dice, "boundary_iou": _boundary_iou}


def _from_distances(measure, truth, prediction, spacing) -> float:
    measured = _outlines(truth, prediction, spacing)
    if measured is None:
        return float("nan") if np.any(truth) or np.any(prediction) else 0.0
    return measure(*_distances(measured))


def _within(measure, truth, prediction, tolerance, spacing) -> float:
    tolerance = check_number("tolerance", tolerance, above=0)
    measured = _outlines(truth, prediction, spacing)
    if measured is None:
        return 0.0 if np.any(truth) or np.any(prediction) else 1.0
    return measure(measured, tolerance)


def _outline(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def check_masks(truth: Any, prediction: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks (height, width) of one shape as bool, or raise a `KerasganError`."""
    masks = _mask("truth", truth), _mask("prediction", prediction)
    if masks[0].shape != masks[1].shape:
        raise KerasganError(
            "Arguments 'truth' and 'prediction' must have the same shape. "
            f"Received: {masks[0].shape} and {masks[1].shape}"
        )
    return masks


def _mask(name: str, mask: Any) -> np.ndarray:
    expected = "a mask (height, width), boolean or {0, 1}"
    mask = check_plane(name, mask, expected)
    if not ((mask == 0) | (mask == 1)).all():
        values = f"from {mask.min()} to {mask.max()}"
        raise KerasganError(
            f"Argument {name!r} must be {expected}. Received: shape {mask.shape}, {values}"
        )
    return mask.astype(bool)

"""Distances between the outlines of two masks: how far off a border is.

The outline of a mask is its pixels with one of the four neighbours outside it; beyond the frame all
is outside, so a mask that is cut off by the frame has its outline there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.validation import check_pair


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

    Raises:
        KerasganError: If the masks are not of one shape with two axes, hold other values, or the
            spacing is not positive.

    Example:
        >>> there, back = surface_distances([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        >>> there, back
        (array([0.]), array([0., 3.]))
    """
    truth, prediction = _mask("truth", truth), _mask("prediction", prediction)
    if truth.shape != prediction.shape:
        raise KerasganError(
            "Arguments 'truth' and 'prediction' must have the same shape. "
            f"Received: {truth.shape} and {prediction.shape}"
        )
    spacing = check_pair("spacing", spacing, above=0)
    if not (truth.any() and prediction.any()):
        return np.empty(0), np.empty(0)
    box = ndimage.find_objects((truth | prediction).astype(np.int8))[0]
    true, predicted = _outline(truth[box]), _outline(prediction[box])
    return (
        ndimage.distance_transform_edt(~predicted, spacing)[true],
        ndimage.distance_transform_edt(~true, spacing)[predicted],
    )


def hausdorff_95(truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0) -> float:
    """Measure how far off the outline is where it is far off: the 95 % Hausdorff distance.

    The 95th percentile of the distances from one outline to the other, the larger of the two ways.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: As for `surface_distances`.

    Returns:
        The distance: 0 for equal masks, two empty ones among them; NaN if one of them is empty.

    Raises:
        KerasganError: As `surface_distances`.

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

    Raises:
        KerasganError: As `surface_distances`.

    Example:
        >>> mean_surface_distance([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        1.0

    Source: Heimann et al. 2009, IEEE TMI 28(8), "average symmetric surface distance".
    """
    return _from_distances(_mean, truth, prediction, spacing)


def surface_row(truth: np.ndarray, prediction: np.ndarray, empty: str) -> dict[str, float]:
    """Return both distances of a pair of checked masks, in pixels, as columns of a table."""
    distances = surface_distances(truth, prediction)
    if not distances[0].size:
        neither = 0.0 if empty != "nan" and not (truth.any() or prediction.any()) else np.nan
        return dict.fromkeys(DISTANCES, neither)
    return {name: measure(*distances) for name, measure in DISTANCES.items()}


def _ranked(there: np.ndarray, back: np.ndarray) -> float:
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _mean(there: np.ndarray, back: np.ndarray) -> float:
    return float(np.concatenate([there, back]).mean())


DISTANCES = {"hausdorff_95": _ranked, "mean_surface_distance": _mean}


def _from_distances(measure, truth, prediction, spacing) -> float:
    distances = surface_distances(truth, prediction, spacing)
    if not distances[0].size:
        return float("nan") if np.any(truth) or np.any(prediction) else 0.0
    return measure(*distances)


def _outline(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _mask(name: str, mask: Any) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "biuf" or not ((mask == 0) | (mask == 1)).all():
        values = f"from {mask.min()} to {mask.max()}" if mask.dtype.kind in "iuf" else mask.dtype
        raise KerasganError(
            f"Argument {name!r} must be a mask (height, width), boolean or {{0, 1}}. "
            f"Received: shape {mask.shape}, {values if mask.size else 'nothing'}"
        )
    return mask.astype(bool)

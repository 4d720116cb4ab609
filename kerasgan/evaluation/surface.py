"""Scores of the outlines of two masks: how far off a border is, and how much of it is right.

The outline of a mask is its pixels with one of the four neighbours outside it; beyond the frame all
is outside, so a mask that is cut off by the frame has its outline there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.validation import check_number, check_pair, check_plane

TOLERANCE = 2.0
DISTANCES = ("hausdorff_95", "mean_surface_distance")
SHARES = ("surface_dice", "boundary_iou")
ROUNDING = 1e-9
"""Three pixels of 0.1 mm are 0.3 mm, whatever the last digit of a float says."""


def hausdorff_95(truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0) -> float:
    """Measure how far off the outline is where it is far off: the 95 % Hausdorff distance.

    The 95th percentile of the distances from one outline to the other, the larger of the two ways.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: Height and width of a pixel, or one number for both, in the unit that distances
            are wanted in; 1 for pixels.

    Returns:
        The distance: 0 for equal masks, two empty ones among them; NaN if one of them is empty.

    Example:
        >>> hausdorff_95([[1, 0, 0, 0]], [[0, 0, 1, 0]])
        2.0

    Source: Huttenlocher, Klanderman and Rucklidge 1993 (the ranked distance); Maier-Hein et al.
    2024 (Metrics reloaded), which takes the larger of the two percentiles.
    """
    return surface_row(truth, prediction, spacing=spacing)["hausdorff_95"]


def mean_surface_distance(
    truth: Any, prediction: Any, spacing: float | Sequence[float] = 1.0
) -> float:
    """Measure how far off the outline is on average: the average symmetric surface distance.

    The mean over the pixels of both outlines of the distance to the other one.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.
        spacing: As for `hausdorff_95`.

    Returns:
        The distance: 0 for equal masks, two empty ones among them; NaN if one of them is empty.

    Example:
        >>> mean_surface_distance([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        1.0

    Source: Heimann et al. 2009, IEEE TMI 28(8), "average symmetric surface distance".
    """
    return surface_row(truth, prediction, spacing=spacing)["mean_surface_distance"]


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
        spacing: As for `hausdorff_95`.

    Returns:
        From 0 to 1: 1 for equal masks, two empty ones among them; 0 if one of them is empty.

    Example:
        >>> surface_dice([[1, 0, 0, 0]], [[1, 0, 0, 1]])
        0.6666666666666666

    Source: Nikolov et al. 2021 (surface Dice at tolerance; they weigh pixels by the length of the
    outline in them); Maier-Hein et al. 2024 (Metrics reloaded), "NSD", which counts pixels.
    """
    return surface_row(truth, prediction, "agree", tolerance, spacing)["surface_dice"]


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
        spacing: As for `hausdorff_95`.

    Returns:
        From 0 to 1: 1 for equal masks, two empty ones among them; 0 if one of them is empty.

    Example:
        >>> boundary_iou([[1, 1, 0, 0]], [[0, 1, 1, 0]])
        0.3333333333333333

    Source: Cheng et al. 2021 (arXiv 2103.16562), equation 3; Maier-Hein et al. 2024 (Metrics
    reloaded), with Euclidean distances.
    """
    return surface_row(truth, prediction, "agree", tolerance, spacing)["boundary_iou"]


def surface_row(
    truth: Any,
    prediction: Any,
    empty: str = "agree",
    tolerance: float = TOLERANCE,
    spacing: Any = 1.0,
) -> dict[str, float]:
    """Return all scores of outlines of a pair of masks, as columns of a table."""
    tolerance = check_number("tolerance", tolerance, above=0)
    spacing = check_pair("spacing", spacing, above=0)
    masks = [mask.astype(bool) for mask in check_masks(truth, prediction)]
    there = [mask.any() for mask in masks]
    if not all(there):
        undefined = np.nan if empty == "nan" and not any(there) else float(not any(there))
        distance = 0.0 if empty != "nan" and not any(there) else np.nan
        return {**dict.fromkeys(DISTANCES, distance), **dict.fromkeys(SHARES, undefined)}
    box = ndimage.find_objects((masks[0] | masks[1]).astype(np.int8))[0]
    masks = [mask[box] for mask in masks]
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    to_true, to_found = (ndimage.distance_transform_edt(~outline, spacing) for outline in outlines)
    ways = to_found[outlines[0]], to_true[outlines[1]]
    both = np.concatenate(ways)
    rims = [
        mask & (distance < tolerance * (1 - ROUNDING))
        for mask, distance in zip(masks, (to_true, to_found))
    ]
    return {
        "hausdorff_95": float(max(np.percentile(way, 95) for way in ways)),
        "mean_surface_distance": float(both.mean()),
        "surface_dice": float(np.mean(both <= tolerance * (1 + ROUNDING))),
        "boundary_iou": float((rims[0] & rims[1]).sum() / (rims[0] | rims[1]).sum()),
    }


def check_masks(
    truth: Any, prediction: Any, most: float = 1, advice: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Check two masks (height, width) of one shape, of whole numbers from 0 to `most`."""
    values = "boolean or {0, 1}" if most == 1 else "whole numbers from 0 up"
    expected = f"a mask (height, width), {values}"
    masks = [
        check_plane(name, mask, expected)
        for name, mask in (("truth", truth), ("prediction", prediction))
    ]
    for name, mask in zip(("truth", "prediction"), masks):
        whole = np.isfinite(mask) & (mask == np.floor(mask))
        if not (whole & (mask >= 0) & (mask <= most)).all():
            received = f"shape {mask.shape}, from {mask.min()} to {mask.max()}{advice}"
            raise KerasganError(f"Argument {name!r} must be {expected}. Received: {received}")
    if masks[0].shape != masks[1].shape:
        raise KerasganError(
            "Arguments 'truth' and 'prediction' must have the same shape. "
            f"Received: {masks[0].shape} and {masks[1].shape}"
        )
    return masks[0], masks[1]

"""The score for thin structures: how much of the centre lines is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from kerasgan.evaluation.surface import check_masks


def cldice(truth: Any, prediction: Any) -> float:
    """Measure how much of the centre lines of thin structures is right: centreline Dice (clDice).

    The harmonic mean of the share of the predicted centre line that lies in the true mask and the
    share of the true centre line that lies in the predicted one. A vessel that is drawn too thick
    loses little, one that is interrupted or missing loses its length.

    Args:
        truth: True mask (height, width), boolean or {0, 1}.
        prediction: Predicted mask, likewise.

    Returns:
        From 0 to 1: 1 for equal masks, two empty ones among them; 0 if one of them is empty.

    Example:
        >>> cldice([[1, 1, 1, 1]], [[1, 1, 0, 0]])
        0.6666666666666666

    Source: Shit et al. 2021 (arXiv 2003.07311), equations 1 and 2; centre lines by scikit-image's
    `skeletonize` (Zhang and Suen 1984).
    """
    truth, prediction = (mask.astype(bool) for mask in check_masks(truth, prediction))
    if not (truth.any() and prediction.any()):
        return float(truth.any() == prediction.any())
    box = ndimage.find_objects((truth | prediction).astype(np.int8))[0]
    truth, prediction = truth[box], prediction[box]
    precision = _share(skeletonize(prediction), truth)
    sensitivity = _share(skeletonize(truth), prediction)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def centreline_row(truth: np.ndarray, prediction: np.ndarray, empty: str) -> dict[str, float]:
    """Return the score of a pair of checked masks, as a column of a table."""
    neither = not (truth.any() or prediction.any())
    return {"cldice": np.nan if neither and empty == "nan" else cldice(truth, prediction)}


def _share(line: np.ndarray, mask: np.ndarray) -> float:
    """Return what share of a centre line lies in a mask."""
    return float(mask[line].mean())

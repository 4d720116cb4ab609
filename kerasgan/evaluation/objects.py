"""Scores that count objects, not pixels: which were found, and what was found that is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from kerasgan.counts import EMPTY_POLICIES, Counts, score
from kerasgan.evaluation.surface import check_masks
from kerasgan.validation import check_choice, check_number

OVERLAP = 0.5
CONNECTIVITY = 8
OBJECT_SCORES = (
    "objects",
    "object_sensitivity",
    "false_positives_per_image",
    "object_f1",
    "panoptic_quality",
)


def object_scores(
    truth: Any,
    prediction: Any,
    *,
    overlap: float = OVERLAP,
    connectivity: int | None = CONNECTIVITY,
    empty: str = "agree",
) -> dict[str, float]:
    """Match true and predicted objects one to one, and score what was found.

    An object is a connected part of a mask; parts that touch are one object. Where objects that
    touch are told apart, pass instance labels and `connectivity=None`. A true and a predicted
    object can match if their Jaccard index (IoU) is above `overlap`. The pair with the highest goes
    first, then the next of those left; from 0.5 up no object has a second candidate.

    Args:
        truth: True mask (height, width), boolean or {0, 1}; with `connectivity=None`, whole numbers
            with a number of its own for each object and 0 for the background.
        prediction: Predicted mask, likewise.
        overlap: Jaccard index above which two objects match, from 0 up and below 1. With 0 a pixel
            in common is enough.
        connectivity: 8 if pixels that touch at a corner belong together, 4 if only those that share
            a side do, None for instance labels.
        empty: `"nan"` for NaN in `object_f1` and `panoptic_quality` where there is no object in
            either mask, any other policy of `kerasgan.evaluation.evaluate` for 1.

    Returns:
        `objects`, the number of true ones; `object_sensitivity`, the share of them that has a
        match, NaN if there is none; `false_positives_per_image`, the number of predicted ones
        without a match; `object_f1`, twice the matches over all objects, true and predicted;
        `panoptic_quality`, the sum of the matches' Jaccard indices over half of all objects: the F1
        times their mean index.

    Example:
        >>> found = object_scores([[1, 1, 0, 1, 0, 0]], [[1, 1, 0, 0, 0, 1]])
        >>> found["object_sensitivity"], found["false_positives_per_image"]
        (0.5, 1)

    Source: Kirillov et al. 2019 (arXiv 1801.00868), equation 1; Maier-Hein et al. 2024 (Metrics
    reloaded): mask IoU as criterion, greedy one-to-one assignment.
    """
    check_number("overlap", overlap, least=0, below=1)
    check_choice("connectivity", connectivity, (4, 8, None))
    check_choice("empty", empty, EMPTY_POLICIES)
    if connectivity is None:
        masks = check_masks(truth, prediction, most=np.inf)
    else:
        advice = ". For instance labels pass connectivity=None"
        masks = check_masks(truth, prediction, advice=advice)
    true, predicted = (_instances(mask, connectivity) for mask in masks)
    indices = _match(true, predicted, overlap)
    objects, found = int(true.max(initial=0)), len(indices)
    false = int(predicted.max(initial=0)) - found
    counts = Counts(found, false, objects - found, 0)
    f1 = float(score("dice", counts, empty="nan" if empty == "nan" else "agree"))
    quality = f1 * float(np.mean(indices)) if found else f1
    sensitivity = found / objects if objects else np.nan
    return dict(zip(OBJECT_SCORES, (objects, sensitivity, false, f1, quality)))


def _match(true: np.ndarray, predicted: np.ndarray, overlap: float) -> list[float]:
    """Jaccard indices of the pairs, the highest first."""
    sizes, others = np.bincount(true.ravel()), np.bincount(predicted.ravel())
    both = (true > 0) & (predicted > 0)
    pairs, shared = np.unique(true[both] * len(others) + predicted[both], return_counts=True)
    first, second = np.divmod(pairs, len(others))
    indices = shared / (sizes[first] + others[second] - shared)
    matched: list[float] = []
    taken: tuple[set, set] = set(), set()
    for pair in np.argsort(-indices, kind="stable"):
        one, other, index = int(first[pair]), int(second[pair]), float(indices[pair])
        if index > overlap and one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            matched.append(index)
    return matched


def _instances(mask: np.ndarray, connectivity: int | None) -> np.ndarray:
    """Give each object a number, from 1 up without gaps: int64 (height, width)."""
    if connectivity is None:
        values, numbers = np.unique(mask, return_inverse=True)
        return numbers.reshape(mask.shape).astype(np.int64) + (values.size and values[0] != 0)
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    return ndimage.label(mask, structure)[0].astype(np.int64)

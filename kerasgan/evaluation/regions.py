"""Parts of an image that relevance may lie in, and the mask blurred: what a map is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplainedBatch, target_map
from kerasgan.evaluation.similarity import cosine, ratio
from kerasgan.validation import check_number, invalid, is_number


def true_region(batch: ExplainedBatch) -> np.ndarray:
    """Return where the truth has a class that is explained: bool (batch, height, width).

    Of a network with one channel that is the true foreground, whatever the target; of one with
    several, the true pixels of the classes that the target gives weight above 0 in that image.
    """
    if batch.truth is None or batch.truth.shape != batch.weights.shape:
        received = "none" if batch.truth is None else f"masks of shape {batch.truth.shape}"
        raise KerasganError(
            f"Argument 'samples' must have true masks of the shape of the logits, "
            f"{batch.weights.shape}. Received: {received}"
        )
    if batch.truth.shape[-1] == 1:
        return batch.truth[..., 0] > 0
    explained = np.any(batch.weights > 0, axis=(1, 2), keepdims=True)
    return np.any((batch.truth > 0) & explained, -1)


def boundary_rim(region: np.ndarray, width: float, outer: bool = False) -> np.ndarray:
    """Return the rim of regions: the pixels at most so far from the other side of the outline.

    The edge of the image is no outline: a region that fills the frame has no rim, and neither has
    an empty one.
    """
    rims = np.zeros(region.shape, bool)
    for rim, one in zip(rims, region):
        if one.any() and not one.all():
            rim[:] = ~one & (ndimage.distance_transform_edt(~one) <= width)
            if not outer:
                rim |= one & (ndimage.distance_transform_edt(one) <= width)
    return rims


def parts_around(target: np.ndarray, rim: float) -> dict[str, np.ndarray]:
    """Divide images into what is inside a target, in the rim round it, and outside."""
    beside = boundary_rim(target, rim, outer=True)
    return {"inside": target, "rim": beside, "outside": ~(target | beside)}


def shares(sizes: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Say what share of maps lies in each part of the image."""
    total = sizes.sum((1, 2), dtype=np.float64)
    return {
        name: ratio(np.where(part, sizes, 0).sum((1, 2), dtype=np.float64), total)
        for name, part in parts.items()
    }


def blurred(masks: np.ndarray, width: float) -> np.ndarray:
    """Blur masks (batch, height, width) by a Gaussian; what leaves the frame is lost."""
    return ndimage.gaussian_filter(masks, (0, width, width), mode="constant")


def blur_controls(
    widths: Sequence[float],
) -> dict[str, Callable[[ExplainedBatch, int], np.ndarray]]:
    """Return controls for `ExplanationBenchmark`, by name: the target blurred."""

    def control(width: float) -> Callable[[ExplainedBatch, int], np.ndarray]:
        return lambda batch, seed: blurred(target_map(batch, seed), width)

    return {f"target blurred {width:g} px": control(width) for width in widths}


def excess(
    sizes: np.ndarray, part: np.ndarray, nulls: Mapping[float, np.ndarray]
) -> dict[str, np.ndarray]:
    """Say how much more of maps lies in a part of the image than of the target blurred."""
    share = shares(sizes, {"part": part})["part"]
    over = np.stack([share - shares(null, {"part": part})["part"] for null in nulls.values()])
    fit = np.stack([cosine(sizes, null) for null in nulls.values()])
    undefined = np.isnan(fit).any(0)
    best = np.where(undefined, 0, np.nan_to_num(fit).argmax(0))
    fitted = np.asarray(list(nulls), np.float64)[best]
    metrics = {
        "blur": np.where(undefined, np.nan, fitted),
        "excess": np.where(undefined, np.nan, np.take_along_axis(over, best[None], 0)[0]),
    }
    metrics.update((f"excess over {width:g} px", each) for width, each in zip(nulls, over) if width)
    return metrics


def shares_and_excess(
    sizes: np.ndarray, parts: Mapping[str, np.ndarray], part: str, nulls: Mapping[float, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the share of maps in each part, and the `excess` in one of these."""
    return {**shares(sizes, parts), **excess(sizes, parts[part], nulls)}


def blurred_targets(mask: np.ndarray, widths: Sequence[float]) -> dict[float, np.ndarray]:
    """Return a mask as it is, by width 0, and blurred by each width."""
    return {0: mask, **{width: blurred(mask, width) for width in widths}}


def check_widths(rim: Any, widths: Any = ()) -> None:
    """Check the width of a rim, 1 pixel at least, and those of blurs, above 0."""
    check_number("rim", rim, least=1)
    if not isinstance(widths, (list, tuple)) or not all(is_number(w) and w > 0 for w in widths):
        raise invalid("widths", "a list of positive numbers, in pixels", widths)

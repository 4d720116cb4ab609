"""Taking pixels out of an image, in the order of their relevance, and what is left of the target.

What a map calls relevant must matter to the network: with the most relevant pixels gone the target
should fall fast, with the least relevant gone it should hold. A pixel cannot be taken out of an
image, only replaced, so what is put in its place, the baseline, is part of every result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from kerasgan.evaluation.benchmark import ExplainedBatch, check_maps, rng_of, target_scores
from kerasgan.validation import check_choice, check_seed, check_whole_number

ORDERS = ("most", "least")
FOUR = {(-1, 0): 1.0, (1, 0): 1.0, (0, -1): 1.0, (0, 1): 1.0}
EIGHT = {
    (y, x): 1 / 12 if y and x else 1 / 6 for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)
}
BITS = 16
TIES, FILL = 1, 2
Rng = Optional[np.random.Generator]  # None for the first, as of seed 0


# --- Baselines: what is put in the place of removed pixels ---


def blur(image: np.ndarray, removed: np.ndarray, rng: Rng = None) -> np.ndarray:
    """Put the blurred image in the place of removed pixels: colour stays, detail goes."""
    sigma = min(image.shape[:2]) / 16
    return _composite(image, removed, ndimage.gaussian_filter(image, (sigma, sigma, 0)))


def mean(image: np.ndarray, removed: np.ndarray, rng: Rng = None) -> np.ndarray:
    """Put the mean colour of the image in the place of removed pixels."""
    return _composite(image, removed, image.mean((0, 1), dtype=np.float64))


def noise(image: np.ndarray, removed: np.ndarray, rng: Rng = None) -> np.ndarray:
    """Put noise in the place of removed pixels, uniform from -1 to 1, the same in every copy.

    Source: Samek et al. 2017, arXiv 1509.06321, replace regions by values drawn uniformly.
    """
    return _composite(image, removed, (rng or np.random.default_rng(0)).uniform(-1, 1, image.shape))


def inpainting(image: np.ndarray, removed: np.ndarray, rng: Rng = None) -> np.ndarray:
    """Fill removed pixels smoothly from those kept: each is the mean of its four neighbours.

    The equations are solved exactly. At the frame the neighbours outside it are left out. With all
    pixels removed there is nothing to fill from, and all get the mean colour of the image.
    """
    return np.stack([_solved(image, mask, FOUR) for mask in removed])


def noisy_linear_imputation(
    image: np.ndarray, removed: np.ndarray, rng: Rng = None, noise: float = 0.01
) -> np.ndarray:
    """Fill removed pixels by noisy linear imputation.

    Each is the weighted mean of its eight neighbours, 1/6 for those beside it and 1/12 for those
    across, solved exactly, plus a little Gaussian noise. It leaves fewer traces of which pixels
    were removed, so that the network answers to what is missing and not to the hole. The frame, and
    an image with all pixels removed, are treated as by `inpainting`.

    Source: Rong et al. 2022, arXiv 2202.00449.
    """
    filled = np.stack([_solved(image, mask, EIGHT) for mask in removed])
    added = (rng or np.random.default_rng(0)).normal(0, noise, image.shape).astype(np.float32)
    return filled + removed[..., None] * added


BASELINES: dict[str, Callable] = {
    "blur": blur,
    "mean": mean,
    "noise": noise,
    "inpainting": inpainting,
    "road": noisy_linear_imputation,
}
"""What is put in the place of removed pixels, by name."""


def _composite(image: np.ndarray, removed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    return np.where(removed[..., None], np.asarray(fill, np.float32), image)


def _solved(image: np.ndarray, removed: np.ndarray, weights: dict) -> np.ndarray:
    """Make each removed pixel the weighted mean of its neighbours; weights are symmetric."""
    if removed.all():
        return np.broadcast_to(image.mean((0, 1)), image.shape)
    if not removed.any():
        return image
    height, width = removed.shape
    gone = removed.ravel()
    pixels_removed = np.flatnonzero(gone)
    number = np.cumsum(gone) - 1
    count = len(pixels_removed)
    colours = image.reshape(height * width, -1).astype(np.float64)
    known, total = np.zeros((count, colours.shape[1])), np.zeros(count)
    entries = []
    for (down, right), weight in weights.items():
        y, x = pixels_removed // width + down, pixels_removed % width + right
        here = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        there = (y * width + x)[here]
        total[here] += weight
        unknown = gone[there]
        known[here[~unknown]] += weight * colours[there[~unknown]]
        ends = here[unknown], number[there[unknown]]
        entries.append((*ends, np.full(len(ends[0]), -weight)))
    entries.append((np.arange(count), np.arange(count), total))
    rows, columns, values = map(np.concatenate, zip(*entries))
    matrix = sparse.csc_matrix((values, (rows, columns)), (count, count))
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
    factors = splu(matrix, diag_pivot_thresh=0.0, **symmetric)
    colours[pixels_removed] = factors.solve(known)
    return colours.reshape(image.shape).astype(np.float32)


# --- Units: what is removed together ---


def regions(image: np.ndarray, side: int | None = None) -> np.ndarray:
    """Cut an image into squares, as region perturbation removes them.

    Source: Samek et al. 2017, arXiv 1509.06321.
    """
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) / 16)) if side is None else side
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return rows[:, None] * (columns[-1] + 1) + columns


def superpixels(image: np.ndarray, side: int | None = None) -> np.ndarray:
    """Number the superpixels of an image (height, width, channels) in [-1, 1], from 0 without gaps.

    They have about `side` x `side` pixels; None for a twelfth of the shorter side. Nothing is
    random, and a superpixel need not be connected, so that noise does not lower their number.

    Source: SLIC, Achanta et al. 2012, doi 10.1109/TPAMI.2012.120.
    """
    from skimage.segmentation import slic  # takes a second to import, and few curves need it

    height, width, channels = image.shape
    side = max(1, round(min(height, width) / 12)) if side is None else side
    labels = slic(
        (image.astype(np.float64) + 1) / 2,
        n_segments=max(1, round(height / side)) * max(1, round(width / side)),
        compactness=10 if channels == 3 else 0.1,  # of distances in Lab, and in [0, 1]
        enforce_connectivity=False,
        start_label=0,
        channel_axis=-1,
    )
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)


def pixels(image: np.ndarray) -> np.ndarray:
    """Number every pixel: nothing is removed together."""
    return np.arange(image.shape[0] * image.shape[1]).reshape(image.shape[:2])


UNITS: dict[str, Callable] = {"pixels": pixels, "regions": regions, "superpixels": superpixels}
"""What is removed together, by name."""


# --- Curves ---


def removal_curve(
    batch: ExplainedBatch,
    maps: np.ndarray,
    order: str = "most",
    *,
    units: str = "pixels",
    baseline: str = "blur",
    steps: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Remove the pixels of each image by relevance, and follow what is left of the target.

    Units ("pixels", "regions" or "superpixels") are ranked by their mean relevance, signed: what
    speaks against the target comes last where "most" comes first. Means that agree in 16 binary
    digits are ties, since float32 maps hold rounding errors. Ties are broken by noise drawn for
    each image by its name, the same noise in both orders, so on a constant map both orders are one.

    Returns:
        The share of the units removed, float64 (steps + 1,), from 0 to 1, and the scores "dice" and
        "logit" (see `target_scores`), each float64 (batch, steps + 1), as a share of the score of
        the unaltered image: 1 at the start. NaN where that score is not above 0, as for an empty
        target, or the logit of pixels that are missed.

    Source: Bach et al. 2015, doi 10.1371/journal.pone.0130140 (pixel flipping); Samek et al. 2017,
    arXiv 1509.06321 (both orders, regions); Rieger and Hansen 2020, arXiv 2003.08747 (superpixels).
    """
    check_maps(maps, batch.images, "maps")
    check_choice("order", order, ORDERS)
    check_choice("units", units, UNITS)
    check_choice("baseline", baseline, BASELINES)
    check_whole_number("steps", steps, 1)
    check_seed(seed)
    start = target_scores(batch.logits, batch.weights)
    curves = {score: np.full((len(maps), steps + 1), np.nan) for score in ("dice", "logit")}
    for i, (name, image, relevance) in enumerate(zip(batch.names, batch.images, maps)):
        if not any(start[score][i] > 0 for score in curves):
            continue
        ranks = _ranks(UNITS[units](image), relevance, order, rng_of(name, seed, TIES))
        removed = _removed(ranks, steps)
        altered = BASELINES[baseline](image, removed[1:], rng_of(name, seed, FILL))
        scores_now = batch.scores(altered, [i] * steps)
        for score, curve in curves.items():
            if start[score][i] > 0:
                curve[i] = np.append(1.0, scores_now[score] / start[score][i])
    return np.linspace(0, 1, steps + 1), curves


def _ranks(
    labels: np.ndarray, relevance: np.ndarray, order: str, rng: np.random.Generator
) -> np.ndarray:
    """Say for each pixel when it is removed, whole numbers from 0; pixels of a unit at once."""
    means = np.bincount(labels.ravel(), np.ravel(relevance)) / np.bincount(labels.ravel())
    mantissa, exponent = np.frexp(means)
    means = np.ldexp(np.rint(mantissa * 2**BITS), exponent)
    ties = rng.uniform(size=len(means))
    ranks = np.empty(len(means), int)
    ranks[np.lexsort((ties, -means if order == "most" else means))] = np.arange(len(means))
    return ranks[labels]


def _removed(ranks: np.ndarray, steps: int) -> np.ndarray:
    """Turn ranks (height, width) into masks (steps + 1, height, width), from none to all."""
    counts = np.rint(np.linspace(0, ranks.max() + 1, steps + 1))
    return ranks < counts[:, None, None]

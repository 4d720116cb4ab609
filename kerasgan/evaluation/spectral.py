"""Spectral relevance analysis: which strategies a network has, told from clusters of its heatmaps.

Where most heatmaps look one way and some another, the network does something else in those images;
a shortcut often shows as a cluster of its own.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg
from scipy.cluster import vq
from scipy.spatial.distance import cdist

from kerasgan.data import resize_back
from kerasgan.errors import KerasganError
from kerasgan.validation import check_seed, check_whole_number

MOST = 10  # clusters that the eigengap chooses among
RESTARTS = 10


class Clusters(NamedTuple):
    """Clusters of heatmaps, as `relevance_clusters` finds them.

    Attributes:
        labels: int64 (count,). The cluster of each map, from 0, the largest.
        embedding: float64 (count, clusters). Where each map lies; rows of length 1.
        eigenvalues: float64 (count,), ascending. Those of the Laplacian: as many near 0 as there
            are clusters that hang together, then a gap.

    Example:
        >>> maps = np.zeros((8, 4, 4))
        >>> maps[:4, 0], maps[4:, 3] = 1, 1
        >>> relevance_clusters(maps, clusters=2, neighbours=2).embedding.shape
        (8, 2)
    """

    labels: np.ndarray
    embedding: np.ndarray
    eigenvalues: np.ndarray


def relevance_clusters(
    maps: Any,
    clusters: int | None = None,
    *,
    size: int = 16,
    neighbours: int | None = None,
    seed: int = 0,
) -> Clusters:
    """Cluster heatmaps by what they look like.

    Maps are brought to a small size and to a sum of absolute values of 1. Each is tied to its
    nearest neighbours; the eigenvectors of the normalised Laplacian of these ties with the smallest
    eigenvalues, each row brought to length 1, are clustered by k-means.

    Args:
        maps: Float (count, height, width), 4 maps at least, one an image. A map that is zero
            everywhere stays so.
        clusters: How many; None for as many as eigenvalues lie before the largest gap among the
            first eleven.
        size: Side of the small maps, in pixels.
        neighbours: How many each map is tied to; None for log2 of the count, rounded up.
        seed: Key of where k-means starts.

    Returns:
        The clusters.

    Example:
        >>> maps = np.zeros((8, 4, 4))
        >>> maps[:5, 0], maps[5:, 3] = 1, 1
        >>> relevance_clusters(maps, neighbours=2).labels
        array([0, 0, 0, 0, 0, 1, 1, 1])

    Source: Lapuschkin et al. 2019 (arXiv 1902.10178), spectral relevance analysis; Ng, Jordan and
    Weiss 2001 (the rows); von Luxburg 2007 (arXiv 0711.0189), section 8 (neighbours, eigengap).
    """
    maps = np.asarray(maps)
    if maps.ndim != 3 or len(maps) < 4 or maps.dtype.kind not in "buif":
        raise KerasganError(
            "Argument 'maps' must be numbers (count, height, width), 4 maps at least. "
            f"Received: {maps.dtype} of shape {maps.shape}"
        )
    if not np.all(np.isfinite(maps)):
        raise KerasganError("Argument 'maps' must be finite. Received: NaN or infinity")
    count = len(maps)
    neighbours = int(np.ceil(np.log2(count))) if neighbours is None else neighbours
    check_whole_number("neighbours", neighbours, 1, count - 1)
    check_whole_number("size", size, 1, 1024)
    check_seed(seed)
    if clusters is not None:
        check_whole_number("clusters", clusters, 1, count - 1)
    small = small_maps(maps, size).reshape(count, -1)
    total = np.abs(small).sum(1, keepdims=True)
    small = small / np.where(total > 0, total, 1)
    ties = _ties(small, neighbours)
    root = np.sqrt(ties.sum(1))
    laplacian = np.eye(count) - ties / np.outer(root, root)
    eigenvalues, vectors = linalg.eigh(laplacian)
    if clusters is None:
        clusters = int(np.argmax(np.diff(eigenvalues[: MOST + 1]))) + 1
    embedding = vectors[:, :clusters]
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    embedding = embedding / np.where(length > 0, length, 1)
    return Clusters(_kmeans(embedding, clusters, seed), embedding, eigenvalues)


def small_maps(maps: np.ndarray, size: int = 16) -> np.ndarray:
    """Bring maps to a small square, by the mean over the area of each new pixel."""
    return np.stack([resize_back(one[..., None], (size, size))[..., 0] for one in maps]).astype(
        np.float64
    )


def _ties(points: np.ndarray, neighbours: int) -> np.ndarray:
    """1 where one of two points is among the nearest neighbours of the other, else 0."""
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    ties = np.zeros(distance.shape)
    np.put_along_axis(ties, nearest, 1, axis=1)
    return np.maximum(ties, ties.T)


def _kmeans(points: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Labels of the best of several runs, the largest cluster first."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of equal points some clusters are empty
        runs = [
            vq.kmeans2(points, clusters, iter=100, minit="++", seed=rng) for _ in range(RESTARTS)
        ]
    errors = [((points - centres[labels]) ** 2).sum() for centres, labels in runs]
    labels = runs[int(np.argmin(errors))][1]
    order = np.argsort(-np.bincount(labels, minlength=clusters), kind="stable")
    return np.argsort(order, kind="stable")[labels]

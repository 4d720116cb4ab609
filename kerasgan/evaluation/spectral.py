"""Spectral relevance analysis: which strategies a network has, told from clusters of its heatmaps.

Where most heatmaps look one way and some another, the network does something else in those images;
a shortcut often shows as a cluster of its own.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import linalg
from scipy.cluster import vq
from scipy.spatial.distance import cdist

from kerasgan.data import resize_back

MOST = 10  # clusters that the eigengap chooses among
RESTARTS = 10
SIDE = 16


def relevance_clusters(
    maps: np.ndarray, clusters: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster heatmaps (count, pixels) by what they look like.

    Maps are brought to a sum of absolute values of 1. Each is tied to its nearest neighbours, log2
    of the count; the eigenvectors of the normalised Laplacian of these ties with the smallest
    eigenvalues, each row brought to length 1, are clustered by k-means. Where no number of clusters
    is asked for, it is that of eigenvalues before the largest gap among the first eleven.

    Returns:
        The cluster of each map, int64 from 0, the largest, and where it lies among them, float64
        (count, clusters).

    Source: Lapuschkin et al. 2019 (arXiv 1902.10178), spectral relevance analysis; Ng, Jordan and
    Weiss 2001 (the rows); von Luxburg 2007 (arXiv 0711.0189), section 8 (neighbours, eigengap).
    """
    count = len(maps)
    total = np.abs(maps).sum(1, keepdims=True)
    ties = _ties(maps / np.where(total > 0, total, 1), int(np.ceil(np.log2(count))))
    root = np.sqrt(ties.sum(1))
    laplacian = np.eye(count) - ties / np.outer(root, root)
    eigenvalues, vectors = linalg.eigh(laplacian)
    if clusters is None:
        clusters = int(np.argmax(np.diff(eigenvalues[: MOST + 1]))) + 1
    embedding = vectors[:, :clusters]
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    embedding = embedding / np.where(length > 0, length, 1)
    return _kmeans(embedding, clusters, seed), embedding


def small_maps(maps: np.ndarray) -> np.ndarray:
    """Bring maps to small squares, by the mean over the area of each pixel: (count, pixels)."""
    small = [resize_back(one[..., None], (SIDE, SIDE)).ravel() for one in maps]
    return np.stack(small).astype(np.float64)


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

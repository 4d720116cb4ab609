import numpy as np
import pytest
from refusals import refused

from kerasgan.evaluation.spectral import relevance_clusters, small_maps


def from_prototypes(counts=(14, 9, 6), noise=0.3, seed=0):
    """Maps of three kinds, each at its own strength, in a mixed order; and which kind each is."""
    rng = np.random.default_rng(seed)
    prototypes = np.zeros((3, 32, 32))
    prototypes[0, 4:14, 4:14] = 1
    prototypes[1, :, 24:] = 1
    prototypes[2, 20:26, 2:20] = -1
    kinds = rng.permutation(np.repeat(np.arange(3), counts))
    maps = prototypes[kinds] + noise * rng.normal(size=(len(kinds), 32, 32))
    return maps * rng.uniform(0.1, 10, (len(kinds), 1, 1)), kinds


@pytest.mark.parametrize("seed", range(5))
def test_maps_of_three_kinds_are_told_apart(seed):
    maps, kinds = from_prototypes(seed=seed)
    for clusters in (None, 3):
        found = relevance_clusters(maps, clusters, seed=seed)
        np.testing.assert_array_equal(found.labels, kinds)  # the largest comes first
        assert found.embedding.shape == (29, 3)
        np.testing.assert_allclose(np.linalg.norm(found.embedding, axis=1), 1)
    assert (found.eigenvalues[:3] < 0.1).all()
    assert found.eigenvalues[3] > found.eigenvalues[2] + 0.1


def test_maps_of_one_kind_are_one_cluster():
    rng = np.random.default_rng(0)
    found = relevance_clusters(1 + 0.3 * rng.normal(size=(30, 16, 16)))
    assert set(found.labels) == {0}


def test_eigenvalues_of_cliques_are_known():
    """Two cliques of n points have eigenvalues 0, 0 and n / (n - 1)."""
    rng = np.random.default_rng(0)
    maps = np.zeros((10, 4, 4))
    maps[:5, 0] = 1
    maps[5:, 3] = 1
    maps += 0.01 * rng.normal(size=maps.shape)
    found = relevance_clusters(maps, neighbours=4, size=4)
    np.testing.assert_allclose(found.eigenvalues, [0, 0] + [5 / 4] * 8, atol=1e-12)
    np.testing.assert_array_equal(found.labels == found.labels[0], np.arange(10) < 5)


def test_the_same_seed_gives_the_same_clusters():
    maps, _ = from_prototypes(noise=3.0)
    one, again = (relevance_clusters(maps, 4, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.labels, again.labels)
    sizes = np.bincount(one.labels)
    assert (np.diff(sizes) <= 0).all()


def test_empty_and_equal_maps_are_allowed():
    maps, kinds = from_prototypes()
    maps[:2] = 0
    found = relevance_clusters(maps, 3)
    assert np.isfinite(found.embedding).all()
    assert len(set(relevance_clusters(np.ones((6, 8, 8))).labels)) <= 2
    with_empty = found.labels[kinds == 0]
    assert len(with_empty) == 14


def test_small_maps_are_means():
    maps = np.arange(64.0).reshape(1, 8, 8)
    np.testing.assert_allclose(
        small_maps(maps, 4), maps.reshape(1, 4, 2, 4, 2).mean((2, 4)), rtol=1e-6
    )


def test_bad_input():
    maps, _ = from_prototypes()
    holes = maps.copy()
    holes[3, 4, 5] = np.nan
    for arguments, options, message in (
        ((maps[:3],), {}, "4 maps at least"),
        ((maps[0],), {}, "must be numbers"),
        ((holes,), {}, "must be finite"),
        ((maps, 0), {}, "'clusters' must be a whole number from 1 to 28"),
        ((maps, 29), {}, "'clusters' must be"),
        ((maps,), {"neighbours": 29}, "'neighbours' must be"),
        ((maps,), {"size": 0.5}, "'size' must be"),
    ):
        refused(message, relevance_clusters, *arguments, **options)

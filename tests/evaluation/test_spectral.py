import numpy as np
import pytest

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
        labels, places = relevance_clusters(small_maps(maps), clusters, seed)
        np.testing.assert_array_equal(labels, kinds)  # the largest comes first
        assert places.shape == (29, 3)
        np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)


def test_maps_of_one_kind_are_one_cluster():
    rng = np.random.default_rng(0)
    labels, _ = relevance_clusters(1 + 0.3 * rng.normal(size=(30, 256)))
    assert set(labels) == {0}


def test_the_same_seed_gives_the_same_clusters():
    maps, _ = from_prototypes(noise=3.0)
    one, again = (relevance_clusters(small_maps(maps), 4, seed=7)[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    sizes = np.bincount(one)
    assert (np.diff(sizes) <= 0).all()


def test_empty_and_equal_maps_are_allowed():
    maps, kinds = from_prototypes()
    maps[:2] = 0
    labels, places = relevance_clusters(small_maps(maps), 3)
    assert np.isfinite(places).all()
    assert len(set(relevance_clusters(np.ones((6, 64)))[0])) <= 2
    assert len(labels[kinds == 0]) == 14


def test_small_maps_are_means():
    maps = np.arange(1024.0).reshape(1, 32, 32)
    wanted = maps.reshape(1, 16, 2, 16, 2).mean((2, 4)).reshape(1, -1)
    np.testing.assert_allclose(small_maps(maps), wanted, rtol=1e-6)

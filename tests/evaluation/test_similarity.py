import numpy as np
from scipy import stats

from kerasgan.evaluation.similarity import cosine, rank_correlation, similarities


def test_against_scipy_and_by_hand():
    rng = np.random.default_rng(0)
    maps, others = rng.normal(size=(2, 3, 5, 4)).round(1)  # with ties
    wanted = [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(maps, others)]
    np.testing.assert_allclose(rank_correlation(maps, others), wanted)
    wanted = [(a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) for a, b in zip(maps, others)]
    np.testing.assert_allclose(cosine(maps, others), wanted)
    assert set(similarities(maps, others, ", x")) == {"rank correlation, x", "cosine, x"}


def test_of_a_map_and_itself_scaled():
    maps = np.random.default_rng(0).normal(size=(2, 5, 4)) * [[[1e-30]], [[1e30]]]
    np.testing.assert_allclose(rank_correlation(maps, 3 * maps), 1)
    np.testing.assert_allclose(cosine(maps, -3 * maps), -1)


def test_constant_and_zero_maps():
    maps = np.stack([np.zeros((2, 2)), np.full((2, 2), 0.1)])
    others = np.arange(8.0).reshape(2, 2, 2)
    assert np.isnan(rank_correlation(maps, others)).all()
    assert np.isnan(rank_correlation(others, maps)).all()
    np.testing.assert_array_equal(np.isnan(cosine(maps, others)), [True, False])

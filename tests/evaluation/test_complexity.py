import numpy as np
import pytest
from linear_batches import SIDE, Box, linear, noise, write

from kerasgan.evaluation.complexity import complexity, entropy, sparseness


def test_equal_shares_of_some_pixels():
    for count in (1, 4, 25, 50):
        maps = np.zeros((1, 5, 10))
        maps.ravel()[:count] = np.where(np.arange(count) % 2, -3.0, 3.0)
        assert sparseness(maps)[0] == pytest.approx(1 - count / 50)
        assert entropy(maps)[0] == pytest.approx(np.log(count) / np.log(50))


def test_maps_of_zeros_have_no_value():
    maps = np.zeros((2, 3, 3))
    maps[1] = 1
    np.testing.assert_allclose(sparseness(maps), [np.nan, 0], atol=1e-12)
    np.testing.assert_allclose(entropy(maps), [np.nan, 1])


def test_gradient_of_a_linear_network(tmp_path):
    samples = write(tmp_path, noise())
    table = complexity(linear([[2.0]]), samples, "gradient", target=Box(), verbose=False)
    for method in ("gradient", "target"):
        rows = table[table["method"] == method].set_index("metric")["value"]
        np.testing.assert_allclose(rows["sparseness"], [1 - 36 / SIDE**2] * 3)
        np.testing.assert_allclose(rows["entropy"], [np.log(36) / np.log(SIDE**2)] * 3)

import types

import numpy as np
import pytest
from refusals import refused

from kerasgan.errors import KerasganError
from kerasgan.evaluation.regions import (
    blurred,
    blurred_targets,
    boundary_rim,
    check_widths,
    excess,
    shares,
    true_region,
)


def box(top, bottom, side=12):
    found = np.zeros((side, side), bool)
    found[top:bottom, top:bottom] = True
    return found


def test_rim_against_distances_between_all_pixels():
    region = np.random.default_rng(0).uniform(size=(2, 9, 7)) < 0.2
    places = np.stack(np.mgrid[:9, :7], -1).reshape(-1, 2)
    for width in (1, 1.5, 3):
        found, outer = boundary_rim(region, width), boundary_rim(region, width, outer=True)
        for one, both, out in zip(region.reshape(2, -1), found, outer):
            apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
            near = ((apart <= width) & (one[:, None] != one[None])).any(1)
            np.testing.assert_array_equal(both.ravel(), near)
            np.testing.assert_array_equal(out.ravel(), near & ~one)


def test_nothing_and_everything_have_no_rim():
    region = np.stack([np.zeros((4, 4), bool), np.ones((4, 4), bool)])
    assert not boundary_rim(region, 2).any()
    assert not boundary_rim(region, 2, outer=True).any()


def test_blur_against_a_gaussian_written_out():
    mask = box(3, 9).astype(float)[None]
    steps = np.subtract.outer(np.arange(12), np.arange(12))
    matrix = np.exp(-(steps**2) / 2 / 1.5**2)
    matrix /= np.exp(-(np.arange(-6, 7) ** 2) / 2 / 1.5**2).sum()
    matrix[abs(steps) > 6] = 0
    np.testing.assert_allclose(blurred(mask, 1.5)[0], matrix @ mask[0] @ matrix.T, atol=1e-12)


def test_excess_of_the_blurred_mask_is_zero_and_grows_with_what_is_added():
    mask = box(4, 8, 32).astype(float)[None]
    nulls = blurred_targets(mask, (1, 2, 4))
    outside = ~box(2, 10, 32)[None]
    for width, null in nulls.items():
        found = excess(5 * null, outside, nulls)
        assert (found["blur"][0], found["excess"][0]) == (width, pytest.approx(0, abs=1e-12))
    sizes = nulls[2].copy()
    sizes[0, 30, 30] += 0.05 * sizes.sum()  # 1 / 21 of the new sum
    found = excess(sizes, outside, nulls)
    beyond = [shares(null, {"": outside})[""][0] for null in nulls.values()]
    assert found["blur"][0] == 2
    assert found["excess"][0] == pytest.approx((beyond[2] * 20 + 1) / 21 - beyond[2])
    for place, width in ((1, 1), (2, 2), (3, 4)):
        wanted = (beyond[2] * 20 + 1) / 21 - beyond[place]
        assert found[f"excess over {width} px"][0] == pytest.approx(wanted)


def test_true_region_is_of_the_classes_explained():
    truth = np.eye(3)[[[[0, 1, 2, 2]]]]
    weights = np.zeros((1, 1, 4, 3))
    weights[..., 0, 2] = 1
    batch = types.SimpleNamespace(truth=truth, weights=weights)
    assert true_region(batch).tolist() == [[[False, False, True, True]]]
    batch = types.SimpleNamespace(truth=truth[..., 2:], weights=-weights[..., 2:])
    assert true_region(batch).tolist() == [[[False, False, True, True]]]
    for other in (None, truth):
        with pytest.raises(KerasganError, match="true masks of the shape of the logits"):
            true_region(types.SimpleNamespace(truth=other, weights=weights[..., :1]))


def test_bad_widths():
    for rim in (0, -1, "4", np.inf, np.nan):
        refused("'rim' must be", check_widths, rim)
    for widths in (3, [0], [-1], ["2"], [np.nan]):
        refused("'widths' must be", check_widths, 1, widths)

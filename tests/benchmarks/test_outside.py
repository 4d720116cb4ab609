import numpy as np
import pytest
from scipy import ndimage

SHAPES = pytest.mark.parametrize("shape", [(64, 64), (48, 96), (97, 61)])
KINDS = (
    *("colour", "tones", "motion", "jpeg", "resolution", "noise", "frame", "overlay"),
    *("highlights", "vignette", "zoom out", "zoom in", "interlacing", "together"),
)
MOVING = ("zoom out", "zoom in", "together")
COVERING = ("frame", "overlay")


@pytest.fixture
def outside(benchmark_module):
    return benchmark_module("outside")


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.uniform(-300, 560, (*shape, 3)), (3, 3, 0)).clip(0, 255)
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 3 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1
    return np.uint8(image), mask


def test_kinds_are_those_of_the_table(outside):
    assert tuple(outside.KINDS) == KINDS


@SHAPES
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_types_and_foreground_stay_and_the_seed_decides(outside, shape, kind):
    image, mask = pair(shape)
    before = image.copy(), mask.copy()
    seen = []
    for seed in range(4):
        new, new_mask = outside.simulate(image, mask, kind, seed)
        assert (new.shape, new.dtype) == (image.shape, np.uint8)
        assert (new_mask.shape, new_mask.dtype) == (mask.shape, np.uint8)
        assert set(np.unique(new_mask)) == {0, 1}
        if kind in COVERING:
            assert (new_mask <= mask).all()
            assert new_mask.sum() >= 0.8 * mask.sum()
        elif kind not in MOVING:
            np.testing.assert_array_equal(new_mask, mask)
        assert kind == "resolution" or (new != image).any()
        again, _ = outside.simulate(image, mask, kind, seed)
        np.testing.assert_array_equal(new, again)
        seen.append(new.tobytes())
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    if kind not in ("resolution", "jpeg"):
        assert len(set(seen)) > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fill", [0, 1])
def test_masks_empty_or_full_and_black_images(outside, kind, fill):
    image, mask = np.zeros((40, 56, 3), np.uint8), np.full((40, 56), fill, np.uint8)
    _, new_mask = outside.simulate(image, mask, kind, 3)
    assert new_mask.mean() >= 0.3 * fill
    assert fill or not new_mask.any()


@pytest.mark.parametrize("kind", ["zoom out", "zoom in"])
def test_zoom_moves_image_and_mask_together(outside, kind):
    _, mask = pair((90, 120))
    image = np.repeat(mask[..., None] * 200, 3, -1)
    for seed in range(5):
        new, new_mask = outside.simulate(image, mask, kind, seed)
        assert ((new[..., 0] > 100) == (new_mask > 0)).mean() > 0.99
        area = 0.36 if kind == "zoom out" else 1 / 0.36
        assert new_mask.sum() == pytest.approx(area * mask.sum(), rel=0.4)

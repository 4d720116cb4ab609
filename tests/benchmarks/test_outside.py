import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import kerasgan as kg

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


def test_scores_of_every_kind_and_the_gap(outside, tmp_path):
    names = [f"i{number}" for number in range(10)]
    for part in ("images", "masks", "splits"):
        (tmp_path / part).mkdir()
    for number, name in enumerate(names):
        image, mask = pair((40, 52), number)
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(255 * mask).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "splits/val.txt").write_text("i0\ni1\n")
    reported = kg.data.load_folder(tmp_path)
    samples = outside.validation_part(tmp_path)
    assert len(samples) == 1
    assert not {"i0", "i1"} & set(samples.names)
    samples = reported[:3]

    def truth(part):
        return [part.mask(index) for index in range(len(part))]

    def before(part):
        return truth(samples)

    table = outside.score({"truth": truth, "before": before}, samples)
    assert len(table) == 2 * 3 * (1 + len(KINDS))
    found = outside.summary(table)
    assert set(found["truth"].drop("gap")) == {"1.000"}
    assert found.loc["gap", "truth"] == "+0.000 (+0.000 to +0.000)"
    of_before = table[table["model"] == "before"]
    for kind, mean in of_before.groupby("kind")["dice"].mean().items():
        assert found.loc[kind, "before"] == f"{mean:.3f}"
        assert mean == 1 or kind in (*MOVING, *COVERING)
    mean = of_before[of_before["kind"] != "clean"]["dice"].mean()
    assert found.loc["mean over kinds", "before"] == f"{mean:.3f}"
    assert found.loc["gap", "before"].startswith(f"{mean - 1:+.3f} (")
    sheet = outside.contact_sheet(samples, count=2, side=20)
    assert sheet.size == (20 * (1 + len(KINDS)), 24 + 2 * 20)

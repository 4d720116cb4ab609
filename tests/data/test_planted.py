import dataclasses

import numpy as np
import pytest
from refusals import refused

from kerasgan import KerasganError
from kerasgan.data import load_folder, planted
from kerasgan.data.resize import resize_mask

cues = pytest.mark.parametrize("cue", planted.CUES)
twins = pytest.mark.parametrize("clean", [False, True])


def side(region):
    """-1 where a region lies to the left, 1 to the right."""
    half = region.shape[1] // 2
    return 1 if region[:, half:].sum() > region[:, :half].sum() else -1


def shown(cue, seed, size=48, **options):
    """The side in the mask, and that which the cue as drawn tells of, read off the pixels."""
    image, mask, _ = planted.scene(cue, size, seed, **options)
    turned, _, _ = planted.scene(cue, size, seed, **options, flip=True)
    change = image.astype(float) - turned
    if cue == "texture":  # ridges are what is uneven: more so where they are than after the flip
        grain = np.abs(np.diff(image[..., 1].astype(float), axis=0))
        less = np.abs(np.diff(turned[..., 1].astype(float), axis=0))
        told = side(np.clip(grain - less, 0, None))
    elif cue == "marker":  # the tall bar is the one that is brighter here than after the flip
        columns = np.flatnonzero(np.abs(change).max((0, 2)) > 60)
        bright = change.clip(0).sum((0, 2))
        told = 1 if (bright * np.arange(48)).sum() / bright.sum() > columns.mean() else -1
    elif cue == "frame":  # between corner and middle of an edge the round one is black
        told = 1 if image[33, 46].max() < 10 else -1
    else:
        told = 1 if change[..., 2].mean() > 0 else -1
    return side(mask), told


@cues
def test_the_mask_follows_the_cue(cue):
    for seed in range(12):
        image, mask, _ = planted.scene(cue, 48, seed)
        turned, other, _ = planted.scene(cue, 48, seed, flip=True)
        assert not (mask & other).any()
        assert side(mask) == -side(other)
        assert (image != turned).any()
        kept, told = shown(cue, seed)
        assert kept == told


@cues
def test_all_else_is_equal_after_a_flip(cue):
    for seed in range(4):
        image, mask, cause = planted.scene(cue, 64, seed)
        turned, other, after = planted.scene(cue, 64, seed, flip=True)
        changed = np.abs(image.astype(int) - turned).max(-1)
        if cue == "texture":  # light and blur carry a grey level or two beyond the patches
            assert np.median(changed[~(cause | after)]) <= 1
            assert changed[cause | after].mean() > 10 * changed[~(mask | other > 0)].mean()
        elif cue == "colour":
            assert (changed[cause] > 0).mean() > 0.95
            black = image.max(-1) == 0
            np.testing.assert_array_equal(black, turned.max(-1) == 0)
        else:
            np.testing.assert_array_equal(cause, after)
            assert changed[~cause].max() == 0
            assert changed[cause].max() > 60


@cues
def test_in_the_clean_twin_the_cue_says_nothing(cue):
    for seed in range(12):
        image, mask, _ = planted.scene(cue, 48, seed, clean=True)
        turned, other, _ = planted.scene(cue, 48, seed, clean=True, flip=True)
        np.testing.assert_array_equal(mask, other)
        assert (image != turned).any()


@pytest.mark.parametrize("cue", ["marker", "frame", "colour"])
def test_the_clean_twin_shows_the_same_scene(cue):
    for seed in range(6):
        image, mask, cause = planted.scene(cue, 48, seed)
        twin, same, deciding = planted.scene(cue, 48, seed, clean=True)
        np.testing.assert_array_equal(mask, same)
        assert deciding.any()
        assert not (deciding & (mask == 0)).any()  # what decides lies on the polyp
        told = [shown(cue, seed, clean=clean)[1] for clean in (False, True)]
        if told[0] == told[1]:  # then the sign on the polyp is the only difference
            changed = np.abs(image.astype(int) - twin).max(-1)
            assert changed[deciding].mean() > 5 * changed[mask == 0].mean()
        if cue != "colour":
            assert not (deciding & cause).any()


def test_cue_and_mask_are_independent_in_clean_twins_and_both_sides_are_as_many():
    # Who is shown, and where the cue points, depend on the seed alone, not on the size.
    pairs = np.array([shown("colour", seed, size=16, clean=True) for seed in range(200)])
    table = np.array([[(pairs == [a, b]).all(1).sum() for b in (-1, 1)] for a in (-1, 1)])
    assert table.sum() == 200
    assert abs(table.sum(0)[0] - 100) < 22  # three deviations of a fair coin
    assert abs(table.sum(1)[0] - 100) < 22
    expected = np.outer(table.sum(1), table.sum(0)) / 200
    assert ((table - expected) ** 2 / expected).sum() < 6.63  # chi-squared, one in a hundred


@cues
@twins
def test_causes_lie_where_they_should(cue, clean):
    shares = []
    for seed in range(12):
        _, mask, cause = planted.scene(cue, 64, seed, clean)
        assert cause.dtype == bool
        assert cause.shape == mask.shape
        assert mask.dtype == np.uint8
        shares.append((cause.mean(), (cause & (mask > 0)).sum() / cause.sum()))
    area, on_mask = np.array(shares).T
    if cue == "texture" or clean:
        assert on_mask.min() == 1
    elif cue == "colour":
        assert area.min() > 0.7
    else:
        assert on_mask.max() == 0
        assert 0.01 < area.min() < area.max() < (0.06 if cue == "marker" else 0.4)


@cues
@twins
def test_a_seed_always_draws_the_same_scene_at_every_size(cue, clean):
    for seed in range(3):
        first = planted.scene(cue, 64, seed, clean)
        for one, other in zip(first, planted.scene(cue, 64, seed, clean)):
            np.testing.assert_array_equal(one, other)
        large, large_mask, large_cause = planted.scene(cue, 256, seed, clean)
        for one, other in ((first[1], large_mask), (first[2], large_cause)):
            shrunk = resize_mask(other, (64, 64)) > 0
            assert (shrunk & (one > 0)).sum() / (shrunk | (one > 0)).sum() > 0.7
        pooled = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(pooled - first[0]).mean() < 8
    assert (planted.scene(cue, 64, 3, clean)[0] != first[0]).any()


@cues
@pytest.mark.parametrize("size", [16, (40, 72), (90, 33)])
def test_any_size_can_be_drawn(cue, size):
    image, mask, cause = planted.scene(cue, size, 1)
    expected = (size, size) if isinstance(size, int) else size
    assert image.shape == (*expected, 3)
    assert mask.shape == cause.shape == expected
    assert set(np.unique(mask)) == {0, 1}
    assert cause.any()


def test_every_mask_is_a_whole_polyp():
    areas = [planted.scene(cue, 32, seed)[1].mean() for cue in planted.CUES for seed in range(25)]
    assert min(areas) > 0.02
    assert max(areas) < 0.15


@twins
def test_a_data_set_on_disk(tmp_path, clean):
    samples = planted.write_dataset(tmp_path / "new", "marker", 3, 48, seed=5, clean=clean)
    assert samples.names == ("marker_0000", "marker_0001", "marker_0002")
    assert load_folder(tmp_path / "new") == samples
    image, mask, cause = planted.scene("marker", 48, (5, 2), clean)
    np.testing.assert_array_equal(np.rint((samples.image(2) + 1) * 127.5), image)
    np.testing.assert_array_equal(samples.mask(2), mask)
    np.testing.assert_array_equal(planted.cause(samples, 2), cause)
    np.testing.assert_array_equal(planted.cause(samples[2], 0), cause)
    np.testing.assert_array_equal(planted.cause(samples, 2, (24, 12)), resize_mask(cause, (24, 12)))


def test_other_samples_have_no_causes(tmp_path):
    samples = planted.write_dataset(tmp_path, "marker", 1, 32)
    (tmp_path / "causes" / "marker_0000.png").unlink()
    refused(r"must be scenes that planted\.write_dataset wrote", planted.cause, samples, 0)
    elsewhere = dataclasses.replace(samples, image_paths=("/nowhere/images/a.png",))
    refused("cause of 'marker_0000' cannot be read", planted.cause, elsewhere, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cue": "markr"}, "'cue' must be one of texture.*Did you mean 'marker'"),
        ({"size": 15}, "'size' must be .* from 16 up"),
        ({"seed": -1}, "'seed' must be a whole number from 0 to"),
        ({"seed": None}, "'seed' must be"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    refused(message, planted.scene, **{"cue": "marker", **wrong})


def test_wrong_counts_and_cues_are_named(tmp_path):
    for wrong in ({"count": 0}, {"count": 2.5}, {"cue": "ulcer"}):
        with pytest.raises(KerasganError, match=f"'{next(iter(wrong))}' must be"):
            planted.write_dataset(tmp_path / "new", **{"cue": "marker", **wrong})
    assert not (tmp_path / "new").exists()

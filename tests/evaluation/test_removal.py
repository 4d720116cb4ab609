import dataclasses
import functools
import zlib

import numpy as np
import pytest
from refusals import refused
from scipy import ndimage

from kerasgan.evaluation.benchmark import ExplainedBatch
from kerasgan.evaluation.removal import (
    BASELINES,
    UNITS,
    inpainting,
    noise,
    noisy_linear_imputation,
    regions,
    removal_curve,
    superpixels,
)

KERNEL, BIAS = np.array([0.7, -0.4, 0.5]), 0.6


def linear(images):
    """A network that looks at each pixel alone."""
    return (images @ KERNEL + BIAS)[..., None].astype(np.float32)


def linear_batch(count=2, height=9, width=8, weights=None):
    rng = np.random.default_rng(3)
    images = rng.uniform(-1, 1, (count, height, width, 3)).astype(np.float32)
    logits = linear(images)
    weights = (logits > 0).astype(np.float32) if weights is None else weights
    return ExplainedBatch(tuple("abcdef"[:count]), images, None, logits, weights, linear)


def canvas(baseline, image):
    if baseline == "mean":
        return np.broadcast_to(image.mean((0, 1), dtype=np.float64), image.shape)
    if baseline == "noise":
        return noise(image, np.ones((1, *image.shape[:2]), bool), None)[0]
    return ndimage.gaussian_filter(image.astype(np.float64), (0.5, 0.5, 0))  # of 8 pixels


def exact(batch, baseline):
    """What the explained logits lose with each pixel."""
    change = np.stack([image - canvas(baseline, image) for image in batch.images]) @ KERNEL
    return change * batch.weights[..., 0]


def by_hand(batch, ranks, fill, counts):
    """Scores with the first pixels gone, in a plain loop."""
    logits, dice = [], []
    for count in counts:
        image = batch.images[0].astype(np.float64).reshape(-1, 3).copy()
        image[ranks[:count]] = fill.reshape(-1, 3)[ranks[:count]]
        z, t = image @ KERNEL + BIAS, batch.weights[0].ravel() > 0
        logits.append(z[t].mean())
        dice.append(2 * (t & (z > 0)).sum() / (t.sum() + (z > 0).sum()))
    return np.array(logits) / logits[0], np.array(dice) / dice[0]


@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_the_whole_curve_of_a_linear_model_is_known(baseline):
    batch, steps = linear_batch(1), 7
    contributions = exact(batch, baseline)
    counts = np.rint(np.linspace(0, 72, steps + 1)).astype(int)
    for order, sign in (("most", -1), ("least", 1)):
        fractions, found = removal_curve(
            batch, contributions, order, baseline=baseline, steps=steps
        )
        np.testing.assert_allclose(fractions, np.arange(8) / 7)
        gone = sign * np.sort(sign * contributions.ravel())
        target = batch.weights[0].sum()
        first = (batch.logits * batch.weights).sum() / target
        left = first - np.append(0, np.cumsum(gone))[counts] / target
        np.testing.assert_allclose(found["logit"][0], left / first, atol=1e-5)
    distinct = contributions + 1e-9 * np.arange(72).reshape(9, 8)  # no ties, so Dice is known too
    for order, sign in (("most", -1), ("least", 1)):
        ranks = np.argsort(sign * distinct.ravel())
        logit, dice = by_hand(batch, ranks, canvas(baseline, batch.images[0]), counts)
        _, found = removal_curve(batch, distinct, order, baseline=baseline, steps=steps)
        np.testing.assert_allclose(found["logit"][0], logit, atol=1e-5)
        np.testing.assert_allclose(found["dice"][0], dice, atol=1e-6)


def test_both_orders_are_one_on_constant_maps_and_ties_are_seeded():
    batch = linear_batch(height=20, width=24)
    for units in UNITS:
        flat = np.full((2, 20, 24), 0.1)
        options = {"units": units, "baseline": "mean"}
        most = removal_curve(batch, flat, "most", **options)[1]
        least = removal_curve(batch, flat, "least", **options)[1]
        other = removal_curve(batch, flat, "most", **options, seed=1)[1]
        for score in most:
            np.testing.assert_array_equal(most[score], least[score])
        assert not np.allclose(most["logit"], other["logit"])
        rounding = flat * (1 + 1e-7 * np.random.default_rng(0).uniform(size=flat.shape))
        again = removal_curve(batch, rounding, **options)[1]["logit"]
        np.testing.assert_array_equal(again, most["logit"])
    renamed = dataclasses.replace(batch, names=("c", "b"))
    again = removal_curve(renamed, flat, **options)[1]["logit"]
    assert not np.allclose(again[0], most["logit"][0])
    np.testing.assert_array_equal(again[1], most["logit"][1])


@pytest.mark.parametrize("baseline", list(BASELINES))
def test_the_ends_and_the_batch(baseline):
    batch = linear_batch(3)
    maps = np.random.default_rng(1).normal(size=(3, 9, 8))
    whole = removal_curve(batch, maps, baseline=baseline, steps=3)[1]
    for score, curve in whole.items():
        np.testing.assert_array_equal(curve[:, 0], 1.0)
        for i in range(3):
            fields = ("names", "images", "logits", "weights")
            part = {name: getattr(batch, name)[i : i + 1] for name in fields}
            one = dataclasses.replace(batch, **part)
            alone = removal_curve(one, maps[i : i + 1], baseline=baseline, steps=3)[1]
            np.testing.assert_allclose(alone[score][0], curve[i], rtol=1e-6)
    for i, name in enumerate(batch.names):
        rng = np.random.default_rng([0, 2, zlib.crc32(name.encode())])
        alone = BASELINES[baseline](batch.images[i], np.ones((1, 9, 8), bool), rng)
        left, weights = linear(alone)[0], batch.weights[i]
        expected = left[weights > 0].mean() / batch.logits[i][weights > 0].mean()
        assert whole["logit"][i, -1] == pytest.approx(expected, rel=1e-5)


def test_targets_without_a_score_are_undefined_and_cost_nothing():
    weights = np.zeros((3, 9, 8, 1), np.float32)
    batch = linear_batch(3)
    weights[1] = 1.0  # fills the frame
    weights[2] = batch.logits[2] < 0  # missed: below zero, and nothing of it is predicted
    seen = []

    def counted(images):
        seen.append(len(images))
        return linear(images)

    batch = dataclasses.replace(batch, weights=weights, run=counted)
    found = removal_curve(batch, exact(batch, "mean"), baseline="mean", steps=4)[1]
    assert np.isnan(found["dice"][[0, 2]]).all()
    assert np.isnan(found["logit"][[0, 2]]).all()
    assert np.isfinite([found["dice"][1], found["logit"][1]]).all()
    assert found["logit"][1, -1] == pytest.approx(1, abs=1e-5)  # the mean of a linear model stays
    assert seen == [4]


# --- Baselines ---


def test_each_baseline_touches_removed_pixels_only():
    image = linear_batch(1).images[0]
    removed = np.random.default_rng(0).uniform(size=(3, 9, 8)) < 0.5
    removed[0] = False
    for name, baseline in BASELINES.items():
        found = baseline(image, removed, np.random.default_rng(1))
        assert found.dtype == np.float32, name
        assert np.array_equal(found[~removed], np.broadcast_to(image, found.shape)[~removed]), name
        assert not np.any(np.isclose(found[removed], np.stack([image] * 3)[removed], 0, 1e-6)), name


FILLS = [inpainting, functools.partial(noisy_linear_imputation, noise=0)]


@pytest.mark.parametrize("fill", FILLS)
def test_a_ramp_is_filled_as_it_was(fill):
    y, x = np.mgrid[:12, :10] / 10
    image = np.stack([y - x, 0.3 * y, 0.5 - x], -1).astype(np.float32)
    removed = np.zeros((2, 12, 10), bool)
    removed[0, 1:-1, 1:-1] = True
    removed[1, 3:5, 2:9] = True
    assert np.abs(fill(image, removed) - image).max() < 1e-6


@pytest.mark.parametrize(("fill", "across"), list(zip(FILLS, (0.0, 0.5))))
def test_filling_solves_its_equations_up_to_the_frame(fill, across):
    rng = np.random.default_rng(2)
    image = rng.uniform(-1, 1, (6, 5, 2)).astype(np.float32)
    removed = rng.uniform(size=(6, 5)) < 0.7
    found = fill(image, removed[None])[0].astype(np.float64)
    for y, x in np.argwhere(removed):
        total, weights = np.zeros(2), 0.0
        for v in range(max(0, y - 1), min(6, y + 2)):
            for u in range(max(0, x - 1), min(5, x + 2)):
                steps = abs(v - y) + abs(u - x)
                weight = {0: 0.0, 1: 1.0, 2: across}[steps]
                total, weights = total + weight * found[v, u], weights + weight
        np.testing.assert_allclose(found[y, x], total / weights, atol=1e-6)
    everything = fill(image, np.ones((1, 6, 5), bool))[0]
    np.testing.assert_allclose(everything, np.broadcast_to(image.mean((0, 1)), (6, 5, 2)))


def test_the_noise_of_road():
    image = np.zeros((40, 40, 3), np.float32)
    removed = np.ones((2, 40, 40), bool)
    removed[0, :20] = False
    found = noisy_linear_imputation(image, removed, np.random.default_rng(0), noise=0.2)
    assert found[1].std() == pytest.approx(0.2, rel=0.05)
    np.testing.assert_array_equal(found[0, 20:], found[1, 20:])  # one noise for all steps
    assert not found[0, :20].any()


# --- Units ---


def test_squares_by_hand():
    labels = regions(np.zeros((5, 4, 3)), side=2)
    assert labels.tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2 + [[4, 4, 5, 5]]
    assert regions(np.zeros((128, 160, 3))).max() == 16 * 20 - 1


def test_a_square_is_removed_at_once_and_by_its_mean():
    images = np.ones((1, 2, 6, 3), np.float32)
    images[0, :, 4:] = -1
    batch = ExplainedBatch(("a",), images, None, linear(images), np.ones((1, 2, 6, 1)), linear)
    maps = np.zeros((1, 2, 6))
    maps[0, 0, 0], maps[0, :, 2:4], maps[0, :, 4:] = 3, 1, -1  # means 0.75, 1, -1
    seen = []

    def kept(images):
        seen.append(images)
        return linear(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(UNITS, "regions", lambda image: regions(image, side=2))
        batch = dataclasses.replace(batch, run=kept)
        removal_curve(batch, maps, units="regions", baseline="mean", steps=3)
    changed = np.any(seen[0] != images, -1)
    first = np.zeros((2, 6), bool)
    first[:, 2:4] = True
    np.testing.assert_array_equal(changed[0], first)
    first[:, :2] = True
    np.testing.assert_array_equal(changed[1], first)
    assert changed[2].all()


def test_superpixels_keep_to_edges_and_to_their_place():
    pytest.importorskip("skimage", reason="an environment older than this dependency")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :60]
    inside = (y - 22) ** 2 + (x - 31) ** 2 < 14**2
    image = np.where(inside[..., None], 0.6, -0.5) + rng.normal(0, 0.02, (48, 60, 3))
    labels = superpixels(image)
    counts = np.bincount(labels.ravel())
    assert counts.min() > 0
    assert 100 <= len(counts) <= 180  # 12 x 15 cells
    share = np.bincount(labels.ravel(), inside.ravel()) / counts
    assert np.all((share == 0) | (share == 1))
    for label in range(len(counts)):
        ys, xs = np.nonzero(labels == label)
        assert np.ptp(ys) < 3 * 4
        assert np.ptp(xs) < 3 * 4
    np.testing.assert_array_equal(labels, superpixels(image))
    grey = superpixels(image.mean(-1, keepdims=True))
    share = np.bincount(grey.ravel(), inside.ravel()) / np.bincount(grey.ravel())
    assert np.mean((share == 0) | (share == 1)) > 0.9
    assert set(superpixels(np.zeros((6, 6, 3)), side=2).ravel()) == set(range(9))


def test_bad_arguments():
    batch = linear_batch()
    maps = np.ones((2, 9, 8))
    for arguments, message in (
        ({"order": "mots"}, "'order' must be one of most, least.*Did you mean 'most'"),
        ({"baseline": "blurr"}, "'baseline' must be one of.*Did you mean 'blur'"),
        ({"baseline": None}, "'baseline' must be one of"),
        ({"units": "superpixel"}, "'units' must be one of.*Did you mean 'superpixels'"),
        ({"steps": 0}, "'steps' must be a whole number from 1 up. Received: 0"),
        ({"steps": 2.5}, "'steps' must be a whole number"),
        ({"steps": True}, "'steps' must be a whole number"),
        ({"maps": maps[:, :4]}, "must have the shape of the images"),
        ({"maps": maps * np.nan}, "hold NaN"),
    ):
        refused(message, removal_curve, batch, **{"maps": maps, **arguments})

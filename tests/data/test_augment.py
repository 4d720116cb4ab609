import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kerasgan.data import augment
from kerasgan.data.augment import Augmentation, augment_pair
from kerasgan.errors import KerasganError

RNG = np.random.default_rng(0)
PARTS = [field.name for field in dataclasses.fields(Augmentation)]
NOTHING = Augmentation(**dict.fromkeys(PARTS, 0))
GEOMETRY = ("flip_horizontal", "flip_vertical", "right_angles", "rotation", "scale", "elastic")
STRONG = Augmentation(rotation=180, scale=0.5, elastic=0.05, blur=2, cutout=0.5)
SHAPES = pytest.mark.parametrize("shape", [(16, 16, 3), (12, 20, 1), (21, 14, 5)])


def only(**strengths):
    return dataclasses.replace(NOTHING, **strengths)


def pair(shape, classes=4):
    image = RNG.uniform(-1, 1, shape).astype(np.float32)
    return tf.constant(image), tf.constant(RNG.integers(0, classes, shape[:2]).astype(np.uint8))


def altered(image, mask, config, seed=0):
    image, mask = augment_pair(image, mask, (7, seed), config)
    return image.numpy(), mask.numpy()


@SHAPES
def test_nothing_changes_nothing(shape):
    image, mask = pair(shape)
    new_image, new_mask = altered(image, mask, NOTHING)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)


@SHAPES
@pytest.mark.parametrize("seed", range(4))
def test_shapes_types_and_range_are_kept(shape, seed):
    image, mask = pair(shape)
    new_image, new_mask = altered(image, mask, STRONG, seed)
    assert (new_image.shape, new_image.dtype) == (image.shape, np.float32)
    assert (new_mask.shape, new_mask.dtype) == (mask.shape, np.uint8)
    assert np.abs(new_image).max() <= 1
    assert set(np.unique(new_mask)) <= set(np.unique(mask))


def test_the_key_decides_every_bit():
    image, mask = pair((16, 16, 3))
    first = altered(image, mask, STRONG, 0)
    again = tf.function(augment_pair)(image, mask, tf.constant([7, 0]), STRONG)
    np.testing.assert_allclose(first[0], again[0], atol=1e-6)
    np.testing.assert_array_equal(first[0], altered(image, mask, STRONG, 0)[0])
    np.testing.assert_array_equal(first[1], again[1])
    others = [altered(image, mask, STRONG, seed)[0] for seed in range(1, 20)]
    assert all((first[0] != other).any() for other in others)


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_flips_and_right_angles_are_exact_and_all_occur(shape):
    image, mask = pair((*shape, 3))
    turns = range(4) if shape[0] == shape[1] else (0, 2)
    wanted = {}
    for turn in turns:
        for mirrored in (False, True):
            moved = [
                np.rot90(a[:, ::-1] if mirrored else a, turn) for a in (image.numpy(), mask.numpy())
            ]
            wanted[moved[0].tobytes()] = moved[1]
    config = only(flip_horizontal=0.5, flip_vertical=0.5, right_angles=1)
    seen = set()
    for seed in range(80):
        new_image, new_mask = altered(image, mask, config, seed)
        assert new_image.tobytes() in wanted
        np.testing.assert_array_equal(new_mask, wanted[new_image.tobytes()])
        seen.add(new_image.tobytes())
    assert seen == set(wanted)


def test_a_sure_flip_is_that_flip():
    image, mask = pair((12, 20, 3))
    for part, turned in (("flip_horizontal", np.s_[:, ::-1]), ("flip_vertical", np.s_[::-1])):
        new_image, new_mask = altered(image, mask, only(**{part: 1}))
        np.testing.assert_array_equal(new_image, image.numpy()[turned])
        np.testing.assert_array_equal(new_mask, mask.numpy()[turned])


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(12, 40), st.integers(12, 40)),
    st.integers(0, 2**31 - 1),
    st.fixed_dictionaries(
        {
            "rotation": st.floats(0, 180),
            "scale": st.floats(0, 0.8),
            "elastic": st.floats(0, 0.08),
            "flip_horizontal": st.floats(0, 1),
            "flip_vertical": st.floats(0, 1),
            "right_angles": st.floats(0, 1),
        }
    ),
)
def test_image_and_mask_move_together_to_the_pixel(shape, seed, strengths):
    """Ramps are kept by linear reading, so the image says where each pixel comes from."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    image = tf.constant(np.stack([rows, columns], -1), tf.float32)
    mask = tf.reshape(tf.range(shape[0] * shape[1]), shape)
    config = only(**strengths)
    new_image, new_mask = altered(image, mask, config, seed)
    positions = (new_image + 1) / 2 * (np.array(shape) - 1)
    source = np.stack(np.unravel_index(new_mask, shape), -1)
    assert np.abs(positions - source).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_one_warp_reads_as_scipy_does_with_reflection(seed):
    image, mask = pair((20, 28, 3))
    draws = augment._Draws((3, seed))
    config = only(rotation=180, scale=0.5, elastic=0.1)
    inside = augment._source_positions((20, 28), draws, config).numpy()
    anywhere = RNG.uniform(-60, 80, (2, 20, 28)).astype(np.float32)
    folded = augment._reflected(tf.constant(anywhere), (20, 28))
    assert (inside >= 0).all()
    assert (inside <= np.array([19, 27]).reshape(2, 1, 1)).all()
    for positions, read_at in ((inside, inside), (anywhere, folded)):
        linear = augment._read_linear(image, tf.constant(read_at)).numpy()
        nearest = augment._read_nearest(mask, tf.constant(read_at)).numpy()
        for channel in range(3):
            expected = ndimage.map_coordinates(
                image[..., channel].numpy().astype(float), positions, order=1, mode="reflect"
            )
            at_rim = np.zeros((20, 28), bool)
            for side, place in zip((20, 28), positions):
                at_rim |= (np.mod(place + 0.5, side) < 0.5) | (
                    np.mod(place + 0.5, side) > side - 0.5
                )
            np.testing.assert_allclose(linear[..., channel][~at_rim], expected[~at_rim], atol=1e-4)
        expected = ndimage.map_coordinates(mask.numpy(), positions, order=0, mode="reflect")
        assert (nearest == expected).mean() > 0.99


@pytest.mark.parametrize("size", [(20, 20), (16, 30)])
def test_rotation_and_scale_are_rigid_on_rectangles(size):
    for seed in range(5):
        draws = augment._Draws((3, seed))
        config = only(rotation=20, scale=0.25)
        # The middle, where nothing is reflected.
        positions = (
            augment._source_positions(size, draws, config).numpy()[:, 6:10, 6:10].astype(float)
        )
        down, right = (
            positions[:, 1:, :-1] - positions[:, :-1, :-1],
            positions[:, :-1, 1:] - positions[:, :-1, :-1],
        )
        lengths = np.concatenate([np.hypot(*down).ravel(), np.hypot(*right).ravel()])
        assert np.ptp(lengths) < 1e-4
        assert 0.8 - 1e-4 <= lengths[0] <= 1.25 + 1e-4
        assert np.abs((down * right).sum(0)).max() < 1e-4
        assert abs(np.degrees(np.arctan2(right[0, 0, 0], right[1, 0, 0]))) <= 20.001


def test_enlarged_images_are_cropped_within_bounds():
    for seed in range(30):
        draws = augment._Draws((3, seed))
        zoom = 1.5 ** float(draws.both_ways("scale"))
        positions = augment._source_positions((40, 60), draws, only(scale=0.5)).numpy()
        for side, place in zip((40, 60), positions):
            reach = np.ptp(place) + 1
            assert reach == pytest.approx(min(side / zoom, side), abs=1.5)


def test_elastic_is_smooth_and_as_strong_as_said():
    size, displacements = (40, 60), []
    for seed in range(40):
        draws = augment._Draws((3, seed))
        bend = augment._bend(size, draws).numpy() / float(draws["elastic"])
        assert np.abs(np.diff(bend, axis=1)).max() < 1
        displacements.append(bend)
    assert 0.6 < np.std(displacements) < 1.1


@pytest.mark.parametrize("part", [part for part in PARTS if part not in GEOMETRY])
def test_parts_do_not_disturb_each_other(part):
    image, mask = pair((16, 16, 3))
    _, with_all = altered(image, mask, STRONG)
    _, without = altered(image, mask, dataclasses.replace(STRONG, **{part: 0}))
    np.testing.assert_array_equal(with_all, without)


def test_one_hot_masks_move_as_labels_do():
    image, labels = pair((20, 28, 3))
    one_hot = tf.one_hot(labels, 4)
    _, moved = altered(image, labels, STRONG)
    _, moved_one_hot = altered(image, one_hot, STRONG)
    np.testing.assert_array_equal(moved_one_hot, tf.one_hot(moved, 4))


def test_colour_leaves_the_mask_alone():
    image, mask = pair((16, 16, 3))
    config = dataclasses.replace(STRONG, **dict.fromkeys(GEOMETRY, 0))
    new_image, new_mask = altered(image, mask, config)
    np.testing.assert_array_equal(new_mask, mask)
    assert np.abs(new_image - image).mean() > 0.05


def test_brightness_is_a_gain_that_keeps_black():
    image = tf.constant([[[-1.0], [-0.6], [-0.2]]])
    gains = []
    for seed in range(40):
        new_image, _ = altered(image, tf.zeros([1, 3]), only(brightness=0.2), seed)
        light = new_image.ravel() + 1
        assert light[0] == 0
        assert light[2] / light[1] == pytest.approx(2, rel=1e-5)
        gains.append(light[1] / 0.4)
    assert 0.8 <= min(gains) < 0.87
    assert 1.13 < max(gains) <= 1.2


def test_contrast_keeps_the_mean_and_saturation_the_luma():
    image = tf.constant(RNG.uniform(-0.5, 0.5, (8, 8, 3)), tf.float32)
    mask, luma = tf.zeros([8, 8]), np.array([0.299, 0.587, 0.114])
    stretched, _ = altered(image, mask, only(contrast=0.5))
    np.testing.assert_allclose(stretched.mean((0, 1)), image.numpy().mean((0, 1)), atol=1e-6)
    assert np.std(stretched) != pytest.approx(np.std(image), rel=0.01)
    coloured, _ = altered(image, mask, only(saturation=0.5))
    np.testing.assert_allclose(coloured @ luma, image.numpy() @ luma, atol=1e-6)
    assert np.abs(coloured - image).max() > 0.01
    grey = tf.repeat(image[..., :1], 3, axis=-1)
    np.testing.assert_allclose(altered(grey, mask, only(saturation=1))[0], grey, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_blur_is_gaussian(seed):
    image, mask = pair((18, 25, 3))
    sigma = 1.5 * float(augment._Draws((7, seed))["blur"])
    blurred, _ = altered(image, mask, only(blur=1.5), seed)
    expected = ndimage.gaussian_filter(
        image.numpy().astype(float), (sigma, sigma, 0), mode="reflect", radius=(5, 5, 0)
    )
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_cutout_hides_one_rectangle_under_the_mean_colour():
    image, mask = pair((20, 32, 3))
    mean, largest = image.numpy().mean((0, 1)), [0, 0]
    for seed in range(60):
        new_image, new_mask = altered(image, mask, only(cutout=0.5), seed)
        np.testing.assert_array_equal(new_mask, mask)
        hidden = (new_image != image.numpy()).any(-1)
        if not hidden.any():
            continue
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        assert hidden[
            np.ix_(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))
        ].all()
        np.testing.assert_allclose(new_image[hidden], np.tile(mean, (hidden.sum(), 1)), atol=1e-6)
        largest = [max(largest[0], len(rows)), max(largest[1], len(columns))]
    assert 8 <= largest[0] <= 10
    assert 13 <= largest[1] <= 16


@pytest.mark.parametrize(
    ("part", "value", "range_"),
    [
        ("flip_vertical", 1.5, "0 to 1"),
        ("rotation", 200, "0 to 180"),
        ("scale", -0.1, "0 up"),
        ("blur", float("inf"), "0 up"),
    ],
)
def test_impossible_strengths(part, value, range_):
    with pytest.raises(
        KerasganError, match=f"'{part}' must be a finite number from {range_}. Received"
    ):
        Augmentation(**{part: value})


def test_tiny_images_survive_everything():
    for shape in ((1, 1, 3), (2, 5, 1)):
        image, mask = pair(shape)
        assert np.isfinite(altered(image, mask, dataclasses.replace(STRONG, blur=9))[0]).all()

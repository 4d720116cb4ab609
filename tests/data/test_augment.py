import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from refusals import refused
from scipy import ndimage

from kerasgan.data import augment
from kerasgan.data.augment import Augmentation, augment_pair

RNG = np.random.default_rng(0)
PARTS = [field.name for field in dataclasses.fields(Augmentation)]
NOTHING = Augmentation(**dict.fromkeys(PARTS, 0))
GEOMETRY = ("flip_horizontal", "flip_vertical", "right_angles", "rotation", "scale", "elastic")
ELSEWHERE = {
    **{"white_balance": 0.4, "gamma": 1, "highlights": 0.3, "border": 0.2},
    **{"noise": 0.1, "overlay": 0.5},
}
STRONG = Augmentation(rotation=180, scale=0.5, elastic=0.05, blur=2, cutout=0.5, **ELSEWHERE)
COMPRESSED = dataclasses.replace(STRONG, compression=1)
EARLIER = (
    *("flip_horizontal", "flip_vertical", "turn", "right_angles", "rotation", "scale", "top"),
    *("left", "elastic", "brightness", "contrast", "saturation", "blur", "cut_height"),
    *("cut_width", "cut_top", "cut_left"),
)
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
    new_image, new_mask = altered(image, mask, COMPRESSED, seed)
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


@pytest.mark.parametrize("part", [part for part in PARTS if part not in (*GEOMETRY, "border")])
def test_parts_do_not_disturb_each_other(part):
    image, mask = pair((16, 16, 3))
    _, with_all = altered(image, mask, STRONG)
    _, without = altered(image, mask, dataclasses.replace(STRONG, **{part: 0}))
    np.testing.assert_array_equal(with_all, without)


def test_draws_stay_in_their_places():
    values = tf.random.stateless_uniform([len(EARLIER)], (3, 1)).numpy()
    draws = augment._Draws((3, 1))
    np.testing.assert_array_equal([draws[name] for name in EARLIER], values)
    names = [*augment._DRAWN]
    assert len(set(names)) == len(names)
    values = tf.random.stateless_uniform([len(names)], (3, 1)).numpy()
    assert len(set(values)) == len(names)


@SHAPES
@pytest.mark.parametrize("part", [*ELSEWHERE, "compression"])
def test_a_part_that_does_next_to_nothing_changes_next_to_nothing(shape, part):
    image, mask = (
        ndimage.gaussian_filter(a, (2, 2, 0)[: a.ndim]) for a in map(np.array, pair(shape))
    )
    image, mask = tf.constant(image), tf.constant(mask)
    other = dataclasses.replace(STRONG, **dict.fromkeys(ELSEWHERE, 0))
    without, _ = altered(image, mask, other)
    slightly, _ = altered(image, mask, dataclasses.replace(other, **{part: 1e-5}))
    difference = np.abs(slightly - without)
    assert difference.mean() < 0.05 if part == "compression" else difference.max() < 1e-3


def test_one_hot_masks_move_as_labels_do():
    image, labels = pair((20, 28, 3))
    one_hot = tf.one_hot(labels, 4)
    _, moved = altered(image, labels, STRONG)
    _, moved_one_hot = altered(image, one_hot, STRONG)
    np.testing.assert_array_equal(moved_one_hot, tf.one_hot(moved, 4))


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


def test_white_balance_is_a_gain_of_each_channel_on_its_own():
    light, mask, gains = np.linspace(0, 0.6, 12).reshape(4, 3, 1), tf.zeros([4, 3]), []
    for seed in range(30):
        image = tf.constant(np.repeat(2 * light - 1, 5, -1), tf.float32)
        seen = (altered(image, mask, only(white_balance=0.3), seed)[0] + 1) / 2
        gain = seen[-1, -1] / light[-1, -1]
        np.testing.assert_allclose(seen, light * gain, atol=1e-6)
        gains.append(gain)
    assert 0.7 <= np.min(gains) < 0.75
    assert 1.25 < np.max(gains) <= 1.3
    assert np.abs(np.corrcoef(np.array(gains).T) - np.eye(5)).max() < 0.6
    grey, mask = pair((8, 8, 1))
    np.testing.assert_array_equal(altered(grey, mask, only(white_balance=1))[0], grey)


@SHAPES
def test_gamma_is_a_power_of_light(shape):
    image, mask = pair(shape)
    light, exponents = np.concatenate([(image.numpy() + 1).ravel() / 2, [0, 1]]), []
    for seed in range(30):
        exponent = 1.5 ** float(augment._Draws((7, seed)).both_ways("gamma"))
        seen, _ = altered(image, mask, only(gamma=0.5), seed)
        np.testing.assert_allclose((seen.ravel() + 1) / 2, light[:-2] ** exponent, atol=1e-5)
        exponents.append(exponent)
    assert 1 / 1.5 <= min(exponents) < 0.75
    assert 1.33 < max(exponents) <= 1.5
    black, white = (tf.fill([2, 2, 1], level) for level in (-1.0, 1.0))
    for level in (black, white):
        np.testing.assert_array_equal(altered(level, mask, only(gamma=10))[0], level)


def test_noise_is_as_strong_as_said_and_of_each_pixel():
    image, mask = tf.zeros([64, 64, 2]), tf.zeros([64, 64])
    strengths = []
    for seed in range(12):
        noise = altered(image, mask, only(noise=0.1), seed)[0] / 2
        drawn = float(augment._Draws((7, seed))["noise"])
        strengths.append(noise.std())
        assert noise.std() == pytest.approx(0.1 * drawn, rel=0.05, abs=1e-6)
        assert abs((noise[1:] * noise[:-1]).mean()) < 0.1 * noise.var()
        assert abs((noise[..., 0] * noise[..., 1]).mean()) < 0.1 * noise.var()
    assert max(strengths) > 0.08


@SHAPES
def test_border_is_black_outside_of_one_of_three_openings(shape):
    image, mask = pair(shape)
    rows, columns = (np.abs((np.arange(side) + 0.5) * 2 / side - 1) for side in shape[:2])
    seen = set()
    for seed in range(30):
        new_image, new_mask = altered(image, mask, only(border=0.3), seed)
        black = (new_image == -1).all(-1)
        np.testing.assert_array_equal(new_mask, np.where(black, 0, mask))
        np.testing.assert_array_equal(new_image[~black], image.numpy()[~black])
        assert not black[shape[0] // 2, shape[1] // 2]
        for turned in (black[::-1], black[:, ::-1]):
            np.testing.assert_array_equal(black, turned)
        open_to = 1 - 2 * 0.3 * float(augment._Draws((7, seed))["border"])
        for name, reach in (
            ("rectangle", np.maximum.outer(rows, columns)),
            ("ellipse", np.sqrt(np.add.outer(rows**2, columns**2) / 2)),
            ("corners", np.add.outer(rows, columns) / 2),
        ):
            if black.any() and not (black ^ (reach > open_to)).any():
                seen.add(name)
    assert len(seen) == 3


@SHAPES
def test_highlights_are_a_few_small_bright_spots(shape):
    image, mask = tf.fill([4 * side for side in shape[:2]] + [shape[2]], -0.5), tf.zeros([1])
    largest, areas = 8 * np.pi / 4 * (0.1 * min(image.shape[:2])) ** 2, []
    for seed in range(20):
        spots, _ = altered(image, mask, only(highlights=0.1), seed)
        assert (spots >= -0.5).all()
        assert (np.ptp(spots, -1) == 0).all()
        assert ndimage.label(spots[..., 0] > 0.5, np.ones((3, 3)))[1] <= 8
        areas.append((spots[..., 0] > 0.5).sum())
        assert (spots[..., 0] > -0.45).sum() < 4 * largest
    assert 0.1 * largest < max(areas) < largest


@SHAPES
def test_overlay_is_a_black_corner_or_white_dots_at_an_edge(shape):
    image, mask = pair(shape)
    kinds, places = set(), set()
    for seed in range(60):
        new_image, new_mask = altered(image, mask, only(overlay=0.5), seed)
        np.testing.assert_array_equal(new_mask, mask)
        changed = (new_image != image.numpy()).any(-1)
        if changed.sum() < 4:
            continue
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert np.ptp(rows) < 0.5 * shape[0] + 1
        assert np.ptp(columns) < 0.5 * shape[1] + 1
        (value,) = np.unique(new_image[changed])
        kinds.add(value)
        if value == -1:
            assert changed.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            places.add((rows[0] == 0, columns[0] == 0))
            assert rows[0] == 0 or rows[-1] == shape[0] - 1
            assert columns[0] == 0 or columns[-1] == shape[1] - 1
    assert kinds == {-1, 1}
    assert len(places) == 4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_compression_is_jpeg(channels, seed):
    light = ndimage.gaussian_filter(RNG.uniform(-1, 2, (48, 64, 1)), (2, 2, 0)).clip(0, 1)
    light = light * np.linspace(1, 0.6, channels)
    image, mask = tf.constant(2 * light - 1, tf.float32), tf.zeros([48, 64])
    quality = round(100 * (1 - 0.8 * float(augment._Draws((7, seed))["compression"])))
    pixels, seen = (
        np.uint8(np.rint(255 * light)),
        altered(image, mask, only(compression=0.8), seed)[0],
    )

    def distance(quality):
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.array(Image.open(file)).reshape(pixels.shape)
        return np.abs(255 * (seen + 1) / 2 - expected).mean()

    assert distance(quality) < 2.5
    assert distance(quality) < distance(max(5, quality - 25))
    assert quality > 75 or distance(quality) < distance(quality + 25)


def test_compression_leaves_other_channels_alone():
    image, mask = pair((8, 8, 5))
    np.testing.assert_array_equal(altered(image, mask, only(compression=1))[0], image)


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
        ("white_balance", 1.1, "0 to 1"),
        ("gamma", 11, "0 to 10"),
        ("border", 0.6, "0 to 0.5"),
        ("noise", float("nan"), "0 to 1"),
        ("overlay", -1, "0 to 1"),
    ],
)
def test_impossible_strengths(part, value, range_):
    refused(
        f"'{part}' must be a finite number from {range_}. Received", Augmentation, **{part: value}
    )


def test_tiny_images_survive_everything():
    for shape in ((1, 1, 3), (2, 5, 1)):
        image, mask = pair(shape)
        assert np.isfinite(altered(image, mask, dataclasses.replace(COMPRESSED, blur=9))[0]).all()

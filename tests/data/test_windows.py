"""Windows for training: what is cut, how often it holds foreground, and that it can be repeated."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

from kerasgan.data import load_folder, pipeline
from kerasgan.errors import KerasganWarning
from kerasgan.inference.tiling import make_frame

SIDES = ((90, 150), (64, 64), (40, 200))


@pytest.fixture
def places(save, tmp_path):
    """Images whose pixels say where they are, and masks of one square each."""

    def write(sides=SIDES, square=6, folder="set"):
        for index, (height, width) in enumerate(sides):
            rows, columns = np.mgrid[:height, :width].astype(np.uint8)
            save(f"{folder}/images/{index}.png", np.stack([rows, columns, rows * 0 + index], -1))
            mask = np.zeros((height, width), np.uint8)
            mask[height // 3 :, width // 2 :][:square, :square] = 255
            save(f"{folder}/masks/{index}.png", mask)
        return load_folder(tmp_path / folder)

    return write


def epochs(dataset, count):
    """Images as bytes and masks of several epochs, (epochs x samples, height, width, ...)."""
    pairs = [pair for _ in range(count) for pair in dataset]
    images, masks = (np.concatenate([np.asarray(pair[k]) for pair in pairs]) for k in (0, 1))
    return np.rint((images + 1) * 127.5).astype(int), masks[..., 0]


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_a_window_is_a_piece_of_the_image_with_its_mask(places, tmp_path, cache):
    samples = places()
    cache = cache if cache == "memory" else tmp_path / "cache"
    dataset = samples.batches(2, (32, 40), mode="window", shuffle=True, cache=cache)
    assert dataset.element_spec[0] == tf.TensorSpec((None, 32, 40, 3), tf.float32)
    images, masks = epochs(dataset, 8)
    corners = set()
    for image, mask in zip(images, masks):
        top, left, index = image[0, 0]
        np.testing.assert_array_equal(image[..., 0], np.mgrid[top : top + 32, :40][0])
        np.testing.assert_array_equal(image[..., 1], np.mgrid[:32, left : left + 40][1])
        whole = samples.mask(index)
        np.testing.assert_array_equal(mask, whole[top : top + 32, left : left + 40])
        corners.add((index, top, left))
    assert len(corners) > 16  # of 24: what is cached is not one window


def test_how_many_windows_hold_foreground(places):
    samples = places(((90, 150),) * 2)
    shares, spots = {}, []
    for foreground in (0, 0.5, 1):
        dataset = samples.batches(
            2, 24, mode="window", shuffle=True, foreground=foreground, seed=1
        ).repeat(100)
        _, masks = epochs(dataset, 1)
        shares[foreground] = masks.any((1, 2)).mean()
        spots = [np.argwhere(mask).mean(0) for mask in masks if mask.any()]
    anywhere = (24 + 5) ** 2 / ((90 - 23) * (150 - 23))
    assert shares[0] == pytest.approx(anywhere, abs=0.07)
    assert shares[0.5] == pytest.approx(0.5 + anywhere / 2, abs=0.12)
    assert shares[1] == 1
    spread = np.array(spots)  # not always in the middle, which a network could learn
    assert (spread.min(0) < 4).all()
    assert (spread.max(0) > 19).all()


def test_a_rare_class_is_drawn_as_often_as_a_common_one(save, tmp_path):
    labels = np.zeros((96, 96), np.uint8)
    labels[:40] = 1
    labels[90:92, 90:92] = 2
    save("images/a.png", (96, 96, 3))
    save("masks/a.png", labels)
    samples = load_folder(tmp_path, classes=3)
    dataset = samples.batches(1, 16, mode="window", foreground=1, shuffle=True, augment=False)
    masks = np.concatenate([mask for _, mask in dataset.repeat(120)])
    assert masks.shape[1:] == (16, 16, 3)
    assert masks[..., 2].any((1, 2)).mean() == pytest.approx(0.5, abs=0.15)
    assert masks[..., 1].any((1, 2)).mean() == pytest.approx(0.5, abs=0.15)


def test_windows_are_keyed_by_seed_epoch_and_sample(places):
    samples = places()
    options = {"mode": "window", "shuffle": True, "seed": 3}
    dataset = samples.batches(1, 24, **options)
    first, second = epochs(dataset, 1), epochs(dataset, 1)
    assert (np.sort(first[0], 0) != np.sort(second[0], 0)).any()
    again = samples.batches(1, 24, **options)
    again.epoch.assign(1)
    again.start.assign(2)
    rest = epochs(again.take(1), 1)
    for part, other in zip(rest, second):
        np.testing.assert_array_equal(part, other[2:])
    other = epochs(samples.batches(1, 24, **{**options, "seed": 4}), 1)
    assert (other[0] != first[0]).any()


def test_windows_that_are_not_shuffled_stay_as_they_are(places):
    dataset = places().batches(3, 24, mode="window")
    first, second = epochs(dataset, 1), epochs(dataset, 1)
    for part, other in zip(first, second):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_small_images_are_framed_as_in_prediction(places, scale):
    samples = places(((20, 31), (31, 20), (9, 40)))
    size = 80
    with pytest.warns(KerasganWarning, match=r"'size' exceeds all 3 images at this scale"):
        dataset = samples.batches(3, size, mode="window", scale=scale)
    ((images, masks),) = dataset
    for index in range(3):
        frame = make_frame(samples.image(index), (size, size), "window", 0.5, scale)
        np.testing.assert_array_equal(images[index], frame.pixels)
        of_mask = samples.mask(index)[..., None].astype(np.float32)
        if scale == 1:
            padded = make_frame(of_mask, (size, size), "window", 0.5, 1.0).pixels
            np.testing.assert_array_equal(masks[index], padded)


def test_whole_images_are_cached_once(places, tmp_path, monkeypatch):
    samples, cache, decoded = places(), tmp_path / "cache", []
    read = pipeline.read_image
    monkeypatch.setattr(
        pipeline, "read_image", lambda path, *rest: decoded.append(path) or read(path, *rest)
    )
    first = epochs(samples.batches(3, 24, mode="window", cache=cache), 1)
    again = epochs(samples.batches(3, 24, mode="window", cache=cache, foreground=0.5), 1)
    assert len(decoded) == 3
    np.testing.assert_array_equal(first[0], again[0])
    samples.batches(3, 24, mode="window", cache=cache, scale=0.5)
    assert len(decoded) == 6
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:9])
    np.testing.assert_array_equal(
        epochs(samples.batches(3, 24, mode="window", cache=cache), 1)[0], first[0]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_windows_of_grey_images_are_grey(save, tmp_path, channels):
    levels = np.arange(40 * 50).reshape(40, 50).astype(np.uint8)
    save("images/a.png", levels)
    save("masks/a.png", np.where(levels > 200, 255, 0).astype(np.uint8))
    samples = load_folder(tmp_path, channels=channels)
    ((images, masks),) = samples.batches(1, 16, mode="window", foreground=1)
    pixels = np.rint((images[0] + 1) * 127.5)
    assert pixels.shape == (16, 16, channels)
    np.testing.assert_array_equal(pixels[..., 0] > 200, masks[0, ..., 0])
    np.testing.assert_array_equal(np.diff(pixels, axis=1) % 256, 1)


def test_pixels_in_memory_are_no_part_of_a_graph(places):
    """Of which TensorFlow takes 2 GB at most."""
    fetch = pipeline._cached_in_memory(places(), (32, 32), "window", 1.0)
    call = tf.function(fetch).get_concrete_function(tf.TensorSpec((), tf.int64))
    assert call.graph.as_graph_def().ByteSize() < 40 * 64
    assert len(call(tf.constant(1, tf.int64)).numpy()) == 16 + 64 * 64 * 4


def test_images_without_foreground_or_masks_give_windows_from_anywhere(places, save, tmp_path):
    samples = places()
    save("set/masks/0.png", np.zeros((90, 150), np.uint8))
    dataset = load_folder(tmp_path / "set").batches(1, 24, mode="window", foreground=1)
    masks = epochs(dataset, 1)[1]
    assert masks.any((1, 2)).tolist() == [False, True, True]
    frames = load_folder(images=tmp_path / "set" / "images", masks=None)
    for cache in ("memory", tmp_path / "cache"):
        (images,) = frames.batches(3, 24, mode="window", cache=cache)
        assert images.shape == (3, 24, 24, 3)
    refused("'foreground' needs masks", frames.batches, 1, 24, mode="window", foreground=0.5)
    for index, side in enumerate(SIDES):
        save(f"set/masks/{index}.png", np.zeros(side, np.uint8))
    with pytest.warns(KerasganWarning, match="All 3 masks are empty"):
        samples.batches(1, 24, mode="window")


def test_an_image_of_the_size_of_a_window_is_the_window(places):
    samples = places(((32, 40), (32, 40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = samples.batches(2, (32, 40), mode="window")
        places(((32, 40), (64, 90)), folder="mixed").batches(2, (48, 48), mode="window")
    plain = samples.batches(2, (32, 40))
    for part, other in zip(epochs(dataset, 1), epochs(plain, 1)):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "crop"}, "'mode' must be one of stretch, letterbox, window"),
        ({"scale": 1.0}, "'scale' goes with mode='window' alone"),
        ({"mode": "letterbox", "foreground": 0.5}, "'foreground' goes with mode='window' alone"),
        ({"mode": "window", "foreground": 1.1}, "'foreground' must be a finite number from 0 to 1"),
        ({"mode": "window", "foreground": "half"}, "'foreground' must be"),
        ({"mode": "window", "foreground": float("nan")}, "'foreground' must be"),
        ({"mode": "window", "scale": 0}, "'scale' must be"),
        ({"mode": "window", "scale": 17}, "'scale' must be"),
        ({"mode": "window", "scale": True}, "'scale' must be"),
        ({"mode": "window", "size": 0}, "'size' must be"),
    ],
)
def test_arguments_that_cannot_be(places, options, message):
    refused(message, places().batches, **{"batch_size": 1, "size": 24, **options})

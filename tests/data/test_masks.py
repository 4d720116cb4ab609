import numpy as np
import pytest
from PIL import Image

from kerasgan.data.masks import read_mask
from kerasgan.errors import KerasganError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)


def test_binary_mask_is_above_half_the_range(save, tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    np.testing.assert_array_equal(read_mask(save("a.png", grey), 1), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(
        read_mask(save("a.bmp", np.stack([grey] * 3, -1)), 1), [[0, 0, 1, 1]]
    )
    deep = np.array([[0, 32767, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(read_mask(save("b.png", deep), 1), [[0, 0, 1, 1]])
    bits = np.array([[0, 1, 1, 0]], bool)
    np.testing.assert_array_equal(read_mask(save("c.png", bits), 1), bits)
    clear = np.full((1, 4, 4), 255, np.uint8)
    clear[0, :2, 3] = 0
    np.testing.assert_array_equal(read_mask(save("d.png", clear), 1), [[0, 0, 1, 1]])


def test_jpeg_mask_survives_its_noise(save):
    truth = np.zeros((64, 64), np.uint8)
    truth[20:41, 11:50] = 1
    path = save("mask.jpg", truth * 255, quality=75)
    noisy = np.asarray(Image.open(path))
    assert len(np.unique(noisy)) > 2
    np.testing.assert_array_equal(read_mask(path, 1), truth)


def test_empty_masks_are_empty(save):
    assert not read_mask(save("a.png", np.zeros((5, 5), np.uint8)), 1).any()
    assert not read_mask(save("a.jpg", np.full((16, 16), 6, np.uint8)), 1).any()


@pytest.mark.parametrize("values", [[0, 1], [0, 1, 2], [0, 120]])
def test_labels_are_not_mistaken_for_an_empty_binary_mask(save, values):
    path = save("m.png", np.array([values], np.uint8))
    expected = rf"m\.png has grey values {', '.join(map(str, values))}, none above.*colors=\[0, 1\]"
    with pytest.raises(KerasganError, match=expected):
        read_mask(path, 1)


def test_binary_mask_by_two_grey_values(save):
    path = save("m.png", np.array([[0, 1, 1]], np.uint8))
    colors = ((0, 0, 0), (1, 1, 1))
    np.testing.assert_array_equal(read_mask(path, 1, colors), [[0, 1, 1]])
    deep = save("d.png", np.array([[0, 1, 1]], np.uint16))
    np.testing.assert_array_equal(read_mask(deep, 1, colors), [[0, 1, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_label_values_are_exact(save, dtype):
    labels = RNG.integers(0, 5, (7, 6)).astype(dtype)
    np.testing.assert_array_equal(read_mask(save("m.tif", labels), 5), labels)


def test_palette_indices_are_labels(tmp_path):
    labels = RNG.integers(0, 3, (7, 6)).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 3), labels)
    colors = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 3, colors), labels)


def test_labels_stored_as_grey_rgb(save):
    labels = RNG.integers(0, 3, (7, 6)).astype(np.uint8)
    np.testing.assert_array_equal(read_mask(save("m.png", np.stack([labels] * 3, -1)), 3), labels)


def test_colour_map_is_exact(save):
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 1], [255, 0, 1]], np.uint8)
    labels = RNG.integers(0, 4, (7, 6))
    colors = tuple(map(tuple, table.tolist()))
    np.testing.assert_array_equal(read_mask(save("m.png", table[labels]), 4, colors), labels)
    off = table[labels]
    off[2, 3] = (254, 0, 1)
    with pytest.raises(KerasganError, match=r"n\.png has 1 pixels in colours.*\(254, 0, 1\)\.$"):
        read_mask(save("n.png", off), 4, colors)


def test_values_outside_the_classes_are_named(save):
    path = save("m.png", np.array([[0, 1, 2, 7, 9]], np.uint8))
    with pytest.raises(KerasganError, match=r"m\.png must hold values 0 to 2.*also: 7, 9\.$"):
        read_mask(path, 3)
    with pytest.raises(KerasganError, match=r"c\.png is in colour. Pass colors="):
        read_mask(save("c.png", RGB), 3)
    with pytest.raises(KerasganError, match=r"m\.jpg .*save such masks as PNG"):
        read_mask(save("m.jpg", RNG.integers(0, 3, (32, 32)).astype(np.uint8) * 90), 3)
    with pytest.raises(KerasganError, match=r"f\.tif must hold values 0 to 1.*0\.5, nan"):
        read_mask(save("f.tif", np.array([[0.5, 1, np.nan]], np.float32)), 2)

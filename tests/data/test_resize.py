import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from kerasgan.data.resize import (
    check_image,
    image_box,
    resize_back,
    resize_image,
    resize_mask,
    resize_pixels,
    to_float,
)

RNG = np.random.default_rng(0)
SIDE = st.integers(1, 40)


def area_weights(old, new):
    """Share of each old pixel in each new one, from the overlap of their intervals."""
    weights = np.zeros((new, old))
    for j in range(new):
        for i in range(old):
            overlap = min((j + 1) * old / new, i + 1) - max(j * old / new, i)
            weights[j, i] = max(overlap, 0) * new / old
    return weights


def linear_weights(old, new):
    weights = np.zeros((new, old))
    for j in range(new):
        place = min(max((j + 0.5) * old / new - 0.5, 0), old - 1)
        low = int(place)
        weights[j, low] += 1 - (place - low)
        weights[j, min(low + 1, old - 1)] += place - low
    return weights


def oracle(image, height, width):
    def weights(old, new):
        return area_weights(old, new) if new < old else linear_weights(old, new)

    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("hi,wj,ijc->hwc", rows, columns, image.astype(np.float64))


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(1, 4))
def test_pixels_are_averaged_or_interpolated(h, w, height, width, channels):
    image = RNG.integers(0, 256, (h, w, channels)).astype(np.uint8)
    resized = resize_pixels(image, (height, width))
    assert resized.dtype == np.uint8
    np.testing.assert_allclose(resized, oracle(image, height, width), atol=0.501)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE)
def test_mask_takes_the_pixel_under_each_centre(h, w, height, width):
    labels = np.arange(h * w).reshape(h, w)
    resized = resize_mask(labels, (height, width))
    for i in range(height):
        for j in range(width):
            row, column = ((2 * i + 1) * h) // (2 * height), ((2 * j + 1) * w) // (2 * width)
            assert resized[i, j] == labels[row, column]


def test_image_and_mask_stay_together():
    foreground = np.zeros((60, 90), np.uint8)
    foreground[15:45, 30:60] = 1
    for size, mode in ((20, "stretch"), (120, "stretch"), ((40, 80), "letterbox")):
        image = resize_pixels(foreground[..., None] * 255, size, mode)[..., 0]
        np.testing.assert_array_equal(resize_mask(foreground, size, mode), image > 127)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE)
def test_letterbox_keeps_the_aspect_and_the_centre(h, w, height, width):
    top, left, inner_height, inner_width = image_box((h, w), (height, width), "letterbox")
    assert inner_height == height or inner_width == width
    scale = min(height / h, width / w)
    assert abs(inner_height - max(1, h * scale)) <= 0.5
    assert abs(inner_width - max(1, w * scale)) <= 0.5
    assert 0 <= height - inner_height - 2 * top <= 1
    assert 0 <= width - inner_width - 2 * left <= 1


def test_letterbox_surrounds_with_black_and_background():
    pixels = np.full((10, 20, 3), 200, np.uint8)
    framed = resize_pixels(pixels, 8, "letterbox")
    assert (framed[2:6] == 200).all()
    assert (framed[:2] == 0).all()
    assert (framed[6:] == 0).all()
    assert resize_mask(np.ones((10, 20), np.uint8), 8, "letterbox").sum() == 32


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_resize_back_undoes(mode):
    ramp = np.linspace(-1, 1, 40)[:, None, None] * np.ones((1, 60, 2))
    small = resize_image(ramp, 32, mode)
    back = resize_back(small, (40, 60), mode)
    assert back.shape == (40, 60, 2)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[2:-2], ramp[2:-2], atol=0.03)


def test_resize_image_rounds_to_the_pixels_of_a_file():
    pixels = RNG.integers(0, 256, (50, 41, 3)).astype(np.uint8)
    for size in (16, (50, 41), (64, 99)):
        expected = to_float(resize_pixels(pixels, size))
        np.testing.assert_array_equal(resize_image(to_float(pixels), size), expected)


def test_to_float_spans_minus_one_to_one_evenly():
    levels = to_float(np.arange(256, dtype=np.uint8))
    np.testing.assert_allclose(levels, np.arange(256) / 127.5 - 1, atol=1e-7)
    assert (levels[0], levels[-1]) == (-1, 1)


def test_impossible_sizes_and_modes():
    for size in (0, 12.5, (3, 4, 5), None):
        refused("Argument 'size' must be", image_box, (4, 4), size)
    refused("Argument 'mode' must be one of", image_box, (4, 4), 8, "crop")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((4, 4, 3), np.nan), "must be finite. Received: 48 values"),
        (np.array([[np.inf, 0]]), "must be finite. Received: 1 values"),
        (np.full((4, 4, 3), 200), "pixels / 127.5 - 1. Received: values from 200 to 200"),
        (np.full((4, 4, 3), 300), "pixels / 32767.5 - 1. Received: values from 300 to 300"),
        (np.full((4, 4, 3), -999), "pixels / 999. Received: values from -999 to -999"),
        (np.zeros((2, 4, 4, 3)), r"Received: float64 of shape \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3)), r"Received: float64 of shape \(0, 4, 3\)"),
        (np.array([["a"]]), "must be numbers"),
        (None, "must be numbers"),
    ],
)
def test_impossible_images(image, words):
    refused(words, check_image, image)
    refused(words, resize_image, image, 8)

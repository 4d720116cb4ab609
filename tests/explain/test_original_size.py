"""Relevance at the original size: sums, the adjoint property, borders."""

import numpy as np
import pytest
from refusals import refused

from kerasgan.data.resize import image_box, resize_back
from kerasgan.explain import to_original

SIZES = [(530, 621), (1072, 1920), (352, 332), (64, 64), (40, 200), (17, 9), (1, 1)]
RNG = np.random.default_rng(0)
RELEVANCE = RNG.normal(size=(64, 48, 3)).astype("float32")


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_the_sum_is_kept(image_size, mode):
    placed = to_original(RELEVANCE, image_size, mode)
    assert placed.relevance.shape == (*image_size, 3)
    given = RELEVANCE.sum((0, 1), dtype="float64")
    found = placed.relevance.sum((0, 1)) + placed.border
    np.testing.assert_allclose(found, given, rtol=1e-10)


@pytest.mark.parametrize("image_size", [(530, 621), (40, 200), (17, 9)])
def test_adjoint_of_the_resizing(image_size):
    image = RNG.normal(size=(*image_size, 3))
    resized = resize_back(image, RELEVANCE.shape[:2])
    placed = to_original(RELEVANCE, image_size).relevance
    assert np.sum(image * placed) == pytest.approx(np.sum(resized * RELEVANCE), rel=1e-4)


def test_whole_numbers_spread_evenly():
    small = RNG.normal(size=(4, 6, 2))
    placed = to_original(small, (12, 12)).relevance
    np.testing.assert_allclose(placed, small.repeat(3, 0).repeat(2, 1) / 6, rtol=1e-10)


def test_letterbox_borders_are_told_not_lost():
    box = image_box((30, 60), (64, 64), "letterbox")
    relevance = np.ones((64, 64, 2), "float32") * [1, -2]
    placed = to_original(relevance, (30, 60), "letterbox")
    outside = 64 * 64 - box.height * box.width
    np.testing.assert_allclose(placed.border, [outside, -2 * outside])
    assert np.array_equal(to_original(relevance, (30, 60)).border, [0, 0])
    only_border = relevance.copy()
    only_border[box.top : box.top + box.height] = 0
    assert not to_original(only_border, (30, 60), "letterbox").relevance.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RELEVANCE[None], (8, 8)), r"\(height, width, channels\), of one image. .*\(1, 64, 48"),
        ((np.full((2, 2, 1), np.nan), (8, 8)), "must hold finite numbers"),
        ((np.array([[["a"]]]), (8, 8)), "must hold finite numbers"),
        ((RELEVANCE, "8"), r"'image_size' must be .*\(height, width\).*Received: '8'"),
        ((RELEVANCE, (0, 8)), r"Received: \(0, 8\)"),
        ((RELEVANCE, (8.5, 8)), r"Received: \(8.5, 8\)"),
        ((RELEVANCE, (8, 8), "pad"), "Argument 'mode' must be one of"),
    ],
)
def test_bad_input(arguments, message):
    refused(message, to_original, *arguments)

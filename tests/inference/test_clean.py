import numpy as np
import pytest
from refusals import refused
from scipy import ndimage

from kerasgan.inference.clean import clean_mask, fill_holes, largest_component


def flood(mask, start):
    """All foreground pixels that a king can walk to."""
    reached, todo = set(), [start]
    while todo:
        y, x = todo.pop()
        inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
        if inside and mask[y, x] and (y, x) not in reached:
            reached.add((y, x))
            todo += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return reached


@pytest.mark.parametrize("seed", range(5))
def test_largest_component(seed):
    mask = np.random.default_rng(seed).random((12, 17)) < 0.25
    pieces = [flood(mask, tuple(pixel)) for pixel in np.argwhere(mask)]
    largest = max(pieces, key=len)
    wanted = np.zeros_like(mask)
    wanted[tuple(zip(*largest))] = True
    np.testing.assert_array_equal(largest_component(mask), wanted)


@pytest.mark.parametrize("seed", range(5))
def test_holes_of_one_class_are_what_scipy_fills(seed):
    mask = np.random.default_rng(seed).random((20, 20)) < 0.65
    assert not np.array_equal(fill_holes(mask), mask)
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_classes_are_cleaned_up_apart():
    mask = np.array(
        [
            [1, 1, 1, 0, 2, 2, 2, 2],
            [1, 0, 1, 0, 2, 0, 0, 2],
            [1, 1, 1, 0, 2, 0, 1, 2],
            [0, 0, 0, 0, 2, 2, 2, 2],
            [2, 0, 1, 0, 0, 0, 0, 0],
        ],
        np.uint8,
    )
    cleaned = clean_mask(mask, ["largest", "holes"])
    wanted = mask.copy()
    wanted[4] = 0
    wanted[1, 1] = 1
    wanted[1:3, 5:7] = 2
    np.testing.assert_array_equal(cleaned, wanted)
    assert cleaned.dtype == np.uint8
    kept = mask.copy()
    kept[1, 1] = 1
    np.testing.assert_array_equal(fill_holes(mask), kept)  # class 1 in the hole of class 2 stays


def test_nothing_to_do():
    for empty in (np.zeros((4, 5), bool), np.zeros((4, 5), np.uint8), np.ones((4, 5), bool)):
        for function in (largest_component, fill_holes):
            np.testing.assert_array_equal(function(empty), empty)
            assert function(empty).dtype == empty.dtype
    mask = np.eye(3, dtype=bool)
    assert clean_mask(mask, ()) is mask


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 1)), np.full((2, 2), 0.5), np.full((2, 2), -1), [["a"]]]
)
def test_bad_masks(mask):
    refused(r"'mask' must be \(height, width\)", largest_component, mask)


def test_bad_steps():
    refused("Did you mean 'largest'", clean_mask, np.zeros((2, 2)), "larges")
    refused("'clean' must be 'largest', 'holes' or several", clean_mask, np.zeros((2, 2)), True)

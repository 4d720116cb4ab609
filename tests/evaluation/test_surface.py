import json
import math
import pathlib
import re

import field_constants
import numpy as np
import pytest
from refusals import refused

from kerasgan.evaluation import (
    boundary_iou,
    hausdorff_95,
    mean_surface_distance,
    surface_dice,
)


def outline(mask):
    """Pixels, by a loop over neighbours: (row, column)."""
    height, width = mask.shape
    found = []
    for y, x in np.argwhere(mask):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if not all(0 <= v < height and 0 <= u < width and mask[v, u] for v, u in around):
            found.append((y, x))
    return np.array(found, np.float64)


def brute_force(truth, prediction, spacing):
    """All pairwise distances, float64: the nearest from either side."""
    a, b = outline(truth) * spacing, outline(prediction) * spacing
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return pairs.min(1), pairs.min(0)


def blobs(seed, shape=(13, 17)):
    rng = np.random.default_rng(seed)
    masks = []
    for density in rng.uniform(0.1, 0.9, 2):
        coarse = rng.random((5, 5)) < density
        mask = np.kron(coarse, np.ones((3, 4)))[: shape[0], : shape[1]].astype(bool)
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("spacing", [1.0, (0.5, 2.0)])
@pytest.mark.parametrize("seed", range(12))
def test_against_all_pairs(seed, spacing):
    truth, prediction = blobs(seed)
    there, back = brute_force(truth, prediction, np.broadcast_to(spacing, 2))
    wanted = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hausdorff_95(truth, prediction, spacing) == pytest.approx(wanted, abs=1e-12)
    mean = (there.sum() + back.sum()) / (len(there) + len(back))
    assert mean_surface_distance(truth, prediction, spacing) == pytest.approx(mean, abs=1e-12)
    swapped = hausdorff_95(prediction, truth, spacing)
    assert swapped == pytest.approx(wanted, abs=1e-12)


def test_squares_moved_apart():
    truth, moved = np.zeros((2, 40, 60), bool)
    truth[10:20, 10:20] = True
    moved[10:20, 17:27] = True
    assert hausdorff_95(truth, moved) == 7
    assert hausdorff_95(truth, moved, spacing=0.25) == 7 / 4
    assert hausdorff_95(truth, truth) == mean_surface_distance(truth, truth) == 0


def test_one_stray_pixel_of_many_does_not_count():
    truth = np.zeros((60, 60), bool)
    truth[10:30, 10:30] = True
    stray = truth.copy()
    stray[55, 55] = True
    assert mean_surface_distance(truth, stray) > 0
    assert hausdorff_95(truth, stray) == 0


def test_what_the_frame_cuts_off_has_its_outline_there():
    everything = np.ones((5, 6), bool)
    middle = np.zeros((5, 6), bool)
    middle[2, 2] = True
    assert hausdorff_95(middle, everything) > 2
    there, back = brute_force(everything, middle, 1)
    assert len(there) == 2 * (5 + 6) - 4
    mean = mean_surface_distance(everything, middle)
    assert mean == pytest.approx((there.sum() + back.sum()) / (len(there) + 1))


def test_empty_masks():
    empty, dot = np.zeros((2, 4, 4), bool)
    dot[1, 1] = True
    for measure in (hausdorff_95, mean_surface_distance):
        assert measure(empty, empty) == 0
        assert math.isnan(measure(dot, empty))
        assert math.isnan(measure(empty, dot))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1]], [[1, 0]]), "must have the same shape. Received: (1, 1) and (1, 2)"),
        (([1, 0], [1, 0]), "'truth' must be a mask (height, width)"),
        (
            ([[1]], [[2]]),
            "'prediction' must be a mask (height, width), boolean or {0, 1}. Received",
        ),
        (([[np.nan]], [[1]]), "'truth' must be a mask"),
        (([["a"]], [[1]]), "'truth' must be a mask"),
        (([[1]], [[0.5]]), "from 0.5 to 0.5"),
        (([], []), "'truth' must be a mask"),
        ((np.zeros((0, 2, 1)), [[1]]), "'truth' must be a mask"),
        (([[1]], np.zeros(0, int)), "'prediction' must be a mask"),
        (([[1, 0], [1]], [[1]]), "'truth' must be a mask"),
        (([[1]], None), "'prediction' must be a mask"),
        (("mask", [[1]]), "'truth' must be a mask"),
        (([[1j]], [[1]]), "'truth' must be a mask"),
        (([[1]], [[1]], 0), "'spacing' must be a finite number above 0"),
        (([[1]], [[1]], (1, 2, 3)), "'spacing' must be a finite number above 0"),
        (([[1]], [[1]], "mm"), "'spacing' must be a finite number above 0"),
        (([[1]], [[1]], None), "'spacing' must be a finite number above 0"),
        (([[1]], [[1]], (1, np.inf)), "'spacing' must be a finite number above 0"),
    ],
)
def test_bad_input(arguments, words):
    for function in (hausdorff_95, mean_surface_distance):
        refused(re.escape(words), function, *arguments)
    for function in (surface_dice, boundary_iou):
        refused(re.escape(words), function, *arguments[:2], 2, *arguments[2:])


PAIRS = field_constants.pairs()
FIELD = json.loads(pathlib.Path(__file__).with_name("field.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAIRS)
def test_shares_of_the_outline_against_metrics_reloaded(name):
    dices, ious = (iter(FIELD["pairs"][name][key]) for key in ("surface_dice", "boundary_iou"))
    for tolerance in field_constants.TOLERANCES:
        assert boundary_iou(*PAIRS[name], tolerance) == pytest.approx(next(ious), abs=1e-8)
        for spacing in field_constants.SPACINGS:
            got = surface_dice(*PAIRS[name], tolerance, spacing)
            assert got == pytest.approx(next(dices), abs=1e-8)


@pytest.mark.parametrize("spacing", [1.0, (0.5, 2.0)])
@pytest.mark.parametrize("seed", range(6))
def test_shares_of_the_outline_against_all_pairs(seed, spacing):
    truth, prediction = blobs(seed)
    spacing = np.broadcast_to(spacing, 2)
    there, back = brute_force(truth, prediction, spacing)
    for tolerance in (0.4, 1, 2.5):
        wanted = np.mean(np.concatenate([there, back]) <= tolerance)
        assert surface_dice(truth, prediction, tolerance, spacing) == pytest.approx(wanted)
        rims = []
        for mask in (truth, prediction):
            pixels, edge = np.argwhere(mask), outline(mask)
            nearest = np.sqrt((((pixels[:, None] - edge) * spacing) ** 2).sum(-1)).min(1)
            rims.append(set(map(tuple, pixels[nearest < tolerance])))
        wanted = len(rims[0] & rims[1]) / len(rims[0] | rims[1])
        assert boundary_iou(truth, prediction, tolerance, spacing) == pytest.approx(wanted)


def test_surface_dice_of_smooth_outlines_is_near_the_one_weighed_by_length():
    for (truth, prediction), expected in zip(field_constants.disks(), FIELD["disks"]):
        got = [surface_dice(truth, prediction, tolerance) for tolerance in (1, 2)]
        np.testing.assert_allclose(got, expected, atol=0.12)


def test_tolerance_in_millimetres():
    truth, moved = np.zeros((2, 40, 60), bool)
    truth[10:20, 10:20] = True
    moved[10:20, 13:23] = True
    assert surface_dice(truth, moved, 3) == surface_dice(truth, moved, 0.3, 0.1) == 1
    assert surface_dice(truth, moved, 2) == surface_dice(truth, moved, 0.2, 0.1) < 1
    assert boundary_iou(truth, moved, 2) == boundary_iou(truth, moved, 0.5, 0.25)


def test_shares_of_empty_masks():
    empty, dot = np.zeros((2, 4, 4), bool)
    dot[1, 1] = True
    for measure in (surface_dice, boundary_iou):
        assert measure(empty, empty) == measure(dot, dot) == 1
        assert measure(dot, empty) == measure(empty, dot) == 0
        for bad in (0, -1, np.nan, "mm", None):
            refused("'tolerance' must be a finite number above 0", measure, dot, dot, bad)

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


@pytest.mark.parametrize("seed", range(6))
def test_rims_of_long_pixels_against_all_pairs(seed):
    truth, prediction = blobs(seed)
    for tolerance in (0.4, 1, 2.5):
        rims = []
        for mask in (truth, prediction):
            pixels, edge = np.argwhere(mask), outline(mask)
            nearest = np.linalg.norm((pixels[:, None] - edge) * (0.5, 2), axis=-1).min(1)
            rims.append(set(map(tuple, pixels[nearest < tolerance])))
        wanted = len(rims[0] & rims[1]) / len(rims[0] | rims[1])
        assert boundary_iou(truth, prediction, tolerance, (0.5, 2)) == pytest.approx(wanted)


def test_shares_of_empty_masks():
    empty, dot = np.zeros((2, 4, 4), bool)
    dot[1, 1] = True
    for measure in (surface_dice, boundary_iou):
        assert measure(empty, empty) == measure(dot, dot) == 1
        assert measure(dot, empty) == measure(empty, dot) == 0
        for bad in (0, -1, np.nan, "mm", None):
            refused("'tolerance' must be a finite number above 0", measure, dot, dot, bad)

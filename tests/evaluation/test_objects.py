import json
import math
import pathlib
import re

import field_constants
import numpy as np
import pytest
from refusals import refused
from scipy import ndimage

from kerasgan.evaluation import object_scores

PAIRS = field_constants.pairs()
FIELD = json.loads(pathlib.Path(__file__).with_name("field.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAIRS)
def test_against_panoptica(name):
    expected = iter(FIELD["pairs"][name]["objects"])
    for overlap in field_constants.OVERLAPS:
        for connectivity in (4, 8):
            tp, fp, fn, quality = next(expected)
            got = object_scores(*PAIRS[name], overlap=overlap, connectivity=connectivity)
            assert got["objects"] == tp + fn
            assert got["false_positives_per_image"] == fp
            assert got["object_sensitivity"] == pytest.approx(tp / (tp + fn))
            assert got["object_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
            assert got["panoptic_quality"] == pytest.approx(quality, abs=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_instance_labels_are_what_is_connected(name):
    labels = [ndimage.label(mask)[0] for mask in PAIRS[name]]
    expected = object_scores(*PAIRS[name], connectivity=4)
    assert object_scores(*labels, connectivity=None) == expected
    gaps = [np.where(label > 0, 7 * label.max() - 3 * label + 2, 0) for label in labels]
    assert object_scores(*gaps, connectivity=None) == expected
    assert object_scores(labels[0].astype(float), labels[1], connectivity=None) == expected


def test_objects_that_touch_are_one_unless_told_apart():
    truth = np.array([[1, 1, 1, 2, 2, 2]])
    found = np.array([[1, 1, 1, 0, 2, 2]])
    joined = object_scores(truth > 0, found > 0)
    assert (joined["objects"], joined["object_sensitivity"]) == (1, 0)  # IoU 3/6, not above
    apart = object_scores(truth, found, connectivity=None)
    assert (apart["objects"], apart["object_sensitivity"]) == (2, 1)
    assert apart["panoptic_quality"] == pytest.approx((1 + 2 / 3) / 2)
    whole = object_scores([[1, 2]], [[1, 2]], connectivity=None)  # no background at all
    assert (whole["objects"], whole["object_f1"]) == (2, 1)


def test_one_to_one_the_best_first():
    truth = np.array([[1] * 10])
    found = np.array([[1] * 4 + [0] + [1] * 5])
    for overlap, expected in ((0.0, 0.5), (0.45, 0.5), (0.5, 0.0)):
        got = object_scores(truth, found, overlap=overlap)
        assert got["object_sensitivity"] == (expected > 0)
        assert got["false_positives_per_image"] == (1 if expected else 2)
        assert got["panoptic_quality"] == pytest.approx(0.5 / 1.5 if expected else 0)


def test_the_corner_is_the_question_of_connectivity():
    truth = np.eye(3, dtype=bool)
    assert object_scores(truth, truth)["objects"] == 1
    assert object_scores(truth, truth, connectivity=4)["objects"] == 3


@pytest.mark.parametrize("policy", ["agree", "medai", "nan"])
def test_empty_masks(policy):
    empty, dot = np.zeros((2, 5, 5), bool)
    dot[2, 2] = True
    both = object_scores(empty, empty, empty=policy)
    expected = math.nan if policy == "nan" else 1
    np.testing.assert_equal([both["object_f1"], both["panoptic_quality"]], [expected] * 2)
    assert (both["objects"], both["false_positives_per_image"]) == (0, 0)
    assert math.isnan(both["object_sensitivity"])
    invented = object_scores(empty, dot, empty=policy)
    assert (invented["object_f1"], invented["false_positives_per_image"]) == (0, 1)
    assert math.isnan(invented["object_sensitivity"])
    missed = object_scores(dot, empty, empty=policy)
    assert (missed["object_f1"], missed["panoptic_quality"]) == (0, 0)
    assert (missed["object_sensitivity"], missed["false_positives_per_image"]) == (0, 0)


def test_many_small_objects_take_no_matrix_of_pairs():
    mask = np.zeros((600, 600), bool)
    mask[::2, ::2] = True
    got = object_scores(mask, mask)
    assert (got["objects"], got["panoptic_quality"]) == (90_000, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([[1]], [[1, 0]]), {}, "must have the same shape"),
        (([1], [1]), {}, "'truth' must be a mask (height, width)"),
        (([[2]], [[1]]), {}, "For instance labels pass connectivity=None"),
        (([[1]], [[0.5]]), {}, "'prediction' must be a mask"),
        (([[-1]], [[1]]), {"connectivity": None}, "'truth' must be a mask"),
        (([[np.nan]], [[1]]), {"connectivity": None}, "'truth' must be a mask"),
        (([], []), {}, "'truth' must be a mask"),
        (([[1]], [[1, 0], [1]]), {}, "'prediction' must be a mask"),
        ((None, [[1]]), {}, "'truth' must be a mask"),
        ((["a"], [[1]]), {"connectivity": None}, "'truth' must be a mask"),
        (([[np.inf, 0]], [[0, 1]]), {"connectivity": None}, "'truth' must be a mask"),
        (([[0, 1]], [[0, np.inf]]), {"connectivity": None}, "'prediction' must be a mask"),
        (([[1]], [[1]]), {"empty": "banana"}, "'empty' must be one of agree, medai, nan"),
        (([[1]], [[1]]), {"empty": None}, "'empty' must be one of"),
        (([[1]], [[1]]), {"connectivity": 6}, "'connectivity' must be one of 4, 8"),
        (([[1]], [[1]]), {"overlap": 1}, "'overlap' must be a finite number"),
    ],
)
def test_bad_input(arguments, options, words):
    refused(re.escape(words), object_scores, *arguments, **options)

import numpy as np
import pandas as pd
import pytest

from kerasgan.report.failures import ObjectCounts, ShownImage, choose, count_objects, failure_kinds


def masks(*boxes, size=100, label=1):
    mask = np.zeros((size, size), int)
    for top, left, side in boxes:
        mask[top : top + side, left : left + side] = label
    return mask


def test_objects_and_regions_are_matched_by_touch():
    truth = masks((0, 0, 10), (50, 50, 10))
    prediction = masks((9, 9, 10), (80, 10, 5))
    assert count_objects(truth, prediction) == ObjectCounts(objects=2, missed=1, regions=2, false=1)
    assert count_objects(truth, truth) == ObjectCounts(2, 0, 2, 0)
    assert count_objects(truth * 0, truth * 0) == ObjectCounts(0, 0, 0, 0)


def test_specks_do_not_count_and_corners_connect():
    truth = masks((0, 0, 1), (20, 20, 2), (22, 22, 2))
    assert count_objects(truth, truth * 0) == ObjectCounts(1, 1, 0, 0)


def test_another_class_is_no_answer():
    truth = masks((0, 0, 10), label=1)
    assert count_objects(truth, 2 * truth) == ObjectCounts(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("findings", "jaccard", "kinds"),
    [
        (ObjectCounts(1, 0, 1, 0), 0.9, ["found"]),
        (ObjectCounts(1, 0, 1, 0), 0.4, ["partial"]),
        (ObjectCounts(1, 1, 0, 0), 0.0, ["missed"]),
        (ObjectCounts(2, 1, 2, 1), 0.2, ["missed", "false positive", "partial"]),
        (ObjectCounts(0, 0, 1, 1), 0.0, ["false positive"]),
        (ObjectCounts(0, 0, 0, 0), 1.0, ["correctly empty"]),
    ],
)
def test_kinds(findings, jaccard, kinds):
    assert failure_kinds(findings, jaccard) == kinds


def test_choice_holds_ends_middle_and_each_failure():
    dice = np.arange(20) / 20
    finding = ["found"] * 20
    finding[5], finding[6], finding[7] = "missed", "false positive", "missed; partial"
    table = pd.DataFrame({"dice": dice, "finding": finding})
    chosen = choose(table, "dice", 9)
    groups = {}
    for image in chosen:
        groups.setdefault(image.group, []).append(image.index)
    assert groups["worst"] == [0, 1]
    assert groups["median"] == [9, 10]
    assert groups["best"] == [18, 19]
    assert groups["missed"] == [5]
    assert groups["false positive"] == [6]
    assert groups["partial"] == [7]
    assert len({image.index for image in chosen}) == len(chosen) == 9


def test_choice_of_few_images():
    table = pd.DataFrame({"dice": [0.5, np.nan], "finding": ["found", "found"]})
    assert choose(table.iloc[:1], "dice", 40) == [ShownImage(0, "worst")]
    assert {image.index for image in choose(table, "dice", 40)} == {0, 1}
    assert choose(pd.DataFrame({"confidence": [0.9, 0.6]}), "confidence", 1) == [
        ShownImage(1, "worst")
    ]
    assert len(choose(pd.DataFrame({"dice": np.linspace(0, 1, 50)}), "dice", 40)) == 40

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from kerasgan.evaluation import by_group, by_size, worst


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    area = np.concatenate([[0, 0], rng.uniform(0.001, 0.5, 21)])
    names = [f"p{i % 3}_{i:02}" for i in range(len(area))]
    return pd.DataFrame({"name": names, "dice": rng.random(len(area)), "true_area": area})


@pytest.mark.parametrize("bins", [1, 3, 4])
def test_quantile_groups_are_of_one_size_and_miss_no_image(table, bins):
    groups = by_size(table, bins)
    assert groups["images"].iloc[0] == 2
    assert groups["largest"].iloc[0] == 0
    assert len(groups) == bins + 1
    assert groups["images"].iloc[1:].max() - groups["images"].iloc[1:].min() <= 1
    assert groups["images"].sum() == len(table)
    assert (groups["smallest"].iloc[1:].to_numpy() > groups["largest"].iloc[:-1].to_numpy()).all()
    weighted = (groups["dice"] * groups["images"]).sum() / len(table)
    assert weighted == pytest.approx(table["dice"].mean())
    for row in groups.itertuples():
        part = [
            dice
            for dice, area in zip(table["dice"], table["true_area"])
            if row.smallest <= area <= row.largest
        ]
        assert row.dice == pytest.approx(sum(part) / len(part))
        assert row.images == len(part)


def test_groups_between_given_areas(table):
    groups = by_size(table, [0.1, 0.3])
    area = table["true_area"]
    wanted = [(area == 0), (area > 0) & (area <= 0.1), (area > 0.1) & (area <= 0.3), (area > 0.3)]
    assert list(groups["images"]) == [part.sum() for part in wanted]
    np.testing.assert_allclose(groups["dice"], [table["dice"][part].mean() for part in wanted])
    assert list(by_size(table, [0.6])["images"]) == [2, 21]
    assert list(groups) == ["smallest", "largest", "images", "dice"]


def test_equal_areas_stay_together():
    table = pd.DataFrame({"true_area": [0.1] * 6 + [0.2], "dice": [0.5] * 7})
    assert list(by_size(table, 3)["images"]) == [6, 1]
    nothing = pd.DataFrame({"true_area": [0.0, 0.0], "dice": [0.0, 1.0]})
    assert by_size(nothing).to_dict("records") == [
        {"smallest": 0, "largest": 0, "images": 2, "dice": 0.5}
    ]


def test_groups_by_name_and_by_column(table):
    groups = by_group(table, lambda name: name[:2])
    assert list(groups["group"]) == ["p0", "p1", "p2"]
    assert list(groups["images"]) == [8, 8, 7]
    assert groups["dice"][1] == pytest.approx(table["dice"][1::3].mean())
    labelled = table.assign(fold=[name[:2] for name in table["name"]])
    pd.testing.assert_frame_equal(by_group(labelled, "fold"), groups)
    numbered = by_group(table, lambda name: int(name[3:]) % 12)
    assert list(numbered["group"]) == list(range(12))
    numeric = by_group(table.assign(surgery=[i % 2 for i in range(len(table))]), "surgery")
    assert list(numeric) == ["group", "images", "dice", "true_area"]


def test_what_is_undefined_is_left_out():
    table = pd.DataFrame({"name": list("ab"), "dice": [0.5, np.nan], "true_area": [0.1, 0.1]})
    assert by_size(table, 1)["dice"][0] == 0.5
    assert by_group(table, lambda name: "all")["dice"][0] == 0.5
    assert np.isnan(by_group(table, lambda name: name)["dice"][1])


def test_the_worst_come_first():
    table = pd.DataFrame(
        {
            "name": list("abcde"),
            "dice": [0.5, 0.1, np.nan, 0.1, 0.9],
            "hausdorff_95": [3.0, 9.0, np.nan, 1.0, 0.0],
            "hausdorff_95_1": [0.0, 1.0, 2.0, 3.0, 4.0],
        },
        index=[4, 3, 2, 1, 0],
    )
    assert list(worst(table, 3)["name"]) == ["b", "d", "a"]
    assert list(worst(table, 3).index) == [3, 1, 4]
    assert list(worst(table, 9)["name"]) == ["b", "d", "a", "e"]
    assert list(worst(table, 2, "hausdorff_95")["name"]) == ["b", "a"]
    assert list(worst(table, 1, "hausdorff_95_1")["name"]) == ["e"]


def test_bad_input(table):
    for function in (by_size, worst, lambda table: by_group(table, str)):
        for bad in (table[:0], "scores.csv", None):
            refused("'table' must be a table with at least one", function, bad)
    for call, words in (
        (lambda: by_size(table.drop(columns="true_area")), "must have a column 'true_area'"),
        (lambda: by_group(table, "fold"), "must have a column 'fold'. Received: \\['name'"),
        (lambda: worst(table, 3, "jacard"), "must have a column 'jacard'"),
        (lambda: worst(table, 3, "name"), "'column' must be a column of numbers"),
        (lambda: worst(table, 0), "'count' must be a whole number from 1 up. Received: 0"),
        (lambda: worst(table, 2.5), "'count' must be"),
    ):
        refused(words, call)
    for bins in (0, -1, True, [], [0.2, 0.1], [0.1, 0.1], [0], [1.5], ["a"], None, [np.nan]):
        refused("'bins' must be a whole number from 1 up, or", by_size, table, bins)

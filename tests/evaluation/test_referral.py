"""The referral curve, against means taken image by image."""

import itertools

import numpy as np
import pandas as pd
import pytest
from refusals import refused

import kerasgan as kg

curve_of = kg.evaluation.referral_curve


def table(scores, uncertainty):
    return pd.DataFrame({"dice": scores, "entropy": uncertainty})


def test_each_row_is_the_mean_of_the_images_kept():
    rng = np.random.default_rng(0)
    scores, uncertainty = rng.uniform(size=20), rng.uniform(size=20)
    curve = curve_of(table(scores, uncertainty), by="entropy")
    for number, row in curve.iterrows():
        kept = sorted(zip(uncertainty, scores))[: 20 - number]
        assert row["kept"] == pytest.approx(np.mean([score for _, score in kept]))
        assert row["best"] == pytest.approx(np.mean(sorted(scores)[number:]))
        assert row["random"] == pytest.approx(scores.mean())
        assert row["referred"] == number / 20
    assert curve.attrs["area"] == pytest.approx(curve["kept"].mean())


def test_ties_count_as_the_mean_over_their_orders():
    scores, uncertainty = [0.9, 0.1, 0.6, 0.3], [1.0, 2.0, 2.0, 2.0]
    expected = np.mean(
        [
            curve_of(table(scores, np.add(uncertainty, [0, *order])), by="entropy")["kept"]
            for order in itertools.permutations([0.01, 0.02, 0.03])
        ],
        axis=0,
    )
    np.testing.assert_allclose(curve_of(table(scores, uncertainty), by="entropy")["kept"], expected)


@pytest.mark.parametrize(("uncertainty", "gain"), [([1, 2, 3], 1), ([1, 1, 1], 0)])
def test_gain_is_one_for_the_best_order_and_none_for_no_order(uncertainty, gain):
    assert curve_of(table([0.9, 0.5, 0.2], uncertainty), "entropy").attrs["gain"] == gain


def test_the_opposite_order_loses():
    assert curve_of(table([0.9, 0.5, 0.2], [3, 2, 1]), "entropy").attrs["gain"] < 0


def test_equal_scores_have_no_gain():
    assert np.isnan(curve_of(table([0.5] * 3, [1, 2, 3]), "entropy").attrs["gain"])


def test_images_without_a_score_are_left_out():
    whole = curve_of(table([0.9, np.nan, 0.2], [1, np.nan, 3]), "entropy")
    pd.testing.assert_frame_equal(whole, curve_of(table([0.9, 0.2], [1, 3]), "entropy"))


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        (table([0.5, 0.6], [1, 2]), {"by": "doubt"}, "'by' must be a column .*entropy.*doubt"),
        (table([0.5, 0.6], [1, 2]), {"by": "entropy", "score": "f1"}, "'score' must be a column"),
        (
            table([0.5, 0.6], ["a", "b"]),
            {"by": "entropy"},
            "'by' must be a column of finite numbers",
        ),
        (table([0.5, 0.6], [1, np.nan]), {"by": "entropy"}, "'entropy' has no value for 1"),
        (table([0.5, np.nan], [1, 2]), {"by": "entropy"}, "at least two images.*Received: 1"),
    ],
)
def test_tables_that_cannot_be_used_are_named(rows, options, reason):
    refused(reason, curve_of, rows, **options)


def test_the_largest_distances_are_the_poorest():
    rows = pd.DataFrame({"hausdorff_95": [1.0, 9.0, 2.0, 5.0], "entropy": [0.1, 0.7, 0.3, 0.5]})
    curve = curve_of(rows, "entropy", "hausdorff_95")
    assert curve.attrs["gain"] == 1
    assert list(curve["kept"]) == list(curve["best"]) == [4.25, 8 / 3, 1.5, 1.0]


@pytest.mark.parametrize("column", [[np.inf, 1.0], [1j, 2.0]])
def test_columns_without_order_are_refused(column):
    with pytest.raises(kg.KerasganError, match="'by' must be a column of finite numbers"):
        curve_of(table([0.5, 0.6], column), "entropy")
    refused("'table' must be a DataFrame", curve_of, None, "entropy")

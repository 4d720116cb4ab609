import math

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from kerasgan.evaluation import paired_difference


def tables(seed, shift, count=60):
    """Two tables in which images differ much, and models by about `shift`."""
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.2, 0.8, count)
    names = [f"image_{i}" for i in range(count)]
    area = rng.uniform(0.01, 0.4, count)
    first = pd.DataFrame({"name": names, "dice": hard, "true_area": area})
    second = first.assign(dice=hard + shift + rng.normal(0, 0.05, count))
    return first, second.sample(frac=1, random_state=seed)


@pytest.mark.parametrize("shift", [0.0, 0.02, -0.3])
def test_against_scipy(shift):
    stats = pytest.importorskip("scipy.stats")
    first, second = tables(0, shift)
    (row,) = paired_difference(first, second, resamples=20_000).to_dict("records")
    joined = first.merge(second, on="name", suffixes=("_a", "_b"))
    difference = joined["dice_b"] - joined["dice_a"]
    wanted = stats.bootstrap(
        (difference,), np.mean, n_resamples=20_000, method="percentile", random_state=1
    )
    assert row["score"] == "dice"
    assert row["mean_a"] == pytest.approx(first["dice"].mean())
    assert row["mean_b"] == pytest.approx(second["dice"].mean())
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["low"] == pytest.approx(wanted.confidence_interval.low, abs=1e-3)
    assert row["high"] == pytest.approx(wanted.confidence_interval.high, abs=1e-3)
    # Near normal, the bootstrap's p is that of a z test.
    z = difference.mean() / (difference.std(ddof=0) / math.sqrt(len(difference)))
    assert row["p"] == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.02)
    assert row["images"] == 60


def test_swapping_turns_the_sign_and_keeps_p():
    first, second = tables(2, 0.01)
    there, back = paired_difference(first, second).iloc[0], paired_difference(second, first).iloc[0]
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["p"] == pytest.approx(there["p"], abs=0.05)
    again = paired_difference(first, second).iloc[0]
    assert again.equals(there)


def test_equal_tables_do_not_differ_and_p_is_never_zero():
    first, _ = tables(3, 0)
    same = paired_difference(first, first).iloc[0]
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    better = paired_difference(first, first.assign(dice=first["dice"] + 0.1), resamples=199).iloc[0]
    assert better["p"] == pytest.approx(2 / 200)


def test_only_images_with_a_value_in_both():
    first = pd.DataFrame({"name": list("abc"), "dice": [0.1, np.nan, 0.3], "f2": [np.nan] * 3})
    second = pd.DataFrame({"name": list("abc"), "dice": [0.2, 0.9, np.nan], "f2": [1.0] * 3})
    dice, f2 = paired_difference(first, second).to_dict("records")
    assert (dice["mean_a"], dice["mean_b"], dice["images"]) == (0.1, 0.2, 1)
    assert f2["images"] == 0
    assert math.isnan(f2["difference"])
    assert math.isnan(f2["p"])


def test_tables_that_cannot_be_compared():
    first, second = tables(4, 0, count=5)

    def refuse(a, b, words, **options):
        refused(words, paired_difference, a, b, **options)

    refuse(first, second.query("name != 'image_2'"), r"1 in one of them alone, such as 'image_2'")
    refuse(pd.concat([first, first]), second, "'table_a' must name each image once")
    refuse(first, second.drop(columns="name"), "'table_b' must be a table with a column 'name'")
    refuse(first[:0], second[:0], "'table_a' must be a table")
    refuse("scores.csv", second, "'table_a' must be a table")
    refuse(first, second[["name", "true_area"]], "must share a column of numbers")
    changed = second.assign(true_area=second["true_area"] + 1e-3)
    refuse(first, changed, "true masks of 'image_0' that differ in area")
    first.attrs["summary"], second.attrs["summary"] = {"empty": "agree"}, {"empty": "medai"}
    refuse(first, second, "same policy for empty masks. Received: 'agree' and 'medai'")
    refuse(first, second, "'confidence'", confidence=0)
    refuse(first, second, "'resamples'", resamples=0)

import sys

import numpy as np
import pandas as pd
import pytest
from linear_batches import SIDE, Box, linear, noise, write
from refusals import refused
from scipy import ndimage

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation.benchmark import summarize_maps
from kerasgan.evaluation.context import context, relevance_between_objects, top_images

CONTEXT = sys.modules["kerasgan.evaluation.context"]  # the package's name is the function


def reaching(offset, own, far):
    """A kernel that sees a pixel, and another so many pixels to its right."""
    kernel = np.zeros((1, 2 * offset + 1))
    kernel[0, [offset, -1]] = own, far
    return kernel


def blurred_share(mask, part, width):
    null = ndimage.gaussian_filter(mask.astype(float), width, mode="constant")
    return null[part].sum() / null.sum()


def values(table, method):
    return table[table["method"] == method].set_index("metric")["value"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write(tmp_path_factory.mktemp("context"), noise(2))


def test_shares_of_a_linear_network(samples):
    """The gradient is the box, and half of it again six pixels to the right, two in the rim."""
    box = Box(left=2)
    table = context(
        linear(reaching(6, 1, 0.5)), samples, "gradient", target=box, rim=2, widths=(1, 3)
    )
    found = values(table, "gradient")
    for metric, wanted in (("inside", 36 / 54), ("rim", 6 / 54), ("outside", 12 / 54)):
        np.testing.assert_allclose(found[metric], wanted, rtol=1e-6)
    mask = box.mask
    outside = ndimage.distance_transform_edt(~mask) > 2
    nulls = {width: blurred_share(mask, outside, width) for width in (1, 3)}
    for width, null in nulls.items():
        np.testing.assert_allclose(found[f"excess over {width} px"], 12 / 54 - null, rtol=1e-6)
        control = values(table, f"target blurred {width} px")
        np.testing.assert_allclose(control["outside"], null, rtol=1e-6)
        np.testing.assert_allclose(control["excess"], 0, atol=1e-12)
        np.testing.assert_array_equal(control["blur"], width)
    best = found["blur"].iloc[0]
    np.testing.assert_allclose(found["excess"], 12 / 54 - nulls.get(best, 0), rtol=1e-6)
    assert (values(table, "target")["inside"] == 1).all()
    kinds = table.groupby("method")["kind"].first()
    assert kinds["target blurred 3 px"] == "control"
    summary = summarize_maps(table).set_index(["metric", "method"])
    assert summary.loc[("outside", "gradient"), "mean"] == pytest.approx(12 / 54)
    sums = table[table["metric"].isin(["inside", "rim", "outside"])]
    np.testing.assert_allclose(sums.groupby(["name", "method"])["value"].sum(), 1)


def test_blur_that_fits_best(samples):
    """A box filter of 5 by 5 is near a Gaussian of its standard deviation, 2 ** 0.5."""
    table = context(
        linear(np.ones((5, 5))),
        samples,
        "gradient",
        target=Box(),
        widths=(0.5, 1.4, 4),
        controls=False,
        verbose=False,
    )
    assert set(table["method"]) == {"gradient"}
    assert (values(table, "gradient")["blur"] == 1.4).all()
    assert (values(table, "gradient")["excess"].abs() < 0.02).all()
    assert (values(table, "gradient")["excess over 4 px"] < -0.1).all()


def test_targets_that_fill_the_frame_and_empty_ones(samples):
    model = linear([[1.0]])
    whole = Box(top=0, left=0, side=SIDE)
    table = context(model, samples, "gradient", target=whole, widths=[2], verbose=False)
    wanted = {"inside": 1, "rim": 0, "outside": 0, "excess": 0, "excess over 2 px": 0}
    for method in ("gradient", "random"):
        found = values(table, method)
        for metric, value in wanted.items():
            np.testing.assert_allclose(found[metric], value, atol=1e-12)
    with pytest.warns(KerasganWarning, match="empty in 2 of 2"):
        table = context(linear([[0.0]]), samples, widths=[2], verbose=False)
    assert table["value"].isna().all()
    assert (summarize_maps(table)["undefined"] == 2).all()


def test_images_that_deviate_most():
    rows = [
        (name, method, kind, metric, value)
        for method, kind, shift in (("epsilon", "rule", 0), ("random", "control", 9))
        for metric in ("excess", "outside")
        for name, value in (("a", 0.1), ("b", np.nan), ("c", 0.3), ("d", -0.2), ("e", 0.3 + shift))
    ]
    table = pd.DataFrame(rows, columns=["name", "method", "kind", "metric", "value"])
    found = top_images(table)
    assert found["name"].tolist() == ["c", "e", "a", "d"]
    assert set(found["method"]) == {"epsilon"}
    assert set(found["metric"]) == {"excess"}
    assert top_images(table, 1, method="random", metric="outside")["name"].tolist() == ["e"]
    both = table.assign(kind="rule")
    for arguments, options, message in (
        ((both,), {}, "'method' must name a method"),
        ((table, 0), {}, "'count' must be"),
        ((table,), {"method": "gamma"}, "must be of the table"),
        ((table,), {"metric": "mass"}, "must be of the table"),
        ((table.drop(columns="kind"),), {}, "must have the columns"),
        (([],), {}, "Received: list"),
    ):
        refused(message, top_images, *arguments, **options)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    images = np.zeros((4, SIDE, SIDE, 3))
    images[0, 4:10, 1:7] = images[0, 4:10, 9:15] = 255  # side by side
    images[0, 14, 3] = 255  # a speck
    images[1, 1:7, 1:7] = images[1, 9:15, 1:7] = 255  # one above the other
    images[2, 4:10, 1:7] = 255  # one alone
    return write(tmp_path_factory.mktemp("squares"), images)  # the last is black


def test_two_squares_of_which_one_is_seen_through_the_other(squares):
    """Of a logit of 3, 2 come from a pixel itself and 1 from eight to its right."""
    model = linear(reaching(8, 2, 1))
    table = relevance_between_objects(
        model, squares, "epsilon", rim=4, widths=[2], batch_size=3, verbose=False
    )
    first, second = squares.names[:2]
    assert set(table["name"]) == {first, second}
    assert table.attrs["images"] == 2
    assert set(table["object"]) == {0, 1}
    assert set(table["area"]) == {36}
    found = table[table["method"] == "epsilon"].pivot(
        index=["name", "object"], columns="metric", values="value"
    )
    shares = found[["own", "others", "beside", "elsewhere"]]
    for key, wanted in (
        ((first, 0), [2 / 3, 1 / 3, 0, 0]),  # what it sees to its right is the other
        ((first, 1), [1, 0, 0, 0]),  # to the right of it the frame ends
        ((second, 0), [2 / 3, 0, 1 / 9, 2 / 9]),  # background: two columns in the rim, four not
        ((second, 1), [2 / 3, 0, 1 / 9, 2 / 9]),
    ):
        np.testing.assert_allclose(shares.loc[key], wanted, atol=1e-5)
    left, right = np.zeros((2, SIDE, SIDE), bool)
    left[4:10, 1:7], right[4:10, 9:15] = True, True
    null = blurred_share(left, right, 2)
    assert found.loc[(first, 0), "excess over 2 px"] == pytest.approx(1 / 3 - null, abs=1e-5)
    control = table.query("method == 'target blurred 2 px' and metric == 'others' and object == 0")
    assert control.set_index("name").loc[first, "value"] == pytest.approx(null)
    summary = summarize_maps(table).set_index(["metric", "method"])
    row = summary.loc[("others", "epsilon")]
    assert (row["mean"], row["images"]) == (pytest.approx((1 / 6 + 0) / 2, abs=1e-5), 2)
    assert top_images(table, 1)["name"].tolist() == [first]


def test_objects_go_on_after_a_stop(squares, tmp_path, monkeypatch):
    model, folder = linear(reaching(8, 2, 1)), tmp_path / "kept"
    options = {"widths": [2], "batch_size": 1, "verbose": False}
    whole = relevance_between_objects(model, squares, **options)
    done = CONTEXT._object_rows
    seen = []

    def once(benchmark, batch, *rest):
        seen.append(batch.names)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return done(benchmark, batch, *rest)

    monkeypatch.setattr(CONTEXT, "_object_rows", once)
    with pytest.raises(KeyboardInterrupt):
        relevance_between_objects(model, squares, folder=folder, **options)
    again = relevance_between_objects(model, squares, folder=folder, **options)
    assert [names[0] for names in seen] == [*squares.names[:2], squares.names[1]]
    pd.testing.assert_frame_equal(again, whole)
    assert again.attrs["images"] == 2
    with pytest.raises(KerasganError, match="maps of other least"):
        relevance_between_objects(model, squares, folder=folder, least=1, **options)
    (folder / "batch_00000.csv").write_text("a,b\n1,2\n")
    with pytest.raises(KerasganError, match=r"batch_00000\.csv is damaged"):
        relevance_between_objects(model, squares, folder=folder, **options)


def test_specks_count_as_objects_if_asked(squares):
    model = linear(reaching(8, 2, 1))
    table = relevance_between_objects(
        model, squares, least=1, controls=False, batch_size=1, verbose=False
    )
    areas = table.groupby(["name", "object"])["area"].first()
    assert areas.loc[squares.names[0]].tolist() == [36, 36, 1]


def test_bad_arguments(squares, samples):
    model = linear(reaching(8, 2, 1))
    for options, message in (
        ({"least": 0}, "'least' must be"),
        ({"rim": 0}, "'rim' must be"),
        ({"widths": [0]}, "'widths' must be"),
        ({"target": "border"}, "'target' cannot be given"),
        ({"least": 37}, "two predicted objects of at least 37 pixels. Received: none in 4"),
    ):
        refused(message, relevance_between_objects, model, squares, **options, verbose=False)
    refused("'widths' must be", context, model, samples, widths=2)

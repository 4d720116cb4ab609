import numpy as np
import pytest
from linear_batches import SIDE, Box, linear, noise, write
from refusals import refused
from scipy import ndimage

from kerasgan.errors import KerasganWarning
from kerasgan.evaluation.benchmark import summarize_maps
from kerasgan.evaluation.context import context


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


def test_bad_arguments(samples):
    for options, message in (({"rim": 0}, "'rim' must be"), ({"widths": [0]}, "'widths' must be")):
        refused(message, context, linear([[1.0]]), samples, **options, verbose=False)
    refused("'widths' must be", context, linear([[1.0]]), samples, widths=2)

import numpy as np
import pytest
from linear_batches import SIDE, Box, linear, noise, write
from refusals import refused

from kerasgan.errors import KerasganWarning
from kerasgan.evaluation.benchmark import summarize_maps
from kerasgan.evaluation.localisation import localisation, mass_accuracy, top_share
from kerasgan.evaluation.regions import boundary_rim


def test_mass_by_hand():
    maps = np.array([[[4.0, 1.0, -8.0, 3.0]]])
    region = np.array([[[True, False, True, True]]])
    assert mass_accuracy(maps, region)[0] == 7 / 8
    assert mass_accuracy(maps, np.ones_like(region))[0] == 1
    assert np.isnan(mass_accuracy(maps, 0 * region > 0)[0])
    assert np.isnan(mass_accuracy(-np.abs(maps), region)[0])


def test_ties_count_by_their_chance():
    maps = np.array([[[5.0, 2.0, 2.0, 2.0, 0.0]]])
    region = np.array([[[False, True, True, False, True]]])
    # the second place goes to one of three pixels, two of them inside
    assert top_share(maps, region, 2)[0] == pytest.approx((0 + 2 / 3) / 2)
    draws = np.random.default_rng(0).uniform(size=(4000, 5)) * 1e-6
    jittered = top_share(maps + draws[:, None], np.repeat(region, 4000, 0), 2)
    assert jittered.mean() == pytest.approx(1 / 3, abs=0.02)
    assert top_share(0 * maps, region, 2)[0] == pytest.approx(3 / 5)
    assert np.isnan(top_share(maps, 0 * region > 0, 2)[0])


@pytest.fixture(scope="module")
def masks():
    found = np.zeros((3, SIDE, SIDE), bool)
    found[0, 4:10, 5:11] = True  # the target
    found[1, 7:10, 8:16] = True  # half on it
    return found  # the third is empty


@pytest.fixture(scope="module")
def samples(tmp_path_factory, masks):
    return write(tmp_path_factory.mktemp("localisation"), noise(), masks)


def test_gradient_of_a_linear_network(samples, masks):
    """The gradient of one pixel's own value is the target itself: 36 equal pixels, others 0."""
    table = localisation(
        linear([[1.0]]),
        samples,
        "gradient",
        target=Box(),
        region=["truth", "rim", "target"],
        rim=2,
        k=40,
        batch_size=2,
        verbose=False,
    )
    target = Box().mask
    regions = {"truth": masks, "rim": boundary_rim(masks, 2), "target": np.stack([target] * 3)}
    found = table.query("method == 'gradient'").pivot(
        index="metric", columns="name", values="value"
    )
    assert len(found) == 12
    for name, region in regions.items():
        for place, part in enumerate(region):
            inside, area = (part & target).sum(), part.sum()
            rest = (area - inside) / (SIDE**2 - 36)  # share of the zeros that lies inside

            def top(count, inside=inside, rest=rest):
                taken = min(count, 36)
                return (taken * inside / 36 + (count - taken) * rest) / count

            wanted = [inside / 36, top(area) if area else 0, top(1), top(40)]
            metrics = [f"{metric} in {name}" for metric in ("mass", "rank", "pointing", "top 40")]
            values = found.loc[metrics, found.columns[place]]
            np.testing.assert_allclose(values, wanted if area else [np.nan] * 4, atol=1e-9)
    summary = summarize_maps(table).set_index(["metric", "method"])
    assert summary.loc[("mass in truth", "gradient"), "undefined"] == 1
    same = summary.loc[("mass in target", "target"), "mean"]
    assert same == summary.loc[("mass in target", "gradient"), "mean"] == 1


def test_empty_targets_have_no_values(samples):
    with pytest.warns(KerasganWarning, match="empty in 3 of 3"):
        table = localisation(linear([[0.0]]), samples, "epsilon", region="truth", verbose=False)
    assert set(table["method"]) == {"epsilon", "gradient", "random", "edges", "target"}
    assert table["value"].isna().all()


def test_finished_batches_are_kept(samples, tmp_path):
    def call(k):
        return localisation(
            linear([[1.0]]), samples, k=k, batch_size=2, folder=tmp_path / "f", verbose=False
        )

    first = call(9)
    assert first.equals(call(9))
    refused("other k", call, 8)


def test_bad_arguments(samples, tmp_path):
    model = linear([[1.0]])
    unlabelled = write(tmp_path, noise(1))
    for options, message in (
        ({"region": "mask"}, "'region' must be one of truth, rim, target"),
        ({"rim": 0.5}, "'rim' must be"),
        ({"k": 0}, "'k' must be a whole number from 1 to 256"),
        ({"k": 257}, "'k' must be"),
        ({"samples": unlabelled}, "Pass region='target'"),
    ):
        refused(message, localisation, model, **{"samples": samples, **options}, verbose=False)

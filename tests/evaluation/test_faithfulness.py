import keras
import numpy as np
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan.errors import KerasganWarning
from kerasgan.evaluation.benchmark import ExplainedBatch, summarize_maps
from kerasgan.evaluation.faithfulness import CURVES, areas, faithfulness
from kerasgan.evaluation.removal import removal_curve

KERNEL = np.array([0.9, -0.6, -0.4])


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("faith"), count=3, size=32)


def network(bias):
    """Looks at each pixel alone, so that relevance is known."""
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    model.set_weights([KERNEL.reshape(1, 1, 3, 1), np.array([bias])])
    return model


def run(images):
    """The logits of such a network, of bias 1."""
    return (images @ KERNEL + 1)[..., None].astype(np.float32)


def values(table, metric, method="epsilon"):
    return table[(table["metric"] == metric) & (table["method"] == method)]["value"].to_numpy()


def by_hand(image, bias, steps, sign):
    """Areas below both curves, relevance w x on the target, the mean colour put in."""
    x = image.reshape(-1, 3).astype(np.float64)
    target = x @ KERNEL + bias > 0
    relevance = np.where(target, x @ KERNEL, 0)
    order = np.argsort(-sign * relevance, kind="stable")
    logits, dice = [], []
    for count in np.rint(np.linspace(0, len(x), steps + 1)).astype(int):
        altered = x.copy()
        altered[order[:count]] = x.mean(0)
        z = altered @ KERNEL + bias
        logits.append(z[target].mean())
        dice.append(2 * (target & (z > 0)).sum() / (target.sum() + (z > 0).sum()))
    curves = np.array([logits, dice]) / [[logits[0]], [dice[0]]]
    return (curves[:, 1:] + curves[:, :-1]).sum(1) / 2 / steps


def test_a_linear_network_has_the_areas_that_theory_says(samples):
    bias, steps = -0.45, 6
    images = np.concatenate([x.numpy() for x, _ in samples.batches(3, size=12, shuffle=False)])
    logits = images @ KERNEL + bias
    assert np.all((logits > 0).any((1, 2)) & (logits < 0).any((1, 2)))
    table = faithfulness(
        network(bias),
        samples,
        "epsilon",
        baseline="mean",
        steps=steps,
        curves=("pixels", "deletion"),
        controls=False,
        verbose=False,
    )
    most = np.array([by_hand(image, bias, steps, 1) for image in images])
    least = np.array([by_hand(image, bias, steps, -1) for image in images])
    for place, score in enumerate(("logit", "dice")):
        found = {part: values(table, f"pixels {score} {part}") for part in ("most", "least", "gap")}
        np.testing.assert_allclose(found["most"], most[:, place], atol=2e-4)
        np.testing.assert_allclose(found["least"], least[:, place], atol=2e-4)
        np.testing.assert_allclose(found["gap"], (least - most)[:, place], atol=4e-4)
        np.testing.assert_array_equal(values(table, f"deletion {score}"), found["most"])
    summary = summarize_maps(table).set_index("metric")
    assert summary.loc["pixels logit gap", "mean"] == pytest.approx((least - most)[:, 0].mean())


def test_exact_relevance_is_best_and_constant_maps_have_no_gap():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)

    logits = run(images)
    weights = (logits > 0).astype(np.float32)
    batch = ExplainedBatch(("a", "b"), images, None, logits, weights, run)
    exact = (images - images.mean((1, 2), keepdims=True)) @ KERNEL * weights[..., 0]
    found = areas(batch, exact, baseline="mean")
    rivals = {
        "random": rng.uniform(size=exact.shape),
        "target": weights[..., 0],
        "size": np.abs(exact),
    }
    for name, rival in rivals.items():
        other = areas(batch, rival, baseline="mean")
        assert np.all(found["pixels logit most"] < other["pixels logit most"]), name
        assert np.all(found["pixels logit least"] > other["pixels logit least"]), name
        assert np.all(found["pixels logit gap"] > other["pixels logit gap"] + 0.01), name
    flat = areas(batch, np.full(exact.shape, -0.3), curves=list(CURVES))
    gaps = [values for metric, values in flat.items() if metric.endswith("gap")]
    assert len(gaps) == 6
    assert not np.any(gaps)


def test_every_curve_by_name_and_its_own_baseline():
    pytest.importorskip("skimage", reason="an environment older than this dependency")
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    batch = ExplainedBatch(("a", "b"), images, None, run(images), np.ones((2, 32, 32, 1)), run)
    maps = rng.normal(size=(2, 32, 32))
    found = areas(batch, maps, curves=list(CURVES), baseline="noise", steps=4, seed=5)
    parts = {"pixels": 3, "regions": 3, "superpixels": 3, "deletion": 1, "insertion": 1}
    assert [metric.split()[0] for metric in found] == [
        name for name, count in parts.items() for _ in range(2 * count)
    ]
    options = {"steps": 4, "seed": 5}
    for metric, order, how in (
        ("pixels dice most", "most", {"baseline": "noise"}),
        ("regions logit least", "least", {"baseline": "noise", "units": "regions"}),
        ("superpixels dice most", "most", {"baseline": "noise", "units": "superpixels"}),
        ("deletion logit", "most", {"baseline": "mean"}),
        ("insertion logit", "least", {"baseline": "blur"}),
    ):
        curve = removal_curve(batch, maps, order, **how, **options)[1][metric.split()[1]]
        area = (curve[:, 0] / 2 + curve[:, 1:-1].sum(1) + curve[:, -1] / 2) / 4
        np.testing.assert_allclose(found[metric], area, err_msg=metric)
    assert len({tuple(area) for area in found.values()}) > 15


def test_controls_batches_and_going_on(samples, tmp_path):
    def call(batch_size=2, **changes):
        options = {"rules": "epsilon", "steps": 3, "baseline": "noise", "verbose": False}
        options.update(folder=tmp_path / "f", batch_size=batch_size)
        return faithfulness(network(-0.45), samples, **{**options, **changes})

    table, again = call(batch_size=3, folder=None), call()
    assert set(table["method"]) == {"epsilon", "gradient", "random", "edges", "target"}
    for metric in table["metric"].unique():
        for method in ("epsilon", "gradient", "random", "edges", "target"):
            np.testing.assert_allclose(
                values(table, metric, method), values(again, metric, method), rtol=1e-4, atol=1e-5
            )
    np.testing.assert_allclose(call()["value"], again["value"], rtol=1e-6)
    for other in ({"baseline": "mean"}, {"steps": 4}, {"curves": "regions"}):
        refused(f"other {next(iter(other))}", call, **other)


def test_empty_targets_are_counted_and_full_ones_are_defined(samples):
    options = {"controls": False, "verbose": False, "steps": 2}
    with pytest.warns(KerasganWarning, match="empty in 3 of 3 images"):
        table = faithfulness(network(-9.0), samples, **options)
    assert table["value"].isna().all()
    assert (summarize_maps(table)["undefined"] == 3).all()
    table = faithfulness(network(9.0), samples, **options)
    np.testing.assert_array_equal(values(table, "pixels dice most"), 1.0)  # all stays foreground
    assert np.isfinite(table["value"]).all()
    assert (values(table, "pixels logit gap") > 0).all()


def test_bad_arguments(samples):
    for arguments, message in (
        ({"curves": "pixel"}, "'curves' must be one of.*Did you mean 'pixels'"),
        ({"curves": ["pixels", "delete"]}, "'curves' must be one of.*Did you mean 'deletion'"),
        ({"curves": []}, "'curves' must name at least one curve"),
        ({"curves": ["pixels", "pixels"]}, "each once"),
        ({"baseline": "rod"}, "'baseline' must be one of.*Did you mean 'road'"),
        ({"steps": -1}, "'steps' must be a whole number from 1 up. Received: -1"),
    ):
        refused(message, faithfulness, network(0.0), samples, **arguments)

import keras
import numpy as np
import pytest
from linear_batches import SIDE, Box, linear, noise, write
from refusals import refused

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import summarize_maps
from kerasgan.evaluation.sanity import compare_models, random_logit, randomisation


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sanity"), noise())


def network():
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="low")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="high")(x)
    model = keras.Model(image, x)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for weight in layer.weights:
            normal = rng.normal(0, 0.4, weight.shape)
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if layer.name == "norm" else normal)
    return model


def by_method(table, metric):
    wide = table[table["metric"] == metric].pivot(index="name", columns="method", values="value")
    return wide.rename_axis(columns=None)


OPTIONS = {"target": Box(), "batch_size": 2, "verbose": False}


def test_each_stage_against_a_network_shuffled_by_hand(samples):
    model = network()
    before = model.get_weights()
    table = randomisation(model, samples, ["epsilon", "gradient"], **OPTIONS)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    names = ["high", "norm", "low"]
    stages = table.drop_duplicates(["order", "stage"])
    assert stages[["order", "stage", "layer"]].values.tolist() == [
        [order, stage, name]
        for order in ("cascade", "alone")
        for stage, name in enumerate(names, 1)
    ]
    for order, stage in (("cascade", 2), ("alone", 3)):
        other = network()
        for place in range(1, stage + 1) if order == "cascade" else [stage]:
            layer, rng = other.get_layer(names[place - 1]), np.random.default_rng([0, place - 1])
            layer.set_weights(
                [rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
            )
        compared = compare_models(model, other, samples, ["epsilon", "gradient"], **OPTIONS)
        for measure in ("rank correlation", "cosine"):
            metric = f"{measure}, {order} {stage} of 3: {names[stage - 1]}"
            found, wanted = by_method(table, metric), by_method(compared, measure)
            np.testing.assert_allclose(found, wanted[found.columns], atol=1e-5)
            assert (found[["epsilon", "gradient"]] < 0.999).all(axis=None)
            np.testing.assert_allclose(found[["edges", "random", "target"]], 1)
    summary = summarize_maps(table)
    row = summary.query("method == 'epsilon' and order == 'alone' and layer == 'low'").iloc[0]
    rows = table.query("method == 'epsilon' and order == 'alone' and layer == 'low'")
    rows = rows[rows["measure"] == row["measure"]]
    assert row["mean"] == pytest.approx(rows["value"].mean())


def test_shuffling_equal_weights_changes_nothing(samples):
    model = linear(np.full((3, 3, 3), 0.5))
    table = randomisation(model, samples, ["gradient", "epsilon"], controls=False, **OPTIONS)
    assert len(table) == 3 * 2 * 2 * 2
    np.testing.assert_allclose(table["value"], 1)


def test_layers_of_a_network_inside_are_shuffled_too(samples):
    inner = network()
    image = keras.Input((SIDE, SIDE, 3))
    table = randomisation(
        keras.Model(image, inner(image)), samples[[0]], orders="alone", controls=False, **OPTIONS
    )
    assert table["layer"].unique().tolist() == ["high", "norm", "low"]
    assert (table["value"] < 0.999).all()


def test_finished_batches_are_kept(samples, tmp_path):
    model = linear(np.arange(27.0).reshape(3, 3, 3))

    def call(orders):
        return randomisation(
            model, samples, controls=False, orders=orders, folder=tmp_path / "f", **OPTIONS
        )

    first, second = call(["cascade"]), call("cascade")
    assert first.equals(second)
    assert summarize_maps(first).equals(summarize_maps(second))
    refused("other orders", call, ["alone"])


def test_networks_compared_by_hand(samples):
    kernel = np.arange(9.0).reshape(3, 3)
    for factor, wanted in ((1, (1, 1, 0)), (2, (1, 1, 1)), (-1, (-1, -1, 2))):
        table = compare_models(
            linear(kernel), linear(factor * kernel), samples, "gradient", **OPTIONS
        )
        for metric, value in zip(("rank correlation", "cosine", "change"), wanted):
            found = by_method(table, metric)
            np.testing.assert_allclose(found["gradient"], value, atol=1e-6)
            same = 0 if metric == "change" else 1
            np.testing.assert_allclose(found[["edges", "random", "target"]], same, atol=1e-9)
    zero = compare_models(linear(kernel), linear(0 * kernel), samples, "gradient", **OPTIONS)
    assert by_method(zero, "cosine")["gradient"].isna().all()
    assert (by_method(zero, "change")["gradient"] == 1).all()


def test_another_place(samples):
    """The gradient of a pixel's own value is the target, which moves by 4 to 12 of 16 pixels."""
    table = random_logit(linear([[1.0]]), samples, "gradient", **OPTIONS)
    assert table["metric"].nunique() == 2
    found = by_method(table, "cosine, other place")
    np.testing.assert_allclose(found["gradient"], found["target"])
    assert found["target"].between(0, 4 / 36 + 1e-9).all()  # at most 2 by 2 pixels in common
    np.testing.assert_allclose(found[["edges", "random"]], 1)
    again = by_method(
        random_logit(linear([[1.0]]), samples, "gradient", **{**OPTIONS, "batch_size": 3}),
        "cosine, other place",
    )
    np.testing.assert_allclose(found, again)
    whole = {**OPTIONS, "target": Box(0, 0, SIDE)}
    table = random_logit(linear([[1.0]]), samples, "gradient", **whole)
    assert table["value"].isna().all()


def test_another_class(samples):
    kernel = np.array([[1.0, 2.0, 3.0], [-2.0, 0.0, 0.0]]).T.reshape(1, 1, 3, 2)
    table = random_logit(linear(kernel, classes=2), samples, "gradient", **OPTIONS)
    for metric in ("rank correlation, other class", "cosine, other class"):
        found = by_method(table, metric)
        np.testing.assert_allclose(found["gradient"], -1)
        np.testing.assert_allclose(found[["edges", "random", "target"]], 1)


def test_bad_arguments(samples):
    model = linear([[1.0]])
    image = keras.Input((SIDE, SIDE, 3))
    empty = keras.Model(image, keras.layers.AveragePooling2D(1)(image))
    with pytest.raises(KerasganError, match="'orders' must be one of cascade, alone"):
        randomisation(model, samples, orders=["casade"])
    with pytest.raises(KerasganError, match="must have weights to shuffle"):
        randomisation(empty, samples, target=kg.explain.targets.Pixel(1, 1))
    with pytest.raises(KerasganError, match="'other' must take images and give masks"):
        compare_models(model, linear(np.ones((1, 1, 3, 2)), classes=2), samples)

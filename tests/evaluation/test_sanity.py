import keras
import numpy as np
import pytest
from linear_batches import SIDE, Box, linear, noise, write
from scipy import stats

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplanationBenchmark, summarize_maps
from kerasgan.evaluation.sanity import random_logit, randomisation


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


def compared(model, other, samples):
    """How alike the maps of two networks are: images by rules."""
    rules = ["epsilon", "gradient"]
    one, two = (
        ExplanationBenchmark(each, samples, rules, controls=False, **OPTIONS)
        for each in (model, other)
    )
    found = {"rank correlation": [], "cosine": []}
    for batch in one:
        maps, others = dict(one.maps(batch)), dict(two.maps(batch))
        for index in range(len(batch.names)):
            pairs = [(maps[rule][index].ravel(), others[rule][index].ravel()) for rule in rules]
            found["rank correlation"].append([stats.spearmanr(*pair)[0] for pair in pairs])
            found["cosine"].append(
                [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
            )
    return found


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
        for measure, wanted in compared(model, other, samples).items():
            metric = f"{measure}, {order} {stage} of 3: {names[stage - 1]}"
            found = by_method(table, metric)
            np.testing.assert_allclose(found[["epsilon", "gradient"]], wanted, atol=1e-5)
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

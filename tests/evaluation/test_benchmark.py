import dataclasses
import functools
import json
import pathlib
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation.benchmark import (
    CONTROLS,
    ExplanationBenchmark,
    check_maps,
    named_rules,
    summarize_maps,
    target_scores,
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("benchmark"), count=5, size=32)


def network(bias=1.0):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    model.layers[-1].bias.assign([bias])
    return model


def measured(benchmark, function):
    benchmark.verbose = False
    return benchmark.table(benchmark.each(function))


def mass(batch, maps):
    return {"sum": maps.sum((1, 2)), "largest": maps.max((1, 2))}


def test_each_method_is_measured_on_each_image(samples):
    benchmark = ExplanationBenchmark(
        network(), samples, {"mine": kg.explain.Gamma(0.5)}, batch_size=2
    )
    table = measured(benchmark, mass)
    assert benchmark.methods == {"mine": "rule", "gradient": "control"} | dict.fromkeys(
        CONTROLS, "control"
    )
    assert len(table) == 5 * 5 * 2
    assert set(table["name"]) == set(samples.names)
    batch = np.concatenate([x.numpy() for x, _ in samples.batches(5, size=16)])
    e = kg.Explainer(network(), kg.explain.Gamma(0.5)).explain(batch)
    found = table.query("method == 'mine' and metric == 'sum'")["value"].to_numpy()
    np.testing.assert_allclose(found, e.relevance.sum((1, 2, 3)), rtol=1e-4)
    for size in (1, 5):  # controls do not depend on the batch
        again = measured(ExplanationBenchmark(network(), samples, batch_size=size), mass)
        for control in CONTROLS:
            same = [t[t["method"] == control]["value"].to_numpy() for t in (table, again)]
            np.testing.assert_array_equal(np.sort(same[0]), np.sort(same[1]))


def test_target_scores_by_hand():
    logits = np.array([2.0, -1.0, 3.0, 1.0]).reshape(1, 1, 4, 1)
    weights = np.array([1.0, 1.0, 0.0, 2.0]).reshape(1, 1, 4, 1)
    found = target_scores(logits, weights)
    assert found["logit"][0] == pytest.approx((2 - 1 + 2) / 4)
    assert found["dice"][0] == pytest.approx(2 * 2 / (3 + 3))
    classes = np.array([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]]).reshape(1, 1, 2, 3)
    wanted = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).reshape(1, 1, 2, 3)
    found = target_scores(classes, wanted)  # class 1 is not part of the target
    assert (found["logit"][0], found["dice"][0]) == (2.0, pytest.approx(2 / 3))
    nothing = target_scores(logits, 0 * weights)
    assert np.isnan([nothing["logit"][0], nothing["dice"][0]]).all()
    refused("must have the shape of the logits", target_scores, logits, weights[:, :, :2])


def test_empty_targets_are_counted_and_left_out(samples):
    def halves(batch, maps):
        empty = ~batch.region.any((1, 2))
        return {"share": np.where(empty, np.nan, 0.5)}

    benchmark = ExplanationBenchmark(network(bias=-9.0), samples, controls=False)
    with pytest.warns(KerasganWarning, match="empty in 5 of 5 images"):
        table = measured(benchmark, halves)
    row = summarize_maps(table).iloc[0]
    assert (row["images"], row["undefined"]) == (0, 5)
    assert np.isnan(row["mean"])


def test_a_stopped_call_goes_on_and_others_are_refused(samples, tmp_path):
    seen = []

    def counted(batch, maps):
        seen.append(batch.names)
        if len(seen) == 4 and not (tmp_path / "done").exists():
            raise KeyboardInterrupt
        return mass(batch, maps)

    def call(function, **options):
        options = {"controls": False, "batch_size": 2, "folder": tmp_path / "f", **options}
        benchmark = ExplanationBenchmark(network(), samples, ["epsilon", "gamma"], **options)
        return measured(benchmark, function)

    with pytest.raises(KeyboardInterrupt):
        call(counted)
    (tmp_path / "done").touch()
    seen.clear()
    table = call(counted)
    assert seen == [samples.names[2:4]] * 2 + [samples.names[4:]] * 2
    whole = call(mass, folder=None)
    assert whole.drop(columns="value").equals(table.drop(columns="value"))
    np.testing.assert_allclose(whole["value"], table["value"], rtol=1e-6)
    refused("holds the maps of other seed", call, mass, seed=1)
    (tmp_path / "f" / "batch_00000.csv").write_text("name,value\na,1\n")
    refused(r"batch_00000\.csv is damaged.*Delete it", call, mass)


def remade(samples, folder, change=lambda pixels: None):
    """The same samples elsewhere, with the pixels of the last mask changed."""
    root = pathlib.Path(samples.image_paths[0]).parents[1]
    moved = kg.data.load_folder(shutil.copytree(root, folder))
    pixels = np.asarray(Image.open(moved.mask_paths[-1])).copy()
    change(pixels)
    Image.fromarray(pixels).save(moved.mask_paths[-1])
    return moved


def test_kept_maps_are_of_everything_they_were_made_from(samples, tmp_path):
    """Each ingredient in turn is another one: the folder is refused, and the ingredient named."""
    pixel, mask = kg.targets.Pixel, np.zeros((16, 16))
    other = mask.copy()
    other[8, 8] = 1
    like = {"rules": {"mine": kg.explain.Composite((lambda x: True, kg.explain.Gamma(0.25)))}}
    like |= {"target": mask, "batch_size": 2, "controls": False}

    def open_folder(model=None, of=samples, facts=None, **options):
        options = {"folder": tmp_path / "f", **like, **options}
        benchmark = ExplanationBenchmark(model or network(), of, **options)
        return benchmark.cache_folder({"find": lambda image: image > 0} | (facts or {}))

    def redrawn(pixels):
        pixels[0, 0] = 255 - pixels[0, 0]

    open_folder()
    open_folder(of=remade(samples, tmp_path / "moved"))
    composite = kg.explain.Composite((lambda x: False, kg.explain.Gamma(0.25)))
    everything = [
        ("samples", {"of": remade(samples, tmp_path / "redrawn", redrawn)}),
        ("samples", {"of": samples[:4]}),
        ("samples", {"of": dataclasses.replace(samples, colors=((255,) * 3, (0,) * 3))}),
        ("samples", {"of": dataclasses.replace(samples, mask_paths=None)}),
        ("network", {"model": network(2.0)}),
        ("rules", {"rules": {"mine": kg.explain.Gamma(0.25)}}),
        ("rules", {"rules": {"mine": composite}}),
        ("target", {"target": other}),
        ("target", {"target": pixel(3, 4)}),
        ("target", {"target": pixel(3, 4) - kg.targets.Mask(mask)}),
        ("size", {"size": 8}),
        ("batch_size", {"batch_size": 3}),
        ("mode", {"mode": "letterbox"}),
        ("seed", {"seed": 1}),
        ("find", {"facts": {"find": lambda image: image > 1}}),
        ("more", {"facts": {"more": 1}}),
    ]
    for name, change in everything:
        refused(f"holds the maps of other {name}", open_folder, **change)
    refused("holds the maps of other controls, rules", open_folder, controls=True)


def test_each_target_has_its_own_numbers(samples, tmp_path):
    near, far = np.zeros((16, 16)), np.zeros((16, 16))
    near[8, 8], far[2, 3] = 1, 1
    options = {"controls": False, "verbose": False}
    call = functools.partial(kg.evaluation.localisation, network(), samples, "gamma", **options)
    expected = call(target=near)
    pd.testing.assert_frame_equal(call(target=near, folder=tmp_path / "c"), expected)
    pd.testing.assert_frame_equal(call(target=near, folder=tmp_path / "c"), expected)
    refused(f"other target: {tmp_path / 'c'}", call, target=far, folder=tmp_path / "c")


def test_a_folder_of_an_earlier_version_is_refused(samples, tmp_path):
    benchmark = ExplanationBenchmark(network(), samples, controls=False, folder=tmp_path / "f")
    benchmark.cache_folder()
    file = tmp_path / "f" / "explanations.json"
    for old in ({"samples": "5, 12ab", "target": "Mask(array=...)"}, {"format": 2, "keys": 1}):
        file.write_text(json.dumps(old))
        refused("of another version of kerasgan", benchmark.cache_folder)


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_a_folder_of_the_other_stack_is_refused(samples, tmp_path, package):
    benchmark = ExplanationBenchmark(network(), samples, controls=False, folder=tmp_path / "f")
    for _ in range(2):
        benchmark.cache_folder()
    file = tmp_path / "f" / "explanations.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), package: "2.14.0.1"}))
    refused(f"of another version of {package}", benchmark.cache_folder)


def test_summary_by_hand(samples):
    table = measured(ExplanationBenchmark(network(), samples, controls=False), mass)
    summary = summarize_maps(table).set_index("metric")
    values = table.query("metric == 'sum'")["value"]
    assert summary.loc["sum", "mean"] == pytest.approx(values.mean())
    assert values.min() <= summary.loc["sum", "low"] < summary.loc["sum", "high"] <= values.max()


def test_tables_of_several_questions_go_together():
    columns = ["name", "method", "kind", "metric", "value"]
    first = pd.DataFrame([("a", "epsilon", "rule", "mass", 0.5)], columns=columns)
    rows = [("a", "epsilon", "rule", "own", v, v) for v in (0.2, 0.6)]  # two objects of an image
    second = pd.DataFrame(rows, columns=[*columns, "object"]).assign(layer="up_1")
    both = summarize_maps(pd.concat([first, second], ignore_index=True)).set_index("metric")
    assert both["mean"].to_dict() == pytest.approx({"mass": 0.5, "own": 0.4})
    assert both["images"].tolist() == [1, 1]
    alone = summarize_maps(second)
    assert alone["layer"].tolist() == ["up_1"]  # one value for each metric; the object has several
    assert "object" not in alone


def test_bad_arguments(samples):
    any_size = keras.Input((None, None, 3))
    any_size = keras.Model(any_size, keras.layers.Conv2D(1, 1, activation="sigmoid")(any_size))
    for arguments, message in (
        ((network(), "folder"), "'samples' must be Samples"),
        ((network(), samples, "epsilom"), "Did you mean 'epsilon'"),
        ((network(), samples, ["epsilon", "epsilon"]), "must name every rule once"),
        ((network(), samples, {"random": "epsilon"}), "none named as a control"),
        ((network(), samples, []), "at least one rule"),
        ((any_size, samples), "'size' must be given"),
    ):
        refused(message, ExplanationBenchmark, *arguments)
    unlabelled = dataclasses.replace(samples, mask_paths=None)
    with pytest.raises(KerasganError, match="truth"):
        measured(ExplanationBenchmark(network(), unlabelled, target="false_negatives"), mass)
    images = np.zeros((2, 4, 4, 3))
    refused("must have the shape of the images", check_maps, np.zeros((2, 4, 3)), images, "mine")
    refused("'mine' hold NaN", check_maps, np.full((2, 4, 4), np.nan), images, "mine")
    assert named_rules(kg.explain.Epsilon()) == {repr(kg.explain.Epsilon()): kg.explain.Epsilon()}

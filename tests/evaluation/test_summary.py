import json
import math
import pathlib

import field_constants
import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused
from scipy import stats

from kerasgan.counts import SCORES, count, score
from kerasgan.data import load_folder
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation import (
    evaluate,
    evaluate_masks,
    paired_difference,
    summarize,
    summary_table,
    summary_text,
)
from kerasgan.inference import expected_calibration_error, iterate_probability


def patient(name):
    return name.split("_")[0]


def make(folder, seed, count=8, classes=1):
    """Samples of different sizes, of the patients p0 to p3, with noisy images of the masks."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        shape = tuple(rng.integers(3, 7, 2) * 4)
        coarse = rng.integers(0, 2 if classes == 1 else classes, (shape[0] // 4, shape[1] // 4))
        if index == 1:
            coarse[:] = 0
        mask = np.kron(coarse, np.ones((4, 4))).astype(np.uint8)
        noise = rng.normal(0, 60, (*shape, 3))
        image = np.clip(mask[..., None] * (120 if classes > 1 else 240) + noise, 0, 255)
        name = f"p{index % 4}_{index}.png"
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / name)
        scale = 1 if classes > 1 else 255
        Image.fromarray((mask * scale).astype(np.uint8)).save(folder / "masks" / name)
    return load_folder(folder, classes=classes)


def network(classes=1, size=16):
    rng = np.random.default_rng(5)
    image = keras.Input((size, size, 3))
    conv = keras.layers.Conv2D(classes, 1)
    last = "sigmoid" if classes == 1 else "softmax"
    model = keras.Model(image, keras.layers.Activation(last)(conv(image)))
    kernel = np.full((1, 1, 3, 1), 1.0) if classes == 1 else rng.normal(size=(1, 1, 3, classes))
    conv.set_weights([kernel.astype(np.float32), np.full(classes, 0.1, np.float32)])
    return model


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    return make(tmp_path_factory.mktemp("inside") / "data", 0)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    return make(tmp_path_factory.mktemp("outside") / "data", 1, count=12)


def masks_of(samples, seed=3):
    rng = np.random.default_rng(seed)
    truths = [samples.mask(index) for index in range(len(samples))]
    classes = max(2, samples.classes)
    return [
        np.where(rng.random(t.shape) < 0.2, rng.integers(0, classes, t.shape), t) for t in truths
    ]


def concatenated(samples, masks):
    truths = [samples.mask(index).ravel() for index in range(len(samples))]
    return np.concatenate(truths), np.concatenate([mask.ravel() for mask in masks])


@pytest.mark.parametrize("empty", ["agree", "medai", "nan"])
def test_pooled_scores_are_those_of_all_pixels(inside, empty):
    masks = masks_of(inside)
    summary = evaluate_masks(inside, masks, empty=empty).attrs["summary"]
    truth, found = concatenated(inside, masks)
    for name in SCORES:
        wanted = float(score(name, count(truth, found)))
        assert summary["pooled"][name]["value"] == pytest.approx(wanted)
        assert summary["pooled"][name]["low"] <= wanted <= summary["pooled"][name]["high"]
    assert "true_area" not in summary["pooled"]
    assert summary["pooled"]["dice"]["value"] != pytest.approx(summary["scores"]["dice"]["mean"])


def test_pooled_scores_of_several_classes_are_averaged_last(tmp_path):
    samples = make(tmp_path / "data", 2, classes=4)
    masks = masks_of(samples)
    pooled = evaluate_masks(samples, masks, scores="objects").attrs["summary"]["pooled"]
    truth, found = concatenated(samples, masks)
    wanted = [float(score("dice", count(truth == k, found == k))) for k in (1, 2, 3)]
    assert [pooled[f"dice_{k}"]["value"] for k in (1, 2, 3)] == pytest.approx(wanted)
    assert pooled["dice"]["value"] == pytest.approx(np.mean(wanted))
    assert {"object_f1", "object_f1_3"} <= set(pooled)


def test_pooled_scores_of_objects_are_those_of_all_objects(inside):
    masks = masks_of(inside)
    table = evaluate_masks(inside, masks, scores="objects", connectivity=4, empty="nan")
    pooled = table.attrs["summary"]["pooled"]
    found = (table["object_sensitivity"].fillna(0) * table["objects"]).sum()
    objects, false = table["objects"].sum(), table["false_positives_per_image"].sum()
    assert pooled["object_sensitivity"]["value"] == pytest.approx(found / objects)
    f1 = found / (objects / 2 + (found + false) / 2)
    assert pooled["object_f1"]["value"] == pytest.approx(f1)
    indices = table["panoptic_quality"] * (
        table["objects"]
        + table["object_sensitivity"].fillna(0) * table["objects"]
        + table["false_positives_per_image"]
    )
    assert pooled["panoptic_quality"]["value"] == pytest.approx(
        indices.sum() / (objects + found + false)
    )
    assert "false_positives_per_image" not in pooled


def test_intervals_over_groups_agree_with_scipy():
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 12, 14)
    patients = np.repeat(np.arange(14), sizes)
    values = np.clip(rng.normal(0.7, 0.15, 14)[patients] + rng.normal(0, 0.03, sizes.sum()), 0, 1)
    names = [f"{p}_{i}" for i, p in enumerate(patients)]
    table = pd.DataFrame({"name": names, "dice": values})
    of_patient = [values[patients == p] for p in range(14)]

    def mean(drawn):
        return np.concatenate([of_patient[p] for p in drawn]).mean()

    wanted = stats.bootstrap(
        (np.arange(14),),
        mean,
        n_resamples=8000,
        vectorized=False,
        method="percentile",
        random_state=0,
    ).confidence_interval
    got = summarize(table, groups=patient, resamples=8000)
    assert got["groups"] == 14
    assert got["scores"]["dice"]["mean"] == pytest.approx(values.mean())
    assert got["scores"]["dice"]["low"] == pytest.approx(wanted.low, abs=4e-3)
    assert got["scores"]["dice"]["high"] == pytest.approx(wanted.high, abs=4e-3)
    alone = summarize(table)["scores"]["dice"]
    assert got["scores"]["dice"]["low"] < alone["low"]
    each = summarize(table, groups=lambda name: name)["scores"]["dice"]
    assert (each["low"], each["high"]) == (alone["low"], alone["high"])


def test_one_image_or_one_group_has_no_interval(inside, outside):
    table = evaluate_masks(inside[:1], masks_of(inside)[:1], scores="objects")
    summary = table.attrs["summary"]
    for values in (*summary["scores"].values(), *summary["pooled"].values()):
        assert math.isnan(values["low"])
        assert math.isnan(values["high"])
    assert summary["scores"]["dice"]["mean"] == table["dice"][0]
    text = summary_text(table)
    assert "one image, which gives no interval" in text
    assert "[no interval]" in text
    assert "[nan" not in text
    found = evaluate(network(), {"one": inside[:1], "many": outside}, verbose=False)
    gap = found.attrs["summary"]["gaps"]["many"]["scores"]["dice"]
    assert math.isfinite(gap["difference"])
    assert math.isnan(gap["low"])

    names = [f"p{index}" for index in range(4)]
    dice = pd.DataFrame({"name": names, "dice": [0.5, 0.7, np.nan, np.nan]})
    assert math.isfinite(summarize(dice)["scores"]["dice"]["low"])
    grouped = summarize(dice, groups=lambda name: name < "p2")
    assert math.isnan(grouped["scores"]["dice"]["low"])
    (row,) = paired_difference(dice[:1], dice[:1].assign(dice=0.6)).to_dict("records")
    assert row["difference"] == pytest.approx(0.1)
    assert math.isnan(row["low"])
    assert math.isnan(row["p"])


def test_groups_reach_every_interval(inside):
    table = evaluate_masks(inside, masks_of(inside), groups=patient)
    plain = evaluate_masks(inside, masks_of(inside))
    grouped, alone = (each.attrs["summary"] for each in (table, plain))
    assert grouped["groups"] == 4
    assert grouped["scores"]["dice"]["mean"] == alone["scores"]["dice"]["mean"]
    assert grouped["scores"]["dice"]["low"] != alone["scores"]["dice"]["low"]
    assert grouped["pooled"]["dice"]["low"] != alone["pooled"]["dice"]["low"]
    assert "over 4 groups of images" in summary_text(table)
    other = evaluate_masks(inside, masks_of(inside, 9))
    by_image, by_patient = (paired_difference(plain, other, groups=g) for g in (None, patient))
    assert (by_image["difference"] == by_patient["difference"]).all()
    assert (by_image["low"] != by_patient["low"]).any()


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (lambda name: "one", "two groups or more"),
        (lambda name: [name], "hashable"),
        (lambda name: {}[name], "'groups' failed for 'p0_0': KeyError"),
        (lambda name: float("nan"), "'groups' must return the group of every .*nan for 'p0_0'"),
        (lambda name: (name, float("nan")), "a missing value"),
        (lambda name: None, "a missing value"),
        (lambda name: pd.NaT, "a missing value"),
        ("patient", "must be a function from the name"),
    ],
)
def test_groups_that_are_none_are_refused_before_anything_runs(inside, groups, words):
    refused(words, evaluate_masks, inside, iter([]), groups=groups)
    refused(words, evaluate, network(), inside, groups=groups, verbose=False)
    refused(words, evaluate, network(), {"here": inside}, groups=groups, verbose=False)


def test_the_gap_between_datasets(inside, outside):
    datasets = {"inside": inside, "other hospital": outside}
    table = evaluate(network(), datasets, verbose=False)
    assert list(table["dataset"]) == ["inside"] * 8 + ["other hospital"] * 12
    assert list(table["name"]) == [*inside.names, *outside.names]
    assert list(table)[:2] == ["dataset", "name"]
    summary = table.attrs["summary"]
    for name, samples in datasets.items():
        alone = evaluate(network(), samples, verbose=False)
        assert summary["datasets"][name] == alone.attrs["summary"]
        part = table[table["dataset"] == name].drop(columns="dataset").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone)
    assert list(summary["gaps"]) == ["other hospital"]
    gap = summary["gaps"]["other hospital"]
    assert gap["reference"] == "inside"
    first, second = (summary["datasets"][name] for name in datasets)
    for kind, value in (("scores", "mean"), ("pooled", "value")):
        for column in first[kind]:
            difference = second[kind][column][value] - first[kind][column][value]
            assert gap[kind][column]["difference"] == pytest.approx(difference)
    dices = [table["dice"][table["dataset"] == name].to_numpy() for name in datasets]
    wanted = stats.bootstrap(
        dices,
        lambda a, b, axis: b.mean(axis) - a.mean(axis),
        n_resamples=20_000,
        method="percentile",
        random_state=0,
    ).confidence_interval
    assert gap["scores"]["dice"]["low"] == pytest.approx(wanted.low, abs=0.02)
    assert gap["scores"]["dice"]["high"] == pytest.approx(wanted.high, abs=0.02)
    assert json.loads(json.dumps(summary)) == summary


def test_the_same_images_twice_have_a_gap_of_zero_with_an_interval(inside):
    with pytest.warns(KerasganWarning, match=r"'a' and 'b' share 8 images"):
        table = evaluate(network(), {"a": inside, "b": inside}, verbose=False)
    gap = table.attrs["summary"]["gaps"]["b"]["scores"]["dice"]
    assert gap["difference"] == 0
    assert gap["low"] < 0 < gap["high"]


def test_datasets_in_words_and_as_a_table(inside, outside):
    table = evaluate(network(), {"in": inside, "out": outside}, verbose=False, groups=patient)
    text = summary_text(table)
    assert text.splitlines()[0] == "in: 8 images, threshold 0.5, empty masks: agree"
    assert "out: 12 images" in text
    assert "gap: out - in" in text
    assert max(map(len, text.splitlines())) <= 72
    rows = summary_table(table)
    assert list(dict.fromkeys(rows["dataset"])) == ["in", "out", "out - in"]
    dice = rows[rows["score"] == "dice"].set_index("dataset")
    for kind in ("mean", "pooled"):
        assert dice[kind]["out - in"] == pytest.approx(dice[kind]["out"] - dice[kind]["in"])
    assert (dice["pooled_low"] < dice["pooled_high"]).all()
    one = summary_table(evaluate(network(), inside, verbose=False))
    assert "dataset" not in one
    assert one.set_index("score")["mean"]["dice"] == dice["mean"]["in"]
    assert math.isnan(one.set_index("score")["pooled"]["true_area"])
    refused("must come from evaluate", summary_table, pd.DataFrame({"dice": [1.0]}))


def test_shared_images_are_noticed_however_their_paths_are_spelt(inside, tmp_path, monkeypatch):
    folder = pathlib.Path(inside.image_paths[0]).parents[1]
    monkeypatch.chdir(folder.parent)
    (tmp_path / "link").symlink_to(folder)
    for spelt in (folder.name, f"{folder.name}/../{folder.name}", tmp_path / "link"):
        again = load_folder(spelt)
        with pytest.warns(KerasganWarning, match=r"'a' and 'b' share 8 images"):
            evaluate(network(), {"a": inside, "b": again}, verbose=False)


def test_infinite_scores_are_refused_by_column_and_image():
    table = pd.DataFrame({"name": ["a", "b"], "dice": [0.5, 1.0], "mine": [1.0, np.inf]})
    refused("inf in column 'mine' for 'b'", summarize, table)
    refused("-inf in column 'mine' for 1", summarize, -table[["mine"]])
    finite = table.assign(mine=1.0)
    for number, tables in (("a", (table, finite)), ("b", (finite, table))):
        refused(f"'table_{number}' .*column 'mine' for 'b'", paired_difference, *tables)


def test_what_a_summary_states_are_plain_numbers():
    table = pd.DataFrame({"dice": [0.5, 0.75]})
    draws = {"confidence": np.float32(0.5), "resamples": np.int64(9), "seed": np.int64(3)}
    summary = summarize(table, **draws)
    assert json.loads(json.dumps(summary)) == summary
    refused("'seed' must be a whole number", summarize, table, seed=-1)


def test_datasets_that_cannot_be_together_are_refused_by_name(inside, outside, tmp_path):
    labels = make(tmp_path / "labels", 2, classes=3)
    with pytest.raises(KerasganError, match=r"'inside' with classes=1 and 'far' with classes=3"):
        evaluate(network(), {"inside": inside, "far": labels}, verbose=False)
    unlabelled = load_folder(images=tmp_path / "labels" / "images", masks=None)
    for bad in (unlabelled, inside[:0], "folder"):
        with pytest.raises(
            KerasganError, match=r"samples\['far'\]' must be labelled|samples\[.far"
        ):
            evaluate(network(), {"inside": inside, "far": bad}, verbose=False)
    for bad in ({}, {1: inside}, {None: inside}, {" ": inside}):
        refused("'samples' must", evaluate, network(), bad, verbose=False)
    refused("classes of the network", evaluate, network(), {"far": labels}, verbose=False)


@pytest.mark.parametrize("classes", [1, 3])
def test_calibration(classes, tmp_path):
    samples = make(tmp_path / "data", 6, classes=classes)
    model = network(classes)
    table = evaluate(model, samples, scores="calibration", groups=patient, verbose=False)
    maps = list(iterate_probability(model, samples))
    truths = [samples.mask(index) for index in range(len(samples))]
    briers = []
    for truth, probability in zip(truths, maps):
        if classes == 1:
            briers.append(np.mean((probability[..., 0] - truth) ** 2))
        else:
            briers.append(np.mean(((probability - np.eye(3)[truth]) ** 2).sum(-1)))
    np.testing.assert_allclose(table["brier"], briers, rtol=1e-5)
    each = [expected_calibration_error([t], [p]) for t, p in zip(truths, maps)]
    np.testing.assert_allclose(table["ece"], [one.error for one in each])
    whole = expected_calibration_error(truths, maps)
    summary = table.attrs["summary"]
    pixels = [truth.size for truth in truths]
    assert summary["pooled"]["ece"]["value"] == pytest.approx(whole.error)
    assert summary["pooled"]["ece"]["low"] < whole.error
    assert summary["pooled"]["brier"]["value"] == pytest.approx(np.average(briers, weights=pixels))
    assert whole.brier == pytest.approx(np.average(briers, weights=pixels))
    np.testing.assert_allclose(summary["reliability"]["accuracy"], whole.table["accuracy"])
    assert summary["reliability"]["pixels"] == whole.table["pixels"].tolist()
    for name in ("calibration", "brier"):
        with pytest.raises(KerasganError, match=f"'{name}', which needs probabilities"):
            evaluate_masks(samples, truths, scores=name)


def test_pixels_must_be_of_every_row():
    table = pd.DataFrame({"name": ["a", "b"], "dice": [0.5, 1.0]})
    refused("'pixels' must hold one number for each row", summarize, table, pixels=[4])
    assert summarize(table)["pooled"] == {}
    refused("column 'name'", summarize, table[["dice"]], groups=patient)


def test_brier_against_scikit_learn_and_metrics_reloaded():
    labels, binary, several = field_constants.probabilities()
    got = [
        expected_calibration_error([truth], [probability]).brier
        for truth, probability in (((labels == 1).astype(int), binary), (labels, several))
    ]
    field = pathlib.Path(__file__).with_name("field.json").read_text(encoding="utf-8")
    assert got == pytest.approx(json.loads(field)["brier"], abs=1e-8)

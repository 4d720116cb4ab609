import dataclasses
import json
import pathlib
import threading

import keras
import numpy as np
import pandas as pd
import pytest
from refusals import refused

from kerasgan.data import load_folder, synthetic
from kerasgan.errors import KerasganError
from kerasgan.evaluation import (
    by_group,
    cross_validate,
    evaluate,
    paired_difference,
    summarize,
    summary_text,
    worst,
)


def patient(name):
    return name.split("_")[0]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Images of the patients a to f, of one to four images each."""
    folder = tmp_path_factory.mktemp("data")
    drawn = synthetic.write_dataset(folder / "drawn", count=15, size=32)
    letters = "aabbbccccdeefff"
    names = [f"{letter}_{index:02}" for index, letter in enumerate(letters)]
    for old, new in zip(drawn.names, names):
        for part in ("images", "masks"):
            file = folder / "drawn" / part / f"{old}.png"
            file.rename(file.with_name(f"{new}.png"))
    return load_folder(folder / "drawn")


def network(bias=0.0):
    image = keras.Input((32, 32, 3))
    kernel = np.array([3, -3, 0], np.float32).reshape(1, 1, 3, 1)
    conv = keras.layers.Conv2D(1, 1)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(conv(image)))
    conv.set_weights([kernel, np.array([bias])])
    return model


class Fit:
    """Notes what it is given; the model depends on how many images it was given."""

    def __init__(self, stop=None):
        self.calls, self.stop = [], stop

    def __call__(self, training, validation, folder):
        if len(self.calls) == self.stop:
            raise KeyboardInterrupt
        names = validation.names if validation is not None else None
        self.calls.append((training.names, names, folder))
        return network(bias=-len(training.names) / 10)


def held_out(table):
    return {label: set(part["name"]) for label, part in table.groupby("fold")}


WAYS = {
    "five folds": {},
    "three folds": {"folds": 3},
    "one patient out": {"groups": patient},
    "three folds of patients": {"folds": 3, "groups": patient},
}


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_leaks(samples, way, fraction):
    fit = Fit()
    table = cross_validate(samples, fit, fraction=fraction, verbose=False, **WAYS[way])
    assert list(table["name"]) == list(samples.names)
    parts = held_out(table)
    assert len(parts) == len(fit.calls) == {"five folds": 5, "one patient out": 6}.get(way, 3)
    for (training, validation, folder), label in zip(fit.calls, sorted(parts)):
        validation = set(validation or ())
        assert folder is None
        assert bool(validation) == bool(fraction)
        assert not set(training) & parts[label]
        assert not validation & parts[label]
        assert not validation & set(training)
        assert validation | set(training) | parts[label] == set(samples.names)
        if "groups" in WAYS[way]:
            patients = {patient(name) for name in training}
            assert not patients & set(map(patient, parts[label]))
            if fraction == 0.3:
                assert not patients & set(map(patient, validation))


def test_each_image_is_scored_by_the_model_of_its_fold(samples):
    fit = Fit()
    table = cross_validate(samples, fit, groups=patient, fraction=0, surface=True, verbose=False)
    for letter, (training, _, _) in zip("abcdef", fit.calls):
        _, part = samples.split_groups(patient, letter)
        alone = evaluate(network(-len(training) / 10), part, surface=True, verbose=False)
        mine = table[table["fold"] == letter].drop(columns="fold").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone)
    assert table["jaccard"].nunique() > 5


def test_the_summary_is_over_images_and_of_each_fold(samples):
    table = cross_validate(samples, Fit(), folds=3, empty="nan", threshold=0.4, verbose=False)
    summary = table.attrs["summary"]
    assert (summary["images"], summary["empty"], summary["threshold"]) == (15, "nan", 0.4)
    assert summary["scores"] == summarize(table)["scores"]
    means = by_group(table, "fold").set_index("group")
    assert list(summary["folds"]) == ["1", "2", "3"]
    for label, fold in summary["folds"].items():
        assert fold["images"] == means["images"][label]
        assert fold["scores"]["dice"] == pytest.approx(means["dice"][label])
    lines = summary_text(table).splitlines()
    assert lines[0] == "15 images, 3 folds, threshold 0.4, empty masks: nan"
    (dice,) = (line for line in lines if line.startswith("dice "))
    assert dice.endswith(f"folds {means['dice'].min():.3f} to {means['dice'].max():.3f}")
    assert max(map(len, lines)) <= 72
    assert samples[worst(table, 2).index].names == tuple(worst(table, 2)["name"])
    other = cross_validate(samples, lambda *_: network(), folds=5, empty="nan", verbose=False)
    assert paired_difference(table, other)["images"].max() == 15


def test_the_division_depends_on_the_seed(samples):
    divisions = [
        held_out(cross_validate(samples, Fit(), folds=3, seed=seed, verbose=False))
        for seed in (0, 0, 1)
    ]
    assert divisions[0] == divisions[1] != divisions[2]


def test_a_stopped_run_goes_on_fold_by_fold(samples, tmp_path, capsys):
    folder = tmp_path / "new" / "cross"
    options = {"folds": 4, "folder": folder, "surface": True, "setup": {"filters": 2}}
    with pytest.raises(KeyboardInterrupt):
        cross_validate(samples, Fit(stop=2), **options)
    assert "Fold 3 of 4, held out: 3, " in capsys.readouterr().out
    fit = Fit()
    table = cross_validate(samples, fit, **options)
    assert [call[2] for call in fit.calls] == [folder / "fold_3", folder / "fold_4"]
    assert all(call[2].is_dir() for call in fit.calls)
    whole = cross_validate(samples, Fit(), folds=4, surface=True, verbose=False)
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    assert table.attrs == whole.attrs
    again = Fit()
    read = cross_validate(samples, again, **options)
    assert again.calls == []
    pd.testing.assert_frame_equal(read, whole, check_exact=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folds": 4}, "folds"),
        ({"seed": 1}, "folds, seed"),
        ({"fraction": 0.2}, "fraction"),
        ({"setup": {"filters": 4}}, "setup"),
        ({"threshold": 0.3}, "options"),
        ({"groups": patient}, "folds"),
    ],
)
def test_a_folder_of_another_setup_is_refused(samples, tmp_path, change, words):
    options = {"folds": 3, "folder": tmp_path / "cross", "verbose": False, "setup": {"filters": 2}}
    cross_validate(samples, Fit(), **options)
    fit = Fit()
    with pytest.raises(KerasganError, match=f"holds the folds of other {words}: "):
        cross_validate(samples, fit, **{**options, **change})
    assert fit.calls == []


def test_a_folder_of_other_samples_is_refused(samples, tmp_path):
    options = {"folds": 3, "folder": tmp_path / "cross", "verbose": False}
    cross_validate(samples, Fit(), **options)
    with pytest.raises(KerasganError, match="holds the folds of other samples, folds"):
        cross_validate(samples[:-1], Fit(), **options)
    mask = pathlib.Path(samples.mask_paths[0])
    content = mask.read_bytes()
    try:
        mask.write_bytes(content + b"\0")
        refused("holds the folds of other samples: ", cross_validate, samples, Fit(), **options)
    finally:
        mask.write_bytes(content)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("")
    with pytest.raises(KerasganError, match="must be new, empty, or of an earlier call"):
        cross_validate(samples, Fit(), folder=tmp_path / "full")


def test_a_damaged_folder_is_named(samples, tmp_path):
    options = {"folds": 3, "folder": tmp_path, "verbose": False}
    cross_validate(samples, Fit(), **options)
    scores = tmp_path / "fold_2" / "scores.csv"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(KerasganError, match=r"scores\.csv is damaged: 4 rows for 5 images"):
        cross_validate(samples, Fit(), **options)
    scores.write_text("")
    refused(r"scores\.csv is damaged.*Delete it", cross_validate, samples, Fit(), **options)
    scores.unlink()
    fit = Fit()
    cross_validate(samples, fit, **options)
    assert len(fit.calls) == 1
    (tmp_path / "cross_validation.json").write_text("{")
    refused(r"no damaged cross_validation\.json", cross_validate, samples, Fit(), **options)


def test_names_that_a_spreadsheet_would_run_come_back(samples, tmp_path):
    strange = dataclasses.replace(samples, names=tuple(f"=1+{name}" for name in samples.names))
    options = {"folds": 2, "folder": tmp_path, "verbose": False}
    first, again = (cross_validate(strange, Fit(), **options) for _ in range(2))
    assert list(again["name"]) == list(strange.names)
    pd.testing.assert_frame_equal(first, again)
    assert json.loads((tmp_path / "cross_validation.json").read_text())["seed"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 1}, "'folds' must be a whole number from 2 to 15"),
        ({"folds": 16}, "from 2 to 15. Received: 16"),
        ({"folds": 2.0}, "'folds' must be"),
        ({"folds": 7, "groups": patient}, "from 2 to 6. Received: 7"),
        ({"groups": lambda name: {"none": 1}[name]}, r"'groups' failed for '.*KeyError"),
        ({"groups": lambda name: "one"}, r"into two groups or more. Received: \['one'\] for all"),
        ({"fraction": 1}, "'fraction' must be a finite number from 0 up and below 1. Received: 1"),
        ({"fraction": -0.1}, "'fraction' must be"),
        ({"fraction": "a"}, "'fraction' must be"),
        ({"empty": "one"}, "'empty' must be one of"),
        ({"treshold": 0.3}, "'options' must be one of threshold.* Did you mean 'threshold'"),
        (
            {"setup": threading.Lock(), "folder": "new"},
            r"'folder' cannot be used with this 'setup': the content of a _thread\.lock cannot",
        ),
    ],
)
def test_bad_input(samples, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit = Fit()
    refused(words, cross_validate, samples, fit, verbose=False, **options)
    assert fit.calls == []
    assert list(tmp_path.iterdir()) == []


def test_fit_must_give_a_model(samples):
    for returned, words in ((None, "'fit' must return the model"), ("model", "'model' must be")):
        with pytest.raises(KerasganError, match=words):
            cross_validate(samples, lambda *_, model=returned: model, folds=2, verbose=False)
    refused("'samples' must be labelled Samples", cross_validate, "folder", Fit())

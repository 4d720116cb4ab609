import json
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
from refusals import refused
from report_pages import decode, network, read, write_images

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.report import model_results
from kerasgan.report.charts import against
from kerasgan.report.collect import collect
from kerasgan.report.page import signed
from kerasgan.report.significance import assess_difference

HOSTILE = ["<script>alert(1)</script>", "=cmd()|'A1'\"onerror='x' b", "@{{ 7*7 }}\ty"]


def write(models, samples, folder, **options):
    options = {"rules": ["epsilon"], "images": 2, "verbose": False, **options}
    return kg.report.compare(models, samples, folder, **options)


@pytest.fixture(scope="module")
def models():
    return {"small": network(size=16, seed=1), "large": network(seed=2), "other": network(seed=3)}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(8)])


@pytest.fixture(scope="module")
def report(models, samples, tmp_path_factory):
    return write(models, samples, tmp_path_factory.mktemp("out") / "report", images=4)


def test_scores_and_differences_are_those_of_evaluate_and_compare(report, models, samples):
    tables = {name: kg.evaluate(m, samples, verbose=False) for name, m in models.items()}
    kept = pd.read_csv(report.parent / "differences.csv")
    for other in ("large", "other"):
        wanted = kg.evaluation.paired_difference(tables["small"], tables[other]).set_index("score")
        part = kept[kept["model_b"] == other].set_index("score")
        columns = ["mean_a", "mean_b", "difference", "low", "high", "p", "images"]
        pd.testing.assert_frame_equal(part.loc[wanted.index, columns], wanted, rtol=1e-12)
    assert set(kept["model_a"]) == {"small"}
    summary = pd.read_csv(report.parent / "summary.csv").set_index(["model", "score"])
    dice = tables["large"].attrs["summary"]["scores"]["dice"]
    assert summary.loc[("large", "dice"), "high"] == pytest.approx(dice["high"])
    images = pd.read_csv(report.parent / "images.csv")
    np.testing.assert_allclose(images["dice of other"], tables["other"]["dice"], rtol=1e-12)
    apart = tables["other"]["dice"] - tables["small"]["dice"]
    np.testing.assert_allclose(images["dice of other less small"], apart, atol=1e-12)
    each = pd.concat([table["dice"] for table in tables.values()], axis=1)
    np.testing.assert_allclose(images["spread"], each.max(axis=1) - each.min(axis=1), atol=1e-12)
    page = read(report)
    (row,) = page.all("tr", id="row-3")
    assert f"{tables['large']['dice'][3]:.3f}" in row[2]
    assert signed(apart[3], 3) in row[2]
    tiles = [e[2] for e in page.all("span", class_="figure")]
    assert tiles == [f"{table['dice'].mean():.2f}" for table in tables.values()]
    sizes = pd.read_csv(report.parent / "by_size.csv")
    pd.testing.assert_series_equal(
        sizes[sizes["model"] == "other"]["dice"].reset_index(drop=True),
        kg.evaluation.by_size(tables["other"])["dice"],
    )


def test_agreement_is_the_dice_score_between_masks(report, models, samples):
    masks = {name: kg.predict(model, samples) for name, model in models.items()}
    kept = pd.read_csv(report.parent / "agreement.csv").set_index(["model_a", "model_b", "name"])
    assert len(kept) == 3 * 8
    for (a, b, name), row in kept.iterrows():
        one, other = (masks[each][samples.names.index(name)] for each in (a, b))
        sizes = one.sum() + other.sum()
        wanted = 2 * (one & other).sum() / sizes if sizes else 1.0
        assert row["dice"] == pytest.approx(wanted)
    images = pd.read_csv(report.parent / "images.csv").set_index("name")
    means = kept["dice"].groupby("name").mean()
    np.testing.assert_allclose(images["agreement"], means.loc[images.index])


def test_failures_and_calibration_are_those_of_each_model(report, models, samples):
    page = read(report)
    found = {name: collect(model, samples, verbose=False) for name, model in models.items()}
    text = page.text("section", id="calibration")
    errors = [f"{one.calibration.error:.3f}" for one in found.values()]
    each = [f"{letter} {name} {error}" for letter, name, error in zip("ABC", models, errors)]
    assert " ".join(each) in text
    tables = [one.table for one in found.values()]
    held = [table["finding"].str.contains("false positive") for table in tables]
    counts = [int(one.sum()) for one in held] + [int(np.logical_and.reduce(held).sum())]
    assert sum(counts) > 0
    rows = [" ".join(row[2].split()) for row in page.all("tr")]
    wanted = f"false positive {' '.join(map(str, counts))} "
    assert [row for row in rows if row.startswith(wanted)]
    missed = [f"{table['missed'].sum()} of {table['objects'].sum()}" for table in tables]
    assert [row for row in rows if f" {' '.join(missed)} " in row]


def test_every_case_shows_every_model_at_one_place(report, models, samples):
    page = read(report)
    rows = pd.read_csv(report.parent / "images.csv")
    articles = page.all("article")
    assert len(articles) == 4
    scripts = [json.loads(e[2]) for e in page.all("script", class_="maps")]
    assert len(scripts) == 12
    explainers = [kg.Explainer(model, "epsilon") for model in models.values()]
    for number, article in enumerate(articles):
        (name,) = set(rows["name"]) & set(article[2].split())
        image = samples[samples.names.index(name)]
        for place, (title, explainer) in enumerate(zip(models, explainers)):
            assert title in article[2]
            size = explainer.model.input_shape[1]
            entry = scripts[3 * number + place][0]
            assert (entry["height"], entry["width"]) == (size, size)
            e = explainer.explain(next(iter(image.batches(1, size=size)))[0])
            strongest = np.percentile(np.abs(e.relevance.sum(-1)), 99.5)
            assert entry["limit"] == pytest.approx(strongest, rel=1e-4)
    spread = rows.set_index("name")["spread"]
    shown = [next(n for n in rows["name"] if n in article[2].split()) for article in articles]
    assert spread[shown[0]] == spread.max()
    assert spread[shown[2]] == spread.drop(shown[:2]).min()


def test_the_page_is_sound(report):
    page = read(report)
    page.check_closed()
    page.check_reachable(scopes=("col", "row", "rowgroup"))


def test_significance():
    row = {"difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.02, "images": 40}
    assert assess_difference(row).level == "significant"
    assert assess_difference(row).text.startswith("Higher")
    lower = assess_difference({**row, "difference": -0.1, "low": -0.2, "high": -0.05})
    assert lower.text.startswith("Lower")
    assert assess_difference(row, comparisons=2).level == "significant"
    uncorrected = assess_difference(row, comparisons=3)
    assert uncorrected.level == "uncorrected"
    assert assess_difference({**row, "low": -0.01}).level == "not significant"
    # Five images of one sign come up by chance once in 16 times, six once in 32.
    assert assess_difference({**row, "images": 5}).level == "too few"
    assert assess_difference({**row, "images": 6}).level == "significant"
    assert assess_difference({**row, "images": 6}, comparisons=2).level == "too few"
    assert assess_difference({**row, "images": 1}).level == "too few"
    assert (
        assess_difference({**row, "difference": 0.0, "low": 0.0, "high": 0.0}).level == "identical"
    )
    assert assess_difference({**row, "difference": np.nan, "images": 0}).level == "too few"


def test_which_cases_are_shown():
    pairs = [(0.9, 0.9), (0.2, 0.8), (0.1, 0.3), (0.5, 0.6), (0.7, 0.2), (np.nan, 0.1)]
    rows = [{"agreement": 1.0, "scores": pair, "spread": max(pair) - min(pair)} for pair in pairs]
    chosen = model_results.choose_images(rows, 4)
    assert chosen == [(1, "apart"), (4, "apart"), (0, "alike"), (2, "hard")]
    assert sorted(index for index, _ in model_results.choose_images(rows, 40)) == list(range(6))
    assert model_results.choose_images(rows[:1], 40) == [(0, "apart")]
    unlabelled = [{"agreement": value} for value in (0.5, 1.0, 0.0)]
    assert model_results.choose_images(unlabelled, 2) == [(2, "apart"), (1, "alike")]


def test_a_packed_mask_is_the_mask():
    for mask in (np.eye(5, 7, dtype=bool), np.arange(12).reshape(3, 4) % 5):
        np.testing.assert_array_equal(model_results.compress_mask(mask).decompress(), mask)


def test_agreement_of_several_classes_is_a_mean():
    mask, other = np.array([[0, 1, 2, 2]]), np.array([[1, 1, 2, 0]])
    assert model_results.agreement(mask, other, 3) == pytest.approx(2 / 3)
    assert model_results.agreement(0 * mask, 0 * mask, 3) == 1


def test_dots_stand_on_the_line_where_models_are_equal():
    equal = pd.Series([0.7, 0.9, np.nan])
    drawn = against(equal, equal, ["a", "b", "c"])
    (line,) = drawn.lines
    slope = (line["y2"] - line["y1"]) / (line["x2"] - line["x1"])
    assert [mark["index"] for mark in drawn.marks] == [0, 1]
    for mark in drawn.marks:
        wanted = line["y1"] + slope * (mark["cx"] - line["x1"])
        assert mark["cy"] == pytest.approx(wanted, abs=0.11)
    assert [text for _, text in drawn.x] == ["0.6", "0.7", "0.8", "0.9", "1"]


def test_one_model_under_two_names(models, samples, tmp_path):
    twice = {"a": models["large"], "b": models["large"]}
    with pytest.warns(kg.KerasganWarning, match="'a' and 'b' have the same weights"):
        path = write(twice, samples, tmp_path / "same_weights")
    page = read(path)
    assert "a and b have the same weights" in page.text("section", id="short")
    kept = pd.read_csv(path.parent / "differences.csv")
    assert (kept["difference"] == 0).all()
    assert len(page.all("td", class_="conclusion identical")) == 7
    assert (pd.read_csv(path.parent / "agreement.csv")["dice"] == 1).all()


def test_one_image(models, samples, tmp_path):
    two = {name: models[name] for name in ("small", "large")}
    path = write(two, samples[2], tmp_path / "one", images=40)
    page = read(path)
    assert len(page.all("article")) == 1
    levels = {e[1]["class"] for e in page.all("td") if "conclusion" in e[1].get("class", "")}
    assert levels <= {"conclusion too-few", "conclusion identical"}
    assert "conclusion too-few" in levels


def test_no_true_masks(models, samples, tmp_path):
    folder = pathlib.Path(samples.image_paths[0]).parents[1]
    path = write(models, kg.data.load_folder(folder, masks=None), tmp_path / "report")
    page = read(path)
    sections = {e[1].get("id") for e in page.all("section")}
    assert not sections & {"scores", "differences", "size", "failures", "calibration"}
    assert page.all("p", class_="note")
    assert "Dice A" not in page.text("table", id="table")
    page.check_reachable(scopes=("col", "row", "rowgroup"))
    images = pd.read_csv(path.parent / "images.csv")
    areas = [mask.mean() for mask in kg.predict(models["large"], samples)]
    np.testing.assert_allclose(images["predicted area of large"], areas)
    assert {path.name for path in path.parent.iterdir()} == {
        "index.html", "images.csv", "models.csv", "agreement.csv", "report.json"
    }  # fmt: skip


def test_hostile_names(models, samples, tmp_path):
    many = dict(zip(HOSTILE, models.values()))
    path = write(many, samples[:2], tmp_path / "report", images=1, title="</h1><b>x</b>")
    page = read(path)
    assert len(page.all("script")) == len(HOSTILE) + 2
    assert not page.all("b")
    assert not [e for e in page.elements if any(name.startswith("on") for name in e[1])]
    heads = {" ".join(e[2].split()) for e in page.all("h5")}
    shown = ["A <script>alert(1)</script>", "B =cmd()|'A1'\"onerror='x' b", "C @{{ 7*7 }}\ufffdy"]
    assert heads == set(shown)
    for file in ("models", "summary"):
        kept = pd.read_csv(path.parent / f"{file}.csv")["model"].tolist()
        assert not [name for name in kept if name.startswith(tuple("=+-@\t"))]
    with pytest.raises(KerasganError, match="names that read differently"):
        write({"a\u202e": models["small"], "a\u202d": models["small"]}, samples, tmp_path / "b")
    for name in ("", " ", 3):
        with pytest.raises(KerasganError, match="must name every model, by text"):
            write({name: models["small"], "b": models["large"]}, samples, tmp_path / "b")


def test_models_that_do_not_fit(models, samples, tmp_path):
    folder = tmp_path / "report"
    one, two = models["large"], models["other"]
    for wrong in ({"a": one}, [one, one], {}, dict.fromkeys(map(str, range(11)), one)):
        refused("'models' must be a dict from names to models, 2", write, wrong, samples, folder)
    with pytest.raises(KerasganError, match=r"models of 1 classes.*'b' of 3"):
        write({"a": one, "b": network(classes=3)}, samples, folder)
    five = keras.Input((32, 32, 5))
    five = keras.Model(five, keras.layers.Conv2D(1, 1)(five))
    refused(r"1 or 3 channels\. Received: 'b', of 5", write, {"a": one, "b": five}, samples, folder)
    refused("Model 'b' cannot be used", write, {"a": one, "b": "path"}, samples, folder)
    refused("'samples' must be Samples", write, {"a": one, "b": two}, samples[:0], folder)
    with pytest.raises(KerasganError, match="'images' must be at most 12 with 10 models"):
        write(dict.fromkeys("abcdefghij", one), samples, folder, images=13)
    for images in (0, 41, True):
        with pytest.raises(KerasganError, match="'images' must be a whole number from 1 to 40"):
            write({"a": one, "b": two}, samples, folder, images=images)
    with pytest.raises(KerasganError, match=r"'threshold' must be one of a, b\. Received: 'c'"):
        write({"a": one, "b": two}, samples, folder, threshold={"c": 0.5})
    with pytest.raises(KerasganError, match="'mode' must be one of"):
        write({"a": one, "b": two}, samples, folder, mode={"b": "tile"})
    refused("'rule' must be one of", write, {"a": one, "b": two}, samples, folder, rules="epsilonn")
    assert not list(tmp_path.iterdir())


def test_models_of_other_channels_and_options(samples, tmp_path):
    """A network that reads grey, one that takes any size, with thresholds of their own."""
    grey = keras.Input((32, 32, 1))
    grey = keras.Model(grey, keras.layers.Conv2D(1, 3, padding="same")(grey))
    free = keras.Input((None, None, 3))
    free = keras.Model(free, keras.layers.Conv2D(1, 3, padding="same")(free))
    options = {
        "size": {"free": (24, 16)},
        "threshold": {"free": 0.6},
        "preprocess": {"grey": lambda batch: batch / 2},
        "mode": {"free": "letterbox"},
    }
    path = write({"grey": grey, "free": free}, samples, tmp_path / "report", **options)
    kept = pd.read_csv(path.parent / "models.csv").set_index("model")
    wanted = {
        "grey": kg.evaluate(grey, samples, preprocess=lambda batch: batch / 2, verbose=False),
        "free": kg.evaluate(
            free, samples, size=(24, 16), mode="letterbox", threshold=0.6, verbose=False
        ),
    }
    for name, table in wanted.items():
        np.testing.assert_allclose(kept.loc[name, "dice"], table["dice"], rtol=1e-12)
    page = read(path)
    assert "Foreground above a probability of 0.5 0.6" in page.text("section", id="models")
    (uri,) = {e[1]["style"].split("(")[1][:-1] for e in page.all("article")[:1]}
    assert decode(uri).mode == "RGB"


def test_several_classes(tmp_path):
    samples = write_images(tmp_path / "data", ["a", "b", "c"], classes=3)
    gan = kg.SegmentationGAN(network(classes=3))
    gan.recipe = {"name": "own", "seed": 0, "learning_rate": 0.001}
    path = write({"gan": gan, "net": network(classes=3, seed=1)}, samples, tmp_path / "report")
    page = read(path)
    assert "dice 2" in page.text("section", id="scores")
    assert "learning rate 0.001 –" in page.text("section", id="models")
    assert page.all("span", class_="key wrong")


def test_an_earlier_report_is_replaced_and_nothing_else(models, samples, tmp_path, capsys):
    two = {name: models[name] for name in ("small", "large")}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused("holds other files", write, two, samples[:2], tmp_path / "mine", overwrite=True)
    folder = tmp_path / "empty"
    folder.mkdir()
    write(two, samples[:2], folder, images=1)
    assert capsys.readouterr().out == ""
    refused("overwrite=True to replace it", write, two, samples[:2], folder)
    write(two, samples[:3], folder, images=1, overwrite=True, verbose=True)
    assert len(pd.read_csv(folder / "images.csv")) == 3
    out = capsys.readouterr().out
    assert "A: small" in out
    assert "3/3" in out
    assert "1/1" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine"]

import dataclasses
import json
import pathlib
import re
import types

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from refusals import refused
from report_pages import network, read, values, write_images
from scipy import ndimage

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.evaluation import Shortcuts
from kerasgan.inference.card import FIELDS, REQUIRED
from kerasgan.report import html
from kerasgan.report.collect import collect
from kerasgan.report.model_card import weights_checksum
from kerasgan.report.panels import _shares, balance
from kerasgan.report.pictures import Map

HOSTILE = [
    "<script>alert(1)<",
    "=cmd()|'A1'",
    "a\"onerror='x' b",
    "{{ 7*7 }}",
    "&lt;b&gt;",
    "@x\ty",
]
IMAGE = "<img src=x onerror=alert(9)>"
SCRIPT = "</script><script>alert(2)</script>"


def write(model, samples, folder, **options):
    options = {"rules": ["epsilon"], "images": 4, "verbose": False, **options}
    return kg.report.write(model, samples, folder, **options)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(6)])


@pytest.fixture(scope="module")
def report(model, samples, tmp_path_factory):
    return write(model, samples, tmp_path_factory.mktemp("out") / "report")


def test_the_page_loads_nothing_and_runs_its_own_script_alone(report):
    read(report).check_closed()


def test_a_screen_reader_finds_its_way(report):
    read(report).check_reachable()


def test_scores_are_those_of_evaluate(report, model, samples):
    table = kg.evaluate(model, samples, verbose=False)
    kept = pd.read_csv(report.parent / "images.csv")
    pd.testing.assert_frame_equal(kept[list(table)], table, rtol=1e-12)
    dice = table.attrs["summary"]["scores"]["dice"]
    summary = pd.read_csv(report.parent / "summary.csv").set_index("score")
    assert summary.loc["dice", "low"] == pytest.approx(dice["low"])
    page = read(report)
    (tile,) = [e for e in page.all("li") if "Dice score" in e[2] and "images" not in e[2]]
    assert f"{dice['mean']:.2f}" in tile[2]
    assert f"{dice['low']:.2f} to {dice['high']:.2f}" in tile[2]
    (row,) = page.all("tr", id="row-3")
    assert f"{table['dice'][3]:.3f}" in row[2]
    assert pd.read_csv(report.parent / "by_size.csv")["images"].sum() == 6


def test_calibration_is_that_of_all_pixels_together(report, model, samples):
    maps = kg.inference.iterate_probability(model, samples)
    whole = kg.inference.expected_calibration_error((samples.mask(i) for i in range(6)), maps)
    found = collect(model, samples, verbose=False)
    assert found.calibration.error == pytest.approx(whole.error)
    pd.testing.assert_frame_equal(found.calibration.table, whole.table)
    assert f"{whole.error:.3f}" in read(report).text("section", id="calibration")


def maps_of(article):
    return json.JSONDecoder().raw_decode(article[2][article[2].index("[{") :])[0]


def assert_drawn(entry, wanted):
    drawn = Map(entry["uri"], entry["limit"], entry["height"], entry["width"])
    edge = max(drawn.limit, 1e-12)
    np.testing.assert_allclose(values(drawn), np.clip(wanted, -edge, edge), atol=edge / 63 / 1.9)


def test_heatmaps_are_those_of_the_explainer(report, model, samples):
    page = read(report)
    rows = pd.read_csv(report.parent / "images.csv")
    for article in page.all("article"):
        (name,) = set(rows["name"]) & set(article[2].split())
        index = samples.names.index(name)
        image, truth = next(iter(samples[index].batches(1, size=32)))
        explainer = kg.Explainer(model, "epsilon")
        maps = maps_of(article)
        assert maps[0]["place"] == ""
        for entry in maps:
            e = explainer.explain(image, target=entry["target"], truth=truth)
            wanted = e.layers[entry["place"]] if entry["place"] else e.relevance
            assert_drawn(entry, wanted[0].sum(-1))
        assert {entry["place"] for entry in maps} > {""}
    assert len(page.all("article")) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"augment": "flips"}, "flips"),
        ({"augment": True, "mode": "letterbox"}, "flips and right angles"),
        ({"mode": "window"}, "overlapping windows"),
    ],
    ids=str,
)
def test_merged_predictions(options, said, model, samples, tmp_path):
    """Windows and augmented views: scores, masks and maps are those of the merged prediction."""
    path = write(model, samples, tmp_path / "report", images=2, **options)
    table = kg.evaluate(model, samples, verbose=False, **options)
    kept = pd.read_csv(path.parent / "images.csv")
    pd.testing.assert_frame_equal(kept[list(table)], table, rtol=1e-12)
    page = read(path)
    assert said in page.text("section", id="model")
    explainer = kg.explain.MergedExplainer(model, "epsilon", **options)
    seen = set()
    for article in page.all("article"):
        (name,) = set(samples.names) & set(article[2].split())
        one = samples[samples.names.index(name)]
        image, _ = next(iter(one.batches(1, size=(40, 48))))
        size = explainer.explain(image).logits.shape[1:3]
        mode = "letterbox" if options.get("mode") == "letterbox" else "stretch"
        truth = next(iter(one.batches(1, size=size, mode=mode)))[1]
        for entry in maps_of(article):
            seen.add(entry["target"])
            e = explainer.explain(image, entry["target"], truth)
            assert_drawn(entry, e.relevance[0].sum(-1))
            assert entry["place"] == ""
    assert seen > {"prediction"}
    assert {file.name for file in (path.parent / "figures").iterdir()} == {
        "masks.png",
        "scores.png",
        "explanation_epsilon.png",
    }


def test_shares_of_the_ledger():
    """One pixel of value 3, weight 2, bias 2: of a logit of 8, 6 come from the pixel."""
    image = keras.Input((1, 1, 1))
    layer = keras.layers.Conv2D(1, 1)
    model = keras.Model(image, layer(image))
    layer.set_weights([np.full((1, 1, 1, 1), 2.0), np.array([2.0])])
    explainers = [kg.Explainer(model, rule, lambda x: 3 * x) for rule in ("epsilon", "gradient")]
    books, none = (balance([e.explain(np.ones((1, 1, 1, 1))).ledger]) for e in explainers)
    assert none["balanced"] is None
    assert books["pixels"] == pytest.approx(0.75, abs=1e-6)
    assert books["bias"] == pytest.approx(0.25, abs=1e-6)
    assert books["balanced"] is True
    row = {"image": 0, "relevance_in": 2.0, "bias": 0.5, "stabiliser": 0.0, "unsupported": 0.0}
    books = balance([pd.DataFrame([{**row, "remainder": 0.1, "absolute": 2.0}])])
    assert (books["balanced"], books["lost"]) == (False, pytest.approx(0.05))
    row.update(relevance_in=0.0, absolute=0.0, remainder=0.0)
    assert balance([pd.DataFrame([row])])["images"] == 0


def test_the_summary_says_where_the_logits_went(report, model, samples):
    """One number for the pixels and one for the biases, as in the conservation table."""
    page = read(report)
    shown = [e[2] for e in page.all("article")]
    names = [next(name for name in samples.names if name in text.split()) for text in shown]
    shares = []
    for name in names:
        image, _ = next(iter(samples[samples.names.index(name)].batches(1, size=32)))
        e = kg.Explainer(model, "epsilon").explain(image)
        if e.ledger["relevance_in"].iloc[0]:
            shares.append(e.ledger["bias"].sum() / e.ledger["relevance_in"].iloc[0])
    wanted = f"{100 * np.mean(shares):.1f} %"
    assert wanted in page.text("ul", class_="sentences")
    assert wanted in page.text("section", id="ledger")


def test_one_image_in_silence(model, samples, tmp_path, capsys):
    page = read(write(model, samples[2], tmp_path / "one"))
    assert capsys.readouterr().out == ""
    assert len(page.all("article")) == 1
    dice = kg.evaluate(model, samples[2], verbose=False)["dice"][0]
    assert f"{dice:.2f}" in page.text("ul", class_="sentences")


def test_no_true_masks(model, samples, tmp_path):
    path = write(model, kg.data.load_folder(_folder(samples), masks=None), tmp_path / "report")
    page = read(path)
    sections = {e[1].get("id") for e in page.all("section")}
    assert not sections & {"scores", "size", "failures", "calibration"}
    assert "Dice" not in page.text("table", id="table")
    kept = pd.read_csv(path.parent / "images.csv")
    assert list(kept) == ["name", "confidence", "predicted_area"]
    probabilities = kg.inference.predict_probability(model, samples)
    sure = [p[p > 0.5].mean() if (p > 0.5).any() else (1 - p).mean() for p in probabilities]
    np.testing.assert_allclose(kept["confidence"], sure, rtol=1e-5)
    assert {path.name for path in path.parent.iterdir()} == {
        "index.html", "images.csv", "checklist.csv", "card.json", "model_card.md", "report.json",
        "figures",
    }  # fmt: skip


def test_hostile_names(model, tmp_path):
    """Names that a stranger chose, of images, rules, recipe and card, are shown and do nothing."""
    plain = write_images(tmp_path / "data", [f"n{i}" for i in range(len(HOSTILE))])
    hostile = dataclasses.replace(plain, names=tuple(HOSTILE))
    recipe = {"name": IMAGE, SCRIPT: "x", "generator": SCRIPT, "augment": {SCRIPT: IMAGE}}
    card = {"name": SCRIPT, "limits": ["<b>x</b>", "\udcff"], "training": {IMAGE: SCRIPT}}
    options = {"rules": {IMAGE: "epsilon", SCRIPT: "gradient"}, "images": 6, "card": card}
    gan = types.SimpleNamespace(generator=model, recipe=recipe)
    path = write(gan, hostile, tmp_path / "report", **options)
    page = read(path)
    assert len(page.all("script")) == len(page.all("article")) + 2
    assert not page.all("b")
    assert not [e for e in page.elements if any(name.startswith("on") for name in e[1])]
    assert not page.all("img", src="x")
    cells = [" ".join(e[2].split()) for e in page.all("th", scope="row")]
    shown = [name.replace("\t", "\ufffd") for name in HOSTILE]
    assert set(shown) <= set(cells)
    read_out = " ".join(e[2] for e in page.elements if e[0] in ("h1", "td", "th", "dd", "dt"))
    assert IMAGE in read_out
    assert SCRIPT in read_out
    text = path.read_text(encoding="utf-8")
    assert not [
        markup for markup in ("<img src=x", "<script>alert", "alert(2)</s") if markup in text
    ]
    kept = pd.read_csv(path.parent / "images.csv")["name"].tolist()
    assert not [name for name in kept if name.startswith(tuple("=+-@\t"))]
    assert "'=cmd()|'A1'" in kept
    card_lines = (path.parent / "model_card.md").read_text(encoding="utf-8").splitlines()
    assert "- \\<b\\>x\\</b\\>" in card_lines


def test_the_card_and_shortcut_findings(model, samples, tmp_path):
    card = {"intended_use": "Research.", "training": {"epochs": 3}, "limits": ["Blood.", "Stool."]}
    found = Shortcuts(None, None, None, None, ["text is <no> shortcut"])
    path = write(model, samples[:2], tmp_path / "report", card=card, images=1, shortcuts=found)
    page = read(path)
    assert "text is <no> shortcut" in page.text("section", id="shortcuts")
    use = page.text("section", id="use")
    assert "Research." in use
    assert [e[2] for e in page.all("span", class_="missing")] == ["not stated"]
    about = page.text("section", id="model")
    assert "epochs: 3" in about
    assert "Not stated: what it segments, training data, evaluation data, contact" in about
    assert weights_checksum(model) in about
    assert f"{model.count_params():,}" in about
    text = (path.parent / "model_card.md").read_text(encoding="utf-8")
    assert "## Licence\n\n- Not stated: ask before you use it.\n" in text
    assert "- epochs: 3\n" in text
    assert all(f"## {FIELDS[name]}" in text for name in REQUIRED)
    with pytest.raises(KerasganError, match=r"'card' must be one of .*Did you mean 'limits'\?"):
        write(model, samples, tmp_path / "other", card={"limit": "x"})
    refused("'card' must be a dict", write, model, samples, tmp_path / "other", card="text")


def test_a_bundle_brings_its_card(model, samples, tmp_path):
    own = {"limits": "Blood.", "segments": "Polyps.", "contact": "An office."}
    bundle = kg.inference.Bundle(model, None, [], own, "MIT", (), {}, {}, {}, "")
    path = write(bundle, samples[:1], tmp_path / "report", card={"limits": "Stool."}, rules=())
    fields = json.loads((path.parent / "card.json").read_text("utf-8"))
    stated = {name: text for name, text in fields.items() if text}
    assert stated == {**own, "limits": "Stool.", "licence": "MIT"}
    refused("licence of the bundle", write, bundle, samples, tmp_path, card={"licence": "GPL-3.0"})


def test_a_gan_of_several_classes(tmp_path):
    samples = write_images(tmp_path / "data", ["a", "b", "c"], classes=3)
    gan = kg.SegmentationGAN(network(classes=3))
    gan.recipe = {"name": "own", "learning_rate": 0.001, "r1": 0.0, "seed": 0, "batch_size": 77}
    gan.recipe = {**gan.recipe, "epochs": 66, "augment": {"rotation": 55.0}}
    path = write(gan, samples, tmp_path / "report", rules={"mine": "epsilon"}, images=3)
    page = read(path)
    assert "3 classes" in page.text("section", id="model")
    (recipe,) = [e[2].split() for e in page.all("dl") if "seed" in e[2]]
    assert recipe == ["nameown", "learning", "rate0.001", "seed0"]
    model = "".join(page.text("section", id="model").split())
    assert "Trainingnotrecorded" in model
    assert not [text for text in ("size77", "epochs66", "rotation55") if text in model]
    assert "dice 2" in page.text("section", id="scores")
    assert page.text("section", id="ledger").count("mine:") == 1


def test_what_is_said_of_training_is_what_fit_did(tmp_path):
    samples = write_images(tmp_path / "data", ["a", "b", "c", "d"])
    gan = kg.SegmentationGAN(network())
    gan.recipe = {"name": "own", "seed": 0, "batch_size": 77, "epochs": 66, "augment": True}
    gan.compile(losses={"dice": 1.0})
    size = gan.generator.input_shape[1]
    batches = samples.batches(2, size=size, augment={"rotation": 5.0}, seed=3)
    gan.fit(batches, epochs=2, verbose=0)
    gan.fit(samples.batches(4, size=size), epochs=1, verbose=0)
    gan.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    path = write(again, samples, tmp_path / "report", rules="epsilon", images=1)
    card = (path.parent / "model_card.md").read_text()
    for text in (read(path).text("section", id="model"), card.replace(":", "")):
        words = "".join(text.split())
        assert "Batchsize(1of2)2" in words
        assert "Batchsize(2of2)4" in words
        assert "rotation5" in words
        assert "Epochsdonewhensaved(1of2)2" in words
        assert "Weightsareofepoch(2of2)1" in words
        assert re.search(r"Validation[^0-9]*\(1of2\)notrecorded", words)
        assert not [text for text in ("size77", "epochs66") if text in words]


def test_a_folder_with_other_files_is_left_alone(model, samples, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(KerasganError, match=r"holds other files.*Pass another folder"):
        write(model, samples, tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    refused("must be a folder", write, model, samples, tmp_path / "thesis.txt")


def test_an_earlier_report_is_replaced_whole_or_not_at_all(model, samples, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    folder.mkdir()
    first = write(model, samples[:2], folder, images=1).read_bytes()
    refused("overwrite=True to replace it", write, model, samples, folder)
    with monkeypatch.context() as patch:
        patch.setattr(html, "score_figure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(model, samples, folder, images=1, overwrite=True)
    assert (folder / "index.html").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    second = write(model, samples[2:], folder, images=1, overwrite=True).read_bytes()
    assert second != first
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(KerasganError, match=r"added to the report or changed since: notes\.txt"):
        write(model, samples, folder, overwrite=True)
    (folder / "notes.txt").unlink()
    (folder / "model_card.md").write_text("edited")
    refused(r"changed since: model_card\.md", write, model, samples, folder, overwrite=True)
    assert (folder / "index.html").read_bytes() == second


def test_progress_is_shown_and_shortcuts_are_asked_for(model, samples, tmp_path, capsys):
    options = {"images": 1, "mode": "letterbox", "verbose": True}
    page = read(write(model, samples[:2], tmp_path / "report", **options))
    assert "kerasgan.evaluation.shortcuts" in page.text("section", id="shortcuts")
    out = capsys.readouterr().out
    assert "2/2" in out
    assert "1/1" in out


def test_bad_arguments(model, samples, tmp_path):
    folder = tmp_path / "report"
    for images in (0, 41, 2.0, True):
        with pytest.raises(KerasganError, match="'images' must be a whole number from 1 to 40"):
            write(model, samples, folder, images=images)
    refused("'mode' must be one of", write, model, samples, folder, mode="tile")
    refused(r"augment.*rotations", write, model, samples, folder, augment="rotations")
    with pytest.raises(KerasganError, match="'layers' must be None with mode='window' or augment"):
        write(model, samples, folder, augment=True, layers=["down_1"])
    refused("'shortcuts' must be", write, model, samples, folder, shortcuts=["text"])
    refused("'samples' must be Samples", write, model, [np.zeros((32, 32, 3))], folder)
    with pytest.raises(KerasganError, match="'samples' must have the classes of the network, 3"):
        write(network(classes=3), samples, folder)
    refused("'rule' must be one of", write, model, samples, folder, rules="epsilonn")
    refused("No relevance at a layer 'up_9'", write, model, samples, folder, layers=["up_9"])
    assert not folder.exists()
    assert not list(tmp_path.iterdir())


def _folder(samples):
    return pathlib.Path(samples.image_paths[0]).parents[1]


def test_a_report_without_explanations(model, samples, tmp_path, monkeypatch):
    """The network is run, and never made ready to be explained."""

    def refuses(*_, **__):
        raise KerasganError("A layer cannot be explained")

    monkeypatch.setattr("kerasgan.report.panels.Explainer", refuses)
    refused("cannot be explained", write, model, samples, tmp_path / "refused")
    for rules in ((), {}):
        path = write(model, samples, tmp_path / "report", rules=rules, overwrite=True)
    page = read(path)
    page.check_closed()
    page.check_reachable()
    assert not page.all("p", class_="balance good")
    assert "relevance" not in page.text("section", id="examples").lower()
    assert [e for e in page.all("input") if e[1].get("class") == "outlined"]
    names = {path.name for path in (path.parent / "figures").iterdir()}
    assert names == {"masks.png", "scores.png"}


def test_what_lies_inside_stands_beside_chance_and_the_mask_alone(report):
    texts = [e[2] for e in read(report).all("script") if e[1].get("class") == "maps"]
    maps = [entry for text in texts for entry in json.loads(text) if "inside" in entry]
    assert maps
    for entry in maps:
        assert 0 <= entry["chance"] <= entry["masked"] <= 1 + 1e-9


def test_shares_inside_are_those_of_known_maps():
    region = np.zeros((32, 32), bool)
    region[8:16, 8:24] = True
    even = _shares(np.ones((32, 32)), region)
    assert even["inside"] == even["chance"] == 1 / 8
    alone = _shares(region.astype(float), region)
    assert alone["inside"] == pytest.approx(1)
    assert alone["masked"] == pytest.approx(1)
    soft = ndimage.gaussian_filter(region.astype(float), 4, mode="constant")
    found = _shares(soft, region)
    assert found["masked"] == pytest.approx(found["inside"])
    assert found["chance"] < found["inside"] < 1


def test_figures_without_outlines(report, model, samples, tmp_path):
    kept = [report, write(model, samples, tmp_path / "report", outlines=False)]
    for name in ("masks.png", "explanation_epsilon.png"):
        with_them, without = (imread(path.parent / "figures" / name) for path in kept)
        assert with_them.shape != without.shape or (with_them != without).any()

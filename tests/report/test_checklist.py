import dataclasses
import json
import types

import pandas as pd
import pytest
from report_pages import network, read, write_images

import kerasgan as kg
from kerasgan.inference.card import KNOWN, STUDY, check_card
from kerasgan.report.checklist import fill, to_card, trained_on
from kerasgan.report.guidelines import DOCUMENTS, RUN

TRAINING = {"partitions", "independence", "fit", "losses", "initialisation", "kept_epoch"}
TRAINING |= {"fit_versions"}
SCORED = {"score_names", "intervals", "scores", "detection", "sizes", "errors", "calibration"}


def write(model, samples, folder, **options):
    return kg.report.write(model, samples, folder, images=2, verbose=False, **options)


def lines_of(documents):
    return [line for document in documents for line in document["lines"]]


def answer_of(table, document, item):
    (answer,) = table.loc[(table["document"] == document) & (table["item"] == item), "answer"]
    return answer


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(6)])


@pytest.fixture(scope="module")
def gan(samples):
    gan = kg.SegmentationGAN(network())
    gan.recipe = {"name": "own", "seed": 5, "dice": 1.0, "learning_rate": 0.01, "epochs": 66}
    gan.compile(losses={"dice": 1.0})
    checked = samples[4:].batches(2, size=32)
    gan.fit(samples[:4].batches(2, size=32), validation_data=checked, epochs=1, verbose=0)
    return gan


@pytest.fixture(scope="module")
def trained(gan, samples, tmp_path_factory):
    card = {"limits": ["Blood.", "<b>Stool</b>"], "ethics_approval": "Not needed.", "users": "me"}
    folder = tmp_path_factory.mktemp("out") / "trained"
    return write(gan, samples[4:], folder, rules="epsilon", card=card)


@pytest.fixture(scope="module")
def unknown(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "unknown"
    return write(network(), samples, folder, rules=())


def test_each_document_has_all_its_items_in_order():
    numbers = {document.name: [line.item for line in document.lines] for document in DOCUMENTS}
    assert numbers["CLAIM 2024"] == [str(number) for number in range(1, 45)]
    letters = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef"}
    letters.update({20: "abc", 23: "ab", 27: "abc"})
    tripod = [f"{number}{x}" for number in range(1, 28) for x in letters.get(number, [""])]
    assert numbers["TRIPOD+AI"] == tripod
    points = ["(a)", *(f"(b)({x})" for x in ("i", "ii", "iii", "iv", "v", "vi", "vii"))]
    points += ["(c)", "(d)", "(e)", "(f)"]
    assert numbers["EU AI Act, article 13"] == [f"13(3){point}" for point in points]
    principles = numbers["Good machine learning practice"]
    assert principles == [f"Principle {number}" for number in range(1, 11)]


def test_every_line_can_be_answered_and_every_field_is_asked_for():
    names = {
        name
        for document in DOCUMENTS
        for line in document.lines
        for need in line.needs
        for name in need.split("|")
    }
    assert names <= RUN.keys() | KNOWN.keys()
    assert not RUN.keys() & KNOWN.keys()
    assert STUDY.keys() <= names
    everything = dict.fromkeys(KNOWN, "x")
    found = dict.fromkeys(RUN, ("y", "model"))
    states = {line["state"] for line in lines_of(fill(check_card(everything), found))}
    assert states == {"answered"}
    states = {line["state"] for line in lines_of(fill(check_card(None), {}))}
    assert states == {"open"}


@pytest.mark.parametrize("name", [*RUN, *KNOWN])
def test_a_line_is_answered_by_what_it_needs_and_by_nothing_else(name):
    """Without one fact, the lines that it alone answers are open or answered in part."""
    stated = check_card({field: "x" for field in KNOWN if field != name})
    found = {fact: ("y", "model") for fact in RUN if fact != name}
    filled = fill(stated, found)
    for document, result in zip(DOCUMENTS, filled):
        for line, shown in zip(document.lines, result["lines"]):
            lacking = [need for need in line.needs if need == name]
            assert (shown["state"] == "answered") == (not lacking)
            assert len(shown["open"]) == len(lacking)


def test_nothing_is_said_of_a_training_that_is_unknown(unknown, samples):
    table = pd.read_csv(unknown.parent / "checklist.csv", dtype=str, keep_default_na=False)
    labels = {RUN[name].partition(" (")[0] for name in TRAINING}
    assert not [label for label in labels if table["answer"].str.contains(label).any()]
    claim = table[table["document"] == "CLAIM 2024"].set_index("item")
    assert claim.loc["25", "state"] == claim.loc["19", "state"] == "open"
    assert claim.loc["25", "fields_of_card"] == "training"
    assert claim.loc["31", "state"] == "open"  # rules=()
    assert claim.loc["30", "state"] == "open"  # no shortcuts
    assert claim.loc["39", "state"] == "answered"
    recipe = types.SimpleNamespace(generator=network(), recipe={"dice": 1.0, "seed": 0})
    assert trained_on(recipe, samples) is None


def test_what_fit_recorded_is_said(trained):
    table = pd.read_csv(trained.parent / "checklist.csv", dtype=str, keep_default_na=False)
    claim = table[table["document"] == "CLAIM 2024"].set_index("item")
    assert claim.loc["25", "state"] == "answered"
    assert "epochs: 1," in claim.loc["25", "answer"]
    assert "batch size 2" in claim.loc["25", "answer"]
    assert "66" not in claim.loc["25", "answer"]
    assert "dice 1, learning rate 0.01" in claim.loc["25", "answer"]
    assert "training 4 images (hash " in claim.loc["19", "answer"]
    assert "validation 2 images (hash " in claim.loc["19", "answer"]
    assert "this report 2 images with true masks" in claim.loc["19", "answer"]
    assert claim.loc["19", "state"] == "in part"  # how they were divided only a person knows
    assert claim.loc["19", "fields_of_card"] == "split"
    assert claim.loc["24", "answer"].endswith("random, seed 5")


def test_scores_are_those_of_the_summary(trained):
    scores = pd.read_csv(trained.parent / "summary.csv").set_index("score")
    table = pd.read_csv(trained.parent / "checklist.csv", dtype=str, keep_default_na=False)
    answer = answer_of(table, "CLAIM 2024", "37")
    dice = scores.loc["dice"]
    assert f"dice {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})" in answer


def test_what_people_stated_is_marked_and_escaped(trained):
    page = read(trained)
    text = page.text("section", id="checklists")
    assert "Ethics committee, consent or waiver (stated): Not needed." in text
    assert "Known limits (stated): Blood.; <b>Stool</b>" in text
    assert not page.all("b")
    assert "Open: Funding funding" in text
    kept = json.loads((trained.parent / "card.json").read_text(encoding="utf-8"))
    assert set(kept) == set(KNOWN)
    assert kept["limits"] == ["Blood.", "<b>Stool</b>"]
    assert kept["funding"] == ""


def test_a_card_that_was_completed_fills_the_lines(gan, samples, trained, tmp_path):
    card = json.loads((trained.parent / "card.json").read_text(encoding="utf-8"))
    card.update(funding="=1+1", conflicts={"A": "none", "B": 3})
    path = write(gan, samples[4:], tmp_path / "report", rules=(), card=card)
    table = pd.read_csv(path.parent / "checklist.csv", dtype=str, keep_default_na=False)
    assert answer_of(table, "CLAIM 2024", "44") == "Funding: =1+1 (stated)"
    assert answer_of(table, "TRIPOD+AI", "18b").endswith("A: none; B: 3 (stated)")
    again = json.loads((path.parent / "card.json").read_text(encoding="utf-8"))
    assert check_card(again) == check_card(card)
    assert to_card(check_card(card))["conflicts"] == {"A": "none", "B": "3"}


def test_a_report_on_the_training_images_says_so(gan, samples, trained, tmp_path):
    assert trained_on(gan, samples[:4]) is True
    assert trained_on(gan, samples[4:]) is False
    bare = samples[4:].batches(2, size=32).origin
    fits = [{**gan.fits[0], "unlabelled": bare}]
    free = types.SimpleNamespace(generator=gan.generator, fits=fits)
    assert trained_on(free, samples[4:]) is True
    words = "are those that the model was trained on"
    path = write(gan, samples[:4], tmp_path / "report", rules=())
    assert words in read(path).text("section", id="short")
    assert words not in read(trained).text("section", id="short")
    table = pd.read_csv(path.parent / "checklist.csv", dtype=str, keep_default_na=False)
    answer = table.set_index("item").loc["Principle 4", "answer"]
    assert "its scores say nothing of other images" in answer


def test_without_true_masks_nothing_is_said_of_scores(gan, samples, tmp_path):
    bare = dataclasses.replace(samples, mask_paths=None)
    path = write(gan, bare, tmp_path / "report", rules=())
    table = pd.read_csv(path.parent / "checklist.csv", dtype=str, keep_default_na=False)
    labels = {RUN[name].partition(" (")[0] + ":" for name in SCORED}
    answers = table["answer"].str.split("; ").explode()
    assert not [label for label in labels if answers.str.startswith(label).any()]
    claim = table[table["document"] == "CLAIM 2024"].set_index("item")
    assert claim.loc[["37", "38", "39"], "state"].eq("open").all()


@pytest.mark.parametrize(
    "fits",
    [
        [{"data": {"images": ["x"], "mode": "stretch", "size": "x"}, "epochs": SyntaxError}],
        [{"data": {"images": "<b>", "mode": 3}, "versions": ["=x"], "kept_epoch": {}}],
        [{"data": None, "validation": 3}, {}],
    ],
    ids=("kinds", "markup", "none"),
)
def test_records_of_strangers(fits, samples, tmp_path):
    recipe = {"dice": "<b>", "seed": []}
    model = types.SimpleNamespace(generator=network(), recipe=recipe, fits=fits)
    path = write(model, samples[:1], tmp_path / "report", rules=())
    page = read(path)
    assert not page.all("b")
    page.check_closed()
    page.check_reachable()

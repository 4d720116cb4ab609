import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scripts import command, run, run_alone

import kerasgan as kg

SMALL = ["--size", "32", "--filters", "2", "--batch-size", "4"]
ALONE = ["--set", "generator=unet", "--adversarial-weight", "0"]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "results"
    done = run_alone("quickstart", "--results", folder, "--count", 18, "--epochs", 2, *SMALL)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_quickstart_writes_everything_and_says_where(quickstart):
    folder, done = quickstart
    assert f"Everything is in {folder}/" in done.stdout
    assert "the best colour threshold" in done.stdout
    assert done.stderr == ""
    pictures = ["masks.png", "training.png", "scores.png", "explanation.png"]
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name
    table = pd.read_csv(folder / "scores.csv")
    assert len(table) == 3
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["images"] == {"training": 13, "validation": 2, "reported": 3}
    assert facts["scores"]["scores"]["jaccard"]["mean"] == pytest.approx(table["jaccard"].mean())
    assert facts["command"].startswith("python examples/quickstart.py --results results --count 18")


def test_results_are_not_overwritten(quickstart):
    folder, _ = quickstart
    before = (folder / "scores.csv").read_bytes()
    done = run("quickstart", "--results", folder, "--count", 18, "--epochs", 1, *SMALL)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Pass --resume to go on with its run, or another --results" in done.stderr
    assert (folder / "scores.csv").read_bytes() == before


def test_the_model_predicts_and_explains_a_folder(quickstart, tmp_path):
    folder, _ = quickstart
    images = tmp_path / "images"
    images.mkdir()
    for name, shape in (("first", (40, 60)), ("second", (50, 30))):
        pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png")
    done = run(
        "predict", "--model", folder / "model", "--images", images, "--results", tmp_path / "m"
    )
    assert done.returncode == 0, done.stderr
    sizes = {}
    for path in (tmp_path / "m").iterdir():
        with Image.open(path) as mask:
            sizes[path.name] = mask.size
    assert sizes == {"first.png": (60, 40), "second.png": (30, 50)}
    results = tmp_path / "e"
    done = run("explain", "--model", folder / "model", "--images", images, "--results", results)
    assert done.returncode == 0, done.stderr
    explanation = kg.explain.Explanation.load(results / "first.npz")
    assert explanation.relevance.shape == (1, 32, 32, 3)
    assert (results / "second.png").stat().st_size > 5000


def test_the_bundle_of_a_run_loads_and_predicts_alike(quickstart, tmp_path):
    folder, _ = quickstart
    out = tmp_path / "small.zip"
    done = run("bundle", "--run", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path)
    for line in (tmp_path / "small" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "small" / name).read_bytes()).hexdigest() == digest
    whole, packed = (kg.SegmentationGAN.load(x) for x in (folder / "model", tmp_path / "small"))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(whole.generator(image), packed.generator(image))
    assert packed.recipe == whole.recipe
    before = out.read_bytes()
    done = run("bundle", "--run", folder, "--out", out)
    assert done.stderr.startswith("Error: Argument '--out' names a file that exists")
    assert out.read_bytes() == before
    done = run("bundle", "--run", folder, "--out", tmp_path / "b.zip", "--limit", "0.001")
    assert "above --limit 0.001" in done.stderr
    assert not (tmp_path / "b.zip").exists()


def test_a_run_becomes_a_trained_network_with_a_name(quickstart, tmp_path):
    folder, _ = quickstart
    fields = ["segments", "intended_use", "limits", "training_data", "evaluation_data"]
    card = dict.fromkeys([*fields, "contact", "citation"], "See the paper.")
    (tmp_path / "card.json").write_text(json.dumps(card))
    networks, others = tmp_path / "networks", tmp_path / "other" / "clinic"
    kg.data.synthetic.write_dataset(others, count=2, size=32, seed=9)
    options = ["--run", folder, "--name", "drawn", "--version", "1.0", "--licence", "MIT"]
    options += ["--terms", "None: drawn.", "--card", tmp_path / "card.json", "--folder", networks]
    done = run("pretrained", *options, "--data", others)
    assert done.returncode == 1
    assert not networks.exists()
    done = run("pretrained", *options, "--data", folder / "data", "--outside", others)
    assert done.returncode == 0, done.stderr
    noted = json.loads((folder / "facts.json").read_text())["scores"]["scores"]
    (entry,) = kg.inference.read_catalogue(networks)
    assert [(score["outside"], score["images"]) for score in entry["scores"]] == [
        (False, 3), (False, 3), (True, 2), (True, 2)
    ]  # fmt: skip
    assert entry["scores"][0]["mean"] == pytest.approx(noted["dice"]["mean"], abs=1e-3)
    network = kg.SegmentationGAN.load(folder / "model").generator
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    bundle = kg.pretrained("drawn", folder=networks)
    np.testing.assert_array_equal(bundle.generator(image), network(image))
    facts = tmp_path / "changed" / "facts.json"
    shutil.copytree(folder, facts.parent)
    facts.write_text(json.dumps({"scores": {"scores": {"dice": {"mean": 0.123}}}}))
    options = ["--run", facts.parent, *options[2:4], "--version", "2.0", *options[6:]]
    done = run("pretrained", *options, "--data", folder / "data")
    assert "and the run noted 0.123" in done.stderr
    assert len(kg.inference.read_catalogue(networks)) == 1


def test_a_stopped_run_is_resumed(tmp_path):
    data, results = tmp_path / "polyps", tmp_path / "results"
    kg.data.synthetic.write_dataset(data, count=12, size=32)
    (data / "splits").mkdir()
    (data / "splits" / "val.txt").write_text("\n".join(kg.data.load_folder(data).names[:2]))
    arguments = ["--data", data, "--results", results, *SMALL, *ALONE]
    process = subprocess.Popen(
        command("train_polyp", *arguments, "--epochs", 500),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(results.glob("state/epoch_*/run.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "with --resume continues where it stopped" in error
    assert "Traceback" not in error
    reached = json.loads(max(results.glob("state/epoch_*/run.json")).read_text())["next_epoch"]
    done = run("train_polyp", *arguments, "--epochs", reached + 1, "--resume")
    assert done.returncode == 0, done.stderr
    facts = json.loads((results / "facts.json").read_text())
    assert facts["epochs"] == reached + 1
    assert facts["images"] == {"training": 9, "validation": 1, "reported": 2}


@pytest.fixture(scope="module")
def instruments(tmp_path_factory):
    """A run on grey images of three surgeries, with fields of its recipe set."""
    folder = tmp_path_factory.mktemp("instruments")
    scenes = kg.data.synthetic.write_dataset(folder / "all", count=9, size=32, kind="instrument")
    for place, name in enumerate(scenes.names):
        for kind in ("images", "masks"):
            source = folder / "all" / kind / f"{name}.png"
            named = source.rename(source.with_name(f"OP{1 + place // 3}_img_{place:02}.png"))
            Image.open(named).convert("L").save(named)
    done = run(
        "train_instrument",
        *("--data", folder / "all", "--results", folder / "r", "--epochs", 1, *SMALL),
        *("--set", "adversarial=least_squares", "--set", "ema_momentum=0.5"),
        *("--set", 'augment={"rotation": 10}', "--precision", "float32"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "r", done


def test_grey_instruments_are_split_by_surgery(instruments):
    folder, done = instruments
    assert "Reporting on surgery OP3, training on the others" in done.stdout
    names = pd.read_csv(folder / "scores.csv")["name"]
    assert set(names.str[:3]) == {"OP3"}
    assert (folder / "names.txt").read_text().split() == names.tolist()
    assert json.loads((folder / "facts.json").read_text())["recipe"]["channels"] == 1


def test_any_field_of_the_recipe_can_be_set(instruments):
    folder, _ = instruments
    recipe = kg.recipes.Recipe.load(folder / "recipe.json")
    assert (recipe.adversarial, recipe.ema_momentum) == ("least_squares", 0.5)
    assert recipe.augmentation() == kg.data.Augmentation(rotation=10)


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train_polyp", ["--data", "nowhere"], "nowhere"),
        ("quickstart", ["--size", "100", "--count", "1"], "size"),
        ("predict", ["--model", "nowhere", "--images", "."], "'nowhere'"),
        ("quickstart", ["--set", "sead=1"], "Did you mean 'seed'"),
    ],
)
def test_errors_are_one_line(script, arguments, message, tmp_path):
    done = run(script, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unwritable_results_folder_is_named(tmp_path):
    place = "/proc/results" if os.geteuid() == 0 else tmp_path / "blocked"
    if os.geteuid():
        place.mkdir(mode=0o500)
        place = place / "results"
    done = run("quickstart", "--results", place, "--count", 18, *SMALL)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr

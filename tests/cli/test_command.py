import dataclasses
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.cli import check, command, doctor, runs
from kerasgan.cli.loading import Answer
from kerasgan.models.framing import set_framing

COMMANDS = (
    *("check", "train", "predict", "rank", "evaluate", "explain", "report", "compare"),
    *("bundle", "export", "convert", "app", "doctor"),
)


def test_help_comes_without_tensorflow():
    code = (
        "import runpy, sys; sys.argv = ['-m', '--help']\n"
        "try: runpy.run_module('kerasgan', run_name='__main__')\n"
        "except SystemExit as stop: sys.exit(stop.code or 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)


def test_every_option_is_in_the_documentation():
    page = pathlib.Path(kg.__file__).parents[1] / "docs" / "command.md"
    text = page.read_text(encoding="utf-8")
    (commands,) = (one for one in command._parser()._actions if one.dest == "command")
    assert set(commands.choices) == set(COMMANDS)
    options = {word for one in commands.choices.values() for word in one._option_string_actions}
    missing = [word for word in options - {"-h"} if not re.search(rf"{word}(?![\w-])", text)]
    assert missing == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["check"],
        ["train", "folder"],
        ["predict", "images", "--model", "run"],
        ["predict", "images", "--model", "run", "--out", "m", "--threshold", "half"],
        ["evaluate", "--model", "run"],
        ["check", "folder", "--colors", "red"],
        ["convert", "gif", "a", "--out", "b"],
        ["doctor", "--force"],
    ],
)
def test_a_wrong_command_line_is_2(run, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: kerasgan")


def test_a_file_whose_name_begins_as_an_option(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-v.png").touch()
    code, _, err = run("predict", "-v.png", "--model", "run", "--out", "masks")
    assert (code, err.splitlines()[-1]) == (2, "Write the file '-v.png' as ./-v.png")


def test_ctrl_c_is_130(run, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor", stop)
    code, out, err = run("doctor", "--json")
    assert (code, out) == (130, "")
    assert "Stopped" in err


def test_stdout_holds_the_json_alone(run, monkeypatch):
    def found():
        print("progress")
        warnings.warn("a\nb", kg.KerasganWarning, stacklevel=1)
        numbers = {"nan": np.float32("nan"), "one": np.int64(1), 2: (float("inf"), "\udcff")}
        return Answer(numbers, "x\x1b[31m\udcff")

    monkeypatch.setattr(doctor, "doctor", found)
    code, out, err = run("doctor", "--json")
    assert code == 0
    wanted = {"nan": None, "one": 1, "2": [None, "\udcff"], "warnings": ["a\nb"]}
    assert json.loads(out) == wanted
    assert err == "progress\nWarning: a\\nb\n"
    _, out, _ = run("doctor")
    assert out == "x\\x1b[31m\\udcff\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nowhere", "--out", "x"], "Argument RUN: there is no"),
        (["app", "nowhere"], "Argument RUN: there is no"),
        (["app", "run", "nowhere"], "Argument OTHER: there is no"),
        (["app", "run", "--images", "nowhere"], "Argument '--images': there is no"),
        (["predict", "nowhere", "--model", "run", "--out", "x"], "Argument IMAGES: there is no"),
        (["predict", "run", "--model", "nowhere", "--out", "x"], "Argument '--model': there is no"),
        (["evaluate", "run", "nowhere", "--model", "run"], "Argument FOLDER: there is no"),
        (["check", "file"], "Argument FOLDER must be a folder. Received: file (a file)"),
        (["convert", "pictures", "run", "--out", "x"], "pictures needs --low and --high"),
        (["convert", "video", "run", "--out", "x"], "video needs --every"),
        (
            ["convert", "pictures", "run", "--out", "x", "--low", "0", "--high", "9"],
            "Argument SOURCE has no file of that",
        ),
        (["convert", "nifti", "nowhere", "--out", "x"], "Argument SOURCE: there is no"),
    ],
)
def test_arguments_are_named_as_on_the_command_line(refused, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "file").write_text("no folder")
    assert said in refused(*words)


def test_a_value_is_refused_by_the_name_of_its_option(refused, scenes):
    assert "Argument '--classes' must be a whole" in refused("check", scenes, "--classes", 0)


def test_a_line_break_in_a_name_makes_no_line(run, scenes, monkeypatch):
    folder = scenes.rename(scenes.with_name("a\n0 masks are empty"))
    _, out, _ = run("check", folder)
    assert "a\\n0 masks are empty: " in out.splitlines()[0]


def test_a_disk_that_is_full_is_one_line(refused, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor, "doctor", full)
    assert "No space left" in refused("doctor")


def test_doctor(answer, monkeypatch):
    found = answer("doctor")
    assert found["recipes"] == kg.recipes.names()
    assert found["rules"] == kg.explain.rule_names()
    assert found["devices"]
    assert found["innvestigate_in_use"] == ("lrp.z" in found["rules"])
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    extra = answer("doctor")["extras"]["dicom"]
    assert extra["missing"] == ["pydicom"]
    assert "kerasgan[dicom]" in extra["install"]


def test_doctor_knows_the_extras_of_setup(monkeypatch):
    import setuptools

    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    root = pathlib.Path(kg.__file__).parents[1]
    monkeypatch.chdir(root)
    exec(
        compile((root / "setup.py").read_text(), str(root / "setup.py"), "exec"),
        {"__file__": str(root / "setup.py")},
    )
    for extra, (_, *packages) in doctor.EXTRAS.items():
        wanted = " ".join(given["extras_require"][extra])
        assert all(package in wanted for package in packages)
    assert given["entry_points"]["console_scripts"] == ["kerasgan = kerasgan.cli.command:main"]


def test_a_stack_that_cannot_be_used_is_told(run, monkeypatch):
    def refuse():
        raise ImportError("kerasgan runs on other versions: run `pip install ...`.")

    monkeypatch.setattr(kg.explain, "rule_names", refuse)
    code, out, err = run("doctor")
    assert code == 1
    assert "numpy" in out
    assert "Error: kerasgan runs on other versions" in err


def test_masks_and_scores(answer, refused, scenes, model, tmp_path, monkeypatch):
    out = tmp_path / "masks"
    written = answer("predict", scenes / "images", "--model", model, "--out", out)["masks"]
    network = kg.SegmentationGAN.load(model)
    for path, expected in zip(written, kg.predict(network, scenes / "images")):
        np.testing.assert_array_equal(np.asarray(Image.open(path)) > 0, expected)
    with monkeypatch.context() as patched:  # an output is refused before a model is loaded
        patched.setattr("kerasgan.cli.tasks.load_model", None)
        line = refused("predict", scenes / "images", "--model", model, "--out", out)
        assert line.startswith("Error: Argument '--out' already holds 4 of the 4 masks")
        assert "--overwrite" in line
        refused("evaluate", scenes, "--model", model, "--out", out)
    one = scenes / "images" / "s1.png"
    assert answer("predict", one, "--model", model, "--out", out, "--overwrite")["masks"] == [
        str(out / "s1.png")
    ]
    scores = answer("evaluate", scenes, "--model", model, "--out", tmp_path / "scores")
    table = kg.evaluate(network, kg.data.load_folder(scenes), verbose=False)
    assert scores["scores"]["dice"]["mean"] == pytest.approx(table["dice"].mean())
    assert (tmp_path / "scores" / "scores.csv").is_file()
    (tmp_path / "names.txt").write_text("s0\ns3\n")
    options = ("--model", model, "--names", tmp_path / "names.txt")
    assert answer("evaluate", scenes, *options)["images"] == 2
    assert "new or empty" in refused("evaluate", scenes, *options, "--out", tmp_path / "scores")
    other = shutil.copytree(scenes, tmp_path / "other")
    for file in other.rglob("s?.png"):
        file.rename(file.with_name(f"other_{file.name}"))
    both = answer("evaluate", scenes, other, *options)
    assert {name: part["images"] for name, part in both["datasets"].items()} == {
        "data": 2,
        "other": 4,
    }


def test_a_bundle_predicts_as_its_author_set_it(answer, run, refused, scenes, model, tmp_path):
    network = kg.SegmentationGAN.load(model)
    file = tmp_path / "b.zip"
    with pytest.warns(kg.KerasganWarning, match="The card"):
        kg.inference.save_bundle(network, file, preprocessing={"threshold": 0.25})
    found = answer("predict", scenes / "images", "--model", file, "--out", tmp_path / "m")
    assert "The card" in found["warnings"][0]
    expected = kg.predict(network, scenes / "images", threshold=0.25)
    for path, mask in zip(found["masks"], expected):
        np.testing.assert_array_equal(np.asarray(Image.open(path)) > 0, mask)
    packed = answer("bundle", model, "--out", tmp_path / "c.zip", "--licence", "MIT")
    assert packed["megabytes"] < 1
    assert "exists" in refused("bundle", model, "--out", tmp_path / "c.zip")
    card = tmp_path / "card.json"  # of a report, filled in here and there
    card.write_text(json.dumps({"licence": "MIT", "limits": "Blood.", "funding": ""}))
    options = ["--out", tmp_path / "d.zip", "--card", card]
    assert "must be that of the card" in refused("bundle", model, *options, "--licence", "GPL-3.0")
    _, out, _ = run("bundle", model, *options)
    assert "can state them in a JSON file, --card" in out
    with pytest.warns(kg.KerasganWarning, match="leaves out: segments"):
        bundle = kg.inference.load_bundle(tmp_path / "d.zip")
    assert (bundle.licence, bundle.card) == ("MIT", {"limits": "Blood."})
    file.write_bytes(file.read_bytes()[:-100])
    refused("evaluate", scenes, "--model", file)


def test_what_is_no_model(refused, scenes, tmp_path):
    text = tmp_path / "model.txt"
    text.write_text("a model")
    (tmp_path / "zip.zip").write_text("no zip")
    for place in (text, tmp_path / "zip.zip", scenes, tmp_path / "nowhere"):
        for words in (("predict", scenes), ("evaluate", scenes), ("explain", scenes)):
            line = refused(*words, "--model", place, "--out", tmp_path / "out")
            assert place.name in line
    assert not (tmp_path / "out").exists()


def test_a_training_stopped_in_its_first_epoch_is_no_model(refused, scenes, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    line = refused("bundle", tmp_path / "run", "--out", tmp_path / "b.zip")
    assert line.startswith("Error: Argument RUN: the training in")
    assert "--resume" in line


def test_a_folder_of_a_report_is_refused_before_the_model_is_read(refused, scenes, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    named = ("--model", scenes, "--model", scenes, "--out", tmp_path / "full")
    for words in (("report", scenes, *named[2:]), ("compare", scenes, *named)):
        assert refused(*words).startswith("Error: Argument '--out' must be new or empty")


@pytest.mark.parametrize("command", ["report", "compare"])
def test_the_number_of_images_to_show_is_used(answer, refused, scenes, model, tmp_path, command):
    other = shutil.copytree(model, tmp_path / "other") if command == "compare" else None
    models = ("--model", model, *(("--model", other) if other else ()))
    words = (command, scenes, *models, "--out", tmp_path / "out", "--shown")
    assert "'--shown'" in refused(*words, 0)
    assert "no file or folder" in refused(command, tmp_path / "none", *words[2:], 1)
    page = answer(*words, 1, "--rules", "gradient")["page"]
    text = " ".join(pathlib.Path(page).read_text("utf-8").split())
    assert "1 of 4 images shown in full" in text


def test_options_that_a_command_does_not_have_are_not_advised(refused, scenes, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("rank", tmp_path / "empty", "--by", "random", "--out", tmp_path / "x.csv")
    assert "holds no image files" in line
    assert "--masks" not in line
    assert "--masks" in refused("check", tmp_path / "empty")
    line = refused("train", scenes / "images", "--out", tmp_path / "run")
    assert "--masks" in line
    assert "--no-masks" not in line


def test_a_model_of_other_classes(refused, scenes, tmp_path):
    network = kg.models.unet(size=32, filters=2, levels=1, classes=3)
    kg.SegmentationGAN(network).save(tmp_path / "three")
    assert "masks" in refused("evaluate", scenes, "--model", tmp_path / "three")


def test_arguments_that_do_not_fit(refused, scenes, model, tmp_path):
    out = ("--out", tmp_path / "out")
    two = shutil.copytree(scenes, tmp_path / "two")
    for file in (*two.rglob("s2.png"), *two.rglob("s3.png")):
        file.unlink()
    for words, part in (
        (("predict", scenes / "images", "--model", model, *out, "--threshold", 2), "threshold"),
        (("predict", scenes / "images", "--model", model, *out, "--threshold", 0), "threshold"),
        (("evaluate", scenes, "--model", model, "--threshold", 0), "threshold"),
        (("predict", scenes / "images", "--model", model, *out, "--mode", "crop"), "mode"),
        (("explain", scenes / "images", "--model", model, *out, "--rule", "lrpp"), "rule"),
        (("explain", scenes / "images", "--model", model, *out, "--target", "cause"), "target"),
        (("explain", scenes / "images", "--model", model, *out, "--limit", 0), "--limit"),
        (("evaluate", scenes, scenes, "--model", model), "data"),
        (("evaluate", scenes, "--model", model, "--scores", "roc"), "scores"),
        (("compare", scenes, "--model", model, *out), "two or more"),
        (("compare", scenes, "--model", model, "--model", model, *out), "NAME=PATH"),
        (("report", scenes, "--model", model, *out, "--card", scenes / "masks/s0.png"), "--card"),
        (("bundle", model, "--out", tmp_path / "b.gz"), ".zip"),
        (("convert", "video", scenes, *out, "--low", 3), "--low"),
        (("convert", "coco", scenes / "masks/s0.png", *out), "--images"),
        (("convert", "pictures", scenes / "images", *out, "--low", 5, "--high", 1), "high"),
        (("train", *out), "FOLDER"),
        (("train", scenes, *out, "--unlabelled", scenes), "--unlabelled"),
        (("train", scenes, *out, "--recipe", "slow"), "--recipe"),
        (("train", scenes, *out, "--set", "sead=1"), "seed"),
        (("train", scenes, *out, "--rule", "lrpp"), "rule"),
        (("train", scenes, *out, "--config", scenes / "masks/s0.png"), "--config"),
        (("train", scenes, "--out", scenes), "--resume"),
        (("train", two, *out), "at least 3 images"),
    ):
        assert part in refused(*words), words
        assert not (tmp_path / "out").exists(), words
    assert not (tmp_path / "out").exists()


@pytest.fixture
def trainings(monkeypatch):
    """Collect what runs would be trained by, and train none."""
    seen = []

    def experiment(recipe, folder, rest, test, fraction, rule, command, unlabelled, described):
        (folder / "run.json").write_text(json.dumps(described))
        seen.append((recipe, folder, rest.names, test.names, rule))
        return {"scores": {"scores": {name: {"mean": 0.0} for name in ("dice", "jaccard")}}}

    monkeypatch.setattr(runs, "experiment", experiment)
    monkeypatch.setattr(runs, "pack", lambda folder, path: ("", 0))
    return seen


def test_what_a_run_is_trained_by_is_read_from_its_folder(
    answer, run, refused, trainings, scenes, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    one, other = tmp_path / "one", tmp_path / "other"
    words = ("--recipe", "pix2pix", "--size", 32, "--filters", 2, "--rule", "gradient")
    answer("train", scenes.name, "--out", one, *words, "--set", "mode=window", "--set", "scale=2")
    assert "--resume" in refused("train", scenes, "--out", one)
    assert "Argument '--test-names'" in refused(
        "train", scenes, "--out", other, "--test-names", one / "run.json"
    )
    monkeypatch.chdir(scenes)
    answer("train", "--out", one, "--resume", "--epochs", 3)
    answer("train", "--config", one / "run.json", "--out", other, "--seed", 5, "--rule", "epsilon")
    (recipe, *first), (resumed, *second), (again, folder, *third) = trainings
    assert (recipe.filters, recipe.mode, recipe.scale, recipe.epochs) == (2, "window", 2, 50)
    assert (resumed, *second) == (dataclasses.replace(recipe, epochs=3), *first)
    assert again == dataclasses.replace(recipe, epochs=3, seed=5)
    assert (folder, *third) == (other, *first[1:3], "epsilon")
    described = json.loads((one / "run.json").read_text())
    assert json.loads((other / "run.json").read_text())["data"] == described["data"]
    config = tmp_path / "own.json"
    for text, part in (
        ('{"recipe": {"sead": 1}}', "seed"),
        ('{"recipe": []}', "JSON objects"),
        ('{"data": {"floder": "x"}}', "folder"),
        ('{"data": {"folder": 3}}', "folder"),
        ("{}", "FOLDER"),
    ):
        config.write_text(text)
        data = () if "data" in text or text == "{}" else (scenes,)
        assert part in refused("train", *data, "--config", config, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    config.write_text(json.dumps({"data": {"folder": str(scenes), "test_names": ["s2"]}}))
    answer("train", "--config", config, "--out", tmp_path / "new")
    assert trainings[-1][3] == ("s2",)
    assert trainings[-1][0].name == "fast"
    masks = scenes.rename(tmp_path / "o'k") / "masks"  # the commands that are proposed can be typed
    _, out, _ = run("check", masks.with_name("images"), "--masks", masks, "--colors", "[0, 255]")
    *_, told = out.strip().partition("next            kerasgan ")
    code, out, _ = run(*shlex.split(told)[:-1], tmp_path / "last")
    assert (code, trainings[-1][1]) == (0, tmp_path / "last")
    report = shlex.split(out.splitlines()[2])
    assert report[:3] == ["kerasgan", "report", str(masks.with_name("images"))]
    assert {f"--masks={masks}", "[0, 255]", str(tmp_path / "last" / "names.txt")} <= set(report)


def test_pictures_are_converted(answer, run, tmp_path):
    (tmp_path / "deep").mkdir()
    pixels = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep" / "x.png")
    words = ("pictures", tmp_path / "deep", "--out", tmp_path / "out", "--low", 0, "--high", 4095)
    _, out, _ = run("convert", *words)
    assert out.startswith("1 picture written")
    *_, told = out.strip().partition("kerasgan check ")  # the command that is proposed works
    assert answer("check", *shlex.split(told))["images"] == 1


def test_the_check_of_converted_labels_knows_their_classes(answer, run, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    labels = np.repeat(np.arange(3, dtype=np.uint8), 16).reshape(6, 8, 1) * np.ones((1, 1, 3))
    for kind in ("scans", "labels"):
        (tmp_path / kind).mkdir()
        image = nibabel.Nifti1Image(labels.astype(np.uint8), np.eye(4))
        nibabel.save(image, tmp_path / kind / "a.nii.gz")
    words = ("--masks", tmp_path / "labels", "--classes", 3, "--out", tmp_path / "out")
    _, out, _ = run("convert", "nifti", tmp_path / "scans", *words)
    *_, told = out.strip().partition("kerasgan check ")
    assert answer("check", *shlex.split(told))["classes"] == 3


def test_time_left_is_shown_in_a_terminal_alone(monkeypatch, capsys):
    assert list(check.progress([1, 2], 2, "images")) == [1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(check.progress([1, 2], 2, "images"))
    assert "2/2 images, 0 s left" in capsys.readouterr().err


def test_a_network_of_windows_is_explained_over_the_whole_image(answer, refused, scenes, tmp_path):
    gan = kg.SegmentationGAN(kg.models.unet(size=16, filters=2, levels=1))
    set_framing(gan.generator, "window")
    gan.save(tmp_path / "model")
    images = scenes / "images"
    words = ("explain", images, "--model", tmp_path / "model", "--rule", "gradient")
    answer(*words, "--out", tmp_path / "maps", "--limit", 1)
    found = np.load(tmp_path / "maps" / "s0.npz")["relevance"]
    merged = kg.explain.MergedExplainer(gan, "gradient", mode="window")
    image = kg.data.load_folder(images, masks=None).image(0)[None]
    np.testing.assert_array_equal(found, merged.explain(image).relevance)
    last = refused(*words, "--out", tmp_path / "more", "--layers", "down_1")
    assert "--layers" in last


@pytest.mark.parametrize(
    "words",
    [
        ("check", "data", "--out", "file/a.png"),
        ("predict", "data/images", "--model", "data", "--out", "file/masks"),
        ("rank", "data/images", "--by", "random", "--out", "file/a.csv"),
        ("evaluate", "data", "--model", "data", "--out", "file/scores"),
        ("report", "data", "--model", "data", "--out", "file/report"),
        ("train", "data", "--out", "file/run"),
        ("export", "data", "--out", "file/a.onnx"),
    ],
)
def test_an_out_that_cannot_be_written_is_told_first(refused, scenes, monkeypatch, words):
    monkeypatch.chdir(scenes.parent)
    (scenes.parent / "file").write_text("somebody's")
    assert "Argument '--out' must be a path that can be written" in refused(*words)


def test_out_is_called_out_by_whatever_refuses_it(refused, scenes, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    words = ("report", scenes, "--model", model, "--out", tmp_path / "full")
    assert "Argument '--out' must be new or empty" in refused(*words)

import json

import numpy as np
import pytest
from PIL import Image
from scripts import run

import kerasgan as kg

DRAWN = ["--data", "data", "--rules", "epsilon"]


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for name in "abc":
            rng = np.random.default_rng((ord(name), part == "masks"))
            pixels = np.where(rng.random((32, 32)) < 0.3, 255, 0).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(tmp_path / "data" / part / f"{name}.png")
    return tmp_path


def save(folder, seed=0):
    kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2, seed=seed)).save(folder)


def test_a_report_is_written_from_the_command_line(folder):
    save(folder / "model")
    (folder / "names.txt").write_text("a\nc\n")
    (folder / "card.json").write_text(json.dumps({"licence": "MIT"}))
    options = ["--model", "model", "--out", "page", "--names", "names.txt", "--card", "card.json"]
    done = run("report", *DRAWN, *options, "--shown", "1", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("page/\n")
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    assert '<tr id="row-1">' in page
    assert '<tr id="row-2">' not in page
    assert "<dt>Licence</dt><dd>MIT" in page


def test_runs_are_compared_from_the_command_line(folder):
    save(folder / "first" / "model")
    save(folder / "second", seed=1)
    runs = ["--run", "first", "--run", "mine=second"]
    done = run("report", *DRAWN, *runs, "--out", "both", "--shown", "1", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    kept = (folder / "both" / "differences.csv").read_text(encoding="utf-8")
    assert kept.splitlines()[1].startswith("first,mine,accuracy,")
    done = run("report", *DRAWN, *runs, "--model", "second", cwd=folder)
    assert done.returncode == 1
    assert "Pass --model, or --run two or more times" in done.stderr

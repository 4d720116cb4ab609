import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

import kerasgan as kg

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "report.py"


def test_a_report_is_written_from_the_command_line(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for name in "abc":
            pixels = np.random.default_rng(ord(name)).integers(0, 2, (32, 32), np.uint8) * 255
            Image.fromarray(pixels).convert("RGB").save(tmp_path / "data" / part / f"{name}.png")
    kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2)).save(tmp_path / "model")
    (tmp_path / "names.txt").write_text("a\nc\n")
    (tmp_path / "card.json").write_text(json.dumps({"licence": "MIT"}))
    command = [sys.executable, str(SCRIPT), "--data", "data", "--model", "model", "--out", "page"]
    command += ["--names", "names.txt", "--card", "card.json", "--cases", "1", "--rules", "epsilon"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("page/\n")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert '<tr id="row-1">' in page
    assert '<tr id="row-2">' not in page
    assert "<dt>Licence</dt><dd>MIT" in page

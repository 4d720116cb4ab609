import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scripts import run

SMALL = ["--size", 32, "--filters", 2, "--batch-size", 4, "--epochs", 1, "--set", "generator=unet"]


def test_every_class_is_scored_and_explained(tmp_path):
    folder = tmp_path / "results"
    done = run("multi_class", "--results", folder, "--count", 24, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"Everything is in {folder}/" in done.stdout
    for line in ("polyp       jaccard ", "instrument  jaccard ", "instrument, margin  "):
        assert f"\n{line}" in done.stdout
    table = pd.read_csv(folder / "scores.csv")
    assert len(table) == 4
    assert {"dice_1", "dice_2", "hausdorff_95_2", "mean_surface_distance_1"} <= set(table)
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["recipe"]["classes"] == 3
    assert facts["images"] == {"training": 17, "validation": 3, "reported": 4}
    assert facts["scores"]["scores"]["dice_1"]["mean"] == pytest.approx(table["dice_1"].mean())
    for name in ("masks.png", "explanation.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name

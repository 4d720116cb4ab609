import pathlib
import subprocess
import sys

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
SMALL = ["--size=32", "--filters=2", "--epochs=1", "--seeds", "0"]


@pytest.fixture
def out_of_bounds(benchmark_module):
    return benchmark_module("out_of_bounds")


def points_left(image, box):
    """Whether the tall bar of a marker is its left one: more white in its left half."""
    white = (image.mean(-1) > 0) & box
    columns = np.flatnonzero(box.any(0))
    middle = columns.mean()
    beside = np.arange(box.shape[1])
    return white[:, beside < middle].sum() > white[:, beside > middle].sum()


@pytest.mark.parametrize(("kind", "same"), [("agree", True), ("against", False), ("bare", True)])
def test_markers_point_where_the_kind_of_scene_says(out_of_bounds, kind, same):
    for image, mask, box in zip(*out_of_bounds.scenes(kind, 4, 64, 3)):
        left = np.nonzero(mask[..., 0])[1].mean() < 31.5
        assert (points_left(image, box) == left) == same


def test_every_marker_lies_on_the_rim_that_is_out_of_bounds(out_of_bounds):
    _, _, boxes = out_of_bounds.scenes("bare", 8, 64, 5)
    rim = out_of_bounds.rim(64) > 0
    assert boxes.any((1, 2)).all()
    assert not (boxes & ~rim).any()
    assert rim.mean() < 0.35


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("out_of_bounds.py", ["--count=8", "--test=4"], "| painted |"),
        (
            "causes.py",
            ["--cues", "marker", "--rules", "gamma", "--count=16", "--test=8", "--steps=2"],
            "| marker | planted |",
        ),
    ],
)
def test_the_script_prints_its_table_and_goes_on_after_a_stop(tmp_path, script, options, said):
    command = [sys.executable, BENCHMARKS / script, *SMALL, *options, "--results", tmp_path]
    texts = []
    for _ in range(2):
        run = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr
        texts.append(run.stdout)
    assert said in texts[0]
    assert texts[0].endswith(texts[1])

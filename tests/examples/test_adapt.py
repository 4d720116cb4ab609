import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scripts import EXAMPLES, run

from kerasgan.explain import Explanation

SMALL = ["--size", 32, "--filters", 2, "--batch-size", 4, "--epochs", 1, "--count", 18]
SMALL += ["--adversarial-weight", 0, "--set", "generator=unet"]


@pytest.mark.parametrize(
    ("script", "channels"), [pytest.param("vessels", 3, marks=pytest.mark.slow), ("ultrasound", 1)]
)
def test_another_dataset_is_drawn_scored_and_explained(script, channels, tmp_path):
    folder = tmp_path / "results"
    done = run(script, "--results", folder, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"Everything is in {folder}/" in done.stdout
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["recipe"]["channels"] == channels
    assert facts["images"] == {"training": 13, "validation": 2, "reported": 3}
    tables = {
        name: pd.read_csv(folder / f"{file}.csv")
        for name, file in (("scores", "scores"), ("control", "scores_control"))
    }
    for score in ("jaccard", "dice"):
        network, threshold = (tables[name][score].mean() for name in ("scores", "control"))
        assert f"{score}: network {network:.3f}, best threshold {threshold:.3f}\n" in done.stdout
        assert facts["scores"]["scores"][score]["mean"] == pytest.approx(network)
    for name in ("masks.png", "explanation.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name
    assert Explanation.load(folder / "explanation.npz").relevance.shape == (3, 32, 32, channels)


@pytest.fixture(scope="module")
def scenes():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import scenes_other
    finally:
        sys.path.remove(str(EXAMPLES))
    return scenes_other


@pytest.mark.parametrize(("kind", "shape"), [("vessels", (64, 64, 3)), ("ultrasound", (64, 64))])
def test_scenes_depend_on_the_seed_alone_and_show_what_is_masked(kind, shape, scenes):
    draw = getattr(scenes, kind)
    drawn = [draw(64, (3, index)) for index in range(6)]
    again, other = draw(64, (3, 0)), draw(64, (4, 0))
    np.testing.assert_array_equal(drawn[0][0], again[0])
    np.testing.assert_array_equal(drawn[0][1], again[1])
    assert (drawn[0][0] != other[0]).mean() > 0.5
    darker = []
    for image, mask in drawn:
        assert (image.shape, image.dtype, mask.dtype) == (shape, np.uint8, np.uint8)
        assert set(np.unique(mask)) == {0, 1}
        grey = image.reshape(64, 64, -1).mean(-1)
        beside = _ring(mask) & (grey > 10)  # not the black frame
        darker.append(grey[beside].mean() - grey[mask == 1].mean())
    assert np.mean(darker) > 5


def _ring(mask):
    """Pixels within three of the mask, and not in it."""
    near = np.zeros_like(mask)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            near |= np.roll(mask, (dy, dx), (0, 1))
    return (near == 1) & (mask == 0)

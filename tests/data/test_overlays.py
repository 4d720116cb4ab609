"""Overlays show the image, and on it where the mask is."""

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from kerasgan.data.convert import to_overlays
from kerasgan.data.convert.overlays import COLOURS

RNG = np.random.default_rng(0)


@pytest.fixture
def images(tmp_path):
    for name in ("a", "sub/b"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 30)).astype(np.uint8)).save(path)
    return tmp_path / "images"


def test_regions_are_tinted_and_have_a_rim(images, tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[2:10, 3:12], mask[12:18, 20:29] = 1, 2
    paths = to_overlays({"a": mask, "sub/b": mask * 0}, images, tmp_path / "out", classes=3)
    assert paths == [tmp_path / "out" / "a.png", tmp_path / "out" / "sub" / "b.png"]
    drawn, plain = (np.asarray(Image.open(path)).astype(float) for path in paths)
    grey = [np.asarray(Image.open(images / f"{name}.png")) for name in ("a", "sub/b")]
    np.testing.assert_array_equal(plain, np.repeat(grey[1][..., None], 3, -1))
    for label in (1, 2):
        rows, columns = np.nonzero(mask == label)
        corner, inside = (rows[0], columns[0]), (rows[0] + 2, columns[0] + 2)
        assert tuple(drawn[corner]) == COLOURS[label - 1]
        expected = 0.7 * grey[0][inside] + 0.3 * np.array(COLOURS[label - 1])
        np.testing.assert_allclose(drawn[inside], expected, atol=0.51)
    np.testing.assert_array_equal(drawn[mask == 0], grey[0][mask == 0][:, None].repeat(3, -1))


def test_what_does_not_fit_is_refused(images, tmp_path):
    mask, out = np.ones((20, 30), bool), tmp_path / "out"
    refused("1 without mask: sub/b", to_overlays, {"a": mask}, images, out)
    refused("must have the size", to_overlays, {"a": mask, "sub/b": mask.T}, images, out)
    single = {"a": mask}, images / "a.png"
    to_overlays(*single, tmp_path / "one")
    refused("already holds 1 of the 1", to_overlays, *single, tmp_path / "one")

import json

import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.cli.command import main


@pytest.fixture
def run(capsys):
    """Run the command in this process: exit code, what is on stdout, what is on stderr."""

    def go(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return go


@pytest.fixture
def refused(run):
    """Run a command that must end in one line of error; return the line."""

    def go(*words):
        code, out, err = run(*words)
        assert (code, out) == (1, ""), err
        *before, last = err.splitlines()
        assert last.startswith("Error: ")
        assert not [line for line in before if "Traceback" in line or line.startswith("Error")]
        return last

    return go


@pytest.fixture
def answer(run):
    """Run a command with --json; return the object."""

    def go(*words):
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return go


@pytest.fixture
def scenes(tmp_path):
    """A folder with four images and masks of known foreground: 1/16, 2/16, 3/16 and 4/16."""
    for index in range(4):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, : 8 * (index + 1)] = 255
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        for part, picture in (("images", pixels), ("masks", mask)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "data" / part / f"s{index}.png")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A saved model that nothing was learnt by."""
    folder = tmp_path_factory.mktemp("models") / "model"
    kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1)).save(folder)
    return folder

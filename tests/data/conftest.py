"""Small folders of images and masks, made by the tests that need them."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def save(tmp_path):
    """Write an array, or random pixels of a shape, as a picture below `tmp_path`."""

    def write(name, array_or_shape, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array = array_or_shape
        if isinstance(array, tuple):
            array = np.random.default_rng(0).integers(0, 256, array).astype(np.uint8)
        Image.fromarray(array).save(path, **options)
        return str(path)

    return write


@pytest.fixture
def pairs(save, tmp_path):
    """Write `count` pairs of a colour image and a mask with foreground, of different sizes."""

    def write(count=6, folder="set"):
        rng = np.random.default_rng(1)
        for i in range(count):
            size = (20 + 3 * i, 26 - 2 * i)
            save(f"{folder}/images/x{i}.png", rng.integers(0, 256, (*size, 3)).astype(np.uint8))
            save(f"{folder}/masks/x{i}.png", (rng.random(size) > 0.5).astype(np.uint8) * 255)
        return tmp_path / folder

    return write

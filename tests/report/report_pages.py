"""Small models, images and pages for the tests of the report."""

import base64
import io

import keras
import numpy as np
from PIL import Image

import kerasgan as kg
from kerasgan.report import pictures


def network(classes=1, size=32, seed=0):
    """Two convolutions with biases; it draws what is red."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3))
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="down_1")(image)
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="down_2")(hidden)
    last = "sigmoid" if classes == 1 else "softmax"
    mask = keras.layers.Conv2D(classes, 1, activation=last, name="mask")(hidden)
    return keras.Model(image, mask, name="small")


def write_images(folder, names, classes=1, size=(40, 48), seed=0):
    """Write noise with a square of each class in it; return the samples."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
        mask = np.zeros(size, np.uint8)
        for label in range(1, max(classes, 2)):
            top, left = rng.integers(0, size[0] - 14), rng.integers(0, size[1] - 14)
            mask[top : top + 14, left : left + 14] = label
            pixels[top : top + 14, left : left + 14, label % 3] += 150
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask * (255 if classes == 1 else 1)).save(folder / "masks" / f"{name}.png")
    return kg.data.load_folder(folder, classes=classes)


def decode(uri):
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def values(drawn):
    """Read a map back from its colours, as the page does."""
    colours = np.asarray(decode(drawn.uri).convert("RGB")).astype(int)
    far = ((colours[:, :, None] - pictures.palette().astype(int)) ** 2).sum(-1)
    assert far.min(-1).max() == 0
    return (far.argmin(-1) - pictures.LEVELS) / pictures.LEVELS * drawn.limit

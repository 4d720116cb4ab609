"""Linear networks, fixed targets and images written to disk, for benchmark with a known answer."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import kerasgan as kg

SIDE = 16


def linear(kernel, classes=1):
    """A network of one convolution without bias: kernel (height, width[, 3[, classes]])."""
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim == 2:  # of the first channel
        kernel = kernel[..., None] * np.eye(3, dtype=np.float32)[0]
    kernel = kernel if kernel.ndim == 4 else kernel[..., None]
    image = keras.Input((SIDE, SIDE, 3))
    activation = "sigmoid" if classes == 1 else "softmax"
    layer = keras.layers.Conv2D(
        classes, kernel.shape[:2], padding="same", use_bias=False, activation=activation
    )
    model = keras.Model(image, layer(image))
    layer.set_weights([kernel])
    return model


@dataclasses.dataclass(frozen=True)
class Box(kg.explain.targets.Target):
    """The same pixels of every image, channel 0 or another."""

    top: int = 4
    left: int = 5
    side: int = 6
    channel: int = 0

    @property
    def mask(self):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[self.top : self.top + self.side, self.left : self.left + self.side] = True
        return mask

    def weights(self, logits):
        one = tf.one_hot(self.channel, logits.shape[-1], dtype=logits.dtype)
        return tf.zeros_like(logits) + tf.cast(self.mask, logits.dtype)[None, :, :, None] * one


def write(folder, images, masks=None):
    """Samples of images uint8 (count, height, width, 3), and masks (count, height, width)."""
    for kind, arrays in (("images", images), ("masks", masks)):
        if arrays is not None:
            (folder / kind).mkdir()
            for number, array in enumerate(arrays):
                array = array * 255 if kind == "masks" else array
                Image.fromarray(array.astype(np.uint8)).save(folder / kind / f"{number}.png")
    if masks is None:
        return kg.data.load_folder(images=folder / "images", masks=None)
    return kg.data.load_folder(folder)


def noise(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3))


def scaled(images):
    """Images as networks see them."""
    return images / 127.5 - 1

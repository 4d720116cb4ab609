"""Callbacks for `SegmentationGAN.fit`, beside those of Keras."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.outputs import to_probability
from kerasgan.validation import check_choice


class MaskImages(keras.callbacks.Callback):
    """Show a few images, their true masks and the masks drawn so far in TensorBoard.

    After every epoch one picture a case is written under the tag `masks`: image, truth, and the
    probability that the generator gives, side by side.

    Args:
        log_dir: TensorBoard's folder, as for `keras.callbacks.TensorBoard`.
        images: float32 (batch, height, width, channels) in [-1, 1]; all are shown.
        masks: (batch, height, width, classes) in {0, 1}.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
        >>> y = (x[..., :1] > 0).astype("float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shown = kg.training.MaskImages(folder, x, y)
        ...     history = gan.fit(x, y, verbose=0, callbacks=[shown])
    """

    def __init__(self, log_dir: str | os.PathLike, images: Any, masks: Any):
        super().__init__()
        self.log_dir = str(log_dir)
        self.images = np.asarray(images, "float32")
        self.masks = np.asarray(masks, "float32")
        self._writer: Any = None

    def on_train_begin(self, logs=None):
        """Open the event file."""
        self._writer = tf.summary.create_file_writer(self.log_dir, filename_suffix=".masks")

    def on_epoch_end(self, epoch, logs=None):
        """Write the pictures of this epoch."""
        output = self.model.generator(self.images, training=False)
        drawn = np.asarray(to_probability(output, self.model.activation))
        grey = (self.images.mean(-1, keepdims=True) + 1) / 2
        image = (self.images + 1) / 2 if self.images.shape[-1] == 3 else grey.repeat(3, -1)
        shown = [image, _as_grey(self.masks), _as_grey(drawn)]
        with self._writer.as_default(step=epoch):
            tf.summary.image("masks", np.concatenate(shown, axis=2), max_outputs=len(image))

    def on_train_end(self, logs=None):
        """Close the event file."""
        self._writer.close()


class SaveBest(keras.callbacks.Callback):
    """Save the GAN to a folder at the end of each epoch that is the best so far.

    `keras.callbacks.ModelCheckpoint` of Keras 3 writes single files, and a GAN is a folder.

    Args:
        folder: as of `SegmentationGAN.save`. A better epoch replaces what an earlier one wrote.
        monitor: the number among those logged that decides.
        mode: whether the highest (`"max"`) or the lowest (`"min"`) is the best.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
        >>> y = (x[..., :1] > 0).astype("float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     best = kg.training.SaveBest(f"{folder}/best", monitor="dice")
        ...     history = gan.fit(x, y, epochs=2, verbose=0, callbacks=[best])
        ...     again = kg.SegmentationGAN.load(f"{folder}/best")
        >>> best.best == max(history.history["dice"])
        True
    """

    def __init__(self, folder: str | os.PathLike, monitor: str = "val_dice", mode: str = "max"):
        super().__init__()
        self.mode = check_choice("mode", mode, ("max", "min"))
        self.folder, self.monitor = folder, monitor
        self.best: float | None = None

    def on_epoch_end(self, epoch, logs=None):
        """Save the GAN if this epoch is the best so far."""
        if self.monitor not in (logs or {}):
            raise KerasganError(
                f"Argument 'monitor' of SaveBest must be a number that is logged: "
                f"{', '.join(logs or {})}; those with 'val_' need validation_data. Received: "
                f"{self.monitor!r}"
            )
        value = float(logs[self.monitor])
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best = value
            self.model.save(self.folder)


def _as_grey(mask: np.ndarray) -> np.ndarray:
    """Draw classes as levels of grey, so that background is black and the last class white."""
    classes = mask.shape[-1]
    levels = np.ones(1) if classes == 1 else np.linspace(0, 1, classes)
    return (mask * levels).sum(-1, keepdims=True).repeat(3, -1)

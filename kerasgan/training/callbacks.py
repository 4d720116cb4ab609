"""Callbacks for `SegmentationGAN.fit`, beside those of Keras."""

from __future__ import annotations

import os

import keras

from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice


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
        >>> x, y = np.zeros((2, 32, 32, 3), "float32"), np.ones((2, 32, 32, 1), "float32")
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

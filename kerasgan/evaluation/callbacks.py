"""A callback that watches what a network looks at while it learns."""

from __future__ import annotations

import os
import pathlib
import warnings
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan.counts import count, score
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import largest_leak
from kerasgan.evaluation.regions import check_widths, parts_around, shares
from kerasgan.evaluation.result_cache import read_result
from kerasgan.evaluation.segmentation import save_table
from kerasgan.explain import Explainer, Explanation
from kerasgan.explain.explainer import Gates
from kerasgan.explain.methods import DEFAULT_RULE, RuleLike

TABLE = "explanations.csv"
COLUMNS = ("dice", "inside", "rim", "outside", "residual")


class WatchExplanations(keras.callbacks.Callback):
    """After every epoch, explain a few images and log where the relevance lies.

    Added to the epoch's logs, each with `explained_` before it, so that other callbacks after this
    one see them too:

    - `dice`: of the images' masks, mean.
    - `inside`, `rim`, `outside`: shares of absolute relevance inside the predicted mask, in the rim
      beside it and elsewhere, mean over the images in which something is predicted, NaN if none.
    - `residual`: the largest part of any layer's absolute relevance that the ledger cannot account
      for, NaN for methods without a ledger.

    The same goes to `explanations.csv`, the heatmaps to `epoch_0001.png` and so on, and both to
    TensorBoard. A run that is resumed goes on in the same files.

    Args:
        folder: Where everything goes; TensorBoard's `log_dir`.
        images: float32 (batch, height, width, channels) in [-1, 1]. Take a few, of the validation
            part: each is explained after each epoch.
        masks: (batch, height, width, classes) in {0, 1}.
        rule: As of `Explainer`.
        rim: Width of the rim in pixels, from 1 up.
        gates: As of `Explainer`.

    Example:
        >>> import tempfile
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
        >>> y = (x[..., :1] > 0).astype("float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     watch = kg.evaluation.WatchExplanations(folder, x, y)
        ...     history = gan.fit(x, y, verbose=0, callbacks=[watch])
        >>> sorted(name for name in history.history if name.startswith("explained"))[:2]
        ['explained_dice', 'explained_inside']
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        images: Any,
        masks: Any,
        rule: RuleLike = DEFAULT_RULE,
        *,
        rim: float = 4,
        gates: Gates | None = None,
    ):
        super().__init__()
        self.images, self.masks = np.asarray(images, "float32"), np.asarray(masks, "float32")
        if self.masks.ndim != 4 or self.masks.shape[:3] != self.images.shape[:3]:
            raise KerasganError(
                "Argument 'masks' must be (batch, height, width, classes), as the images are. "
                f"Received: {self.masks.shape} for images {self.images.shape}"
            )
        check_widths(rim)
        self.folder, self.rule, self.rim = pathlib.Path(folder), rule, rim
        self.gates = gates
        self._writer: Any = None
        self._explainer: Any = None
        self._rows = pd.DataFrame(columns=["epoch", *COLUMNS])

    def on_train_begin(self, logs=None):
        """Build the explainer, which follows the weights from then on, and open the files."""
        self._explainer = Explainer(self.model.generator, self.rule, "[-1,1]", gates=self.gates)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KerasganError(
                f"Argument 'folder' must be a folder to write into: {error}"
            ) from error
        earlier = read_result(self.folder / TABLE, "start it anew")
        self._rows = self._rows if earlier is None else earlier
        self._writer = tf.summary.create_file_writer(
            str(self.folder), filename_suffix=".explanations"
        )

    def on_epoch_end(self, epoch, logs=None):
        """Explain, and write what was found."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The target is empty")
            explanation = self._explainer.explain(self.images, layers=(), verbose=False)
        values = self._measured(explanation)
        row = pd.DataFrame([{"epoch": epoch + 1, **values}])
        before = self._rows[self._rows["epoch"] <= epoch]
        self._rows = row if before.empty else pd.concat([before, row], ignore_index=True)
        save_table(self._rows, self.folder / TABLE, overwrite=True)
        picture = self.folder / f"epoch_{epoch + 1:04}.png"
        explanation.plot(picture)
        with self._writer.as_default(step=epoch):
            for name, value in values.items():
                tf.summary.scalar(f"explained/{name}", value)
            tf.summary.image("explained", tf.io.decode_png(picture.read_bytes(), 3)[None])
        if logs is not None:
            logs.update({f"explained_{name}": value for name, value in values.items()})

    def on_train_end(self, logs=None):
        """Close the event file."""
        self._writer.close()

    def _measured(self, explanation: Explanation) -> dict[str, float]:
        first = 0 if self.masks.shape[-1] == 1 else 1
        drawn = np.asarray(explanation.prediction, float)[..., first:]
        counts = count(self.masks[..., first:], drawn, axis=(1, 2))
        target = np.any(explanation.target != 0, -1)
        sizes = np.abs(explanation.relevance.sum(-1, dtype=np.float64))
        lying = pd.DataFrame(shares(sizes, parts_around(target, self.rim)))[target.any((1, 2))]
        return {
            "dice": float(np.mean(score("dice", counts))),
            **{name: _mean(values.to_numpy()) for name, values in lying.items()},
            "residual": largest_leak(explanation.ledger),
        }


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")

"""`Explanation`: what an explainer found, to look at, save and draw."""

from __future__ import annotations

import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.explain.logits import predicted
from kerasgan.explain.propagate import COLUMNS
from kerasgan.storage import write_file


class Layers(Mapping):
    """Relevance arriving at the outputs of layers, by name.

    A name is that of a layer, or what it begins with: "down_3" stands for the last layer named
    "down_3_...". Layers that pass relevance on as it is share one array, which is made when it is
    first asked for.
    """

    def __init__(
        self, names: dict[str, str], arrays: dict[str, Any], parts: Mapping[str, str] | None = None
    ):
        self.names = names
        self.arrays = arrays
        self.parts = dict(parts or {})

    def __getitem__(self, name: str) -> np.ndarray:
        node = self.names[find_layer(name, self.names)]
        if not isinstance(self.arrays[node], np.ndarray):
            self.arrays[node] = self.arrays[node].numpy()
        return self.arrays[node]

    def describe(self, name: str) -> str:
        """Says where in the network a layer lies.

        Args:
            name: Of the layer, as for its relevance.

        Returns:
            "encoder 1/4", "bottleneck 1/16", "decoder 1/2" and so on: before, at or after the
            smallest maps, and the resolution relative to the image; "layer 1/1" where all maps are
            of one size; "" for what has no rows and columns, such as tokens.
        """
        return self.parts.get(find_layer(name, self.names), "")

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Layers({', '.join(self.names)})"


class Explanation:
    """What `Explainer.explain` found. Arrays are NumPy arrays, the first axis the batch.

    Attributes:
        images: As given.
        relevance: float32 (batch, height, width, channels), of the model's input.
        logits: float32 (batch, height, width, classes).
        target: float32, shape of the logits. The weights that relevance started from.
        layers: Relevance at layers, by name (see `Layers`).
        gates: As of `Explainer`.
        arrays: All but relevance at layers by name; "ledger" and "branches" hold the numbers of
            `ledger`, (rows, columns, batch), and of `skips`, (branches, batch).
        rows: Layer and kind of each row of "ledger".
        branches: Layer, source and path of each row of "branches".
        rule: Name of the rule, or how it is written.
        targets: What was explained in each image, likewise.

    Example:
        >>> e.save("e.npz")  # doctest: +SKIP
        >>> Explanation.load("e.npz").plot("e.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        names: dict[str, str],
        rows: Sequence[Sequence[str]] = (),
        branches: Sequence[Sequence[str]] = (),
        gates: Mapping[str, Sequence[int]] | None = None,
        parts: Mapping[str, str] | None = None,
        rule: str = "",
        targets: Sequence[str] = (),
    ):
        self.images = arrays["images"]
        self.relevance = arrays["relevance"]
        self.logits = arrays["logits"]
        self.target = arrays["target"]
        at_layers = {name: array for name, array in arrays.items() if name.startswith("layers/")}
        by_node = {name[7:]: array for name, array in at_layers.items()}
        self.layers = Layers(names, by_node, parts)
        self.gates = {name: tuple(indices) for name, indices in (gates or {}).items()}
        self.arrays = {name: array for name, array in arrays.items() if name not in at_layers}
        self.rows, self.branches = list(rows), list(branches)
        self.rule, self.targets = rule, list(targets)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Explanation({len(self)} images, {len(self.layers)} layers)"

    @property
    def prediction(self) -> np.ndarray:
        """The predicted mask, bool (batch, height, width, classes)."""
        return predicted(self.logits).numpy().astype(bool)

    @property
    def ledger(self) -> pd.DataFrame:
        """Where relevance went, one row for each layer and image, from the logits to the image.

        Columns: `image` (from 0); `layer`; `kind` (its class); `relevance_in`, what arrived at the
        layer's outputs; `relevance_out`, what left at its inputs; what went to the `bias`, to the
        `stabiliser`, and to outputs without contributions of the required sign (`unsupported`),
        each from its own formula; `absolute`, the sum of absolute relevance in; `remainder`, what
        is left of relevance in. Empty for what is not conserved: gradients, Grad-CAM, occlusion,
        RISE.
        """
        none = np.zeros((0, len(COLUMNS), 1))
        ledger = self.arrays.get("ledger", none).astype("float64")
        table = pd.DataFrame(ledger.transpose(2, 0, 1).reshape(-1, len(COLUMNS)), columns=COLUMNS)
        self._name_rows(table, self.rows, ("layer", "kind"), ledger.shape[-1])
        spent = ["relevance_out", "bias", "stabiliser", "unsupported"]
        table["remainder"] = table["relevance_in"] - table[spent].sum(axis=1, skipna=False)
        return table

    @property
    def skips(self) -> pd.DataFrame:
        """How relevance parts wherever paths meet: skip connections against the way down.

        Columns: `image`; `layer`, where paths meet (as in a Concatenate); `source`, the layer that
        a path comes from; `path`, "main" for the source computed last, "skip" for the others;
        `relevance` that goes there; `share` of the relevance at the logits. The "main" path of the
        last layer listed leads through the bottleneck of a U-Net.
        """
        parts = self.arrays.get("branches", np.zeros((0, 1))).astype("float64")
        table = pd.DataFrame({"relevance": parts.T.ravel()})
        self._name_rows(table, self.branches, ("layer", "source", "path"), parts.shape[-1])
        if len(table):
            start = self.arrays["ledger"][0, COLUMNS.index("relevance_in")].astype("float64")
            with np.errstate(divide="ignore", invalid="ignore"):
                table["share"] = table["relevance"] / start[table["image"]]
        return table

    def _name_rows(
        self, table: pd.DataFrame, entries: Sequence, columns: Sequence[str], images: int
    ) -> None:
        table.insert(0, "image", np.repeat(np.arange(images), len(entries)))
        for i, column in enumerate(columns):
            table.insert(i + 1, column, [entry[i] for entry in entries] * images)

    def save(self, path: str | os.PathLike) -> None:
        """Saves everything into one `.npz` file, without pickle.

        Args:
            path: Of the file. What does not end in `.npz` gets that ending, here and in `load`. An
                explanation of that name is replaced, once all of this one is written.
        """
        path = _npz(path)
        if path.exists() and not _is_explanation(path):
            raise KerasganError(
                f"Argument 'path' must not name a file of something else, since it would be lost. "
                f"Received: '{path}'"
            )
        layers = {f"layers/{name}": array for name, array in self.layers.arrays.items()}
        names: dict[str, Any] = {
            "names": self.layers.names,
            "rows": self.rows,
            "branches": self.branches,
        }
        names.update(gates=self.gates, parts=self.layers.parts)
        names.update(rule=self.rule, targets=self.targets)
        header = np.array(json.dumps(names))
        file = io.BytesIO()
        np.savez_compressed(file, header=header, **self.arrays, **layers)
        try:
            write_file(path, file.getvalue())
        except OSError as error:
            raise KerasganError(
                f"Argument 'path' must be a file in a folder that is there and can be written. "
                f"Received: '{path}' ({error.strerror})"
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> Explanation:
        """Loads what `save` wrote.

        Args:
            path: Of the file, with or without `.npz`.
        """
        given, path = pathlib.Path(path), _npz(path)
        path = given if given.is_file() and not path.is_file() else path
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = dict(file)
            return cls(arrays, **json.loads(str(arrays.pop("header"))))
        except FileNotFoundError:
            raise KerasganError(f"There is no file '{path}'") from None
        except Exception as error:  # numpy, zipfile and zlib have many for a broken file
            raise KerasganError(
                f"File '{path}' is no explanation saved by kerasgan, or is damaged ({error})"
            ) from error

    def plot(
        self,
        path: str | os.PathLike | None = None,
        layers: Sequence[str] | None = None,
        outlines: bool = True,
        names: Sequence[str] | None = None,
    ) -> Any:
        """Draws image, relevance and predicted mask, a row for each image.

        Relevance is drawn over the image, where zero is transparent, and beside it alone. Images
        share the scale of a column, and layers are named by where they lie
        (`e.layers.describe`). What is explained is outlined by a full line, the predicted mask,
        where it is another, by a dotted one. Above stand rule and target, below each row the name
        of the image, if there is one, and the share of the explained logits that reached the
        pixels, where the ledger accounts for all of them and they do not cancel.

        Args:
            path: Of the picture to write; None to only return the figure.
            layers: Names of layers to draw too, from the image to the logits; None picks up to
                three of those kept.
            outlines: Whether there are outlines, which can hide thin structures.
            names: Of the images, one each, as `samples.names` has them.

        Returns:
            The `matplotlib.figure.Figure`.
        """
        from kerasgan.explain.draw import draw, write_figure

        return write_figure(draw(self, layers, outlines, names), path)


def _npz(path: str | os.PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    return path if path.name.endswith(".npz") else path.parent / f"{path.name}.npz"


def _is_explanation(path: pathlib.Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return "header.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def find_layer(name: str, names: Mapping[str, Any]) -> str:
    """Finds a layer's full name."""
    if name in names:
        return name
    stage = [full for full in names if full.startswith(f"{name}_")]
    if stage:
        return stage[-1]
    hint = did_you_mean(name, names) or f"There are: {list(names)}"
    raise KerasganError(
        f"No relevance at a layer {name!r}. {hint} Layers to keep are named in explain(layers=...)"
    )

"""What every way back begins with: masks by name, and the table of where pictures came from."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union

import numpy as np
import pandas as pd

from kerasgan.data.convert import sources
from kerasgan.data.files import IMAGE_SUFFIXES
from kerasgan.data.folders import list_some
from kerasgan.data.masks import read_mask
from kerasgan.errors import KerasganError
from kerasgan.storage import file_keys, write_file
from kerasgan.tables import unescape_formula
from kerasgan.validation import check_path, invalid

Arrays = Union[str, os.PathLike, Mapping[str, Any]]
KEY = "source_key"
"""The column of a manifest that tells whether a source is still what was converted."""


class Maps:
    """Arrays (height, width) by name, each read when it is asked for."""

    def __init__(self, names: Iterable[str], read: Callable[[str], np.ndarray], what: str = "Mask"):
        self.names, self._read, self._what = sorted(names), read, what

    def __call__(self, name: str, size: tuple[int, int], source: object) -> np.ndarray:
        """Return an array, which must have the size of the image that it belongs to."""
        array = self._read(name)
        if array.shape != tuple(size):
            raise KerasganError(
                f"{self._what} {name!r} must have the size of its image {source}: {size[0]} x "
                f"{size[1]}. Received: {' x '.join(map(str, array.shape))}"
            )
        return array


def find_masks(masks: Arrays, labels: int) -> Maps:
    """Find masks of labels 0 to `labels`, in files or arrays; they are read as uint8."""
    if isinstance(masks, Mapping):
        return Maps(_named(masks, "masks"), lambda name: _labels(masks[name], name, labels))
    paths = {}
    for file in sources.find_files(masks, "masks", sources.suffix_in(IMAGE_SUFFIXES)):
        name = "/".join(file.parts)
        if name in paths:
            raise KerasganError(f"Two masks bear the name {name!r}: {paths[name]}, {file.path}.")
        paths[name] = file.path
    return Maps(paths, lambda name: _read_mask(str(paths[name]), labels))


def find_relevance(relevance: Any) -> Maps:
    """Check relevance by name; channels are added up."""
    if not isinstance(relevance, Mapping):
        raise invalid("relevance", "a dictionary from names of pictures to arrays", relevance)

    def read(name: str) -> np.ndarray:
        values = np.asarray(relevance[name])
        if values.dtype.kind not in "buif" or values.ndim not in (2, 3):
            raise KerasganError(
                f"Relevance of {name!r} must hold numbers, (height, width) or (height, width, "
                f"channels). Received: {values.dtype} values of shape {values.shape}"
            )
        with np.errstate(over="ignore"):
            values = values.astype(np.float64).reshape(*values.shape[:2], -1).sum(-1)
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise KerasganError(f"Relevance of {name!r} must be finite in 32 bits.")
        return values

    return Maps(_named(relevance, "relevance"), read, "Relevance of")


def _read_mask(path: str, labels: int) -> np.ndarray:
    """A mask of labels; of one label it may also be black and white."""
    if labels > 1:
        return read_mask(path, labels + 1)
    try:
        return read_mask(path, 1)
    except KerasganError:
        with contextlib.suppress(KerasganError):
            return read_mask(path, 2)
        raise


def _named(arrays: Mapping, argument: str) -> list[str]:
    if not arrays or not all(isinstance(name, str) for name in arrays):
        raise invalid(argument, "a dictionary from names of pictures to arrays", list(arrays)[:3])
    return list(arrays)


def _labels(mask: Any, name: str, labels: int) -> np.ndarray:
    array = np.asarray(mask)
    fits = array.ndim == 2 and array.dtype.kind in "bui"
    if not fits or (array.size and not 0 <= array.min() <= array.max() <= labels):
        held = f", {array.min()} to {array.max()}" if fits and array.size else ""
        raise KerasganError(
            f"Mask {name!r} must be (height, width), boolean or whole numbers from 0 to {labels}. "
            f"Received: {array.dtype} values of shape {array.shape}{held}"
        )
    return array.astype(np.uint8)


def check_names(argument: str, names: Any, default: str) -> list[str]:
    """Check what labels 1 to n are called; None stands for one with a default name."""
    if names is None:
        return [default]
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if not listed or not 0 < len(set(names)) == len(names) < 255 or not all(map(str.strip, names)):
        raise invalid(argument, "a list of different names, for labels 1, 2 and so on", names)
    return list(names)


def read_origins(
    pictures: str | os.PathLike, maps: Maps, column: str, written_by: str
) -> pd.DataFrame:
    """Read the rows of a manifest that arrays belong to; their sources must be as they were."""
    folder = check_path("pictures", pictures, f"a folder that {written_by} wrote")
    path = folder / "manifest.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        table = table.rename(columns=unescape_formula)
    except (OSError, ValueError) as error:
        raise KerasganError(
            f"Argument 'pictures' must be a folder that {written_by} wrote, with its manifest.csv. "
            f"Received: {folder} ({error})"
        ) from error
    if not {"name", "source", KEY, column} <= set(table.columns):
        raise KerasganError(
            f"Argument 'pictures' must be a folder that {written_by} wrote. Received: {folder}, "
            f"whose manifest.csv has the columns {', '.join(table.columns)}. If an earlier version "
            f"wrote it, convert again."
        )
    for name in ("name", "source"):
        table[name] = table[name].map(unescape_formula)
    table = table.set_index("name", drop=False)
    unknown = sorted(set(maps.names) - set(table.index))
    if unknown or not table.index.is_unique:
        raise KerasganError(
            f"Every mask must bear the name of a picture in {path}, and each name stand there "
            f"once. Received: {list_some(unknown, 'masks of other names') or 'a name twice'}"
        )
    table = table[table.index.isin(maps.names)]
    for source, key in dict(zip(table["source"], table[KEY])).items():
        if not os.path.isfile(source):
            raise KerasganError(
                f"Source {source} of a picture in {folder} is not there (seen from {os.getcwd()}). "
                f"Put it back, or convert again and predict on that."
            )
        if file_keys([source])[0] != key:
            raise KerasganError(
                f"Source {source} has changed since {folder} was made of it, so masks need not fit "
                f"it. Convert again and predict on that."
            )
    return table


def free_paths(out: str | os.PathLike, names: Iterable[str], ending: str) -> list[pathlib.Path]:
    """Return where files go, none of which may be there."""
    folder = check_path("out", out, "a folder")
    if folder.exists() and not folder.is_dir():
        raise KerasganError(f"Argument 'out' must be a folder. Received: {folder} (a file)")
    paths = [folder / f"{name}{ending}" for name in names]
    refuse_existing(paths)
    return paths


def refuse_existing(paths: Sequence[pathlib.Path]) -> None:
    """Refuse to write where something is."""
    existing = [path for path in paths if os.path.lexists(path)]
    if existing:
        raise KerasganError(
            f"Argument 'out' already holds {len(existing)} of the {len(paths)} files to write, "
            f"such as {existing[0]}. Nothing is overwritten: pass another"
        )


def write_new(path: pathlib.Path, content: bytes | memoryview | str) -> None:
    """Write a file whole, with the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    except OSError as error:
        raise KerasganError(f"Argument 'out' cannot be written: {path} ({error})") from error

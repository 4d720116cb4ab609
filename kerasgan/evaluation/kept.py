"""Folders of long work: made once, gone on with only by the same call, never mixed up."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.segmentation import save_table
from kerasgan.tables import as_it_was

__all__ = ["as_json", "checksum", "claim", "fingerprint", "keep", "read_kept"]


def fingerprint(samples: Samples) -> str:
    """Say which images and masks these are, by their names and the sizes of their files.

    Args:
        samples: Labelled or unlabelled `Samples`.

    Returns:
        Their number and a SHA-256.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> fingerprint(samples)[:3]
        '2, '
    """
    digest = hashlib.sha256()
    columns = [samples.names, samples.image_paths]
    if samples.mask_paths is not None:
        columns.append(samples.mask_paths)
    for name, *paths in zip(*columns):
        digest.update(repr((name, [os.path.getsize(path) for path in paths])).encode())
    return f"{len(samples)}, {digest.hexdigest()}"


def checksum(model: keras.Model) -> str:
    """Return the SHA-256 of a network's weights.

    Example:
        >>> import kerasgan as kg
        >>> len(checksum(kg.models.unet(size=32, filters=2, levels=2)))
        64
    """
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def as_json(facts: dict[str, Any], what: str) -> dict[str, Any]:
    """Return facts as JSON gives them back, or raise a `KerasganError` that names `what`."""
    try:
        return json.loads(json.dumps(facts))
    except (TypeError, ValueError) as error:
        raise KerasganError(f"{what} must be what JSON can hold. Received: {error}") from error


def claim(folder: pathlib.Path, facts: dict[str, Any], name: str, kept: str) -> None:
    """Make a folder, or make sure that it is of the same call.

    Args:
        folder: New, empty, or claimed before.
        facts: What must be the same to go on in it, as JSON gives it back.
        name: Of the file that holds the facts.
        kept: What the folder holds, for errors, such as "folds".

    Raises:
        KerasganError: If it was claimed with other facts, holds something else, or cannot be
            written.
    """
    file = folder / name
    try:
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8-sig"))
            other = [key for key, value in facts.items() if found.get(key) != value]
            if other:
                raise KerasganError(
                    f"Argument 'folder' holds the {kept} of other {', '.join(other)}: {folder}. "
                    "Pass another folder"
                )
            return
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise KerasganError(
                f"Argument 'folder' must be new, empty, or of an earlier call. Received: {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    except KerasganError:
        raise
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise KerasganError(
            f"Argument 'folder' must be a folder that can be written and holds no damaged {name}. "
            f"Received: {folder} ({error})"
        ) from error


def keep(table: pd.DataFrame, file: pathlib.Path) -> None:
    """Write a table as CSV, whole or not at all."""
    unfinished = file.with_name(f"{file.name}.part")
    save_table(table, unfinished, overwrite=True)
    os.replace(unfinished, file)


def read_kept(
    file: pathlib.Path, again: str, of: str = "images", **columns: list
) -> pd.DataFrame | None:
    """Read what `keep` wrote.

    Args:
        file: The CSV.
        again: What deleting it leads to, for the error, such as "train this fold again".
        of: What there is a row for, for the error.
        **columns: Columns of text by name, with the values that they were written with, which a
            CSV does not keep if they look like numbers or like nothing.

    Returns:
        The table, None if there is no such file.

    Raises:
        KerasganError: If the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        kinds = dict.fromkeys(columns, str)
        table = pd.read_csv(file, dtype=kinds, float_precision="round_trip")
        table = table.rename(columns=as_it_was)
        for name in table.select_dtypes(exclude="number"):
            table[name] = table[name].map(as_it_was)
        for name, values in columns.items():
            if len(table) != len(values):
                raise ValueError(f"{len(table)} rows for {len(values)} {of}")
            table[name] = values
    except (OSError, ValueError, KeyError) as error:
        raise KerasganError(f"File {file} is damaged: {error}. Delete it to {again}") from error
    return table

"""Folders of long work: made once, gone on with only by the same call, never mixed up."""

from __future__ import annotations

import hashlib
import json
import pathlib
import warnings
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan._version import __version__
from kerasgan.errors import KerasganError
from kerasgan.evaluation.segmentation import save_table
from kerasgan.storage import key, write
from kerasgan.tables import as_it_was

__all__ = ["checksum", "claim", "keep", "read_kept"]


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


def claim(folder: pathlib.Path, facts: dict[str, Any], name: str, kept: str) -> None:
    """Make a folder, or make sure that it is of the same call with the same content.

    Args:
        folder: New, empty, or claimed before.
        facts: Whatever the kept results depend on, by name; the folder keeps a `key` of each.
        name: Of the file that holds the facts.
        kept: What the folder holds, for errors, such as "folds".

    Raises:
        KerasganError: If it was claimed with other facts or by another version of kerasgan,
            TensorFlow or Keras, holds something else, or cannot be written; or if the content of a
            fact cannot be known.
    """
    file = folder / name
    keys = {
        fact: key(value, f"Argument 'folder' cannot be used with this '{fact}'")
        for fact, value in facts.items()
    }
    shown = {fact: value for fact, value in facts.items() if isinstance(value, (int, float, str))}
    versions = {"kerasgan": __version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    stamp = {**shown, **versions, "keys": keys}
    try:
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8-sig"))
            for name, version in versions.items():
                if found.get(name) != version:
                    raise KerasganError(
                        f"Argument 'folder' holds the {kept} of another version of {name}, which "
                        f"may have measured otherwise: {folder}. Pass another folder"
                    )
            there = found["keys"]
            other = [fact for fact in {**keys, **there} if keys.get(fact) != there.get(fact)]
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
        write(file, json.dumps(stamp, indent=1) + "\n")
    except KerasganError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KerasganError(
            f"Argument 'folder' must be a folder that can be written and holds no damaged {name}. "
            f"Received: {folder} ({error})"
        ) from error


def keep(table: pd.DataFrame, file: pathlib.Path) -> None:
    """Write a table as CSV, whole or not at all."""
    save_table(table, file, overwrite=True)


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
        with warnings.catch_warnings():
            # pandas before 3.1 has to be asked for every digit; later ones deprecate that.
            warnings.filterwarnings("ignore", "The 'float_precision'", DeprecationWarning)
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

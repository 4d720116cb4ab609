"""The folder that a conversion writes: pictures, masks, and a table of where they came from.

It appears as a whole, once everything is converted, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Callable, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from kerasgan.errors import KerasganError
from kerasgan.storage import atomic_replace
from kerasgan.tables import csv_bytes
from kerasgan.validation import check_path

_LONGEST = 48
_RESERVED = ("images", "image", "masks", "mask", "con", "prn", "aux", "nul")


class Picture(NamedTuple):
    """One picture to write."""

    name: str
    image: np.ndarray | pathlib.Path
    mask: np.ndarray | None
    row: dict


Source = tuple[str, Callable[[], Iterator[Picture]]]


def safe_name(*parts: str) -> str:
    """Make a sample name of parts that may hold anything.

    Letters, digits, `.`, `-` and `_` stay. A part that had to be changed, or that means something
    to `load_folder` or a file system, ends in a hash of what it was, so two never become one.
    """
    return "/".join(map(_safe_part, parts))


def write_folder(out: str | os.PathLike, sources: Iterable[Source]) -> pd.DataFrame:
    """Write the pictures of all sources, and the table of them, into a new folder."""
    folder = check_path("out", out, "a folder")
    taken: dict[str, str] = {}
    rows = []
    try:
        _check_new(folder)
        with atomic_replace(folder) as fresh:
            for key, pictures in sources:
                for name, image, mask, row in pictures():
                    _reserve_name(taken, name, key)
                    if mask is not None:
                        _save(fresh / "masks" / f"{name}.png", mask)
                    ending = image.suffix.lower() if isinstance(image, pathlib.Path) else ".png"
                    _save(fresh / "images" / f"{name}{ending}", image)
                    rows.append({"name": name, **row})
            table = pd.DataFrame(rows)
            _save(fresh / "manifest.csv", csv_bytes(table))
    except OSError as error:
        raise KerasganError(f"Argument 'out' must be a folder to write into: {error}") from error
    return table


def _safe_part(part: str) -> str:
    kept = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", part))
    kept = kept[:_LONGEST].lstrip("._").rstrip(".")
    special = kept.lower().split(".")[0] in _RESERVED or kept.lower().endswith("_mask")
    if kept == part and kept and not special:
        return kept
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept or 'x'}-{digest}"


def _check_new(folder: pathlib.Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise KerasganError(f"Argument 'out' must be a folder. Received: {folder} (a file)")
    existing = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if existing:
        raise KerasganError(
            f"Argument 'out' must be a new or an empty folder. Received: {folder}, which holds "
            f"{', '.join(map(repr, existing[:3]))}{', ...' if len(existing) > 3 else ''}"
        )


def _reserve_name(taken: dict[str, str], name: str, key: str) -> None:
    """Note a name; file systems may not tell upper from lower case, so names differ by more."""
    other = taken.get(name.casefold())
    if other is not None:
        raise KerasganError(f"Two pictures would bear the name {name!r}: of {other} and of {key}.")
    taken[name.casefold()] = key


def _save(path: pathlib.Path, content: np.ndarray | pathlib.Path | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        picture = Image.fromarray(np.ascontiguousarray(content))
        picture.save(path, "PNG", compress_level=3)
    else:
        path.write_bytes(content.read_bytes() if isinstance(content, pathlib.Path) else content)

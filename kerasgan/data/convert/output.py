"""The folder that a conversion writes: pictures, masks, and a table of where they came from.

A hidden file, `.conversion.jsonl`, holds the settings in its first line and then one line for each
source that is done. Pictures appear whole or not at all, and a source counts as done only after
its last picture, so a conversion that was stopped goes on with the first source not in the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
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
from kerasgan.storage import write_file
from kerasgan.tables import csv_bytes
from kerasgan.validation import check_path

_PROGRESS = ".conversion.jsonl"
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


def write_folder(out: str | os.PathLike, settings: dict, sources: Iterable[Source]) -> pd.DataFrame:
    """Write the pictures of all sources, going on with an interrupted conversion."""
    folder = check_path("out", out, "a folder")
    progress = folder / _PROGRESS
    done = _resume(folder, json.loads(json.dumps(settings)))
    taken, rows = {}, []
    for key, pictures in sources:
        if key in done:
            for row in done[key]:
                _reserve_name(taken, row["name"], key)
            rows += done[key]
            continue
        written = []
        for name, image, mask, row in pictures():
            _reserve_name(taken, name, key)
            if mask is not None:
                _save(folder / "masks" / f"{name}.png", mask)
            copied = isinstance(image, pathlib.Path)
            _save(folder / "images" / f"{name}{image.suffix.lower() if copied else '.png'}", image)
            written.append({"name": name, **row})
        with _explained(), open(progress, "a", encoding="utf-8") as file:
            file.write(json.dumps({"source": key, "rows": written}) + "\n")
        rows += written
    table = pd.DataFrame(rows)
    _save(folder / "manifest.csv", csv_bytes(table))
    return table


def _safe_part(part: str) -> str:
    kept = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", part))
    kept = kept[:_LONGEST].lstrip("._").rstrip(".")
    special = kept.lower().split(".")[0] in _RESERVED or kept.lower().endswith("_mask")
    if kept == part and kept and not special:
        return kept
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept or 'x'}-{digest}"


def _resume(folder: pathlib.Path, settings: dict) -> dict[str, list[dict]]:
    """The rows of the sources that are done; the progress file is there afterwards."""
    progress = folder / _PROGRESS
    with _explained():
        if folder.exists() and not folder.is_dir():
            raise KerasganError(f"Argument 'out' must be a folder. Received: {folder} (a file)")
        folder.mkdir(parents=True, exist_ok=True)
        lines = progress.read_bytes().split(b"\n") if progress.is_file() else []
        existing = sorted(file.name for file in folder.iterdir() if file.name != _PROGRESS)
    entries = list(_complete_lines(lines))
    if not entries and existing:
        raise KerasganError(
            f"Argument 'out' must be a new or an empty folder. Received: {folder}, which holds "
            f"{', '.join(map(repr, existing[:3]))}{', ...' if len(existing) > 3 else ''}"
        )
    if entries and entries[0] != settings:
        changed = sorted(
            name for name in {*entries[0], *settings} if entries[0].get(name) != settings.get(name)
        )
        raise KerasganError(
            f"Argument 'out' holds a conversion with other settings ({', '.join(changed)}): "
            f"{folder}. Pass the same settings to go on with it, or another folder."
        )
    entries = [settings, *filter(_is_done, entries[1:])]
    _save(progress, "".join(json.dumps(entry) + "\n" for entry in entries).encode())
    return {entry["source"]: entry["rows"] for entry in entries[1:]}


def _complete_lines(lines: list[bytes]) -> Iterator[dict]:
    """The lines up to one that was cut off while it was written."""
    with contextlib.suppress(ValueError, RecursionError):
        entries = (json.loads(line.decode("utf-8-sig")) for line in lines)
        yield from itertools.takewhile(lambda entry: isinstance(entry, dict), entries)


def _is_done(entry: dict) -> bool:
    rows = entry.get("rows")
    if not isinstance(entry.get("source"), str) or not isinstance(rows, list):
        return False
    return all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)


def _reserve_name(taken: dict[str, str], name: str, key: str) -> None:
    """Note a name; file systems may not tell upper from lower case, so names differ by more."""
    other = taken.get(name.casefold())
    if other is not None:
        raise KerasganError(f"Two pictures would bear the name {name!r}: of {other} and of {key}.")
    taken[name.casefold()] = key


def _save(path: pathlib.Path, content: np.ndarray | pathlib.Path | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    if isinstance(content, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(content)).save(buffer, "PNG", compress_level=3)
        content = buffer.getvalue()
    elif isinstance(content, pathlib.Path):
        content = content.read_bytes()
    with _explained():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KerasganError(f"Argument 'out' must be a folder to write into: {error}") from error

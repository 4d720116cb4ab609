"""Reading archives that a stranger made: nothing in them climbs out or swells."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pathlib
import stat
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from kerasgan.errors import KerasganError

LIMIT = 2 * 2**30
ENTRIES = 256
CHUNK = 2**20
TEXT_LIMIT = 16 * 2**20


@contextlib.contextmanager
def name_in_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn what goes wrong when an archive is read into a `KerasganError` that names it."""
    try:
        yield
    except KerasganError:
        raise
    except Exception as error:  # zipfile and zlib have no common error for broken files
        reason = str(error) or type(error).__name__
        raise load_error(path, reason) from error


def entries_of(
    archive: zipfile.ZipFile, path: pathlib.Path, limit: int = LIMIT
) -> dict[str, zipfile.ZipInfo]:
    """List the files in an archive, all of which can be unpacked without harm."""
    infos = archive.infolist()
    if len(infos) > ENTRIES:
        raise load_error(path, f"it has {len(infos)} entries, more than the {ENTRIES} allowed")
    size = sum(info.file_size for info in infos)
    if size > limit:
        raise load_error(
            path,
            f"it would take {size / 1e6:.1f} MB unpacked, above the limit of {limit / 1e6:.1f} MB",
        )
    seen: set[str] = set()
    for info in infos:
        problem = _problem(info)
        if info.orig_filename.casefold() in seen:
            problem = "is there twice"
        if problem:
            raise load_error(path, f"its entry {info.orig_filename!r} {problem}")
        seen.add(info.orig_filename.casefold())
    return {info.filename: info for info in infos}


def unpack(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: pathlib.Path, target: BinaryIO
) -> str:
    """Unpack one file of an archive, but not one byte more than it declares."""
    digest, left = hashlib.sha256(), entry.file_size
    with archive.open(entry) as source:
        while left >= 0 and (piece := source.read(min(CHUNK, left + 1))):
            left -= len(piece)
            digest.update(piece)
            target.write(piece)
    if left:
        raise load_error(path, f"its entry {entry.filename!r} has not the size that it declares")
    return digest.hexdigest()


def check_names(names, wanted: set[str], path: pathlib.Path) -> None:
    """Raise unless an archive holds these files and no others."""
    missing, extra = sorted(wanted - set(names)), sorted(set(names) - wanted)
    if missing:
        raise load_error(path, f"{', '.join(map(repr, missing))} is missing")
    if extra:
        raise load_error(path, f"{', '.join(map(repr, extra[:5]))} does not belong there")


def read_json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: pathlib.Path) -> Any:
    """Read a file of plain data, 16 MiB at most."""
    if entry.file_size > TEXT_LIMIT:
        raise load_error(
            path, f"its entry {entry.filename!r} is too large: {entry.file_size} bytes"
        )
    text = io.BytesIO()
    unpack(archive, entry, path, text)
    try:
        return json.loads(text.getvalue().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise load_error(path, f"its entry {entry.filename!r} is broken: {error}") from error


def _problem(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename
    if "\\" in name or ":" in name or name.startswith("/") or ".." in name.split("/"):
        return "names a path outside of it"
    if name.endswith("/"):
        return "is a folder by itself"
    if not name.isprintable() or not {"", "."}.isdisjoint(name.split("/")):
        return "has a name that not every system knows"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device, not a file"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a method that is not read"
    return None


def load_error(path: pathlib.Path, reason: str) -> KerasganError:
    """What is raised where an archive cannot be loaded for this reason."""
    return KerasganError(f"'{path.name}' cannot be loaded: {reason}")

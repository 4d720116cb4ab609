"""Puts a folder in place as a whole, and never over what it did not write itself."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator

from kerasgan.errors import KerasganError
from kerasgan.storage import atomic_replace, file_sha256, is_new_or_empty, write_file
from kerasgan.validation import check_writable

MANIFEST = "report.json"


def check_report_folder(folder: str | os.PathLike, overwrite: bool = False) -> pathlib.Path:
    """Make sure that a folder may be written."""
    path = pathlib.Path(folder).resolve()
    if path.exists() and not path.is_dir():
        raise KerasganError(f"Argument 'folder' must be a folder. Received: the file {path}")
    check_writable("folder", path)
    if is_new_or_empty(path):
        return path
    written = _manifest(path)
    if written is None:
        raise KerasganError(
            f"Argument 'folder' must be new or empty; {path} holds other files, which are left as "
            "they are. Pass another folder"
        )
    if not overwrite:
        raise KerasganError(
            f"Argument 'folder' holds an earlier report: {path}. Pass another folder, or "
            "overwrite=True to replace it"
        )
    present = _files(path)
    others = [name for name in present if present[name] != written.get(name) and name != MANIFEST]
    if others:
        raise KerasganError(
            f"Argument 'folder' holds files that were added to the report or changed since: "
            f"{', '.join(others[:5])}{' and others' if len(others) > 5 else ''}. Move them out of "
            f"{path}, or pass another folder"
        )
    return path


@contextlib.contextmanager
def replace_report_folder(folder: pathlib.Path, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Give a new folder beside another to write into, and exchange the two at the end.

    If anything is raised meanwhile, a `KeyboardInterrupt` too, the new folder is removed and the
    old one stays as it was.
    """
    try:
        with atomic_replace(folder, lambda folder: check_report_folder(folder, overwrite)) as new:
            new.mkdir()
            yield new
            write_file(new / MANIFEST, json.dumps({"files": _files(new)}, indent=1) + "\n")
    except OSError as error:
        raise KerasganError(
            f"Argument 'folder' cannot be written. Received: {folder} ({error})"
        ) from error


def _files(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there; "none" for links and devices."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        if plain or path.is_symlink() or not path.is_dir():
            digest = file_sha256(path) if plain else "none"
            digests[path.relative_to(folder).as_posix()] = digest
    return digests


def _manifest(folder: pathlib.Path) -> dict[str, str] | None:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8-sig"))["files"]
        return {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

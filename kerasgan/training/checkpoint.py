"""Folders written whole or not at all, and told apart from broken ones by their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

__all__ = ["broken", "free_space", "replacing", "seal", "standing"]

SUMS = "checksums.json"


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Fill a new folder beside another, then put it in that one's place.

    Everything has reached the disk before the names change, so that a power cut leaves the old
    folder or the new one, never a part of either. On an error the old one stays as it was.

    Args:
        folder: what to replace; need not exist.

    Yields:
        The new folder, `folder` with `.new` appended, empty.

    Raises:
        OSError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "notes"
        >>> with replacing(folder) as fresh:
        ...     _ = (fresh / "note.txt").write_text("kept")
        >>> (folder / "note.txt").read_text()
        'kept'
    """
    fresh, old = _beside(folder, ".new"), _beside(folder, ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in fresh.rglob("*"):
            _to_disk(path)
        _to_disk(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    _to_disk(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def standing(folder: pathlib.Path) -> pathlib.Path:
    """Return where a folder's content is, if `replacing` was killed between its two renamings.

    Example:
        >>> standing(pathlib.Path("nowhere")).name
        'nowhere'
    """
    old = _beside(folder, ".old")
    return old if old.is_dir() and not folder.exists() else folder


def seal(folder: pathlib.Path) -> None:
    """Write the SHA-256 sums of a folder's files into the folder.

    Args:
        folder: without folders in it.

    Raises:
        OSError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "note.txt").write_text("kept")
        >>> seal(folder)
        >>> _ = (folder / "note.txt").write_text("lost")
        >>> broken(folder)
        "'note.txt' has changed since it was written"
    """
    sums = {path.name: _sum(path) for path in sorted(folder.iterdir())}
    (folder / SUMS).write_text(json.dumps(sums, indent=2), encoding="utf-8")


def broken(folder: pathlib.Path) -> str | None:
    """Return what is wrong with a sealed folder; None if nothing is, or it was never sealed.

    Example:
        >>> import tempfile
        >>> broken(pathlib.Path(tempfile.mkdtemp())) is None
        True
    """
    try:
        if not (folder / SUMS).exists():
            return None
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, wanted in sums.items():
            if _sum(folder / name) != wanted:
                return f"'{name}' has changed since it was written"
    except FileNotFoundError as error:
        return f"'{pathlib.Path(error.filename).name}' is missing"
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"it cannot be read: {error}"
    return None


def free_space(folder: pathlib.Path) -> str:
    """Return the free space where a folder is or would be, in words.

    Example:
        >>> free_space(pathlib.Path("/nowhere")).endswith("MiB free")
        True
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.1f} MiB free"
    except OSError:
        return "free space unknown"


def _beside(folder: pathlib.Path, ending: str) -> pathlib.Path:
    return folder.with_name(folder.name + ending)


def _sum(path: pathlib.Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            total.update(part)
    return total.hexdigest()


def _to_disk(path: pathlib.Path) -> None:
    """Wait until a file, or a folder's list of files, has left the system's memory."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

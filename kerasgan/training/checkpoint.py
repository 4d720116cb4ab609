"""Folders told apart from broken ones by their checksums."""

from __future__ import annotations

import json
import pathlib
import shutil

from kerasgan.storage import file_sha256

__all__ = ["find_damage", "free_space", "write_checksums"]

SUMS = "checksums.json"


def write_checksums(folder: pathlib.Path) -> None:
    """Write the SHA-256 sums of a folder's files into the folder.

    Args:
        folder: without folders in it.

    Raises:
        OSError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "note.txt").write_text("kept")
        >>> write_checksums(folder)
        >>> _ = (folder / "note.txt").write_text("lost")
        >>> find_damage(folder)
        "'note.txt' has changed since it was written"
    """
    sums = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    (folder / SUMS).write_text(json.dumps(sums, indent=2), encoding="utf-8")


def find_damage(folder: pathlib.Path) -> str | None:
    """Return what is wrong with a sealed folder; None if nothing is, or it was never sealed.

    Example:
        >>> import tempfile
        >>> find_damage(pathlib.Path(tempfile.mkdtemp())) is None
        True
    """
    try:
        if not (folder / SUMS).exists():
            return None
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, wanted in sums.items():
            if file_sha256(folder / name) != wanted:
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

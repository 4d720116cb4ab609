"""Walking through a folder and all below it, whoever made it."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections import deque
from typing import Callable

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.text import one_form

__all__ = ["files_below"]

# What macOS, Windows, network storage and Linux leave in folders; what begins with a dot besides.
_LEFT_BEHIND = (
    "#recycle",
    "$recycle.bin",
    "__macosx",
    "@eadir",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "network trash folder",
    "system volume information",
    "temporary items",
    "thumbs.db",
)


def files_below(
    root: pathlib.Path, wanted: Callable[[str], bool]
) -> dict[pathlib.PurePosixPath, pathlib.Path]:
    """Find files in a folder and in all folders below it.

    Links are followed, to files and to folders. A folder is read once, under its own name if it
    has one below `root`, however many links lead to it; so loops end. What is hidden, or left
    behind by an operating system, is left out.

    Args:
        root: The folder.
        wanted: Says by a file's name whether it is looked for.

    Returns:
        The files, sorted, by their paths below `root` in one Unicode form (NFC).

    Raises:
        KerasganError: If a folder cannot be read, a wanted name is a link that leads nowhere, or
            two paths differ in their Unicode form only.

    Example:
        >>> for name in ("a/x.png", "a/._x.png", "a/Thumbs.db"):
        ...     pathlib.Path("tree", name).parent.mkdir(parents=True, exist_ok=True)
        ...     pathlib.Path("tree", name).touch()
        >>> [str(key) for key in files_below(pathlib.Path("tree"), lambda name: True)]
        ['a/x.png']
    """
    found: dict[pathlib.PurePosixPath, pathlib.Path] = {}
    read: set[tuple[int, int]] = set()
    # Links wait until every folder is read that has a name of its own.
    folders, links = deque([(root, pathlib.PurePosixPath(), ())]), deque()
    while folders or links:
        folder, key, above = (folders or links).popleft()
        try:
            facts = os.stat(folder)
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise KerasganError(f"Folder {folder} cannot be read: {error}") from error
        identity = facts.st_dev, facts.st_ino
        if identity in read:
            if identity not in above:
                warnings.warn(
                    f"Link {folder} leads to a folder that is read already, as a part of {root} "
                    f"or by another link ({folder.resolve()}). It is not read twice; copy it "
                    f"if it has to be.",
                    KerasganWarning,
                    stacklevel=2,
                )
            continue
        read.add(identity)
        for name in names:
            file, below = folder / name, key / one_form(name)
            if name.startswith(".") or name.lower() in _LEFT_BEHIND:
                continue
            if file.is_dir():
                (links if file.is_symlink() else folders).append((file, below, (*above, identity)))
            elif wanted(below.name):
                _check(file, below, found)
                if file.is_file():
                    found[below] = file
            elif file.is_symlink() and not file.exists():
                warnings.warn(f"Link {file} leads nowhere.", KerasganWarning, stacklevel=2)
    return dict(sorted(found.items()))


def _check(file: pathlib.Path, key: pathlib.PurePosixPath, found: dict) -> None:
    if file.is_symlink() and not file.exists():
        raise KerasganError(
            f"File {file} is a link that leads nowhere, to {os.readlink(file)}. Fetch the file, or "
            f"remove the link."
        )
    if key in found:
        raise KerasganError(
            f"Files {str(found[key])!a} and {str(file)!a} have one name, in two Unicode forms. "
            f"Rename one, or remove it."
        )

"""Finding image and mask files in the layouts that data sets come in."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence

from kerasgan.data.files import ENDINGS
from kerasgan.data.walking import files_below
from kerasgan.errors import KerasganError

__all__ = ["find_pairs", "some", "without_ending"]

_PLAIN = {"image": "image", "images": "image", "mask": "mask", "masks": "mask"}
_ROLES = {
    **dict.fromkeys(("img", "imgs", "frame", "frames", "scan", "scans"), "image"),
    **dict.fromkeys(
        ("label", "labels", "gt", "groundtruth", "groundtruths", "seg", "segs"), "mask"
    ),
    **dict.fromkeys(("annotation", "annotations", "segmentation", "segmentations"), "mask"),
}
_SUFFIXES = ("mask", "masks", "segmentation", "label", "labels", "groundtruth", "gt", "seg")
_SUFFIXES = tuple(mark + word for word in _SUFFIXES for mark in "_-")


def find_pairs(
    path: str | os.PathLike | None, images: str | os.PathLike | None, masks: object
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path] | None]:
    """Find image files and their masks, by name; `load_folder` says what is found.

    Args:
        path: A folder in a known layout.
        images: Instead of `path`, the folder with the images.
        masks: The folder with the masks, None for unlabelled, `...` to find them in `path`.

    Returns:
        Image files by name, and mask files by the same names, or None when unlabelled.

    Raises:
        KerasganError: If a folder is missing or empty, or names do not pair up.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> folder = tempfile.mkdtemp()
        >>> samples = synthetic.write_dataset(folder, count=2, size=32)
        >>> images, masks = find_pairs(folder, None, ...)
        >>> sorted(images)
        ['polyp_0000', 'polyp_0001']
    """
    if (path is None) == (images is None):
        raise KerasganError("Pass either 'path' or 'images', and not both.")
    if path is not None and masks is not ... and masks is not None:
        raise KerasganError(
            "Argument 'masks' goes with 'images'; with 'path' it is found, or None for unlabelled."
        )
    if images is not None and masks is ...:
        raise KerasganError(
            "Argument 'masks' must be given with 'images': a folder, or None for unlabelled."
        )
    if path is not None or _same(images, masks):
        image_files, mask_files = _by_role(images if path is None else path, masks is not None)
    else:
        image_files = _files(images, "images")
        mask_files = None if masks is None else _files(masks, "masks")
    image_files = _by_name(image_files, "images")
    if mask_files is not None:
        mask_files = _by_name(mask_files, "masks", image_files)
        _check_pairs(image_files, mask_files)
    return image_files, mask_files


def _by_role(folder: str | os.PathLike, labelled: bool) -> tuple[dict, dict | None]:
    found = _files(folder, "path")
    roles = {key: _role(key) for key in found}
    _check_folders(folder, roles, ("image", "mask") if labelled else ("image",))
    roles = {key: role and role[0] for key, role in roles.items()}
    if labelled and "mask" not in roles.values():
        names = {without_ending(str(key)) for key in found}
        roles.update({key: "mask" for key in found if _is_mask_name(key, names)})
    if "image" not in roles.values():
        roles = {key: role or "image" for key, role in roles.items()}
    images, masks = {}, {}
    for key, file in found.items():
        named = {"image": images, "mask": masks}.get(roles[key])
        if named is not None:
            other = named.setdefault(_without_role(key), file)
            if other != file:
                raise KerasganError(f"Two {roles[key]}s bear one name: {other} and {file}.")
    folders = ", ".join(sorted({str(key.parent) for key in found} - {"."})[:8]) or "none"
    advice = (
        f"Folders with pictures in it: {folders}. If one is meant, pass images=... and masks=..."
    )
    if not images:
        raise KerasganError(f"Folder {folder} has masks but no images. {advice}")
    if labelled and not masks:
        raise KerasganError(
            f"Folder {folder} has {len(images)} images but no masks: neither a folder such as "
            f"'masks' or 'labels' nor files named like x_mask.png. {advice} For unlabelled images "
            "pass masks=None."
        )
    return images, masks if labelled else None


def _check_folders(folder: str | os.PathLike, roles: dict, asked: Sequence[str]) -> None:
    """Refuse two folders of one role in one place."""
    places = {}
    for key, found in roles.items():
        if found is not None and found[0] in asked:
            role, index = found
            name = "/".join(key.parts[: index + 1])
            places.setdefault((role, key.parts[:index]), set()).add(name)
    for (role, _), names in places.items():
        if len(names) > 1:
            raise KerasganError(
                f"Folder {folder} has several folders for {role}s: {', '.join(sorted(names))}. "
                "Pass images=... and masks=... to say which are meant."
            )


def _files(folder: str | os.PathLike, argument: str) -> dict[pathlib.PurePosixPath, pathlib.Path]:
    """The image files below a folder, by their path in it."""
    try:
        root = pathlib.Path(folder)
    except TypeError:
        raise KerasganError(
            f"Argument '{argument}' must be the path of a folder. Received: {folder!r}"
        ) from None
    if not root.is_dir():
        what = "a file" if root.exists() else "not there"
        raise KerasganError(f"Argument '{argument}' must be a folder. Received: {root} ({what})")
    found = files_below(root, lambda name: pathlib.PurePath(name).suffix.lower() in ENDINGS)
    if not found:
        folders = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8])
        raise KerasganError(
            f"Folder {root} holds no image files ({', '.join(ENDINGS)}). Folders in it: "
            f"{folders or 'none'}. If the files lie elsewhere, pass images=... and masks=..."
        )
    return found


def _role(key: pathlib.PurePosixPath) -> tuple[str, int] | None:
    """What the folders of a file say that it is, and which of them does."""
    parts = [re.sub("[-_ ]", "", part.lower()) for part in key.parts[:-1]]
    for index in reversed(range(len(parts))):
        if parts[index] in _PLAIN:
            return _PLAIN[parts[index]], index
    for role in ("mask", "image"):
        for index, part in enumerate(parts):
            if _ROLES.get(part) == role:
                return role, index
    return None


def _without_role(key: pathlib.PurePosixPath) -> pathlib.PurePosixPath:
    """`case1/images/x.png` -> `case1/x.png`."""
    role, parts = _role(key), list(key.parts)
    if role is not None:
        del parts[role[1]]
    return pathlib.PurePosixPath(*parts)


def _is_mask_name(key: pathlib.PurePosixPath, names: set[str]) -> bool:
    name = without_ending(str(key))
    return name.lower().endswith("_mask") or _without_suffix(name) in names - {name}


def _without_suffix(name: str) -> str:
    suffix = next((one for one in _SUFFIXES if name.lower().endswith(one)), "")
    return name[: len(name) - len(suffix)]


def without_ending(name: str) -> str:
    """Drop the ending of an image file from a name, and no other.

    Args:
        name: A file or sample name.

    Returns:
        The name without `.png`, `.JPG` and the like.

    Example:
        >>> without_ending("case1/frame.01.JPG")
        'case1/frame.01'
    """
    ending = pathlib.PurePosixPath(name).suffix
    return name[: -len(ending)] if ending.lower() in ENDINGS else name


def _by_name(files: dict, what: str, images: dict | None = None) -> dict[str, pathlib.Path]:
    named = {}
    for key, file in files.items():
        name = without_ending(str(key))
        if images is not None and name not in images:
            plain = _without_suffix(name)
            if plain in images or name.lower().endswith("_mask"):
                name = plain
        if name in named:
            raise KerasganError(f"Two {what} bear the name {name!r}: {named[name]} and {file}.")
        named[name] = file
    return named


def _same(a: str | os.PathLike, b: str | os.PathLike | None) -> bool:
    return b is not None and os.path.realpath(a) == os.path.realpath(b)


def _check_pairs(images: dict, masks: dict) -> None:
    lonely = [
        some(sorted(set(images) - set(masks)), "without mask"),
        some(sorted(set(masks) - set(images)), "masks without image"),
    ]
    if any(lonely):
        raise KerasganError(
            f"Every image must have a mask of the same name. Received {len(images)} images, "
            f"{'; '.join(filter(None, lonely))}."
        )


def some(names: Sequence[str], what: str) -> str:
    """Count names and show the first five, for an error.

    Args:
        names: All of them.
        what: What they are.

    Returns:
        The text, empty if there are no names.

    Example:
        >>> some(["a", "b"], "unknown names")
        '2 unknown names: a, b'
    """
    if not names:
        return ""
    return f"{len(names)} {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"

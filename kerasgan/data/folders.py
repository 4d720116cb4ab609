"""Finding image and mask files in the layouts that data sets come in."""

from __future__ import annotations

import os
import pathlib
import re
from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import Callable

from kerasgan.data.files import IMAGE_SUFFIXES
from kerasgan.data.pairing import by_image_name, folder_advice, pairing_advice, without_mark
from kerasgan.errors import KerasganError, warn
from kerasgan.text import normalize_unicode
from kerasgan.validation import check_folder

_PLAIN = {"image": "image", "images": "image", "mask": "mask", "masks": "mask"}
_ROLES = {
    **dict.fromkeys(("img", "imgs", "frame", "frames", "scan", "scans"), "image"),
    **dict.fromkeys(
        ("label", "labels", "gt", "groundtruth", "groundtruths", "seg", "segs"), "mask"
    ),
    **dict.fromkeys(("annotation", "annotations", "segmentation", "segmentations"), "mask"),
    **{"imagestr": "image", "labelstr": "mask"},  # of nnU-Net
}
_SUFFIXES = ("mask", "masks", "segmentation", "label", "labels", "groundtruth", "gt", "seg")
_SUFFIXES = tuple(mark + word for word in _SUFFIXES for mark in "_-")

_LIKE_MASKS = re.compile("mask|label|gt|truth|seg|annot|manual|expert|observer|target")

_UNREAD = (
    ".avif",
    ".dcm",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".jp2",
    ".npy",
    ".pgm",
    ".ppm",
    ".webp",
)

_SCANS = {"nifti": (".nii", ".nii.gz"), "dicom": (".dcm", ".dicom", ".ima")}

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


def find_pairs(
    path: str | os.PathLike | None, images: str | os.PathLike | None, masks: object
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path] | None]:
    """Find image files and mask files, by name; `load_folder` says what is found.

    Whether each has its other is checked by `kerasgan.data.headers.check_files`.
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
    if path is not None or (masks and os.path.realpath(images) == os.path.realpath(masks)):
        image_files, mask_files = _by_role(images if path is None else path, masks is not None)
    else:
        image_files = _image_files(images, "images")
        mask_files = None if masks is None else _image_files(masks, "masks")
    image_files = _by_name(image_files, "images")
    if mask_files is not None:
        mask_files = by_image_name(image_files, _by_name(mask_files, "masks", image_files))
    return image_files, mask_files


def _by_role(folder: str | os.PathLike, labelled: bool) -> tuple[dict, dict | None]:
    files = _image_files(folder, "path")
    roles = {key: _role(key) for key in files}
    _check_folders(folder, roles, ("image", "mask") if labelled else ("image",))
    roles = {key: role and role[0] for key, role in roles.items()}
    if "mask" not in roles.values():
        names = {strip_suffix(str(key)) for key in files}
        names |= {without_mark(name, "image") for name in names}
        named_so = [key for key in files if _is_mask_name(key, names, sure=not labelled)]
        roles.update(dict.fromkeys(named_so, "mask"))
        if named_so and not labelled:
            warn(
                f"Masks are not read, and what is named as the mask of an image beside it is left "
                f"out: {list_some([*map(str, named_so)], 'files')}"
            )
    if "image" not in roles.values():
        roles = {key: role or "image" for key, role in roles.items()}
    images, masks = {}, {}
    for key, file in files.items():
        named = {"image": images, "mask": masks}.get(roles[key])
        if named is not None:
            other = named.setdefault(_without_role(key), file)
            if other != file:
                raise KerasganError(f"Two {roles[key]}s bear one name: {other} and {file}.")
    if not images:
        raise KerasganError(f"Folder {folder} has masks but no images. {_advice(folder, files)}")
    if labelled and not masks:
        raise KerasganError(
            f"Folder {folder} has {len(images)} images but no masks: neither a folder such as "
            f"'masks' or 'labels' nor files named like x_mask.png. {_advice(folder, files)} For "
            "unlabelled images pass masks=None."
        )
    if labelled:
        _warn_of_other_masks(folder, roles, len(masks))
    return images, masks if labelled else None


def _warn_of_other_masks(folder: str | os.PathLike, roles: dict, count: int) -> None:
    """Warn of folders that may hold the masks too, such as a reader's drawings beside `mask`."""
    beside = Counter(key.parent for key, role in roles.items() if role is None)
    for other, number in beside.items():
        if number == count and _LIKE_MASKS.search(other.name.lower()):
            warn(
                f"Folder {pathlib.Path(folder) / other} is not read, and may hold masks: it has as "
                "many pictures as the one that masks are read from. If it is meant, pass "
                "images=... and masks=..."
            )


def _advice(folder: str | os.PathLike, files: Collection[pathlib.PurePosixPath]) -> str:
    """Say which folders there are, and which line reads those that may be meant."""
    folders = sorted({str(key.parent) for key in files} - {"."})
    tops = sorted({key.parts[0] for key in files if key.parent.name})
    of_masks = [top for top in tops if _LIKE_MASKS.search(top.lower())]
    pair = [*(top for top in tops if top not in of_masks), *of_masks]
    known = len(pair) == 2 and len(of_masks) == 1
    pair = pair if len(pair) == 2 else ["...", "..."]
    line = folder_advice(*(f"{folder}{os.sep}{part}" for part in pair))
    line += ", or the other way round" * (not known and "..." not in pair)
    return f"Folders with pictures in it: {', '.join(folders[:8]) or 'none'}. {line}."


def _check_folders(folder: str | os.PathLike, roles: dict, asked: Sequence[str]) -> None:
    """Refuse two folders of one role beside each other."""
    folders_of = {}
    for key, (role, index) in ((key, found) for key, found in roles.items() if found):
        name = "/".join(key.parts[: index + 1])
        folders_of.setdefault((role, key.parts[:index]), set()).add(name)
    for (role, _), names in folders_of.items():
        if len(names) > 1 and role in asked:
            raise KerasganError(
                f"Folder {folder} has several folders for {role}s: {', '.join(sorted(names))}. "
                "Pass images=... and masks=... to say which are meant."
            )


def _image_files(
    folder: str | os.PathLike, argument: str
) -> dict[pathlib.PurePosixPath, pathlib.Path]:
    """The image files below a folder, by their path in it."""
    root = check_folder(argument, folder)
    known = (*IMAGE_SUFFIXES, *_UNREAD)
    files = files_below(root, lambda name: pathlib.PurePath(name).suffix.lower() in known)
    unread = [str(key) for key in files if key.suffix.lower() in _UNREAD]
    files = {key: files[key] for key in files if key.suffix.lower() not in _UNREAD}
    if not files:
        _refuse_scans(root)
    if unread:
        warn(
            f"Only {', '.join(IMAGE_SUFFIXES)} are read in {root}. "
            f"{list_some(unread, 'are left out')}. Save them as PNG if they are meant."
        )
    if not files:
        folders = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8])
        raise KerasganError(
            f"Folder {root} holds no image files ({', '.join(IMAGE_SUFFIXES)}). Folders in it: "
            f"{folders or 'none'}. If the files lie elsewhere, pass images=... and masks=..."
        )
    return files


def _refuse_scans(root: pathlib.Path) -> None:
    """Raise if a folder holds scans, and say how they become pictures."""
    for kind, endings in _SCANS.items():
        scans = files_below(root, lambda name, of=endings: name.lower().endswith(of))
        if not scans:
            continue
        places = {"image": set(), "mask": set()}
        for key, role in ((key, _role(key)) for key in scans):
            if role is not None:
                places[role[0]].add(root.joinpath(*key.parts[: role[1] + 1]))
        images, masks = (one.pop() if len(one) == 1 else None for one in places.values())
        marked = "" if masks is None else f", masks='{masks}'"
        raise KerasganError(
            f"Folder {root} holds no pictures but {list_some([*map(str, scans)], 'scans')}. Make "
            f"pictures of them: kerasgan.data.convert.from_{kind}('{images or root}', 'pictures'"
            f"{marked}), or in a shell `kerasgan convert {kind}`; then load the folder 'pictures'"
        )


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


def _is_mask_name(key: pathlib.PurePosixPath, names: set[str], sure: bool) -> bool:
    name = strip_suffix(str(key))
    plain = _without_suffix(name)
    plain = without_mark(name, "mask") if plain == name else plain
    return (plain != name and plain in names) or (name.lower().endswith("_mask") and not sure)


def _without_suffix(name: str) -> str:
    suffix = next((one for one in _SUFFIXES if name.lower().endswith(one)), "")
    return name[: len(name) - len(suffix)]


def strip_suffix(name: str) -> str:
    """Drop the ending of an image file from a name, and no other."""
    ending = pathlib.PurePosixPath(name).suffix
    return name[: -len(ending)] if ending.lower() in IMAGE_SUFFIXES else name


def _by_name(files: dict, what: str, images: dict | None = None) -> dict[str, pathlib.Path]:
    named = {}
    for key, file in files.items():
        name = strip_suffix(str(key))
        if images is not None and name not in images:
            plain = _without_suffix(name)
            if plain in images or name.lower().endswith("_mask"):
                name = plain
        if name in named:
            raise KerasganError(f"Two {what} bear the name {name!r}: {named[name]} and {file}.")
        named[name] = file
    return named


def check_pairs(images: Collection[str], masks: Collection[str], advice: str = "") -> None:
    """Refuse names of images that no mask has, or of masks that no image has."""
    unpaired = [
        list_some(sorted(set(images) - set(masks)), "without mask"),
        list_some(sorted(set(masks) - set(images)), "masks without image"),
    ]
    if any(unpaired):
        advice = advice or pairing_advice(images, masks)
        advice = advice or "Give each mask the name of its image, and move away what has no other."
        raise KerasganError(
            f"Every image must have a mask of the same name. Received {len(images)} images, "
            f"{'; '.join(filter(None, unpaired))}. {advice}"
        )


def list_some(names: Sequence[str], what: str, most: int = 5) -> str:
    """Count names and show the first few, for an error."""
    if not names:
        return ""
    return f"{len(names)} {what}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"


def files_below(
    root: pathlib.Path, wanted: Callable[[str], bool]
) -> dict[pathlib.PurePosixPath, pathlib.Path]:
    """Find files in a folder and in all folders below it.

    Links are followed, to files and to folders. A folder is read once, under its own name if it
    has one below `root`, however many links lead to it; so loops end. What is hidden, or left
    behind by an operating system, is left out.
    """
    files: dict[pathlib.PurePosixPath, pathlib.Path] = {}
    read: set[tuple[int, int]] = set()
    # Links wait until every folder is read that has a name of its own.
    folders, links = deque([(root, pathlib.PurePosixPath(), ())]), deque()
    while folders or links:
        folder, key, above = (folders or links).popleft()
        try:
            status = os.stat(folder)
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise KerasganError(f"Folder {folder} cannot be read: {error}") from error
        identity = status.st_dev, status.st_ino
        if identity in read:
            if identity not in above:
                warn(
                    f"Link {folder} leads to a folder that is read already, as a part of {root} "
                    f"or by another link ({folder.resolve()}). It is not read twice; copy it "
                    f"if it has to be."
                )
            continue
        read.add(identity)
        for name in names:
            file, below = folder / name, key / normalize_unicode(name)
            if name.startswith(".") or name.lower() in _LEFT_BEHIND:
                continue
            if file.is_dir():
                (links if file.is_symlink() else folders).append((file, below, (*above, identity)))
            elif file.is_symlink() and not file.exists():
                if not wanted(below.name):
                    warn(f"Link {file} leads nowhere.")
                    continue
                raise KerasganError(
                    f"File {file} is a link that leads nowhere, to {os.readlink(file)}. Fetch the "
                    "file, or remove the link."
                )
            elif wanted(below.name) and file.is_file():
                if below in files:
                    raise KerasganError(
                        f"Files {str(files[below])!a} and {str(file)!a} have one name, in two "
                        "Unicode forms. Rename one, or remove it."
                    )
                files[below] = file
    return dict(sorted(files.items()))

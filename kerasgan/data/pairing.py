"""Why names of images and masks do not agree, and what to do about it."""

from __future__ import annotations

import difflib
import os
import pathlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")

_UNDERSTOOD = (
    "Folders that are understood are called image(s), img(s), frame(s) or scan(s), and mask(s), "
    "label(s), gt, ground truth, annotation(s), segmentation(s) or seg(s), in any case"
)
_FURTHER = re.compile(r"(.+)[-_ ](mask|label|seg|gt)[-_ ]?\d+", re.IGNORECASE)
_WORDS = {
    "image": "images?|imgs?|frames?|scans?",
    "mask": "masks?|labels?|gt|ground[-_ ]?truths?|segs?|segmentations?|annotations?",
}
_MARKED = {
    role: [rf"(?:{words})(?:[-_ ]+|(?=\d))(.+)", rf"(.+)[-_ ]+(?:{words})"]
    for role, words in _WORDS.items()
}
_MARKED["image"].append("(.+)_0000")  # the first channel of a case, as nnU-Net calls it
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_MOST = 200
"""Names that a name is compared with."""


def folder_advice(images: str | os.PathLike, masks: str | os.PathLike) -> str:
    """Say which names of folders are understood, and the line that reads these two."""
    return (
        f"{_UNDERSTOOD}. For others pass images=... and masks=...: "
        f"load_folder(images='{images}', masks='{masks}')"
    )


def without_mark(name: str, role: str) -> str:
    """Leave out what says that a file is an image, or a mask: `img_1`, `1_mask`, `1/mask`."""
    folder, slash, last = name.rpartition("/")
    if folder and re.fullmatch(_WORDS[role], last, re.IGNORECASE):
        return folder
    for pattern in _MARKED[role]:
        match = re.fullmatch(pattern, last, re.IGNORECASE)
        if match is not None:
            return f"{folder}{slash}{match[1]}"
    return name


def by_image_name(images: Collection[str], masks: Mapping[str, T]) -> dict[str, T]:
    """Give masks the names of the images that they go with, where marks alone keep them apart.

    That is so if all names agree without the marks of images, of masks, or of both.
    """
    masks, wanted = dict(masks), set(images)
    for marked in (("image",), ("mask",), ("image", "mask")):
        if masks.keys() == wanted:
            break
        image_of, mask_of = (
            {without_mark(name, role) if role in marked else name: name for name in names}
            for role, names in (("image", images), ("mask", masks))
        )
        whole = len(image_of) == len(images) and len(mask_of) == len(masks)
        if whole and image_of.keys() == mask_of.keys():
            masks = {image_of[name]: masks[mask_of[name]] for name in mask_of}
    return masks


def pairing_advice(images: Collection[str], masks: Collection[str]) -> str:
    """Say what makes names of images and masks differ, or nothing; mappings lead to their files."""
    further = next((name for name in images if _is_further_mask(name, images)), None)
    if further is not None:
        first = _FURTHER.fullmatch(further)[1]
        return f"{further} looks like a further mask of {first}. {_merge()}"
    channels = [match for match in map(_CHANNEL.fullmatch, images) if match is not None]
    if len(channels) == len(images) and len({match[2] for match in channels}) > 1:
        return (
            f"Names such as {channels[0][0]} and {channels[1][0]} are those of channels, which "
            "nnU-Net keeps in files of their own; an image is one file here. Copy those of one "
            "channel, *_0000, to another folder, or merge up to three into the colours of a "
            "picture, such as by PIL.Image.merge."
        )
    crowded = _several_masks(images, masks)
    if crowded is not None:
        return f"Folder {crowded} has several masks of one image. {_merge()}"
    plain = [_without_folder(names) for names in (images, masks)]
    advice = ""
    if plain != [list(images), list(masks)]:
        places = [_place(names) for names in (images, masks)]
        advice = folder_advice(*places) if None not in places else _UNDERSTOOD
        if set(plain[0]) == set(plain[1]):
            return f"{advice}."
    return f"{advice}. {_difference(*plain)}" if advice else _difference(*plain)


def _merge() -> str:
    return (
        "An image has one mask: merge the masks of an image into one file, such as by numpy.maximum"
        "."
    )


def _is_further_mask(name: str, images: Collection[str]) -> bool:
    match = _FURTHER.fullmatch(name)
    return match is not None and match[1] in images


def _several_masks(images: Collection[str], masks: Collection[str]) -> str | None:
    """Return a folder with one image, and several masks that are called otherwise."""
    folders = [Counter(name.rpartition("/")[0] for name in names) for names in (images, masks)]
    alone = {name.rpartition("/")[0] for name in set(images) - set(masks)}
    crowded = (x for x in sorted(alone) if x and folders[0][x] == 1 < folders[1][x])
    return next(crowded, None)


def _without_folder(names: Collection[str]) -> list[str]:
    """Names without the one folder that all of them lie in."""
    parts = [name.split("/", 1) for name in names]
    alike = len({part[0] for part in parts}) == 1 and all(len(part) == 2 for part in parts)
    return [part[1] for part in parts] if alike else list(names)


def _place(names: Collection[str]) -> str | None:
    """Return the folder that the files of a mapping lie in, below which names agree."""
    if not isinstance(names, Mapping):
        return None
    plain, above = _without_folder(names)[0], pathlib.PurePath(next(iter(names.values()))).parents
    return str(above[min(plain.count("/"), len(above) - 1)])


def _difference(images: list[str], masks: list[str]) -> str:
    """Say in what all names differ, if that is one thing."""
    ways = {
        "upper and lower case": str.casefold,
        "zeros before numbers": lambda name: re.sub(r"0*(\d+)", r"\1", name),
    }
    for what, plain in ways.items():
        if set(map(plain, images)) == set(map(plain, masks)):
            return f"They differ in {what} alone: rename the files of one kind."
    if not images or not masks:
        return ""
    first = images[0]
    for other in masks[:_MOST]:
        matcher = difflib.SequenceMatcher(None, first, other, autojunk=False)
        start, at, size = matcher.find_longest_match()
        core = first[start : start + size]
        ends = (first[:start], first[start + size :]), (other[:at], other[at + size :])
        if not size or (len(images) == 1 and not re.search(r"\d", core)):
            continue
        stripped = [_strip(names, *pair) for names, pair in zip((images, masks), ends)]
        if None not in stripped and stripped[0] == stripped[1]:
            cut = [" and ".join(repr(end) for end in pair if end) for pair in ends]
            of = ("of images", "of masks")
            shown = " and ".join(f"{end} in names {whose}" for end, whose in zip(cut, of) if end)
            return f"They would agree without {shown}: rename the files of one kind{_line(*ends)}."
    return ""


def _line(of_images: tuple[str, str], of_masks: tuple[str, str]) -> str:
    """Show how files are renamed where those of one kind are called something more."""
    if any(of_images) == any(of_masks):
        return ""
    before, behind = of_images if any(of_images) else of_masks
    cut = f".removeprefix({before!r})" * bool(before) + f".removesuffix({behind!r})" * bool(behind)
    what = "images" if any(of_images) else "masks"
    return (
        f", in the folder of {what}: for file in pathlib.Path('...').iterdir(): "
        f"file.rename(file.with_stem(file.stem{cut}))"
    )


def _strip(names: list[str], before: str, behind: str) -> set[str] | None:
    whole = len(before) + len(behind)
    if not all(x.startswith(before) and x.endswith(behind) and len(x) > whole for x in names):
        return None
    return {name[len(before) : len(name) - len(behind)] for name in names}

"""What can be told from the headers of images and masks before any of them is decoded.

A camera stores the pixels of a turned photo as its sensor has them, with a tag (EXIF orientation)
that says how to turn them. Some programs heed the tag and others do not, so a mask may have been
drawn on the picture as turned or on the pixels as stored. Where height and width differ and the
turn exchanges them, the mask's size tells which; a folder's masks are taken to be of one kind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from kerasgan.data.files import Header, read_header
from kerasgan.data.folders import check_pairs, list_some
from kerasgan.errors import KerasganError, warn

ORIENTATION_ADVICE = (
    "Save the image without the tag: turned, by PIL.ImageOps.exif_transpose, if the mask was drawn "
    "on the picture as viewers show it, else with its pixels as stored. The page 'Your own "
    "dataset' has the lines, under 'Photos with an EXIF orientation'"
)


def sizes_agree(image: Header, mask: Header) -> tuple[bool, bool]:
    """Say how the sizes of image and mask agree."""
    return image[:2] == mask[:2], image.stored == mask.stored


def check_files(
    images: Mapping[str, os.PathLike], masks: Mapping[str, os.PathLike] | None
) -> list[Header]:
    """Check all files of a folder, by name, and return the headers of images in order of names.

    One error tells everything that is wrong.
    """
    headers: dict[tuple[str, str], Header] = {}
    broken: dict[tuple[str, str], str] = {}
    for what, files in (("image", images), ("mask", masks or {})):
        for name in sorted(files):
            try:
                headers[what, name] = read_header(str(files[name]))
            except KerasganError as error:
                broken[what, name] = str(error)
    unread = {name for _, name in broken}
    images, masks = (
        files and {name: str(files[name]) for name in sorted(files) if name not in unread}
        for files in (images, masks)
    )
    problems = list(broken.values())[:5]
    if len(broken) > 5:
        problems.append(f"{len(broken) - 5} more files cannot be used.")
    image_headers = [headers["image", name] for name in images]
    if masks is None:
        checks = []
    else:
        pairs = [name for name in images if name in masks]
        parts = [[files[name] for name in pairs] for files in (images, masks)]
        read = [[headers[what, name] for name in pairs] for what in ("image", "mask")]
        checks = [
            lambda: check_pairs(images, masks),
            lambda: check_mask_sizes(pairs, *parts, *read),
        ]
    for check in checks:
        try:
            check()
        except KerasganError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise KerasganError(problems[0])
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise KerasganError(f"The folder has several faults:{listed}")
    warn_of_unread_bands(list(images.values()), image_headers, "image")
    return image_headers


def check_mask_sizes(
    names: Sequence[str],
    images: Sequence[str],
    masks: Sequence[str],
    image_headers: Sequence[Header],
    mask_headers: Sequence[Header],
) -> None:
    """Check that masks have the size of their images and are turned as these are."""
    wrong, stored, unclear, as_turned = [], [], [], 0
    for index, (image, mask) in enumerate(zip(image_headers, mask_headers)):
        turned_fits, stored_fits = sizes_agree(image, mask)
        if image.orientation == mask.orientation or not (turned_fits or stored_fits):
            if not turned_fits:
                wrong.append(index)
        elif not turned_fits:
            stored.append(index)
        elif stored_fits:
            unclear.append(index)
        else:
            as_turned += 1
    if wrong or stored:
        differ = [
            f"{names[i]} (image {image_headers[i].height} x {image_headers[i].width}, "
            f"mask {mask_headers[i].height} x {mask_headers[i].width})"
            for i in sorted(wrong + stored)
        ]
        why = ""
        if stored:
            why = (
                f" The mask of {names[stored[0]]} has the size of the pixels as stored, before an "
                f"EXIF orientation turns them: {_tags(stored[0], images, image_headers)}, "
                f"{_tags(stored[0], masks, mask_headers)}. {ORIENTATION_ADVICE}."
            )
        raise KerasganError(
            "Image and mask must have the same height and width. "
            f"{list_some(differ, 'differ')}.{why}"
        )
    if unclear and not as_turned:
        raise KerasganError(
            f"Sizes do not tell whether masks were drawn on pictures as their EXIF orientation "
            f"turns them or as stored: {_tags(unclear[0], images, image_headers)}, "
            f"{_tags(unclear[0], masks, mask_headers)}. {ORIENTATION_ADVICE}. "
            f"{list_some([names[i] for i in unclear], 'pairs are like this')}."
        )
    warn_of_unread_bands(masks, mask_headers, "mask")


def _tags(index: int, paths: Sequence[str], headers: Sequence[Header]) -> str:
    return f"{paths[index]} has orientation {headers[index].orientation}"


def warn_of_unread_bands(paths: Sequence[str], headers: Sequence[Header], what: str) -> None:
    """Warn of bands that are not read."""
    more = [path for path, header in zip(paths, headers) if header.undeclared]
    if more:
        warn(
            f"Bands beyond grey or colour that are not declared as transparency, such as infrared, "
            f"are left out. {list_some(more, f'{what}s have some')}"
        )

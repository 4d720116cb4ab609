"""What can be told from the headers of images and masks before any of them is decoded.

A camera stores the pixels of a turned photo as its sensor has them, with a tag (EXIF orientation)
that says how to turn them. Some programs heed the tag and others do not, so a mask may have been
drawn on the picture as turned or on the pixels as stored. Where height and width differ and the
turn exchanges them, the mask's size tells which; a folder's masks are taken to be of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from kerasgan.data.files import Header, read_header
from kerasgan.data.folders import list_some
from kerasgan.errors import KerasganError, warn

ORIENTATION_ADVICE = (
    "Save the image without the tag: turned, by PIL.ImageOps.exif_transpose, if the mask was drawn "
    "on the picture as viewers show it, else with its pixels as stored. The page 'Your own "
    "dataset' has the lines, under 'Photos with an EXIF orientation'"
)


def sizes_agree(image: Header, mask: Header) -> tuple[bool, bool]:
    """Say how the sizes of image and mask agree."""
    return image[:2] == mask[:2], image.stored == mask.stored


def check_mask_sizes(
    names: Sequence[str],
    images: Sequence[str],
    masks: Sequence[str],
    image_headers: Sequence[Header],
) -> None:
    """Check that masks have the size of their images and are turned as these are."""
    mask_headers = [read_header(path) for path in masks]
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

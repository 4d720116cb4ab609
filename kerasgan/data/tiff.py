"""What a TIFF file says of its pixels beyond what Pillow heeds."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, TiffImagePlugin

from kerasgan.errors import KerasganError

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _BYTE_COUNTS = 256, 257, 258, 262, 277, 279
_PLANES, _EXTRA, _FORMAT, _SUBSAMPLING = 284, 338, 339, 530
_COMPRESSION = 259
_WHITE_IS_ZERO, _SIGNED, _YCBCR = 0, 2, 6
_SAY_THEMSELVES = ("tiff_ccitt", "group3", "group4", "tiff_raw_16", "tiff_jpeg", "jpeg")
_COLOR_BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}


def check_tiff(picture: Image.Image, path: str) -> None:
    """Refuse a file that Pillow would read as something else than it says."""
    if picture.format != "TIFF":
        return
    tags, why = picture.tag_v2, None
    bits, signs = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
    if _PHOTOMETRIC not in tags and picture.info.get("compression") not in _SAY_THEMSELVES:
        why = "does not say whether 0 is black or white (PhotometricInterpretation is missing)"
    elif bits[0] == 8 and _SIGNED in signs:
        why = "holds 8-bit values with a sign, whose black and white are unknown"
    elif len(bits) > 1 and max(bits) > 8 and tags.get(_PLANES) == 2:
        why = "holds colours of more than 8 bits in planes one after the other"
    elif tags.get(_PHOTOMETRIC) == _YCBCR and picture.info.get("compression") == "raw":
        full = 3 * picture.width * picture.height
        if tags.get(_SUBSAMPLING, (2, 2)) != (1, 1) and sum(tags.get(_BYTE_COUNTS, ())) < full:
            why = "holds uncompressed YCbCr whose colours have a lower resolution"
    if why:
        raise KerasganError(f"File {path} {why}. Save it as grey or RGB of 8 bits.")


def white_is_zero(picture: Image.Image) -> bool:
    """Say whether low values are white in a picture."""
    return picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def invert_white_is_zero(picture: Image.Image) -> Image.Image:
    """Invert 16-bit values where 0 is white; Pillow does so for up to 8 bits alone."""
    if not white_is_zero(picture) or not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray(65535 - np.asarray(picture).astype(np.uint16))


def stored_size(picture: Image.Image) -> tuple[int, int]:
    """Give the size of a picture before it is turned; Pillow may give that of a TIFF afterwards."""
    if picture.format != "TIFF":
        return picture.size
    return int(picture.tag_v2[_WIDTH]), int(picture.tag_v2[_HEIGHT])


def undeclared_bands(picture: Image.Image) -> int:
    """Count bands beyond grey or colour that a file does not declare as transparency."""
    if picture.format != "TIFF":
        return 0
    tags = picture.tag_v2
    beyond = int(tags.get(_SAMPLES, 1)) - _COLOR_BANDS.get(tags.get(_PHOTOMETRIC), 99)
    declared = sum(kind != 0 for kind in tags.get(_EXTRA, ()))
    return max(0, beyond - declared)


def describe_tiff(path: str) -> str:
    """Say what kind of TIFF a file is, for an error."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if start[:4] not in (b"II*\0", b"MM\0*") or os.path.getsize(path) > 1 << 31:
                return ""
            tags = TiffImagePlugin.ImageFileDirectory_v2(start)
            file.seek(tags.next)
            tags.load(file)
            bits = "/".join(map(str, sorted(set(tags.get(_BITS, (1,))))))
            kind = {
                "PhotometricInterpretation": tags.get(_PHOTOMETRIC),
                "SampleFormat": tags.get(_FORMAT, (1,))[0],
                "ExtraSamples": tags.get(_EXTRA, "none"),
                "Compression": tags.get(_COMPRESSION, 1),
            }
            kind = ", ".join(f"{name} {value}" for name, value in kind.items())
            return (
                f"it is a TIFF of a kind that is not read: {tags.get(_SAMPLES, 1)} bands of {bits} "
                f"bits ({kind}). Save it as grey of 8 or 16 bits, or as RGB of 8 bits"
            )
    except Exception:  # a damaged file has no description
        return ""

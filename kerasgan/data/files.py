"""Image and mask files: what the pixels of each kind become, and which files are refused.

Images become uint8 arrays of one (grey) or three (colour) channels; what a mask's pixels mean is
told in `kerasgan.data.masks`. The rules, which hold for PNG, JPEG, BMP and TIFF alike:

- Sixteen-bit images keep the high byte of each value: black and white are the file's full range.
- Palettes are looked up, CMYK and YCbCr become RGB, colour becomes grey by ITU-R 601 luma.
- Low values are white where a TIFF says so.
- Transparent parts are laid over black, once: colours that are stored multiplied by their opacity
  stay as they are. Bands that a TIFF does not declare as transparency are left out.
- A picture is turned as its own EXIF orientation says, image and mask alike.
- Refused: 32-bit and floating point images, several pictures in one file, more than
  `MAX_PIXELS` pixels, and whatever cannot be decoded to the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from kerasgan.data import tiff
from kerasgan.errors import KerasganError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 8192 * 8192

_ORIENTATION = 0x0112
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY_MODES = ("1", "L", "LA", "La", *DEEP_GREY_MODES)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What a file says of its picture before the pixels are decoded."""

    height: int
    width: int
    channels: int
    orientation: int = 1
    undeclared: int = 0

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width before the picture is turned."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(path: str) -> Header:
    """Read the size of a picture, as shown, without decoding it."""
    with open_picture(path) as picture:
        width, height = tiff.stored_size(picture)
        orientation = _orientation(picture)
        if orientation >= 5:
            width, height = height, width
        channels = 1 if picture.mode in _GREY_MODES else 3
        return Header(height, width, channels, orientation, tiff.undeclared_bands(picture))


def read_image(path: str, channels: int) -> np.ndarray:
    """Decode an image file by the rules at the top of this module."""
    with open_picture(path) as picture:
        if picture.mode == "F" or is_int32(picture):
            raise KerasganError(
                f"Image {path} holds signed, 32-bit or floating point values (mode "
                f"{picture.mode}), whose black and white are unknown. Save it with 8 or 16 bits."
            )
        undeclared, clear = tiff.undeclared_bands(picture), picture.info.get("transparency")
        picture = decode_upright(picture)
        if picture.mode.startswith("I"):
            values = np.asarray(picture)
            grey = np.where(values == clear, 0, values >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], channels, axis=-1)
        if undeclared and picture.mode == "RGBA":
            picture = picture.convert("RGB")
        pixels = np.asarray(composite_on_black(picture, "L" if channels == 1 else "RGB"))
        return pixels.reshape(*pixels.shape[:2], channels)


def dark_shades(path: str) -> int | None:
    """Say how few shades are left of a 16-bit image that uses the bottom of its range alone."""
    with open_picture(path) as picture:
        if not picture.mode.startswith("I;16"):
            return None
        shades = (int(np.asarray(decode_upright(picture)).max()) >> 8) + 1
        return shades if shades <= 32 else None


@contextlib.contextmanager
def open_picture(path: str) -> Iterator[Image.Image]:
    """Open a file for as long as a `with` block lasts; errors in the block name the file."""
    try:
        # By path, Pillow would map a TIFF into memory, and misread one that it has to turn.
        with open(path, "rb") as file, Image.open(file, formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            # Counting them would read the whole of a file that may hold millions.
            if picture.format != "MPO" and getattr(picture, "is_animated", False):
                raise KerasganError(f"File {path} holds several pictures. Save one picture a file.")
            if min(picture.size) < 1:
                raise KerasganError(f"File {path} holds no pixels.")
            tiff.check_tiff(picture, path)
            yield picture
    except KerasganError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise KerasganError(
            f"File {path} has more than {MAX_PIXELS} pixels (kerasgan.data.files.MAX_PIXELS) and "
            f"is not decoded. Tile it or make it smaller."
        ) from error
    except Exception as error:
        why = error if str(error) else type(error).__name__
        if os.path.isfile(path) and not os.path.getsize(path):
            why = "it is empty (0 bytes). Export it again, or remove it"
        elif isinstance(error, UnidentifiedImageError):
            other = "it holds none of these, whatever its name says. Export it again, or remove it"
            why = tiff.describe_tiff(path) or other
        elif isinstance(error, OSError) and "truncated" in str(error):
            why = f"{error}. Copy or export it again, or remove it"
        raise KerasganError(
            f"File {path} cannot be read as {', '.join(_FORMATS)}: {why}"
        ) from error


def _orientation(picture: Image.Image) -> int:
    if picture.format == "TIFF":
        value = picture.tag_v2.get(_ORIENTATION, 1)
    elif picture.format == "PNG" and "exif" not in picture.info:
        value = 1  # asking a PNG without the tag would decode it
    else:
        value = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and value in _TURNS else 1


def decode_upright(picture: Image.Image) -> Image.Image:
    """Decode a picture, turn it as its EXIF orientation says, and put black at 0."""
    orientation = _orientation(picture)
    picture.load()
    if picture.format == "TIFF":  # which Pillow has turned
        return tiff.invert_white_is_zero(picture)
    if _orientation(picture) != orientation:
        raise ValueError(
            "its EXIF orientation stands behind its pixels, where some programs heed it and others "
            "do not. Save it anew"
        )
    return picture.transpose(_TURNS[orientation]) if orientation > 1 else picture


def apply_orientation(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array as an EXIF orientation says."""
    if orientation == 1:
        return array
    return np.asarray(Image.fromarray(array).transpose(_TURNS[orientation]))


def composite_on_black(picture: Image.Image, mode: str) -> Image.Image:
    """Lay a picture over black and convert it."""
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    if picture.mode in ("P", "LAB"):
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def is_int32(picture: Image.Image) -> bool:
    """Say whether a picture holds 32-bit integers, which Pillow also calls 16-bit PNG files."""
    return picture.mode == "I" and picture.format != "PNG"

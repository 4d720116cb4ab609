"""Image and mask files: what each kind of file becomes, and which are refused.

Images become uint8 arrays of one (grey) or three (colour) channels, masks uint8 label arrays. The
rules, which hold for PNG, JPEG, BMP and TIFF alike:

- Sixteen-bit images keep the high byte of each value: black and white are the file's full range.
- Palettes are looked up, CMYK and YCbCr become RGB, colour becomes grey by ITU-R 601 luma.
- Transparent parts are laid over black.
- A picture is turned as its own EXIF orientation says, image and mask alike.
- Refused: 32-bit and floating point images, several pictures in one file, more than
  `MAX_PIXELS` pixels, and whatever cannot be decoded to the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image

from kerasgan.errors import KerasganError

__all__ = [
    "ENDINGS",
    "MAX_PIXELS",
    "Header",
    "dark_shades",
    "read_header",
    "read_image",
    "read_mask",
]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 8192 * 8192

Colors = Optional[tuple[tuple[int, int, int], ...]]

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_JPEG_NOISE = 32
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


def read_header(path: str) -> Header:
    """Read the size of a picture, as shown, without decoding it.

    Args:
        path: An image or mask file.

    Returns:
        Height and width in pixels after EXIF orientation, and 1 channel for grey or 3 for colour.

    Raises:
        KerasganError: If the file is not a readable picture or has more than `MAX_PIXELS` pixels.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> read_header(samples.image_paths[0])
        Header(height=32, width=32, channels=3)
    """
    with _opened(path) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        return Header(height, width, 1 if picture.mode in _GREY_MODES else 3)


def read_image(path: str, channels: int) -> np.ndarray:
    """Decode an image file by the rules at the top of this module.

    Args:
        path: The file.
        channels: 1 for grey or 3 for colour; the file's own kind is converted.

    Returns:
        uint8 array (height, width, channels).

    Raises:
        KerasganError: If the file cannot be decoded or is of a kind that is refused.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> read_image(samples.image_paths[0], channels=1).shape
        (32, 32, 1)
    """
    with _opened(path) as picture:
        if picture.mode == "F" or _is_int32(picture):
            raise KerasganError(
                f"Image {path} holds signed, 32-bit or floating point values (mode "
                f"{picture.mode}), whose black and white are unknown. Save it with 8 or 16 bits."
            )
        picture = _upright(picture)
        if picture.mode.startswith("I"):
            grey = (np.asarray(picture) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], channels, axis=-1)
        pixels = np.asarray(_over_black(picture, "L" if channels == 1 else "RGB"))
        return pixels.reshape(*pixels.shape[:2], channels)


def dark_shades(path: str) -> int | None:
    """Say how few shades are left of a 16-bit image that uses the bottom of its range alone.

    Args:
        path: An image file.

    Returns:
        How many of the 256 shades are reached, if at most 32 and the file has 16 bits; else None.

    Raises:
        KerasganError: If the file cannot be decoded.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> dark_shades(samples.image_paths[0]) is None
        True
    """
    with _opened(path) as picture:
        if not picture.mode.startswith("I;16"):
            return None
        shades = (int(np.asarray(_upright(picture)).max()) >> 8) + 1
        return shades if shades <= 32 else None


def read_mask(path: str, classes: int, colors: Colors = None) -> np.ndarray:
    """Decode a mask file to labels.

    - `classes=1`, no colours: foreground (1) where the grey value is above half the range of the
      file (127 of 255, 32767 of 65535), background (0) elsewhere. A file that is neither black
      nor reaches half the range is refused: it holds labels, not black and white. (JPEG noise up
      to 32 counts as black.)
    - `classes=n`, no colours: values 0 to n-1 are the labels, exactly; in a palette file they are
      the palette's indices.
    - `colors`: one colour a class, background first (two of them for `classes=1`), compared
      exactly. There is no tolerance: JPEG changes colours, so JPEG colour maps are refused.

    Args:
        path: The file.
        classes: 1 for foreground and background, n > 1 for n mutually exclusive classes.
        colors: (red, green, blue) from 0 to 255 of each class, or None.

    Returns:
        uint8 array (height, width) of labels: {0, 1} for `classes=1`, else 0 to `classes - 1`.

    Raises:
        KerasganError: If the file cannot be decoded, or holds values outside the classes.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> read_mask(samples.mask_paths[0], classes=1).max()
        1
    """
    with _opened(path) as picture:
        lossy = picture.format in ("JPEG", "MPO")
        picture = _upright(picture)
        if colors is not None:
            return _match_colors(path, picture, colors, lossy)
        if classes > 1:
            return _exact_labels(path, picture, classes, lossy)
        return _above_half(path, picture, lossy)


def _above_half(path: str, picture: Image.Image, lossy: bool) -> np.ndarray:
    if picture.mode == "F" or _is_int32(picture):
        raise KerasganError(
            f"Mask {path} holds signed, 32-bit or floating point values (mode {picture.mode}), "
            f"whose half range is unknown. Save it with 8 bits."
        )
    if picture.mode.startswith("I"):
        grey, half = np.asarray(picture), 32767
    else:
        grey, half = np.asarray(_over_black(picture, "L")), 127
    brightest = int(grey.max())
    if (_JPEG_NOISE if lossy else 0) < brightest <= half:
        raise KerasganError(
            f"Mask {path} has grey values {_few(np.unique(grey))}, none above half its range "
            f"({half}), so it holds no foreground, but it is not black either. For masks that "
            f"hold labels or colours pass the two of them, background first, for example "
            f"colors=[0, 1], or the number of classes."
        )
    return (grey > half).astype(np.uint8)


def _exact_labels(path: str, picture: Image.Image, classes: int, lossy: bool) -> np.ndarray:
    values = np.asarray(picture)
    if values.ndim == 3:
        values = np.asarray(_over_black(picture, "RGB"))
        if (values != values[..., :1]).any():
            raise KerasganError(
                f"Mask {path} is in colour. Pass colors=[...], one colour for each of the "
                f"{classes} classes, or save it with grey values 0 to {classes - 1}."
            )
        values = values[..., 0]
    outside = np.unique(values[(values < 0) | (values >= classes) | (values % 1 != 0)])
    if outside.size:
        raise KerasganError(
            f"Mask {path} must hold values 0 to {classes - 1} for classes={classes}. "
            f"Received also: {_few(outside)}." + (_JPEG_ADVICE if lossy else "")
        )
    return values.astype(np.uint8)


def _match_colors(path: str, picture: Image.Image, colors: Colors, lossy: bool) -> np.ndarray:
    if picture.mode.startswith("I"):
        values = np.repeat(np.asarray(picture)[..., None], 3, axis=-1)
    else:
        values = np.asarray(_over_black(picture, "RGB"))
    weights = np.array([1 << 32, 1 << 16, 1])
    codes = values.astype(np.int64) @ weights
    labels = np.full(codes.shape, 255, np.uint8)
    for label, color in enumerate(colors):
        labels[codes == weights @ color] = label
    strange = labels == 255
    if strange.any():
        _, first = np.unique(codes[strange], return_index=True)
        found = [tuple(color) for color in values[strange][first].tolist()]
        raise KerasganError(
            f"Mask {path} has {strange.sum()} pixels in colours outside colors={list(colors)}: "
            f"{_few(found)}." + (_JPEG_ADVICE if lossy else "")
        )
    return labels


_JPEG_ADVICE = " JPEG does not keep values exactly: save such masks as PNG."


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The opened file; whatever Pillow raises while it is used names the file."""
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            # Counting them would read the whole of a file that may hold millions.
            if picture.format != "MPO" and getattr(picture, "is_animated", False):
                raise KerasganError(f"File {path} holds several pictures. Save one picture a file.")
            if min(picture.size) < 1:
                raise KerasganError(f"File {path} holds no pixels.")
            yield picture
    except KerasganError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise KerasganError(
            f"File {path} has more than {MAX_PIXELS} pixels (kerasgan.data.files.MAX_PIXELS) and "
            f"is not decoded. Tile it or make it smaller."
        ) from error
    except Exception as error:
        empty = os.path.isfile(path) and not os.path.getsize(path)
        why = "it is empty (0 bytes)" if empty else error or type(error).__name__
        raise KerasganError(
            f"File {path} cannot be read as {', '.join(_FORMATS)}: {why}"
        ) from error


def _orientation(picture: Image.Image) -> int:
    # Pillow turns TIFF by itself, and asking a PNG without the tag would decode it.
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return 1
    value = picture.getexif().get(0x0112, 1)
    return value if isinstance(value, int) else 1


def _upright(picture: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(picture))
    picture.load()
    return picture if turn is None else picture.transpose(turn)


def _over_black(picture: Image.Image, mode: str) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    if picture.mode == "P":
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _is_int32(picture: Image.Image) -> bool:
    return picture.mode == "I" and picture.format != "PNG"


def _few(values) -> str:
    values = [value.item() if hasattr(value, "item") else value for value in values]
    shown = ", ".join(str(value) for value in values[:6])
    return shown + (f" and {len(values) - 6} more" if len(values) > 6 else "")

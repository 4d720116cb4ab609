"""What a mask file means: from its pixels to labels."""

from __future__ import annotations

from typing import Optional

import numpy as np
from PIL import Image

from kerasgan.data.files import is_int32, opened, over_black, upright
from kerasgan.errors import KerasganError

__all__ = ["read_mask"]

Colors = Optional[tuple[tuple[int, int, int], ...]]

_JPEG_NOISE = 32


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
    with opened(path) as picture:
        lossy = picture.format in ("JPEG", "MPO")
        picture = upright(picture)
        if colors is not None:
            return _match_colors(path, picture, colors, lossy)
        if classes > 1:
            return _exact_labels(path, picture, classes, lossy)
        return _above_half(path, picture, lossy)


def _above_half(path: str, picture: Image.Image, lossy: bool) -> np.ndarray:
    if picture.mode == "F" or is_int32(picture):
        raise KerasganError(
            f"Mask {path} holds signed, 32-bit or floating point values (mode {picture.mode}), "
            f"whose half range is unknown. Save it with 8 bits."
        )
    if picture.mode.startswith("I"):
        grey, half = np.asarray(picture), 32767
    else:
        grey, half = np.asarray(over_black(picture, "L")), 127
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
        values = np.asarray(over_black(picture, "RGB"))
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
        values = np.asarray(over_black(picture, "RGB"))
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


def _few(values) -> str:
    values = [value.item() if hasattr(value, "item") else value for value in values]
    shown = ", ".join(str(value) for value in values[:6])
    return shown + (f" and {len(values) - 6} more" if len(values) > 6 else "")

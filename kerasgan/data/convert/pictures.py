"""Grey pictures of more than eight bits, stretched to the range that they use."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kerasgan.data import files, tiff
from kerasgan.data.convert import output, sources
from kerasgan.errors import KerasganError, warn
from kerasgan.validation import check_number, invalid


def from_pictures(
    images: sources.Paths, out: str | os.PathLike, *, low: float, high: float
) -> pd.DataFrame:
    """Stretch grey PNG or TIFF images of 12, 16 or 32 bits, or floating point, over 16 bits.

    `load_folder` takes 16-bit images as they are, and keeps the upper 8 bits of each value. Of an
    image that uses only part of the range, such as 0 to 4095, little would be left. This function
    writes copies in which `low` is black and `high` white, the same for all images, so that one
    value means one thing. Masks are left where they are:
    `load_folder(images="out/images", masks="masks")`.

    Args:
        images: A folder of images, one image, or a list of files.
        out: The folder to write: new, or an interrupted conversion with the same settings.
        low: The stored value that becomes black, as do all below it; white, where a TIFF says that
            low values are white.
        high: The stored value that becomes white, as do all above it; likewise black.

    Returns:
        The table in `manifest.csv`: name, source, low, high, and the share of pixels that were
        below and above.

    Raises:
        KerasganError: If a file cannot be used or is in colour, or `out` holds anything else.

    Example:
        >>> from PIL import Image
        >>> Image.fromarray(np.full((2, 2), 4095, np.uint16)).save("dark.png")
        >>> from_pictures("dark.png", "bright", low=0, high=4095)[["name", "above"]]
           name  above
        0  dark    0.0
    """
    low, high = float(check_number("low", low)), float(check_number("high", high))
    if low >= high:
        raise invalid("low", f"below 'high', {high:g}", low)

    def stretched(picture: sources.SourceFile) -> Iterator[output.Picture]:
        values, white_is_zero = _read(picture.path)
        row = {
            "source": str(picture.path),
            "low": low,
            "high": high,
            "below": float((values < low).mean()),
            "above": float((values > high).mean()),
        }
        pixels = sources.to_uint16(values, low, high)
        pixels = 65535 - pixels if white_is_zero else pixels
        yield output.Picture(output.safe_name(*picture.parts), pixels, None, row)

    pictures = sources.find_files(images, "images", sources.suffix_in(files.IMAGE_SUFFIXES))
    if isinstance(images, (str, os.PathLike)) and pathlib.Path(images).is_dir():
        inside = pathlib.Path(images).resolve()
        if inside in (pathlib.Path(out).resolve(), *pathlib.Path(out).resolve().parents):
            raise KerasganError(f"Argument 'out' must lie outside {images}. Received: {out}")
    settings = {"from": "pictures", "low": low, "high": high}
    jobs = [(str(one.path), lambda one=one: stretched(one)) for one in pictures]
    return output.write_folder(out, settings, jobs)


def _read(path: pathlib.Path) -> tuple[np.ndarray, bool]:
    """The values as they are stored, and whether low ones are white."""
    with files.open_picture(str(path)) as picture:
        if picture.mode != "F" and picture.mode not in files.DEEP_GREY_MODES + ("L",):
            raise KerasganError(
                f"File {path} must be grey. Received: mode {picture.mode}. Colour images go into "
                f"load_folder as they are."
            )
        if files.read_header(str(path)).orientation > 1:
            warn(
                f"File {path} is written as its EXIF orientation turns it, and without that "
                f"orientation. Its mask must be as turned."
            )
        white_is_zero = tiff.white_is_zero(picture)
        shown = files.decode_upright(picture)
        values = np.asarray(shown)
        if white_is_zero and shown.mode != "F":
            values = (255 if shown.mode == "L" else 65535) - values
        sources.check_finite_values(values, path)
        return values, white_is_zero

"""The images that can be looked at: those of a folder, and files that are dropped on the page."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kerasgan.data.files import IMAGE_SUFFIXES, read_header, read_image
from kerasgan.data.folders import find_pairs
from kerasgan.data.masks import interpret_masks, read_mask
from kerasgan.errors import KerasganError
from kerasgan.inference.card import printable

MOST_PIXELS = 4096 * 4096
MOST_BYTES = 50_000_000
"""The largest file that may be dropped on the page."""
MOST_FOUND = 50


class Opened(NamedTuple):
    """An image that was read.

    Attributes:
        name: To be shown.
        pixels: uint8 (height, width, channels).
        truth: uint8 (height, width) of labels, or None.
        note: Why there is no true mask although there is a file of one; "" otherwise.
    """

    name: str
    pixels: np.ndarray
    truth: np.ndarray | None = None
    note: str = ""


class Images:
    """The images of a folder by their names, and true masks where there are some.

    No file is read before it is asked for.

    Args:
        images: Files of images by name.
        masks: Files of masks by the name of their image; there may be fewer.
        channels: 1 for grey, 3 for colour.
        classes: As of `kerasgan.data.load_folder`.
    """

    def __init__(
        self,
        images: Mapping[str, pathlib.Path],
        masks: Mapping[str, pathlib.Path] | None = None,
        channels: int = 3,
        classes: int = 1,
    ):
        self.images, self.masks = dict(images), dict(masks or {})
        self.names = list(self.images)
        self.channels, self.classes = channels, classes
        self._colors: list = []

    def __len__(self) -> int:
        return len(self.names)

    def find(self, text: str) -> list[int]:
        """Return the indices of up to 50 images whose names hold a text, in any case."""
        text = text.strip().lower()
        matching = (index for index, name in enumerate(self.names) if text in name.lower())
        return [index for _, index in zip(range(MOST_FOUND), matching)]

    def open(self, place: int) -> Opened:
        """Read an image and its true mask.

        Raises:
            KerasganError: If there is no such image, or it cannot be used. A mask that cannot be
                used is noted.
        """
        if not 0 <= place < len(self):
            raise KerasganError(f"There is no image {place + 1} among {len(self)}")
        name = self.names[place]
        pixels = read_pixels(self.images[name], self.channels)
        try:
            return Opened(printable(name), pixels, self._truth(name, pixels.shape[:2]))
        except KerasganError as error:
            return Opened(printable(name), pixels, note=str(error))

    def _truth(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        if name not in self.masks:
            return None
        if self.classes == 1 and not self._colors:
            names, paths = zip(*((n, str(path)) for n, path in self.masks.items()))
            interpretation = interpret_masks(names, paths)
            if interpretation.questions:
                raise KerasganError(interpretation.questions[0])
            self._colors.append(interpretation.colors)
        colors = self._colors[0] if self._colors else None
        header = read_header(str(self.masks[name]))
        if (header.height, header.width) != size:
            raise KerasganError(
                f"Mask {self.masks[name]} is {header.height} x {header.width} pixels, its image "
                f"{size[0]} x {size[1]}. It is not shown"
            )
        return read_mask(str(self.masks[name]), self.classes, colors)


def find_images(folder: str | pathlib.Path, channels: int = 3, classes: int = 1) -> Images:
    """List the images of a folder, and masks if it has some, without reading any.

    Raises:
        KerasganError: If there is no such folder, or none holds an image.
    """
    try:
        images, masks = find_pairs(folder, None, ...)
    except KerasganError:
        images, masks = find_pairs(folder, None, None)
    return Images(images, masks, channels, classes)


def read_pixels(path: str | pathlib.Path, channels: int) -> np.ndarray:
    """Decode an image file of up to 16 million pixels; uint8 (height, width, channels)."""
    header = read_header(str(path))
    if header.height * header.width > MOST_PIXELS:
        raise KerasganError(
            f"Image {path} has {header.height} x {header.width} pixels; the app takes up to "
            f"{MOST_PIXELS}. Make it smaller"
        )
    return read_image(str(path), channels)


def read_upload(content: bytes, name: str, channels: int) -> Opened:
    """Decode a file that was dropped on the page, by what it holds and not by its name.

    Raises:
        KerasganError: If it is too large or no image.
    """
    shown = printable(pathlib.PurePath(name.replace("\\", "/")).name)[-80:] or "image"
    if len(content) > MOST_BYTES:
        raise KerasganError(
            f"'{shown}' has {len(content) / 1e6:.0f} MB; the app takes up to {MOST_BYTES / 1e6:.0f}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        path.write_bytes(content)
        try:
            pixels = read_pixels(path, channels)
        except KerasganError as error:
            raise KerasganError(str(error).replace(str(path), f"'{shown}'")) from error
    return Opened(shown, pixels)


SUFFIXES = ",".join(IMAGE_SUFFIXES)

"""How an image of any size becomes what a network takes, and how its logits become one map.

An image is first made a frame: it is resized to the network ("stretch", "letterbox"), or kept and
cut into windows of the network's size ("window"). A window's logits count by a weight that falls
off smoothly towards its edge, where the network sees least of what is around, and the weights of
all windows at a pixel sum to 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kerasgan.data.resize import Box, image_box, resize_image
from kerasgan.data.windows import FRAMINGS, SCALE, reflection, window_box
from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice, check_number

OVERLAP = 0.5


class Frame(NamedTuple):
    """An image as networks see it, in one piece or in several windows.

    Attributes:
        pixels: float32 (height, width, channels) in [-1, 1], at least of the size of a window.
        box: Where the image lies in it; the rest is black (letterbox) or a reflection (window).
        image_size: (height, width) of the image before it was resized.
        mode: "stretch", "letterbox" or "window".
        window: (height, width) of a window.
        rows: Window profile (windows, height): how much each window counts in each row of the
            frame, 0 outside it.
        columns: Window profile (windows, width), likewise.
        corners: (top, left) of each window.
    """

    pixels: np.ndarray
    box: Box
    image_size: tuple[int, int]
    mode: str
    window: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    corners: list[tuple[int, int]]

    def cut(self, array: np.ndarray, tile: int) -> np.ndarray:
        """Take what one window shows of an array (frame height, frame width, channels)."""
        (top, left), (height, width) = self.corners[tile], self.window
        return array[top : top + height, left : left + width]

    def weights(self, tile: int) -> np.ndarray:
        """Say how much each pixel of a window counts: float32 (height, width, 1)."""
        row, column = divmod(tile, len(self.columns))
        (top, left), (height, width) = self.corners[tile], self.window
        down, across = self.rows[row, top : top + height], self.columns[column, left : left + width]
        return (down[:, None, None] * across[:, None]).astype(np.float32)

    def blend(self, total: np.ndarray | None, tile: int, values: np.ndarray) -> np.ndarray:
        """Add what a network says of a window, float32, to a map of the frame, None at first.

        A frame in one piece has the size of what the network says, which may be a coarser map.
        """
        if self.mode != "window":
            return values
        if values.shape[:2] != self.window:
            raise KerasganError(
                "Argument 'mode' can be 'window' only if the network's output has the size of its "
                f"input, {self.window}. Received: an output of {values.shape[:2]}"
            )
        if total is None:
            total = np.zeros((*self.pixels.shape[:2], values.shape[-1]), np.float32)
        self.cut(total, tile)[...] += self.weights(tile) * values
        return total

    def inside(self, array: np.ndarray) -> np.ndarray:
        """Take the part of a map of the frame (height, width, channels) that is the image."""
        top, left, height, width = self.box_in(array)
        return array[top : top + height, left : left + width]

    def box_in(self, array: np.ndarray) -> Box:
        """Say where the image lies in a map of the frame."""
        if self.mode == "window":
            return self.box
        return image_box(self.image_size, array.shape[:2], self.mode)


def check_tiling(mode: str, overlap: Any, scale: Any) -> None:
    """Raise a `KerasganError` for options that no frame can be made with."""
    check_choice("mode", mode, FRAMINGS)
    check_number("overlap", overlap, least=0, below=1)
    check_number("scale", scale, above=0)
    if mode != "window" and (overlap, scale) != (OVERLAP, SCALE):
        raise KerasganError(
            f"Arguments 'overlap' and 'scale' are those of mode='window'. Received: mode={mode!r}, "
            f"overlap={overlap!r}, scale={scale!r}"
        )


def make_frame(
    image: np.ndarray, window: tuple[int, int], mode: str, overlap: float, scale: float
) -> Frame:
    """Make the frame of an image, float32 (height, width, channels) in [-1, 1]."""
    size = image.shape[:2]
    if mode == "window":
        box = window_box(size, window, scale)
        image = image if box[2:] == size else resize_image(image, box[2:])
        image = image[np.ix_(*reflection(box, window))]
    else:
        box = image_box(size, window, mode)
        image = image if size == window else resize_image(image, window, mode)
    starts = [_starts(*pair, overlap) for pair in zip(image.shape, window)]
    rows, columns = map(_profiles, starts, window, image.shape)
    corners = [(top, left) for top in starts[0] for left in starts[1]]
    return Frame(image, box, size, mode, window, rows, columns, corners)


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of windows spread evenly over a length."""
    step = max(1, math.floor(window * (1 - overlap)))
    count = math.ceil((length - window) / step) + 1
    return np.rint(np.linspace(0, length - window, count)).astype(int).tolist()


def _profiles(starts: list[int], window: int, length: int) -> np.ndarray:
    """How much each window counts at each pixel of a length: squared sines whose sum is made 1."""
    profiles = np.zeros((len(starts), length))
    for profile, start in zip(profiles, starts):
        profile[start : start + window] = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    return profiles / profiles.sum(0)

"""Which images show the same, whatever their names, formats and sizes.

Images are compared at `SIDE` x `SIDE`, where another encoding or size changes little.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kerasgan.data.files import read_image
from kerasgan.data.resize import resize_pixels

SIDE = 16
ALIKE = 0.1
"""How far images may differ, relative to their contrast, to count as almost the same.

In Kvasir-SEG three pairs do, at up to 0.06; all others are from 0.14 up.
"""
SAME = 0.04
"""How far copies of one image may differ.

Those of images of Kvasir-SEG do by up to 0.012 as JPEG of quality 20 and 0.010 at a third of the
size; of images of 64 pixels as JPEG of quality 50 by up to 0.036.
"""


class SeenImages:
    """Small images, each with a name or position, among which the most similar one is found."""

    def __init__(self, most: int):
        self._names: list[Any] = []
        self._pixels = np.zeros((most, SIDE * SIDE * 3), np.float32)
        self._mean, self._spread = np.zeros((2, most), np.float32)

    def add(self, name: Any, small: np.ndarray) -> None:
        """Take in the pixels that `small_pixels` gave."""
        index = len(self._names)
        self._pixels[index] = small
        self._mean[index], self._spread[index] = small.mean(), small.std()
        self._names.append(name)

    def nearest(self, small: np.ndarray, within: float) -> Any:
        """Return the name of the most similar image, None if all are further away."""
        used = slice(len(self._names))
        most = within * (self._spread[used] + small.std() + 1)
        # Images differ by as much as their means at least.
        places = np.flatnonzero(np.abs(self._mean[used] - small.mean()) < most)
        if not len(places):
            return None
        apart = np.sqrt(((self._pixels[places] - small) ** 2).mean(1)) / most[places]
        return self._names[places[apart.argmin()]] if apart.min() < 1 else None


def small_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 pixels (height, width, channels) as `SIDE` x `SIDE` x 3 numbers."""
    small = resize_pixels(pixels, SIDE)
    return np.broadcast_to(small, (SIDE, SIDE, 3)).reshape(-1)


def small_image(path: str) -> np.ndarray:
    """Return the `small_pixels` of a file."""
    return _small_image(path, os.stat(path).st_mtime_ns)


def small_images(paths: Sequence[str]) -> Iterator[np.ndarray]:
    """Give the `small_pixels` of files, in their order."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(small_image, paths)


@functools.cache
def _small_image(path: str, changed: int) -> np.ndarray:
    return small_pixels(read_image(path, 3))


def same_images(paths: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Find files that show the same as one of `others`; positions by position."""
    seen = SeenImages(len(others))
    for index, small in enumerate(small_images(others)):
        seen.add(index, small)
    nearest = {i: seen.nearest(small, SAME) for i, small in enumerate(small_images(paths))}
    return {index: other for index, other in nearest.items() if other is not None}

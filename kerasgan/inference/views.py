"""Flips and right angles: the views of test-time augmentation.

A network has seen no image upside down that was not so in training, and what it says of one differs
a little from what it says of the other. Averaged over such views, its logits have less of what is
chance. The eight flips and right angles of a square are a group, so the average does not depend on
how the image was held (Cohen and Welling 2016, arXiv 1602.07576, the group p4m).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasgan.validation import check_choice

ROWS, COLUMNS = -3, -2


class View(NamedTuple):
    """One way to look at an image: flipped, then turned."""

    flipped: bool = False
    turns: int = 0

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Look at an array (..., height, width, channels) this way."""
        array = np.flip(array, COLUMNS) if self.flipped else array
        return np.rot90(array, self.turns, (ROWS, COLUMNS))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Bring back what `apply` gave, or anything that a network made of it."""
        array = np.rot90(array, -self.turns, (ROWS, COLUMNS))
        return np.flip(array, COLUMNS) if self.flipped else array


def augmentation_views(augment: bool | str, size: tuple[int, int]) -> tuple[View, ...]:
    """List the views that an image is averaged over."""
    check_choice("augment", augment, ["flips", True, False])
    if not augment:
        return (View(),)
    right_angles = augment is True and size[0] == size[1]
    turns = range(4) if right_angles else (0, 2)
    return tuple(View(flipped, turn) for flipped in (False, True) for turn in turns)

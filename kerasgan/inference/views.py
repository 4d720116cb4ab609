"""Flips and right angles: the views of test-time augmentation.

A network has seen no image upside down that was not so in training, and what it says of one differs
a little from what it says of the other. Averaged over such views, its logits have less of what is
chance. The eight flips and right angles of a square are a group, so the average does not depend on
how the image was held (Cohen and Welling 2016, arXiv 1602.07576, the group p4m).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasgan.errors import KerasganError, unknown_name

__all__ = ["View", "augmentation_views"]

ROWS, COLUMNS = -3, -2


class View(NamedTuple):
    """One way to look at an image: flipped, then turned.

    Args:
        flipped: Whether left and right are exchanged.
        turns: Right angles counter-clockwise after that, 0 to 3.

    Example:
        >>> image = np.array([[1, 2], [3, 4]])[..., None]
        >>> View(True, 1).apply(image)[..., 0]
        array([[1, 3],
               [2, 4]])
        >>> View(True, 1).undo(View(True, 1).apply(image))[..., 0]
        array([[1, 2],
               [3, 4]])
    """

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
    """List the views that an image is averaged over.

    Args:
        augment: False for the image as it is; "flips" for its four flips; True for flips and right
            angles, eight, or the four flips where the network is not square.
        size: (height, width) of the network in pixels.

    Returns:
        The views, the image as it is first.

    Raises:
        KerasganError: If `augment` is anything else.

    Example:
        >>> len(augmentation_views(True, (32, 32))), len(augmentation_views(True, (32, 48)))
        (8, 4)
    """
    if isinstance(augment, str) and augment != "flips":
        raise unknown_name("augment", augment, ["flips", "True", "False"])
    if not isinstance(augment, (bool, str)):
        raise KerasganError(
            f"Argument 'augment' must be True, False or 'flips'. Received: {augment!r}"
        )
    if not augment:
        return (View(),)
    right_angles = augment is True and size[0] == size[1]
    turns = range(4) if right_angles else (0, 2)
    return tuple(View(flipped, turn) for flipped in (False, True) for turn in turns)

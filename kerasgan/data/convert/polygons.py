"""Outlines of masks along the borders of pixels, as polygons."""

from __future__ import annotations

import numpy as np

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up: each a right turn on


def trace(mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Trace the outlines of a mask.

    Pixels that touch at a corner alone are parted, so what touches so has several outlines.

    Args:
        mask: (height, width), boolean.

    Returns:
        The outer outlines, int64 arrays (corners, 2) of x and y with (0, 0) at the outer corner of
        the first pixel; and whether there are holes in them.

    Example:
        >>> trace(np.array([[True, True]]))
        ([array([[0, 0],
               [2, 0],
               [2, 1],
               [0, 1]])], False)
    """
    inside = np.pad(mask, 1)
    core = inside[1:-1, 1:-1]
    # Sides of pixels, clockwise around what is inside, by direction and where they begin.
    rows_and_columns = (
        np.argwhere(core & ~inside[:-2, 1:-1]),
        np.argwhere(core & ~inside[1:-1, 2:]) + (0, 1),
        np.argwhere(core & ~inside[2:, 1:-1]) + (1, 1),
        np.argwhere(core & ~inside[1:-1, :-2]) + (1, 0),
    )
    left = {
        (row, column, direction): None
        for direction, starts in enumerate(rows_and_columns)
        for row, column in starts.tolist()
    }
    outlines, holes = [], False
    while left:
        row, column, direction = next(iter(left))
        corners, area, last = [], 0, None
        while (row, column, direction) in left:
            del left[row, column, direction]
            if direction != last:
                corners.append((column, row))
            down, right = _STEPS[direction]
            area += column * down - row * right
            row, column, last = row + down, column + right, direction
            # To the right first: that stays at the same pixel.
            turns = ((direction + turn) % 4 for turn in (1, 0, 3))
            direction = next((one for one in turns if (row, column, one) in left), direction)
        if area < 0:
            holes = True
        else:
            outlines.append(np.array(corners))
    return outlines, holes

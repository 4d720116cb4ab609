"""Cleaning up masks by what is connected: one polyp is one piece, without holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected component, of each foreground class.

    Pixels are connected to their eight neighbours. Of equally large ones the first stays, from the
    top left.
    """
    mask = _checked(mask)
    largest = np.zeros_like(mask)
    for label in np.unique(mask[mask > 0]):
        components, count = ndimage.label(mask == label, structure=np.ones((3, 3)))
        sizes = np.bincount(components.ravel(), minlength=count + 1)
        largest[components == 1 + sizes[1:].argmax()] = label
    return largest


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background that is shut in by one class with that class.

    A hole is a connected part of the background, pixels being connected to their four neighbours,
    that does not reach the edge of the image. One that touches several classes is left as it is.
    """
    mask = _checked(mask)
    filled = mask.copy()
    parts, _ = ndimage.label(mask == 0)
    height, width = mask.shape
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        if 0 in (rows.start, columns.start) or rows.stop == height or columns.stop == width:
            continue
        around = slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)
        hole = parts[around] == number
        rim = ndimage.binary_dilation(hole) & ~hole
        classes = np.unique(mask[around][rim])
        if len(classes) == 1:
            filled[around][hole] = classes[0]
    return filled


STEPS = {"largest": largest_component, "holes": fill_holes}


def clean_mask(mask: np.ndarray, steps: str | Sequence[str]) -> np.ndarray:
    """Clean up a mask in steps.

    Args:
        mask: (height, width), boolean or {0, 1}, or labels from 0, the background.
        steps: "largest" keeps the largest component of each class: use it only where there is at
            most one structure of a class in an image. "holes" fills background that is shut in by
            one class. Or several of them in the order in which they are to be done.

    Returns:
        The mask, of the same type.

    Example:
        >>> clean_mask(np.array([[True, False, True, True]]), ("largest", "holes"))
        array([[False, False,  True,  True]])
    """
    for step in cleaning_steps(steps):
        mask = STEPS[step](mask)
    return mask


def cleaning_steps(steps: str | Sequence[str]) -> tuple[str, ...]:
    """Return steps of cleaning up as a tuple, or raise a `KerasganError`."""
    if not isinstance(steps, (str, list, tuple)):
        raise KerasganError(
            f"Argument 'clean' must be 'largest', 'holes' or several of them. Received: {steps!r}"
        )
    steps = (steps,) if isinstance(steps, str) else tuple(steps)
    return tuple(check_choice("clean", step, STEPS) for step in steps)


def _checked(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    whole = mask.dtype.kind in "bui" or (mask.dtype.kind == "f" and np.all(mask == np.floor(mask)))
    if mask.ndim != 2 or not whole or (mask.size and mask.min() < 0):
        raise KerasganError(
            "Argument 'mask' must be (height, width), of booleans or whole numbers from 0 up. "
            f"Received: {mask.dtype} of shape {mask.shape}"
        )
    return mask

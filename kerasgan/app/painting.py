"""Painting over an image: the strokes, the region that they cover, and what it is filled with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from kerasgan.data.resize import resize_back, resize_pixels, to_float
from kerasgan.errors import KerasganError
from kerasgan.evaluation.removal import inpainting

FILLED_AT = 192
"""Painted regions are filled at this size, which is enough for what is smooth."""
MOST_STROKES, MOST_POINTS = 100, 2000

Point = tuple[float, float]


class Stroke(NamedTuple):
    """A line painted over the image; places and radius are shares of width and height."""

    points: tuple[Point, ...]
    radius: float


def add_stroke(strokes: Sequence[Stroke], stroke: Stroke) -> list[Stroke]:
    """Add a stroke to others.

    Raises:
        KerasganError: If it cannot be drawn, or there are too many.
    """
    if len(strokes) >= MOST_STROKES:
        raise KerasganError(f"{MOST_STROKES} strokes are the most. Undo some")
    points = stroke.points[:MOST_POINTS]
    inside = all(-1 <= part <= 2 for point in points for part in point)  # NaN is not
    if not points or not inside or not 0 < stroke.radius <= 0.5:
        raise KerasganError("This stroke lies outside the image")
    return [*strokes, Stroke(points, stroke.radius)]


def painted(strokes: Sequence[Stroke], size: tuple[int, int]) -> np.ndarray:
    """The region that strokes cover, bool (height, width)."""
    height, width = size
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        places = [(x * width, y * height) for x, y in stroke.points]
        radius = max(0.5, stroke.radius * max(size))
        draw.line(places, fill=1, width=max(1, round(2 * radius)))
        for x, y in places:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
    return np.asarray(picture)


def filled(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Fill a region of an image smoothly from what is around it; uint8, and the rest as it was."""
    scale = min(1.0, FILLED_AT / max(region.shape))
    size = tuple(max(2, round(side * scale)) for side in region.shape)
    small = to_float(resize_pixels(pixels, size))
    share = resize_back(region[..., None].astype(np.float32), size)[..., 0]
    smooth = inpainting(small, (share > 0)[None])[0]
    values = np.clip((resize_back(smooth, region.shape) + 1) * 127.5, 0, 255)
    return np.where(region[..., None], np.rint(values).astype(np.uint8), pixels)

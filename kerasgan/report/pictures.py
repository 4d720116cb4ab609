"""Pictures for a report that is one file: small, and held in the page itself as data addresses.

Photographs are JPEG, masks and relevance PNG with a palette. A relevance map has 127 colours, one
for each level from -63 to 63, zero in the middle; a page that knows the palette and the value of
the highest level reads the values back from the colours.
"""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from kerasgan.data.resize import image_box
from kerasgan.explain.draw import COLOURS, cells_of, limit_of, opacity, to_picture
from kerasgan.report.figures import PREDICTION, REGION_COLOURS, TRUTH, compare_regions

LEVELS = 63
CASING = "#000000"
PROBABILITY = "viridis"


class Map(NamedTuple):
    """A relevance map as a picture.

    Attributes:
        uri: Data address of a PNG.
        limit: Relevance of the strongest colours; 0 where there is no relevance at all.
        height: Of the map, in cells.
        width: Of the map, in cells.

    """

    uri: str
    limit: float
    height: int
    width: int


def photo(image: np.ndarray, side: int, quality: int = 80) -> tuple[str, tuple[int, int]]:
    """Encode an image in [-1, 1] as a JPEG; return its data address, and its (height, width).

    The longer side is shrunk to `side` pixels, if it is longer.

    Example:
        >>> photo(np.zeros((100, 50, 3)), side=20)[1]
        (20, 10)
    """
    picture = Image.fromarray((255 * to_picture(image)).round().astype(np.uint8))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _address(picture, "jpeg", quality=quality, optimize=True), picture.size[::-1]


def relevance_map(relevance: np.ndarray, limit: float | None = None) -> Map:
    """Encode relevance as a PNG of 127 colours, which end at `limit` and minus that.

    A map with a side of more than 128 pixels is averaged down, so that its values stay those of
    a pixel of the network. Without a limit, colours end at the 99.5th percentile of its size.

    Example:
        >>> relevance_map(np.array([[1.0, -2.0]]))[1:]
        (1.995, 1, 2)
    """
    values = cells_of(relevance)
    picture, limit = _levels(values, limit)
    return Map(_address(picture, "png", optimize=True), limit, *values.shape)


def laid_over(relevance: np.ndarray, limit: float | None = None) -> str:
    """Encode what `relevance_map` does, the more opaque the stronger; zero is transparent."""
    levels = np.abs(np.arange(-LEVELS, LEVELS + 1))
    opaque = np.rint(255 * opacity(levels, LEVELS)).astype(np.uint8).tobytes()
    picture, _ = _levels(cells_of(relevance), limit)
    return _address(picture, "png", optimize=True, transparency=opaque)


def _levels(values: np.ndarray, limit: float | None) -> tuple[Image.Image, float]:
    """A picture of the levels of a map, and its limit: 0 where there is no relevance at all."""
    if limit is None:
        limit = limit_of(values) if values.any() else 0.0
    levels = np.rint(np.clip(values / (limit or 1.0), -1, 1) * LEVELS) + LEVELS
    picture = Image.fromarray(levels.astype(np.uint8))
    picture.putpalette(palette().ravel().tolist())
    return picture, float(limit)


def palette() -> np.ndarray:
    """Return the colours of the levels from -63 to 63, uint8 (127, 3); the middle is near white.

    Example:
        >>> palette()[[0, 63, 126]].tolist()
        [[5, 48, 97], [247, 246, 246], [103, 0, 31]]
    """
    colours = colormaps[COLOURS](np.linspace(0, 1, 2 * LEVELS + 1))[:, :3]
    return (255 * colours).astype(np.uint8)


def outline_layer(
    truth: np.ndarray | None, prediction: np.ndarray | None, size: tuple[int, int]
) -> str:
    """Draw the outlines of masks, labels with 0 the background, on a transparent PNG.

    That of the truth is a solid line, that of the prediction a dashed one.
    """
    layer = np.zeros(size, np.uint8)
    rows, columns = np.indices(size)
    lines = []
    for number, (mask, dashed) in enumerate(((truth, False), (prediction, True)), 2):
        if mask is None:
            continue
        line = _outline(resized(mask, size))
        if dashed:
            line &= (rows + columns) // 6 % 3 > 0
        lines.append((number, line))
        layer[ndimage.binary_dilation(line, np.ones((3, 3)))] = 1
    for number, line in lines:
        layer[line] = number
    return _layer(layer, [(CASING, 150), (TRUTH, 255), (PREDICTION, 255)])


def error_layer(truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int]) -> str:
    """Colour true positive, false positive, false negative and wrong-class pixels, in a PNG."""
    truth, prediction = resized(truth, size), resized(prediction, size)
    layer = np.zeros(size, np.uint8)
    for number, region in enumerate(compare_regions(truth, prediction), 1):
        layer[region] = number
    return _layer(layer, [(colour, 150) for colour in REGION_COLOURS])


def region_layer(region: np.ndarray, size: tuple[int, int]) -> str:
    """Draw the outline of a region, white between black, on a transparent PNG."""
    line = _outline(resized(region, size))
    layer = ndimage.binary_dilation(line, np.ones((3, 3))).astype(np.uint8)
    layer[line] = 2
    return _layer(layer, [(CASING, 170), ("#ffffff", 255)])


def probability_layer(probability: np.ndarray, size: tuple[int, int]) -> str:
    """Colour probabilities (height, width) from 0 to 1, in a PNG; 0 is transparent, 1 is yellow."""
    levels = Image.fromarray(np.rint(255 * np.clip(probability, 0, 1)).astype(np.uint8))
    picture = levels.resize(size[::-1], Image.Resampling.BILINEAR)
    shares = np.arange(256) / 255
    colours = colormaps[PROBABILITY](shares)[:, :3]
    picture.putpalette((255 * colours).astype(np.uint8).ravel().tolist())
    opaque = np.rint(255 * np.minimum(1, 4 * shares) * 0.65).astype(np.uint8)
    return _address(picture, "png", optimize=True, transparency=opaque.tobytes())


def inside(array: np.ndarray, image_size: tuple[int, int], mode: str) -> np.ndarray:
    """Cut off the border that a letterbox added, at whatever size (height, width, ...) has.

    Example:
        >>> inside(np.ones((8, 8)), (4, 8), "letterbox").shape
        (4, 8)
    """
    box = image_box(image_size, array.shape[:2], mode)
    return array[box.top : box.top + box.height, box.left : box.left + box.width]


def _outline(mask: np.ndarray) -> np.ndarray:
    """Foreground pixels with another label beside them; the edge of the image counts."""
    padded = np.pad(mask, 1)
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    line = (middle != 0) & np.any([part != middle for part in beside], axis=0)
    return ndimage.binary_dilation(line, [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring labels to another size (height, width) by the nearest pixel.

    Example:
        >>> resized(np.eye(2), (2, 4)).tolist()
        [[1, 1, 0, 0], [0, 0, 1, 1]]
    """
    labels = Image.fromarray(np.asarray(mask).astype(np.uint8))
    return np.asarray(labels.resize(size[::-1], Image.Resampling.NEAREST))


def _layer(layer: np.ndarray, colours: list[tuple[str, int]]) -> str:
    picture = Image.fromarray(layer)
    table = [0, 0, 0] + [round(255 * part) for colour, _ in colours for part in to_rgb(colour)]
    picture.putpalette(table)
    opacity = bytes([0, *(alpha for _, alpha in colours)])
    return _address(picture, "png", optimize=True, transparency=opacity)


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

"""What a camera adds to a frame beside tissue: burned-in text, a square, a border, highlights.

A network can learn to look at such things instead of at the tissue. Here they are found in a frame
by their looks alone, and painted over.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from kerasgan.data.resize import check_image, resize_mask, resize_pixels
from kerasgan.errors import KerasganError

REGIONS = ("text", "square", "border", "highlights")
TRIES = 64  # places that a control is chosen among
LONGEST = 640  # pixels; larger frames are searched at this size
BLACK, DARK = 0.07, 0.13  # brightest channel, of 1, in the frame, and in a box on it


def find_regions(image: np.ndarray) -> dict[str, np.ndarray]:
    """Find what a camera added to a frame of endoscopy.

    Args:
        image: (height, width, 3), RGB in [-1, 1], 16 pixels at least along each side. Text can be
            told from highlights where its letters are some 5 pixels high.

    Returns:
        bool (height, width) by name, all False where there is none; no pixel belongs to two.
        `text`: the boxes of burned-in lines, four signs in a row at least, near a side.
        `square`: the black or green box in the lower left corner, for a second picture.
        `border`: the black frame around what the endoscope sees.
        `highlights`: specular reflections, small and white.

    Example:
        >>> image = np.full((64, 64, 3), 0.2)
        >>> image[40:, :24] = -1
        >>> {name: int(mask.sum()) for name, mask in find_regions(image).items()}
        {'text': 0, 'square': 576, 'border': 0, 'highlights': 0}
    """
    image = check_image(image)
    height, width, channels = image.shape
    if channels != 3 or min(height, width) < 16:
        raise KerasganError(
            "Argument 'image' must have shape (height, width, 3), 16 pixels at least along each "
            f"side. Received: {image.shape}"
        )
    scale = min(1, LONGEST / max(height, width))
    if scale < 1:
        pixels = np.rint((image + 1) * 127.5).astype(np.uint8)
        size = (max(16, round(height * scale)), max(16, round(width * scale)))
        small = find_regions(resize_pixels(pixels, size) / np.float32(127.5) - 1)
        return {name: resize_mask(mask, (height, width)) for name, mask in small.items()}
    rgb = (image + 1) / 2
    brightest = rgb.max(-1)
    square = _square((brightest < DARK) | (rgb[..., 1] > rgb[..., 0] + 0.1))
    text = _text(rgb.min(-1)) & ~square
    return {
        "text": text,
        "square": square,
        "border": _border(brightest < BLACK, text | square),
        "highlights": _highlights(rgb.min(-1)) & ~text & ~square,
    }


def inpaint_regions(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Fill regions with what surrounds them: the nearest pixels left, blurred into each other.

    Args:
        images: float (count, height, width, channels).
        masks: bool (count, height, width): what to fill. A mask that covers an image leaves its
            mean.

    Returns:
        float32, the images with the regions filled.

    Example:
        >>> images = np.array([0.5, 0.9, 0.5]).reshape(1, 1, 3, 1)
        >>> inpaint_regions(images, np.array([[[False, True, False]]])).ravel()
        array([0.5, 0.5, 0.5], dtype=float32)
    """
    images, masks = np.asarray(images, np.float32), np.asarray(masks, bool)
    if images.ndim != 4 or masks.shape != images.shape[:3]:
        raise KerasganError(
            f"Argument 'masks' must have the shape (count, height, width) of the images. "
            f"Received: {masks.shape} for images {images.shape}"
        )
    filled = images.copy()
    for image, mask in zip(filled, masks):
        if mask.all():
            image[:] = image.mean((0, 1))
        elif mask.any():
            distance, nearest = ndimage.distance_transform_edt(mask, return_indices=True)
            spread = image[tuple(nearest)]
            sigma = max(1.0, distance.max() / 3)
            smooth = ndimage.gaussian_filter(spread, (sigma, sigma, 0), mode="nearest")
            image[mask] = smooth[mask]
    return filled


def elsewhere(mask: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place a region of the same shape elsewhere at random, as a control.

    Of 64 shifts, wrapped round the frame, the one that covers as many pixels of the target as the
    region does, and of the region as few as can be. What of it lies on the region, or on a target
    that the region does not touch, is moved to its rim.
    """
    size, on_target = mask.sum(), (mask & target).sum()
    if not size:
        return mask
    best, control = np.inf, mask
    for shift in rng.integers(0, mask.shape, (TRIES, 2)):
        moved = np.roll(mask, shift, (0, 1))
        cost = abs((moved & target).sum() - on_target) + (moved & mask).sum()
        if cost < best:
            best, control = cost, moved
    allowed = ~mask & ~target if not on_target else ~mask
    control = control & allowed
    lacking = min(size, allowed.sum()) - control.sum()
    if lacking > 0:
        far = ndimage.distance_transform_edt(~control) if control.any() else rng.random(mask.shape)
        far = np.where(allowed & ~control, far, np.inf).ravel()
        control.flat[np.argsort(far, kind="stable")[:lacking]] = True
    return control


def _at_edge(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask that reach the edge of the frame."""
    labels, _ = ndimage.label(np.pad(mask, 1, constant_values=True))
    return mask & (labels == 1)[1:-1, 1:-1]


def _border(black: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What is black as far as the edge, across other regions too, and a rim of it."""
    unit = min(black.shape)
    reach = unit // 20 + 2
    beyond = np.pad(black | others, reach, mode="edge")
    solid = ndimage.binary_opening(beyond, _disc(unit / 80))[reach:-reach, reach:-reach]
    border = _at_edge(solid) & ~others
    rim = ndimage.binary_dilation(border, _disc(max(1, unit / 150))) & ~others
    return rim if border.mean() > 0.002 else np.zeros_like(black)


def _square(foreign: np.ndarray) -> np.ndarray:
    """The rectangle in the lower left corner whose top and right sides are sharp and straight.

    For each corner point, compares the strips just within and just without these two sides.
    """
    height, width = foreign.shape
    strip = max(1, round(min(height, width) / 60))
    total = np.pad(foreign, ((1, 0), (1, 0))).astype(np.float64).cumsum(0).cumsum(1)
    tops = np.arange(height // 2, height - height // 8)[:, None]
    rights = np.arange(width // 8, width // 2)[None, :]

    def share(top, bottom, left, right):
        inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return inside / ((bottom - top) * (right - left))

    left, bottom = (0.3 * rights).astype(int), tops + (0.7 * (height - tops)).astype(int)
    filled = share(tops, height, 0, rights)
    above = share(tops, tops + strip, left, rights) - share(tops - strip, tops, left, rights)
    beside = share(tops, bottom, rights - strip, rights) - share(
        tops, bottom, rights, rights + strip
    )
    sharp = np.minimum(above, beside)
    score = np.where((filled > 0.93) & (sharp > 0.5), above + beside + filled, 0)
    square = np.zeros_like(foreign)
    if score.max(initial=0) > 0:
        row, column = np.unravel_index(score.argmax(), score.shape)
        square[tops[row, 0] :, : rights[0, column]] = True
    return square


def _text(low: np.ndarray) -> np.ndarray:
    """Boxes round rows of small signs of one height, whiter than what is round them."""
    height, width = low.shape
    unit = min(low.shape)
    reach = max(5, round(0.05 * unit)) | 1
    strokes = ndimage.white_tophat(low, (reach, reach), mode="nearest") > 0.18
    labels, count = ndimage.label(strokes, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    corners = [(y.start, y.stop, x.start, x.stop) for y, x in boxes]
    top, bottom, left, right = np.array(corners, float).reshape(count, 4).T
    tall, wide = bottom - top, right - left
    fits = (tall >= max(2, 0.011 * unit)) & (tall <= 0.1 * unit) & (wide <= 0.12 * unit)
    top, bottom, left, right, tall, wide = (
        side[fits] for side in (top, bottom, left, right, tall, wide)
    )
    text = np.zeros(low.shape, bool)
    if not len(top):
        return text
    larger, smaller = np.maximum(tall[:, None], tall), np.minimum(tall[:, None], tall)
    level = np.abs(bottom[:, None] - bottom) <= np.maximum(1, 0.2 * smaller)
    gap = np.maximum(left[:, None], left) - np.minimum(right[:, None], right)
    joined = level & (larger <= 2.6 * smaller) & (gap <= 1.3 * larger)
    _, row = connected_components(joined, directed=False)
    lines, short = [], []
    for number in range(row.max() + 1):
        member = row == number
        usual = np.median(tall[member])
        even = np.mean(np.abs(tall[member] - usual) <= max(1, 0.2 * usual))
        y = top[member].min(), bottom[member].max()
        x = left[member].min(), right[member].max()
        middle = sum(y) / 2 / height, sum(x) / 2 / width
        box = (*y, *x, usual)
        far = min(*middle, *(1 - part for part in middle)) > 0.25
        if member.sum() >= 4 and even >= 0.7 and x[1] - x[0] >= 2.5 * usual and not far:
            lines.append(box)
        elif member.sum() >= 2:
            short.append(box)
    lines += [other for other in short if any(_neighbours(line, other) for line in lines)]
    for y0, y1, x0, x1, usual in lines:
        margin = max(1, round(0.3 * usual))
        rows = slice(max(0, int(y0) - margin), int(y1) + margin)
        text[rows, max(0, int(x0) - margin) : int(x1) + margin] = True
    return text


def _neighbours(line: tuple, other: tuple) -> bool:
    """Whether two boxes (top, bottom, left, right, height of signs) may be of one block of text."""
    below = max(line[0], other[0]) - min(line[1], other[1])
    beside = max(line[2], other[2]) - min(line[3], other[3])
    alike = 0.6 <= other[4] / line[4] <= 1.6
    return alike and below <= 1.8 * line[4] and beside <= (6 * line[4] if below < 0 else 0)


def _highlights(low: np.ndarray) -> np.ndarray:
    unit = min(low.shape)
    reach = max(5, round(0.09 * unit)) | 1
    white = ndimage.white_tophat(low, (reach, reach), mode="nearest")
    return ndimage.binary_dilation((low > 0.65) & (white > 0.25), _disc(max(1, unit / 250)))


def _disc(radius: float) -> np.ndarray:
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return y**2 + x**2 <= max(radius, 1) ** 2 + 0.1

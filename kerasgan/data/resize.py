"""Bringing images and masks to the size a network takes, and back.

Images are averaged over the area of each new pixel along an axis that shrinks, and interpolated
linearly between pixel centres along an axis that grows. Masks take the label of the pixel in
which the centre of the new pixel lies, so no label is ever mixed: new pixel `j` of `n` along an
axis of `m` takes old pixel `floor((j + 1/2) m / n)`.

`mode="stretch"` fills the new size and changes the aspect; `mode="letterbox"` keeps the aspect and
surrounds the image with black and the mask with background.
"""

from __future__ import annotations

from typing import NamedTuple, Union

import numpy as np

from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice, check_size, into_range

MODES = ("stretch", "letterbox")
Size = Union[int, tuple[int, int]]


class Box(NamedTuple):
    """Where an image lies in its resized frame, in pixels of that frame."""

    top: int
    left: int
    height: int
    width: int


def check_image(image: np.ndarray, argument: str = "image") -> np.ndarray:
    """Return an image array as float32 (height, width, channels), or raise a KerasganError."""
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "fiu":
        raise KerasganError(
            f"Argument '{argument}' must be numbers of shape (height, width, channels). "
            f"Received: {array.dtype} of shape {np.shape(image)}"
        )
    array = array.astype(np.float32, copy=False)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise KerasganError(
            f"Argument '{argument}' must be finite. Received: "
            f"{int((~np.isfinite(array)).sum())} values that are NaN or infinite"
        )
    if low < -1.001 or high > 1.001:
        raise KerasganError(
            f"Argument '{argument}' must lie in [-1, 1]; bring pixels there by "
            f"{into_range('pixels', low, high)}. Received: values from {low:g} to {high:g}"
        )
    return array


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Bring uint8 pixels to float32 in [-1, 1]."""
    return np.asarray(pixels, np.float32) * np.float32(2 / 255) - np.float32(1)


def image_box(image_size: tuple[int, int], size: Size, mode: str = "stretch") -> Box:
    """Say where an image comes to lie when it is resized."""
    height, width = check_size("size", size)
    if check_choice("mode", mode, MODES) == "stretch":
        return Box(0, 0, height, width)
    scale = min(height / image_size[0], width / image_size[1])
    inner_height = min(height, max(1, round(image_size[0] * scale)))
    inner_width = min(width, max(1, round(image_size[1] * scale)))
    return Box((height - inner_height) // 2, (width - inner_width) // 2, inner_height, inner_width)


def resize_image(image: np.ndarray, size: Size, mode: str = "stretch") -> np.ndarray:
    """Resize one image to the very numbers that `Samples.batches` gives.

    Args:
        image: (height, width, channels) in [-1, 1]. It is rounded to 8 bits, as in a file.
        size: Side or (height, width).
        mode: "stretch" or "letterbox".

    Returns:
        float32 array (height, width, channels) in [-1, 1].

    Example:
        >>> resize_image(np.zeros((480, 640, 3)), 128).shape
        (128, 128, 3)
    """
    pixels = np.rint((check_image(image).astype(np.float64) + 1) * 127.5)
    return to_float(resize_pixels(np.clip(pixels, 0, 255).astype(np.uint8), size, mode))


def resize_pixels(pixels: np.ndarray, size: Size, mode: str = "stretch") -> np.ndarray:
    """Resize the uint8 pixels of an image: area when shrinking, bilinear when growing."""
    box = image_box(pixels.shape[:2], size, mode)
    inner = _resize(pixels, box.height, box.width)
    return _pad(np.rint(inner).astype(np.uint8), box, size)


def resize_mask(labels: np.ndarray, size: Size, mode: str = "stretch") -> np.ndarray:
    """Resize labels without mixing them: each new pixel's centre picks an old pixel."""
    height, width = labels.shape
    box = image_box((height, width), size, mode)
    rows = (2 * np.arange(box.height) + 1) * height // (2 * box.height)
    columns = (2 * np.arange(box.width) + 1) * width // (2 * box.width)
    return _pad(labels[rows[:, None], columns], box, size)


def resize_back(
    output: np.ndarray, image_size: tuple[int, int], mode: str = "stretch"
) -> np.ndarray:
    """Bring a network's output back to the size of the image, undoing a letterbox.

    Args:
        output: (height, width, channels), of any values, such as probabilities.
        image_size: (height, width) of the image before it was resized.
        mode: The mode it was resized with.

    Returns:
        float32 array (image height, image width, channels).

    Example:
        >>> resize_back(np.zeros((128, 128, 1)), (480, 640), "letterbox").shape
        (480, 640, 1)
    """
    top, left, height, width = image_box(image_size, output.shape[:2], mode)
    inner = np.asarray(output)[top : top + height, left : left + width]
    return _resize(inner, *image_size)


def _pad(inner: np.ndarray, box: Box, size: Size) -> np.ndarray:
    height, width = check_size("size", size)
    if inner.shape[:2] == (height, width):
        return inner
    frame = np.zeros((height, width, *inner.shape[2:]), inner.dtype)
    frame[box.top : box.top + box.height, box.left : box.left + box.width] = inner
    return frame


def _resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize the first two axes, columns first, in float32."""
    return _resize_axis(_resize_axis(array, width, 1), height, 0)


def _resize_axis(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    length = array.shape[axis]
    shape = [-1 if other == axis else 1 for other in range(array.ndim)]
    if count < length:
        edges = np.arange(count) * (length / count)
        first = edges.astype(int)
        # Whole pixels from each edge to the next, less what lies before the one edge,
        # and more what lies before the other.
        total = np.add.reduceat(array, first, axis, np.float32)
        before = array.take(first, axis) * np.float32(edges - first).reshape(shape)
        total -= before
        total.swapaxes(0, axis)[:-1] += before.swapaxes(0, axis)[1:]
        return total * np.float32(count / length)
    if count > length:
        centres = np.clip((np.arange(count) + 0.5) * (length / count) - 0.5, 0, length - 1)
        first = centres.astype(int)
        near = array.take(first, axis).astype(np.float32)
        far = array.take(np.minimum(first + 1, length - 1), axis).astype(np.float32)
        return near + (far - near) * np.float32(centres - first).reshape(shape)
    return array.astype(np.float32)

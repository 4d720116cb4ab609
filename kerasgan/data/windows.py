"""Windows of a network's size, at full resolution or a stated scale, for training and prediction.

Windows are cut from a frame: the image at its scale, filled up by reflection where it is smaller
than a window, the mask with it. In training each image gives one window an epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kerasgan.data.resize import MODES, Box
from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice, check_number

WINDOW = "window"
FRAMINGS = (*MODES, WINDOW)
"""How an image can be brought to a network."""

SCALE = 1.0
MOST_SCALE = 16
FOREGROUND = 0.5


def check_windows(mode: Any, scale: Any = None, foreground: Any = None) -> tuple[str, float, float]:
    """Check how images are brought to a network, and return it with what None stands for."""
    mode = check_choice("mode", mode, FRAMINGS)
    for name, value in (("scale", scale), ("foreground", foreground)):
        if value is not None and mode != WINDOW:
            raise KerasganError(
                f"Argument '{name}' goes with mode='window' alone. Received: {name}={value!r} with "
                f"mode={mode!r}"
            )
    scale = SCALE if scale is None else check_number("scale", scale, above=0, most=MOST_SCALE)
    if foreground is not None:
        foreground = check_number("foreground", foreground, 0, 1)
    return mode, float(scale), float(FOREGROUND if foreground is None else foreground)


def window_box(image_size: tuple[int, int], window: tuple[int, int], scale: float) -> Box:
    """Say where an image lies in the frame that windows are cut from."""
    scaled = (max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale)))
    top, left = (max(0, want - have) // 2 for want, have in zip(window, scaled))
    return Box(top, left, *scaled)


def reflection(box: Box, window: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Say which row and column of an image each row and column of its frame shows."""
    top, left, height, width = box
    below, right = max(0, window[0] - height) - top, max(0, window[1] - width) - left
    rows = np.pad(np.arange(height), (top, below), "reflect")
    return rows, np.pad(np.arange(width), (left, right), "reflect")


def cut_window(
    image: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, size: tuple[int, int], foreground: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut one window from a frame, (height, width, channels), and its uint8 labels.

    With the probability `foreground` it lies anywhere that it holds a pixel of foreground: a random
    one, of a class drawn evenly among those in the image. Else, and where there is no foreground,
    it lies anywhere.
    """
    draws = tf.random.stateless_uniform([5], key, dtype=tf.float64)

    def pick(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.cast(draw * tf.cast(count, tf.float64), tf.int64)

    last = tf.shape(labels, tf.int64) - size
    first = tf.zeros_like(last)

    def around() -> tuple[tf.Tensor, tf.Tensor]:
        counts = tf.math.bincount(tf.cast(tf.reshape(labels, [-1]), tf.int32), minlength=1)
        present = tf.where(counts[1:] > 0)[:, 0] + 1
        label = present[pick(draws[1], tf.size(present))]
        pixels = tf.where(labels == tf.cast(label, labels.dtype))
        pixel = pixels[pick(draws[2], tf.shape(pixels)[0])]
        return tf.maximum(pixel - size + 1, first), tf.minimum(pixel, last)

    wanted = (draws[0] < foreground) & tf.reduce_any(labels > 0)
    low, high = tf.cond(wanted, around, lambda: (first, last))
    top, left = tf.unstack(low + pick(draws[3:], high - low + 1))
    height, width = size
    window = image[top : top + height, left : left + width]
    window = tf.ensure_shape(window, (height, width, image.shape[-1]))
    labels = labels[top : top + height, left : left + width]
    return window, tf.ensure_shape(labels, (height, width))

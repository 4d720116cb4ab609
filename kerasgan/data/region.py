"""Regions that a user marks: an array, or a function of images and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError

TINY = 1e-12

Region = Union[np.ndarray, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]


def as_region(region: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a region as a function from images and masks to weights (batch, height, width).

    A region is an array (height, width) of weights from 0 up, 1 inside; or such a function.
    """
    if callable(region):
        return lambda image, mask: tf.cast(region(image, mask), tf.float32)
    region = np.asarray(region)
    numbers = region.dtype.kind in "buif" and region.ndim == 2
    if not numbers or not np.all(np.isfinite(region)) or region.min(initial=0) < 0:
        raise KerasganError(
            "Argument 'region' must be an array (height, width) of weights from 0 up, or a "
            f"function of images and masks. Received: {region.dtype} of shape {region.shape}"
        )
    weights = tf.constant(region[None], tf.float32)
    return lambda image, mask: weights


def mean_fraction_inside(sizes: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    """Return which part of `sizes` (batch, height, width), from 0 up, lies in a region; a mean."""
    inside = tf.reduce_sum(sizes * region, (1, 2))
    return tf.reduce_mean(inside / (tf.reduce_sum(sizes, (1, 2)) + TINY))

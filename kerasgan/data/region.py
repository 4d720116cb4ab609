"""Regions that a user marks: an array, or a function of images and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError

__all__ = ["Region", "mean_share", "region_of"]

TINY = 1e-12

Region = Union[np.ndarray, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]


def region_of(region: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a region as a function from images and masks to weights (batch, height, width).

    Args:
        region: An array (height, width) of weights from 0 up, 1 inside; or a function from images
            (batch, height, width, channels) and masks (batch, height, width, classes) to such
            weights, (batch, height, width).

    Raises:
        KerasganError: If it is neither an array (height, width) from 0 up nor a function.

    Example:
        >>> region_of(np.ones((2, 2)))(tf.zeros((3, 2, 2, 1)), None).shape
        TensorShape([1, 2, 2])
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


def mean_share(sizes: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    """Return the share of something that lies in a region, as a mean over images.

    Args:
        sizes: From 0 up, (batch, height, width). An image without any adds 0.
        region: Weights (batch or 1, height, width).

    Example:
        >>> float(mean_share(tf.constant([[[3.0, 1.0]]]), tf.constant([[[1.0, 0.0]]])))
        0.75
    """
    inside = tf.reduce_sum(sizes * region, (1, 2))
    return tf.reduce_mean(inside / (tf.reduce_sum(sizes, (1, 2)) + TINY))

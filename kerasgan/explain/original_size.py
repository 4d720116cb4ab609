"""Brings relevance from the size of the network back to the size of the image, its sum kept.

Every pixel of a resized image is a weighted mean of old ones, with weights that sum to 1 (see
`kerasgan.data.resize`). Its relevance is shared among them by those weights: the adjoint of the
resizing. No relevance is lost. An epsilon rule would divide by mid-grey, which is 0, and stretching
a heatmap like an image changes its sum. The rounding of pixels to 8 bits is passed over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kerasgan.data.resize import image_box, resize_back
from kerasgan.errors import KerasganError
from kerasgan.validation import check_size


class OriginalSizeRelevance(NamedTuple):
    """Relevance of an image at its original size.

    Attributes:
        relevance: float64 (image height, image width, channels), so that its sum is exact.
        border: float64 (channels,). Relevance of the black border that a letterbox adds, which
            belongs to no pixel of the image; 0 without one.

    Example:
        >>> resized = to_original(np.ones((4, 4, 1)), (4, 8), "letterbox")
        >>> float(resized.relevance.sum()), resized.border
        (8.0, array([8.]))
    """

    relevance: np.ndarray
    border: np.ndarray


def to_original(
    relevance: Any, image_size: tuple[int, int], mode: str = "stretch"
) -> OriginalSizeRelevance:
    """Brings relevance back to the size of the image, undoing a resize or a letterbox.

    `relevance.sum((0, 1)) + border` of the result is the sum of what was given, in each channel.

    Args:
        relevance: (height, width, channels), of one image as the network saw it. Relevance at a
            layer may be given too, where the image was stretched.
        image_size: (height, width) of the image before it was resized.
        mode: The mode it was resized with, "stretch" or "letterbox".

    Returns:
        The relevance at that size, and what lies on the border of a letterbox.

    Example:
        >>> to_original(np.array([[[6.0]]]), (2, 3)).relevance[..., 0]
        array([[1., 1., 1.],
               [1., 1., 1.]])
    """
    values = np.asarray(relevance)
    if values.dtype.kind not in "buif" or values.ndim != 3 or not np.all(np.isfinite(values)):
        raise KerasganError(
            "Argument 'relevance' must hold finite numbers, (height, width, channels), of one "
            f"image. Received: {values.dtype} values of shape {values.shape}"
        )
    height, width = check_size("image_size", image_size)
    values = values.astype("float64")
    box = image_box((height, width), values.shape[:2], mode)
    inner = values[box.top : box.top + box.height, box.left : box.left + box.width]
    rows = np.tensordot(_weights(box.height, height).T, inner, 1)
    resized = np.einsum("hwc,wv->hvc", rows, _weights(box.width, width), optimize=True)
    border = values.sum((0, 1)) - inner.sum((0, 1))
    return OriginalSizeRelevance(resized, border)


def _weights(count: int, length: int) -> np.ndarray:
    """Returns what each of `count` new pixels takes from `length` old ones; rows sum to 1."""
    resized = resize_back(np.eye(length)[..., None], (count, length))[..., 0].astype("float64")
    return resized / resized.sum(1, keepdims=True)

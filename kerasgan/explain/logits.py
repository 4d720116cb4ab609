"""Reading logits: predicted classes, the foreground, its components.

With one channel a pixel is predicted foreground where its logit is above zero. With several, the
channels exclude each other, channel 0 is the background, and the largest logit is the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import ndimage

from kerasgan.errors import KerasganError, warn


def one_hot_argmax(logits: tf.Tensor) -> tf.Tensor:
    """One-hot of the largest logit; ones where there is one channel."""
    return tf.one_hot(tf.argmax(logits, -1), logits.shape[-1], dtype=logits.dtype)


def predicted(logits: tf.Tensor) -> tf.Tensor:
    """One-hot of the predicted class; one channel: 1 where it is above zero."""
    return tf.cast(logits > 0, logits.dtype) if logits.shape[-1] == 1 else one_hot_argmax(logits)


def without_background(one_hot: tf.Tensor) -> tf.Tensor:
    """Zeroes channel 0 where there are several."""
    channels = one_hot.shape[-1]
    mask = [1] if channels == 1 else [0] + [1] * (channels - 1)
    return one_hot * tf.constant(mask, one_hot.dtype)


def foreground(logits: tf.Tensor) -> tf.Tensor:
    """One-hot of the predicted class, zero where that is the background."""
    return without_background(predicted(logits))


def label_components(logits: tf.Tensor) -> np.ndarray:
    """Numbers the connected components of each predicted mask, the largest first.

    Pixels of the same foreground class are connected to their eight neighbours. Components of all
    classes are counted together; equal ones are ordered by class and then from the top left.
    """
    masks = foreground(tf.convert_to_tensor(logits)).numpy()
    labels = np.zeros(masks.shape, "int64")
    for image, channel in np.ndindex(len(masks), masks.shape[-1]):
        mask = masks[image, ..., channel]
        numbered, _ = ndimage.label(mask, structure=np.ones([3] * mask.ndim))
        labels[image, ..., channel] = numbered + (numbered > 0) * labels[image].max()
    for image in labels:
        sizes = np.bincount(image.ravel())
        sizes[0] = image.size + 1
        image[...] = np.argsort(np.argsort(-sizes, kind="stable"))[image]
    return labels


class Components(NamedTuple):
    """Connected components of a batch of predicted masks, as `components` finds them.

    Attributes:
        image: int64 (count,). The image that each component belongs to.
        index: int64 (count,). Its place in that image, from 0, the largest; see `Component`.
        area: int64 (count,). Its size in pixels.
        weights: float32 (count, height, width, classes). What to start from.

    Example:
        >>> components(tf.constant([1.0, -1.0, 2.0])[None, None, :, None]).weights.shape
        (2, 1, 3, 1)
    """

    image: np.ndarray
    index: np.ndarray
    area: np.ndarray
    weights: np.ndarray


def components(logits: tf.Tensor) -> Components:
    """Finds every connected component of every predicted mask, to be explained in one batch.

    Args:
        logits: Float (batch, height, width, classes).

    Example:
        >>> found = components(tf.constant([1.0, -1.0, 2.0, 2.0])[None, None, :, None])
        >>> found.image, found.area
        (array([0, 0]), array([2, 1]))

        Every component of a batch explained at once:

        >>> explainer.explain(images[found.image], target=found.weights)  # doctest: +SKIP
    """
    labels = label_components(logits)
    counts = labels.reshape(len(labels), -1).max(1)
    image = np.repeat(np.arange(len(labels)), counts)
    index = np.concatenate([np.arange(count) for count in counts])
    weights = labels[image] == index.reshape(-1, *[1] * (labels.ndim - 1)) + 1
    area = weights.sum(tuple(range(1, weights.ndim)))
    return Components(image, index, area, weights.astype("float32"))


def warn_if_empty(weights: tf.Tensor) -> None:
    """Warns, naming the images, where a target has nothing to explain."""
    rows = np.reshape(weights, (len(weights), -1))
    empty = np.flatnonzero(~np.any(rows != 0, axis=1))
    if len(empty):
        shown = ", ".join(map(str, empty[:10])) + (", ..." if len(empty) > 10 else "")
        warn(
            f"The target is empty, so relevance is zero, in {len(empty)} of {len(weights)} "
            f"image(s): {shown}"
        )


def finite_array(array: Any, argument: str, owner: str) -> np.ndarray:
    """Makes an array, refusing what is no finite number; the last two arguments name it."""
    try:
        array = np.asarray(array)
    except ValueError:  # lists of several lengths
        array = np.asarray(array, object)
    if array.dtype.kind not in "buif" or not np.all(np.isfinite(array)):
        raise KerasganError(
            f"Argument '{argument}' of {owner} must hold finite numbers or booleans. "
            f"Received: {array.dtype} values, shape {array.shape}"
        )
    return array


def fit_array(array: np.ndarray, shape: Sequence[int], argument: str, owner: str) -> np.ndarray:
    """Gives an array that fits logits of this shape the shape (batch or 1, h, w, classes or 1).

    Arrays may be tensors. Sizes that are not known, None, fit any.
    """
    b, *size, c = shape
    full, sizes = array, tuple(array.shape)
    if len(sizes) == len(size):
        full = array[None, ..., None]
    elif len(sizes) == len(size) + 1:
        full = array[..., None] if _agree(sizes, (b, *size)) else array[None]
    sizes = tuple(full.shape)
    if not any(_agree(sizes, (n, *size, m)) for n in (1, b) for m in (1, c)):
        raise KerasganError(
            f"Argument '{argument}' of {owner} must have shape {tuple(size)}, {(b, *size)}, "
            f"{(*size, c)} or {(b, *size, c)}, as the logits have. Received: {array.shape}"
        )
    return full


def _agree(sizes: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether sizes are the same, as far as both are known."""
    pairs = list(zip(sizes, wanted))
    return len(sizes) == len(wanted) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def fit_truth(truth: np.ndarray, shape: Sequence[int], owner: str) -> np.ndarray:
    """Makes true masks one-hot, float32 (batch or 1, h, w, classes), for logits of this shape."""
    truth = fit_array(truth, shape, "truth", owner)
    classes = shape[-1]
    allowed = range(classes) if classes > 1 and truth.shape[-1] == 1 else (0, 1)
    values = np.unique(truth)
    if not np.isin(values, allowed).all():
        raise KerasganError(
            f"Argument 'truth' of {owner} must hold whole numbers from 0 to {max(allowed)}. "
            f"Received: values from {values[0]} to {values[-1]}"
        )
    if classes > 1 and truth.shape[-1] == 1:
        truth = truth == np.arange(classes)
    return truth.astype("float32")

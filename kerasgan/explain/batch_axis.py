"""Values whose first axis is not that of the images, such as tokens first, images second.

Rules, sums for each image and relevance at layers take all that belongs to an image together. Where
a network has moved the axis of the images elsewhere, it is moved first for as long as that takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

TOLERANCE = 1e-4


class BatchAxis(NamedTuple):
    """Where the images of a batch are in a tensor.

    Attributes:
        axis: The axis that they are in, whose size is `before * batch * after`.
        before: 1, or the size of what stands before them in that axis; -1 for what is left.
        after: 1, or the size of what stands behind them there; -1 for what is left.
    """

    axis: int
    before: int
    after: int

    @property
    def alone(self) -> bool:
        """Whether that axis is theirs alone; else other axes were made one with it."""
        return self.before == self.after == 1


def batch_first(values: tf.Tensor, where: BatchAxis | None, batch: tf.Tensor | int) -> tf.Tensor:
    """Turns a tensor so that what belongs to an image stands together, the first image first."""
    if where is None:
        return values
    axis, rank = where.axis, values.shape.rank
    if where.alone:
        return tf.transpose(values, [axis, *(i for i in range(rank) if i != axis)])
    shape = tf.shape(values)
    inside = [where.before, batch, where.after]
    apart = tf.concat([shape[:axis], inside, shape[axis + 1 :]], 0)
    moved = tf.transpose(tf.reshape(values, apart), _order(axis, rank))
    if not axis:
        return tf.ensure_shape(tf.reshape(moved, shape), values.shape)
    merged = tf.concat([[batch * shape[0]], shape[1:axis], [-1], shape[axis + 1 :]], 0)
    known = [None, *values.shape[1:axis], None, *values.shape[axis + 1 :]]
    return tf.ensure_shape(tf.reshape(moved, merged), known)


def from_batch_first(
    values: tf.Tensor, like: tf.Tensor, where: BatchAxis | None, batch: tf.Tensor | int
) -> tf.Tensor:
    """Turns a tensor back, from what `batch_first` gives."""
    if where is None:
        return values
    axis, rank = where.axis, like.shape.rank
    if where.alone:
        return tf.transpose(values, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
    shape = tf.shape(like)
    inside = [where.before, where.after]
    apart = tf.concat([[batch], shape[:axis], inside, shape[axis + 1 :]], 0)
    moved = tf.transpose(tf.reshape(values, apart), np.argsort(_order(axis, rank)))
    return tf.ensure_shape(tf.reshape(moved, shape), like.shape)


def find_batch_axis(
    values: np.ndarray, others: np.ndarray, batch: int, shape: Sequence[int | None]
) -> BatchAxis | None:
    """Finds where the images are, from values of which only those of the first image changed."""
    changed = np.abs(values - others) > TOLERANCE * np.abs(values).max(initial=0)
    if not changed.any():
        alone = len(shape) > 1 and shape[0] is not None and list(shape).count(None) == 1
        return BatchAxis(list(shape).index(None), 1, 1) if alone else None
    sizes = values.shape
    if sizes[0] % batch == 0 and not changed.reshape(batch, -1)[1:].any():
        return None
    for axis, after in itertools.product(range(len(sizes)), range(1, max(sizes) + 1)):
        if sizes[axis] % (batch * after):
            continue
        apart = changed.reshape(*sizes[:axis], -1, batch, after, *sizes[axis + 1 :])
        if not np.moveaxis(apart, axis + 1, 0)[1:].any():
            before = sizes[axis] // batch // after
            return BatchAxis(axis, -1 if before > 1 else 1, -1 if before == 1 < after else after)
    raise ValueError("its images depend on one another")


def _order(axis: int, rank: int) -> list[int]:
    """The order of axes by which the images come first."""
    return [axis + 1, *range(axis + 1), *range(axis + 2, rank + 2)]

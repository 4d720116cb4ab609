"""Occlusion and RISE: what becomes of the target when parts of the image are hidden.

They ask the network hundreds of times instead of looking into it, so they hold for any network and
take hundreds of passes. The score is that of the target, `sum(weights * logits)`, with the weights
that the target has in the image itself. They have no ledger, and no relevance at layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Union

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.composites import Method, Result, Weigh
from kerasgan.explain.graph import Graph
from kerasgan.validation import (
    check_number,
    check_seed,
    check_size,
    check_whole_number,
    invalid,
    is_number,
)

Fill = Union[str, float]


class ScoreDrops(NamedTuple):
    """What is added up over the altered copies of a batch.

    Drops of the score, times how far each pixel was hidden (batch, height, width); how far each
    was hidden, the same in all images (height, width); drops of the score (batch,).
    """

    by_pixel: tf.Tensor
    hidden: tf.Tensor
    total: tf.Tensor


class Perturbation(Method):
    """A way of explaining by hiding parts of the image, the same ones in every image of a size.

    Each altered copy is `image + hidden * (fill - image)`. Which parts, `hidden` says, and how the
    drops of the score make a map, `to_maps`.
    """

    fill: Fill

    def count(self, height: Any, width: Any) -> Any:
        """Returns the number of altered copies of an image; sizes are int or scalar tensors."""
        raise NotImplementedError

    def hidden(self, numbers: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Returns how far some copies hide each pixel, (count, height, width) from 0 to 1."""
        raise NotImplementedError

    def to_maps(self, drops: ScoreDrops, count: tf.Tensor) -> tf.Tensor:
        """Makes maps (batch, height, width) of the drops of all copies."""
        raise NotImplementedError

    def check_size(self, height: int, width: int) -> None:
        """Raises a `KerasganError` for images of a size that cannot be explained."""

    def analyse(
        self, network: Graph, images: tf.Tensor, target: Weigh, start: Any = None
    ) -> Result:
        """See `Method.analyse`; runs one altered copy of each image at a time."""
        if None not in images.shape[1:3]:
            self.check_size(*images.shape[1:3])
        logits = network.run(images).logits
        weights = target(logits)
        count = tf.cast(self.count(*tf.unstack(tf.shape(images)[1:3])), tf.int32)
        sizes = tf.shape(images)[:3]
        totals = ScoreDrops(*(tf.zeros(n, images.dtype) for n in (sizes, sizes[1:], sizes[:1])))

        def body(number, totals):
            drops = self.drops(network, images, logits, weights, number, number + 1)
            return number + 1, ScoreDrops(*(a + b for a, b in zip(totals, drops)))

        _, totals = tf.while_loop(lambda number, _: number < count, body, (0, totals))
        return Result(self.to_relevance(totals, images), logits, weights, {}, None)

    def drops(
        self,
        network: Graph,
        images: tf.Tensor,
        logits: tf.Tensor,
        weights: tf.Tensor,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> ScoreDrops:
        """Runs the altered copies number `first` to `last - 1` of every image at once."""
        batch, height, width, channels = tf.unstack(tf.shape(images))
        hidden = self.hidden(tf.range(first, last), height, width)
        hidden = tf.cast(hidden, images.dtype)[:, None, :, :, None]
        mean = self.fill == "mean"
        fill = tf.reduce_mean(images, (1, 2), keepdims=True) if mean else self.fill
        altered = images + hidden * (tf.cast(fill, images.dtype) - images)
        altered = tf.reshape(altered, [-1, height, width, channels])
        altered = tf.ensure_shape(altered, (None, *images.shape[1:]))
        altered_logits = tf.reshape(
            network.run(altered).logits,
            tf.concat([[last - first, batch], tf.shape(logits)[1:]], 0),
        )
        drops = tf.reduce_sum(
            weights * (logits - altered_logits), list(range(2, logits.shape.rank + 1))
        )
        hidden = hidden[:, 0, :, :, 0]
        by_pixel = tf.einsum("nb,nhw->bhw", drops, hidden)
        return ScoreDrops(by_pixel, tf.reduce_sum(hidden, 0), tf.reduce_sum(drops, 0))

    def to_relevance(self, drops: ScoreDrops, images: tf.Tensor) -> tf.Tensor:
        """Makes relevance of the drops of all copies, of the shape of the images.

        A map has one value for each pixel; every channel of the image gets an equal part of it.
        """
        count = self.count(*tf.unstack(tf.shape(images)[1:3]))
        maps = self.to_maps(drops, tf.cast(count, images.dtype))
        return split_over_channels(maps[..., None], images)

    def explain(
        self,
        run: Callable[..., ScoreDrops],
        images: tf.Tensor,
        logits: tf.Tensor,
        weights: tf.Tensor,
        at_once: int,
        progress: Callable[[int], Any],
    ) -> tf.Tensor:
        """Does from Python what `analyse` does within a function, to show how far it is."""
        self.check_size(*images.shape[1:3])
        count = int(self.count(*images.shape[1:3]))
        step = max(1, at_once // len(images))
        total = None
        for first in range(0, count, step):
            last = min(first + step, count)
            drops = run(images, logits, weights, tf.constant(first), tf.constant(last))
            total = drops if total is None else ScoreDrops(*(a + b for a, b in zip(total, drops)))
            progress((last - first) * len(images))
        return self.to_relevance(total, images)


@dataclasses.dataclass(frozen=True)
class Occlusion(Perturbation):
    """How far the score falls when a window over the image is hidden, on average over windows.

    Windows lie `stride` apart, and the last of a row or column at the frame. A pixel gets the mean
    drop of those that cover it. What speaks against the target is below 0.

    Args:
        patch: Side of the window in pixels, or (height, width); None for an eighth of the image's
            shorter side.
        stride: From one window to the next, in pixels, or (down, across), at most `patch`; None for
            half of `patch`.
        fill: What is put into the window: "mean" for the mean colour of the image, or a number in
            units of the network's input, such as -1 for black.

    Example:
        >>> Occlusion(patch=16, stride=8)
        Occlusion(patch=16, stride=8, fill='mean')

    Source: Zeiler and Fergus 2014 (arXiv 1311.2901), who put grey into the window.
    """

    patch: int | tuple[int, int] | None = None
    stride: int | tuple[int, int] | None = None
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        for name in ("patch", "stride"):
            if getattr(self, name) is not None:
                check_size(name, getattr(self, name))
        _check_fill(self.fill)
        if self.patch is not None and self.stride is not None:
            pairs = zip(check_size("stride", self.stride), check_size("patch", self.patch))
            if any(stride > patch for stride, patch in pairs):
                raise KerasganError(
                    "Argument 'stride' must be at most 'patch', or pixels in between are never "
                    f"hidden. Received: stride={self.stride!r}, patch={self.patch!r}"
                )

    def check_size(self, height: int, width: int) -> None:
        """See `Perturbation.check_size`."""
        (high, wide), (down, across) = self._window(height, width)
        if high > height or wide > width:
            expected = f"one that fits into the image, {height} x {width}"
            raise invalid("patch", expected, self.patch, owner="Occlusion")
        if down > high or across > wide:
            patch = f"the patch, which is {high} x {wide} in images of {height} x {width}"
            raise invalid("stride", f"at most {patch}", self.stride, owner="Occlusion")

    def count(self, height: Any, width: Any) -> Any:
        """See `Perturbation.count`."""
        patch, stride = self._window(height, width)
        return _windows(height, patch[0], stride[0]) * _windows(width, patch[1], stride[1])

    def hidden(self, numbers: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """See `Perturbation.hidden`."""
        (high, wide), (down, across) = self._window(height, width)
        columns = _windows(width, wide, across)
        top = tf.minimum(numbers // columns * down, height - high)
        left = tf.minimum(numbers % columns * across, width - wide)
        rows = _within(tf.range(height), top, high)
        return rows[:, :, None] * _within(tf.range(width), left, wide)[:, None, :]

    def to_maps(self, drops: ScoreDrops, count: tf.Tensor) -> tf.Tensor:
        """See `Perturbation.to_maps`."""
        reached = tf.debugging.assert_positive(
            drops.hidden,
            "Argument 'patch' of Occlusion must fit into the image, and 'stride' into the patch",
        )
        with tf.control_dependencies([reached] if reached is not None else []):
            return drops.by_pixel / drops.hidden

    def _window(self, height: Any, width: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """Returns the patch and the stride, each (down, across)."""
        if self.patch is None:
            shorter = tf.minimum(height, width) if tf.is_tensor(height) else min(height, width)
            side = (shorter + 7) // 8
            patch = (side, side)
        else:
            patch = check_size("patch", self.patch)
        if self.stride is None:
            return patch, ((patch[0] + 1) // 2, (patch[1] + 1) // 2)
        return patch, check_size("stride", self.stride)


@dataclasses.dataclass(frozen=True)
class RISE(Perturbation):
    """How much higher the score is with a pixel shown than on average, over random soft masks.

    A mask is a coarse grid of ones and zeros, enlarged bilinearly and shifted by less than a cell;
    what it does not show is replaced by `fill`. Every image meets the same masks, so that results
    do not depend on the batch. The map is that of the source less the mean score, `sum_i
    (score_i - mean score) mask_i / (masks probability)`: the scores of a target can be far from 0,
    and that shared part says nothing of a pixel, but it would drown the rest in noise.

    Args:
        masks: Number of masks.
        cells: Cells of the grid along the image's shorter side.
        probability: That a cell is shown.
        fill: As of `Occlusion`.
        seed: Of the masks.

    Example:
        >>> RISE(masks=2000, seed=1)
        RISE(masks=2000, cells=7, probability=0.5, fill='mean', seed=1)

    Source: Petsiuk et al. 2018 (arXiv 1806.07421), who take 4000 or 8000 masks and fill with 0.
    """

    masks: int = 1000
    cells: int = 7
    probability: float = 0.5
    fill: Fill = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("masks", 2), ("cells", 1)):
            check_whole_number(name, getattr(self, name), least, 2**31 - 1)
        check_seed(self.seed)
        check_number("probability", self.probability, above=0, below=1)
        _check_fill(self.fill)

    def count(self, height: Any, width: Any) -> Any:
        """See `Perturbation.count`."""
        return int(self.masks)

    def hidden(self, numbers: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """See `Perturbation.hidden`."""
        cells = int(self.cells)
        cell = (tf.minimum(height, width) + cells - 1) // cells
        rows, columns = ((size - 2) // cell + 3 for size in (height, width))

        def one(number: tf.Tensor) -> tf.Tensor:
            seed = tf.stack([int(self.seed), number])
            values = tf.random.stateless_uniform([2 + rows * columns], seed)
            shift = tf.floor(values[:2] * tf.cast(cell, tf.float32))
            grid = tf.reshape(values[2:] >= self.probability, [rows, columns])
            down = _resample(height, rows, shift[0], cell)
            across = _resample(width, columns, shift[1], cell)
            return down @ tf.cast(grid, tf.float32) @ tf.transpose(across)

        return tf.map_fn(one, numbers, fn_output_signature=tf.float32)

    def to_maps(self, drops: ScoreDrops, count: tf.Tensor) -> tf.Tensor:
        """See `Perturbation.to_maps`."""
        mean = (drops.total / count)[:, None, None]
        return (drops.by_pixel - mean * drops.hidden) / (count * self.probability)


def split_over_channels(maps: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Gives every channel of images an equal part of a map, so that they add up to it."""
    return tf.repeat(maps / images.shape[-1], images.shape[-1], -1)


def _windows(size: Any, patch: Any, stride: Any) -> Any:
    """Number of windows along an axis."""
    return (size - patch + stride - 1) // stride + 1


def _within(positions: tf.Tensor, starts: tf.Tensor, length: Any) -> tf.Tensor:
    """Returns 1 for places in a window, else 0: float32 (windows, places)."""
    after = positions[None] - starts[:, None]
    return tf.cast((after >= 0) & (after < length), tf.float32)


def _resample(size: tf.Tensor, points: tf.Tensor, shift: tf.Tensor, cell: tf.Tensor) -> tf.Tensor:
    """Returns the parts of points, a cell apart, in each pixel: float32 (size, points)."""
    position = (tf.cast(tf.range(size), tf.float32) + shift) / tf.cast(cell, tf.float32)
    away = tf.abs(position[:, None] - tf.cast(tf.range(points), tf.float32))
    return tf.maximum(1 - away, 0)


def _check_fill(fill: Any) -> None:
    if not (isinstance(fill, str) and fill == "mean") and not is_number(fill):
        raise invalid("fill", "'mean' or a finite number", fill)


PERTURBATIONS: dict[str, Callable[[], Perturbation]] = {"occlusion": Occlusion, "rise": RISE}

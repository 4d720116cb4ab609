"""What the channels of a layer stand for: the images in which each of them matters most.

What a channel has learned shows in the images where it carries the largest share of the relevance
(relevance maximization), and at the place in them where it carries most. Where the relevance that
flows through it alone comes from, a conditional heatmap tells (`through` in `Explainer.explain`).

Images are ranked by the channel's share of the layer's absolute relevance, not by its relevance, in
which a large polyp would always beat a small one.

Source: Concept relevance propagation, Achtibat et al. 2023 (arXiv 2206.03208).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from kerasgan.data import Samples
from kerasgan.errors import KerasganError, KerasganWarning, warn
from kerasgan.explain.draw import (
    colour_bar,
    limit_of,
    overlay,
    panels,
    show,
    to_picture,
    write_figure,
)
from kerasgan.explain.explainer import Explainer
from kerasgan.explain.explanation import Explanation
from kerasgan.explain.functions import channel_mask
from kerasgan.explain.targets import TargetLike
from kerasgan.inference.members import input_size
from kerasgan.models.framing import bring_whole
from kerasgan.validation import check_whole_number


def channel_relevance(explanation: Explanation, layer: str) -> np.ndarray:
    """Sums the relevance of each channel of a layer over all places.

    Args:
        explanation: With relevance kept at that layer.
        layer: Its name, or what it begins with.

    Returns:
        float32 (batch, channels).

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> explainer = kg.Explainer(kg.models.pix2pix_generator(size=32, filters=2))
        >>> e = explainer.explain(np.random.uniform(-1, 1, (2, 32, 32, 3)))
        >>> channel_relevance(e, "down_3").shape
        (2, 8)
    """
    arrived = explanation.layers[layer]
    return arrived.sum(tuple(range(1, arrived.ndim - 1)))


@dataclasses.dataclass(frozen=True, repr=False)
class Concepts:
    """The images in which each channel of a layer matters most, made by `most_relevant`.

    Attributes:
        layer: The layer's name.
        share: float32 (channels, count). The channel's relevance as a share of the layer's absolute
            relevance in the image, largest first.
        image: int64 (channels, count). Which image that is, from 0.
        position: int64 (channels, count, 2). Row and column where the channel has most relevance in
            it, in pixels of the image as the network sees it.
        mean: float32 (channels,). The channel's share, averaged over all images.

    Example:
        >>> concepts = kg.explain.most_relevant(explainer, samples, "up_5")  # doctest: +SKIP
        >>> concepts.plot("concepts.png")  # doctest: +SKIP
    """

    layer: str
    share: np.ndarray
    image: np.ndarray
    position: np.ndarray
    mean: np.ndarray
    _explain: Callable[..., Explanation]
    _load: Callable[[Sequence[int]], np.ndarray]
    _cell: tuple[int, int]

    def __repr__(self) -> str:
        channels, count = self.image.shape
        return f"Concepts(layer {self.layer!r}, {channels} channels, {count} images each)"

    def strongest(self, count: int = 6) -> list[int]:
        """Names the channels with the largest mean share, the largest first."""
        return np.argsort(-self.mean, kind="stable")[:count].tolist()

    def plot(
        self, path: str | os.PathLike | None = None, channels: Sequence[int] | None = None
    ) -> Figure:
        """Draws, for each channel, its images around the place, and below its heatmaps over them.

        A panel shows a quarter of the image's side, or four units of the layer where these are
        more. Above it stands the channel's share. The explained region is outlined. The heatmaps
        of a channel share one scale.

        Args:
            path: Of the picture to write; None to only return the figure.
            channels: Which; None for the six strongest.

        Returns:
            The figure, two rows for each channel.
        """
        channels = self.strongest() if channels is None else list(channels)
        channel_mask(channels, len(self.mean), self.layer)
        rows, columns = 2 * len(channels), self.image.shape[1]
        size = (1.35 * columns + 0.9, 1.45 * rows)
        figure, axes = panels(rows, columns, size, pad=0.02)
        for index, channel in enumerate(channels):
            above, below = axes[2 * index], axes[2 * index + 1]
            images = self._load(self.image[channel])
            explained = self._explain(images, layers=(), through={self.layer: [channel]})
            windows = [self._window(at, images.shape[1:3]) for at in self.position[channel]]
            maps = [
                relevance.sum(-1)[window] for relevance, window in zip(explained.relevance, windows)
            ]
            limit = limit_of(*maps)
            above[0].set_ylabel(f"channel {channel}", fontsize=8)
            below[0].set_ylabel("relevance", fontsize=8)
            for column, window in enumerate(windows):
                region = explained.target[column].any(-1)
                outline = region[window] if region.shape == images.shape[1:3] else None
                picture = to_picture(images[column])[window]
                show(above[column], "", picture, 1, outline)
                over = overlay(picture, maps[column], limit)
                show(below[column], "", over, 1, outline, heat=True)
                above[column].set_title(f"{self.share[channel, column]:.1%}", fontsize=7, pad=2)
        title = f"{self.layer}: the channel's share of the layer's relevance, image by image"
        figure.suptitle(title, fontsize=8)
        colour_bar(figure, axes[:2], "one scale for each channel")
        return write_figure(figure, path)

    def _window(self, position: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice]:
        window = []
        for centre, cell, length in zip(position, self._cell, size):
            side = min(length, max(length // 4, 4 * cell))
            first = int(np.clip(centre - side // 2, 0, length - side))
            window.append(slice(first, first + side))
        return tuple(window)


def most_relevant(
    explainer: Explainer,
    images: Any,
    layer: str,
    count: int = 6,
    target: TargetLike = "prediction",
    *,
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    batch_size: int = 8,
    verbose: bool = False,
) -> Concepts:
    """Finds, for every channel of a layer, the images in which it matters most.

    Images are read and explained batch by batch, and only the best are remembered, so memory does
    not grow with their number. Images in which there is nothing to explain are left out.

    Args:
        explainer: With a rule that gives relevance at layers.
        images: `Samples`, or arrays (height, width, channels) such as a batch of them.
        layer: The layer's name, or what it begins with.
        count: How many images to keep for each channel.
        target: What to explain in each image; as of `Explainer.explain`, without arrays.
        size: Side or (height, width) at which the network runs; None for the size that it takes.
        mode: "stretch" or "letterbox": how images of another size are resized; None for what
            training says, else "stretch". For a network trained on windows, pass such windows.
        batch_size: Images that are explained at once.
        verbose: Whether to show a progress bar.

    Returns:
        The images by channel, to look up and to draw.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> explainer = kg.Explainer(kg.models.pix2pix_generator(size=32, filters=2))
        >>> images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3))
        >>> concepts = kg.explain.most_relevant(explainer, images, "down_3", count=2)
        >>> concepts
        Concepts(layer 'down_3', 8 channels, 2 images each)

    Source: Relevance maximization, Achtibat et al. 2023 (arXiv 2206.03208).
    """
    count = check_whole_number("count", count, 1)
    batch_size = check_whole_number("batch_size", batch_size, 1)
    load = _loader(explainer, images, size, mode)
    explain = functools.partial(explainer.explain, target=target)
    best: tuple[np.ndarray, ...] | None = None
    totals, used, cell = 0.0, 0, (1, 1)
    bar = keras.utils.Progbar(len(images), unit_name="image", verbose=bool(verbose))
    for first in range(0, len(images), batch_size):
        indices = np.arange(first, min(first + batch_size, len(images)))
        batch = load(indices)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The target is empty", KerasganWarning)
            explained = explain(batch, layers=[layer])
        some = explained.target.any((1, 2, 3))
        arrived = explained.layers[layer][some]
        grid = arrived.shape[1:3] if arrived.ndim == 4 else (1, 1)
        cell = tuple(max(1, whole // part) for whole, part in zip(batch.shape[1:3], grid))
        absolute = np.abs(arrived).sum(tuple(range(1, arrived.ndim)))
        share = channel_relevance(explained, layer)[some] / np.maximum(absolute, 1e-30)[:, None]
        totals, used = totals + share.sum(0), used + len(share)
        positions = _positions(arrived, grid, batch.shape[1:3])
        best = _merge(best, share, indices[some], positions, count)
        bar.add(len(indices))
    if not used:
        raise KerasganError(
            f"In none of the {len(images)} images there is anything to explain: target {target!r} "
            "is empty in all"
        )
    if used < len(images):
        warn(
            f"{len(images) - used} of {len(images)} images are left out: the target is empty there"
        )
    share, image, position = (array.swapaxes(0, 1) for array in best)
    mean = (totals / used).astype("float32")
    return Concepts(layer, share.astype("float32"), image, position, mean, explain, load, cell)


def _loader(
    explainer: Explainer, images: Any, size: Any, mode: str | None
) -> Callable[[Sequence[int]], np.ndarray]:
    """Returns a function from indices to a batch of images of the size of the network."""
    if not len(images):
        raise KerasganError("Argument 'images' must hold at least one image. Received: none")
    _, *sides, channels = explainer.model.input_shape
    if size is None and None in sides and not isinstance(images, Samples):
        size = np.shape(images[0])[:2]
    size = input_size(explainer.model, size)
    read = images.__getitem__
    if isinstance(images, Samples):
        read = dataclasses.replace(images, channels=channels or images.channels).image

    def load(indices: Sequence[int]) -> np.ndarray:
        batch = [np.asarray(read(int(index))) for index in indices]
        return bring_whole(explainer.model, batch, size, mode)

    return load


def _positions(arrived: np.ndarray, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Finds where each channel has most relevance, in pixels, (batch, channels, 2)."""
    flat = arrived.reshape(len(arrived), grid[0] * grid[1], arrived.shape[-1]).argmax(1)
    units = np.stack(np.unravel_index(flat, grid), -1)
    return ((units + 0.5) * np.divide(size, grid)).astype("int64")


def _merge(best: Any, share: np.ndarray, images: np.ndarray, positions: np.ndarray, count: int):
    """Keeps the largest shares of each channel, with image and position, (count, channels, ...)."""
    merged = (share, np.broadcast_to(images[:, None], share.shape), positions)
    if best is not None:
        merged = tuple(np.concatenate(pair) for pair in zip(best, merged))
    order = np.argsort(-merged[0], axis=0, kind="stable")[:count]
    return tuple(
        np.take_along_axis(array, order.reshape(order.shape + (1,) * (array.ndim - 2)), 0)
        for array in merged
    )

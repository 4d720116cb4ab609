"""What the channels of a layer stand for: the images in which each of them matters most.

What a channel has learned shows in the images where it carries the largest share of the relevance
(relevance maximization), and at the place in them where it carries most.

Images are ranked by the channel's share of the layer's absolute relevance, not by its relevance, in
which a large polyp would always beat a small one.

Source: Concept relevance propagation, Achtibat et al. 2023 (arXiv 2206.03208).
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError, KerasganWarning, warn
from kerasgan.explain.explainer import Explainer
from kerasgan.explain.explanation import Explanation
from kerasgan.explain.targets import TargetLike
from kerasgan.models.framing import bring_whole
from kerasgan.validation import check_size, check_whole_number


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
) -> pd.DataFrame:
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
        A row for each channel and image, the channel of the largest mean share first, and its
        images by their share: `channel`; `mean`, the channel's share averaged over all images;
        `image`, from 0; `share`, the channel's relevance as a share of the layer's absolute
        relevance in the image; `row` and `column` where the channel has most relevance in it, in
        pixels of the image as the network sees it.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> explainer = kg.Explainer(kg.models.pix2pix_generator(size=32, filters=2))
        >>> images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3))
        >>> table = kg.explain.most_relevant(explainer, images, "down_3", count=2)
        >>> len(table), table["channel"].nunique()
        (16, 8)

    Source: Relevance maximization, Achtibat et al. 2023 (arXiv 2206.03208).
    """
    count = check_whole_number("count", count, 1)
    batch_size = check_whole_number("batch_size", batch_size, 1)
    load = _loader(explainer, images, size, mode)
    explain = functools.partial(explainer.explain, target=target)
    best: tuple[np.ndarray, ...] | None = None
    totals, used = 0.0, 0
    bar = keras.utils.Progbar(len(images), unit_name="image") if verbose else None
    for first in range(0, len(images), batch_size):
        indices = np.arange(first, min(first + batch_size, len(images)))
        batch = load(indices)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The target is empty", KerasganWarning)
            explained = explain(batch, layers=[layer])
        some = explained.target.any((1, 2, 3))
        arrived = explained.layers[layer][some]
        grid = arrived.shape[1:3] if arrived.ndim == 4 else (1, 1)
        absolute = np.abs(arrived).sum(tuple(range(1, arrived.ndim)))
        share = channel_relevance(explained, layer)[some] / np.maximum(absolute, 1e-30)[:, None]
        totals, used = totals + share.sum(0), used + len(share)
        positions = _positions(arrived, grid, batch.shape[1:3])
        best = _merge(best, share, indices[some], positions, count)
        if bar is not None:
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
    mean = totals / used
    rows = [
        (channel, mean[channel], *of_image)
        for channel in np.argsort(-mean, kind="stable")
        for of_image in zip(image[channel], share[channel], *position[channel].T)
    ]
    return pd.DataFrame(rows, columns=["channel", "mean", "image", "share", "row", "column"])


def _loader(
    explainer: Explainer, images: Any, size: Any, mode: str | None
) -> Callable[[Sequence[int]], np.ndarray]:
    """Returns a function from indices to a batch of images of the size of the network."""
    if not len(images):
        raise KerasganError("Argument 'images' must hold at least one image. Received: none")
    _, *sides, channels = explainer.model.input_shape
    if size is not None:
        size = check_size("size", size)
    elif None not in sides:
        size = tuple(sides)
    elif isinstance(images, Samples):
        raise KerasganError(
            f"Argument 'size' must be given, since '{explainer.model.name}' takes images of any "
            "size: the size that it was trained at"
        )
    else:
        size = np.shape(images[0])[:2]
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

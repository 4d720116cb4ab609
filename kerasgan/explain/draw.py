"""Pictures of explanations: relevance in red and blue, zero white, or transparent over an image."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy import ndimage

from kerasgan.errors import KerasganError

COLOURS = "RdBu_r"
CLIPPED = 99.5
ROWS = 8
SMALLEST = 8
GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


def draw(explanation: Any, layers: Sequence[str] | None = None, outlines: bool = True) -> Figure:
    """Draws image, relevance over and beside it, that of layers, and mask, a row for each image.

    Channels are summed. The images of a column share one scale, positive red and negative blue.
    Over the image, in grey, relevance is the more opaque the stronger it is. The predicted mask is
    outlined. Of more than 8 images the first 8 are drawn. Arguments as of `Explanation.plot`.
    """
    layers = some_layers(explanation.layers) if layers is None else list(layers)
    rows = min(len(explanation), ROWS)
    maps = {"relevance of pixels": explanation.relevance[:rows].sum(-1)}
    for name in layers:
        summed, part = explanation.layers[name][:rows].sum(-1), explanation.layers.describe(name)
        size = f"{summed.shape[1]} × {summed.shape[2]}"
        maps[f"{part}\n{name}" if part else f"{name}\n{size}"] = summed
    columns = 3 + len(maps)
    figure, axes = panels(rows, columns, (1.6 * columns + 0.8, 1.6 * rows + 0.5))
    masks = _foreground(explanation.prediction)
    limits = {title: limit_of(summed) for title, summed in maps.items()}
    for row in range(rows):
        image, mask = to_picture(explanation.images[row]), masks[row]
        outline = mask if outlines else None
        show(axes[row, 0], "image", image, row, outline=outline)
        title, summed = next(iter(maps.items()))
        over = overlay(image, summed[row], limits[title])
        show(axes[row, 1], "relevance over the image", over, row, outline=outline, heat=True)
        for axis, (title, summed) in zip(axes[row, 2:], maps.items()):
            picture = in_colours(summed[row], limits[title])
            show(axis, title, picture, row, outline=outline, heat=True)
        show(axes[row, -1], "predicted mask", mask, row, cmap="gray", vmin=0, vmax=1)
    colour_bar(figure, axes, "one scale for each column of maps")
    return figure


def panels(
    rows: int, columns: int, size: tuple[float, float], pad: float = 0.03
) -> tuple[Figure, np.ndarray]:
    """Makes a figure of that size in inches, and its axes (rows, columns)."""
    figure = Figure(figsize=size, layout="constrained", dpi=200)
    figure.get_layout_engine().set(w_pad=pad, h_pad=pad, wspace=0, hspace=0)
    return figure, figure.subplots(rows, columns, squeeze=False)


def to_picture(image: np.ndarray) -> np.ndarray:
    """Turns an image (height, width, channels), in [-1, 1], into one that can be shown, in [0, 1].

    Values beyond are stretched to fit. Images of other than three channels become grey.
    """
    image = np.asarray(image, "float64")
    low, high = (-1, 1) if np.abs(image).max() <= 1 else (image.min(), image.max())
    image = (image - low) / ((high - low) or 1)
    return image if image.shape[-1] == 3 else np.repeat(image.mean(-1, keepdims=True), 3, -1)


def colour_bar(figure: Figure, axes: np.ndarray, scale: str = "one scale for each map") -> None:
    """Adds the colours of relevance to a figure; `axes` are all of it, in rows and columns.

    `scale` says which maps share one, whose colours end where `limit_of` says.
    """
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS),
        ax=axes,
        fraction=0.02,
        aspect=14 * len(axes),
        pad=0.01,
    )
    bar.set_ticks([-1, 0, 1], labels=["against", "0", "for"])
    bar.set_label(scale, fontsize=7)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=8, length=2)


def limit_of(*maps: np.ndarray) -> float:
    """Returns the relevance of the strongest colours of maps that share one scale.

    It is the 99.5th percentile of their absolute relevance; 1 where all of it is zero.
    """
    sizes = np.abs(np.concatenate([np.ravel(relevance) for relevance in maps]))
    return float(np.percentile(sizes, CLIPPED) or sizes.max() or 1.0)


def in_colours(relevance: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Turns relevance (height, width) into colours (height, width, 4), by the map's own limit."""
    limit = limit_of(relevance) if limit is None else limit
    return colormaps[COLOURS](np.clip(relevance / limit, -1, 1) / 2 + 0.5)


def opacity(relevance: np.ndarray, limit: float) -> np.ndarray:
    """Returns how opaque relevance is over an image: from 0 where it is zero to 1 at the limit."""
    return np.minimum(np.abs(relevance) / limit, 1.0)


def overlay(image: np.ndarray, relevance: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Lays relevance over an image in grey, which shows unchanged where relevance is zero.

    `image` is what `to_picture` gives; relevance may be coarser. `limit` is the relevance of the
    strongest colours; None for the map's own (`limit_of`).

    Example:
        >>> overlay(np.full((1, 2, 3), 0.5), np.array([[0.0, 1.0]]))[0].round(2).tolist()
        [[0.5, 0.5, 0.5], [0.4, 0.0, 0.12]]
    """
    limit = limit_of(relevance) if limit is None else limit
    height, width = image.shape[:2]
    rows = np.arange(height) * relevance.shape[0] // height
    relevance = relevance[rows][:, np.arange(width) * relevance.shape[1] // width]
    grey = np.repeat(image @ GREY, 3).reshape(image.shape)
    alpha = opacity(relevance, limit)[..., None]
    return (1 - alpha) * grey + alpha * in_colours(relevance, limit)[..., :3]


def show(
    axis: Any, title: str, picture: np.ndarray, row: int, outline=None, heat=False, **settings
) -> None:
    """Fills one panel of a figure, with a title in the first row, and settings of `imshow`.

    `outline` is a mask, of any size; it is thinner where the picture shows relevance (`heat`).
    """
    axis.imshow(picture, interpolation="nearest", **settings)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color="0.6")
    if row == 0:
        axis.set_title(title, fontsize=8)
    if outline is not None and outline.any() and not outline.all():
        height, width = outline.shape
        y = (np.arange(height) + 0.5) * picture.shape[0] / height - 0.5
        x = (np.arange(width) + 0.5) * picture.shape[1] / width - 0.5
        smooth = ndimage.gaussian_filter(outline.astype(float), height / 256)
        axis.contour(x, y, smooth, [0.5], colors="black", linewidths=0.7 if heat else 1.6)
        if not heat:
            axis.contour(x, y, smooth, [0.5], colors="white", linewidths=0.8)


def _foreground(prediction: np.ndarray) -> np.ndarray:
    return prediction[..., 0] if prediction.shape[-1] == 1 else prediction[..., 1:].any(-1)


def some_layers(layers: Any) -> list[str]:
    """Picks up to three layers spread over the network whose maps are large enough to look at.

    Example:
        >>> some_layers({"a": np.zeros((1, 64, 64, 8)), "b": np.zeros((1, 32, 32, 8))})
        ['a', 'b']
    """
    places: dict[int, str] = {}
    for name in layers:
        array = layers[name]
        if array.ndim == 4 and min(array.shape[1:3]) >= SMALLEST and array.shape[-1] > 1:
            places.setdefault(id(array), name)
    names = list(places.values())
    picks = np.unique(np.linspace(0, len(names) - 1, 5).round().astype(int)[1:-1]) if names else []
    return [names[pick] for pick in picks]


def write_figure(figure: Figure, path: str | os.PathLike | None) -> Figure:
    """Writes a figure, if there is a path, and returns it.

    A picture of that name is replaced, and a missing folder made.
    """
    if path is not None:
        try:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise KerasganError(
                f"Argument 'path' must be a figure file that can be written. Received: {path} "
                f"({error})"
            ) from error
    return figure

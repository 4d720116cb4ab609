"""Pictures of explanations: relevance in red and blue, with zero white in the middle."""

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

__all__ = ["colour_bar", "draw", "in_colours", "show", "some_layers", "to_picture", "write_figure"]

COLOURS = "RdBu_r"
CLIPPED = 99.5
ROWS = 8
SMALLEST = 8


def draw(explanation: Any, layers: Sequence[str] | None = None, outlines: bool = True) -> Figure:
    """Draws image, relevance of pixels and of layers, and predicted mask, a row for each image.

    Channels are summed. Each panel is scaled by itself: its colours end at the 99.5th percentile of
    its absolute relevance, positive red and negative blue. The predicted mask is outlined.

    Args:
        explanation: An `Explanation`; of more than 8 images the first 8 are drawn.
        layers: Names of layers; None picks up to three of those kept.
        outlines: Whether to outline it, which can hide thin structures.

    Returns:
        The figure.
    """
    layers = some_layers(explanation.layers) if layers is None else list(layers)
    rows = min(len(explanation), ROWS)
    columns = 3 + len(layers)
    figure = Figure(figsize=(2.1 * columns + 0.7, 2.1 * rows + 0.45), layout="constrained", dpi=150)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(rows, columns, squeeze=False)
    masks = _foreground(explanation.prediction)
    for row in range(rows):
        image, mask = to_picture(explanation.images[row]), masks[row]
        panels = [("relevance of pixels", explanation.relevance[row])]
        panels += [(name, explanation.layers[name][row]) for name in layers]
        outline = mask if outlines else None
        show(axes[row, 0], "image", image, row, outline=outline)
        for axis, (title, relevance) in zip(axes[row, 1:], panels):
            summed = relevance.sum(-1)
            title += f"\n{summed.shape[0]} × {summed.shape[1]}" if title in layers else ""
            show(axis, title, in_colours(summed), row, outline=outline, heat=True)
        show(axes[row, -1], "predicted mask", mask, row, cmap="gray", vmin=0, vmax=1)
    colour_bar(figure, axes)
    return figure


def to_picture(image: np.ndarray) -> np.ndarray:
    """Turns an image into one that can be shown.

    Args:
        image: (height, width, channels), in [-1, 1]; values beyond are stretched to fit.

    Returns:
        float (height, width, 3), in [0, 1]. Images of other than three channels become grey.
    """
    image = np.asarray(image, "float64")
    low, high = (-1, 1) if np.abs(image).max() <= 1 else (image.min(), image.max())
    image = (image - low) / ((high - low) or 1)
    return image if image.shape[-1] == 3 else np.repeat(image.mean(-1, keepdims=True), 3, -1)


def colour_bar(figure: Figure, axes: np.ndarray) -> None:
    """Adds the colours of relevance to a figure; `axes` are all of it, in rows and columns."""
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS),
        ax=axes,
        fraction=0.02,
        aspect=14 * len(axes),
        pad=0.01,
    )
    bar.set_ticks([-1, 0, 1], labels=["against", "0", "for"])
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=8, length=2)


def in_colours(relevance: np.ndarray) -> np.ndarray:
    """Turns relevance (height, width) into colours (height, width, 4), by the map's own scale."""
    limit = np.percentile(np.abs(relevance), CLIPPED) or np.abs(relevance).max() or 1.0
    return colormaps[COLOURS](np.clip(relevance / limit, -1, 1) / 2 + 0.5)


def show(
    axis: Any, title: str, picture: np.ndarray, row: int, outline=None, heat=False, **settings
) -> None:
    """Fills one panel of a figure.

    Args:
        axis: The panel.
        title: Shown in the first row.
        picture: What to show.
        row: Of the panel, from 0.
        outline: Mask (height, width) to draw the outline of, of any size.
        heat: Whether the picture shows relevance, and needs a thinner outline.
        **settings: As of `imshow`.
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

    Args:
        layers: Relevance at layers, an array (batch, height, width, channels) by name.

    Returns:
        Their names.

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
    """Writes a figure; a picture of that name is replaced, and a missing folder made.

    Args:
        figure: The figure.
        path: Of the picture; None to write none.

    Returns:
        The figure.

    Raises:
        KerasganError: An ending that no picture has, or a path that cannot be written.

    Example:
        >>> write_figure(Figure(), "pictures/empty.png").get_axes()
        []
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

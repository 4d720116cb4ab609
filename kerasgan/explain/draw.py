"""Pictures of explanations: relevance in red and blue, zero white, or transparent over an image."""

from __future__ import annotations

import io
import math
import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import ndimage

from kerasgan.errors import KerasganError
from kerasgan.explain.propagate import COLUMNS
from kerasgan.models.functional import feature_maps, way_down
from kerasgan.storage import write_file
from kerasgan.validation import invalid

COLOURS = "RdBu_r"
CELLS = 128
"""Cells along the longer side of a map, at most; more would show how strides meet single pixels."""
CLIPPED = 99.5
ROWS = 8
SMALLEST = 8
CANCEL = 0.05
"""Logits whose sum is a smaller share of their absolute sum are not divided by."""
UNTOLD = 0.005
"""The share of the explained logits that the ledger may miss, for the rest to be told."""
LOST = [COLUMNS.index(column) for column in ("bias", "stabiliser", "unsupported")]
DOTTED = {"colors": "0.45", "linewidths": 0.8, "linestyles": "dotted"}
GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


def draw(
    explanation: Any,
    layers: Sequence[str] | None = None,
    outlines: bool = True,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws image, relevance over and beside it, that of layers, and mask, a row for each image.

    Channels are summed. The images of a column share one scale, positive red and negative blue.
    Over the image, in grey, relevance is the more opaque the stronger it is. What is explained is
    outlined, and by dots the predicted mask where that is another. Of more than 8 images the first
    8 are drawn. Maps of more than 128 pixels a side are averaged. Arguments as of
    `Explanation.plot`.
    """
    layers = some_layers(explanation.layers) if layers is None else list(layers)
    rows = min(len(explanation), ROWS)
    maps = {"relevance of pixels": explanation.relevance[:rows].sum(-1)}
    for name in layers:
        summed, part = explanation.layers[name][:rows].sum(-1), explanation.layers.describe(name)
        size = f"{summed.shape[1]} × {summed.shape[2]}"
        maps[f"{part}\n{name}" if part else f"{name}\n{size}"] = summed
    columns = 3 + len(maps)
    texts = _row_texts(explanation, rows, _checked_names(names, len(explanation)))
    width, lines = 1.6 * columns + 1.0, sum(map(bool, texts)) + 2
    above = 0.14 * (max(title.count("\n") for title in maps) + (2 if len(maps) > 1 else 1))
    figure, axes = panels(rows, columns, (width, 1.6 * rows + 0.4 + above + 0.17 * lines))
    masks = _foreground(explanation.prediction[:rows])
    explained = explanation.target[:rows].any(-1)
    differ = [not np.array_equal(*pair) for pair in zip(explained, masks)]
    maps = {title: cells_of(summed) for title, summed in maps.items()}
    limits = {title: limit_of(summed) for title, summed in maps.items()}
    one_scale = limits["relevance of pixels"] if len(maps) == 1 else None
    scales = {title: "" if one_scale else f"\n±{_short(limits[title])}" for title in maps}
    for row, mask in enumerate(masks):
        image = to_picture(explanation.images[row])
        lines = {"outline": explained[row], "dotted": mask if differ[row] else None}
        lines = lines if outlines else {}
        show(axes[row, 0], "image", image, row, **lines)
        title, summed = next(iter(maps.items()))
        over = overlay(image, summed[row], limits[title])
        title = f"relevance over the image{scales[title]}"
        show(axes[row, 1], title, over, row, heat=True, **lines)
        for axis, (title, summed) in zip(axes[row, 2:], maps.items()):
            picture = in_colours(summed[row], limits[title])
            show(axis, title + scales[title], picture, row, heat=True, **lines)
        show(axes[row, -1], "predicted mask", mask, row, cmap="gray", vmin=0, vmax=1)
        _write_below(axes[row, 0], texts[row])
    colour_bar(figure, axes, "one scale for each column of maps", one_scale)
    named = dict.fromkeys(explanation.targets[:rows])
    told = [f"rule: {explanation.rule}"] if explanation.rule else []
    if named:
        told.append(f"target: {next(iter(named)) if len(named) == 1 else 'below each row'}")
    if told:
        text = textwrap.shorten(" · ".join(told), int(12 * width), placeholder=" …")
        figure.suptitle(text, fontsize=10)
    if outlines:
        part = [mask.any() and not mask.all() for mask in explained]
        _legend(figure, part, differ)
    return figure


def _write_below(axis: Any, text: str) -> None:
    """Writes a line below a row, from its first panel on; the panel becomes no wider by it."""
    if text:
        axis.set_xlabel(" ", fontsize=9, labelpad=3)
        position = {"xy": (0, 0), "xycoords": "axes fraction", "textcoords": "offset points"}
        below = axis.annotate(text, xytext=(0, -3), va="top", fontsize=9, **position)
        below.set_parse_math(False)  # of a name with two dollar signs
        below.set_in_layout(False)


def _checked_names(names: Any, count: int) -> Sequence[str]:
    """Checks that there is a name for each image, or none at all."""
    if names is None:
        return []
    several = isinstance(names, (list, tuple, np.ndarray)) and len(names) == count
    if not several or not all(isinstance(name, str) for name in names):
        raise invalid("names", f"a text for each of the {count} images", names)
    return names


def _row_texts(explanation: Any, rows: int, names: Sequence[str]) -> list[str]:
    """Says which image it is, what is explained, and how much of it reached the pixels.

    The first two stand where they differ: `names` of the images may be none.
    """
    chosen = explanation.targets[:rows]
    several = len(set(chosen)) > 1
    texts = []
    for row, share in enumerate(_shares(explanation, rows)):
        parts = [name if len(name) <= 60 else f"… {name[-58:]}" for name in names[row : row + 1]]
        parts += [textwrap.shorten(chosen[row], 60, placeholder=" …")] if several else []
        explained = explanation.target[row].any(-1)
        if explained.all() or not explained.any():
            parts.append(f"{'all' if explained.any() else 'no'} pixels are explained")
        if 0 <= share <= 1:
            parts.append(f"{100 * share:.0f} % of the explained logits reached the pixels")
        elif np.isfinite(share):
            parts.append(f"relevance of pixels adds up to {100 * share:.0f} % of explained logits")
        texts.append("; ".join(parts))
    return texts


def _shares(explanation: Any, rows: int) -> np.ndarray:
    """Returns the share of the explained logits that reached the pixels, or NaN, for each image.

    It is NaN where the ledger does not account for the explained logits, as for gradients or where
    relevance started as something else, and where they cancel each other.
    """
    axes = tuple(range(1, explanation.logits.ndim))
    logits = (explanation.target[:rows] * explanation.logits[:rows]).astype("float64")
    total, reached = logits.sum(axes), explanation.relevance[:rows].sum(axes, dtype="float64")
    ledger = explanation.arrays.get("ledger", np.full((1, len(COLUMNS), rows), np.nan))
    lost = ledger[:, LOST, :rows].sum((0, 1), dtype="float64")
    told = np.abs(reached + lost - total) <= UNTOLD * np.abs(total)
    clear = np.abs(total) > CANCEL * np.abs(logits).sum(axes)
    return np.divide(reached, total, out=np.full(rows, np.nan), where=told & clear)


def _legend(figure: Figure, full: Sequence[bool], differ: Sequence[bool]) -> None:
    """Says what the lines are, below the figure: in which rows there is which."""
    explained = "explained" if any(differ) else "predicted mask, which is explained"
    lines = [Line2D([], [], color="black", linewidth=1.2, label=explained)] if any(full) else []
    if any(differ):
        label = "predicted mask" if all(differ) else "predicted mask, where it is another"
        dotted = {key[:-1]: value for key, value in DOTTED.items()}
        lines.append(Line2D([], [], label=label, **{**dotted, "linewidth": 1.2}))
    if lines:
        position = {"loc": "outside lower left", "ncols": len(lines), "borderpad": 0.3}
        figure.legend(handles=lines, fontsize=9, frameon=False, **position)


def _short(limit: float) -> str:
    """Writes a limit by its first two digits."""
    return f"{float(f'{limit:.2g}'):g}"


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


def colour_bar(
    figure: Figure,
    axes: np.ndarray,
    scale: str = "one scale for each map",
    limit: float | None = None,
) -> None:
    """Adds the colours of relevance to a figure; `axes` are all of it, in rows and columns.

    `scale` says which maps share one, whose colours end where `limit_of` says: at `limit`, where it
    is the same for all.
    """
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS),
        ax=axes,
        fraction=0.02,
        aspect=14 * len(axes),
        pad=0.01,
    )
    ends = [f"−{_short(limit)}\nagainst", f"{_short(limit)}\nfor"] if limit else ["against", "for"]
    bar.set_ticks([-1, 0, 1], labels=[ends[0], "0", ends[1]])
    bar.set_label(scale, fontsize=7)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=8, length=2)


def cells_of(relevance: np.ndarray) -> np.ndarray:
    """Averages maps (..., height, width) down to sides of at most `CELLS`, float64.

    Example:
        >>> cells_of(np.arange(256).reshape(1, 256))[0, :3]
        array([0.5, 2.5, 4.5])
    """
    values = np.asarray(relevance, np.float64)
    step = -(-max(values.shape[-2:]) // CELLS)
    for axis in (-2, -1) if step > 1 else ():
        starts = np.arange(0, values.shape[axis], step)
        counts = np.minimum(step, values.shape[axis] - starts)
        values = np.add.reduceat(values, starts, axis) / np.expand_dims(counts, -1 - axis)
    return values


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
    grey = np.repeat(np.clip(image @ GREY, 0, 1), 3).reshape(image.shape)
    alpha = opacity(relevance, limit)[..., None]
    return (1 - alpha) * grey + alpha * in_colours(relevance, limit)[..., :3]


def show(
    axis: Any,
    title: str,
    picture: np.ndarray,
    row: int,
    outline=None,
    heat=False,
    dotted=None,
    **settings,
) -> None:
    """Fills one panel of a figure, with a title in the first row, and settings of `imshow`.

    `outline` is a mask, of any size; it is thinner where the picture shows relevance (`heat`).
    `dotted` is another, whose outline is a thin dotted line.
    """
    axis.imshow(picture, interpolation="nearest", **settings)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color="0.6")
    if row == 0:
        axis.set_title(title, fontsize=8)
    _outline(axis, picture, dotted, DOTTED)
    _outline(axis, picture, outline, {"colors": "black", "linewidths": 0.7 if heat else 1.6})
    if not heat:
        _outline(axis, picture, outline, {"colors": "white", "linewidths": 0.8})


def _outline(
    axis: Any, picture: np.ndarray, mask: np.ndarray | None, settings: dict[str, Any]
) -> None:
    """Draws a smoothed outline of a mask, if there is one; what smoothing would erase is kept."""
    if mask is None or not mask.any() or mask.all():
        return
    height, width = mask.shape
    y = (np.arange(height) + 0.5) * picture.shape[0] / height - 0.5
    x = (np.arange(width) + 0.5) * picture.shape[1] / width - 0.5
    smooth = ndimage.gaussian_filter(mask.astype(float), height / 256)
    near = ndimage.maximum_filter(smooth, 2 * int(np.ceil(height / 256)) + 1)
    axis.contour(x, y, np.where(mask & (near <= 0.5), 1.0, smooth), [0.5], **settings)


def _foreground(prediction: np.ndarray) -> np.ndarray:
    return prediction[..., 0] if prediction.shape[-1] == 1 else prediction[..., 1:].any(-1)


def layers_to_show(network: keras.Model, size: tuple[int, int]) -> list[str]:
    """Name layers of a network's way down, at about 1/4, 1/8 and 1/16 of the size.

    Of each size it is the last of the widest, which is no gate, or the residual sum before it: the
    convolution of stride two behind the widest would print its pattern on the relevance there.
    """
    widths = {name: maps.shape[-1] for name, maps in feature_maps(network).items()}
    sums = {x.name for x in network.layers if isinstance(x, keras.layers.Add)}
    down: dict[int, str] = {}
    last_sum: dict[int, str] = {}
    widest: dict[int, int] = {}
    for name, area in way_down(network, size).items():
        if name in sums:
            last_sum[area] = name
        if widths[name] >= widest.get(area, 0):
            widest[area], down[area] = widths[name], last_sum.get(area, name)
    shares = {math.log2(math.prod(size) / area): name for area, name in down.items()}
    nearest = [min(shares, key=lambda share: abs(share - 2 * halvings)) for halvings in (2, 3, 4)]
    return [shares[share] for share in dict.fromkeys(nearest) if share > 1]


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
            path = pathlib.Path(path)
            path = path if path.suffix else path.with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            figure.savefig(content, format=path.suffix[1:].lower())
            write_file(path, content.getvalue())
        except (OSError, ValueError) as error:
            raise KerasganError(
                f"Argument 'path' must be a figure file that can be written. Received: {path} "
                f"({error})"
            ) from error
    return figure

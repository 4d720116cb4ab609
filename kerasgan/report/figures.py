"""Figures of masks, training and scores, drawn with matplotlib and ready for print.

Every function returns a `matplotlib.figure.Figure` that belongs to nobody else (pyplot is not
involved, nothing stays open), and writes it where `path` says, in the format of the ending (.png,
.pdf, .svg). A figure of that name is replaced. The colours are those of Okabe and Ito, which people
of every kind of colour vision can tell apart, also printed in grey.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from kerasgan.counts import SCORES, count, score
from kerasgan.errors import KerasganError
from kerasgan.explain.draw import write_figure
from kerasgan.text import read_text

TRUTH, PREDICTION = "#F0E442", "#56B4E9"
REGION_COLOURS = HIT, EXTRA, MISSED, WRONG_CLASS = "#56B4E9", "#D55E00", "#F0E442", "#CC79A7"
TRAINING, VALIDATION = "#0072B2", "#D55E00"
INK, FAINT = "#222222", "#8A8A8A"
DASHES = (0, (3, 1.2))
WIDTH = 7.2  # inches: the text width of a two-column journal
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def mask_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray] | None,
    predictions: Sequence[np.ndarray] | None,
    names: Sequence[str] | None = None,
    path: str | pathlib.Path | None = None,
    *,
    outlines: bool = True,
) -> Figure:
    """Draw images with their true and predicted masks, and where the two differ.

    One row per image: the image; the outlines of both masks on it; true positive, false
    negative and false positive pixels, on the image in grey. With masks of one kind alone, the
    image, and the image with what is foreground filled in, and its share of the frame: so an
    inverted mask shows.

    Args:
        images: Float images (height, width, channels) in [-1, 1], one or three channels; sizes may
            differ.
        truths: True masks (height, width), boolean or integer labels with 0 as the background; or
            None.
        predictions: Predicted masks, likewise; or None.
        names: One name per image, drawn beside its row; or None.
        path: File to write, or None.
        outlines: Whether to draw outlines, which can hide thin structures. Without, the column of
            both outlines falls away.

    Returns:
        The figure.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> image, truth = np.zeros((1, 32, 32, 3)), np.eye(32)[None] > 0
        >>> figure = kg.report.mask_figure(image, truth, truth, names=["a diagonal"])
        >>> len(figure.axes)
        3
    """
    images = [_displayable(image, index) for index, image in enumerate(images)]
    truths = None if truths is None else [_labels(mask) for mask in truths]
    predictions = None if predictions is None else [_labels(mask) for mask in predictions]
    if truths is None and predictions is None:
        raise KerasganError("Pass 'truths', 'predictions' or both. Received: neither")
    _check_rows(images, truths, predictions, names)
    both = truths is not None and predictions is not None
    columns = 3 if both and outlines else 2
    cell, gap, title, foot = (WIDTH - 0.36) / 3, 0.06, 0.26, 0.34
    heights = [cell * image.shape[0] / image.shape[1] for image in images]
    total = title + sum(heights) + gap * (len(heights) - 1) + foot
    left = 0.0 if names is None else 0.24
    width = left + columns * cell + (columns - 1) * gap
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, total))
        top = total - title
        for row, (image, height) in enumerate(zip(images, heights)):
            panels = []
            for column in range(columns):
                x = left + column * (cell + gap)
                box = (x / width, (top - height) / total, cell / width, height / total)
                panels.append(figure.add_axes(box))
                panels[-1].set_axis_off()
                panels[-1].imshow(image, aspect="auto", interpolation="antialiased")
            truth = None if truths is None else truths[row]
            prediction = None if predictions is None else predictions[row]
            if both:
                _draw_errors(panels[-1], image, truth, prediction)
            else:
                _fill(panels[1], image, truth, prediction)
            if outlines:
                _draw_outlines(panels[1], truth, prediction)
            if row == 0:
                second = "Outlines" if both else "Foreground filled in"
                captions = ["Image", second, "Errors"]
                if both and not outlines:
                    del captions[1]
                for panel, caption in zip(panels, captions):
                    panel.set_title(caption, pad=4)
            if names is not None:
                figure.text(
                    0.1 / width,
                    (top - height / 2) / total,
                    _shorten(str(names[row]), height),
                    rotation=90,
                    ha="center",
                    va="center",
                    fontsize=7,
                )
            top -= height + gap
        figure.legend(
            handles=_mask_legend(truths, predictions, outlines),
            loc="lower center",
            bbox_to_anchor=((left + width) / 2 / width, 0),
            ncols=6,
            handlelength=1.4,
            columnspacing=1.6,
        )
        return write_figure(figure, path)


def training_figure(
    history: Any,
    path: str | pathlib.Path | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw how losses and scores went during training, one panel each.

    Training and validation share a panel; the best validation epoch of a score is marked.

    Args:
        history: What `fit` returned, its `history` dictionary, a pandas table, or the CSV file that
            `keras.callbacks.CSVLogger` wrote.
        path: File to write, or None.
        names: Which quantities to draw, without `val_`; None draws losses, then scores.

    Returns:
        The figure.

    Example:
        >>> import kerasgan as kg
        >>> figure = kg.report.training_figure({"dice": [0.2, 0.5], "val_dice": [0.1, 0.4]})
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['Dice']
    """
    table = _history_table(history)
    known = list(dict.fromkeys(str(name).removeprefix("val_") for name in table))
    if names is None:
        losses = [name for name in known if name.endswith("loss")]
        names = losses + [name for name in known if name in SCORES]
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise KerasganError(
            f"Argument 'names' must be among {known}. Received: {list(names)}"
            if missing
            else f"Argument 'history' holds neither losses nor scores. Received: {known}"
        )
    columns = min(len(names), 2 if len(names) in (2, 4) else 3)
    rows = -(-len(names) // columns)
    lines = {"training": ("", TRAINING), "validation": ("val_", VALIDATION)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.3 + 2.0 * rows), layout="constrained")
        drawn = {}
        for index, name in enumerate(names):
            axes = figure.add_subplot(rows, columns, index + 1)
            axes.set_title(name.replace("_", " ").capitalize(), loc="left", fontweight="bold")
            for label, (prefix, color) in lines.items():
                values = table.get(prefix + name)
                if values is not None:
                    marker = "o" if len(table) == 1 else None
                    (drawn[label],) = axes.plot(
                        values.index, values, color=color, label=label, marker=marker, ms=3
                    )
            axes.margins(x=0.03)
            axes.xaxis.get_major_locator().set_params(integer=True)
            if index + columns >= len(names):
                axes.set_xlabel("Epoch")
            if name in SCORES:
                axes.set_ylim(0, 1)
                _mark_best(axes, table.get(f"val_{name}"))
        figure.legend(handles=list(drawn.values()), loc="outside lower center", ncols=2)
        return write_figure(figure, path)


def score_figure(
    table: pd.DataFrame, path: str | pathlib.Path | None = None, name: str = "jaccard"
) -> Figure:
    """Draw one score of every image against the size of the true foreground.

    Args:
        table: What `kerasgan.evaluate` returned: columns `true_area` (fraction of the frame) and
            the score.
        path: File to write, or None.
        name: Column of the score.

    Returns:
        The figure: a dot per image, and at its right how often each score occurs.

    Example:
        >>> import pandas as pd
        >>> import kerasgan as kg
        >>> table = pd.DataFrame({"true_area": [0.02, 0.3], "jaccard": [0.4, 0.9]})
        >>> len(kg.report.score_figure(table).axes)
        2
    """
    for column in (name, "true_area"):
        if column not in table:
            raise KerasganError(
                f"Argument 'table' must have a column {column!r}. Received: {list(table)}"
            )
    if table.empty:
        raise KerasganError("Argument 'table' must have at least one row. Received: none")
    values = table[name].dropna()
    bins = np.linspace(0, 1, 21)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * 0.62, 2.9), layout="constrained")
        dots, bars = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        area = 100 * table["true_area"]
        dots.scatter(area, table[name], s=14, color=TRAINING, alpha=0.65, linewidth=0)
        if (area > 0).all():
            dots.set_xscale("log")
            dots.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            dots.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            dots.xaxis.set_minor_locator(NullLocator())
        dots.set(xlabel="True area, % of the frame", ylabel=name.capitalize(), ylim=(-0.02, 1.02))
        bars.hist(values, bins=bins, orientation="horizontal", color=TRAINING, alpha=0.65)
        bars.set_xlabel("Images")
        bars.xaxis.get_major_locator().set_params(integer=True, nbins=3)
        for axes in (dots, bars):
            axes.axhline(values.mean(), color=VALIDATION, linewidth=1)
        bars.annotate(
            f"mean\n{values.mean():.2f}",
            (1, values.mean()),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            color=VALIDATION,
            va="center",
        )
        return write_figure(figure, path)


def _displayable(image: np.ndarray, index: int) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise KerasganError(
            "Argument 'images' must hold images (height, width, 1 or 3). "
            f"Received: shape {image.shape} at index {index}"
        )
    return np.repeat(np.clip((image + 1) / 2, 0, 1), 3 // image.shape[-1], axis=-1)


def _labels(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    return mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask


def _check_rows(images, truths, predictions, names) -> None:
    if not images:
        raise KerasganError("Argument 'images' must hold at least one image. Received: none")
    for argument, rows in (("truths", truths), ("predictions", predictions), ("names", names)):
        if rows is None:
            continue
        if len(rows) != len(images):
            raise KerasganError(
                f"Argument {argument!r} must have one entry for each of the {len(images)} images. "
                f"Received: {len(rows)}"
            )
        for index, (image, row) in enumerate(zip(images, rows)):
            if argument != "names" and row.shape != image.shape[:2]:
                raise KerasganError(
                    f"Argument {argument!r} must have the size of its image, {image.shape[:2]}. "
                    f"Received: {row.shape} at index {index}"
                )


def _draw_outlines(axes, truth, prediction) -> None:
    casing = [Stroke(linewidth=2.4, foreground="black", alpha=0.55), Normal()]
    for mask, color, style in ((truth, TRUTH, "solid"), (prediction, PREDICTION, DASHES)):
        for label in [] if mask is None else np.unique(mask[mask != 0]):
            height, width = mask.shape
            axes.contour(
                np.arange(-1, width + 1),
                np.arange(-1, height + 1),
                np.pad(mask == label, 1).astype(float),
                levels=[0.5],
                colors=[color],
                linestyles=[style],
                linewidths=1.2,
            ).set_path_effects(casing)
    height, width = (prediction if truth is None else truth).shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _fill(axes, image, truth, prediction) -> None:
    """The image, grey, with the one mask that there is laid over it, and its share."""
    mask, color = (prediction, PREDICTION) if truth is None else (truth, TRUTH)
    _lay_over(axes, image, [(mask != 0, color)])
    _note(axes, f"Foreground {np.mean(mask != 0):.1%}")


def _draw_errors(axes, image, truth, prediction) -> None:
    _lay_over(axes, image, zip(compare_regions(truth, prediction), REGION_COLOURS))
    jaccard = float(score("jaccard", count(truth != 0, prediction != 0)))
    what = "Foreground Jaccard" if max(truth.max(), prediction.max()) > 1 else "Jaccard"
    _note(axes, f"{what} {jaccard:.2f}")


def _lay_over(axes, image: np.ndarray, coloured) -> None:
    grey = image @ np.array([0.299, 0.587, 0.114]) * 0.75
    canvas = np.repeat(grey[..., None], 3, axis=-1)
    for region, color in coloured:
        canvas[region] = (canvas[region] + np.array(to_rgb(color))) / 2
    axes.imshow(canvas, aspect="auto", interpolation="antialiased")


def _note(axes, text: str) -> None:
    axes.text(
        0.97,
        0.96,
        text,
        transform=axes.transAxes,
        ha="right",
        va="top",
        color="white",
        path_effects=[Stroke(linewidth=2, foreground="black", alpha=0.7), Normal()],
    )


def compare_regions(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return true positive, false positive, false negative and wrong-class pixels."""
    true, predicted = truth != 0, prediction != 0
    both = true & predicted
    return (
        both & (truth == prediction),
        predicted & ~true,
        true & ~predicted,
        both & (truth != prediction),
    )


def _mask_legend(truths, predictions, outlines) -> list:
    if truths is None or predictions is None:
        masks, color, what = (
            (predictions, PREDICTION, "prediction") if truths is None else (truths, TRUTH, "mask")
        )
        shares = [np.mean(mask != 0) for mask in masks]
        label = (
            f"{what}: foreground is {np.mean(shares):.1%} of a frame on average, "
            f"{min(shares):.1%} to {max(shares):.1%}"
        )
        return [Patch(facecolor=color, alpha=0.6, label=label)]
    drawn = Line2D([], [], color=PREDICTION, linestyle=DASHES, label="prediction")
    patches = [
        Patch(color=HIT, label="true positive"),
        Patch(color=EXTRA, label="false positive"),
        Patch(color=MISSED, label="false negative"),
    ]
    if any(compare_regions(t, p)[3].any() for t, p in zip(truths, predictions)):
        patches.append(Patch(color=WRONG_CLASS, label="wrong class"))
    lines = [Line2D([], [], color=TRUTH, label="truth"), drawn] if outlines else []
    return [*lines, *patches]


def _shorten(name: str, height: float) -> str:
    room = max(8, int(height / 0.06))
    return name if len(name) <= room else f"{name[: room // 2 - 1]}…{name[-(room - room // 2) :]}"


def _history_table(history: Any) -> pd.DataFrame:
    history = getattr(history, "history", history)
    if isinstance(history, (str, pathlib.Path)):
        try:
            table = pd.read_csv(io.StringIO(read_text(history)))
        except (OSError, ValueError) as error:
            raise KerasganError(
                f"Argument 'history' must be a CSV file that can be read. Received: {history} "
                f"({error})"
            ) from error
    elif isinstance(history, (Mapping, pd.DataFrame)):
        table = pd.DataFrame(history)
    else:
        raise KerasganError(
            "Argument 'history' must be what fit returned, a dictionary, a table or a CSV file. "
            f"Received: {type(history).__name__}"
        )
    if table.empty:
        raise KerasganError("Argument 'history' must hold at least one epoch. Received: none")
    epochs = table.pop("epoch") if "epoch" in table else np.arange(len(table))
    return table.set_index(pd.Index(np.asarray(epochs) + 1, name="epoch"))


def _mark_best(axes, values: pd.Series | None) -> None:
    if values is None or values.isna().all():
        return
    epoch, best = values.idxmax(), values.max()
    axes.plot([epoch], [best], "o", color=VALIDATION, ms=4)
    axes.annotate(
        f"{best:.2f}",
        (epoch, best),
        xytext=(0, 5 if best < 0.85 else -11),
        textcoords="offset points",
        ha="center",
        color=VALIDATION,
        path_effects=[Stroke(linewidth=2, foreground="white"), Normal()],
    )

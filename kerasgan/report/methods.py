"""Rules and controls side by side: one panel for each metric."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.evaluation.benchmark import summarize_maps
from kerasgan.explain.draw import write_figure

COLORS = {"rule": "#b2182b", "control": "#8a8a8a"}


def method_figure(
    table: pd.DataFrame,
    path: str | os.PathLike | None = None,
    metrics: Sequence[str] | None = None,
) -> Figure:
    """Draw the mean of each method and its interval, a panel for each metric.

    Args:
        table: What `kerasgan.evaluation.faithfulness`, `localisation`, `context`, `complexity` or
            `stability` returned.
        path: Of the picture to write; None to only return the figure.
        metrics: Which to draw; None for all, 12 at most.

    Returns:
        The figure: rules in red, controls in grey, in the order of the table.

    Example:
        >>> rows = [("a", "epsilon", "rule", "mass", 0.5), ("a", "random", "control", "mass", 0.2)]
        >>> columns = ["name", "method", "kind", "metric", "value"]
        >>> len(method_figure(pd.DataFrame(rows, columns=columns)).axes)
        1
    """
    if not {"name", "method", "kind", "metric", "value"} <= set(table):
        raise KerasganError(
            "Argument 'table' must have columns name, method, kind, metric, value, as "
            f"kerasgan.evaluation.faithfulness returns. Received: {list(table)}"
        )
    known = table["metric"].unique().tolist()
    for metric in metrics or ():
        if metric not in known:
            raise unknown_name("metrics", metric, known)
    metrics = list(metrics or known[:12])
    summary = summarize_maps(table[table["metric"].isin(metrics)])
    methods = table["method"].unique().tolist()
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    size = (3.4 * columns + 0.6, rows * (0.24 * len(methods) + 0.75))
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(metrics) :]:
        axis.set_visible(False)
    for axis, metric in zip(axes.flat, metrics):
        part = summary[summary["metric"] == metric].set_index("method").reindex(methods)
        for row_index, row in enumerate(part.itertuples()):
            color = COLORS.get(row.kind, COLORS["control"])
            if np.isfinite(row.mean):
                axis.plot([row.low, row.high], [row_index, row_index], color=color, linewidth=1.5)
                axis.plot(row.mean, row_index, "o", color=color, markersize=4)
        axis.set_title(metric, fontsize=8)
        axis.set_yticks(range(len(methods)), methods, fontsize=7)
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(axis="x", linewidth=0.4, alpha=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return write_figure(figure, path)

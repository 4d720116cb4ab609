"""Coordinates of the charts that a report's template draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 46


class Chart(NamedTuple):
    """What the template draws, in units of the SVG's own grid.

    Attributes:
        x: Ticks of the horizontal axis, pairs of place and text.
        y: Ticks of the vertical axis.
        marks: A dict for each dot or bar.
        lines: A dict for each line: `x1`, `y1`, `x2`, `y2`.
    """

    x: list[tuple[float, str]]
    y: list[tuple[float, str]]
    marks: list[dict[str, Any]]
    lines: list[dict[str, float]]


def score_by_size(table: pd.DataFrame, column: str, kinds: Sequence[str]) -> Chart:
    """Place a dot for each image: its true area against a score."""
    part = table[table[column].notna()]
    area = 100 * part["true_area"].to_numpy(np.float64)
    log = bool(area.size and area.min() > 0)
    if log:
        low, high = area.min() / 1.15, area.max() * 1.15
        ticks = [m * 10.0**e for e in range(-4, 3) for m in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) < 2:
            ticks = sorted({area.min(), area.max()})
        places = _across(np.log(area), math.log(low), math.log(high))
        at = _across(np.log(ticks), math.log(low), math.log(high))
    else:
        high = max(1.0, area.max(initial=0) * 1.05)
        step = 10 ** math.floor(math.log10(high)) / (2 if high < 30 else 1)
        ticks = list(np.arange(0, high, max(step, high / 10)))
        places, at = _across(area, 0, high), _across(np.array(ticks), 0, high)
    marks = []
    for cx, (index, row) in zip(places, part.iterrows()):
        held = row["finding"].split("; ")
        kind = next((kind for kind in kinds if kind in held), kinds[-1])
        text = f"{row['name']}: {column} {row[column]:.2f}, {100 * row['true_area']:.2g} %"
        marks.append({"cx": cx, "cy": _up(row[column]), "kind": kind, "text": text, "index": index})
    mean = _up(float(part[column].mean())) if len(part) else _up(0)
    return Chart(_ticks(at, ticks), _scores(), marks, [_line(mean, mean)])


def against(first: pd.Series, second: pd.Series, names: Sequence[str]) -> Chart:
    """Place a dot for each image: its score under one model against that under another."""
    lowest = np.nanmin([0.8, *first, *second])
    low = math.floor(5 * lowest + 1e-9) / 5  # the axes begin at a fifth
    ticks = np.linspace(low, 1, 5 if low >= 0.6 else round(5 * (1 - low)) + 1)
    marks = []
    places = _across(first.to_numpy(np.float64), low, 1)
    for index, (cx, a, b, name) in enumerate(zip(places, first, second, names)):
        if pd.notna(a) and pd.notna(b):
            text = f"{name}: {a:.2f} and {b:.2f}"
            position = {"cx": cx, "cy": _up((b - low) / (1 - low))}
            marks.append({**position, "kind": "found", "text": text, "index": index})
    x = _ticks(_across(ticks, low, 1), ticks)
    y = _ticks([_up((tick - low) / (1 - low)) for tick in ticks], ticks)
    return Chart(x, y, marks, [_line(_up(0), _up(1))])


def reliability(table: pd.DataFrame) -> Chart:
    """Place a bar for each bin of confidence: how often the network was right there."""
    table = table[table["pixels"] > 0]
    low = min(float(table["low"].min()), 0.9)
    marks = []
    total = table["pixels"].sum()
    for row in table.to_dict("records"):
        ends = np.array([row["low"], row["high"], row["confidence"]])
        left, right, middle = _across(ends, low, 1)
        top = _up(row["accuracy"])
        marks.append(
            {
                "x": round(left + 1, 1),
                "y": top,
                "width": round(max(right - left - 2, 1), 1),
                "height": round(_up(0) - top, 1),
                "cx": middle,
                "text": f"confidence {row['confidence']:.2f}, right {row['accuracy']:.2f}, "
                f"{100 * row['pixels'] / total:.2g} % of all pixels",
            }
        )
    ticks = [tick for tick in np.linspace(0, 1, 11) if tick >= low - 1e-9]
    x = _ticks(_across(np.array(ticks), low, 1), ticks, ".1f")
    return Chart(x, _scores(), marks, [_line(_up(low), _up(1))])


def _across(values: np.ndarray, low: float, high: float) -> list[float]:
    span = WIDTH - LEFT - RIGHT
    return [round(float(LEFT + span * (v - low) / (high - low)), 1) for v in values]


def _up(value: float) -> float:
    return round(float(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value)), 1)


def _line(left: float, right: float) -> dict[str, float]:
    """A line across the chart, from a height at its left to one at its right."""
    return {"x1": LEFT, "y1": left, "x2": WIDTH - RIGHT, "y2": right}


def _ticks(
    places: Sequence[float], values: Sequence[float] | np.ndarray, form: str = ".3g"
) -> list[tuple[float, str]]:
    return [(place, f"{value:{form}}") for place, value in zip(places, values)]


def _scores() -> list[tuple[float, str]]:
    values = (0, 0.2, 0.4, 0.6, 0.8, 1.0)
    return _ticks([_up(value) for value in values], values, ".1f")

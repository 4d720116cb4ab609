"""Means over images and pooled scores, each with an interval, of one dataset or of several."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kerasgan.counts import SCORES, Counts
from kerasgan.errors import KerasganError
from kerasgan.evaluation.bootstrap import (
    Groups,
    check_draws,
    check_finite,
    group_rows,
    interval,
    resampled_sums,
    units_with_value,
)
from kerasgan.evaluation.breakdown import LOW_IS_GOOD
from kerasgan.evaluation.objects import OBJECT_SCORES
from kerasgan.models.preprocess import DEFAULT_PREPROCESS
from kerasgan.validation import check_seed

CONFIDENCE, RESAMPLES, SEED = 0.95, 2000, 0


class Evaluated(NamedTuple):
    """The scores of one dataset, and what its pooled scores are made of.

    Attributes:
        table: One row per image.
        pixels: Number of pixels of each image, or None.
        bins: For each image its pixels, their confidence and how many are right, each summed in
            bins of confidence: (images, 3, bins); or None.
    """

    table: pd.DataFrame
    pixels: Sequence[int] | None = None
    bins: np.ndarray | None = None


def summarize(
    table: pd.DataFrame,
    *,
    groups: Groups = None,
    pixels: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Take means over images and pooled scores, with bootstrap percentile intervals.

    Images are drawn with replacement, the same ones for every column, and the score taken again:
    the interval says how far it would move with other images from the same source (Efron and
    Tibshirani 1993, chapter 13), not with another training. Where images belong together, as those
    of a patient or a video, `groups` draws whole groups: other patients (Davison and Hinkley 1997,
    section 3.8).

    Args:
        table: One row per image; every column of numbers is summarized. NaN is left out.
        groups: From the name of an image (column `name`) to its group, as `Samples.split_groups`
            takes; two groups at least. None where each image stands alone.
        pixels: Number of pixels of each image, for pooled scores of pixels, or None.
        confidence: Share of the bootstrap means inside the interval, between 0 and 1.
        resamples: How often images or groups are drawn.
        seed: Key of the draws.

    Returns:
        `{"confidence", "resamples", "seed", "scores", "pooled"}`, with `groups`, their number, if
        there are any. `"scores"` are means over images, `{column: {"mean", "low", "high",
        "images"}}`, where `images` counts those that have a value. `low` and `high` are NaN where
        fewer than two images, or groups, have one. `"pooled"` are scores of all
        images together, `{column: {"value", "low", "high"}}`: true and false positives and
        negatives are added up over images before the score is taken, so a large object counts for
        more; of several classes the mean is taken last. NaN where there is nothing to divide by.

    Example:
        >>> table = pd.DataFrame({"dice": [0.5, 0.7, 0.9]})
        >>> round(summarize(table)["scores"]["dice"]["mean"], 3)
        0.7
    """
    if table.empty:
        raise KerasganError("Argument 'table' must have at least one row. Received: none")
    if pixels is not None and len(pixels) != len(table):
        raise KerasganError(
            "Argument 'pixels' must hold one number for each row of the table. Received: "
            f"{len(pixels)} for {len(table)}"
        )
    draws = {"confidence": confidence, "resamples": resamples, "seed": seed}
    return summarize_evaluated(Evaluated(table, pixels), groups, **draws)


def summarize_evaluated(
    evaluated: Evaluated,
    groups: Groups = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Do what `summarize` does, with calibration among the pooled scores."""
    confidence, resamples = check_draws(confidence, resamples)
    seed = check_seed(seed)
    statistics, rows = _statistics(evaluated), _rows(evaluated, groups)
    drawn = _draw(statistics, rows, resamples, seed)
    result: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    if rows is not None:
        result["groups"] = len(rows)
    result.update(scores={}, pooled={})
    for (kind, column), (parts, value) in statistics.items():
        low, high = interval(drawn[kind, column], confidence, _units(parts, rows))
        if kind == "pooled":
            described = {"value": float(value(parts.sum(0))), "low": low, "high": high}
        else:
            there = parts[parts[:, 1] > 0, 0]
            mean = float(there.mean()) if there.size else float("nan")
            described = {"mean": mean, "low": low, "high": high, "images": int(there.size)}
        result[kind][column] = described
    return result


def summarize_gaps(datasets: Mapping[str, Evaluated], groups: Groups = None) -> dict[str, Any]:
    """Say how far each further dataset's scores are from those of the first, with intervals.

    Each dataset is resampled on its own (Efron and Tibshirani 1993, section 8.3).
    """
    statistics = {name: _statistics(evaluated) for name, evaluated in datasets.items()}
    rows = {name: _rows(evaluated, groups) for name, evaluated in datasets.items()}
    drawn = {
        name: _draw(statistics[name], rows[name], RESAMPLES, [SEED, number])
        for number, name in enumerate(datasets)
    }
    first, *others = datasets
    gaps: dict[str, Any] = {}
    for other in others:
        gap = gaps[other] = {"reference": first, "scores": {}, "pooled": {}}
        for kind, column in statistics[first]:
            values = [
                float(value(parts.sum(0)))
                for parts, value in (statistics[name][kind, column] for name in (first, other))
            ]
            differences = drawn[other][kind, column] - drawn[first][kind, column]
            units = min(
                _units(statistics[name][kind, column][0], rows[name]) for name in (first, other)
            )
            low, high = interval(differences, CONFIDENCE, units)
            gap[kind][column] = {"difference": values[1] - values[0], "low": low, "high": high}
    return gaps


def summary_table(table: pd.DataFrame) -> pd.DataFrame:
    """Put the summary of a table into a table: a row for each score, of each dataset.

    Args:
        table: What `evaluate` or `evaluate_masks` returned.

    Returns:
        One row per score: `score`, its name; `mean`, over images, with its interval `low` to
        `high`; `images` that have a value; `pooled`, the score of all images together, with
        `pooled_low` to `pooled_high`, NaN for scores that are not pooled. Of several datasets
        there is a column `dataset` in front, and for each but the first a gap: rows whose
        `dataset` reads "other hospital - inside" hold differences in place of scores, and no
        `images`.

    Raises:
        KerasganError: If the table has no summary (pandas drops `attrs` in some operations).

    Example:
        >>> table = kg.evaluate(gan, {"inside": a, "outside": b})  # doctest: +SKIP
        >>> kg.evaluation.summary_table(table).to_csv("summary.csv")  # doctest: +SKIP
    """
    summary = _summary(table)
    parts = summary.get("datasets", {None: summary})
    rows = []
    for name, part in parts.items():
        rows += [{"dataset": name, **row} for row in _summary_rows(part, "mean", "value")]
    for name, gap in summary.get("gaps", {}).items():
        title = f"{name} - {gap['reference']}"
        rows += [{"dataset": title, **row} for row in _summary_rows(gap, *["difference"] * 2)]
    result = pd.DataFrame(rows)
    return result if "datasets" in summary else result.drop(columns="dataset")


def summary_text(table: pd.DataFrame) -> str:
    """Put the summary of a table into words, a score a line.

    Args:
        table: What `evaluate` or `evaluate_masks` returned.

    Returns:
        Lines of at most 72 characters, or longer for long column names. First comes the mean over
        images; the number after "pooled" is the score of all images together. Several datasets
        follow one another, and then the gaps between them.

    Example:
        >>> print(kg.evaluation.summary_text(table))  # doctest: +SKIP
        120 images, threshold 0.5, empty masks: agree
        mean and 95 % bootstrap interval over images
        accuracy        0.912  [0.899, 0.924]  pooled 0.915
    """
    summary = _summary(table)
    if "datasets" not in summary:
        return "\n".join(_described(summary, ""))
    lines = []
    for name, part in summary["datasets"].items():
        lines += [*_described(part, f"{name}: "), ""]
    columns = [column for gap in summary["gaps"].values() for column in gap["scores"]]
    width = max((len(_shown(column)) for column in columns), default=0)
    for name, gap in summary["gaps"].items():
        lines += [f"gap: {name} - {gap['reference']}"]
        lower = [column for column in LOW_IS_GOOD if column in gap["scores"]]
        if lower:
            lines += textwrap.wrap(f"lower is better: {', '.join(lower)}", 72)
        for row in _summary_rows(gap, "difference", "difference"):
            lines.append(_line(row, width, sign="+"))
        lines.append("")
    return "\n".join(lines[:-1])


def _statistics(evaluated: Evaluated) -> dict[tuple[str, str], tuple[np.ndarray, Callable]]:
    """What is summed over images for each score, (images, parts), and the score from the sums."""
    table, pixels, bins = evaluated
    statistics: dict[tuple[str, str], tuple[np.ndarray, Callable]] = {}
    for column in table.select_dtypes("number"):
        values = table[column].to_numpy(np.float64)
        names = table.get("name", table.index)
        check_finite("table", column, values, list(names))
        there = ~np.isnan(values)
        statistics["scores", str(column)] = np.stack([np.where(there, values, 0), there], 1), _ratio
    for column, parts in _pooled_parts(table, pixels).items():
        statistics["pooled", column] = np.concatenate(parts, 1), _ratio
    if bins is not None:
        statistics["pooled", "ece"] = bins.reshape(len(bins), -1), _calibration_error
    return statistics


def _draw(statistics, rows, resamples, seed) -> dict[tuple[str, str], np.ndarray]:
    """Scores of every resample."""
    parts = [part for part, _ in statistics.values()]
    sums = resampled_sums(np.concatenate(parts, 1), resamples, seed, rows)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    pieces = zip(statistics.items(), np.split(sums, ends, 1))
    return {key: value(piece) for (key, (_, value)), piece in pieces}


def _units(parts: np.ndarray, rows: Sequence[np.ndarray] | None) -> int:
    return units_with_value((parts != 0).any(1), rows)


def _ratio(sums: np.ndarray) -> np.ndarray:
    """Mean over classes of the first of two sums by the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = sums[..., ::2] / sums[..., 1::2]
        there = ~np.isnan(ratios)
        return np.where(there, ratios, 0).sum(-1) / there.sum(-1)


def _calibration_error(sums: np.ndarray) -> np.ndarray:
    pixels, confidence, right = np.split(sums, 3, -1)
    return np.abs(confidence - right).sum(-1) / pixels.sum(-1)


def _pooled_parts(table: pd.DataFrame, pixels: Any) -> dict[str, list[np.ndarray]]:
    """Numerator and denominator (images, 2) of each class, by column."""
    classes = [""]
    while f"true_area_{len(classes)}" in table:
        classes.append(f"_{len(classes)}")
    pixels = None if pixels is None else np.asarray(pixels, np.float64)
    parts_of_score: dict[str, list[np.ndarray]] = {}
    for of_class in classes[1:] or classes:
        for name, parts in _class_parts(table, of_class, pixels).items():
            parts_of_score.setdefault(name, []).append(np.stack(parts, 1))
            if of_class:
                parts_of_score[f"{name}{of_class}"] = parts_of_score[name][-1:]
    if {"brier", "ece"} <= set(table) and pixels is not None:
        parts_of_score["brier"] = [np.stack([table["brier"].to_numpy() * pixels, pixels], 1)]
    order = [str(column) for column in table if str(column) in parts_of_score]
    return {column: parts_of_score[column] for column in order}


def _class_parts(table, of_class, pixels) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Numerator and denominator of each score of a class, from the columns of the table."""
    parts = {}
    areas = [f"{name}{of_class}" for name in ("true_area", "predicted_area", "accuracy")]
    if pixels is not None and set(areas) <= set(table):
        true, predicted, right = (np.rint(table[name].to_numpy() * pixels) for name in areas)
        tp = (true + predicted + right - pixels) / 2
        counts = Counts(tp, predicted - tp, true - tp, right - tp)
        for name, weights in SCORES.items():
            parts[name] = tuple(sum(w * c for w, c in zip(each, counts)) for each in weights)
    columns = [f"{name}{of_class}" for name in OBJECT_SCORES]
    if set(columns) <= set(table):
        objects, sensitivity, false, _, quality = (
            np.nan_to_num(table[column].to_numpy(np.float64)) for column in columns
        )
        matched = np.rint(sensitivity * objects)
        half = (objects + matched + false) / 2
        parts["object_sensitivity"] = matched, objects
        parts["object_f1"] = matched, half
        parts["panoptic_quality"] = quality * half, half
    return parts


def _rows(evaluated: Evaluated, groups: Groups) -> list[np.ndarray] | None:
    if groups is not None and "name" not in evaluated.table:
        raise KerasganError(
            f"Argument 'table' must have a column 'name'. Received: {list(evaluated.table)}"
        )
    return None if groups is None else group_rows(evaluated.table["name"], groups)


def _summary(table: pd.DataFrame) -> dict[str, Any]:
    summary = table.attrs.get("summary")
    if summary is None:
        raise KerasganError(
            "Argument 'table' must come from evaluate, with attrs['summary']. Received: a table "
            "without; summarize(table) makes one"
        )
    return summary


def _summary_rows(summary: Mapping[str, Any], mean: str, pooled: str) -> list[dict[str, Any]]:
    rows = []
    for name, values in summary["scores"].items():
        row = {"score": name, "mean": values[mean], "low": values["low"], "high": values["high"]}
        row["images"] = values.get("images", np.nan)
        of_all = summary.get("pooled", {}).get(name, {})
        row["pooled"] = of_all.get(pooled, np.nan)
        row.update((f"pooled_{end}", of_all.get(end, np.nan)) for end in ("low", "high"))
        rows.append(row)
    return rows


def _shown(column: str) -> str:
    """Say what the mean of a column is; that of the numbers of objects is one for each image."""
    return re.sub(r"^objects(?=(_\d+)?$)", "true_objects_per_image", column)


def _line(row: Mapping[str, Any], width: int, sign: str = "") -> str:
    line = f"{_shown(row['score']):<{width}}  {row['mean']:{sign}.3f}"
    there = not np.isnan(row["low"])
    line += f"  [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]" if there else "  [no interval]"
    return line if np.isnan(row["pooled"]) else f"{line}  pooled {row['pooled']:{sign}.3f}"


def _described(summary: Mapping[str, Any], title: str) -> list[str]:
    images = summary["images"]
    facts = [f"{title}{images} image{'s' if images != 1 else ''}"]
    if summary.get("threshold") is not None:
        facts.append(f"threshold {summary['threshold']:g}")
    facts.append(f"empty masks: {summary['empty']}")
    if summary.get("preprocess", DEFAULT_PREPROCESS) != DEFAULT_PREPROCESS:
        facts.append(f"preprocess {summary['preprocess']}")
    share = f"{100 * summary['confidence']:g} % bootstrap interval over"
    drawn = f"mean and {share} images"
    if "groups" in summary:
        drawn = f"mean over images, {share} {summary['groups']} groups of images"
    if images == 1:
        drawn = "one image, which gives no interval"
    lines = [", ".join(facts), drawn]
    settings = summary.get("settings", {})
    spacing = settings.get("spacing")
    unit = " pixels" if spacing == 1 else " mm"
    units = {"spacing": ", in mm" if spacing == "by name" else unit, "tolerance": unit}
    lines += [f"{name}: {value}{units.get(name, '')}" for name, value in settings.items()]
    width = max(len(_shown(column)) for column in summary["scores"])
    for row in _summary_rows(summary, "mean", "value"):
        missing = images - row["images"]
        lines.append(_line(row, width) + (f"  {missing} undefined" if missing else ""))
    return lines

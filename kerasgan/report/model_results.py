"""Several models on the same images: what is known of each, and of each image under all of them."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kerasgan.counts import Counts, count_labels, score
from kerasgan.evaluation.breakdown import by_size
from kerasgan.evaluation.paired import paired_difference
from kerasgan.report.collect import Collected
from kerasgan.report.failures import ShownImage, add_first_unused

GROUPS = ("apart", "alike", "hard")


class CompressedMask(NamedTuple):
    """A mask that takes little memory."""

    size: tuple[int, int]
    data: bytes

    def decompress(self) -> np.ndarray:
        """Return the labels, uint8 (height, width)."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.size)


class ModelResult(NamedTuple):
    """One of the models.

    Attributes:
        letter: What it is called where there is little room.
        name: The user's name for it, made printable.
        facts: What `model_facts` returned.
        found: What `collect` returned.
        masks: Its masks, in the order of the images.
    """

    letter: str
    name: str
    facts: dict[str, list[tuple[str, str]]]
    collected: Collected
    masks: list[CompressedMask]


def compress_mask(mask: np.ndarray) -> CompressedMask:
    """Compress a mask: an outline or two in a frame of 600 x 500 take about a kilobyte."""
    labels = np.ascontiguousarray(mask, np.uint8)
    return CompressedMask(labels.shape, zlib.compress(labels.tobytes(), 1))


def agreement(mask: np.ndarray, other: np.ndarray, classes: int) -> float:
    """Return the Dice score between two masks; neither is the truth."""
    counts = Counts(*(part[1:] for part in count_labels(mask, other, max(2, classes))))
    return float(score("dice", counts, "agree").mean())


def agreements(results: Sequence[ModelResult], classes: int) -> dict[tuple[int, int], np.ndarray]:
    """Measure how far each two models draw the same, image by image."""
    values_of: dict[tuple[int, int], list[float]] = {
        pair: [] for pair in itertools.combinations(range(len(results)), 2)
    }
    for packed in zip(*(result.masks for result in results)):
        masks = [mask.decompress() for mask in packed]
        for (a, b), values in values_of.items():
            values.append(agreement(masks[a], masks[b], classes))
    return {pair: np.array(values) for pair, values in values_of.items()}


def wide_table(
    results: Sequence[ModelResult], pairs: Mapping[tuple[int, int], np.ndarray]
) -> list[dict[str, Any]]:
    """Say of every image what all models made of it."""
    tables = [result.collected.table for result in results]
    rows = []
    for index, name in enumerate(tables[0]["name"]):
        at = [table.iloc[index] for table in tables]
        row = {
            "name": name,
            "agreement": float(np.mean([values[index] for values in pairs.values()])),
            "areas": [float(part["predicted_area"]) for part in at],
            "confidences": [float(part["confidence"]) for part in at],
        }
        if results[0].collected.labelled:
            scores = [float(part["dice"]) for part in at]
            row.update(
                true_area=float(at[0]["true_area"]),
                scores=scores,
                differences=[value - scores[0] for value in scores[1:]],
                spread=max(scores) - min(scores) if not np.isnan(scores).any() else np.nan,
                findings=[part["finding"] for part in at],
            )
        rows.append(row)
    return rows


def choose_images(rows: Sequence[Mapping[str, Any]], count: int) -> list[ShownImage]:
    """Choose the images to show: models "apart", "alike", or "hard" for all, by Dice."""
    spread = np.array([row.get("spread", 1 - row["agreement"]) for row in rows])
    best = np.array([max(row["scores"]) if "scores" in row else np.nan for row in rows])
    best = np.where(np.isnan(spread), np.nan, best)
    order = {
        "apart": np.argsort(-spread, kind="stable").tolist(),  # NaN comes last
        "alike": np.argsort(spread, kind="stable").tolist(),
        "hard": np.argsort(best, kind="stable").tolist(),
    }
    turns = ("apart", "alike", "apart", "hard" if "scores" in rows[0] else "alike")
    taken: dict[int, str] = {}
    for group in itertools.islice(itertools.cycle(turns), min(count, len(rows))):
        add_first_unused(taken, order[group], group, count)
    ranked = sorted(taken, key=lambda i: (GROUPS.index(taken[i]), order[taken[i]].index(i)))
    return [ShownImage(index, taken[index]) for index in ranked]


def differences(results: Sequence[ModelResult]) -> pd.DataFrame:
    """Compare every other model with the first, score by score, with paired intervals."""
    columns = list((results[0].collected.summary or {})["scores"])
    # By place, since two names may read the same once they are made printable.
    tables = [
        result.collected.table[columns].assign(name=np.arange(len(result.masks)))
        for result in results
    ]
    parts = [
        paired_difference(tables[0], table).assign(model_a=results[0].name, model_b=result.name)
        for result, table in zip(results[1:], tables[1:])
    ]
    return _with_first(pd.concat(parts, ignore_index=True), ["model_a", "model_b"])


def in_long_form(
    results: Sequence[ModelResult],
    rows: Sequence[Mapping[str, Any]],
    pairs: Mapping[tuple[int, int], np.ndarray],
) -> dict[str, pd.DataFrame]:
    """Make the tables that are kept beside the page."""
    names = [result.name for result in results]
    images = []
    for row in rows:
        flat = {"name": row["name"]}
        if "scores" in row:
            flat["true_area"] = row["true_area"]
            flat.update((f"dice of {n}", value) for n, value in zip(names, row["scores"]))
            others = zip(names[1:], row["differences"])
            flat.update((f"dice of {n} less {names[0]}", value) for n, value in others)
            flat["spread"] = row["spread"]
        else:
            flat.update((f"predicted area of {n}", value) for n, value in zip(names, row["areas"]))
        images.append({**flat, "agreement": row["agreement"]})
    between = [
        {"name": row["name"], "model_a": names[a], "model_b": names[b], "dice": values[index]}
        for index, row in enumerate(rows)
        for (a, b), values in pairs.items()
    ]
    tables = {
        "images": pd.DataFrame(images),
        "models": _stacked(names, [result.collected.table for result in results]),
        "agreement": pd.DataFrame(between),
    }
    if results[0].collected.labelled:
        summaries = [result.collected.score_table() for result in results]
        tables["summary"] = _stacked(names, summaries)
        tables["by_size"] = _stacked(names, [by_size(result.collected.table) for result in results])
        tables["differences"] = differences(results)
    return tables


def _stacked(names: Sequence[str], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    parts = [table.assign(model=name) for name, table in zip(names, tables)]
    return _with_first(pd.concat(parts, ignore_index=True), ["model"])


def _with_first(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return table[[*columns, *(column for column in table if column not in columns)]]

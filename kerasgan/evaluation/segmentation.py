"""Scores of predicted masks, per image, at the size of the image.

Masks are scored as a person would see them: the network's output is brought back to the size of
the image first, and the true mask is never resized. Every image weighs the same in a mean, however
large it is.
"""

from __future__ import annotations

import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, Union

import keras
import numpy as np
import pandas as pd

from kerasgan.counts import EMPTY_POLICIES, SCORES, Counts, count_labels, score
from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.bootstrap import check_draws, interval, resampled_means
from kerasgan.evaluation.surface import DISTANCES, surface_row
from kerasgan.inference import decide, iterate_probability
from kerasgan.inference.members import with_input_shape
from kerasgan.models.outputs import refuse_classes, refuse_labels
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, preprocess_of
from kerasgan.storage import write_file
from kerasgan.tables import csv_bytes
from kerasgan.validation import check_choice

AHEAD = 8
Score = Callable[[np.ndarray, np.ndarray], Any]
OwnScores = Optional[Union[Mapping[str, Score], Sequence[Score], Score]]


def evaluate(
    model: Any,
    samples: Samples,
    *,
    threshold: float = 0.5,
    empty: str = "agree",
    surface: bool = False,
    scores: OwnScores = None,
    verbose: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Segment labelled images and score each mask against the true one.

    How the network's output is read is decided in `kerasgan.models.outputs`, which values of a mask
    file are foreground in `kerasgan.data.masks`.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: Labelled `Samples`, with as many classes as the network.
        threshold: Probability above which a pixel is foreground, between 0 and 1 (one class).
        empty: What a score is where there is nothing to divide by, as no true foreground:
            `"agree"`, 1 where both masks are equal and 0 where not; `"medai"`, both masks are
            inverted where the true one is empty; `"nan"`, NaN, which means leave out.
        surface: Whether to measure distances between outlines too.
        scores: Scores of your own, as for `evaluate_masks`.
        verbose: Whether to show a progress bar.
        **options: `size`, `mode`, `batch_size`, `preprocess`, as for
            `kerasgan.inference.iterate_probability`.

    Returns:
        The table of `evaluate_masks`, with `threshold` and `preprocess` in its summary.

    Raises:
        KerasganError: If model, samples or an option cannot be used.

    Example:
        >>> table = kg.evaluate(gan, test, empty="medai")  # doctest: +SKIP
        >>> print(kg.evaluation.summary_text(table))  # doctest: +SKIP
    """
    check_samples(samples, empty)
    scores = named_scores(scores)
    model = with_input_shape(model, samples, options.get("size"))
    refuse_labels(model, "evaluate")
    refuse_classes(model, samples)
    before = preprocess_of(model, options.get("preprocess"))
    maps = iterate_probability(model, samples, **{**options, "preprocess": before})
    masks = (decide(probability, threshold) for probability in maps)
    judged = {"empty": empty, "surface": surface, "scores": scores, "verbose": verbose}
    table = evaluate_masks(samples, masks, **judged)
    table.attrs["summary"]["threshold"] = threshold if samples.classes == 1 else None
    table.attrs["summary"]["preprocess"] = before.name
    return table


def evaluate_masks(
    samples: Samples,
    masks: Iterable[np.ndarray],
    *,
    empty: str = "agree",
    surface: bool = False,
    scores: OwnScores = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Score masks that come from anywhere against the true ones.

    Args:
        samples: Labelled `Samples`.
        masks: One mask (height, width) for each sample, in order and of the size of its image:
            boolean or {0, 1}, or labels for several classes. A generator is read as it goes, so
            only one mask is held in memory.
        empty: As for `evaluate`.
        surface: Whether to measure distances between outlines too, which takes one to three tenths
            of a second for each class in an image of 1920 x 1072.
        scores: Scores of your own, as a dict from names to functions, or functions that are called
            as their score. Each takes the true and the predicted mask of an image, bool (height,
            width), and returns a number, or NaN where there is none. With several classes it is
            called for each against the rest. One thread calls it, one image after the other.
        verbose: Whether to show a progress bar.

    Returns:
        One row per image: `name`; `accuracy`, `jaccard`, `dice`, `recall`, `precision`, `f2`,
        `specificity`, all in [0, 1]; `true_area` and `predicted_area`, the foreground as a fraction
        of the frame. With n classes each class is scored against the rest: the columns above are
        means over the classes 1 to n-1 (areas: sums), followed by those of each,
        `jaccard_1` and so on. With `surface`, also `hausdorff_95` and `mean_surface_distance` in
        pixels of the image: NaN where one of the masks is empty, since there is no distance then;
        0 where both are (NaN where `empty` is `"nan"`). With `scores`, a column of each.
        `attrs["summary"]` is what `summarize` returns, with the number of `images` and the policy,
        `empty`.

    Raises:
        KerasganError: If the samples are unlabelled, masks are too few, too many, of another size
            or hold other values, or a score of your own fails or returns no number (the message
            names score and image).

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> def too_large(truth, predicted):
        ...     return predicted.sum() / truth.sum() - 1 if truth.any() else np.nan
        >>> whole = [np.ones((32, 32), bool)] * 2
        >>> table = evaluate_masks(samples, whole, scores=too_large)
        >>> bool((table["too_large"] > 0).all())
        True
    """
    check_samples(samples, empty)
    scores, labels = named_scores(scores), range(1, max(2, samples.classes))
    bar = keras.utils.Progbar(len(samples), unit_name="image") if verbose else None

    def judge(index: int, mask: Any) -> dict[str, Any]:
        name, truth, mask = samples.names[index], samples.mask(index), np.asarray(mask)
        try:
            counts = count_labels(truth, mask, max(2, samples.classes))
        except KerasganError as error:
            raise KerasganError(f"The mask of {name!r} cannot be scored. {error}") from error
        columns = _score_columns(counts, empty)
        pairs = [(truth == label, mask == label) for label in labels if surface or scores]
        if surface:
            distances = [surface_row(*pair, empty) for pair in pairs]
            columns.update({key: np.array([row[key] for row in distances]) for key in distances[0]})
        for score_name, function in scores.items():
            columns[score_name] = np.array(
                [_own_score(score_name, function, *pair, name) for pair in pairs]
            )
        return {"name": name, **_row(columns)}

    rows, masks, begun = [], iter(masks), deque()

    def take(most: int) -> None:
        while len(begun) > most:
            rows.append(begun.popleft().result())
            if bar is not None:
                bar.add(1)

    # Masks are made, by a network perhaps, while those before are judged.
    with ThreadPoolExecutor(1) as judging:
        for index in range(len(samples)):
            mask = next(masks, None)
            if mask is None:
                take(0)
                raise KerasganError(
                    f"Argument 'masks' must hold one mask for each of the {len(samples)} samples. "
                    f"Received: {index}"
                )
            begun.append(judging.submit(judge, index, mask))
            take(AHEAD)
        take(0)
    if next(masks, None) is not None:
        raise KerasganError(
            f"Argument 'masks' must hold one mask for each of the {len(samples)} samples. "
            "Received: more"
        )
    table = pd.DataFrame(rows)
    table.attrs["summary"] = {"images": len(table), "empty": empty, **summarize(table)}
    return table


def summarize(
    table: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Take means over images, with bootstrap percentile intervals.

    Images are drawn with replacement, the same ones for every column, and the mean taken again:
    the interval says how far the mean would move with other images from the same source (Efron and
    Tibshirani 1993, chapter 13), not with another training.

    Args:
        table: One row per image; every column of numbers is summarized. NaN is left out.
        confidence: Share of the bootstrap means inside the interval, between 0 and 1.
        resamples: How often images are drawn.
        seed: Key of the draws.

    Returns:
        `{"confidence", "resamples", "seed", "scores": {column: {"mean", "low", "high", "images"}}}`
        where `images` counts those that have a value.

    Raises:
        KerasganError: If the table has no row, or an argument is out of range.

    Example:
        >>> table = pd.DataFrame({"dice": [0.5, 0.7, 0.9]})
        >>> round(summarize(table)["scores"]["dice"]["mean"], 3)
        0.7
    """
    if table.empty:
        raise KerasganError("Argument 'table' must have at least one row. Received: none")
    check_draws(confidence, resamples)
    numbers = table.select_dtypes("number")
    values = numbers.to_numpy(np.float64)
    means = resampled_means(values, resamples, seed)
    scores = {}
    for index, column in enumerate(numbers):
        there = values[~np.isnan(values[:, index]), index]
        low, high = interval(means[:, index], confidence)
        scores[str(column)] = {
            "mean": float(there.mean()) if there.size else float("nan"),
            "low": low,
            "high": high,
            "images": int(there.size),
        }
    return {"confidence": confidence, "resamples": resamples, "seed": seed, "scores": scores}


def check_samples(samples: Samples, empty: str) -> None:
    """Raise a `KerasganError` for samples that cannot be scored, or an unknown policy."""
    if not isinstance(samples, Samples) or samples.mask_paths is None or not len(samples):
        raise KerasganError(
            "Argument 'samples' must be labelled Samples, as load_folder gives, at least one. "
            f"Received: {samples!r}"
        )
    check_choice("empty", empty, EMPTY_POLICIES)


def summary_text(table: pd.DataFrame) -> str:
    """Put the summary of a table into words, a score a line.

    Args:
        table: What `evaluate` or `evaluate_masks` returned.

    Returns:
        Lines of at most 72 characters, or longer for long column names. After cross-validation each
        ends with the lowest and the highest mean of a fold.

    Raises:
        KerasganError: If the table has no summary (pandas drops `attrs` in some operations).

    Example:
        >>> print(kg.evaluation.summary_text(table))  # doctest: +SKIP
        120 images, threshold 0.5, empty masks: agree
        mean and 95 % bootstrap interval over images
        accuracy        0.912  [0.899, 0.924]
    """
    summary = table.attrs.get("summary")
    if summary is None:
        raise KerasganError(
            "Argument 'table' must come from evaluate, with attrs['summary']. Received: a table "
            "without; summarize(table) makes one"
        )
    images = summary["images"]
    facts = [f"{images} image{'s' if images != 1 else ''}"]
    if summary.get("threshold") is not None:
        facts.append(f"threshold {summary['threshold']:g}")
    facts.append(f"empty masks: {summary['empty']}")
    if summary.get("preprocess", DEFAULT_PREPROCESS) != DEFAULT_PREPROCESS:
        facts.append(f"preprocess {summary['preprocess']}")
    folds = summary.get("folds", {})
    if folds:
        facts.insert(1, f"{len(folds)} folds")
    width = max(map(len, summary["scores"]))
    lines = [
        ", ".join(facts),
        f"mean and {100 * summary['confidence']:g} % bootstrap interval over images",
    ]
    for name, values in summary["scores"].items():
        line = f"{name:<{width}}  {values['mean']:.3f}  [{values['low']:.3f}, {values['high']:.3f}]"
        missing = images - values["images"]
        line += f"  {missing} undefined" if missing else ""
        means = [fold["scores"][name] for fold in folds.values()]
        means = [mean for mean in means if not np.isnan(mean)]
        lines.append(line + (f"  folds {min(means):.3f} to {max(means):.3f}" if means else ""))
    return "\n".join(lines)


def save_table(
    table: pd.DataFrame, path: str | os.PathLike, *, overwrite: bool = False
) -> pathlib.Path:
    """Write a table as CSV (UTF-8), numbers in full precision.

    Text that a spreadsheet would run as a formula, such as a name that begins with `=`, `+`, `-`,
    `@`, a tab or a line break, gets an apostrophe in front.

    Args:
        table: Any table.
        path: File to write; its folder is made if need be.
        overwrite: Whether a file that exists may be replaced.

    Returns:
        The path.

    Raises:
        KerasganError: If the file exists and `overwrite` is False, or cannot be written.

    Example:
        >>> kg.evaluation.save_table(table, "results/scores.csv")  # doctest: +SKIP
        PosixPath('results/scores.csv')
    """
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise KerasganError(
            f"Argument 'path' names a file that exists: {path}. Pass another, or overwrite=True"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, csv_bytes(table))
    except OSError as error:
        raise KerasganError(
            f"Argument 'path' must be a file that can be written. Received: {path} ({error})"
        ) from error
    return path


def named_scores(scores: OwnScores) -> dict[str, Score]:
    """Return scores of one's own by name, or raise a `KerasganError`."""
    if not isinstance(scores, Mapping):
        several = scores if isinstance(scores, (list, tuple)) else [scores]
        scores = {getattr(each, "__name__", repr(each)): each for each in several if each}
        if len(scores) < sum(each is not None for each in several):
            raise KerasganError(
                f"Argument 'scores' must hold functions of different names. Received: {several}"
            )
    for name, function in scores.items():
        known = (*SCORES, *DISTANCES, "name", "fold", "true_area", "predicted_area")
        if not isinstance(name, str) or not callable(function) or name in known:
            raise KerasganError(
                "Argument 'scores' must hold functions of a true and a predicted mask, by names "
                f"other than {', '.join(known)}. Received: {name!r}: {function!r}"
            )
    return dict(scores)


def _own_score(
    score: str, function: Score, truth: np.ndarray, mask: np.ndarray, name: str
) -> float:
    try:
        value = function(truth, mask)
        number = float(value)
    except Exception as error:
        raise KerasganError(
            f"Score {score!r} cannot be had of {name!r}: {type(error).__name__}: {error}"
        ) from error
    if np.ndim(value) or np.isinf(number):
        raise KerasganError(
            f"Score {score!r} must return one number, NaN where there is none. Received: {value!r} "
            f"for {name!r}"
        )
    return number


def _score_columns(counts: Counts, empty: str) -> dict[str, np.ndarray]:
    """Scores and areas of each class but the background, from the counts of all classes."""
    counts = Counts(*(part[1:] for part in counts))
    pixels = sum(counts)
    columns = {name: score(name, counts, empty) for name in SCORES}
    columns["true_area"] = (counts.tp + counts.fn) / pixels
    columns["predicted_area"] = (counts.tp + counts.fp) / pixels
    return columns


def _row(columns: dict[str, np.ndarray]) -> dict[str, float]:
    row = {name: _over_classes(name, values) for name, values in columns.items()}
    classes = len(next(iter(columns.values())))
    for index in range(classes if classes > 1 else 0):
        row.update((f"{name}_{index + 1}", float(v[index])) for name, v in columns.items())
    return row


def _over_classes(name: str, values: np.ndarray) -> float:
    if name in ("true_area", "predicted_area"):
        return float(values.sum())
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")

"""Scores of predicted masks, per image, at the size of the image.

Masks are scored as a person would see them: the network's output is brought back to the size of
the image first, and the true mask is never resized. Every image weighs the same in a mean, however
large it is.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, Union

import keras
import numpy as np
import pandas as pd

from kerasgan.counts import EMPTY_POLICIES, SCORES, Counts, count_labels, score
from kerasgan.data import Samples
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError, unknown_name, warn
from kerasgan.evaluation.bootstrap import Groups, group_rows
from kerasgan.evaluation.centreline import centreline_row
from kerasgan.evaluation.objects import CONNECTIVITY, OBJECT_SCORES, OVERLAP, object_scores
from kerasgan.evaluation.summary import (
    Evaluated,
    summarize,
    summarize_evaluated,
    summarize_gaps,
)
from kerasgan.evaluation.surface import DISTANCES, SHARES, TOLERANCE, surface_row
from kerasgan.inference import decide, iterate_probability
from kerasgan.inference.calibration import (
    Calibration,
    expected_calibration_error,
    pool_calibrations,
)
from kerasgan.inference.members import with_input_shape
from kerasgan.models.framing import framing_of
from kerasgan.models.functional import generator_of
from kerasgan.models.outputs import refuse_classes, refuse_labels
from kerasgan.models.preprocess import preprocess_of
from kerasgan.storage import write_file
from kerasgan.tables import csv_bytes
from kerasgan.validation import (
    ask_by_name,
    check_choice,
    check_number,
    check_pair,
    check_plane,
    invalid,
    is_number,
)

AHEAD = 8
SETS = {
    "distances": DISTANCES,
    "surface": (*DISTANCES, *SHARES),
    "objects": OBJECT_SCORES,
    "centreline": ("cldice",),
    "calibration": ("brier", "ece"),
}
"""Sets of scores that can be asked for by name -> their columns."""
MASK_SETS = ("distances", "surface", "objects", "centreline")
"""Those that need no probabilities."""
SUMS = ("true_area", "predicted_area", "objects", "false_positives_per_image")
"""Columns that are added up over classes, where others are averaged."""
Score = Callable[[np.ndarray, np.ndarray], Any]
AskedScores = Optional[Union[str, Mapping[str, Score], Sequence[Union[str, Score]], Score]]
Spacing = Union[float, Sequence[float], Callable[[str], Union[float, Sequence[float]]]]


def evaluate(
    model: Any,
    samples: Samples | Mapping[str, Samples],
    *,
    threshold: float = 0.5,
    empty: str = "agree",
    surface: bool = False,
    scores: AskedScores = None,
    tolerance: float = TOLERANCE,
    spacing: Spacing = 1.0,
    overlap: float = OVERLAP,
    connectivity: int = CONNECTIVITY,
    groups: Groups = None,
    verbose: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Segment labelled images and score each mask against the true one.

    How the network's output is read is decided in `kerasgan.models.outputs`, which values of a mask
    file are foreground in `kerasgan.data.masks`.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: Labelled `Samples`, with as many classes as the network; or several, by name, as
            `{"inside": test, "other hospital": frames}`. The others are compared with the first.
        threshold: Probability above which a pixel is foreground, between 0 and 1 (one class).
        empty: What a score is where there is nothing to divide by, as no true foreground:
            `"agree"`, 1 where both masks are equal and 0 where not; `"medai"`, both masks are
            inverted where the true one is empty; `"nan"`, NaN, which means leave out.
        surface: As `scores="distances"`.
        scores: Further scores: names of sets, functions of your own, or a list of both, as for
            `evaluate_masks`; here also `"calibration"`.
        tolerance: As for `evaluate_masks`, like the next three.
        spacing: Size of a pixel.
        overlap: Jaccard index above which objects match.
        connectivity: 8 or 4.
        groups: From the name of an image to its group: patient, video, surgery. Intervals are then
            over groups, not over images.
        verbose: Whether to show a progress bar.
        **options: `size`, `mode`, `batch_size`, `preprocess`, as for
            `kerasgan.inference.iterate_probability`: images are brought to the network as in
            training, in windows if it was trained on windows.

    Returns:
        The table of `evaluate_masks`, with `threshold`, `preprocess` and `mode`, of windows also
        `scale`, in its summary. With "calibration" there are two more columns: `brier`, the mean
        over pixels of the squared difference of probability and truth (with several classes summed
        over them, so up to 2), and `ece`, the expected calibration error of the image;
        `summary["reliability"]` is the table of `kerasgan.inference.Calibration` over the pixels of
        all images, as lists.
        Of several datasets the table has a column `dataset` in front, and `attrs["summary"]` has
        `datasets`, the summary of each, and `gaps`: for each but the first its `reference`, the
        first, and the `difference` of every one of `scores` and `pooled` from it, `low` to `high`.

    Example:
        >>> table = kg.evaluate(gan, test, scores="all", tolerance=4)  # doctest: +SKIP
        >>> table = kg.evaluate(gan, {"inside": test, "other": frames})  # doctest: +SKIP
        >>> print(kg.evaluation.summary_text(table))  # doctest: +SKIP
    """
    several = isinstance(samples, Mapping)
    datasets = dict(samples) if several else {"": samples}
    _check_datasets(datasets, several, empty, groups)
    classes = next(iter(datasets.values())).classes
    scores = named_scores(scores, classes, surface)
    threshold = check_number("threshold", threshold, above=0, below=1)
    settings = _checked_settings(tolerance, spacing, overlap, connectivity)
    scored_by_name: dict[Any, Evaluated] = {}
    summaries: dict[Any, dict[str, Any]] = {}
    for dataset, part in datasets.items():
        network = with_input_shape(model, part, options.get("size"))
        refuse_labels(network, "evaluate")
        refuse_classes(network, part)
        before = preprocess_of(network, options.get("preprocess"))
        framing = framing_of([generator_of(network)], options.get("mode"), options.get("scale"))
        if verbose and several:
            print(f"{dataset}: {len(part)} images")
        calibrations: list[Calibration] = []
        masks = _decided(
            iterate_probability(network, part, **{**options, "preprocess": before}),
            threshold,
            part if "calibration" in scores else None,
            calibrations,
        )
        scored = _score_images(part, masks, empty, scores, settings, verbose)
        if calibrations:
            scored = _with_calibration(scored, calibrations)
        scored_by_name[dataset] = scored
        facts = {"empty": empty, "threshold": threshold if part.classes == 1 else None}
        facts.update(preprocess=before.name, mode=framing.mode, **_stated(scores, settings))
        facts.update({"scale": framing.scale} if framing.mode == WINDOW else {})
        summary = {"images": len(part), **facts, **summarize_evaluated(scored, groups)}
        if calibrations:
            reliability = pool_calibrations(calibrations).table
            summary["reliability"] = reliability.to_dict("list")
        summaries[dataset] = summary
    if not several:
        table = scored_by_name[""].table
        table.attrs["summary"] = summaries[""]
        return table
    tables = {name: scored.table for name, scored in scored_by_name.items()}
    table = pd.concat(tables, names=["dataset"]).reset_index("dataset").reset_index(drop=True)
    gaps = summarize_gaps(scored_by_name, groups)
    whole = {"images": len(table), "empty": empty, "datasets": summaries, "gaps": gaps}
    table.attrs["summary"] = whole
    return table


def evaluate_masks(
    samples: Samples,
    masks: Iterable[np.ndarray],
    *,
    empty: str = "agree",
    surface: bool = False,
    scores: AskedScores = None,
    tolerance: float = TOLERANCE,
    spacing: Spacing = 1.0,
    overlap: float = OVERLAP,
    connectivity: int = CONNECTIVITY,
    groups: Groups = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Score masks that come from anywhere against the true ones.

    Args:
        samples: Labelled `Samples`.
        masks: One mask (height, width) for each sample, in order and of the size of its image:
            boolean or {0, 1}, or labels for several classes. A generator is read as it goes, so
            only one mask is held in memory.
        empty: As for `evaluate`.
        surface: As `scores="distances"`.
        scores: Further scores, one or a list of: `"distances"` between outlines, `"surface"`, the
            same and what share of the outlines is right, `"objects"`, `"centreline"`, or `"all"` of
            these; and scores of your own, as a dict from names to functions, or
            functions that are called as their score. Each takes the true and the predicted mask of
            an image, bool (height, width), and returns a number, or NaN where there is none. With
            several classes it is called for each against the rest. One thread calls it, one image
            after the other.
        tolerance: Distance of outlines that is right still, for `surface_dice` and `boundary_iou`,
            above 0, in pixels or in the unit of `spacing`. Choose it from how far the outlines of
            two experts differ.
        spacing: Height and width of a pixel in millimetres, one number for both, or a function
            from the name of an image to either, for distances and "surface"; 1 for pixels.
        overlap: Jaccard index above which a predicted object matches a true one, as for
            `object_scores`.
        connectivity: Whether pixels that touch at a corner belong to one object, 8, or not, 4.
        groups: As for `evaluate`.
        verbose: Whether to show a progress bar.

    Returns:
        One row per image: `name`; `accuracy`, `jaccard`, `dice`, `recall`, `precision`, `f2`,
        `specificity`, all in [0, 1]; `true_area` and `predicted_area`, the foreground as a fraction
        of the frame. With n classes each class is scored against the rest: the columns above are
        means over the classes 1 to n-1 (areas and numbers of objects: sums), followed by those of
        each, `jaccard_1` and so on. With "distances", also `hausdorff_95` and
        `mean_surface_distance`: NaN where one of the masks is empty, since there is no distance
        then; 0 where both are (NaN where `empty` is `"nan"`). With "surface", these,
        `surface_dice` and `boundary_iou`. With "objects", the columns of `object_scores`; with
        "centreline", `cldice`. `surface_dice`, `boundary_iou` and `cldice` are 0 where one of the
        masks is empty and 1 where both are (NaN where `empty` is `"nan"`). With scores of your own,
        a column of each. `attrs["summary"]` is what `summarize` returns, with the number of
        `images`, the policy, `empty`, and the `settings` of scores that were asked for.

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
        >>> table = evaluate_masks(samples, whole, scores=["objects", too_large])
        >>> bool((table["too_large"] > 0).all())
        True
    """
    check_samples(samples, empty)
    try:
        masks = iter(masks)
    except TypeError:
        raise invalid("masks", "one mask for each of the samples", masks) from None
    scores = named_scores(scores, samples.classes, surface, MASK_SETS)
    group_rows(samples.names, groups)
    settings = _checked_settings(tolerance, spacing, overlap, connectivity)
    scored = _score_images(samples, _arrays(samples, masks), empty, scores, settings, verbose)
    facts = {"images": len(scored.table), "empty": empty, **_stated(scores, settings)}
    summary = summarize(scored.table, groups=groups, pixels=scored.pixels)
    scored.table.attrs["summary"] = {**facts, **summary}
    return scored.table


def _arrays(samples: Samples, masks: Any) -> Iterator[np.ndarray]:
    for index, mask in enumerate(masks):
        if index < len(samples):
            expected = f"the mask (height, width) of {samples.names[index]!r}"
            mask = check_plane(f"masks[{index}]", mask, f"{expected}: boolean, {{0, 1}} or labels")
        yield mask


def _score_images(
    samples: Samples,
    masks: Iterable[np.ndarray],
    empty: str,
    scores: Mapping[str, Score | None],
    settings: Mapping[str, Any],
    verbose: bool,
) -> Evaluated:
    """Score masks as they come."""
    labels, pixels = range(1, max(2, samples.classes)), []
    bar = keras.utils.Progbar(len(samples), unit_name="image", verbose=bool(verbose))
    further = set(scores) - {"calibration"}

    def score(index: int, mask: np.ndarray) -> dict[str, Any]:
        name, truth = samples.names[index], samples.mask(index)
        try:
            counts = count_labels(truth, mask, max(2, samples.classes))
        except KerasganError as error:
            raise KerasganError(f"The mask of {name!r} cannot be scored. {error}") from error
        pixels.append(truth.size)
        columns = _score_columns(counts, empty)
        pairs = [(truth == label, mask == label) for label in labels if further]
        for array in (array for pair in pairs for array in pair):
            array.flags.writeable = False  # or a score of one's own could change the next ones
        rows = [_further_row(name, *pair, empty, scores, settings) for pair in pairs]
        columns.update({key: np.array([row[key] for row in rows]) for key in (rows or [{}])[0]})
        return {"name": name, **_row(columns)}

    rows, masks, begun, end = [], iter(masks), deque(), object()

    def take(most: int) -> None:
        while len(begun) > most:
            rows.append(begun.popleft().result())
            bar.add(1)

    # Masks are made, by a network perhaps, while those before are scored.
    with ThreadPoolExecutor(1) as scoring:
        for index in range(len(samples)):
            mask = next(masks, end)
            if mask is end:
                take(0)
                raise KerasganError(
                    f"Argument 'masks' must hold one mask for each of the {len(samples)} samples. "
                    f"Received: {index}"
                )
            begun.append(scoring.submit(score, index, mask))
            take(AHEAD)
        take(0)
    if next(masks, end) is not end:
        raise KerasganError(
            f"Argument 'masks' must hold one mask for each of the {len(samples)} samples. "
            "Received: more"
        )
    table = pd.DataFrame(rows)
    _warn_of_empty(table, labels, empty)
    return Evaluated(table, pixels)


def _warn_of_empty(table: pd.DataFrame, labels: range, empty: str) -> None:
    """Warn where means are those of empty masks for the most part."""
    for label in labels:
        what, end = (f"Class {label}", f"_{label}") if len(labels) > 1 else ("The foreground", "")
        true, predicted = (table[f"{area}{end}"] > 0 for area in ("true_area", "predicted_area"))
        agreed = int((~true & ~predicted).sum())
        if empty == "agree" and true.any() and 2 * agreed > max(len(table), 4):
            warn(
                f"{what} is in {true.sum()} of {len(table)} true masks, and {agreed} are empty in "
                "the prediction, too: each counts 1, which raises the means. Read the pooled "
                "scores, or pass empty='nan'"
            )


def _further_row(name, truth, predicted, empty, scores, settings) -> dict[str, float]:
    """Scores that were asked for, of one class of one image."""
    row: dict[str, float] = {}
    for score_name, function in scores.items():
        if function is not None:
            row[score_name] = _own_score(score_name, function, truth, predicted, name)
        elif score_name in ("distances", "surface"):
            spacing = settings["spacing"]
            if callable(spacing):
                spacing = _spacing_of(name, spacing)
            measured = surface_row(truth, predicted, empty, settings["tolerance"], spacing)
            row.update((column, measured[column]) for column in SETS[score_name])
        elif score_name == "objects":
            how = {key: settings[key] for key in ("overlap", "connectivity")}
            row.update(object_scores(truth, predicted, empty=empty, **how))
        elif score_name == "centreline":
            row.update(centreline_row(truth, predicted, empty))
    return row


def _spacing_of(name: str, spacing: Callable[[str], Any]) -> tuple[float, float]:
    value = ask_by_name("spacing", spacing, name)
    return check_pair(f"spacing({name!r})", value, above=0)


def _decided(
    maps: Iterable[np.ndarray],
    threshold: float,
    samples: Samples | None,
    calibrations: list[Calibration],
) -> Iterator[np.ndarray]:
    """Give masks, and note how well calibrated the probabilities of labelled samples are."""
    for index, probability in enumerate(maps):
        if samples is not None:
            truth = samples.mask(index)
            calibrations.append(expected_calibration_error([truth], [probability]))
        yield decide(probability, threshold)


def _with_calibration(found: Evaluated, calibrations: list[Calibration]) -> Evaluated:
    table = found.table
    table["brier"] = [each.brier for each in calibrations]
    table["ece"] = [each.error for each in calibrations]
    bins = np.stack([each.sums() for each in calibrations])
    return Evaluated(table, found.pixels, bins)


def _stated(scores: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the sets of scores that were asked for."""
    stated: dict[str, Any] = {}
    if "surface" in scores:
        stated["tolerance"] = settings["tolerance"]
    if "surface" in scores or "distances" in scores:
        spacing = settings["spacing"]
        stated["spacing"] = "by name" if callable(spacing) else spacing
    if "objects" in scores:
        stated.update(overlap=settings["overlap"], connectivity=settings["connectivity"])
    return {"settings": stated} if stated else {}


def _checked_settings(
    tolerance: Any, spacing: Any, overlap: Any, connectivity: Any
) -> dict[str, Any]:
    if not callable(spacing):
        pair = check_pair("spacing", spacing, above=0)
        spacing = pair[0] if is_number(spacing) else pair
    return {
        "tolerance": check_number("tolerance", tolerance, above=0),
        "spacing": spacing,
        "overlap": check_number("overlap", overlap, least=0, below=1),
        "connectivity": check_choice("connectivity", connectivity, (4, 8)),
    }


def _check_datasets(datasets: Mapping[Any, Any], several: bool, empty: str, groups: Groups) -> None:
    """Raise a `KerasganError` for datasets that cannot be scored together."""
    if not datasets:
        raise KerasganError("Argument 'samples' must hold a dataset at least. Received: none")
    for name, samples in datasets.items():
        if several and not (isinstance(name, str) and name.strip()):
            raise KerasganError(
                f"Argument 'samples' must name each dataset by a text. Received: {name!r}"
            )
        check_samples(samples, empty, f"samples[{name!r}]" if several else "samples")
        try:
            group_rows(samples.names, groups)
        except KerasganError as error:
            raise KerasganError(f"Dataset {name!r}: {error}" if several else str(error)) from error
    (first, reference), *others = datasets.items()
    seen = dict.fromkeys(map(os.path.realpath, reference.image_paths), first)
    for name, samples in others:
        if samples.classes != reference.classes:
            raise KerasganError(
                "Argument 'samples' must hold datasets of the same classes. Received: "
                f"{first!r} with classes={reference.classes} and {name!r} with "
                f"classes={samples.classes}"
            )
        paths = set(map(os.path.realpath, samples.image_paths))
        shared = sorted(paths & set(seen))
        if shared:
            warn(
                f"Datasets {seen[shared[0]]!r} and {name!r} share {len(shared)} images, such as "
                f"{shared[0]}: the interval of the gap holds for datasets that share none"
            )
        seen = {**dict.fromkeys(paths, name), **seen}


def check_samples(samples: Samples, empty: str, name: str = "samples") -> None:
    """Raise a `KerasganError` for samples that cannot be scored, or an unknown policy."""
    if not isinstance(samples, Samples) or samples.mask_paths is None or not len(samples):
        raise invalid(name, "labelled Samples, as load_folder gives, at least one", samples)
    check_choice("empty", empty, EMPTY_POLICIES)


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


def named_scores(
    scores: AskedScores, classes: int, surface: bool = False, sets: Sequence[str] = tuple(SETS)
) -> dict[str, Score | None]:
    """Return what is asked for by name: functions, or None for sets of scores of `SETS`."""
    several = list(scores) if isinstance(scores, (list, tuple)) else [scores]
    asked: list[tuple[Any, Any]] = [("distances", None)] if surface else []
    for each in several:
        if isinstance(each, Mapping):
            asked += each.items()
        elif isinstance(each, str) and each in (*sets, "all"):
            asked += [(name, None) for name in (sets if each == "all" else [each])]
        elif isinstance(each, str):
            raise _unknown_score(each, sets)
        elif each is not None:
            asked.append((getattr(each, "__name__", repr(each)), each))
    own = [name for name, function in asked if function is not None]
    if len(set(own)) < len(own):
        raise KerasganError(
            f"Argument 'scores' must hold functions of different names. Received: {several}"
        )
    of_sets = {name for name, function in asked if function is None and name in sets}
    columns = [*SCORES, "true_area", "predicted_area", *itertools.chain(*SETS.values())]
    taken = {"dataset", "name", "fold", *columns, *SETS, "true_area_1"}
    if classes > 2:
        taken.update(f"{name}_{label}" for name in columns + own for label in range(1, classes))
    for name, function in asked:
        if function is None and name in sets:
            continue
        if not isinstance(name, str) or not callable(function):
            raise KerasganError(
                "Argument 'scores' must hold functions of a true and a predicted mask, by name, or "
                f"names of sets: {', '.join((*sets, 'all'))}. Received: {name!r}: {function!r}"
            )
        if name in taken:
            raise KerasganError(
                "Argument 'scores' must hold functions by names that no column and no set of "
                f"scores has. Received: {name!r}. Pass another, as {{'my {name}': function}}"
            )
    if "surface" in of_sets:  # which holds the distances
        asked = [pair for pair in asked if pair != ("distances", None)]
    return dict(asked)


def _unknown_score(name: str, sets: Sequence[str]) -> KerasganError:
    """Return the error for a name that is no set of scores, but perhaps a score of one."""
    if name in (*SCORES, "true_area", "predicted_area"):
        return KerasganError(
            f"Argument 'scores' must hold further ones: {name!r} is there without being asked for"
        )
    owner = next((each for each in SETS if name == each or name in SETS[each]), None)
    if owner in sets:
        return KerasganError(
            f"Argument 'scores' must hold sets: {name!r} is a score of the set {owner!r}. "
            f"Pass scores={owner!r}"
        )
    if owner is not None:
        return KerasganError(
            f"Argument 'scores' must do without {name!r}, which needs probabilities: pass the "
            "model to kerasgan.evaluate"
        )
    return unknown_name("scores", name, (*sets, "all"))


def _own_score(
    score: str, function: Score, truth: np.ndarray, mask: np.ndarray, name: str
) -> float:
    try:
        value = function(truth, mask)
        plain = not (np.ndim(value) or np.iscomplexobj(value))
        number = float(value) if plain else np.inf
    except Exception as error:
        raise KerasganError(
            f"Score {score!r} cannot be computed for {name!r}: {type(error).__name__}: {error}"
        ) from error
    if np.isinf(number):
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
    if name in SUMS:
        return float(values.sum())
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")

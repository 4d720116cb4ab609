"""Cross-validation: every image is scored by a model that has not seen it."""

from __future__ import annotations

import os
import pathlib
import random
from collections.abc import Hashable
from typing import Any, Callable

import pandas as pd

from kerasgan.data import Samples
from kerasgan.data.files import read_header
from kerasgan.errors import KerasganError
from kerasgan.evaluation import segmentation
from kerasgan.evaluation.bootstrap import group_rows
from kerasgan.evaluation.breakdown import column_means
from kerasgan.evaluation.result_cache import open_cache, read_result
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, preprocess_of
from kerasgan.validation import check_choice, check_number, check_seed, check_whole_number

SETUP = "cross_validation.json"
SCORES_FILE = "scores.csv"
OPTIONS = (
    *("threshold", "empty", "surface", "scores", "tolerance", "spacing", "overlap", "connectivity"),
    *("size", "mode", "batch_size", "preprocess"),
)


def cross_validate(
    samples: Samples,
    fit: Callable[[Samples, Samples | None, pathlib.Path | None], Any],
    *,
    folds: int | None = None,
    groups: Callable[[str], Hashable] | None = None,
    fraction: float = 0.1,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    setup: Any = None,
    verbose: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Train a model per fold and score each on the fold that it was not trained on.

    Without `groups` the images are divided at random into `folds` parts. With `groups`, each group
    (patient, surgery, hospital) is held out once, or, with `folds` too, whole groups are divided
    into so many parts.

    With a folder, each fold's scores are kept in it, and the same call goes on after the last
    finished fold if it was stopped. A fold that was under way is trained anew, or as `fit` resumes.

    Args:
        samples: Labelled `Samples`.
        fit: Called as `fit(training, validation, fold_folder)` for each fold; trains a new model
            and returns it, or anything `evaluate` takes. `validation` is for choices, as of the
            epoch; None with `fraction=0`. `fold_folder` is a folder of the fold's own, which
            exists, or None without `folder`.
        folds: Number of parts, from 2 up; None for 5, or, with `groups`, as many as groups.
        groups: From the name of an image to its group, or None.
        fraction: Share of each fold's training images that become the validation part, from 0 up
            and below 1: whole groups, as many as come nearest to that share of the groups, or
            single images where that is none.
        seed: Key of the division.
        folder: Where to keep finished folds, or None.
        setup: What else a folder must agree on to go on in it, as the settings of the network:
            anything, such as a dict. None for the code of `fit` itself; what `fit` refers to is not
            seen.
        verbose: Whether to say which fold is under way.
        **options: As for `evaluate`: `threshold`, `empty`, `surface`, `scores`, `tolerance`,
            `spacing`, `overlap`, `connectivity`, `size`, `mode`, `batch_size`, `preprocess`.

    Returns:
        The table of `evaluate` for all samples, in their order, with a column `fold` (text: the
        group that was held out, else "1", "2", ...). `attrs["summary"]` has the means and intervals
        over all images, or over groups if there are any, and `folds`: for each fold its number of
        `images` and the mean of each of the `scores`. Folds share most of their training images, so
        their spread understates how much training on other data would change.

    Raises:
        KerasganError: If samples, folds, groups or the fraction cannot be used, `fit` returns no
            model, or the folder holds the folds of other samples or settings.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=6, size=32)
        >>> def fit(training, validation, folder):
        ...     model = kg.models.unet(size=32, filters=2, levels=2)
        ...     return model  # once it is trained on `training`
        >>> table = cross_validate(samples, fit, folds=3, verbose=False)
        >>> sorted(set(table["fold"]))
        ['1', '2', '3']
    """
    segmentation.check_samples(samples, options.get("empty", "agree"))
    for name in options:
        check_choice("options", name, OPTIONS)
    check_number("fraction", fraction, least=0, below=1)
    check_seed(seed)
    before = options.get("preprocess")
    before = preprocess_of(None, DEFAULT_PREPROCESS if before is None else before)
    options["scores"] = segmentation.named_scores(options.get("scores"), samples.classes)
    parts = _parts(samples, folds, groups, seed)
    if folder is not None:
        folder = pathlib.Path(folder)
        facts = {
            "samples": samples,
            "folds": {label: list(held_out.names) for label, _, held_out in parts},
            "fraction": fraction,
            "seed": seed,
            "options": {**options, "preprocess": before},
            "setup": setup,
            "fit": getattr(fit, "__code__", type(fit)) if setup is None else None,
        }
        open_cache(folder, facts, SETUP, "folds")
    tables = []
    for number, (label, training, held_out) in enumerate(parts, start=1):
        fold_folder = None if folder is None else folder / f"fold_{number}"
        table = None
        if fold_folder is not None:
            names = list(held_out.names)
            table = read_result(fold_folder / SCORES_FILE, "train this fold again", name=names)
        if table is None:
            if verbose:
                print(f"Fold {number} of {len(parts)}, held out: {label}, {len(held_out)} images")
            table = _run(training, held_out, fit, fold_folder, (fraction, seed, groups), options)
        table.insert(1, "fold", label)
        tables.append(table)
    return _together(samples, tables, before.name, groups, options)


def _parts(samples, folds, groups, seed) -> list[tuple[str, Samples, Samples]]:
    """Label, training part and held-out part of each fold."""
    known = list(samples.names)
    if group_rows(samples.names, groups) is not None:
        known = sorted({groups(name) for name in samples.names}, key=str)
        if folds is None:
            return [(str(group), *samples.split_groups(groups, [group])) for group in known]
    folds = 5 if folds is None else folds
    check_whole_number("folds", folds, 2, len(known))
    pairs = samples.folds(folds, seed=seed, key=groups)
    return [(str(number), *pair) for number, pair in enumerate(pairs, start=1)]


def _run(training, held_out, fit, fold_folder, division, options) -> pd.DataFrame:
    if fold_folder is not None:
        fold_folder.mkdir(parents=True, exist_ok=True)
    training, validation = _carve(training, *division)
    model = fit(training, validation, fold_folder)
    if model is None:
        raise KerasganError("Argument 'fit' must return the model that it trained. Received: None")
    table = segmentation.evaluate(model, held_out, verbose=False, **options)
    if fold_folder is not None:
        segmentation.save_table(table, fold_folder / SCORES_FILE, overwrite=True)
    return table


def _carve(training, fraction, seed, groups) -> tuple[Samples, Samples | None]:
    if not fraction:
        return training, None
    known = [] if groups is None else sorted({groups(name) for name in training.names}, key=str)
    count = min(round(fraction * len(known)), len(known) - 1)
    if count < 1:
        return training.split(fraction, seed=seed)
    return training.split_groups(groups, random.Random(seed).sample(known, count))


def _together(samples, tables, preprocess, groups, options) -> pd.DataFrame:
    threshold = check_number("threshold", options.get("threshold", 0.5), above=0, below=1)
    order = {name: index for index, name in enumerate(samples.names)}
    folds = {
        table["fold"].iloc[0]: {"images": len(table), "scores": column_means(table)}
        for table in tables
    }
    headers = map(read_header, samples.mask_paths)
    for table in tables:
        table.attrs = {}
    table = pd.concat(tables).sort_values("name", key=lambda names: names.map(order))
    table = table.reset_index(drop=True)
    table.attrs["summary"] = {
        "images": len(table),
        "threshold": threshold if samples.classes == 1 else None,
        "empty": options.get("empty", "agree"),
        "preprocess": preprocess,
        **segmentation.summarize(
            table, groups=groups, pixels=[h.height * h.width for h in headers]
        ),
        "folds": folds,
    }
    return table

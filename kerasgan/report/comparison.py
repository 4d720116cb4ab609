"""The comparison report: two or more models on the same images, in one page."""

from __future__ import annotations

import datetime
import itertools
import os
import pathlib
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError, unknown_name, warn
from kerasgan.evaluation.benchmark import check_some, named_rules
from kerasgan.evaluation.breakdown import by_size
from kerasgan.evaluation.segmentation import save_table, summarize
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.inference.card import printable
from kerasgan.inference.members import have_same_weights, members_of
from kerasgan.models import generator_of
from kerasgan.models.preprocess import preprocess_of
from kerasgan.report import charts, model_results
from kerasgan.report.collect import collect
from kerasgan.report.failures import KINDS, ShownImage
from kerasgan.report.html import MOST_IMAGES
from kerasgan.report.model_card import model_facts, with_settings
from kerasgan.report.model_results import ModelResult
from kerasgan.report.output_folder import check_report_folder, replace_report_folder
from kerasgan.report.page import kinds_of, render, signed
from kerasgan.report.panels import SIDE, Panels, balance, heatmap_options
from kerasgan.report.pictures import outline_layer, photo
from kerasgan.report.significance import COMPARISON_GLOSSARY, COMPARISON_LIMITS, assess_difference
from kerasgan.report.texts import SCORE_WORDS, sentences
from kerasgan.validation import check_whole_number

FEW = 20
"""Images below which a percentile interval is called too narrow."""
MOST_MODELS = 10
MOST_PANELS = 120
"""Images times models: what keeps the page below 25 MB."""
DEFAULTS = {"threshold": 0.5, "augment": False}  # of the rest, None


def compare(
    models: Mapping[str, Any],
    samples: Samples,
    folder: str | os.PathLike,
    *,
    rules: Any = (DEFAULT_RULE, "epsilon"),
    images: int = 12,
    title: str = "Comparison of models",
    threshold: Any = 0.5,
    empty: str = "agree",
    size: Any = None,
    mode: Any = None,
    augment: Any = False,
    batch_size: int = 8,
    preprocess: Any = None,
    gates: Any = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> pathlib.Path:
    """Write a report that compares two or more models on the same images.

    The page is made as that of `write`, and put in place likewise. It shows what each model is; the
    scores of each with their intervals; the differences from the first model, image by image, with
    paired bootstrap intervals and whether they are significant; scores by size, errors and
    calibration of each; how far the masks agree; and the images where the models differ most, where
    they agree and which are hard for all, with what each drew and what that rests on. Without true
    masks it shows agreement, and no scores.

    Beside it lie `images.csv`, a row per image; `models.csv`, a row per model and image;
    `agreement.csv`, a row per image and pair of models; and with true masks `summary.csv`,
    `by_size.csv` and `differences.csv`.

    Each model sees the images at its own size, in grey or colour as it takes them, and its masks
    are scored at the size of the image. Memory grows by about two kilobytes an image and model.

    Args:
        models: From a name to a model, 2 to 10: functional `keras.Model` from image to mask, or an
            object with such a `.generator`. The others are compared with the first.
        samples: `Samples`, with the classes of the models.
        folder: New or empty; nothing else is ever written into.
        rules: As for `write`.
        images: How many images to show in full, 1 to 40; times the number of models 120 at most.
        title: Heading of the page.
        threshold: As for `write`. This, `size`, `mode`, `augment` and `preprocess` may each be a
            dict from the names of models to their own; models left out of it have the default.
        empty: As for `kerasgan.evaluate`.
        size: As for `kerasgan.evaluate`.
        mode: As for `write`.
        augment: As for `write`.
        batch_size: Images at once.
        preprocess: As for `write`.
        gates: As for `Explainer`: of all models, or a dict from the names of models to their own.
        overwrite: As for `write`.
        verbose: Whether to show progress bars.

    Returns:
        The path of `index.html`.

    Example:
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("data", count=2, size=32)
        >>> image = keras.Input((32, 32, 3))
        >>> small = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
        >>> large = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
        >>> models = {"small": small, "large": large}
        >>> page = kg.report.compare(models, samples, "both", rules="epsilon", verbose=False)
        >>> sorted(path.name for path in page.parent.glob("*.csv"))[:3]
        ['agreement.csv', 'by_size.csv', 'differences.csv']

    Source: paired bootstrap, Efron and Tibshirani 1993, chapter 13; see
    `kerasgan.evaluation.paired_difference`.
    """
    names = _names(models)
    if not (isinstance(gates, Mapping) and all(isinstance(v, Mapping) for v in gates.values())):
        gates = dict.fromkeys(models, gates)  # a dict of the gates of one network is of all
    given = {"threshold": threshold, "size": size, "mode": mode, "augment": augment}
    options_of = _options_by_model({**given, "preprocess": preprocess, "gates": gates}, models)
    check_whole_number("images", images, 1, MOST_IMAGES)
    if images * len(models) > MOST_PANELS:
        raise KerasganError(
            f"Argument 'images' must be at most {MOST_PANELS // len(models)} with {len(models)} "
            f"models, so that the page stays small. Received: {images}"
        )
    classes = _check_models(models, samples)
    named = named_rules(rules)
    path = check_report_folder(folder, overwrite)
    _warn_of_one_model(models, options_of)
    panels, results = [], []
    for name, model in models.items():
        options = options_of[name]
        options.update(preprocess=preprocess_of(model, options["preprocess"]))
        panels.append(Panels(model, samples, [], named, batch_size=batch_size, **options))
    for letter, (name, model), part in zip(string.ascii_uppercase, models.items(), panels):
        if verbose:
            print(f"{letter}: {names[name]}")
        masks: list = []
        options = {option: v for option, v in options_of[name].items() if option != "gates"}
        collected = collect(
            model,
            samples,
            empty=empty,
            thumbnails=letter == "A",
            seen=lambda mask, masks=masks: masks.append(model_results.compress_mask(mask)),
            batch_size=batch_size,
            verbose=verbose,
            **options,
        )
        used = {**options, **part.framing._asdict(), "gates": part.gates}
        facts = with_settings(model_facts(model), used, classes)
        results.append(ModelResult(letter, names[name], facts, collected, masks))
    pairs = model_results.agreements(results, classes)
    rows = model_results.wide_table(results, pairs)
    chosen = model_results.choose_images(rows, images)
    with replace_report_folder(path, overwrite) as new:
        shown = list(_shown_images(panels, samples, chosen, rows, verbose))
        tables = model_results.in_long_form(results, rows, pairs)
        for file, table in tables.items():
            save_table(table, new / f"{file}.csv")
        page = _page(
            title=printable(title),
            date=datetime.date.today().isoformat(),
            results=results,
            rows=rows,
            shown=shown,
            balances=[
                {rule: balance(ledgers) for rule, ledgers in part.ledgers.items()}
                for part in panels
            ],
            pairs=_pairs(results, pairs),
            differences=tables.get("differences"),
        )
        (new / "index.html").write_text(page, encoding="utf-8")
    return path / "index.html"


def _names(models: Any) -> dict[str, str]:
    """The names as they are given and as they are shown."""
    if not isinstance(models, Mapping) or not 2 <= len(models) <= MOST_MODELS:
        received = f"{len(models)} models" if isinstance(models, Mapping) else repr(models)[:200]
        raise KerasganError(
            f"Argument 'models' must be a dict from names to models, 2 to {MOST_MODELS} of them. "
            f"Received: {received}. For one model see kerasgan.report.write"
        )
    names = {name: " ".join(printable(name).split()) for name in models}
    for name, shown in names.items():
        if not isinstance(name, str) or not shown:
            raise KerasganError(
                f"Argument 'models' must name every model, by text. Received: {name!r}"
            )
    if len(set(names.values())) < len(names):
        raise KerasganError(
            f"Argument 'models' must have names that read differently. Received: {list(names)}"
        )
    return names


def _options_by_model(
    given: Mapping[str, Any], models: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The options of each model, where there may be one for all or one for each."""
    for option, value in given.items():
        for name in value if isinstance(value, Mapping) else ():
            if name not in models:
                raise unknown_name(option, name, models)
    return {
        name: {
            option: value.get(name, DEFAULTS.get(option)) if isinstance(value, Mapping) else value
            for option, value in given.items()
        }
        for name in models
    }


def _check_models(models: Mapping[str, Any], samples: Samples) -> int:
    """Make sure that all models segment these samples; return their number of classes."""
    wanted = None if check_some(samples).mask_paths is None else samples.classes
    for name, model in models.items():
        try:
            network = members_of(generator_of(model))[0].network
        except KerasganError as error:
            raise KerasganError(f"Model {name!r} cannot be used. {error}") from error
        channels, classes = network.inputs[0].shape[-1], network.outputs[0].shape[-1]
        if channels not in (None, 1, 3):
            raise KerasganError(
                "Argument 'models' must hold models that take images of 1 or 3 channels. Received: "
                f"{name!r}, of {channels}"
            )
        wanted = classes if wanted is None else wanted
        if classes != wanted:
            raise KerasganError(
                f"Argument 'models' must hold models of {wanted} classes, as the samples or the "
                f"first model. Received: {name!r} of {classes}"
            )
    return wanted


def _warn_of_one_model(models: Mapping[str, Any], options_of: Mapping[str, Any]) -> None:
    for a, b in itertools.combinations(models, 2):
        networks = generator_of(models[a]), generator_of(models[b])
        if options_of[a] == options_of[b] and have_same_weights(*networks):
            warn(
                f"Argument 'models': {a!r} and {b!r} have the same weights and the same settings, "
                "so they are one model under two names, and every difference of theirs is 0"
            )


def _shown_images(
    panels: Sequence[Panels],
    samples: Samples,
    chosen: Sequence[ShownImage],
    rows: Sequence[Mapping[str, Any]],
    verbose: bool,
) -> Iterator[dict[str, Any]]:
    """What is shown of each chosen image, with a panel for each model."""
    for part in panels:
        part.chosen = list(chosen)
    bar = keras.utils.Progbar(len(chosen), unit_name="image", verbose=bool(verbose))
    made = zip(*(part.make(verbose=False) for part in panels))
    for number, (image, panels_of_image) in enumerate(zip(chosen, made), 1):
        uri, size = photo(samples.image(image.index), SIDE)
        truth = None if samples.mask_paths is None else samples.mask(image.index)
        yield {
            **{"number": number, "index": image.index, "group": image.group},
            **{"photo": uri, "height": size[0], "width": size[1]},
            **{"row": rows[image.index], "panels": panels_of_image},
            "truth": None if truth is None else outline_layer(truth, None, size),
            **heatmap_options(panel["maps"] for panel in panels_of_image),
        }
        bar.add(1)


def _pairs(
    results: Sequence[ModelResult], pairs: Mapping[tuple[int, int], Any]
) -> list[dict[str, Any]]:
    """Mean agreement of each pair of models, with its interval."""
    table = pd.DataFrame({str(pair): values for pair, values in pairs.items()})
    scores = summarize(table)["scores"]
    return [
        {"a": results[a], "b": results[b], "lowest": values.min(), **scores[str((a, b))]}
        for (a, b), values in pairs.items()
    ]


def _page(**content: Any) -> str:
    results, compared = content["results"], content.pop("differences")
    labelled = results[0].collected.labelled
    tables = [result.collected.table for result in results]
    held = [[set(kinds_of(row)) for row in table.to_dict("records")] for table in tables]
    if labelled:
        content.update(
            scores=[
                {"score": score, "values": [r.collected.summary["scores"][score] for r in results]}
                for score in _shown_scores(results)
            ],
            differences=_by_difference(results, compared),
            sizes=list(zip(*(by_size(table).to_dict("records") for table in tables))),
            against=[charts.against(tables[0]["dice"], t["dice"], t["name"]) for t in tables[1:]],
            reliability=[charts.reliability(r.collected.calibration.table) for r in results],
        )
    return render(
        "comparison.html",
        **content,
        kind="Comparison of models",
        labelled=labelled,
        few=FEW,
        facts=_side_by_side(results, "network"),
        recipes=_side_by_side(results, "recipe"),
        fits=_side_by_side(results, "training as recorded"),
        software=results[0].facts["software"],
        same_weights=_same_weights(results),
        sentences=_summary_sentences(results, content.get("differences", []), content["pairs"]),
        counts={kind: [sum(kind in row for row in rows) for rows in held] for kind in KINDS},
        shared={kind: sum(all(kind in row for row in at) for at in zip(*held)) for kind in KINDS},
        kinds=[kind for kind in KINDS if any(kind in row for rows in held for row in rows)],
        places={image["index"]: image["number"] for image in content["shown"]},
        glossary=COMPARISON_GLOSSARY,
        limits=COMPARISON_LIMITS,
    )


def _shown_scores(results: Sequence[ModelResult]) -> list[str]:
    """Scores that the page shows: all but areas, and of single classes Dice alone."""
    known = results[0].collected.summary["scores"]
    of_all = [name for name in SCORE_WORDS if name in known and not name.endswith("area")]
    return of_all + [name for name in known if name.startswith("dice_")]


def _by_difference(results: Sequence[ModelResult], compared: pd.DataFrame) -> list[dict[str, Any]]:
    """Differences of every score, each with its significance."""
    groups = []
    for score in _shown_scores(results):
        rows = compared[compared["score"] == score].to_dict("records")
        rows = [{**row, "significance": assess_difference(row, len(rows))} for row in rows]
        parts = ("difference", "low", "high")
        ends = [abs(row[part]) for row in rows for part in parts if pd.notna(row[part])]
        groups.append({"score": score, "rows": rows, "limit": max([*ends, 1e-9])})
    return groups


def _summary_sentences(
    results: Sequence[ModelResult],
    differences: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping],
) -> list[str]:
    """The page in a few sentences."""
    lines = []
    for result, row in zip(results[1:], differences[0]["rows"] if differences else ()):
        size, low, high = (signed(row[part], 3) for part in ("difference", "low", "high"))
        lines.append(
            f"Dice of {result.name} minus Dice of {results[0].name}: {size} (95 % confidence "
            f"interval {low} to {high}). {row['significance'].text}"
        )
    lines += [f"{result.name}: {sentences(result.collected)[1]}" for result in results]
    lowest = min(pairs, key=lambda pair: pair["mean"])
    lines.append(
        f"Agreement of {lowest['a'].name} and {lowest['b'].name}"
        f"{' (the lowest of all pairs)' if len(pairs) > 1 else ''}: mean Dice score between their "
        f"masks {lowest['mean']:.2f}, lowest {lowest['lowest']:.2f}."
    )
    return lines


def _side_by_side(results: Sequence[ModelResult], heading: str) -> dict[str, list[Any]]:
    """Facts that differ, a value for each model, "–" where it has none, and those that do not."""
    each = [dict(result.facts[heading]) for result in results]
    labels = list(dict.fromkeys(label for pairs in each for label in pairs))
    rows = [(label, [pairs.get(label, "–") for pairs in each]) for label in labels]
    return {
        "differing": [(label, values) for label, values in rows if len(set(values)) > 1],
        "same": [(label, values[0]) for label, values in rows if len(set(values)) == 1],
    }


def _same_weights(
    results: Sequence[ModelResult],
) -> list[list[ModelResult]]:
    """Models with the same weights."""
    by_weights: dict[str, list[ModelResult]] = {}
    for result in results:
        weights = dict(result.facts["network"])["SHA-256 of the weights"]
        by_weights.setdefault(weights, []).append(result)
    return [group for group in by_weights.values() if len(group) > 1]

"""What is done with a trained model: predict, evaluate, explain, report, compare, pack, export."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import pathlib
import shlex
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import keras

import kerasgan as kg
from kerasgan.cli.formats import Lazy, check_converted, check_segments, write_masks
from kerasgan.cli.loading import (
    Answer,
    classes_of,
    find_model,
    first_of,
    load_model,
    load_samples,
    named_out,
    number_of,
    options_for,
    options_of,
    read_card,
    warn_of_known_images,
)
from kerasgan.data.samples import Samples
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain.draw import layers_to_show
from kerasgan.inference.predict import mask_paths
from kerasgan.inference.stream import to_samples
from kerasgan.models.framing import framing_of
from kerasgan.report.output_folder import check_report_folder
from kerasgan.storage import is_new_or_empty, write_file

KEPT = ("recipe.json", "facts.json", "scores.csv", "scores.txt", "training.csv")
WINDOWS = ("size", "mode", "augment", "threshold", "preprocess")
VIEWS = (*WINDOWS, "overlap", "scale", "temperature")


def predict(
    images: str | os.PathLike,
    *,
    model: str | os.PathLike,
    out: str | os.PathLike,
    threshold: float | None = None,
    mode: str | None = None,
    augment: bool = False,
    overwrite: bool = False,
    format: str = "png",
    segments: Any = None,
) -> Answer:
    """Write the mask of each image, of the image's size, in a format."""
    if overwrite and format != "png":
        raise KerasganError(f"Argument '--overwrite' is for png. Received: --format {format}")
    check_converted(format, images)
    find_model(model)
    samples = to_samples(images)
    if format == "png":
        with named_out("folder"):
            mask_paths(samples, out, overwrite)
    loaded = load_model(model)
    segments = check_segments(format, segments, classes_of(loaded))
    options = options_of(loaded, (*VIEWS, "clean"))
    options.update(_given(threshold=threshold, mode=mode))
    if augment:
        options["augment"] = True
    predict_to = functools.partial(
        kg.inference.predict_to_folder,
        loaded,
        samples,
        overwrite=overwrite,
        verbose=True,
        **options,
    )
    if format == "png":
        with named_out("folder"):
            paths = predict_to(out)
    else:
        paths = write_masks(
            format, samples.names, predict_to, images, out, classes_of(loaded), segments
        )
    facts = {"folder": os.fspath(out), "masks": [os.fspath(path) for path in paths]}
    masks, files = number_of(len(samples), "mask"), number_of(len(paths), "file")
    files = "" if format in ("png", "overlay", "coco") else f" ({files})"
    return Answer(facts, f"{masks} written to {out}{files}")


def rank(
    images: str | os.PathLike,
    *,
    out: str | os.PathLike,
    models: Sequence[str | os.PathLike] | None = None,
    by: str = "disagreement",
    count: int | None = None,
    labelled: str | os.PathLike | None = None,
    seed: int = 0,
) -> Answer:
    """Write which images to label next; scores are kept beside until the list is written."""
    out = pathlib.Path(out)
    if out.exists():
        raise KerasganError(f"Argument '--out' names a file that exists: {out}")
    for path in models or ():
        find_model(path)
    if by != "random" and not models:
        raise KerasganError(f"Argument '--model' must be given for --by {by}")
    samples = to_samples(images)
    loaded = [load_model(path) for path in models or ()] if by != "random" else []
    options: dict[str, Any] = {"verbose": True} if loaded else {}
    if by in ("disagreement", "entropy") and len(loaded) == 1:
        options.update(options_of(loaded[0], ("size", "mode", "overlap", "scale", "preprocess")))
    part = out.with_name(f"{out.name}.part")
    with named_out("resume"):
        table = kg.inference.rank_images(
            loaded[0] if len(loaded) == 1 else loaded or None,
            samples,
            by=by,
            count=count,
            labelled=labelled,
            seed=seed,
            resume=part,
            **options,
        )
    with named_out("path"):
        kg.evaluation.save_table(table, out)
    part.unlink(missing_ok=True)
    alike = int((table["like"] != "").sum())
    text = f"{len(table)} of {len(samples)} images, by {by}, listed in {out}"
    if alike:
        text += f"; the last {alike} are almost like an image with a mask or before them"
    facts = {"file": os.fspath(out), "by": by, "images": len(samples), "listed": len(table)}
    return Answer({**facts, "alike": alike, "first": table["name"].head(10).tolist()}, text)


def evaluate(
    folders: Sequence[str | os.PathLike],
    *,
    model: str | os.PathLike,
    out: str | os.PathLike | None = None,
    names: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    colors: Any = None,
    scores: Sequence[str] | None = None,
    threshold: float | None = None,
    augment: bool = False,
) -> Answer:
    """Score masks against the true ones, on one or several folders; `names` are of the first."""
    if masks and len(folders) > 1:
        raise KerasganError("Argument '--masks' is for one FOLDER. Received: several")
    if out is not None and not is_new_or_empty(pathlib.Path(out)):
        raise KerasganError(f"Argument '--out' must be new or empty. Received: {out}")
    loaded = load_model(model)
    options = options_of(loaded, VIEWS)
    options.update(_given(threshold=threshold))
    if augment:
        options["augment"] = True
    datasets: dict[str, Samples] = {}
    for folder in folders:
        name = _new_name(folder, datasets, "folder")
        datasets[name] = load_samples(
            folder,
            masks=masks,
            colors=colors,
            names=None if datasets else names,
            classes=classes_of(loaded),
        )
        warn_of_known_images(model, folder, datasets[name])
    samples = datasets if len(datasets) > 1 else next(iter(datasets.values()))
    table = kg.evaluate(loaded, samples, scores=list(scores) if scores else None, **options)
    text, facts = kg.evaluation.summary_text(table), dict(table.attrs["summary"])
    if out is not None:
        folder = pathlib.Path(out)
        with named_out("path"):
            kg.evaluation.save_table(table, folder / "scores.csv")
        write_file(folder / "scores.txt", text + "\n")
        facts["folder"] = os.fspath(out)
    return Answer(facts, text.split("\n"))


def explain(
    images: str | os.PathLike,
    *,
    model: str | os.PathLike,
    out: str | os.PathLike,
    rule: str | None = None,
    target: str = "prediction",
    layers: Sequence[str] | None = None,
    limit: int | None = None,
    format: str = "png",
) -> Answer:
    """Write, for each image, what its mask rests on: a picture and arrays, or parametric maps."""
    folder = pathlib.Path(out)
    if format != "png" and layers:
        raise KerasganError(f"Argument '--layers' is for png. Received: --format {format}")
    check_converted(format, images)
    if not is_new_or_empty(folder):
        raise KerasganError(f"'{folder}' exists and is not empty: pass another folder")
    loaded = load_model(model)
    options = options_of(loaded, ("size", "mode", "preprocess"))
    options.pop("preprocess", None)  # which the network keeps itself
    options.setdefault("size", loaded.generator.input_shape[1:3])
    options["mode"] = framing_of([loaded.generator], options.get("mode")).mode
    rule = rule or kg.explain.methods.DEFAULT_RULE
    samples = dataclasses.replace(
        first_of(to_samples(images), limit), channels=loaded.generator.input_shape[-1]
    )
    windows = options["mode"] == WINDOW  # all of the whole image, whose layers have no one map
    if windows:
        if layers:
            raise KerasganError(
                "Argument '--layers' is for networks that see whole images, and this one sees "
                f"windows of them. Received: {layers}"
            )
        layers = []
        explain_one = kg.explain.MergedExplainer(loaded, rule, **options).explain
    else:
        shown = (
            layers_to_show(loaded.generator, options["size"]) if layers is None else list(layers)
        )
        layers = shown if format == "png" else []
        explain_one = functools.partial(kg.Explainer(loaded, rule=rule).explain, layers=layers)
    bar = keras.utils.Progbar(len(samples), unit_name="image")

    def explained(index: int) -> Any:
        one = samples[index : index + 1]
        image = one.image(0)[None] if windows else next(iter(one.batches(1, **options)))
        explanation = explain_one(image, target=target)
        bar.add(1)
        return explanation

    if format == "dicom-map":
        place_of = {name: index for index, name in enumerate(samples.names)}

        def relevance(name: str) -> Any:
            channels = explained(place_of[name]).relevance[0]
            if windows:
                return channels
            size = samples.image(place_of[name]).shape[:2]
            return kg.explain.to_original(channels, size, options["mode"]).relevance

        paths = kg.data.convert.to_dicom_map(
            Lazy(samples.names, relevance), images, out, description=f"{target} by {rule}"[:64]
        )
        written = [os.fspath(path) for path in paths]
    else:
        written = []
        for index, name in enumerate(samples.names):
            explanation = explained(index)
            path = folder / pathlib.Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with named_out("path"):
                explanation.plot(f"{path}.png", layers=layers)
                explanation.save(f"{path}.npz")
            written.append(f"{path}.png")
    facts = {"folder": str(folder), "rule": rule, "target": target, "pictures": written}
    explanations = number_of(len(samples), "explanation")
    return Answer(facts, f"{explanations} by {rule} written to {folder}")


def report(
    folder: str | os.PathLike,
    *,
    model: str | os.PathLike,
    out: str | os.PathLike,
    card: str | os.PathLike | None = None,
    shortcuts: bool = False,
    shown: int | None = None,
    **options: Any,
) -> Answer:
    """Write the report about a model."""
    stated = read_card(card)
    with named_out("folder"):
        check_report_folder(out, options.get("overwrite", False))
    loaded = load_model(model)
    samples = _samples_for_report(folder, loaded, options)
    warn_of_known_images(model, folder, samples)
    shortcut_table = kg.evaluation.shortcuts(loaded, samples) if shortcuts else None
    with named_out("folder"):
        page = kg.report.write(
            loaded,
            samples,
            out,
            images=24 if shown is None else shown,
            card=stated,
            shortcuts=shortcut_table,
            **_chosen(options_of(loaded, WINDOWS), options),
        )
    facts = {"page": os.fspath(page), "images": len(samples)}
    return Answer(facts, f"Report: {page}, to be opened in a browser")


def compare(
    folder: str | os.PathLike,
    *,
    models: Sequence[str],
    out: str | os.PathLike,
    shown: int | None = None,
    option: str = "--model",
    **options: Any,
) -> Answer:
    """Write the report about several models on the same images; each is a path or NAME=PATH."""
    with named_out("folder"):
        check_report_folder(out, options.get("overwrite", False))
    loaded: dict[str, Any] = {}
    paths: list[str] = []
    for named in models:
        name, _, path = ("", "", named) if pathlib.Path(named).exists() else named.rpartition("=")
        name = name or _new_name(path, loaded, f"{option} NAME=PATH")
        if name in loaded:
            raise KerasganError(
                f"Argument '{option}' must name every model once: {name!r} is twice"
            )
        loaded[name] = load_model(path)
        paths.append(path)
    if len(loaded) < 2:
        raise KerasganError(f"Pass {option} two or more times to compare")
    samples = _samples_for_report(folder, next(iter(loaded.values())), options)
    for path in paths:
        warn_of_known_images(path, folder, samples)
    by_model = {name: options_of(model, WINDOWS) for name, model in loaded.items()}
    stated = {
        option: {name: of[option] for name, of in by_model.items() if option in of}
        for option in WINDOWS
    }
    with named_out("folder"):
        page = kg.report.compare(
            loaded,
            samples,
            out,
            images=12 if shown is None else shown,
            **_chosen({name: of for name, of in stated.items() if of}, options),
        )
    facts = {"page": os.fspath(page), "images": len(samples), "models": list(loaded)}
    return Answer(facts, f"Comparison: {page}, to be opened in a browser")


def _new_name(path: str | os.PathLike, taken: Any, option: str) -> str:
    name = pathlib.Path(path).resolve().name
    if name in taken:
        raise KerasganError(
            f"Two of the paths end in {name!r}, which would be the name of both: pass one "
            f"{option} each"
        )
    return name


def _samples_for_report(folder: Any, model: Any, options: dict[str, Any]) -> Samples:
    """Take what says which images are meant out of the options, and load these."""
    known = ("masks", "no_masks", "colors", "names", "limit")
    chosen = {name: options.pop(name) for name in known if name in options}
    return load_samples(folder, classes=classes_of(model), **chosen)


def _chosen(stated: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a report: what the user says, else what a bundle does, else the default."""
    return {**stated, **_given(**options)}


def _given(**options: Any) -> dict[str, Any]:
    """The options that the user gave: neither left out nor a switch that is off."""
    return {k: v for k, v in options.items() if v is not None and v is not False}


def bundle(
    run: str | os.PathLike,
    *,
    out: str | os.PathLike,
    card: str | os.PathLike | None = None,
    licence: str | None = None,
    limit: float = 20,
) -> Answer:
    """Pack the model of a finished run into one file."""
    out = pathlib.Path(out)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", KerasganWarning)
        digest, size = pack(run, out, card=read_card(card), licence=licence, limit=limit)
    notes = [str(warning.message) for warning in seen]
    facts = {"bundle": os.fspath(out), "megabytes": size, "sha256": digest, "notes": notes}
    lines = [*(f"Note: {note}" for note in notes), f"{out}: {size:.1f} MB, SHA-256 {digest}"]
    return Answer(facts, lines)


def pack(
    run: str | os.PathLike,
    out: pathlib.Path,
    *,
    card: dict[str, Any] | None = None,
    licence: str | None = None,
    limit: float | None = None,
) -> tuple[str, float]:
    """Write the bundle of a run; return its SHA-256 and its size in MB (10^6 bytes)."""
    if out.exists():
        raise KerasganError(f"Argument '--out' names a file that exists: {out}")
    card = dict(card or {})
    stated = card.pop("licence", None)
    if licence is not None and stated not in (None, licence):
        raise KerasganError(
            f"Argument '--licence' must be that of the card, {stated!r}, or the card must have "
            f"none. Received: {licence!r}"
        )
    licence = stated if licence is None else licence
    gan = load_model(run)
    with tempfile.TemporaryDirectory() as temporary:
        part = pathlib.Path(temporary) / out.name
        digest = kg.inference.save_bundle(
            gan,
            part,
            card=card,
            licence=licence,
            attachments=[path for name in KEPT if (path := pathlib.Path(run) / name).is_file()],
        )
        size = part.stat().st_size / 1e6
        if limit is not None and size > limit:
            raise KerasganError(
                f"The bundle would take {size:.1f} MB, above --limit {limit:g}; train with fewer "
                "filters, or raise the limit"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, part.read_bytes())
    return digest, size


def export(
    model: str | os.PathLike,
    *,
    out: str | os.PathLike,
    explain: str | None = None,
) -> Answer:
    """Write a network for where there is no kerasgan: ONNX if the path ends so, else SavedModel."""
    loaded = load_model(model)
    if explain is not None:
        path = kg.explain.export_explainer(kg.Explainer(loaded, rule=explain), out)
        return Answer({"path": os.fspath(path), "rule": explain}, f"Explainer written to {path}")
    options = options_of(loaded, ("size", "temperature", "preprocess", "mode"))
    if pathlib.Path(out).suffix == ".onnx":
        options.pop("mode", None)
        path = kg.inference.export_onnx(loaded, out, **options)
    else:
        path = kg.inference.export_predictor(loaded, out, **options)
    return Answer({"path": os.fspath(path)}, f"Network written to {path}")


def convert(
    format: str, source: str | os.PathLike, *, out: str | os.PathLike, **options: Any
) -> Answer:
    """Turn medical files into a folder of pictures, which every other subcommand takes."""
    function = getattr(kg.data.convert, f"from_{format}")
    given = {name: value for name, value in options.items() if value is not None}
    parameters = inspect.signature(function).parameters
    for name in given:
        if name not in parameters:
            raise KerasganError(f"Argument '--{name}' is not for {format}")
    missing = [
        f"--{name}"
        for name, one in parameters.items()
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty and name not in given
    ]
    if format == "video" and not {"every", "times"} & set(given):
        missing.append("--every or --times")
    if missing:
        raise KerasganError(f"{format} needs {' and '.join(missing)}")
    if format == "coco":
        images = given.pop("images", None)
        if images is None:
            raise KerasganError("coco needs --images, the folder that its file names start from")
        table = function(source, images, out, **given)
    else:
        table = function(source, out, **given)
    facts = {"folder": os.fspath(out), "pictures": len(table)}
    classes = given.get("classes", 1)
    if len(given.get("categories", ())) > 1:
        classes = len(given["categories"]) + 1
    look = shlex.join(["kerasgan", "check", *options_for(out, classes=classes)])
    if not (pathlib.Path(out) / "masks").is_dir():
        look += " --no-masks"
    pictures = number_of(len(table), "picture")
    return Answer(facts, f"{pictures} written to {out}; look at them: {look}")

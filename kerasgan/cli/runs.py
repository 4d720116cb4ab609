"""A training run: its options, its recipe, the training, and what is written into its folder."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import kerasgan as kg
from kerasgan._version import __version__
from kerasgan.cli.doctor import machine
from kerasgan.cli.loading import (
    FEWEST_TO_TRAIN,
    RUN,
    Answer,
    load_samples,
    number_of,
    options_for,
    read_json,
)
from kerasgan.cli.tasks import pack
from kerasgan.data.alike import same_images
from kerasgan.data.samples import Samples, load_folder
from kerasgan.errors import KerasganError, KerasganWarning, unknown_name, warn
from kerasgan.explain.draw import layers_to_show
from kerasgan.storage import is_new_or_empty, write_file
from kerasgan.text import json_text
from kerasgan.validation import check_choice

DATA = ("folder", "masks", "classes", "colors", "test_names", "unlabelled")

DESCRIBED = ("kerasgan", "data", "recipe", "rule")


def train_folder(**options: Any) -> Answer:
    """Train on a folder, score and explain the part kept for it, and pack the model.

    A run is described by `run.json` in its folder, which `--config` takes for another run, and
    `--resume` for the same one.
    """
    args = argparse.Namespace(**options)
    described = pathlib.Path(args.out) / RUN
    given = args.config or (described if args.resume and described.is_file() else None)
    config = _read_description(given) if given else {"data": {}, "recipe": {}}
    data = {**dict.fromkeys(DATA), "classes": 1, **config["data"]}
    asked = {name: getattr(args, name) for name in DATA}
    if asked["folder"] is not None:
        data.update(folder=None, masks=None, test_names=None)
    data.update({name: value for name, value in asked.items() if value is not None})
    if data["folder"] is None:
        raise KerasganError(
            "Name the FOLDER with the images and masks, or a run that does with --config"
        )
    what = {name: data[name] for name in ("masks", "classes", "colors")}
    samples = load_samples(data["folder"], **what)
    if len(samples) < FEWEST_TO_TRAIN:
        raise KerasganError(
            f"Argument 'folder' must hold at least {FEWEST_TO_TRAIN} images with masks: to train, "
            "to choose the epoch, and to report on. "
            f"Received: {data['folder']}, with {len(samples)}"
        )
    recipe = recipe_from(args, samples, config["recipe"])
    rule = args.rule or config.get("rule") or kg.explain.methods.DEFAULT_RULE
    kg.explain.methods.get(rule)
    rest, test = rest_and_test(samples, data["folder"], data["test_names"])
    warn_of_copies(rest, test)
    recipe, frames = with_unlabelled(recipe, data["unlabelled"], test)
    places = {
        name: None if data[name] is None else os.path.abspath(data[name])
        for name in ("folder", "masks", "unlabelled")
    }
    described_now = {
        "kerasgan": __version__,
        "data": {**data, **places, "test_names": list(test.names)},
        "recipe": dataclasses.asdict(recipe),
        "rule": rule,
    }
    folder = results_folder(args.out, args.resume, "--out")
    command = command_line("kerasgan", *args.words)
    facts = experiment(recipe, folder, rest, test, 0.1, rule, command, frames, described_now)
    bundle = folder / "bundle.zip"
    bundle.unlink(missing_ok=True)
    facts.update(run=str(folder), bundle=str(bundle))
    with warnings.catch_warnings():  # nobody has been asked for a card
        warnings.filterwarnings("ignore", "The card of ", KerasganWarning)
        facts["bundle_sha256"], _ = pack(folder, bundle)
    scores = facts["scores"]["scores"]
    means = ", ".join(f"{name} {scores[name]['mean']:.3f}" for name in ("dice", "jaccard"))
    text = f"Mean {means} on {number_of(len(test), 'image')} kept out of training"
    same_data = options_for(data["folder"], data["masks"], colors=data["colors"])
    names = ["--names", str(folder / "names.txt")]
    report = ["kerasgan", "report", *same_data, "--model", str(folder), *names, "--out", "REPORT"]
    lines = [
        f"{text}. Everything is in {folder}{os.sep}",
        f"Look at {folder / 'masks.png'} and {folder / 'explanation.png'}. Next:",
        f"  {shlex.join(report)}",
        f"  {shlex.join(['kerasgan', 'predict', 'IMAGES', '--model', str(folder)])} --out MASKS",
    ]
    return Answer(facts, lines)


def _read_description(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `train` wrote of a run, or somebody by hand; parts of it may be left out."""
    config = read_json("config", path)
    config = {"data": {}, "recipe": {}, **config}
    for part, known in (("", DESCRIBED), ("data", DATA)):
        fields = config[part] if part else config
        if not isinstance(fields, dict) or not isinstance(config["recipe"], dict):
            raise KerasganError(f"'{path}': 'data' and 'recipe' must be JSON objects")
        for name in fields:
            if name not in known:
                raise unknown_name(f"{path}", name, known)
    for name in ("folder", "masks", "unlabelled"):
        if not isinstance(config["data"].get(name), (str, type(None))):
            raise KerasganError(f"'{path}': '{name}' must be the path of a folder")
    return config


def command_line(*words: str) -> str:
    """Return a command line from scratch, folders elsewhere cut down to their last name."""
    named = (pathlib.Path(x).name if os.path.isabs(x) or ".." in x else x for x in words)
    return " ".join(word for word in named if word != "--resume")


def recipe_from(
    args: argparse.Namespace, samples: Samples | None = None, described: dict | None = None
) -> Any:
    """Return the recipe that options describe, or change; channels and classes are the samples'."""
    names = ("size", "filters", "epochs", "batch_size", "seed", "learning_rate", "precision")
    names += ("l1", "cross_entropy", "dice", "adversarial_weight")
    changes = {"channels": samples.channels, "classes": samples.classes} if samples else {}
    changes.update((name, getattr(args, name)) for name in names)
    changes = {name: value for name, value in changes.items() if value is not None}
    changes.update(settings_from(args.set))
    if args.recipe:
        check_choice("--recipe", args.recipe, kg.recipes.names())
    described = {} if args.recipe else dict(described or {})
    name = args.recipe or described.pop("name", "fast")
    return kg.recipes.get(name, **{**described, **changes})


def settings_from(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings that FIELD=VALUE name, values as JSON or else as text."""
    settings: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise KerasganError(f"Argument '--set' must be FIELD=VALUE. Received: {word!r}")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def rest_and_test(samples: Samples, data: str | os.PathLike, names: Any = None) -> tuple:
    """Return what may be learned from, and what is reported on.

    The latter are the images that `names` names, a file or a list, or splits/val.txt in the data,
    or a tenth drawn at random.
    """
    official = pathlib.Path(data) / "splits" / "val.txt"
    if names or official.is_file():
        return samples.split_by_names(names or official)
    return samples.split(0.1, seed=0)


def warn_of_copies(rest: Samples, test: Samples) -> None:
    """Warn of images that are reported on and, under another name, learned from."""
    same = same_images(test.image_paths, rest.image_paths)
    if same:
        first, other = next(iter(same.items()))
        warn(
            f"{len(same)} of the {len(test)} images that are reported on show the same as images "
            f"that are learned from, such as {test.names[first]} and {rest.names[other]}: scores "
            "on them are likely too high. Keep copies on one side, with --test-names"
        )


def with_unlabelled(recipe: Any, folder: str | os.PathLike | None, test: Samples) -> tuple:
    """Return a recipe that learns from the images in a folder too, and these; None for no folder.

    Where the recipe has no `unlabelled_losses`, it gets those of the recipe `few-labels`. Images
    that are reported on must not be among them, whatever their names, formats and sizes.
    """
    if folder is None:
        if recipe.unlabelled_losses:
            raise KerasganError(
                f"The recipe has unlabelled_losses ({', '.join(recipe.unlabelled_losses)}), which "
                "need images without masks: pass their folder as --unlabelled"
            )
        return recipe, None
    if not recipe.unlabelled_losses:
        known = kg.recipes.get("few-labels")
        recipe = dataclasses.replace(
            recipe,
            unlabelled_losses=dict(known.unlabelled_losses),
            unlabelled_rampup=recipe.unlabelled_rampup or known.unlabelled_rampup,
        )
        print(
            f"The recipe has no unlabelled_losses; used are {recipe.unlabelled_losses}, rising "
            f"over {recipe.unlabelled_rampup} steps, as in the recipe 'few-labels'"
        )
    frames = load_folder(folder, masks=None, channels=recipe.channels)
    if len(frames) < recipe.batch_size:
        raise KerasganError(
            f"Argument '--unlabelled': '{folder}' holds {len(frames)} images, fewer than a batch "
            f"of {recipe.batch_size}. Add images, or lower --batch-size"
        )
    same = same_images(frames.image_paths, test.image_paths)
    if same:
        first, other = next(iter(same.items()))
        raise KerasganError(
            f"Argument '--unlabelled': {len(same)} of its images are among those that are reported "
            f"on, such as {frames.image_paths[first]}, which shows the same as "
            f"{test.image_paths[other]}: scores on them would be too high. Take them out of the "
            "folder"
        )
    return recipe, frames


def without(frames: Samples, validation: Samples) -> Samples:
    """Return the unlabelled images that no choice is made on, with a warning of the others."""
    same = same_images(frames.image_paths, validation.image_paths)
    if not same:
        return frames
    warn(
        f"{len(same)} of the unlabelled images are among those that the epoch is chosen on, such "
        f"as {frames.image_paths[next(iter(same))]}; they are left out"
    )
    return frames[[index for index in range(len(frames)) if index not in same]]


def results_folder(
    path: str | os.PathLike, resume: bool, option: str = "--results"
) -> pathlib.Path:
    """Return the folder to write to; an old one is only used to go on with its run."""
    folder = pathlib.Path(path)
    if not is_new_or_empty(folder) and not resume:
        raise KerasganError(
            f"'{folder}' exists. Pass --resume to go on with its run, or another {option}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise KerasganError(f"Results cannot be written to '{folder}': {error}") from error
    return folder


class Seconds(keras.callbacks.Callback):
    """Add the seconds that an epoch took, validation included, to its log.

    When training begins, texts are written to `files`: not before it is known that a run which
    goes on is the one that they describe.
    """

    def __init__(self, files: dict[pathlib.Path, str]):
        super().__init__()
        self.files = files

    def on_train_begin(self, logs=None):
        """Write the files."""
        for path, text in self.files.items():
            write_file(path, text)

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.start = time.time()

    def on_epoch_end(self, epoch, logs):
        """Log the seconds."""
        logs["seconds"] = time.time() - self.start


def train(
    recipe: Any,
    training: Samples,
    validation: Samples,
    folder: pathlib.Path,
    gan: kg.SegmentationGAN | None = None,
    callbacks: Sequence[Any] = (),
    unlabelled: Samples | None = None,
    described: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[kg.SegmentationGAN, dict[str, Any]]:
    """Train; return the model of the epoch with the best validation Dice, and facts of the run.

    `gan` may be another than the recipe's, and `options` of `fit` others than the recipe's.
    `unlabelled` are images for the recipe's `unlabelled_losses`. `described` goes to `run.json`.
    """
    options = {"epochs": recipe.epochs, "verbose": 1 if sys.stdout.isatty() else 2, **options}
    gan = gan or recipe.build()  # before images are read: settings may not go together
    shown = {"size": recipe.size, "seed": recipe.seed, **framing(dataclasses.asdict(recipe))}
    batches = training.batches(
        recipe.batch_size, augment=recipe.augmentation(), shuffle=True, **shown
    )
    if unlabelled is not None:
        frames = dataclasses.replace(unlabelled, channels=recipe.channels)
        free = {name: value for name, value in shown.items() if name != "foreground"}
        options["unlabelled"] = frames.batches(
            recipe.batch_size, augment=recipe.augmentation(), shuffle=True, **free
        )
    checked = validation.batches(min(recipe.batch_size, len(validation)), **shown)
    texts = {"recipe.json": dataclasses.asdict(recipe), RUN: described}
    best = folder / "model"
    callbacks = [
        Seconds(
            {
                folder / name: json.dumps(content, indent=2) + "\n"
                for name, content in texts.items()
                if content is not None
            }
        ),
        *callbacks,
        kg.training.SaveBest(best, monitor="val_dice"),
        keras.callbacks.CSVLogger(folder / "training.csv", append=True),
    ]
    history = gan.fit(
        batches,
        validation_data=checked,
        callbacks=callbacks,
        resume=folder / "state",
        **options,
    )
    minutes = sum(history.history["seconds"]) / 60
    print(f"Trained {len(history.epoch)} epochs in {minutes:.1f} minutes")
    kg.report.training_figure(history, folder / "training.png")
    gan = kg.SegmentationGAN.load(best)
    dice = history.history["val_dice"]
    print(f"Best validation Dice {max(dice):.3f} in epoch {int(np.argmax(dice)) + 1}: {best}")
    extra = {} if unlabelled is None else {"unlabelled": len(unlabelled)}
    facts = {
        "recipe": dataclasses.asdict(recipe),
        "images": {"training": len(training), "validation": len(validation), **extra},
        "epochs": len(history.epoch),
        "best_epoch": int(np.argmax(dice)) + 1,
        "validation_dice": max(dice),
        "training_minutes": minutes,
        "peak_memory_gib": _peak_memory(),
    }
    return gan, facts


def framing(settings: dict[str, Any]) -> dict[str, Any]:
    """Return how the settings of a recipe bring images to the network, for `samples.batches`."""
    return {name: settings[name] for name in ("mode", "scale", "foreground") if name in settings}


def _peak_memory() -> float | None:
    """The most memory that this process has used, in GiB; None on Windows, which does not say."""
    with contextlib.suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return None


def report(
    gan: kg.SegmentationGAN,
    facts: dict[str, Any],
    training: Samples,
    samples: Samples,
    folder: pathlib.Path,
    rule: str,
    command: str,
    shown: int = 6,
) -> dict[str, Any]:
    """Score the reported part once, and draw masks and explanations of some of its images.

    Beside the network stands the best threshold on colour, found on the training images. Returns
    what `facts.json` holds.
    """
    table = kg.evaluate(gan, samples)
    augmented = kg.evaluate(gan, samples, augment=True)
    tables = {"scores": table, "augmented": augmented}
    color = None
    if samples.classes == 1:
        # A threshold on colour reads grey as colour.
        known, unknown = (dataclasses.replace(part, channels=3) for part in (training, samples))
        color = kg.evaluation.fit_color_threshold(known, size=facts["recipe"]["size"])
        guesses = (color(unknown.image(i)) for i in range(len(samples)))
        tables["control"] = kg.evaluation.evaluate_masks(samples, guesses)
        facts["control_feature"] = color.feature
    facts["images"]["reported"] = len(samples)
    facts.update({name: scored.attrs["summary"] for name, scored in tables.items()})
    facts = {"command": command, **facts, "rule": rule, **machine()}
    write_file(folder / "facts.json", json_text(facts) + "\n")
    for name, scored in tables.items():
        file = "scores.csv" if name == "scores" else f"scores_{name}.csv"
        kg.evaluation.save_table(scored, folder / file, overwrite=True)
    write_file(folder / "names.txt", "\n".join(samples.names) + "\n")
    text = kg.evaluation.summary_text(table)
    write_file(folder / "scores.txt", text + "\n")
    print(f"\nScores on {number_of(len(samples), 'image')} kept out of training:\n{text}\n")
    means = {name: scored["jaccard"].mean() for name, scored in tables.items()}
    print(f"Mean Jaccard of the network: {means['scores']:.2f}")
    print(f"The same with test-time augmentation: {means['augmented']:.2f}")
    if color is not None:
        print(
            f"Baseline, the best colour threshold found on the training images ({color.feature}): "
            f"{means['control']:.2f}"
        )

    drawn = samples[np.linspace(0, len(samples) - 1, min(shown, len(samples))).astype(int)]
    images = [drawn.image(i) for i in range(len(drawn))]
    truths = [drawn.mask(i) for i in range(len(drawn))]
    masks = kg.predict(gan, drawn)
    kg.report.mask_figure(images, truths, masks, drawn.names, folder / "masks.png")
    kg.report.score_figure(table, folder / "scores.png")

    size, how = gan.generator.input_shape[1:3], framing(facts["recipe"])
    batch = next(iter(drawn.batches(len(drawn), size, **how)))[0]
    explainer = kg.Explainer(gan.generator, rule=rule)
    layers = layers_to_show(gan.generator, size)
    explanation = explainer.explain(batch, target="prediction", layers=layers)
    explanation.save(folder / "explanation.npz")
    explanation.plot(folder / "explanation.png", names=drawn.names)
    return facts


def experiment(
    recipe: Any,
    folder: pathlib.Path,
    rest: Samples,
    test: Samples,
    fraction: float,
    rule: str,
    command: str,
    unlabelled: Samples | None = None,
    described: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Split off a validation part, train and report; return the facts of the run."""
    rest, test = (dataclasses.replace(part, channels=recipe.channels) for part in (rest, test))
    training, validation = rest.split(fraction, seed=0)
    print(f"{len(training)} images to train, {len(validation)} to choose, {len(test)} to report")
    if unlabelled is not None:
        unlabelled = without(unlabelled, validation)
        print(f"{len(unlabelled)} images without masks beside them")
    more = {"unlabelled": unlabelled, "described": described}
    gan, facts = train(recipe, training, validation, folder, **more)
    return report(gan, facts, training, test, folder, rule, command)

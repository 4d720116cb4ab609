"""What the training scripts share: arguments, the run itself, and what is written at its end."""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import resource
import sys
import time

import kerasgan as kg

# isort: split
# Not above kerasgan, which holds back what TensorFlow writes when it starts.
import keras
import numpy as np
import tensorflow as tf

MAXRSS = 1 if sys.platform == "darwin" else 1024


def arguments(description, results, data=True):
    """Return the parser with the arguments that every training script takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if data:
        parser.add_argument("--data", required=True, help="folder with images/ and masks/")
    add = parser.add_argument
    add("--results", default=results, help="folder for everything that is written")
    add("--resume", action="store_true", help="go on with the run in the results folder")
    add("--recipe", default="fast", choices=kg.recipes.names(), help="networks and losses")
    add("--size", type=int, help="height and width in pixels; the recipe's if left out")
    add("--filters", type=int, help="width of the generator; the recipe's if left out")
    add("--epochs", type=int, help="passes over the training images; the recipe's if left out")
    add("--batch-size", type=int, help="images a step; the recipe's if left out")
    add("--learning-rate", type=float, help="Adam's; the recipe's if left out")
    add("--precision", help="float32, bfloat16 (where the processor has it) or float16 (GPUs)")
    weight = "weight of that loss; the recipe's if left out"
    add("--l1", type=float, help=weight)
    add("--cross-entropy", type=float, help=weight)
    add("--dice", type=float, help=weight)
    add("--adversarial-weight", type=float, help="0 trains without the discriminator")
    rules = ", ".join(kg.explain.rule_names())
    add("--rule", default=kg.explain.methods.DEFAULT_RULE, help=f"for explaining: {rules}")
    add("--seed", type=int, default=0, help="of start values, order, augmentation and dropout")
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any other field of the recipe, as often as wanted: --set adversarial=hinge",
    )
    return parser


def recipe_from(args, samples=None):
    """Return the recipe that the command line describes, grey or in colour as the samples are."""
    names = ("size", "filters", "epochs", "batch_size", "seed", "learning_rate", "precision")
    names += ("l1", "cross_entropy", "dice", "adversarial_weight")
    changes = {} if samples is None else {"channels": samples.channels}
    changes.update((name, getattr(args, name)) for name in names)
    changes = {name: value for name, value in changes.items() if value is not None}
    return kg.recipes.get(args.recipe, **{**changes, **settings_from(args.set)})


def settings_from(words):
    """Return the settings that FIELD=VALUE name, values as JSON or else as text."""
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise kg.KerasganError(f"Argument '--set' must be FIELD=VALUE. Received: {word!r}")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def rest_and_test(samples, data, names=None):
    """Return what may be learned from, and what is reported on.

    The latter are the images that the file `names` names, or splits/val.txt in the data, or a
    tenth drawn at random.
    """
    official = pathlib.Path(data) / "splits" / "val.txt"
    if names or official.is_file():
        return samples.split_by_names(names or official)
    return samples.split(0.1, seed=0)


def results_folder(path, resume):
    """Return the folder to write to; an old one is only used to go on with its run."""
    folder = pathlib.Path(path)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())) and not resume:
        raise kg.KerasganError(
            f"'{folder}' exists. Pass --resume to go on with its run, or another --results"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise kg.KerasganError(f"Results cannot be written to '{folder}': {error}") from error
    return folder


class Seconds(keras.callbacks.Callback):
    """Add the seconds that an epoch took, validation included, to its log."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.time()

    def on_epoch_end(self, epoch, logs):
        logs["seconds"] = time.time() - self.start


def train(recipe, training, validation, folder, gan=None, callbacks=(), **options):
    """Train; return the model of the epoch with the best validation Dice, and facts of the run.

    `gan` may be another than the recipe's, and `options` of `fit` others than the recipe's.
    """
    options = {"epochs": recipe.epochs, "verbose": 1 if sys.stdout.isatty() else 2, **options}
    shown = {"size": recipe.size, "seed": recipe.seed}
    batches = training.batches(
        recipe.batch_size, augment=recipe.augmentation(), shuffle=True, **shown
    )
    checked = validation.batches(min(recipe.batch_size, len(validation)), **shown)
    recipe.save(folder / "recipe.json")
    best = folder / "model"
    gan = gan or recipe.build()
    callbacks = [
        Seconds(),
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
    facts = {
        "recipe": dataclasses.asdict(recipe),
        "images": {"training": len(training), "validation": len(validation)},
        "epochs": len(history.epoch),
        "best_epoch": int(np.argmax(dice)) + 1,
        "validation_dice": max(dice),
        "training_minutes": minutes,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS / 2**30,
    }
    return gan, facts


def machine():
    """Return what the numbers of a run depend on besides its settings."""
    model = platform.processor()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    gpus = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return {
        "processor": f"{model}, {cores()} cores",
        "gpus": [details.get("device_name", "unknown") for details in gpus],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def cores():
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def command():
    """Return the command line from scratch, folders elsewhere cut down to their last name."""
    words = [pathlib.Path(x).name if os.path.isabs(x) or ".." in x else x for x in sys.argv[1:]]
    words = [word for word in words if word != "--resume"]
    return " ".join(["python", "/".join(pathlib.Path(sys.argv[0]).absolute().parts[-2:]), *words])


def report(gan, facts, training, samples, folder, rule, shown=6):
    """Score the reported part once, and draw masks and explanations of some of its images.

    Beside the network stands the best threshold on colour, found on the training images.
    """
    table = kg.evaluate(gan, samples)
    augmented = kg.evaluate(gan, samples, augment=True)
    # A threshold on colour reads grey as colour.
    known, unknown = (dataclasses.replace(part, channels=3) for part in (training, samples))
    color = kg.evaluation.fit_color_threshold(known, size=facts["recipe"]["size"])
    guesses = (color(unknown.image(i)) for i in range(len(samples)))
    control = kg.evaluation.evaluate_masks(samples, guesses)
    facts["images"]["reported"] = len(samples)
    tables = {"scores": table, "augmented": augmented, "control": control}
    facts.update({name: scored.attrs["summary"] for name, scored in tables.items()})
    facts.update(control_feature=color.feature, rule=rule)
    facts = {"command": command(), **facts, **machine()}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name, scored in tables.items():
        file = "scores.csv" if name == "scores" else f"scores_{name}.csv"
        kg.evaluation.save_table(scored, folder / file, overwrite=True)
    (folder / "names.txt").write_text("\n".join(samples.names) + "\n", encoding="utf-8")
    text = kg.evaluation.summary_text(table)
    (folder / "scores.txt").write_text(text + "\n", encoding="utf-8")
    print(f"\nScores on {len(samples)} images that took no part in any choice:\n{text}\n")
    print(
        f"Mean Jaccard {table['jaccard'].mean():.2f}; with test-time augmentation "
        f"{augmented['jaccard'].mean():.2f}; of the best colour threshold on the "
        f"training images ({color.feature}): {control['jaccard'].mean():.2f}"
    )

    drawn = samples[np.linspace(0, len(samples) - 1, min(shown, len(samples))).astype(int)]
    images = [drawn.image(i) for i in range(len(drawn))]
    truths = [drawn.mask(i) for i in range(len(drawn))]
    masks = kg.predict(gan, drawn)
    kg.report.mask_figure(images, truths, masks, drawn.names, folder / "masks.png")
    kg.report.score_figure(table, folder / "scores.png")

    batch = next(iter(drawn.batches(len(drawn), size=gan.generator.input_shape[1:3])))[0]
    explainer = kg.Explainer(gan.generator, rule=rule)
    explanation = explainer.explain(batch, target="prediction", layers=layers_to_show(gan))
    explanation.save(folder / "explanation.npz")
    explanation.plot(folder / "explanation.png")


def experiment(args, recipe, folder, rest, test, fraction):
    """Split off a validation part, train, report; return the folder."""
    rest, test = (dataclasses.replace(part, channels=recipe.channels) for part in (rest, test))
    training, validation = rest.split(fraction, seed=0)
    print(f"{len(training)} images to train, {len(validation)} to choose, {len(test)} to report")
    gan, facts = train(recipe, training, validation, folder)
    report(gan, facts, training, test, folder, args.rule)
    return folder


def drawn(folder, what, write):
    """Load what an earlier run drew into the results folder, or draw it now."""
    place = folder / "data"
    if place.exists():
        return kg.data.load_folder(place)
    print(f"Drawing {what} into {place}")
    return write(place)


def layers_to_show(gan):
    """Return three stages of the generator's way down, at 1/4 to 1/16 of the size or so."""
    names = [layer.name for layer in gan.generator.layers]
    blocks = {name[:6]: name for name in names if re.match(r"block[235].*_(add|project_bn)$", name)}
    places = [f"down_{level}" for level in (2, 3, 4)]
    places = [place for place in places if any(name.startswith(f"{place}_") for name in names)]
    return places or list(blocks.values())


def run(main):
    """Run a script: errors in one line, and a word on how to go on after Ctrl-C."""
    start = time.time()
    try:
        folder = main()
    except kg.KerasganError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command with --resume goes on where it stopped.")
    since = " since it was resumed" if "--resume" in sys.argv else ""
    print(f"Done in {(time.time() - start) / 60:.1f} minutes{since}. Everything is in {folder}/")

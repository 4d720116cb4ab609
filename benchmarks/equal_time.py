"""Train a recipe's network and DUCK-Net for the same time, and score both on the same images.

Example:
    python benchmarks/equal_time.py --data kvasir-seg --recipe strong --set precision=bfloat16 \
        --seeds 0 1 2 --write

Both get the same images, size, batches, augmentation, segmentation losses, optimizer, averaging of
weights and precision: those of the recipe. The recipe's discriminator and the weights that its
encoder starts from are its own; DUCK-Net has neither. The learning rate of each side is chosen from
the same list: each rate is trained for --trial seconds with the first seed, and the best Dice on
the validation part, a tenth of the images that are not reported on, decides. Then each side is
trained for --budget seconds with each seed; the validation part chooses the epoch, and the images
that are reported on are scored once, at their own size.

What counts as time are the steps of training and validation, with the preparation of their images.
Tracing, in the first step of each kind, and saving do not count. A cosine schedule follows the time
instead of the steps, so that it ends when the time is spent, however fast the machine is. A run
stops behind the step that spends the last of it; the validation of this last epoch comes on top.

Runs are made one after the other, each in a process of its own. They are kept in --results, by
default results/equal_time/RECIPE: a stopped run goes on. There are curves.csv and curves.png
(validation Dice by seconds), runs.csv and table.md. With --write the table goes between the marks
of docs/results.md.
"""

import argparse
import dataclasses
import os
import pathlib
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pandas as pd
import tensorflow as tf
from kept_runs import add_data_options, check_settings, facts_of, run_script
from matplotlib.figure import Figure
from pages import put_titled
from results import ROOT, copy_smaller, interval, slug
from rival import FILTERS, duck_net

import kerasgan as kg
from kerasgan.cli import doctor, runs
from kerasgan.storage import write_file
from kerasgan.training.guards import cosine_factor

sys.path.insert(0, str(ROOT / "examples"))
import common

RIVAL = f"DUCK-Net, {FILTERS} filters"
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
ENDLESS = 10**6  # epochs; the time ends a run


# --------------------------------------------------------------------------- one run


class Budget(keras.callbacks.Callback):
    """Stop a run when its seconds are spent, and let its learning rates end there."""

    def __init__(self, seconds, recipe, title):
        super().__init__()
        self.seconds, self.recipe, self.title = seconds, recipe, title
        self.spent, self.steps = 0.0, 0
        self._traced = set()

    def on_epoch_begin(self, epoch, logs=None):
        self._told = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        if self.recipe.schedule == "cosine":
            share = cosine_factor(min(1.0, self.spent / self.seconds), self.recipe.warmup)
            rates = self.recipe.learning_rate, self.recipe.discriminator_learning_rate
            self.model.optimizer.learning_rate = rates[0] * share
            if self.model.discriminator_optimizer is not None:
                rate = rates[0] if rates[1] is None else rates[1]
                self.model.discriminator_optimizer.learning_rate = rate * share
        self.on_test_batch_begin(batch)

    def on_test_batch_begin(self, batch, logs=None):
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._count("training")
        self.steps += 1
        if time.monotonic() - self._told > 60:
            self._tell(f"{self.steps} steps")

    def on_test_batch_end(self, batch, logs=None):
        self._count("validation")

    def on_epoch_end(self, epoch, logs):
        logs.update(spent=self.spent, steps=self.steps)
        self._tell(f"epoch {epoch + 1}, validation Dice {logs['val_dice']:.3f}")

    def _count(self, kind):
        if kind in self._traced:
            self.spent += time.perf_counter() - self._began
        self._traced.add(kind)
        if self.spent >= self.seconds:
            self.model.stop_training = True

    def _tell(self, what):
        print(f"{self.title}: {self.spent:.0f} of {self.seconds:g} s, {what}", flush=True)
        self._told = time.monotonic()


def networks(side, recipe):
    """Return the GAN of a side, compiled as the recipe says but for the schedule."""
    gan = dataclasses.replace(recipe, schedule="constant").build()
    if side != RIVAL:
        return gan
    settings = gan.compile_settings()
    for name in ("optimizer", "discriminator_optimizer"):
        settings[name] = settings[name] and keras.saving.deserialize_keras_object(settings[name])
    keras.utils.set_random_seed(recipe.seed)
    gan = kg.SegmentationGAN(duck_net(recipe.size, recipe.channels, recipe.classes))
    gan.compile(**settings)
    return gan


def train(folder, side, recipe, seconds, data, names, reported):
    """Train a side for some seconds, score it if it is reported, and return what was found."""
    parts = split(data, names, recipe)
    budget = Budget(seconds, recipe, folder.name)
    options = {"epochs": ENDLESS, "verbose": 0}
    gan = networks(side, recipe)
    gan, facts = runs.train(recipe, *parts[:2], folder, gan, [budget], **options)
    facts.update(
        side=side,
        seed=recipe.seed,
        learning_rate=recipe.learning_rate,
        parameters=gan.generator.count_params(),
        seconds=budget.spent,
        steps=budget.steps,
        memory_gib=facts["peak_memory_gib"],
        load=os.getloadavg()[0],
    )
    if tf.config.list_physical_devices("GPU"):
        memory = tf.config.experimental.get_memory_info("GPU:0")
        facts["memory_gib"] = memory["peak"] / 2**30
    if reported:
        table = kg.evaluate(gan, parts[2], verbose=False)
        facts["scores"] = table.attrs["summary"]["scores"]
        kg.evaluation.save_table(table, folder / "scores.csv", overwrite=True)
    return facts


def split(data, names, recipe):
    """Return images to train on, to choose on and to report on."""
    samples = dataclasses.replace(kg.data.load_folder(data), channels=recipe.channels)
    rest, test = runs.rest_and_test(samples, data, names)
    return [*rest.split(0.1, seed=0), test]


def run(side, recipe, seconds, folder, data, names, reported=False):
    """Train in a process of its own, unless that was done; return its facts, None if it failed."""
    work = side, recipe, seconds, data, names, reported
    return facts_of(folder, train, *work, keep_model=reported)


# --------------------------------------------------------------------------- all runs


def compared(args, recipe, folder):
    """Choose the learning rates, train both sides; return the facts of trials and of long runs."""
    sides, shared = (recipe.name, RIVAL), (args.data, args.test_names)
    trials, long = [], []
    for side in sides:
        tried = []
        for rate in args.rates:
            trial = dataclasses.replace(recipe, learning_rate=rate, seed=args.seeds[0])
            place = folder / f"{slug(side)}-rate-{rate:g}"
            tried.append(run(side, trial, args.trial, place, *shared))
        tried = [facts for facts in tried if facts]
        if not tried:
            sys.exit(f"{side}: no learning rate could be tried; see above")
        trials += tried
    for seed in args.seeds:
        for side in sides:
            tried = [facts for facts in trials if facts["side"] == side]
            rate = max(tried, key=lambda facts: facts["validation_dice"])["learning_rate"]
            final = dataclasses.replace(recipe, learning_rate=rate, seed=seed)
            place = folder / f"{slug(side)}-seed-{seed}"
            facts = run(side, final, args.budget, place, *shared, reported=True)
            if facts is None:
                sys.exit(f"{place.name} failed; see above")
            long.append({**facts, "folder": place})
    return trials, long


def curves(long, folder):
    """Write the validation Dice by seconds of every long run, as a table and as a picture."""
    tables = []
    axes = Figure(figsize=(7, 4), layout="constrained").add_subplot()
    colours = dict(zip(dict.fromkeys(facts["side"] for facts in long), ("C0", "C1")))
    for facts in long:
        rows = pd.read_csv(facts["folder"] / "training.csv")[["spent", "steps", "val_dice"]]
        tables.append(rows.assign(side=facts["side"], seed=facts["seed"]))
        label = facts["side"] if facts["seed"] == long[0]["seed"] else None
        style = {"color": colours[facts["side"]], "marker": ".", "label": label}
        axes.plot(rows["spent"] / 60, rows["val_dice"], **style)
    axes.set(xlabel="minutes of training and validation", ylabel="validation Dice")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.figure.savefig(folder / "curves.png", dpi=130)
    kg.evaluation.save_table(pd.concat(tables), folder / "curves.csv", overwrite=True)


def differences(long):
    """Return the recipe's scores less the rival's, image by image, means over the seeds."""
    means = []
    for side in dict.fromkeys(facts["side"] for facts in long):
        tables = [pd.read_csv(x["folder"] / "scores.csv") for x in long if x["side"] == side]
        every = pd.concat(tables).groupby("name", sort=False).mean(numeric_only=True)
        means.append(every.reset_index())
    table = kg.evaluation.paired_difference(means[1], means[0]).set_index("score")
    return [
        f"{name.capitalize()} {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        for name, row in table.loc[["dice", "jaccard"]].iterrows()
    ]


def markdown(args, recipe, trials, long):
    """Return what was found as Markdown."""
    images, machine = long[0]["images"], doctor.machine()
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    tried = pd.DataFrame(trials).pivot(
        index="learning_rate", columns="side", values="validation_dice"
    )
    sides = list(dict.fromkeys(facts["side"] for facts in long))
    lines = [
        f"`{common.command()}`",
        "",
        f"{images['training']} images to train, {images['validation']} to choose learning rate and "
        f"epoch, {len(pd.read_csv(long[0]['folder'] / 'scores.csv'))} to report; {recipe.size} "
        f"pixels, batch {recipe.batch_size}, {recipe.precision}; {args.budget:g} s of training and "
        f"validation a run, on {machine['processor']}, {gpus}. Python {machine['python']}, "
        f"TensorFlow {machine['tensorflow']}, Keras {machine['keras']}.",
        "",
        "| network | parameters | learning rate | seed | epochs | steps | s a step | memory, GiB | "
        "validation Dice | Dice | Jaccard |",
        "|---" * 11 + "|",
    ]
    for facts in long:
        cells = [
            facts["side"],
            f"{facts['parameters']:,}",
            f"{facts['learning_rate']:g}",
            facts["seed"],
            facts["epochs"],
            facts["steps"],
            f"{facts['seconds'] / facts['steps']:.3f}",
            f"{facts['memory_gib']:.1f}",
            f"{facts['validation_dice']:.3f}",
            interval(facts["scores"]["dice"]),
            interval(facts["scores"]["jaccard"]),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    seeds = "" if len(args.seeds) == 1 else f", means over {len(args.seeds)} seeds"
    lines += [
        "",
        f"{sides[0]} less {sides[1]}, image by image{seeds}: {', '.join(differences(long))}.",
        "",
        f"Validation Dice after {args.trial:g} s, which chose the learning rates:",
        "",
        "| learning rate | " + " | ".join(sides) + " |",
        "|---" * (1 + len(sides)) + "|",
    ]
    for rate, row in tried.iterrows():
        cells = ["failed" if row[side] != row[side] else f"{row[side]:.3f}" for side in sides]
        lines.append(f"| {rate:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_data_options(add)
    add("--recipe", default="fast", choices=kg.recipes.names())
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the recipe")
    add("--budget", type=float, default=3600, help="seconds of a run (3600)")
    add("--trial", type=float, help="seconds of a run that tries a learning rate (budget / 6)")
    add("--rates", type=float, nargs="+", default=RATES, help="learning rates to choose from")
    add("--seeds", type=int, nargs="+", default=[0], help="a run of each (0)")
    add("--results", type=pathlib.Path, help="folder for everything that is written")
    add("--write", action="store_true", help="put the table into docs/results.md")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    args.trial = args.budget / 6 if args.trial is None else args.trial
    recipe = kg.recipes.get(args.recipe, **runs.settings_from(args.set))
    folder = args.results or ROOT / "results" / "equal_time" / args.recipe
    folder.mkdir(parents=True, exist_ok=True)
    names = [part.names for part in split(args.data, args.test_names, recipe)]
    given = {"recipe": dataclasses.asdict(recipe), "budget": args.budget, "trial": args.trial}
    check_settings(folder, {**given, "images": names, **doctor.machine()})
    trials, long = compared(args, recipe, folder)
    curves(long, folder)
    columns = [name for name, value in long[0].items() if isinstance(value, (int, float, str))]
    kg.evaluation.save_table(pd.DataFrame(long)[columns], folder / "runs.csv", overwrite=True)
    text = markdown(args, recipe, trials, long)
    write_file(folder / "table.md", text)
    print(f"\n{text}\nEverything is in {folder}/")
    if args.write:
        title = f"Recipe {args.recipe}, {args.budget / 60:g} minutes"
        picture = ROOT / "docs" / "assets" / "results" / f"equal_time_{slug(title)}.jpg"
        copy_smaller(folder / "curves.png", picture)
        text += f"\n![Validation Dice by minutes](assets/results/{picture.name})"
        put_titled(ROOT / "docs" / "results.md", "equal-time", title, text)


if __name__ == "__main__":
    run_script(main)

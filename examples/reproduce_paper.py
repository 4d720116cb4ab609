"""From the published code of arXiv 2111.01665 to the recipe `strong`, one change per row.

Every row is trained with its discriminator and without, with several seeds, on Kvasir-SEG (its
authors' split) and on EndoVis 2015 (every surgery held out once). Each run is kept as soon as it is
done, so the script can be stopped and started again, and several can work on one folder if their
`--rows` or `--seeds` differ. The epoch that is kept is chosen on a part of the training images.

The first row has the inference of the published code: batch norm and dropout as in training,
one image a batch, and each mask stretched from its least to its largest value. The second row is
the same networks with standard inference.
"""

import argparse
import dataclasses
import json
import pathlib
import time

import common
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import kerasgan as kg
from kerasgan import storage
from kerasgan.cli.doctor import machine
from kerasgan.data.resize import resize_back, resize_image

ROWS = (
    ("as published", {}),
    ("standard inference", {}),
    ("learning rate 0.0002, not 0.002", {"learning_rate": 2e-4}),
    ("augmentation", {"augment": True}),
    (
        "cross-entropy and Dice, not L1",
        {"l1": 0.0, "cross_entropy": 1.0, "dice": 1.0, "adversarial_weight": 0.01},
    ),
    ("residual U-Net", {"generator": "residual_unet"}),
    (
        "AdamW along a cosine, averaged weights",
        {
            name: getattr(kg.recipes.get("strong"), name)
            for name in (
                "learning_rate",
                "discriminator_learning_rate",
                "beta_1",
                "weight_decay",
                "clip_norm",
                "schedule",
                "warmup",
                "ema_momentum",
            )
        },
    ),
    (
        "strong: hinge, spectral norm, more augmentation",
        {
            name: getattr(kg.recipes.get("strong"), name)
            for name in ("adversarial", "adversarial_weight", "spectral_norm", "augment")
        },
    ),
)
ARMS = ("GAN", "no GAN")
SLACK = 0.01


def recipe_of(row, args, seed, epochs):
    """Return the recipe of a row: all changes up to it."""
    changes = {"size": args.size, "filters": args.filters, "epochs": epochs, "seed": seed}
    changes["discriminator_filters"] = args.filters
    for _, more in ROWS[:row]:
        changes.update(more)
    return kg.recipes.get("paper", **changes)


def published_generator(recipe):
    """Return the paper's generator with its three output channels, all drawing the same mask."""
    network = kg.models.pix2pix_generator(
        size=recipe.size, filters=recipe.filters, seed=recipe.seed
    )
    last = network.layers[-2]
    start = keras.initializers.RandomNormal(0.0, 0.02, seed=recipe.seed)
    x = keras.layers.Conv2DTranspose(
        3, 4, 2, padding="same", kernel_initializer=start, name=last.name
    )(last.input)
    mask = keras.layers.Activation("tanh", dtype="float32", name="mask")(x)
    return keras.Model(network.input, mask, name="published_generator")


def build(row, recipe, arm):
    """Return the compiled GAN of a row, with its discriminator or alone."""
    if row > 2:
        changes = {} if arm == "GAN" else {"adversarial_weight": 0.0}
        return dataclasses.replace(recipe, **changes).build()
    discriminator = kg.models.patch_discriminator(
        size=recipe.size, classes=3, filters=recipe.filters, seed=recipe.seed
    )
    gan = kg.SegmentationGAN(published_generator(recipe), discriminator if arm == "GAN" else None)
    rate, beta = recipe.learning_rate, recipe.beta_1
    gan.compile(
        keras.optimizers.Adam(rate, beta_1=beta),
        keras.optimizers.Adam(rate, beta_1=beta),
        losses={"l1": recipe.l1},
    )
    return gan


class Best(keras.callbacks.Callback):
    """Keep the weights of the epoch with the best validation Dice, at the network's size."""

    def __init__(self, batches):
        super().__init__()
        self.batches = [(image.numpy(), mask.numpy()) for image, mask in batches]
        self.dice, self.weights = [], None

    def on_epoch_end(self, epoch, logs=None):
        scores = []
        for image, mask in self.batches:
            drawn = self.model.generator.predict_on_batch(image).mean(-1, keepdims=True)
            drawn = drawn > (0 if self.model.activation == "tanh" else 0.5)
            both, total = (drawn * mask).sum((1, 2, 3)), drawn.sum((1, 2, 3)) + mask.sum((1, 2, 3))
            scores.extend(np.where(total > 0, 2 * both / np.maximum(total, 1), 1))
        self.dice.append(float(np.mean(scores)))
        if self.dice[-1] >= max(self.dice):
            self.weights = self.model.generator.get_weights()


def converged(dice):
    """Whether the last fifth of the epochs raised the best validation Dice by SLACK at most."""
    last = max(1, len(dice) // 5)
    return len(dice) > last and max(dice) - max(dice[:-last]) <= SLACK


def probabilities(generator, samples, size, published):
    """Yield the foreground's probability at the size of every image."""
    for index in range(len(samples)):
        image = samples.image(index)
        shown = resize_image(image, size)[None]
        drawn = generator(shown, training=published).numpy()[0].mean(-1, keepdims=True)
        if published:
            drawn = (drawn - drawn.min()) / max(drawn.max() - drawn.min(), 1e-7)
        elif kg.models.final_activation(generator) == "tanh":
            drawn = (drawn + 1) / 2
        yield resize_back(drawn, image.shape[:2])


def scores(generator, samples, size, published):
    """Return the scores of every image, in order, by name."""
    masks = (p[..., 0] > 0.5 for p in probabilities(generator, samples, size, published))
    table = kg.evaluation.evaluate_masks(samples, masks, empty="medai")
    return {name: [round(float(x), 4) for x in table[name]] for name in ("jaccard", "dice")}


def train(row, arm, seed, rest, test, args, epochs):
    """Train one network; return the scores of its row, and of the row before for the second."""
    training, validation = rest.split(0.1, seed=0)
    recipe = recipe_of(row, args, seed, epochs)
    options = {"size": args.size, "seed": seed, "cache": pathlib.Path(args.results) / "cache"}
    batches = training.batches(
        recipe.batch_size, augment=recipe.augmentation(), shuffle=True, **options
    )
    best = Best(validation.batches(min(16, len(validation)), **options))
    gan = build(row, recipe, arm)
    if row <= 2:
        batches = batches.map(lambda image, mask: (image, tf.repeat(mask, 3, axis=-1)))
    broken = None
    try:
        gan.fit(batches, epochs=epochs, verbose=0, callbacks=[best])
    except kg.KerasganError as error:
        if "broke down" not in str(error):  # a result only where training diverged
            raise
        broken = str(error)
    if best.weights is not None:
        gan.generator.set_weights(best.weights)
    facts = {"validation": [round(x, 4) for x in best.dice], "broken": broken}
    facts["converged"] = converged(best.dice) and broken is None
    found = {row: {**facts, **scores(gan.generator, test, args.size, False)}}
    if row == 2:
        found[1] = {**facts, **scores(gan.generator, test, args.size, True)}
    return found


def merged(parts):
    """Put the runs of several held-out groups together."""
    whole = {name: [x for part in parts for x in part[name]] for name in ("jaccard", "dice")}
    whole["converged"] = all(part["converged"] for part in parts)
    whole["broken"] = next((part["broken"] for part in parts if part["broken"]), None)
    whole["validation"] = [part["validation"] for part in parts]
    return whole


def tasks(args):
    """Yield the name of every dataset with its parts to train on and to report on, and epochs."""
    if args.data:
        samples = kg.data.load_folder(args.data)
        official = pathlib.Path(args.data) / "splits" / "val.txt"
        if official.is_file():
            pair = samples.split_by_names(official)
        else:
            pair = samples.split(0.1, seed=0)
        yield "polyps", [pair], args.epochs
    if args.instruments:
        samples = kg.data.load_folder(args.instruments)
        surgeries = sorted({surgery(name) for name in samples.names})
        pairs = [samples.split_groups(surgery, held_out) for held_out in surgeries]
        yield "instruments", pairs, args.instrument_epochs


def table(folder):
    """Return the runs in a folder as Markdown, a table for each dataset."""
    facts = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    settings, parts = facts["settings"], []
    for data in ("polyps", "instruments"):
        runs = {}
        for path in sorted(folder.glob(f"{data}-row*-seed*.json")):
            _, row, arm, seed = path.stem.split("-")
            run = json.loads(path.read_text(encoding="utf-8"))
            runs.setdefault((int(row[3:]), arm.replace("_", " ")), {})[seed] = run
        if not runs:
            continue
        most = max(map(len, runs.values()))
        parts += [
            f"**{data.capitalize()}**, {settings['size']} pixels, {settings['filters']} filters, "
            f"{settings[data]} epochs, up to {most} seeds, {facts['processor']}:",
            "",
            "| step | one change per row | Jaccard, GAN | no GAN | difference | by seed | "
            "Dice, GAN | no GAN |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row, (name, _) in enumerate(ROWS, start=1):
            arms = [runs.get((row, arm), {}) for arm in ARMS]
            cells = [*_cells(arms, "jaccard"), _by_seed(arms), *_cells(arms, "dice")[:2]]
            marks = ["", ""]
            for place, seeds in enumerate(arms):
                if seeds and not all(run["converged"] for run in seeds.values()):
                    marks[place] += " †"
                if 0 < len(seeds) < most:
                    marks[place] += f" ({len(seeds)} of {most} seeds)"
            cells[0] += marks[0]
            cells[1] += marks[1]
            parts.append(f"| {row} | {name} | " + " | ".join(cells) + " |")
        parts.append("")
    parts += [
        f"`{facts['command']}`, TensorFlow {facts['tensorflow']}. Each cell: the mean over "
        "images and seeds, and its 95 % bootstrap interval over images; the difference is taken "
        "image by image. Its interval does not include the variation between seeds, so the "
        "difference of each seed is given beside it. † not all of the runs had converged: in the "
        f"last fifth of the epochs the best validation Dice still rose by more than {SLACK}.",
    ]
    return "\n".join(parts)


def _cells(arms, score):
    """Return both arms' means and, for images and seeds that both have, their difference."""
    means = [
        pd.DataFrame({seed: run[score] for seed, run in arm.items()}).mean(axis=1) for arm in arms
    ]
    shared = [seed for seed in arms[0] if seed in arms[1]]
    if shared:
        pairs = [pd.DataFrame({s: arm[s][score] for s in shared}).mean(axis=1) for arm in arms]
        means.append(pairs[0] - pairs[1])
    cells = []
    for values in means:
        if values.empty:
            cells.append("")
            continue
        found = kg.evaluation.summarize(pd.DataFrame({"x": values}))["scores"]["x"]
        sign = "+" if len(cells) == 2 else ""
        cells.append(f"{found['mean']:{sign}.3f} ({found['low']:.3f} to {found['high']:.3f})")
    return cells + [""] * (3 - len(cells))


def _by_seed(arms):
    """Return the difference of both arms' mean Jaccard for every seed that both have."""
    means = [{seed: np.mean(run["jaccard"]) for seed, run in arm.items()} for arm in arms]
    return ", ".join(f"{means[0][s] - means[1][s]:+.3f}" for s in means[0] if s in means[1])


def surgery(name):
    return name.split("/")[-1].split("_")[0]


def place(folder, data, row, arm, seed):
    return folder / f"{data}-row{row}-{arm.replace(' ', '_')}-seed{seed}.json"


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="folder of Kvasir-SEG, or laid out like it")
    add("--instruments", help="folder of the EndoVis 2015 frames, or named like them")
    add("--results", default="results/reproduce", help="folder for the runs, one file each")
    add("--size", type=int, default=128, help="height and width in pixels (128)")
    add("--filters", type=int, default=32, help="width of both networks (32)")
    add("--epochs", type=int, default=60, help="on polyps (60)")
    add("--instrument-epochs", type=int, default=150, help="on instruments (150)")
    add("--rows", type=numbers, default=list(range(1, 9)), help="such as 1,2,3; all (1 to 8)")
    add("--seeds", type=numbers, default=[0, 1, 2], help="such as 0,1; (0,1,2)")
    args = parser.parse_args()
    if not args.data and not args.instruments:
        raise kg.KerasganError("Pass --data, --instruments, or both: folders of images and masks")
    for row in args.rows:
        if not 1 <= row <= len(ROWS):
            raise kg.KerasganError(f"Argument '--rows' must be from 1 to 8. Received: {row}")

    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: vars(args)[name] for name in ("size", "filters")}
    settings.update(polyps=args.epochs, instruments=args.instrument_epochs)
    kept = folder / "settings.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8"))["settings"] != settings:
        raise kg.KerasganError(
            f"'{folder}' holds runs of other sizes or epochs; choose another --results"
        )
    facts = {"settings": settings, "command": common.command(), **machine()}
    kept.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    # Rows 1 and 2 are one training.
    rows = sorted({max(2, row) for row in args.rows})
    for data, pairs, epochs in tasks(args):
        for seed in args.seeds:
            for row in rows:
                for arm in ARMS:
                    if place(folder, data, row, arm, seed).is_file():
                        continue
                    began = time.time()
                    runs = [train(row, arm, seed, *pair, args, epochs) for pair in pairs]
                    for number in runs[0]:
                        text = json.dumps(merged([run[number] for run in runs]))
                        file = place(folder, data, number, arm, seed)
                        storage.write_file(file, text)
                    mean = np.mean(merged([run[row] for run in runs])["jaccard"])
                    print(
                        f"{data}, row {row} ({ROWS[row - 1][0]}), {arm}, seed {seed}: "
                        f"Jaccard {mean:.3f} in {time.time() - began:.0f} s",
                        flush=True,
                    )
                    keras.backend.clear_session()
    text = table(folder)
    (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return folder


if __name__ == "__main__":
    common.run(main)

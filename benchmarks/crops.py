"""Stretching, letterbox and windows at equal numbers of steps, on the polyps to choose on.

Example:
    python benchmarks/crops.py --data kvasir-seg --epochs 30 --seeds 0 1 2 --write

Images in splits/val.txt take no part. Of the rest a tenth, drawn with seed 0, is scored at original
size; the others are trained on, by the recipe, without its discriminator. All ways see as many
images a step, for as many steps, by a network of the same size and start. Windows are tried at the
scales given; at each, prediction is in windows of that scale. With --write the table goes between
the marks `crops` of docs/own-data.md, which are to be set there first.
"""

import argparse
import dataclasses
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import tensorflow as tf
from pages import parts, put
from results import ROOT

import kerasgan as kg
from kerasgan.cli.runs import framing

PAGE = ROOT / "docs" / "own-data.md"
SCORES = ("dice", "jaccard")


def run(train, validation, arguments, seed, way):
    """Train and score by one way; return the table of scores and the minutes of training."""
    recipe = kg.recipes.get(
        arguments.recipe,
        size=arguments.size,
        epochs=arguments.epochs,
        precision=arguments.precision,
        adversarial_weight=0.0,
        seed=seed,
        **way,
    )
    gan = recipe.build()
    batches = train.batches(
        recipe.batch_size,
        recipe.size,
        augment=recipe.augmentation(),
        seed=seed,
        **framing(dataclasses.asdict(recipe)),
    )
    start = time.perf_counter()
    gan.fit(batches, epochs=recipe.epochs, verbose=0)
    minutes = (time.perf_counter() - start) / 60
    return kg.evaluate(gan, validation, verbose=False), minutes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--scales", type=float, nargs="*", default=[0.25, 0.5, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--limit", type=int, help="train on the first so many images only")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        parts(PAGE, "crops")  # stops now, not after the training, if there are no marks
    samples = kg.data.load_folder(arguments.data)
    rest, _ = samples.split_by_names(f"{arguments.data}/splits/val.txt")
    train, validation = rest.split(0.1, seed=0)
    train = train[: arguments.limit]
    ways = [{"mode": "stretch"}, {"mode": "letterbox"}]
    ways += [{"mode": "window", "scale": scale} for scale in arguments.scales]
    rows = []
    for way in ways:
        for seed in arguments.seeds:
            table, minutes = run(train, validation, arguments, seed, way)
            row = {"seed": seed, "minutes": minutes}
            row.update({score: table[score].mean() for score in SCORES})
            rows.append({"way": ", ".join(map(str, way.values())), **row})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("way", sort=False)
    means, lows, highs = table.mean(), table.min(), table.max()
    lines = [f"| way | {' | '.join(SCORES)} | minutes |", "|---" * (len(SCORES) + 2) + "|"]
    for way in means.index:
        cells = [
            f"{means[score][way]:.3f} ({lows[score][way]:.3f} to {highs[score][way]:.3f})"
            for score in SCORES
        ]
        lines.append(f"| {way} | {' | '.join(cells)} | {means['minutes'][way]:.1f} |")
    text = "\n".join(
        [
            *lines,
            "",
            f"Mean over seeds {', '.join(map(str, arguments.seeds))} (lowest to highest); "
            f"{len(train)} images to train, {len(validation)} scored; recipe `{arguments.recipe}` "
            f"without discriminator, {arguments.size} pixels, {arguments.epochs} epochs; "
            f"TensorFlow {tf.__version__}, {os.cpu_count()} processors, "
            f"`python benchmarks/crops.py`.",
        ]
    )
    print(text)
    if arguments.write:
        put(PAGE, "crops", text)


if __name__ == "__main__":
    main()

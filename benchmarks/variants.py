"""Train variants of a recipe with several seeds and compare them on the validation part.

Example:
    python benchmarks/variants.py --data kvasir-seg --recipe pretrained --seeds 0 1 2 \
        --set size=128 --set epochs=8 --variant frozen_stages=0 --variant frozen_stages=2 --write
    python benchmarks/variants.py --data kvasir-seg --recipe pretrained-fast --seeds 0 1 2 \
        --variant mode=stretch --variant mode=letterbox --variant mode=window,scale=0.25 --write

A variant is one or several fields of the recipe, with a comma between; `--set` changes all of them.
Every one gets the same images, a tenth of which, chosen by seed 0, is the validation part; images
in --test-names (splits/val.txt of the data) take no part. Each run is made in a process of its own,
and kept in --results: a stopped script goes on where it stopped. Printed, and with --write put into
docs/train.md, is a row for each variant: the Dice of validation images at original size, by the
epoch with the best validation Dice, mean and by seed, and seconds that the processor's cores worked
for a training image, all cores together, validation after each epoch included.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from equal_time import ROOT, common, split
from kept_runs import add_data_options, facts_of, on_machines, run_script
from pages import put_titled

import kerasgan as kg
from kerasgan.cli import runs

HEAD = ["| variant | Dice, original size | by seed | core seconds an image |", "|---|---|---|---|"]


def train(folder, recipe, data, names):
    """Train a variant with one seed; return what it scored and cost."""
    training, validation, _ = split(data, names, recipe)
    before = resource.getrusage(resource.RUSAGE_SELF)
    gan, facts = runs.train(recipe, training, validation, folder)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    dice = kg.evaluate(gan, validation, verbose=False)["dice"].mean()
    return {**facts, "dice": dice, "core_seconds": spent / (recipe.epochs * len(training))}


def run(recipe, folder, data, names):
    """Train in a process of its own, unless that was done; return its facts."""
    facts = facts_of(folder, train, recipe, data, names)
    if facts is None:
        sys.exit(f"{folder.name} failed; see above")
    then = {**dataclasses.asdict(kg.recipes.Recipe(recipe.name)), **facts["recipe"]}
    if then != json.loads(json.dumps(dataclasses.asdict(recipe))):
        sys.exit(f"'{folder}' was trained with other settings. Pass another --results")
    return facts


def row(variant, found):
    """Return a row of the table."""
    dice = [facts["dice"] for facts in found]
    cost = min(facts["core_seconds"] for facts in found)
    by_seed = ", ".join(f"{each:.3f}" for each in dice)
    return f"| `{variant}` | {sum(dice) / len(dice):.3f} | {by_seed} | {cost:.3f} |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_data_options(add)
    add("--recipe", default="pretrained", choices=kg.recipes.names())
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="of all variants")
    add("--variant", action="append", required=True, metavar="FIELD=VALUE[,...]")
    add("--seeds", type=int, nargs="+", default=[0], help="a run of each (0)")
    add("--results", type=pathlib.Path, help="folder for everything that is written")
    add("--write", action="store_true", help="put the table into docs/train.md")
    args = parser.parse_args()
    folder = args.results or ROOT / "results" / "variants" / args.recipe
    lines, found, shared = list(HEAD), [], (args.data, args.test_names)
    varied = {}
    for variant in args.variant:
        varied.update(runs.settings_from(variant.split(",")))
        fields = runs.settings_from([*args.set, *variant.split(",")])
        recipes = [kg.recipes.get(args.recipe, **fields, seed=seed) for seed in args.seeds]
        places = [folder / f"{variant.replace('/', '_')}-seed-{seed}" for seed in args.seeds]
        finished = [run(*each, *shared) for each in zip(recipes, places)]
        found += finished
        lines.append(row(variant, finished))
        print(lines[-1], flush=True)
    images = finished[0]["images"]
    text = "\n".join(
        [
            f"`{common.command()}`",
            "",
            f"{images['training']} images to train, {images['validation']} to choose, "
            f"{on_machines(found)}",
            "",
            *lines,
        ]
    )
    print(f"\n{text}\n\nThe runs are in {folder}/")
    if args.write:
        title = f"Variants of {args.recipe}: {', '.join(varied)}"
        page = ROOT / "docs" / "train.md"
        put_titled(page, "variants", title, text)


if __name__ == "__main__":
    run_script(main)

"""Which images should be labelled next? Train, choose by each criterion, label, train again.

Example:
    python benchmarks/choose_labels.py --data kvasir-seg --method adversarial --seeds 0 1 2 \
        --by disagreement discriminator entropy random --write

For each seed a network learns from --first labelled images, chosen by the seed, and by --method,
one of those of few_labels.py, from the unlabelled rest. `kerasgan.inference.rank_images` then ranks
the rest by each criterion with this network. The first --more images get their masks, and a new
network is trained on all of them, with the same method and number of steps. A fifth of the images
labelled, before and now, is the validation part (--validation), which chooses the epoch. Images
that are not reported on (splits/val.txt of the data, or --test-names) are the only ones chosen
from. For `discriminator` the method must train one. Every run is a process of its own and kept in
--results: a stopped script goes on where it stopped.

Printed, and with --write put into docs/unlabelled.md, is a row for each criterion: the mean Dice of
the reported images over seeds, its interval over images and over seeds, as in few_labels.py, the
difference from `random` image by image, and the Dice of the first network on the images that were
chosen: the lower, the poorer the masks that it would have drawn there.
"""

import argparse
import dataclasses
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from equal_time import ROOT, common
from few_labels import (
    add_training_options,
    dice_interval,
    difference_text,
    finished,
    joined,
    learn,
    mean_dice,
    method_fields,
    over_seeds,
    settings_of,
    split,
    tables_of,
    train,
)
from kept_runs import add_data_options, check_settings, on_machines, run_script
from pages import put_titled
from results import interval, slug

import kerasgan as kg
from kerasgan.inference.ranking import CRITERIA
from kerasgan.storage import write_file
from kerasgan.validation import check_whole_number

FIRST, RANDOM = "first", "random"
HEAD = (
    "| chosen by | Dice | over seeds | less random | Dice before, of those chosen | "
    "validation Dice |"
)


def label_more(gan, by, parts, count, validation, seed):
    """Return the parts after the first images by a criterion got masks, and these images."""
    kept, checked, free, test = parts
    table = kg.inference.rank_images(
        gan, free, by=by, count=count, labelled=joined(kept, checked), seed=seed
    )
    places = {name: index for index, name in enumerate(free.names)}
    order = np.random.default_rng(seed).permutation([places[name] for name in table["name"]])
    to_check, to_keep = np.split(order, [max(1, round(validation * len(order)))])
    others = np.setdiff1d(np.arange(len(free)), order)
    parts = [
        joined(kept, free[sorted(to_keep)]),
        joined(checked, free[sorted(to_check)]),
        free[others],
        test,
    ]
    return parts, free[sorted(order)]


def train_again(folder, by, method, recipe, counts, first, settings):
    """Choose by a criterion with the network of a first run, then train; return what was found."""
    data, names, validation, steps, checks = settings
    parts = split(data, names, recipe, counts[0], validation, recipe.seed)
    gan = kg.SegmentationGAN.load(first / "model")
    parts, chosen = label_more(gan, by, parts, counts[1], validation, recipe.seed)
    before = kg.evaluate(gan, chosen, verbose=False)
    kg.evaluation.save_table(before, folder / "chosen.csv", overwrite=True)
    facts = learn(folder, method, recipe, sum(counts), parts, steps, checks)
    return {**facts, "by": by, "chosen_dice": float(before["dice"].mean())}


def row(found, random):
    """Return a row of the table, for all seeds of a criterion; `random` are its rivals or None."""
    dice, less, before = mean_dice(found), "", ""
    if random and found[0]["by"] not in (FIRST, RANDOM):
        less = difference_text(dice_interval(dice - mean_dice(random)))
    if "chosen_dice" in found[0]:
        before = f"{np.mean([facts['chosen_dice'] for facts in found]):.3f}"
    by = found[0]["by"]
    cells = [
        f"none, {found[0]['case']} labels" if by == FIRST else f"`{by}`",
        interval(dice_interval(dice)),
        over_seeds([each["dice"].mean() for each in tables_of(found)]),
        less,
        before,
        f"{np.mean([facts['validation_dice'] for facts in found]):.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def markdown(found, recipe, args):
    """Return what was found as Markdown."""
    groups = {}
    for facts in found:
        groups.setdefault(facts["by"], []).append(facts)
    return "\n".join(
        [
            f"`{common.command()}`",
            "",
            f"{found[0]['reported']} images to report, {args.first} labelled at first and "
            f"{args.more} more. Recipe `{recipe.name}` at {recipe.size} pixels, method "
            f"`{args.method}`, {found[0]['steps']} steps a run, {on_machines(found)}",
            "",
            HEAD,
            "|---" * HEAD.count(" | ") + "|---|",
            *(row(group, groups.get(RANDOM)) for group in groups.values()),
        ]
    )


def check(args, recipe, settings):
    """Raise if the second runs could not be made, before the first are."""
    if "discriminator" in args.by and not recipe.adversarial_weight:
        raise kg.KerasganError(
            "Argument '--by': 'discriminator' needs a --method that trains one, such as "
            f"adversarial. Received: --method {args.method}"
        )
    check_whole_number("--more", args.more, 2)
    for seed in args.seeds:
        parts = split(*settings[:2], recipe, args.first, settings[2], seed)
        if args.more >= len(parts[2]):
            raise kg.KerasganError(
                f"Argument '--more' must be below the {len(parts[2])} images without masks. "
                f"Received: {args.more}"
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_data_options(add)
    add("--first", type=int, default=22, help="labelled images of the first network (22)")
    add("--more", type=int, default=66, help="images to label then (66)")
    add("--by", nargs="+", default=CRITERIA, choices=CRITERIA, help="criteria (all)")
    add("--method", default="adversarial", help="one of few_labels.py (adversarial)")
    add("--seeds", type=int, nargs="+", default=[0], help="a run of each (0)")
    add_training_options(add)
    add("--results", type=pathlib.Path, help="folder for everything that is written")
    add("--write", action="store_true", help="put the table into docs/unlabelled.md")
    args = parser.parse_args()
    recipe, settings = settings_of(args)
    recipe = dataclasses.replace(recipe, **method_fields(args.method))
    check(args, recipe, settings)
    folder = args.results or ROOT / "results" / "choose_labels" / slug(args.method)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"recipe": dataclasses.asdict(recipe), "settings": [str(x) for x in settings[1:]]}
    check_settings(folder, {**kept, "counts": [args.first, args.more]})
    found = []
    for seed in args.seeds:
        one = dataclasses.replace(recipe, seed=seed)
        first = folder / f"{FIRST}-seed-{seed}"
        work = args.method, one, args.first, settings
        start = {**finished(first, one, train, *work, keep_model=True), "by": FIRST}
        found.append(start)
        for by in args.by:
            place = folder / f"{by}-seed-{seed}"
            work = by, args.method, one, (args.first, args.more), first, settings
            found.append(finished(place, one, train_again, *work, keep_model=False))
            facts = found[-1]
            print(
                f"{by}, seed {seed}: Dice {facts['scores']['dice']['mean']:.3f}, before "
                f"{start['scores']['dice']['mean']:.3f}, of those chosen "
                f"{facts['chosen_dice']:.3f}",
                flush=True,
            )
    text = markdown(found, recipe, args)
    write_file(folder / "table.md", text + "\n")
    print(f"\n{text}\n\nEverything is in {folder}/")
    if args.write:
        title = f"From {args.first} to {args.first + args.more} labels, {args.method}"
        page = ROOT / "docs" / "unlabelled.md"
        put_titled(page, "choose-labels", title, text)


if __name__ == "__main__":
    run_script(main)

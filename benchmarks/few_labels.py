"""Train with few labels and many unlabelled images by several methods, and score all alike.

Example:
    python benchmarks/few_labels.py --data kvasir-seg --labels 22 88 --seeds 0 1 2 \
        --methods floor ceiling cutmix mean-teacher adversarial adversarial+cutmix --write
    python benchmarks/few_labels.py --data endovis15-rigid --held-out OP1 OP2 OP3 \
        --methods floor ceiling output-adaptation entropy-adaptation cutmix

Of the images that are not reported on (splits/val.txt of the data, or --test-names), so many as
--labels says keep their masks, chosen by the seed; the others are unlabelled. A fifth of the
labelled ones (--validation) is the validation part, on which alone choices are made: the epoch in
each run, and yours among methods and weights. Every run takes the same number of steps, on the same
labelled images, in as many epochs as --checks says: labelled images are repeated within an epoch.
`floor` learns from them alone, `ceiling` has the masks of the unlabelled images too. `cutmix*3` is
`cutmix` with three times its weights. Each run is a process of its own and kept in --results: a
stopped script goes on where it stopped.

With --held-out the masks are those of all groups but one, such as surgeries: what stands before the
first underscore of a name. Half of that group's images are unlabelled, the other half is reported
on; each group named is held out in turn, and `all` are their reported images together.

Printed, and with --write put into docs/gan.md (in short into docs/hundred-labels.md too), is a row
for each number of labels and method: the mean Dice of the reported images over seeds, its interval
over images (each with its mean over seeds) and over seeds (Student's, for three seeds wide), the
difference from the floor image by image, the share of the gap between floor and ceiling that it
closes (where the interval of that gap is above 0), the validation Dice that choices are made by,
and what it costs.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from equal_time import ROOT, common
from kept_runs import (
    add_data_options,
    check_settings,
    facts_of,
    on_machines,
    run_script,
)
from pages import put_titled
from results import interval, slug
from scipy import stats

import kerasgan as kg
from kerasgan.cli import runs
from kerasgan.storage import write_file
from kerasgan.validation import check_number, check_whole_number

FILES = ("names", "image_paths", "mask_paths")
FLOOR, CEILING = "floor", "ceiling"
DISCRIMINATOR = {
    "discriminator": "mask_discriminator",
    "discriminator_filters": 16,
    "spectral_norm": False,
    "adversarial": "vanilla",
    "adversarial_weight": 0.01,
    "discriminator_learning_rate": 1e-4,
}
METHODS = {
    FLOOR: {},
    CEILING: {},
    "adversarial": {
        **DISCRIMINATOR,
        "unlabelled_losses": {"adversarial": 0.001, "self_training": 0.1},
    },
    "adversarial-alone": {**DISCRIMINATOR, "unlabelled_losses": {"adversarial": 0.001}},
    "adversarial-patch": {
        **DISCRIMINATOR,
        "discriminator": "patch_discriminator",
        "unlabelled_losses": {"adversarial": 0.001, "self_training": 0.1},
    },
    "adversarial-shown": {
        **DISCRIMINATOR,
        "unlabelled_losses": {"adversarial": 0.001, "self_training": 0.1, "discriminator": 1.0},
    },
    "output-adaptation": {"unlabelled_losses": {"output_adaptation": 0.001}},
    "entropy-adaptation": {"unlabelled_losses": {"entropy_adaptation": 0.001}},
    "mean-teacher": {"unlabelled_losses": {"mean_teacher": 1.0}},
    "cutmix": {"unlabelled_losses": {"cutmix": 1.0}},
    "pseudo-labels": {"unlabelled_losses": {"pseudo_labels": 1.0}},
}
"""Fields of the recipe that each method changes; weights are those of the papers."""

HEAD = (
    "| labels, or none of | method | Dice | over seeds | less floor | gap closed | "
    "validation Dice | minutes | memory, GiB |"
)
SHORT = "| with masks | without | method | Dice | minutes |"


# --------------------------------------------------------------------------- one run


def method_fields(method):
    """Return the fields of the recipe that a method changes: `a+b` both, `a*3` thrice as much."""
    fields, weights = {}, {}
    for part in method.split("+"):
        name, _, factor = part.partition("*")
        if name not in METHODS:
            raise kg.KerasganError(
                f"Argument '--methods' must name some of {', '.join(METHODS)}. Received: {name!r}"
            )
        try:
            factor = float(factor or 1)
        except ValueError as error:
            raise kg.KerasganError(
                f"Argument '--methods': behind '*' stands a number. Received: {part!r}"
            ) from error
        changed = dict(METHODS[name])
        for loss, weight in changed.pop("unlabelled_losses", {}).items():
            weights[loss] = weight * factor
        fields.update(changed)
    return {**fields, "unlabelled_losses": weights or None}


def group_of(name):
    """Return what stands before the first underscore: a surgery, a hospital."""
    return name.split("/")[-1].split("_")[0]


def split(data, names, recipe, case, validation, seed):
    """Return images to learn from with masks, to choose on, without masks, and to report on.

    `case` is how many images are labelled, or a group of which none is.
    """
    samples = dataclasses.replace(kg.data.load_folder(data), channels=recipe.channels)
    rng = np.random.default_rng(seed)
    if isinstance(case, str):
        labelled, others = samples.split_groups(group_of, case)
        free, test = others.split(0.5, seed=0)
        order = rng.permutation(len(labelled))
        chosen, kept = np.split(order, [max(1, round(validation * len(order)))])
        return [*(labelled[sorted(part)] for part in (kept, chosen)), free, test]
    rest, test = runs.rest_and_test(samples, data, names)
    if not 2 <= case < len(rest):
        raise kg.KerasganError(
            f"Argument '--labels' must be from 2 to {len(rest) - 1}. Received: {case}"
        )
    order = rng.permutation(len(rest))
    chosen, kept, others = np.split(order, [max(1, round(validation * case)), case])
    return [*(rest[sorted(part)] for part in (kept, chosen, others)), test]


def repeated(samples, recipe, steps, checks):
    """Return samples, each as often as fills an epoch, and how many epochs make so many steps."""
    wanted = steps * recipe.batch_size / checks
    times = max(1, round(wanted / len(samples)))
    more = samples[list(range(len(samples))) * times]
    return more, max(1, round(steps / math.ceil(len(more) / recipe.batch_size)))


def joined(one, other):
    """Return the samples of both."""
    both = {name: getattr(one, name) + getattr(other, name) for name in FILES}
    return dataclasses.replace(one, **both)


def train(folder, method, recipe, case, settings):
    """Train by a method, score it, and return what was found."""
    data, names, validation, steps, checks = settings
    parts = split(data, names, recipe, case, validation, recipe.seed)
    return learn(folder, method, recipe, case, parts, steps, checks)


def learn(folder, method, recipe, case, parts, steps, checks):
    """The same, from what `split` returns."""
    labelled, checked, free, test = parts
    if method == CEILING:
        labelled = joined(labelled, free)
    free = dataclasses.replace(free, mask_paths=None) if recipe.unlabelled_losses else None
    images = len(labelled)
    labelled, epochs = repeated(labelled, recipe, steps, checks)
    recipe = dataclasses.replace(recipe, epochs=epochs)
    gan, facts = runs.train(recipe, labelled, checked, folder, unlabelled=free, verbose=0)
    table = kg.evaluate(gan, test, verbose=False)
    kg.evaluation.save_table(table, folder / "scores.csv", overwrite=True)
    facts.update(
        method=method,
        case=case,
        masks=images,
        seed=recipe.seed,
        steps=epochs * math.ceil(len(labelled) / recipe.batch_size),
        reported=len(test),
        scores=table.attrs["summary"]["scores"],
        load=os.getloadavg()[0],
    )
    return facts


# --------------------------------------------------------------------------- all runs


def tables_of(found):
    """Return the Dice of every reported image, a table for each seed: what was held out together.

    Raises unless all seeds were scored on the same images.
    """
    tables = []
    for seed in _seeds(found):
        parts = [facts for facts in found if facts["seed"] == seed]
        read = [pd.read_csv(facts["folder"] / "scores.csv")[["name", "dice"]] for facts in parts]
        tables.append(pd.concat(read, ignore_index=True))
    if any(list(each["name"]) != list(tables[0]["name"]) for each in tables):
        raise kg.KerasganError("Runs were scored on different images. Pass another --results")
    return tables


def mean_dice(found):
    """Return the mean over seeds of every reported image's Dice."""
    return np.mean([each["dice"] for each in tables_of(found)], axis=0)


def over_seeds(values):
    """Return the 95 % interval of a mean over seeds, by Student's distribution, as text."""
    by_seed = ", ".join(f"{each:.3f}" for each in values)
    if len(values) < 2:
        return by_seed
    spread = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values) - spread:.3f} to {np.mean(values) + spread:.3f} ({by_seed})"


def dice_interval(dice):
    """Return the mean and 95 % interval over images, as `kerasgan.evaluation.summarize` does."""
    return kg.evaluation.summarize(pd.DataFrame({"dice": dice}))["scores"]["dice"]


def difference_text(apart):
    """Return the interval of a difference, with its sign."""
    return f"{apart['mean']:+.3f} ({apart['low']:+.3f} to {apart['high']:+.3f})"


def row(case, found, floor, ceiling):
    """Return a row of the table, for all seeds of a method; what it is held against may be None."""
    dice, less, closed = mean_dice(found), "", ""
    if _alike(floor, found) and found[0]["method"] != FLOOR:
        low = mean_dice(floor)
        apart = dice_interval(dice - low)
        less = difference_text(apart)
        if _alike(ceiling, found):
            gap = dice_interval(mean_dice(ceiling) - low)
            closed = f"{100 * apart['mean'] / gap['mean']:.0f} %" if gap["low"] > 0 else ""
    cells = [
        case,
        f"`{found[0]['method']}`",
        interval(dice_interval(dice)),
        over_seeds([each["dice"].mean() for each in tables_of(found)]),
        less,
        closed,
        f"{np.mean([facts['validation_dice'] for facts in found]):.3f}",
        f"{np.mean([facts['training_minutes'] for facts in found]):.1f}",
        f"{max(facts['peak_memory_gib'] or 0 for facts in found):.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _seeds(found):
    return sorted({facts["seed"] for facts in found})


def _alike(one, other):
    """Whether there are runs of the same seeds, with the same held out."""
    keys = [sorted((str(x["case"]), x["seed"]) for x in each or ()) for each in (one, other)]
    return bool(one) and keys[0] == keys[1]


def rows(found):
    """Return all rows, by case and method; of several groups held out in turn all together too."""
    groups = {}
    for facts in found:
        groups.setdefault((facts["case"], facts["method"]), []).append(facts)
    cases = {case for case, _ in groups}
    if len(cases) > 1 and not any(isinstance(case, int) for case in cases):
        for facts in found:
            groups.setdefault(("all", facts["method"]), []).append(facts)
    return [
        row(case, group, *(groups.get((case, end)) for end in (FLOOR, CEILING)))
        for (case, _), group in groups.items()
    ]


def short(found):
    """Return the rows of the tutorial: with numbers of labels alone, the least that tells."""
    groups = {}
    for facts in found:
        if isinstance(facts["case"], int):
            groups.setdefault((facts["case"], facts["method"]), []).append(facts)
    lines = [SHORT, "|---" * SHORT.count(" | ") + "|---|"]
    for (_, method), group in groups.items():
        cells = [
            group[0]["masks"] + group[0]["images"]["validation"],
            group[0]["images"].get("unlabelled", 0),
            f"`{method}`",
            interval(dice_interval(mean_dice(group))),
            f"{np.mean([facts['training_minutes'] for facts in group]):.0f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def markdown(found, recipe, args):
    """Return what was found as Markdown."""
    steps = sorted({facts["steps"] for facts in found})
    return "\n".join(
        [
            f"`{common.command()}`",
            "",
            f"{found[0]['reported']} images to report in each case. Recipe `{recipe.name}` at "
            f"{recipe.size} pixels, batch {recipe.batch_size}, {steps[0]} to {steps[-1]} steps a "
            f"run, {args.validation:g} of the labelled images to choose on, "
            f"{on_machines(found)}",
            "",
            HEAD,
            "|---" * HEAD.count(" | ") + "|---|",
            *rows(found),
        ]
    )


def add_training_options(add):
    """Add the options of how runs are trained."""
    add("--recipe", default="pretrained-fast", choices=kg.recipes.names())
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the recipe")
    add("--steps", type=int, default=400, help="of a run (400)")
    add("--checks", type=int, default=10, help="validations in a run, one an epoch (10)")
    add("--validation", type=float, default=0.2, help="share of the labelled images (0.2)")


def settings_of(args):
    """Return the recipe that options describe, and the settings of `train`."""
    check_number("--validation", args.validation, above=0, below=1)
    for name in ("steps", "checks"):
        check_whole_number(f"--{name}", getattr(args, name), 1)
    fields = {"size": 128, "unlabelled_rampup": args.steps // 5, **runs.settings_from(args.set)}
    recipe = kg.recipes.get(args.recipe, **fields)
    return recipe, (args.data, args.test_names, args.validation, args.steps, args.checks)


def title_of(args):
    """Return what distinguishes the table from others on the page."""
    held_out = args.held_out and f"without masks of {' or '.join(args.held_out)} in turn"
    labels = held_out or f"{' and '.join(map(str, args.labels))} labels"
    seeds = "one seed" if len(args.seeds) == 1 else f"{len(args.seeds)} seeds"
    return f"{pathlib.Path(args.data).name}, {labels}, {seeds}, {args.recipe}"


def finished(place, recipe, function, *work, keep_model):
    """Return the facts of a run with its folder; exit if it failed or was trained otherwise."""
    facts = facts_of(place, function, *work, keep_model=keep_model)
    if facts is None:
        sys.exit(f"{place.name} failed; see above")
    recipe = dataclasses.replace(recipe, epochs=facts["recipe"]["epochs"])
    if kg.recipes.Recipe(**facts["recipe"]) != recipe:
        sys.exit(f"'{place}' was trained otherwise. Pass another --results")
    return {**facts, "folder": place}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_data_options(add)
    add("--labels", type=int, nargs="+", default=[88], help="numbers of labelled images (88)")
    add("--held-out", nargs="+", metavar="GROUP", help="in place of --labels: groups in turn")
    add("--methods", nargs="+", default=[FLOOR, CEILING, "cutmix"], help=", ".join(METHODS))
    add("--seeds", type=int, nargs="+", default=[0], help="a run of each (0)")
    add_training_options(add)
    add("--results", type=pathlib.Path, help="folder for everything that is written")
    add("--keep-models", action="store_true", help="keep the network of each run")
    add("--write", action="store_true", help="put the table into docs/gan.md")
    args = parser.parse_args()
    recipe, settings = settings_of(args)
    recipes = {
        method: dataclasses.replace(recipe, **method_fields(method)) for method in args.methods
    }
    folder = args.results or ROOT / "results" / "few_labels" / args.recipe
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"recipe": dataclasses.asdict(recipe), "settings": [str(x) for x in settings[1:]]}
    check_settings(folder, kept)
    found = []
    for case in args.held_out or args.labels:
        for method, its_recipe in recipes.items():
            for seed in args.seeds:
                one = dataclasses.replace(its_recipe, seed=seed)
                place = folder / f"{slug(str(case))}-{slug(method)}-seed-{seed}"
                work = method, one, case, settings
                facts = finished(place, one, train, *work, keep_model=args.keep_models)
                found.append(facts)
                print(
                    f"{case}, {method}, seed {seed}: Dice "
                    f"{facts['scores']['dice']['mean']:.3f}, validation "
                    f"{facts['validation_dice']:.3f}, {60 * facts['training_minutes']:.0f} s",
                    flush=True,
                )
    text = markdown(found, recipe, args)
    write_file(folder / "table.md", text + "\n")
    (folder / "runs.json").write_text(
        json.dumps([{**facts, "folder": facts["folder"].name} for facts in found], indent=1)
    )
    print(f"\n{text}\n\nEverything is in {folder}/")
    if args.write:
        title = title_of(args)
        page = ROOT / "docs" / "gan.md"
        put_titled(page, "few-labels", title, text)
        if not args.held_out:
            page, line = ROOT / "docs" / "hundred-labels.md", f"`{common.command()}`"
            put_titled(page, "few-labels-short", title, f"{short(found)}\n\n{line}")


if __name__ == "__main__":
    run_script(main)

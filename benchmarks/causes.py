"""Which rule shows a known shortcut? Networks trained on scenes with a known cause.

Example:
    python benchmarks/causes.py --cues marker frame --write
    python benchmarks/causes.py --cues marker --seeds 0 --epochs 10

In every scene one of two look-alike polyps is in the mask, and a planted cue says which one (see
`kerasgan.data.planted`). For each cue and seed a network is trained on such scenes, and one on
clean scenes, where a sign on the polyp decides. A network counts only if it uses its cue:
reversing the cue must change the prediction. Then, for every rule and control:
    recovery    fraction of the absolute relevance outside both networks' target that lies on the
                cause, over the cause's fraction of that area: 1 for a uniform map
    above clean the same, less that of the clean network on clean scenes
    faithful    `pixels dice gap` of kerasgan.evaluation.faithfulness
    cost        time of an explanation, in plain gradients, the least of three calls of each
and what `kerasgan.evaluation.shortcuts` reports, for planted and clean scenes.
Each network's rows are kept in --results, so a stopped run goes on.
"""

import argparse
import collections
import dataclasses
import functools
import os
import pathlib
import tempfile
import time
import timeit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg
from kerasgan.evaluation.benchmark import ExplanationBenchmark
from kerasgan.evaluation.faithfulness import areas

RULES = ("epsilon", "gamma", "z-plus", "alpha2beta1", "epsilon-plus", "epsilon-gamma-box")
NAMED = {"marker": "text", "frame": "border"}
planted = kg.data.planted


def trained(samples, args, seed):
    """Train a network on scenes as they are, but for light: all else would move or hide a cue."""
    nothing = dict.fromkeys((field.name for field in dataclasses.fields(kg.data.Augmentation)), 0.0)
    augment = kg.data.Augmentation(**{**nothing, "brightness": 0.1, "contrast": 0.1})
    recipe = kg.recipes.get(
        "fast", size=args.size, filters=args.filters, epochs=args.epochs, seed=seed
    )
    train, val = samples.split(0.1, seed=0)
    gan = recipe.build()
    batches = train.batches(recipe.batch_size, size=args.size, augment=augment, seed=seed)
    gan.fit(batches, epochs=args.epochs, verbose=0)
    table = kg.evaluate(gan, val, verbose=False)
    return gan, float(table["dice"].mean())


def turned(gan, cue, args, seed, clean):
    """Return the Dice of predictions with the right mask after the cue is reversed."""
    dice = []
    for index in range(args.test):
        image, mask, _ = planted.scene(cue, args.size, (seed, 10**6 + index), clean, flip=True)
        found = kg.predict(gan, image[None] / np.float32(127.5) - 1)[0]
        both = 2 * (found & (mask > 0)).sum()
        dice.append(both / max(1, found.sum() + mask.sum()))
    return float(np.mean(dice))


def measured(gan, cue, args, seed, clean):
    """Return a row for every method: recovery, faithfulness, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        samples = planted.write_dataset(
            pathlib.Path(folder) / "test", cue, args.test, args.size, 10**6 + seed, clean
        )
        twin = [planted.scene(cue, args.size, (10**6 + seed, i))[2] for i in range(args.test)]
        places = dict(zip(samples.names, twin))
        benchmark = ExplanationBenchmark(gan, samples, list(args.rules), seed=seed, verbose=False)
        seconds = collections.defaultdict(float)

        def measure(batch, maps):
            cause = np.stack([places[name] for name in batch.names])
            outside = ~batch.region
            if cue == "texture":
                outside = np.ones_like(outside)  # the cause lies on the target
            sizes = np.abs(maps) * outside
            with np.errstate(invalid="ignore", divide="ignore"):
                share = (sizes * cause).sum((1, 2)) / sizes.sum((1, 2))
                area = (cause & outside).sum((1, 2)) / outside.sum((1, 2))
                recovery = np.where(batch.region.any((1, 2)), share / area, np.nan)
            gap = areas(batch, maps, steps=args.steps, seed=seed)["pixels dice gap"]
            return {"recovery": recovery, "faithful": gap}

        table = benchmark.table(benchmark.each(measure))
        batch = next(iter(benchmark))
        for name, explainer in benchmark.explainers.items():
            calls = functools.partial(explainer.explain, batch.images, batch.weights, layers=())
            seconds[name] = min(timeit.repeat(calls, number=1, repeat=3))
        tests = kg.evaluation.shortcuts(gan, samples, verbose=False).tests
        called = " ".join(tests["region"][tests["shortcut"]])
    means = table.groupby(["method", "kind", "metric"])["value"].mean().unstack("metric")
    means["cost"] = [seconds[method] / seconds["gradient"] for method, _ in means.index]
    return means.reset_index().assign(called=called)


def one(cue, seed, clean, args, folder):
    """Train and judge a network, or read what was kept of it."""
    file = folder / f"{cue}-{'clean' if clean else 'planted'}-seed{seed}.csv"
    if file.is_file():
        return pd.read_csv(file, converters={"called": str})
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scenes:
        samples = planted.write_dataset(
            pathlib.Path(scenes) / "train", cue, args.count, args.size, seed, clean
        )
        gan, dice = trained(samples, args, seed)
    table = measured(gan, cue, args, seed, clean)
    table = table.assign(
        cue=cue, seed=seed, clean=clean, dice=dice, turned=turned(gan, cue, args, seed, clean)
    )
    kg.evaluation.save_table(table, file)
    print(
        f"{file.stem}: Dice {dice:.2f}, cue reversed {table['turned'][0]:.2f}, reported: "
        f"{table['called'][0] or 'nothing'}, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    keras.backend.clear_session()
    return table


def as_markdown(table, args):
    """Return what the networks learned, and the table of methods."""
    lines = [
        "| cue | scenes | Dice | Dice, cue reversed | cue reported | other regions reported |",
        "|---|---|---|---|---|---|",
    ]
    nets = table.drop_duplicates(["cue", "seed", "clean"])
    for (cue, clean), part in nets.groupby(["cue", "clean"], sort=False):
        counts = collections.Counter(" ".join(part["called"]).split())
        own = counts.pop(NAMED.get(cue), 0)
        cells = [
            cue,
            "clean" if clean else "planted",
            f"{part['dice'].mean():.2f}",
            f"{part['turned'].mean():.2f}",
            f"{own} of {len(part)}" if cue in NAMED else "",
            ", ".join(f"{name} {count} of {len(part)}" for name, count in counts.items()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    used = nets[(nets["turned"] > 0.5) & ~nets["clean"]].set_index(["cue", "seed"]).index
    keys = ["cue", "seed", "method"]
    clean = table[table["clean"]].set_index(keys)["recovery"]
    rows = table[~table["clean"]].set_index(keys)
    rows = rows[[key[:2] in used for key in rows.index]]
    rows["above clean"] = rows["recovery"] - clean.reindex(rows.index)
    shown = ["recovery", "above clean", "faithful", "cost"]
    head = ["method", *(f"{name}, {cue}" for cue in args.cues for name in shown[:2]), *shown[2:]]
    lines += ["", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method, kind in table[["method", "kind"]].drop_duplicates().values:
        part = rows[rows.index.get_level_values("method") == method]
        cells = []
        for cue in args.cues:
            of_cue = part[part.index.get_level_values("cue") == cue]
            for name in shown[:2]:
                values = of_cue[name]
                cells.append(
                    f"{values.mean():.2f} ± {values.std():.2f}" if values.notna().any() else ""
                )
        for name, digits in (("faithful", 2), ("cost", 1)):
            value = part[name].mean()
            cells.append(
                "" if np.isnan(value) or (name, value) == ("cost", 0) else f"{value:.{digits}f}"
            )
        shown_method = f"`{method}`" if kind == "rule" else f"*{method}*"
        lines.append(f"| {shown_method} | " + " | ".join(cells) + " |")
    if not len(used):
        lines += ["", "No network used its cue (Dice above 0.5 with the cue reversed)."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cues", nargs="*", default=planted.CUES, choices=planted.CUES, help="which cues")
    add("--rules", nargs="*", default=RULES, help="names of rules")
    add("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4], help="0 1 2 3 4")
    add("--size", type=int, default=64, help="of the scenes (64)")
    add("--filters", type=int, default=16, help="width of the networks (16)")
    add("--count", type=int, default=400, help="scenes to train on (400)")
    add("--test", type=int, default=48, help="test scenes (48)")
    add("--epochs", type=int, default=25, help="of training (25)")
    add("--steps", type=int, default=8, help="of the removal curves (8)")
    add("--results", default="results/causes", help="folder for what each network gave")
    add("--mark", default="causes", help="which marks of docs/shortcuts.md (causes)")
    add("--write", action="store_true", help="put the tables into docs/shortcuts.md")
    args = parser.parse_args()
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        one(cue, seed, clean, args, folder)
        for cue in args.cues
        for seed in args.seeds
        for clean in (False, True)
    ]
    text = (
        f"{args.size} px, {args.filters} filters, {args.count} scenes, {args.epochs} epochs, "
        f"{args.test} test scenes, seeds {', '.join(map(str, args.seeds))}, TensorFlow "
        f"{tf.__version__}, {os.cpu_count()} processors.\n\n"
    )
    text += as_markdown(pd.concat(tables, ignore_index=True), args)
    print(text)
    if args.write:
        put(ROOT / "docs" / "shortcuts.md", args.mark, text)


if __name__ == "__main__":
    main()

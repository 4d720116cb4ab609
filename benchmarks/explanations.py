"""Evaluate explanations of a trained network on real images, and search for shortcuts.

Example:
    python benchmarks/explanations.py --model results/polyp/model --data kvasir-seg \
        --names kvasir-seg/splits/val.txt --mark polyps --write
    python benchmarks/explanations.py --model results/instrument_OP*/model --data endovis15-rigid \
        --mark instruments --objects --write

Prints, for every rule and control, faithfulness, localisation, context and complexity, each with
its 95 % bootstrap interval over images; then the findings of the shortcut search for text, squares,
borders and highlights. Of several models, each is evaluated on the test images of its own run
(`scores.csv` beside it), and all images count together. With --write the tables go
between the marks of docs/benchmark-rules.md and the figure to docs/assets/results. Finished batches
are kept in --results, so a stopped run goes on.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import tensorflow as tf
from pages import put
from PIL import Image
from results import ROOT

import kerasgan as kg

RULES = ("epsilon", "gamma", "z-plus", "alpha2beta1", "epsilon-plus", "epsilon-gamma-box")
SHOWN = {
    "pixels dice gap": "faithfulness, Dice",
    "pixels logit gap": "faithfulness, logit",
    "mass in truth": "mass in truth",
    "rank in truth": "rank in truth",
    "outside": "outside",
    "excess": "excess",
    "sparseness": "sparseness",
}


OBJECTS = ("own", "others", "beside", "elsewhere", "excess")


def measured(model, samples, args, kept):
    """Return one table with every question's rows, and the seconds that each took."""
    options = {"size": args.size, "batch_size": args.batch, "seed": args.seed}
    evaluation, seconds, tables = kg.evaluation, {}, []
    for name, question, more in (
        ("faithfulness", evaluation.faithfulness, {"steps": args.steps, "baseline": args.baseline}),
        ("localisation", evaluation.localisation, {"region": "truth"}),
        ("context", evaluation.context, {}),
        ("complexity", evaluation.complexity, {}),
    ):
        start = time.perf_counter()
        folder = kept / name
        tables.append(question(model, samples, list(args.rules), folder=folder, **more, **options))
        seconds[name] = time.perf_counter() - start
    table = pd.concat(tables, ignore_index=True)
    return table[~table["method"].str.startswith("target blurred")], seconds


def as_markdown(table, shown):
    """Return means and intervals, a row a method and a column a metric."""
    summary = kg.evaluation.summarize_maps(table[table["metric"].isin(shown)])
    lines = ["| method | " + " | ".join(shown.values()) + " |", "|---" * (1 + len(shown)) + "|"]
    for method in table["method"].unique():
        rows = summary[summary["method"] == method].set_index("metric")
        cells = [
            f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
            for row in (rows.loc[metric] for metric in shown)
        ]
        rule = rows["kind"].iloc[0] == "rule"
        lines.append(f"| {f'`{method}`' if rule else f'*{method}*'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tasks(args):
    """Yield every model with its name and the images to judge it on."""
    samples = kg.data.load_folder(args.data)
    for place in map(pathlib.Path, args.model):
        some = samples
        if args.names:
            _, some = samples.split_by_names(args.names)
        elif len(args.model) > 1:
            names = set(pd.read_csv(place.parent / "scores.csv", dtype={"name": str})["name"])
            some = samples[[i for i, name in enumerate(samples.names) if name in names]]
        if args.count and args.count < len(some):
            some = some[[round(i * len(some) / args.count) for i in range(args.count)]]
        yield place.parent.name, kg.SegmentationGAN.load(place), some


def judged(name, model, samples, args):
    """Return the tables of maps and of objects, and the sentences on shortcuts."""
    kept = pathlib.Path(args.results)
    kept = kept / name if len(args.model) > 1 else kept
    options = {"size": args.size, "batch_size": args.batch, "seed": args.seed}
    table, seconds = measured(model, samples, args, kept)
    objects = pd.DataFrame()
    if args.objects:
        start = time.perf_counter()
        objects = kg.evaluation.relevance_between_objects(
            model, samples, list(args.rules), **options
        )
        objects = objects[~objects["method"].str.startswith("target blurred")]
        seconds["objects"] = time.perf_counter() - start
    start = time.perf_counter()
    found = kg.evaluation.shortcuts(model, samples, folder=kept / "shortcuts", **options)
    seconds["shortcuts"] = time.perf_counter() - start
    print(", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()), "(less if kept)")
    return table, objects, found.findings


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, nargs="+", help="folders of saved models")
    add("--data", required=True, help="folder of images and masks")
    add("--names", help="text file of names to report on; all if left out")
    add("--rules", nargs="*", default=RULES, help="names of rules")
    add("--count", type=int, help="only so many images, evenly spaced by name")
    add("--steps", type=int, default=10, help="of the removal curves (10)")
    add("--baseline", default="blur", help="what pixels are replaced by (blur)")
    add("--size", type=int, help="where the network takes any size")
    add("--batch", type=int, default=8, help="images at once (8)")
    add("--seed", type=int, default=0, help="of ties, noise, controls (0)")
    add("--results", default="results/explanations", help="folder for finished batches")
    add("--mark", default="polyps", help="which marks of docs/benchmark-rules.md (polyps)")
    add("--objects", action="store_true", help="also one object's relevance on the others")
    add("--write", action="store_true", help="put the tables into docs/benchmark-rules.md")
    args = parser.parse_args()
    names, tables, objects, findings = zip(
        *((name, *judged(name, model, samples, args)) for name, model, samples in tasks(args))
    )
    table, objects = pd.concat(tables, ignore_index=True), pd.concat(objects, ignore_index=True)
    parts = [
        f"{table['name'].nunique()} images, {args.steps} steps, baseline {args.baseline}, seed "
        f"{args.seed}, TensorFlow {tf.__version__}, {os.cpu_count()} processors.",
        as_markdown(table, SHOWN),
    ]
    if args.objects:
        parts += [
            f"Objects of the prediction explained one by one, in the {objects['name'].nunique()} "
            "images with two or more:",
            as_markdown(objects, dict(zip(OBJECTS, OBJECTS))),
        ]
    for name, sentences in zip(names, findings):
        parts += [f"Shortcuts of `{name}`:"] if len(names) > 1 else []
        parts.append("\n".join(f"- {sentence}" for sentence in sentences))
    text = "\n\n".join(parts)
    print(text)
    if not args.write:
        return
    place = ROOT / "docs" / "assets" / "results" / f"explanations_{args.mark}.jpg"
    picture = place.with_suffix(".png")
    kg.report.method_figure(table, picture, metrics=list(SHOWN))
    with Image.open(picture) as image:
        image.convert("RGB").save(place, quality=85, optimize=True)
    picture.unlink()
    caption = "Means and intervals of each metric, for rules and controls"
    text += f"\n\n![{caption}](assets/results/{place.name})"
    put(ROOT / "docs" / "benchmark-rules.md", args.mark, text)


if __name__ == "__main__":
    main()

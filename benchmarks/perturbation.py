"""Rank Grad-CAM, occlusion and RISE beside the default rule, gradients and controls.

Example:
    python benchmarks/perturbation.py --run results/polyp_fast --data kvasir-seg --write

The run is a folder that a script in examples/ wrote. Faithfulness is measured on every second
validation image, evenly spaced by name, which no page reports on. With --settings the other images
are used to compare settings of the three methods; their defaults were chosen in this way. With
--write the table goes between the marks of docs/benchmark-rules.md, and the maps to
docs/assets/results/methods.jpg.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from default_rule import parts
from pages import put
from results import ROOT
from rules import grid

import kerasgan as kg
from kerasgan.explain import RISE, GradCAM, Occlusion

RULES = ("epsilon-gamma-box", "grad-cam", "occlusion", "rise", "input-x-gradient")
SETTINGS = [
    *(GradCAM(layer) for layer in ("down_3", "down_4", "down_5", "up_1", "up_2", "up_3", None)),
    *(Occlusion(patch) for patch in (8, 16, 32)),
    *(Occlusion(fill=fill) for fill in (-1, 0)),
    *(RISE(masks) for masks in (300, 1000)),
    *(RISE(cells=12), RISE(fill=-1)),
]
METRICS = {"pixels dice gap": "faithfulness, Dice", "pixels logit gap": "faithfulness, logit"}


def as_markdown(summary):
    """Return a row a method: means with intervals."""
    lines = [f"| method | {' | '.join(METRICS.values())} |", "|---|---|---|"]
    first = summary[summary["metric"] == next(iter(METRICS))]
    for method, kind in first.sort_values("mean", ascending=False)[["method", "kind"]].values:
        cells = []
        for metric in METRICS:
            row = summary[(summary["metric"] == metric) & (summary["method"] == method)].iloc[0]
            cells.append(f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})")
        name = f"`{method}`" if kind == "rule" else f"*{method}*"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(model, samples):
    """Draw the maps of five images by every method."""
    images = next(iter(samples.batches(5, size=model.input_shape[1:3], shuffle=False)))[0].numpy()
    found = {rule: kg.Explainer(model, rule).explain(images, verbose=False) for rule in RULES}
    maps = {rule: explanation.relevance.sum(-1) for rule, explanation in found.items()}
    masks = found[RULES[0]].prediction[..., 0]
    grid(images, masks, maps, ROOT / "docs" / "assets" / "results" / "methods.jpg")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", required=True, type=pathlib.Path, help="folder of a run")
    add("--data", required=True, help="folder of images and masks")
    add("--count", type=int, default=8, help="images (8)")
    add("--steps", type=int, default=8, help="of the removal curves (8)")
    add("--baseline", default="blur", help="what pixels are replaced by (blur)")
    add("--settings", action="store_true", help="compare settings, on other images")
    add("--results", help="folder for finished batches")
    add("--write", action="store_true", help="put the table into docs/benchmark-rules.md")
    args = parser.parse_args()

    model = kg.SegmentationGAN.load(args.run / "model").generator
    samples = parts(args.run, args.data)["validation"]
    places = np.linspace(0, len(samples) - 1, 2 * args.count).astype(int)
    samples = samples[places[0 if args.settings else 1 :: 2]]
    rules = SETTINGS if args.settings else list(RULES)
    table = kg.evaluation.faithfulness(
        model, samples, rules, steps=args.steps, baseline=args.baseline, folder=args.results
    )
    summary = kg.evaluation.summarize_maps(table)
    text = (
        f"{len(samples)} validation images of `{args.run.name}`, {args.steps} steps, baseline "
        f"{args.baseline}, seed 0, TensorFlow {tf.__version__}, {os.cpu_count()} processors.\n\n"
        f"{as_markdown(summary)}"
    )
    print(text)
    if args.write and not args.settings:
        draw(model, samples)
        put(ROOT / "docs" / "benchmark-rules.md", "methods", text)


if __name__ == "__main__":
    main()

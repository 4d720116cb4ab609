"""Measure the dotted lattice of heatmaps: which layers draw it, and which composites draw less.

Example:
    python benchmarks/lattice.py --data kvasir-seg --write

Networks are trained on the training part into --results where they are not there yet: the recipe
`fast` with three seeds, `fast` with a U-Net of max pooling, and `pix2pix`, all at 128 px with 16
filters and few epochs. Maps are measured on images of the validation part, which no page reports.

- The lattice number compares the power of a map's spectrum within 1/16 cycle per pixel of the
  frequencies of a pattern that repeats every two pixels (or every four) with the power in the ring
  from 1/16 to 1/8 round them. About 1 is no lattice.
- The brightest position is the share of absolute relevance on one of the four positions of every
  block of 2 x 2 pixels, times four. 1 is even.

A candidate is better than the default if its lattice number is below the default's in every
network, and the 95 % bootstrap interval of its loss of faithfulness (the gaps in Dice and in logit,
image by image) does not lie wholly below 0. With --write the tables go between the marks of
docs/heatmap-limits.md.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg
from kerasgan.evaluation.benchmark import ExplanationBenchmark
from kerasgan.evaluation.bootstrap import interval, resampled_means
from kerasgan.evaluation.faithfulness import areas
from kerasgan.explain import Composite, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from kerasgan.explain.composites import EpsilonGammaBox, anything, dense, first, last

NETWORKS = {
    "fast_0": ("fast", 0, 8, {}),
    "fast_1": ("fast", 1, 8, {}),
    "fast_2": ("fast", 2, 8, {}),
    "unet_0": ("fast", 0, 5, {"generator": "unet"}),
    "pix2pix_0": ("pix2pix", 0, 6, {}),
}
GAPS = {"pixels dice gap": "Dice", "pixels logit gap": "logit"}
DEFAULT = "epsilon-gamma-box"
BOX = ZBox(-1, 1, widen=True)
KINDS = {
    "Conv2DBackpropInput": "transposed convolution",
    "MaxPool": "max pooling",
    "AvgPool": "mean pooling",
    "ResizeBilinear": "bilinear upsampling",
}


def strided(node):
    """Fit convolutions that halve the image, but for one on the pixels themselves."""
    steps = node.main.attributes["strides"].list.i if node.main.kind == "Conv2D" else [1]
    return max(steps) > 1 and not node.first


class Changed(EpsilonGammaBox):
    """The default composite with another rule on pixels, or on convolutions of stride two."""

    def __init__(self, pixels=BOX, halving=None):
        ahead = [] if halving is None else [(strided, halving)]
        rules = [*ahead, (first, pixels), (dense, Epsilon()), (last, Epsilon())]
        Composite.__init__(self, *rules, (anything, Gamma(0.25)))


CANDIDATES = {
    DEFAULT: DEFAULT,
    "pixels: w-square": Changed(WSquare()),
    "pixels: flat": Changed(Flat()),
    "stride two: z-plus": Changed(halving=ZPlus()),
    "stride two: gamma 0.1": Changed(halving=Gamma(0.1)),
    "gamma": "gamma",
}


def lattice(maps, period=2):
    """Return the lattice number of each map (batch, height, width)."""
    power = np.abs(np.fft.fft2(np.asarray(maps, np.float64))) ** 2
    down, across = (np.fft.fftfreq(side) for side in power.shape[1:])
    numbers = []
    for y, x in np.ndindex(period, period):
        if (2 * y % period, 2 * x % period) == (0, 0) and (period > 2 or y == x == 0):
            continue  # no pattern, or one of a shorter period
        away = np.hypot(
            *np.meshgrid(
                *((f - k / period + 0.5) % 1 - 0.5 for f, k in ((down, y), (across, x))),
                indexing="ij",
            )
        )
        near, ring = away < 1 / 16, (away >= 1 / 16) & (away < 1 / 8)
        numbers.append(power[:, near].mean(1) / np.maximum(power[:, ring].mean(1), 1e-300))
    return np.mean(numbers, 0)


def brightest(maps):
    """Return how much of each map lies on its brightest position of 2 x 2, times four."""
    sizes = np.abs(maps)
    count, height, width = sizes.shape
    parts = sizes.reshape(count, height // 2, 2, width // 2, 2).sum((1, 3)).reshape(count, 4)
    return 4 * parts.max(1) / np.maximum(parts.sum(1), 1e-300)


def trained(name, folder, training, validation):
    """Return a network, trained if it is not there."""
    if not (folder / name).is_dir():
        recipe, seed, epochs, options = NETWORKS[name]
        keras.utils.set_random_seed(seed)
        options = {"size": 128, "filters": 16, "precision": "bfloat16", **options}
        recipe = kg.recipes.get(recipe, seed=seed, epochs=epochs, ema_momentum=0.99, **options)
        gan = recipe.build()
        batches = training.batches(8, size=128, augment=recipe.augmentation(), seed=seed)
        gan.fit(
            batches,
            validation_data=validation.batches(8, size=128),
            epochs=epochs,
            verbose=2,
        )
        gan.save(folder / name)
    return kg.SegmentationGAN.load(folder / name).generator


def measured(benchmark, model, folder, steps):
    """Return lattice numbers and faithfulness of every candidate and control, image by image."""

    def measure(batch):
        for method, maps in benchmark.maps(batch):
            values = {name: areas(batch, maps, steps=steps, seed=0)[name] for name in GAPS}
            values.update({f"lattice {p}": lattice(maps, p) for p in (2, 4)})
            yield method, {**values, "brightest": brightest(maps)}

    benchmark.explainer.model.set_weights(model.get_weights())
    benchmark.folder = folder
    return benchmark.table(measure, facts={"steps": steps})


def by_kind(explainer, images):
    """Return the lattice number of the relevance that enters and leaves layers, by their kind."""
    e, graph = explainer.explain(images), explainer.graph
    makers = {node.output: node.name for node in graph.nodes}
    takers = {}
    for node in graph.nodes:
        for value in node.inputs:
            takers.setdefault(value, []).append(node)
    rows = []
    for value, nodes in takers.items():
        inward = e.relevance if value in graph.images else e.layers.get(makers.get(value, ""))
        outward = e.layers.get(nodes[0].name)
        if len(nodes) > 1 or inward is None or outward is None or outward.ndim != 4:
            continue
        if inward.ndim != 4 or min(inward.shape[1], outward.shape[1]) < 32:
            continue
        node = nodes[0]
        kind = KINDS.get(node.main.kind, "")
        if node.main.kind == "Conv2D":
            stride = max(node.main.attributes["strides"].list.i)
            kind = f"convolution of stride {stride}" + ", on pixels" * node.first
        if kind:
            before, after = (np.median(lattice(m.sum(-1))) for m in (outward, inward))
            rows.append((kind, before, after))
    return pd.DataFrame(rows, columns=["kind", "before", "after"])


def compared_with_default(table):
    """Return a row for each method, its loss against the default in it, and what is better."""
    rows, better, numbers = {}, [], ("lattice 2", "lattice 4", "brightest")
    wide = table.pivot_table("value", ["network", "name"], ["metric", "method"])
    networks = table.groupby(["metric", "method", "network"])["value"].median().unstack()
    for method in table["method"].unique():
        row = {name: f"{wide[name][method].median():.2f}" for name in numbers}
        below = (networks.loc["lattice 2", method] < networks.loc["lattice 2", DEFAULT]).all()
        keeps = True
        for metric, name in GAPS.items():
            row[name] = f"{wide[metric][method].mean():.3f}"
            gain = (wide[metric][method] - wide[metric][DEFAULT]).dropna().to_numpy()[:, None]
            drawn = resampled_means(gain, 2000, 0)[:, 0]
            low, high = interval(drawn, 0.95, len(gain))
            keeps &= high >= 0
            row[f"{name}, against the default"] = f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})"
        rows[method] = row
        if method in CANDIDATES and method != DEFAULT and below and keeps:
            better.append(method)
    return pd.DataFrame(rows).T, better


def as_markdown(table, heading):
    """Return a table as text, candidates in code and controls in italics."""
    lines = [f"| {heading} | " + " | ".join(table) + " |", "|---" * (1 + table.shape[1]) + "|"]
    for name, row in table.iterrows():
        shown = f"`{name}`" if name in CANDIDATES else f"*{name}*" if heading == "rule" else name
        lines.append(f"| {shown} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, type=pathlib.Path, help="folder of Kvasir-SEG")
    add("--results", type=pathlib.Path, default="results/lattice", help="networks and batches")
    add("--count", type=int, default=16, help="images (16)")
    add("--steps", type=int, default=8, help="of the removal curves (8)")
    add("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    add("--write", action="store_true", help="put the tables into docs/heatmap-limits.md")
    args = parser.parse_args()
    rest, _ = kg.data.load_folder(args.data).split_by_names(args.data / "splits" / "val.txt")
    training, validation = rest.split(0.1, seed=0)
    chosen = validation[np.linspace(0, len(validation) - 1, args.count).astype(int)]
    images = next(iter(chosen.batches(8, size=128, shuffle=False)))[0].numpy()
    known, tables, kinds = {}, [], []
    for name in args.networks:
        model = trained(name, args.results, training, validation)
        shape = str([tuple(w.shape) for w in model.weights])
        if shape not in known:
            known[shape] = ExplanationBenchmark(model, chosen, CANDIDATES, verbose=False)
        benchmark = known[shape]
        table = measured(benchmark, model, args.results / "batches" / name, args.steps)
        tables.append(table.assign(network=name))
        kinds.append(by_kind(benchmark.explainers[DEFAULT], images).assign(network=name))
        print(
            name,
            compared_with_default(tables[-1])[0].to_string(),
            kinds[-1].to_string(),
            sep="\n",
            flush=True,
        )
    table = pd.concat(tables)
    compared_rules, better = compared_with_default(table)
    layers = (
        pd.concat(kinds)
        .groupby("kind")
        .agg(
            layers=("kind", "size"),
            networks=("network", "nunique"),
            before=("before", "median"),
            after=("after", "median"),
        )
    )
    layers = layers.astype(object).map("{:.4g}".format)
    text = "\n\n".join(
        [
            f"{len(chosen)} validation images, networks {', '.join(args.networks)}, "
            f"{args.steps} steps, baseline blur, seed 0, TensorFlow {tf.__version__}, "
            f"{os.cpu_count()} processors. Medians of lattice numbers, means of faithfulness.",
            as_markdown(layers, "layer that relevance has passed"),
            as_markdown(compared_rules, "rule"),
            "Better than the default: "
            + (", ".join(f"`{name}`" for name in better) or "none")
            + ".",
        ]
    )
    print(text)
    if args.write:
        put(ROOT / "docs" / "heatmap-limits.md", "lattice", text)


if __name__ == "__main__":
    main()

"""Explain ten real masks by every rule: heatmaps side by side, and what can be counted in them.

Example:
    python benchmarks/rules.py --model results/polyp/model --data kvasir-seg \
        --names kvasir-seg/splits/val.txt

Writes docs/assets/results/rules_*.jpg and puts the table between the marks of
docs/benchmark-rules.md. The columns, each a mean over the images (NaN where a method reports none):
    pixels      relevance of the image / logits explained
    bias, stabiliser, unsupported   the rest of the relevance, over all layers, likewise
    remainder   the largest in any layer and image, over that layer's sum of absolute relevance
    inside      fraction of absolute relevance inside the predicted mask
    lift        the same, divided by the mask's fraction of the image: 1 for a uniform map
    similarity to mask, similarity to shuffled   Spearman correlation of absolute relevance with the
                predicted probability, and with the map of the rule for a shuffled network
    run s, build s   seconds of one run over all images, and of building before it
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pages import put
from PIL import Image
from results import ROOT, by_rule
from scipy import stats

import kerasgan as kg
from kerasgan.explain.draw import colour_bar, overlay, show, to_picture
from kerasgan.explain.perturbation import PERTURBATIONS


def shuffled(model, seed=0):
    """Return a copy of a network with the values of every weight in random order."""
    copy = keras.models.clone_model(model)
    rng = np.random.default_rng(seed)
    copy.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in model.get_weights()])
    return copy


def measure(model, other, images, rule):
    """Return heatmaps by one rule, summed over channels, and a row of the table."""
    start = time.perf_counter()
    explainer = kg.Explainer(model, rule=rule)
    explanation = explainer.explain(images, layers=())
    building = time.perf_counter() - start
    start = time.perf_counter()
    explainer.explain(images, layers=())
    seconds = time.perf_counter() - start
    maps = explanation.relevance.sum(-1)
    weights = explanation.target
    random = kg.Explainer(other, rule=rule).explain(images, weights, layers=()).relevance.sum(-1)
    explained = (explanation.logits * weights).sum((1, 2, 3))
    masks = explanation.prediction[..., 0]
    size = np.abs(maps)
    inside = (size * masks).sum((1, 2)) / size.sum((1, 2))
    row = {"pixels": np.mean(maps.sum((1, 2)) / explained)}
    if len(explanation.ledger):
        lost = explanation.ledger.groupby("image")[["bias", "stabiliser", "unsupported"]].agg(
            lambda values: values.sum(skipna=False)
        )
        row.update(lost.div(explained, axis=0).mean())
        left = explanation.ledger["remainder"] / explanation.ledger["absolute"]
        row["remainder"] = left.abs().max(skipna=False)
    row["inside"] = inside.mean()
    row["lift"] = np.mean(inside / masks.mean((1, 2)))
    pairs = {
        "similarity to mask": explanation.logits[..., 0],
        "similarity to shuffled": np.abs(random),
    }
    for name, others in pairs.items():
        found = [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(size, others)]
        row[name] = np.mean(found)
    row.update({"run s": seconds, "build s": building})
    return maps, row


def grid(images, masks, maps, path):
    """Draw one row an image, one column a rule: relevance over the image, up to its own limit."""
    rows, columns = len(images), 1 + len(maps)
    size = (1.15 * columns + 0.6, 1.15 * rows + 0.35)
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, (image, mask) in enumerate(zip(images, masks)):
        picture = to_picture(image)
        show(axes[row, 0], "image", picture, row, outline=mask)
        for axis, (name, relevance) in zip(axes[row, 1:], maps.items()):
            title = name.replace("-", "-\n", 1).replace("lrp.", "lrp.\n").replace("(", "\n(")
            show(axis, title, overlay(picture, relevance[row]), row, outline=mask, heat=True)
    for axis in axes[0]:
        axis.title.set_size(6)
    colour_bar(figure, axes)
    figure.savefig(path.with_suffix(".png"))
    with Image.open(path.with_suffix(".png")) as picture:
        small = picture.convert("RGB")
        small.thumbnail((2000, 2000), Image.LANCZOS)
        small.save(path, quality=70, optimize=True)
    path.with_suffix(".png").unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a saved model")
    parser.add_argument("--data", required=True, help="folder of images and masks")
    parser.add_argument("--names", help="text file of names to draw from; all if left out")
    parser.add_argument("--count", type=int, default=10, help="images, evenly spaced by name")
    names = [name for name in kg.explain.rule_names() if name not in PERTURBATIONS]
    text = "names (default: all but those that take hundreds of passes)"
    parser.add_argument("--rules", nargs="*", default=names, help=text)
    args = parser.parse_args()

    model = kg.SegmentationGAN.load(args.model).generator
    samples = kg.data.load_folder(args.data)
    if args.names:
        _, samples = samples.split_by_names(args.names)
    samples = samples[np.linspace(0, len(samples) - 1, args.count).astype(int)]
    images = next(iter(samples.batches(args.count, size=model.input_shape[1:3])))[0].numpy()
    masks = model(images).numpy()[..., 0] > 0
    other = shuffled(model)

    maps, rows = {}, {}
    progress = keras.utils.Progbar(len(args.rules), unit_name="rule")
    for rule in args.rules:
        maps[rule], rows[rule] = measure(model, other, images, rule)
        progress.add(1)
    folder = ROOT / "docs" / "assets" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    ours = {name: found for name, found in maps.items() if not name.startswith("lrp.")}
    theirs = {name: found for name, found in maps.items() if name.startswith("lrp.")}
    grid(images, masks, ours, folder / "rules_ours.jpg")
    grid(images, masks, theirs, folder / "rules_innvestigate.jpg")
    table = pd.DataFrame(rows).T
    put(ROOT / "docs" / "benchmark-rules.md", "results", by_rule(table))
    print(table.to_string(float_format="%.3g"))


if __name__ == "__main__":
    main()

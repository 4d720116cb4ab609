"""Which penalty removes a known shortcut during training?

Example:
    python benchmarks/out_of_bounds.py --write
    python benchmarks/out_of_bounds.py --seeds 0 --epochs 5

In the scenes to train on (`kerasgan.data.planted`, two look-alike polyps, one in the mask) a
burned-in marker near the upper or lower rim says which polyp it is; in half of them ridges on that
polyp say it too. Scenes with ridges whose marker points at the other polyp show which of the two a
network follows. These networks are trained with the same seeds and scenes:
    plain       without a penalty
    invariance  with `kerasgan.training.InvariancePenalty` on the upper and lower rim
    gradient    with `kerasgan.training.InputGradientPenalty` there
    relevance   with `kerasgan.explain.RelevancePenalty` there, rule gamma
    painted     as plain, the marker painted over in all scenes to train on: needs its place in each
The weight of each penalty is chosen with other seeds, as the one with the best Dice on scenes in
which both rims are painted over, which needs no scene where marker and ridges disagree. Each
network's row is kept in --results, so a stopped run goes on, and runs side by side with other
--seeds share what is there.
"""

import argparse
import functools
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg
from kerasgan.evaluation.artifacts import inpaint_regions

WEIGHTS = {"invariance": (3.0, 10.0, 30.0), "gradient": (1.0, 3.0, 10.0), "relevance": (3.0, 30.0)}
ARMS = ("plain", "invariance", "gradient", "relevance", "painted")
RIM = 0.15  # of the height: where a marker can lie
CHOOSING = 100  # seed of the scenes and networks that the weights are chosen on
planted = kg.data.planted


@functools.lru_cache(maxsize=4)
def scenes(kind, count, size, seed):
    """Return images in [-1, 1], masks and the markers' boxes.

    Of a kind: "agree", ridges and the marker at the same polyp; "against", at one polyp each, and
    the ridges are right; "bare", without ridges.
    """
    images, masks, boxes = [], [], []
    index = 0
    while len(images) < count:
        key = (seed, index)
        index += 1
        bare, _, box = planted.scene("marker", size, key)
        image, mask, _ = planted.scene("marker", size, key, clean=True)
        shines_through = np.abs(image[box] - bare[box].astype(float)).max()  # ridges, a little
        if kind == "bare" or (shines_through < 128) == (kind == "agree"):
            images.append(bare if kind == "bare" else image)
            masks.append(mask)
            boxes.append(box)
    images = np.stack(images) / np.float32(127.5) - 1
    return images, np.stack(masks)[..., None].astype(np.float32), np.stack(boxes)


def to_train_on(args, seed):
    """Return half of the scenes with ridges, and half without."""
    half = args.count // 2
    kinds = (
        scenes("agree", half, args.size, seed),
        scenes("bare", args.count - half, args.size, 10**5 + seed),
    )
    return [np.concatenate(both) for both in zip(*kinds)]


def rim(size):
    """Return the upper and the lower rim: float32 (size, size), 1 inside."""
    rows = np.abs(np.linspace(-0.5, 0.5, size)) > 0.5 - RIM
    return np.repeat(rows[:, None], size, 1).astype(np.float32)


def trained(arm, weight, data, args, seed):
    """Train a network; return it and the seconds of processor time that took."""
    images, masks, boxes = data
    if arm == "painted":
        images = inpaint_regions(images, boxes)
    region = rim(args.size)
    penalty = {
        "invariance": kg.training.InvariancePenalty(region),
        "gradient": kg.training.InputGradientPenalty(region),
        "relevance": kg.explain.RelevancePenalty(region, "gamma"),
    }.get(arm)
    network = kg.models.unet(size=args.size, filters=args.filters, seed=seed)
    gan = kg.SegmentationGAN(network)
    gan.compile(
        keras.optimizers.Adam(1e-3),
        losses={"cross_entropy": 1.0, "dice": 1.0},
        penalty=penalty,
        penalty_weight=weight if penalty else 0.0,
    )
    batches = tf.data.Dataset.from_tensor_slices((images, masks))
    batches = batches.shuffle(len(images), seed=seed).batch(args.batch, drop_remainder=True)
    start = time.process_time()
    gan.fit(batches, epochs=args.epochs, verbose=0)
    return gan, time.process_time() - start


def dice(gan, images, masks):
    found = np.concatenate([kg.predict(gan, part) for part in np.array_split(images, 4)])
    true = masks[..., 0] > 0
    return float(np.mean(2 * (found & true).sum((1, 2)) / (found.sum((1, 2)) + true.sum((1, 2)))))


def share(gan, images, boxes):
    """Return the mean share of absolute relevance, rule gamma, that lies on the marker."""
    explainer = kg.Explainer(gan, "gamma")
    shares = []
    for part, box in zip(np.array_split(images, 4), np.array_split(boxes, 4)):
        sizes = np.abs(explainer.explain(part, layers=()).relevance).sum(-1)
        shares.extend((sizes * box).sum((1, 2)) / sizes.sum((1, 2)))
    return float(np.nanmean(shares))


def one(arm, weight, seed, args, folder):
    """Train and measure a network, or read what was kept of it."""
    file = folder / f"{arm}-{weight:g}-seed{seed}.csv"
    if file.is_file():
        return pd.read_csv(file).iloc[0]
    gan, seconds = trained(arm, weight, to_train_on(args, seed), args, seed)
    test = scenes("agree", args.test, args.size, 10**6 + seed)
    against = scenes("against", args.test, args.size, 10**6 + seed)
    bare = scenes("bare", args.test, args.size, 2 * 10**6 + seed)
    rims = np.repeat(rim(args.size)[None] > 0, args.test, 0)
    row = {
        "arm": arm,
        "weight": weight,
        "seed": seed,
        "agree": dice(gan, *test[:2]),
        "against": dice(gan, *against[:2]),
        "bare": dice(gan, *bare[:2]),
        "rims painted": dice(gan, inpaint_regions(test[0], rims), test[1]),
        "share": share(gan, test[0], test[2]),
        "area": float(test[2].mean()),
        "seconds": seconds,
    }
    kg.evaluation.save_table(pd.DataFrame([row]), file)
    shown = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if isinstance(v, float))
    print(f"{arm}, seed {seed}: {shown}", flush=True)
    keras.backend.clear_session()
    return pd.read_csv(file).iloc[0]


def as_markdown(table, chosen):
    lines = [
        "| network | weight | Dice, cues agree | Dice, cues disagree | Dice, rims painted over | "
        "Dice, no ridges | relevance on the marker | training time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plain = table[table["arm"] == "plain"].set_index("seed")["seconds"]
    for arm in ARMS:
        part = table[table["arm"] == arm].set_index("seed")
        cells = [
            f"{part[name].mean():.2f} ± {part[name].std():.2f}"
            for name in ("agree", "against", "rims painted", "bare")
        ]
        cells.append(f"{100 * part['share'].mean():.1f} %")
        cells.append(f"{(part['seconds'] / plain).mean():.1f} x")
        lines.append(f"| {arm} | {chosen.get(arm, 0) or ''} | " + " | ".join(cells) + " |")
    lines.append(f"\nThe marker has {100 * table['area'].mean():.1f} % of the area.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4], help="0 1 2 3 4")
    add("--size", type=int, default=64, help="of the scenes (64)")
    add("--filters", type=int, default=8, help="width of the networks (8)")
    add("--count", type=int, default=400, help="scenes to train on (400)")
    add("--test", type=int, default=64, help="test scenes of each kind (64)")
    add("--epochs", type=int, default=30, help="of training (30)")
    add("--batch", type=int, default=8, help="scenes in a step (8)")
    add("--results", default="results/out_of_bounds", help="folder for what each network gave")
    add("--write", action="store_true", help="put the table into docs/shortcuts.md")
    args = parser.parse_args()
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    chosen, trials = {}, []
    for arm, weights in WEIGHTS.items():
        tried = [one(arm, weight, CHOOSING, args, folder) for weight in weights]
        chosen[arm] = float(max(tried, key=lambda row: row["rims painted"])["weight"])
        found = ", ".join(f"{row['weight']:g}: {row['rims painted']:.2f}" for row in tried)
        trials.append(f"{arm} {found}")
    rows = [
        one(arm, chosen.get(arm, 0.0), seed, args, folder) for seed in args.seeds for arm in ARMS
    ]
    text = (
        f"`unet` with {args.filters} filters at {args.size} px, {args.count} scenes, {args.epochs} "
        f"epochs, batch {args.batch}, {args.test} test scenes of each kind, seeds "
        f"{', '.join(map(str, args.seeds))} (mean ± standard deviation over networks), TensorFlow "
        f"{tf.__version__}, {os.cpu_count()} processors.\n\n"
    )
    text += as_markdown(pd.DataFrame(rows), chosen)
    text += (
        f" Weights tried, with the Dice by which they were chosen (seed {CHOOSING}): "
        f"{'; '.join(trials)}."
    )
    print(text)
    if args.write:
        put(ROOT / "docs" / "shortcuts.md", "penalty", text)


if __name__ == "__main__":
    main()

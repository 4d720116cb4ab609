"""Write a report about a trained model, or about several on the same images, for people."""

import argparse
import json
import pathlib

import common

import kerasgan as kg
from kerasgan.text import read_text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with images/ and, for scores, masks/")
    add("--names", help="text file of the images to report on; all if left out")
    add("--no-masks", action="store_true", help="report on images without true masks")
    add("--model", help="folder of a saved model")
    add(
        "--run",
        action="append",
        default=[],
        help="to compare: folder of a run, with a model in it, or of a saved model; two or more "
        "times, the first is what the others are held against; NAME=FOLDER to name it",
    )
    add("--out", default="report", help="folder to write")
    add("--card", help="JSON file: what only you know, such as intended_use and limits")
    both = [kg.explain.methods.DEFAULT_RULE, "epsilon"]
    add("--rules", nargs="+", default=both, help="rules to explain by")
    add("--shown", type=int, help="images shown in full, at most 40; 24, or 12 to compare")
    add("--limit", type=int, help="report on the first so many images only")
    add("--mode", default="stretch", help="stretch, letterbox or window, as for kg.predict")
    add("--augment", action="store_true", help="average over flips and right angles")
    add("--shortcuts", action="store_true", help="look for shortcuts too; takes longer")
    add("--overwrite", action="store_true", help="replace an earlier report")
    args = parser.parse_args()

    if (args.model is None) == (not args.run):
        raise kg.KerasganError("Pass --model, or --run two or more times to compare")
    if args.run and (args.card or args.shortcuts):
        raise kg.KerasganError("Arguments '--card' and '--shortcuts' are for one model, --model")
    if args.run:
        return compare(args)
    gan = kg.SegmentationGAN.load(args.model)
    samples = load(args, gan)
    card = read_card(args.card)
    found = kg.evaluation.shortcuts(gan, samples) if args.shortcuts else None
    page = kg.report.write(
        gan,
        samples,
        args.out,
        rules=args.rules,
        images=24 if args.shown is None else args.shown,
        mode=args.mode,
        augment=args.augment,
        card=card,
        shortcuts=found,
        overwrite=args.overwrite,
    )
    return page.parent


def compare(args):
    """Write the report about several models; return its folder."""
    models = {}
    for run in args.run:
        name, _, folder = ("", "", run) if pathlib.Path(run).exists() else run.rpartition("=")
        folder = pathlib.Path(folder)
        name = name or folder.resolve().name
        if name in models:
            raise kg.KerasganError(
                f"Argument '--run' must name every run once. Received: {name!r} twice; pass "
                "--run NAME=FOLDER"
            )
        inside = folder / "model"
        models[name] = kg.SegmentationGAN.load(inside if inside.is_dir() else folder)
    samples = load(args, next(iter(models.values()), None))
    page = kg.report.compare(
        models,
        samples,
        args.out,
        rules=args.rules,
        images=12 if args.shown is None else args.shown,
        mode=args.mode,
        augment=args.augment,
        overwrite=args.overwrite,
    )
    return page.parent


def load(args, gan):
    """Return the samples to report on, with the classes of a model."""
    masks = {"masks": None} if args.no_masks else {}
    samples = kg.data.load_folder(args.data, classes=gan.generator.output_shape[-1], **masks)
    if args.names:
        samples = samples.split_by_names(args.names)[1]
    return samples[: args.limit]


def read_card(path):
    if path is None:
        return None
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise kg.KerasganError(f"Argument '--card' must be a JSON file: {error}") from error


common.run(main)

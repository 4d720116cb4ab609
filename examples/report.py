"""Write a report about a trained model, for people: scores, failures, explanations, limits."""

import argparse
import json
import pathlib

import common

import kerasgan as kg


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with images/ and, for scores, masks/")
    add("--names", help="text file of the images to report on; all if left out")
    add("--no-masks", action="store_true", help="report on images without true masks")
    add("--model", required=True, help="folder of a saved model")
    add("--out", default="report", help="folder to write")
    add("--card", help="JSON file: what only you know, such as intended_use and limits")
    add("--rules", nargs="+", default=["z-plus", "epsilon"], help="rules to explain by")
    add("--cases", type=int, default=24, help="images shown in full, at most 40")
    add("--limit", type=int, help="report on the first so many images only")
    add("--shortcuts", action="store_true", help="look for shortcuts too; takes longer")
    add("--overwrite", action="store_true", help="replace an earlier report")
    args = parser.parse_args()

    gan = kg.SegmentationGAN.load(args.model)
    masks = {"masks": None} if args.no_masks else {}
    samples = kg.data.load_folder(args.data, classes=gan.generator.output_shape[-1], **masks)
    if args.names:
        samples = samples.split_by_names(args.names)[1]
    samples = samples[: args.limit]
    card = read_card(args.card)
    found = kg.evaluation.shortcuts(gan, samples) if args.shortcuts else None
    page = kg.report.write(
        gan,
        samples,
        args.out,
        rules=args.rules,
        cases=args.cases,
        card=card,
        shortcuts=found,
        overwrite=args.overwrite,
    )
    return page.parent


def read_card(path):
    if path is None:
        return None
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise kg.KerasganError(f"Argument '--card' must be a JSON file: {error}") from error


common.run(main)

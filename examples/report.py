"""Write a report about a trained model, or about several on the same images, for people."""

import argparse
import pathlib

import common

import kerasgan as kg
from kerasgan.cli import tasks


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
    add("--card", help="JSON file: what only you know; the card.json of a report, filled in")
    both = [kg.explain.methods.DEFAULT_RULE, "epsilon"]
    add("--rules", nargs="+", default=both, help="rules to explain by")
    add("--shown", type=int, help="images shown in full, at most 40; 24, or 12 to compare")
    add("--limit", type=int, help="report on the first so many images only")
    add("--mode", help="stretch, letterbox or window, as for kg.predict; as in training if not")
    add("--augment", action="store_true", help="average over flips and right angles")
    add("--shortcuts", action="store_true", help="look for shortcuts too; takes longer")
    add("--overwrite", action="store_true", help="replace an earlier report")
    args = parser.parse_args()

    options = vars(args)
    runs, model, data = (options.pop(name) for name in ("run", "model", "data"))
    if (model is None) == (not runs):
        raise kg.KerasganError("Pass --model, or --run two or more times to compare")
    if runs and (args.card or args.shortcuts):
        raise kg.KerasganError("Arguments '--card' and '--shortcuts' are for one model, --model")
    if runs:
        del options["card"], options["shortcuts"]
        answer = tasks.compare(data, models=runs, option="--run", **options)
    else:
        answer = tasks.report(data, model=model, **options)
    return pathlib.Path(answer.facts["page"]).parent


common.run(main)

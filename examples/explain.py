"""Show which pixels the masks of a trained model rest on, for a folder of images."""

import argparse

import common

import kerasgan as kg
from kerasgan.cli import tasks


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="a saved model, a run, or a bundle (.zip)")
    add("--images", required=True, help="folder of images; masks in it are not used")
    add("--results", default="results/explanations", help="folder for pictures and arrays")
    rules = ", ".join(kg.explain.rule_names())
    add("--rule", default=kg.explain.methods.DEFAULT_RULE, help=rules)
    add("--target", default="prediction", help="what to explain: prediction, border")
    add("--layers", nargs="*", help="layers to show, such as down_2 down_4; three if left out")
    add("--limit", type=int, help="explain only the first so many images")
    options = vars(parser.parse_args())
    return tasks.explain(options.pop("images"), out=options.pop("results"), **options).facts[
        "folder"
    ]


common.run(main)

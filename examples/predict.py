"""Segment a folder of images with a trained model; write masks of the images' own sizes."""

import argparse

import common

from kerasgan.cli import tasks


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a saved model, a run, or a bundle (.zip)")
    parser.add_argument("--images", required=True, help="a folder of images, or one image")
    parser.add_argument("--results", default="results/masks", help="folder for the masks")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that counts")
    parser.add_argument("--overwrite", action="store_true", help="replace masks of earlier runs")
    args = parser.parse_args()
    answer = tasks.predict(
        args.images,
        model=args.model,
        out=args.results,
        threshold=args.threshold,
        overwrite=args.overwrite,
    )
    print(answer.text)
    return args.results


common.run(main)

"""Segment a folder of images with a trained model; write masks of the images' own sizes."""

import argparse

import common

import kerasgan as kg


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a saved model")
    parser.add_argument("--images", required=True, help="a folder of images, or one image")
    parser.add_argument("--results", default="results/masks", help="folder for the masks")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that counts")
    parser.add_argument("--overwrite", action="store_true", help="replace masks of earlier runs")
    args = parser.parse_args()

    gan = kg.SegmentationGAN.load(args.model)
    masks = kg.inference.predict_to_folder(
        gan,
        args.images,
        args.results,
        threshold=args.threshold,
        overwrite=args.overwrite,
        verbose=True,
    )
    print(f"{len(masks)} masks written")
    return args.results


common.run(main)

"""Does uncertainty find the poor masks, and novelty the images of another kind?

Example:
    python benchmarks/uncertainty.py --polyps kvasir-seg --instruments endovis15-rigid \
        --models results/pretrained_fast_0/model results/pretrained_fast_1/model --write

Networks are models of `examples/train_polyp.py`, named in the tables by the folder of their run.
Their validation part (a tenth of the images that are not in splits/val.txt, seed 0) is referred by
each column of `uncertainty_table`, from eight views, and by the predicted area as a control. For
novelty the threshold is the default, and what is measured is the share of images above it:
validation images as they are, instruments, natural pictures of scikit-image, and validation images
blurred, without colour and with red and blue swapped. With --write the tables go between the marks
of docs/predict.md.
"""

import argparse
import os
import pathlib
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from equal_time import ROOT, common
from kept_runs import on_machines
from pages import put
from scipy import ndimage
from skimage import data

import kerasgan as kg

PAGE = ROOT / "docs" / "predict.md"
PICTURES = ("astronaut", "coffee", "chelsea", "rocket", "retina", "immunohistochemistry")
COLUMNS = {
    "mask_disagreement": "`mask_disagreement`",
    "disagreement": "`disagreement`",
    "entropy": "`entropy`",
    "small": "*small predicted area*",
}


def other_images(validation, instruments, count):
    """Return images by what they are."""
    usual = [validation.image(index) for index in range(min(count, len(validation)))]
    pictures = [getattr(data, name)()[..., :3].astype("float32") / 127.5 - 1 for name in PICTURES]
    return {
        "instruments": [instruments.image(i) for i in range(min(count, len(instruments)))],
        "natural pictures": pictures,
        "red and blue swapped": [image[..., ::-1] for image in usual],
        "without colour": [np.repeat(image.mean(-1, keepdims=True), 3, -1) for image in usual],
        "blurred, 20 pixels": [ndimage.gaussian_filter(image, (20, 20, 0)) for image in usual],
        "blurred, 8 pixels": [ndimage.gaussian_filter(image, (8, 8, 0)) for image in usual],
    }


def referral(gan, validation):
    """Return the mean Dice of all, and of the four fifths kept by each column, with its gain."""
    table = kg.evaluate(gan, validation, verbose=False)
    table = table.merge(kg.inference.uncertainty_table(gan, validation), on="name")
    table["small"] = -table["predicted_area"]
    row = {"all": f"{table['dice'].mean():.3f}"}
    for column in COLUMNS:
        curve = kg.evaluation.referral_curve(table, by=column)
        kept = curve["kept"][len(curve) // 5]
        row[COLUMNS[column]] = f"{kept:.3f} ({curve.attrs['gain']:.2f})"
    return row


def markdown(rows):
    """Return rows as a table, numbers with two decimals."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [f"{x:.2f}" if isinstance(x, float) else str(x) for x in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--polyps", required=True)
    parser.add_argument("--instruments", required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    polyps = kg.data.load_folder(arguments.polyps)
    rest, _ = polyps.split_by_names(f"{arguments.polyps}/splits/val.txt")
    train, validation = rest.split(0.1, seed=0)
    others = other_images(validation, kg.data.load_folder(arguments.instruments), arguments.count)
    referred, novel = [], []
    for path in arguments.models:
        network = f"`{pathlib.Path(path).resolve().parent.name}`"
        gan = kg.SegmentationGAN.load(path)
        referred.append({"network": network, **referral(gan, validation)})
        novelty = kg.inference.fit_novelty(gan, train, validation)
        shares = {"network": network, "validation": float(novelty.share)}
        for name, images in others.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", kg.KerasganWarning)
                shares[name] = float(novelty.measure(gan, images)["novel"].mean())
        novel.append(shares)
    text = "\n".join(
        [
            f"`{common.command()}`",
            "",
            f"Mean Dice of {len(validation)} validation polyps, of all and of the four fifths that "
            "are kept when the most uncertain fifth is referred, and the gain, for each network:",
            "",
            markdown(referred),
            "",
            f"Share of images above the default threshold; up to {arguments.count} of each kind, "
            f"{len(PICTURES)} natural pictures:",
            "",
            markdown(novel),
            "",
            f"Seed 0, {on_machines()}",
        ]
    )
    print(text)
    if arguments.write:
        put(PAGE, "uncertainty", text)


if __name__ == "__main__":
    main()

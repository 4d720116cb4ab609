"""Time of the sets of scores that `kg.evaluate` takes by name, on masks of the size of a camera's.

Example:
    python benchmarks/scores.py --write

Prints, and with --write puts between the marks of docs/evaluate.md, the seconds of processor time
that each set adds to the default table. Scenes and masks are drawn by `kerasgan.data.synthetic`;
the masks that are scored are the true ones, four pixels further to the right, and probabilities are
those masks blurred.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from pages import put
from results import ROOT
from scipy import ndimage

import kerasgan as kg

PAGE = ROOT / "docs" / "evaluate.md"


def seconds(function):
    """Time one call, on the processor: other work on the machine does not count."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(count, height, width):
    """Return the seconds of the default table, and those that each set adds, by name."""
    with tempfile.TemporaryDirectory() as folder:
        samples = kg.data.synthetic.write_dataset(
            pathlib.Path(folder) / "d", count, size=(height, width)
        )
        truths = [samples.mask(index) for index in range(count)]
        masks = [np.roll(truth, 4, axis=1) for truth in truths]
        maps = [ndimage.gaussian_filter(m.astype(np.float32), 2)[..., None] for m in masks]
        evaluate = kg.evaluation.evaluate_masks
        evaluate(samples, masks, scores="all")  # a warm-up
        taken = {"default": seconds(lambda: evaluate(samples, masks))}
        for name in ("surface", "objects", "centreline"):
            whole = seconds(lambda name=name: evaluate(samples, masks, scores=name))
            taken[name] = whole - taken["default"]
        calibration = kg.inference.expected_calibration_error
        taken["calibration"] = seconds(
            lambda: [calibration([truth], [p]) for truth, p in zip(truths, maps)]
        )
    return taken


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--height", type=int, default=576)
    parser.add_argument("--width", type=int, default=720)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    taken = measure(arguments.images, arguments.height, arguments.width)
    lines = [
        f"What each set costs beyond the default table, {arguments.images} masks of "
        f"{arguments.height} x {arguments.width} pixels, one class, "
        f"{os.cpu_count()} processors (`python benchmarks/scores.py`):",
        "",
        "| scores | processor seconds |",
        "|---|---|",
        *(
            f"| {name if name == 'default' else f'`{name}`'} | {'' if name == 'default' else '+ '}"
            f"{value:.1f} |"
            for name, value in taken.items()
        ),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        put(PAGE, "scores", text)


if __name__ == "__main__":
    main()

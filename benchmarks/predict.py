"""Time of `kg.predict` and `kg.evaluate` beside the compiled forward pass alone.

Example:
    python benchmarks/predict.py
    python benchmarks/predict.py --recipe fast --images 32 --runs 3

Prints, and with --write puts between the marks of docs/speed.md, a row a call. Images are PNG files
of the size of the network, drawn by `kerasgan.data.synthetic`, with their masks. All calls segment
the same ones, in batches of 8 and in turns, so that other work on the machine hits them alike:
    forward     the network with its last activation, as one compiled function, on arrays in memory
    predict     kg.predict of the folder: files are read, masks are returned
    evaluate    kg.evaluate of the folder: files and masks are read, masks are scored
    x forward   as a multiple of the forward passes right before and after, the median of the runs
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg

BATCH = 8


def seconds(function):
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(recipe, size, count, runs):
    """Return a table with a row a call."""
    network = kg.recipes.build(recipe, size=size).generator
    with tempfile.TemporaryDirectory() as folder:
        samples = kg.data.synthetic.write_dataset(pathlib.Path(folder) / "d", count, size=size)
        batches = [image for image, _ in samples.batches(BATCH, size=size, shuffle=False)]
        compiled = tf.function(lambda images: network(images, training=False), autograph=False)
        calls = {
            "predict": lambda: kg.predict(network, samples),
            "evaluate": lambda: kg.evaluate(network, samples, verbose=False),
        }

        def forward():
            for batch in batches:
                compiled(batch).numpy()

        for warm_up in (forward, *calls.values()):
            warm_up()
        times = {name: [] for name in ("forward", *calls)}
        ratios = {name: [] for name in calls}
        before = seconds(forward)
        for _ in range(runs):
            for name, call in calls.items():
                took = seconds(call)
                after = seconds(forward)
                times["forward"].append(after)
                times[name].append(took)
                ratios[name].append(took / ((before + after) / 2))
                before = after
    rows = [
        {
            "call": name,
            "s": statistics.median(taken),
            "x forward": statistics.median(ratios.get(name, [1.0])),
        }
        for name, taken in times.items()
    ]
    return pd.DataFrame(rows)


def as_text(table, arguments):
    """Write the table with what it was measured with."""
    lines = [
        f"{arguments.images} images of {arguments.size} px, recipe `{arguments.recipe}`, batches "
        f"of {BATCH}, {arguments.runs} runs, {os.cpu_count()} processors, TensorFlow "
        f"{tf.__version__}.",
        "",
        "| call | s | x forward |",
        "|---|---|---|",
    ]
    lines += [f"| `{row.call}` | {row.s:.2f} | {row[-1]:.2f} |" for row in table.itertuples()]
    return "\n".join(lines)


def main():
    """Measure, print and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="strong", help="whose generator is run")
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    parser.add_argument("--images", type=int, default=64, help="how many")
    parser.add_argument("--runs", type=int, default=7, help="of which the median is taken")
    parser.add_argument("--write", action="store_true", help="put the table into docs/speed.md")
    arguments = parser.parse_args()
    table = measure(arguments.recipe, arguments.size, arguments.images, arguments.runs)
    text = as_text(table, arguments)
    print(text)
    if arguments.write:
        put(ROOT / "docs" / "speed.md", "predict", text)


if __name__ == "__main__":
    main()

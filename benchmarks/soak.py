"""Does memory stay flat over hundreds of steps and explanations, and when models are dropped?

Example:
    python benchmarks/soak.py
    python benchmarks/soak.py --write

Each part warms up first; then the memory that the process holds is read again and again: resident,
after collecting garbage and asking the C library for what it keeps in store. `growth` is the
highest reading of the last quarter over the highest of the first; within 2 % (--tolerance) is flat.
For the parts that drop models, `not freed` counts those that are still referenced; for explaining
during training it counts the explanations that differ from those computed without it. Exits with
an error unless memory is flat in all parts and everything was freed.
"""

import argparse
import ctypes
import gc
import os
import pathlib
import sys
import tempfile
import threading
import time
import weakref

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg

SIZE, FILTERS = 64, 8


def memory():
    """Return the resident memory of this process in MiB."""
    gc.collect()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Readings(keras.callbacks.Callback):
    """Read the memory every so many steps."""

    def __init__(self, every):
        super().__init__()
        self.every, self.steps, self.found = every, 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps % self.every == 0:
            self.found.append(memory())


def gan_of(seed=0):
    return kg.recipes.build("fast", size=SIZE, filters=FILTERS, seed=seed)


def training(samples, args):
    """500 steps of one GAN on augmented batches, validated behind every epoch."""
    batches = samples.batches(2, size=SIZE, augment=True)
    readings = Readings(max(1, args.steps // 50))
    epochs = -(-(args.steps + args.steps // 5) // len(batches))
    gan_of().fit(
        batches,
        validation_data=samples.batches(2, size=SIZE),
        epochs=epochs,
        callbacks=[readings],
        verbose=0,
    )
    return readings.found[len(readings.found) // 6 :], None


def explaining(images, args):
    """200 explanations by one explainer."""
    explainer = kg.Explainer(gan_of().generator, rule=args.rule)
    found = []
    for number in range(args.explanations + args.explanations // 5):
        explainer.explain(images[:2], target=np.ones((SIZE, SIZE)))
        if number >= args.explanations // 5 and number % max(1, args.explanations // 40) == 0:
            found.append(memory())
    return found, None


def dropped(count, make):
    """Make something again and again, and drop it; return readings and what is still held."""
    found, made = [], []
    for number in range(count + 2):
        made.extend(make(number))
        keras.backend.clear_session()
        if number >= 2:
            found.append(memory())
    return found, sum(part() is not None for part in made)


def rebuilding(images, args):
    """20 explainers, each on a network of its own, built, used and dropped."""

    def make(seed):
        network = kg.models.unet(size=SIZE, filters=FILTERS, levels=3, seed=seed)
        explainer = kg.Explainer(network, rule=args.rule)
        explainer.explain(images[:2], target=np.ones((SIZE, SIZE)))
        return [weakref.ref(part) for part in (network, explainer, explainer.graph)]

    return dropped(args.rebuilds, make)


def retraining(samples, args):
    """10 GANs, each built, trained for an epoch and dropped."""

    def make(seed):
        gan, batches = gan_of(seed), samples.batches(4, size=SIZE, augment=True)
        gan.fit(batches, verbose=0)
        return [weakref.ref(part) for part in (gan, gan.generator, gan.optimizer, batches)]

    return dropped(args.trainings, make)


def beside(samples, images, args):
    """Two explainers in threads beside a training loop; whether they find the same as alone."""
    rules, weights = (args.rule, "alpha2beta1"), np.ones((SIZE, SIZE))
    explainers = [kg.Explainer(gan_of(seed).generator, rule) for seed, rule in enumerate(rules)]
    alone = [explainer.explain(images, weights).relevance for explainer in explainers]
    stop, same, found = threading.Event(), [], []

    def explain(place):
        while not stop.is_set():
            relevance = explainers[place].explain(images, weights).relevance
            same.append(np.array_equal(relevance, alone[place]))

    threads = [threading.Thread(target=explain, args=(place,)) for place in range(2)]
    readings = Readings(2)
    for thread in threads:
        thread.start()
    batches = samples.batches(2, size=SIZE, augment=True)
    gan_of(3).fit(batches, epochs=args.beside, callbacks=[readings], verbose=0)
    stop.set()
    for thread in threads:
        thread.join()
    found = readings.found[len(readings.found) // 3 :]
    return found, len(same) - sum(same), len(same)


def row_of(part, unit, seconds):
    """Return a line of the table."""
    found, alive = part[:2]
    quarter = max(1, len(found) // 4)
    first, last = max(found[:quarter]), max(found[-quarter:])
    return {
        "amount": unit,
        "MiB first": round(first, 1),
        "MiB last": round(last, 1),
        "growth %": round(100 * (last / first - 1), 2),
        "not freed": "" if alive is None else alive,
        "seconds": round(seconds),
    }


def as_markdown(rows, args):
    names = list(next(iter(rows.values())))
    lines = ["| part | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    lines += [f"| {part} | {' | '.join(map(str, row.values()))} |" for part, row in rows.items()]
    return "\n".join(lines) + (
        f"\n\n`fast` at {SIZE} px, {FILTERS} filters, rule `{args.rule}`, TensorFlow "
        f"{tf.__version__}, {os.cpu_count()} processors."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=500, help="of training that count (500)")
    add("--explanations", type=int, default=200, help="that count (200)")
    add("--rebuilds", type=int, default=20, help="of explainers (20)")
    add("--trainings", type=int, default=10, help="of GANs that are dropped (10)")
    add("--beside", type=int, default=10, help="epochs beside two explainers (10)")
    add("--rule", default="epsilon", help="of the explanations (epsilon)")
    add("--tolerance", type=float, default=2.0, help="growth in %% that counts as flat (2)")
    add("--write", action="store_true", help="put the table into docs/guarantees.md")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        samples = kg.data.synthetic.write_dataset(pathlib.Path(folder) / "scenes", 16, size=SIZE)
        images = next(iter(samples.batches(2, size=SIZE)))[0].numpy()
        parts = {
            "training": (lambda: training(samples, args), f"{args.steps} steps"),
            "explaining": (lambda: explaining(images, args), f"{args.explanations} explanations"),
            "rebuilding": (lambda: rebuilding(images, args), f"{args.rebuilds} explainers"),
            "retraining": (lambda: retraining(samples, args), f"{args.trainings} GANs"),
            "explaining during training": (
                lambda: beside(samples, images, args),
                f"{args.beside} epochs",
            ),
        }
        rows = {}
        for name, (run, unit) in parts.items():
            start = time.perf_counter()
            found = run()
            if name == "explaining during training":
                unit = f"{unit}, {found[2]} explanations"
            rows[name] = row_of(found, unit, time.perf_counter() - start)
            print(name, rows[name], flush=True)
            keras.backend.clear_session()
    table = pd.DataFrame(rows).T.rename_axis("part")
    print(f"\n{table.to_string()}\nTensorFlow {tf.__version__}")
    if args.write:
        put(ROOT / "docs" / "guarantees.md", "soak", as_markdown(rows, args))
    bad = [
        name for name, row in rows.items() if row["growth %"] > args.tolerance or row["not freed"]
    ]
    if bad:
        sys.exit(f"Not flat within {args.tolerance} %, or something is still held: {bad}")


if __name__ == "__main__":
    main()

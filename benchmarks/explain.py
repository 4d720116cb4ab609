"""Time and memory of every rule and target, beside stock iNNvestigate and the plain input gradient.

Example:
    python benchmarks/explain.py
    python benchmarks/explain.py --size 128 --rules epsilon gamma --stock --runs 3

Prints, and with --write puts between the marks of docs/speed.md, a row a rule, and under the first
rule a row a target. Everything runs on one network, the paper's generator with random weights and
batch-norm statistics, and is what `explain(images)` costs unless it says otherwise:
    build       seconds from nothing to the first explanation, less one run
    run         seconds to explain the predicted masks of a batch, the median of several runs
    x gradient  the same, as a multiple of forward plus input gradient; the gradient is timed
                right before and after each run, so that other work on the machine hits both alike
    layers=()   the multiple where no relevance at layers is kept, the runs in turn
    memory      peak MiB above the loaded model while building and explaining, in a process of its
                own
    x gradient  the same, as a multiple of the gradient's
    stock ...   iNNvestigate as installed, all logits of a network of the same size with batch norm
                folded already (it cannot explain the other), eager execution off, in a process of
                its own, as multiples of that network's gradient there
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT, by_rule

import kerasgan as kg
from kerasgan.explain.perturbation import PERTURBATIONS

STOCK = {
    "epsilon": "lrp.epsilon",
    "z-plus": "lrp.alpha_1_beta_0",
    "alpha1beta0": "lrp.alpha_1_beta_0",
    "alpha2beta1": "lrp.alpha_2_beta_1",
}


def randomised(size, filters):
    """Build the paper's generator with random weights and batch-norm statistics."""
    model = kg.models.pix2pix_generator(size=size, filters=filters)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "gamma" in variable.name or "variance" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "beta" in variable.name or "mean" in variable.name or "bias" in variable.name:
            variable.assign(rng.normal(0, 0.1, variable.shape))
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype("float32")
    head = next(layer for layer in reversed(model.layers) if getattr(layer, "use_bias", False))
    middle = np.median(model(images, training=False))
    head.bias.assign_sub([np.arctanh(middle)])  # so that about half of the pixels are foreground
    return model


def gradient_of(model):
    """Return the plain gradient of the predicted masks as a function."""

    @tf.function(autograph=False)
    def gradient(images):
        masks = model(images, training=False)
        return tf.gradients(masks, images, tf.cast(masks > 0, masks.dtype))[0]

    return gradient


def seconds(function, *inputs):
    """Time one call."""
    start = time.perf_counter()
    function(*inputs)
    return time.perf_counter() - start


def in_turn(gradient, images, calls, runs):
    """Time several calls in turn, gradients in between; return seconds and multiples of each."""
    mine, ratios = {name: [] for name in calls}, {name: [] for name in calls}
    before = seconds(gradient, images)
    for _ in range(runs):
        for name, call in calls.items():
            mine[name].append(seconds(call))
            after = seconds(gradient, images)
            ratios[name].append(mine[name][-1] / ((before + after) / 2))
            before = after
    return mine, ratios


def speed(model, images, rule, runs):
    """Time building and running of one rule, gradients in between."""
    gradient = gradient_of(model)
    gradient(images)
    start = time.perf_counter()
    explainer = kg.Explainer(model, rule)
    explainer.explain(images)
    total = time.perf_counter() - start
    calls = {
        "explain": lambda: explainer.explain(images),
        "layers=()": lambda: explainer.explain(images, layers=()),
    }
    calls["layers=()"]()
    mine, ratios = in_turn(gradient, images, calls, runs)
    run = statistics.median(mine["explain"])
    return {
        "build s": total - run,
        "run s": run,
        "x gradient": statistics.median(ratios["explain"]),
        "x gradient, layers=()": statistics.median(ratios["layers=()"]),
    }


def by_target(model, images, rule, runs):
    """Time every kind of target under one rule, in turn."""
    explainer = kg.Explainer(model, rule)
    size = model.output_shape[1:3]
    truth = np.random.default_rng(2).integers(0, 2, (len(images), *size))
    region = np.zeros(size)
    region[: size[0] // 2] = 1
    targets = {
        "the predicted mask": "prediction",
        "a class": kg.targets.Class(0),
        "the border": "border",
        "a component": kg.targets.Component(0),
        "a pixel": kg.targets.Pixel(9, 9),
        "a pixel of each image": [kg.targets.Pixel(9, x) for x in range(len(images))],
        "a region": region,
        "an array of weights": np.random.default_rng(3).normal(size=(len(images), *size, 1)),
        "false negatives": kg.targets.FalseNegatives(truth),
        "a difference": kg.targets.Prediction() - kg.targets.Border(),
    }
    calls = {
        name: lambda target=target: explainer.explain(images, target)
        for name, target in targets.items()
    }
    calls["the predicted mask, `layers=()`"] = lambda: explainer.explain(images, layers=())
    gradient = gradient_of(model)
    for call in [lambda: gradient(images), *calls.values()]:
        call()
    _, ratios = in_turn(gradient, images, calls, runs)
    return {name: statistics.median(values) for name, values in ratios.items()}


def status(key):
    """Read a memory figure of this process, in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def memory(model, images, rule):
    """Measure peak memory above the loaded model; rule "none" stands for the plain gradient."""
    loaded = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forgets the peak so far
    gradient = gradient_of(model)
    explainer = None if rule == "none" else kg.Explainer(model, rule)
    for _ in range(2):
        if explainer is None:
            gradient(images)
        else:
            explainer.explain(images)
    return {"MiB": status("VmHWM") - loaded}


def stock(size, filters, images, rule, runs):
    """Time stock iNNvestigate on a network of the same size without batch norm."""
    import innvestigate

    tf.compat.v1.disable_eager_execution()
    layers = keras.layers
    widths = [filters * min(8, 2**level) for level in range(min(8, size.bit_length() - 1))]
    image = x = keras.Input((size, size, 3))
    skips = []
    for width in widths:
        x = layers.Activation(tf.nn.leaky_relu)(x) if skips else x
        x = layers.Conv2D(width, 4, 2, "same")(x)
        skips.append(x)
    for width, skip in zip(widths[-2::-1], skips[-2::-1]):
        x = layers.Conv2DTranspose(width, 4, 2, "same")(layers.Activation("relu")(x))
        x = layers.Concatenate()([x, skip])
    x = layers.Conv2DTranspose(1, 4, 2, "same")(layers.Activation("relu")(x))
    model = keras.Model(image, layers.Flatten()(x))
    gradient = keras.backend.function([image], keras.backend.gradients(model.output, [image]))
    gradient([images])
    start = time.perf_counter()
    analyzer = innvestigate.create_analyzer(STOCK[rule], model, neuron_selection_mode="all")
    analyzer.analyze(images)
    total = time.perf_counter() - start
    mine, ratios, before = [], [], seconds(gradient, [images])
    for _ in range(runs):
        mine.append(seconds(analyzer.analyze, images))
        after = seconds(gradient, [images])
        ratios.append(mine[-1] / ((before + after) / 2))
        before = after
    run = statistics.median(mine)
    return {
        "stock build s": total - run,
        "stock run s": run,
        "stock x gradient": statistics.median(ratios),
    }


def elsewhere(arguments, measure, rule):
    """Measure in a process of its own."""
    options = [
        f"--{name}={getattr(arguments, name)}" for name in ("size", "filters", "batch", "runs")
    ]
    command = [sys.executable, __file__, *options, "--rules", rule, "--measure", measure]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="of the images (default 256)")
    parser.add_argument("--filters", type=int, default=64, help="of the generator (default 64)")
    parser.add_argument("--batch", type=int, default=4, help="images explained at once (default 4)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs a rule (default 5)")
    names = [
        name
        for name in kg.explain.rule_names()
        if not name.startswith("lrp.") and name not in PERTURBATIONS
    ]
    parser.add_argument(
        "--rules",
        nargs="*",
        default=names,
        help="names (default: all but those that take hundreds of passes)",
    )
    both = ["rules", "targets"]
    parser.add_argument("--parts", nargs="*", default=both, choices=both, help="(default: both)")
    parser.add_argument("--stock", action="store_true", help="time stock iNNvestigate too (slow)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/speed.md")
    parser.add_argument(
        "--measure", choices=("speed", "memory", "stock", "targets"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    images = np.random.default_rng(1).uniform(
        -1, 1, (arguments.batch, arguments.size, arguments.size, 3)
    )
    images = images.astype("float32")
    if arguments.measure == "stock":
        found = stock(arguments.size, arguments.filters, images, arguments.rules[0], arguments.runs)
    elif arguments.measure:
        model = randomised(arguments.size, arguments.filters)
        images = tf.constant(images)
        rule = arguments.rules[0]
        if arguments.measure == "memory":
            found = memory(model, images, rule)
        else:
            timed = speed if arguments.measure == "speed" else by_target
            found = timed(model, images, rule, arguments.runs)
    if arguments.measure:
        print(json.dumps(found))
        return
    machine = (
        f"{arguments.size} px, {arguments.filters} filters, batch {arguments.batch}, "
        f"{arguments.runs} runs, {os.cpu_count()} processors, TensorFlow {tf.__version__}."
    )
    if "targets" in arguments.parts:
        found = elsewhere(arguments, "targets", arguments.rules[0])
        print(pd.DataFrame({"x gradient": found}).round(2).to_string(), flush=True)
        if arguments.write:
            lines = ["| target | x gradient |", "|---|---|"]
            lines += [f"| {name} | {multiple:.2f} |" for name, multiple in found.items()]
            lines = [f"Rule `{arguments.rules[0]}`, in turn in one process; {machine}", "", *lines]
            put(ROOT / "docs" / "speed.md", "targets", "\n".join(lines))
    if "rules" not in arguments.parts:
        return
    base = elsewhere(arguments, "memory", "none")["MiB"]
    print(f"plain gradient: {base:.0f} MiB above the loaded model", flush=True)
    rows = {}
    for rule in arguments.rules:
        row = rows[rule] = elsewhere(arguments, "speed", rule)
        row.update(elsewhere(arguments, "memory", rule))
        row["x gradient's MiB"] = row["MiB"] / base
        if arguments.stock and rule in STOCK:
            row.update(elsewhere(arguments, "stock", rule))
        print(rule, {name: round(value, 2) for name, value in row.items()}, flush=True)
    table = pd.DataFrame(rows).T.round(2)
    print(table.to_string())
    if arguments.write:
        words = f"{machine} Memory of the plain gradient: {base:.0f} MiB."
        put(ROOT / "docs" / "speed.md", "results", f"{words}\n\n{by_rule(table)}")


if __name__ == "__main__":
    main()

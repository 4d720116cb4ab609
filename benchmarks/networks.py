"""Explain every network of keras.applications, as it classifies and as the encoder of a U-Net.

Example:
    python benchmarks/networks.py
    python benchmarks/networks.py --write
    python benchmarks/networks.py "ResNet50" "*U-Net" segformer

The networks of `keras.applications` are built without a download, at the smallest size that they
allow. Biases, scales and shifts are drawn at random and the statistics of batch norm are those of
random images. As classifiers they end in one pixel of many classes, as U-Nets in a decoder on the
last layer of each size. After them come networks in the styles of other people's code
(tests/explain/styles.py), and those of the packages keras-unet-collection and segmentation-models
where these are installed (Keras 2.14):

    pip install --no-deps keras-unet-collection==0.1.13 segmentation-models==1.0.1 \
        efficientnet==1.1.1 image-classifiers==1.0.0 keras-applications==1.0.8

The columns:
    parameters  in the whole network
    operations  that relevance passes
    difference  of the logits that are explained from the network's own, over the largest logit
    remainder   the largest of any operation's relevance that the ledger cannot account for, over
                that operation's sum of absolute relevance
    build       seconds to make `kg.Explainer(model, rule)`, which traces and checks the network
    explain     seconds for one image, the second time

Rows are measured one after the other, each within --limit seconds, in a process of its own that is
started anew after a row that took longer. They are kept in --results: a stopped run goes on, and
one that names networks measures these anew. The exit status is 1 if any network was not explained.
"""

import argparse
import fnmatch
import functools
import json
import multiprocessing
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pages import put

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALLEST = {"Inception": 75, "Xception": 71}
COLUMNS = ("parameters", "operations", "difference", "remainder", "build", "explain")


# --------------------------------------------------------------------------- networks


def application(name, **options):
    """Return a network of keras.applications with random weights."""
    import keras

    size = next((side for start, side in SMALLEST.items() if name.startswith(start)), 32)
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)


def classifier(name):
    """Return a classifier with one pixel of classes, and what gives its logits."""
    import keras

    logits = application(name, classifier_activation=None)
    classes = logits.output_shape[-1]
    x = keras.layers.Softmax(name="probabilities")(logits.output)
    x = keras.layers.Reshape((1, 1, classes), name="pixel")(x)
    return keras.Model(logits.input, x, name=name), logits


def skips_of(base):
    """Return the last tensor of each size of an encoder but its smallest, from small to large."""
    import keras

    height, found = base.input_shape[1], {}
    for layer in base.layers:
        shape = getattr(layer.output, "shape", ())
        pads = isinstance(layer, (keras.layers.InputLayer, keras.layers.ZeroPadding2D))
        if len(shape) == 4 and not pads and shape[1] > 1:
            found[round(height / shape[1]).bit_length()] = layer.output
    deepest = round(height / base.output_shape[1]).bit_length()
    return [found[stage] for stage in sorted(found, reverse=True) if 1 < stage < deepest]


def unet(name):
    """Return a U-Net on an encoder, and what gives its logits."""
    import keras

    layers = keras.layers
    base = application(name, include_top=False)
    x = base.output
    for step, skip in enumerate(skips_of(base), 1):
        x = layers.Resizing(*skip.shape[1:3], interpolation="bilinear", name=f"grow_{step}")(x)
        x = layers.Concatenate(name=f"join_{step}")([x, skip])
        x = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"up_{step}")(x)
        x = layers.BatchNormalization(name=f"up_{step}_norm")(x)
        x = layers.ReLU(name=f"up_{step}_relu")(x)
    x = layers.Resizing(*base.input_shape[1:3], interpolation="bilinear", name="grow")(x)
    logits = layers.Conv2D(1, 1, name="mask")(x)
    mask = layers.Activation("sigmoid", name="probability")(logits)
    return keras.Model(base.input, mask, name=f"{name}_unet"), keras.Model(base.input, logits)


def settle(model, images):
    """Draw biases, scales and shifts; give batch norm the statistics of some images."""
    import keras
    import numpy as np

    from kerasgan.stack import layers_of

    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) == 1:
            low, high = (0.5, 1.5) if "gamma" in weight.name else (-0.1, 0.1)
            weight.assign(rng.uniform(low, high, weight.shape))
    norms = [m for m in layers_of(model) if isinstance(m, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def styles():
    """Return the module of styles that the tests use too."""
    sys.path[:0] = [str(ROOT / "tests" / "explain"), str(ROOT / "tests")]
    import styles

    return styles


def packages():
    """Return what builds the networks of other people's packages, by name, if they can be had."""
    found = {}
    try:
        from keras_unet_collection import models as collection
    except ImportError:
        collection = None
    if collection:
        shape, filters = (64, 64, 3), [8, 16, 32, 64]
        usual = {"n_labels": 1, "output_activation": "Sigmoid"}
        unet = {**usual, "activation": "ReLU", "batch_norm": True}
        small = {"embed_dim": 32, "num_mlp": 64, "num_heads": 4, "num_transformer": 2}
        swin = {"depth": 3, "stack_num_down": 2, "stack_num_up": 2, "patch_size": (2, 2)}
        swin.update(num_heads=[4, 4, 4], window_size=[4, 4, 4], num_mlp=64, **usual)
        calls = {
            "unet_2d": ((shape, filters), unet),
            "vnet_2d": ((shape, filters), {**unet, "pool": False, "unpool": False}),
            "unet_plus_2d": ((shape, filters), unet),
            "r2_unet_2d": ((shape, filters), unet),
            "att_unet_2d": ((shape, filters), unet),
            "resunet_a_2d": (((128, 128, 3), filters, [1, 3, 15, 31]), unet),
            "u2net_2d": ((shape,), {**unet, "filter_num_down": [8, 8, 16, 16]}),
            "unet_3plus_2d": ((shape,), {**unet, "filter_num_down": filters}),
            "transunet_2d": ((shape, filters), {**unet, **small}),
            "swin_unet_2d": ((shape, 16), swin),
        }
        for name, (given, options) in calls.items():
            build = functools.partial(getattr(collection, name), *given, **options)
            found[f"keras-unet-collection {name}"] = build
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    try:
        import segmentation_models as models
    except ImportError:
        models = None
    if models:
        options = {"encoder_weights": None, "input_shape": (96, 96, 3)}
        pairs = [("Unet", name) for name in ("resnet34", "vgg16", "efficientnetb0", "seresnet18")]
        pairs += [(name, "resnet34") for name in ("FPN", "Linknet", "PSPNet")]
        for name, encoder in pairs:
            build = functools.partial(getattr(models, name), encoder, **options)
            found[f"segmentation-models {name} {encoder}"] = build
    return found


def rows():
    """Return the names of all rows: the network's, and the rule's if it is not the default."""
    import keras

    import kerasgan as kg

    found = [name for name in dir(keras.applications) if name[0].isupper()]
    found += [f"{name} U-Net" for name in found]
    found += [name for name in styles().STYLES if name not in styles().ATTENTION]
    attention = sorted(styles().ATTENTION)
    if "attnlrp" in kg.explain.rule_names():
        attention = [f"{name}, attnlrp" for name in attention]
    return found + attention + list(packages())


def network(name):
    """Return the network of a row, a function that gives its logits, and an image for it."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    if name in styles().STYLES:
        model = styles().build(name)
        logits = styles().build(name, last=None)
        return model, lambda x: styles().run(logits, x)[0], styles().images_for(name, model, 1)
    theirs = packages().get(name)
    if theirs:
        model = theirs()
        logits = keras.Model(model.input, model.layers[-1].input)
    else:
        model, logits = unet(name[:-6]) if name.endswith(" U-Net") else classifier(name)
    scaled = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    low, high = (0, 255) if scaled else (-1, 1)
    images = np.random.default_rng(1).uniform(low, high, (8, *model.input_shape[1:]))
    settle(model, images.astype("float32"))
    return model, lambda x: np.asarray(logits(x, training=False)), images[:1].astype("float32")


# --------------------------------------------------------------------------- measuring


def measure(row):
    """Return what is found of a row, as a dict."""
    import warnings

    import numpy as np

    import kerasgan as kg

    warnings.simplefilter("ignore", kg.KerasganWarning)  # of images beyond [-1, 1]
    name, *rule = row.split(", ")
    model, logits, image = network(name)
    start = time.perf_counter()
    explainer = kg.Explainer(model, *rule)
    built = time.perf_counter()
    explained = explainer.explain(image, layers=())
    first = time.perf_counter()
    explainer.explain(image, layers=())
    second = time.perf_counter()
    expected, ledger = logits(image), explained.ledger
    seen = ledger[ledger["absolute"] > 0]
    if not len(seen) or not all(np.isfinite(part).all() for part in maps(explained)):
        raise RuntimeError("relevance is not finite, or there is none")
    apart = explained.logits - expected.reshape(explained.logits.shape)
    return {
        "parameters": int(sum(np.prod(v.shape) for v in model.variables)),
        "operations": int(ledger["layer"].nunique()),
        "difference": float(np.abs(apart).max() / np.abs(expected).max()),
        "remainder": float((seen["remainder"].abs() / seen["absolute"]).max()),
        "build": built - start,
        "first": first - built,
        "explain": second - first,
    }


def maps(explained):
    """Return relevance of each input."""
    found = explained.relevance
    return found if isinstance(found, (list, tuple)) else [found]


def work(connection):
    """Measure the rows whose names come, in a process of its own."""
    import keras

    for row in iter(connection.recv, None):
        try:
            found = measure(row)
        except Exception as error:  # whatever a network meets stands in its row
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        connection.send(found)
        keras.backend.clear_session()


class Worker:
    """A process that measures rows, and is replaced when it takes too long or dies."""

    def __init__(self):
        self.process = None

    def measured(self, row, limit):
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=work, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        self.connection.send(row)
        try:
            if self.connection.poll(limit):
                return self.connection.recv()
            error = f"takes longer than {limit:g} s"
        except EOFError:
            error = "its process died, perhaps for lack of memory"
        self.process.kill()
        self.process = None
        return {"error": error}


# --------------------------------------------------------------------------- the table


def line(row, found):
    """Return a row of the table."""
    name, *rule = row.split(", ")
    cells = [f"`{name}`", f"`{rule[0]}`" if rule else "default"]
    if "error" in found:
        return f"| {' | '.join(cells)} | {found['error'].replace('|', '/')} |"
    forms = ("{:,}", "{}", "{:.0e}", "{:.0e}", "{:.1f}", "{:.3f}")
    cells += [form.format(found[column]) for form, column in zip(forms, COLUMNS)]
    return f"| {' | '.join(cells)} |"


def table(results):
    """Return what was measured, as Markdown."""
    import tensorflow as tf

    good = [found for found in results.values() if "error" not in found]
    lines = [
        f"{len(good)} of {len(results)} networks are explained. "
        f"The largest difference is {max(f['difference'] for f in good):.0e}, the largest "
        f"remainder {max(f['remainder'] for f in good):.0e}. TensorFlow {tf.__version__}, "
        f"{os.cpu_count()} processors, one image of 32 to 128 pixels.",
        "",
        '<details markdown="1">',
        "<summary>Every network</summary>",
        "",
        f"| network | rule | {' | '.join(COLUMNS)} |",
        "|---" * (2 + len(COLUMNS)) + "|",
        *(line(row, found) for row, found in results.items()),
        "",
        "</details>",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("networks", nargs="*", help="names or patterns of rows to measure anew; all if left out")
    add("--limit", type=float, default=600, help="seconds for a row (600)")
    add("--results", type=pathlib.Path, default=pathlib.Path("results/networks"))
    add("--list", action="store_true", help="only print the names")
    add("--write", action="store_true", help="put the table into docs/own-model.md")
    args = parser.parse_args()
    every = rows()
    chosen = [r for r in every if any(fnmatch.fnmatchcase(r, p) for p in args.networks or ["*"])]
    if not chosen:
        parser.error(f"there is no network {' '.join(args.networks)}; --list prints all")
    if args.list:
        print(*chosen, sep="\n")
        return
    args.results.mkdir(parents=True, exist_ok=True)
    files = {row: args.results / f"{row}.json" for row in every}
    worker, results = Worker(), {}
    for row in chosen:
        if args.networks or not files[row].exists():
            part = files[row].with_suffix(".part")
            part.write_text(json.dumps(worker.measured(row, args.limit)), encoding="utf-8")
            part.replace(files[row])
        results[row] = json.loads(files[row].read_text(encoding="utf-8"))
        print(line(row, results[row]), flush=True)
    if args.write:
        kept = {row: json.loads(file.read_text()) for row, file in files.items() if file.exists()}
        theirs = {row: kept.pop(row) for row in packages() if row in kept}
        for mark, found in (("networks", kept), ("packages", theirs)):
            if found:
                put(ROOT / "docs" / "own-model.md", mark, table(found))
    sys.exit(any("error" in found for found in results.values()))


if __name__ == "__main__":
    main()

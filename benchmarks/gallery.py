"""Draw the pictures of the how-to pages on scenes that kerasgan makes, into docs/assets/gallery.

Example:
    python benchmarks/gallery.py
    python benchmarks/gallery.py --model results/quickstart/model
    python benchmarks/gallery.py --adapted results/vessels results/ultrasound

Without --model a network is trained first, as examples/quickstart.py does, and one of three classes
beside it. Scenes are drawn anew, by other seeds than those that the networks have seen, and those
that show most of what a page is about are taken. Printed are the numbers that the pages give.
The last form makes the pictures of docs/own-data.md out of two finished runs, and draws nothing
else.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from results import ROOT
from scipy import ndimage

import kerasgan as kg
from kerasgan.evaluation.benchmark import CONTROLS, ExplainedBatch
from kerasgan.explain.draw import colour_bar, in_colours, limit_of, overlay, show, to_picture
from kerasgan.explain.methods import DEFAULT_RULE

PLACE = ROOT / "docs" / "assets" / "gallery"
LIMIT = 80_000
CLASSES = ("background", "polyp", "instrument")
planted, targets = kg.data.planted, kg.targets


def trained(size, classes, count, epochs):
    """Train a network on drawn scenes, as the quickstart does."""
    with tempfile.TemporaryDirectory() as folder:
        samples = kg.data.synthetic.write_dataset(
            pathlib.Path(folder) / "data", count=count, size=size, classes=classes
        )
        recipe = kg.recipes.get("fast", size=size, classes=classes, filters=16, epochs=epochs)
        gan = recipe.build()
        batches = samples.batches(8, size=size, augment=recipe.augmentation())
        gan.fit(batches, epochs=epochs, verbose=2)
    return gan


def scenes(size, classes=1, count=120):
    """Return images in [-1, 1] and masks (count, size, size, 1) of labels, of new scenes."""
    seeds = [(10**6, index) for index in range(count)]
    drawn = [kg.data.synthetic.scene(size=size, seed=seed, classes=classes) for seed in seeds]
    images, masks = (np.stack(arrays) for arrays in zip(*drawn))
    return images / np.float32(127.5) - 1, masks[..., None]


def over(title, image, relevance, outline, limit=None):
    """Return a panel of relevance over an image, up to a limit or its own."""
    return title, overlay(to_picture(image), relevance, limit), outline, True


def alone(title, relevance, outline, limit=None):
    """Return a panel of relevance alone."""
    return title, in_colours(relevance, limit), outline, True


def panels(rows, name, scale=None):
    """Draw rows of (title, picture, outline, is it a heatmap) into a small picture file.

    With relevance, `scale` says which maps share the scale of the colours.
    """
    height, width = len(rows), max(map(len, rows))
    size = (1.75 * width + (0.5 if scale else 0), 1.75 * height + 0.32)
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0, hspace=0)
    axes = figure.subplots(height, width, squeeze=False)
    for row, line in enumerate(rows):
        repeated = row and [title for title, *_ in line] == [title for title, *_ in rows[0]]
        for axis, (title, picture, outline, thin) in zip(axes[row], line):
            show(axis, title, picture, int(repeated), outline=outline, heat=thin)
    if scale:
        colour_bar(figure, axes, scale)
    save(figure, name)


def save(figure, name):
    """Write a figure as JPEG below the limit, smaller where quality would suffer."""
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / f"{name}.jpg"
    with tempfile.TemporaryDirectory() as folder:
        drawn = pathlib.Path(folder) / "figure.png"
        figure.savefig(drawn, facecolor="white")
        with Image.open(drawn) as picture:
            small = picture.convert("RGB")
    quality = 88
    while small.save(path, quality=quality, optimize=True) or path.stat().st_size > LIMIT:
        quality -= 6
        if quality < 64:
            small = small.resize([7 * side // 8 for side in small.size], Image.LANCZOS)
            quality = 88
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def marked(image, weights):
    """Show on the image in grey where a target has weight: orange above 0, blue below."""
    grey = np.repeat(to_picture(image).mean(-1, keepdims=True), 3, -1) * 0.8
    for sign, colour in ((1, (0.84, 0.37, 0.0)), (-1, (0.0, 0.45, 0.70))):
        here = ((sign * weights).max(-1) > 0)[..., None]
        grey = np.where(here, 0.25 * grey + 0.75 * np.array(colour), grey)
    return grey


def share_inside(relevance, region):
    """Return the share of absolute relevance that lies in a region, image by image."""
    size = np.abs(relevance)
    return (size * region).sum((1, 2)) / size.sum((1, 2))


def agreement(found, truth):
    """Return the Dice of bool masks (count, height, width), 0 where both are empty."""
    either = found.sum((1, 2)) + truth.sum((1, 2))
    return 2 * (found & truth).sum((1, 2)) / np.maximum(either, 1)


def smaller_hit(mask, truth):
    """Return the area of the second largest piece of a mask, 0 unless half of each is true."""
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=3)[1:]
    largest = np.argsort(areas)[::-1][:2]
    right = all(truth[labels == 1 + piece].mean() > 0.5 for piece in largest if areas[piece])
    return int(areas[largest[1]]) if count > 1 and right else 0


def one_at_a_time(gan, images, masks):
    """Draw docs/explain.md: a lesion, the rim, a false alarm, what was missed, a pixel."""
    truth, found = masks[..., 0] > 0, kg.predict(gan, images)
    near = ndimage.binary_dilation(truth, np.ones((1, 9, 9)))
    second = [smaller_hit(*both) for both in zip(found, truth)]
    areas = found.mean((1, 2))
    good = np.where((areas > 0.04) & (areas < 0.15), agreement(found, truth), 0).argmax()
    alarm = np.where(truth.any((1, 2)), (found & ~near).sum((1, 2)), 0).argmax()
    lost = np.where(found.any((1, 2)), (truth & ~found).sum((1, 2)), 0).argmax()
    two = int(np.argmax(second))
    explainer = kg.Explainer(gan)
    y, x = np.argwhere(found[good]).mean(0).round().astype(int).tolist()
    whole = ("the mask", "prediction")
    asked = {
        "lesion": (two, ("one lesion", targets.Component(0)), ("the other", targets.Component(1))),
        "border": (good, whole, ("its border", "border")),
        "false_alarm": (alarm, whole, ("false positives", "false_positives")),
        "missed": (lost, whole, ("false negatives", "false_negatives")),
        "pixel": (good, ("one pixel", targets.Pixel(y, x))),
    }
    for name, (index, *questions) in asked.items():
        image, true = images[index : index + 1], truth[index : index + 1]
        asked_maps = []
        for title, target in questions:
            e = explainer.explain(image, target=target, truth=true, layers=())
            region = e.target.any(-1)
            inside = share_inside(e.relevance.sum(-1), region)[0]
            print(
                f"{name}, {target}: {region.sum()} pixels, mean logit "
                f"{e.logits[e.target != 0].mean():.2f}, relevance {e.relevance.sum():.4g}, "
                f"{inside:.0%} of its size on the target"
            )
            shown, outline = e.target[0], region[0]
            if outline.sum() == 1:  # a pixel alone would not be seen
                shown = ndimage.maximum_filter(shown, (5, 5, 1))
                outline = shown.any(-1)
            asked_maps.append((title, shown, e.relevance[0].sum(-1), outline))
        shared = limit_of(*(relevance for _, _, relevance, _ in asked_maps))
        rows = [
            [
                ("image, true mask outlined", to_picture(image[0]), true[0], False),
                (title, marked(image[0], shown), None, False),
                over("relevance over the image", image[0], relevance, outline, shared),
                alone("relevance, own scale", relevance, outline),
            ]
            for title, shown, relevance, outline in asked_maps
        ]
        panels(rows, f"one_{name}", "one scale over the images")


def classes_apart(gan, images, masks):
    """Draw the class picture of docs/explain.md: two classes, and the lead of one."""
    found, labels = kg.predict(gan, images), masks[..., 0]
    right = [agreement(found == k, labels == k) for k in (1, 2)]
    index = int(np.minimum(*right).argmax())
    image = images[index : index + 1]
    explainer = kg.Explainer(gan, rule="epsilon-gamma-box")
    maps = {}
    for title, target in (
        ("polyp", targets.Class(1)),
        ("instrument", targets.Class(2)),
        ("instrument, margin", targets.Class(2, margin=True)),
    ):
        e = explainer.explain(image, target=target, layers=())
        maps[title] = e.relevance[0].sum(-1), e.prediction[0, ..., target.index]
    shared = limit_of(*(relevance for relevance, _ in maps.values()))
    rows = [
        [over(title, image[0], *found, shared) for title, found in maps.items()],
        [alone(title, *found, shared) for title, found in maps.items()],
    ]
    rows[0].insert(0, ("image", to_picture(image[0]), None, False))
    rows[1].insert(
        0, ("predicted classes", marked(image[0], e.prediction[0, ..., 1:]), None, False)
    )
    panels(rows, "one_class", "one scale for all maps")


def shuffled(gan, seed=0):
    """Return the generator with the values of every weight in random order."""
    generator = kg.models.generator_of(gan)
    copy = type(generator).from_config(generator.get_config())
    rng = np.random.default_rng(seed)
    weights = [rng.permutation(w.ravel()).reshape(w.shape) for w in generator.get_weights()]
    copy.set_weights(weights)
    return copy


def limits(gan, images, masks):
    """Draw docs/heatmap-limits.md: controls beside rules, shuffled weights, a moved target."""
    found = kg.predict(gan, images)
    dice = agreement(found, masks[..., 0] > 0)
    areas = found.mean((1, 2))
    index = int(np.argsort(np.where((areas > 0.03) & (areas < 0.15), dice, 0))[-3])
    image = images[index : index + 1]
    rules = ("z-plus", DEFAULT_RULE, "epsilon")
    explainers = {rule: kg.Explainer(gan, rule) for rule in rules}
    first = explainers[DEFAULT_RULE].explain(image, layers=())
    batch = ExplainedBatch(("scene",), image, None, first.logits, first.target, None)
    region = batch.region

    controls = {name: CONTROLS[name](batch, 0)[0] for name in ("target", "edges", "random")}
    maps = {rule: explainers[rule].explain(image, layers=()) for rule in rules}
    gradient = kg.Explainer(gan, "gradient").explain(image, layers=())
    controls["gradient"] = gradient.relevance[0].sum(-1)
    shown = {f"control: {name}": values for name, values in controls.items()}
    shown.update({rule: maps[rule].relevance[0].sum(-1) for rule in rules})
    row = [("image", to_picture(image[0]), region[0], False)]
    row += [over(title, image[0], values, region[0]) for title, values in shown.items()]
    panels([row[:4], row[4:]], "limits_controls", "each method has its own scale")

    other = shuffled(gan)
    height, width = image.shape[1:3]
    moved = np.roll(first.target, (-height // 5, -width // 3), (1, 2))
    rows = [[("image", to_picture(image[0]), region[0], False)]]
    rows.append([("a shuffled network", to_picture(image[0]), region[0], False)])
    rows.append([("another place", to_picture(image[0]), (moved[0] > 0).any(-1), False)])
    for rule in rules:
        same = maps[rule].relevance.sum(-1)
        network = kg.Explainer(other, rule).explain(image, target=first.target, layers=())
        place = explainers[rule].explain(image, target=moved, layers=())
        outlines = (region[0], region[0], (moved[0] > 0).any(-1))
        for row, values, outline in zip(
            rows, (same, network.relevance.sum(-1), place.relevance.sum(-1)), outlines
        ):
            row.append(over(rule, image[0], values[0], outline))
    panels(rows, "limits_sanity", "each map has its own scale")


def causes():
    """Draw the planted scenes of docs/heatmap-limits.md: a cue, turned round, and its place."""
    row = []
    for flip in (False, True):
        image, mask, cause = planted.scene("marker", 128, seed=5, flip=flip)
        title = "the marker turned round" if flip else "a scene and its mask"
        row.append((title, image, mask > 0, False))
    weights = np.stack([cause], -1).astype(float)
    row.append(("what decides", marked(image / 127.5 - 1, weights), None, False))
    panels([row], "limits_planted")


def adapted(run):
    """Draw one picture of docs/own-data.md: images, masks and relevance of a finished run."""
    model = kg.SegmentationGAN.load(run / "model")
    _, test = kg.data.load_folder(run / "data").split(1 / 6, seed=0)
    few = test[np.linspace(0, len(test) - 1, 3).astype(int)]
    images, truth = next(iter(few.batches(len(few), size=model.generator.input_shape[1])))
    e = kg.Explainer(model, rule="gamma").explain(images.numpy(), layers=())
    shared = limit_of(e.relevance.sum(-1))
    rows = [
        [
            ("image", to_picture(e.images[k]), None, False),
            ("true mask", np.repeat(truth[k].numpy(), 3, -1), None, False),
            ("predicted mask", np.repeat(e.prediction[k] * 1.0, 3, -1), None, False),
            over("relevance over the image", e.images[k], e.relevance[k].sum(-1), None, shared),
            alone("relevance", e.relevance[k].sum(-1), None, shared),
        ]
        for k in range(len(few))
    ]
    panels(rows, f"adapt_{run.name}", "one scale for all maps")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", help="a finished network of the quickstart; trained if left out")
    add("--classes-model", help="one of examples/multi_class.py; trained if left out")
    add("--epochs", type=int, default=30, help="of training (30)")
    add("--adapted", nargs=2, metavar="RUN", help="runs of examples/vessels.py and ultrasound.py")
    args = parser.parse_args()
    if args.adapted:
        for run in map(pathlib.Path, args.adapted):
            adapted(run)
        return
    load = kg.SegmentationGAN.load
    gan = load(args.model) if args.model else trained(128, 1, 300, args.epochs)
    size = gan.generator.input_shape[1]
    images, masks = scenes(size)
    one_at_a_time(gan, images, masks)
    limits(gan, images, masks)
    causes()
    several = args.classes_model
    gan = load(several) if several else trained(64, 3, 300, args.epochs)
    classes_apart(gan, *scenes(gan.generator.input_shape[1], 3))


if __name__ == "__main__":
    main()

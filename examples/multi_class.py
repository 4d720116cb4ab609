"""Draw scenes with polyps and instruments, train on three classes, score and explain each class."""

import dataclasses
import json

import common
import numpy as np
from matplotlib.figure import Figure

import kerasgan as kg
from kerasgan.cli import runs
from kerasgan.cli.doctor import machine
from kerasgan.explain.draw import colour_bar, limit_of, overlay, show, to_picture

CLASSES = ("background", "polyp", "instrument")


def main():
    parser = common.arguments(__doc__, results="results/multi_class", data=False)
    parser.add_argument("--count", type=int, default=360, help="scenes to draw")
    parser.set_defaults(
        recipe="pix2pix",
        set=["generator=residual_unet", "spectral_norm=true", "discriminator_learning_rate=2e-4"],
        size=64,
        filters=16,
        epochs=40,
        learning_rate=1e-3,
        rule="epsilon-gamma-box",
    )
    args = parser.parse_args()
    recipe = dataclasses.replace(runs.recipe_from(args), classes=len(CLASSES))

    folder = runs.results_folder(args.results, args.resume)
    drawn = folder / "data"
    if drawn.exists():
        samples = kg.data.load_folder(drawn, classes=len(CLASSES))
    else:
        print(f"Drawing {args.count} scenes into {drawn}")
        samples = kg.data.synthetic.write_dataset(
            drawn, count=args.count, size=recipe.size, seed=args.seed, classes=len(CLASSES)
        )
    rest, test = samples.split(1 / 6, seed=0)
    training, validation = rest.split(1 / 6, seed=0)
    print(f"{len(training)} images to train, {len(validation)} to choose, {len(test)} to report")
    gan, facts = runs.train(recipe, training, validation, folder)

    table = kg.evaluate(gan, test, surface=True, empty="nan", verbose=False)
    facts["images"]["reported"] = len(test)
    facts.update(command=common.command(), scores=table.attrs["summary"], **machine())
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    kg.evaluation.save_table(table, folder / "scores.csv", overwrite=True)
    print(f"\nOf the {len(test)} images to report, those with the class in truth or prediction:")
    for index, name in enumerate(CLASSES[1:], start=1):
        scores = ", ".join(
            f"{score.replace('_', ' ')} {table[f'{score}_{index}'].mean():.2f}"
            for score in ("jaccard", "dice", "hausdorff_95")
        )
        print(f"{name:<12}{scores} px, {table[f'jaccard_{index}'].count()} images")

    shown = with_all_classes(test)
    masks = kg.predict(gan, shown)
    images, truths = zip(*((shown.image(i), shown.mask(i)) for i in range(len(shown))))
    kg.report.mask_figure(images, truths, masks, shown.names, folder / "masks.png")
    explain(gan, shown, args.rule, folder / "explanation.png")
    return folder


def with_all_classes(samples, most=5):
    """Return the first samples that show every class, or, if none does, the first ones."""
    classes = [len(np.unique(samples.mask(i))) for i in range(len(samples))]
    best = np.flatnonzero(np.array(classes) == max(classes))
    return samples[best[:most]]


def explain(gan, samples, rule, path):
    """Draw what speaks for each class: for its logit, and for its lead over the runner-up."""
    size = gan.generator.input_shape[1:3]
    images, _ = next(iter(samples.batches(len(samples), size, **runs.framing(gan.recipe))))
    explainer = kg.Explainer(gan, rule=rule)
    maps, inside = {}, {}
    for index, name in enumerate(CLASSES[1:], start=1):
        for margin, what in ((False, "logit"), (True, "margin")):
            target = kg.targets.Class(index, margin=margin)
            explanation = explainer.explain(images, target=target, layers=[])
            maps[f"{name}, {what}"] = explanation.relevance.sum(-1)
            inside[f"{name}, {what}"] = explanation.prediction[..., index]
    prediction = sum(k * explanation.prediction[..., k] for k in range(len(CLASSES)))

    print(f"\nExplained with the rule {rule}:")
    for title, relevance in maps.items():
        positive = np.maximum(relevance, 0)
        mask = inside[title]
        share = (positive * mask).sum() / max(positive.sum(), 1e-12)
        print(
            f"{title:<20}{share:.0%} of the evidence for it lies inside it, "
            f"{mask.mean():.0%} of the frame"
        )

    columns, rows = 2 + len(maps), len(samples)
    figure = Figure(figsize=(1.6 * columns + 0.7, 1.6 * rows + 0.3), layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False)
    limit = limit_of(*maps.values())
    for row in range(rows):
        image = to_picture(images[row].numpy())
        show(axes[row, 0], "image", image, row)
        labels = {"cmap": "viridis", "vmin": 0, "vmax": len(CLASSES) - 1}
        show(axes[row, 1], "predicted classes", prediction[row], row, **labels)
        for axis, (title, relevance) in zip(axes[row, 2:], maps.items()):
            over = overlay(image, relevance[row], limit)
            show(axis, title, over, row, outline=inside[title][row], heat=True)
    colour_bar(figure, axes, "one scale for all maps")
    figure.savefig(path)


common.run(main)

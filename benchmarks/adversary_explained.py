"""What does the adversary change in the explanation? Several networks on the same images.

Example:
    python benchmarks/few_labels.py --data kvasir-seg --methods floor cutmix adversarial \
        --keep-models
    python benchmarks/adversary_explained.py --data kvasir-seg floor=RUN_1 cutmix=RUN_2 \
        adversarial=RUN_3 --write

A run is a folder that `kerasgan train` or few_labels.py wrote, or a saved model; all of one size.
Images are those that are reported on (splits/val.txt of the data, or --test-names), --count of
them, evenly spaced; their masks are only used to score. Three tables are printed, and with --write
put into docs/gan.md, with means and 95 % bootstrap intervals over the images:

1. For the rule and its controls: conservation, the largest part of a layer's relevance that is
   unaccounted for; faithfulness, as in `kerasgan.evaluation.faithfulness`; the shares of relevance
   in the rim of 4 pixels round the predicted mask, and farther outside.
2. Shortcuts: a dark square, a black border or a line of text is planted in each image. Dice with
   the true mask before and after, both without the planted pixels; and how much of the relevance
   outside the predicted mask lies on the planted pixels, relative to their share of that area.
3. Each discriminator on masks that its generator draws, and on true masks: the share of places that
   it takes for drawn by a person inside the mask, in the rim and outside, and the shares of its
   absolute relevance, for all places, on the image and on the mask's rim.

Beside them go pictures of the same images under all networks, and of each discriminator.
"""

import argparse
import os
import pathlib
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from equal_time import ROOT, common
from kept_runs import add_data_options, on_machines, run_script
from pages import put
from PIL import Image, ImageDraw, ImageFont
from results import copy_smaller, interval, slug

import kerasgan as kg
from kerasgan.cli import runs
from kerasgan.cli.loading import load_model
from kerasgan.counts import count, score
from kerasgan.evaluation.benchmark import ExplanationBenchmark, largest_leak
from kerasgan.evaluation.regions import parts_around
from kerasgan.explain.draw import limit_of, overlay, panels, show, to_picture, write_figure
from kerasgan.storage import write_file
from kerasgan.validation import check_whole_number

RIM = 4
DARK, BLACK, WHITE = -0.9, -1.0, 1.0
SHOWN = 4
METRICS = {"pixels dice gap": "faithfulness, Dice", "rim": "rim", "outside": "outside"}


# --------------------------------------------------------------------------- what is planted


def dark_square(image):
    """Return an image with a dark square in its lower left corner, and where that is."""
    side = min(image.shape[:2]) // 4
    where = np.zeros(image.shape[:2], bool)
    where[-side:, :side] = True
    return np.where(where[..., None], np.float32(DARK), image), where


def border(image):
    """Return an image with a black border, and where that is."""
    width = min(image.shape[:2]) // 16
    where = np.ones(image.shape[:2], bool)
    where[width:-width, width:-width] = False
    return np.where(where[..., None], np.float32(BLACK), image), where


def text(image):
    """Return an image with a line of white text at its top, and where that is."""
    zoom = max(1, min(image.shape[:2]) // 128)
    canvas = Image.new("1", (image.shape[1] // zoom, image.shape[0] // zoom))
    ImageDraw.Draw(canvas).text((2, 2), "ID 4711 09:45", 1, ImageFont.load_default())
    letters = np.asarray(canvas).repeat(zoom, 0).repeat(zoom, 1)
    where = np.zeros(image.shape[:2], bool)
    where[: letters.shape[0], : letters.shape[1]] = letters
    return np.where(where[..., None], np.float32(WHITE), image), where


CUES = {"dark square": dark_square, "border": border, "text": text}


# --------------------------------------------------------------------------- one network


def explained(gan, samples, rule, steps, folder):
    """Return rows of faithfulness and of where relevance lies, and the largest leak of the rule."""
    shared = {"folder": folder and folder / "faithfulness", "verbose": False}
    parts = [kg.evaluation.faithfulness(gan, samples, rule, steps=steps, **shared)]
    shared["folder"] = folder and folder / "context"
    parts.append(kg.evaluation.context(gan, samples, rule, rim=RIM, **shared))
    table = pd.concat(parts, ignore_index=True)
    leaks = []
    for batch in (benchmark := ExplanationBenchmark(gan, samples, rule, controls=False)):
        leaks.append(largest_leak(explain(benchmark.explainer, batch.images).ledger))
    return table[~table["method"].str.startswith("target blurred")], max(leaks)


def explain(explainer, images):
    """Explain what is predicted, also where that is nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The target is empty", kg.KerasganWarning)
        return explainer.explain(images, layers=(), verbose=False)


def dice_beyond(logits, truth, where):
    """Return the Dice of each image without the pixels that were planted."""
    beyond = ~where[..., None]
    counts = count((truth > 0) & beyond, (logits > 0) & beyond, axis=(1, 2, 3))
    return score("dice", counts)


def lift(relevance, predicted, where):
    """Return how much more relevance than area, outside the mask, lies on planted pixels."""
    sizes = np.abs(relevance.sum(-1, dtype=np.float64)) * ~predicted
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (where & ~predicted).sum((1, 2)) / (~predicted).sum((1, 2))
        return (sizes * where).sum((1, 2)) / sizes.sum((1, 2)) / area


def tempted(gan, samples, rule):
    """Return a row for each image and planted cue: Dice before and after, and its lift."""
    benchmark, rows = ExplanationBenchmark(gan, samples, rule, controls=False), []
    for batch in benchmark:
        for cue, plant in CUES.items():
            planted = [plant(image) for image in batch.images]
            images, where = (np.stack(part) for part in zip(*planted))
            after = benchmark.run(images)
            found = explain(benchmark.explainer, images)
            values = zip(
                batch.names,
                dice_beyond(batch.logits, batch.truth, where),
                dice_beyond(after, batch.truth, where),
                lift(found.relevance, after[..., 0] > 0, where),
            )
            rows += [(name, cue, *each) for name, *each in values]
    return pd.DataFrame(rows, columns=["name", "cue", "before", "after", "lift"])


def judged(gan, samples, rule):
    """Return where a discriminator takes masks for drawn: a row for each image and kind of mask."""
    explainer, rows = kg.explain.DiscriminatorExplainer(gan, rule), []
    places = np.ones(explainer.explainer.model.output_shape[1:3])
    for batch in ExplanationBenchmark(gan, samples, "gradient", controls=False):
        drawn = kg.inference.predict_probability(gan, batch.images)
        for kind, masks in (("predicted", drawn), ("true", batch.truth)):
            found = explainer.explain(batch.images, masks, target=places)
            taken = enlarged(found.logits[..., 0] > 0, masks.shape[1:3])
            sizes = [np.abs(part).sum(-1) for part in (found.image_relevance, found.mask_relevance)]
            whole = sum(each.sum((1, 2)) for each in sizes)
            parts = parts_around(masks[..., 0] > 0.5, RIM)
            columns = {name: mean_in(taken, part) for name, part in parts.items()}
            columns["on the image"] = sizes[0].sum((1, 2)) / whole
            columns["on the rim"] = (sizes[1] * parts["rim"]).sum((1, 2)) / whole
            rows.append(pd.DataFrame({"name": batch.names, "kind": kind, **columns}))
    return pd.concat(rows, ignore_index=True)


def enlarged(places, size):
    """Return for each pixel what is said of the place that it lies in."""
    rows, columns = (np.arange(n) * p // n for n, p in zip(size, places.shape[1:]))
    return places[:, rows][:, :, columns]


def mean_in(values, part):
    """Return the mean over a part of each image, NaN where it is empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (values & part).sum((1, 2)) / part.sum((1, 2))


# --------------------------------------------------------------------------- tables and pictures


def mean_of(values):
    """Return the mean over images with its interval as text."""
    values = pd.Series(values, dtype=float).dropna()
    if values.empty:
        return ""
    found = kg.evaluation.summarize(pd.DataFrame({"value": values}))["scores"]["value"]
    return interval(found)


def lines(head, rows):
    """Return a table as Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)


def explained_rows(name, table, leak, dice):
    """Return a row for each method of a network: the rule first, then controls."""
    summary, rows = kg.evaluation.summarize_maps(table), []
    for method in table["method"].unique():
        part = summary[summary["method"] == method].set_index("metric")
        is_rule = part["kind"].iloc[0] == "rule"
        cells = [interval(part.loc[metric]) for metric in METRICS]
        first = [f"`{name}`", mean_of(dice), f"`{method}`", f"{leak:.1g}"]
        rows.append([*(first if is_rule else ["", "", f"*{method}*", ""]), *cells])
    return rows


def tempted_rows(name, table):
    """Return a row for each cue of a network."""
    return [
        [
            f"`{name}`",
            cue,
            mean_of(part["before"]),
            mean_of(part["after"]),
            mean_of(part["after"] - part["before"]),
            mean_of(part["lift"].replace(np.inf, np.nan)),
        ]
        for cue, part in table.groupby("cue", sort=False)
    ]


def judged_rows(name, table):
    """Return a row for predicted and for true masks."""
    return [
        [f"`{name}`", kind, *(mean_of(part[column]) for column in table.columns[2:])]
        for kind, part in table.groupby("kind", sort=False)
    ]


def side_by_side(gans, samples, rule, path):
    """Draw the same images under all networks: predicted outline, relevance."""
    few = samples[:SHOWN]
    figure, axes = panels(len(few), 1 + len(gans), (2.1 * (1 + len(gans)), 2.1 * len(few) + 0.3))
    for column, (name, gan) in enumerate(gans.items(), 1):
        benchmark, row = ExplanationBenchmark(gan, few, rule, controls=False), 0
        for batch in benchmark:
            maps = explain(benchmark.explainer, batch.images).relevance.sum(-1)
            limit = limit_of(maps)
            for image, truth, logits, each in zip(batch.images, batch.truth, batch.logits, maps):
                picture = to_picture(image)
                if column == 1:
                    show(axes[row, 0], "image, true mask", picture, row, outline=truth[..., 0] > 0)
                over, mask = overlay(picture, each, limit), logits[..., 0] > 0
                show(axes[row, column], name, over, row, outline=mask, heat=True)
                row += 1
    write_figure(figure, path)


def draw_discriminator(gan, samples, rule, path):
    """Draw where a discriminator sees predicted masks as drawn, and why."""
    few = samples[:SHOWN]
    (batch,) = ExplanationBenchmark(gan, few, "gradient", controls=False, batch_size=SHOWN)
    explainer = kg.explain.DiscriminatorExplainer(gan, rule)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The target is empty", kg.KerasganWarning)
        drawn = kg.inference.predict_probability(gan, batch.images)
        explainer.explain(batch.images, drawn).plot(path)


def report(gans, samples, rule, steps, folder):
    """Return the tables as Markdown, and the pictures written, by caption."""
    tables = {"explained": [], "tempted": [], "judged": []}
    pictures = {"The same images under each network": folder / "side_by_side.png"}
    for name, gan in gans.items():
        dice = kg.evaluate(gan, samples, verbose=False)["dice"]
        table, leak = explained(gan, samples, rule, steps, folder / slug(name))
        tables["explained"] += explained_rows(name, table, leak, dice)
        tables["tempted"] += tempted_rows(name, tempted(gan, samples, rule))
        if getattr(gan, "discriminator", None) is not None:
            tables["judged"] += judged_rows(name, judged(gan, samples, rule))
            caption = f"What the discriminator of {name} sees as drawn"
            pictures[caption] = folder / f"discriminator_{slug(name)}.png"
            draw_discriminator(gan, samples, rule, pictures[caption])
        print(f"{name}: done", flush=True)
    side_by_side(gans, samples, rule, folder / "side_by_side.png")
    heads = {
        "explained": ["network", "Dice", "method", "largest leak", *METRICS.values()],
        "tempted": ["network", "planted", "Dice before", "after", "change", "relevance by area"],
        "judged": ["discriminator", "masks", "taken for drawn: inside", "rim", "outside"]
        + ["relevance on the image", "on the mask's rim"],
    }
    texts = [lines(heads[kind], rows) for kind, rows in tables.items() if rows]
    return "\n\n".join(texts), pictures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="NAME=RUN", help="folders of runs or saved models")
    add_data_options(add)
    add("--count", type=int, default=24, help="images, evenly spaced by name (24)")
    add("--rule", default=kg.explain.methods.DEFAULT_RULE, help="of the explanations")
    add("--steps", type=int, default=10, help="of the removal curves (10)")
    add("--results", type=pathlib.Path, help="folder for everything that is written")
    add("--write", action="store_true", help="put tables and pictures into docs/gan.md")
    args = parser.parse_args()
    check_whole_number("--count", args.count, 1)
    named = dict(run.partition("=")[::2] for run in args.runs)
    if len(named) < len(args.runs) or not all(named.values()):
        raise kg.KerasganError(
            f"Arguments must be NAME=RUN, each name once. Received: {' '.join(args.runs)}"
        )
    gans = {name: load_model(path) for name, path in named.items()}
    _, samples = runs.rest_and_test(kg.data.load_folder(args.data), args.data, args.test_names)
    number = min(args.count, len(samples))
    samples = samples[[round(i * len(samples) / number) for i in range(number)]]
    folder = args.results or ROOT / "results" / "adversary_explained"
    folder.mkdir(parents=True, exist_ok=True)
    found, pictures = report(gans, samples, args.rule, args.steps, folder)
    text = (
        f"`{common.command()}`\n\n{len(samples)} images, rule `{args.rule}`, {args.steps} steps, "
        f"{on_machines()}\n\n{found}\n"
    )
    write_file(folder / "tables.md", text)
    print(f"\n{text}\nEverything is in {folder}/")
    if args.write:
        for caption, picture in pictures.items():
            place = ROOT / "docs" / "assets" / "results" / f"adversary_{picture.stem}.jpg"
            copy_smaller(picture, place)
            text += f"\n![{caption}](assets/results/{place.name})\n\n*{caption}.*\n"
        put(ROOT / "docs" / "gan.md", "adversary-explained", text)


if __name__ == "__main__":
    run_script(main)

"""Write what finished runs of the example scripts scored into docs/results.md and README.md.

Example:
    python benchmarks/results.py "Polyps=results/polyp" "Instruments=results/OP1,results/OP2"
    python benchmarks/results.py --seeds "Polyps, fast=results/fast_0,results/fast_1"
    python benchmarks/results.py --reproduction results/reproduce

Several folders, with a comma between, are the parts of one dataset held out in turn: their images
are scored together. Sections of these titles between `<!-- results:start -->` and
`<!-- results:end -->` are replaced, others stay, and so with the rows of the README's table, which
stands on the page too. Smaller copies of the (first) runs' pictures go to docs/assets/results, that
of the quickstart to the front page too. The last form puts the table of
`examples/reproduce_paper.py` into docs/gan.md. With `--seeds` the folders are one training with
several seeds, a row of the table of seeds on the page. Nothing is typed in by hand.
"""

import argparse
import json
import pathlib
import re

import pandas as pd
from pages import parts, put, put_sections
from PIL import Image

import kerasgan as kg
from kerasgan.training.losses import SEGMENTATION

ROOT = pathlib.Path(__file__).resolve().parents[1]
WEIGHTS = (*SEGMENTATION, "adversarial_weight", "feature_matching")
SCORES = ("jaccard", "dice", "accuracy", "recall", "precision", "f2")
PICTURES = {
    "masks": "Images, true and predicted outlines, and where the two differ",
    "explanation": "Relevance of pixels and of three layers for the predicted mask",
    "training": "Losses and scores during training",
    "scores": "Jaccard of every image against the size of the object",
}
SEEDS = [
    "The same with several seeds. Each cell has the mean over seeds and images, its interval over",
    "images (of which each has its mean over seeds), and the mean of each seed.",
    "",
    "| data | recipe | seeds | Dice | Jaccard | Dice, augmented | minutes |",
    "|---|---|---|---|---|---|---|",
]
FOLDED = ['<details markdown="1">', "<summary>Training, and scores by size</summary>", ""]


def interval(score):
    """Return a mean with its interval as text."""
    return f"{score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def slug(title):
    """Return a title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def pooled(runs):
    """Return the scores of all runs' images together: network, with augmentation, colour."""
    if len(runs) == 1:
        return [runs[0][name]["scores"] for name in ("scores", "augmented", "control")]
    return [
        kg.evaluation.summarize(pd.concat([run["tables"][name] for run in runs]))["scores"]
        for name in ("scores", "augmented", "control")
    ]


def facts_of(folder):
    """Return what a run wrote, and its tables of scores."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    facts["tables"] = {
        name: pd.read_csv(folder / f"{file}.csv")
        for name, file in (
            ("scores", "scores"),
            ("augmented", "scores_augmented"),
            ("control", "scores_control"),
        )
    }
    return facts


def described(facts):
    """Return what a run was, in one paragraph."""
    recipe, images = facts["recipe"], facts["images"]
    gpus = ", ".join(facts["gpus"]) or "no GPU"
    weights = ", ".join(
        f"{name.replace('_', ' ')} {recipe[name]:g}" for name in WEIGHTS if recipe[name]
    )
    adversarial = f" ({recipe['adversarial']})" if recipe["adversarial_weight"] else ""
    return (
        f"{images['training']} images to train, {images['validation']} to choose the epoch, "
        f"{images['reported']} to report. Recipe `{recipe['name']}` (`{recipe['generator']}`) at "
        f"{recipe['size']} pixels, {recipe['filters']} filters, batch {recipe['batch_size']}, "
        f"learning rate {recipe['learning_rate']:g}, loss weights {weights}{adversarial}, "
        f"{recipe['precision']}, seed {recipe['seed']}; {facts['epochs']} epochs in "
        f"{facts['training_minutes']:.0f} minutes (training and validation), at most "
        f"{facts['peak_memory_gib']:.1f} GiB of memory, on {facts['processor']}, {gpus}; best "
        f"epoch {facts['best_epoch']} (validation Dice {facts['validation_dice']:.3f}). Python "
        f"{facts['python']}, TensorFlow {facts['tensorflow']}."
    )


def copy_smaller(picture, path):
    """Write a picture as a JPEG that fits on a page."""
    with Image.open(picture) as opened:
        small = opened.convert("RGB")
        small.thumbnail((900, 1500), Image.LANCZOS)
        small.save(path, quality=80, optimize=True)


def section(title, folders):
    """Return the part of the results page on some runs, and copy the first one's pictures."""
    runs, folder = [facts_of(folder) for folder in folders], folders[0]
    facts = runs[0]
    recipe, lines = facts["recipe"], [f"## {title}", ""]
    for run in runs:
        lines += [f"`{run['command']}`", ""]
    lines += [described(facts), ""]
    if len(runs) > 1:
        means = [f"{run['scores']['scores']['jaccard']['mean']:.3f}" for run in runs]
        lines += [
            f"The other runs differ only in the part held out. Mean Jaccard of each: "
            f"{', '.join(means)}. All held-out images together:",
            "",
        ]
    network, augmented, control = pooled(runs)
    lines += [
        f"| score | network | with test-time augmentation | best colour threshold "
        f"({facts['control_feature']}) |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {interval(network[name])} | {interval(augmented[name])} | "
        f"{interval(control[name])} |"
        for name in SCORES
    ]
    lines += ["", f"Explained with the rule `{facts['rule']}`, target `prediction`.", ""]
    target = ROOT / "docs" / "assets" / "results"
    target.mkdir(parents=True, exist_ok=True)
    for name, caption in PICTURES.items():
        place = target / f"{slug(title)}_{name}.jpg"
        copy_smaller(folder / f"{name}.png", place)
        shown = [f"![{caption}](assets/results/{place.name})", "", f"*{caption}.*", ""]
        if name == "training":
            lines += FOLDED
        lines += shown
    lines += ["</details>", ""]
    if "quickstart" in facts["command"]:
        copy_smaller(folder / "explanation.png", ROOT / "docs" / "assets" / "quickstart.jpg")
    row = (
        f"| {title} | `{recipe['name']}`, {facts['epochs']} epochs, "
        f"{facts['training_minutes']:.0f} min | {network['jaccard']['images']} | "
        f"{interval(network['jaccard'])} | {interval(network['dice'])} | "
        f"{interval(augmented['jaccard'])} | {interval(control['jaccard'])} |"
    )
    return "\n".join(lines), row


def seeds_row(title, folders):
    """Return the row of one training with several seeds in the table of seeds."""
    runs = [facts_of(folder) for folder in folders]
    runs.sort(key=lambda run: run["recipe"]["seed"])
    settings = [{**run["recipe"], "seed": None} for run in runs]
    if any(setting != settings[0] for setting in settings):
        raise SystemExit(f"'{title}': the runs differ in more than the seed")
    cells = []
    for table, score in (("scores", "dice"), ("scores", "jaccard"), ("augmented", "dice")):
        each = [run["tables"][table].set_index("name")[score] for run in runs]
        mean = pd.concat(each, axis=1).mean(axis=1, skipna=False).rename(score).reset_index()
        text = interval(kg.evaluation.summarize(mean)["scores"][score])
        cells.append(f"{text}; {', '.join(f'{one.mean():.3f}' for one in each)}")
    minutes = ", ".join(f"{run['training_minutes']:.0f}" for run in runs)
    numbers = ", ".join(str(run["recipe"]["seed"]) for run in runs)
    return " | ".join([f"| {title}", f"`{settings[0]['name']}`", numbers, *cells, f"{minutes} |"])


def by_rule(table):
    """Return a pandas table with a row a rule as Markdown; missing numbers stay empty."""
    lines = ["| rule | " + " | ".join(table) + " |", "|---" * (1 + table.shape[1]) + "|"]
    for name, row in table.iterrows():
        cells = [f"{value:.3g}" if value == value else "" for value in row]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="TITLE=FOLDER[,FOLDER]")
    parser.add_argument("--seeds", nargs="*", default=[], metavar="TITLE=FOLDER,FOLDER")
    parser.add_argument("--reproduction", type=pathlib.Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.reproduction:
        text = (args.reproduction / "table.md").read_text(encoding="utf-8")
        put(ROOT / "docs" / "gan.md", "reproduction", text)
    page = ROOT / "docs" / "results.md"
    if args.seeds:
        lines = parts(page, "seeds")[1].splitlines()[len(SEEDS) :]
        rows = {line.split(" | ")[0][2:]: line for line in lines}
        for run in args.seeds:
            title, _, folders = run.partition("=")
            rows[title] = seeds_row(title, list(map(pathlib.Path, folders.split(","))))
        put(page, "seeds", "\n".join([*SEEDS, *rows.values()]))
    if not args.runs:
        return
    sections = {}
    rows = {line.split(" | ")[0][2:]: line for line in parts(page, "summary")[1].splitlines()[2:]}
    for run in args.runs:
        title, _, folders = run.partition("=")
        sections[title], rows[title] = section(title, list(map(pathlib.Path, folders.split(","))))
    put_sections(page, "results", sections)
    head = [
        "| data | recipe | images | Jaccard | Dice | Jaccard, augmented | colour threshold |",
        "|---|---|---|---|---|---|---|",
    ]
    table = "\n".join([*head, *rows.values()])
    once = re.sub(r"^\| (.*), ([\w-]+) \| `\2`", r"| \1 | `\2`", table, flags=re.M)
    put(ROOT / "README.md", "results", once)
    put(page, "summary", table)
    print(table)


if __name__ == "__main__":
    main()

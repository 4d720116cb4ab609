"""Write what finished runs of the example scripts scored into docs/results.md and README.md.

Example:
    python benchmarks/results.py "Polyps, Kvasir-SEG=results/polyp" "Instruments=results/instrument"

The text between `<!-- results:start -->` and `<!-- results:end -->` is replaced in both files, and
smaller copies of the runs' pictures go to docs/assets/results, that of the quickstart to the
front page too. Nothing is typed in by hand.
"""

import argparse
import json
import pathlib
import re

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCORES = ("jaccard", "dice", "accuracy", "recall", "precision", "f2")
PICTURES = {
    "masks": "Images, true and predicted outlines, and where the two differ",
    "explanation": "Relevance of pixels and of three layers for the predicted mask",
    "training": "Losses and scores during training",
    "scores": "Jaccard of every image against the size of what is to be found",
}


def interval(score):
    """Return a mean with its interval as text."""
    return f"{score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def slug(title):
    """Return a title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def section(title, folder):
    """Return the part of the results page on one run, and copy its pictures."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    recipe, images = facts["recipe"], facts["images"]
    lines = [f"## {title}", ""]
    lines += [f"`{facts['command']}`", ""]
    gpus = ", ".join(facts["gpus"]) or "no GPU"
    lines += [
        f"{images['training']} images to train, {images['validation']} to choose the epoch, "
        f"{images['reported']} to report. Recipe `{recipe['name']}` at {recipe['size']} pixels, "
        f"{recipe['filters']} filters, batch {recipe['batch_size']}, learning rate "
        f"{recipe['learning_rate']:g}, loss weights L1 {recipe['l1']:g}, cross-entropy "
        f"{recipe['cross_entropy']:g}, Dice {recipe['dice']:g}, "
        f"adversarial {recipe['adversarial_weight']:g}, seed {recipe['seed']}; "
        f"{facts['epochs']} epochs in {facts['training_minutes']:.0f} minutes (training and "
        f"validation) on "
        f"{facts['processor']}, {gpus}; kept is epoch {facts['best_epoch']} (validation Dice "
        f"{facts['validation_dice']:.3f}). Python {facts['python']}, TensorFlow "
        f"{facts['tensorflow']}.",
        "",
    ]
    network, control = facts["scores"]["scores"], facts["control"]["scores"]
    lines += [
        f"| score | network | best colour threshold ({facts['control_feature']}) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {interval(network[name])} | {interval(control[name])} |" for name in SCORES
    ]
    lines += ["", f"Explained with the rule `{facts['rule']}`, target `prediction`.", ""]
    target = ROOT / "docs" / "assets" / "results"
    target.mkdir(parents=True, exist_ok=True)
    for name, caption in PICTURES.items():
        place = target / f"{slug(title)}_{name}.jpg"
        with Image.open(folder / f"{name}.png") as picture:
            small = picture.convert("RGB")
            small.thumbnail((900, 1500), Image.LANCZOS)
            small.save(place, quality=80, optimize=True)
        lines += [f"![{caption}](assets/results/{place.name})", "", f"*{caption}.*", ""]
    if "quickstart" in facts["command"]:
        with Image.open(folder / "explanation.png") as picture:
            picture.thumbnail((1000, 1000), Image.LANCZOS)
            picture.convert("P", palette=Image.ADAPTIVE, colors=256).save(
                ROOT / "docs" / "assets" / "quickstart.png", optimize=True
            )
    row = (
        f"| {title} | {recipe['size']} px, {recipe['filters']} filters, {facts['epochs']} epochs | "
        f"{images['reported']} | {interval(network['jaccard'])} | {interval(network['dice'])} | "
        f"{interval(control['jaccard'])} |"
    )
    return "\n".join(lines), row


def by_rule(table):
    """Return a pandas table with a row a rule as Markdown; missing numbers stay empty."""
    lines = ["| rule | " + " | ".join(table) + " |", "|---" * (1 + table.shape[1]) + "|"]
    for name, row in table.iterrows():
        cells = [f"{value:.3g}" if value == value else "" for value in row]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def replace(path, text):
    """Put text between the two marks of a file."""
    old = path.read_text(encoding="utf-8")
    start, end = "<!-- results:start -->", "<!-- results:end -->"
    if start not in old or end not in old:
        raise SystemExit(f"{path} has no {start} and {end}")
    head, tail = old[: old.index(start) + len(start)], old[old.index(end) :]
    path.write_text(f"{head}\n\n{text.strip()}\n\n{tail}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="TITLE=FOLDER")
    runs = [run.partition("=") for run in parser.parse_args().runs]
    parts = [section(title, pathlib.Path(folder)) for title, _, folder in runs]
    replace(ROOT / "docs" / "results.md", "\n".join(text for text, _ in parts))
    head = [
        "| data | network | images | Jaccard | Dice | Jaccard of a colour threshold |",
        "|---|---|---|---|---|---|",
    ]
    table = "\n".join([*head, *(row for _, row in parts)])
    replace(ROOT / "README.md", table)
    print(table)


if __name__ == "__main__":
    main()

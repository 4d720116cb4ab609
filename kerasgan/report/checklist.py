"""Reporting checklists: what a run answers by itself, what people stated, and what is open.

A line is answered where all that it needs is known, in part where some of it is. Facts of the run
come from its record and from what the report measured; everything else is stated in the card, or
open. A filled line does not say that a requirement is met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import pandas as pd

from kerasgan.data import Samples
from kerasgan.inference.card import KNOWN, fact_text, printable
from kerasgan.report.collect import Collected
from kerasgan.report.failures import FAILURES
from kerasgan.report.guidelines import DOCUMENTS, RUN
from kerasgan.report.page import kinds_of
from kerasgan.storage import file_keys, files_fact

ANSWERED, PART, OPEN = "answered", "in part", "open"
LOSSES = (
    *("l1", "cross_entropy", "dice", "jaccard", "tversky", "focal", "boundary"),
    *("adversarial_weight", "feature_matching", "gradient_penalty", "r1"),
)
OPTIMIZERS = (
    *("adversarial", "learning_rate", "discriminator_learning_rate", "weight_decay"),
    *("clip_norm", "schedule", "ema_momentum"),
)


class Fact(NamedTuple):
    """What answers a line, or a part of it.

    Attributes:
        label: What it is about.
        text: What is known.
        place: Section of the page that shows it; None where a person stated it.
    """

    label: str
    text: str
    place: str | None


def fill(
    stated: Mapping[str, Sequence[tuple[str, str]]], found: Mapping[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Fill in all documents.

    Args:
        stated: What `check_card` returned.
        found: Facts of the run: from names of `RUN` to (text, section of the page).

    Returns:
        For each document `name`, `source`, `about`, `counts` (lines by state), and `lines`: `item`,
        `asked`, `state`, `answers` (of `Fact`), and `open`, pairs of a label and the field of the
        card to fill in, None where the run alone could tell.
    """
    documents = []
    for document in DOCUMENTS:
        lines = []
        for line in document.lines:
            answers: list[Fact] = []
            missing: list[tuple[str, str | None]] = []
            for need in line.needs:
                names = need.split("|")
                facts = [fact for name in names if (fact := _fact(name, stated, found))]
                if facts:
                    answers += facts[:1]
                else:
                    missing.append(_missing(names))
            state = (ANSWERED if not missing else PART) if answers else OPEN
            answers, missing = list(dict.fromkeys(answers)), list(dict.fromkeys(missing))
            about = {"item": line.item, "asked": line.asked, "state": state}
            lines.append({**about, "answers": answers, "open": missing})
        counts = {
            state: sum(line["state"] == state for line in lines) for state in (ANSWERED, PART, OPEN)
        }
        about = {"name": document.name, "source": document.source, "about": document.about}
        documents.append({**about, "counts": counts, "lines": lines})
    return documents


def to_table(documents: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each line, to be written as CSV."""
    rows = [
        {
            "document": document["name"],
            "item": line["item"],
            "asked": line["asked"],
            "state": line["state"],
            "answer": "; ".join(
                f"{fact.label}: {fact.text}{'' if fact.place else ' (stated)'}"
                for fact in line["answers"]
            ),
            "open": "; ".join(label for label, _ in line["open"]),
            "fields_of_card": ", ".join(dict.fromkeys(f for _, f in line["open"] if f)),
        }
        for document in documents
        for line in document["lines"]
    ]
    return pd.DataFrame(rows)


def to_card(stated: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
    """Return all fields of a card with what was stated, or empty text, to be filled in."""
    card: dict[str, Any] = {}
    for name, pairs in stated.items():
        texts = [text for _, text in pairs]
        if any(label for label, _ in pairs):
            card[name] = dict(pairs)
        else:
            card[name] = texts if len(texts) > 1 else "".join(texts)
    return card


def _fact(
    name: str,
    stated: Mapping[str, Sequence[tuple[str, str]]],
    found: Mapping[str, tuple[str, str]],
) -> Fact | None:
    if name in RUN:
        return Fact(RUN[name].partition(" (")[0], *found[name]) if name in found else None
    pairs = stated.get(name)
    if not pairs:
        return None
    text = "; ".join(f"{label}: {value}" if label else value for label, value in pairs)
    return Fact(KNOWN[name], text, None)


def _missing(names: Sequence[str]) -> tuple[str, str | None]:
    """Say what is missing, and which field of the card may hold it."""
    label = RUN.get(names[0]) or KNOWN[names[0]]
    return label, next((name for name in names if name not in RUN), None)


# --- What the run knows ---


def run_facts(
    model: Any,
    network: keras.Model,
    samples: Samples,
    collected: Collected,
    facts: Mapping[str, Sequence[tuple[str, str]]],
    balances: Mapping[str, Mapping[str, Any]],
    shown: int,
    shortcuts: Any = None,
) -> dict[str, tuple[str, str]]:
    """Return what a report knows, from names of `RUN` to (text, section of the page).

    `facts` are of `model_card`, with settings; `balances` of each rule, of `panels.balance`.
    """
    described = dict(facts["network"])
    height, width, channels = network.input_shape[1:]
    size = "any size" if height is None else f"{height} × {width} pixels"
    threshold = described.get("Foreground above a probability of")
    output = f"{described['Output']}, from a probability for every pixel"
    answers = {
        "input": (
            f"The pixels of one image and nothing else: {size}, {channels} channels",
            "model",
        ),
        "model": (f"{described['Architecture']}, {described['Parameters']} parameters", "model"),
        "weights": (f"SHA-256 {described['SHA-256 of the weights']}", "model"),
        "output": (output + (f"; foreground above {threshold}" if threshold else ""), "model"),
        "preparation": (
            f"Values as '{described['Preprocessing']}'; resizing: "
            f"{described['Resizing of images']}",
            "model",
        ),
        "ensemble": (_ensemble(described), "model"),
        "versions": (_joined(facts["software"], ("Processor", "GPUs")), "model"),
        "resources": (
            f"{described['Parameters']} parameters, {described['Size of the weights']}; this "
            f"report: {dict(facts['software'])['Processor']}, GPUs: "
            f"{dict(facts['software'])['GPUs']}",
            "model",
        ),
        "reported": (_reported(samples), "images"),
        **{name: (text, "model") for name, text in _of_training(model, samples).items()},
    }
    if collected.labelled:
        answers.update(_of_scores(collected, shown))
    if balances:
        answers["explanations"] = (_explained(balances), "ledger")
    if shortcuts is not None:
        answers["shortcuts"] = (" ".join(map(printable, shortcuts.findings)), "shortcuts")
    return {name: fact for name, fact in answers.items() if fact[0]}


def trained_on(model: Any, samples: Samples) -> bool | None:
    """Whether a model was trained on exactly the files of these samples; None if unknown."""
    seen = [*_data_of(model), *_data_of(model, "unlabelled")]
    known = [data["images"] for data in seen if "mode" in data and data.get("images")]
    return files_fact(file_keys(samples.image_paths)) in known if known else None


def _fits(model: Any) -> list[Mapping[str, Any]]:
    return [fit for fit in getattr(model, "fits", None) or [] if isinstance(fit, Mapping)]


def _data_of(model: Any, part: str = "data") -> list[Mapping[str, Any]]:
    parts = (fit.get(part) for fit in _fits(model))
    return [data if isinstance(data, Mapping) else {} for data in parts]


def _of_training(model: Any, samples: Samples) -> dict[str, str]:
    """What `fit` recorded; without a record nothing, since a recipe alone is a plan."""
    fits = _fits(model)
    if not fits:
        return {}
    data, checked, bare = (_data_of(model, p) for p in ("data", "validation", "unlabelled"))
    last, recipe = fits[-1], getattr(model, "recipe", None) or {}
    facts = {
        "fit": "; then ".join(_settings(fit, about) for fit, about in zip(fits, data)),
        "kept_epoch": _numbers(last, {"kept_epoch": "epoch {}", "asked_epochs": "of {}"}, " "),
        "fit_versions": fact_text(last.get("versions") or ""),
        "losses": _chosen(recipe, (*LOSSES, *OPTIMIZERS)),
        "initialisation": _initialisation(recipe),
    }
    if all(about.get("images") for about in data):
        parts = [
            f"training {_count(about['images'])}"
            + (f", without masks {_count(more['images'])}" if more.get("images") else "")
            + f", validation {_count(other['images']) if other.get('images') else 'none recorded'}"
            for about, other, more in zip(data, checked, bare)
        ]
        facts["partitions"] = f"{'; then '.join(parts)}; this report {_reported(samples)}"
    same = trained_on(model, samples)
    if same is not None:
        facts["independence"] = (
            "The files of this report are those of training: its scores say nothing of other images"
            if same
            else "The files of this report are not, as a set, those of training. Whether single "
            "images, or images of the same patient, are in both is not known"
        )
    return facts


def _settings(fit: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    named = {"batch_size": "batch size {}", "mode": "mode {}", "seed": "seed {}"}
    done = {
        "epochs": "epochs: {}",
        "asked_epochs": "of {} asked for",
        "precision": "{}",
        "devices": "on {}",
        "seconds": "{} seconds",
    }
    parts = [_numbers(fit, done), _numbers(data, named)]
    size = data.get("size")
    if isinstance(size, (list, tuple)) and len(size) == 2:
        parts.insert(1, f"{size[0]} × {size[1]} pixels")
    if "augment" in data:
        parts.append("augmented" if data["augment"] else "not augmented")
    return printable(", ".join(filter(None, parts)))


def _numbers(facts: Mapping[str, Any], named: Mapping[str, str], between: str = ", ") -> str:
    return between.join(
        text.format(fact_text(facts[name]))
        for name, text in named.items()
        if facts.get(name) is not None
    )


def _chosen(recipe: Mapping[str, Any], names: Sequence[str]) -> str:
    """Settings of a recipe that are not zero; none where it names no loss."""
    if not any(recipe.get(name) for name in LOSSES):
        return ""
    return ", ".join(
        f"{name.replace('_', ' ')} {fact_text(recipe[name])}" for name in names if recipe.get(name)
    )


def _initialisation(recipe: Mapping[str, Any]) -> str:
    if "seed" not in recipe:
        return ""
    start = f"encoder from {fact_text(recipe['weights'])}, others " if recipe.get("weights") else ""
    return f"{start}random, seed {fact_text(recipe['seed'])}"


def _count(images: Any) -> str:
    number, comma, key = fact_text(images).partition(", ")
    return f"{number} images (hash {key[:12]})" if comma else number


def _reported(samples: Samples) -> str:
    images = f"{len(samples)} image{'s' if len(samples) != 1 else ''}"
    return f"{images} {'without' if samples.mask_paths is None else 'with'} true masks"


def _ensemble(described: Mapping[str, str]) -> str:
    views = described.get("Averaged over views")
    return "One network, no ensemble" + (f"; averaged over views: {views}" if views else "")


def _joined(pairs: Sequence[tuple[str, str]], without: Sequence[str]) -> str:
    return ", ".join(f"{label} {text}" for label, text in pairs if label not in without)


def _explained(balances: Mapping[str, Mapping[str, Any]]) -> str:
    words = {
        True: "relevance is conserved",
        False: "relevance is lost between layers",
        None: "conservation is not known",
    }
    parts = [f"{printable(name)} ({words[books['balanced']]})" for name, books in balances.items()]
    return (
        f"Heatmaps by {', '.join(parts)}, with conservation table. Whether they are faithful to "
        "the network was not measured in this report"
    )


def _of_scores(collected: Collected, shown: int) -> dict[str, tuple[str, str]]:
    """What is known with true masks alone."""
    table, summary = collected.table, collected.summary
    scores = {name: score for name, score in summary["scores"].items() if "area" not in name}
    named = [name for name in ("dice", "jaccard", "recall", "precision") if name in scores]
    percent = f"{100 * summary['confidence']:g} %"
    errors = {
        kind: sum(kind in kinds_of(row) for row in table.to_dict("records")) for kind in FAILURES
    }
    counted = ", ".join(f"{kind} in {count}" for kind, count in errors.items())
    return {
        "score_names": (
            f"{', '.join(name.replace('_', ' ') for name in scores)}; missed objects, false "
            "positives; calibration error",
            "scores",
        ),
        "intervals": (
            f"{percent} bootstrap percentile intervals of the mean over images: "
            f"{summary['resamples']} draws, seed {summary['seed']}",
            "scores",
        ),
        "scores": (_with_intervals(scores, named), "scores"),
        "detection": (
            f"Objects missed: {table['missed'].sum()} of {table['objects'].sum()}; false positive "
            f"regions: {table['false'].sum()} of {table['regions'].sum()}; "
            f"{_with_intervals(scores, ['recall', 'precision'])}",
            "failures",
        ),
        "sizes": ("Dice, recall and precision in groups by true area", "size"),
        "errors": (
            f"Images with errors, of {len(table)}: {counted}; {shown} images are shown in full",
            "failures",
        ),
        "calibration": (
            f"Expected calibration error {collected.calibration.error:.3f} over all pixels",
            "calibration",
        ),
    }


def _with_intervals(scores: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    return ", ".join(
        f"{name} {scores[name]['mean']:.3f} ({scores[name]['low']:.3f} to "
        f"{scores[name]['high']:.3f})"
        if scores[name]["images"] > 1
        else f"{name} {scores[name]['mean']:.3f} (no interval)"
        for name in names
    )

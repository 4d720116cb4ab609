"""What a report says in words: scores, rules, limits, and a glossary for non-specialists.

Texts that stand as they are lie in `assets/texts.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasgan.evaluation.objects import OVERLAP
from kerasgan.report.collect import Collected
from kerasgan.text import read_asset

TEXTS = read_asset("kerasgan.report", "assets/texts.json")
SCORE_WORDS: dict[str, str] = TEXTS["scores"]
"""What each score means."""
EMPTY_WORDS: dict[str, str] = TEXTS["empty"]
"""What is done where a score has nothing to divide by, by the name of the policy."""
KIND_WORDS: dict[str, str] = TEXTS["kinds"]
"""What each kind of finding means."""
TARGETS: dict[str, str] = TEXTS["targets"]
"""What is explained of an image, by the name of its target, in words."""
RULES: dict[str, str] = TEXTS["rules"]
"""What the best-known rules show."""
LIMITS: list[str] = TEXTS["limits"]
"""What holds for every model of this kind."""
GLOSSARY: list[list[str]] = TEXTS["glossary"]
"""Terms and what they mean."""


def sentences(collected: Collected, threshold: float | None = None) -> list[str]:
    """Say in a few sentences how good the masks are; the second is about objects."""
    count = len(collected.table)
    images = f"{count} image{'s' if count != 1 else ''}"
    if collected.summary is None or collected.calibration is None:
        empty = int((collected.table["predicted_area"] == 0).sum())
        masks = "mask is" if empty == 1 else "masks are"
        return [
            f"{images} without true masks: the predicted masks cannot be scored.",
            f"{empty} of the predicted {masks} empty.",
        ]
    dice = collected.summary["scores"]["dice"]
    table = collected.table
    objects, missed = int(table["objects"].sum()), int(table["missed"].sum())
    regions, false = int(table["regions"].sum()), int(table["false"].sum())
    range_of_dice = "fewer than two images have a value: no confidence interval"
    if dice["images"] > 1:
        range_of_dice = (
            f"{100 * collected.summary['confidence']:g} % confidence interval {dice['low']:.2f} to "
            f"{dice['high']:.2f}"
        )
    lines = [
        f"On {images}, the mean Dice score is {dice['mean']:.2f} ({range_of_dice}).",
        f"Missed objects: {missed} of {objects} (criterion: no pixel of the object is predicted). "
        f"False positives: {false} of {regions} predicted regions (criterion: no pixel of the "
        "region belongs to a true object).",
        "These criteria are met by any overlap. The score object_sensitivity of kerasgan.evaluate "
        f"is stricter: by default an object counts as found only above a Jaccard index of "
        f"{OVERLAP:g}.",
        "Expected calibration error (mean difference between confidence and accuracy): "
        f"{collected.calibration.error:.3f}.",
    ]
    if threshold is not None:
        lines.append(f"A pixel is foreground if its predicted probability is above {threshold:g}.")
    return lines


def conservation_sentence(books: Mapping[str, Any]) -> str:
    """Say where the explained logits went, of what `panels.balance` returned."""
    if books["balanced"] is None:
        return "This method has no complete conservation table: lost relevance would not show."
    if not books["images"]:
        return "There was nothing to explain."
    places = {
        "pixels": "to pixels",
        "bias": "to biases (constants of the network, which belong to no pixel)",
        "stabiliser": "to the stabiliser of the rule",
        "unsupported": "to outputs without a contribution of the sign that the rule uses",
    }
    shares = [
        f"{100 * books[name]:.1f} % {where}".replace("-", "\N{MINUS SIGN}")
        for name, where in places.items()
        if name in ("pixels", "bias") or abs(books[name]) >= 0.0005
    ]
    opposite = round(books["pixels"], 3) * round(books["bias"], 3) < 0
    opposed = "; pixels and biases have opposite signs" if opposite else ""
    return f"Where the explained logits went: {', '.join(shares[:-1])} and {shares[-1]}{opposed}."


def map_sentence(entry: Mapping[str, Any]) -> str:
    """Say what a heatmap shows, of an entry of `panels`."""
    if entry["place"]:
        where = f"{entry['part']} ({entry['place']})" if entry["part"] else entry["place"]
        return f"Relevance at layer {where}: {entry['cells']} cells."
    if "inside" not in entry:
        return "There is nothing to explain: the target has no pixel, or no relevance."
    target = TARGETS[entry["target"]]
    inside, even, blurred = (f"{entry[key]:.0%}" for key in ("inside", "chance", "masked"))
    return (
        f"Relevance: {entry['positive']:.0%} positive, {1 - entry['positive']:.0%} negative. "
        f"{inside} of it is inside the {target}; a uniform heatmap would have {even} there, "
        f"the blurred {target} {blurred}."
    ).replace("%", " %")

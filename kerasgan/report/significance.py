"""Whether a paired difference may be chance, and the limits and glossary of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from kerasgan.report.texts import GLOSSARY, LIMITS


class Significance(NamedTuple):
    """What is said of one difference.

    Attributes:
        level: "identical", "too few", "not significant", "uncorrected" or "significant".
        text: A sentence.
    """

    level: str
    text: str


def assess_difference(
    row: Mapping[str, Any], comparisons: int = 1, confidence: float = 0.95
) -> Significance:
    """Say whether a paired difference may be chance.

    Source: the division, Bonferroni's; Dunn 1961, Multiple comparisons among means.
    """
    images, allowed = int(row["images"]), (1 - confidence) / comparisons
    if not images or pd.isna(row["difference"]):
        return Significance("too few", "Cannot be told: no image has a value under both models.")
    if row["difference"] == row["low"] == row["high"] == 0:
        return Significance("identical", "No difference on any image.")
    direction = "Higher" if row["difference"] > 0 else "Lower"
    if 2.0 ** (1 - images) > allowed:
        many = "one image tells" if images == 1 else f"{images} images tell"
        text = f"{direction} here, but {many} too little to rule out chance."
        return Significance("too few", text)
    if row["low"] <= 0 <= row["high"]:
        return Significance("not significant", "May be chance: the interval holds zero.")
    if row["p"] > allowed:
        many = f"{comparisons} models were compared with the first, and one of so many"
        text = f"{direction}. Hardly chance taken alone; but {many} may differ as much by chance."
        return Significance("uncorrected", text)
    return Significance("significant", f"{direction}, and hardly by chance.")


COMPARISON_LIMITS = (
    "One training of each model was compared. Another training of the same recipe, with other "
    "seeds, may turn a small difference round; no interval here covers that.",
    "If one of the models was trained on some of these images, or chosen by its score on them, its "
    "lead is not real.",
    "A difference that may be chance is no proof that the models are equal: with few images even a "
    "large one cannot be told from chance.",
    "A difference that is hardly chance may still be too small to matter to a patient.",
    "A better mean can hide worse failures: see what each model missed.",
    "Two heatmaps that look alike are no proof that two networks work alike.",
    *LIMITS,
)
"""What holds for every such comparison."""

COMPARISON_GLOSSARY = sorted((
    *GLOSSARY,
    ("Agreement", "How far two models draw the same, whether right or wrong: the Dice score "
     "between their masks. 1 where both drew nothing."),
    ("Chance", "That these images, and not others like them, were tested. A difference that may "
     "be chance could be of the other sign on others."),
    ("Paired difference", "The score of one model less that of another on the same image, then "
     "averaged. What makes an image hard for both cancels out."),
))  # fmt: skip
"""Terms of a comparison and what they mean."""

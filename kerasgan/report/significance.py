"""Whether a paired difference is significant, and the limits and glossary of a comparison."""

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
    """Say whether a paired difference is significant.

    Source: the division, Bonferroni's; Dunn 1961, Multiple comparisons among means.
    """
    images, allowed = int(row["images"]), (1 - confidence) / comparisons
    if not images or pd.isna(row["difference"]):
        return Significance("too few", "Not tested: no image has a value for both models.")
    if row["difference"] == row["low"] == row["high"] == 0:
        return Significance("identical", "No difference on any image.")
    direction = "Higher" if row["difference"] > 0 else "Lower"
    if 2.0 ** (1 - images) > allowed:
        many = "one image is" if images == 1 else f"{images} images are"
        text = f"{direction} here, but {many} too few for a test of significance."
        return Significance("too few", text)
    if row["low"] <= 0 <= row["high"]:
        return Significance("not significant", "Not significant: the interval contains zero.")
    if row["p"] > allowed:
        text = (
            f"{direction}, but not significant after correction: {comparisons} models were "
            "compared with the first."
        )
        return Significance("uncorrected", text)
    return Significance("significant", f"{direction}, significant.")


COMPARISON_LIMITS = (
    "One training of each model was compared. Another training of the same recipe, with other "
    "seeds, may change the sign of a small difference; no interval here covers that.",
    "If one of the models was trained on some of these images, or selected by its score on them, "
    "its score here is too high.",
    "A difference that is not significant does not prove that the models are equal: with few "
    "images even a large difference is not significant.",
    "A significant difference may still be too small to matter to a patient.",
    "A model with a better mean can make worse errors: see what each model missed.",
    "Similar heatmaps do not prove that two networks work in the same way.",
    *LIMITS,
)
"""What holds for every such comparison."""

COMPARISON_GLOSSARY = sorted((
    *GLOSSARY,
    ("Agreement", "The Dice score between the masks of two models, whether right or wrong. 1 where "
     "both masks are empty."),
    ("Paired difference", "The score of one model minus that of another on the same image, "
     "averaged over images. How difficult an image is for both cancels out."),
    ("Significant", "The difference is unlikely (p below 0.05, corrected for the number of models) "
     "if only the choice of test images made it."),
))  # fmt: skip
"""Terms of a comparison and what they mean."""

"""Whether a paired difference is significant, and the limits and glossary of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from kerasgan.report.texts import GLOSSARY, LIMITS, TEXTS


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
    if row["difference"] == 0 and (images == 1 or row["low"] == row["high"] == 0):
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


COMPARISON_LIMITS = [*TEXTS["comparison_limits"], *LIMITS]
"""What holds for every such comparison."""
COMPARISON_GLOSSARY = sorted([*GLOSSARY, *TEXTS["comparison_glossary"]])
"""Terms of a comparison and what they mean."""

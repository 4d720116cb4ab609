"""Evaluation: how good the masks are, and what a colour threshold would score."""

from kerasgan.evaluation.baseline import ColorThreshold, fit_color_threshold
from kerasgan.evaluation.segmentation import (
    evaluate,
    evaluate_masks,
    save_table,
    summarize,
    summary_text,
)

__all__ = [
    "ColorThreshold",
    "evaluate",
    "evaluate_masks",
    "fit_color_threshold",
    "save_table",
    "summarize",
    "summary_text",
]

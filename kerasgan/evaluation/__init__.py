"""Evaluation: how good the masks are, where they are not, and what colour alone would score."""

from kerasgan.evaluation.baseline import ColorThreshold, fit_color_threshold
from kerasgan.evaluation.breakdown import by_case, by_size, worst
from kerasgan.evaluation.cross import cross_validate
from kerasgan.evaluation.paired import compare
from kerasgan.evaluation.segmentation import (
    evaluate,
    evaluate_masks,
    save_table,
    summarize,
    summary_text,
)
from kerasgan.evaluation.surface import hausdorff_95, mean_surface_distance, surface_distances

__all__ = [
    "ColorThreshold",
    "by_case",
    "by_size",
    "compare",
    "cross_validate",
    "evaluate",
    "evaluate_masks",
    "fit_color_threshold",
    "hausdorff_95",
    "mean_surface_distance",
    "save_table",
    "summarize",
    "summary_text",
    "surface_distances",
    "worst",
]

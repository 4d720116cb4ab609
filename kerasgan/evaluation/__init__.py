"""Evaluation: how good the masks are, how far their explanations can be believed."""

from kerasgan.evaluation.advise import Advice, advise
from kerasgan.evaluation.artifacts import find_regions, paint_over
from kerasgan.evaluation.baseline import ColorThreshold, fit_color_threshold
from kerasgan.evaluation.breakdown import by_case, by_size, worst
from kerasgan.evaluation.callbacks import WatchExplanations
from kerasgan.evaluation.cases import summarize_maps
from kerasgan.evaluation.complexity import complexity
from kerasgan.evaluation.context import between_objects, context, deviating
from kerasgan.evaluation.cross import cross_validate
from kerasgan.evaluation.faithfulness import faithfulness
from kerasgan.evaluation.localisation import localisation
from kerasgan.evaluation.paired import compare
from kerasgan.evaluation.removal import removal_curve
from kerasgan.evaluation.sanity import compare_models, random_logit, randomisation
from kerasgan.evaluation.segmentation import (
    evaluate,
    evaluate_masks,
    save_table,
    summarize,
    summary_text,
)
from kerasgan.evaluation.shortcuts import Shortcuts, painted_over, region_relevance, shortcuts
from kerasgan.evaluation.spectral import Clusters, relevance_clusters
from kerasgan.evaluation.stability import stability
from kerasgan.evaluation.surface import hausdorff_95, mean_surface_distance, surface_distances

__all__ = [
    "Advice",
    "Clusters",
    "ColorThreshold",
    "Shortcuts",
    "WatchExplanations",
    "advise",
    "between_objects",
    "by_case",
    "by_size",
    "compare",
    "compare_models",
    "complexity",
    "context",
    "cross_validate",
    "deviating",
    "evaluate",
    "evaluate_masks",
    "faithfulness",
    "find_regions",
    "fit_color_threshold",
    "hausdorff_95",
    "localisation",
    "mean_surface_distance",
    "paint_over",
    "painted_over",
    "random_logit",
    "randomisation",
    "region_relevance",
    "relevance_clusters",
    "removal_curve",
    "save_table",
    "shortcuts",
    "stability",
    "summarize",
    "summarize_maps",
    "summary_text",
    "surface_distances",
    "worst",
]

"""Evaluation: how good the masks are, how far their explanations can be believed.

In come a model and `Samples`; out come tables (pandas), a row for each image, whose means have
bootstrap intervals. `evaluate` predicts first: how an output is read as a mask is decided in
`kerasgan.models.outputs`, what a mask file means in `kerasgan.data.masks`.

- Masks: `segmentation` (scores), `surface` (outlines), `objects`, `centreline` (thin structures),
  `summary` (means and pooled scores of one dataset or several), `breakdown` (by size and group),
  `paired` (one model against another), `baseline` (a threshold on colour), `referral` (which
  images a person should look at).
- Explanations: `benchmark` (images, rules and controls that every measure runs on), `faithfulness`
  and `removal`, `localisation` and `regions`, `context`, `complexity`, `stability`, `sanity`;
  `advise` (which rule to use); `callbacks` (while a network learns).
- Shortcuts: `shortcuts`, `artifacts` (text, borders, highlights), `spectral` (clusters of maps).
"""

from kerasgan.evaluation.advise import Advice, advise
from kerasgan.evaluation.artifacts import find_regions, inpaint_regions
from kerasgan.evaluation.baseline import ColorThreshold, fit_color_threshold
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark, summarize_maps
from kerasgan.evaluation.breakdown import by_group, by_size, worst
from kerasgan.evaluation.callbacks import WatchExplanations
from kerasgan.evaluation.centreline import cldice
from kerasgan.evaluation.complexity import complexity
from kerasgan.evaluation.context import context, relevance_between_objects, top_images
from kerasgan.evaluation.faithfulness import faithfulness
from kerasgan.evaluation.localisation import localisation
from kerasgan.evaluation.objects import object_scores
from kerasgan.evaluation.paired import paired_difference
from kerasgan.evaluation.referral import referral_curve
from kerasgan.evaluation.sanity import compare_models, random_logit, randomisation
from kerasgan.evaluation.segmentation import evaluate, evaluate_masks, save_table
from kerasgan.evaluation.shortcuts import (
    Shortcuts,
    shortcuts,
)
from kerasgan.evaluation.stability import stability
from kerasgan.evaluation.summary import summarize, summary_table, summary_text
from kerasgan.evaluation.surface import (
    boundary_iou,
    hausdorff_95,
    mean_surface_distance,
    surface_dice,
)

__all__ = [
    # First floor: scores of masks, and which explanation to believe.
    "evaluate",
    "summary_text",
    "save_table",
    "paired_difference",
    "by_size",
    "by_group",
    "worst",
    "referral_curve",
    "advise",
    "faithfulness",
    "summarize_maps",
    "shortcuts",
    # Advanced: masks.
    "evaluate_masks",
    "summarize",
    "summary_table",
    "object_scores",
    "surface_dice",
    "boundary_iou",
    "cldice",
    "hausdorff_95",
    "mean_surface_distance",
    "ColorThreshold",
    "fit_color_threshold",
    # Advanced: measures of explanations.
    "ExplanationBenchmark",
    "ExplainedBatch",
    "complexity",
    "context",
    "localisation",
    "randomisation",
    "random_logit",
    "compare_models",
    "stability",
    "relevance_between_objects",
    "top_images",
    "WatchExplanations",
    "Advice",
    # Advanced: shortcuts.
    "Shortcuts",
    "find_regions",
    "inpaint_regions",
]

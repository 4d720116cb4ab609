"""Layer-wise relevance propagation for segmentation networks, run by iNNvestigate."""

from kerasgan.explain import targets
from kerasgan.explain.composites import (
    CPLRP,
    AttnLRP,
    Composite,
    Method,
    Preset,
    anything,
    dense,
    first,
    last,
)
from kerasgan.explain.concepts import Concepts, channel_relevance, most_relevant
from kerasgan.explain.discriminator import DiscriminatorExplainer, DiscriminatorExplanation
from kerasgan.explain.explainer import Explainer
from kerasgan.explain.explanation import Explanation
from kerasgan.explain.export import export_explainer
from kerasgan.explain.gradcam import GradCAM
from kerasgan.explain.gradients import (
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
)
from kerasgan.explain.linear import Linear
from kerasgan.explain.merged import MergedExplainer
from kerasgan.explain.methods import rule_names
from kerasgan.explain.original_size import OriginalSizeRelevance, to_original
from kerasgan.explain.perturbation import RISE, Occlusion
from kerasgan.explain.relevance_penalty import RelevancePenalty
from kerasgan.explain.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Redistribution,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)

__all__ = [
    "RISE",
    "AlphaBeta",
    "AttnLRP",
    "CPLRP",
    "Composite",
    "Concepts",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "GradCAM",
    "Gradient",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "DiscriminatorExplainer",
    "DiscriminatorExplanation",
    "Linear",
    "MergedExplainer",
    "Method",
    "Occlusion",
    "OriginalSizeRelevance",
    "Preset",
    "RelevancePenalty",
    "Rule",
    "Redistribution",
    "SmoothGrad",
    "WSquare",
    "ZBox",
    "ZPlus",
    "anything",
    "channel_relevance",
    "dense",
    "export_explainer",
    "first",
    "last",
    "most_relevant",
    "rule_names",
    "targets",
    "to_original",
]

"""Which pixels a mask rests on, and how much: layer-wise relevance propagation and other methods.

In come a trained network and images. Out come `Explanation`s: relevance of every pixel and layer,
and a table (`ledger`) that shows where all of it went.

- The rules (epsilon, gamma, ...), and how to add one: `rules.py`. Which layer has which rule:
  `composites.py`. Every method by its name: `methods.py`.
- The loop from the logits back to the pixels, and the conservation table: `propagate.py`. The same
  by iNNvestigate's analyzer: `innvestigate.py`.
- What is explained (a mask, a pixel, a false positive): `targets.py`.
- `Explainer`: `explainer.py`, on functions traced by `functions.py`. Its result: `explanation.py`,
  drawn by `draw.py`. Heatmaps through chosen channels: `functions.py`.
- How a network becomes a list of nodes: `tracing.py` traces it up to its logits, `canonize.py`
  makes nodes of its operations by the tables of `operations.py` and the patterns of `patterns.py`
  and `products.py`, `verify.py` compares the two; `graph.py` holds nodes and runs them.
- Other methods: `gradients.py`, `gradcam.py`, `perturbation.py`. Explanations of ensembles, views
  and windows: `merged.py`; of a discriminator: `discriminator.py`; of channels: `concepts.py`.
"""

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
    # What tutorials use
    "AlphaBeta",
    "Composite",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "WSquare",
    "ZBox",
    "ZPlus",
    "anything",
    "dense",
    "first",
    "last",
    "rule_names",
    "targets",
    # Networks with attention
    "AttnLRP",
    "CPLRP",
    # Other methods
    "GradCAM",
    "Gradient",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "Occlusion",
    "Preset",
    "RISE",
    "SmoothGrad",
    # A rule or a method of your own
    "Linear",
    "Method",
    "Redistribution",
    "Rule",
    # Ensembles, windows, discriminators, channels, training, other sizes and programs
    "Concepts",
    "DiscriminatorExplainer",
    "DiscriminatorExplanation",
    "MergedExplainer",
    "OriginalSizeRelevance",
    "RelevancePenalty",
    "channel_relevance",
    "export_explainer",
    "most_relevant",
    "to_original",
]

"""Explainable medical image segmentation with Keras.

A generative adversarial network segments, and layer-wise relevance propagation shows which pixels
each mask rests on. The rooms of the package, in the order in which data pass through them: `data`,
`models`, `training`, `inference`, `explain`, `evaluation`, `report`.
"""

import os
import warnings

from kerasgan import _requirements  # first: it refuses what cannot work

# TensorFlow's start-up notices, some of which it calls errors. "0" in the environment shows them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with warnings.catch_warnings():
    # TensorFlow 2.14 itself uses names that newer releases of its dependencies deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    _requirements.import_keras()

from kerasgan import data, evaluation, explain, inference, models, report, training
from kerasgan._version import __version__
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation import advise, evaluate
from kerasgan.explain import Explainer, targets
from kerasgan.inference import predict
from kerasgan.training import SegmentationGAN, recipes

__all__ = [
    "Explainer",
    "KerasganError",
    "KerasganWarning",
    "SegmentationGAN",
    "__version__",
    "advise",
    "data",
    "evaluate",
    "evaluation",
    "explain",
    "inference",
    "models",
    "predict",
    "recipes",
    "report",
    "targets",
    "training",
]

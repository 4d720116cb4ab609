"""The rooms of `kerasgan`, and its names that need TensorFlow."""

from kerasgan import data, evaluation, explain, inference, models, report, training
from kerasgan.evaluation import advise, evaluate
from kerasgan.explain import Explainer, targets
from kerasgan.inference import predict, pretrained
from kerasgan.training import SegmentationGAN, recipes

__all__ = [
    "Explainer",
    "SegmentationGAN",
    "advise",
    "data",
    "evaluate",
    "evaluation",
    "explain",
    "inference",
    "models",
    "predict",
    "pretrained",
    "recipes",
    "report",
    "targets",
    "training",
]

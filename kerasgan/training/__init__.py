"""Adversarial training under Keras' `compile` and `fit`."""

from kerasgan.training import recipes
from kerasgan.training.callbacks import MaskImages, SaveBest
from kerasgan.training.gan import SegmentationGAN
from kerasgan.training.metrics import Dice, Jaccard
from kerasgan.training.penalty import GradientPenalty, InvariancePenalty

__all__ = [
    "Dice",
    "GradientPenalty",
    "InvariancePenalty",
    "Jaccard",
    "MaskImages",
    "SaveBest",
    "SegmentationGAN",
    "recipes",
]

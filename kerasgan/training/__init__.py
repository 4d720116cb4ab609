"""Adversarial training under Keras' `compile` and `fit`."""

from kerasgan.training import recipes
from kerasgan.training.callbacks import MaskImages, SaveBest
from kerasgan.training.gan import SegmentationGAN
from kerasgan.training.metrics import Dice, Jaccard
from kerasgan.training.regularizers import InputGradientPenalty, InvariancePenalty

__all__ = [
    "Dice",
    "InputGradientPenalty",
    "InvariancePenalty",
    "Jaccard",
    "MaskImages",
    "SaveBest",
    "SegmentationGAN",
    "recipes",
]

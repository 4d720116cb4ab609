"""Adversarial training under Keras' `compile` and `fit`."""

from kerasgan.training import recipes
from kerasgan.training.callbacks import MaskImages
from kerasgan.training.gan import SegmentationGAN
from kerasgan.training.metrics import Dice, Jaccard

__all__ = ["Dice", "Jaccard", "MaskImages", "SegmentationGAN", "recipes"]

"""Functional Keras networks: generators, discriminators, and how their output is read."""

from kerasgan.models.blocks import SeededDropout
from kerasgan.models.discriminators import patch_discriminator
from kerasgan.models.generators import pix2pix_generator, unet
from kerasgan.models.heads import final_activation, generator_of, to_drawing, to_probability
from kerasgan.models.residual import residual_unet

__all__ = [
    "SeededDropout",
    "final_activation",
    "generator_of",
    "patch_discriminator",
    "pix2pix_generator",
    "residual_unet",
    "to_drawing",
    "to_probability",
    "unet",
]

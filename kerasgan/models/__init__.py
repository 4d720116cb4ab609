"""Functional Keras networks: generators, discriminators, and how their output is read."""

from kerasgan.models.attention import attention_unet
from kerasgan.models.blocks import SeededDropout, WeightClip
from kerasgan.models.discriminators import (
    feature_critic,
    image_discriminator,
    patch_discriminator,
    pixel_discriminator,
)
from kerasgan.models.encoders import encoder_unet
from kerasgan.models.generators import pix2pix_generator, unet
from kerasgan.models.named import rebuild, record_of
from kerasgan.models.nested import nested_unet
from kerasgan.models.outputs import final_activation, generator_of, to_probability, to_signed_mask
from kerasgan.models.residual import residual_unet
from kerasgan.models.transformers import convnext_unet, segformer

__all__ = [
    "SeededDropout",
    "WeightClip",
    "attention_unet",
    "convnext_unet",
    "encoder_unet",
    "feature_critic",
    "final_activation",
    "generator_of",
    "image_discriminator",
    "nested_unet",
    "patch_discriminator",
    "pix2pix_generator",
    "pixel_discriminator",
    "rebuild",
    "record_of",
    "residual_unet",
    "segformer",
    "to_signed_mask",
    "to_probability",
    "unet",
]

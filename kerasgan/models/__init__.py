"""Functional Keras networks: generators and discriminators, and what their outputs mean.

What comes in: sizes and numbers of channels, or a Keras model of your own. What goes out:
functional `keras.Model`s from images in [-1, 1] to masks, whose layers all have names.

Which file to open:

- `unets.py`, `encoders.py`, `transformers.py`: U-Nets, with parts that they share in `blocks.py`
- `discriminators.py`: PatchGAN, PixelGAN, ImageGAN, one that sees the mask alone, SegAN's
  critic
- `functional.py`: a SavedModel, a subclassed or another network as a functional model
- `outputs.py`: whether an output is a logit, a probability or a mask in [-1, 1], and its logits;
  decided by `trace.py`, the operations of a network, and `ranges.py`, the ranges of their values
- `preprocess.py`: what values a network expects of its images
- `named.py`, `safe.py`, `archives.py`: records, weights and files of networks, safe to load
"""

from kerasgan.models.blocks import SeededDropout
from kerasgan.models.discriminators import (
    feature_critic,
    image_discriminator,
    mask_discriminator,
    patch_discriminator,
    pixel_discriminator,
)
from kerasgan.models.encoders import encoder_unet
from kerasgan.models.functional import generator_of
from kerasgan.models.outputs import final_activation, to_signed_mask
from kerasgan.models.transformers import convnext_unet, segformer
from kerasgan.models.unets import (
    attention_unet,
    nested_unet,
    pix2pix_generator,
    residual_unet,
    unet,
)

__all__ = [
    "SeededDropout",
    "attention_unet",
    "convnext_unet",
    "encoder_unet",
    "feature_critic",
    "final_activation",
    "generator_of",
    "image_discriminator",
    "mask_discriminator",
    "nested_unet",
    "patch_discriminator",
    "pix2pix_generator",
    "pixel_discriminator",
    "residual_unet",
    "segformer",
    "to_signed_mask",
    "unet",
]

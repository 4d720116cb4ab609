"""Networks that judge whether a mask was drawn by a person or by a generator."""

from __future__ import annotations

import keras

from kerasgan.models.blocks import (
    batch_norm,
    bounded,
    check_counts,
    check_power_of_two,
    conv_settings,
)

__all__ = ["patch_discriminator"]


def patch_discriminator(
    size: int = 512,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build the paper's PatchGAN: it judges image and mask, patch by patch of 70 x 70 pixels.

    Five 4 x 4 convolutions on the concatenated image and mask: `filters` (stride 2), twice as many
    (stride 2), four times (stride 2), eight times (stride 1), one (stride 1), each padded by one
    pixel and with a bias; batch norm on the middle three; LeakyReLU 0.2. The output is the logit
    of "drawn by a person"; the paper's sigmoid lies in the loss.

    Args:
        size: height and width in pixels, a power of two from 32 up.
        channels: channels of the image, from 1 up.
        classes: channels of the mask, from 1 up.
        filters: channels behind the first convolution, from 1 up; 64 in the paper.
        spectral_norm: whether each kernel is divided by its largest singular value after every
            step (tensorflow-addons' layer), in place of batch norm.
        seed: int, for the kernels' start values.

    Returns:
        A functional `keras.Model`: [image (batch, size, size, channels) in [-1, 1], mask
        (batch, size, size, classes) in [-1, 1]] -> logits (batch, size/8 - 2, size/8 - 2, 1).

    Raises:
        KerasganError: if an argument is out of range.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.patch_discriminator(size=256, filters=2).output_shape
        (None, 30, 30, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), as used in arXiv 2111.01665; spectral
    normalisation: Miyato et al. 2018 (arXiv 1802.05957).
    """
    check_power_of_two(size)
    check_counts(channels=channels, classes=classes, filters=filters)
    layers = keras.layers
    image = keras.Input((size, size, channels), name="image")
    mask = keras.Input((size, size, classes), name="drawing")
    x = layers.Concatenate(name="pair")([image, mask])
    plan = [(filters, 2), (filters * 2, 2), (filters * 4, 2), (filters * 8, 1), (1, 1)]
    for level, (width, stride) in enumerate(plan, start=1):
        x = layers.ZeroPadding2D(name=f"patch_{level}_pad")(x)
        conv = layers.Conv2D(
            width, 4, stride, name=f"patch_{level}_conv", **conv_settings(seed, 100 + level)
        )
        x = (bounded(conv) if spectral_norm else conv)(x)
        if 1 < level < len(plan) and not spectral_norm:
            x = batch_norm(f"patch_{level}_bn")(x)
        if level < len(plan):
            x = layers.LeakyReLU(0.2, name=f"patch_{level}_act")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model([image, mask], logits, name="patch_discriminator")

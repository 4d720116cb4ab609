"""Networks that draw a mask for an image."""

from __future__ import annotations

import itertools

import keras

from kerasgan.models.blocks import (
    SeededDropout,
    batch_norm,
    check_counts,
    check_multiple,
    check_power_of_two,
    conv_block,
    conv_settings,
    mask_activation,
    mask_head,
    upsample,
)
from kerasgan.models.named import register_builder


@register_builder
def pix2pix_generator(
    size: int = 512, channels: int = 3, classes: int = 1, filters: int = 64, seed: int = 0
) -> keras.Model:
    """Build the paper's generator, a U-Net that halves the image until one or two pixels are left.

    `levels = min(8, log2(size))` convolutions 4 x 4 of stride 2 go down, as many transposed ones
    come up, with a skip connection between equals. Every convolution has a bias; batch norm
    (epsilon 1e-5, momentum 0.9) follows all but the first and the last on the way down and all but
    the last on the way up; LeakyReLU 0.2 goes before each on the way down but the first, ReLU on
    the way up; dropout 0.5 follows the first three on the way up. Kernels start as N(0, 0.02).

    Layers are named by their place: `down_3_act`, `down_3_conv`, `down_3_bn`, `up_2_conv`,
    `up_2_dropout`, `up_2_skip`, and `mask` for the last activation, a tanh for one channel (mask is
    where it is positive), a softmax for several.

    Args:
        size: height and width of the image in pixels, a power of two from 32 up.
        channels: channels of the image, from 1 up.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes, background included.
        filters: channels behind the first convolution, from 1 up; 64 in the paper.
        seed: int, for the kernels' start values and for dropout.

    Returns:
        A functional `keras.Model`: float32 (batch, size, size, channels) in [-1, 1] ->
        float32 (batch, size, size, classes).

    Raises:
        KerasganError: if an argument is out of range.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.pix2pix_generator(size=32, filters=4).output_shape
        (None, 32, 32, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), as used in arXiv 2111.01665.
    """
    check_power_of_two(size)
    check_counts(channels=channels, classes=classes, filters=filters)
    layers = keras.layers
    levels = min(8, size.bit_length() - 1)
    widths = [filters * min(8, 2**level) for level in range(levels)]

    def conv(kind, width, name, number):
        return kind(width, 4, 2, padding="same", name=name, **conv_settings(seed, number))

    # --- Down ---
    image = x = keras.Input((size, size, channels), name="image")
    skips = []
    for level, width in enumerate(widths, start=1):
        if level > 1:
            x = layers.LeakyReLU(0.2, name=f"down_{level}_act")(x)
        x = conv(layers.Conv2D, width, f"down_{level}_conv", level)(x)
        if 1 < level < levels:
            x = batch_norm(f"down_{level}_bn")(x)
        skips.append(x)

    # --- Up ---
    for level, (width, skip) in enumerate(zip(widths[-2::-1], skips[-2::-1]), start=1):
        x = layers.ReLU(name=f"up_{level}_act")(x)
        x = conv(layers.Conv2DTranspose, width, f"up_{level}_conv", levels + level)(x)
        x = batch_norm(f"up_{level}_bn")(x)
        if level <= 3:
            x = SeededDropout(0.5, seed=1000 * seed + level, name=f"up_{level}_dropout")(x)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, skip])
    x = layers.ReLU(name=f"up_{levels}_act")(x)
    x = conv(layers.Conv2DTranspose, classes, f"up_{levels}_conv", 2 * levels)(x)
    return keras.Model(image, mask_activation(classes, "tanh")(x), name="pix2pix_generator")


@register_builder
def unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 16,
    levels: int = 4,
    seed: int = 0,
) -> keras.Model:
    """Build a plain convolutional U-Net: two 3 x 3 convolutions a level, batch norm, ReLU.

    On the way down each level ends in a 2 x 2 max pooling; on the way up each begins with a
    2 x 2 transposed convolution and a skip connection. Widths double a level. Layers are named by
    place: `down_1_conv_a`, `middle_conv_a`, `up_1_conv_b`, `mask`.

    Args:
        size: height and width in pixels, an int or (height, width), multiples of 2**levels.
        channels: channels of the image, from 1 up.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes, background included.
        filters: channels of the first level, from 1 up.
        levels: how often the image is halved, from 1 up.
        seed: int, for the kernels' start values.

    Returns:
        A functional `keras.Model`: float32 (batch, height, width, channels) in [-1, 1] -> float32
        (batch, height, width, classes), a sigmoid for one channel, a softmax for several.

    Raises:
        KerasganError: if an argument is out of range.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.unet(size=(32, 48), filters=2, levels=3).output_shape
        (None, 32, 48, 1)

    Source: Ronneberger et al. 2015 (arXiv 1505.04597), with batch norm and padded convolutions.
    """
    check_counts(channels=channels, classes=classes, filters=filters, levels=levels)
    height, width = check_multiple(size, 2**levels, "2**levels = ")
    layers = keras.layers
    seeds = itertools.count(1000 * seed)

    # --- Down ---
    image = x = keras.Input((height, width, channels), name="image")
    skips = []
    for level in range(1, levels + 1):
        x = conv_block(x, filters * 2 ** (level - 1), f"down_{level}", seeds)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down_{level}_pool")(x)
    x = conv_block(x, filters * 2**levels, "middle", seeds)

    # --- Up ---
    for level, skip in enumerate(reversed(skips), start=1):
        x = upsample(x, skip.shape[-1], f"up_{level}_grow", seeds)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, skip])
        x = conv_block(x, skip.shape[-1], f"up_{level}", seeds)
    return keras.Model(image, mask_head(x, classes, seeds), name="unet")

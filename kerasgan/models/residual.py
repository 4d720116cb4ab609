"""A residual U-Net that does its work at half the resolution of the image."""

from __future__ import annotations

import itertools

import keras

from kerasgan.models.blocks import (
    batch_norm,
    check_counts,
    check_multiple,
    full_precision,
    mask_activation,
)
from kerasgan.models.named import register_builder


@register_builder
def residual_unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 32,
    levels: int = 5,
    seed: int = 0,
) -> keras.Model:
    """Build a residual U-Net whose first convolution halves the image.

    Most of a U-Net's time goes into its first and last level, at the image's full resolution.
    Here a 4 x 4 convolution of stride 2 comes first and a transposed one last, and between them
    each level has two residual blocks (two 3 x 3 convolutions) on the way down and one on the way
    up, so that for the same time the network is deeper, and sees all of the image at its deepest.
    Widths are 1, 2, 4, 6, 6, ... times `filters`. Batch norm follows every convolution but the
    last and nothing stands before one, so canonization folds all of it; shortcuts are averaged,
    and the way up is bilinear, so relevance spreads without a grid.

    Layers are named by place: `stem_conv`, `down_2_1_a_conv`, `down_2_1_add`, `up_1_skip`, `mask`.

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
        KerasganError: If an argument is out of range.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.residual_unet(size=(32, 48), filters=2, levels=3).output_shape
        (None, 32, 48, 1)

    Source: Zhang et al. 2018 (arXiv 1711.10684), with the blocks of He et al. 2016
    (arXiv 1512.03385), the averaged shortcuts of He et al. 2019 (arXiv 1812.01187, ResNet-D).
    """
    check_counts(channels=channels, classes=classes, filters=filters, levels=levels)
    height, width = check_multiple(size, 2**levels, "2**levels = ")
    layers = keras.layers
    seeds = itertools.count(1000 * seed)

    def conv(x, channels, kernel, prefix, stride=1):
        start = keras.initializers.HeNormal(seed=next(seeds))
        x = layers.Conv2D(
            channels,
            kernel,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer=start,
            name=f"{prefix}_conv",
        )(x)
        return batch_norm(f"{prefix}_bn")(x)

    def residual(x, channels, prefix, stride=1):
        straight = x
        if stride > 1:
            straight = layers.AveragePooling2D(stride, name=f"{prefix}_straight_pool")(straight)
        if x.shape[-1] != channels or stride > 1:
            straight = conv(straight, channels, 1, f"{prefix}_straight")
        x = conv(x, channels, 3, f"{prefix}_a", stride)
        x = layers.ReLU(name=f"{prefix}_a_act")(x)
        x = conv(x, channels, 3, f"{prefix}_b")
        x = layers.Add(name=f"{prefix}_add")([straight, x])
        return layers.ReLU(name=f"{prefix}_act")(x)

    widths = [filters * min(2**level, 6) for level in range(levels)]

    # --- Down ---
    image = x = keras.Input((height, width, channels), name="image")
    x = layers.ReLU(name="stem_act")(conv(x, filters, 4, "stem", 2))
    skips = []
    for level, channels_here in enumerate(widths, start=1):
        x = residual(x, channels_here, f"down_{level}_1", 1 if level == 1 else 2)
        x = residual(x, channels_here, f"down_{level}_2")
        skips.append(x)

    # --- Up ---
    for level, skip in enumerate(skips[-2::-1], start=1):
        x = conv(x, skip.shape[-1], 1, f"up_{level}_squeeze")
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{level}_grow")(x)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, skip])
        x = residual(x, skip.shape[-1], f"up_{level}_1")
    start = keras.initializers.GlorotUniform(seed=next(seeds))
    x = layers.Conv2DTranspose(
        classes,
        4,
        2,
        padding="same",
        kernel_initializer=start,
        dtype=full_precision(),
        name="mask_conv",
    )(x)
    return keras.Model(image, mask_activation(classes, "sigmoid")(x), name="residual_unet")

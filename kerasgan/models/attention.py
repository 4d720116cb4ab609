"""A U-Net that weighs what it passes along its skip connections."""

from __future__ import annotations

import itertools

import keras

from kerasgan.models.blocks import check_counts, check_multiple, conv_block, mask_head, upsample
from kerasgan.models.named import register_builder


@register_builder
def attention_unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 16,
    levels: int = 4,
    seed: int = 0,
) -> keras.Model:
    """Build a U-Net with an attention gate on every skip connection.

    As `unet`, but a skip passes only as far as the deeper level wants it: a 2 x 2 convolution of
    stride 2 on the skip and a 1 x 1 convolution on the signal from below are added; ReLU, a 1 x 1
    convolution to one channel and a sigmoid make a map in (0, 1), which grows bilinearly to the
    size of the skip and multiplies it.

    Layers are named as in `unet`, and those of a gate `up_1_gate_skip`, `up_1_gate_signal`,
    `up_1_gate_conv`, `up_1_gate` (the map), `up_1_gate_grow`, `up_1_gated` (the product).

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
        >>> model = kg.models.attention_unet(size=(32, 48), filters=2, levels=3)
        >>> model.output_shape, tuple(model.get_layer("up_3_gate").output.shape)
        ((None, 32, 48, 1), (None, 16, 24, 1))

    Source: Oktay et al. 2018 (arXiv 1804.03999), equations 1 and 2.
    """
    check_counts(channels=channels, classes=classes, filters=filters, levels=levels)
    height, width = check_multiple(size, 2**levels, "2**levels = ")
    layers = keras.layers
    seeds = itertools.count(1000 * seed)

    def conv(x, channels, side, name, **settings):
        start = keras.initializers.HeNormal(seed=next(seeds))
        return layers.Conv2D(channels, side, kernel_initializer=start, name=name, **settings)(x)

    def gated(skip, signal, prefix):
        from_signal = conv(signal, skip.shape[-1], 1, f"{prefix}_gate_signal")
        from_skip = conv(skip, skip.shape[-1], 2, f"{prefix}_gate_skip", strides=2, use_bias=False)
        x = layers.Add(name=f"{prefix}_gate_add")([from_skip, from_signal])
        x = layers.ReLU(name=f"{prefix}_gate_act")(x)
        x = conv(x, 1, 1, f"{prefix}_gate_conv")
        x = layers.Activation("sigmoid", name=f"{prefix}_gate")(x)
        x = layers.UpSampling2D(interpolation="bilinear", name=f"{prefix}_gate_grow")(x)
        return layers.Multiply(name=f"{prefix}_gated")([skip, x])

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
        passed = gated(skip, x, f"up_{level}")
        x = upsample(x, skip.shape[-1], f"up_{level}_grow", seeds)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, passed])
        x = conv_block(x, skip.shape[-1], f"up_{level}", seeds)
    return keras.Model(image, mask_head(x, classes, seeds), name="attention_unet")

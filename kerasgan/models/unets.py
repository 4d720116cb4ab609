"""U-Nets of convolutions, which draw a mask for an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import keras
from keras import layers

from kerasgan.models import blocks
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

    Example:
        >>> import kerasgan as kg
        >>> kg.models.pix2pix_generator(size=32, filters=4).output_shape
        (None, 32, 32, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), as used in arXiv 2111.01665.
    """
    blocks.check_power_of_two(size)
    blocks.check_counts(channels=channels, classes=classes, filters=filters)
    levels = min(8, size.bit_length() - 1)
    widths = [filters * min(8, 2**level) for level in range(levels)]

    def strided(kind, width, name, number):
        return kind(width, 4, 2, padding="same", name=name, **blocks.conv_settings(seed, number))

    # --- Down ---
    image = x = keras.Input((size, size, channels), name="image")
    skips = []
    for level, width in enumerate(widths, start=1):
        if level > 1:
            x = layers.LeakyReLU(0.2, name=f"down_{level}_act")(x)
        x = strided(layers.Conv2D, width, f"down_{level}_conv", level)(x)
        if 1 < level < levels:
            x = blocks.batch_norm(f"down_{level}_bn")(x)
        skips.append(x)

    # --- Up ---
    for level, skip in enumerate([*skips[-2::-1], None], start=1):
        width = classes if skip is None else skip.shape[-1]
        x = layers.ReLU(name=f"up_{level}_act")(x)
        x = strided(layers.Conv2DTranspose, width, f"up_{level}_conv", levels + level)(x)
        if skip is None:
            break
        x = blocks.batch_norm(f"up_{level}_bn")(x)
        if level <= 3:
            x = blocks.SeededDropout(0.5, seed=1000 * seed + level, name=f"up_{level}_dropout")(x)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, skip])
    return keras.Model(image, blocks.mask_activation(classes, "tanh")(x), name="pix2pix_generator")


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

    Example:
        >>> import kerasgan as kg
        >>> kg.models.unet(size=(32, 48), filters=2, levels=3).output_shape
        (None, 32, 48, 1)

    Source: Ronneberger et al. 2015 (arXiv 1505.04597), with batch norm and padded convolutions.
    """
    image, seeds = unet_inputs(size, channels, classes, filters, levels, seed)
    *skips, x = way_down(image, filters, levels, seeds)
    x = way_up(x, skips, seeds)
    return keras.Model(image, blocks.mask_head(x, classes, seeds), name="unet")


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

    Arguments and value are those of `unet`.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.attention_unet(size=(32, 48), filters=2, levels=3)
        >>> model.output_shape, tuple(model.get_layer("up_3_gate").output.shape)
        ((None, 32, 48, 1), (None, 16, 24, 1))

    Source: Oktay et al. 2018 (arXiv 1804.03999), equations 1 and 2.
    """
    image, seeds = unet_inputs(size, channels, classes, filters, levels, seed)

    def gated(skip, signal, prefix):
        width, gate = skip.shape[-1], f"{prefix}_gate"
        from_signal = blocks.conv(signal, width, 1, f"{gate}_signal", blocks.he_start(seeds))
        settings = {"strides": 2, "use_bias": False}
        from_skip = blocks.conv(skip, width, 2, f"{gate}_skip", blocks.he_start(seeds), **settings)
        x = layers.Add(name=f"{gate}_add")([from_skip, from_signal])
        x = layers.ReLU(name=f"{gate}_act")(x)
        x = blocks.conv(x, 1, 1, f"{gate}_conv", blocks.he_start(seeds))
        x = layers.Activation("sigmoid", name=gate)(x)
        x = layers.UpSampling2D(interpolation="bilinear", name=f"{gate}_grow")(x)
        return layers.Multiply(name=f"{prefix}_gated")([skip, x])

    *skips, x = way_down(image, filters, levels, seeds)
    x = way_up(x, skips, seeds, gated)
    return keras.Model(image, blocks.mask_head(x, classes, seeds), name="attention_unet")


@register_builder
def nested_unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 16,
    levels: int = 4,
    seed: int = 0,
) -> keras.Model:
    """Build a U-Net++: between the way down and the way up lie nodes joined with all before them.

    Node (i, j) of level i, of which column 0 is the way down, takes every node (i, 0) to (i, j - 1)
    of its level and the node (i + 1, j - 1) below it, grown by a 2 x 2 transposed convolution. The
    last node of the first level gives the mask; the paper's deep supervision is left out.

    Layers are named by place: `down_1_conv_a`, `middle_conv_a`, and for node (1, 2)
    `node_1_2_grow`, `node_1_2_skip`, `node_1_2_conv_a`; `mask`.

    Arguments and value are those of `unet`.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.nested_unet(size=(32, 48), filters=2, levels=3)
        >>> model.output_shape, len(model.get_layer("node_1_3_skip").input)
        ((None, 32, 48, 1), 4)

    Source: Zhou et al. 2018 (arXiv 1807.10165), equation 1.
    """
    image, seeds = unet_inputs(size, channels, classes, filters, levels, seed)
    rows = [[x] for x in way_down(image, filters, levels, seeds)]
    for column in range(1, levels + 1):
        for level in range(1, levels + 2 - column):
            row, below = rows[level - 1], rows[level][column - 1]
            row.append(join(below, row, f"node_{level}_{column}", seeds))
    return keras.Model(image, blocks.mask_head(rows[0][-1], classes, seeds), name="nested_unet")


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

    Arguments and value are those of `unet`, with other defaults.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.residual_unet(size=(32, 48), filters=2, levels=3).output_shape
        (None, 32, 48, 1)

    Source: Zhang et al. 2018 (arXiv 1711.10684), with the blocks of He et al. 2016
    (arXiv 1512.03385), the averaged shortcuts of He et al. 2019 (arXiv 1812.01187, ResNet-D).
    """
    image, seeds = unet_inputs(size, channels, classes, filters, levels, seed)

    def normalized(x, channels, side, prefix, stride=1):
        settings = {"strides": stride, "padding": "same", "use_bias": False}
        x = blocks.conv(x, channels, side, f"{prefix}_conv", blocks.he_start(seeds), **settings)
        return blocks.batch_norm(f"{prefix}_bn")(x)

    def residual(x, channels, prefix, stride=1):
        straight = x
        if stride > 1:
            straight = layers.AveragePooling2D(stride, name=f"{prefix}_straight_pool")(straight)
        if x.shape[-1] != channels or stride > 1:
            straight = normalized(straight, channels, 1, f"{prefix}_straight")
        x = normalized(x, channels, 3, f"{prefix}_a", stride)
        x = layers.ReLU(name=f"{prefix}_a_act")(x)
        x = normalized(x, channels, 3, f"{prefix}_b")
        x = layers.Add(name=f"{prefix}_add")([straight, x])
        return layers.ReLU(name=f"{prefix}_act")(x)

    # --- Down ---
    x = layers.ReLU(name="stem_act")(normalized(image, filters, 4, "stem", 2))
    skips = []
    for level in range(1, levels + 1):
        width = filters * min(2 ** (level - 1), 6)
        x = residual(x, width, f"down_{level}_1", 1 if level == 1 else 2)
        x = residual(x, width, f"down_{level}_2")
        skips.append(x)

    # --- Up ---
    for level, skip in enumerate(skips[-2::-1], start=1):
        x = normalized(x, skip.shape[-1], 1, f"up_{level}_squeeze")
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{level}_grow")(x)
        x = layers.Concatenate(name=f"up_{level}_skip")([x, skip])
        x = residual(x, skip.shape[-1], f"up_{level}_1")
    settings = {"kernel_initializer": blocks.glorot_start(seeds), "dtype": blocks.full_precision()}
    x = layers.Conv2DTranspose(classes, 4, 2, padding="same", name="mask_conv", **settings)(x)
    return keras.Model(image, blocks.mask_activation(classes, "sigmoid")(x), name="residual_unet")


# --- Parts ---


def unet_inputs(size, channels: int, classes: int, filters: int, levels: int, seed: int):
    """Check what most U-Nets are asked for; return the image, and seeds of start values."""
    blocks.check_counts(channels=channels, classes=classes, filters=filters, levels=levels)
    shape = (*blocks.check_multiple(size, 2**levels, "2**levels = "), channels)
    return keras.Input(shape, name="image"), itertools.count(1000 * seed)


def way_down(x, filters: int, levels: int, seeds: Iterator[int]) -> list:
    """Convolve and halve `levels` times; return what each level gives, and the middle."""
    given = []
    for level in range(levels):
        given.append(blocks.conv_block(x, filters * 2**level, f"down_{level + 1}", seeds))
        x = layers.MaxPooling2D(name=f"down_{level + 1}_pool")(given[-1])
    return [*given, blocks.conv_block(x, filters * 2**levels, "middle", seeds)]


def join(x, skips: list, prefix: str, seeds: Iterator[int], first: bool = False):
    """Double a tensor's size, join it to skip connections, before or behind these, and convolve."""
    width = skips[0].shape[-1]
    settings = {"kernel_initializer": blocks.he_start(seeds), "name": f"{prefix}_grow"}
    x = layers.Conv2DTranspose(width, 2, 2, **settings)(x)
    x = layers.Concatenate(name=f"{prefix}_skip")([x, *skips] if first else [*skips, x])
    return blocks.conv_block(x, width, prefix, seeds)


def way_up(x, skips: list, seeds: Iterator[int], gate: Callable | None = None):
    """Come up to the image's size, with each skip connection behind `gate(skip, x, prefix)`."""
    for level, skip in enumerate(reversed(skips), start=1):
        passed = gate(skip, x, f"up_{level}") if gate else skip
        x = join(x, [passed], f"up_{level}", seeds, first=True)
    return x

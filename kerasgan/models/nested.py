"""A U-Net whose skip connections are U-Nets of their own."""

from __future__ import annotations

import itertools

import keras

from kerasgan.models.blocks import check_counts, check_multiple, conv_block, mask_head, upsample
from kerasgan.models.named import register_builder


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
        >>> model = kg.models.nested_unet(size=(32, 48), filters=2, levels=3)
        >>> model.output_shape, len(model.get_layer("node_1_3_skip").input)
        ((None, 32, 48, 1), 4)

    Source: Zhou et al. 2018 (arXiv 1807.10165), equation 1.
    """
    check_counts(channels=channels, classes=classes, filters=filters, levels=levels)
    height, width = check_multiple(size, 2**levels, "2**levels = ")
    layers = keras.layers
    seeds = itertools.count(1000 * seed)

    # --- Down ---
    image = x = keras.Input((height, width, channels), name="image")
    rows = []
    for level in range(1, levels + 1):
        x = conv_block(x, filters * 2 ** (level - 1), f"down_{level}", seeds)
        rows.append([x])
        x = layers.MaxPooling2D(name=f"down_{level}_pool")(x)
    rows.append([conv_block(x, filters * 2**levels, "middle", seeds)])

    # --- Across, a column at a time ---
    for column in range(1, levels + 1):
        for level in range(1, levels + 2 - column):
            row, below = rows[level - 1], rows[level][column - 1]
            prefix, width_here = f"node_{level}_{column}", filters * 2 ** (level - 1)
            x = upsample(below, width_here, f"{prefix}_grow", seeds)
            x = layers.Concatenate(name=f"{prefix}_skip")([*row, x])
            row.append(conv_block(x, width_here, prefix, seeds))
    return keras.Model(image, mask_head(rows[0][-1], classes, seeds), name="nested_unet")

"""Networks of the transformer years: SegFormer, and a U-Net of ConvNeXt blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kerasgan.models import blocks
from kerasgan.models.named import register_builder
from kerasgan.validation import check_number, check_whole_number, invalid

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
DECODER = 8
WIDER = 4
LAYER_SCALE = 1e-6


@register_builder
def segformer(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 32,
    depths: Sequence[int] = (2, 2, 2, 2),
    decoder_filters: int | None = None,
    drop_path_rate: float = 0.1,
    seed: int = 0,
) -> keras.Model:
    """Build a SegFormer: a transformer on overlapping patches, with a decoder of pointwise layers.

    Four stages at 1/4, 1/8, 1/16 and 1/32 of the size. Each begins with a strided convolution
    whose patches overlap (7 x 7, then 3 x 3) and a layer normalisation, has `depths` blocks, and
    ends with another normalisation. A block is, each time normalised before and added after:
    attention of every place to all places, whose keys and values come from the same map made 8, 4,
    2, 1 times smaller; and a feed-forward part, four times as wide, with a 3 x 3 depthwise
    convolution before its GELU. Positions are known from the zeros around those convolutions
    alone, so weights fit images of any size. The decoder brings the four maps to one width and to
    1/4 of the size, joins them, mixes them at each place, and brings the logits to full size.

    The defaults are the paper's B0; B1 is `filters=64, decoder_filters=256`; B2 to B5 have 64 and
    768, and depths (3, 4, 6, 3), (3, 4, 18, 3), (3, 8, 27, 3) and (3, 6, 40, 3). Left out is the
    dropout before the last layer, and padding is Keras' "same".

    Layers are named by place: `down_1_patch`, `down_1_2_attention`, `down_1_2_mix_depthwise`,
    `down_1_norm`, `up_1_squeeze` (of the deepest stage), `fuse_conv`, `mask_conv`, `mask`.

    Args:
        size: height and width in pixels, an int or (height, width), multiples of 32.
        channels: channels of the image, from 1 up.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes, background included.
        filters: channels of the first stage and of each attention head, from 2 up; the stages have
            1, 2, 5 and 8 times as many, and as many heads.
        depths: blocks of each of the four stages, each from 1 up.
        decoder_filters: channels of the decoder, from 1 up; None for 8 times `filters`.
        drop_path_rate: stochastic depth: share of the images for which the last block's two parts
            are left out in training, in [0, 1); it rises evenly from 0 at the first block.
        seed: int, for the start values and for stochastic depth.

    Returns:
        A functional `keras.Model`: float32 (batch, height, width, channels) in [-1, 1] -> float32
        (batch, height, width, classes), a sigmoid for one channel, a softmax for several.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.segformer(size=(32, 64), filters=2, depths=(1, 1, 1, 1))
        >>> model.output_shape, model.count_params()
        ((None, 32, 64, 1), 11181)

    Source: Xie et al. 2021 (arXiv 2105.15203); stochastic depth: Huang et al. 2016 (arXiv
    1603.09382).
    """
    check_widths(channels, classes, filters)
    decoder = DECODER * filters if decoder_filters is None else decoder_filters
    blocks.check_counts(decoder_filters=decoder)
    check_blocks(depths, drop_path_rate, len(HEADS))
    height, width = blocks.check_multiple(size, 32)
    layers = keras.layers
    seeds = itertools.count(1000 * seed)
    rates = iter(np.linspace(0, drop_path_rate, sum(depths)))

    def strided(x, channels, side, stride, name):
        settings = {"strides": stride, "padding": "same"}
        return blocks.conv(x, channels, side, name, fan_out(seeds), **settings)

    def attention(x, heads, reduction, prefix):
        keys, shape = x, x.shape[1:]
        if reduction > 1:
            keys = strided(x, shape[-1], reduction, reduction, f"{prefix}_reduce")
            keys = layer_norm(keys, f"{prefix}_reduce_norm")
        x = layers.Reshape((-1, shape[-1]), name=f"{prefix}_queries")(x)
        keys = layers.Reshape((-1, shape[-1]), name=f"{prefix}_keys")(keys)
        attend = layers.MultiHeadAttention(heads, shape[-1] // heads, name=prefix)
        x = attend(x, keys)
        for weight in attend.weights:
            if "kernel" in weight.name:  # of one seeded initializer they would start alike
                weight.assign(truncated_normal(seeds)(weight.shape, weight.dtype))
        return layers.Reshape(shape, name=f"{prefix}_map")(x)

    def mix(x, prefix):
        channels = x.shape[-1]
        x = pointwise(x, WIDER * channels, f"{prefix}_widen", seeds)
        x = depthwise(x, 3, f"{prefix}_depthwise", fan_out(seeds))
        x = layers.Activation("gelu", name=f"{prefix}_act")(x)
        return pointwise(x, channels, f"{prefix}_narrow", seeds)

    # --- Down ---
    image = x = keras.Input((height, width, channels), name="image")
    stages = []
    for level, (heads, reduction, depth) in enumerate(zip(HEADS, REDUCTIONS, depths), start=1):
        side, stride = (7, 4) if level == 1 else (3, 2)
        x = strided(x, filters * heads, side, stride, f"down_{level}_patch")
        x = layer_norm(x, f"down_{level}_patch_norm")
        for block in range(1, depth + 1):
            rate = float(next(rates))
            prefix = f"down_{level}_{block}_attention"
            branch = attention(layer_norm(x, f"{prefix}_norm"), heads, reduction, prefix)
            x = add_branch(x, branch, rate, prefix, seeds)
            prefix = f"down_{level}_{block}_mix"
            x = add_branch(x, mix(layer_norm(x, f"{prefix}_norm"), prefix), rate, prefix, seeds)
        x = layer_norm(x, f"down_{level}_norm")
        stages.append(x)

    # --- Up ---
    grown = []
    for step, x in enumerate(reversed(stages), start=1):
        x = pointwise(x, decoder, f"up_{step}_squeeze", seeds)
        factor = 2 ** (len(stages) - step)
        if factor > 1:
            x = layers.UpSampling2D(factor, interpolation="bilinear", name=f"up_{step}_grow")(x)
        grown.append(x)
    x = layers.Concatenate(name="fuse_skip")(grown)
    x = blocks.conv(x, decoder, 1, "fuse_conv", fan_out(seeds), use_bias=False)
    x = layers.ReLU(name="fuse_act")(blocks.batch_norm("fuse_bn")(x))
    return keras.Model(image, blocks.mask_head(x, classes, seeds, 4), name="segformer")


@register_builder
def convnext_unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 32,
    depths: Sequence[int] = (2, 2, 6, 2),
    drop_path_rate: float = 0.1,
    seed: int = 0,
) -> keras.Model:
    """Build a U-Net of ConvNeXt blocks, whose first convolution halves the image.

    A block is a 7 x 7 depthwise convolution, layer normalisation, four times as many channels,
    GELU, as many channels as before, a learned scale for each channel that starts at 1e-6, and the
    sum with what went in. On the way down each stage has `depths` blocks at half the size and
    twice the channels of the one before, behind a normalisation and a 2 x 2 convolution of stride
    2; the first stands behind a 2 x 2 convolution of stride 2 (ConvNeXt's own is 4 x 4: a mask has
    edges) and a normalisation. On the way up each step normalises, brings the channels to those of
    the skip connection, grows bilinearly, joins both, normalises and mixes them at each place, and
    has one block. The logits grow to full size.

    With `filters=96, depths=(3, 3, 9, 3)` the stages are those of ConvNeXt-T.

    Layers are named by place: `down_1_stem`, `down_2_shrink`, `down_2_1_depthwise`,
    `down_2_1_widen`, `down_2_1_scale`, `up_1_grow`, `up_1_skip`, `up_1_mix`, `mask_conv`, `mask`.

    Args:
        size: height and width in pixels, an int or (height, width), multiples of 2**len(depths).
        channels: channels of the image, from 1 up.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes, background included.
        filters: channels of the first stage, from 2 up; they double a stage.
        depths: blocks of each stage on the way down, each from 1 up.
        drop_path_rate: stochastic depth: share of the images for which the deepest stage's last
            block is left out in training, in [0, 1); it rises evenly from 0 at the first block,
            and blocks on the way up are never left out.
        seed: int, for the start values and for stochastic depth.

    Returns:
        A functional `keras.Model`: float32 (batch, height, width, channels) in [-1, 1] -> float32
        (batch, height, width, classes), a sigmoid for one channel, a softmax for several.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.convnext_unet(size=(32, 48), filters=4, depths=(1, 2)).output_shape
        (None, 32, 48, 1)

    Source: Liu et al. 2022 (arXiv 2201.03545); Ronneberger et al. 2015 (arXiv 1505.04597) for the
    whole; stochastic depth: Huang et al. 2016 (arXiv 1603.09382).
    """
    check_widths(channels, classes, filters)
    check_blocks(depths, drop_path_rate)
    height, width = blocks.check_multiple(size, 2 ** len(depths), "2**len(depths) = ")
    layers = keras.layers
    seeds = itertools.count(1000 * seed)
    rates = iter(np.linspace(0, drop_path_rate, sum(depths)))

    def downsample(x, channels, name):
        return blocks.conv(x, channels, 2, name, truncated_normal(seeds), strides=2)

    def block(x, rate, prefix):
        channels, before = x.shape[-1], x
        x = depthwise(x, 7, f"{prefix}_depthwise", truncated_normal(seeds))
        x = layer_norm(x, f"{prefix}_norm")
        x = pointwise(x, WIDER * channels, f"{prefix}_widen", seeds)
        x = layers.Activation("gelu", name=f"{prefix}_act")(x)
        x = pointwise(x, channels, f"{prefix}_narrow", seeds)
        scale = {"depthwise_initializer": keras.initializers.Constant(LAYER_SCALE)}
        x = layers.DepthwiseConv2D(1, use_bias=False, name=f"{prefix}_scale", **scale)(x)
        return add_branch(before, x, rate, prefix, seeds)

    # --- Down ---
    image = x = keras.Input((height, width, channels), name="image")
    skips = []
    for level, depth in enumerate(depths, start=1):
        if level == 1:
            x = layer_norm(downsample(x, filters, "down_1_stem"), "down_1_norm")
        else:
            x = layer_norm(x, f"down_{level}_norm")
            x = downsample(x, filters * 2 ** (level - 1), f"down_{level}_shrink")
        for number in range(1, depth + 1):
            x = block(x, float(next(rates)), f"down_{level}_{number}")
        skips.append(x)

    # --- Up ---
    for step, skip in enumerate(skips[-2::-1], start=1):
        x = layer_norm(x, f"up_{step}_norm")
        x = pointwise(x, skip.shape[-1], f"up_{step}_squeeze", seeds)
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{step}_grow")(x)
        x = layers.Concatenate(name=f"up_{step}_skip")([x, skip])
        x = layer_norm(x, f"up_{step}_skip_norm")
        x = pointwise(x, skip.shape[-1], f"up_{step}_mix", seeds)
        x = block(x, 0.0, f"up_{step}_1")
    x = layer_norm(x, "mask_norm")
    return keras.Model(image, blocks.mask_head(x, classes, seeds, 2), name="convnext_unet")


# --- Parts ---


def check_widths(channels, classes, filters) -> None:
    """Raise unless all are counts; of one filter layer normalisation would leave nothing."""
    blocks.check_counts(channels=channels, classes=classes)
    check_whole_number("filters", filters, 2)


def check_blocks(depths, drop_path_rate, stages: int | None = None) -> None:
    """Raise unless `depths` are counts of blocks, one for each stage, and the rate is a share."""
    if not isinstance(depths, (list, tuple)) or len(depths) != (stages or len(depths) or 1):
        many = "an int for each stage" if stages is None else f"{stages} ints, one for each stage"
        raise invalid("depths", many, depths)
    blocks.check_counts(**{f"depths[{i}]": depth for i, depth in enumerate(depths)})
    check_number("drop_path_rate", drop_path_rate, least=0, below=1)


def truncated_normal(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Return start values N(0, 0.02), cut off at two deviations."""
    return keras.initializers.TruncatedNormal(0.0, 0.02, seed=next(seeds))


def fan_out(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Return start values N(0, 2 / outputs that a pixel has a share in)."""
    return keras.initializers.VarianceScaling(
        2.0, "fan_out", "untruncated_normal", seed=next(seeds)
    )


def layer_norm(x, name: str):
    """Normalise each pixel over its channels."""
    return keras.layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def depthwise(x, side: int, name: str, start):
    """Apply a convolution to each channel by itself."""
    settings = {"padding": "same", "depthwise_initializer": start, "name": name}
    return keras.layers.DepthwiseConv2D(side, **settings)(x)


def pointwise(x, channels: int, name: str, seeds: Iterator[int]):
    """Apply one dense layer at each pixel."""
    return keras.layers.Dense(channels, kernel_initializer=truncated_normal(seeds), name=name)(x)


def add_branch(x, branch, rate: float, prefix: str, seeds: Iterator[int]):
    """Add a branch, which is left out in training for a share `rate` of the images."""
    if rate:
        drop = blocks.SeededDropout(rate, next(seeds), (None, 1, 1, 1), name=f"{prefix}_drop")
        branch = drop(branch)
    return keras.layers.Add(name=f"{prefix}_add")([x, branch])

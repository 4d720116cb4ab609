"""U-Nets whose way down is a network known from image classification, with its weights."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from kerasgan.errors import KerasganError
from kerasgan.models import efficientnet_lite
from kerasgan.models.blocks import check_counts, check_multiple, conv_block, mask_head
from kerasgan.models.named import register_builder
from kerasgan.models.preprocess import CAFFE_MEAN, DEVIATION, MEAN
from kerasgan.stack import called_on
from kerasgan.validation import check_choice, check_whole_number

PASSED_BY = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Dropout)


def efficientnet_scaling(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return EfficientNet's scaling, which divides by the root of the deviation once more."""
    return 0.5 / variance**0.75, (0.5 - mean) / variance**0.75


class Encoder(NamedTuple):
    """An encoder.

    Attributes:
        build: its function in `keras.applications`, or the number of an EfficientNet-Lite.
        scaling: scale and offset that its weights expect, by channel.
        skips: the layers that skip connections leave from, shallowest first.
        bottom: the layer at 1/32 of the size.
        blue_first: the convolution whose weights expect blue first, if any.
    """

    build: str | int
    scaling: tuple[np.ndarray, np.ndarray]
    skips: tuple[str, ...]
    bottom: str
    blue_first: str = ""


def lite(number: int) -> Encoder:
    """Return EfficientNet-Lite 0, 1 or 2, whose weights expect (pixels - 127) / 128."""
    ends = efficientnet_lite.ends_of_stages(number)
    scaling = np.full(3, 127.5 / 128), np.full(3, 0.5 / 128)
    return Encoder(number, scaling, tuple(ends[stage] for stage in (1, 2, 3, 5)), ends[7])


ENCODERS = {
    "resnet50": Encoder(
        "ResNet50",
        (np.full(3, 127.5), 127.5 - CAFFE_MEAN),
        ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out"),
        "conv5_block3_out",
        "conv1_conv",
    ),
    "vgg16": Encoder(
        "VGG16",
        (np.full(3, 127.5), 127.5 - CAFFE_MEAN),
        ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"),
        "block5_pool",
        "block1_conv1",
    ),
    "mobilenet_v2": Encoder(
        "MobileNetV2",
        (np.ones(3), np.zeros(3)),
        tuple(f"block_{number}_expand_relu" for number in (1, 3, 6, 13)),
        "out_relu",
    ),
    "efficientnet_b0": Encoder(
        "EfficientNetB0",
        efficientnet_scaling(MEAN, DEVIATION**2),
        tuple(f"block{number}a_expand_activation" for number in (2, 3, 4, 6)),
        "top_activation",
    ),
    "densenet121": Encoder(
        "DenseNet121",
        (0.5 / DEVIATION, (0.5 - MEAN) / DEVIATION),
        ("conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv"),
        "relu",
    ),
    **{f"efficientnet_lite{number}": lite(number) for number in range(3)},
}


@register_builder
def encoder_unet(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 16,
    encoder: str = "resnet50",
    weights: str | os.PathLike | None = None,
    frozen_stages: int = 0,
    seed: int = 0,
) -> keras.Model:
    """Build a U-Net on an encoder known from image classification, to begin from its weights.

    The image is scaled as the encoder's weights expect (layer `scale`), runs through the encoder
    and comes up again, a step for each size at which the encoder has a layer: bilinear growth, a
    skip connection, two 3 x 3 convolutions with batch norm and ReLU, `filters` of them in the last
    step and twice as many a step down. That step is at half the image's size (the full one for
    VGG16), and the logits grow bilinearly. It is one flat model: the encoder's layers keep their
    names (`conv4_block6_out`; `conv1_relu` for DenseNet's "conv1/relu"), those of the way up are
    called `up_1_grow`, `up_1_skip`, `up_1_conv_a`, `mask`. EfficientNet's stochastic depth is left
    out, and for weights that want blue first it is the first kernel that is turned round.
    EfficientNet-Lite has neither squeeze-and-excitation nor swish, so every rule explains it, and
    its ImageNet weights are in the package index: the extra `imagenet` installs them.

    Args:
        size: height and width in pixels, an int or (height, width), multiples of 32.
        channels: channels of the image, from 1 up; 1 or 3 where there are weights. A single one
            is given to the encoder three times (layer `rgb`). For other numbers every channel is
            scaled by the mean of the three.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes, background included.
        filters: channels of the last step up, from 1 up.
        encoder: `"efficientnet_lite0"`, `"efficientnet_lite1"`, `"efficientnet_lite2"`, or of
            `keras.applications` `"resnet50"`, `"vgg16"`, `"mobilenet_v2"`, `"efficientnet_b0"`,
            `"densenet121"`.
        weights: where the encoder begins: None for random start values; `"imagenet"`, from the
            extra `imagenet` for EfficientNet-Lite, else downloaded by Keras; or a file of weights:
            `*.pth` of EfficientNet-Lite, else of that `keras.applications` model with
            `include_top=False`, named `*.h5`, `*.weights.h5` or `*.keras`.
        frozen_stages: how many of the encoder's stages, from the image on, keep these weights and
            their batch statistics in training (`layer.trainable` is False). A stage ends where a
            skip connection leaves, the last one at the bottom. A step of training takes less time.
        seed: int, for the kernels' start values.

    Returns:
        A functional `keras.Model`: float32 (batch, height, width, channels) in [-1, 1] -> float32
        (batch, height, width, classes), a sigmoid for one channel, a softmax for several.

    Raises:
        KerasganError: if an argument is out of range, or the weights cannot be had or do not fit.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.encoder_unet(size=32, filters=2, encoder="mobilenet_v2")
        >>> model.output_shape, tuple(model.get_layer("up_1_skip").output.shape)
        ((None, 32, 32, 1), (None, 2, 2, 1856))

    Source: Ronneberger et al. 2015 (arXiv 1505.04597) for the whole; the encoders: He et al. 2016
    (arXiv 1512.03385), Simonyan and Zisserman 2015 (arXiv 1409.1556), Sandler et al. 2018 (arXiv
    1801.04381), Tan and Le 2019 (arXiv 1905.11946), Huang et al. 2017 (arXiv 1608.06993).
    """
    check_counts(channels=channels, classes=classes, filters=filters)
    check_choice("encoder", encoder, ENCODERS)
    if weights is not None and channels not in (1, 3):
        raise KerasganError(
            f"Argument 'channels' must be 1 or 3 where 'weights' are given. Received: {channels}"
        )
    shape = (*check_multiple(size, 32), channels)
    layers = keras.layers
    spec = ENCODERS[encoder]
    ends = (*spec.skips, spec.bottom)
    check_whole_number("frozen_stages", frozen_stages, 0, len(ends))
    if frozen_stages and weights is None:
        raise KerasganError(
            "Argument 'frozen_stages' must be 0 where 'weights' is None, because random weights "
            f"have to learn. Received: {frozen_stages}"
        )
    source = None if weights is None else load_encoder(spec, weights)
    seeds = itertools.count(1000 * seed)

    # --- Down ---
    x = image = keras.Input(shape, name="image")
    if channels == 1:
        x = layers.Concatenate(name="rgb")([image] * 3)
        channels = 3
    x = layers.Rescaling(*input_scaling(spec, source, channels), name="scale")(x)
    original = build_encoder(spec, (*shape[:2], channels))
    tensors = copy_layers(original, x, seeds)

    # --- Up ---
    x = tensors[spec.bottom]
    for step, skip in enumerate(spec.skips[::-1], start=1):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{step}_grow")(x)
        x = layers.Concatenate(name=f"up_{step}_skip")([x, tensors[skip]])
        x = conv_block(x, filters * 2 ** (len(spec.skips) - step), f"up_{step}", seeds)
    factor = shape[0] // x.shape[1]
    model = keras.Model(image, mask_head(x, classes, seeds, factor), name="encoder_unet")
    if source is not None:
        copy_weights(source, model, spec.blue_first)
    if frozen_stages:
        names = list(tensors)
        frozen = names[: names.index(ends[frozen_stages - 1]) + 1]
        for layer in model.layers:
            layer.trainable = layer.name not in frozen
    return model


def build_encoder(spec: Encoder, shape: tuple[int, int, int]) -> keras.Model:
    """Return an encoder without its classifier, with random weights."""
    if isinstance(spec.build, int):
        return efficientnet_lite.build(spec.build, shape)
    build = getattr(keras.applications, spec.build)
    return build(include_top=False, weights=None, input_tensor=keras.Input(shape))


def load_encoder(spec: Encoder, weights) -> keras.Model:
    """Return an encoder without its classifier, with the weights asked for."""
    shape, is_lite = (224, 224, 3), isinstance(spec.build, int)
    suffixes = (".pth",) if is_lite else (".h5", ".keras")
    if weights == "imagenet" and is_lite:
        weights = efficientnet_lite.imagenet_file(spec.build)
    elif weights == "imagenet":
        build = getattr(keras.applications, spec.build)
        try:
            return build(include_top=False, weights="imagenet", input_shape=shape)
        except Exception as error:
            raise KerasganError(
                f"The ImageNet weights of {spec.build} cannot be downloaded: {error}. Fetch "
                "the file elsewhere, and give its path as 'weights'"
            ) from error
    known = isinstance(weights, (str, os.PathLike)) and pathlib.Path(weights).is_file()
    if not known or pathlib.Path(weights).suffix not in suffixes:
        raise KerasganError(
            "Argument 'weights' must be None, 'imagenet' or an existing file "
            f"{' or '.join(f'*{suffix}' for suffix in suffixes)}. Received: {weights!r}"
        )
    model = build_encoder(spec, shape)
    if is_lite:
        efficientnet_lite.load_weights(model, spec.build, weights)
        return model
    try:
        model.load_weights(os.fspath(weights))
    except Exception as error:  # h5py and zipfile have many for a broken file
        raise KerasganError(
            f"'{weights}' does not hold the weights of {spec.build} without its top: {error}"
        ) from error
    return model


def input_scaling(spec: Encoder, source: keras.Model | None, channels: int) -> list[list[float]]:
    """Return scale and offset by channel, that turn [-1, 1] into what an encoder expects."""
    scaling = spec.scaling
    for layer in source.layers if source else []:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance = layer.get_weights()[:2]
            scaling = efficientnet_scaling(mean.ravel(), variance.ravel())
    if channels != 3:
        scaling = [np.full(channels, part.mean()) for part in scaling]
    return [[float(value) for value in part] for part in scaling]


def copy_layers(original: keras.Model, image, seeds: Iterator[int]) -> dict:
    """Call fresh copies of a network's layers, one after another, on a scaled image."""
    tensors, names, pads = {}, {}, itertools.count(1)
    for entry in original.get_config()["layers"]:
        config, kind = entry["config"], type(original.get_layer(entry["name"]))
        name = names[entry["name"]] = rename_layer(entry["name"], pads)
        if kind is keras.layers.InputLayer:
            tensors[name] = image
            continue
        before = [tensors[names[name]] for name in called_on(entry)]
        if kind in PASSED_BY:
            (tensors[name],) = before
            continue
        for start in ("kernel_initializer", "depthwise_initializer"):
            if start in config:
                config[start]["config"]["seed"] = next(seeds)
        layer = kind.from_config({**config, "name": name})
        tensors[name] = layer(before if len(before) > 1 else before[0])
    return tensors


def rename_layer(name: str, pads: Iterator[int]) -> str:
    """Return a layer's name, without slashes and without Keras' count over the whole process."""
    counted = re.fullmatch(r"zero_padding2d(_\d+)?", name)
    return f"pad_{next(pads)}" if counted else name.replace("/", "_")


def copy_weights(source: keras.Model, model: keras.Model, blue_first: str) -> None:
    """Copy an encoder's weights; a kernel that takes blue first is turned to take red first."""
    for layer in source.layers:
        values = layer.get_weights()
        if not values or isinstance(layer, keras.layers.Normalization):
            continue
        if layer.name == blue_first:
            values[0] = values[0][:, :, ::-1]
        model.get_layer(layer.name.replace("/", "_")).set_weights(values)

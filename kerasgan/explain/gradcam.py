"""Grad-CAM for segmentation: which parts of a layer's maps speak for a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.composites import Method, Result, Weigh
from kerasgan.explain.explanation import find_layer
from kerasgan.explain.gradients import Gradient
from kerasgan.explain.graph import Graph
from kerasgan.explain.perturbation import split_over_channels
from kerasgan.validation import invalid

LEAST = 8
OPEN = 256


@dataclasses.dataclass(frozen=True)
class GradCAM(Gradient):
    """Channels of a layer, each weighted by the mean slope of the target in it.

    The weight of a channel is the mean over the layer's places of the gradient of `sum(weights *
    logits)`. The map is the sum of the channels, times weight, where it is above 0, enlarged
    bilinearly to the image. Relevance at layers is what each channel adds to that sum, of either
    sign, for every layer: `explain(...).layers["up_2"]`.

    Args:
        layer: A layer's name, or what it begins with, as of `Explanation.layers`. None for the last
            layer whose maps are the smallest of the network that still have 8 rows and columns:
            the end of a U-Net's bottleneck (of images of any size, those of 256 pixels decide).

    Raises:
        KerasganError: A layer given by anything but a name; from `Explainer`, a layer that the
            network does not have; from `explain`, one without maps, or that relevance does not
            pass.

    Example:
        >>> GradCAM(layer="bottleneck")
        GradCAM(layer='bottleneck')

    Source: Vinogradova et al. 2020 (arXiv 2002.11434), after Selvaraju et al. 2017 (arXiv
    1610.02391).
    """

    layer: str | None = None

    def __post_init__(self) -> None:
        if self.layer is not None and not (isinstance(self.layer, str) and self.layer):
            raise invalid("layer", "None or a layer's name", self.layer, owner="GradCAM")

    def bind(self, names: Mapping[str, str]) -> Method:
        """See `Method.bind`."""
        if self.layer is None:
            return self
        order = list(dict.fromkeys(names.values()))
        names = {name: names[name] for name in sorted(names, key=lambda n: order.index(names[n]))}
        try:
            name = find_layer(self.layer, names)
        except KerasganError:
            expected = f"one of {', '.join(names)}"
            raise invalid("layer", expected, self.layer, owner="GradCAM") from None
        return dataclasses.replace(self, layer=names[name])

    def analyse(
        self, network: Graph, images: tf.Tensor, target: Weigh, start: Any = None
    ) -> Result:
        """See `Method.analyse`."""
        result = super().analyse(network, images, target)
        maps = {name: values for name, values in result.layers.items() if values.shape.rank == 4}
        image = images[0] if isinstance(images, (list, tuple)) else images
        layer = self.layer or _coarsest(_sizes(network, image, maps))
        if layer not in maps:
            expected = "a layer with maps (height, width, channels) on the way to the target"
            expected += f": one of {', '.join(maps)}"
            raise invalid("layer", expected, layer, owner="GradCAM")
        total = tf.nn.relu(tf.reduce_sum(maps[layer], -1, keepdims=True))
        total = tf.cast(tf.image.resize(total, tf.shape(image)[1:3]), image.dtype)
        return result._replace(relevance=split_over_channels(total, image), layers=maps)

    def scale(self, gradient: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """See `Gradient.scale`."""
        if values.shape.rank != 4:
            return gradient
        return tf.reduce_mean(gradient, (1, 2), keepdims=True) * values


def _sizes(
    network: Graph, image: tf.Tensor, maps: Mapping[str, tf.Tensor]
) -> dict[str, tuple[int, int]]:
    """Height and width of maps by layer, in images of the usual size where any is taken."""
    sizes = {name: tuple(values.shape[1:3]) for name, values in maps.items()}
    if not any(None in size for size in sizes.values()):
        return sizes
    shapes = network.shapes_for([[1, *(size or OPEN for size in image.shape[1:])]])
    outputs = {node.name: shapes[node.output] for node in network.nodes}
    return {name: tuple(outputs[name][1:3]) for name in maps}


def _coarsest(sizes: Mapping[str, tuple[int, int]]) -> str:
    """The last layer of the smallest maps with 8 rows and columns, else of the largest maps."""
    able = {name: size for name, size in sizes.items() if min(size) >= LEAST}
    if not able:
        return max(reversed(sizes), key=lambda name: sizes[name][0] * sizes[name][1])
    return min(reversed(able), key=lambda name: able[name][0] * able[name][1])

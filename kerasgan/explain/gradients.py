"""Gradients, the baselines to compare relevance with, through the same interface.

They are gradients of the target, `sum(weights * logits)`, with respect to the image; the start
value of relevance plays no part. They are not conserved, so they have no ledger.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerasgan.explain.composites import Method, Result, Weigh
from kerasgan.explain.graph import Graph, Run
from kerasgan.validation import check_seed, check_whole_number


@dataclasses.dataclass(frozen=True)
class Gradient(Method):
    """The plain gradient.

    Example:
        >>> Gradient()
        Gradient()

    Source: Simonyan et al. 2014 (arXiv 1312.6034).
    """

    guided = False

    def analyse(
        self, network: Graph, images: tf.Tensor, target: Weigh, start: Any = None
    ) -> Result:
        """See `Method.analyse`."""
        run = network.run(images, self.guided)
        weights = target(run.logits)
        values = {**dict(zip(network.image_names, run.images)), **_outputs(run)}
        gradients = tf.gradients(run.logits, list(values.values()), weights)
        layers = {
            name: self.scale(tf.zeros_like(value) if gradient is None else gradient, value)
            for (name, value), gradient in zip(values.items(), gradients)
        }
        relevance = layers.pop(network.image_names[0])
        return Result(relevance, run.logits, weights, layers, None)

    def scale(self, gradient: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Turns a gradient with respect to values into what is shown."""
        return gradient


@dataclasses.dataclass(frozen=True)
class GuidedBackprop(Gradient):
    """The gradient with every negative signal dropped at every activation on the way back.

    Example:
        >>> GuidedBackprop()
        GuidedBackprop()

    Source: Springenberg et al. 2015 (arXiv 1412.6806). It passes few sanity checks (Adebayo et al.
    2018, arXiv 1810.03292).
    """

    guided = True


@dataclasses.dataclass(frozen=True)
class InputXGradient(Gradient):
    """The image times the gradient.

    Example:
        >>> InputXGradient()
        InputXGradient()

    Source: Shrikumar et al. 2016 (arXiv 1605.01713).
    """

    def scale(self, gradient: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """See `Gradient.scale`."""
        return gradient * values


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(Method):
    """Gradients along the straight way from a blank image, averaged, times that way.

    With enough steps the sum is the explained logit minus that of the blank image. Relevance at
    layers is that of the steps, averaged.

    Args:
        steps: Points on the way, in the middle of as many equal pieces.
        baseline: Value of every pixel of the blank image.

    Example:
        >>> IntegratedGradients(steps=64)
        IntegratedGradients(steps=64, baseline=-1.0)

    Source: Sundararajan et al. 2017 (arXiv 1703.01365).
    """

    steps: int = 32
    baseline: float = -1.0

    def __post_init__(self) -> None:
        check_whole_number("steps", self.steps, 1)

    def analyse(
        self, network: Graph, images: tf.Tensor, target: Weigh, start: Any = None
    ) -> Result:
        """See `Method.analyse`."""
        way = images - self.baseline

        def point(step: tf.Tensor) -> tf.Tensor:
            return self.baseline + way * (tf.cast(step, way.dtype) + 0.5) / self.steps

        result = _average(network, images, target, point, self.steps)
        return result._replace(relevance=result.relevance * way)


@dataclasses.dataclass(frozen=True)
class SmoothGrad(Method):
    """The gradient averaged over noisy copies of the image.

    Every image meets the same noise, so that results do not depend on the batch.

    Args:
        samples: Number of copies.
        noise: Standard deviation of the Gaussian noise, in units of pixels.
        seed: Of the noise.

    Example:
        >>> SmoothGrad(samples=8)
        SmoothGrad(samples=8, noise=0.2, seed=0)

    Source: Smilkov et al. 2017 (arXiv 1706.03825).
    """

    samples: int = 16
    noise: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_number("samples", self.samples, 1)
        check_seed(self.seed)

    def analyse(
        self, network: Graph, images: tf.Tensor, target: Weigh, start: Any = None
    ) -> Result:
        """See `Method.analyse`."""

        def point(step: tf.Tensor) -> tf.Tensor:
            shape = tf.concat([[1], tf.shape(images)[1:]], 0)
            noise = tf.random.stateless_normal(shape, tf.stack([self.seed, step]), 0.0, self.noise)
            return images + tf.cast(noise, images.dtype)

        return _average(network, images, target, point, self.samples)


def _average(
    network: Graph,
    images: tf.Tensor,
    target: Callable[[tf.Tensor], tf.Tensor],
    point: Callable[[tf.Tensor], tf.Tensor],
    steps: int,
) -> Result:
    """Averages gradients at several points, the target held as it is for the images themselves."""
    here = network.run(images)
    weights = target(here.logits)

    def body(step, totals):
        result = Gradient().analyse(network, point(step), lambda _: weights)
        gradients = {"": result.relevance, **result.layers}
        return step + 1, {name: totals[name] + gradients[name] for name in totals}

    totals = {"": tf.zeros_like(images)}
    totals.update((name, tf.zeros_like(values)) for name, values in _outputs(here).items())
    _, totals = tf.while_loop(lambda step, _: step < steps, body, (0, totals))
    means = {name: total / steps for name, total in totals.items()}
    return Result(means.pop(""), here.logits, weights, means, None)


def _outputs(run: Run) -> dict[str, tf.Tensor]:
    return {node.name: run.output(node) for node in run.nodes}


GRADIENTS: dict[str, Callable[[], Method]] = {
    "gradient": Gradient,
    "guided-backprop": GuidedBackprop,
    "input-x-gradient": InputXGradient,
    "integrated-gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
}

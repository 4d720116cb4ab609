"""Relevance as a loss: a penalty for relevance in a region that a network should not use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasgan.data.region import Region, as_region, mean_fraction_inside
from kerasgan.explain.explainer import Explainer, Gates
from kerasgan.explain.methods import RuleLike
from kerasgan.explain.targets import TargetLike


class RelevancePenalty:
    """Penalise the share of absolute relevance that lies on pixels out of bounds.

    Pass it to `SegmentationGAN.compile` as `penalty`, with a `penalty_weight`. The loss is a mean
    over images of a number from 0 to 1. An image whose target is empty adds 0.

    The share is what counts, and what the rule sees: a network can lower it by looking elsewhere
    more, or by using the region in a way that the rule does not show. Whether it has turned away,
    only its predictions tell; `kerasgan.training.InvariancePenalty` asks for these.

    Args:
        region: Where relevance must not lie, as for `InputGradientPenalty`.
        rule: As of `Explainer`, a rule that is differentiable: "epsilon", the cheapest, and "gamma"
            are.
        target: As of `Explainer.relevance`, one that needs no truth. Checked by `compile`.
        gates: As of `Explainer`.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> corner = np.zeros((32, 32))
        >>> corner[24:, :8] = 1
        >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
        >>> gan.compile(penalty=kg.explain.RelevancePenalty(corner), penalty_weight=1.0)

    Source: Ross et al. 2017 (arXiv 1703.03717) for penalised gradients, Rieger et al. 2020 (arXiv
    1909.13584) for penalised attributions.
    """

    def __init__(
        self,
        region: Region,
        rule: RuleLike = "epsilon",
        target: TargetLike = "prediction",
        gates: Gates | None = None,
    ):
        self.region = as_region(region)
        self.rule, self.target, self.gates = rule, target, gates

    def __call__(self, network: keras.Model) -> Callable[..., tf.Tensor]:
        """Return the loss on a network, as `SegmentationGAN.compile` calls it."""
        explainer = Explainer(network, self.rule, "[-1,1]", gates=self.gates)
        explainer.check_target(self.target)

        def loss(
            image: tf.Tensor, mask: tf.Tensor, probability: Any, step: Any, training: bool
        ) -> tf.Tensor:
            relevance = tf.abs(explainer.relevance(image, self.target))
            relevance = tf.reduce_sum(tf.cast(relevance, tf.float32), -1)
            return mean_fraction_inside(relevance, self.region(image, mask))

        return loss

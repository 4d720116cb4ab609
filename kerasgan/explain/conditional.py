"""Conditional heatmaps: the relevance that flows through chosen channels of a layer alone.

Relevance propagation is linear in the relevance it starts from. So what flows through some
channels of a layer is found by starting again at that layer, with the relevance that arrived at
these channels, on the part of the network before it. What reaches the image past the layer (over
a skip connection) takes no part.

Source: Achtibat et al. 2023 (arXiv 2206.03208), who mask relevance on its way instead; that keeps
what passes by the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.composites import Method, Result
from kerasgan.explain.graph import Graph


def channel_mask(channels: Sequence[int], count: int, layer: str) -> np.ndarray:
    """Turns a choice of channels into ones and zeros."""
    chosen = np.atleast_1d(np.asarray(channels))
    whole = chosen.dtype.kind in "iu" and chosen.ndim == 1 and len(chosen)
    if not whole or chosen.min() < 0 or chosen.max() >= count:
        raise KerasganError(
            f"Argument 'through' must list channels from 0 to {count - 1} of layer '{layer}'. "
            f"Received: {channels!r}"
        )
    return np.isin(np.arange(count), chosen).astype("float32")


def explain_through(
    method: Method,
    result: Result,
    layer: str,
    before: Graph,
    images: tf.Tensor,
    channels: tf.Tensor,
) -> Result:
    """Explains again, from the relevance that arrived at some channels of a layer."""
    if result.conservation is None:
        raise KerasganError(
            "Argument 'through' needs relevance that layers pass on, so a rule of "
            f"kerasgan.explain. Received: an explainer with {method!r}"
        )
    if layer not in result.layers:
        raise KerasganError(
            "Argument 'through' must name layers that relevance passes, one after the other. "
            f"Received: '{layer}', which it does not pass, or not behind the other layers named"
        )
    relevance = result.layers[layer] * channels
    rest = method.analyse(before, images, lambda _: relevance, lambda weights, _: weights)
    return rest._replace(logits=result.logits, weights=result.weights)

"""The TensorFlow functions that explain images: traced once each, and run on a batch.

`Functions` makes them of a graph and a method. They read the network's weights each time they run.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.batch_axis import batch_first
from kerasgan.explain.composites import Method, Result
from kerasgan.explain.graph import Graph
from kerasgan.explain.logits import one_hot_argmax
from kerasgan.explain.targets import Target
from kerasgan.validation import invalid

BUILDING = threading.RLock()
"""Held while a network is traced: one thread at a time. What is traced runs without it."""


class Traced(NamedTuple):
    """A function from images (and weights) to arrays by name, and names of what it gives."""

    call: Callable[..., dict[str, tf.Tensor]]
    layers: dict[str, str]
    rows: list[tuple[str, str]]
    branches: list[tuple[str, str, str]]


class Functions:
    """Functions that explain a network by a method, traced when they are first needed."""

    def __init__(self, graph: Graph, method: Method):
        self.graph = graph
        self.method = method
        self.inputs = graph.image_specs
        logits = graph.shape(graph.output)
        self.weights_spec = tf.TensorSpec(logits, graph.dtype)
        self.traced: dict[Hashable, Traced] = {}
        self._shapes: dict[tuple, tuple] = {}
        self._asked: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
        self._numbers = itertools.count()

    def get(self, target: Any, keep: Any = (), through: tuple[str, ...] = ()) -> Traced:
        """Returns the function that explains, traced once.

        Weights are those of a target; or "asked" of Python, once there are logits; or "given", as a
        tensor; or given "by pixel", to be put on the logit of its predicted class. "logits" gives
        these alone, "altered" the score drops of altered copies.
        """
        key = (target, keep, through)
        if _on_one_of_several_devices():
            with BUILDING:
                return self._trace(*key)  # of the weights that are this device's own
        function = self.traced.get(key)
        if function is not None:
            return function
        with BUILDING:
            if key not in self.traced:
                with tf.init_scope():
                    self.traced[key] = self._trace(*key)
            return self.traced[key]

    def logits(self, *images: tf.Tensor) -> tf.Tensor:
        """Computes logits of a batch."""
        return self.get("logits").call(*images)["logits"]

    def logits_shape(self, images: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the logits of images of a shape, None for what is not known."""
        shape = tuple(self.weights_spec.shape[1:])
        if None in shape and None not in images[1:]:
            size = tuple(images[1:])
            if size not in self._shapes:
                shapes = ((1, *(n or m for n, m in zip(x.shape[1:], size))) for x in self.inputs)
                known = self.graph.shapes_for(list(shapes))
                self._shapes[size] = tuple(known[self.graph.output][1:])
            shape = self._shapes[size]
        return (images[0], *shape)

    def explain(
        self,
        traced: Traced,
        images: Sequence[tf.Tensor],
        target: Target,
        through: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Runs an "asked" function: the weights of a target are computed once there are logits."""
        problems = []

        def answer(logits: np.ndarray) -> np.ndarray:
            try:
                return weights_of(target, logits)
            except Exception as problem:
                problems.append(problem)
                return np.zeros_like(logits)

        number = next(self._numbers)
        self._asked[number] = answer
        try:
            outputs = traced.call(*images, tf.constant(number, tf.int64), *through.values())
        finally:
            del self._asked[number]
        if problems:
            raise problems[0]
        return outputs

    def perturb(
        self, images: tf.Tensor, target: Target, at_once: int, progress: Callable[[int], Any]
    ) -> dict[str, tf.Tensor]:
        """Runs a method that takes hundreds of passes, a call of a function for a few of them."""
        logits = self.logits(images)
        weights = tf.constant(weights_of(target, logits.numpy()))
        call = self.get("altered").call
        relevance = self.method.explain(
            lambda *given: call(*given)["drops"], images, logits, weights, at_once, progress
        )
        return {"relevance": relevance, "logits": logits, "target": weights}

    def _trace(self, target: Any, keep: Any, through: tuple[str, ...]) -> Traced:
        graph, method, asked = self.graph, self.method, self._asked
        count = len(self.inputs)
        parts = [graph.before(name) for name in through]
        names = Traced(None, {}, [], [])

        def ask(number: np.ndarray, logits: np.ndarray) -> np.ndarray:
            return asked[int(number)](logits)

        def explain(*given: tf.Tensor) -> dict[str, tf.Tensor]:
            images = given[0] if count == 1 else list(given[:count])
            given = given[count:]
            channels = given[len(given) - len(through) :]

            def weigh(logits: tf.Tensor) -> tf.Tensor:
                if target == "asked":
                    weights = tf.numpy_function(ask, [given[0], logits], logits.dtype)
                    return tf.ensure_shape(weights, logits.shape)
                if target == "by pixel":
                    return given[0] * one_hot_argmax(logits)
                return given[0] if target == "given" else target.weights(logits)

            if target == "altered":
                return {"drops": method.drops(graph, images, *given)}
            if target == "logits":
                return {"logits": graph.run(images).logits}
            result = method.analyse(graph, images, weigh, tf.multiply)
            for name, part, mask in zip(through, parts, channels):
                result = explain_through(method, result, name, part, images, mask)
            return _named(result, graph, keep, names)

        pixels = (*self.weights_spec.shape[:-1], 1)
        number = tf.TensorSpec((), tf.int32)
        more = {
            "altered": [self.weights_spec, self.weights_spec, number, number],
            "asked": [tf.TensorSpec((), tf.int64)],
            "given": [self.weights_spec],
            "by pixel": [tf.TensorSpec(pixels, graph.dtype)],
        }
        signature = [*self.inputs, *(more.get(target, []) if isinstance(target, str) else [])]
        signature += [tf.TensorSpec(graph.shape(part.output)[-1:], graph.dtype) for part in parts]
        function = tf.function(explain, autograph=False)
        return names._replace(call=function.get_concrete_function(*signature))


def _named(result: Result, graph: Graph, keep: Any, names: Traced) -> dict[str, tf.Tensor]:
    """Returns a result as tensors by name; what their rows and columns are goes into `names`."""
    outputs = {
        "relevance": result.relevance,
        "logits": result.logits,
        "target": result.weights,
    }
    table = result.conservation
    if table is not None:
        outputs.update(ledger=table.ledger, branches=table.parts)
        names.rows.extend(table.rows)
        names.branches.extend(table.branches)
    values = {node.name: node.output for node in graph.nodes}
    batch = tf.shape(result.logits)[0]
    first: dict[int, str] = {}
    for name, tensor in result.layers.items():
        if keep is None or name in keep:
            names.layers[name] = first.setdefault(id(tensor), name)
            axis = graph.batch_axes.get(values.get(name))
            outputs[f"layers/{names.layers[name]}"] = batch_first(tensor, axis, batch)
    return outputs


def weights_of(target: Target, logits: np.ndarray) -> np.ndarray:
    """Computes the weights of a target, and checks their shape."""
    weights = np.asarray(target.weights(tf.constant(logits)), logits.dtype)
    if weights.shape != logits.shape:
        raise KerasganError(
            f"Method 'weights' of {target!r} must return weights of the shape of the logits, "
            f"{logits.shape}. Received: {weights.shape}"
        )
    return weights


def _on_one_of_several_devices() -> bool:
    """Whether this is a replica's part of a step under `tf.distribute`."""
    across = tf.distribute.in_cross_replica_context()
    return not across and tf.distribute.get_strategy().num_replicas_in_sync > 1


# --- Conditional heatmaps ---
# Relevance propagation is linear in where it starts. So the relevance that flows through some
# channels of a layer is found by starting again at that layer, with what arrived at these channels,
# on the part of the network before it. What passes the layer by (over a skip connection) takes no
# part; Achtibat et al. 2023 (arXiv 2206.03208) mask relevance on its way, which keeps it.


def channel_mask(channels: Sequence[int], count: int, layer: str) -> np.ndarray:
    """Turns a choice of channels into ones and zeros."""
    chosen = np.atleast_1d(np.asarray(channels))
    whole = chosen.dtype.kind in "iu" and chosen.ndim == 1 and len(chosen)
    if not whole or chosen.min() < 0 or chosen.max() >= count:
        expected = f"lists of channels from 0 to {count - 1} of layer '{layer}'"
        raise invalid("through", expected, channels)
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

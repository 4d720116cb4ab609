"""iNNvestigate's analyzers, run inside a TensorFlow function on a network's live weights.

iNNvestigate walks a Keras network backwards (`reverse_model`) and asks, layer by layer, for a
reverse mapping. By itself it can do so only with eager execution switched off. Here it walks the
tensors of a `tf.function` while that is traced: the function's graph is the private graph that
iNNvestigate needs, so nothing is switched off, no Keras class changes, and what comes out is an
ordinary TensorFlow function that can be called, batched, nested, differentiated and saved.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from innvestigate.analyzer.relevance_based.relevance_analyzer import LRP
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from innvestigate.backend import graph as igraph

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain.canonical_layers import kind_of, with_rank
from kerasgan.explain.forward import Forward, Node, live_weights, output_of
from kerasgan.explain.linear import STABILISER, Linear, per_image, stabilised, vjp
from kerasgan.explain.rules import Rule, Shares

__all__ = [
    "LEDGER",
    "Books",
    "InFunction",
    "Propagation",
    "gradient_analyzer",
    "lrp_analyzer",
    "preset_analyzer",
]

# iNNvestigate's walk adds up what reaches a tensor from several sides by Keras' Add, which casts to
# the global mixed-precision policy. This copy of the function adds tensors as they are.
reverse_model = types.FunctionType(
    igraph.reverse_model.__code__,
    {
        **vars(igraph),
        "klayers": types.SimpleNamespace(Add=lambda: tf.add_n, InputLayer=keras.layers.InputLayer),
    },
    argdefs=igraph.reverse_model.__defaults__,
)

LEDGER = ("relevance_in", "relevance_out", "bias", "stabiliser", "unsupported", "absolute")


class Books(NamedTuple):
    """Where relevance went.

    Attributes:
        rows: Name and class of each layer, from the logits to the image.
        ledger: (rows, 6, batch), columns as in `LEDGER`.
        forks: Where relevance parts: name of the layer with several inputs, of the layer before,
            and "main" for the input computed last or "skip".
        parts: (forks, batch). The relevance that went there.
    """

    rows: list[tuple[str, str]]
    ledger: tf.Tensor
    forks: list[tuple[str, str, str]]
    parts: tf.Tensor


class Propagation(NamedTuple):
    """What one backward pass gives.

    Attributes:
        relevance: Relevance of the images, of their shape.
        layers: Relevance arriving at the output of each layer, by name, nearest the image first.
        books: None for gradients, which are not conserved.
    """

    relevance: tf.Tensor
    layers: dict[str, tf.Tensor]
    books: Books | None


class InFunction:
    """What an iNNvestigate analyzer needs to walk the tensors of a forward pass.

    A mix-in, put before one of iNNvestigate's analyzers. It hands iNNvestigate the trace of a
    forward pass and the relevance to start from, maps all layers without weights, and keeps books.
    """

    keep_skips = True

    def __init__(self, network: keras.Model, *args: Any, **kwargs: Any):
        super().__init__(network, *args, **kwargs)
        self._rows: list[tuple[Node, tf.Tensor]] = []
        self._forks: list[tuple[tuple[str, str, str], tf.Tensor]] = []
        self._totals: dict[Any, tf.Tensor] = {}
        self._zeros: tf.Tensor | None = None
        for kind, mapping in self.mappings().items():
            self._add_conditional_reverse_mapping(
                lambda layer, kind=kind: kind_of(layer) == kind, mapping, priority=10
            )

    def mappings(self) -> dict[str, Callable]:
        """Returns the reverse mapping of each kind of layer without weights."""
        return {
            "proportional": self._map_proportional,
            "routed": self._map_routed,
            "winner": self._map_routed,
            "passed": self._map_passed,
            "gate": self._map_gate,
        }

    def propagate(self, trace: Forward, start: tf.Tensor) -> Propagation:
        """Runs one backward pass from `start`, of the shape of the logits."""
        self._trace, self._start = trace, start
        self._by_output = {id(node.output): node for node in trace.nodes}
        self._age = {output: age for age, output in enumerate(self._by_output)}
        (relevance,) = self._create_analysis(self._model)
        layers = {}
        for node in trace.nodes:
            found = self.reversed_tensors.get(id(node.output))
            if found is not None:
                layers[node.name] = found["final_tensor"]
        return Propagation(relevance, layers, self._close_books())

    def _close_books(self) -> Books | None:
        if not self._rows:
            return None
        rows = [(node.name, type(node.layer).__name__) for node, _ in self._rows]
        ledger = tf.stack([row for _, row in self._rows])
        parts = [part for _, part in self._forks]
        parts = tf.stack(parts) if parts else ledger[:0, 0]
        return Books(rows, ledger, [fork for fork, _ in self._forks], parts)

    def _reverse_model(self, model, stop_analysis_at_tensors=None, **_):
        trace = self._trace
        calls = [(node.layer, node.inputs, [node.output]) for node in trace.nodes]
        relevance, self.reversed_tensors = reverse_model(
            types.SimpleNamespace(inputs=[trace.images], layers=model.layers),
            reverse_mappings=self._reverse_mapping,
            default_reverse_mapping=self._default_reverse_mapping,
            head_mapping=lambda _: self._start,
            return_all_reversed_tensors=True,
            execution_trace=(model.layers, calls, [trace.logits]),
        )
        return relevance, self.reversed_tensors

    def _do_model_checks(self) -> None:
        for check in self._model_checks:
            layers = [layer for layer in self._model.layers if check["check"](layer)]
            convnet = check["message"].startswith("LRP is only tested")
            if layers and check["check_type"] == "exception":
                raise KerasganError(f"{check['message']} Layers: {_names(layers)}")
            if layers and not convnet:
                warnings.warn(
                    f"{check['message']} Layers: {_names(layers)}", KerasganWarning, stacklevel=2
                )
        self._model_check_done = True

    def create_rule_mapping(self, layer: keras.layers.Layer, reverse_state: dict) -> Callable:
        """Wraps iNNvestigate's own rules, of which only relevance in and out can be booked."""
        apply = super().create_rule_mapping(layer, reverse_state)
        if isinstance(getattr(apply, "__self__", None), Booked):
            return apply

        def booked(Xs, Ys, Rs, state):
            inputs = apply(Xs, Ys, Rs, state)
            self.book(Ys[0], Rs[0], inputs, *[float("nan")] * 3)
            return inputs

        return booked

    def book(self, output, relevance, inputs, bias=0.0, stabiliser=0.0, unsupported=0.0) -> None:
        """Writes a layer's row: relevance in and out and what went elsewhere, for each image."""
        received = self.total(relevance)
        if self._zeros is None:
            self._zeros = tf.zeros_like(received)
        passed = tf.add_n([self.total(values) for values in inputs])
        columns = [received, passed, bias, stabiliser, unsupported, per_image(tf.abs(relevance))]
        row = tf.stack([self._for_each_image(column) for column in columns])
        node = self._by_output[id(output)]
        self._rows.append((node, row))
        if len(inputs) > 1:
            newest = self._newest(node.inputs)
            for source, values in zip(node.inputs, inputs):
                before = self._by_output.get(id(source))
                path = "main" if source is newest else "skip"
                fork = (node.name, before.name if before else "image", path)
                self._forks.append((fork, self.total(values)))

    def total(self, values: tf.Tensor) -> tf.Tensor:
        """Sums over all axes but the first, once: what a layer passes on, the next one receives."""
        key = values.ref()
        if key not in self._totals:
            self._totals[key] = per_image(values)
        return self._totals[key]

    def _for_each_image(self, column: tf.Tensor | float) -> tf.Tensor:
        if tf.is_tensor(column):
            return column if column.shape.rank else self._zeros + column
        return self._zeros + column if column else self._zeros

    def _newest(self, tensors: list[tf.Tensor]) -> tf.Tensor:
        """Returns the tensor computed last: where paths meet, the one that is no skip."""
        return max(tensors, key=lambda tensor: self._age.get(id(tensor), -1))

    def _map_proportional(self, Xs, Ys, Rs, _state):
        with tf.control_dependencies(Rs):
            factors, stabiliser = stabilised(Rs[0], Ys[0], STABILISER)
            gradients = self._back(Ys[0], factors)
            inputs = [x * gradient for x, gradient in zip(Xs, gradients)]
        self.book(Ys[0], Rs[0], inputs, stabiliser=stabiliser)
        return inputs

    def _map_routed(self, Xs, Ys, Rs, state):
        inputs = self._back(Ys[0], Rs[0])
        dropped = 0.0
        if isinstance(state["layer"], keras.layers.ZeroPadding2D):  # what lies on the padding
            dropped = per_image(Rs[0] * (1 - state["layer"](tf.ones_like(Xs[0][:1]))))
        if not self.keep_skips and isinstance(state["layer"], keras.layers.Concatenate):
            newest = self._newest(Xs)
            dropped = tf.add_n([self.total(r) for x, r in zip(Xs, inputs) if x is not newest])
            inputs = [r if x is newest else tf.zeros_like(r) for x, r in zip(Xs, inputs)]
        self.book(Ys[0], Rs[0], inputs, unsupported=dropped)
        return inputs

    def _map_passed(self, _Xs, Ys, Rs, _state):
        self.book(Ys[0], Rs[0], Rs)
        return Rs

    def _map_gate(self, Xs, Ys, Rs, _state):
        rank = Ys[0].shape.rank
        _, backward = vjp(lambda x: with_rank(x, rank) + tf.zeros_like(Ys[0]), Xs[:1])
        (relevance,) = backward(Rs[0])
        self.book(Ys[0], Rs[0], [relevance])
        return [relevance]

    def _back(self, output: tf.Tensor, relevance: tf.Tensor) -> list[tf.Tensor]:
        """Differentiates the layer that computed an output."""
        node = self._by_output[id(output)]
        with live_weights(node.layer):
            _, backward = vjp(
                lambda *xs: output_of(node.layer, list(xs), output.dtype), node.inputs
            )
            return backward(relevance)


class Booked(igraph.ReverseMappingBase):
    """One of our rules as an iNNvestigate reverse mapping."""

    def __init__(self, analyzer: InFunction, rule: Rule, layer: keras.layers.Layer):
        self.analyzer = analyzer
        self.rule = rule
        self.layer = layer

    def apply(self, Xs, Ys, Rs, reverse_state):
        """Shares relevance by the rule; computes the layer's weights anew, to save memory."""
        trace = self.analyzer._trace
        received = [self.analyzer.total(relevance) for relevance in Rs]
        with tf.control_dependencies(received), live_weights(self.layer):
            linear = Linear(
                self.layer,
                Xs[0],
                Ys[0],
                nonnegative=id(Xs[0]) in trace.nonnegative,
                valid=trace.valid.get(id(Xs[0])),
            )
            shares = self.rule.share(linear, Rs[0])
        if not isinstance(shares, Shares):
            raise KerasganError(
                f"Method 'share' of rule {self.rule!r} must return Shares. "
                f"Received: {type(shares).__name__}"
            )
        self.analyzer.book(Ys[0], Rs[0], [shares.inputs], *shares[1:])
        return [shares.inputs]


class _Lrp(InFunction, LRP):
    pass


def lrp_analyzer(
    network: keras.Model, rule_for: Callable[[keras.layers.Layer], Any], keep_skips: bool = True
) -> InFunction:
    """Makes iNNvestigate's LRP analyzer with a rule for each layer with weights.

    Args:
        network: A functional model of canonical layers.
        rule_for: From a layer to a `Rule`, or to one of iNNvestigate's own rule classes.
        keep_skips: As of `kerasgan.explain.composites.Composite`.
    """

    def mapping(layer, state):
        rule = rule_for(layer)
        if isinstance(rule, Rule):
            return Booked(analyzer, rule, layer)
        with live_weights(layer):
            return rule(layer, state)

    analyzer = _Lrp(network, rule=[(lambda _: True, mapping)])
    analyzer.keep_skips = keep_skips
    return analyzer


class _Preset(InFunction):
    def create_rule_mapping(self, layer: keras.layers.Layer, reverse_state: dict) -> Callable:
        """Makes a rule with the layer's present weights, which it copies at once."""
        with live_weights(layer):
            return super().create_rule_mapping(layer, reverse_state)


def preset_analyzer(network: keras.Model, base: type) -> InFunction:
    """Makes one of iNNvestigate's own analyzers, its rules for layers with weights included."""
    policy = keras.mixed_precision.global_policy().compute_dtype
    if policy != network.inputs[0].dtype.name:
        raise KerasganError(
            f"iNNvestigate's own rules compute in the global policy, {policy}, and the network is "
            f"in {network.inputs[0].dtype.name}. Call "
            "keras.mixed_precision.set_global_policy('float32') first, or use a rule of "
            "kerasgan.explain"
        )
    grouped = [layer for layer in network.layers if getattr(layer, "groups", 1) > 1]
    if grouped:
        raise KerasganError(
            "iNNvestigate's own rules cannot walk grouped convolutions. Use a rule of "
            f"kerasgan.explain. Layers: {_names(grouped)}"
        )
    return type(f"InFunction{base.__name__}", (_Preset, base), {})(network)


class _Gradient(InFunction, ReverseAnalyzerBase):
    def __init__(self, network: keras.Model, guided: bool):
        self.guided = guided
        super().__init__(network)

    def mappings(self):
        """Returns plain differentiation, and what that cannot do."""
        plain = dict.fromkeys(super().mappings(), self._map_plain)
        guided = {"passed": self._map_guided} if self.guided else {}
        return {**plain, **guided, "weighted": self._map_weighted}

    def _map_plain(self, _Xs, Ys, Rs, _state):
        return self._back(Ys[0], Rs[0])

    def _map_weighted(self, Xs, Ys, Rs, state):
        with live_weights(state["layer"]):
            linear = Linear(state["layer"], Xs[0], Ys[0])
            return [linear.contributions().transposed(Rs[0])]

    def _map_guided(self, _Xs, Ys, Rs, state):
        if type(state["layer"]).__name__ not in ("Affine", "Deviation"):
            Rs = [tf.nn.relu(relevance) for relevance in Rs]
        return self._back(Ys[0], Rs[0])


def gradient_analyzer(network: keras.Model, guided: bool = False) -> InFunction:
    """Makes an analyzer that gives the plain, or the guided, gradient."""
    return _Gradient(network, guided)


def _names(layers: list[keras.layers.Layer]) -> str:
    return ", ".join(layer.name for layer in layers[:5]) + (", ..." if len(layers) > 5 else "")

"""iNNvestigate on the nodes of a network: its LRP analyzer as the walk, and its own rules.

iNNvestigate walks calls of layers (layer, inputs, outputs) backwards, and asks for the relevance of
each one's inputs. Here a node stands as a layer, and `kerasgan.explain.propagate.redistribute`
answers, so that every rule gives the numbers of `kerasgan.explain.propagate.propagate`. A value
with several uses is copied for each of them by a `FanOut`, which adds their relevance up:
iNNvestigate would do so by a Keras layer, which casts to the global mixed-precision policy.

Only `kerasgan.explain.composites` imports this module, where iNNvestigate is installed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from innvestigate.analyzer import LRP, analyzers
from innvestigate.analyzer.base import AnalyzerBase
from innvestigate.backend.graph import ReverseMappingBase, reverse_model

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Node, Run
from kerasgan.explain.linear import Linear
from kerasgan.explain.operations import MIXING
from kerasgan.explain.propagate import ConservationRecorder, Propagation, redistribute
from kerasgan.explain.rules import Redistribution, Rule
from kerasgan.models.trace import Value

# "lrp.alpha_beta" and "..._until_idx" need arguments.
PRESETS = [
    name
    for name in analyzers
    if name.startswith("lrp.")
    and name not in ("lrp.alpha_beta", "lrp.sequential_preset_b_flat_until_idx")
]


# --- The walk ---


def propagate(run: Run, start: tf.Tensor, composite: Any) -> Propagation:
    """Passes relevance from the logits back to the images, by iNNvestigate's LRP analyzer."""
    calls = _Calls(run, composite)
    tensors = iter(_Analyzer(calls, start).relevance())
    relevance = [
        tf.zeros_like(image) if tensor is None else next(tensors)
        for image, tensor in zip(run.images, calls.images)
    ]
    return Propagation(relevance, dict(reversed(calls.layers.items())), calls.recorder.table())


class FanOut:
    """Stands, as a layer, between a value and its several uses."""


class _Calls:
    """A pass of images in the form in which iNNvestigate takes a model.

    Attributes:
        images: What stands for each image; None where no relevance arrives.
        inputs: Those that there are, as iNNvestigate asks for them.
        trace: All layers; calls of layers in order, with their inputs and outputs; the output.
        layers: Relevance by name of node, once it was passed.
        recorder: Of the conservation table.
    """

    def __init__(self, run: Run, composite: Any):
        self.run, self.composite = run, composite
        self.recorder = ConservationRecorder(run)
        self.layers: dict[str, tf.Tensor] = {}
        self._calls: list[tuple[Node | FanOut, list[tf.Tensor], list[tf.Tensor]]] = []
        output = tf.identity(run.logits)
        uses: dict[Value, list[tf.Tensor]] = {run.graph.output: [output]}
        for node in reversed(run.nodes):
            if node.output in uses:
                outputs = [self._joined(run.output(node), uses.pop(node.output))]
                inputs = [tf.identity(tensor) for tensor in run.inputs(node)]
                for value, tensor in zip(node.inputs, inputs):
                    uses.setdefault(value, []).append(tensor)
                self._calls.append((node, inputs, outputs))
        self.images = [
            self._joined(image, uses[value]) if value in uses else None
            for value, image in zip(run.graph.images, run.images)
        ]
        self.inputs = [tensor for tensor in self.images if tensor is not None]
        self._calls.reverse()
        self.trace = ([layer for layer, _, _ in self._calls], self._calls, [output])

    def _joined(self, tensor: tf.Tensor, uses: list[tf.Tensor]) -> tf.Tensor:
        """Returns the one tensor that relevance of all uses of a value is that of."""
        if len(uses) == 1:
            return uses[0]
        joined = tf.identity(tensor)
        self._calls.append((FanOut(), [joined], uses))
        return joined


class _Redistribute(ReverseMappingBase):
    """What iNNvestigate calls for a node: redistribution by its kind and rule, and its row."""

    def __init__(self, layer: Node | FanOut, reverse_state: dict[str, Any]):
        self.layer = layer
        self.calls: _Calls = reverse_state["model"]

    def apply(
        self,
        Xs: Sequence[tf.Tensor],
        Ys: Sequence[tf.Tensor],
        Rs: Sequence[tf.Tensor],
        reverse_state: dict[str, Any],
    ) -> list[tf.Tensor]:
        """Redistributes relevance of the outputs among the inputs."""
        calls, node = self.calls, self.layer
        if isinstance(node, FanOut):
            return [tf.add_n(Rs)]
        (relevance,) = Rs
        redistribution = redistribute(calls.run, node, relevance, calls.composite)
        calls.recorder.record(node, relevance, redistribution)
        calls.layers[node.name] = relevance
        return redistribution.inputs


class _Analyzer(LRP):
    """iNNvestigate's LRP analyzer, for a pass of images in place of a Keras model."""

    def __init__(self, calls: _Calls, start: tf.Tensor):
        super().__init__(calls, rule=_Redistribute, disable_model_checks=True)
        self._calls, self._start = calls, start

    def relevance(self) -> list[tf.Tensor]:
        """Returns relevance of the inputs."""
        return self._create_analysis(self._calls)

    def _reverse_mapping(self, layer):
        return self.create_rule_mapping

    def _head_mapping(self, X):
        return self._start

    def _reverse_model(self, model, **_):
        return reverse_model(
            model,
            reverse_mappings=self._reverse_mapping,
            head_mapping=self._head_mapping,
            execution_trace=model.trace,
        )


# --- Rules of iNNvestigate's own ---


@dataclasses.dataclass(frozen=True)
class InnvestigateRule(Rule):
    """The rule that an analyzer of iNNvestigate's has for a layer with weights.

    What such rules send to biases and stabilisers is not known, so these columns of the ledger
    hold NaN.
    """

    analyzer: AnalyzerBase
    name: str

    def __repr__(self) -> str:
        return self.name

    def redistribute(self, linear: Linear, relevance: tf.Tensor) -> Redistribution:
        """See `Rule.redistribute`."""
        _check_precision(linear)
        layer = (_Dense if linear.node.main.kind in MIXING else _Conv2D)(linear)
        state = {"layer": layer}
        apply = self.analyzer.create_rule_mapping(layer, state)
        # a copy of the inputs, as in `kerasgan.explain.linear.vjp`
        (inputs,) = apply([tf.identity(linear.inputs)], [linear.outputs], [relevance], state)
        return Redistribution(inputs, math.nan, math.nan, math.nan)


def preset(name: str) -> Rule:
    """Makes a rule of an analyzer of iNNvestigate's, which chooses by the layer."""
    return InnvestigateRule(analyzers[name](None, disable_model_checks=True), name)


def rule_of(given: Any) -> Rule | None:
    """Makes a rule of one of iNNvestigate's rule classes; None of any other class."""
    if not issubclass(given, ReverseMappingBase):
        return None
    return InnvestigateRule(LRP(None, rule=given, disable_model_checks=True), given.__name__)


def _check_precision(linear: Linear) -> None:
    dtype, floatx = linear.inputs.dtype.name, keras.backend.floatx()
    policy = keras.mixed_precision.global_policy().compute_dtype
    if {policy, floatx} != {dtype}:
        raise KerasganError(
            f"iNNvestigate's own rules compute in the global policy, {policy}, and in floatx, "
            f"{floatx}, and the network is in {dtype}. Call keras.mixed_precision.set_global_policy"
            f"('{dtype}') and keras.backend.set_floatx('{dtype}') first, or use a rule of "
            "kerasgan.explain"
        )


class _LayerCopy:
    """A copy of a layer without activation, into which iNNvestigate puts weights and calls it.

    It holds the lists of weights in which iNNvestigate looks for what it replaces.
    """

    def __init__(self, linear: Linear, use_bias: bool):
        self.linear, self.use_bias = linear, use_bias
        self.kernel, self.bias = linear.kernel, linear.bias
        self._trainable_weights = [self.kernel, self.bias] if use_bias else [self.kernel]
        self._non_trainable_weights: list[tf.Tensor] = []

    def build(self, _input_shape: Any) -> None:
        """Does nothing: the weights are there."""

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = self.linear.apply(inputs, self.kernel)
        return outputs + self.bias if self.use_bias else outputs


class _Layer:
    """A node with weights as a Keras layer without variables, by which iNNvestigate goes.

    A mix-in, put before a class of layers. It stands behind an input where the node sees pixels.
    """

    def __init__(self, linear: Linear, *sizes: int):
        super().__init__(*sizes, use_bias=linear.bias is not None, name="layer")
        self.linear = linear
        self.kernel, self.bias = linear.kernel, linear.bias
        image = keras.Input((1, 1, 1), name="image")
        between = keras.layers.Activation("linear", name="between")
        self(image if linear.node.first else between(image))

    @property
    def weights(self) -> list[tf.Tensor]:
        """The weights, of the node's whole affine step."""
        return [self.kernel, self.bias] if self.use_bias else [self.kernel]

    def build(self, _input_shape: Any) -> None:
        """Makes no variables."""
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes nothing: what computes are copies."""
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Returns what a copy is made of."""
        return {"name": self.name, "linear": self.linear, "use_bias": self.use_bias}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _LayerCopy:
        """Makes a copy."""
        return _LayerCopy(config["linear"], config["use_bias"])


class _Dense(_Layer, keras.layers.Dense):
    def __init__(self, linear: Linear):
        super().__init__(linear, 1)


class _Conv2D(_Layer, keras.layers.Conv2D):
    def __init__(self, linear: Linear):
        super().__init__(linear, 1, 1)

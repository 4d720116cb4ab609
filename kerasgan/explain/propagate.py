"""Relevance from the logits back to the images, node by node, with a conservation table.

How relevance passes each kind of node:

- "weighted": by the rule that the composite has for it.
- "proportional" (sums, means, interpolation): every input receives in proportion to what it
  contributed, `x * J^T (R / (z + eps sign(z)))`; "centred" and "normalised", a normalization with
  its scale held, likewise, `z` being what is left of `x` less its mean.
- "routed" (slices, reshapes, concatenation, padding) and "winner" (maxima): `J^T R`.
- "passed" (functions of one number) and "gate" (the signal; gates are held): `R` as it is.
- "affine" (scale and shift that go to no weights): `R` as it is, or, where the composite takes
  them as linear steps, in proportion, the shift being a bias. Those of a normalization by its own
  statistic hold what it is divided by.
- "shared" (a product without a gate): the same share for every factor.
- "product" (of two matrices that depend on the image): half for each side, in proportion; or all
  for the values, where the composite holds attention weights.
- "softmax": `x * (R - s sum(R))`, its Taylor expansion; what the constant term takes is counted as
  bias.

Source: Bach et al. 2015 (doi 10.1371/journal.pone.0130140); products, softmax and normalizations:
Achtibat et al. 2024 (arXiv 2402.05602).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Node, Run, vjp
from kerasgan.explain.linear import STABILISER, Linear, sign_of
from kerasgan.explain.operations import SCALING
from kerasgan.explain.rules import Redistribution
from kerasgan.models.trace import Value

COLUMNS = ("relevance_in", "relevance_out", "bias", "stabiliser", "unsupported", "absolute")


class ConservationTable(NamedTuple):
    """Where relevance went.

    Attributes:
        rows: Name and class of each node, from the logits to the image.
        ledger: (rows, 6, batch), columns as in `COLUMNS`.
        branches: Where relevance parts: name of the node with several inputs, of the node before,
            and "main" for the input computed last or "skip".
        parts: (branches, batch). The relevance that went there.
    """

    rows: list[tuple[str, str]]
    ledger: tf.Tensor
    branches: list[tuple[str, str, str]]
    parts: tf.Tensor


class Propagation(NamedTuple):
    """What one backward pass gives: relevance of each of the images, of nodes, and where it went.

    Nodes' is what arrives at their outputs, by name, nearest the image first.
    """

    relevance: list[tf.Tensor]
    layers: dict[str, tf.Tensor]
    conservation: ConservationTable


def propagate(run: Run, start: tf.Tensor, composite: Any) -> Propagation:
    """Passes relevance from the logits back to the images."""
    graph = run.graph
    arriving: dict[Value, list[tf.Tensor]] = {graph.output: [start]}
    layers: dict[str, tf.Tensor] = {}
    recorder = ConservationRecorder(run)
    for node in reversed(run.nodes):
        parts = arriving.pop(node.output, None)
        if parts is None:
            continue
        relevance = _sum(parts)
        redistribution = redistribute(run, node, relevance, composite)
        recorder.record(node, relevance, redistribution)
        layers[node.name] = relevance
        for value, part in zip(node.inputs, redistribution.inputs):
            arriving.setdefault(value, []).append(part)
    of_images = [
        _sum(arriving[value]) if value in arriving else tf.zeros_like(image)
        for value, image in zip(graph.images, run.images)
    ]
    return Propagation(of_images, dict(reversed(layers.items())), recorder.table())


def redistribute(run: Run, node: Node, relevance: tf.Tensor, composite: Any) -> Redistribution:
    """Redistributes the relevance of a node's output among its inputs."""
    if node.kind == "weighted":
        # weights wait for relevance, since all of them at once would take as much memory as a model
        with tf.control_dependencies([relevance]):
            rule = composite.rule_for(node)
            linear = Linear(run, node)
            redistribution = rule.redistribute(linear, run.batch_first(relevance, node.output))
        if not isinstance(redistribution, Redistribution):
            raise KerasganError(
                f"Method 'redistribute' of rule {rule!r} must return Redistribution. "
                f"Received: {type(redistribution).__name__}"
            )
        if not linear.inputs.shape.is_compatible_with(redistribution.inputs.shape):
            raise KerasganError(
                f"Method 'redistribute' of rule {rule!r} must return relevance of the shape of the "
                f"inputs of layer '{node.name}', {linear.inputs.shape}. Received: "
                f"{redistribution.inputs.shape}"
            )
        return redistribution._replace(
            inputs=[run.from_batch_first(redistribution.inputs, node.inputs[0])]
        )
    return KINDS[node.kind](run, node, relevance, composite)


def _sum(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tensors[0] if len(tensors) == 1 else tf.add_n(list(tensors))


# --- Kinds of nodes ---


def _stabilised(
    run: Run, node: Node, relevance: tf.Tensor, outputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Divides relevance by outputs kept from zero; also returns what that costs, (batch,)."""
    signed = sign_of(outputs, STABILISER)
    factors = relevance / (outputs + signed)
    return factors, run.per_image(signed * factors, node.output)


def _less(run: Run, node: Node, relevance: tf.Tensor, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns what relevance of a node's outputs is more than that of its inputs, (batch,)."""
    passed = [run.per_image(part, value) for part, value in zip(inputs, node.inputs)]
    return run.per_image(relevance, node.output) - sum(passed)


def _proportional(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    with tf.control_dependencies([relevance]):
        output = run.output(node)
        factors, stabiliser = _stabilised(run, node, relevance, output)
        inputs = [x * f for x, f in zip(run.inputs(node), run.back(node, factors))]
    bias: Any = 0.0
    if node.main.kind == "AddN" and len(node.main.inputs) > len(inputs):
        bias = _less(run, node, output * factors, inputs)
    return Redistribution(inputs, bias, stabiliser)


def _normalised(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    (data,) = run.inputs(node)
    channel = 1 if node.main.attributes["data_format"].s == b"NCHW" else data.shape.rank - 1
    axes = [axis for axis in range(data.shape.rank) if axis != channel]
    centred, backward = vjp(lambda x: x - tf.reduce_mean(x, axes, keepdims=True), [data])
    factors, stabiliser = _stabilised(run, node, relevance, centred)
    return Redistribution([data * backward(factors)[0]], stabiliser=stabiliser)


def _centred(run: Run, node: Node, relevance: tf.Tensor, composite: Any) -> Redistribution:
    mean, inverse, *shift = (run.tensor(value) for value in node.held)
    (data,) = run.inputs(node)
    bias: Any = 0.0
    if composite.affine != "passed":
        factors, stabiliser = _stabilised(run, node, relevance, run.output(node))
        bias = run.per_image(shift[0] * factors, node.output) if shift else 0.0
        factors = factors * inverse
    else:
        factors, stabiliser = _stabilised(run, node, relevance, data - mean)
    _, backward = vjp(lambda x: x - run.value_of(node, node.held[0], x), [data])
    return Redistribution([data * backward(factors)[0]], bias, stabiliser)


def _routed(run: Run, node: Node, relevance: tf.Tensor, composite: Any) -> Redistribution:
    inputs = run.back(node, relevance)
    dropped: Any = 0.0
    kind, count = node.main.kind, len(node.main.inputs) - (node.main.kind == "ConcatV2")
    constants = kind in ("ConcatV2", "Pack") and count > len(inputs)
    if kind in ("Pad", "PadV2") or constants:
        dropped = _less(run, node, relevance, inputs)
    if not composite.keep_skips and kind == "ConcatV2" and len(inputs) > 1:
        newest = run.newest(node.inputs)
        dropped = sum(run.per_image(r, v) for v, r in zip(node.inputs, inputs) if v != newest)
        inputs = [r if v == newest else tf.zeros_like(r) for v, r in zip(node.inputs, inputs)]
    return Redistribution(inputs, unsupported=dropped)


def _winner(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    inputs = run.back(node, relevance)
    dropped: Any = 0.0
    if node.main.kind in ("Maximum", "Minimum", "Select", "SelectV2") and len(inputs) == 1:
        dropped = _less(run, node, relevance, inputs)
    return Redistribution(inputs, unsupported=dropped)


def _passed(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    return Redistribution([_to_shape(run, node.inputs[0], relevance)])


def _affine(run: Run, node: Node, relevance: tf.Tensor, composite: Any) -> Redistribution:
    linear = composite.affine == "linear" or (composite.affine == "normalised" and node.held)
    if not linear or all(step.kind in SCALING | {"Neg"} for step in node.steps):
        return _passed(run, node, relevance, composite)
    (data,) = run.inputs(node)
    factors, stabiliser = _stabilised(run, node, relevance, run.output(node))
    bias = run.per_image(run.again(node, [tf.zeros_like(data)]) * factors, node.output)
    return Redistribution([data * run.back(node, factors)[0]], bias, stabiliser)


def _shared(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    part = relevance / len(node.inputs)
    return Redistribution([_to_shape(run, value, part) for value in node.inputs])


def _to_shape(run: Run, value: Value, relevance: tf.Tensor) -> tf.Tensor:
    """Sums what a value of fewer numbers was repeated for."""
    tensor = run.tensor(value)
    if tensor.shape.is_fully_defined() and tensor.shape == relevance.shape:
        return relevance
    if tensor.shape.rank == relevance.shape.rank and tensor.shape[1:] == relevance.shape[1:]:
        return relevance
    _, backward = vjp(lambda x: x + tf.zeros_like(relevance), [tensor])
    return backward(relevance)[0]


def _product(run: Run, node: Node, relevance: tf.Tensor, composite: Any) -> Redistribution:
    sides = run.inputs(node)
    held = [composite.attention == "held" and value in node.held for value in node.inputs]
    count = held.count(False)
    factors, stabiliser = _stabilised(run, node, relevance, count * run.output(node))
    inputs = [
        tf.zeros_like(x) if hold else x * back
        for x, back, hold in zip(sides, run.back(node, factors), held)
    ]
    return Redistribution(inputs, stabiliser=stabiliser)


def _softmax(run: Run, node: Node, relevance: tf.Tensor, _composite: Any) -> Redistribution:
    (data,), shares = run.inputs(node), run.output(node)
    axes = run.graph.trace.number(node.held[0].step.inputs[1]).tolist() if node.held else -1
    inputs = data * (relevance - shares * tf.reduce_sum(relevance, axes, keepdims=True))
    return Redistribution([inputs], bias=_less(run, node, relevance, [inputs]))


KINDS = {
    "affine": _affine,
    "centred": _centred,
    "gate": _passed,
    "normalised": _normalised,
    "passed": _passed,
    "product": _product,
    "proportional": _proportional,
    "routed": _routed,
    "shared": _shared,
    "softmax": _softmax,
    "winner": _winner,
}


# --- Conservation table ---


class ConservationRecorder:
    """Records where relevance goes."""

    def __init__(self, run: Run):
        self._run = run
        self._rows: list[tuple[str, str]] = []
        self._ledger: list[tf.Tensor] = []
        self._branches: list[tuple[str, str, str]] = []
        self._parts: list[tf.Tensor] = []
        self._totals: dict[Any, tf.Tensor] = {}
        self._zeros = tf.zeros([run.batch], run.logits.dtype)
        self._makers = {node.output: node.name for node in run.nodes}

    def record(self, node: Node, relevance: tf.Tensor, redistribution: Redistribution) -> None:
        """Writes a node's row: relevance in and out, and what went elsewhere, for each image."""
        run = self._run
        passed = [
            self._total(part, value) for part, value in zip(redistribution.inputs, node.inputs)
        ]
        self._rows.append((node.name, node.type))
        self._ledger += [self._total(relevance, node.output), _sum(passed)]
        self._ledger += [self._for_each_image(column) for column in redistribution[1:]]
        self._ledger.append(run.per_image(tf.abs(relevance), node.output))
        if len(passed) > 1:
            newest = run.newest(node.inputs)
            for value, part in zip(node.inputs, passed):
                source = self._makers.get(value) or run.graph.name_of_image(value)
                self._branches.append((node.name, source, "main" if value == newest else "skip"))
                self._parts.append(part)

    def table(self) -> ConservationTable:
        """Returns what was written."""
        ledger = tf.stack(self._ledger)
        ledger = tf.reshape(ledger, [len(self._rows), len(COLUMNS), -1])
        parts = tf.stack(self._parts) if self._parts else ledger[:0, 0]
        return ConservationTable(self._rows, ledger, self._branches, parts)

    def _total(self, values: tf.Tensor, value: Value) -> tf.Tensor:
        """Sums for each image, once: what a node passes on, the next one receives."""
        key = values.ref()
        if key not in self._totals:
            self._totals[key] = self._run.per_image(values, value)
        return self._totals[key]

    def _for_each_image(self, column: Any) -> tf.Tensor:
        """Brings what went elsewhere, a number or one for each row, to one for each image."""
        if tf.is_tensor(column) and column.shape.rank:
            return self._run.per_image(column)
        return self._zeros if isinstance(column, float) and not column else self._zeros + column

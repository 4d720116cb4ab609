"""Reads a network's computation as a graph of nodes that relevance passes.

The operations of one trace are taken backwards from the logits, and become nodes by
`kerasgan.explain.operations`. What is one thing in several operations becomes one node: scale and
shift (batch normalization, however it is written) go to the weights that they stand beside,
normalizations and functions of one number are recognised, and so are products of a signal and its
gates. Only what relevance reaches becomes a node, so whatever computes a gate needs no rule.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kerasgan.explain.graph import Graph, Node, has_axis, image_inputs, letters, operands_of
from kerasgan.explain.naming import find_ends, name_nodes
from kerasgan.explain.operations import (
    AFFINE,
    BOTH,
    COMPARISONS,
    ELEMENTWISE,
    MIXING,
    NORMALISING,
    PADDING,
    PROPORTIONAL,
    ROUTED,
    SCALING,
    WEIGHTED,
    WINNER,
)
from kerasgan.explain.products import Products, parse_gates
from kerasgan.explain.steps import (
    check_batch,
    check_deterministic,
    check_layout,
    check_routed,
    no_rule,
)
from kerasgan.explain.tracing import check_model, output_index, trace_to_logits
from kerasgan.explain.verify import compare_with_model
from kerasgan.models.trace import Step, Value, clear_trace

FORMING = {"BatchToSpaceND", "ExpandDims", "Reshape", "SpaceToBatchND", "Squeeze", "Transpose"}
MOST = 48


def read_graph(
    model: Any,
    *,
    gates: Mapping[str, int | tuple[int, ...]] | None = None,
    output: int | str | None = None,
    split_evenly: bool = False,
) -> Graph:
    """Reads a model's computation as a graph of nodes that relevance passes, up to its logits.

    The model is neither changed nor copied: the graph reads its variables. It is computed in
    float32, or in float64 where the model is. `gates` and `output` are as of `Explainer`; where
    `split_evenly`, products whose gate is not known are no error, but split relevance evenly.
    """
    declared = parse_gates(gates)
    network = check_model(model)
    clear_trace(network)
    output = output_index(network, output)
    graph, guessed = trace_to_logits(network, output)
    reader = _Reader(graph, network, declared, split_evenly)
    reader.read()
    compare_with_model(network, graph, output, guessed)
    return graph


class _Reader(Products):
    """Makes nodes of the operations of a graph, from the logits back."""

    def read(self) -> None:
        """Makes all nodes that relevance reaches, names them and says which is which."""
        check_deterministic(self)
        graph = self.graph
        waiting, seen = [], {graph.output}
        heapq.heappush(waiting, (-self.order[graph.output.step], 0, graph.output))
        nodes: list[Node] = []
        while waiting:
            _, _, value = heapq.heappop(waiting)
            node = self.node_of(value)
            nodes.append(node)
            for before in node.inputs:
                if before not in seen and before.step.kind != "Image":
                    seen.add(before)
                    heapq.heappush(waiting, (-self.order[before.step], len(seen), before))
        graph.nodes = nodes[::-1]
        name_nodes(self)
        find_ends(self)
        for node in graph.nodes:
            for value in node.inputs:
                if self.ranges.of(value).low >= 0:
                    graph.nonnegative.add(value)
        graph.gates = {
            self.name_of_step(node.main): chosen for node, chosen in self.products.items()
        }

    def node_of(self, value: Value) -> Node:
        step = value.step
        check_layout(self, step)
        check_batch(self, step)
        node = (
            self.weighted(value)
            or self.centred(value)
            or self.softmax(value)
            or self.function_of_one(value)
        )
        if node is not None:
            return node
        inside = self.inside(step)
        if step.kind in NORMALISING and step.attributes["is_training"].b:
            if self.shape(inside[0])[:1] != [1]:
                raise self.refusal(
                    step,
                    "it is called with training=True, so its output depends on the batch",
                    "Build the model without that argument",
                )
            return Node("normalised", inside[:1], value, [step], step)
        if step.kind in AFFINE | NORMALISING and len(inside) == 1:
            return self.lone(value)
        if step.kind in MIXING and len(inside) == 2:
            attention = [v for v in inside if self.is_attention(v)]
            held = attention if len(attention) == 1 else []
            return Node("product", inside, value, [step], step, held=held)
        if step.kind in SCALING:
            return self.product(value)
        if step.kind == "Softmax":
            return Node("softmax", inside, value, [step], step)
        if step.kind in ROUTED:
            return self.routed(value)
        if step.kind in WINNER:
            if step.kind in ("Select", "SelectV2"):
                inside = [v for v in step.inputs[1:] if v.step.depends == "image"]
            if not inside:
                raise no_rule(self, step)
            return Node("winner", inside, value, [step], step)
        if step.kind in PROPORTIONAL | {"Add", "AddV2", "Sub"}:
            return Node("proportional", inside, value, [step], step)
        raise no_rule(self, step)

    def routed(self, value: Value) -> Node:
        """Takes all moves of values of a layer, or between which images do not come first."""
        steps, inside = [value.step], self.inside(value.step)
        check_routed(self, value.step)
        while len(inside) == 1 and (
            self._is_turned(inside[0]) or self._is_moved_before(inside[0], value.step)
        ):
            steps.insert(0, inside[0].step)
            check_routed(self, steps[0])
            inside = self.inside(steps[0])
        return Node("routed", inside, value, steps, value.step)

    def _is_moved_before(self, value: Value, step: Step) -> bool:
        """Whether a value was moved for this move alone, by the same call of a layer."""
        if not (self.alone(value) and value.step.scope and self.same_layer(value.step, step)):
            return False
        kinds = {value.step.kind, step.kind}
        return kinds <= ROUTED - PADDING and len(image_inputs(value.step)) == 1

    def _is_turned(self, value: Value) -> bool:
        """Whether a value was moved so that another axis than that of the images comes first."""
        step, shape = value.step, self.shape(value)
        moved = step.kind in ROUTED and step.kind not in PADDING and len(image_inputs(step)) == 1
        open_batch = any(spec.shape[0] is None for spec in self.graph.image_specs)
        return moved and open_batch and bool(shape) and shape[0] is not None

    def weighted(self, value: Value) -> Node | None:
        """Finds weights behind a value, with the scale, shift and form that belong to them."""
        after: list[Step] = []
        axes = 0
        cursor = value
        while True:
            step = cursor.step
            if cursor != value and not self.alone(cursor):
                return None
            if step.kind in WEIGHTED and len(image_inputs(step)) == 1:
                break
            varies = self.affine(step)
            forms = step.kind in FORMING and len(image_inputs(step)) == 1
            if varies is None and not (
                forms and (self._keeps_channels(step) or self._splits_channels(step))
            ):
                return None
            axes = max(axes, varies or 0)
            after.insert(0, step)
            cursor = step.inputs[image_inputs(step)[0]]
        main, operands = cursor.step, operands_of(cursor.step)
        forms = [s for s in after if not has_axis(s)]
        if any(not self.same_layer(s, main) for s in forms):
            return None
        split = next((s for s in forms if self._splits_channels(s)), None)
        if split is not None and (split is not after[0] or len(forms) > 1):
            return None
        if split is not None and any(self.affine(s) not in (0, 2) for s in after[1:]):
            return None
        if after and axes > self._own_axes(main, forms) + (split is not None):
            return None
        before: list[Step] = []
        data = main.inputs[operands.data]
        while (
            data.step.kind in FORMING
            and self.same_layer(data.step, main)
            and len(image_inputs(data.step)) == 1
            and self.alone(data)
        ):
            before.insert(0, data.step)
            data = data.step.inputs[image_inputs(data.step)[0]]
        ahead: list[Step] = []
        while split is None and self._goes_ahead(data, main, before):
            ahead.insert(0, data.step)
            data = data.step.inputs[image_inputs(data.step)[0]]
        steps = [*ahead, *before, main, *after]
        return Node("weighted", [data], value, steps, main, ahead=ahead, before=before, after=after)

    def _keeps_channels(self, step: Step) -> bool:
        before, after = self.shape(step.inputs[image_inputs(step)[0]]), self.shape(Value(step))
        if step.kind in ("BatchToSpaceND", "SpaceToBatchND"):
            blocks = self.constant_shape(step.inputs[1])
            return bool(after and blocks) and (blocks[0] or len(after)) < len(after) - 1
        same = bool(before and after) and before[-1] == after[-1] and before[-1] is not None
        return same and self._keeps_last(step)

    def _splits_channels(self, step: Step) -> bool:
        """Whether an operation makes two axes of the last, as heads of attention are told apart."""
        before, after = self.shape(step.inputs[image_inputs(step)[0]]), self.shape(Value(step))
        if step.kind != "Reshape" or len(after) < 2 or None in after[-2:]:
            return False
        return after[-2] > 1 and before == [*after[:-2], after[-2] * after[-1]]

    def _keeps_last(self, step: Step) -> bool:
        """Whether an operation that brings values into form leaves the last axis the last."""
        if step.kind != "Transpose":
            return True
        order = None if step.op is None else tf.get_static_value(step.op.inputs[1])
        return order is not None and int(order[-1]) == len(order) - 1

    def _own_axes(self, main: Step, forms: Sequence[Step]) -> int:
        """Along how many last axes of its outputs the weights of an operation differ."""
        by_letters = main.kind == "Einsum"
        if operands_of(main).channels is None and not by_letters and not _is_depthwise(main):
            return 0
        if not by_letters:
            return int(main.kind != "Conv2D" or main.attributes["data_format"].s != b"NCHW")
        data, kernel, outputs = letters(main)
        own = [axis in kernel and axis not in data for axis in reversed(outputs)]
        count = [*own, False].index(False)
        return min(count, 1) if forms else count

    def _goes_ahead(self, data: Value, main: Step, before: Sequence[Step]) -> bool:
        """Whether scale and shift before an operation can be made part of its weights."""
        step = data.step
        if main.kind not in ("Conv2D", "DepthwiseConv2dNative", "MatMul") or not self.alone(data):
            return False
        axes = self.affine(step)
        if axes is None or axes > 1 or (operands_of(main).channels is None) != _is_depthwise(main):
            return False
        trained = any(value.step.depends == "variables" for value in step.inputs)
        if not trained or self.weighted(data) is not None:
            return False
        kernel = self.constant_shape(main.inputs[1])
        if kernel is None:
            return False
        if main.kind == "MatMul":
            rows = kernel[1 if main.attributes["transpose_b"].b else 0]
            last = self.shape(data)[-1]
            return last is not None and last == rows and all(map(self._keeps_last, before))
        if any(s.kind == "SpaceToBatchND" or not self._keeps_channels(s) for s in before):
            return False
        return main.attributes["padding"].s == b"VALID" or kernel[:2] == [1, 1]

    def lone(self, value: Value) -> Node:
        """Scale and shift that go to no weights: all that follow one another are one node."""
        steps, cursor = [], value
        while (
            len(image_inputs(cursor.step)) == 1
            and cursor.step.kind in AFFINE | NORMALISING
            and self.is_scale(cursor.step)
            and (cursor == value or self.alone(cursor))
            and self.shape(cursor) == self.shape(value)
        ):
            steps.insert(0, cursor.step)
            cursor = cursor.step.inputs[image_inputs(cursor.step)[0]]
        kind = "affine"
        if not steps:  # a number divided by the value
            steps, cursor, kind = [value.step], self.inside(value.step)[0], "passed"
        return Node(kind, [cursor], value, steps, value.step)

    def function_of_one(self, value: Value) -> Node | None:
        """Finds a function of one number, of one or several operations of a layer."""
        step = value.step
        inside = self.inside(step)
        if self._is_of_one(step):
            steps = [step]
            while self._is_number_before(inside[0], step):
                steps.insert(0, inside[0].step)
                inside = self.inside(inside[0].step)
            return Node("passed", inside, value, steps, step)
        named = self.name_of_step(step) in self.declared or step.path in self.declared
        if step.kind in BOTH and len(inside) > 1 and not named:
            single = self.single_source(value, within=step.kind != "Mul" or not self.gate_of(step))
            if single is not None:
                source, steps = single
                return Node("passed", [source], value, steps, step)
        return None

    def _is_of_one(self, step: Step) -> bool:
        """Whether an operation is a function of each number by itself."""
        inside = self.inside(step)
        if len(inside) != 1 or step.kind == "LogSoftmax":
            return False
        extreme = step.kind in ("Pow", "Maximum", "Minimum", "SquaredDifference")
        same = self.shape(inside[0]) == self.shape(Value(step))
        return step.kind in ELEMENTWISE or (extreme and same)

    def _is_number_before(self, value: Value, step: Step) -> bool:
        """Whether a value is scaled or shifted by one number, or bounded, within an activation."""
        return (
            bool(value.step.scope)
            and self.same_layer(value.step, step)
            and self.alone(value)
            and (self._is_of_one(value.step) or self.affine(value.step) == 0)
            and all(v.step.depends != "variables" for v in value.step.inputs)
        )

    def single_source(self, value: Value, within: bool) -> tuple[Value, list[Step]] | None:
        """Finds the one value that an operation is a function of, number by number."""
        frontier = set(self.inside(value.step))
        taken = [value.step]
        shape = self.shape(value)
        while len(frontier) > 1:
            latest = max(frontier, key=lambda v: self.order[v.step])
            step = latest.step
            plain = step.kind in ELEMENTWISE | BOTH | AFFINE | COMPARISONS | {"Cast", "LogicalNot"}
            if not plain or step.kind == "LogSoftmax" or len(taken) > MOST:
                return None
            if self.shape(latest) != shape or (within and not self.same_layer(step, value.step)):
                return None
            frontier.remove(latest)
            frontier.update(self.inside(step))
            taken.append(step)
        return frontier.pop(), taken[::-1]


def _is_depthwise(step: Step) -> bool:
    return step.kind == "DepthwiseConv2dNative"

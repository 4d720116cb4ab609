"""Reads a network's computation as a graph that layer-wise relevance can walk.

The operations of one trace are taken backwards from the logits, and become nodes by
`kerasgan.explain.operations`. What is one thing in several operations becomes one node: scale and
shift (batch normalization, however it is written) go to the weights that they stand beside,
normalizations and functions of one number are recognised, and so are products of a signal and its
gates. Only what relevance reaches becomes a node, so whatever computes a gate needs no rule.
"""

from __future__ import annotations

import dataclasses
import difflib
import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Graph, Node, Run, has_axis, letters, live, options_of, places_of
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
    STATISTICS,
    WEIGHTED,
    WINNER,
)
from kerasgan.models.outputs import Reading, functional, read_output, refuse_labels
from kerasgan.models.ranges import Ranges
from kerasgan.models.trace import Step, Value, layers_in, trace_network

__all__ = ["read_graph"]

ADVICE = (
    "Put operations in its place that can be explained ('Explain your own model' in the "
    "documentation lists them), or explain a model that ends before it. What only computes a gate "
    "may stay: argument 'gates' says which input of a product is one"
)
LAST = {"Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh", "LogSoftmax": "log_softmax"}
FORMING = {"BatchToSpaceND", "ExpandDims", "Reshape", "SpaceToBatchND", "Squeeze", "Transpose"}
SCALING = {"DivNoNan", "Mul", "RealDiv"}
SIGMOIDS = ("sigmoid", "hard_sigmoid")
PRODUCTS = ("Mul", "RealDiv", "DivNoNan")
MOST = 48


def read_graph(
    model: Any,
    *,
    gates: Mapping[str, int | tuple[int, ...]] | None = None,
    output: int | str | None = None,
    share: bool = False,
) -> Graph:
    """Reads a model's computation as a graph of nodes that relevance passes.

    Args:
        model: What `kerasgan.models.generator_of` takes. It is neither changed nor copied: the
            graph reads its variables. Models in mixed precision are computed in float32.
        gates: For products of values that all depend on the image: from the product's name to the
            index of the input that is the gate, or to several; () shares relevance evenly.
        output: Which of the model's outputs to explain, by its place from 0 or its name; None where
            there is one.
        share: Whether products whose gate cannot be told share relevance evenly; else they are an
            error.

    Returns:
        The graph. Its output are the logits: a last tanh, sigmoid or softmax is taken off.

    Raises:
        KerasganError: If the model cannot be traced, holds NaN, or relevance reaches an operation
            without a rule (the message names it, its layer and what to do), or if the graph does
            not compute what the model does.

    Example:
        >>> import kerasgan as kg
        >>> graph = read_graph(kg.models.unet(size=32, filters=2, levels=2))
        >>> graph.activation, graph.names["down_1_bn_a"]
        ('sigmoid', 'down_1_conv_a')
    """
    declared = _declared(gates)
    network = _checked(model)
    output = _place_of(network, output)
    graph, guessed = _traced(network, output)
    reader = _Reader(graph, network, declared, share)
    reader.read()
    _compare(network, graph, output, guessed)
    return graph


# --- What is asked for ---


def _declared(gates: Any) -> dict[str, tuple[int, ...]]:
    """Returns gates as tuples of indices by name."""
    if not isinstance(gates, (Mapping, type(None))):
        raise KerasganError(
            "Argument 'gates' must be a dict from products to inputs that are gates, such as "
            f"{{'multiply': 0}}. Received: {gates!r}"
        )
    declared = {}
    for name, indices in (gates or {}).items():
        several = indices if isinstance(indices, (list, tuple)) else [indices]
        if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in several):
            raise KerasganError(
                f"Argument 'gates' must hold indices of inputs, counted from 0. Received: "
                f"{indices!r} for {name!r}"
            )
        declared[str(name)] = tuple(int(i) for i in several)
    return declared


def _checked(model: Any) -> keras.Model:
    if not tf.executing_eagerly():
        raise KerasganError(
            "A network is made ready for explanations outside of tf.function and with eager "
            "execution on: make the Explainer there, and call it inside"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise KerasganError(
            f"Argument 'model' must be built. Received: Sequential '{model.name}' without input "
            "shape; call model.build((None, height, width, channels)) first"
        )
    network = functional(model)
    for layer in network._flatten_layers(recursive=True, include_self=False):
        for weight in layer._trainable_weights + layer._non_trainable_weights:
            if weight.dtype.is_floating and not np.isfinite(tf.reduce_sum(weight)):
                raise KerasganError(
                    f"Layer '{layer.name}' ({type(layer).__name__}) cannot be explained: its "
                    f"weight '{weight.name}' holds NaN or infinity. Load weights from before "
                    "training diverged"
                )
    return network


def _place_of(network: keras.Model, output: int | str | None) -> int:
    """Returns the place of the output to explain."""
    names = list(network.output_names)
    if output is None and len(names) == 1:
        return 0
    if isinstance(output, str) and output in names:
        return names.index(output)
    whole = isinstance(output, (int, np.integer)) and not isinstance(output, bool)
    if whole and 0 <= output < len(names):
        return int(output)
    raise KerasganError(
        f"Argument 'output' must say which of the {len(names)} output(s) of '{network.name}' to "
        f"explain, by its place from 0 or its name: {names}. Received: {output!r}"
    )


# --- Tracing ---


def _traced(network: keras.Model, output: int) -> tuple[Graph, bool]:
    """Traces a network up to its logits; also says whether the last activation is a guess."""
    trace = trace_network(network, output)
    if trace.output.step.depends != "image":
        raise KerasganError(
            f"The output of '{network.name}' does not depend on the image, so there is nothing to "
            "explain. Explain a model whose output is computed from its input"
        )
    end, activation, guessed = _without_last(network, trace.output, _reading(network, output))
    double = any(weight.dtype == tf.float64 for weight in network.weights)
    dtype = "float64" if double else "float32"
    handles = {}
    for variable in network.variables:
        for part in getattr(variable, "values", None) or [variable]:
            handles[id(part.handle)] = variable
    specs = [tf.TensorSpec(tensor.shape, dtype) for tensor in network.inputs]
    graph = Graph(
        network.name,
        trace,
        _steps_to(end),
        list(trace.images),
        list(network.input_names),
        specs,
        end,
        activation,
        dtype,
        {name: handles[id(h)] for name, h in trace.captured.items() if id(h) in handles},
    )
    if any(step.op is None for step in graph.steps) or end.step.op is None:
        _measure(graph)
    return graph, guessed


def _steps_to(end: Value) -> list[Step]:
    """Returns what a value is computed from, as far as it depends on the image, in order."""
    done: set[Step] = set()
    steps: list[Step] = []
    waiting = [end.step]
    while waiting:
        step = waiting[-1]
        missing = [v.step for v in step.inputs if v.step.depends == "image" and v.step not in done]
        if step in done or not missing:
            waiting.pop()
            if step not in done:
                done.add(step)
                steps.append(step)
        else:
            waiting.extend(missing)
    return steps


def _measure(graph: Graph) -> None:
    """Notes the shapes of all values, as far as they are known without an image."""

    def run(*images):
        done = graph.run(images)
        graph.shapes.update(done.shapes())
        return done.logits

    with tf.init_scope():
        tf.function(run, autograph=False).get_concrete_function(*graph.image_specs)


def _reading(network: keras.Model, output: int) -> Reading | None:
    """Returns what an output means; None where no mask can be read from it."""
    if len(network.outputs) > 1:
        network = keras.Model(network.inputs, network.outputs[output], name=network.name)
    try:
        reading = read_output(network)
    except KerasganError:
        return None
    refuse_labels(network, "an explanation")
    return reading


def _without_last(
    network: keras.Model, end: Value, reading: Reading | None
) -> tuple[Value, str, bool]:
    """Takes the activation off that stands last, if only moves follow it."""
    meant = "linear" if reading is None else reading.activation
    moves: list[Step] = []
    value, moved = end, True
    while True:
        step = value.step
        inside = live(step)
        if step.kind in LAST or len(inside) != 1:
            break
        keeps = step.kind in ROUTED or step.kind == "ResizeNearestNeighbor"
        if not keeps and step.kind not in PROPORTIONAL | WINNER | AFFINE:
            break
        moved = moved and keeps and step.kind not in ("Pad", "PadV2")
        moves.append(step)
        value = step.inputs[inside[0]]
    activation = LAST.get(value.step.kind)
    guessed = False
    if activation is None and meant != "linear" and end.step.path:
        # a function of someone's own, which is tried out
        start = _start_of(end)
        if start is not None:
            return start, meant, True
    told = meant == "linear" and reading is not None and activation != "log_softmax"
    if activation is None or told:
        if meant != "linear":
            raise KerasganError(
                f"Explanations are of logits, but '{network.name}' gives what a {meant} makes of "
                f"them, and '{end.step.layer or end.step.name}', where it ends, cannot be taken "
                "off. Build a model that ends in the logits, or in keras.layers.Activation or "
                "Softmax applied to them"
            )
        return end, "linear", False
    if not moved:
        raise KerasganError(
            f"Explanations are of logits, but the model goes on after "
            f"'{value.step.layer or value.step.name}' ({activation}), in "
            f"'{end.step.layer or end.step.name}' ({end.step.kind}). Build a model that ends with "
            "that activation, such as keras.Model(model.input, "
            f"model.get_layer('{value.step.layer}').output)"
        )
    logits = value.step.inputs[0]
    for step in reversed(moves):
        inputs = tuple(logits if v.step.depends == "image" else v for v in step.inputs)
        logits = Value(dataclasses.replace(step, inputs=inputs), value_output(moves, step, end))
    return logits, activation, guessed


def value_output(moves: Sequence[Step], step: Step, end: Value) -> int | str:
    """Which output of a move the next one takes."""
    place = moves.index(step)
    if not place:
        return end.output
    later = moves[place - 1]
    return later.inputs[live(later)[0]].output


def _start_of(end: Value) -> Value | None:
    """Where the layer begins that an output comes from, if it is a function of one number."""
    scope, value = end.step.scope, end
    while value.step.scope == scope and value.step.kind in ELEMENTWISE | AFFINE | BOTH:
        inside = {value.step.inputs[i] for i in live(value.step)}
        if len(inside) != 1:
            return None
        (value,) = inside
    return None if value == end or value.step.kind == "Image" else value


# --- Reading ---


class _Reader:
    """Makes nodes of the operations of a graph, from the logits back."""

    def __init__(
        self,
        graph: Graph,
        network: keras.Model,
        declared: dict[str, tuple[int, ...]],
        share: bool,
    ):
        self.graph = graph
        self.share = share
        self.network = network
        self.declared = declared
        self.order = graph.order
        self.users: dict[Value, list[Step]] = {graph.output: []}
        for step in graph.steps:
            for value in step.inputs:
                self.users.setdefault(value, []).append(step)
        self.layers: dict[str, keras.layers.Layer] = {}
        for module in network.submodules:
            if isinstance(module, keras.layers.Layer):
                self.layers.setdefault(module.name, module)
        self.scopes: dict[str, list[str]] = {}
        made = {op.name: place for place, op in enumerate(graph.trace.graph.get_operations())}
        for step in sorted(graph.steps, key=lambda step: made.get(step.name, len(made))):
            calls = self.scopes.setdefault(step.path, [])
            if step.scope not in calls:
                calls.append(step.scope)
        self.ranges = Ranges(graph.trace)
        self.products: dict[Node, tuple[str, tuple[int, ...]]] = {}
        self.known_products: set[str] = set()

    def read(self) -> None:
        """Makes all nodes that relevance reaches, names them and says which is which."""
        self._refuse_chance()
        self._find_products()
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
        self._name()
        self._find_ends()
        for node in graph.nodes:
            for value in node.inputs:
                if self.ranges.of(value).low >= 0:
                    graph.nonnegative.add(value)
        graph.gates = {self.name_of_product(node): chosen for node, chosen in self.products.items()}

    # -- helpers

    def inside(self, step: Step) -> list[Value]:
        return [step.inputs[i] for i in live(step)]

    def shape(self, value: Value) -> list[int | None]:
        shape = self.graph.shape(value)
        return [] if shape.rank is None else shape.as_list()

    def alone(self, value: Value) -> bool:
        """Whether a value goes to one operation only."""
        return len(self.users.get(value, [])) == 1 and value != self.graph.output

    def same_layer(self, a: Step, b: Step) -> bool:
        return a.scope == b.scope

    def refusal(self, step: Step, reason: str, advice: str = ADVICE) -> KerasganError:
        layer = self.layers.get(step.layer)
        shown = f"Operation {step.kind}"
        if layer is not None:
            shown = f"Layer '{step.layer}' ({type(layer).__name__}, operation {step.kind})"
        return KerasganError(f"{shown} cannot be explained: {reason}. {advice}")

    def trailing(self, value: Value, rank: int) -> int | None:
        """How many of the last axes a constant varies along; None if along others too."""
        shape = self.constant_shape(value)
        if shape is None or len(shape) > rank:
            return None
        while shape and shape[0] == 1:
            shape = shape[1:]
        return len(shape)

    def constant_shape(self, value: Value) -> list[int | None] | None:
        if value.step.op is not None:
            shape = value.tensor.shape
        else:
            shape = self.graph.shapes.get(value)
        return None if shape is None or shape.rank is None else shape.as_list()

    def affine(self, step: Step) -> int | None:
        """Along how many last axes an operation scales and shifts; None if it does something else.

        0 stands for one number for all.
        """
        inside = live(step)
        if len(inside) != 1:
            return None
        if step.kind in NORMALISING:
            last = step.attributes["data_format"].s != b"NCHW"
            return 1 if last and not step.attributes["is_training"].b else None
        if step.kind not in AFFINE:
            return None
        place = inside[0]
        if step.kind == "Neg":
            return 0
        if step.kind in ("RealDiv", "DivNoNan") and place == 1:
            return None
        if step.kind == "BiasAdd" and step.attributes["data_format"].s == b"NCHW":
            return None
        data, whole = self.shape(step.inputs[place]), self.shape(Value(step))
        if data != whole:
            return None
        return self.trailing(step.inputs[1 - place], len(whole))

    # -- nodes

    def node_of(self, value: Value) -> Node:
        step = value.step
        self._check_layout(step)
        self._check_batch(step)
        found = (
            self.weighted(value)
            or self.centred(value)
            or self.softmax(value)
            or self.function_of_one(value)
        )
        if found is not None:
            return found
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
            attention = [v for v in inside if self._is_attention(v)]
            held = attention if len(attention) == 1 else []
            return Node("product", inside, value, [step], step, held=held)
        if step.kind in PRODUCTS:
            return self.product(value)
        if step.kind == "Softmax":
            return Node("softmax", inside, value, [step], step)
        if step.kind in ROUTED:
            return self.routed(value)
        if step.kind in WINNER:
            if step.kind in ("Select", "SelectV2"):
                inside = [v for v in step.inputs[1:] if v.step.depends == "image"]
            if not inside:
                raise self._no_rule(step)
            return Node("winner", inside, value, [step], step)
        if step.kind in PROPORTIONAL | {"Add", "AddV2", "Sub"}:
            return Node("proportional", inside, value, [step], step)
        raise self._no_rule(step)

    def routed(self, value: Value) -> Node:
        """Takes one move of values, or all between which images do not come first."""
        steps, inside = [value.step], self.inside(value.step)
        self._check_routed(value.step)
        while len(inside) == 1 and self._is_turned(inside[0]):
            steps.insert(0, inside[0].step)
            self._check_routed(steps[0])
            inside = self.inside(steps[0])
        return Node("routed", inside, value, steps, value.step)

    def _is_turned(self, value: Value) -> bool:
        """Whether a value was moved so that another axis than that of the images comes first."""
        step, shape = value.step, self.shape(value)
        moved = step.kind in ROUTED and step.kind not in PADDING and len(live(step)) == 1
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
            if step.kind in WEIGHTED and len(live(step)) == 1:
                break
            found = self.affine(step)
            forms = step.kind in FORMING and len(live(step)) == 1
            if found is None and not (forms and self._keeps_channels(step)):
                return None
            axes = max(axes, found or 0)
            after.insert(0, step)
            cursor = step.inputs[live(step)[0]]
        main, places = cursor.step, places_of(cursor.step)
        forms = [s for s in after if not has_axis(s)]
        if any(not self.same_layer(s, main) for s in forms):
            return None
        if after and axes > self._own_axes(main, forms):
            return None
        before: list[Step] = []
        data = main.inputs[places.data]
        while (
            data.step.kind in FORMING
            and self.same_layer(data.step, main)
            and len(live(data.step)) == 1
            and self.alone(data)
        ):
            before.insert(0, data.step)
            data = data.step.inputs[live(data.step)[0]]
        ahead: list[Step] = []
        while self._goes_ahead(data, main, before):
            ahead.insert(0, data.step)
            data = data.step.inputs[live(data.step)[0]]
        steps = [*ahead, *before, main, *after]
        return Node("weighted", [data], value, steps, main, ahead=ahead, before=before, after=after)

    def _keeps_channels(self, step: Step) -> bool:
        before, after = self.shape(step.inputs[live(step)[0]]), self.shape(Value(step))
        if step.kind in ("BatchToSpaceND", "SpaceToBatchND"):
            blocks = self.constant_shape(step.inputs[1])
            return bool(after and blocks) and (blocks[0] or len(after)) < len(after) - 1
        same = bool(before and after) and before[-1] == after[-1] and before[-1] is not None
        return same and self._keeps_last(step)

    def _keeps_last(self, step: Step) -> bool:
        """Whether an operation that brings values into form leaves the last axis the last."""
        if step.kind != "Transpose":
            return True
        order = None if step.op is None else tf.get_static_value(step.op.inputs[1])
        return order is not None and int(order[-1]) == len(order) - 1

    def _own_axes(self, main: Step, forms: Sequence[Step]) -> int:
        """Along how many last axes of its outputs the weights of an operation differ."""
        if places_of(main).channels is None and main.kind not in (
            "DepthwiseConv2dNative",
            "Einsum",
        ):
            return 0
        if main.kind != "Einsum":
            return int(main.kind != "Conv2D" or main.attributes["data_format"].s != b"NCHW")
        data, kernel, outputs = letters(main)
        own = 0
        while own < len(outputs) and outputs[-1 - own] in kernel and outputs[-1 - own] not in data:
            own += 1
        return min(own, 1) if forms else own

    def _goes_ahead(self, data: Value, main: Step, before: Sequence[Step]) -> bool:
        """Whether scale and shift before an operation can be made part of its weights."""
        step, depthwise = data.step, main.kind == "DepthwiseConv2dNative"
        if main.kind not in ("Conv2D", "DepthwiseConv2dNative", "MatMul") or not self.alone(data):
            return False
        axes = self.affine(step)
        if axes is None or axes > 1 or (places_of(main).channels is None) != depthwise:
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
            len(live(cursor.step)) == 1
            and cursor.step.kind in AFFINE | NORMALISING
            and self._is_scale(cursor.step)
            and (cursor == value or self.alone(cursor))
            and self.shape(cursor) == self.shape(value)
        ):
            steps.insert(0, cursor.step)
            cursor = cursor.step.inputs[live(cursor.step)[0]]
        kind = "affine"
        if not steps:  # a number divided by the value
            steps, cursor, kind = [value.step], self.inside(value.step)[0], "passed"
        return Node(kind, [cursor], value, steps, value.step)

    def _is_scale(self, step: Step) -> bool:
        if step.kind in NORMALISING:
            return not step.attributes["is_training"].b
        return not (step.kind in ("RealDiv", "DivNoNan") and live(step) == [1])

    def centred(self, value: Value) -> Node | None:
        """Finds a normalization: less the mean, by a scale that is held.

        As `x * inverse + (shift - mean * inverse)`, the form of `tf.nn.batch_normalization`, or as
        `x - mean`, whose scale follows on its own.
        """
        step = value.step
        inside = self.inside(step)
        if step.kind in ("Add", "AddV2") and len(inside) == 2:
            for scaled, rest in (inside, inside[::-1]):
                found = self._centred_by(value, scaled, rest)
                if found is not None:
                    return found
        if step.kind == "Sub" and len(inside) == 2 and live(step) == [0, 1]:
            data, mean = inside
            steps = self._mean_of(mean, data)
            if steps is not None:
                return Node("proportional", [data], value, [*steps, step], step)
        return None

    def _centred_by(self, value: Value, scaled: Value, rest: Value) -> Node | None:
        if scaled.step.kind != "Mul" or rest.step.kind not in ("Sub", "Mul", "Neg"):
            return None
        shift, taken = None, rest
        if rest.step.kind == "Sub":
            shift, taken = rest.step.inputs
            if shift.step.depends == "image":
                return None
        if taken.step.kind != "Mul":
            return None
        for data, inverse in (scaled.step.inputs, scaled.step.inputs[::-1]):
            if inverse not in taken.step.inputs or data.step.depends != "image":
                continue
            a, b = taken.step.inputs
            mean = a if b == inverse else b
            if shift is None and mean.step.kind == "Neg":
                (mean,) = mean.step.inputs
            steps = self._mean_of(mean, data)
            if steps is not None and self._normalises(inverse):
                held = [mean, inverse] + ([] if shift is None else [shift])
                return Node("centred", [data], value, [*steps, value.step], value.step, held=held)
        return None

    def _mean_of(self, mean: Value, data: Value) -> list[Step] | None:
        """Returns how a mean is computed of data, in order; None if it is none of it."""
        steps: list[Step] = []
        while mean != data and len(steps) < 8:
            step = mean.step
            if step.kind not in PROPORTIONAL | ROUTED | SCALING or len(live(step)) != 1:
                return None
            steps.insert(0, step)
            mean = step.inputs[live(step)[0]]
        averages = any(step.kind in ("Mean", "AvgPool", "Sum") for step in steps)
        return steps if mean == data and averages else None

    def _normalises(self, value: Value) -> bool:
        """Whether a value is a scale made of a sum of squares, with factors that are constant."""
        for _ in range(12):
            if value.step.kind in STATISTICS:
                return True
            inside = self.inside(value.step)
            if len(inside) != 1 or value.step.kind not in AFFINE | ROUTED:
                return False
            (value,) = inside
        return False

    def _is_attention(self, value: Value) -> bool:
        """Whether a value comes from a softmax, at most moved and scaled since."""
        for _ in range(12):
            inside = self.inside(value.step)
            if value.step.kind == "Softmax" or self.softmax(value) is not None:
                return True
            if len(inside) != 1 or value.step.kind not in AFFINE | ROUTED:
                return False
            (value,) = inside
        return False

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
            found = self.single_source(value, within=step.kind != "Mul" or not self.gate_of(step))
            if found is not None:
                source, steps = found
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

    def softmax(self, value: Value) -> Node | None:
        """Finds a softmax written out: exponentials over their sum, or of what is less its log."""
        step, total = value.step, None
        if step.kind == "RealDiv" and live(step) == [0, 1]:
            above, total = step.inputs
            if above.step.kind != "Exp":
                return None
            inner = above.step.inputs[0]
        elif step.kind == "Exp" and step.inputs[0].step.kind == "Sub":
            inner = step.inputs[0]
            total = self._logarithm_of(inner.step.inputs[1])
        if total is None or total.step.kind != "Sum":
            return None
        data = self._but_for_largest(inner)
        summed = total.step.inputs[0]
        if summed.step.kind != "Exp" or self._but_for_largest(summed.step.inputs[0]) != data:
            return None
        if self.graph.trace.number(total.step.inputs[1]) is None:
            return None
        steps = self._steps_between(value, [data])
        return Node("softmax", [data], value, steps, step, held=[total])

    def _but_for_largest(self, value: Value) -> Value:
        """Returns what a number is taken from, which is the same for all that are summed."""
        taken = value.step.kind == "Sub" and live(value.step)[:1] == [0]
        return value.step.inputs[0] if taken else value

    def _logarithm_of(self, value: Value) -> Value | None:
        """Returns what a value is the logarithm of, moved and with numbers added."""
        for _ in range(8):
            if value.step.kind == "Log":
                (value,) = value.step.inputs
                while value.step.kind in ROUTED:
                    (value,) = self.inside(value.step)
                return value
            inside = [v for v in self.inside(value.step) if v.step.kind not in WINNER]
            if not inside or value.step.kind not in ROUTED | {"Add", "AddV2"}:
                return None
            value = inside[0]
        return None

    # -- products

    def factors(self, step: Step) -> list[Value]:
        """Returns what a product multiplies, all of those of one layer."""
        found: list[Value] = []
        for value in self.inside(step):
            inner = value.step
            if (
                inner.kind == "Mul"
                and len(live(inner)) == 2
                and inner.scope
                and self.same_layer(inner, step)
                and "Multiply" in type(self.layers.get(step.layer)).__name__
            ):
                found += self.factors(inner)
            else:
                found.append(value)
        return found

    def product(self, value: Value) -> Node:
        step = value.step
        factors = self.factors(step)
        count = len(factors)
        name = self.name_of_step(step)
        chosen = self.declared.get(name, self.declared.get(step.layer))
        if chosen is None:
            chosen = self.gate_of(step) or (() if self.share else None)
        if chosen == ():
            node = Node("shared", factors, value, self._steps_between(value, factors), step)
            self.products[node] = ()
            return node
        if chosen is None:
            raise self.refusal(step, self._why(factors), self.choices(name, factors))
        if len(set(chosen) & set(range(count))) != count - 1:
            raise KerasganError(
                f"Argument 'gates' must for '{name}' leave one of its {count} inputs, counted from "
                f"0, as the signal and name the others, or be () to share evenly. Received: "
                f"{chosen}. {self.choices(name, factors)}"
            )
        (signal,) = [i for i in range(count) if i not in chosen]
        held = [factors[i] for i in chosen]
        node = Node("gate", [factors[signal]], value, [step], step, held=held)
        if not all(map(self._normalises, held)):
            self.products[node] = tuple(chosen)
        return node

    def _steps_between(self, value: Value, ends: Collection[Value]) -> list[Step]:
        """Returns what a value is computed by from other values, in order."""
        found: set[Step] = set()
        waiting = [value]
        while waiting:
            found.add(waiting[-1].step)
            inside = self.inside(waiting.pop().step)
            waiting += [v for v in inside if v not in ends and v.step not in found]
        return sorted(found, key=self.order.__getitem__)

    def gate_of(self, step: Step) -> tuple[int, ...]:
        """Says which factors of a product are gates: statistics, bounded ones, broadcast ones.

        Of a quotient it is the divisor.
        """
        if step.kind != "Mul":
            return (1,)
        factors = self.factors(step)
        count = len(factors)
        statistic = [i for i, v in enumerate(factors) if self._normalises(v)]
        if len(statistic) == count - 1:
            return tuple(statistic)
        sizes = [self.shape(v) for v in factors]
        full = self.shape(Value(step))
        bounded = [self.boundedness(v) for v in factors]
        strong = [i for i, found in enumerate(bounded) if found == 2]
        weak = [i for i, found in enumerate(bounded) if found == 1]
        broadcast = [i for i, size in enumerate(sizes) if size != full]
        choices = [sorted({*strong, *broadcast})]
        choices += [broadcast] if len(strong) == count else []
        choices += [strong] if len(broadcast) == count else []
        choices += [sorted({*strong, *weak, *broadcast})]
        return tuple(next((found for found in choices if len(found) == count - 1), ()))

    def boundedness(self, value: Value) -> int:
        """Says whether values are bounded as those of gates are: 2 for sure, 1 maybe, 0 not."""
        found = self.ranges.of(value)
        if self.softmax(value) is not None:
            return 2
        if not np.isfinite([found.low, found.high]).all():
            return 0
        return 2 if found.low >= -1e-5 and found.high - found.low <= 2 + 1e-5 else 1

    def _why(self, factors: Sequence[Value]) -> str:
        count = len(factors)
        bounded = [i for i, v in enumerate(factors) if self.boundedness(v)]
        shapes = [self.shape(v) for v in factors]
        largest = max(shapes, key=lambda shape: sum(n != 1 for n in shape))
        broadcast = [i for i, shape in enumerate(shapes) if shape != largest]
        return (
            "which input is the signal and which the gate cannot be told, because of "
            f"{count} inputs {bounded} are bounded and {broadcast} are broadcast"
        )

    def choices(self, product: str, factors: Sequence[Value]) -> str:
        """Says what `gates` can be for a product, and what each choice means."""
        names = [self.name_of_value(value) for value in factors]
        said = []
        for signal, name in enumerate(names):
            rest = [i for i in range(len(names)) if i != signal]
            held = ", ".join(f"'{names[i]}'" for i in rest)
            value = rest[0] if len(rest) == 1 else tuple(rest)
            said.append(
                f"gates={{'{product}': {value}}} to hold {held} as the gate, so that relevance "
                f"goes on to '{name}'"
            )
        said.append(f"gates={{'{product}': ()}} to share relevance evenly")
        return f"Pass {'; or '.join(said)}"

    def _find_products(self) -> None:
        known = []
        for step in self.graph.steps:
            if step.kind in PRODUCTS and len(live(step)) == 2:
                known += [self.name_of_step(step), step.layer]
        for name in self.declared:
            if name not in known:
                shown = sorted(set(known) - {""})
                near = difflib.get_close_matches(name, shown, n=3) or shown
                which = f"such as {near}" if shown else "of which it has none"
                raise KerasganError(
                    "Argument 'gates' must name products of tensors of the model, "
                    f"{which}. Received: {name!r}"
                )

    # -- names

    def call_of(self, step: Step) -> str:
        """Names the call of a layer: its path, and which call it is from the second on."""
        number = self.scopes[step.path].index(step.scope) if step.path in self.scopes else 0
        return f"{step.path}:{number}" if number else step.path

    def name_of_step(self, step: Step) -> str:
        return self.call_of(step) or step.name

    def name_of_product(self, node: Node) -> str:
        return self.name_of_step(node.main)

    def name_of_value(self, value: Value) -> str:
        if value.step.kind == "Image":
            return self.graph.image_names[self.graph.images.index(value)]
        return value.step.layer or value.step.name

    def _name(self) -> None:
        """Gives every node a name of its own: its layer's, if there is only one to bear it."""
        graph = self.graph
        calls: dict[str, list[Node]] = {}
        for node in graph.nodes:
            step = node.main
            calls.setdefault(self.call_of(step), []).append(node)
            node.layer = self.layers.get(step.layer)
        short: dict[str, int] = {}
        for path in {step.path for step in graph.steps}:
            name = path.rsplit("/", 1)[-1]
            short[name] = short.get(name, 0) + 1
        taken: set[str] = set()
        for call, nodes in calls.items():
            last = call.rsplit("/", 1)[-1]
            base = last if short.get(last.split(":")[0], 0) == 1 else call
            weighted = [node for node in nodes if node.kind == "weighted"]
            bearer = (weighted or nodes)[-1]
            for node in nodes:
                kind = node.main.kind
                if node.kind == "affine":
                    kind = "affine"
                elif node.kind == "passed" and len(node.steps) > 1:
                    kind = "activation"
                plain = node is bearer and bool(base)
                name = base if plain else f"{base}/{kind}" if base else kind
                count, full = 2, name
                while full in taken:
                    full, count = f"{name}_{count}", count + 1
                taken.add(full)
                node.name = full
                own = plain and node.layer is not None
                node.type = type(node.layer).__name__ if own else kind
        self._name_layers()

    def _name_layers(self) -> None:
        """Says for each layer which node stands for its output."""
        graph = self.graph
        makers = {(node.output.step.name, node.output.output): node for node in graph.nodes}
        within = {step.name: node for node in graph.nodes for step in node.steps}
        kept = {step.name for step in graph.steps}
        for path, value in graph.trace.placed.items():
            while value.step.name not in kept and len(live(value.step)) == 1:
                (value,) = self.inside(value.step)  # it was taken off with the last activation
            found = makers.get((value.step.name, value.output)) or within.get(value.step.name)
            if found is not None and value.step in (*found.ahead, *found.before):
                source = found.inputs[0]
                found = makers.get((source.step.name, source.output))
            if found is not None:
                for name in (path.rsplit("/", 1)[-1], path):
                    graph.names.setdefault(name, found.name)
        operations = graph.trace.graph.get_operations()
        named = {path for op in operations for path, _ in layers_in(op.name, self.layers)}
        for layer in self.network.layers:
            node = getattr(getattr(layer, "input", None), "node", None)
            before = getattr(node, "layer", None)
            if layer.name not in named and before is not None and before.name in graph.names:
                graph.names.setdefault(layer.name, graph.names[before.name])

    def _find_ends(self) -> None:
        """Says which nodes see the pixels themselves, and which no weights follow.

        And which scale and shift belong to a normalization by its own statistic.
        """
        graph = self.graph
        makers = {node.output: node for node in graph.nodes}
        pixels = {value for value in graph.images if value is not None}
        scaled: dict[Value, Value] = {}
        for node in graph.nodes:
            node.rank = len(self.shape(node.inputs[0]))
            scale = scaled.get(node.inputs[0])
            if node.kind in ("centred", "normalised"):
                scale = node.output
            elif node.kind == "gate" and node.held and all(map(self._normalises, node.held)):
                scale = node.held[0]
            elif node.kind == "affine" and scale is not None:
                node.held = [scale]
            if scale is not None and node.kind in (
                "affine",
                "centred",
                "gate",
                "normalised",
                "routed",
            ):
                scaled[node.output] = scale
            node.first = all(value in pixels for value in node.inputs)
            if node.kind in ("affine", "routed") and node.first:
                pixels.add(node.output)
        followed: set[Node] = set()
        for node in reversed(graph.nodes):
            node.last = node not in followed
            if node in followed or node.kind == "weighted":
                followed.update(makers[value] for value in node.inputs if value in makers)

    # -- what cannot be explained

    def _no_rule(self, step: Step) -> KerasganError:
        if step.kind in ("If", "StatelessIf", "While", "StatelessWhile", "Switch", "Merge", "Case"):
            return self.refusal(step, "what it computes depends on the image by control flow")
        tensor = Value(step).tensor
        if tensor is not None and not tensor.dtype.is_floating:
            return self.refusal(step, "it gives whole numbers, through which relevance cannot pass")
        try:
            options_of(step, self.graph.dtype)
        except KerasganError:
            return self.refusal(step, "TensorFlow has no function for it outside of the network")
        return self.refusal(step, "there is no rule for this operation")

    def _refuse_chance(self) -> None:
        """Refuses a network that draws numbers at inference."""
        seen: set[Step] = set()
        waiting = [self.graph.output.step]
        while waiting:
            step = waiting.pop()
            if step in seen:
                continue
            seen.add(step)
            waiting.extend(value.step for value in step.inputs)
            if "Random" in step.kind or step.kind in ("Multinomial", "StatelessMultinomial"):
                raise self.refusal(
                    step,
                    "it draws random numbers outside training, so no two outputs are the same",
                    "Call the model with training=False inside, or take the layer out",
                )

    def _check_layout(self, step: Step) -> None:
        known = "data_format" in step.attributes and step.kind not in NORMALISING
        if known and step.attributes["data_format"].s.startswith(b"NC"):
            raise self.refusal(
                step,
                "its channels come first",
                "Build the model with data_format='channels_last'",
            )

    def _check_batch(self, step: Step) -> None:
        """Refuses what mixes the images of a batch."""
        inside = self.inside(step)
        if step.kind in BOTH and len(inside) == 2:
            ranks = {len(self.shape(value)) for value in inside}
            if len(ranks) > 1:
                raise self.refusal(
                    step,
                    f"it joins tensors of {min(ranks)} and {max(ranks)} axes, which TensorFlow "
                    "matches from the right: images of the batch would meet pixels",
                    "Join them by keras.layers.Multiply, Add or their like, which match the batch",
                )
        if step.kind in AFFINE and len(inside) == 1 and step.kind != "Neg":
            other = self.constant_shape(step.inputs[1 - live(step)[0]])
            own = self.shape(inside[0])
            wrong = other is not None and len(other) > len(own)
            wrong = wrong or (other and len(other) == len(own) and self._meets(own, other))
            if wrong:
                raise self.refusal(
                    step, f"its constant of shape {tuple(other)} would meet the images of the batch"
                )
        if step.kind in ("ConcatV2", "Pack"):
            shapes = [self.constant_shape(v) for v in step.inputs if v.step.depends != "image"]
            own = self.shape(inside[0])
            values = shapes[:-1] if step.kind == "ConcatV2" else shapes
            axis = self._axis(step, len(own))
            if axis == 0 or any(s and len(s) == len(own) and s[0] and not own[0] for s in values):
                raise self.refusal(step, "it joins images of the batch, or a constant to one image")

    def _meets(self, own: Sequence[int | None], other: Sequence[int | None]) -> bool:
        return own[0] is None and other[0] not in (None, 1)

    def _axis(self, step: Step, rank: int) -> int | None:
        if step.kind == "Pack":
            axis = step.attributes["axis"].i
        else:
            found = self.graph.trace.number(step.inputs[-1])
            if found is None:
                return None
            axis = int(found)
        return axis + rank if axis < 0 else axis

    def _check_routed(self, step: Step) -> None:
        if step.kind == "Cast":
            to = tf.as_dtype(step.attributes["DstT"].type)
            start = tf.as_dtype(step.attributes["SrcT"].type)
            from_image = step.inputs[0].step.kind == "Image"
            if not to.is_floating or not (start.is_floating or from_image):
                raise self.refusal(
                    step, "it goes over whole numbers, through which relevance cannot pass"
                )


# --- Checking ---


def _images_for(network: keras.Model, count: int) -> list[tf.Tensor]:
    """Returns random images for a model's inputs; a size left open is 128."""
    rng = np.random.default_rng(0)
    images = []
    for tensor in network.inputs:
        shape = [tensor.shape[0] or count, *(size or 128 for size in tensor.shape[1:])]
        whole = tensor.dtype.is_integer
        values = rng.integers(0, 256, shape) if whole else rng.uniform(-1, 1, shape)
        images.append(tf.cast(values, tensor.dtype))
    return images


def _compare(network: keras.Model, graph: Graph, output: int, guessed: bool) -> None:
    """Raises if model and graph differ on random images, or images of a batch on one another."""
    images = _images_for(network, 2)
    try:
        found = network(images if len(images) > 1 else images[0], training=False)
        expected = tf.cast(tf.nest.flatten(found)[output], graph.dtype)
    except (ValueError, tf.errors.OpError) as error:
        raise KerasganError(
            f"Argument 'model' must run on images {[tuple(image.shape) for image in images]}. "
            f"Received: '{network.name}', which does not; give its inputs a fixed size"
        ) from error
    inputs = [tf.cast(image, graph.dtype) for image in images]
    alone = [
        image if spec.shape[0] else image[:1] for image, spec in zip(inputs, graph.image_specs)
    ]
    run = graph.run(inputs)
    _check_numbers(run)
    received, first = run.logits, graph.run(alone).logits
    compute = {layer.compute_dtype for layer in network._flatten_layers()}
    tolerance = 0.1 if compute & {"float16", "bfloat16"} else 1e-3
    scale = float(tf.reduce_max(tf.abs(expected)))
    error = np.inf
    if received.shape == expected.shape:
        names = SIGMOIDS if guessed and graph.activation in SIGMOIDS else [graph.activation]
        outputs = {name: keras.activations.get(name)(received) for name in names}
        errors = {n: float(tf.reduce_max(tf.abs(x - expected))) for n, x in outputs.items()}
        graph.activation = min(errors, key=errors.__getitem__)
        error, received = errors[graph.activation], outputs[graph.activation]
        first = keras.activations.get(graph.activation)(first)
    if not error <= tolerance * scale + 1e-30:
        if guessed:
            end = graph.trace.output.step
            raise KerasganError(
                f"Explanations are of logits, but '{end.layer or end.name}', where "
                f"'{network.name}' ends, is more than a {graph.activation} of them. Build a model "
                "that ends in the logits, or in keras.layers.Activation or Softmax of them"
            )
        raise KerasganError(
            f"What was read of '{network.name}' differs from it by {error:.2g} on outputs up to "
            f"{scale:.2g}. An operation does something else outside training than inside it, or "
            "the network is not deterministic"
        )
    if len(first) == 1 and len(received) == 2:
        error = float(tf.reduce_max(tf.abs(received[:1] - first)))
        if not error <= tolerance * scale + 1e-30:
            raise KerasganError(
                f"'{network.name}' gives an image another mask when it is in a batch with others, "
                "so no image can be explained on its own. Look for operations over the first axis"
            )


def _check_numbers(run: Run) -> None:
    """Raises if a random image leads to NaN or infinity, and says where first."""
    for value, tensor in run._values.items():
        if tensor.dtype.is_floating and not np.isfinite(tensor).all():
            raise KerasganError(
                f"{value.step} cannot be explained: it makes NaN or infinity of a random image. "
                "Look at its weights and statistics, such as a variance below 0"
            )

"""The TensorFlow operations between a network's image and its output, in order.

The network is called once on symbolic tensors, and the graph of this call is walked back from the
output. Functions that are called in it are walked into.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.stack import NUMBERS_FIRST_CALLS, layers_of

PASSED = {
    "CheckNumerics",
    "EnsureShape",
    "Identity",
    "IdentityN",
    "PreventGradient",
    "Snapshot",
    "StopGradient",
}
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
SHAPES = {"OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"}
DEPENDS = ("nothing", "variables", "image")
RENAMED = {"squeeze_dims": "axis"}  # an attribute -> its name as an argument of tf.raw_ops
TRACED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Value(NamedTuple):
    """One output of a step.

    Attributes:
        step: The `Step`.
        output: Which of its outputs, from 0. In a function that the network calls it is
            "name:number" where the operation has outputs of several names.
    """

    step: Step
    output: int | str = 0

    @property
    def tensor(self) -> tf.Tensor | None:
        """The tensor in the traced graph; None within a function that the network calls."""
        return None if self.step.op is None else self.step.op.outputs[self.output]


@dataclass(eq=False)
class Step:
    """One operation.

    Attributes:
        kind: TensorFlow's name of the operation, such as "Conv2D"; "Image" for the image.
        name: Its name in the graph, such as "model/conv2d_1/Conv2D".
        path: The innermost Keras layer that it belongs to, behind those around it, such as
            "block/conv"; "" if there is none.
        scope: What the names of all operations of that call of the layer begin with; where calls
            share that, with ":1" at the second, and so on.
        inputs: The values that it is computed from; what passes values on unchanged is left out.
        depends: What its outputs depend on: "image", "variables" (on these alone) or "nothing".
            Shapes depend on nothing.
        op: The operation in the traced graph; None within a function that the network calls.
        body_node: Its definition, where `op` is None.
    """

    kind: str
    name: str
    path: str
    scope: str
    inputs: tuple[Value, ...]
    depends: str
    op: tf.Operation | None
    body_node: Any = None

    @property
    def layer(self) -> str:
        """The innermost Keras layer that it belongs to; "" if there is none."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return "Random" in self.kind or self.kind in ("Multinomial", "StatelessMultinomial")

    @property
    def attributes(self) -> Any:
        """Its attributes by name, as in TensorFlow's NodeDef: `attributes["axis"].i`."""
        return (self.body_node if self.op is None else self.op.node_def).attr

    def __repr__(self) -> str:
        layer = f" in layer '{self.layer}'" if self.layer else f" ('{self.name}')"
        return f"{self.kind}{layer}"


class Trace(NamedTuple):
    """The computation of a network.

    Attributes:
        output: Where it ends.
        steps: What the output is computed from, in an order in which it can be computed.
        graph: The traced graph.
        captured: Values from outside the graph, such as variables, by the name of what stands for
            them in the graph.
        images: What it starts from, in the order in which images were given. Those that the output
            does not depend on have no step.
        placed: What each layer gives at its first call, by its path.
    """

    output: Value
    steps: list[Step]
    graph: tf.Graph
    captured: dict[str, Any]
    images: tuple[Value | None, ...] = ()
    placed: dict[str, Value] = {}  # noqa: RUF012

    def number(self, value: Value) -> np.ndarray | None:
        """Give the numbers of a value that is a constant or a variable, as it is now; else None."""
        step = value.step
        if step.kind == "Const":
            return tf.make_ndarray(step.attributes["value"].tensor)
        if step.kind == "Cast" and step.depends != "image":
            return self.number(step.inputs[0])
        if step.kind == "Placeholder" and step.depends == "nothing":
            return np.asarray(self.captured[step.name]) if step.name in self.captured else None
        handle = self.captured.get(step.inputs[0].step.name) if step.inputs else None
        if step.kind != "ReadVariableOp" or handle is None:
            return None
        dtype = tf.as_dtype(step.attributes["dtype"].type)
        return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype).numpy()


def raw_operation(
    kind: str, attributes: Any, dtype: str | None = None
) -> tuple[Any, list[str], dict[str, Any]]:
    """Return the function in `tf.raw_ops` of an operation, its inputs' names and other arguments.

    `attributes` are as in TensorFlow's NodeDef; `dtype` is what floating numbers are to be, None
    for what they are. The function is None if there is none.
    """
    function = getattr(tf.raw_ops, kind, None)
    if function is None or any(x.WhichOneof("value") == "func" for x in attributes.values()):
        return None, [], {}
    arguments = {RENAMED.get(name, name): value for name, value in attributes.items()}
    names, options = [], {}
    for name in inspect.signature(function).parameters:
        if name in arguments:
            options[name] = _decoded(arguments[name], dtype)
        elif name != "name":
            names.append(name)
    return function, names, options


def _decoded(value: Any, dtype: str | None) -> Any:
    """Turn an attribute into an argument."""
    which = value.WhichOneof("value")
    if which == "list":
        items = next((items for _, items in value.list.ListFields()), [])
        shapes = [tf.TensorShape(item) if hasattr(item, "dim") else item for item in items]
        return [_type(item, dtype) for item in shapes] if value.list.type else shapes
    if which == "type":
        return _type(value.type, dtype)
    if which == "shape":
        return tf.TensorShape(value.shape)
    if which == "tensor":
        return tf.make_ndarray(value.tensor)
    given = getattr(value, which)
    return given.decode() if isinstance(given, bytes) else given


def _type(number: int, dtype: str | None) -> tf.DType:
    given = tf.as_dtype(number)
    return tf.as_dtype(dtype) if dtype and given.is_floating else given


def trace_network(network: keras.Model, output: int = 0) -> Trace:
    """Trace a network's inference up to one of its outputs, once while its activations stay."""
    state = [output, *activations_of(network)]
    known = TRACED.get(network)
    if known is None or known[0] != state:
        TRACED[network] = known = (state, _traced(network, output))
    return known[1]


def activations_of(network: keras.Model) -> list[Any]:
    """Return the activations of all layers, which can be exchanged in the same network object."""
    return [getattr(layer, "activation", None) for layer in layers_of(network)]


def call_network(network: keras.Model, images: Sequence[Any], training: Any = False) -> Any:
    """Call a network on a tensor for each of its inputs, in the form that it takes."""
    form = getattr(network, "input", images[0])  # no attribute of a Sequential of Keras 3
    return network(tf.nest.pack_sequence_as(form, images), training=training)


def random_images(inputs: Sequence[Any], count: int = 1) -> list[np.ndarray]:
    """Draw images for inputs, given by shape and type; a size left open is 128."""
    rng = np.random.default_rng(0)
    images = []
    for spec in inputs:
        shape = [spec.shape[0] or count, *(size or 128 for size in spec.shape[1:])]
        whole = tf.as_dtype(spec.dtype).is_integer
        images.append(rng.integers(0, 256, shape) if whole else rng.uniform(-1, 1, shape))
    return images


def clear_trace(network: keras.Model) -> None:
    """Trace a network anew when it is next asked for: a layer may have changed unnoticed."""
    TRACED.pop(network, None)


def _traced(network: keras.Model, output: int) -> Trace:
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in network.inputs]
    if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*", network.name):
        # a name that operations cannot have, with a space such as
        network = keras.Model(network.inputs, network.outputs, name="model")

    def call(*images):
        return tf.nest.flatten(call_network(network, images))

    with tf.init_scope():
        try:
            function = tf.function(call, autograph=False).get_concrete_function(*specs)
        except Exception as error:
            shapes = [tuple(spec.shape[1:]) for spec in specs]
            if not any(None in shape for shape in shapes):
                raise
            raise KerasganError(
                f"'{network.name}' takes images of any size, {shapes}, and its computation cannot "
                f"be read without one ({type(error).__name__}). Give it one: image = "
                "keras.Input((height, width, channels)); model = keras.Model(image, model(image))"
            ) from error
    graph = function.graph
    inside = graph.inputs[len(specs) :]
    captured = dict(zip((tensor.op.name for tensor in inside), function.captured_inputs))
    layers = {layer.name for layer in layers_of(network)}
    result = trace(graph.outputs[output], graph.inputs[: len(specs)], layers)
    return result._replace(captured=captured)


def trace(output: tf.Tensor, images: Collection[tf.Tensor], layers: Collection[str] = ()) -> Trace:
    """Walk back from a tensor of a graph to the images that it was computed from.

    `layers` are names of layers, to tell which of them a step belongs to.
    """
    walk = _Walk(output.graph, {(t.op.name, t.value_index) for t in images}, set(layers))
    end = walk.settled(_Reference(None, output.op.name, output.value_index))
    result = walk.value(end)
    starts = tuple(walk.known(tensor) for tensor in images)
    return Trace(result, walk.steps, output.graph, {}, starts, walk.placed())


def layers_in(name: str, layers: Collection[str]) -> list[tuple[str, str]]:
    """Return the layers that an operation's name contains, the outermost first.

    For each, its path, and the name up to there. The name is such as "model/conv2d/Conv2D"; Keras
    adds a number where a layer is called again.
    """
    parts, path = name.split("/"), ""
    chain, start = [], 1
    while start < len(parts) - 1:
        for end in range(min(len(parts) - 1, start + 4), start, -1):  # names with slashes first
            part = "/".join(parts[start:end])
            plain = re.sub(r"_\d+$", "", part)
            if part in layers and not (NUMBERS_FIRST_CALLS and plain in layers):
                plain = part
            if plain in layers:
                path = f"{path}/{plain}" if path else plain
                chain.append((path, "/".join(parts[:end])))
                start = end - 1
                break
        start += 1
    return chain


def _calls_in(graph: tf.Graph, layers: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """Say of each operation which calls of layers it belongs to, as path and scope.

    Keras gives all calls of a layer one scope, so they are told apart by what lies between them, or
    by their operations: a layer that reads its weights several times, and does the same each time,
    is called as often.
    """
    runs: list[tuple[tuple[str, str], list[tf.Operation]]] = []
    going: dict[tuple[str, str], list[tf.Operation]] = {}
    for op in graph.get_operations():
        if op.type == "Placeholder":
            continue
        chain = layers_in(op.name, layers)
        going = {key: run for key, run in going.items() if key in chain}
        for key in chain:
            if key not in going:
                going[key] = []
                runs.append((key, going[key]))
            going[key].append(op)
    calls: dict[str, list[tuple[str, str]]] = {}
    count: dict[tuple[str, str], int] = {}
    for (path, scope), run in runs:
        for ops in _repeated(run):
            number = count.setdefault((path, scope), 0)
            count[path, scope] += 1
            for op in ops:
                called = f"{scope}:{number}" if number else scope
                calls.setdefault(op.name, []).append((path, called))
    return calls


def _repeated(ops: list[tf.Operation]) -> list[list[tf.Operation]]:
    """Take operations apart that are the same several times over, reads of weights included."""
    done = [(op.type, *(t.name for t in op.inputs if t.dtype == tf.resource)) for op in ops]
    reads = [first for first in done if len(first) > 1]
    for size in range(1, len(done) // 2 + 1):
        times = len(done) // size
        if reads and len(reads) % times == 0 and done == done[:size] * times:
            return [ops[start : start + size] for start in range(0, len(ops), size)]
    return [ops]


# --- Walking ---


class _Reference(NamedTuple):
    """An output of a node: of the graph (body None), or of a function's body."""

    body: _Body | None
    node: str
    output: int | str


@dataclass(eq=False)
class _Body:
    """A function's body, where it is called."""

    definition: Any
    arguments: list[_Reference]
    scope: str
    caller: _Reference
    nodes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.nodes = {node.name: node for node in self.definition.node_def}
        names = [argument.name for argument in self.definition.signature.input_arg]
        self.by_name = dict(zip(names, self.arguments))

    def reference(self, text: str) -> _Reference:
        """Read what a node of the body is fed with: "argument" or "node:output:number"."""
        if ":" not in text:
            return self.by_name[text]
        node, name, number = text.split(":")
        first = name in ("output", "value", "y", "z") or not int(number)
        return _Reference(self, node, int(number) if first else f"{name}:{number}")

    def result(self, number: int) -> _Reference:
        """Say where in the body an output of the function comes from."""
        name = self.definition.signature.output_arg[number].name
        return self.reference(self.definition.ret[name])


class _Walk:
    def __init__(self, graph: tf.Graph, images: set[tuple[str, int]], layers: set[str]):
        self.graph, self.images, self.layers = graph, images, layers
        self._calls = _calls_in(graph, layers)
        self.steps: list[Step] = []
        self._made: dict[tuple[_Body | None, str], Step] = {}
        self._bodies: dict[tuple[_Body | None, str], _Body] = {}
        self._functions: dict[str, Any] | None = None

    def value(self, end: _Reference) -> Value:
        """Make the steps that a settled reference needs, and its own; without recursion."""
        waiting = [end]
        while waiting:
            reference = waiting[-1]
            key = reference[:2]
            if key in self._made:
                waiting.pop()
                continue
            before = []
            if not self._is_image(reference):
                before = [self.settled(other) for other in self._before(reference)]
            missing = [other for other in before if other[:2] not in self._made]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            self._made[key] = self._step(reference, [self._value(other) for other in before])
            self.steps.append(self._made[key])
        return self._value(end)

    def settled(self, reference: _Reference) -> _Reference:
        """Follow a reference through what passes values on, and into and out of functions."""
        while not self._is_image(reference):
            kind = self._kind(reference)
            if kind in CALLS or kind.startswith("__"):
                reference = self._body(reference, kind).result(reference.output)
            elif kind in PASSED:
                which = reference.output if kind == "IdentityN" else 0
                reference = self._before(reference)[which]
            else:
                break
        return reference

    def known(self, tensor: tf.Tensor) -> Value | None:
        """The value that a tensor of the graph has, if the output is computed from it."""
        reference = self.settled(_Reference(None, tensor.op.name, tensor.value_index))
        return self._value(reference) if reference[:2] in self._made else None

    def placed(self) -> dict[str, Value]:
        """What each layer gives at its first call, by its path."""
        scopes: dict[str, str] = {}
        outputs: dict[str, Value] = {}
        for op in self.graph.get_operations():
            if not op.outputs or not op.outputs[0].dtype.is_floating:
                continue
            value = self.known(op.outputs[0])
            if value is not None and value.step.depends == "image":
                for path, scope in self._calls.get(op.name, []):
                    if scopes.setdefault(path, scope) == scope:
                        outputs[path] = value
        return outputs

    def _value(self, reference: _Reference) -> Value:
        return Value(self._made[reference[:2]], reference.output)

    def _is_image(self, reference: _Reference) -> bool:
        return reference.body is None and reference[1:] in self.images

    def _op(self, reference: _Reference) -> tf.Operation | None:
        inside = reference.body is not None
        return None if inside else self.graph.get_operation_by_name(reference.node)

    def _kind(self, reference: _Reference) -> str:
        op = self._op(reference)
        return reference.body.nodes[reference.node].op if op is None else op.type

    def _before(self, reference: _Reference) -> list[_Reference]:
        op = self._op(reference)
        if op is not None:
            return [_Reference(None, tensor.op.name, tensor.value_index) for tensor in op.inputs]
        texts = reference.body.nodes[reference.node].input
        return [reference.body.reference(text) for text in texts if not text.startswith("^")]

    def _body(self, reference: _Reference, kind: str) -> _Body:
        key = reference[:2]
        if key not in self._bodies:
            if self._functions is None:
                library = self.graph.as_graph_def().library.function
                self._functions = {function.signature.name: function for function in library}
            op, name = self._op(reference), kind
            if kind in CALLS:
                node = reference.body.nodes[reference.node] if op is None else op.node_def
                name = node.attr["f"].func.name
            definition, scope = self._functions[name], self._full_name(reference)
            self._bodies[key] = _Body(definition, self._before(reference), scope, reference)
        return self._bodies[key]

    def _full_name(self, reference: _Reference) -> str:
        scope = "" if reference.body is None else f"{reference.body.scope}/"
        return scope + reference.node

    def _layer_of(self, reference: _Reference, name: str) -> tuple[str, str]:
        """Say which layer's a step is, and in which call."""
        outer = reference
        while outer.body is not None:
            outer = outer.body.caller
        calls = self._calls.get(outer.node) or [("", "")]
        if outer is reference:
            return calls[-1]
        path, scope = (layers_in(name, self.layers) or [("", "")])[-1]
        _, colon, number = calls[-1][1].partition(":")
        return path, f"{scope}{colon}{number}"

    def _step(self, reference: _Reference, inputs: list[Value]) -> Step:
        op, name = self._op(reference), self._full_name(reference)
        kind = self._kind(reference)
        depend = [before.step.depends for before in inputs]
        resource = op is not None and op.outputs and op.outputs[0].dtype == tf.resource
        if kind in ("ReadVariableOp", "VarHandleOp") or resource:
            depend.append("variables")
        depends = max(depend, key=DEPENDS.index, default="nothing")
        depends = "nothing" if kind in SHAPES else depends
        if self._is_image(reference):
            kind, depends = "Image", "image"
        node = reference.body.nodes[reference.node] if op is None else None
        path, scope = self._layer_of(reference, name)
        return Step(kind, name, path, scope, tuple(inputs), depends, op, node)

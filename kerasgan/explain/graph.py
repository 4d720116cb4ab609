"""A network as an ordered list of nodes, and one pass of images through it.

`kerasgan.explain.canonize.read_graph` makes the nodes of the operations that a network computes
with. `Run` does what the network does, in the graph's own precision and with the weights of that
moment, and keeps every value.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.batch_axis import BatchAxis, batch_first, from_batch_first
from kerasgan.explain.operations import (
    ACTIVATIONS,
    AFFINE,
    LISTS,
    NORMALISING,
    PADDING,
    SCALING,
    WEIGHTED,
    Operands,
)
from kerasgan.models.trace import Step, Trace, Value, raw_operation

Backward = Callable[[tf.Tensor], list[tf.Tensor]]


@dataclasses.dataclass(eq=False)
class Node:
    """Some operations that relevance passes in one step.

    Attributes:
        name: The layer's name; "layer/Operation" where a layer is several nodes; with ":1" and so
            on at its further calls.
        kind: How relevance passes it, see `kerasgan.explain.propagate`.
        type: Class of its layer, or kind of its operation, to be shown.
        layer: The innermost Keras layer that it belongs to, or None.
        inputs: What relevance goes to, from `output`.
        steps: All operations from the inputs to the output, in order.
        main: The operation that the kind is about.
        ahead: Of "weighted": scale and shift before it that are made part of it.
        before: Of "weighted": what brings its inputs into form.
        after: Of "weighted": scale, shift and form behind it that are made part of it.
        held: Values that take part and get no relevance, such as gates; of "affine", the scale of
            the normalization that it belongs to.
        rank: How many axes its first input has.
        first: Whether it sees the pixels themselves, rearranged at most.
        last: Whether no node with weights follows.
    """

    kind: str
    inputs: list[Value]
    output: Value
    steps: list[Step]
    main: Step
    name: str = ""
    type: str = ""
    layer: keras.layers.Layer | None = None
    ahead: list[Step] = dataclasses.field(default_factory=list)
    before: list[Step] = dataclasses.field(default_factory=list)
    after: list[Step] = dataclasses.field(default_factory=list)
    held: list[Value] = dataclasses.field(default_factory=list)
    rank: int | None = None
    first: bool = False
    last: bool = False

    def __repr__(self) -> str:  # without what it is computed from, which goes back to the image
        return f"<{self.kind} node '{self.name}'>"


@dataclasses.dataclass(eq=False)
class Graph:
    """What a network computes, from its images to its logits.

    Attributes:
        trace: All of the network's computation.
        steps: The part that depends on images, up to the logits, in order.
        images: Its inputs; None for those that the logits do not depend on.
        image_specs: Their shapes, and the type that the graph computes in.
        output: The logits.
        activation: The activation taken off from behind the logits: "tanh", "sigmoid", "softmax",
            "hard_sigmoid", "log_softmax" or "linear" (none).
        dtype: "float32", or "float64" for a network in float64.
        variables: Variables by the name of what stands for them in the traced graph.
        shapes: Of values, as far as they are known without an image.
        nonnegative: Values that are at least 0 whatever the weights.
        batch_axes: Of values in which images do not come first: where they are.
        nodes: What relevance passes, in the order of computation.
        names: From names of layers to names of nodes whose output stands for theirs.
        gates: What is the gate of each product: from its name to indices of its inputs.
    """

    name: str
    trace: Trace
    steps: list[Step]
    images: list[Value | None]
    image_names: list[str]
    image_specs: list[tf.TensorSpec]
    output: Value
    activation: str
    dtype: str
    variables: dict[str, Any]
    shapes: dict[Value, tf.TensorShape] = dataclasses.field(default_factory=dict)
    nonnegative: set[Value] = dataclasses.field(default_factory=set)
    batch_axes: dict[Value, BatchAxis] = dataclasses.field(default_factory=dict)
    nodes: list[Node] = dataclasses.field(default_factory=list)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    gates: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def run(self, images: Any, guided: bool = False) -> Run:
        """Passes images through the network; see `Run`."""
        return Run(self, images if isinstance(images, (list, tuple)) else [images], guided)

    def node(self, name: str) -> Node:
        """Returns the node of a name."""
        return next(node for node in self.nodes if node.name == name)

    @functools.cached_property
    def order(self) -> dict[Step, int]:
        """When each operation is done."""
        return {step: i for i, step in enumerate(self.steps)}

    def name_of_image(self, value: Value) -> str:
        """Returns the name of an input."""
        return self.image_names[self.images.index(value)] if len(self.images) > 1 else "image"

    def shape(self, value: Value) -> tf.TensorShape:
        """Returns what is known of a value's shape."""
        return self.shapes[value] if value.step.op is None else value.tensor.shape

    def shapes_for(self, shapes: Sequence[Sequence[int | None]]) -> dict[Value, tf.TensorShape]:
        """Returns the shapes of all values for images of some shapes, without computing them."""
        known: dict[Value, tf.TensorShape] = {}

        def run(*images: tf.Tensor) -> tf.Tensor:
            traced = self.run(images)
            known.update({value: tensor.shape for value, tensor in traced.values.items()})
            return traced.logits

        specs = [tf.TensorSpec(shape, spec.dtype) for shape, spec in zip(shapes, self.image_specs)]
        with tf.init_scope():
            tf.function(run, autograph=False).get_concrete_function(*specs)
        return known

    def before(self, name: str) -> Graph:
        """Returns the part of the network that ends in a node's output."""
        end = self.node(name).output
        needed, steps = {end.step}, []
        for step in reversed(self.steps):
            if step in needed:
                steps.append(step)
                needed.update(value.step for value in step.inputs)
        nodes, reached = [], {end}
        for node in reversed(self.nodes):
            if node.output in reached:
                nodes.append(node)
                reached.update(node.inputs)
        return dataclasses.replace(self, output=end, steps=steps[::-1], nodes=nodes[::-1])


class Run:
    """One pass of images through a network, every value of it kept."""

    def __init__(self, graph: Graph, images: Sequence[tf.Tensor], guided: bool = False):
        self.graph = graph
        self.images = list(images)
        self.nodes = graph.nodes
        self.batch = tf.shape(images[0])[0]
        self._by_image, self._one = tf.stack([self.batch, -1]), tf.constant(1)
        self.values: dict[Value, tf.Tensor] = {}
        self._valid: dict[Value, tf.Tensor | None] = {}
        self._scales: dict[Step, tuple[tf.Tensor, tf.Tensor]] = {}
        for value, image in zip(graph.images, images):
            if value is not None:
                self.values[value] = image
        wrapped = set()
        if guided:
            wrapped = {node.output for node in graph.nodes if node.kind == "passed"}
            wrapped |= {Value(step) for step in graph.steps if step.kind in ACTIVATIONS}
        for step in graph.steps:
            if step.kind != "Image":
                self.values.update(self._outputs(step, self.values))
                if Value(step) in wrapped:
                    self.values[Value(step)] = _guided(self.values[Value(step)])
        self.logits = self.tensor(graph.output)

    def tensor(self, value: Value) -> tf.Tensor:
        """Returns a value."""
        if value not in self.values:
            self.values.update(self._constant(value))
        return self.values[value]

    def output(self, node: Node) -> tf.Tensor:
        """Returns what a node gives."""
        return self.tensor(node.output)

    def inputs(self, node: Node) -> list[tf.Tensor]:
        """Returns what a node is given, as far as relevance goes there."""
        return [self.tensor(value) for value in node.inputs]

    def again(self, node: Node, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """Does what a node does to other inputs."""
        return self.value_of(node, node.output, *tensors)

    def value_of(self, node: Node, value: Value, *tensors: tf.Tensor) -> tf.Tensor:
        """Returns what a value within a node is for other inputs."""
        values = dict(zip(node.inputs, tensors))
        for step in node.steps:
            if value in values:
                break
            values.update(self._outputs(step, values))
        return values[value]

    def newest(self, values: Sequence[Value]) -> Value:
        """Returns the value computed last: where paths meet, the one that is no skip."""
        order = self.graph.order
        return max(values, key=lambda value: order.get(value.step, -1))

    def back(self, node: Node, factors: tf.Tensor) -> list[tf.Tensor]:
        """Returns `sum_j factors_j dy_j/dx_i` for each of a node's inputs."""
        inputs = self.inputs(node)
        _, backward = vjp(lambda *tensors: self.again(node, tensors), inputs)
        gradients = backward(factors)
        return [tf.zeros_like(x) if f is None else f for x, f in zip(inputs, gradients)]

    def per_image(self, values: tf.Tensor, value: Value | None = None) -> tf.Tensor:
        """Sums for each image, (batch,), a tensor of the form of a value; None: images first."""
        if value is not None:
            values = self.batch_first(values, value)
        return tf.reduce_sum(tf.reshape(values, self._by_image), self._one)

    def batch_first(self, values: tf.Tensor, value: Value) -> tf.Tensor:
        """Turns a tensor of the form of a value so that images come first."""
        return batch_first(values, self.graph.batch_axes.get(value), self.batch)

    def from_batch_first(self, values: tf.Tensor, value: Value) -> tf.Tensor:
        """Turns a tensor whose images come first back to the form of a value."""
        return from_batch_first(
            values, self.tensor(value), self.graph.batch_axes.get(value), self.batch
        )

    def valid(self, value: Value) -> tf.Tensor | None:
        """Returns 1 where a value holds pixels and 0 where padding; None where all are pixels."""
        if value not in self._valid:
            node = next((node for node in self.nodes if node.output == value), None)
            valid = None
            if node is not None and node.kind == "routed" and len(node.inputs) == 1:
                known = self.valid(node.inputs[0])
                if known is not None or any(step.kind in PADDING for step in node.steps):
                    ones = tf.ones_like(self.tensor(node.inputs[0]))
                    valid = self.again(node, [ones if known is None else known])
            self._valid[value] = valid
        return self._valid[value]

    # --- Nodes with weights ---

    def kernel(self, node: Node) -> tf.Tensor:
        """Returns a node's weights, scale before and behind it included."""
        main = node.main
        operands = operands_of(main)
        kernel = self.tensor(main.inputs[operands.kernel])
        scale, _ = self._affine(node.after)
        if scale is not None:
            kernel *= _along_outputs(scale, kernel, main, operands)
        scale, _ = self._affine(node.ahead)
        if scale is not None:
            kernel *= _along_inputs(scale, kernel, main)
        return kernel

    def bias(self, node: Node) -> tf.Tensor | None:
        """Returns what a node adds, of the shape of its outputs' last axes; None for nothing."""
        scale, shift = self._affine(node.after)
        _, ahead = self._affine(node.ahead)
        if ahead is not None:
            kernel = self.tensor(node.main.inputs[operands_of(node.main).kernel])
            spread = kernel * _along_inputs(ahead, kernel, node.main)
            ahead = _summed_inputs(spread, node.main)
            ahead = ahead if scale is None else ahead * _flat(scale)
            shift = ahead if shift is None else ahead + _flat(shift)
        if shift is None:
            return None
        rank = max(1, shift.shape.rank - _leading_ones(shift.shape))
        sizes = tf.shape(self.output(node))[-rank:]
        full = tf.broadcast_to(
            tf.reshape(shift, tf.shape(shift)[-rank:] if shift.shape.rank else [1]), sizes
        )
        return tf.ensure_shape(full, self.output(node).shape[-rank:])

    def apply(self, node: Node, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Applies a node with other inputs and weights, scale and shift left out."""
        data = inputs
        for step in node.before:
            data = self._alone(step, data)
        main, operands = node.main, operands_of(node.main)
        tensors = [
            data if i == operands.data else kernel if i == operands.kernel else self.tensor(v)
            for i, v in enumerate(main.inputs)
        ]
        data = self._call(main, tensors)[0]
        for step in node.after:
            if not has_axis(step):
                data = self._alone(step, data)
        return tf.ensure_shape(data, self.output(node).shape)

    def _alone(self, step: Step, data: tf.Tensor) -> tf.Tensor:
        """Does an operation with one input from the image to other data."""
        tensors = [data if v.step.depends == "image" else self.tensor(v) for v in step.inputs]
        return self._call(step, tensors)[0]

    def _affine(self, steps: Sequence[Step]) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Returns the scale and the shift that operations come to; None for 1 and for 0."""
        scale: tf.Tensor | None = None
        shift: tf.Tensor | None = None
        for step in steps:
            if not has_axis(step):
                continue
            if step.kind in NORMALISING:
                by, plus = self._normalisation(step)
                scale = by if scale is None else scale * by
                shift = plus if shift is None else shift * by + plus
                continue
            if step.kind == "Neg":
                other, index = None, 0
            else:
                index = image_inputs(step)[0]
                other = self.tensor(step.inputs[1 - index])
            if step.kind in SCALING:
                by = other if step.kind == "Mul" else 1 / other
                scale = by if scale is None else scale * by
                shift = None if shift is None else shift * by
                continue
            if step.kind == "Neg" or (step.kind == "Sub" and index == 1):
                scale = tf.constant(-1, self.graph.dtype) if scale is None else -scale
                shift = None if shift is None else -shift
            if step.kind == "Sub" and index == 0:
                other = -other
            if other is not None:
                shift = other if shift is None else shift + other
        return scale, shift

    def _normalisation(self, step: Step) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the scale and the shift of a batch normalization, computed once."""
        if step not in self._scales:
            gamma, beta, mean, variance = (self.tensor(value) for value in step.inputs[1:5])
            factor = gamma * tf.math.rsqrt(variance + step.attributes["epsilon"].f)
            self._scales[step] = factor, beta - mean * factor
        return self._scales[step]

    # --- Doing what operations do ---

    def _outputs(self, step: Step, values: dict[Value, tf.Tensor]) -> dict[Value, tf.Tensor]:
        tensors = [values[v] if v in values else self.tensor(v) for v in step.inputs]
        return _by_value(step, self._call(step, tensors))

    def _constant(self, value: Value) -> dict[Value, tf.Tensor]:
        """Computes a value that does not depend on images, with the weights of this moment."""
        step, captured = value.step, self.graph.trace.captured
        source = step.inputs[0].step.name if step.inputs else step.name
        if step.kind in ("ReadVariableOp", "ResourceGather") and source in captured:
            variable = self.graph.variables.get(source)
            if variable is None:
                dtype = tf.as_dtype(step.attributes["dtype"].type)
                tensor = tf.raw_ops.ReadVariableOp(resource=captured[source], dtype=dtype)
            else:
                tensor = tf.convert_to_tensor(variable)
            if step.kind == "ResourceGather":
                tensor = tf.gather(tensor, self.tensor(step.inputs[1]))
        elif step.kind == "Placeholder" and step.name in captured:
            tensor = captured[step.name]
        elif step.kind == "Const":
            tensor = tf.constant(tf.make_ndarray(step.attributes["value"].tensor))
        else:
            return self._outputs(step, self.values)
        return {value: self._cast(tensor)}

    def _cast(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.cast(tensor, self.graph.dtype) if tensor.dtype.is_floating else tensor

    def _call(self, step: Step, tensors: Sequence[tf.Tensor]) -> Any:
        if step.kind in NORMALISING:
            return self._normalised(step, tensors)
        if step.kind == "Conv2D" and _groups(tensors[0], tensors[1]) > 1:
            # TensorFlow can neither run nor differentiate a grouped convolution on a CPU
            groups = _groups(tensors[0], tensors[1])
            _, rows, columns, _ = step.attributes["strides"].list.i
            explicit = step.attributes["padding"].s == b"EXPLICIT"
            if tensors[1].shape[-2] == 1 and rows == columns and not explicit:
                return [_depthwise(step, *tensors)]
            pairs = zip(tf.split(tensors[0], groups, -1), tf.split(tensors[1], groups, -1))
            return [tf.concat([self._call(step, pair)[0] for pair in pairs], -1)]
        function, names, options = raw_operation(step.kind, step.attributes, self.graph.dtype)
        if function is None:
            raise KerasganError(
                f"{step} cannot be computed again outside of the network. If it does not depend on "
                "the image, such as a loop that makes positions, compute it before the model is "
                "built"
            )
        tensors = list(tensors)
        if step.kind in LISTS:
            surplus = len(tensors) - len(names) + 1
            tensors = [tensors[:surplus], *tensors[surplus:]]
        outputs = function(**dict(zip(names, tensors)), **options)
        if tf.is_tensor(outputs):
            return [self._cast(outputs)]
        if hasattr(outputs, "_fields"):
            return {name: self._cast(tensor) for name, tensor in zip(outputs._fields, outputs)}
        return [self._cast(tensor) for tensor in outputs]

    def _normalised(self, step: Step, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        data, gamma, beta, mean, variance = tensors
        channel = 1 if step.attributes["data_format"].s == b"NCHW" else data.shape.rank - 1
        shape = [1] * data.shape.rank
        shape[channel] = -1
        axes = [axis for axis in range(data.shape.rank) if axis != channel]
        if not step.attributes["is_training"].b:
            factor, added = self._normalisation(step)
            return [data * tf.reshape(factor, shape) + tf.reshape(added, shape)]
        mean, variance = tf.nn.moments(data, axes, keepdims=True)
        centred = (data - mean) * tf.math.rsqrt(variance + step.attributes["epsilon"].f)
        return [centred * tf.reshape(gamma, shape) + tf.reshape(beta, shape)]


def vjp(
    function: Callable[..., tf.Tensor], inputs: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, Backward]:
    """Applies a function, and keeps how it can be differentiated.

    It is applied to copies of its inputs: `tf.gradients` looks through all that its inputs lead to,
    so that on tensors of the forward pass the time to trace would grow with the square of layers.
    """
    inputs = [tf.identity(tensor) for tensor in inputs]
    outputs = function(*inputs)

    def backward(factors: tf.Tensor) -> list[tf.Tensor]:
        gradients = tf.gradients(outputs, inputs, factors, stop_gradients=inputs)
        # of what was gathered along the first axis, slices
        return [g if g is None else tf.convert_to_tensor(g) for g in gradients]

    return outputs, backward


def image_inputs(step: Step) -> list[int]:
    """Says which of an operation's inputs depend on the images."""
    return [i for i, value in enumerate(step.inputs) if value.step.depends == "image"]


def has_axis(step: Step) -> bool:
    """Whether an operation behind a node with weights is scale or shift, and no change of form."""
    return step.kind in AFFINE | NORMALISING


def operands_of(step: Step) -> Operands:
    """Says where an operation with weights has its data, weights and channels."""
    operands = WEIGHTED[step.kind]
    if step.inputs[operands.data].step.depends != "image":
        return Operands(operands.kernel, operands.data, None)
    name = "transpose_b" if step.kind == "MatMul" else "adj_y"
    turned = step.kind != "Einsum" and name in step.attributes and step.attributes[name].b
    return operands._replace(channels=-2) if turned else operands


def letters(step: Step) -> tuple[str, str, str]:
    """Returns the axes of an einsum's data, of its weights and of its outputs."""
    inputs, outputs = step.attributes["equation"].s.decode().replace(" ", "").split("->")
    both = inputs.split(",")
    operands = operands_of(step)
    return both[operands.data], both[operands.kernel], outputs


def _by_value(step: Step, outputs: Any) -> dict[Value, tf.Tensor]:
    """Tells an operation's outputs apart, by number, and by name and number."""
    if not isinstance(outputs, dict):
        return {Value(step, i): tensor for i, tensor in enumerate(outputs)}
    values = {}
    for i, (name, tensor) in enumerate(outputs.items()):
        values[Value(step, i)] = values[Value(step, f"{name}:0")] = tensor
    return values


def _groups(data: tf.Tensor, kernel: tf.Tensor) -> int:
    channels = data.shape[-1]
    return channels // kernel.shape[-2] if channels and kernel.shape[-2] else 1


def _depthwise(step: Step, data: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Does what a grouped convolution does whose groups have one channel."""
    height, width, _, _ = kernel.shape
    return tf.nn.depthwise_conv2d(
        data,
        tf.reshape(kernel, (height, width, data.shape[-1], -1)),
        list(step.attributes["strides"].list.i),
        step.attributes["padding"].s.decode(),
        dilations=list(step.attributes["dilations"].list.i)[1:3],
    )


def _leading_ones(shape: tf.TensorShape) -> int:
    count = 0
    while count < shape.rank and shape[count] == 1:
        count += 1
    return count


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """Takes off leading axes of length one, all but the last axis."""
    rank = tensor.shape.rank
    return tf.reshape(tensor, tensor.shape[min(_leading_ones(tensor.shape), max(rank - 1, 0)) :])


def _along_outputs(
    scale: tf.Tensor, kernel: tf.Tensor, step: Step, operands: Operands
) -> tf.Tensor:
    scale = _flat(scale)
    if not scale.shape.rank or scale.shape.num_elements() == 1:
        return tf.reshape(scale, [])
    if step.kind == "Einsum":
        _, axes, outputs = letters(step)
        outputs = outputs[len(outputs) - scale.shape.rank :]
        order = [outputs.index(axis) for axis in axes if axis in outputs]
        shape = [kernel.shape[i] if axis in outputs else 1 for i, axis in enumerate(axes)]
        return tf.reshape(tf.transpose(scale, order), shape)
    if step.kind == "DepthwiseConv2dNative":
        return tf.reshape(scale, kernel.shape[-2:])
    shape = [1] * kernel.shape.rank
    shape[operands.channels] = -1
    return tf.reshape(scale, shape)


def _along_inputs(scale: tf.Tensor, kernel: tf.Tensor, step: Step) -> tf.Tensor:
    scale = _flat(scale)
    if not scale.shape.rank or scale.shape.num_elements() == 1:
        return tf.reshape(scale, [])
    if step.kind == "DepthwiseConv2dNative":
        return scale[:, None]
    if step.kind == "MatMul":
        return scale if step.attributes["transpose_b"].b else scale[:, None]
    groups = scale.shape[0] // kernel.shape[-2]
    by_group = tf.transpose(tf.reshape(scale, [groups, -1]))
    return tf.repeat(by_group, kernel.shape[-1] // groups, axis=1)


def _summed_inputs(spread: tf.Tensor, step: Step) -> tf.Tensor:
    """Sums over all axes of a kernel but that of the outputs."""
    if step.kind == "DepthwiseConv2dNative":
        return tf.reshape(tf.reduce_sum(spread, [0, 1]), [-1])
    if step.kind == "MatMul" and step.attributes["transpose_b"].b:
        return tf.reduce_sum(spread, 1)
    return tf.reduce_sum(spread, list(range(spread.shape.rank - 1)))


def _guided(tensor: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def passed(values):
        return tf.identity(values), tf.nn.relu

    return passed(tensor)

"""Traces a network up to its logits: the graph that nodes are then made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Graph, image_inputs
from kerasgan.explain.operations import AFFINE, BOTH, ELEMENTWISE, PROPORTIONAL, ROUTED, WINNER
from kerasgan.models.functional import as_functional, names_of_outputs
from kerasgan.models.outputs import Reading, read_output, refuse_labels
from kerasgan.models.trace import Step, Value, trace_network
from kerasgan.stack import layers_of, variable_of
from kerasgan.validation import is_whole

ENDS = "Build a model that ends in the logits, or in keras.layers.Activation or Softmax of them"
LAST = {"Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh", "LogSoftmax": "log_softmax"}


def check_model(model: Any) -> keras.Model:
    """Returns the network to explain, after checks."""
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
    network = as_functional(model)
    for layer in layers_of(network):
        for weight in layer.weights:
            floating = tf.as_dtype(weight.dtype).is_floating
            if floating and not tf.math.is_finite(tf.reduce_sum(weight)):
                raise KerasganError(
                    f"Layer '{layer.name}' ({type(layer).__name__}) cannot be explained: its "
                    f"weight '{weight.name}' holds NaN or infinity. Load weights from before "
                    "training diverged"
                )
    return network


def output_index(network: keras.Model, output: int | str | None) -> int:
    """Returns the index of the output to explain."""
    names = names_of_outputs(network)
    if output is None and len(names) == 1:
        return 0
    if isinstance(output, str) and output in names:
        return names.index(output)
    if is_whole(output) and 0 <= output < len(names):
        return int(output)
    raise KerasganError(
        f"Argument 'output' must say which of the {len(names)} output(s) of '{network.name}' to "
        f"explain, by its place from 0 or its name: {names}. Received: {output!r}"
    )


def trace_to_logits(network: keras.Model, output: int) -> tuple[Graph, bool]:
    """Traces a network up to its logits."""
    trace = trace_network(network, output)
    if trace.output.step.depends != "image":
        raise KerasganError(
            f"The output of '{network.name}' does not depend on the image, so there is nothing to "
            "explain. Explain a model whose output is computed from its input"
        )
    reading = _reading(network, output)
    end, activation, guessed = _activation_taken_off(network, trace.output, reading)
    double = any(tf.as_dtype(weight.dtype) == tf.float64 for weight in network.weights)
    dtype = "float64" if double else "float32"
    handles = {}
    for variable in map(variable_of, network.variables):
        for part in getattr(variable, "values", None) or [variable]:
            handles[id(part.handle)] = variable
    specs = [tf.TensorSpec(tensor.shape, dtype) for tensor in network.inputs]
    graph = Graph(
        network.name,
        trace,
        _steps_to(end),
        list(trace.images),
        [tensor.name for tensor in network.inputs],
        specs,
        end,
        activation,
        dtype,
        {name: handles[id(h)] for name, h in trace.captured.items() if id(h) in handles},
    )
    if any(step.op is None for step in graph.steps) or end.step.op is None:
        graph.shapes.update(graph.shapes_for([spec.shape for spec in specs]))
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


def _activation_taken_off(
    network: keras.Model, end: Value, reading: Reading | None
) -> tuple[Value, str, bool]:
    """Returns an output without the activation that stands last, if only moves follow it.

    It walks the steps of a trace, also within functions and past what is refused, to name layers;
    the logits of a training step are found by tensors (`kerasgan.models.outputs`).
    """
    meant = "linear" if reading is None else reading.activation
    moves: list[Value] = []
    value, moved = end, True
    while True:
        step = value.step
        inside = image_inputs(step)
        if step.kind in LAST or len(inside) != 1:
            break
        keeps = step.kind in ROUTED
        if not keeps and step.kind not in PROPORTIONAL | WINNER | AFFINE:
            break
        moved = moved and keeps and step.kind not in ("Pad", "PadV2")
        moves.append(value)
        value = step.inputs[inside[0]]
    activation = LAST.get(value.step.kind)
    if activation is None and meant != "linear" and end.step.path:
        # a function of someone's own, which is tried out
        start = _start_of(end)
        if start is not None:
            return start, meant, True
    told = meant == "linear" and reading is not None and activation != "log_softmax"
    if activation is None or told:
        if meant != "linear":
            raise no_logits(
                f"'{network.name}' gives what a {meant} makes of them, and "
                f"'{end.step.layer or end.step.name}', where it ends, cannot be taken off"
            )
        return end, "linear", False
    if not moved:
        raise no_logits(
            f"the model goes on after '{value.step.layer or value.step.name}' ({activation}), in "
            f"'{end.step.layer or end.step.name}' ({end.step.kind})",
            "Build a model that ends with that activation, such as keras.Model(model.inputs[0], "
            f"model.get_layer('{value.step.layer}').output)",
        )
    if activation == "softmax" and meant == "sigmoid":
        raise no_logits(
            f"'{network.name}' leaves classes out behind '{value.step.layer or value.step.name}' "
            "(softmax), which joins them",
            "Explain the model that gives all classes",
        )
    logits = value.step.inputs[0]
    for move in reversed(moves):
        inputs = tuple(logits if v.step.depends == "image" else v for v in move.step.inputs)
        logits = move._replace(step=dataclasses.replace(move.step, inputs=inputs))
    return logits, activation, False


def no_logits(reason: str, advice: str = ENDS) -> KerasganError:
    """Returns the error of a network whose logits cannot be determined from its output."""
    return KerasganError(f"Explanations are of logits, but {reason}. {advice}")


def _start_of(end: Value) -> Value | None:
    """Where the layer begins that an output comes from, if it is a function of one number."""
    scope, value = end.step.scope, end
    while value.step.scope == scope and value.step.kind in ELEMENTWISE | AFFINE | BOTH:
        inside = {value.step.inputs[i] for i in image_inputs(value.step)}
        if len(inside) != 1:
            return None
        (value,) = inside
    return None if value == end or value.step.kind == "Image" else value

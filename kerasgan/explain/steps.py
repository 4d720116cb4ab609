"""What is known of the operations of a graph while its nodes are made, and what is refused."""

from __future__ import annotations

from collections.abc import Collection

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Graph, image_inputs
from kerasgan.explain.operations import AFFINE, BOTH, NORMALISING
from kerasgan.models.ranges import Ranges
from kerasgan.models.trace import Step, Value, raw_operation
from kerasgan.stack import layers_of

ADVICE = (
    "Put operations in its place that can be explained ('Use your own Keras model' in the "
    "documentation lists them), or explain a model that ends before it. What only computes a gate "
    "may stay: argument 'gates' says which input of a product is one"
)


QUANTIZED = f"{ADVICE}. If it was quantized, explain the model from before model.quantize(...)"
WHOLE = "whole numbers, through which relevance cannot pass"


class Steps:
    """Operations of a graph: their users, shapes, layers, names and ranges."""

    def __init__(self, graph: Graph, network: keras.Model):
        self.graph = graph
        self.network = network
        self.order = graph.order
        self.users: dict[Value, list[Step]] = {graph.output: []}
        for step in graph.steps:
            for value in step.inputs:
                self.users.setdefault(value, []).append(step)
        self.layers = _layers_within(network)
        self._within: dict[str, dict[str, keras.layers.Layer]] = {"": self.layers}
        self._by_path: dict[str, keras.layers.Layer | None] = {"": None}
        self.scopes: dict[str, list[str]] = {}
        made = {op.name: i for i, op in enumerate(graph.trace.graph.get_operations())}
        for step in sorted(graph.steps, key=lambda step: made.get(step.name, len(made))):
            calls = self.scopes.setdefault(step.path, [])
            if step.scope not in calls:
                calls.append(step.scope)
        self.ranges = Ranges(graph.trace)

    def inside(self, step: Step) -> list[Value]:
        """Returns the inputs of an operation that depend on the image."""
        return [step.inputs[i] for i in image_inputs(step)]

    def shape(self, value: Value) -> list[int | None]:
        """Returns what is known of a value's shape; [] if not even how many axes it has."""
        shape = self.graph.shape(value)
        return [] if shape.rank is None else shape.as_list()

    def alone(self, value: Value) -> bool:
        """Whether a value goes to one operation only."""
        return len(self.users.get(value, [])) == 1 and value != self.graph.output

    def same_layer(self, a: Step, b: Step) -> bool:
        """Whether two operations belong to one call of one layer."""
        return a.scope == b.scope

    def refusal(self, step: Step, reason: str, advice: str = ADVICE) -> KerasganError:
        """Returns the error about an operation, which names its layer, why, and what to do."""
        layer = self.layer_at(step.path)
        given = dict.fromkeys(f"'{self.name_of_value(value)}'" for value in self.inside(step))
        shown = f"Operation {step.kind}" + (f" on {' and '.join(given)}" if given else "")
        if layer is not None:
            shown = f"Layer '{layer.name}' ({type(layer).__name__}, operation {step.kind})"
        return KerasganError(f"{shown} cannot be explained: {reason}. {advice}")

    def layer_at(self, path: str) -> keras.layers.Layer | None:
        """Returns the Keras layer of a path, the innermost; None for no path."""
        if path not in self._by_path:
            done, rest, layer = "", path, None
            while rest:
                within = self._within[done]
                names = [n for n in within if rest == n or rest.startswith(f"{n}/")]
                if not names:  # called there, but held elsewhere
                    within = self.layers
                    names = [n for n in within if rest == n or rest.startswith(f"{n}/")]
                name = max(names, key=len)
                layer, rest = within[name], rest[len(name) + 1 :]
                done = f"{done}/{name}"
                if done not in self._within:
                    self._within[done] = _layers_within(layer)
            self._by_path[path] = layer
        return self._by_path[path]

    def trailing(self, value: Value, rank: int) -> int | None:
        """How many of the last axes a constant varies along; None if along others too."""
        shape = self.constant_shape(value)
        if shape is None or len(shape) > rank:
            return None
        while shape and shape[0] == 1:
            shape = shape[1:]
        return len(shape)

    def constant_shape(self, value: Value) -> list[int | None] | None:
        """Returns the shape of what does not depend on the image; None if it is not known."""
        if value.step.op is not None:
            shape = value.tensor.shape
        else:
            shape = self.graph.shapes.get(value)
        return None if shape is None or shape.rank is None else shape.as_list()

    def affine(self, step: Step) -> int | None:
        """Along how many last axes an operation scales and shifts; None if it does something else.

        0 stands for one number for all.
        """
        inside = image_inputs(step)
        if len(inside) != 1:
            return None
        if step.kind in NORMALISING:
            last = step.attributes["data_format"].s != b"NCHW"
            return 1 if last and not step.attributes["is_training"].b else None
        if step.kind not in AFFINE:
            return None
        index = inside[0]
        if step.kind == "Neg":
            return 0
        if step.kind in ("RealDiv", "DivNoNan") and index == 1:
            return None
        if step.kind == "BiasAdd" and step.attributes["data_format"].s == b"NCHW":
            return None
        data, whole = self.shape(step.inputs[index]), self.shape(Value(step))
        if data != whole:
            return None
        return self.trailing(step.inputs[1 - index], len(whole))

    def is_scale(self, step: Step) -> bool:
        """Whether an operation with one input from the image is scale or shift."""
        if step.kind in NORMALISING:
            return not step.attributes["is_training"].b
        return not (step.kind in ("RealDiv", "DivNoNan") and image_inputs(step) == [1])

    def steps_between(self, value: Value, ends: Collection[Value]) -> list[Step]:
        """Returns what a value is computed by from other values, in order."""
        between: set[Step] = set()
        waiting = [value]
        while waiting:
            between.add(waiting[-1].step)
            inside = self.inside(waiting.pop().step)
            waiting += [v for v in inside if v not in ends and v.step not in between]
        return sorted(between, key=self.order.__getitem__)

    def call_of(self, step: Step) -> str:
        """Names the call of a layer: its path, and which call it is from the second on."""
        number = self.scopes[step.path].index(step.scope) if step.path in self.scopes else 0
        return f"{step.path}:{number}" if number else step.path

    def name_of_step(self, step: Step) -> str:
        """Names the call of a layer that an operation belongs to, or the operation."""
        return self.call_of(step) or step.name

    def name_of_value(self, value: Value) -> str:
        """Names the layer that a value comes from."""
        if value.step.kind == "Image":
            return self.graph.image_names[self.graph.images.index(value)]
        return value.step.layer or value.step.name


def _layers_within(holder: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns the layers that a layer holds, by name, the outer ones first."""
    layers: dict[str, keras.layers.Layer] = {}
    for layer in layers_of(holder):
        layers.setdefault(layer.name, layer)
    return layers


# --- What cannot be explained, named with its layer and what to do ---


def no_rule(steps: Steps, step: Step) -> KerasganError:
    """Returns the error about an operation that no rule is known for."""
    if step.kind in ("If", "StatelessIf") and step.inputs[0].step.depends != "image":
        return steps.refusal(
            step,
            "it chooses by a condition of TensorFlow's, though not by the image",
            "Choose by an if of Python's, or build the model for one size of image",
        )
    if step.kind in ("If", "StatelessIf", "While", "StatelessWhile", "Switch", "Merge", "Case"):
        return steps.refusal(step, "what it computes depends on the image by control flow")
    tensor = Value(step).tensor
    if tensor is not None and not tensor.dtype.is_floating:
        return steps.refusal(step, f"it gives {WHOLE}", QUANTIZED)
    function, _, _ = raw_operation(step.kind, step.attributes)
    if function is None:
        return steps.refusal(step, "TensorFlow has no function for it outside of the network")
    return steps.refusal(step, "there is no rule for this operation")


def check_deterministic(steps: Steps) -> None:
    """Refuses a network that draws numbers at inference."""
    seen: set[Step] = set()
    waiting = [steps.graph.output.step]
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        waiting.extend(value.step for value in step.inputs)
        if step.draws:
            raise steps.refusal(
                step,
                "it draws random numbers outside training, so no two outputs are the same",
                "Call the model with training=False inside, or take the layer out",
            )


def check_layout(steps: Steps, step: Step) -> None:
    """Refuses channels that come first."""
    known = "data_format" in step.attributes and step.kind not in NORMALISING
    if known and step.attributes["data_format"].s.startswith(b"NC"):
        raise steps.refusal(
            step,
            "its channels come first",
            "Build the model with data_format='channels_last'",
        )


def check_batch(steps: Steps, step: Step) -> None:
    """Refuses what mixes the images of a batch."""
    inside = steps.inside(step)
    if step.kind in BOTH and len(inside) == 2:
        ranks = {len(steps.shape(value)) for value in inside}
        if len(ranks) > 1:
            raise steps.refusal(
                step,
                f"it joins tensors of {min(ranks)} and {max(ranks)} axes, which TensorFlow "
                "matches from the right: images of the batch would meet pixels",
                "Join them by keras.layers.Multiply, Add or their like, which match the batch",
            )
    if step.kind in AFFINE and len(inside) == 1 and step.kind != "Neg":
        other = steps.constant_shape(step.inputs[1 - image_inputs(step)[0]])
        shape = steps.shape(inside[0])
        same = bool(other) and len(other) == len(shape)
        meets = same and shape[0] is None and other[0] not in (None, 1)
        if other is not None and (len(other) > len(shape) or meets):
            raise steps.refusal(
                step, f"its constant of shape {tuple(other)} would meet the images of the batch"
            )
    if step.kind in ("ConcatV2", "Pack"):
        shapes = [steps.constant_shape(v) for v in step.inputs if v.step.depends != "image"]
        shape = steps.shape(inside[0])
        values = shapes[:-1] if step.kind == "ConcatV2" else shapes
        if any(s and len(s) == len(shape) and s[0] and not shape[0] for s in values):
            raise steps.refusal(
                step, "it joins a constant to images, which it has to be repeated for"
            )


def check_routed(steps: Steps, step: Step) -> None:
    """Refuses whole numbers on the way of relevance."""
    if step.kind == "Cast":
        to = tf.as_dtype(step.attributes["DstT"].type)
        start = tf.as_dtype(step.attributes["SrcT"].type)
        from_image = step.inputs[0].step.kind == "Image"
        if not to.is_floating or not (start.is_floating or from_image):
            raise steps.refusal(step, f"it goes over {WHOLE}", QUANTIZED)
        if to.size == 1:
            raise steps.refusal(step, f"it rounds to {to.name}", QUANTIZED)

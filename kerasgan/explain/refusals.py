"""What cannot be explained, named with its layer and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import image_inputs
from kerasgan.explain.operations import AFFINE, BOTH, NORMALISING
from kerasgan.explain.steps import ADVICE, Steps
from kerasgan.models.trace import Step, Value, raw_operation

QUANTIZED = f"{ADVICE}. If it was quantized, explain the model from before model.quantize(...)"
WHOLE = "whole numbers, through which relevance cannot pass"


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
        if "Random" in step.kind or step.kind in ("Multinomial", "StatelessMultinomial"):
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
        wrong = other is not None and len(other) > len(shape)
        wrong = wrong or (other and len(other) == len(shape) and _meets(steps, shape, other))
        if wrong:
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


def _meets(steps: Steps, shape: Sequence[int | None], other: Sequence[int | None]) -> bool:
    return shape[0] is None and other[0] not in (None, 1)

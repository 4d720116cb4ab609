"""Recognises normalizations and softmax, which networks write in several operations."""

from __future__ import annotations

from collections.abc import Callable

from kerasgan.explain.graph import Node, image_inputs
from kerasgan.explain.operations import AFFINE, PROPORTIONAL, ROUTED, SCALING, STATISTICS, WINNER
from kerasgan.explain.steps import Steps
from kerasgan.models.trace import Step, Value


class Patterns(Steps):
    """Finds what is one thing in several operations."""

    def centred(self, value: Value) -> Node | None:
        """Finds a normalization: less the mean, by a scale that is held.

        As `x * inverse + (shift - mean * inverse)`, the form of `tf.nn.batch_normalization`, with
        `(-mean * inverse + shift)`, that of Keras 3, or as `x - mean`, whose scale follows on its
        own.
        """
        step = value.step
        inside = self.inside(step)
        if step.kind in ("Add", "AddV2") and len(inside) == 2:
            for scaled, rest in (inside, inside[::-1]):
                node = self._centred_by(value, scaled, rest)
                if node is not None:
                    return node
        if step.kind == "Sub" and len(inside) == 2 and image_inputs(step) == [0, 1]:
            data, mean = inside
            steps = self._mean_of(mean, data)
            if steps is not None:
                return Node("proportional", [data], value, [*steps, step], step)
        return None

    def _centred_by(self, value: Value, scaled: Value, rest: Value) -> Node | None:
        if scaled.step.kind != "Mul":
            return None
        shift, taken = None, rest
        if rest.step.kind in ("Add", "AddV2", "Sub") and len(image_inputs(rest.step)) == 1:
            (index,) = image_inputs(rest.step)
            shift, taken = rest.step.inputs[1 - index], rest.step.inputs[index]
        if taken.step.kind != "Mul" or (rest.step.kind == "Sub" and taken == rest.step.inputs[0]):
            return None
        for data, inverse in (scaled.step.inputs, scaled.step.inputs[::-1]):
            if inverse not in taken.step.inputs or data.step.depends != "image":
                continue
            a, b = taken.step.inputs
            mean = a if b == inverse else b
            if rest.step.kind != "Sub":
                if mean.step.kind != "Neg":
                    continue
                (mean,) = mean.step.inputs
            steps = self._mean_of(mean, data)
            if steps is not None and self.is_statistic(inverse):
                held = [mean, inverse] + ([] if shift is None else [shift])
                return Node("centred", [data], value, [*steps, value.step], value.step, held=held)
        return None

    def _mean_of(self, mean: Value, data: Value) -> list[Step] | None:
        """Returns how a mean is computed of data, in order; None if it is none of it."""
        steps: list[Step] = []
        while mean != data and len(steps) < 8:
            step = mean.step
            if step.kind not in PROPORTIONAL | ROUTED | SCALING or len(image_inputs(step)) != 1:
                return None
            steps.insert(0, step)
            mean = step.inputs[image_inputs(step)[0]]
        averages = any(step.kind in ("Mean", "AvgPool", "Sum") for step in steps)
        return steps if mean == data and averages else None

    def is_statistic(self, value: Value) -> bool:
        """Whether a value is a scale made of a sum of squares, with factors that are constant."""
        return self._comes_from(value, lambda source: source.step.kind in STATISTICS)

    def is_attention(self, value: Value) -> bool:
        """Whether a value comes from a softmax, at most moved and scaled since."""
        return self._comes_from(
            value, lambda source: source.step.kind == "Softmax" or self.softmax(source) is not None
        )

    def _comes_from(self, value: Value, is_source: Callable[[Value], bool]) -> bool:
        """Whether a value is, at most moved, scaled and shifted since, one of a kind."""
        for _ in range(12):
            if is_source(value):
                return True
            inside = self.inside(value.step)
            if len(inside) != 1 or value.step.kind not in AFFINE | ROUTED:
                return False
            (value,) = inside
        return False

    def softmax(self, value: Value) -> Node | None:
        """Finds a softmax written out: exponentials over their sum, or of what is less its log."""
        step, total = value.step, None
        if step.kind == "RealDiv" and image_inputs(step) == [0, 1]:
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
        steps = self.steps_between(value, [data])
        return Node("softmax", [data], value, steps, step, held=[total])

    def _but_for_largest(self, value: Value) -> Value:
        """Returns what a number is taken from, which is the same for all that are summed."""
        taken = value.step.kind == "Sub" and image_inputs(value.step)[:1] == [0]
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

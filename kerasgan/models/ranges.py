"""Ranges of the values in a network, proven from its operations.

Each value gets an interval. Layers with weights give any number, activations bound it, and what
follows them (cropping, averaging, resizing, arithmetic with constants) is followed too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasgan.models.trace import Step, Trace, Value

INFINITE = math.inf
CLOSE = 1e-5

MOVES = {
    "BatchToSpaceND",
    "BroadcastTo",
    "DepthToSpace",
    "ExpandDims",
    "Gather",
    "GatherV2",
    "MirrorPad",
    "ResizeNearestNeighbor",
    "Reshape",
    "ReverseV2",
    "Roll",
    "Slice",
    "SpaceToDepth",
    "Split",
    "SplitV",
    "Squeeze",
    "StridedSlice",
    "Tile",
    "Transpose",
    "Unpack",
}
"""Operations that move values and change none."""

AVERAGES = {"AvgPool", "Max", "MaxPool", "Mean", "Min", "ResizeArea", "ResizeBilinear"}
OVERSHOOTING = ("lanczos1", "lanczos3", "lanczos5", "keyscubic", "mitchellcubic")
COMPARISONS = {
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "NotEqual",
}
WEIGHTED = {
    "BatchMatMul",
    "BatchMatMulV2",
    "BatchMatMulV3",
    "Conv",
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv2DBackpropInputV2",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative",
    "Einsum",
    "MatMul",
}


class Range(NamedTuple):
    """What is known of a value.

    Attributes:
        low: No number in it is less.
        high: No number in it is more.
        free: Whether it is what a layer with weights, or the image, gives: any number, a logit.
        by: The step that says so, the last but those that only move or mix numbers.
        coupled: Whether channels depend on one another behind the last layer with weights:
            "apart", "joined" (put together from several values) or "shared" (as in a softmax).
        hard: Whether it was decided already, by a threshold or a largest.
    """

    low: float
    high: float
    free: bool = False
    by: Step | None = None
    coupled: str = "apart"
    hard: bool = False

    def within(self, low: float, high: float) -> bool:
        """Whether all numbers lie between these two, but for rounding."""
        return low - CLOSE <= self.low and self.high <= high + CLOSE

    def bounded(self, step: Step, low: float, high: float) -> Range:
        """What a step makes of it that gives numbers between these two."""
        return self._replace(low=low, high=high, free=False, by=step)


def range_of(trace: Trace) -> Range:
    """Return the range of a network's output; unbounded and not free where nothing is known."""
    return Ranges(trace, trained=True).of(trace.output)


class Ranges:
    """The ranges of all values of a computation.

    `trained` says whether the numbers that its weights hold now count; else ranges hold for any
    weights.
    """

    def __init__(self, trace: Trace, trained: bool = False):
        self.trace = trace
        self.trained = trained
        self._known: dict[Value, Range] = {}
        for step in trace.steps:  # in order, so that no value is far from what it is made of
            if step.depends == "image":
                self.of(Value(step))

    def of(self, value: Value) -> Range:
        """Returns the range of a value."""
        if value not in self._known:
            self._known[value] = self._compute(value)
        return self._known[value]

    def _compute(self, value: Value) -> Range:
        step, kind = value.step, value.step.kind
        if step.depends == "nothing":
            number = self.trace.number(value)
            if number is not None and number.size and number.dtype.kind in "fiu":
                return Range(float(number.min()), float(number.max()))
        if kind == "Image":
            return Range(-INFINITE, INFINITE, free=True, by=step)
        if kind in MOVES or kind in AVERAGES:
            return self.of(step.inputs[1 if kind == "Split" else 0])
        if kind in WEIGHTED:
            return self._weighted(step)
        if kind in MONOTONE:
            before = self.of(step.inputs[0])
            hard = before.hard or kind in ("Ceil", "Floor", "Rint", "Round", "Sign")
            return before.bounded(step, *map(MONOTONE[kind], before[:2]))._replace(hard=hard)
        if kind in COMPARISONS:
            return Range(0.0, 1.0, by=step, hard=step.depends == "image")
        known = None
        if kind in RULES:
            known = RULES[kind](self, step, *map(self.of, step.inputs))
        return Range(-INFINITE, INFINITE, by=step) if known is None else known

    def _weighted(self, step: Step) -> Range | None:
        """Any number, unless weights are shares of 1 and what they weigh is bounded."""
        seen = [value for value in step.inputs if value.step.depends == "image"]
        weights = [value for value in step.inputs if value.step.depends != "image"]
        ranges = [self.of(value) for value in seen]
        bounded = all(math.isfinite(r.low) and math.isfinite(r.high) for r in ranges)
        if any(r.free for r in ranges) or not bounded:
            return Range(-INFINITE, INFINITE, free=True, by=step)
        if len(seen) == 1 and weights:
            if self._averages(step, weights[-1]):
                before = ranges[0]
                low, high = min(before.low, 0.0), max(before.high, 0.0)
                return before._replace(low=low, high=high, coupled=max(before.coupled, "joined"))
            if weights[-1].step.depends == "variables":
                return Range(-INFINITE, INFINITE, free=True, by=step)
        return Range(-INFINITE, INFINITE, by=step)

    def _averages(self, step: Step, weights: Value) -> bool:
        if weights.step.depends == "variables" and not self.trained:
            return False
        kernel = self.trace.number(weights)
        if kernel is None or not kernel.size or kernel.min() < 0:
            return False
        if step.kind == "MatMul":
            sums = kernel.sum(1 if step.attributes["transpose_b"].b else 0)
        elif step.kind == "Conv2D":
            sums = kernel.sum((0, 1, 2))
        elif step.kind == "DepthwiseConv2dNative":
            sums = kernel.sum((0, 1))
        elif step.kind == "Conv2DBackpropInput":
            _, down, across, _ = step.attributes["strides"].list.i
            parts = [kernel[y::down, x::across] for y in range(down) for x in range(across)]
            sums = np.stack([part.sum((0, 1, 3)) for part in parts])
        else:
            return False
        return bool(np.abs(sums - 1).max() < 1e-3)


# --- How kinds of operations change a range ---


def _with_limits(function: Callable[[float], float], below: float, above: float) -> Callable:
    """Extend a function of a number by its limits at minus and plus infinity."""

    def at(number: float) -> float:
        if math.isinf(number):
            return above if number > 0 else below
        try:
            return float(function(number))
        except OverflowError:
            return above if number > 0 else below

    return at


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


MONOTONE = {
    "Atan": math.atan,
    "Ceil": _with_limits(math.ceil, -INFINITE, INFINITE),
    "Elu": _with_limits(lambda x: x if x > 0 else math.expm1(x), -1.0, INFINITE),
    "Erf": math.erf,
    "Exp": _with_limits(math.exp, 0.0, INFINITE),
    "Expm1": _with_limits(math.expm1, -1.0, INFINITE),
    "Floor": _with_limits(math.floor, -INFINITE, INFINITE),
    "Log": _with_limits(lambda x: math.log(x) if x > 0 else -INFINITE, -INFINITE, INFINITE),
    "Log1p": _with_limits(lambda x: math.log1p(x) if x > -1 else -INFINITE, -INFINITE, INFINITE),
    "Relu": lambda x: max(x, 0.0),
    "Relu6": lambda x: min(max(x, 0.0), 6.0),
    "Rint": _with_limits(round, -INFINITE, INFINITE),
    "Round": _with_limits(round, -INFINITE, INFINITE),
    "Selu": _with_limits(
        lambda x: 1.0507 * (x if x > 0 else 1.67327 * math.expm1(x)), -1.7581, INFINITE
    ),
    "Sigmoid": _with_limits(lambda x: math.exp(-_softplus(-x)), 0.0, 1.0),
    "Sign": lambda x: float(np.sign(x)),
    "Softplus": _with_limits(_softplus, 0.0, INFINITE),
    "Softsign": _with_limits(lambda x: x / (1 + abs(x)), -1.0, 1.0),
    "Sqrt": _with_limits(lambda x: math.sqrt(max(x, 0.0)), 0.0, INFINITE),
    "Tanh": math.tanh,
}


RULES: dict[str, Callable[..., Range | None]] = {}
"""From the values so far, a step, and the ranges of its inputs, to that of its output."""


def _rule(*kinds: str) -> Callable[[Callable], Callable]:
    """Make a function the rule of these kinds of operations."""

    def add(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return add


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _quotient(a: float, b: float) -> float:
    if a == 0 or math.isinf(b):
        return 0.0
    return math.copysign(INFINITE, a) if b == 0 else a / b


def _ends(a: Range, b: Range, function: Callable[[float, float], float]) -> tuple[float, float]:
    ends = [function(x, y) for x in a[:2] for y in b[:2]]
    return min(ends), max(ends)


def _merged(ranges: Sequence[Range], low: float, high: float, free: bool, step: Step) -> Range:
    """Return the range of a value that is computed from several."""
    seen = [r for r in ranges if r.by is not None]
    hard = bool(seen) and all(r.hard for r in seen)
    return Range(low, high, free, step, max(r.coupled for r in ranges), hard)


def _union(parts: Sequence[Range], step: Step) -> Range:
    low, high = min(r.low for r in parts), max(r.high for r in parts)
    seen = [r for r in parts if r.by is not None]
    return _merged(parts, low, high, bool(seen) and all(r.free for r in seen), step)


@_rule("Add", "AddN", "AddV2", "BiasAdd")
def _add(ranges: Ranges, step: Step, *parts: Range) -> Range:
    low, high = sum(r.low for r in parts), sum(r.high for r in parts)
    return _merged(parts, low, high, any(r.free for r in parts), step)


@_rule("Sub")
def _subtract(ranges: Ranges, step: Step, a: Range, b: Range) -> Range | None:
    both = all(value.step.depends == "image" for value in step.inputs)
    if both and not (a.free or b.free):
        return None
    return _merged([a, b], a.low - b.high, a.high - b.low, a.free or b.free, step)


@_rule("Neg")
def _negate(ranges: Ranges, step: Step, before: Range) -> Range:
    return before._replace(low=-before.high, high=-before.low)


@_rule("Mul")
def _multiply(ranges: Ranges, step: Step, a: Range, b: Range) -> Range:
    low, high = _ends(a, b, _product)
    one = sum(value.step.depends == "image" for value in step.inputs) < 2
    return _merged([a, b], low, high, one and (a.free or b.free), step)


@_rule("DivNoNan", "RealDiv")
def _divide(ranges: Ranges, step: Step, a: Range, b: Range) -> Range | None:
    above, below = step.inputs
    if a.low >= 0 and _holds(ranges, below, above):
        return Range(0.0, 1.0, by=step, coupled="shared", hard=a.hard)
    if below.step.depends != "image" and a.free:
        return a
    if b.low < 0 <= b.high:
        return None
    low, high = _ends(a, b, _quotient)
    return _merged([a, b], low, high, False, step)


def _holds(ranges: Ranges, total: Value, part: Value) -> bool:
    """Whether a total is a sum in which a value that is nowhere negative takes part."""
    step = total.step
    if _same(ranges, total, part):
        return True
    if step.kind == "Sum" and _same(ranges, step.inputs[0], part):
        return True
    if step.kind not in ("Add", "AddV2", "Maximum"):
        return False
    rest = [ranges.of(value).low >= 0 for value in step.inputs]
    return any(
        _holds(ranges, value, part) and all(rest[:i] + rest[i + 1 :])
        for i, value in enumerate(step.inputs)
    )


def _same(ranges: Ranges, a: Value, b: Value, depth: int = 8) -> bool:
    """Whether two values are computed alike, by one operation or written twice."""
    if a == b:
        return True
    kinds = {a.step.kind, b.step.kind}
    if not depth or len(kinds) > 1 or a.output != b.output or kinds & {"Image", "Placeholder"}:
        return False
    if kinds == {"Const"}:
        return np.array_equal(ranges.trace.number(a), ranges.trace.number(b))
    pairs = list(zip(a.step.inputs, b.step.inputs))
    return bool(pairs) and all(_same(ranges, x, y, depth - 1) for x, y in pairs)


@_rule("Inv", "Reciprocal")
def _reciprocal(ranges: Ranges, step: Step, before: Range) -> Range | None:
    if before.low < 0 <= before.high:
        return None
    return before.bounded(step, *_ends(Range(1.0, 1.0), before, _quotient))


@_rule("Maximum", "Minimum")
def _extreme(ranges: Ranges, step: Step, *parts: Range) -> Range:
    pick = max if step.kind == "Maximum" else min
    low, high = pick(r.low for r in parts), pick(r.high for r in parts)
    return _merged(parts, low, high, all(r.free for r in parts), step)


@_rule("ClipByValue")
def _clip(ranges: Ranges, step: Step, before: Range, least: Range, most: Range) -> Range:
    return before.bounded(step, *(min(max(end, least.low), most.high) for end in before[:2]))


@_rule("Sum")
def _sum(ranges: Ranges, step: Step, before: Range, _: Range) -> Range:
    tensor, axes, count = step.inputs[0].tensor, ranges.trace.number(step.inputs[1]), INFINITE
    if tensor is not None and axes is not None and tensor.shape.rank is not None:
        sizes = [tensor.shape[axis] for axis in np.ravel(axes)]
        count = INFINITE if None in sizes else math.prod(sizes)
    low, high = _product(before.low, count), _product(before.high, count)
    return before._replace(low=low, high=high)


@_rule("ConcatV2", "Pack")
def _join(ranges: Ranges, step: Step, *parts: Range) -> Range | None:
    parts = parts[:-1] if step.kind == "ConcatV2" else parts
    union, lows = _union(parts, step), [r.low for r in parts if r.by is not None]
    if union.low < -CLOSE and max(lows, default=union.low) - union.low > CLOSE:
        return None  # probabilities beside a mask from -1 to 1
    return union._replace(coupled=max(union.coupled, "joined"))


@_rule("Select", "SelectV2")
def _choose(ranges: Ranges, step: Step, _: Range, *parts: Range) -> Range:
    decides, *values = step.inputs
    union = _union(parts, step)
    chosen = decides.step.depends == "image" and all(v.step.depends != "image" for v in values)
    return union._replace(by=step, hard=union.hard or chosen)


@_rule("Pad", "PadV2")
def _pad(ranges: Ranges, step: Step, before: Range, _: Range, *fill: Range) -> Range:
    return before if before.free else _union([before, *(fill or [Range(0.0, 0.0)])], step)


@_rule("SpaceToBatchND")
def _into_blocks(ranges: Ranges, step: Step, before: Range, *_: Range) -> Range:
    return before._replace(low=min(before.low, 0.0), high=max(before.high, 0.0))


@_rule("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "ResizeBicubic")
def _only_free(ranges: Ranges, step: Step, before: Range, *_: Range) -> Range | None:
    """What is linear but may give more, or less, than it is given."""
    return before if before.free else None


@_rule("ScaleAndTranslate")
def _scaled(ranges: Ranges, step: Step, before: Range, *_: Range) -> Range | None:
    overshooting = step.attributes["kernel_type"].s.decode() in OVERSHOOTING
    return None if overshooting and not before.free else before


@_rule("Softmax")
def _softmax(ranges: Ranges, step: Step, _: Range) -> Range:
    return Range(0.0, 1.0, by=step, coupled="shared")


@_rule("LogSoftmax")
def _log_softmax(ranges: Ranges, step: Step, _: Range) -> Range:
    return Range(-INFINITE, 0.0, free=True, by=step, coupled="shared")


@_rule("LeakyRelu")
def _leaky(ranges: Ranges, step: Step, before: Range) -> Range:
    slope = step.attributes["alpha"].f if "alpha" in step.attributes else 0.2
    ends = [end if end > 0 else _product(slope, end) for end in before[:2]]
    ends += [0.0] if before.low < 0 < before.high else []
    return before.bounded(step, min(ends), max(ends))


@_rule("OneHot")
def _one_hot(ranges: Ranges, step: Step, *parts: Range) -> Range:
    union = _union(parts[2:], step)
    return union._replace(by=step, coupled="shared", hard=step.depends == "image")


@_rule("Cast")
def _cast(ranges: Ranges, step: Step, before: Range) -> Range:
    to = tf.as_dtype(step.attributes["DstT"].type)
    rounds = (to.is_integer or to.is_bool) and not before.hard
    return before._replace(free=False, by=step, hard=True) if rounds else before


@_rule("Square")
def _square(ranges: Ranges, step: Step, before: Range) -> Range:
    low, high = _ends(before, before, _product)
    return before.bounded(step, max(low, 0.0), high)


@_rule("Pow")
def _power(ranges: Ranges, step: Step, before: Range, exponent: Range) -> Range | None:
    if before.low < 0 or exponent.low != exponent.high or exponent.low < 0:
        return None
    ends = [end**exponent.low if math.isfinite(end) else end for end in before[:2]]
    return before.bounded(step, *ends)


@_rule("Abs")
def _absolute(ranges: Ranges, step: Step, before: Range) -> Range:
    return before.bounded(step, max(before.low, 0.0), max(abs(before.low), abs(before.high)))


@_rule("Fill", "OnesLike", "ZerosLike")
def _filled(ranges: Ranges, step: Step, *parts: Range) -> Range:
    number = 1.0 if step.kind == "OnesLike" else 0.0
    return parts[1] if step.kind == "Fill" else Range(number, number)

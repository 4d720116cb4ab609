"""The list of operations that a model is taken apart into, on its way to a canonical network."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError

__all__ = [
    "BOUNDED",
    "SQUASHING",
    "Network",
    "Op",
    "Refusal",
    "constant",
    "keeping",
    "once",
    "read",
    "refusal",
]

SQUASHING = ("tanh", "sigmoid", "hard_sigmoid", "softmax", "log_softmax")
BOUNDED = ("sigmoid", "hard_sigmoid", "softmax")

Source = Callable[[], tf.Tensor]
KEPT: contextvars.ContextVar = contextvars.ContextVar("kept", default=None)


class Refusal(KerasganError):
    """A layer that cannot be carried over, which matters only where relevance reaches it."""


def refusal(layer: keras.layers.Layer, reason: str, advice: str) -> Refusal:
    """Builds the error about a layer that cannot be carried over."""
    return Refusal(
        f"Layer '{layer.name}' ({type(layer).__name__}) cannot be explained: {reason}. {advice}"
    )


def read(variable, dtype: str) -> Source:
    """Returns a function that reads a variable, so that explanations follow training."""
    return lambda: tf.cast(variable, dtype)


def constant(value, dtype: str) -> Source:
    """Returns a function that returns a constant."""
    if tf.is_tensor(value):
        return lambda: tf.cast(value, dtype)
    return lambda: tf.convert_to_tensor(value, dtype)


def once(source: Source) -> Source:
    """Returns a function that computes the same, within `keeping` once: for what is small."""

    def kept():
        found = KEPT.get()
        if found is None:
            return source()
        key = source, tf.compat.v1.get_default_graph()
        if key not in found:
            found[key] = source()
        return found[key]

    return kept


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Lets sources that say `once` be computed no more than once in each graph."""
    token = KEPT.set({})
    try:
        yield
    finally:
        KEPT.reset(token)


@dataclass(eq=False)
class Op:
    """One layer of the canonical network to be.

    Attributes:
        name: Name of the layer.
        layer: Its class.
        config: What it is built from, without name and dtype.
        inputs: The operations before it.
        sources: For each of its weights a function that computes it from the original's.
        outer: Names of the nested models around it, outermost first.
        shape: Shape of its output, without the batch.
        foldable: Whether it is a batch norm, to be folded into its neighbour.
        problem: The error to raise if relevance reaches it.
    """

    name: str
    layer: type
    config: dict
    inputs: list[Op]
    sources: list[Source]
    outer: tuple[str, ...] = ()
    shape: tuple = ()
    foldable: bool = False
    problem: KerasganError | None = None

    @property
    def kind(self) -> str:
        """Name of the layer's class."""
        return self.layer.__name__

    def squashes(self, names=SQUASHING) -> bool:
        """Whether it is one of these activations."""
        return self.kind == "Activation" and self.config["activation"] in names


@dataclass
class Network:
    """Operations in an order that runs from the inputs to the output.

    Attributes:
        dtype: "float32" or "float64".
        gates: As of `canonize`.
        ops: The operations.
        origins: Original layer name -> the operation whose output stands for the layer's.
        products: Product -> name of its layer and indices of the inputs that are its gates.
        bounded: Operation -> what `kerasgan.explain.carry.boundedness` says of it.
        guessed: The last operation, if it was taken off for what the model computes there.
    """

    dtype: str
    gates: dict[str, tuple[int, ...]]
    ops: list[Op] = field(default_factory=list)
    origins: dict[str, Op] = field(default_factory=dict)
    products: dict[Op, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    bounded: dict[Op, int] = field(default_factory=dict)
    outer: tuple[str, ...] = ()
    guessed: Op | None = None

    def add(self, layer, inputs, config=None, sources=(), name="", **more) -> Op:
        """Appends an operation and returns it."""
        config, sources = dict(config or {}), list(sources)
        op = Op(name, layer, config, list(inputs), sources, outer=self.outer, **more)
        if inputs:
            op.shape = inputs[0].shape
        self.ops.append(op)
        return op

    def consumers(self, op: Op) -> list[Op]:
        """Returns the operations that an operation's output goes to."""
        return [other for other in self.ops if op in other.inputs]

    def remove(self, op: Op) -> None:
        """Takes an operation with one input out; its consumers get that input instead."""
        before = op.inputs[0]
        for other in self.consumers(op):
            other.inputs = [before if i is op else i for i in other.inputs]
        self.origins = {k: before if v is op else v for k, v in self.origins.items()}
        self.ops.remove(op)

    def keep_only_before(self, output: Op) -> None:
        """Drops what the output does not depend on, inputs excepted."""
        needed = {output}
        for op in reversed(self.ops):
            if op in needed:
                needed.update(op.inputs)
        self.ops = [op for op in self.ops if op in needed or op.kind == "InputLayer"]
        self.origins = {k: v for k, v in self.origins.items() if v in self.ops}

    def receives_relevance(self, output: Op) -> set[Op]:
        """Returns the operations that relevance starting at the output can reach."""
        reached = {output}
        for op in reversed(self.ops):
            if op in reached:
                reached.update(op.inputs[:1] if op.kind == "Gate" else op.inputs)
        return reached

    def name_uniquely(self) -> None:
        """Gives every operation a name of its own, the original's wherever that is possible."""
        taken: set[str] = set()
        for op in sorted(self.ops, key=lambda op: (self.origins.get(op.name) is not op, op.outer)):
            name, count = op.name, 2
            if name in taken:
                name = "_".join((*op.outer, op.name))
            base = name
            while name in taken:
                name, count = f"{base}_{count}", count + 1
            op.name = name
            taken.add(name)

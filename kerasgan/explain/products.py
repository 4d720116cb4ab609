"""Products of values that all depend on the image: which of them is the signal, which a gate."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Graph, Node, image_inputs
from kerasgan.explain.operations import SCALING
from kerasgan.explain.patterns import Patterns
from kerasgan.models.trace import Step, Value
from kerasgan.validation import invalid, is_whole


def parse_gates(gates: Any) -> dict[str, tuple[int, ...]]:
    """Returns gates as tuples of indices by name."""
    if not isinstance(gates, (Mapping, type(None))):
        expected = "a dict from products to inputs that are gates, such as {'multiply': 0}"
        raise invalid("gates", expected, gates)
    declared = {}
    for name, indices in (gates or {}).items():
        several = indices if isinstance(indices, (list, tuple)) else [indices]
        if not all(map(is_whole, several)):
            raise KerasganError(
                f"Argument 'gates' must hold indices of inputs, counted from 0. Received: "
                f"{indices!r} for {name!r}"
            )
        declared[str(name)] = tuple(int(i) for i in several)
    return declared


class Products(Patterns):
    """Finds the gates of products."""

    def __init__(
        self,
        graph: Graph,
        network: keras.Model,
        declared: dict[str, tuple[int, ...]],
        split_evenly: bool,
    ):
        super().__init__(graph, network)
        self.declared = declared
        self.split_evenly = split_evenly
        self.products: dict[Node, tuple[int, ...]] = {}
        self._check_declared()

    def _check_declared(self) -> None:
        known = []
        for step in self.graph.steps:
            if step.kind in SCALING and len(image_inputs(step)) == 2:
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

    def factors(self, step: Step) -> list[Value]:
        """Returns what a product multiplies, all of those of one layer."""
        factors: list[Value] = []
        for value in self.inside(step):
            inner = value.step
            if (
                inner.kind == "Mul"
                and len(image_inputs(inner)) == 2
                and inner.scope
                and self.same_layer(inner, step)
                and "Multiply" in type(self.layer_at(step.path)).__name__
            ):
                factors += self.factors(inner)
            else:
                factors.append(value)
        return factors

    def product(self, value: Value) -> Node:
        """Makes a node of a product, or of a quotient, whose factors all depend on the image."""
        step = value.step
        factors = self.factors(step)
        count = len(factors)
        name = self.name_of_step(step)
        chosen = self.declared.get(name, self.declared.get(step.layer))
        if chosen is None:
            chosen = self.gate_of(step) or (() if self.split_evenly else None)
        if chosen == ():
            node = Node("shared", factors, value, self.steps_between(value, factors), step)
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
        if not all(map(self.is_statistic, held)):
            self.products[node] = tuple(chosen)
        return node

    def gate_of(self, step: Step) -> tuple[int, ...]:
        """Says which factors of a product are gates: statistics, bounded ones, broadcast ones.

        Of a quotient it is the divisor.
        """
        if step.kind != "Mul":
            return (1,)
        factors = self.factors(step)
        count = len(factors)
        statistic = [i for i, v in enumerate(factors) if self.is_statistic(v)]
        if len(statistic) == count - 1:
            return tuple(statistic)
        sizes = [self.shape(v) for v in factors]
        full = self.shape(Value(step))
        bounded = [self.boundedness(v) for v in factors]
        strong = [i for i, degree in enumerate(bounded) if degree == 2]
        weak = [i for i, degree in enumerate(bounded) if degree == 1]
        broadcast = [i for i, size in enumerate(sizes) if size != full]
        choices = [sorted({*strong, *broadcast})]
        choices += [broadcast] if len(strong) == count else []
        choices += [strong] if len(broadcast) == count else []
        choices += [sorted({*strong, *weak, *broadcast})]
        return tuple(next((gates for gates in choices if len(gates) == count - 1), ()))

    def boundedness(self, value: Value) -> int:
        """Says whether values are bounded as those of gates are: 2 for sure, 1 maybe, 0 not."""
        range_ = self.ranges.of(value)
        if self.softmax(value) is not None:
            return 2
        if not np.isfinite([range_.low, range_.high]).all():
            return 0
        return 2 if range_.low >= -1e-5 and range_.high - range_.low <= 2 + 1e-5 else 1

    def _why(self, factors: Sequence[Value]) -> str:
        count = len(factors)
        bounded = [i for i, v in enumerate(factors) if self.boundedness(v)]
        shapes = [self.shape(v) for v in factors]
        largest = max(shapes, key=lambda shape: sum(n != 1 for n in shape))
        broadcast = [i for i, shape in enumerate(shapes) if shape != largest]
        return (
            "which input is the signal and which the gate cannot be determined, because of "
            f"{count} inputs {bounded} are bounded and {broadcast} are broadcast"
        )

    def choices(self, product: str, factors: Sequence[Value]) -> str:
        """Says what `gates` can be for a product, and what each choice means."""
        names = [self.name_of_value(value) for value in factors]
        options = []
        for signal, name in enumerate(names):
            rest = [i for i in range(len(names)) if i != signal]
            held = ", ".join(f"'{names[i]}'" for i in rest)
            value = rest[0] if len(rest) == 1 else tuple(rest)
            options.append(
                f"gates={{'{product}': {value}}} to hold {held} as the gate, so that relevance "
                f"goes on to '{name}'"
            )
        options.append(f"gates={{'{product}': ()}} to share relevance evenly")
        return f"Pass {'; or '.join(options)}"

"""Composites: which rule each layer gets. Ready-made ones, and `Composite` for your own.

A composite is an ordered list of (which layers, rule); a layer gets the first rule that fits. Only
layers with weights need one: what all other layers do is the same under every composite (see
`kerasgan.explain.canonical_layers.kind_of`).
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Union

import keras
import tensorflow as tf
from innvestigate.backend.graph import ReverseMappingBase

from kerasgan.errors import KerasganError
from kerasgan.explain.analyzer import Books, lrp_analyzer
from kerasgan.explain.canonical_layers import kind_of
from kerasgan.explain.forward import Forward
from kerasgan.explain.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, ZBox, ZPlus

__all__ = [
    "COMPOSITES",
    "Composite",
    "Method",
    "Result",
    "anything",
    "first",
    "last",
]

Which = Union[str, type, Callable[[keras.layers.Layer], bool]]


class Result(NamedTuple):
    """What a method gives for a batch.

    Attributes:
        relevance: Of the images, of their shape.
        logits: Of the network.
        weights: Of the target.
        layers: Relevance arriving at the outputs of layers, by name, nearest the image first.
        books: Where relevance went; None for gradients.
    """

    relevance: tf.Tensor
    logits: tf.Tensor
    weights: tf.Tensor
    layers: dict[str, tf.Tensor]
    books: Books | None


class Method:
    """A way of explaining: a composite of rules, a gradient, an analyzer of iNNvestigate's.

    Example:
        >>> isinstance(Composite((anything, Epsilon())), Method)
        True
    """

    def analyse(
        self,
        network: keras.Model,
        images: tf.Tensor,
        target: Callable[[tf.Tensor], tf.Tensor],
        start: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ) -> Result:
        """Explains a batch; called while a `tf.function` is traced.

        Args:
            network: A canonical network.
            images: Its input.
            target: From logits to weights.
            start: From weights and logits to the relevance to start from.
        """
        raise NotImplementedError


class Composite(Method):
    """An ordered choice of rules.

    Args:
        *rules: Pairs (which layers, rule). Which layers: a name pattern such as `"up_*"`, a layer
            class, or a function from a layer to bool, such as `first`, `last` and `anything`.
            Rule: one of `kerasgan.explain.rules`, your own subclass of `Rule`, or an iNNvestigate
            rule class.
        keep_skips: Whether skip connections carry relevance. False drops what reaches a
            Concatenate's inputs but the one computed last; it is booked as unsupported.

    Raises:
        KerasganError: A pair of anything else.

    Example:
        >>> Composite((first, ZBox(-1, 1)), ("up_*", Epsilon()), (anything, Gamma(0.1)))
        Composite((first, ZBox(low=-1, high=1, widen=False)), ('up_*', Epsilon(epsilon=1e-06, \
relative=False, bias=True)), (anything, Gamma(gamma=0.1, bias=True, generalized=True)))
    """

    def __init__(self, *rules: tuple[Which, Any], keep_skips: bool = True):
        for pair in rules:
            if not (isinstance(pair, tuple) and len(pair) == 2 and _is_rule(pair[1])):
                raise KerasganError(
                    "Argument 'rules' of Composite must be pairs (which layers, rule), such as "
                    f"('up_*', Epsilon()). Received: {pair!r}"
                )
        self.rules = rules
        self.keep_skips = keep_skips

    def __repr__(self) -> str:
        pairs = [f"({getattr(w, '__name__', None) or repr(w)}, {rule!r})" for w, rule in self.rules]
        return f"Composite({', '.join(pairs)})"

    def rule_for(self, layer: keras.layers.Layer) -> Any:
        """Returns the rule of a layer with weights.

        Raises:
            KerasganError: No rule fits.
        """
        for which, rule in self.rules:
            if _fits(which, layer):
                return rule
        raise KerasganError(
            f"No rule of the composite fits layer '{layer.name}' ({type(layer).__name__}). "
            "End it with (anything, rule)"
        )

    def analyse(self, network, images, target, start) -> Result:
        """See `Method.analyse`."""
        trace = Forward(network, images)
        weights = target(trace.logits)
        analyzer = lrp_analyzer(network, self.rule_for, self.keep_skips)
        found = analyzer.propagate(trace, start(weights, trace.logits))
        return Result(found.relevance, trace.logits, weights, *found[1:])


class PaperAsPublished(Composite):
    """The rule of the paper's published code, which differs from the paper's text.

    LRP-0 through whole blocks of activation, convolution and batch norm (the gamma rule never takes
    effect), the last block with its tanh; relevance starts as one wherever the mask is foreground;
    that of skip connections is dropped. The argument `start` plays no part.

    Source: arXiv 2111.01665.
    """

    def __init__(self) -> None:
        super().__init__((anything, Epsilon(1e-9)), keep_skips=False)

    def analyse(self, network, images, target, start) -> Result:
        """See `Method.analyse`."""

        def through_tanh(weights: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            output = tf.tanh(logits)
            return weights * logits * (1 - tf.square(output)) / (output + 1e-9)

        return super().analyse(network, images, target, through_tanh)


def anything(_layer: keras.layers.Layer) -> bool:
    """Fits every layer, at the end of a composite.

    Example:
        >>> anything(keras.layers.Dense(2))
        True
    """
    return True


def first(layer: keras.layers.Layer) -> bool:
    """Fits a layer that sees the pixels themselves, padded or rearranged at most.

    Example:
        >>> a, b = keras.layers.Conv2D(4, 3), keras.layers.Conv2D(1, 3)
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), a, b])
        >>> first(a), first(b)
        (True, False)
    """
    before = [node.inbound_layers for node in layer._inbound_nodes]
    layers = [inner for outer in before for inner in tf.nest.flatten(outer)]
    return all(
        kind_of(inner) == "input" or (kind_of(inner) == "routed" and first(inner))
        for inner in layers
    )


def last(layer: keras.layers.Layer) -> bool:
    """Fits a layer with weights that no other follows: the one that gives the logits.

    Example:
        >>> a, b = keras.layers.Conv2D(4, 3), keras.layers.Conv2D(1, 3)
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), a, b])
        >>> last(a), last(b)
        (False, True)
    """
    after = [node.outbound_layer for node in layer._outbound_nodes]
    return all(kind_of(inner) != "weighted" and last(inner) for inner in after)


def _is_rule(rule: Any) -> bool:
    own = inspect.isclass(rule) and issubclass(rule, ReverseMappingBase)
    return own or isinstance(rule, Rule)


def _fits(which: Which, layer: keras.layers.Layer) -> bool:
    if isinstance(which, str):
        return fnmatch.fnmatchcase(layer.name, which)
    return isinstance(layer, which) if inspect.isclass(which) else bool(which(layer))


COMPOSITES: dict[str, Callable[[], Composite]] = {
    "epsilon": lambda: Composite((anything, Epsilon())),
    "gamma": lambda: Composite((anything, Gamma())),
    "z-plus": lambda: Composite((anything, ZPlus())),
    "alpha1beta0": lambda: Composite((anything, AlphaBeta(1, 0))),
    "alpha2beta1": lambda: Composite((anything, AlphaBeta(2, 1))),
    "epsilon-plus": lambda: Composite(
        (keras.layers.Dense, Epsilon()), (last, Epsilon()), (anything, ZPlus())
    ),
    "epsilon-gamma-box": lambda: Composite(
        (first, ZBox(-1, 1, widen=True)),
        (keras.layers.Dense, Epsilon()),
        (last, Epsilon()),
        (anything, Gamma(0.25)),
    ),
    "epsilon-alpha2beta1-flat": lambda: Composite(
        (first, Flat()),
        (keras.layers.Dense, Epsilon()),
        (last, Epsilon()),
        (anything, AlphaBeta(2, 1)),
    ),
    "excitation-backprop": lambda: Composite((anything, ZPlus(bias=False))),
    "deep-taylor": lambda: Composite(
        (first, ZBox(-1, 1, widen=True)), (anything, ZPlus(bias=False))
    ),
    "paper": lambda: Composite((anything, Gamma(0.25))),
    "paper-as-published": PaperAsPublished,
}

"""Composites: which rule each layer gets. Ready-made ones, and `Composite` for your own.

A composite is an ordered list of (which nodes, rule); a node gets the first rule that fits. Only
nodes with weights need one: what all others do is in `kerasgan.explain.propagate`.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Union

import tensorflow as tf

from kerasgan.errors import KerasganError, warn
from kerasgan.explain.graph import Graph, Node
from kerasgan.explain.operations import MIXING
from kerasgan.explain.propagate import ConservationTable, propagate
from kerasgan.explain.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, ZBox, ZPlus
from kerasgan.validation import invalid

Which = Union[str, type, Callable[[Node], bool]]
Weigh = Callable[[tf.Tensor], tf.Tensor]
"""From logits to the weights of a target."""

RECTIFIED = {"Relu", "Relu6"}


class Result(NamedTuple):
    """What a method gives for a batch.

    `weights` are those of the target; `layers` is relevance arriving at the outputs of layers, by
    name, nearest the image first; `conservation` is None for what is not conserved.
    """

    relevance: tf.Tensor
    logits: tf.Tensor
    weights: tf.Tensor
    layers: dict[str, tf.Tensor]
    conservation: ConservationTable | None


class Method:
    """A way of explaining: a composite of rules, a gradient, occlusion, iNNvestigate's analyzer.

    Example:
        >>> isinstance(Composite((anything, Epsilon())), Method)
        True
    """

    def analyse(
        self,
        network: Graph,
        images: tf.Tensor,
        target: Weigh,
        start: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ) -> Result:
        """Explains a batch; called while a `tf.function` is traced.

        Args:
            network: The network, up to its logits.
            images: Its input, or a list of them.
            target: From logits to weights.
            start: From weights and logits to the relevance to start from.
        """
        raise NotImplementedError

    def bind(self, names: Mapping[str, str]) -> Method:
        """Finds the layers that it was given by name in a network.

        `names` lead from every name of a layer to that of the node that stands for it. Returns the
        method for that network: itself, unless it was given layers.
        """
        return self


class Composite(Method):
    """An ordered choice of rules.

    Args:
        *rules: Pairs (which nodes, rule). Which nodes: a name pattern such as `"up_*"`, a class of
            layers, or a function from a `kerasgan.explain.graph.Node` (with `name` and `layer`) to
            bool, such as `first`, `last`, `dense` and `anything`. Rule: one of
            `kerasgan.explain.rules`, your own subclass of `Rule`, or an iNNvestigate rule class.
        keep_skips: Whether skip connections carry relevance. False drops what reaches a
            concatenation's inputs but the one computed last; it is counted as unsupported.

    Attributes:
        affine: What scale and shift that go to no weights do: "passed", "linear" (their shift is a
            bias), or "normalised" (linear behind a normalization by its own statistic).
        attention: "shared" between weights and values, or "held": all goes to the values.

    Example:
        >>> Composite((first, ZBox(-1, 1)), ("up_*", Epsilon()), (anything, Gamma(0.1)))
        Composite((first, ZBox(low=-1, high=1, widen=False)), ('up_*', Epsilon(epsilon=1e-06, \
relative=False, bias=True)), (anything, Gamma(gamma=0.1, bias=True, generalized=True)))
    """

    affine = "passed"
    attention = "shared"

    def __init__(self, *rules: tuple[Which, Any], keep_skips: bool = True):
        chosen = []
        for pair in rules:
            rule = as_rule(pair[1]) if isinstance(pair, tuple) and len(pair) == 2 else None
            if rule is None:
                expected = "pairs (which layers, rule), such as ('up_*', Epsilon())"
                raise invalid("rules", expected, pair, owner="Composite")
            chosen.append((pair[0], rule))
        self.rules = tuple(chosen)
        self.keep_skips = keep_skips

    def __repr__(self) -> str:
        pairs = [f"({getattr(w, '__name__', None) or repr(w)}, {rule!r})" for w, rule in self.rules]
        return f"{type(self).__name__}({', '.join(pairs)})"

    def rule_for(self, node: Node) -> Any:
        """Returns the rule of a node with weights."""
        for which, rule in self.rules:
            if _fits(which, node):
                return rule
        raise KerasganError(
            f"No rule of the composite fits layer '{node.name}' ({node.type}). "
            "End it with (anything, rule)"
        )

    def warn_if_unused(self, network: Graph) -> None:
        """Warns of name patterns that fit no layer with weights."""
        nodes = [node for node in network.nodes if node.kind == "weighted"]
        for which, rule in self.rules:
            if isinstance(which, str) and not any(_fits(which, node) for node in nodes):
                warn(
                    f"{which!r} of the composite fits no layer with weights, so {rule!r} is not "
                    f"used. There are: {[node.name for node in nodes]}"
                )

    def analyse(self, network: Graph, images: tf.Tensor, target: Weigh, start: Any) -> Result:
        """See `Method.analyse`."""
        run = network.run(images)
        weights = target(run.logits)
        analyzer = innvestigate()
        walk = propagate if analyzer is None else analyzer.propagate
        result = walk(run, start(weights, run.logits), self)
        others = zip(network.image_names[1:], result.relevance[1:])
        layers = {**dict(others), **result.layers}
        return Result(result.relevance[0], run.logits, weights, layers, result.conservation)


class AttnLRP(Composite):
    """AttnLRP, for networks with attention: every linear step by the epsilon or the gamma rule.

    Normalizations are linear steps with their scale held, and their shift, as any constant that is
    added, is a bias. Products of two matrices share relevance evenly; softmax passes it by its
    Taylor expansion.

    Args:
        gamma: None for the epsilon rule, as for language models; a number for the gamma rule, which
            vision transformers need against noise.

    Example:
        >>> AttnLRP(gamma=0.25)
        AttnLRP((anything, Gamma(gamma=0.25, bias=True, generalized=True)))

    Source: Achtibat et al. 2024 (arXiv 2402.05602).
    """

    affine = "linear"

    def __init__(self, gamma: float | None = None):
        super().__init__((anything, Epsilon() if gamma is None else Gamma(gamma)))


class CPLRP(AttnLRP):
    """CP-LRP, the cheaper way through attention: its weights are held, all goes to the values.

    Args:
        gamma: As of `AttnLRP`.

    Example:
        >>> CPLRP()
        CPLRP((anything, Epsilon(epsilon=1e-06, relative=False, bias=True)))

    Source: Ali et al. 2022 (arXiv 2202.07304), with the other rules of Achtibat et al. 2024 (arXiv
    2402.05602).
    """

    attention = "held"


class PaperAsPublished(Composite):
    """The rule of the paper's published code, which differs from the paper's text.

    LRP-0 through whole blocks of activation, convolution and batch norm (the gamma rule never takes
    effect), the last block with its tanh; relevance starts as one wherever the mask is foreground;
    that of skip connections is dropped.

    Source: arXiv 2111.01665.
    """

    def __init__(self) -> None:
        super().__init__((anything, Epsilon(1e-9)), keep_skips=False)

    def analyse(self, network: Graph, images: tf.Tensor, target: Weigh, start: Any) -> Result:
        """See `Method.analyse`."""

        def through_tanh(weights: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            output = tf.tanh(logits)
            return weights * logits * (1 - tf.square(output)) / (output + 1e-9)

        return super().analyse(network, images, target, through_tanh)


class Preset(Composite):
    """One of iNNvestigate's LRP analyzers, its own rules for all nodes with weights.

    What those rules send to biases and stabilisers is not known, so these columns of the ledger
    hold NaN.

    Args:
        name: iNNvestigate's name for it, such as "lrp.sequential_preset_a".

    Example:
        >>> Preset("lrp.sequential_preset_a")  # doctest: +SKIP
        Preset(name='lrp.sequential_preset_a')
    """

    def __init__(self, name: str):
        analyzers = innvestigate()
        if analyzers is None:
            raise KerasganError(
                f"{name!r} is a rule of iNNvestigate's own, which has to be installed for it (pip "
                "install innvestigate, under Python 3.11 or older). Or use a rule of "
                "kerasgan.explain"
            )
        if name not in analyzers.PRESETS:
            raise invalid("name", f"one of {', '.join(analyzers.PRESETS)}", name)
        super().__init__((anything, analyzers.preset(name)))
        self.name = name

    def __repr__(self) -> str:
        return f"Preset(name={self.name!r})"

    def analyse(self, network: Graph, images: tf.Tensor, target: Weigh, start: Any) -> Result:
        """See `Method.analyse`."""
        others = [n for n in network.nodes if n.kind == "passed" and n.main.kind not in RECTIFIED]
        if others and "preset" in self.name:
            names = ", ".join(node.name for node in others[:5]) + ", ..." * (len(others) > 5)
            warn(
                f"{self.name} is not advised for networks with non-ReLU activations. "
                f"Layers: {names}"
            )
        return super().analyse(network, images, target, start)


def innvestigate() -> ModuleType | None:
    """Returns `kerasgan.explain.innvestigate`; None where iNNvestigate is not installed."""
    if importlib.util.find_spec("innvestigate") is None:
        return None
    return importlib.import_module("kerasgan.explain.innvestigate")


def as_rule(given: Any) -> Rule | None:
    """Returns a rule as it is, one of iNNvestigate's rule classes as a rule; else None."""
    if isinstance(given, Rule):
        return given
    analyzers = innvestigate()
    return analyzers.rule_of(given) if inspect.isclass(given) and analyzers is not None else None


class EpsilonGammaBox(Composite):
    """The default: the box rule on pixels, gamma between, epsilon at the end.

    Depthwise convolutions of rectified values, as in MobileNet and EfficientNet-Lite, share evenly:
    each of their outputs is a sum of few contributions that nearly cancel, and behind many of them
    the gamma rule ends in noise.

    Source: Montavon et al. 2019 (doi 10.1007/978-3-030-28954-6_10), where gamma is for lower layers
    alone; of normalizations by their own statistic, Achtibat et al. 2024 (arXiv 2402.05602).
    """

    affine = "normalised"

    def __init__(self) -> None:
        super().__init__(
            (first, ZBox(-1, 1, widen=True)),
            (dense, Epsilon()),
            (last, Epsilon()),
            (depthwise_rectified, Flat()),
            (anything, Gamma(0.25)),
        )


def anything(_node: Node) -> bool:
    """Fits every node, at the end of a composite.

    Example:
        >>> Composite((anything, Epsilon()))
        Composite((anything, Epsilon(epsilon=1e-06, relative=False, bias=True)))
    """
    return True


def first(node: Node) -> bool:
    """Fits a node that sees the pixels themselves, padded or rearranged at most.

    Example:
        >>> Composite((first, ZBox(0, 1)), (anything, Epsilon()))  # doctest: +ELLIPSIS
        Composite((first, ZBox(low=0, high=1, widen=False)), ...)
    """
    return node.first


def last(node: Node) -> bool:
    """Fits a node with weights that no other follows: the one that gives the logits.

    Example:
        >>> Composite((last, Epsilon()), (anything, ZPlus()))  # doctest: +ELLIPSIS
        Composite((last, Epsilon(epsilon=1e-06, relative=False, bias=True)), ...)
    """
    return node.last


def dense(node: Node) -> bool:
    """Fits dense layers of a whole image's features, as those that end a classifier.

    What is applied to every place or token, such as a projection of attention, is not meant.

    Example:
        >>> Composite((dense, Epsilon()), (anything, ZPlus()))  # doctest: +ELLIPSIS
        Composite((dense, Epsilon(epsilon=1e-06, relative=False, bias=True)), ...)
    """
    return node.main.kind in MIXING and node.main.kind != "Einsum" and node.rank == 2


def depthwise_rectified(node: Node) -> bool:
    """Fits a depthwise convolution right behind ReLU or ReLU6."""
    is_depthwise = node.main.kind == "DepthwiseConv2dNative"
    return is_depthwise and node.inputs[0].step.kind in RECTIFIED


def _fits(which: Which, node: Node) -> bool:
    if isinstance(which, str):
        return fnmatch.fnmatchcase(node.name, which)
    return isinstance(node.layer, which) if inspect.isclass(which) else bool(which(node))


COMPOSITES: dict[str, Callable[[], Composite]] = {
    "epsilon": lambda: Composite((anything, Epsilon())),
    "gamma": lambda: Composite((anything, Gamma())),
    "z-plus": lambda: Composite((anything, ZPlus())),
    "alpha1beta0": lambda: Composite((anything, AlphaBeta(1, 0))),
    "alpha2beta1": lambda: Composite((anything, AlphaBeta(2, 1))),
    "epsilon-plus": lambda: Composite((dense, Epsilon()), (last, Epsilon()), (anything, ZPlus())),
    "epsilon-gamma-box": EpsilonGammaBox,
    "epsilon-alpha2beta1-flat": lambda: Composite(
        (first, Flat()),
        (dense, Epsilon()),
        (last, Epsilon()),
        (anything, AlphaBeta(2, 1)),
    ),
    "excitation-backprop": lambda: Composite((anything, ZPlus(bias=False))),
    "deep-taylor": lambda: Composite(
        (first, ZBox(-1, 1, widen=True)), (anything, ZPlus(bias=False))
    ),
    "paper": lambda: Composite((anything, Gamma(0.25))),
    "paper-as-published": PaperAsPublished,
    "attnlrp": AttnLRP,
    "cp-lrp": CPLRP,
}

"""Every way of explaining by its name: composites, gradients, iNNvestigate's own analyzers."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Union

from innvestigate.analyzer import analyzers
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from innvestigate.backend.graph import ReverseMappingBase

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.explain.analyzer import preset_analyzer
from kerasgan.explain.composites import COMPOSITES, Composite, Method, Result, anything
from kerasgan.explain.forward import Forward
from kerasgan.explain.gradients import GRADIENTS
from kerasgan.explain.rules import Rule

__all__ = ["Preset", "get", "rule_names"]

RuleLike = Union[str, Rule, Method, type]

DEFAULT_RULE = "epsilon-gamma-box"
"""What explains where no rule is named; docs/rules.md has the measurements that chose it."""

# "lrp.alpha_beta" and "..._until_idx" need arguments.
PRESETS = [
    name
    for name, base in analyzers.items()
    if name.startswith("lrp.")
    and issubclass(base, ReverseAnalyzerBase)
    and name not in ("lrp.alpha_beta", "lrp.sequential_preset_b_flat_until_idx")
]


@dataclasses.dataclass(frozen=True)
class Preset(Method):
    """One of iNNvestigate's LRP analyzers with its own rules, on the canonical network.

    What those rules send to biases and stabilisers cannot be told, so these columns of the ledger
    hold NaN.

    Args:
        name: iNNvestigate's name for it, such as "lrp.sequential_preset_a".

    Example:
        >>> Preset("lrp.sequential_preset_a")
        Preset(name='lrp.sequential_preset_a')
    """

    name: str

    def analyse(self, network, images, target, start) -> Result:
        """See `Method.analyse`."""
        trace = Forward(network, images)
        weights = target(trace.logits)
        analyzer = preset_analyzer(network, analyzers[self.name])
        found = analyzer.propagate(trace, start(weights, trace.logits))
        return Result(found.relevance, trace.logits, weights, *found[1:])


def rule_names() -> list[str]:
    """Names that `Explainer` takes as `rule`.

    Returns:
        Composites of rules, gradients, and iNNvestigate's own analyzers ("lrp...").

    Example:
        >>> rule_names()[:3]
        ['alpha1beta0', 'alpha2beta1', 'deep-taylor']
    """
    return sorted([*COMPOSITES, *GRADIENTS]) + sorted(PRESETS)


def get(rule: RuleLike) -> Method:
    """Makes a method of a name, a rule, a composite or one of iNNvestigate's rule classes.

    Args:
        rule: One of `rule_names()`, a rule for all layers, a `Composite`, another `Method`, or an
            iNNvestigate rule class for all layers.

    Raises:
        KerasganError: An unknown name, or none of these.

    Example:
        >>> get("epsilon")
        Composite((anything, Epsilon(epsilon=1e-06, relative=False, bias=True)))
    """
    if isinstance(rule, Method):
        return rule
    if isinstance(rule, Rule) or (inspect.isclass(rule) and issubclass(rule, ReverseMappingBase)):
        return Composite((anything, rule))
    if isinstance(rule, str):
        known = {**COMPOSITES, **GRADIENTS}
        if rule in known:
            return known[rule]()
        if rule in PRESETS:
            return Preset(rule)
        hint = did_you_mean(rule.lower(), rule_names())
        raise KerasganError(
            f"Argument 'rule' must be one of {', '.join(rule_names())}, a rule or a composite. "
            f"Received: {rule!r}. {hint}".rstrip()
        )
    if inspect.isclass(rule) and issubclass(rule, (Rule, Method)):
        raise KerasganError(
            f"Argument 'rule' must be an object. Received: a class; write {rule.__name__}()"
        )
    raise KerasganError(
        "Argument 'rule' must be a name from kerasgan.explain.rule_names(), a rule or a composite. "
        f"Received: {type(rule).__name__}"
    )

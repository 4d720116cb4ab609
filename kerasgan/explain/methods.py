"""Every way of explaining by its name: composites, gradients, occlusion, iNNvestigate's own."""

from __future__ import annotations

import inspect
from typing import Union

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.explain.composites import (
    COMPOSITES,
    Composite,
    Method,
    Preset,
    anything,
    as_rule,
    innvestigate,
)
from kerasgan.explain.gradcam import GradCAM
from kerasgan.explain.gradients import GRADIENTS
from kerasgan.explain.perturbation import PERTURBATIONS
from kerasgan.explain.rules import Rule
from kerasgan.validation import invalid

RuleLike = Union[str, Rule, Method, type]

DEFAULT_RULE = "epsilon-gamma-box"
"""What explains where no rule is named, chosen by the measurements in docs/benchmark-rules.md."""

NAMED = {**COMPOSITES, **GRADIENTS, "grad-cam": GradCAM, **PERTURBATIONS}


def rule_names() -> list[str]:
    """Names that `Explainer` takes as `rule`.

    Returns:
        Composites of rules, gradients, Grad-CAM, occlusion and RISE, and, where it is installed,
        iNNvestigate's own analyzers ("lrp...").

    Example:
        >>> rule_names()[:3]
        ['alpha1beta0', 'alpha2beta1', 'attnlrp']
    """
    analyzers = innvestigate()
    return sorted(NAMED) + sorted([] if analyzers is None else analyzers.PRESETS)


def name_of(rule: RuleLike) -> str:
    """Says what a rule is called: its name, or how it is written.

    Example:
        >>> name_of("epsilon"), name_of(GradCAM(layer="bottleneck"))
        ('epsilon', "GradCAM(layer='bottleneck')")
    """
    if isinstance(rule, str):
        return rule
    kind = rule if inspect.isclass(rule) else type(rule)
    plain = kind is rule or kind.__repr__ is object.__repr__
    return kind.__name__ if plain else repr(rule)


def get(rule: RuleLike) -> Method:
    """Makes a method of a name, a rule, a composite or one of iNNvestigate's rule classes.

    Example:
        >>> get("epsilon")
        Composite((anything, Epsilon(epsilon=1e-06, relative=False, bias=True)))
    """
    if isinstance(rule, Method):
        return rule
    single = as_rule(rule)
    if single is not None:
        return Composite((anything, single))
    if isinstance(rule, str):
        if rule in NAMED:
            return NAMED[rule]()
        if rule in rule_names() or (rule.startswith("lrp.") and innvestigate() is None):
            return Preset(rule)
        expected = f"one of {', '.join(rule_names())}, a rule or a composite"
        raise invalid("rule", expected, rule, did_you_mean(rule.lower(), rule_names()))
    if inspect.isclass(rule) and issubclass(rule, (Rule, Method)):
        raise KerasganError(
            f"Argument 'rule' must be an object. Received: a class; write {rule.__name__}()"
        )
    raise KerasganError(
        "Argument 'rule' must be a name from kerasgan.explain.rule_names(), a rule or a composite. "
        f"Received: {type(rule).__name__}"
    )

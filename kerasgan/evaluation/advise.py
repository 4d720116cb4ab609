"""Which rule to explain a network with: measured on the network itself, checked on other images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import (
    ExplainedBatch,
    ExplanationBenchmark,
    check_some,
    largest_leak,
    named_rules,
)
from kerasgan.evaluation.bootstrap import interval, resampled_means
from kerasgan.evaluation.faithfulness import areas
from kerasgan.evaluation.removal import BASELINES
from kerasgan.explain import Explainer, rule_names
from kerasgan.explain.explainer import Gates
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_choice, check_seed, check_whole_number

RULES = ("epsilon", "gamma", "z-plus", "alpha2beta1", "epsilon-plus", "epsilon-gamma-box")
METRIC = "pixels dice gap"
LEAK = 1e-3
SIZES = (1, 2, 4, 8, 16)
NEAR = 1.1
RESAMPLES = 2000


class Advice(NamedTuple):
    """What `advise` recommends, and why.

    Attributes:
        rule: Name of the rule to use.
        target: Name of the target.
        batch_size: Images to explain at once.
        text: The same in sentences, with the numbers.
        measurements: A row for each rule, on the images it was chosen on: `rule`; `gap`, its
            faithfulness, with `low` and `high`; `leak`, the largest part of a layer's relevance
            that is unaccounted for; `to_bias`, what went to biases as a share of what is explained;
            `seconds` an image.
        check: On the other images: `gap` of the best rule and of the default, their `difference`
            and its interval, `low` to `high`; and the number of `images`.
        batches: Seconds an image for each number of images at once.

    Example:
        >>> advice = kg.evaluation.advise(gan, val)  # doctest: +SKIP
        >>> kg.Explainer(gan, advice.rule, batch_size=advice.batch_size)  # doctest: +SKIP
    """

    rule: str
    target: str
    batch_size: int
    text: str
    measurements: pd.DataFrame
    check: dict[str, float]
    batches: pd.DataFrame


def advise(
    model: Any,
    samples: Samples,
    *,
    rules: Any = RULES,
    default: str = DEFAULT_RULE,
    images: int = 24,
    baseline: str = "blur",
    steps: int = 8,
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    seed: int = 0,
    preprocess: Any = None,
    gates: Gates | None = None,
    verbose: bool = True,
) -> Advice:
    """Measure a network's explanations for a minute or two and recommend how to explain it.

    Some images are drawn, and half of them used to choose the rule: the one with the largest gap in
    faithfulness (`faithfulness`, pixels removed most relevant first against least relevant first,
    Dice) of those that lose no relevance unseen. Whether it is better than the default is then
    measured on the other half, which took no part in the choice; if the interval of the difference
    includes 0, the default is recommended, since no difference was shown. The target
    is the predicted mask: what a prediction rests on. The batch size is the smallest whose time for
    an image is within a tenth of the best.

    Faithfulness is one property. Read [What a heatmap cannot tell you](../heatmap-limits.md)
    too, and look at the maps.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: `Samples` that took no part in training, 4 at least; masks are not needed.
        rules: The candidates, as for `ExplanationBenchmark`.
        default: Name of the rule that the choice is compared with; a candidate too.
        images: How many images are used, from 4 up; all, if there are fewer.
        baseline: What removed pixels are replaced by, as for `faithfulness`.
        steps: Of the removal curves.
        size: Side in pixels or (height, width); needed where the network takes any size.
        mode: As for `ExplanationBenchmark`.
        seed: Key of the draw, of ties and of the bootstrap.
        preprocess: What the network takes, as for `Explainer`.
        gates: As of `Explainer`.
        verbose: Whether to show progress bars.

    Returns:
        The advice.

    Example:
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=4, size=32)
        >>> image = keras.Input((16, 16, 3))
        >>> ones = {"kernel_initializer": "ones", "bias_initializer": "ones"}
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 1, **ones)(image))
        >>> advice = advise(model, samples, rules=["epsilon", "gamma"], steps=2, verbose=False)
        >>> advice.target, sorted(advice.measurements["rule"])
        ('prediction', ['epsilon', 'epsilon-gamma-box', 'gamma'])
    """
    rules = named_rules(rules)
    if default not in rules:
        if default not in rule_names():
            raise KerasganError(
                f"Argument 'default' must be one of the rules, {', '.join(rules)}, or a name from "
                f"kerasgan.explain.rule_names(). Received: {default!r}"
            )
        rules[default] = default
    check_choice("baseline", baseline, BASELINES)
    check_whole_number("steps", steps, 1)
    check_whole_number("images", images, 4)
    check_seed(seed)
    check_some(samples, 4)
    drawn = np.random.default_rng(seed).permutation(len(samples))[:images]
    halves = [samples[np.sort(half)] for half in (drawn[::2], drawn[1::2])]
    options: dict[str, Any] = {"size": size, "mode": mode, "seed": seed, "controls": False}
    options.update(preprocess=preprocess, gates=gates, verbose=verbose)
    benchmark = ExplanationBenchmark(model, halves[0], rules, **options)
    curves = {"baseline": baseline, "steps": steps, "seed": seed}
    gaps = _gaps(benchmark, curves)
    measured = _measured(benchmark, gaps, seed)
    best = _best(gaps, measured)
    two = {name: rules[name] for name in sorted({default, best})}
    others = _gaps(ExplanationBenchmark(model, halves[1], two, **options), curves)
    check = _check(others, best, default, seed)
    rule = best if best != default and check["low"] > 0 else default
    batches = _batches(benchmark.explainers[rule], next(iter(benchmark)))
    near = batches[batches["seconds"] <= NEAR * batches["seconds"].min()]
    batch_size, seconds = (near[column].iloc[0] for column in ("batch_size", "seconds"))
    taken = benchmark.explainer.gates
    text = _sentences(rule, best, default, check, measured, batch_size, seconds, taken)
    return Advice(rule, "prediction", int(batch_size), text, measured, check, batches)


def _gaps(benchmark: ExplanationBenchmark, curves: dict[str, Any]) -> pd.DataFrame:
    """Faithfulness of each image (rows) by each rule (columns)."""

    def measure(batch: ExplainedBatch, maps: np.ndarray) -> dict[str, np.ndarray]:
        return {METRIC: areas(batch, maps, **curves)[METRIC]}

    table = benchmark.table(benchmark.each(measure))
    wide = table.pivot(index="name", columns="method", values="value").dropna()
    if wide.empty:
        raise KerasganError(
            "Argument 'model' must predict something in some of the images drawn. Received: "
            f"'{benchmark.explainer.model.name}', whose masks of {len(benchmark.samples)} images "
            "are empty"
        )
    return wide


def _measured(benchmark: ExplanationBenchmark, gaps: pd.DataFrame, seed: int) -> pd.DataFrame:
    means = resampled_means(gaps.to_numpy(), RESAMPLES, seed)
    batch = next(iter(benchmark))
    rows = []
    for name, explainer in benchmark.explainers.items():
        start = time.perf_counter()
        explanation = explainer.explain(
            batch.images, target=batch.weights, layers=(), verbose=False
        )
        seconds = (time.perf_counter() - start) / len(batch.images)
        ledger = explanation.ledger
        leak, to_bias = largest_leak(ledger), np.nan
        if len(ledger):
            explained = (explanation.target * explanation.logits).sum(dtype=np.float64)
            to_bias = ledger["bias"][ledger["absolute"] > 0].sum(skipna=False) / explained
        low, high = interval(means[:, gaps.columns.get_loc(name)], 0.95, len(gaps))
        rows.append((name, gaps[name].mean(), low, high, leak, to_bias, seconds))
    columns = ["rule", "gap", "low", "high", "leak", "to_bias", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def _best(gaps: pd.DataFrame, measured: pd.DataFrame) -> str:
    """The most faithful rule that does not leak; methods without a ledger are not held to it."""
    leaking = measured.loc[measured["leak"] > LEAK, "rule"]
    tight = gaps.drop(columns=leaking)
    return (gaps if tight.empty else tight).mean().idxmax()


def _check(gaps: pd.DataFrame, best: str, default: str, seed: int) -> dict[str, float]:
    difference = (gaps[best] - gaps[default]).to_numpy()[:, None]
    drawn = resampled_means(difference, RESAMPLES, seed)[:, 0]
    low, high = interval(drawn, 0.95, len(difference))
    return {
        "gap": float(gaps[best].mean()),
        "default": float(gaps[default].mean()),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
        "images": len(gaps),
    }


def _batches(explainer: Explainer, batch: ExplainedBatch) -> pd.DataFrame:
    rows = []
    for count in SIZES:
        images = explainer.preprocess(np.resize(batch.images, (count, *batch.images.shape[1:])))
        weights = np.resize(batch.weights, (count, *batch.weights.shape[1:]))
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            explainer.relevance(images, tf.constant(weights)).numpy()
            seconds.append((time.perf_counter() - start) / count)
        rows.append((count, min(seconds)))
    return pd.DataFrame(rows, columns=["batch_size", "seconds"])


def _sentences(
    rule: str,
    best: str,
    default: str,
    check: dict[str, float],
    measured: pd.DataFrame,
    batch_size: int,
    seconds: float,
    gates: Mapping[str, Sequence[int]],
) -> str:
    spread = f"{check['low']:+.3f} to {check['high']:+.3f}"
    if check["images"] < 2:
        spread = "of one image, without an interval"
    held = (
        f"On {int(check['images'])} images that took no part in the choice '{best}' reaches a gap "
        f"of {check['gap']:.3f}, the default '{default}' {check['default']:.3f}; the difference, "
        f"{check['difference']:+.3f} ({spread}), "
    )
    if best == default:
        verdict = f"No candidate was more faithful than the default, '{default}'."
    elif best == rule:
        verdict = f"{held}is not chance alone."
    else:
        verdict = f"{held}may be chance: the default is as good."
    leaking: Sequence[str] = measured.loc[measured["leak"] > LEAK, "rule"].tolist()
    lines = [f"Explain with rule '{rule}', target 'prediction', batch size {batch_size}.", verdict]
    if leaking:
        lines.append(f"Not considered, since relevance is lost unseen: {', '.join(leaking)}.")
    lines.append(f"An image takes {seconds:.3g} s.")
    if gates:
        lines.append(f"Taken for the gates of products: {gates}.")
    return "\n".join(lines)

"""Faithfulness: does the target fall when what a map calls relevant is removed?

Every curve of `kerasgan.evaluation.removal` is summarized by the area below it, so a map has
one number for each score of the target, Dice and mean logit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark
from kerasgan.evaluation.removal import BASELINES, ORDERS, UNITS, removal_curve
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_choice, check_whole_number

CURVES: dict[str, dict[str, tuple]] = {
    **{units: {order: (units, order, None) for order in ORDERS} for units in UNITS},
    "deletion": {"": ("pixels", "most", "mean")},
    "insertion": {"": ("pixels", "least", "blur")},
}
"""By name and part: units, order and baseline (None: the one asked for)."""


def faithfulness(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    curves: str | Sequence[str] = ("pixels",),
    baseline: str = "blur",
    steps: int = 10,
    **options: Any,
) -> pd.DataFrame:
    """Measure how faithful heatmaps are, by removing what they call relevant.

    Curves, of the target's Dice and mean logit over the share that is removed:

    - `pixels`: pixel flipping. `pixels dice most` is the area below the curve with the most
      relevant pixels removed first: lower is better. `pixels dice least`, the least relevant first:
      higher is better. `pixels dice gap`, least minus most: higher is better, and 0 for a constant
      map; the one to compare rules by. `pixels logit most` and so on likewise.
    - `regions`: the same with squares of a sixteenth of the shorter side (region perturbation).
    - `superpixels`: the same with patches of one colour (IROF; its score is 1 minus `most`).
    - `deletion`: `deletion dice`, the most relevant pixels removed first and the mean colour put
      in their place: lower is better.
    - `insertion`: `insertion dice`, the most relevant pixels put first into the blurred image:
      higher is better. It is the curve of `pixels dice least` read from its end, with the baseline
      of its authors.

    Areas are taken by trapezoids and relative to the unaltered image, so 1 means that nothing was
    lost. A logit can be lost more than once over, so its areas can be below 0, and where the
    target's mean logit is small to begin with they can be large: Dice is the steadier of the two.
    The baseline is part of the result: compare rules under one, and see whether others agree.

    Args:
        model: A network from image to mask.
        samples: What to explain, with masks where the target asks for them.
        rules: One rule or method, or several.
        curves: Names of curves, or one of them: "pixels", "regions", "superpixels", "deletion",
            "insertion".
        baseline: What is put in the place of removed pixels: "blur", "mean", "noise", "inpainting"
            or "road"; the last two are slower, for they solve equations at every step. Deletion
            and insertion have their own.
        steps: In how many equal steps all is removed, at least 1. Each costs a pass of the
            network for an image, an order and a method.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        A row for each image, method and metric: `name`, `method`, `kind` ("rule" or "control"),
        `metric`, `value`; NaN where the unaltered image scores 0 or less, as for an empty target.
        `summarize_maps` takes means with intervals, and counts the undefined.

    Example:
        >>> import keras, kerasgan as kg
        >>> image = keras.Input((16, 16, 3))
        >>> ones = {"kernel_initializer": "ones", "bias_initializer": "ones"}
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 1, **ones)(image))
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> table = faithfulness(model, samples, steps=2, controls=False, verbose=False)
        >>> table["metric"].unique().tolist()[:3]
        ['pixels dice most', 'pixels dice least', 'pixels dice gap']
        >>> summary = kg.evaluation.summarize_maps(table)
        >>> gaps = summary.query("metric == 'pixels logit gap'")
        >>> gaps["images"].tolist()
        [2]

    Source: Samek et al. 2017, arXiv 1509.06321 (most and least relevant first, regions); Petsiuk
    et al. 2018, arXiv 1806.07421 (insertion, deletion); Rieger and Hansen 2020, arXiv 2003.08747
    (IROF); Rong et al. 2022, arXiv 2202.00449 (ROAD).
    """
    curves = [curves] if isinstance(curves, str) else list(curves)
    if not curves or len(set(map(str, curves))) < len(curves):
        raise KerasganError(
            f"Argument 'curves' must name at least one curve, and each once. Received: {curves!r}"
        )
    for curve in curves:
        check_choice("curves", curve, CURVES)
    check_choice("baseline", baseline, BASELINES)
    check_whole_number("steps", steps, 1)
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    seed = benchmark.seed
    measure = functools.partial(areas, curves=curves, baseline=baseline, steps=steps, seed=seed)
    facts = {"measure": "faithfulness", "curves": curves, "baseline": baseline, "steps": int(steps)}
    return benchmark.table(benchmark.each(measure), facts=facts)


def areas(
    batch: ExplainedBatch,
    maps: np.ndarray,
    *,
    curves: Sequence[str] = ("pixels",),
    baseline: str = "blur",
    steps: int = 10,
    seed: int = 0,
) -> Mapping[str, np.ndarray]:
    """Return the areas below the curves of one method, float64 (batch,) by metric."""

    @functools.cache
    def area(units: str, order: str, fill: str) -> dict[str, np.ndarray]:
        options: dict[str, Any] = {"units": units, "baseline": fill, "steps": steps, "seed": seed}
        fractions, scores = removal_curve(batch, maps, order, **options)
        return {score: trapezoid(curve, fractions, axis=1) for score, curve in scores.items()}

    metrics: dict[str, np.ndarray] = {}
    for curve in curves:
        for score in ("dice", "logit"):
            for part, (units, order, fill) in CURVES[curve].items():
                metric = f"{curve} {score} {part}".strip()
                metrics[metric] = area(units, order, fill or baseline)[score]
            if "least" in CURVES[curve]:
                most, least = (metrics[f"{curve} {score} {part}"] for part in ("most", "least"))
                metrics[f"{curve} {score} gap"] = least - most
    return metrics

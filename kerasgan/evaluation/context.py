"""What relevance says beyond the mask: shares inside, beside and outside the target.

A heatmap of a mask easily does no more than redraw it, a little blurred. So shares are held against
just that: the target itself, blurred by several widths. What lies outside beyond such a null is
context that the network uses, or noise that the rule adds; a random map and the other controls tell
how much of it comes from nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.evaluation import regions
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark, target_map
from kerasgan.explain.methods import DEFAULT_RULE

WIDTHS = (2, 4, 8, 16)


def context(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    rim: float = 4,
    widths: Sequence[float] = WIDTHS,
    **options: Any,
) -> pd.DataFrame:
    """Measure how much absolute relevance lies inside the target, in the rim round it, and outside.

    Metrics, for every image, rule and control:

    - `inside`, `rim`, `outside`: shares that add up to 1. The target is every pixel that is
      explained; the rim is what lies beside it, not in it, up to `rim` pixels away.
    - `excess`: the share outside less that of the target blurred, of the blur that fits the map
      best; 0 for a map that is the mask, blurred. `blur`: the width of that blur in pixels, 0 for
      the target as it is.
    - `excess over W px`: the same against the blur of each width.

    A target that fills the frame has everything inside and an excess of 0. Where the target is
    empty or the map zero everywhere, all are NaN.

    Args:
        model: A network from image to mask.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        rim: Width of the rim in pixels, from 1 up.
        widths: Of the Gaussians that the target is blurred by, standard deviations in pixels. With
            the controls each is a method of its own, such as `target blurred 4 px`.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        A row for each image, method and metric: `name`, `method`, `kind` ("rule" or "control"),
        `metric`, `value`. `summarize_maps` takes means with bootstrap intervals.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> table = context(
        ...     model, samples, widths=[4], target=pixel, controls=False, verbose=False
        ... )
        >>> table["metric"].unique().tolist()
        ['inside', 'rim', 'outside', 'blur', 'excess', 'excess over 4 px']
    """
    regions.check_widths(rim, widths)
    benchmark = _with_blurs(model, samples, rules, widths, options)

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        target = np.any(batch.weights != 0, -1)
        empty = ~target.any((1, 2))
        parts = regions.parts_around(target, rim)
        nulls = regions.blurred_targets(target_map(batch, benchmark.seed), widths)
        for method, maps in benchmark.maps(batch):
            metrics = regions.shares_and_excess(np.abs(maps), parts, "outside", nulls)
            yield method, {name: np.where(empty, np.nan, value) for name, value in metrics.items()}

    return benchmark.table(measure)


def _with_blurs(
    model: Any, samples: Samples, rules: Any, widths: Sequence[float], options: dict[str, Any]
) -> ExplanationBenchmark:
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    if benchmark.controls:
        benchmark.controls = {**benchmark.controls, **regions.blur_controls(widths)}
    return benchmark

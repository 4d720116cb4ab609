"""Where relevance lies: on the true structure, on its rim, or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark
from kerasgan.evaluation.regions import boundary_rim, check_widths, shares, true_region
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_choice, check_whole_number

REGIONS = {
    "truth": lambda batch, rim: true_region(batch),
    "rim": lambda batch, rim: boundary_rim(true_region(batch), rim),
    "target": lambda batch, rim: np.any(batch.weights != 0, -1),
}


def localisation(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    region: str | Sequence[str] = ("truth", "rim"),
    rim: float = 4,
    k: int = 100,
    **options: Any,
) -> pd.DataFrame:
    """Measure how much of the relevance lies in a region, for every image, rule and control.

    Four metrics, each a share from 0 to 1, named by the region, such as `mass in truth`:

    - `mass`: `mass_accuracy`, of all positive relevance.
    - `rank`: of as many pixels of highest relevance as the region has (`top_share`).
    - `pointing`: of the single pixel of highest relevance: 1 or 0, but for ties. There is no margin
      of tolerance.
    - `top K`: of the `k` pixels of highest relevance.

    A random map scores about the region's share of the image in all of them, and so does a constant
    map exactly; a region that fills the frame scores 1. Where the region or the target is empty
    there is nothing to find: NaN. The relevance of a mask can lie beside the mask for good reasons;
    the controls in the table say what a map scores that knows the mask, or the image, alone.

    Args:
        model: A network from image to mask.
        samples: With masks but for the region "target".
        rules: One rule or method, or several.
        region: "truth", the true mask of the classes explained; "rim", the pixels round the outline
            of the true mask, inside and outside; "target", the pixels explained, whatever is true;
            or several of these, measured on the same maps.
        rim: Width of each half of the rim, in pixels, from 1 up.
        k: How many pixels `top K` asks for, from 1 to the pixels of an image.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        As of `ExplanationBenchmark.table`.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> table = localisation(
        ...     model, samples, region="truth", target=pixel, controls=False, verbose=False
        ... )
        >>> table["metric"].unique().tolist()
        ['mass in truth', 'rank in truth', 'pointing in truth', 'top 100 in truth']

    Source: Mass and rank accuracy, Arras, Osman and Samek 2022 (arXiv 2003.07258); pointing game,
    Zhang et al. 2018 (arXiv 1608.00507); top-k intersection, Theiner et al. 2022.
    """
    regions = [region] if isinstance(region, str) else list(region)
    for name in regions:
        check_choice("region", name, REGIONS)
    check_widths(rim)
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    if samples.mask_paths is None and set(regions) - {"target"}:
        raise KerasganError(
            "Argument 'samples' must have masks for the regions 'truth' and 'rim'. Received: "
            "samples without. Pass region='target'"
        )

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        pixels = batch.images[0, ..., 0].size
        check_whole_number("k", k, 1, pixels)
        there = np.any(batch.weights != 0, (1, 2, 3))
        parts = {name: REGIONS[name](batch, rim) for name in regions}
        for method, maps in benchmark.maps(batch):
            metrics: dict[str, np.ndarray] = {}
            for name, part in parts.items():
                area = part.sum((1, 2))
                values = {
                    "mass": mass_accuracy(maps, part),
                    "rank": top_share(maps, part, area),
                    "pointing": top_share(maps, part, 1),
                    f"top {k}": top_share(maps, part, k),
                }
                metrics.update(
                    (f"{metric} in {name}", np.where(there, value, np.nan))
                    for metric, value in values.items()
                )
            yield method, metrics

    facts = {"measure": "localisation", "region": regions, "rim": rim, "k": k}
    return benchmark.table(measure, facts=facts)


def mass_accuracy(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return the share of positive relevance that lies in a region.

    Source: Arras, Osman and Samek 2022 (arXiv 2003.07258), relevance mass accuracy.
    """
    share = shares(np.maximum(maps, 0), {"region": region})["region"]
    return np.where(region.any((1, 2)), share, np.nan)


def top_share(maps: np.ndarray, region: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Return the share of the pixels of highest relevance that lies in a region.

    Where pixels of equal relevance compete for the last places, each counts by its chance of
    getting one: a constant map gets the region's share of the image.
    """
    counts = np.broadcast_to(count, len(maps))
    result = np.full(len(maps), np.nan)
    for index, (one, part, count) in enumerate(zip(maps, region, counts)):
        if part.any():
            last = np.partition(one, -count, axis=None)[-count]
            above, tied = one > last, one == last
            chance = (count - above.sum()) / tied.sum()
            result[index] = ((above & part).sum() + chance * (tied & part).sum()) / count
    return result

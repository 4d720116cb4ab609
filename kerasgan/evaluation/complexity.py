"""How few pixels a map is made of: the fewer, the easier it is to read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark
from kerasgan.evaluation.similarity import ratio
from kerasgan.explain.methods import DEFAULT_RULE


def complexity(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    **options: Any,
) -> pd.DataFrame:
    """Measure how concentrated maps are, for every image, rule and control.

    Metrics: `sparseness` and `entropy`, both of absolute relevance. A map that is constant but not
    zero has sparseness 0 and entropy 1. A map of zeros, as an empty target gives, has neither: NaN.
    Concentrated is not correct: a map of a single pixel has the best values that there are.

    Args:
        model: A network from image to mask.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        As of `ExplanationBenchmark.table`.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> table = complexity(model, samples, target=pixel, controls=False, verbose=False)
        >>> table["metric"].unique().tolist()
        ['sparseness', 'entropy']
    """

    def measure(batch: ExplainedBatch, maps: np.ndarray) -> dict[str, np.ndarray]:
        return {"sparseness": sparseness(maps), "entropy": entropy(maps)}

    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    return benchmark.table(benchmark.each(measure), facts={"measure": "complexity"})


def sparseness(maps: np.ndarray) -> np.ndarray:
    """Return the Gini index of the absolute relevance of pixels.

    Source: Chalasani et al. 2020 (arXiv 1810.06583).
    """
    rising = np.sort(np.abs(maps.reshape(len(maps), -1)), axis=1)
    pixels = rising.shape[1]
    places = (pixels - np.arange(1, pixels + 1) + 0.5) / pixels
    return 1 - 2 * _shares(rising) @ places


def entropy(maps: np.ndarray) -> np.ndarray:
    """Return the entropy of the pixels' shares of absolute relevance, over that of equal shares.

    Source: Bhatt et al. 2020 (arXiv 2005.00631), complexity; here divided by its maximum.
    """
    share = _shares(np.abs(maps.reshape(len(maps), -1)))
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.abs((share * logs).sum(1)) / np.log(share.shape[1])


def _shares(sizes: np.ndarray) -> np.ndarray:
    return ratio(sizes, sizes.sum(1, keepdims=True, dtype=np.float64))

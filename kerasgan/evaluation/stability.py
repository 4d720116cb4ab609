"""Whether maps stay as they are where nothing that matters changes: noise, light, blur."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark, rng_of
from kerasgan.evaluation.similarity import rank_correlation, relative_change
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_number, check_whole_number


def adjust_brightness(images: np.ndarray) -> np.ndarray:
    """Raise every value by a tenth of the range."""
    return images + 0.2


def adjust_contrast(images: np.ndarray) -> np.ndarray:
    """Draw every value a fifth nearer to the mean of its image and channel."""
    mean = images.mean((1, 2), keepdims=True)
    return mean + 0.8 * (images - mean)


def adjust_gamma(images: np.ndarray) -> np.ndarray:
    """Raise values, read as from 0 to 1, to the power of 1.25."""
    return 2 * np.clip((images + 1) / 2, 0, 1) ** 1.25 - 1


def gaussian_blur(images: np.ndarray) -> np.ndarray:
    """Blur by a Gaussian of one pixel."""
    return ndimage.gaussian_filter(images, (0, 1, 1, 0), mode="nearest")


PHOTOMETRIC = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "gamma": adjust_gamma,
    "blur": gaussian_blur,
}
"""Changes of light and focus that leave the structures where they are, by name."""


def stability(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    radius: float = 0.02,
    draws: int = 5,
    changes: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure how much maps change with the image, the weights of the target held as they are.

    Metrics, for every image, rule and control:

    - `max-sensitivity`: largest change of the map over several draws of uniform noise, as a share
      of the map (`relative_change`: Frobenius norms). 0 for a map that noise does not change.
    - `rank correlation, NAME` and `change, NAME`: Spearman's correlation of the maps before and
      after a change of the image, and `relative_change`.

    Altered images are clipped to [-1, 1]. Where the map of the image itself is zero everywhere, as
    an empty target gives, there is nothing to compare: NaN; and so is the correlation where a map
    is constant. Maps that hardly depend on the image are stable too: the controls say what that is
    worth.

    Args:
        model: A network from image to mask.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        radius: Largest noise of a value of the image, which range from -1 to 1; above 0.
        draws: How often noise is drawn for `max-sensitivity`, from 1 up.
        changes: Functions from images, float32 (batch, height, width, channels) in [-1, 1], to such
            images, by name; None for `PHOTOMETRIC`: 10 % brighter, contrast times 0.8, gamma 1.25,
            blurred by 1 px. An empty dict for none.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        As of `ExplanationBenchmark.table`.

    Example:
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
        >>> options = {"target": kg.explain.targets.Pixel(9, 9), "controls": False}
        >>> table = stability(
        ...     model, samples, draws=2, changes={"mirror": lambda x: x[:, :, ::-1]},
        ...     verbose=False, **options,
        ... )
        >>> table["metric"].unique().tolist()
        ['max-sensitivity', 'rank correlation, mirror', 'change, mirror']

    Source: Max-sensitivity, Yeh et al. 2019 (arXiv 1901.09392), estimated by draws; here relative
    to the norm of the map, so that maps of any scale compare.
    """
    check_number("radius", radius, above=0, most=2)
    check_whole_number("draws", draws, 1)
    changes = PHOTOMETRIC if changes is None else changes
    benchmark = ExplanationBenchmark(model, samples, rules, **options)

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        before = dict(benchmark.maps(batch))
        metrics: dict[str, dict[str, np.ndarray]] = {method: {} for method in before}
        for draw in range(draws):
            noise = _noise(batch, radius, benchmark.seed, draw)
            for method, maps in benchmark.maps(_altered(batch, batch.images + noise)):
                change = relative_change(before[method], maps)
                largest = metrics[method].get("max-sensitivity", change)
                metrics[method]["max-sensitivity"] = np.maximum(largest, change)
        for name, function in changes.items():
            images = np.asarray(function(batch.images.copy()))
            if images.shape != batch.images.shape or not np.all(np.isfinite(images)):
                raise KerasganError(
                    f"Change {name!r} of argument 'changes' must return finite images of shape "
                    f"{batch.images.shape}. Received: shape {images.shape}"
                )
            for method, maps in benchmark.maps(_altered(batch, images)):
                metrics[method][f"rank correlation, {name}"] = rank_correlation(
                    before[method], maps
                )
                metrics[method][f"change, {name}"] = relative_change(before[method], maps)
        yield from metrics.items()

    facts = {"measure": "stability", "radius": radius, "draws": draws, "changes": changes}
    return benchmark.table(measure, facts=facts)


def _noise(batch: ExplainedBatch, radius: float, *seed: int) -> np.ndarray:
    shape = batch.images.shape[1:]
    return np.stack([rng_of(name, *seed).uniform(-radius, radius, shape) for name in batch.names])


def _altered(batch: ExplainedBatch, images: np.ndarray) -> ExplainedBatch:
    return dataclasses.replace(batch, images=np.clip(images, -1, 1).astype(np.float32))

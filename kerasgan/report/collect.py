"""One pass over all images: scores, calibration, thumbnails and errors of each image.

No image and no mask is kept but as a thumbnail and a row of a table, so memory grows by about two
kilobytes an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.evaluation.benchmark import check_some
from kerasgan.evaluation.segmentation import check_samples, evaluate_masks
from kerasgan.inference import Calibration, decide, expected_calibration_error, iterate_probability
from kerasgan.inference.calibration import pool_calibrations
from kerasgan.inference.card import printable
from kerasgan.models import generator_of
from kerasgan.models.outputs import refuse_classes, refuse_labels
from kerasgan.report.failures import ObjectCounts, count_objects, failure_kinds
from kerasgan.report.pictures import photo

THUMBNAIL = 64


class Collected(NamedTuple):
    """What is known of all images.

    Attributes:
        table: A row per image: `name`, made printable; scores and areas where there are true masks,
            else `predicted_area`; `confidence`, how sure the network is of the foreground that it
            drew, on average over its pixels (over all pixels, where it drew none); with true
            masks also `objects`, `missed`, `regions`, `false` and `finding`.
        summary: What `kerasgan.evaluation.summarize` says of the scores; None without true masks.
        calibration: None without true masks.
        thumbnails: Data addresses of JPEGs of 64 pixels, in the order of the table; empty if none
            were asked for.
    """

    table: pd.DataFrame
    summary: dict[str, Any] | None
    calibration: Calibration | None
    thumbnails: list[str]

    @property
    def labelled(self) -> bool:
        """Whether there are true masks."""
        return self.summary is not None

    def score_table(self) -> pd.DataFrame:
        """Return the means and intervals of the summary, a row for each score."""
        return pd.DataFrame(self.summary["scores"]).T.rename_axis("score").reset_index()


def collect(
    model: Any,
    samples: Samples,
    *,
    threshold: float = 0.5,
    empty: str = "agree",
    thumbnails: bool = True,
    seen: Callable[[np.ndarray], Any] | None = None,
    verbose: bool = True,
    **options: Any,
) -> Collected:
    """Segment every image once and keep what the report says of it."""
    check_some(samples)
    refuse_labels(generator_of(model), "a report")
    labelled = samples.mask_paths is not None
    if labelled:
        check_samples(samples, empty)
        refuse_classes(generator_of(model), samples)
    rows: list[dict[str, Any]] = []
    pictures: list[str] = []
    parts: list[Calibration] = []

    def masks() -> Iterator[np.ndarray]:
        maps = iterate_probability(model, samples, **options)
        for index, probability in enumerate(maps):
            mask = decide(probability, threshold)
            if thumbnails:
                pictures.append(photo(samples.image(index), THUMBNAIL, 70)[0])
            if seen is not None:
                seen(mask)
            rows.append({"confidence": _confidence(probability, mask)})
            if labelled:
                truth = samples.mask(index)
                parts.append(expected_calibration_error([truth], [probability]))
                rows[-1].update(count_objects(truth, mask)._asdict())
            else:
                rows[-1]["predicted_area"] = float(np.mean(mask != 0))
            yield mask

    if labelled:
        table = evaluate_masks(samples, masks(), empty=empty, verbose=verbose)
        summary = table.attrs.pop("summary")
        table = pd.concat([table, pd.DataFrame(rows)], axis=1)
        counted = zip(table["objects"], table["missed"], table["regions"], table["false"])
        table["finding"] = [
            "; ".join(failure_kinds(ObjectCounts(*counts), score))
            for counts, score in zip(counted, table["jaccard"])
        ]
    else:
        bar = keras.utils.Progbar(len(samples), unit_name="image", verbose=bool(verbose))
        for _ in masks():
            bar.add(1)
        table, summary = pd.DataFrame(rows), None
        table.insert(0, "name", list(samples.names))
    table["name"] = [printable(name) for name in samples.names]
    return Collected(table, summary, pool_calibrations(parts) if labelled else None, pictures)


def _confidence(probability: np.ndarray, mask: np.ndarray) -> float:
    if probability.shape[-1] == 1:
        sure = np.where(mask, probability[..., 0], 1 - probability[..., 0])
    else:
        sure = probability.max(-1)
    drawn = mask != 0
    return float(sure[drawn].mean(dtype=np.float64) if drawn.any() else sure.mean(dtype=np.float64))

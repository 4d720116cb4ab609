"""What relevance says beyond the mask: shares inside, beside and outside the target.

A heatmap of a mask easily does no more than redraw it, a little blurred. So shares are held against
just that: the target itself, blurred by several widths. What lies outside beyond such a null is
context that the network uses, or noise that the rule adds; a random map and the other controls tell
how much of it comes from nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation import regions
from kerasgan.evaluation.benchmark import COLUMNS, ExplainedBatch, ExplanationBenchmark, target_map
from kerasgan.explain.logits import label_components
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_whole_number

WIDTHS = (2, 4, 8, 16)
OBJECTS = ["name", "object", "area", *COLUMNS[1:]]


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
        `metric`, `value`. `summarize_maps` takes means with bootstrap intervals;
        `top_images` lists the images of largest excess.

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

    facts = {"measure": "context", "rim": rim, "widths": list(widths)}
    return benchmark.table(measure, facts=facts)


def top_images(
    table: pd.DataFrame, count: int = 10, *, method: str | None = None, metric: str = "excess"
) -> pd.DataFrame:
    """List the images whose maps deviate most from the mask blurred.

    Args:
        table: What `context` or `relevance_between_objects` returned.
        count: How many rows, 1 at least; all, if there are fewer.
        method: Whose maps; None for the only rule in the table.
        metric: What to go by.

    Returns:
        Rows of the table, the largest value first, equals in the order of the table. Images without
        a value are left out.

    Example:
        >>> rows = [(name, "epsilon", "rule", "excess", v) for name, v in (("a", 0.1), ("b", 0.4))]
        >>> table = pd.DataFrame(rows, columns=["name", "method", "kind", "metric", "value"])
        >>> top_images(table, 1)["name"].tolist()
        ['b']
    """
    if not isinstance(table, pd.DataFrame) or set(COLUMNS) - set(table):
        raise KerasganError(
            f"Argument 'table' must have the columns {', '.join(COLUMNS)}, as context returns. "
            f"Received: {list(table) if isinstance(table, pd.DataFrame) else type(table).__name__}"
        )
    check_whole_number("count", count, 1)
    if method is None:
        rules = table.loc[table["kind"] == "rule", "method"].unique().tolist()
        if len(rules) != 1:
            raise KerasganError(
                f"Argument 'method' must name a method, as the table has not one rule but {rules}"
            )
        method = rules[0]
    rows = table[(table["method"] == method) & (table["metric"] == metric)]
    if rows.empty:
        raise KerasganError(
            f"Arguments 'method' and 'metric' must be of the table. Received: {method!r}, "
            f"{metric!r}; it has the methods {table['method'].unique().tolist()} and the metrics "
            f"{table['metric'].unique().tolist()}"
        )
    rows = rows.dropna(subset=["value"])
    return rows.sort_values("value", ascending=False, kind="stable").head(count)


def relevance_between_objects(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    least: int = 20,
    rim: float = 4,
    widths: Sequence[float] = WIDTHS,
    **options: Any,
) -> pd.DataFrame:
    """Measure how much of one object's absolute relevance lies on the other objects of its image.

    The objects of an image are the connected components of its predicted mask, those of at least
    `least` pixels. Each is explained by itself, in every image that has two or more; images with
    fewer are left out. Metrics, for every object, rule and control:

    - `own`, `others`, `beside`, `elsewhere`: shares that add up to 1: on the object itself, on the
      other objects, in the rim round it that is neither, and on the rest.
    - `excess`, `blur`, `excess over W px`: the share on the others less that of the object blurred,
      as in `context`.

    Args:
        model: A network from image to mask.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        least: Smallest area of an object in pixels, from 1 up.
        rim: Width of the rim round an object in pixels, from 1 up.
        widths: Of the Gaussians that an object is blurred by, as for `context`.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        A row for each object, method and metric: `name` of its image, `object` (from 0, the
        largest), `area` in pixels, `method`, `kind`, `metric`, `value`; NaN where a map is zero
        everywhere. `summarize_maps` takes means with bootstrap intervals, of the means over the
        objects of an image; `attrs["images"]` says how many images have two objects or more.

    Raises:
        KerasganError: If an argument is out of range, no image has two such objects, or the folder
            is of another call.

    Example:
        >>> import pathlib, tempfile
        >>> import keras
        >>> from PIL import Image
        >>> import kerasgan as kg
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> pixels = np.zeros((32, 32, 3), "uint8")
        >>> pixels[8:16, 4:12] = pixels[8:16, 20:28] = 255  # two squares
        >>> Image.fromarray(pixels).save(folder / "squares.png")
        >>> samples = kg.data.load_folder(images=folder, masks=None)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 1, kernel_initializer="ones")(image))
        >>> table = relevance_between_objects(model, samples, controls=False, verbose=False)
        >>> table.query("metric == 'others'")[["object", "area", "value"]].values.tolist()
        [[0.0, 64.0, 0.0], [1.0, 64.0, 0.0]]
    """
    regions.check_widths(rim, widths)
    check_whole_number("least", least, 1, unit="of pixels")
    if "target" in options:
        raise KerasganError(
            "Argument 'target' cannot be given: each object of the prediction is the target. "
            f"Received: {options['target']!r}"
        )
    benchmark = _with_blurs(model, samples, rules, widths, options)
    facts = {"measure": "objects", "least": least, "rim": rim, "widths": list(widths)}

    def rows(batch: ExplainedBatch) -> list[tuple]:
        labels = label_components(batch.logits)
        counts = _objects(labels, least)
        if not counts.any():
            return []
        return _object_rows(benchmark, batch, labels, counts, rim, widths)

    batches = benchmark.batch_tables(rows, OBJECTS, facts)
    tables = [table for _, table in batches if len(table)]
    if not tables:
        raise KerasganError(
            f"Argument 'samples' must have an image with two predicted objects of at least {least} "
            f"pixels. Received: none in {len(samples)} images. Pass a smaller 'least', or others"
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["images"] = table["name"].nunique()
    return table


def _object_rows(
    benchmark: ExplanationBenchmark,
    batch: ExplainedBatch,
    labels: np.ndarray,
    counts: np.ndarray,
    rim: float,
    widths: Sequence[float],
) -> list[tuple]:
    """Rows of `OBJECTS`, the index of the image in its batch first."""
    image = np.repeat(np.arange(len(counts)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    every = np.any((labels > 0) & (labels <= counts[:, None, None, None]), -1)
    kinds, rows = benchmark.methods, []
    for first in range(0, len(image), benchmark.batch_size):
        some = slice(first, first + benchmark.batch_size)
        objects = _of_components(batch, labels, image[some], number[some])
        target = np.any(objects.weights > 0, -1)
        others = every[image[some]] & ~target
        beside = regions.boundary_rim(target, rim, outer=True) & ~others
        parts = {"own": target, "others": others, "beside": beside}
        parts["elsewhere"] = ~(target | others | beside)
        nulls = regions.blurred_targets(target_map(objects, benchmark.seed), widths)
        area = target.sum((1, 2))
        for method, maps in benchmark.maps(objects):
            metrics = regions.shares_and_excess(np.abs(maps), parts, "others", nulls)
            for metric, values in metrics.items():
                rows += [
                    (*which, method, kinds[method], metric, float(value))
                    for *which, value in zip(image[some], number[some], area, values)
                ]
    return rows


def _objects(labels: np.ndarray, least: int) -> np.ndarray:
    """How many components of at least `least` pixels each image has, 0 where fewer than two."""
    counts = np.array([(np.bincount(one.ravel())[1:] >= least).sum() for one in labels])
    return np.where(counts > 1, counts, 0)


def _of_components(
    batch: ExplainedBatch, labels: np.ndarray, image: np.ndarray, index: np.ndarray
) -> ExplainedBatch:
    """A batch that explains each component by itself."""
    weights = labels[image] == index[:, None, None, None] + 1
    return dataclasses.replace(
        batch,
        names=tuple(
            f"{batch.names[index_in_batch]} {number}"
            for index_in_batch, number in zip(image, index)
        ),
        images=batch.images[image],
        truth=None,
        logits=batch.logits[image],
        weights=weights.astype(np.float32),
    )


def _with_blurs(
    model: Any, samples: Samples, rules: Any, widths: Sequence[float], options: dict[str, Any]
) -> ExplanationBenchmark:
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    if benchmark.controls:
        benchmark.controls = {**benchmark.controls, **regions.blur_controls(widths)}
    return benchmark

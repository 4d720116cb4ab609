"""Explanations of a network on many images, to be measured: images, targets, maps and controls.

Every measure of explanations runs over an `ExplanationBenchmark`: batches of images, the logits of
a network, the weights of the target, and for each method a map of what each pixel contributes.
Beside the rules there are four controls, maps that know nothing of the network or nothing but its
output. A rule that scores no better than they do has shown nothing.
"""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import ndimage

from kerasgan.counts import count, score
from kerasgan.data import Samples
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError, warn
from kerasgan.evaluation.bootstrap import check_draws, interval, resampled_means
from kerasgan.evaluation.result_cache import open_cache, read_result
from kerasgan.evaluation.segmentation import save_table
from kerasgan.explain import Explainer, targets
from kerasgan.explain.explainer import Gates
from kerasgan.explain.logits import predicted
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.models.framing import framing_of
from kerasgan.models.preprocess import preprocess_of
from kerasgan.validation import check_seed, invalid

SETUP = "explanations.json"
COLUMNS = ["name", "method", "kind", "metric", "value"]
UNNAMED = ("explainer", "explainers", "folder", "verbose")  # first two: of network and rules


@dataclasses.dataclass(frozen=True)
class ExplainedBatch:
    """A batch of images with what is explained in them.

    Attributes:
        names: Of the images.
        images: float32 (batch, height, width, channels) in [-1, 1].
        truth: float32 (batch, height, width, classes) in {0, 1}; None without masks.
        logits: float32 (batch, height, width, classes), of the network.
        weights: float32, the same shape: those of the target.
        run: From images, of any number, to their logits, float32.

    Example:
        >>> ones = np.ones((1, 2, 2, 1), "float32")
        >>> ExplainedBatch(("a",), ones, None, ones, ones, lambda images: images).region.shape
        (1, 2, 2)
    """

    names: tuple[str, ...]
    images: np.ndarray
    truth: np.ndarray | None
    logits: np.ndarray
    weights: np.ndarray
    run: Callable[[np.ndarray], np.ndarray]

    @property
    def region(self) -> np.ndarray:
        """Where the target has weight above 0: bool (batch, height, width)."""
        return np.any(self.weights > 0, -1)

    def scores(self, images: np.ndarray, index: Sequence[int] | None = None) -> dict[str, Any]:
        """Score the target in altered images, made from the images at `index` (None: from all)."""
        weights = self.weights if index is None else self.weights[np.asarray(index)]
        return target_scores(self.run(images), weights)


def target_weights(target: Any, logits: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Return the weights, float32, by which a target asks for logits."""
    made = targets.get(target).prepare(logits.shape, truth)
    return made.weights(tf.constant(logits)).numpy()


def target_scores(logits: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score how much of a target a network still sees in altered images.

    Both are (count, height, width, classes). `logit`: weighted mean logit over the target, float64
    (count,). `dice`: Dice of the target's pixels and those predicted now, of the same classes. Both
    NaN where the target is empty.
    """
    if logits.shape != weights.shape:
        raise KerasganError(
            f"Argument 'weights' must have the shape of the logits, {logits.shape}. "
            f"Received: {weights.shape}"
        )
    axes, region = (1, 2, 3), weights > 0
    explained = np.any(region, axis=(1, 2), keepdims=True)
    now = predicted(tf.convert_to_tensor(logits)).numpy().astype(bool) & explained
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.abs(weights).sum(axes, dtype=np.float64)
        logit = (weights.astype(np.float64) * logits).sum(axes) / total
    return {"logit": logit, "dice": score("dice", count(region, now, axes), empty="nan")}


# --- Controls ---


def rng_of(name: str, *seed: int) -> np.random.Generator:
    """Return random numbers for one image, the same in whatever batch it comes."""
    return np.random.default_rng([*seed, zlib.crc32(name.encode())])


def random_map(batch: ExplainedBatch, seed: int) -> np.ndarray:
    """Noise, drawn for each image by its name."""
    size = batch.images.shape[1:3]
    return np.stack([rng_of(name, seed).uniform(size=size) for name in batch.names])


def edge_map(batch: ExplainedBatch, seed: int) -> np.ndarray:
    """Strength of edges in the image: what a method shows that knows the image alone."""
    grey = batch.images.mean(-1, dtype=np.float64)
    return np.stack([np.hypot(ndimage.sobel(one, 0), ndimage.sobel(one, 1)) for one in grey])


def target_map(batch: ExplainedBatch, seed: int) -> np.ndarray:
    """The target itself: what a method shows that knows the output alone."""
    return np.abs(batch.weights).sum(-1, dtype=np.float64)


CONTROLS = {"random": random_map, "edges": edge_map, "target": target_map}
"""Maps without a look into the network, by name; the fourth control is the plain gradient."""


# --- Running ---


class ExplanationBenchmark:
    """Methods of explaining a network, run on the same images batch by batch.

    Every measure of `kerasgan.evaluation` that takes `rules` makes one of its arguments.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: `Samples`, with masks where a measure or the target asks for them.
        rules: A rule's name, a rule or another method; a list of these; or a dict from a name of
            your own to such a rule.
        target: What is explained, as for `Explainer.explain`; no array.
        size: Side in pixels or (height, width); needed where the network takes any size.
        batch_size: Images at once.
        mode: "stretch", "letterbox" or "window", which takes from each image one window that holds
            foreground, where there is any; None for what training says, else "stretch".
        controls: Whether to measure the controls too: a random map, edges, the target, and the
            plain gradient.
        seed: Key of all that is random.
        preprocess: What the network takes, as for `Explainer`: a name, or a function from images in
            [-1, 1].
        gates: As of `Explainer`.
        folder: Where finished batches are cached, so that the same call goes on after them; None
            for nowhere. It is refused for other content of any kind: images, masks, network, rules,
            target, settings.
        verbose: Whether to show a progress bar.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> options = {"target": pixel, "controls": False, "verbose": False}
        >>> benchmark = ExplanationBenchmark(model, samples, **options)
        >>> measure = benchmark.each(lambda batch, maps: {"sum": maps.sum((1, 2))})
        >>> benchmark.table(measure)["metric"].tolist()
        ['sum', 'sum']
    """

    def __init__(
        self,
        model: Any,
        samples: Samples,
        rules: Any = DEFAULT_RULE,
        *,
        target: Any = "prediction",
        size: int | tuple[int, int] | None = None,
        batch_size: int = 8,
        mode: str | None = None,
        controls: bool = True,
        seed: int = 0,
        preprocess: Any = None,
        gates: Gates | None = None,
        folder: Any = None,
        verbose: bool = True,
    ):
        self.samples = check_some(samples)
        self.folder, self.verbose = folder, verbose
        self.target = targets.get(target)
        self.controls = CONTROLS if controls else {}
        self.seed = check_seed(seed)
        self.rules = named_rules(rules)
        if controls and "gradient" not in self.rules:
            self.rules["gradient"] = "gradient"
        self.preprocess = preprocess_of(model, preprocess)
        self.explainers = {
            name: Explainer(model, rule, self.preprocess, gates=gates)
            for name, rule in self.rules.items()
        }
        self.explainer = next(iter(self.explainers.values()))
        network_size = self.explainer.model.input_shape[1:3]
        if size is None and None in network_size:
            raise KerasganError(
                f"Argument 'size' must be given, since '{self.explainer.model.name}' takes images "
                "of any size"
            )
        self.size = network_size if size is None else size
        self.batch_size = min(batch_size, len(samples))
        self.mode, scale = framing_of([self.explainer.model], mode)
        self.windows: dict[str, Any] = {}
        if self.mode == WINDOW:
            self.windows = {"scale": scale, "foreground": 1.0 if samples.mask_paths else None}

    @property
    def methods(self) -> dict[str, str]:
        """Every method's name, and whether it is a "rule" or a "control"."""
        given = dict.fromkeys(self.rules, "rule")
        if self.controls:
            given["gradient"] = "control"
        return {**given, **dict.fromkeys(self.controls, "control")}

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images (count, height, width, channels), a batch at a time."""
        logits_of = self.explainer.functions.logits
        dtype = self.explainer.graph.dtype
        pieces = range(0, len(images), self.batch_size)
        images = np.asarray(images, np.float32)
        batches = (self.preprocess(images[i : i + self.batch_size]) for i in pieces)
        logits = [logits_of(tf.cast(batch, dtype)).numpy() for batch in batches]
        return np.concatenate(logits)

    def __iter__(self) -> Iterator[ExplainedBatch]:
        batches = self.samples.batches(
            self.batch_size, size=self.size, shuffle=False, mode=self.mode, **self.windows
        )
        start = 0
        for batch in batches:
            image, mask = batch if isinstance(batch, tuple) else (batch, None)
            names = self.samples.names[start : start + len(image)]
            start += len(image)
            image, truth = image.numpy(), None if mask is None else mask.numpy()
            logits = self.run(image)
            weights = target_weights(self.target, logits, truth)
            yield ExplainedBatch(tuple(names), image, truth, logits, weights, self.run)

    def maps(self, batch: ExplainedBatch) -> Iterator[tuple[str, np.ndarray]]:
        """Give each method's name and its maps, float64 (batch, height, width), one by one.

        Relevance is summed over the channels of the image.
        """
        for name, explainer in self.explainers.items():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The target is empty")
                warnings.filterwarnings("ignore", "Argument 'images' must lie in")
                explanation = explainer.explain(
                    batch.images, target=batch.weights, layers=(), verbose=False
                )
            maps = explanation.relevance.sum(-1, dtype=np.float64)
            yield name, check_maps(maps, batch.images, name)
        for name, control in self.controls.items():
            yield name, check_maps(control(batch, self.seed), batch.images, name)

    def each(self, function: Callable[[ExplainedBatch, np.ndarray], Mapping[str, Any]]) -> Callable:
        """Make a measure, for `table`, of a function of a batch and one method's maps."""
        return lambda batch: ((name, function(batch, maps)) for name, maps in self.maps(batch))

    def cache_folder(self, facts: Mapping[str, Any] | None = None) -> pathlib.Path | None:
        """Return the path of the folder, if there is one, that holds batches of this call alone."""
        if self.folder is None:
            return None
        path = pathlib.Path(self.folder)
        settings = {name: value for name, value in vars(self).items() if name not in UNNAMED}
        made_from = {"network": self.explainer.model, "gates": dict(self.explainer.gates)}
        open_cache(path, {**settings, **made_from, **(facts or {})}, SETUP, "maps")
        return path

    def table(
        self,
        measure: Callable[[ExplainedBatch], Iterable[tuple[str, Mapping[str, np.ndarray]]]],
        *,
        facts: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Measure every method on every image.

        Args:
            measure: From a batch to pairs of a method and its values by metric, each (batch,); NaN
                where there is none. `each` makes one of a function of a method's maps.
            facts: What else must be the same to go on in the folder, by name.

        Returns:
            A row for each image, method and metric: `name`, `method`, `kind` ("rule" or
            "control"), `metric`, `value`. `summarize_maps` takes means with bootstrap intervals.
            Where the network has products, `attrs["gates"]` holds what was taken for their gates,
            as of `Explainer`.

        Raises:
            KerasganError: If the folder is of another call, or maps hold NaN.
        """
        kinds = self.methods

        def rows(batch: ExplainedBatch) -> list[tuple]:
            return [
                (index, method, kinds[method], metric, float(value))
                for method, metrics in measure(batch)
                for metric, values in metrics.items()
                for index, value in enumerate(values)
            ]

        tables, empty = [], 0
        for batch, table in self.batch_tables(rows, COLUMNS, facts):
            tables.append(table)
            empty += int((~np.any(batch.weights != 0, (1, 2, 3))).sum())
        if empty:
            warn(
                f"The target is empty in {empty} of {len(self.samples)} images. What is not "
                "defined for them is NaN and left out of means"
            )
        table = pd.concat(tables, ignore_index=True)
        if self.explainer.gates:
            table.attrs["gates"] = self.explainer.gates
        return table

    def batch_tables(
        self,
        rows: Callable[[ExplainedBatch], list[tuple]],
        columns: Sequence[str],
        facts: Mapping[str, Any] | None,
    ) -> Iterator[tuple[ExplainedBatch, pd.DataFrame]]:
        """Give each batch and the table of its rows, from the folder where it is finished there.

        The first column is the index of an image in its batch in `rows`, and its name in the table.
        """
        folder = self.cache_folder(facts)
        bar = keras.utils.Progbar(len(self.samples), unit_name="image", verbose=bool(self.verbose))
        again = "measure this batch again"
        for number, batch in enumerate(self):
            file = None if folder is None else folder / f"batch_{number:05}.csv"
            table = None if file is None else read_result(file, again)
            if table is None:
                table = pd.DataFrame(rows(batch), columns=list(columns))
                if file is not None:
                    save_table(table, file, overwrite=True)
            elif (
                list(table) != list(columns)
                or not table["name"].isin(range(len(batch.names))).all()
            ):
                raise KerasganError(f"File {file} is damaged. Delete it to {again}")
            names = np.array(batch.names, dtype=object)
            yield batch, table.assign(name=names[table["name"].to_numpy(int)])
            bar.add(len(batch.images))


def check_some(samples: Any, least: int = 1) -> Samples:
    """Check that there are `Samples`, at least so many, with masks or without."""
    if not isinstance(samples, Samples) or len(samples) < least:
        raise invalid("samples", f"Samples, at least {least}", samples)
    return samples


def largest_leak(ledger: pd.DataFrame) -> float:
    """Return the largest part of a layer's absolute relevance that is unaccounted for.

    NaN where a method keeps no ledger, or none that is complete.
    """
    active = ledger[ledger["absolute"] > 0]
    return float((active["remainder"].abs() / active["absolute"]).max(skipna=False))


def named_rules(rules: Any) -> dict[str, Any]:
    """Return rules by name: their own, or how they print."""
    if isinstance(rules, Mapping):
        named = {str(name): rule for name, rule in rules.items()}
    else:
        several = rules if isinstance(rules, (list, tuple)) else [rules]
        named = {rule if isinstance(rule, str) else repr(rule): rule for rule in several}
        if len(named) < len(several):
            raise KerasganError(f"Argument 'rules' must name every rule once. Received: {rules!r}")
    if not named or set(named) & set(CONTROLS):
        raise KerasganError(
            "Argument 'rules' must hold at least one rule, and none named as a control, "
            f"{', '.join(CONTROLS)}. Received: {rules!r}"
        )
    return named


def check_maps(maps: np.ndarray, images: np.ndarray, method: str) -> np.ndarray:
    """Return maps, or raise unless these (batch, height, width) are finite and fit the images."""
    if np.shape(maps) != images.shape[:3]:
        raise KerasganError(
            f"Maps of '{method}' must have the shape of the images, {images.shape[:3]}. "
            f"Received: {np.shape(maps)}"
        )
    if not np.all(np.isfinite(maps)):
        raise KerasganError(f"Maps of '{method}' hold NaN or infinity")
    return maps


def summarize_maps(
    table: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Take means over images for every method and metric, with bootstrap intervals.

    Args:
        table: With columns `name`, `method`, `kind`, `metric`, `value`, of one question or of
            several put together. Where an image has several rows, as one for each of its objects,
            their mean counts.
        confidence: Share of the bootstrap means inside the interval.
        resamples: How often images are drawn, the same ones for all methods.
        seed: Key of the draws.

    Returns:
        A row for each metric and method: `metric`, `method`, `kind`, `mean`, `low`, `high`,
        `images` with a value, and `undefined`, how many have none and are left out. The interval of
        a single image is NaN. Further columns that have one value for each metric are kept.

    Example:
        >>> rows = [("a", "epsilon", "rule", "mass", 0.5), ("b", "epsilon", "rule", "mass", 0.7)]
        >>> columns = ["name", "method", "kind", "metric", "value"]
        >>> summary = summarize_maps(pd.DataFrame(rows, columns=columns))
        >>> summary[["metric", "method", "mean", "images", "undefined"]].values.tolist()
        [['mass', 'epsilon', 0.6, 2, 0]]
    """
    check_draws(confidence, resamples)
    check_seed(seed)
    keys = ["metric", "method", "kind"]
    wide = table.groupby(["name", *keys], sort=False)["value"].mean().unstack(keys)
    means = resampled_means(wide.to_numpy(np.float64), resamples, seed)
    rows = []
    for index, column in enumerate(wide):
        values = wide[column].dropna()
        low, high = interval(means[:, index], confidence, len(values))
        mean = values.mean() if len(values) else float("nan")
        rows.append((*column, mean, low, high, len(values), len(wide) - len(values)))
    columns = [*keys, "mean", "low", "high", "images", "undefined"]
    summary = pd.DataFrame(rows, columns=columns)
    by_metric = table.groupby("metric")
    for column in table.columns.difference(COLUMNS, sort=False):
        if (by_metric[column].nunique(dropna=False) == 1).all():
            summary[column] = summary["metric"].map(by_metric[column].first())
    return summary

"""What heatmaps are judged on: batches of images, what is explained in them, and the maps.

Every question about explanations, how faithful, where, how stable, is asked of the same cases: a
batch of images, the logits that a network gives for them, the weights of the target, and for each
method a map of what each pixel contributes. Beside the rules that are asked about stand four
controls, maps that know nothing of the network or nothing but its output. A rule that does not do
better than they do has shown nothing.
"""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import ndimage

from kerasgan.data import Samples
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation.bootstrap import interval, resampled_means
from kerasgan.evaluation.kept import claim, keep, read_kept
from kerasgan.explain import Explainer, targets
from kerasgan.explain.explainer import Gates
from kerasgan.explain.logits import predicted
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.models.preprocess import preprocess_of

__all__ = ["CONTROLS", "Case", "Cases", "check_maps", "summarize_maps", "target_scores"]

SETUP = "explanations.json"
COLUMNS = ["name", "method", "kind", "metric", "value"]
EXPLAINERS = ("explainer", "explainers")  # made of the network and the rules


@dataclasses.dataclass(frozen=True)
class Case:
    """A batch of images with what is explained in them.

    Attributes:
        names: Of the images.
        images: float32 (batch, height, width, channels) in [-1, 1].
        truth: float32 (batch, height, width, classes) in {0, 1}; None without masks.
        logits: float32 (batch, height, width, classes), of the network.
        weights: float32, the same shape: those of the target.
        run: From images, of any number, to their logits, float32.
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
        """Say what is left of the target in other images.

        Args:
            images: float32 (count, height, width, channels).
            index: Which image of the case each is made from; None if they are as many.

        Returns:
            `target_scores` of their logits.
        """
        weights = self.weights if index is None else self.weights[np.asarray(index)]
        return target_scores(self.run(images), weights)


def target_scores(logits: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score how much of an explained target a network still sees.

    Args:
        logits: (count, height, width, classes), of images that were altered.
        weights: The same shape: of the target, in the images as they were.

    Returns:
        `logit`: mean logit over the target, weighted, float64 (count,). `dice`: Dice of the
        target's pixels and those predicted now, of the same classes. Both NaN where the target is
        empty.

    Raises:
        KerasganError: If the shapes differ.

    Example:
        >>> logits = np.array([[[[2.0], [-1.0]]]])
        >>> target_scores(logits, np.ones((1, 1, 2, 1)))
        {'logit': array([0.5]), 'dice': array([0.66666667])}
    """
    if logits.shape != weights.shape:
        raise KerasganError(
            f"Argument 'weights' must have the shape of the logits, {logits.shape}. "
            f"Received: {weights.shape}"
        )
    axes = (1, 2, 3)
    total = np.abs(weights).sum(axes, dtype=np.float64)
    region = weights > 0
    there = np.any(region, axis=(1, 2), keepdims=True)
    now = predicted(tf.convert_to_tensor(logits)).numpy().astype(bool) & there
    both, either = (region & now).sum(axes), region.sum(axes) + now.sum(axes)
    with np.errstate(divide="ignore", invalid="ignore"):
        logit = (weights.astype(np.float64) * logits).sum(axes) / total
        dice = np.where(there.any(axes), 2 * both / either, np.nan)
    return {"logit": logit, "dice": dice}


# --- Controls ---


def rng_of(name: str, *seed: int) -> np.random.Generator:
    """Return a source of random numbers for one image, the same in whatever batch it comes.

    Example:
        >>> bool(rng_of("a", 0).integers(9) == rng_of("a", 0).integers(9))
        True
    """
    return np.random.default_rng([*seed, zlib.crc32(name.encode())])


def random_map(case: Case, seed: int) -> np.ndarray:
    """Noise, drawn for each image by its name: what any method must beat."""
    size = case.images.shape[1:3]
    return np.stack([rng_of(name, seed).uniform(size=size) for name in case.names])


def edge_map(case: Case, seed: int) -> np.ndarray:
    """Strength of edges in the image: what a method shows that knows the image alone."""
    grey = case.images.mean(-1, dtype=np.float64)
    return np.stack([np.hypot(ndimage.sobel(one, 0), ndimage.sobel(one, 1)) for one in grey])


def target_map(case: Case, seed: int) -> np.ndarray:
    """The target itself: what a method shows that knows the output alone."""
    return np.abs(case.weights).sum(-1, dtype=np.float64)


CONTROLS = {"random": random_map, "edges": edge_map, "target": target_map}
"""Maps without a look into the network, by name; the fourth control is the plain gradient."""


# --- Running ---


class Cases:
    """Images, a network and methods of explaining, to be judged batch by batch.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: `Samples`, with masks where a measure asks for them.
        rules: A rule's name, a rule or another method; a list of these; or a dict from a name of
            your own to such a rule.
        target: What is explained, as for `Explainer.explain`; no array.
        size: Side in pixels or (height, width); needed where the network takes any size.
        batch_size: Images at once.
        mode: "stretch" or "letterbox", as in training.
        controls: Whether to judge the controls too.
        seed: Key of all that is random.
        preprocess: What the network takes, as for `Explainer`: a name, or a function from images in
            [-1, 1].
        gates: As of `Explainer`.

    Raises:
        KerasganError: If the model, samples, a rule, the target or the gates cannot be used.
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
        mode: str = "stretch",
        controls: bool = True,
        seed: int = 0,
        preprocess: Any = None,
        gates: Gates | None = None,
    ):
        if not isinstance(samples, Samples) or not len(samples):
            raise KerasganError(
                f"Argument 'samples' must be Samples, at least one. Received: {samples!r}"
            )
        self.samples = samples
        self.target = targets.get(target)
        self.controls = CONTROLS if controls else {}
        self.seed = seed
        self.rules = named_rules(rules)
        if controls and "gradient" not in self.rules:
            self.rules["gradient"] = "gradient"
        self.preprocess = preprocess_of(model, preprocess)
        self.explainers = {
            name: Explainer(model, rule, self.preprocess, gates=gates)
            for name, rule in self.rules.items()
        }
        self.explainer = next(iter(self.explainers.values()))
        own = self.explainer.model.input_shape[1:3]
        if size is None and None in own:
            raise KerasganError(
                f"Argument 'size' must be given, since '{self.explainer.model.name}' takes images "
                "of any size"
            )
        self.size = own if size is None else size
        self.batch_size, self.mode = min(batch_size, len(samples)), mode

    @property
    def methods(self) -> dict[str, str]:
        """Every method's name, and whether it is a "rule" or a "control"."""
        given = dict.fromkeys(self.rules, "rule")
        if self.controls:
            given["gradient"] = "control"
        return {**given, **dict.fromkeys(self.controls, "control")}

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images (count, height, width, channels), a batch at a time."""
        function = self.explainer._traced("logits", "", ()).call
        dtype = self.explainer.graph.dtype
        pieces = range(0, len(images), self.batch_size)
        images = np.asarray(images, np.float32)
        batches = (self.preprocess(images[i : i + self.batch_size]) for i in pieces)
        logits = [function(tf.cast(batch, dtype))["logits"].numpy() for batch in batches]
        return np.concatenate(logits)

    def __iter__(self) -> Iterator[Case]:
        batches = self.samples.batches(
            self.batch_size, size=self.size, shuffle=False, mode=self.mode
        )
        start = 0
        for batch in batches:
            image, mask = batch if isinstance(batch, tuple) else (batch, None)
            names = self.samples.names[start : start + len(image)]
            start += len(image)
            image = image.numpy()
            truth = None if mask is None else mask.numpy()
            logits = self.run(image)
            target = self.target.prepare(logits.shape, truth)
            weights = target.weights(tf.constant(logits)).numpy()
            yield Case(tuple(names), image, truth, logits, weights, self.run)

    def maps(self, case: Case) -> Iterator[tuple[str, np.ndarray]]:
        """Give each method's name and its maps, float64 (batch, height, width), one by one.

        Relevance is summed over the channels of the image.
        """
        for name, explainer in self.explainers.items():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The target is empty")
                warnings.filterwarnings("ignore", "Argument 'images' must lie in")
                found = explainer.explain(
                    case.images, target=case.weights, layers=(), verbose=False
                )
            yield name, found.relevance.sum(-1, dtype=np.float64)
        for name, control in self.controls.items():
            yield name, control(case, self.seed)

    def claimed(self, folder: Any, facts: Mapping[str, Any] | None = None) -> pathlib.Path | None:
        """Make sure that a folder, if there is one, holds finished batches of the same call alone.

        Args:
            folder: As for `table`.
            facts: As for `table`.

        Returns:
            Its path.

        Raises:
            KerasganError: If the folder is of another call.
        """
        if folder is None:
            return None
        path = pathlib.Path(folder)
        own = {name: value for name, value in vars(self).items() if name not in EXPLAINERS}
        made = {"network": self.explainer.model, "gates": dict(self.explainer.gates)}
        claim(path, {**own, **made, **(facts or {})}, SETUP, "maps")
        return path

    def table(
        self,
        measure: Callable[[Case, np.ndarray], Mapping[str, np.ndarray]],
        *,
        folder: Any = None,
        facts: Mapping[str, Any] | None = None,
        verbose: bool = True,
    ) -> pd.DataFrame:
        """Measure every method on every image.

        Args:
            measure: From a case and one method's maps to values by name, each (batch,); NaN where
                there is none.
            folder: Where finished batches are kept, so that the same call goes on after them; None
                for nowhere. It is refused for other content of any kind: images, masks, network,
                rules, target, settings.
            facts: What else must be the same to go on in the folder, by name.
            verbose: Whether to show a progress bar.

        Returns:
            A row for each image, method and value: `name`, `method`, `kind` ("rule" or
            "control"), `metric`, `value`. `summarize_maps` takes means. Where the network has
            products, `attrs["gates"]` holds what was taken for their gates, as of `Explainer`.

        Raises:
            KerasganError: If the folder is of another call, or maps hold NaN.
        """
        folder = self.claimed(folder, facts)
        bar = keras.utils.Progbar(len(self.samples), unit_name="image") if verbose else None
        tables, empty = [], 0
        for number, case in enumerate(self):
            file = None if folder is None else folder / f"batch_{number:05}.csv"
            table = None if file is None else self._kept(file, case)
            if table is None:
                table = self._measured(case, measure)
                if file is not None:
                    keep(table, file)
            tables.append(table)
            empty += int((~np.any(case.weights != 0, (1, 2, 3))).sum())
            if bar is not None:
                bar.add(len(case.images))
        if empty:
            warnings.warn(
                f"The target is empty in {empty} of {len(self.samples)} images. What is not "
                "defined for them is NaN and left out of means",
                KerasganWarning,
                stacklevel=3,
            )
        table = pd.concat(tables, ignore_index=True)
        if self.explainer.gates:
            table.attrs["gates"] = self.explainer.gates
        return table

    def _measured(self, case: Case, measure: Callable) -> pd.DataFrame:
        rows = []
        kinds = self.methods
        for method, maps in self.maps(case):
            check_maps(maps, case.images, method)
            for metric, values in measure(case, maps).items():
                rows += [
                    (name, method, kinds[method], metric, float(value))
                    for name, value in zip(case.names, values)
                ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def _kept(self, file: pathlib.Path, case: Case) -> pd.DataFrame | None:
        if not file.is_file():
            return None
        table = read_kept(file, "measure this batch again")
        count = len(case.names)
        if len(table) % count or set(COLUMNS) - set(table):
            raise KerasganError(f"File {file} is damaged. Delete it to measure this batch again")
        table["name"] = list(case.names) * (len(table) // count)
        return table[COLUMNS]


def named_rules(rules: Any) -> dict[str, Any]:
    """Return rules by name.

    Args:
        rules: A rule, a list of rules, or a dict of them by name; a rule is a name, an object, or a
            class of iNNvestigate's.

    Returns:
        Rules by name: their own, or how they print.

    Raises:
        KerasganError: If there is none, or two have one name.

    Example:
        >>> named_rules(["epsilon", "gamma"])
        {'epsilon': 'epsilon', 'gamma': 'gamma'}
    """
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


def check_maps(maps: np.ndarray, images: np.ndarray, method: str) -> None:
    """Raise a `KerasganError` unless maps are finite and fit the images.

    Args:
        maps: (batch, height, width).
        images: (batch, height, width, channels).
        method: Whose maps they are.
    """
    if np.shape(maps) != images.shape[:3]:
        raise KerasganError(
            f"Maps of '{method}' must have the shape of the images, {images.shape[:3]}. "
            f"Received: {np.shape(maps)}"
        )
    if not np.all(np.isfinite(maps)):
        raise KerasganError(f"Maps of '{method}' hold NaN or infinity")


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
        `images` with a value, and `undefined`, how many have none and are left out. Further columns
        that have one value for each metric are kept.

    Example:
        >>> rows = [("a", "epsilon", "rule", "mass", 0.5), ("b", "epsilon", "rule", "mass", 0.7)]
        >>> columns = ["name", "method", "kind", "metric", "value"]
        >>> summary = summarize_maps(pd.DataFrame(rows, columns=columns))
        >>> summary[["metric", "method", "mean", "images", "undefined"]].values.tolist()
        [['mass', 'epsilon', 0.6, 2, 0]]
    """
    keys = ["metric", "method", "kind"]
    wide = table.groupby(["name", *keys], sort=False)["value"].mean().unstack(keys)
    means = resampled_means(wide.to_numpy(np.float64), resamples, seed)
    rows = []
    for place, column in enumerate(wide):
        values = wide[column].dropna()
        low, high = interval(means[:, place], confidence)
        mean = values.mean() if len(values) else float("nan")
        rows.append((*column, mean, low, high, len(values), len(wide) - len(values)))
    columns = [*keys, "mean", "low", "high", "images", "undefined"]
    summary = pd.DataFrame(rows, columns=columns)
    by_metric = table.groupby("metric")
    for column in table.columns.difference(COLUMNS, sort=False):
        if (by_metric[column].nunique(dropna=False) == 1).all():
            summary[column] = summary["metric"].map(by_metric[column].first())
    return summary

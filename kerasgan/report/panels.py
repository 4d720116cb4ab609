"""The images shown in full: pictures, masks, and relevance under each rule, target and layer."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import largest_leak, target_weights
from kerasgan.evaluation.context import WIDTHS
from kerasgan.evaluation.regions import blurred_targets, excess
from kerasgan.explain import Explainer, Explanation, MergedExplainer
from kerasgan.explain.draw import layers_to_show, some_layers
from kerasgan.explain.explainer import LEAK
from kerasgan.inference import decide, iterate_probability
from kerasgan.inference.members import members_of
from kerasgan.models.framing import framing_of
from kerasgan.report import pictures
from kerasgan.report.failures import SPECK, ShownImage
from kerasgan.report.figures import mask_figure
from kerasgan.report.texts import TARGETS, map_sentence

SIDE = 360
TOGETHER = 6


class Panels:
    """Everything that is shown of the chosen images, made a few at a time.

    `rules` are by name, and without any there are no heatmaps; further arguments are those of
    `report.write`. A prediction that is merged from windows or views has relevance at the pixels
    alone.
    """

    def __init__(
        self,
        model: Any,
        samples: Samples,
        chosen: Sequence[ShownImage],
        rules: Mapping[str, Any],
        layers: Sequence[str] | None = None,
        *,
        threshold: float = 0.5,
        size: Any = None,
        mode: str | None = None,
        augment: bool | str = False,
        batch_size: int = 8,
        preprocess: Any = None,
        outlines: bool = True,
        gates: Any = None,
    ):
        options: dict[str, Any] = {"preprocess": preprocess, "batch_size": batch_size}
        networks = [member.network for member in members_of(model)]
        self.framing = framing_of(networks, mode)
        mode = self.framing.mode
        self.merged = mode == "window" or augment is not False
        if self.merged and layers:
            raise KerasganError(
                "Argument 'layers' must be None with mode='window' or augment: a merged prediction "
                f"has relevance at the pixels alone. Received: {list(layers)}"
            )
        make: Any = Explainer
        if self.merged:
            make, layers = MergedExplainer, ()
            options.update(size=size, mode=mode, augment=augment)
        self.explainers = {
            name: make(model, rule, gates=gates, **options) for name, rule in rules.items()
        }
        first = next(iter(self.explainers.values()), None)
        self.gates = {} if first is None else first.gates
        self.network = networks[0]
        self.model, self.samples, self.chosen = model, samples, list(chosen)
        layers = layers if rules else ()
        self.layers = None if layers is None else list(layers)
        self.outlines = outlines
        self.threshold, self.mode = threshold, mode
        self.size = self.network.input_shape[1:3] if size is None else size
        self.predicting = {"size": size, "mode": mode, **options}
        if self.merged:
            self.placing = "letterbox" if mode == "letterbox" else "stretch"
            self.mode = "stretch"  # maps have the place and the size of the image
        self.ledgers: dict[str, list[pd.DataFrame]] = {name: [] for name in rules}

    def make(
        self, figures: pathlib.Path | None = None, verbose: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Yield what the template shows of each chosen image, in their order.

        In the folder `figures`, if there is one, go figures of the first images, to print.
        """
        bar = keras.utils.Progbar(len(self.chosen), unit_name="image", verbose=bool(verbose))
        for start in range(0, len(self.chosen), TOGETHER):
            chosen = self.chosen[start : start + TOGETHER]
            part = self.samples[[image.index for image in chosen]]
            channels = self.network.input_shape[-1] or part.channels
            part = dataclasses.replace(part, channels=channels)
            whole = self._whole(part, chosen)
            kept = figures if start == 0 else None
            step = 1 if self.merged else len(part)  # merged maps have the sizes of their images
            maps = []
            for at in range(0, len(part), step):
                some = slice(at, at + step)
                maps += self._maps(part[some], whole[some], None if at else kept, start + at)
            if kept is not None:
                _draw_masks(whole, kept / "masks.png", self.outlines)
            for image, shown, image_maps in zip(chosen, whole, maps):
                about = {**image._asdict(), "maps": image_maps}
                yield {**_pictures(shown), **about, **heatmap_options([image_maps])}
                bar.add(1)

    def _whole(self, part: Samples, chosen: Sequence[ShownImage]) -> list[dict[str, Any]]:
        """Image, truth and prediction of each at the size of the image."""
        probabilities = iterate_probability(self.model, part, **self.predicting)
        return [
            {
                "image": part.image(index),
                "truth": None if part.mask_paths is None else part.mask(index),
                "prediction": decide(probability, self.threshold).astype(np.uint8),
            }
            for index, probability in enumerate(probabilities)
        ]

    def _layers(self, explainer: Any, image: np.ndarray) -> list[str]:
        """Name layers to show where the caller names none."""
        layers = explain_without_warnings(explainer, image, "prediction", None).layers
        way = layers_to_show(self.network, image.shape[1:3])
        return way if len(way) > 2 and set(way) <= set(layers) else some_layers(layers)

    def _maps(
        self, part: Samples, whole: list[dict], figures: pathlib.Path | None, start: int
    ) -> list[list[dict[str, Any]]]:
        size = whole[0]["image"].shape[:2] if self.merged else self.size
        images, truth = _batch(part, size, self.mode)
        maps: list[list[dict[str, Any]]] = [[] for _ in whole]
        for rule, explainer in self.explainers.items():
            if self.layers is None:
                self.layers = self._layers(explainer, images[:1])
            main = explain_without_warnings(explainer, images, "prediction", self.layers)
            if figures is not None:
                file = re.sub(r"\W+", "_", rule).strip("_").lower() or "rule"
                path = figures / f"explanation_{file}.png"
                names = _numbered(whole)
                main.plot(path, layers=self.layers, outlines=self.outlines, names=names)
            self.ledgers[rule].append(
                main.ledger.assign(image=lambda table: table["image"] + start)
            )
            places = {"": main.relevance, **{name: main.layers[name] for name in self.layers}}
            self._add(maps, whole, rule, "prediction", main, places)
            if self.merged and truth is not None:
                truth = _batch(part, main.logits.shape[1:3], self.placing)[1]
            for target in ("false_positives", "false_negatives") if truth is not None else ():
                weights = target_weights(target, main.logits, truth)
                enough = np.any(weights != 0, -1).mean((1, 2)) >= SPECK
                which = np.flatnonzero(enough)
                if which.size:
                    more = explain_without_warnings(
                        explainer, images[which], weights[which], self.layers
                    )
                    places = {"": more.relevance}
                    few = [maps[i] for i in which], [whole[i] for i in which]
                    self._add(*few, rule, target, more, places)
        return maps

    def _add(
        self,
        maps_of_images: list[list[dict]],
        whole: list[dict],
        rule: str,
        target: str,
        explanation: Explanation,
        places: Mapping[str, np.ndarray],
    ) -> None:
        for row, (maps, shown) in enumerate(zip(maps_of_images, whole)):
            size = shown["image"].shape[:2]
            for layer, relevance in places.items():
                whole_map = relevance[row].sum(-1, dtype=np.float64)
                summed = pictures.inside(whole_map, size, self.mode)
                entry: dict[str, Any] = {"rule": rule, "target": target, "place": layer}
                entry.update(pictures.relevance_map(summed)._asdict())
                entry["cells"] = "{} × {}".format(*relevance.shape[1:3])
                if not maps:
                    entry["over"] = pictures.laid_over(summed)
                if layer:
                    entry["part"] = explanation.layers.describe(layer)
                else:
                    region = np.any(explanation.target[row] != 0, -1)
                    if self.merged:
                        placed = pictures.inside(region, size, self.placing)
                        region = pictures.resized(placed, size) > 0
                    entry.update(_shares(whole_map, region))
                maps.append({**entry, "text": map_sentence(entry)})


def explain_without_warnings(
    explainer: Explainer | MergedExplainer, images: np.ndarray, target: Any, layers: Any
) -> Explanation:
    """Explain, without a warning where there is nothing to explain or too much to keep."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The target is empty")
        warnings.filterwarnings("ignore", "Relevance at layers is not kept")
        if isinstance(explainer, MergedExplainer):
            return explainer.explain(images, target=target)
        return explainer.explain(images, target=target, layers=layers, verbose=False)


def heatmap_options(panels: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Say between which heatmaps of panels that change at once a reader can choose.

    These are `rules` and `explained`, the names of targets, each once, and `depth`, the most layers
    that one map has in the network.
    """
    panels = list(panels)
    maps = [entry for panel in panels for entry in panel]
    explained = {entry["target"] for entry in maps}
    return {
        "rules": list(dict.fromkeys(entry["rule"] for entry in maps)),
        "explained": [target for target in TARGETS if target in explained],
        "depth": max(len({entry["place"] for entry in panel}) for panel in panels) - 1,
    }


def balance(ledgers: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Say where relevance went, over all images explained, and whether it is conserved.

    `images`: how many had something to explain; `pixels`, `bias`, `stabiliser`, `unsupported`,
    `remainder`: mean shares of what was explained; `lost`: `largest_leak`; `balanced`: whether that
    is at most what `Explainer.check` asks, None where the method keeps no complete ledger.

    Example:
        >>> row = {"image": 0, "relevance_in": 2.0, "bias": 0.5, "stabiliser": 0.0}
        >>> row.update(unsupported=0.0, remainder=0.0, absolute=2.0)
        >>> found = balance([pd.DataFrame([row])])
        >>> found["pixels"], found["balanced"]
        (0.75, True)
    """
    table = pd.concat(ledgers)
    spent = ["bias", "stabiliser", "unsupported", "remainder"]
    start = table.groupby("image")["relevance_in"].first()
    start = start[start.abs() > 0]
    shares = table.groupby("image")[spent].sum(min_count=1).loc[start.index]
    shares = shares.div(start, axis=0)
    shares["pixels"] = 1 - shares.sum(axis=1, skipna=False)
    result: dict[str, Any] = {
        name: float(value) for name, value in shares.mean(skipna=False).items()
    }
    result.update(images=len(start), lost=float("nan"), balanced=None)
    if table.empty or table["remainder"].isna().any():
        return result
    lost = largest_leak(table) if (table["absolute"] > 0).any() else 0.0
    return {**result, "lost": lost, "balanced": lost <= LEAK}


def _batch(part: Samples, size: Any, mode: str) -> tuple[np.ndarray, np.ndarray | None]:
    """All images in [-1, 1], and their masks if there are any."""
    batch = next(iter(part.batches(len(part), size=size, shuffle=False, mode=mode)))
    images, truth = batch if isinstance(batch, tuple) else (batch, None)
    return images.numpy(), None if truth is None else truth.numpy()


def _shares(relevance: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """How much of a map is positive, and how much lies inside the target.

    Beside it what lies inside of a map that is the same everywhere, `chance`, and of the target
    itself, blurred by the width that fits the map best, `masked`.
    """
    strength = np.abs(relevance)
    total = strength.sum()
    if not total:
        return {}
    within = float(strength[region].sum() / total)
    nulls = blurred_targets(region[None].astype(float), WIDTHS)
    more = excess(strength[None], region[None], nulls)["excess"][0]
    return {
        "positive": float(relevance[relevance > 0].sum() / total),
        "inside": within,
        "chance": float(region.mean()),
        "masked": float(np.clip(within - np.nan_to_num(more), 0, 1)),
    }


def _pictures(shown: dict[str, Any]) -> dict[str, Any]:
    image, truth, prediction = shown["image"], shown["truth"], shown["prediction"]
    uri, size = pictures.photo(image, SIDE)
    errors = None if truth is None else pictures.error_layer(truth, prediction, size)
    outlines = pictures.outline_layer(truth, prediction, size)
    encoded = {"photo": uri, "outlines": outlines, "errors": errors}
    return {**encoded, "height": size[0], "width": size[1]}


def _numbered(whole: Sequence[Any]) -> list[str]:
    """What figures call the images of a report."""
    return [f"image {number}" for number in range(1, len(whole) + 1)]


def _draw_masks(whole: list[dict[str, Any]], path: pathlib.Path, outlines: bool) -> None:
    images = [shown["image"] for shown in whole]
    truths = None if whole[0]["truth"] is None else [shown["truth"] for shown in whole]
    predictions = [shown["prediction"] for shown in whole]
    mask_figure(images, truths, predictions, _numbered(whole), path, outlines=outlines)

"""What one window of the browser shows: an image, its mask, and what parts of it rest on.

Nothing here knows of the web. Everything that computes is called in the thread of the `Worker`, and
gives back an object that does not change any more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from kerasgan.app.images import Opened
from kerasgan.app.network import PIXELS, Network, Prediction
from kerasgan.app.painting import Stroke, add_stroke, filled, painted
from kerasgan.app.question import EIGHT, Question, View, cell_of, weights_of
from kerasgan.counts import count, score
from kerasgan.data.resize import to_float
from kerasgan.errors import KerasganError
from kerasgan.explain.draw import cells_of, limit_of
from kerasgan.report import pictures
from kerasgan.report.panels import balance

SIDE = 768
"""The longer side of pictures on the page, in pixels, at most."""


class Predicted(NamedTuple):
    """The mask of one model, ready to be shown.

    Attributes:
        model: Name of the model.
        probability: Data address of the probability, transparent where it is 0.
        outlines: That of the outlines of the predicted and, if there is one, of the true mask.
        outline: That of the outline of the predicted mask alone, in white.
        area: Share of the image that the mask covers.
        components: How many connected components the mask has.
        dice: Of its foreground and that of the true mask; None without one.
        grid: (rows, columns) of the pixels of the network.
    """

    model: str
    probability: str
    outlines: str
    outline: str
    area: float
    components: int
    dice: float | None
    grid: tuple[int, int]


class Picture(NamedTuple):
    """An image and its masks, ready to be shown.

    Attributes:
        name: Of the image.
        size: (height, width) of the image.
        shown: (height, width) of the pictures.
        photo: Data address of the image, with what was painted over it.
        masks: One of each model.
        original: Data address of the image before anything was painted over it.
        before: The masks before; empty if nothing is painted over.
        agreement: The Dice score of the masks of two models; None of one.
        has_truth: Whether there is a true mask.
        note: What has to be said besides.
    """

    name: str
    size: tuple[int, int]
    shown: tuple[int, int]
    photo: str
    masks: tuple[Predicted, ...]
    original: str
    before: tuple[Predicted, ...]
    agreement: float | None
    has_truth: bool
    note: str


class Explained(NamedTuple):
    """What a part of the mask rests on, in one view.

    Attributes:
        view: The model, the rule, and which image.
        label: What tells it from the view beside it, in words.
        question: What was asked.
        text: What is explained, in words.
        maps: float64 (rows, columns) by place, that of pixels first.
        parts: Where each layer lies, by name.
        region: Data address of the outline of what is explained.
        explained: How many pixels of the network are explained.
        share: The share of the image that is explained.
        inside: The share of the absolute relevance of pixels that lies there.
        value: The sum of the explained logits.
        probability: That of the pixel that was clicked at; None without one.
        books: As of `kerasgan.report.panels.balance`.
        ledger: As of `Explanation.ledger`.
        seconds: How long it took.
    """

    view: View
    label: str
    question: Question
    text: str
    maps: dict[str, np.ndarray]
    parts: Mapping[str, str]
    region: str
    explained: int
    share: float
    inside: float
    value: float
    probability: float | None
    books: dict[str, Any]
    ledger: pd.DataFrame
    seconds: float

    def place_like(self, place: str, parts: Mapping[str, str]) -> str | None:
        """The layer of this model that another calls `place`, or that lies where that one does."""
        if place in self.maps:
            return place
        part = parts.get(place)
        alike = (name for name in self.maps if name and self.parts.get(name) == part)
        return next(alike, None) if part else None


class Unexplained(NamedTuple):
    """A view in which there is nothing to explain, although there is in the other."""

    view: View
    label: str
    text: str


class Scale(NamedTuple):
    """The colours of one map.

    Attributes:
        limit: Where they end, in the unit of the scale; 0 where there is no relevance at all.
        factor: From relevance to that unit.
        shared: Whether two maps share the scale.
        by_area: Whether the unit is relevance by explained pixel and by a hundredth of the image,
            and not that of one pixel.
        clipped: The share of cells that are stronger.
        held: The share of the absolute relevance that these hold.
        strongest: The strongest cell, in the unit of the scale.
    """

    limit: float
    factor: float
    shared: bool
    by_area: bool
    clipped: float
    held: float
    strongest: float

    def map(self, relevance: np.ndarray) -> pictures.Map:
        """A map in these colours."""
        return pictures.relevance_map(relevance, limit=self.limit / self.factor)

    def over(self, relevance: np.ndarray) -> str:
        """Data address of a map in these colours, to be laid over the image."""
        return pictures.laid_over(relevance, limit=self.limit / self.factor)


class Session:
    """What one window of the browser looks at.

    Args:
        networks: One model, or two to be compared. Labels of true masks are those of the first.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> session = Session(Network(model))
        >>> session.open(Opened("black", np.zeros((40, 48, 3), np.uint8))).size
        (40, 48)
        >>> (found,) = session.explain(Question("pixel", (0.5, 0.5)))
        >>> found.maps[""].shape
        (32, 32)
    """

    def __init__(self, *networks: Network):
        self.networks = networks
        self.opened: Opened | None = None
        self.strokes: list[Stroke] = []
        self.pixels = np.zeros((1, 1, 1), np.uint8)
        self.predictions: list[Prediction] = []
        self.unpainted: list[Prediction] = []
        self._original: tuple[str, tuple[Predicted, ...]] = ("", ())

    def open(self, opened: Opened) -> Picture:
        """Look at another image."""
        predictions = [network.predict(opened.pixels) for network in self.networks]
        self.opened, self.pixels, self.strokes = opened, opened.pixels, []
        self.predictions = self.unpainted = predictions
        self._original = self._photo(), self._masks()
        return self._picture()

    def paint(self, stroke: Stroke) -> Picture:
        """Paint something over: it is filled smoothly from what is around it.

        Raises:
            KerasganError: If there is no image, or the stroke cannot be drawn.
        """
        self._require()
        return self._repaint(add_stroke(self.strokes, stroke))

    def undo(self) -> Picture:
        """Take the last stroke back."""
        self._require()
        return self._repaint(self.strokes[:-1])

    def restore(self) -> Picture:
        """Take all strokes back."""
        self._require()
        return self._repaint([])

    def explain(self, question: Question) -> list[Explained | Unexplained]:
        """Say what a part of the mask rests on, in each view that is asked for.

        Raises:
            KerasganError: If there is nothing to explain in any view, or a rule cannot explain a
                model.
        """
        self._require()
        explained: list[Explained | Unexplained] = []
        for view in question.views:
            label = self._label(view, question.views)
            try:
                weights, text = self._weights(question, view)
            except KerasganError as error:
                explained.append(Unexplained(view, label, str(error)))
                continue
            explained.append(self._explain(question, view, label, weights, text))
        if not any(isinstance(one, Explained) for one in explained):
            texts = dict.fromkeys(one.text for one in explained)
            raise KerasganError(". ".join(texts))
        return explained

    def _explain(
        self, question: Question, view: View, label: str, weights: np.ndarray, text: str
    ) -> Explained:
        opened = self._require()
        start = time.perf_counter()
        network = self.networks[view.model]
        pixels, prediction = self._seen(view)
        region = np.any(weights != 0, -1)
        relevance = network.explain(pixels, view.rule, weights)
        explanation = relevance.explanation
        sizes = np.abs(relevance.maps[PIXELS])
        cells = pictures.resized(region, sizes.shape) > 0
        probability = None
        if question.point is not None:
            probability = float(
                prediction.probability[cell_of(question.point, prediction.mask.shape)]
            )
        return Explained(
            view=view,
            label=label,
            question=question,
            text=text,
            maps=relevance.maps,
            parts=network.layers,
            region=pictures.region_layer(region, shown_size(opened.pixels.shape[:2])),
            explained=int(region.sum()),
            share=float(region.mean()),
            inside=float(sizes[cells].sum() / (sizes.sum() or 1)),
            value=float((explanation.target * explanation.logits).sum()),
            probability=probability,
            books=balance([explanation.ledger]),
            ledger=explanation.ledger,
            seconds=time.perf_counter() - start,
        )

    def _require(self) -> Opened:
        if self.opened is None:
            raise KerasganError("Choose an image first")
        return self.opened

    def _seen(self, view: View) -> tuple[np.ndarray, Prediction]:
        """The image of a view, and what its model predicts of it."""
        if view.before:
            return self._require().pixels, self.unpainted[view.model]
        return self.pixels, self.predictions[view.model]

    def _weights(self, question: Question, view: View) -> tuple[np.ndarray, str]:
        _, prediction = self._seen(view)
        labels = [max(network.classes, 2) for network in self.networks]
        same = labels[view.model] == labels[0]
        return weights_of(question, prediction, self._require().truth, same)

    def _label(self, view: View, views: Sequence[View]) -> str:
        parts = [view.rule]
        if len({each.model for each in views}) > 1:
            parts.insert(0, self.networks[view.model].name)
        if any(each.before for each in views):
            parts.append("before painting" if view.before else "painted over")
        return ", ".join(parts)

    def _repaint(self, strokes: list[Stroke]) -> Picture:
        opened = self._require()
        if strokes:
            region = painted(strokes, opened.pixels.shape[:2])
            pixels = filled(opened.pixels, region)
            predictions = [network.predict(pixels) for network in self.networks]
        else:
            pixels, predictions = opened.pixels, self.unpainted
        self.strokes, self.pixels, self.predictions = strokes, pixels, predictions
        return self._picture()

    def _picture(self) -> Picture:
        opened = self._require()
        original, before = self._original
        agreement = None
        if len(self.predictions) > 1:
            first, second = (prediction.mask > 0 for prediction in self.predictions)
            agreement = float(score("dice", count(first, second)))
        return Picture(
            name=opened.name,
            size=opened.pixels.shape[:2],
            shown=shown_size(opened.pixels.shape[:2]),
            photo=self._photo() if self.strokes else original,
            masks=self._masks() if self.strokes else before,
            original=original,
            before=before if self.strokes else (),
            agreement=agreement,
            has_truth=opened.truth is not None,
            note=opened.note,
        )

    def _photo(self) -> str:
        return pictures.photo(to_float(self.pixels), SIDE)[0]

    def _masks(self) -> tuple[Predicted, ...]:
        return tuple(map(self._mask, self.networks, self.predictions))

    def _mask(self, network: Network, prediction: Prediction) -> Predicted:
        opened = self._require()
        size = shown_size(opened.pixels.shape[:2])
        mask, truth = prediction.mask > 0, opened.truth
        return Predicted(
            model=network.name,
            probability=pictures.probability_layer(prediction.probability, size),
            outlines=pictures.outline_layer(truth, prediction.mask, size),
            outline=pictures.region_layer(mask, size),
            area=float(mask.mean()),
            components=ndimage.label(mask, EIGHT)[1],
            dice=None if truth is None else float(score("dice", count(truth > 0, mask))),
            grid=prediction.grid.shape,
        )


def scales_of(found: Sequence[Explained], places: Sequence[str], shared: bool) -> list[Scale]:
    """The scales of one map of each view.

    Each ends at the 99.5th percentile of its sizes, as in kerasgan's figures. On a shared scale,
    maps of one size are compared as they are. Of networks of other sizes, relevance is divided by
    how many pixels are explained and by the area of a cell, in hundredths of the image.

    Args:
        found: The views.
        places: Of each view, the key of its map.
        shared: Whether two maps are to share one scale.
    """
    maps = [one.maps[place] for one, place in zip(found, places)]
    shared = shared and len(maps) > 1
    by_area = shared and len({values.shape for values in maps}) > 1
    factors = [1.0] * len(maps)
    if by_area:
        factors = [values.size / 100 / one.explained for values, one in zip(maps, found)]
    cells = [f * cells_of(values) for f, values in zip(factors, maps)]
    limit = limit_of(*cells) if shared and any(values.any() for values in cells) else 0.0
    scales = []
    for factor, values in zip(factors, cells):
        end = limit if shared else (limit_of(values) if values.any() else 0.0)
        sizes = np.abs(values)
        over = sizes > end
        held = float(sizes[over].sum() / (sizes.sum() or 1))
        told = float(over.mean()), held, float(sizes.max())
        scales.append(Scale(end, factor, shared, by_area, *told))
    return scales


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image of a size is shown.

    Example:
        >>> shown_size((3000, 1536)), shown_size((20, 30))
        ((768, 393), (20, 30))
    """
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

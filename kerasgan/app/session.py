"""What one window of the browser shows: an image, its mask, and what parts of it rest on.

Nothing here knows of the web. Everything that computes is called in the thread of the `Worker`, and
gives back an object that does not change any more.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy import ndimage

from kerasgan.app.images import Opened
from kerasgan.app.network import PIXELS, Network, Prediction
from kerasgan.data.resize import resize_back, resize_mask, resize_pixels, to_float
from kerasgan.errors import KerasganError
from kerasgan.evaluation.removal import inpainting
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.report import pictures
from kerasgan.report.panels import balance

TARGETS = {
    "mask": "whole mask",
    "pixel": "one pixel",
    "component": "one component",
    "border": "border",
    "false_positives": "false positives",
    "false_negatives": "false negatives",
}
"""What can be explained, and what the page calls it."""
NEED_POINT = ("pixel", "component")
NEED_TRUTH = ("false_positives", "false_negatives")
MOST_RULES = 2
SIDE = 768
"""The longer side of pictures on the page, in pixels, at most."""
CELLS = 256
FILLED_AT = 192
"""Painted regions are filled at this size, which is enough for what is smooth."""
MOST_STROKES, MOST_POINTS = 100, 2000
EIGHT = np.ones((3, 3), bool)

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Question:
    """What is to be explained, and how.

    Attributes:
        target: A key of `TARGETS`.
        point: Where was clicked, as shares (x, y) of width and height, from 0 to 1; or None.
        rules: One or two names of rules.
    """

    target: str = "mask"
    point: Point | None = None
    rules: tuple[str, ...] = (DEFAULT_RULE,)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise KerasganError(f"There is no target {self.target!r}")
        if not 1 <= len(self.rules) <= MOST_RULES:
            raise KerasganError("One or two rules can be seen at once")


class Stroke(NamedTuple):
    """A line painted over the image; places and radius are shares of width and height."""

    points: tuple[Point, ...]
    radius: float


class Picture(NamedTuple):
    """An image and its mask, ready to be shown.

    Attributes:
        name: Of the image.
        size: (height, width) of the image.
        shown: (height, width) of the pictures.
        photo: Data address of the image, with what was painted over it.
        probability: That of the probability, transparent where it is 0.
        outlines: That of the outlines of the predicted and, if there is one, of the true mask.
        before: That of the outline of the mask before anything was painted over; None if nothing.
        area: Share of the image that the mask covers.
        area_before: Likewise, before.
        components: How many connected components the mask has.
        has_truth: Whether there is a true mask.
        note: What has to be said besides.
    """

    name: str
    size: tuple[int, int]
    shown: tuple[int, int]
    photo: str
    probability: str
    outlines: str
    before: str | None
    area: float
    area_before: float
    components: int
    has_truth: bool
    note: str


class Explained(NamedTuple):
    """What a part of the mask rests on, by one rule.

    Attributes:
        rule: Its name.
        question: What was asked.
        text: What is explained, in words.
        maps: float64 (rows, columns) by place, that of pixels first.
        region: Data address of the outline of what is explained.
        share: The share of the image that is explained.
        inside: The share of the absolute relevance of pixels that lies there.
        value: The sum of the explained logits.
        probability: That of the pixel that was clicked at; None without one.
        books: As of `kerasgan.report.panels.balance`.
        ledger: As of `Explanation.ledger`.
        seconds: How long it took.
    """

    rule: str
    question: Question
    text: str
    maps: dict[str, np.ndarray]
    region: str
    share: float
    inside: float
    value: float
    probability: float | None
    books: dict[str, Any]
    ledger: pd.DataFrame
    seconds: float

    def map_at(self, place: str) -> pictures.Map:
        """The map of a place in colours."""
        return pictures.relevance_map(self.maps[place], CELLS)

    def over(self, place: str) -> str:
        """Data address of the map of a place to be laid over the image."""
        return pictures.laid_over(self.maps[place], CELLS)


class Session:
    """What one window of the browser looks at.

    Args:
        network: The model.

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

    def __init__(self, network: Network):
        self.network = network
        self.opened: Opened | None = None
        self.strokes: list[Stroke] = []
        self.pixels = np.zeros((1, 1, 1), np.uint8)
        self.prediction: Prediction | None = None
        self.unpainted: Prediction | None = None

    def open(self, opened: Opened) -> Picture:
        """Look at another image."""
        found = self.network.predict(opened.pixels)
        self.opened, self.pixels, self.strokes = opened, opened.pixels, []
        self.prediction = self.unpainted = found
        return self._picture()

    def paint(self, stroke: Stroke) -> Picture:
        """Paint something over: it is filled smoothly from what is around it.

        Raises:
            KerasganError: If there is no image, or the stroke cannot be drawn.
        """
        self._require()
        if len(self.strokes) >= MOST_STROKES:
            raise KerasganError(f"{MOST_STROKES} strokes are the most. Undo some")
        return self._repaint([*self.strokes, _checked_stroke(stroke)])

    def undo(self) -> Picture:
        """Take the last stroke back."""
        self._require()
        return self._repaint(self.strokes[:-1])

    def restore(self) -> Picture:
        """Take all strokes back."""
        self._require()
        return self._repaint([])

    def explain(self, question: Question) -> list[Explained]:
        """Say what a part of the mask rests on, by each rule that is asked for.

        Raises:
            KerasganError: If there is nothing to explain, or a rule cannot explain this model.
        """
        opened, prediction = self._require()
        weights, text = self._weights(question)
        region = np.any(weights != 0, -1)
        size = shown_size(opened.pixels.shape[:2])
        outline = pictures.region_layer(region, size)
        probability = None
        if question.point is not None:
            row, column = _cell(question.point, prediction.mask.shape)
            probability = float(prediction.probability[row, column])
        found = []
        for rule in question.rules:
            start = time.perf_counter()
            relevance = self.network.explain(self.pixels, rule, weights)
            explanation = relevance.explanation
            ledger = explanation.ledger
            pixels = np.abs(relevance.maps[PIXELS])
            cells = pictures.resized(region, pixels.shape) > 0
            found.append(
                Explained(
                    rule=rule,
                    question=question,
                    text=text,
                    maps=relevance.maps,
                    region=outline,
                    share=float(region.mean()),
                    inside=float(pixels[cells].sum() / (pixels.sum() or 1)),
                    value=float((explanation.target * explanation.logits).sum()),
                    probability=probability,
                    books=balance([ledger]),
                    ledger=ledger,
                    seconds=time.perf_counter() - start,
                )
            )
        return found

    def _require(self) -> tuple[Opened, Prediction]:
        if self.opened is None or self.prediction is None:
            raise KerasganError("Choose an image first")
        return self.opened, self.prediction

    def _repaint(self, strokes: list[Stroke]) -> Picture:
        opened, _ = self._require()
        if strokes:
            region = painted(strokes, opened.pixels.shape[:2])
            pixels = filled(opened.pixels, region)
            prediction = self.network.predict(pixels)
        else:
            pixels, prediction = opened.pixels, self.unpainted
        self.strokes, self.pixels, self.prediction = strokes, pixels, prediction
        return self._picture()

    def _picture(self) -> Picture:
        opened, prediction = self._require()
        before = self.unpainted
        assert before is not None
        whole = opened.pixels.shape[:2]
        size = shown_size(whole)
        photo, _ = pictures.photo(to_float(self.pixels), SIDE)
        _, components = ndimage.label(prediction.mask > 0, EIGHT)
        return Picture(
            name=opened.name,
            size=whole,
            shown=size,
            photo=photo,
            probability=pictures.probability_layer(prediction.probability, size),
            outlines=pictures.outline_layer(opened.truth, prediction.mask, size),
            before=pictures.region_layer(before.mask > 0, size) if self.strokes else None,
            area=float((prediction.mask > 0).mean()),
            area_before=float((before.mask > 0).mean()),
            components=components,
            has_truth=opened.truth is not None,
            note=opened.note,
        )

    def _weights(self, question: Question) -> tuple[np.ndarray, str]:
        """Weights of the logits (rows, columns, classes or 1), and what they are in words."""
        opened, prediction = self._require()
        grid = prediction.grid
        name = question.target
        if name in NEED_POINT and question.point is None:
            raise KerasganError("Point at a place of the image first")
        if name in NEED_TRUTH and opened.truth is None:
            raise KerasganError("There is no true mask of this image, so errors are not known")
        at = None if question.point is None else _cell(question.point, grid.shape)
        if name == "pixel":
            assert at is not None
            chosen = np.zeros(grid.shape, bool)
            chosen[at] = True
            return _plane(chosen), f"the pixel in row {at[0] + 1}, column {at[1] + 1}"
        if name in NEED_TRUTH:
            truth = resize_mask(opened.truth, grid.shape)
            wrong = grid != truth
            is_found = name == "false_positives"
            chosen, here = _part_at(wrong & ((grid if is_found else truth) > 0), at)
            words = TARGETS[name] + (" at the point" if here else "")
            if not chosen.any():
                raise KerasganError(f"There are no {TARGETS[name]} in this image")
            weights = _plane(chosen)
            if not is_found and prediction.classes > 1:
                weights = _plane(chosen) * np.eye(prediction.classes, dtype=np.float32)[truth]
            return weights, f"the {words}"
        if not grid.any():
            raise KerasganError("The mask is empty. Point at a pixel and explain that")
        if name == "mask":
            return _plane(grid > 0), "the whole mask"
        label = 0 if at is None else grid[at]
        if label == 0 and name == "component":
            raise KerasganError("There is no mask at this point. Point into the mask")
        if label:
            chosen, _ = _part_at(grid == label, at)
        else:
            chosen = grid > 0
        if name == "component":
            return _plane(chosen), "the component at the point"
        rim = chosen & _next_to_another(grid)
        if not rim.any():
            raise KerasganError("The mask covers the whole image, so it has no border")
        return _plane(rim), "the border" + (" of the component at the point" if label else "")


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image of a size is shown.

    Example:
        >>> shown_size((3000, 1536)), shown_size((20, 30))
        ((768, 393), (20, 30))
    """
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def painted(strokes: Sequence[Stroke], size: tuple[int, int]) -> np.ndarray:
    """The region that strokes cover, bool (height, width)."""
    height, width = size
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        places = [(x * width, y * height) for x, y in stroke.points]
        radius = max(0.5, stroke.radius * max(size))
        draw.line(places, fill=1, width=max(1, round(2 * radius)))
        for x, y in places:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
    return np.asarray(picture)


def filled(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Fill a region of an image smoothly from what is around it; uint8, and the rest as it was."""
    scale = min(1.0, FILLED_AT / max(region.shape))
    size = tuple(max(2, round(side * scale)) for side in region.shape)
    small = to_float(resize_pixels(pixels, size))
    share = resize_back(region[..., None].astype(np.float32), size)[..., 0]
    smooth = inpainting(small, (share > 0)[None])[0]
    values = np.clip((resize_back(smooth, region.shape) + 1) * 127.5, 0, 255)
    return np.where(region[..., None], np.rint(values).astype(np.uint8), pixels)


def _checked_stroke(stroke: Stroke) -> Stroke:
    points = stroke.points[:MOST_POINTS]
    inside = all(-1 <= part <= 2 for point in points for part in point)  # NaN is not
    if not points or not inside or not 0 < stroke.radius <= 0.5:
        raise KerasganError("This stroke lies outside the image")
    return Stroke(points, stroke.radius)


def _cell(point: Point, size: Sequence[int]) -> tuple[int, int]:
    """Row and column of a place."""
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise KerasganError("This point lies outside the image")
    return min(int(y * size[0]), size[0] - 1), min(int(x * size[1]), size[1] - 1)


def _part_at(region: np.ndarray, at: tuple[int, int] | None) -> tuple[np.ndarray, bool]:
    """The connected part of a region at a place, and True; all of it where there is none."""
    if at is None or not region[at]:
        return region, False
    parts, _ = ndimage.label(region, EIGHT)
    return parts == parts[at], True


def _next_to_another(grid: np.ndarray) -> np.ndarray:
    """Pixels beside which another label is; the edge of the image is no border."""
    return ndimage.maximum_filter(grid, 3) != ndimage.minimum_filter(grid, 3)


def _plane(chosen: np.ndarray) -> np.ndarray:
    return chosen[..., None].astype(np.float32)

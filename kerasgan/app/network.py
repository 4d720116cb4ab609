"""The model of the app: what it predicts, and what that rests on."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kerasgan.data.resize import resize_back, to_float
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError
from kerasgan.explain import Explainer, Explanation, MergedExplainer, rule_names
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.explain.naming import describe_nodes
from kerasgan.explain.perturbation import PERTURBATIONS
from kerasgan.inference import decide, iterate_logits
from kerasgan.inference.members import input_size, members_of, to_probabilities
from kerasgan.inference.tiling import OVERLAP, make_frame
from kerasgan.models.framing import framing_of
from kerasgan.report.panels import explain_without_warnings

MOST_EXPLAINERS = 4
PIXELS = ""
"""The place of relevance that is not that of a layer."""


class Prediction(NamedTuple):
    """What the model says of an image.

    Attributes:
        mask: uint8 (height, width) of labels, 0 the background, at the size of the image.
        probability: float32 (height, width) of any foreground, likewise.
        grid: uint8 (rows, columns) of labels, where the network decides.
        classes: How many logits there are at each place of the grid.
    """

    mask: np.ndarray
    probability: np.ndarray
    grid: np.ndarray
    classes: int


class Relevance(NamedTuple):
    """What some logits rest on.

    Attributes:
        maps: float32 (rows, columns) by place: that of pixels, then of layers from the image on.
        explanation: Its ledger, logits and target; it holds no relevance at layers.
    """

    maps: dict[str, np.ndarray]
    explanation: Explanation


class Network:
    """A model and its explainers; of these a few are kept.

    Args:
        model: As of `kerasgan.Explainer`.
        options: `size`, `mode`, `scale`, `threshold` and `temperature`, as of `kerasgan.predict`.
        name: Of the model, to be shown.

    Raises:
        KerasganError: A model that cannot be used.
    """

    def __init__(self, model: Any, options: Mapping[str, Any] | None = None, name: str = "model"):
        options = dict(options or {})
        (member,) = members_of(model)
        self.model, self.name, self.member = model, name, member
        self.size = input_size(member.network, options.get("size"))
        framing = framing_of([member.network], options.get("mode"), options.get("scale"))
        self.mode, self.scale = framing
        self.threshold = options.get("threshold", 0.5)
        self.temperature = options.get("temperature", 1.0)
        self.channels = member.network.inputs[0].shape[-1] or 3
        if self.channels not in (1, 3):
            raise KerasganError(
                f"The app shows images of 1 or 3 channels. Model '{name}' takes {self.channels}"
            )
        self.classes = member.network.outputs[0].shape[-1]
        self._explainers: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self._ready: set[str] = set()
        self._changing = threading.Lock()
        self._layers: dict[str, str] | None = None

    @property
    def rules(self) -> list[str]:
        """Names of rules and methods that answer at once, the default first."""
        slow = set(PERTURBATIONS)
        return sorted(set(rule_names()) - slow, key=lambda name: (name != DEFAULT_RULE, name))

    @property
    def layers(self) -> dict[str, str]:
        """Layers whose relevance is kept, from the image to the logits, and where each lies."""
        if self._layers is None:
            self._layers = {}
            if self.mode != WINDOW:
                graph = self._explainer(DEFAULT_RULE).graph
                parts = describe_nodes(graph, [(*self.size, self.channels)])
                names = [node.name for node in graph.nodes]
                last = {parts[name]: name for name in names if name in parts}
                self._layers = {name: part for part, name in last.items()}
        return self._layers

    def predict(self, pixels: np.ndarray) -> Prediction:
        """Segment an image, uint8 (height, width, 1 or 3)."""
        pixels = in_channels(pixels, self.channels)
        tiling = {"size": self.size, "mode": self.mode}
        if self.mode == WINDOW:
            tiling["scale"] = self.scale

        def kept(_: int, logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return logits

        (logits,) = iterate_logits(self.model, [to_float(pixels)], kept, **tiling)
        exclusive = self.member.exclusive
        small = to_probabilities(logits / np.float32(self.temperature), exclusive)
        whole = resize_back(small, pixels.shape[:2])
        return Prediction(
            self._labels(whole), self._foreground(whole), self._labels(small), logits.shape[-1]
        )

    def explain(self, pixels: np.ndarray, rule: str, weights: np.ndarray) -> Relevance:
        """Explain an image, from logits weighted by `weights`, (rows, columns, classes or 1)."""
        explainer = self._explainer(rule)
        image = to_float(in_channels(pixels, self.channels))
        if self.mode == WINDOW:
            found = explain_without_warnings(explainer, image[None], weights[None], ())
            maps = {PIXELS: found.relevance[0].sum(-1)}
        else:
            frame = make_frame(image, self.size, self.mode, OVERLAP, self.scale)
            shape = explainer.functions.logits_shape((1, *frame.pixels.shape))
            target = np.zeros((*shape[1:-1], weights.shape[-1]), np.float32)
            frame.inside(target)[...] = weights
            layers = list(self.layers)
            found = explain_without_warnings(explainer, frame.pixels[None], target[None], layers)
            maps = {PIXELS: found.relevance[0]}
            maps.update((name, found.layers[name][0]) for name in layers if name in found.layers)
            maps = {name: frame.inside(values).sum(-1) for name, values in maps.items()}
        found.layers.arrays.clear()
        with self._changing:
            if rule in self._explainers:
                self._ready.add(rule)
        return Relevance(maps, found)

    def try_prediction(self) -> Prediction:
        """Predict a black image, so that the first prediction that is asked for is quick."""
        return self.predict(np.zeros((*self.size, self.channels), np.uint8))

    def prepare(self, rule: str) -> None:
        """Explain a black image, so that what is asked for by this rule is quick."""
        weights = np.ones((*self.try_prediction().grid.shape, 1), np.float32)
        self.explain(np.zeros((*self.size, self.channels), np.uint8), rule, weights)

    def is_ready(self, rule: str) -> bool:
        """Whether the network was traced for a rule."""
        return rule in self._ready

    def has_room(self) -> bool:
        """Whether one more rule can be made ready without another being given up."""
        return len(self._explainers) < MOST_EXPLAINERS

    def _explainer(self, rule: str) -> Any:
        with self._changing:
            made: Any = self._explainers.get(rule)
            if made is not None:
                self._explainers.move_to_end(rule)
                return made
        if self.mode == WINDOW:
            tiling = {"size": self.size, "mode": self.mode, "scale": self.scale}
            made = MergedExplainer(self.model, rule, **tiling)
        else:
            made = Explainer(self.model, rule)
        with self._changing:
            made = self._explainers.setdefault(rule, made)
            self._explainers.move_to_end(rule)
            while len(self._explainers) > MOST_EXPLAINERS:
                gone, _ = self._explainers.popitem(last=False)
                self._ready.discard(gone)
        return made

    def _labels(self, probability: np.ndarray) -> np.ndarray:
        """Labels of (..., channels): where they may overlap, the most probable of those there."""
        labels = decide(probability, self.threshold, self.member.labels)
        if self.member.labels:
            labels = np.where(labels.any(-1), 1 + (probability * labels).argmax(-1), 0)
        return labels.astype(np.uint8)

    def _foreground(self, probability: np.ndarray) -> np.ndarray:
        if self.member.exclusive:
            return 1 - probability[..., 0]
        return probability.max(-1)


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Bring an image, uint8 (height, width, 1 or 3), to other channels, as when it is read.

    Example:
        >>> in_channels(np.full((1, 1, 3), (255, 0, 0), np.uint8), 1).tolist()
        [[[76]]]
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.repeat(pixels, channels, -1)

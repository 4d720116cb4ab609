"""Explanations of predictions that are merged from views, windows and networks.

The logit of a merged prediction is a weighted sum of logits: of an ensemble's members, of flipped
and turned views, of overlapping windows. Layer-wise relevance propagation is linear in where it
starts, so each of these logits is explained with its weight, the maps are turned back and put in
their place, and their sum is the explanation of the merged logit: nothing is averaged that is not
averaged in the prediction, and no relevance is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasgan.data.resize import check_image
from kerasgan.data.windows import reflection
from kerasgan.errors import KerasganError
from kerasgan.explain import methods, targets
from kerasgan.explain.explainer import Explainer, Gates
from kerasgan.explain.explanation import Explanation
from kerasgan.explain.logits import warn_if_empty
from kerasgan.explain.original_size import to_original
from kerasgan.explain.propagate import COLUMNS
from kerasgan.inference.members import input_size, members_of
from kerasgan.inference.tiling import OVERLAP, Frame, check_tiling, make_frame
from kerasgan.inference.views import View, augmentation_views
from kerasgan.models.framing import framing_of
from kerasgan.models.preprocess import check_range
from kerasgan.validation import check_images


class MergedExplainer:
    """Explains what `kerasgan.predict` predicts, with the same options, at the image's own pixels.

    Args:
        model: As for `kerasgan.predict`: a model, or a list of models, whose logits are averaged.
        rule: As of `Explainer`.
        size: As of `kerasgan.inference.iterate_logits`, as the next five.
        mode: "stretch", "letterbox" or "window"; None for what training says, else "stretch".
        overlap: Share of a window that the next one covers again.
        scale: By how much images are enlarged before they are cut into windows; None likewise.
        augment: Test-time augmentation, True, False or "flips".
        preprocess: As of `Explainer`; a function takes a batch in [-1, 1].
        batch_size: How many images or windows to explain at once; None for as many as take 1 GiB.
        gates: As of `Explainer`, for every one of several models.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> folds = [kg.models.unet(size=32, filters=2, levels=2, seed=seed) for seed in range(2)]
        >>> explainer = kg.explain.MergedExplainer(folds, mode="window", augment="flips")
        >>> e = explainer.explain(np.random.uniform(-1, 1, (1, 40, 48, 3)))
        >>> e.relevance.shape, e.logits.shape
        ((1, 40, 48, 3), (1, 40, 48, 1))
    """

    def __init__(
        self,
        model: Any,
        rule: methods.RuleLike = methods.DEFAULT_RULE,
        *,
        size: int | tuple[int, int] | None = None,
        mode: str | None = None,
        overlap: float = OVERLAP,
        scale: float | None = None,
        augment: bool | str = False,
        preprocess: str | Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        gates: Gates | None = None,
    ):
        members = members_of(model)
        mode, scale = framing_of([member.network for member in members], mode, scale)
        check_tiling(mode, overlap, scale)
        self.window = input_size(members[0].network, size)
        self.views = augmentation_views(augment, self.window)
        self.tiling = (mode, overlap, scale)
        self.explainers = [
            Explainer(member.network, rule, preprocess, batch_size, gates) for member in members
        ]
        unit = members[0].log_odds * len(members) * len(self.views)
        self.gates = self.explainers[0].gates
        self.shares = [member.log_odds / unit for member in members]

    def explain(
        self, images: Any, target: targets.TargetLike = "prediction", truth: Any = None
    ) -> Explanation:
        """Explains images.

        Args:
            images: (batch, height, width, channels) in [-1, 1], of any one size.
            target: As of `Explainer.explain`. It chooses from the merged logits.
            truth: True masks of the size of the merged logits, for targets that need them.

        Returns:
            The explanation. `relevance` has the size of the images. `logits` and `target` are those
            of the merged prediction, of the size of the network, or with windows of the image, in
            the unit of the (first) network: before a tanh these are half the log-odds. The `ledger`
            adds up views and windows for each layer; layers of an ensemble are named "0/down_1"
            and so on, and have no `skips`. Relevance of a letterbox's border, which is no part of
            the image, is in its last row. No relevance at layers is kept.

        Example:
            >>> import numpy as np
            >>> import kerasgan as kg
            >>> model = kg.models.unet(size=32, filters=2, levels=2)
            >>> e = MergedExplainer(model, augment=True).explain(np.zeros((1, 32, 32, 3)) + 0.5)
            >>> spent = e.ledger[["bias", "stabiliser", "unsupported"]].to_numpy().sum()
            >>> explained = (e.target * e.logits).sum()
            >>> bool(abs(e.relevance.sum() + spent - explained) < 1e-3 * abs(explained) + 1e-6)
            True
        """
        images = check_images(images)
        if images.ndim != 4 or not len(images):
            raise KerasganError(
                "Argument 'images' must be an array (batch, height, width, channels); explain "
                f"images of several sizes one by one. Received: shape {images.shape}"
            )
        check_range(images, self.explainers[0].preprocess)
        checked = [check_image(image, f"images[{i}]") for i, image in enumerate(images)]
        frames = [make_frame(image, self.window, *self.tiling) for image in checked]
        maps = [self._logits(frame) for frame in frames]
        logits = np.stack([frame.inside(whole) for frame, whole in zip(frames, maps)])
        names = targets.names_of(target, len(images))
        target = targets.get(target).prepare(logits.shape, truth)
        weights = target.weights(tf.constant(logits)).numpy()
        warn_if_empty(weights)
        explained = []
        for frame, whole, chosen in zip(frames, maps, weights):
            start = np.zeros_like(whole)
            frame.inside(start)[...] = chosen
            explained.append(self._relevance(frame, start))
        return self._merged(images, logits, weights, frames, explained, names)

    def _tiles(self, frame: Frame, view: View, array: np.ndarray) -> np.ndarray:
        tiles = [frame.cut(array, tile) for tile in range(len(frame.corners))]
        return np.ascontiguousarray(view.apply(np.stack(tiles)))

    def _logits(self, frame: Frame) -> np.ndarray:
        """Merged logits of a frame."""
        total: Any = 0.0
        for view in self.views:
            tiles = self._tiles(frame, view, frame.pixels)
            for explainer, share in zip(self.explainers, self.shares):
                total = total + view.undo(_logits_of(explainer, tiles)) * np.float32(share)
        whole = None
        for tile, values in enumerate(total):
            whole = frame.blend(whole, tile, values)
        return whole

    def _relevance(self, frame: Frame, start: np.ndarray) -> tuple[np.ndarray, list[Explanation]]:
        """Relevance of a frame's pixels, and the explanations of each member it is the sum of."""
        total: Any = None
        parts: list[list[Explanation]] = [[] for _ in self.explainers]
        if frame.mode == "window":
            numbers = range(len(frame.corners))
            weights = np.stack([frame.cut(start, n) * frame.weights(n) for n in numbers])
        else:
            weights = start[None]
        chosen = np.flatnonzero(np.any(weights != 0, (1, 2, 3)))
        if not len(chosen):
            chosen = np.arange(1)
        for view in self.views:
            tiles = self._tiles(frame, view, frame.pixels)[chosen]
            seen = np.ascontiguousarray(view.apply(weights[chosen]))
            for explainer, share, explanations in zip(self.explainers, self.shares, parts):
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "The target is empty")
                    part = explainer.explain(tiles, target=seen * share, layers=(), verbose=False)
                explanations.append(part)
                if total is None:
                    total = np.zeros((*frame.pixels.shape[:2], part.relevance.shape[-1]))
                for tile, relevance in zip(chosen, view.undo(part.relevance)):
                    frame.cut(total, tile)[...] += relevance
        return total, parts

    def _merged(
        self,
        images: np.ndarray,
        logits: np.ndarray,
        weights: np.ndarray,
        frames: Sequence[Frame],
        explained: Sequence[tuple[np.ndarray, list[list[Explanation]]]],
        names: Sequence[str],
    ) -> Explanation:
        resized = [_placed(frame, relevance) for frame, (relevance, _) in zip(frames, explained)]
        arrays = {
            "images": images,
            "relevance": np.stack([relevance for relevance, _ in resized]).astype(np.float32),
            "logits": logits,
            "target": weights,
        }
        members = [explanations[0] for explanations in explained[0][1]]
        rows: list[Sequence[str]] = []
        for number, member in enumerate(members):
            before = f"{number}/" if len(members) > 1 else ""
            rows += [(f"{before}{layer}", kind) for layer, kind in member.rows]
        if rows:
            ledgers = [_added(parts, "ledger") for _, parts in explained]
            if self.tiling[0] == "letterbox":
                rows.append(("letterbox", "Letterbox"))
                ledgers = [
                    np.vstack([ledger, _border(relevance, border)])
                    for ledger, (relevance, border) in zip(ledgers, resized)
                ]
            arrays["ledger"] = np.stack(ledgers, -1)
        branches: Sequence[Sequence[str]] = []
        if rows and len(members) == 1:
            branches = members[0].branches
            arrays["branches"] = np.stack([_added(parts, "branches") for _, parts in explained], -1)
        rule = self.explainers[0].rule_name
        return Explanation(arrays, {}, rows, branches, self.gates, rule=rule, targets=names)


def _logits_of(explainer: Explainer, images: np.ndarray) -> np.ndarray:
    """Logits of the very network that is explained, whose rounding is its own."""
    batches = explainer.batches(images)
    logits = np.concatenate([explainer.functions.logits(*batch).numpy() for *_, batch in batches])
    if not np.all(np.isfinite(logits)):
        raise KerasganError(
            f"Model '{explainer.model.name}' gives NaN or infinity for these images. Check its "
            "weights: training may have diverged"
        )
    return logits.astype(np.float32)


def _added(parts: list[list[Explanation]], name: str) -> np.ndarray:
    """An image's rows of the table: summed over windows and views, member after member."""
    return np.concatenate(
        [sum(part.arrays[name].astype(np.float64).sum(-1) for part in member) for member in parts]
    )


def _placed(frame: Frame, relevance: np.ndarray) -> tuple[np.ndarray, float]:
    """Relevance at the image's own pixels, and that of a letterbox's border."""
    if frame.mode != "window":
        resized = to_original(relevance, frame.image_size, frame.mode)
        return resized.relevance, float(resized.border.sum())
    rows, columns = reflection(frame.box, frame.window)
    folded = np.zeros((*frame.box[2:], relevance.shape[-1]))
    np.add.at(folded, np.ix_(rows, columns), relevance)
    return to_original(folded, frame.image_size).relevance, 0.0


def _border(relevance: np.ndarray, border: float) -> np.ndarray:
    """The ledger's row of a letterbox: its border is as constant as a bias."""
    inside = relevance.sum()
    spent = {"relevance_in": inside + border, "relevance_out": inside, "bias": border}
    spent["absolute"] = np.abs(relevance).sum() + abs(border)
    return np.array([[spent.get(column, 0.0) for column in COLUMNS]])

"""How far the passes of a prediction agree: over views of the image, over networks, or both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kerasgan.counts import count, score
from kerasgan.data.resize import resize_back
from kerasgan.errors import KerasganError
from kerasgan.inference.members import (
    have_same_weights,
    members_of,
    to_probabilities,
    with_input_shape,
)
from kerasgan.inference.predict import decide
from kerasgan.inference.stream import iterate_logits, to_samples


class Uncertainty(NamedTuple):
    """How uncertain the mask of one image is.

    Attributes:
        entropy: float32 (height, width), in bits: the entropy of the mean probability, from 0 to
            log2(classes), or to 1 for a foreground channel. High at borders, and where the networks
            are undecided.
        disagreement: float32 (height, width), in bits, at most the entropy: the part of it that
            comes from differences between the passes (mutual information). 0 where all agree.
        mask_disagreement: from 0, all passes give the same mask, to 1, no two masks overlap: 1 less
            the mean Dice of all pairs of passes, averaged over the foreground classes.

    Example:
        >>> Uncertainty(np.zeros((2, 2)), np.zeros((2, 2)), 0.0).mask_disagreement
        0.0
    """

    entropy: np.ndarray
    disagreement: np.ndarray
    mask_disagreement: float


def predict_uncertainty(
    model: Any, images: Any, *, augment: bool | str = True, **options: Any
) -> list[Uncertainty]:
    """Measure pixel by pixel how far several passes over each image agree.

    The passes are views of test-time augmentation, the networks of an ensemble, or both.

    Args:
        model: As for `kerasgan.predict`; a list of models is an ensemble.
        images: As for `kerasgan.predict`.
        augment: As for `iterate_logits`: True for eight views, `"flips"` for four. False with an
            ensemble alone.
        **options: `size`, `mode`, `overlap`, `scale`, `batch_size`, `preprocess` and `verbose`, as
            for `iterate_logits`.

    Returns:
        An `Uncertainty` for each image, whose maps are of the size of the image.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> (found,) = kg.inference.predict_uncertainty(model, np.zeros((1, 48, 64, 3)))
        >>> found.entropy.shape, bool((found.disagreement <= found.entropy).all())
        ((48, 64), True)

    Source: mutual information, Houlsby et al. 2011 (arXiv 1112.5745); views, Wang et al. 2019
    (arXiv 1807.07356); pairs of masks, Roy et al. 2019 (arXiv 1811.09800).
    """
    return list(_iterate(model, images, augment, options))


def _iterate(model: Any, images: Any, augment: bool | str, options: dict) -> Iterator[Uncertainty]:
    model = with_input_shape(model, images, options.get("size"))
    check_passes(model, augment)
    exclusive, labels = members_of(model)[0][3:]

    def finish(_: int, logits: np.ndarray, image_size: tuple[int, int]) -> Uncertainty:
        passes = [
            resize_back(to_probabilities(each, exclusive), image_size)
            for each in np.moveaxis(logits, 2, 0)
        ]
        entropy = entropy_of(np.mean(passes, 0), exclusive)
        disagreement = entropy - np.mean([entropy_of(each, exclusive) for each in passes], 0)
        apart = mask_disagreement(passes, labels)
        return Uncertainty(entropy, np.maximum(disagreement, 0), apart)

    options = {**options, "augment": augment, "average": False}
    return iterate_logits(model, images, finish, **options)


def uncertainty_table(
    model: Any, images: Any, *, augment: bool | str = True, **options: Any
) -> pd.DataFrame:
    """Measure how uncertain the mask of each image is, to send the most uncertain ones to a person.

    Args:
        model: As for `predict_uncertainty`.
        images: As for `predict_uncertainty`.
        augment: As for `predict_uncertainty`.
        **options: As for `predict_uncertainty`.

    Returns:
        A row for each image: `name`; `entropy` and `disagreement`, means of the maps of
        `Uncertainty` over all pixels; `mask_disagreement`.

    Example:
        >>> table = kg.inference.uncertainty_table(gan, test)  # doctest: +SKIP
        >>> table.sort_values("mask_disagreement").tail()  # doctest: +SKIP
    """
    samples = to_samples(images)
    measured = _iterate(model, images if samples is None else samples, augment, options)
    rows = [
        (float(each.entropy.mean()), float(each.disagreement.mean()), each.mask_disagreement)
        for each in measured
    ]
    names = [f"images[{i}]" for i in range(len(rows))] if samples is None else samples.names
    table = pd.DataFrame(rows, columns=["entropy", "disagreement", "mask_disagreement"])
    table.insert(0, "name", list(names))
    return table


def mask_disagreement(passes: Sequence[np.ndarray], labels: bool) -> float:
    """Return 1 less the mean Dice of all pairs of masks, given the probabilities of each pass."""
    masks = [_foreground(each, labels) for each in passes]
    pairs = [score("dice", count(*pair, axis=(0, 1))) for pair in itertools.combinations(masks, 2)]
    return 1 - float(np.mean(pairs))


def check_passes(model: Any, augment: bool | str) -> None:
    """Raise unless an image passes more than once through a network, or through different ones."""
    members = members_of(model)
    for a, b in itertools.combinations(range(len(members)), 2):
        first, second = members[a].network, members[b].network
        if have_same_weights(first, second):
            raise KerasganError(
                "Argument 'model' must hold different networks, since one agrees with itself. "
                f"Received: '{first.name}' and '{second.name}', numbers {a} and {b} of the list, "
                "which have the same weights. Pass each network once"
            )
    if augment is False and len(members) == 1:
        raise KerasganError(
            "Argument 'augment' must be True or 'flips' for a single network, since one pass "
            "agrees with itself; or pass several networks as 'model'. Received: False"
        )


def _foreground(probability: np.ndarray, labels: bool) -> np.ndarray:
    """Decided masks of all classes but the background, (height, width, masks)."""
    mask, classes = decide(probability, labels=labels), probability.shape[-1]
    if labels:
        return mask
    return mask[..., None] if classes == 1 else mask[..., None] == np.arange(1, classes)


def entropy_of(probability: np.ndarray, exclusive: bool) -> np.ndarray:
    """Entropy of each pixel in bits; of labels that may overlap their mean."""
    p = probability.astype(np.float64)
    if not exclusive:
        p = np.stack([p, 1 - p], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -np.where(p > 0, p * np.log2(p), 0).sum(-1)
    return (bits if exclusive else bits.mean(-1)).astype(np.float32)

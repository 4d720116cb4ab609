"""Which unlabelled images to label next, by what a network makes of them.

A score says how much a mask is needed: the larger, the sooner. Images that look almost like one
that has a mask, or that stands before them, come last, so that a video is not labelled frame by
frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.data.alike import ALIKE, SeenImages, small_image, small_images
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError
from kerasgan.inference.members import (
    input_size,
    members_of,
    to_probabilities,
    with_input_shape,
)
from kerasgan.inference.stream import image_source, iterate_logits, to_samples
from kerasgan.inference.uncertainty import check_passes, entropy_of, mask_disagreement
from kerasgan.models.framing import bring_whole, framing_of
from kerasgan.models.functional import generator_of
from kerasgan.models.outputs import to_signed_mask
from kerasgan.storage import content_key, package_versions, write_file
from kerasgan.validation import (
    check_choice,
    check_path,
    check_seed,
    check_whole_number,
    invalid,
)

CRITERIA = ("disagreement", "discriminator", "entropy", "random")
BATCH = 8
KIND = "scores of rank_images"


def rank_images(
    model: Any,
    images: Any,
    *,
    by: str = "disagreement",
    count: int | None = None,
    labelled: Any = None,
    seed: int = 0,
    resume: str | os.PathLike | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Rank unlabelled images by how much a mask of theirs is needed, to label the first ones next.

    Args:
        model: As for `kerasgan.predict`; a list of models is an ensemble. For "discriminator" a
            `SegmentationGAN` that was trained with one. None for "random".
        images: `Samples`, or the path of a folder; masks are not used.
        by: "disagreement": 1 less the mean Dice of the masks that are drawn on eight views of an
            image, or by the networks of an ensemble. "discriminator": how little the GAN's
            discriminator takes the drawn mask for one drawn by a person, the mean of its logits
            times -1. "entropy": the mean entropy of pixels, in bits. "random": any order.
        count: How many images to return; None for all.
        labelled: `Samples`, or the path of a folder with images that have masks already. Images
            almost like these come last.
        seed: Of "random".
        resume: File, made if need be, in which scores are kept as they come: the same call goes on
            after those that are there, also if images came or went. None keeps nothing.
        **options: `size`, `mode`, `overlap`, `scale`, `augment`, `batch_size`, `preprocess` and
            `verbose`, as for `iterate_logits`. For "disagreement" `augment` is True by default,
            with an ensemble False. For "discriminator" only `size`, `batch_size` and `verbose`.

    Returns:
        A row for each image, the one to label first on top: `rank`, from 1; `name`; `score`, the
        larger the sooner; `like`, the name of an image with a mask or before it that it is almost
        like, and for which it comes last, else "".

    Raises:
        KerasganError: If model, images or an option cannot be used, there is no discriminator that
            was trained, or `resume` holds something else.

    Example:
        >>> import tempfile
        >>> import kerasgan as kg
        >>> from kerasgan.data import synthetic
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> frames = synthetic.write_dataset(tempfile.mkdtemp(), count=4, size=32)
        >>> table = rank_images(model, frames, by="entropy", count=2)
        >>> list(table.columns), table["rank"].tolist()
        (['rank', 'name', 'score', 'like'], [1, 2])

    Source: entropy, Settles 2009 (Active Learning Literature Survey, section 3.1); disagreement of
    masks, Roy et al. 2019 (arXiv 1811.09800); few of those that are alike, Yang et al. 2017 (arXiv
    1706.04737), who choose by features of the network.
    """
    check_choice("by", by, CRITERIA)
    seed = check_seed(seed)
    if count is not None:
        check_whole_number("count", count, 1)
    samples = to_samples(images)
    if samples is None:
        raise invalid("images", "Samples or a path, to have names", type(images).__name__)
    known = None if labelled is None else to_samples(labelled)
    if labelled is not None and known is None:
        raise invalid("labelled", "Samples or a path", type(labelled).__name__)
    if not len(samples):
        raise invalid("images", "at least one image", "none")
    if by == "random":
        scores = np.random.default_rng(seed).random(len(samples))
    elif model is None:
        raise invalid("model", f"a model, for by={by!r}", model)
    else:
        scores = _scores(model, samples, by, options, resume)
    order = np.argsort(-scores, kind="stable")
    order, like = _distinct_first(samples, order.tolist(), count, known)
    rows = [(samples.names[i], float(scores[i]), like.get(i, "")) for i in order]
    table = pd.DataFrame(rows, columns=["name", "score", "like"])
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


# --- Scores ---


def _scores(
    model: Any,
    samples: Samples,
    by: str,
    options: dict[str, Any],
    resume: str | os.PathLike | None,
) -> np.ndarray:
    """Score every image, but for those whose scores a file holds."""
    model = with_input_shape(model, samples, options.get("size"))
    members_of(model)
    if by == "discriminator":
        _check_discriminator(model)
    elif by == "disagreement":
        several = isinstance(model, (list, tuple)) and len(model) > 1
        options = {"augment": not several, **options}
        check_passes(model, options["augment"])
    measure = {"disagreement": _disagreement, "discriminator": _doubt, "entropy": _entropy}[by]
    if resume is None:
        return np.array(list(measure(model, samples, options)))
    counted = {k: v for k, v in options.items() if k not in ("verbose", "batch_size")}
    kept = _Kept(resume, [by, _networks_of(model), counted, package_versions()])
    places = [_place_of(path) for path in samples.image_paths]
    missing = [index for index, place in enumerate(places) if place not in kept.scores]
    if missing:
        with kept:
            for index, score in zip(missing, measure(model, samples[missing], options)):
                kept.add(places[index], score)
    return np.array([kept.scores[place] for place in places])


def _disagreement(model: Any, samples: Samples, options: Mapping[str, Any]) -> Iterator[float]:
    exclusive, labels = members_of(model)[0][3:]

    def finish(_: int, logits: np.ndarray, image_size: tuple[int, int]) -> float:
        passes = np.moveaxis(logits, 2, 0)
        return mask_disagreement([to_probabilities(each, exclusive) for each in passes], labels)

    yield from iterate_logits(model, samples, finish, **{**options, "average": False})


def _entropy(model: Any, samples: Samples, options: Mapping[str, Any]) -> Iterator[float]:
    exclusive = members_of(model)[0].exclusive

    def finish(_: int, logits: np.ndarray, image_size: tuple[int, int]) -> float:
        return float(entropy_of(to_probabilities(logits, exclusive), exclusive).mean())

    yield from iterate_logits(model, samples, finish, **options)


def _doubt(gan: Any, samples: Samples, options: Mapping[str, Any]) -> Iterator[float]:
    """Give how little a discriminator takes each drawn mask for a person's."""
    for name in options:
        check_choice("options", name, ("size", "batch_size", "verbose"))
    (member,) = members_of(gan)
    window = input_size(member.network, options.get("size"))
    if framing_of([member.network]).mode == WINDOW:
        raise KerasganError(
            "Argument 'by' must be 'disagreement' or 'entropy' for a network that was trained on "
            "windows, since its discriminator has seen no whole image. Received: 'discriminator'"
        )
    size = check_whole_number("batch_size", options.get("batch_size", BATCH), 1)
    names, load = image_source(samples, member.network)
    bar = keras.utils.Progbar(len(names), unit_name="image", verbose=bool(options.get("verbose")))
    for start in range(0, len(names), size):
        part = range(start, min(start + size, len(names)))
        batch = bring_whole(member.network, [load(index) for index in part], window)
        drawn = to_probabilities(member.logits(batch), member.exclusive)
        verdict = np.asarray(gan.discriminator([batch, to_signed_mask(drawn)], training=False))
        for index, score in zip(part, -verdict.reshape(len(part), -1).mean(1)):
            if not np.isfinite(score):
                raise KerasganError(f"The discriminator gave NaN or infinity for {names[index]}")
            yield float(score)
        bar.add(len(part))


def _check_discriminator(model: Any) -> None:
    """Raise unless a model has a discriminator that was trained and says how real a mask is."""
    if isinstance(model, (list, tuple)):
        raise KerasganError(
            "Argument 'by': 'discriminator' takes one model. Received: an ensemble of "
            f"{len(model)}; rank by 'disagreement'"
        )
    discriminator = getattr(model, "discriminator", None)
    compiled = getattr(model, "compile_settings", lambda: None)()
    settings = compiled or getattr(model, "recipe", None) or {}
    where = "Argument 'by': 'discriminator' needs a model with a discriminator"
    if discriminator is None or settings.get("adversarial_weight") == 0:
        has = "none" if discriminator is None else "one that was not trained"
        raise KerasganError(
            f"{where}, trained with adversarial_weight above 0 and saved as a run; bundles have "
            f"none. Received: {has}. Rank by 'disagreement' or 'entropy'"
        )
    kind, scores = settings.get("adversarial"), discriminator.output_shape
    if kind == "segan" or len(scores) not in (2, 4) or scores[-1] != 1:
        raise KerasganError(
            f"{where} that says how real a mask is, one score for each place or image. Received: "
            f"'{discriminator.name}' of adversarial={kind!r} with outputs of shape {scores}. Rank "
            "by 'disagreement' or 'entropy'"
        )


def _networks_of(model: Any) -> list[Any]:
    """Return what scores depend on."""
    models = model if isinstance(model, (list, tuple)) else [model]
    return [[generator_of(each), getattr(each, "discriminator", None)] for each in models]


# --- Scores that are kept ---


def _place_of(path: str) -> tuple[str, int, int]:
    """Return path, size and time of a file, by which it is known again."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise KerasganError(f"File {path} is gone or cannot be read: {error}") from error
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns


class _Kept:
    """Scores in a file, a line of JSON each, behind a line that says what they depend on."""

    def __init__(self, path: str | os.PathLike, facts: Any):
        self._path, self._key = check_path("resume", path), content_key(facts)
        self.scores: dict[tuple, float] = {}
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        try:
            first, *lines = self._path.read_text(encoding="utf-8").splitlines()
            head = json.loads(first)
            if head["kind"] != KIND:
                raise ValueError("it is of another kind")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KerasganError(
                f"Argument 'resume' must be a new file or one of an earlier call. Received: "
                f"{self._path}, which is something else"
            ) from error
        if head.get("key") != self._key:
            raise KerasganError(
                "Argument 'resume' must be a new file or one of the same call. Received: "
                f"{self._path}, with scores of another model, criterion, option or version. Delete "
                "it, or pass another"
            )
        for line in lines:
            try:
                *place, score = json.loads(line)
                self.scores[tuple(place)] = float(score)
            except (ValueError, TypeError):  # the last one, cut off as the process was killed
                continue

    def __enter__(self) -> _Kept:
        """Write what is known anew, without what was cut off, and keep the file open."""
        lines = [json.dumps({"kind": KIND, "key": self._key})]
        lines += [json.dumps([*place, score]) for place, score in self.scores.items()]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._path, "\n".join(lines) + "\n")
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, place: tuple, score: float) -> None:
        self.scores[place] = score
        try:
            self._file.write(json.dumps([*place, score]) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> KerasganError:
        return invalid("resume", f"a file that can be written ({error.strerror})", self._path)


# --- Images that are alike ---


def _distinct_first(
    samples: Samples, order: list[int], count: int | None, labelled: Samples | None
) -> tuple[list[int], dict[int, str]]:
    """Return the first positions, those of images like earlier ones last, and what these are like.

    Images are looked at in their order until there are enough.
    """
    count = len(order) if count is None else min(count, len(order))
    others = SeenImages(count + (0 if labelled is None else len(labelled)))
    if labelled is not None:
        for name, small in zip(labelled.names, small_images(labelled.image_paths)):
            others.add(name, small)
    first: list[int] = []
    like: dict[int, str] = {}
    for index in order:
        if len(first) == count:
            break
        small = small_image(samples.image_paths[index])
        name = others.nearest(small, ALIKE)
        if name is not None:
            like[index] = name
            continue
        others.add(samples.names[index], small)
        first.append(index)
    return [*first, *like][:count], like

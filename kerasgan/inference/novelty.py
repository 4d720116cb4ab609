"""Images unlike those that a network learned from: how far off their features lie."""

from __future__ import annotations

import io
import os
import pathlib
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan.data import Samples
from kerasgan.errors import KerasganError, KerasganWarning, unknown_name
from kerasgan.inference.members import input_size, members_of
from kerasgan.inference.stream import image_source
from kerasgan.models.archives import TEXT_LIMIT, entries_of
from kerasgan.models.framing import bring_whole
from kerasgan.models.functional import feature_maps, generator_of, way_down
from kerasgan.models.preprocess import NAMES, Preprocess, preprocess_of
from kerasgan.storage import write_file
from kerasgan.validation import check_number, check_path, invalid

SHRINKAGE = 0.1
BATCH = 8
ARRAYS = ("center", "scale", "inverse", "usual")
NUMBERS = ("threshold", "share")
MOST_LAYERS = 60


class Novelty:
    """What the features of training images are, to tell images that are unlike them.

    Made by `fit_novelty`, or read by `load`.

    Attributes:
        layers: Names of the layers whose features are compared.
        threshold: Distance above which an image counts as unlike the training images.
        share: Share of the validation images that were above it.
        size: (height, width) in pixels at which the network ran.
        preprocess: Name of what the network took.

    Example:
        >>> novelty = kg.inference.fit_novelty(gan, train, val)  # doctest: +SKIP
        >>> novelty.measure(gan, "frames")  # doctest: +SKIP
    """

    def __init__(
        self,
        known: dict[str, dict[str, np.ndarray]],
        threshold: float,
        share: float,
        size: tuple[int, int],
        preprocess: Preprocess,
    ):
        self.layers = list(known)
        self.threshold, self.share = float(threshold), float(share)
        self.size = int(size[0]), int(size[1])
        self.preprocess = preprocess.name
        self._known, self._before = known, preprocess

    def measure(self, model: Any, images: Any) -> pd.DataFrame:
        """Measure how far images are from the training images, and warn of those that are far.

        Args:
            model: The model that was given to `fit_novelty`.
            images: As for `kerasgan.predict`; masks are not needed.

        Returns:
            A row for each image: `name`; `distance`, from 0 up, about 1 for usual images;
            `novel`, whether it is above the threshold.
        """
        network = generator_of(model)
        (member,) = members_of(network)
        window = input_size(member.network, self.size)
        names, features = _features(network, images, self.layers, window, self._before)
        for layer, values in features.items():
            channels = self._known[layer]["center"].size
            if values.shape[1] != channels:
                raise KerasganError(
                    f"Argument 'model' must be the model of fit_novelty: layer '{layer}' has "
                    f"{channels // 2} channels. Received: one of {values.shape[1] // 2}"
                )
        distances = _distances(features, self._known)
        novel = distances > self.threshold
        if novel.any():
            worst = names[int(distances.argmax())]
            warnings.warn(
                f"{novel.sum()} of {len(names)} images are unlike the training images, most of all "
                f"{worst} (distance {distances.max():.2f}, threshold {self.threshold:.2f}; about "
                f"{self.share:.0%} of usual images are above it). Look at their masks before you "
                "rely on them",
                KerasganWarning,
                stacklevel=2,
            )
        return pd.DataFrame({"name": names, "distance": distances, "novel": novel})

    def save(self, path: str | os.PathLike) -> None:
        """Write it to a file, without pickle.

        Args:
            path: The file, `*.npz`; replaced if it exists.

        Raises:
            KerasganError: If `fit_novelty` was given a function as `preprocess`.
        """
        path = _check_name(path)
        if not self._before.named:
            raise KerasganError(
                f"A file cannot hold the function '{self.preprocess}', which fit_novelty was given "
                "as 'preprocess'. Give the network a layer that does the same, or a name"
            )
        file = io.BytesIO()
        facts = {"threshold": self.threshold, "share": self.share, "size": self.size}
        facts.update(preprocess=self.preprocess)
        arrays = {
            f"{n}/{name}": a
            for n, known in enumerate(self._known.values())
            for name, a in known.items()
        }
        np.savez_compressed(file, layers=np.array(self.layers), **facts, **arrays)
        try:
            write_file(path, file.getvalue())
        except OSError as error:
            raise KerasganError(f"'{path}' cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> Novelty:
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The same, for the model that it was fitted with.
        """
        path = _check_name(path)
        try:
            _check_shapes(path)
            with np.load(path, allow_pickle=False) as file:
                known = {
                    str(layer): {
                        name: np.asarray(file[f"{number}/{name}"], np.float64) for name in ARRAYS
                    }
                    for number, layer in enumerate(file["layers"])
                }
                threshold, share = (float(file[name]) for name in NUMBERS)
                size, name = file["size"], str(file["preprocess"])
            for each in known.values():
                if not all(np.isfinite(each[name]).all() for name in ARRAYS):
                    raise ValueError("its numbers are not finite")
                if min(each["scale"].min(), each["usual"]) <= 0:
                    raise ValueError("it has a unit that is not above 0")
                np.linalg.cholesky(each["inverse"])
            if not known or not np.isfinite([threshold, share]).all():
                raise ValueError("it has no layers, or no threshold")
            if size.min() < 1 or name not in NAMES:
                raise ValueError("it has no size, or another preprocess than there is")
            return cls(known, threshold, share, tuple(size), Preprocess(name, NAMES[name]))
        except Exception as error:  # numpy and zipfile have many for a broken file
            raise KerasganError(f"'{path}' holds no Novelty of kerasgan: {error}") from error


def fit_novelty(
    model: Any,
    train: Samples,
    validation: Samples,
    *,
    layers: Sequence[str] | None = None,
    quantile: float = 0.99,
    size: int | tuple[int, int] | None = None,
    preprocess: Any = None,
) -> Novelty:
    """Learn to tell images that are unlike the training images.

    Features are mean and deviation of each channel of a layer over the image. A layer's distance is
    Mahalanobis' to the training images, relative to the median of the validation images; an image's
    distance is the mean over the layers. The threshold comes from the validation images, which are
    of the same kind as the training images but were not trained on.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        train: The `Samples` that the model was trained on, at least 10; labels are not needed.
        validation: `Samples` of the same kind that it was not trained on.
        layers: Names of the layers whose features are compared, at most 60; None for the last
            layer of each height and width on the way down to the smallest.
        quantile: Share of the validation images below the threshold, between 0 and 1. At 0.99 about
            one in a hundred images of the usual kind is above it.
        size: As for `iterate_logits`.
        preprocess: As for `iterate_logits`.

    Returns:
        A `Novelty`.

    Example:
        >>> novelty = kg.inference.fit_novelty(gan, train, val)  # doctest: +SKIP
        >>> novelty.save("novelty.npz")  # doctest: +SKIP

    Source: Lee et al. 2018 (arXiv 1807.03888), for one class and with deviations beside means; the
    correlations are shrunk by a tenth towards none.
    """
    check_number("quantile", quantile, above=0, below=1)
    for name, samples, least in (("train", train, 10), ("validation", validation, 1)):
        if not isinstance(samples, Samples):
            raise invalid(name, "Samples", type(samples).__name__)
        if len(samples) < least:
            raise invalid(name, f"at least {least} images", len(samples))
    network = generator_of(model)
    (member,) = members_of(network)
    window, before = input_size(member.network, size), preprocess_of(network, preprocess)
    if layers is None:  # the last of each size
        layers = {area: name for name, area in way_down(network, window).items()}.values()
    layers = list(layers)
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise invalid("layers", f"at least one name and at most {MOST_LAYERS}", layers)
    known = {}
    for layer, values in _features(network, train, layers, window, before)[1].items():
        scale = values.std(0)
        constant = scale <= 1e-6 * (np.abs(values.mean(0)) + scale.max())
        scale[constant] = max(float(scale.max()), 1.0)  # a dead channel has no unit of its own
        correlations = np.cov((values - values.mean(0)) / scale, rowvar=False, bias=True)
        shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(scale))
        arrays = values.mean(0), scale, np.linalg.inv(shrunk), np.ones(())
        known[layer] = dict(zip(ARRAYS, arrays))
    _, usual = _features(network, validation, layers, window, before)
    for layer, each in known.items():
        each["usual"] = np.median(_distances({layer: usual[layer]}, known))
    distances = _distances(usual, known)
    threshold = np.quantile(distances, quantile)
    return Novelty(known, threshold, np.mean(distances > threshold), window, before)


def _distances(features: dict[str, np.ndarray], known: dict[str, Any]) -> np.ndarray:
    """Mean over the layers of how far each image is, relative to usual images."""
    total = 0.0
    for layer, values in features.items():
        center, scale, inverse, usual = (known[layer][name] for name in ARRAYS)
        apart = (values - center) / scale
        total = total + np.sqrt(np.einsum("ni,ij,nj->n", apart, inverse, apart)) / usual
    return total / len(features)


def _features(
    network: keras.Model,
    images: Any,
    layers: Sequence[str],
    window: tuple[int, int],
    before: Preprocess,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of the images, and their features (images, 2 x channels) by layer."""
    outputs = feature_maps(network)
    for layer in layers:
        if layer not in outputs:
            raise unknown_name("layers", layer, list(outputs))
    run = tf.function(keras.Model(network.inputs, [outputs[layer] for layer in layers]))
    names, load = image_source(images, network)
    rows = []
    for start in range(0, len(names), BATCH):
        chosen = range(start, min(start + BATCH, len(names)))
        batch = bring_whole(network, [load(index) for index in chosen], window)
        maps = [np.asarray(each, np.float64) for each in tf.nest.flatten(run(before(batch)))]
        rows.append([np.hstack([each.mean((1, 2)), each.std((1, 2))]) for each in maps])
    features = {layer: np.concatenate(parts) for layer, parts in zip(layers, zip(*rows))}
    for layer, values in features.items():
        wrong = ~np.isfinite(values).all(1)
        if wrong.any():
            name = names[int(wrong.argmax())]
            raise KerasganError(f"Layer '{layer}' gave NaN or infinity for {name}")
    return names, features


def _check_shapes(path: pathlib.Path) -> None:
    """Raise unless a file holds arrays that fit each other, before one of them is unpacked."""

    def header(name: str) -> tuple[tuple[int, ...], str]:
        with archive.open(entries[f"{name}.npy"]) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return shape, dtype.kind

    with zipfile.ZipFile(path) as archive:
        entries = entries_of(archive, path)
        layers, kind = header("layers")
        if len(layers) != 1 or kind != "U" or entries["layers.npy"].file_size > TEXT_LIMIT:
            raise ValueError("it has no names of layers")
        facts = {"threshold": ((), "f"), "share": ((), "f"), "size": ((2,), "i")}
        facts.update(preprocess=((), "U"))
        for number in range(layers[0]):
            (size, *_), _ = header(f"{number}/center")
            shapes = ((size,), (size,), (size, size), ())
            facts.update((f"{number}/{name}", (one, "f")) for name, one in zip(ARRAYS, shapes))
        if any(header(name) != fact for name, fact in facts.items()):
            raise ValueError("its arrays do not fit each other")
        if len(entries) != len(facts) + 1:
            raise ValueError("it holds something else beside them")


def _check_name(path: str | os.PathLike) -> pathlib.Path:
    path = check_path("path", path)
    if path.suffix != ".npz":
        raise KerasganError(f"Argument 'path' must end in '.npz'. Received: '{path}'")
    return path

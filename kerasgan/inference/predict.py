"""From a trained network to masks: any image size in, that size out.

Images are brought to the size of the network by the resizing of the data pipeline, so the network
sees what it saw in training. Its output, read as probabilities, is brought back to the size of
each image (bilinear where that is larger) and only then decided. Dropout and batch normalisation
are in inference mode, so a mask does not depend on the batch it came in.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any, Callable

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kerasgan.data import Samples, load_folder
from kerasgan.data.resize import check_image, check_size, resize_back, resize_image
from kerasgan.errors import KerasganError
from kerasgan.models import final_activation, generator_of, to_probability

__all__ = ["decide", "iterate_probability", "predict", "predict_probability", "predict_to_folder"]


def predict(model: Any, images: Any, *, threshold: float = 0.5, **options: Any) -> Any:
    """Segment images.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        images: `Samples`; the path of a folder or of one image file; a float array (batch, height,
            width, channels) in [-1, 1]; or a list of such arrays (height, width, channels), whose
            sizes may differ.
        threshold: Probability above which a pixel is foreground, between 0 and 1; 0.5 is where
            the logit changes sign. With several classes the most probable one is taken.
        **options: `size`, `mode`, `batch_size`, `preprocess`, `verbose`, as for
            `iterate_probability`.

    Returns:
        Masks (height, width) of the size of each image: boolean, or uint8 labels where the network
        has several classes. One array (batch, height, width) for an array, else a list.

    Raises:
        KerasganError: If model, images or an option cannot be used.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> kg.predict(model, np.zeros((1, 48, 64, 3))).shape
        (1, 48, 64)
    """
    masks = [decide(p, threshold) for p in iterate_probability(model, images, **options)]
    return np.stack(masks) if _is_array(images) else masks


def predict_probability(model: Any, images: Any, **options: Any) -> Any:
    """Give the probabilities behind the masks of `predict`.

    Args:
        model: As for `predict`.
        images: As for `predict`.
        **options: As for `iterate_probability`.

    Returns:
        float32 arrays (height, width, channels) in [0, 1] of the size of each image, one channel
        for the foreground or one for each class. One array (batch, height, width, channels) for an
        array, else a list.

    Raises:
        KerasganError: If model, images or an option cannot be used.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> kg.inference.predict_probability(model, np.zeros((1, 48, 64, 3))).shape
        (1, 48, 64, 1)
    """
    maps = list(iterate_probability(model, images, **options))
    return np.stack(maps) if _is_array(images) else maps


def predict_to_folder(
    model: Any,
    images: Any,
    folder: str | os.PathLike,
    *,
    threshold: float = 0.5,
    overwrite: bool = False,
    **options: Any,
) -> list[pathlib.Path]:
    """Segment images and write each mask as a PNG file of the size of its image.

    Args:
        model: As for `predict`.
        images: `Samples`, or the path of a folder or of one image file.
        folder: Where the masks go, made if need be; each is called as its image, with sub-folders.
        threshold: As for `predict`.
        overwrite: Whether files that exist may be replaced.
        **options: As for `iterate_probability`.

    Returns:
        Paths of the masks, in the order of the images: 8-bit grey, 0 and 255, or labels from 0
        where the network has several classes.

    Raises:
        KerasganError: If a mask exists and `overwrite` is False (before anything is written), the
            folder cannot be written, or model, images or an option cannot be used.

    Example:
        >>> kg.inference.predict_to_folder(model, "frames", "frames_masks")  # doctest: +SKIP
        [PosixPath('frames_masks/a.png'), PosixPath('frames_masks/b.png')]
    """
    samples = _as_samples(images)
    if samples is None:
        raise KerasganError(
            "Argument 'images' must be Samples or a path, to have names for the files. "
            f"Received: {type(images).__name__}; use predict for arrays"
        )
    paths = [pathlib.Path(folder) / f"{name}.png" for name in samples.names]
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise KerasganError(
            f"Argument 'folder' already holds {len(existing)} of the {len(paths)} masks, such as "
            f"{existing[0]}. Pass another folder, or overwrite=True"
        )
    try:
        for parent in {path.parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        for path, probability in zip(paths, iterate_probability(model, samples, **options)):
            mask = decide(probability, threshold)
            Image.fromarray(mask * np.uint8(255) if mask.dtype == bool else mask).save(path)
    except OSError as error:
        raise KerasganError(
            f"Argument 'folder' must be a folder that can be written. Received: {folder} ({error})"
        ) from error
    return paths


def iterate_probability(
    model: Any,
    images: Any,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "stretch",
    batch_size: int = 8,
    preprocess: Callable[[np.ndarray], Any] | None = None,
    verbose: bool = False,
) -> Iterator[np.ndarray]:
    """Give the probabilities of one image after the other, holding one batch in memory.

    Args:
        model: As for `predict`.
        images: As for `predict`. Files are read in grey or colour, as the network takes them.
        size: Side in pixels or (height, width) at which the network runs. Needed where the network
            takes any size; else None or the size it takes.
        mode: "stretch" or "letterbox": how images were resized in training.
        batch_size: Images that pass through the network at once.
        preprocess: What a network not trained on [-1, 1] wants done to a batch, float32 (batch,
            height, width, channels) in [-1, 1], before it; or None.
        verbose: Whether to show a progress bar.

    Yields:
        float32 array (height, width, channels) in [0, 1] of the size of the image.

    Raises:
        KerasganError: If model, images or an option cannot be used, an image holds NaN or lies
            outside [-1, 1], or the network gives NaN.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> frames = [np.zeros((40, 50, 3)), np.zeros((60, 70, 3))]
        >>> [p.shape for p in kg.inference.iterate_probability(model, frames)]
        [(40, 50, 1), (60, 70, 1)]
    """
    network = generator_of(model)
    activation = final_activation(network)
    (height, width), channels = _input_size(network, size)
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
        raise KerasganError(
            f"Argument 'batch_size' must be a whole number from 1 up. Received: {batch_size!r}"
        )
    names, load = _source(images, channels)

    def prepare(index: int) -> tuple[np.ndarray, tuple[int, int]]:
        image = check_image(load(index), f"images[{index}]")
        if channels not in (None, image.shape[-1]):
            raise KerasganError(
                f"Argument 'images' must have {channels} channels, as the input of "
                f"'{network.name}'. Received: {image.shape[-1]} in images[{index}]"
            )
        fits = image.shape[:2] == (height, width)
        return (image if fits else resize_image(image, (height, width), mode)), image.shape[:2]

    bar = keras.utils.Progbar(len(names), unit_name="image") if verbose else None
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(names), batch_size):
            indices = range(start, min(start + batch_size, len(names)))
            prepared, sizes = zip(*pool.map(prepare, indices))
            batch = np.stack(prepared)
            batch = batch if preprocess is None else preprocess(batch)
            output = to_probability(_run(network, batch), activation)
            output = np.asarray(output, np.float32)
            for index, probability in zip(indices, output):
                if not np.isfinite(probability).all():
                    raise KerasganError(
                        f"Network '{network.name}' gave NaN or infinity for {names[index]}: its "
                        "weights, or what preprocess returns, are not finite"
                    )
            yield from pool.map(lambda pair: resize_back(*pair, mode), zip(output, sizes))
            if bar is not None:
                bar.add(len(indices))


def decide(probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Turn probabilities into a mask.

    Args:
        probability: (..., channels) in [0, 1]; one channel for the foreground, or one per class.
        threshold: Probability above which a pixel is foreground, between 0 and 1. Several classes
            have none: the most probable is taken, the first of equals.

    Returns:
        (...), boolean, or uint8 labels for several classes.

    Raises:
        KerasganError: If the threshold is not between 0 and 1, or not 0.5 for several classes.

    Example:
        >>> decide(np.array([[0.5], [0.6]]))
        array([False,  True])
    """
    if not 0 < threshold < 1:
        raise KerasganError(
            f"Argument 'threshold' must lie between 0 and 1. Received: {threshold!r}"
        )
    if probability.shape[-1] == 1:
        return probability[..., 0] > threshold
    if threshold != 0.5:
        raise KerasganError(
            f"Argument 'threshold' has no meaning for {probability.shape[-1]} classes: the most "
            f"probable is taken. Received: {threshold!r}"
        )
    return probability.argmax(-1).astype(np.uint8)


def _input_size(network: keras.Model, size: Any) -> tuple[tuple[int, int], int | None]:
    shapes = [tuple(tensor.shape) for tensor in (*network.inputs, *network.outputs)]
    if len(network.inputs) != 1 or any(len(shape) != 4 for shape in shapes):
        raise KerasganError(
            "Argument 'model' must map one image (batch, height, width, channels) to one mask of "
            f"that rank. Received: '{network.name}' with inputs and outputs of shape {shapes}"
        )
    _, *own, channels = shapes[0]
    if size is None:
        if None in own:
            raise KerasganError(
                f"Argument 'size' must be given, since '{network.name}' takes images of any size: "
                "the size that it was trained at"
            )
        return (own[0], own[1]), channels
    size = check_size(size)
    if any(mine not in (None, given) for mine, given in zip(own, size)):
        raise KerasganError(
            f"Argument 'size' must be what '{network.name}' takes, {tuple(own)}. Received: {size}"
        )
    return size, channels


def _run(network: keras.Model, batch: Any) -> Any:
    try:
        return network(batch, training=False)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise KerasganError(
            f"Network '{network.name}' cannot take a batch of shape {tuple(batch.shape)}; is "
            f"'size' a multiple of what it halves to? It says: {str(error).splitlines()[0]}"
        ) from error


def _as_samples(images: Any) -> Samples | None:
    if isinstance(images, (str, os.PathLike)):
        path = pathlib.Path(images)
        if path.is_file():
            return Samples((path.stem,), (str(path),), None)
        return load_folder(path, masks=None)
    return images if isinstance(images, Samples) else None


def _is_array(images: Any) -> bool:
    return hasattr(images, "shape")


def _source(images: Any, channels: int | None) -> tuple[list[str], Callable[[int], np.ndarray]]:
    """The name of every image, and a function from position to image."""
    samples = _as_samples(images)
    if samples is not None:
        if channels not in (None, 1, 3):
            raise KerasganError(
                f"Argument 'model' must take images of 1 or 3 channels to read files. Received: "
                f"a network of {channels} channels; pass arrays"
            )
        samples = dataclasses.replace(samples, channels=channels or samples.channels)
        names, load = list(samples.names), samples.image
    elif _is_array(images) or isinstance(images, (list, tuple)):
        images = np.asarray(images) if _is_array(images) else images
        if _is_array(images) and images.ndim != 4:
            raise KerasganError(
                "Argument 'images' must be an array (batch, height, width, channels); pass "
                f"image[None] for a single one. Received: shape {images.shape}"
            )
        names, load = [f"images[{i}]" for i in range(len(images))], images.__getitem__
    else:
        raise KerasganError(
            "Argument 'images' must be Samples, a path, an array or a list of arrays. "
            f"Received: {type(images).__name__}"
        )
    if not names:
        raise KerasganError("Argument 'images' must hold at least one image. Received: none")
    return names, load

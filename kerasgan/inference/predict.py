"""From a trained network to masks: any image size in, that size out.

Images are brought to the size of the network by the resizing of the data pipeline, so the network
sees what it saw in training, or are cut into windows of that size. Its logits, averaged with those
of other views and networks if asked for, are read as probabilities, brought back to the size of
each image (bilinear where that is larger) and only then decided. Dropout and batch normalisation
are in inference mode, so a mask does not depend on the batch it came in.
"""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from kerasgan.data.resize import resize_back
from kerasgan.data.samples import Samples
from kerasgan.errors import KerasganError
from kerasgan.inference.clean import clean_mask, cleaning_steps
from kerasgan.inference.members import members_of, to_probabilities, with_input_shape
from kerasgan.inference.stream import is_array, iterate_logits, to_samples
from kerasgan.storage import write_file
from kerasgan.validation import check_number, check_writable


def predict(
    model: Any,
    images: Any,
    *,
    threshold: float = 0.5,
    clean: str | Sequence[str] = (),
    **options: Any,
) -> Any:
    """Segment images.

    How the network's output is read (classes, labels, activation) is decided from its computation
    in `kerasgan.models.outputs`.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`;
            or a list of these, whose logits are averaged, such as the models of all folds.
        images: `Samples`; the path of a folder or of one image file, or a list of files; a float
            array (batch, height, width, channels) in [-1, 1]; or a list of such arrays (height,
            width, channels), whose sizes may differ.
        threshold: Probability above which a pixel is foreground, between 0 and 1; 0.5 is where
            the logit changes sign. With several classes the most probable one is taken.
        clean: How masks are cleaned up: "largest" keeps the largest component of each class,
            "holes" fills holes; several are done in their order.
        **options: `size`, `mode`, `overlap`, `scale`, `augment`, `batch_size`, `preprocess` and
            `verbose`, as for `iterate_logits`; `temperature`, as for `iterate_probability`.

    Returns:
        Masks (height, width) of the size of each image: boolean, or uint8 labels where the network
        has several classes. One array (batch, height, width) for an array, else a list. Boolean
        (height, width, labels) where labels may overlap, as a sigmoid or tanh a channel says.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> kg.predict(model, np.zeros((1, 48, 64, 3))).shape
        (1, 48, 64)
    """
    clean = cleaning_steps(clean)
    model = with_input_shape(model, images, options.get("size"))
    labels = members_of(model)[0].labels
    maps = iterate_probability(model, images, **options)
    masks = [_cleaned(decide(probability, threshold, labels), clean) for probability in maps]
    return np.stack(masks) if is_array(images) else masks


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

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> kg.inference.predict_probability(model, np.zeros((1, 48, 64, 3))).shape
        (1, 48, 64, 1)
    """
    maps = list(iterate_probability(model, images, **options))
    return np.stack(maps) if is_array(images) else maps


def predict_to_folder(
    model: Any,
    images: Any,
    folder: str | os.PathLike,
    *,
    threshold: float = 0.5,
    clean: str | Sequence[str] = (),
    overwrite: bool = False,
    **options: Any,
) -> list[pathlib.Path]:
    """Segment images and write each mask as a PNG file of the size of its image.

    Args:
        model: As for `predict`.
        images: `Samples`, the path of a folder or of one image file, or a list of files.
        folder: Where the masks go, made if need be; each is called as its image, with sub-folders.
        threshold: As for `predict`.
        clean: As for `predict`.
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
    clean, samples = cleaning_steps(clean), to_samples(images)
    model = with_input_shape(model, images, options.get("size"))
    if members_of(model)[0].labels:
        raise KerasganError(
            "Argument 'model' gives labels that may overlap, which one picture cannot hold. Write "
            "a folder for each, with keras.Model(model.input, model.output[..., i:i + 1])"
        )
    if samples is None:
        raise KerasganError(
            "Argument 'images' must be Samples, a path or a list, to have names for the files. "
            f"Received: {type(images).__name__}; use predict for arrays"
        )
    paths = mask_paths(samples, folder, overwrite)
    try:
        for path, probability in zip(paths, iterate_probability(model, samples, **options)):
            mask = clean_mask(decide(probability, threshold), clean)
            picture = Image.fromarray(mask * np.uint8(255) if mask.dtype == bool else mask)
            content = io.BytesIO()
            picture.save(content, "PNG")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content.getbuffer())
    except OSError as error:
        raise KerasganError(
            f"Argument 'folder' must be a folder that can be written. Received: {folder} ({error})"
        ) from error
    return paths


def mask_paths(samples: Samples, folder: str | os.PathLike, overwrite: bool) -> list[pathlib.Path]:
    """Return where masks go; refuse a folder in which something would be lost."""
    paths = [pathlib.Path(folder) / f"{name}.png" for name in samples.names]
    own = {os.path.realpath(file) for file in (*samples.image_paths, *(samples.mask_paths or ()))}
    lost = [path for path in paths if os.path.realpath(path) in own]
    if lost and overwrite:
        raise KerasganError(
            f"Argument 'folder' must not hold the images or their true masks, which would be "
            f"replaced. Received: {folder}, with {lost[0]}"
        )
    check_writable("folder", folder)
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise KerasganError(
            f"Argument 'folder' already holds {len(existing)} of the {len(paths)} masks, such as "
            f"{existing[0]}. Pass another folder, or overwrite=True"
        )
    return paths


def _cleaned(mask: np.ndarray, steps: Sequence[str]) -> np.ndarray:
    if mask.ndim == 2:
        return clean_mask(mask, steps)
    return np.stack([clean_mask(part, steps) for part in np.moveaxis(mask, -1, 0)], -1)


def iterate_probability(
    model: Any, images: Any, *, temperature: float = 1.0, **options: Any
) -> Iterator[np.ndarray]:
    """Give the probabilities of one image after the other, holding one batch in memory.

    Args:
        model: As for `predict`.
        images: As for `predict`. Files are read in grey or colour, as the network takes them.
        temperature: What logits are divided by, above 0, so that probabilities are as often right
            as they say; `fit_temperature` finds it. Masks at a threshold of 0.5 stay as they are,
            but for borders where images are resized.
        **options: As for `iterate_logits`.

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

    Source: temperature, Guo et al. 2017 (arXiv 1706.04599), equation 9.
    """
    check_number("temperature", temperature, above=0)
    model = with_input_shape(model, images, options.get("size"))
    exclusive = members_of(model)[0].exclusive

    def finish(_: int, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        probability = to_probabilities(logits / np.float32(temperature), exclusive)
        return resize_back(probability, image_size)

    yield from iterate_logits(model, images, finish, **options)


def decide(probability: np.ndarray, threshold: float = 0.5, labels: bool = False) -> np.ndarray:
    """Turn probabilities into a mask.

    Args:
        probability: (..., channels) in [0, 1]; one channel for the foreground, or one per class.
        threshold: Probability above which a pixel is foreground, between 0 and 1. Several classes
            have none: the most probable is taken, the first of equals.
        labels: Whether channels are labels that may overlap, each with a threshold of its own.

    Returns:
        (...), boolean, or uint8 labels for several classes; (..., channels), boolean, for labels
        that may overlap.

    Example:
        >>> decide(np.array([[0.5], [0.6]]))
        array([False,  True])
    """
    check_number("threshold", threshold, above=0, below=1)
    if labels:
        return probability > threshold
    if probability.shape[-1] == 1:
        return probability[..., 0] > threshold
    if threshold != 0.5:
        raise KerasganError(
            f"Argument 'threshold' has no meaning for {probability.shape[-1]} classes: the most "
            f"probable is taken. Received: {threshold!r}"
        )
    return probability.argmax(-1).astype(np.uint8)

"""From files to batches: decoded once, cached, shuffled, augmented, batched, prefetched.

Files are decoded and resized when the pipeline is built, so that a bad one is reported there
and then, by name. What follows needs no image file: shuffling is keyed by (seed, epoch),
augmentation by (seed, epoch, index), and neither by the timing of any thread. So an epoch can be
entered at any batch, and what was left out is not even decoded.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable

import numpy as np
import tensorflow as tf
from PIL import __version__ as PILLOW

from kerasgan._version import __version__
from kerasgan.data.augment import Augmentation, augment_pair, from_fields
from kerasgan.data.files import read_image
from kerasgan.data.masks import LOOKED_AT, inverted_words, looks_inverted, read_mask
from kerasgan.data.resize import check_size, image_box, resize_mask, resize_pixels, to_float
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.storage import file_keys, key, write

if TYPE_CHECKING:
    from kerasgan.data.samples import Samples

__all__ = ["finish", "load_image", "load_mask", "make_batches", "walk"]

_SHUFFLE, _AUGMENT = 1, 2
_MANY = 10  # in fewer images a class may well be absent


def load_image(samples: Samples, index: int) -> np.ndarray:
    """Decode one image at its original size.

    Args:
        samples: Where it is.
        index: Which one.

    Returns:
        float32 array (height, width, channels) in [-1, 1].

    Raises:
        KerasganError: If the file cannot be used.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> load_image(samples, 0).shape
        (32, 32, 3)
    """
    return to_float(read_image(samples.image_paths[index], samples.channels))


def load_mask(samples: Samples, index: int) -> np.ndarray:
    """Decode one mask at its original size.

    Args:
        samples: Where it is.
        index: Which one.

    Returns:
        uint8 array (height, width) of labels; {0, 1} for `classes=1`.

    Raises:
        KerasganError: If the samples are unlabelled or the file cannot be used.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> int(load_mask(samples, 0).max())
        1
    """
    if samples.mask_paths is None:
        raise KerasganError("These samples are unlabelled: they were loaded with masks=None.")
    return read_mask(samples.mask_paths[index], samples.classes, samples.colors)


def make_batches(
    samples: Samples,
    batch_size: int,
    size: int | tuple[int, int],
    augment: bool | Augmentation | Mapping[str, float],
    seed: int,
    shuffle: bool | None,
    mode: str,
    cache: str | os.PathLike,
) -> tf.data.Dataset:
    """Build the dataset that `Samples.batches` returns and describes.

    Args:
        samples: What to read.
        batch_size: Images in a batch; the last batch of an epoch may be smaller.
        size: Side or (height, width).
        augment: False, True, an `Augmentation` or its fields by name.
        seed: Key of shuffling and augmentation.
        shuffle: None to shuffle when augmenting.
        mode: "stretch" or "letterbox".
        cache: "memory" or a folder.

    Returns:
        The dataset, with its `epoch` and `start` variables (see `walk`), and `origin`: by name,
        what it was made of.

    Raises:
        KerasganError: If an argument or a file cannot be used.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> len(make_batches(samples, 1, 16, False, 0, None, "stretch", "memory"))
        2
    """
    augment = from_fields(augment) if isinstance(augment, Mapping) else augment
    config = _check_arguments(samples, batch_size, augment, seed, shuffle, cache)
    height, width = check_size(size)
    image_box((1, 1), size, mode)
    count, labelled = len(samples), samples.mask_paths is not None
    shuffle = config is not None if shuffle is None else shuffle

    images = file_keys(samples.image_paths)
    masks = file_keys(samples.mask_paths) if labelled else None
    origin = {
        "images": f"{count}, {key(images)}",
        "masks": f"{count}, {key(masks)}" if labelled else None,
        **samples.settings(),
        "batch_size": int(batch_size),
        "size": [height, width],
        "mode": mode,
        "augment": False if config is None else dataclasses.asdict(config),
        "shuffle": shuffle,
        "seed": int(seed),
    }

    if cache == "memory":
        fetch = _cached_in_memory(samples, (height, width), mode)
    else:
        made_of = [images] + [masks] * labelled
        fetch = _cached_on_disk(samples, (height, width), mode, pathlib.Path(cache), made_of)

    def example(now: tf.Tensor, index: tf.Tensor):
        image, labels = fetch(index)
        image = tf.cast(image, tf.float32) * np.float32(2 / 255) - 1.0
        if config is not None:
            key = tf.random.experimental.stateless_fold_in(_key(seed, _AUGMENT, now), index)
            image, labels = augment_pair(image, labels, key, config)
        if not labelled:
            return image
        if samples.classes == 1:
            return image, tf.cast(labels, tf.float32)[..., None]
        return image, tf.one_hot(labels, samples.classes)

    indices, epoch, start = walk(count, batch_size, seed, shuffle)
    dataset = indices.map(_plain(example), os.cpu_count() or 1, deterministic=True)
    dataset = finish(dataset.batch(batch_size), count, batch_size, epoch, start)
    dataset.origin = origin
    return dataset


def walk(count: int, batch_size: int, seed: int, shuffle: bool):
    """Walk through the indices of all samples, epoch by epoch, each in an order of its own.

    Args:
        count: Number of samples.
        batch_size: Samples in a batch, which is what `start` counts.
        seed: Key of the orders.
        shuffle: Whether to shuffle.

    Returns:
        A dataset of int64 pairs (epoch, index), and two int64 variables: `epoch`, the number of the
        next iteration, and `start`, how many batches that one leaves out. Each iteration adds 1 to
        the first and sets the second to 0.

    Example:
        >>> indices, epoch, start = walk(4, batch_size=2, seed=0, shuffle=False)
        >>> _ = start.assign(1)
        >>> [int(index) for _, index in indices]
        [2, 3]
    """
    with tf.device("CPU:0"):
        epoch = tf.Variable(0, trainable=False, dtype=tf.int64, name="epoch")
        start = tf.Variable(0, trainable=False, dtype=tf.int64, name="start")

    def begin(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        now, first = epoch.read_value(), start.read_value()
        with tf.control_dependencies([now, first]):
            epoch.assign_add(1, read_value=False)
            start.assign(0, read_value=False)
        return now, first

    def order(now: tf.Tensor, first: tf.Tensor) -> tf.data.Dataset:
        indices = tf.range(count, dtype=tf.int64)
        if shuffle:
            places = tf.random.stateless_uniform([count], _key(seed, _SHUFFLE, now))
            indices = tf.gather(indices, tf.argsort(places, stable=True))
        indices = indices[first * batch_size :]
        return tf.data.Dataset.from_tensor_slices(indices).map(lambda index: (now, index))

    return tf.data.Dataset.range(1).map(_plain(begin)).flat_map(_plain(order)), epoch, start


def finish(
    batches: tf.data.Dataset, count: int, batch_size: int, epoch: tf.Variable, start: tf.Variable
) -> tf.data.Dataset:
    """Prefetch the batches made of a `walk`, and tell their number; the variables go with them.

    Args:
        batches: The dataset.
        count: Number of samples.
        batch_size: Samples in a batch; the last one may be smaller.
        epoch: Of the walk.
        start: Of the walk.

    Returns:
        The dataset. Its length is that of a whole epoch, also where `start` leaves batches out; who
        asks for more than the others then gets an error of TensorFlow's. `fit` never does.

    Example:
        >>> indices, epoch, start = walk(5, batch_size=2, seed=0, shuffle=False)
        >>> len(finish(indices.batch(2), 5, 2, epoch, start))
        3
    """
    steps = tf.data.experimental.assert_cardinality(-(-count // batch_size))
    dataset = batches.prefetch(2).apply(steps).with_options(_options())
    dataset.epoch, dataset.start = epoch, start
    return dataset


def _options() -> tf.data.Options:
    """No autotuning: its thread sleeps 10, 20, 40 ... ms, and an epoch's end waits for it.

    Where several machines train together, each takes its part of every batch.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    share = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = share
    return options


_plain = tf.autograph.experimental.do_not_convert


def _check_arguments(
    samples: Samples, batch_size: int, augment: object, seed: int, shuffle: object, cache: object
) -> Augmentation | None:
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not least <= value < 2**63:
            raise KerasganError(
                f"Argument '{name}' must be a whole number from {least} up. Received: {value!r}"
            )
    if batch_size > len(samples):
        raise KerasganError(
            f"Argument 'batch_size' must not exceed the number of images, {len(samples)}. "
            f"Received: {batch_size}"
        )
    expected = {
        "augment": (augment, (bool, Augmentation), "True, False or an Augmentation"),
        "shuffle": (shuffle, (bool, type(None)), "True, False or None"),
        "cache": (cache, (str, os.PathLike), "'memory' or the path of a folder"),
    }
    for name, (value, kinds, words) in expected.items():
        if not isinstance(value, kinds):
            raise KerasganError(f"Argument '{name}' must be {words}. Received: {value!r}")
    if augment is True:
        return Augmentation()
    return augment or None


def _key(seed: int, purpose: int, epoch: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, purpose], tf.int64), epoch)


def _decode(samples: Samples, size: tuple[int, int], mode: str, index: int):
    image = read_image(samples.image_paths[index], samples.channels)
    image = resize_pixels(image, size, mode)
    if samples.mask_paths is None:
        return image, np.zeros(size, np.uint8)
    return image, resize_mask(load_mask(samples, index), size, mode)


def _in_threads(function: Callable[[int], object], count: int) -> list:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, range(count)))


def _cached_in_memory(samples: Samples, size: tuple[int, int], mode: str) -> Callable:
    images = np.empty((len(samples), *size, samples.channels), np.uint8)
    masks = np.zeros((len(samples), *size), np.uint8)

    def fill(index: int) -> None:
        images[index], masks[index] = _decode(samples, size, mode, index)

    _in_threads(fill, len(samples))
    _check_labels(samples, masks)
    with tf.device("CPU:0"):
        images, masks = tf.constant(images), tf.constant(masks)
    return lambda index: (tf.gather(images, index), tf.gather(masks, index))


def _cached_on_disk(
    samples: Samples, size: tuple[int, int], mode: str, folder: pathlib.Path, made_of: list
) -> Callable:
    """One file a sample, named by a key of its content: the image's bytes, then the mask's."""
    how = [size, mode, samples.settings(), __version__, PILLOW, np.__version__]
    shape = (*size, samples.channels)
    image_bytes, mask_bytes = int(np.prod(shape)), int(np.prod(size))

    def store(index: int) -> str:
        path = folder / f"{key([*how, *(files[index] for files in made_of)])}.raw"
        if not path.is_file() or path.stat().st_size != image_bytes + mask_bytes:
            image, labels = _decode(samples, size, mode, index)
            write(path, image.tobytes() + labels.tobytes())
        return str(path)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = _in_threads(store, len(samples))
    except OSError as error:
        raise KerasganError(
            f"Argument 'cache' must be 'memory' or a folder to write into: {error}"
        ) from error
    _check_labels(samples, (np.fromfile(path, np.uint8)[image_bytes:] for path in paths))
    with tf.device("CPU:0"):
        paths = tf.constant(paths)

    def fetch(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content = tf.io.decode_raw(tf.io.read_file(tf.gather(paths, index)), tf.uint8)
        return (
            tf.reshape(content[:image_bytes], shape),
            tf.reshape(content[image_bytes:], size),
        )

    return fetch


def _check_labels(samples: Samples, masks: Iterable[np.ndarray]) -> None:
    """Warn of masks from which nothing, or not every class, can be learned, or of inverted ones."""
    if samples.mask_paths is None:
        return
    present = np.zeros(256, bool)
    doubtful = samples.classes == 1 and samples.colors is None and len(samples) > LOOKED_AT
    inverted = []
    for name, labels in zip(samples.names, masks):
        present[labels.ravel()] = True
        if doubtful and looks_inverted(labels):
            inverted.append(name)
    if 0 < len(inverted) < len(samples) / 2:
        warnings.warn(inverted_words(inverted, len(samples)), KerasganWarning, stacklevel=5)
    found = np.flatnonzero(present).tolist()
    absent = sorted(set(range(samples.classes)) - set(found))
    if len(found) == 1:
        what = "are empty" if found == [0] else f"hold class {found[0]} alone"
        why = "nothing can be learned from them"
        if samples.classes > 1:
            hint = f"do its values, or colors, stand for the {samples.classes} classes?"
        elif found == [0]:
            hint = "does foreground lie above half its range?"
        else:
            what = "are foreground alone"
            hint = "is foreground what is dark in it? Then pass colors=[255, 0] to load_folder"
    elif samples.classes > 1 and absent and len(samples) >= _MANY:
        what = f"hold classes {found} alone"
        why = f"none of {absent} can be learned from them"
        hint = f"are there {samples.classes} classes, as load_folder was told?"
    else:
        return
    warnings.warn(
        f"All {len(samples)} masks {what} at this size: {why}. Look at {samples.mask_paths[0]}; "
        f"{hint}",
        KerasganWarning,
        stacklevel=5,
    )

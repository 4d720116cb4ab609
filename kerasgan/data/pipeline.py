"""From files to batches: decoded once, cached, shuffled, augmented, batched, prefetched.

Files are decoded and resized when the pipeline is built, so that a bad one is reported there
and then, by name. What follows needs no image file: shuffling is keyed by (seed, epoch),
augmentation by (seed, epoch, index), and neither by the timing of any thread. So an epoch can be
entered at any batch, and what was left out is not even decoded. `samples` are `Samples`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from PIL import __version__ as PILLOW

from kerasgan._version import __version__
from kerasgan.data.augment import Augmentation, augment_pair, from_fields
from kerasgan.data.files import read_image
from kerasgan.data.masks import MAX_INSPECTED, inverted_message, looks_inverted
from kerasgan.data.resize import resize_mask, resize_pixels
from kerasgan.data.windows import WINDOW, check_windows, cut_window, reflection, window_box
from kerasgan.errors import KerasganError, warn
from kerasgan.storage import content_key, file_keys, files_fact, write_file
from kerasgan.validation import (
    check_choice,
    check_path,
    check_seed,
    check_size,
    check_whole_number,
    invalid,
)

_SHUFFLE, _AUGMENT, _WINDOW = 1, 2, 3
_HEAD = 16  # bytes: height and width of a frame, and of the image in it, as int32
_MANY = 10  # in fewer images a class may well be absent


def make_batches(
    samples: Any,
    batch_size: int,
    size: int | tuple[int, int],
    augment: bool | Augmentation | Mapping[str, float],
    seed: int,
    shuffle: bool | None,
    mode: str,
    cache: str | os.PathLike,
    scale: float | None,
    foreground: float | None,
) -> tf.data.Dataset:
    """Build the dataset that `Samples.batches` returns and describes."""
    config = _check_arguments(samples, batch_size, augment, seed, shuffle, cache)
    count, labelled = len(samples), samples.mask_paths is not None
    if foreground is not None and not labelled:
        raise KerasganError(
            "Argument 'foreground' needs masks to find foreground in. Received: "
            f"foreground={foreground!r} for {samples!r}"
        )
    mode, scale, foreground = check_windows(mode, scale, foreground)
    height, width = check_size("size", size)
    shuffle = config is not None if shuffle is None else shuffle

    images = file_keys(samples.image_paths)
    masks = file_keys(samples.mask_paths) if labelled else None
    origin = {
        "images": files_fact(images),
        "masks": None if masks is None else files_fact(masks),
        **samples.settings(),
        "batch_size": int(batch_size),
        "size": [height, width],
        "mode": mode,
        "augment": False if config is None else dataclasses.asdict(config),
        "shuffle": shuffle,
        "seed": int(seed),
    }
    if mode == WINDOW:
        origin.update(scale=scale, foreground=foreground if labelled else None)

    how = (height, width), mode, scale
    if cache == "memory":
        fetch = _cached_in_memory(samples, *how)
    else:
        made_of = [images] + [masks] * labelled
        fetch = _cached_on_disk(samples, *how, pathlib.Path(cache), made_of)

    def example(now: tf.Tensor, index: tf.Tensor):
        image, labels = _from_bytes(fetch(index), samples.channels)
        if mode == WINDOW:
            drawn = _key(seed, _WINDOW, now if shuffle else tf.zeros_like(now))
            key = tf.random.experimental.stateless_fold_in(drawn, index)
            image, labels = cut_window(image, labels, key, (height, width), foreground)
        image = tf.ensure_shape(image, (height, width, samples.channels))
        labels = tf.ensure_shape(labels, (height, width))
        image = tf.cast(image, tf.float32) * np.float32(2 / 255) - 1.0
        if config is not None:
            key = tf.random.experimental.stateless_fold_in(_key(seed, _AUGMENT, now), index)
            image, labels = augment_pair(image, labels, key, config)
        if not labelled:
            return image
        if samples.classes == 1:
            return image, tf.cast(labels, tf.float32)[..., None]
        return image, tf.one_hot(labels, samples.classes)

    indices, epoch, start = epoch_indices(count, batch_size, seed, shuffle)
    dataset = indices.map(_plain(example), os.cpu_count() or 1, deterministic=True)
    dataset = finish_epochs(dataset.batch(batch_size), count, batch_size, epoch, start)
    dataset.origin = origin

    def endless(steps: int) -> tf.data.Dataset:
        indices, position = endless_indices(count, batch_size, seed, shuffle, steps)
        examples = indices.map(_plain(example), os.cpu_count() or 1, deterministic=True)
        return finish_endless(examples.batch(batch_size, drop_remainder=True), position)

    dataset.endless = endless
    return dataset


def epoch_indices(count: int, batch_size: int, seed: int, shuffle: bool):
    """Give the indices of all samples, epoch by epoch, in an order keyed by (seed, epoch).

    Returns a dataset of int64 pairs (epoch, index), and two variables: `epoch`, the number of the
    next iteration, and `start`, how many batches that one leaves out. Each iteration adds 1 to the
    first and sets the second to 0.
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
        return _indices_of_epoch(now, first * batch_size, count, seed, shuffle)

    return tf.data.Dataset.range(1).map(_plain(begin)).flat_map(_plain(order)), epoch, start


def endless_indices(count: int, batch_size: int, seed: int, shuffle: bool, steps: int):
    """Give the pairs of `epoch_indices`, epoch behind epoch without an end.

    Returns the dataset and a variable, `position`: how many whole batches the next iteration leaves
    out. Each iteration adds `steps` to it.
    """
    positions, position = positions_of_iterations(steps)

    def epochs(done: tf.Tensor) -> tf.data.Dataset:
        first = done * batch_size

        def order(now: tf.Tensor) -> tf.data.Dataset:
            return _indices_of_epoch(now, tf.maximum(first - now * count, 0), count, seed, shuffle)

        return tf.data.Dataset.range(first // count, tf.int64.max).flat_map(_plain(order))

    return positions.flat_map(_plain(epochs)), position


def positions_of_iterations(steps: int):
    """Give, in each iteration, how many batches came before it; and the variable that says so."""
    with tf.device("CPU:0"):
        position = tf.Variable(0, trainable=False, dtype=tf.int64, name="position")

    def begin(_: tf.Tensor) -> tf.Tensor:
        done = position.read_value()
        with tf.control_dependencies([done]):
            position.assign_add(steps, read_value=False)
        return done

    return tf.data.Dataset.range(1).map(_plain(begin)), position


def _indices_of_epoch(
    now: tf.Tensor, first: tf.Tensor, count: int, seed: int, shuffle: bool
) -> tf.data.Dataset:
    indices = tf.range(count, dtype=tf.int64)
    if shuffle:
        order_key = tf.random.stateless_uniform([count], _key(seed, _SHUFFLE, now))
        indices = tf.gather(indices, tf.argsort(order_key, stable=True))
    return tf.data.Dataset.from_tensor_slices(indices[first:]).map(lambda index: (now, index))


def finish_epochs(
    batches: tf.data.Dataset, count: int, batch_size: int, epoch: tf.Variable, start: tf.Variable
) -> tf.data.Dataset:
    """Prefetch batches made of `epoch_indices`, state their number, and attach what is known.

    The length is that of a whole epoch, also where `start` leaves batches out. Attached are both
    variables and the number of images in the last batch.
    """
    dataset = _prefetched(batches, -(-count // batch_size))
    dataset.epoch, dataset.start = epoch, start
    dataset.last_batch = count % batch_size or batch_size
    return dataset


def finish_endless(batches: tf.data.Dataset, position: tf.Variable) -> tf.data.Dataset:
    """Prefetch batches without an end, say that they have none, and attach their position."""
    dataset = _prefetched(batches, tf.data.INFINITE_CARDINALITY)
    dataset.position = position
    return dataset


def _prefetched(batches: tf.data.Dataset, length: int) -> tf.data.Dataset:
    options = tf.data.Options()
    # Autotuning's thread sleeps 10, 20, 40 ... ms, and an epoch's end waits for it.
    options.autotune.enabled = False
    # Where several machines train together, each takes its part of every batch.
    share = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = share
    length = tf.data.experimental.assert_cardinality(length)
    return batches.prefetch(2).apply(length).with_options(options)


_plain = tf.autograph.experimental.do_not_convert


def _check_arguments(
    samples: Any, batch_size: int, augment: object, seed: int, shuffle: object, cache: object
) -> Augmentation | None:
    if check_whole_number("batch_size", batch_size, 1) > len(samples):
        raise KerasganError(
            f"Argument 'batch_size' must not exceed the number of images, {len(samples)}. "
            f"Received: {batch_size}"
        )
    check_seed(seed)
    check_choice("shuffle", shuffle, (True, False, None))
    check_path("cache", cache, "'memory' or the path of a folder")
    if isinstance(augment, Mapping):
        return from_fields(augment)
    if isinstance(augment, Augmentation):
        return augment
    if not isinstance(augment, bool):
        raise invalid("augment", "True, False or an Augmentation", augment)
    return Augmentation() if augment else None


def _key(seed: int, purpose: int, epoch: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, purpose], tf.int64), epoch)


def _decode(samples: Any, size: tuple[int, int], mode: str, scale: float, index: int) -> bytes:
    """Give what is cached of a sample: its sizes, the pixels of its frame, and their labels."""
    image = read_image(samples.image_paths[index], samples.channels)
    labels = None if samples.mask_paths is None else samples.mask(index)
    if mode == WINDOW:
        box = window_box(image.shape[:2], size, scale)
        shown = np.ix_(*reflection(box, size))
        inner = box[2:]
        image = resize_pixels(image, inner)[shown]
        labels = None if labels is None else resize_mask(labels, inner)[shown]
    else:
        inner = size
        image = resize_pixels(image, size, mode)
        labels = None if labels is None else resize_mask(labels, size, mode)
    labels = np.zeros(image.shape[:2], np.uint8) if labels is None else labels
    head = np.array([*labels.shape, *inner], "<i4")
    return b"".join(part.tobytes() for part in (head, image, labels))


def _from_bytes(content: tf.Tensor, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    content = tf.io.decode_raw(content, tf.uint8)
    sizes = tf.bitcast(tf.reshape(content[:_HEAD], [4, 4]), tf.int32)
    height, width = tf.unstack(tf.cast(sizes, tf.int64)[:2])
    end = _HEAD + height * width * channels
    image = tf.reshape(content[_HEAD:end], [height, width, channels])
    return image, tf.reshape(content[end:], [height, width])


def _read_sizes(content: bytes) -> list[int]:
    return np.frombuffer(content[:_HEAD], "<i4").tolist()


def _check_content(samples: Any, size: tuple[int, int], mode: str, contents: Iterable) -> None:
    """Warn of masks that nothing can be learned from, and of windows larger than all images."""
    inner: list[list[int]] = []

    def masks() -> Iterator[np.ndarray]:
        for content in contents:
            height, width, *image_size = _read_sizes(content)
            inner.append(image_size)
            labels = np.frombuffer(content, np.uint8)[-height * width :]
            yield labels.reshape(height, width)

    if samples.mask_paths is not None:
        _check_labels(samples, masks())
    elif mode == WINDOW:
        collections.deque(masks(), 0)
    if mode == WINDOW and (np.array(inner) <= size).all() and (np.array(inner) < size).any():
        largest = tuple(max(inner, key=math.prod))
        warn(
            f"Argument 'size' exceeds all {len(inner)} images at this scale, the largest "
            f"{largest}: each window is a whole image, filled up by reflection. Received: {size}; "
            "pass a smaller size, or mode='letterbox'"
        )


def _in_threads(function: Callable[[int], object], count: int) -> list:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, range(count)))


def _cached_in_memory(samples: Any, size: tuple[int, int], mode: str, scale: float) -> Callable:
    decode = functools.partial(_decode, samples, size, mode, scale)
    contents = _in_threads(decode, len(samples))
    _check_content(samples, size, mode, contents)
    more = [b""] * 128  # TensorFlow copies fewer into the graph, which holds 2 GB at most
    with tf.device("CPU:0"):
        contents = tf.constant(contents + more)
    return lambda index: tf.gather(contents, index)


def _cached_on_disk(
    samples: Any,
    size: tuple[int, int],
    mode: str,
    scale: float,
    folder: pathlib.Path,
    made_of: list,
) -> Callable:
    """One file a sample, named by a key of its content."""
    how = [size, mode, scale, samples.settings(), __version__, PILLOW, np.__version__]

    def is_whole(path: pathlib.Path) -> bool:
        if not path.is_file() or path.stat().st_size <= _HEAD:
            return False
        with path.open("rb") as file:
            height, width, *_ = _read_sizes(file.read(_HEAD))
        return path.stat().st_size == _HEAD + height * width * (samples.channels + 1)

    def store(index: int) -> str:
        path = folder / f"{content_key([*how, *(files[index] for files in made_of)])}.raw"
        if not is_whole(path):
            write_file(path, _decode(samples, size, mode, scale, index))
        return str(path)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = _in_threads(store, len(samples))
    except OSError as error:
        raise KerasganError(
            f"Argument 'cache' must be 'memory' or a folder to write into: {error}"
        ) from error
    _check_content(samples, size, mode, (pathlib.Path(path).read_bytes() for path in paths))
    with tf.device("CPU:0"):
        paths = tf.constant(paths)
    return lambda index: tf.io.read_file(tf.gather(paths, index))


def _check_labels(samples: Any, masks: Iterable[np.ndarray]) -> None:
    """Warn of masks from which nothing, or not every class, can be learned, or of inverted ones."""
    present = np.zeros(256, bool)
    inverted = []
    for name, labels in zip(samples.names, masks):
        present[labels.ravel()] = True
        if samples.classes == 1 and samples.colors is None and looks_inverted(labels):
            inverted.append(name)
    if len(samples) > MAX_INSPECTED and 0 < len(inverted) < len(samples) / 2:
        warn(inverted_message(inverted, len(samples)))
    labels_present = np.flatnonzero(present).tolist()
    absent = sorted(set(range(samples.classes)) - set(labels_present))
    if len(labels_present) == 1:
        what = "are empty" if labels_present == [0] else f"hold class {labels_present[0]} alone"
        why = "nothing can be learned from them"
        if samples.classes > 1:
            hint = f"do its values, or colors, stand for the {samples.classes} classes?"
        elif labels_present == [0]:
            hint = "does foreground lie above half its range?"
        else:
            what = "are foreground alone"
            hint = "is foreground what is dark in it? Then pass colors=[255, 0] to load_folder"
    elif samples.classes > 1 and absent and len(samples) >= _MANY:
        what = f"hold classes {labels_present} alone"
        why = f"none of {absent} can be learned from them"
        hint = f"are there {samples.classes} classes, as load_folder was told?"
    else:
        return
    warn(
        f"All {len(samples)} masks {what} at this size: {why}. Look at {samples.mask_paths[0]}; "
        f"{hint}"
    )

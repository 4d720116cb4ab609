"""Data for `fit` that can be read from any step of any epoch."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasgan.data.pipeline import (
    endless_indices,
    epoch_indices,
    finish_endless,
    finish_epochs,
    positions_of_iterations,
)

ARRAYS = (np.ndarray, tf.Tensor)


def set_position(x, epoch: int, start: int = 0) -> None:
    """Set epoch and step of the next iteration, if `x` is a dataset that can be read from there."""
    for name, value in (("epoch", epoch), ("start", start)):
        variable = getattr(x, name, None)
        if isinstance(variable, tf.Variable):
            variable.assign(value)
    position = getattr(x, "position", None)
    if isinstance(position, tf.Variable):
        position.assign(epoch * x.steps + start)


def batches_from_arrays(x, y, batch_size: int, shuffle: bool, seed: int) -> tf.data.Dataset:
    """Return batches of arrays, in an order that depends on (seed, epoch) alone.

    Keras shuffles arrays by a hidden state, which no run could go on with.
    """
    with tf.device("CPU:0"):
        x, y = _tensor(x), _tensor(y)
    indices, epoch, start = epoch_indices(len(x), batch_size, seed, shuffle)
    batches = indices.batch(batch_size).map(
        lambda _, index: (tf.gather(x, index), tf.gather(y, index))
    )
    return finish_epochs(batches, len(x), batch_size, epoch, start)


def arrays_as_dataset(x, y, options: dict, seed: int) -> tuple:
    """Return arrays as `batches_from_arrays`, unless Keras alone can part them; others as they are.

    What is then no option of `fit` any more is taken out of `options`.
    """
    both = isinstance(x, ARRAYS) and isinstance(y, ARRAYS)
    if not both or options.get("steps_per_epoch") is not None or options.get("validation_split"):
        return x, y
    shuffle = options.pop("shuffle", True) is not False
    batch_size = options.pop("batch_size", None) or 32
    options["validation_batch_size"] = options.get("validation_batch_size") or batch_size
    return batches_from_arrays(x, y, batch_size, shuffle, seed), None


def pair_with_unlabelled(labelled: tf.data.Dataset, unlabelled, steps: int) -> tf.data.Dataset:
    """Put a batch of unlabelled images beside each labelled one: ((image, unlabelled), mask).

    `unlabelled` goes on from epoch to epoch of `steps` steps, in an order of its own, and begins
    anew when it ends. The step that is entered decides where it stands, as for the labelled data.
    """
    if hasattr(unlabelled, "endless"):
        stream = unlabelled.endless(steps)
    else:
        positions, position = positions_of_iterations(steps)
        length = length_of(unlabelled) or tf.int64.max

        def again(done: tf.Tensor) -> tf.data.Dataset:
            return unlabelled.repeat().skip(done % length)

        again = tf.autograph.experimental.do_not_convert(again)
        stream = finish_endless(positions.flat_map(again), position)
    pairs = tf.data.Dataset.zip((labelled, stream))
    pairs = pairs.map(lambda pair, images: ((pair[0], images), pair[1]))
    pairs.steps, pairs.position = steps, stream.position
    for name in ("epoch", "start"):
        if hasattr(labelled, name):
            setattr(pairs, name, getattr(labelled, name))
    return pairs


def images_from_array(images, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return whole batches of unlabelled images, in an order as of `batches_from_arrays`."""
    with tf.device("CPU:0"):
        images = _tensor(images)
    count = len(images)

    def batches(indices):
        indices = indices.batch(batch_size, drop_remainder=True)
        return indices.map(lambda _, index: tf.gather(images, index))

    def endless(steps: int) -> tf.data.Dataset:
        indices, position = endless_indices(count, batch_size, seed, True, steps)
        return finish_endless(batches(indices), position)

    dataset = batches(epoch_indices(count, batch_size, seed, True)[0])
    dataset.endless = endless
    return dataset


def continue_from(x, y, options: dict, seed: int, first: int, epoch: int, step: int, known=None):
    """Return `x` and `y` to train on from a step of an epoch on, and whether that is possible.

    `options` are the further arguments of `fit`; those that only arrays have are taken out. `first`
    is the epoch that the run began with, ever; `known` the number of steps that an epoch had, for
    datasets that do not know their length. Generators are read from the start of an epoch alone.
    """
    steps = options.get("steps_per_epoch")
    x, y = arrays_as_dataset(x, y, options, seed)
    if not isinstance(x, tf.data.Dataset):
        return x, y, False
    if steps is not None and steps != length_of(x):  # one iterator for all epochs
        set_position(x, first)
        return x.skip((epoch - first) * steps + step), y, True
    if known and x.cardinality() == tf.data.UNKNOWN_CARDINALITY:
        x = x.apply(tf.data.experimental.assert_cardinality(known))
    set_position(x, epoch, step)
    if step and not isinstance(getattr(x, "start", None), tf.Variable):
        x = _skip_once(x, step)
    return x, y, True


def length_of(dataset: tf.data.Dataset) -> int | None:
    """Return how many batches a dataset has; None where that is not known, or it has no end."""
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _skip_once(dataset: tf.data.Dataset, step: int) -> tf.data.Dataset:
    """Skip the first batches in a dataset's next iteration, and in no other."""
    with tf.device("CPU:0"):
        start = tf.Variable(step, trainable=False, dtype=tf.int64, name="start")

    def begin_rest(_: tf.Tensor) -> tf.Tensor:
        skipped = start.read_value()
        with tf.control_dependencies([skipped]):
            start.assign(0, read_value=False)
        return skipped

    unconverted = tf.autograph.experimental.do_not_convert
    rest = tf.data.Dataset.range(1).map(unconverted(begin_rest)).flat_map(unconverted(dataset.skip))
    if length_of(dataset):
        rest = rest.apply(tf.data.experimental.assert_cardinality(length_of(dataset)))
    rest.start = start
    return rest


def _tensor(array) -> tf.Tensor:
    floats = isinstance(array, np.ndarray) and issubclass(array.dtype.type, np.floating)
    return tf.convert_to_tensor(array, keras.backend.floatx() if floats else None)

"""What `fit` reads, made so that an epoch can be entered at any step."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasgan.data.pipeline import epoch_indices, finish_epochs

__all__ = ["continue_from", "batches_from_arrays", "length_of", "set_position"]

ARRAYS = (np.ndarray, tf.Tensor)


def set_position(x, epoch: int, start: int = 0) -> None:
    """Set where the next iteration begins, if `x` is of `samples.batches` or `batches_from_arrays`.

    Args:
        x: what `fit` got.
        epoch: number of the epoch, from 0.
        start: how many batches of that epoch to leave out.

    Example:
        >>> import numpy as np
        >>> batches = batches_from_arrays(np.arange(4.0), np.arange(4.0), 2, shuffle=False, seed=0)
        >>> set_position(batches, epoch=3, start=1)
        >>> next(iter(batches))[0].numpy().tolist()
        [2.0, 3.0]
    """
    for name, value in (("epoch", epoch), ("start", start)):
        variable = getattr(x, name, None)
        if isinstance(variable, tf.Variable):
            variable.assign(value)


def batches_from_arrays(x, y, batch_size: int, shuffle: bool, seed: int) -> tf.data.Dataset:
    """Give batches of arrays, in an order that depends on (seed, epoch) alone.

    Keras shuffles arrays by a hidden state, which no run could go on with.

    Args:
        x: images, an array or tensor.
        y: masks, as many.
        batch_size: images in a batch; the last one may be smaller.
        shuffle: whether every epoch has an order of its own.
        seed: key of the orders.

    Returns:
        A dataset with the variables `epoch` and `start`.

    Example:
        >>> import numpy as np
        >>> len(batches_from_arrays(np.zeros(5), np.zeros(5), 2, shuffle=True, seed=0))
        3
    """
    with tf.device("CPU:0"):
        x, y = _tensor(x), _tensor(y)
    indices, epoch, start = epoch_indices(len(x), batch_size, seed, shuffle)
    batches = indices.batch(batch_size).map(
        lambda _, index: (tf.gather(x, index), tf.gather(y, index))
    )
    return finish_epochs(batches, len(x), batch_size, epoch, start)


def continue_from(x, y, options: dict, seed: int, first: int, epoch: int, step: int, known=None):
    """Return what to train on from a step of an epoch on, and whether steps can be entered.

    Args:
        x: what `fit` got.
        y: what `fit` got.
        options: the further arguments of `fit`; those that only arrays have are taken out.
        seed: for the order of arrays.
        first: the epoch that the run began with, ever.
        epoch: the epoch to go on with.
        step: how many of its steps are done.
        known: how many steps an epoch had; for datasets that do not know their length.

    Returns:
        `x` and `y` for Keras, and False if `x` is of a kind, such as a generator, that can only be
        read from the start of an epoch.

    Example:
        >>> data = tf.data.Dataset.range(4)
        >>> rest, _, _ = continue_from(data, None, {}, seed=0, first=0, epoch=1, step=3)
        >>> int(next(iter(rest))), [int(x) for x in rest]
        (3, [0, 1, 2, 3])
    """
    steps = options.get("steps_per_epoch")
    if isinstance(x, ARRAYS) and isinstance(y, ARRAYS):
        if steps is not None or options.get("validation_split"):
            return x, y, False
        shuffle = options.pop("shuffle", True) is not False
        batch_size = options.pop("batch_size", None) or 32
        options["validation_batch_size"] = options.get("validation_batch_size") or batch_size
        x, y = batches_from_arrays(x, y, batch_size, shuffle, seed), None
    if not isinstance(x, tf.data.Dataset):
        return x, y, False
    if steps is not None and steps != length_of(x):  # one iterator for all epochs
        set_position(x, first)
        return x.skip((epoch - first) * steps + step), y, True
    if known and x.cardinality() == tf.data.UNKNOWN_CARDINALITY:
        x = x.apply(tf.data.experimental.assert_cardinality(known))
    set_position(x, epoch, step)
    if step and not isinstance(getattr(x, "start", None), tf.Variable):
        x = _without(x, step)
    return x, y, True


def length_of(dataset: tf.data.Dataset) -> int | None:
    """Return how many batches a dataset has; None where that is not known, or it has no end.

    Example:
        >>> length_of(tf.data.Dataset.range(4)), length_of(tf.data.Dataset.range(4).repeat())
        (4, None)
    """
    length = int(dataset.cardinality())
    return length if length >= 0 else None


def _without(dataset: tf.data.Dataset, step: int) -> tf.data.Dataset:
    """Leave the first batches out of a dataset's next iteration, and of no other."""
    with tf.device("CPU:0"):
        start = tf.Variable(step, trainable=False, dtype=tf.int64, name="start")

    def begin_rest(_: tf.Tensor) -> tf.Tensor:
        now = start.read_value()
        with tf.control_dependencies([now]):
            start.assign(0, read_value=False)
        return now

    plain = tf.autograph.experimental.do_not_convert
    rest = tf.data.Dataset.range(1).map(plain(begin_rest)).flat_map(plain(dataset.skip))
    if length_of(dataset):
        rest = rest.apply(tf.data.experimental.assert_cardinality(length_of(dataset)))
    rest.start = start
    return rest


def _tensor(array) -> tf.Tensor:
    floats = isinstance(array, np.ndarray) and issubclass(array.dtype.type, np.floating)
    return tf.convert_to_tensor(array, keras.backend.floatx() if floats else None)

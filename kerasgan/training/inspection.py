"""Data looked at before a step is taken on them: arrays whole, the rest batch by batch as it comes.

So no dataset is read ahead of its time or in another order, and a value that turns up late does not
train in silence either.
"""

from __future__ import annotations

import contextlib
import inspect
import re

import keras
import numpy as np
import tensorflow as tf

from kerasgan.data.samples import Samples
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.training.batch_checker import BatchChecker

__all__ = [
    "EMPTY",
    "cast_batch",
    "check_validation_data",
    "unwrap_errors",
    "check_batches",
    "read_once_dataset",
]

FORMS = (
    "a tf.data.Dataset of (image, mask) batches such as samples.batches(8, size=...), a "
    "keras.utils.Sequence or generator of them, or arrays x and y"
)
EMPTY = (
    "There is no batch to train on or to evaluate. Received: a dataset or generator that holds "
    "none, or was read to its end before"
)
ENDLESS = (
    "never ends: say how much of it to read (steps_per_epoch or validation_steps in fit, steps in "
    "evaluate)"
)
MOVED = (
    "An optimizer that compile() was given has moved the weights of another network before, or of "
    "this one in another precision; compile with a new one"
)
CHUNK = 64
OURS = re.compile(r"Kerasgan(Error|Warning): (.+)")


def check_batches(generator: keras.Model, x, y=None, argument: str = "x", steps=None) -> tuple:
    """Return what `fit` or `evaluate` got, such that every batch of it is looked at first.

    Args:
        generator: the network that is fed.
        x: images, or whatever gives images and masks.
        y: masks, where `x` holds images alone.
        argument: the name in errors.
        steps: how many batches an epoch has, if the caller said so.

    Returns:
        `x` and `y`, of the kinds that came; lists as arrays.

    Raises:
        KerasganError: now, or when the batch is read, if it is not what the networks take.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=1)
        >>> x, y = check_batches(network, [np.zeros((32, 32, 3))], [np.ones((32, 32), bool)])
        >>> x.shape, y.shape
        ((1, 32, 32, 3), (1, 32, 32))
    """
    if isinstance(x, tf.distribute.DistributedDataset):
        return x, y
    pages, dataset = isinstance(x, keras.utils.Sequence), isinstance(x, tf.data.Dataset)
    if not (pages or dataset or hasattr(x, "__next__")):
        return _arrays(x, y, BatchChecker(generator, argument, "arrays"))
    if y is not None:
        raise KerasganError(
            f"Argument 'y' must be None where '{argument}' gives images and masks together. "
            f"Received: {argument} of type {type(x).__name__}, y of type {type(y).__name__}"
        )
    ours = "batches" if _is_ours(x) else "dataset"
    checker = BatchChecker(generator, argument, ours if dataset else "yielded")
    if dataset:
        return _dataset(x, checker, steps), None
    return (_Pages(x, checker, steps) if pages else _stream(x, checker)), None


def check_validation_data(generator: keras.Model, data, steps=None):
    """Return validation data likewise; their first batch is looked at now, before all training.

    Args:
        generator: the network that is fed.
        data: what `fit` got as `validation_data`.
        steps: and as `validation_steps`.

    Returns:
        A tuple of arrays, or whatever else came.

    Raises:
        KerasganError: as `check_batches`.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=1)
        >>> images = tf.data.Dataset.from_tensors(tf.zeros((1, 32, 32, 3)))
        >>> try:
        ...     check_validation_data(network, images)
        ... except KerasganError as error:
        ...     print(str(error)[:60])
        Argument 'validation_data' must give (image, mask) pairs; ar
    """
    x, y = data, None
    if isinstance(data, (tuple, list)):
        x, y = BatchChecker(generator, "validation_data", "arrays").pair(data)
    x, y = check_batches(generator, x, y, "validation_data", steps)
    if y is not None:
        return x, y
    if inspect.isgenerator(x):
        return read_once_dataset(generator, _put_back(next(x), x))
    if isinstance(x, _Pages):
        x[0]
    elif isinstance(x, tf.data.Dataset) and not _is_ours(x):
        with unwrap_errors():
            if next(iter(x), None) is None:
                raise KerasganError(EMPTY)
    return x


def cast_batch(image: tf.Tensor, mask: tf.Tensor, generator: keras.Model) -> tuple:
    """Bring a batch to the type and rank that the networks compute in, within a step.

    Args:
        image: tensor of any real type, (batch, height, width, channels); one channel may be left
            out.
        mask: likewise.
        generator: the network that is fed.

    Returns:
        Both as float32 of four dimensions.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=1)
        >>> cast_batch(tf.zeros((2, 32, 32, 3)), tf.ones((2, 32, 32), tf.bool), network)[1].shape
        TensorShape([2, 32, 32, 1])
    """
    shapes = generator.input_shape, generator.output_shape
    return tuple(_shaped(part, shape) for part, shape in zip((image, mask), shapes))


def _shaped(tensor, shape):
    tensor = tf.cast(tensor, tf.float32)
    if shape[-1] == 1 and tensor.shape.rank != 4:
        tensor = tf.reshape(tensor, tf.concat([tf.shape(tensor)[:3], [1]], 0))
    return tf.ensure_shape(tensor, [None, *shape[1:]])


@contextlib.contextmanager
def unwrap_errors():
    """Raise what was found in a batch as itself, where TensorFlow has wrapped it.

    Raises:
        KerasganError: that of the batch; or that there was none.

    Example:
        >>> with unwrap_errors():
        ...     pass
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = OURS.search(str(error))
        if found is None:
            raise
        raise {"Error": KerasganError, "Warning": KerasganWarning}[found[1]](found[2]) from None
    except ValueError as error:
        if "(empty logs)" in str(error).lower():
            raise KerasganError(EMPTY) from error
        if str(error).startswith("Unknown variable"):
            raise KerasganError(MOVED) from error
        raise


# --- Arrays ---


def _arrays(x, y, checker: BatchChecker) -> tuple:
    parted = isinstance(x, (tuple, list)) and y is None
    if parted and len(x) == 2 and all(hasattr(part, "shape") for part in x):
        checker.fail("is a pair: pass images and masks one by one, as x and y")
    if parted or not hasattr(x, "__len__") or isinstance(x, (str, bytes, dict, Samples)):
        hint = "; call its method batches" if isinstance(x, Samples) else ""
        checker.fail(f"must be {FORMS}{hint}. Received: {type(x).__name__}")
    if y is None:
        checker.fail("holds images alone; pass their masks as y")
    x, y = _array(x, "images", checker), _array(y, "masks", checker)
    if 0 in (len(x), len(y)):
        checker.fail(f"must not be empty. Received: {len(x)} images, {len(y)} masks")
    checker.dtype(x.dtype, 0)
    checker.dtype(y.dtype, 1)
    checker.shapes(x.shape, y.shape)
    parts = [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]
    ends = [checker(x[part], y[part], before=part.start) for part in parts]
    checker.question(min(low for low, _ in ends), max(high for _, high in ends))
    return x, y


def _array(value, what: str, checker: BatchChecker):
    """Return lists of arrays as one array, and arrays as they are."""
    if not isinstance(value, (list, tuple)):
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            checker.fail(f"must be {FORMS}. Received: {what} of type {type(value).__name__}")
        return value
    arrays = [np.asarray(one) for one in value]
    if len({array.shape for array in arrays}) > 1:
        shapes = sorted({array.shape for array in arrays})
        checker.fail(
            f"has {what} of several shapes, {shapes[0]} and {shapes[-1]}; resize them alike"
        )
    one_input = len(arrays) == 1 and arrays[0].ndim == 4  # as Keras has it
    return arrays[0] if one_input else np.array(arrays)


# --- Datasets ---


def _is_ours(dataset: tf.data.Dataset) -> bool:
    """Whether masks and ranges are right by construction; see `pipeline.finish_epochs`."""
    return isinstance(getattr(dataset, "epoch", None), tf.Variable)


def _dataset(dataset: tf.data.Dataset, checker: BatchChecker, steps) -> tf.data.Dataset:
    specs = checker.pair(dataset.element_spec)
    for place, spec in enumerate(specs):
        if not isinstance(spec, tf.TensorSpec):
            checker.fail(f"must give dense tensors. Received: {type(spec).__name__}")
        checker.dtype(spec.dtype, place)
    shapes = [[None] * 4 if spec.shape.rank is None else spec.shape.as_list() for spec in specs]
    checker.shapes(*shapes)
    length = int(dataset.cardinality())
    if length == 0:
        checker.fail(
            "holds no batch: batch(..., drop_remainder=True) gives none where there are fewer "
            "images than that"
        )
    if length == tf.data.INFINITE_CARDINALITY and steps is None:
        checker.fail(f"{ENDLESS}, or leave repeat out")
    if checker.form == "batches":
        return dataset
    classes = checker.wanted[1][-1]
    known = not any(None in shape[1:] for shape in shapes)

    faults: list[KerasganError] = []  # several devices read on behind the first

    def report(number, image, mask):
        if faults:
            raise faults[0]
        try:
            checker.question(*checker(image.numpy(), mask.numpy(), int(number)), int(number))
        except KerasganError as error:
            faults.append(error)
            raise
        return True

    def seen(number, pair):
        image, mask = pair[:2]
        parts = tf.cast(image, tf.float32), tf.cast(mask, tf.float32)
        fine = tf.constant(known) & _is_plain(*parts, classes)
        fine &= tf.shape(image)[0] == tf.shape(mask)[0]
        call = lambda: tf.py_function(report, [number, image, mask], tf.bool)  # noqa: E731
        with tf.control_dependencies([tf.cond(fine, lambda: True, call)]):
            return tf.identity(image), tf.identity(mask)

    plain = tf.autograph.experimental.do_not_convert
    return dataset.enumerate().map(plain(seen)).prefetch(1)


def _is_plain(image: tf.Tensor, mask: tf.Tensor, classes: int) -> tf.Tensor:
    """Whether there is nothing to say of a batch's values."""
    least, most = tf.reduce_min(image), tf.reduce_max(image)
    fine = (least >= -1) & (least < 0) & (most <= 1) & tf.math.is_finite(tf.reduce_sum(image))
    fine &= tf.reduce_all((mask == 0) | (mask == 1))
    return fine & tf.reduce_all(tf.reduce_sum(mask, -1) == 1) if classes > 1 else fine


# --- Generators and sequences ---


def _stream(batches, checker: BatchChecker):
    """Give the batches of a generator, each looked at as it comes."""
    number = None
    for number, batch in enumerate(batches):
        yield _seen(checker, batch, number)
    if number is None:
        checker.fail("gives no batch: it is empty, or was read to its end before")


def _put_back(batch, batches):
    yield batch
    yield from batches


def read_once_dataset(generator: keras.Model, x):
    """Return a generator of check_batches batches as a dataset, and anything else as it is.

    Keras 3 would read a generator ahead, and give its first two batches again in every epoch.

    Args:
        generator: the network that is fed.
        x: what `check_batches` returned.

    Returns:
        A dataset whose every iteration goes on where the one before ended.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=1)
        >>> pair = np.zeros((2, 32, 32, 3), "float32"), np.ones((2, 32, 32, 1), "float32")
        >>> len(list(read_once_dataset(network, (pair for _ in range(3)))))
        3
    """
    if not inspect.isgenerator(x):
        return x
    shapes = generator.input_shape, generator.output_shape
    signature = tuple(tf.TensorSpec([None, *shape[1:]], tf.float32) for shape in shapes)

    def batches():
        for batch in x:
            yield tuple(a.reshape(*a.shape[:3], -1) for a in batch)

    return tf.data.Dataset.from_generator(batches, output_signature=signature)


class _Pages(keras.utils.Sequence):
    """A sequence whose batches are looked at as they are asked for."""

    def __init__(self, batches: keras.utils.Sequence, checker: BatchChecker, steps):
        names = ("workers", "use_multiprocessing", "max_queue_size")  # of Keras 3
        known = [name for name in names if hasattr(keras.utils.Sequence, name)]
        super().__init__(**{name: getattr(batches, name) for name in known})
        self.batches, self.checker = batches, checker
        if self.num_batches == 0:
            checker.fail("holds no batch")
        if self.num_batches is None and steps is None:
            checker.fail(ENDLESS)

    @property
    def num_batches(self):
        return len(self.batches) if hasattr(self.batches, "__len__") else self.batches.num_batches

    def __len__(self):
        return self.num_batches

    def __getitem__(self, index):
        return _seen(self.checker, self.batches[index], index)

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()


def _seen(checker: BatchChecker, batch, number: int) -> tuple:
    image, mask = (
        part if hasattr(part, "dtype") else np.asarray(part) for part in checker.pair(batch)
    )
    checker.question(*checker(image, mask, number), number)
    return np.asarray(image, np.float32), np.asarray(mask, np.float32)

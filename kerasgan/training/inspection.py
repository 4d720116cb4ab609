"""Checks of the data that `fit` and `evaluate` get, before a step is taken on them.

Arrays are checked whole, the rest batch by batch as it comes, so that no dataset is read ahead of
its time or in another order.
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
LABELLED = "gives images with masks, and masks would be left unused"
CHUNK = 64
KERASGAN_MESSAGE = re.compile(r"Kerasgan(Error|Warning): (.+)")


def check_batches(
    generator: keras.Model,
    x,
    y=None,
    argument: str = "x",
    steps=None,
    one_pixel: str = "",
    batch_size: int | None = None,
    labels: np.ndarray | None = None,
) -> tuple:
    """Return what `fit` or `evaluate` got, such that every batch of it is checked when it is read.

    `argument` is its name in errors, `steps` how many batches an epoch has, if the caller said so,
    and `batch_size` how many images of arrays are in one. `one_pixel` and `labels` are as of
    `BatchChecker`.
    """
    if isinstance(x, tf.distribute.DistributedDataset):
        return x, y
    sequence, dataset = isinstance(x, keras.utils.Sequence), isinstance(x, tf.data.Dataset)
    if not (sequence or dataset or hasattr(x, "__next__")):
        checker = BatchChecker(generator, argument, "arrays", one_pixel, labels=labels)
        x, y = _arrays(x, y, checker)
        batch_size = batch_size or 32
        checker.warn_of_one_image(len(x) % batch_size or batch_size)
        return x, y
    if y is not None:
        raise KerasganError(
            f"Argument 'y' must be None where '{argument}' gives images and masks together. "
            f"Received: {argument} of type {type(x).__name__}, y of type {type(y).__name__}"
        )
    form = "batches" if _is_from_samples(x) else "dataset"
    form = form if dataset else "yielded"
    checker = BatchChecker(generator, argument, form, one_pixel, labels=labels)
    if dataset:
        return _dataset(x, checker, steps), None
    return (_CheckedSequence(x, checker, steps) if sequence else _stream(x, checker)), None


def check_validation_data(generator: keras.Model, data, steps=None):
    """Return validation data likewise; their first batch is checked now, before all training."""
    x, y = data, None
    if isinstance(data, (tuple, list)):
        x, y = BatchChecker(generator, "validation_data", "arrays").pair(data)
    x, y = check_batches(generator, x, y, "validation_data", steps)
    if y is not None:
        return x, y
    if inspect.isgenerator(x):
        return read_once_dataset(generator, _chain(next(x), x))
    if isinstance(x, _CheckedSequence):
        x[0]
    elif isinstance(x, tf.data.Dataset) and not _is_from_samples(x):
        with unwrap_errors():
            if next(iter(x), None) is None:
                raise KerasganError(EMPTY)
    return x


def check_images(generator: keras.Model, x) -> None:
    """Raise for an array of images that do not lie in [-1, 1], or that a network cannot take."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        checker = BatchChecker(generator, "x", "arrays")
        checker.check_shape(x.shape)
        for start in range(0, len(x), CHUNK):
            checker.check_images(x[start : start + CHUNK], before=start)


def check_labelled(x, steps: int | None) -> int:
    """Return how many steps an epoch has; raise unless unlabelled batches can stand beside `x`."""
    if not isinstance(x, tf.data.Dataset):
        raise KerasganError(
            "Argument 'x' must, beside 'unlabelled', be a tf.data.Dataset such as "
            "samples.batches(8, size=...), or arrays x and y without steps_per_epoch and "
            f"validation_split. Received: {type(x).__name__}"
        )
    length = int(x.cardinality())
    if steps is None and length == tf.data.UNKNOWN_CARDINALITY:
        raise KerasganError(
            "Argument 'x' must, beside 'unlabelled', have a known number of batches: pass "
            "steps_per_epoch, or x.apply(tf.data.experimental.assert_cardinality(n))"
        )
    return length if steps is None else steps


def check_unlabelled(generator: keras.Model, x, batch_size: int, least: int = 1):
    """Return the unlabelled images that `fit` got: an array, or a dataset that checks its batches.

    `batch_size` is that of arrays; `least` how many images of a batch are needed.
    """
    if isinstance(x, Samples):
        raise KerasganError(
            "Argument 'unlabelled' must be batches of images; call its method batches. Received: "
            f"{x!r}"
        )
    if isinstance(x, tf.data.Dataset):
        checker = BatchChecker(generator, "unlabelled", "images", ours=_is_from_samples(x))
        return _images_dataset(x, checker, least)
    if not hasattr(x, "__len__") or isinstance(x, (str, bytes, dict, keras.utils.Sequence)):
        raise KerasganError(
            "Argument 'unlabelled' must be a tf.data.Dataset of image batches such as "
            "frames.batches(8, size=...), of frames = load_folder(images=..., masks=None), or an "
            f"array of images. Received: {type(x).__name__}"
        )
    if isinstance(x, (tuple, list)) and len(x) == 2 and np.ndim(x[0]) == 4:
        raise KerasganError(f"Argument 'unlabelled' {LABELLED}; pass the images alone")
    checker = BatchChecker(generator, "unlabelled", "arrays")
    images = _array(x, "images", checker)
    parts = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    ends = [checker.check_images(images[part], before=part.start) for part in parts]
    if len(images) < max(batch_size, least):
        raise KerasganError(
            f"Argument 'unlabelled' must hold as many images as a batch, {max(batch_size, least)}, "
            f"or more. Received: {len(images)}"
        )
    if batch_size < least:
        _refuse_batch_of(batch_size)
    checker.warn_of_range(min(low for low, _ in ends), max(high for _, high in ends))
    return images


def _refuse_batch_of(count: int):
    raise KerasganError(
        "Argument 'unlabelled' must have batches of two images or more: the loss 'cutmix' mixes "
        f"them. Received: batches of {count}"
    )


def _images_dataset(dataset: tf.data.Dataset, checker: BatchChecker, least: int):
    spec = dataset.element_spec
    if isinstance(spec, (tuple, list, dict)) and len(spec) > 1:
        checker.fail(
            f"{LABELLED}. Load the folder with load_folder(images=..., masks=None), or leave the "
            "masks out: unlabelled.map(lambda image, mask: image)"
        )
    if not isinstance(spec, tf.TensorSpec):
        checker.fail(f"must give one image tensor. Received: {type(spec).__name__}")
    checker.dtype(spec.dtype, 0)
    shape = [None] * 4 if spec.shape.rank is None else spec.shape.as_list()
    checker.check_shape(shape)
    if None in shape[1:]:
        checker.fail(
            f"must give images of known size. Received: shape {tuple(shape)}; "
            "dataset.map(lambda image: tf.ensure_shape(image, (None, height, width, channels)))"
        )
    if int(dataset.cardinality()) == 0:
        checker.fail("holds no batch")
    if checker.ours:
        size = int(dataset.origin["batch_size"])
        return dataset if size >= least else _refuse_batch_of(size)
    faults: list[KerasganError] = []

    def report(number, image):
        if faults:
            raise faults[0]
        try:
            if len(image) < least:
                _refuse_batch_of(len(image))
            ends = checker.check_images(image.numpy(), int(number))
            checker.warn_of_range(*ends, int(number))
        except KerasganError as error:
            faults.append(error)
            raise
        return True

    def check(number, image):
        pixels = tf.cast(image, tf.float32)
        fine = _is_in_range(pixels) & (tf.shape(image)[0] >= least)
        call = lambda: tf.py_function(report, [number, image], tf.bool)  # noqa: E731
        with tf.control_dependencies([tf.cond(fine, lambda: True, call)]):
            return tf.identity(image)

    unconverted = tf.autograph.experimental.do_not_convert
    return dataset.enumerate().map(unconverted(check))


def cast_image(image: tf.Tensor, generator: keras.Model) -> tf.Tensor:
    """Cast images to float32 and reshape them to four dimensions, within a step."""
    return _shaped(image, generator.input_shape)


def cast_batch(image: tf.Tensor, mask: tf.Tensor, generator: keras.Model) -> tuple:
    """Cast a batch to float32 and reshape it to four dimensions, within a step."""
    shapes = generator.input_shape, generator.output_shape
    return tuple(_shaped(part, shape) for part, shape in zip((image, mask), shapes))


def _shaped(tensor, shape):
    tensor = tf.cast(tensor, tf.float32)
    if shape[-1] == 1 and tensor.shape.rank != 4:
        tensor = tf.reshape(tensor, tf.concat([tf.shape(tensor)[:3], [1]], 0))
    return tf.ensure_shape(tensor, [None, *shape[1:]])


@contextlib.contextmanager
def unwrap_errors():
    """Raise a `KerasganError` of a batch as itself, where TensorFlow has wrapped it."""
    try:
        yield
    except tf.errors.OpError as error:
        match = KERASGAN_MESSAGE.search(str(error))
        if match is None:
            raise
        raise {"Error": KerasganError, "Warning": KerasganWarning}[match[1]](match[2]) from None
    except ValueError as error:
        if "(empty logs)" in str(error).lower():
            raise KerasganError(EMPTY) from error
        if str(error).startswith("Unknown variable"):
            raise KerasganError(MOVED) from error
        raise


# --- Arrays ---


def _arrays(x, y, checker: BatchChecker) -> tuple:
    combined = isinstance(x, (tuple, list)) and y is None
    if combined and len(x) == 2 and all(hasattr(part, "shape") for part in x):
        checker.fail("is a pair: pass images and masks one by one, as x and y")
    if combined or not hasattr(x, "__len__") or isinstance(x, (str, bytes, dict, Samples)):
        hint = "; call its method batches" if isinstance(x, Samples) else ""
        checker.fail(f"must be {FORMS}{hint}. Received: {type(x).__name__}")
    if y is None:
        if not hasattr(x, "shape") and not isinstance(x, (tuple, list)):
            checker.fail(
                f"must be {FORMS}. Received: {type(x).__name__}; if it gives batches: iter(x)"
            )
        checker.fail("holds images alone; pass their masks as y")
    x, y = _array(x, "images", checker), _array(y, "masks", checker)
    if 0 in (len(x), len(y)):
        checker.fail(f"must not be empty. Received: {len(x)} images, {len(y)} masks")
    checker.dtype(x.dtype, 0)
    checker.dtype(y.dtype, 1)
    checker.shapes(x.shape, y.shape)
    parts = [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]
    ends = [checker(x[part], y[part], before=part.start) for part in parts]
    checker.warn_of_range(min(low for low, _ in ends), max(high for _, high in ends))
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


def _is_from_samples(dataset: tf.data.Dataset) -> bool:
    """Whether masks and ranges are right by construction; see `pipeline.finish_epochs`."""
    return isinstance(getattr(dataset, "epoch", None), tf.Variable)


def _dataset(dataset: tf.data.Dataset, checker: BatchChecker, steps) -> tf.data.Dataset:
    specs = checker.pair(dataset.element_spec)
    for index, spec in enumerate(specs):
        if not isinstance(spec, tf.TensorSpec):
            checker.fail(f"must give dense tensors. Received: {type(spec).__name__}")
        checker.dtype(spec.dtype, index)
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
        checker.warn_of_one_image(dataset.last_batch)
        return dataset
    classes = checker.wanted[1][-1]
    known = not any(None in shape[1:] for shape in shapes)
    faults: list[KerasganError] = []  # several devices read on behind the first

    def report(number, image, mask):
        if faults:
            raise faults[0]
        try:
            checker.warn_of_range(*checker(image.numpy(), mask.numpy(), int(number)), int(number))
        except KerasganError as error:
            faults.append(error)
            raise
        return True

    def check(number, pair):
        image, mask = pair[:2]
        parts = tf.cast(image, tf.float32), tf.cast(mask, tf.float32)
        fine = tf.constant(known) & _is_unremarkable(*parts, classes)
        fine &= tf.shape(image)[0] == tf.shape(mask)[0]
        fine &= (tf.shape(image)[0] > 1) | (not checker.one_pixel)
        call = lambda: tf.py_function(report, [number, image, mask], tf.bool)  # noqa: E731
        with tf.control_dependencies([tf.cond(fine, lambda: True, call)]):
            shown = _labels_shown(tf.identity(parts[1]), classes)
        with tf.control_dependencies([tf.numpy_function(checker.note_labels, [shown], tf.bool)]):
            return tf.identity(image), tf.identity(mask)

    unconverted = tf.autograph.experimental.do_not_convert
    return dataset.enumerate().map(unconverted(check)).prefetch(1)


def _is_unremarkable(image: tf.Tensor, mask: tf.Tensor, classes: int) -> tf.Tensor:
    """Whether a batch's values give no reason for an error or a warning."""
    fine = _is_in_range(image)
    fine &= tf.reduce_all((mask == 0) | (mask == 1))
    return fine & tf.reduce_all(tf.reduce_sum(mask, -1) == 1) if classes > 1 else fine


def _labels_shown(mask: tf.Tensor, classes: int) -> tf.Tensor:
    """Say of each label whether a batch of masks shows it."""
    if classes == 1:
        return tf.stack([tf.reduce_min(mask) < 0.5, tf.reduce_max(mask) >= 0.5])
    return tf.reduce_any(tf.reshape(mask, [-1, classes]) >= 0.5, 0)


def _is_in_range(image: tf.Tensor) -> tf.Tensor:
    least, most = tf.reduce_min(image), tf.reduce_max(image)
    return (least >= -1) & (least < 0) & (most <= 1) & tf.math.is_finite(tf.reduce_sum(image))


# --- Generators and sequences ---


def _stream(batches, checker: BatchChecker):
    """Yield the batches of a generator, each checked as it comes."""
    number = None
    for number, batch in enumerate(batches):
        yield _check(checker, batch, number)
    if number is None:
        checker.fail("gives no batch: it is empty, or was read to its end before")


def _chain(batch, batches):
    yield batch
    yield from batches


def read_once_dataset(generator: keras.Model, x):
    """Return a generator of checked batches as a dataset, and anything else as it is.

    Keras 3 would read a generator ahead, and give its first two batches again in every epoch.
    """
    if not inspect.isgenerator(x):
        return x
    shapes = generator.input_shape, generator.output_shape
    signature = tuple(tf.TensorSpec([None, *shape[1:]], tf.float32) for shape in shapes)

    def batches():
        for batch in x:
            yield tuple(a.reshape(*a.shape[:3], -1) for a in batch)

    return tf.data.Dataset.from_generator(batches, output_signature=signature)


class _CheckedSequence(keras.utils.Sequence):
    """A sequence whose batches are checked as they are read."""

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
        return _check(self.checker, self.batches[index], index)

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()


def _check(checker: BatchChecker, batch, number: int) -> tuple:
    pair = checker.pair(batch)
    image, mask = (part if hasattr(part, "dtype") else np.asarray(part) for part in pair)
    checker.warn_of_range(*checker(image, mask, number), number)
    return np.asarray(image, np.float32), np.asarray(mask, np.float32)

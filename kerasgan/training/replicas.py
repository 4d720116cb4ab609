"""One step on several devices under `tf.distribute`: batches, losses and means over all of them."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.stack import (
    REDUCES_NUMBERS_ACROSS_MACHINES,
    layers_of,
    strategy_in_force,
    variable_of,
)
from kerasgan.training import feed, workers


def is_distributed() -> bool:
    """Return whether the strategy in force trains on more than one device."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def in_strategy_scope(method):
    """Make a method of a Keras model run in the scope that the model was built in."""

    @functools.wraps(method)
    def inside(self, *args, **kwargs):
        with self.distribute_strategy.scope():
            return method(self, *args, **kwargs)

    return inside


def check_scope(gan, optimizer, discriminator_optimizer) -> None:
    """Raise unless everything was built in the scope of the strategy in force, if there is one."""
    if not tf.distribute.has_strategy():
        return
    strategy = tf.distribute.get_strategy()
    parts = {"generator": gan.generator, "discriminator": gan.discriminator}
    parts.update(optimizer=optimizer, discriminator_optimizer=discriminator_optimizer)
    for name, part in parts.items():
        variables = getattr(part, "variables", ())
        variables = variables() if callable(variables) else variables
        if not all(strategy.extended.variable_created_in_scope(variable_of(x)) for x in variables):
            raise KerasganError(
                f"Argument '{name}' was not built in the scope of this model's strategy, "
                f"{type(strategy).__name__}. Build networks, optimizers and the model within "
                "'with strategy.scope():'"
            )


def synchronize_batch_norm(network: keras.Model, whether: bool) -> None:
    """Let batch normalisation use the mean and variance of all devices' images, or of its own."""
    for layer in layers_of(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = whether
            if whether and hasattr(layer, "fused"):
                layer.fused = False


def _counts(count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return how many images the devices before this one have in this step, and all together."""
    context = tf.distribute.get_replica_context()
    number = context.replica_id_in_sync_group
    row = tf.one_hot(number, context.num_replicas_in_sync) * tf.cast(count, tf.float32)
    counts = context.all_reduce(tf.distribute.ReduceOp.SUM, row)
    return tf.reduce_sum(counts[:number]), tf.reduce_sum(counts)


def distribute_evenly(gan, method):
    """Make `fit` or `evaluate` of Keras give each device as many images, if there are several.

    TensorFlow would leave devices without images where a batch is small, and its convolutions fail
    on none. Here numbers differ by one at most, and each device gets an image: where there are
    fewer images than devices, a copy of weight 0.
    """
    devices = gan.distribute_strategy.num_replicas_in_sync
    if devices == 1:
        return method

    def run(x=None, y=None, **options):
        size = options.get("batch_size") or 32
        if isinstance(x, feed.ARRAYS) and not options.get("validation_split"):
            shuffle = options.pop("shuffle", method.__name__ == "fit") is not False
            options.pop("batch_size", None)
            seed = (gan.recipe or {}).get("seed") or 0
            x, y = feed.batches_from_arrays(x, y, size, shuffle, seed), None
        validation = options.get("validation_data")
        if isinstance(validation, tuple):
            size = options.get("validation_batch_size") or size
            validation = feed.batches_from_arrays(*validation, size, False, 0)
        if validation is not None:
            options["validation_data"] = _distribute(validation, devices)
        with strategy_in_force(gan):
            return method(_distribute(x, devices), y, **options)

    return run


def run_on_all_machines(gan, function, step):
    """Return the function that Keras calls with an iterator, ours where that of Keras fails."""
    strategy = gan.distribute_strategy
    if workers.index_and_count(strategy)[1] == 1 or REDUCES_NUMBERS_ACROSS_MACHINES:
        return function

    @tf.function(reduce_retracing=True)
    def on_devices(data):
        logs = strategy.run(step, (data,))
        return {k: strategy.experimental_local_results(v)[0] for k, v in logs.items()}

    def on_iterator(iterator):
        logs = on_devices(next(iterator))
        for _, data in zip(range(gan.steps_per_execution - 1), iterator):
            logs = on_devices(data)
        return logs

    return on_iterator


def _distribute(data, devices: int):
    """Order every batch of (image, mask) by device, and add the weight of each image, 1 or 0.

    Of ((image, unlabelled), mask) both kinds of images get weights, and are brought to one number,
    since TensorFlow cuts all parts of a batch at the same places.
    """
    if not isinstance(data, tf.data.Dataset) or len(data.element_spec) != 2:
        return data

    def order(count, most):
        device, offset = tf.range(devices)[:, None], tf.range(-(-most // devices))[None]
        share = count // devices + tf.cast(device < count % devices, tf.int32)
        before = device * (count // devices) + tf.minimum(device, count % devices)
        indices = tf.reshape((before + offset) % count, [-1])
        return indices, tf.reshape(tf.cast(offset < share, tf.float32), [-1])

    def order_batch(image, mask):
        images = image if isinstance(image, tuple) else (image,)
        counts = [tf.shape(each)[0] for each in images]
        ordered = [order(count, tf.reduce_max(tf.stack(counts))) for count in counts]
        gathered = tuple(tf.gather(each, part[0]) for each, part in zip(images, ordered))
        weights = tuple(part[1] for part in ordered)
        mask = tf.gather(mask, ordered[0][0])
        return (gathered, mask, weights) if len(images) > 1 else (gathered[0], mask, weights[0])

    ordered = data.map(order_batch)
    for name in ("epoch", "start"):
        if hasattr(data, name):
            setattr(ordered, name, getattr(data, name))
    return ordered


def local_batch(data):
    """Return this device's images and masks, at least one, and their fraction of the whole batch.

    Losses are means over a device's images. Weighted by the fractions they add up to the mean over
    the whole batch. The fraction is 1.0 on a single device, and 0 where the image is a copy.
    """
    image, mask, weights = keras.utils.unpack_x_y_sample_weight(data)
    if not is_distributed():
        return image, mask, 1.0
    count = tf.shape(image)[0] if weights is None else tf.cast(tf.reduce_sum(weights), tf.int32)
    least = tf.maximum(count, 1)
    return image[:least], mask[:least], local_fraction(count)


def split_unlabelled(data):
    """Part ((image, unlabelled), mask) into (image, mask) and (unlabelled, fraction), if it is so.

    Other batches are returned as they are, with None. The fraction is as of `local_batch`.
    """
    images, mask, weights = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(images, tuple):
        return data, None
    weights = (None, None) if weights is None else weights
    image, fraction = local_batch((images[1], images[1], weights[1]))[::2]
    return (images[0], mask, weights[0]), (image, fraction)


def images_before(count: tf.Tensor) -> tf.Tensor:
    """Return how many images of the batch are on devices before this one, which has `count`."""
    return tf.cast(_counts(count)[0], tf.int32) if is_distributed() else tf.zeros((), tf.int32)


def local_fraction(count: tf.Tensor) -> tf.Tensor:
    """Return this device's fraction of the batch, of which it has `count` images."""
    return tf.cast(count, tf.float32) / _counts(count)[1]


def weight_loss(loss: tf.Tensor, fraction):
    """Return what a device's mean loss adds to that of the whole batch."""
    return loss if isinstance(fraction, float) else loss * fraction


def relative_loss(loss: tf.Tensor, fraction, other):
    """Return a mean loss of one fraction of a batch as one of another fraction, with one total."""
    return loss if isinstance(fraction, float) else tf.math.divide_no_nan(loss * fraction, other)


def reduce_metrics(metrics) -> dict[str, tf.Tensor]:
    """Return the means of `keras.metrics.Mean` over the images of all devices, by name."""
    if not is_distributed():
        return {metric.name: metric.result() for metric in metrics}
    context = tf.distribute.get_replica_context()
    own = tf.stack([[tf.convert_to_tensor(x) for x in (m.total, m.count)] for m in metrics])
    totals = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    means = tf.unstack(tf.math.divide_no_nan(totals[:, 0], totals[:, 1]))
    return {metric.name: mean for metric, mean in zip(metrics, means)}


def sample_uniform(shape, key: tf.Tensor) -> tf.Tensor:
    """Return the numbers in [0, 1) that a single device would draw for these images of the batch.

    `shape` begins with the number of this device's images; `key` is a tensor of two integers.
    """
    if not is_distributed():
        return tf.random.stateless_uniform(shape, key)
    count, *rest = tf.unstack(tf.convert_to_tensor(shape))
    before, total = (tf.cast(x, tf.int32) for x in _counts(count))
    numbers = tf.random.stateless_uniform(tf.stack([total, *rest]), key)
    return numbers[before : before + count]

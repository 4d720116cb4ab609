"""One step on several devices: what a device must know of the others under `tf.distribute`."""

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

__all__ = [
    "check_scope",
    "distribute_evenly",
    "in_strategy_scope",
    "run_on_all_machines",
    "local_batch",
    "reduce_metrics",
    "is_distributed",
    "local_fraction",
    "synchronize_batch_norm",
    "sample_uniform",
    "weight_loss",
]


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
    """Raise unless everything was built in the scope of the strategy in force, if there is one.

    Args:
        gan: a `SegmentationGAN`.
        optimizer: what `compile` got.
        discriminator_optimizer: likewise.

    Raises:
        KerasganError: naming what was built elsewhere.
    """
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
    """Let batch normalisation take mean and variance over the images of all devices, or of one.

    Nothing changes on a single device, nor in inference.

    Args:
        network: changed in place, and those within it.
        whether: over all devices.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=1)
        >>> synchronize_batch_norm(network, True)
        >>> network.get_layer("middle_bn_a").synchronized
        True
    """
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
    """Make `fit` or `evaluate` of Keras deal batches out evenly, if there are several devices.

    TensorFlow would leave devices without images where a batch is small, and its convolutions fail
    on none. Here each device gets as many, one more or one less, and at least one: where there are
    fewer images than devices, a copy that counts for nothing.

    Args:
        gan: a `SegmentationGAN`.
        method: Keras' method, bound.

    Returns:
        A function that takes what the method takes, as keywords but for `x` and `y`.
    """
    devices = gan.distribute_strategy.num_replicas_in_sync
    if devices == 1:
        return method

    def dealt(x=None, y=None, **options):
        size = options.get("batch_size") or 32
        if isinstance(x, feed.ARRAYS) and not options.get("validation_split"):
            shuffle = options.pop("shuffle", method.__name__ == "fit") is not False
            options.pop("batch_size", None)
            x, y = (
                feed.batches_from_arrays(x, y, size, shuffle, (gan.recipe or {}).get("seed") or 0),
                None,
            )
        checked = options.get("validation_data")
        if isinstance(checked, tuple):
            checked = feed.batches_from_arrays(
                *checked, options.get("validation_batch_size") or size, False, 0
            )
        if checked is not None:
            options["validation_data"] = _distribute(checked, devices)
        with strategy_in_force(gan):
            return method(_distribute(x, devices), y, **options)

    return dealt


def run_on_all_machines(gan, function, step):
    """Return the function that Keras calls with an iterator, one of ours where Keras' would fail.

    Args:
        gan: a `SegmentationGAN`.
        function: that of Keras.
        step: its `train_step` or `test_step`.
    """
    strategy = gan.distribute_strategy
    if workers.index_and_count(strategy)[1] == 1 or REDUCES_NUMBERS_ACROSS_MACHINES:
        return function

    @tf.function(reduce_retracing=True)
    def on_devices(data):
        found = strategy.run(step, (data,))
        return {k: strategy.experimental_local_results(v)[0] for k, v in found.items()}

    def on_iterator(iterator):
        found = on_devices(next(iterator))
        for _, data in zip(range(gan.steps_per_execution - 1), iterator):
            found = on_devices(data)
        return found

    return on_iterator


def _distribute(data, devices: int):
    """Put every batch of (image, mask) in the devices' order, with 1 or 0 for what each counts."""
    if not isinstance(data, tf.data.Dataset) or len(data.element_spec) != 2:
        return data

    def deal(image, mask):
        count = tf.shape(image)[0]
        device, place = tf.range(devices)[:, None], tf.range(-(-count // devices))[None]
        own = count // devices + tf.cast(device < count % devices, tf.int32)
        before = device * (count // devices) + tf.minimum(device, count % devices)
        which = tf.reshape((before + place) % count, [-1])
        counts = tf.reshape(tf.cast(place < own, tf.float32), [-1])
        return tf.gather(image, which), tf.gather(mask, which), counts

    found = data.map(deal)
    for name in ("epoch", "start"):
        if hasattr(data, name):
            setattr(found, name, getattr(data, name))
    return found


def local_batch(data):
    """Return what this device has of a step: images, masks, and its share of the step's images.

    Losses are means over a device's images. Weighed by the shares they add up to the mean over
    the whole batch, also where the last batch of an epoch does not go evenly into the devices.

    Args:
        data: what `train_step` got; behind images and masks, what each counts, if they were dealt.

    Returns:
        Images and masks, at least one, and a number in [0, 1]; 1.0 on a single device. With the
        share 0 the image is a copy that counts for nothing.

    Example:
        >>> local_batch((tf.zeros((4, 32, 32, 3)), tf.zeros((4, 32, 32, 1))))[2]
        1.0
    """
    image, mask, counts = keras.utils.unpack_x_y_sample_weight(data)
    if not is_distributed():
        return image, mask, 1.0
    count = tf.shape(image)[0] if counts is None else tf.cast(tf.reduce_sum(counts), tf.int32)
    least = tf.maximum(count, 1)
    return image[:least], mask[:least], local_fraction(count)


def local_fraction(count: tf.Tensor) -> tf.Tensor:
    """Return this device's share of the step's images, of which it has `count`."""
    return tf.cast(count, tf.float32) / _counts(count)[1]


def weight_loss(loss: tf.Tensor, share):
    """Return what a device's loss adds to that of the whole batch.

    Args:
        loss: scalar, a mean over the images of this device.
        share: of this device, of `local_batch`.

    Example:
        >>> float(weight_loss(tf.constant(3.0), tf.constant(0.5)))
        1.5
    """
    return loss if isinstance(share, float) else loss * share


def reduce_metrics(metrics) -> dict[str, tf.Tensor]:
    """Return what means over the images of all devices are so far, by name.

    Args:
        metrics: `keras.metrics.Mean`, updated on this device.

    Example:
        >>> mean = keras.metrics.Mean("loss")
        >>> _ = mean.update_state([1.0, 2.0])
        >>> float(reduce_metrics([mean])["loss"])
        1.5
    """
    if not is_distributed():
        return {metric.name: metric.result() for metric in metrics}
    context = tf.distribute.get_replica_context()
    own = tf.stack([[tf.convert_to_tensor(x) for x in (m.total, m.count)] for m in metrics])
    totals = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    means = tf.unstack(tf.math.divide_no_nan(totals[:, 0], totals[:, 1]))
    return {metric.name: mean for metric, mean in zip(metrics, means)}


def sample_uniform(shape, key: tf.Tensor) -> tf.Tensor:
    """Draw what a single device would draw for these images of the whole batch.

    Args:
        shape: first the number of this device's images.
        key: int32 or int64 tensor of two numbers.

    Returns:
        float32 tensor in [0, 1).

    Example:
        >>> sample_uniform((2, 3), tf.constant([0, 1])).shape
        TensorShape([2, 3])
    """
    if not is_distributed():
        return tf.random.stateless_uniform(shape, key)
    count, *rest = tf.unstack(tf.convert_to_tensor(shape))
    before, total = (tf.cast(x, tf.int32) for x in _counts(count))
    drawn = tf.random.stateless_uniform(tf.stack([total, *rest]), key)
    return drawn[before : before + count]

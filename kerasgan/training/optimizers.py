"""Optimizers as `SegmentationGAN` uses them."""

from __future__ import annotations

import contextlib

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.stack import CLIPS_BEFORE_SUM
from kerasgan.training.replicas import is_distributed
from kerasgan.validation import invalid


def make_optimizers(optimizer, discriminator_optimizer, precision: str) -> list:
    """Return both optimizers, given as a Keras optimizer, its name, "default" or None."""
    given = {"optimizer": optimizer, "discriminator_optimizer": discriminator_optimizer}
    if optimizer is discriminator_optimizer and not isinstance(optimizer, (str, type(None))):
        raise KerasganError(
            "Argument 'discriminator_optimizer' must be another object than 'optimizer': each "
            "keeps moments of its own network. Received: the same for both"
        )
    return [_optimizer_from(name, one, precision) for name, one in given.items()]


def _optimizer_from(name: str, optimizer, precision: str):
    if optimizer is None or (isinstance(optimizer, str) and optimizer == "default"):
        optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise KerasganError(
            f"Argument '{name}' must be a Keras optimizer or the name of one, such as 'adam'. "
            f"Received: {optimizer!r}"
        ) from error
    inner = inner_of(optimizer)
    if not isinstance(inner, keras.optimizers.Optimizer):
        raise KerasganError(
            f"Argument '{name}' must be one of Keras' present optimizers, such as "
            f"keras.optimizers.{type(inner).__name__}. Received: one of the legacy kind, of "
            f"{type(inner).__module__}"
        )
    if inner.use_ema:
        raise KerasganError(
            f"Argument '{name}' must not average the weights itself; of the generator's there is "
            "an average with ema_momentum in compile(). Received: an optimizer with use_ema=True"
        )
    rate = learning_rate_of(optimizer)
    if rate is not None and rate < 0:
        raise KerasganError(
            f"Argument '{name}' must have a learning rate from 0 up; below 0 it climbs the loss. "
            f"Received: {rate:g}"
        )
    if inner.weight_decay:
        with contextlib.suppress(ValueError):  # Keras 2.14's, of one that was compiled before
            inner.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    if precision == "float16" and not hasattr(optimizer, "inner_optimizer"):
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def build_optimizer(optimizer, variables) -> None:
    """Make the variables that an optimizer keeps, unless it has them."""
    if not getattr(optimizer, "built", False):  # Keras 2.14 tells it by itself
        optimizer.build(variables)


def inner_of(optimizer):
    """Return the optimizer within one that scales losses, and any other as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def learning_rate_of(optimizer) -> float | None:
    """Return the learning rate of an optimizer; None where a schedule of its own sets it."""
    rate = inner_of(optimizer).get_config()["learning_rate"]
    return None if isinstance(rate, dict) else float(rate)


def peak_learning_rate(optimizer, schedule: str):
    """Return the highest learning rate of a schedule of ours; None where there is none."""
    if schedule == "constant":
        return None
    rate = learning_rate_of(optimizer)
    if rate is None:
        expected = "'constant' for an optimizer with a schedule of its own"
        raise invalid("schedule", expected, schedule)
    return rate


def scale_loss(optimizer, loss):
    """Return the loss as the optimizer wants it differentiated."""
    for name in ("scale_loss", "get_scaled_loss"):  # of Keras 3, of Keras 2.14
        if hasattr(optimizer, name):
            return getattr(optimizer, name)(loss)
    return loss


def apply_gradients(optimizer, gradients, variables) -> None:
    """Move variables, of which a frozen network has none, by gradients of a scaled loss.

    Their sum over all devices is clipped.
    """
    if not variables:
        return
    if hasattr(optimizer, "get_unscaled_gradients"):
        gradients = optimizer.get_unscaled_gradients(gradients)
    if CLIPS_BEFORE_SUM and is_distributed():
        given = [gradient for gradient in gradients if gradient is not None]
        parts = iter(_part_of_clipped_sum(optimizer, given))
        gradients = [None if gradient is None else next(parts) for gradient in gradients]
    optimizer.apply_gradients(zip(gradients, variables))


def _part_of_clipped_sum(optimizer, gradients: list) -> list:
    """Return, of the sum over all devices, clipped as the optimizer clips, one device's part."""
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    inner, scale = inner_of(optimizer), scale_loss(optimizer, 1.0)
    if inner.global_clipnorm:
        total, _ = tf.clip_by_global_norm(total, inner.global_clipnorm * scale)
    elif inner.clipnorm:
        total = [tf.clip_by_norm(each, inner.clipnorm * scale) for each in total]
    elif inner.clipvalue:
        most = inner.clipvalue * scale
        total = [tf.clip_by_value(each, -most, most) for each in total]
    return [each / context.num_replicas_in_sync for each in total]


def serialize_optimizers(rates) -> dict:
    """Return both optimizers as plain data, by the names of `compile`'s arguments.

    `rates` are pairs of an optimizer and the highest learning rate of our schedule, or None.
    """
    settings = dict.fromkeys(("optimizer", "discriminator_optimizer"))
    for name, (optimizer, peak) in zip(settings, rates):
        settings[name] = keras.saving.serialize_keras_object(inner_of(optimizer))
        if peak is not None:
            settings[name]["config"]["learning_rate"] = peak
    return settings

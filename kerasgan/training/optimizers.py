"""Optimizers as `SegmentationGAN` uses them."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError

__all__ = ["apply_gradients", "optimizer_from", "peak_rate", "scaled", "serialized"]


def optimizer_from(optimizer, precision: str):
    """Return an optimizer for a name, a Keras optimizer or "default"."""
    if isinstance(optimizer, str) and optimizer == "default":
        optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)
    optimizer = keras.optimizers.get(optimizer)
    if getattr(optimizer, "weight_decay", None):
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    if precision == "float16" and not hasattr(optimizer, "inner_optimizer"):
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def peak_rate(optimizer, schedule: str):
    """Return the highest learning rate of a schedule of ours; None where there is none."""
    if schedule == "constant":
        return None
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    if not isinstance(rate, tf.Variable):
        raise KerasganError(
            f"Argument 'schedule' must be 'constant' for an optimizer with a schedule of its own. "
            f"Received: {schedule!r}"
        )
    return float(rate.numpy())


def scaled(optimizer, loss):
    """Return the loss as the optimizer wants it differentiated."""
    scale = getattr(optimizer, "get_scaled_loss", None)
    return scale(loss) if scale else loss


def apply_gradients(optimizer, gradients, variables) -> None:
    """Move variables by gradients of a loss that was `scaled`."""
    if hasattr(optimizer, "get_unscaled_gradients"):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables))


def serialized(rates) -> dict:
    """Return both optimizers as plain data, by the names of `compile`'s arguments.

    Args:
        rates: pairs (optimizer, highest learning rate of a schedule of ours or None), the
            generator's first.
    """
    settings = dict.fromkeys(("optimizer", "discriminator_optimizer"))
    for name, (optimizer, peak) in zip(settings, rates):
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        settings[name] = keras.saving.serialize_keras_object(inner)
        if peak is not None:
            settings[name]["config"]["learning_rate"] = peak
    return settings

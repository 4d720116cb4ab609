"""Optimizers as `SegmentationGAN` uses them."""

from __future__ import annotations

import keras

from kerasgan.errors import KerasganError

__all__ = ["apply_gradients", "optimizers_from", "peak_rate", "scaled", "serialized"]


def optimizers_from(optimizer, discriminator_optimizer, precision: str) -> list:
    """Return both optimizers, each for a name, a Keras optimizer, "default" or None, which is that.

    Args:
        optimizer: the generator's.
        discriminator_optimizer: the discriminator's.
        precision: "float16" scales their losses.

    Raises:
        KerasganError: naming what is no optimizer, or one and the same for both.

    Example:
        >>> [type(each).__name__ for each in optimizers_from("adam", "sgd", "float32")]
        ['Adam', 'SGD']
    """
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
    if getattr(optimizer, "weight_decay", None):
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    if precision == "float16" and not hasattr(optimizer, "inner_optimizer"):
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def peak_rate(optimizer, schedule: str):
    """Return the highest learning rate of a schedule of ours; None where there is none."""
    if schedule == "constant":
        return None
    rate = getattr(optimizer, "inner_optimizer", optimizer).get_config()["learning_rate"]
    if isinstance(rate, dict):
        raise KerasganError(
            f"Argument 'schedule' must be 'constant' for an optimizer with a schedule of its own. "
            f"Received: {schedule!r}"
        )
    return float(rate)


def scaled(optimizer, loss):
    """Return the loss as the optimizer wants it differentiated."""
    for name in ("scale_loss", "get_scaled_loss"):  # of Keras 3, of Keras 2.14
        if hasattr(optimizer, name):
            return getattr(optimizer, name)(loss)
    return loss


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

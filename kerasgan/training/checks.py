"""Whether data and networks fit together."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.outputs import Reading, read_output, refuse_labels
from kerasgan.training.losses import check_weight
from kerasgan.training.replicas import several

__all__ = ["check_data", "check_generator", "check_pair", "check_settings", "check_xla"]

SCHEDULES = ("constant", "cosine")
NO_WEIGHTS = "Images cannot be weighted; weight the losses in compile(). Received: {}"


def check_generator(generator: keras.Model) -> Reading:
    """Return what a generator's output means, or raise if it cannot be trained with masks.

    Args:
        generator: functional `keras.Model`.

    Raises:
        KerasganError: if its channels are labels that may overlap, or decided already.
    """
    reading = read_output(generator)
    refuse_labels(generator, "training")
    if reading.hard:
        raise KerasganError(
            f"'{generator.name}' decides its mask by a threshold inside, through which no gradient "
            "flows. Train a network that ends before it"
        )
    return reading


def check_data(generator: keras.Model, x, y) -> None:
    """Raise unless what `fit` got has images and masks of the shapes the generator works with."""
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        if isinstance(spec, tuple) and len(spec) == 3:
            raise KerasganError(NO_WEIGHTS.format("a dataset of triples"))
        if not isinstance(spec, tuple) or len(spec) != 2:
            raise KerasganError(
                "Argument 'x' must be a dataset of (image, mask) pairs; are these samples "
                f"unlabelled? Received: {spec}"
            )
        shapes = [tuple(part.shape)[1:] for part in spec]
    elif hasattr(x, "shape") and hasattr(y, "shape"):
        shapes = [tuple(x.shape)[1:], tuple(y.shape)[1:]]
        _check_values("x", x, -1, 1)
        _check_values("y", y, 0, 1)
    else:
        return
    wanted = [generator.input_shape[1:], generator.output_shape[1:]]
    for what, came, want in zip(("images", "masks"), shapes, wanted):
        fits = len(came) == len(want) and all(
            a is None or b is None or a == b for a, b in zip(came, want)
        )
        if not fits:
            raise KerasganError(
                f"The generator '{generator.name}' works with {what} of shape {want} "
                f"(height, width, channels). Received {what} of shape {came}; use "
                "samples.batches(..., size=...) and classes to match"
            )


def _check_values(name, array, low, high):
    least, most = float(np.min(array)), float(np.max(array))
    if not low <= least <= most <= high:
        raise KerasganError(
            f"Argument '{name}' must hold numbers from {low} to {high}. Received: {least} to {most}"
        )


def check_settings(weights: dict, shares: dict, schedule: str) -> None:
    """Raise unless the numbers that `compile` got are in range, and the schedule is known.

    Args:
        weights: name -> number from 0 up.
        shares: name -> number in [0, 1).
        schedule: of `SCHEDULES`.
    """
    for name, value in weights.items():
        check_weight(name, value)
    for name, value in shares.items():
        check_weight(name, value, most=1)
    if schedule not in SCHEDULES:
        raise unknown_name("schedule", schedule, SCHEDULES)


def check_xla(jit_compile: bool | None, losses: dict) -> None:
    """Raise if XLA is to compile what it cannot.

    Args:
        jit_compile: whether it is to.
        losses: name -> weight.
    """
    if jit_compile and "boundary" in losses:
        raise KerasganError(
            "Argument 'jit_compile' must be False with the loss 'boundary': XLA has no distance "
            "transform. Received: True"
        )
    if jit_compile and several():
        raise KerasganError(
            "Argument 'jit_compile' must be False where several devices train together. "
            "Received: True"
        )


def check_pair(generator: keras.Model, discriminator: keras.Model) -> None:
    """Raise unless the discriminator judges what the generator reads and draws."""
    image, mask = generator.input_shape, generator.output_shape
    came = discriminator.input_shape
    if not isinstance(came, list) or len(came) != 2:
        raise KerasganError(
            "Argument 'discriminator' must take two inputs, image and mask. "
            f"Received: '{discriminator.name}' with input shape {came}"
        )
    if [tuple(x)[1:] for x in came] != [image[1:], mask[1:]]:
        raise KerasganError(
            f"The discriminator must take the generator's image {image[1:]} and mask {mask[1:]}. "
            f"Received: '{discriminator.name}' taking {came[0][1:]} and {came[1][1:]}; build both "
            "with the same size, channels and classes"
        )

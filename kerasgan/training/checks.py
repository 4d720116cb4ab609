"""Whether settings and networks fit together."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from kerasgan.errors import KerasganError, did_you_mean, unknown_name
from kerasgan.models.outputs import (
    WRAP,
    Reading,
    as_functional,
    is_functional,
    read_output,
    refuse_labels,
)
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, rescaled_input_range
from kerasgan.training.losses import check_weight
from kerasgan.training.replicas import is_distributed

__all__ = [
    "check_generator",
    "check_keras_arguments",
    "check_networks",
    "check_penalty",
    "check_scaling",
    "check_settings",
    "check_xla",
]

SCHEDULES = ("constant", "cosine")
KERAS = ("run_eagerly", "jit_compile", "steps_per_execution")
KERAS += ("loss", "loss_weights", "metrics", "weighted_metrics")  # if they are None
LIKE = {
    "mae": "l1",
    "mean_absolute_error": "l1",
    "dice": "dice",
    "dice_loss": "dice",
    "tversky": "tversky",
    "binary_focal_crossentropy": "focal",
    "categorical_focal_crossentropy": "focal",
}


def check_generator(generator: keras.Model) -> Reading:
    """Return what a generator's output means, or raise if it cannot be trained with masks.

    Args:
        generator: functional `keras.Model`.

    Raises:
        KerasganError: if its channels are labels that may overlap, or decided already.
    """
    if not is_functional(generator):
        as_functional(generator)
        raise KerasganError(
            f"'{generator.name}' ({type(generator).__name__}) is a subclassed model; {WRAP}"
        )
    reading = read_output(generator)
    refuse_labels(generator, "training")
    if reading.hard:
        raise KerasganError(
            f"'{generator.name}' decides its mask by a threshold inside, through which no gradient "
            "flows. Train a network that ends before it"
        )
    return reading


def check_scaling(generator: keras.Model) -> None:
    """Raise for a generator that begins by scaling images in another range than is fed."""
    found = rescaled_input_range(generator)
    if found not in (None, DEFAULT_PREPROCESS):
        scale = "127.5, 127.5" if found == "[0,255]" else "0.5, 0.5"
        raise KerasganError(
            f"The generator '{generator.name}' begins by scaling images in {found}, but trains and "
            "predicts on images in [-1, 1]. Leave that layer out, or set one before it: "
            f"keras.Model(image, generator(keras.layers.Rescaling({scale})(image))) with image = "
            f"keras.Input({tuple(generator.input_shape[1:])})"
        )


def check_keras_arguments(options: dict, own: Iterable[str]) -> None:
    """Raise for arguments of Keras' `compile` that would have no effect.

    Args:
        options: name -> value, of what `compile` got beside its own.
        own: the names of its own arguments.

    Raises:
        KerasganError: naming the argument that does what is meant.

    Example:
        >>> check_keras_arguments({"steps_per_execution": 4, "loss": None}, ["losses"])
    """
    for name, value in options.items():
        if name in ("loss", "loss_weights") and value is not None:
            known = getattr(value, "name", getattr(value, "__name__", value))
            like = LIKE.get(known, "cross_entropy") if isinstance(known, str) else "cross_entropy"
            raise KerasganError(
                f"Argument '{name}' of Keras is not used here. Losses are named with their "
                f"weights: losses={{'{like}': 1.0}}; a function of yours can stand in place of a "
                f"name. Received: {name}={value!r}"
            )
        if name in ("metrics", "weighted_metrics") and value:
            raise KerasganError(
                f"Argument '{name}' of Keras is not used here. 'jaccard' and 'dice' are logged "
                "always, and kerasgan.evaluate has further scores. Received: "
                f"{name}={value!r}"
            )
        if name not in KERAS:
            hint = did_you_mean(name, [*own, *KERAS], most=1)
            raise KerasganError(f"compile() has no argument '{name}'. {hint}".rstrip())


def check_settings(weights: dict, shares: dict, schedule: str) -> None:
    """Raise unless the numbers that `compile` got are in range, and the schedule is known.

    Args:
        weights: name -> number from 0 up.
        shares: name -> number in [0, 1).
        schedule: of `SCHEDULES`.
    """
    for name, value in weights.items():
        check_weight(name, value)
    warmup = weights.get("discriminator_warmup", 0)
    if warmup != int(warmup):
        raise KerasganError(
            f"Argument 'discriminator_warmup' must be a whole number of steps. Received: {warmup!r}"
        )
    for name, value in shares.items():
        check_weight(name, value, most=1)
    if schedule not in SCHEDULES:
        raise unknown_name("schedule", schedule, SCHEDULES)


def check_penalty(penalty) -> None:
    """Raise unless a penalty is none, or can be called with a network."""
    if penalty is not None and (not callable(penalty) or isinstance(penalty, type)):
        raise KerasganError(
            "Argument 'penalty' must be a function from the network that learns to a loss, such as "
            f"kerasgan.training.InvariancePenalty(region). Received: {penalty!r}"
        )


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
    if jit_compile and is_distributed():
        raise KerasganError(
            "Argument 'jit_compile' must be False where several devices train together. "
            "Received: True"
        )


def check_networks(generator: keras.Model, discriminator: keras.Model) -> None:
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

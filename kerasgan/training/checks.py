"""Whether settings and networks fit together."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.models.functional import WRAP, as_functional, check_one_input, is_functional
from kerasgan.models.outputs import Reading, read_output, refuse_labels
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, rescaled_input_range
from kerasgan.training.learner import PRECISIONS
from kerasgan.training.replicas import is_distributed
from kerasgan.validation import check_choice, check_number, check_whole_number, invalid

SCHEDULES = ("constant", "cosine")
KERAS: tuple[str, ...] = ("run_eagerly", "jit_compile", "steps_per_execution")
KERAS += ("loss", "loss_weights", "metrics", "weighted_metrics")  # if they are None
COUNTS = {
    **{"epochs": 0, "initial_epoch": 0, "batch_size": 1, "validation_batch_size": 1},
    **{"steps_per_epoch": 1, "validation_steps": 1, "steps": 1},
}
"""What counts something in `fit` and `evaluate` -> the least that it may be."""
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
    """Return what a generator's output means, or raise if it cannot be trained with masks."""
    if not is_functional(generator):
        as_functional(generator)
        raise KerasganError(
            f"'{generator.name}' ({type(generator).__name__}) is a subclassed model; {WRAP}"
        )
    check_one_input(generator, "generator")
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
    taken = rescaled_input_range(generator)
    if taken not in (None, DEFAULT_PREPROCESS):
        scale = "127.5, 127.5" if taken == "[0,255]" else "0.5, 0.5"
        raise KerasganError(
            f"The generator '{generator.name}' begins by scaling images in {taken}, but trains and "
            "predicts on images in [-1, 1]. Leave that layer out, or set one before it: "
            f"keras.Model(image, generator(keras.layers.Rescaling({scale})(image))) with image = "
            f"keras.Input({tuple(generator.input_shape[1:])})"
        )


def check_keras_arguments(options: dict, own: Iterable[str]) -> None:
    """Raise for arguments of Keras' `compile` that would have no effect."""
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


def check_counts(options: dict) -> None:
    """Raise for a number of Keras' `fit` or `evaluate` that Keras would take for its default."""
    for name, least in COUNTS.items():
        if options.get(name) is not None:
            check_whole_number(name, options[name], least)


def check_settings(settings: dict, penalty, penalty_weight) -> None:
    """Raise unless what `compile` was given beside losses and optimizers can be used."""
    for name in ("adversarial_weight", "feature_matching", "gradient_penalty", "r1"):
        check_number(name, settings[name], least=0)
    for name in ("label_smoothing", "warmup", "ema_momentum"):
        check_number(name, settings[name], least=0, below=1)
    check_whole_number("discriminator_warmup", settings["discriminator_warmup"], 0, unit="of steps")
    check_choice("schedule", settings["schedule"], SCHEDULES)
    check_choice("precision", settings["precision"], PRECISIONS)
    check_number("penalty_weight", penalty_weight, least=0)
    if penalty is not None and (not callable(penalty) or isinstance(penalty, type)):
        what = "a function from the network that is trained to a loss, such as"
        raise invalid("penalty", f"{what} kerasgan.training.InvariancePenalty(region)", penalty)


def check_xla(jit_compile: bool | None, losses: dict) -> None:
    """Raise if XLA is to compile what it cannot."""
    views = [name for name in ("mean_teacher", "pseudo_labels") if name in losses]
    if jit_compile and views:
        where = f"with the unlabelled loss '{views[0]}': XLA cannot draw its view of an image"
        raise invalid("jit_compile", f"False {where}", True)
    if jit_compile and "boundary" in losses:
        where = "with the loss 'boundary': XLA has no distance transform"
        raise invalid("jit_compile", f"False {where}", True)
    if jit_compile and is_distributed():
        raise invalid("jit_compile", "False where several devices train together", True)


def check_networks(generator: keras.Model, discriminator: keras.Model) -> None:
    """Raise unless the discriminator takes the generator's images and masks."""
    image, mask = generator.input_shape, generator.output_shape
    shapes = discriminator.input_shape
    if not isinstance(shapes, list) or len(shapes) != 2:
        raise KerasganError(
            "Argument 'discriminator' must take two inputs, image and mask. "
            f"Received: '{discriminator.name}' with input shape {shapes}"
        )
    if [tuple(x)[1:] for x in shapes] != [image[1:], mask[1:]]:
        raise KerasganError(
            f"The discriminator must take the generator's image {image[1:]} and mask {mask[1:]}. "
            f"Received: '{discriminator.name}' taking {shapes[0][1:]} and {shapes[1][1:]}; build "
            "both with the same size, channels and classes"
        )

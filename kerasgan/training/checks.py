"""Whether settings and networks fit together."""

from __future__ import annotations

import os
from collections.abc import Iterable

import keras

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.models.functional import WRAP, as_functional, check_one_input, is_functional
from kerasgan.models.outputs import Reading, read_output, refuse_labels
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, rescaled_input_range
from kerasgan.stack import layers_of
from kerasgan.training.learner import PRECISIONS
from kerasgan.training.optimizers import learning_rate_of
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
MOVING = (
    *("RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomCrop"),
    *("RandomHeight", "RandomWidth", "RandomShear", "RandomPerspective", "RandomElasticTransform"),
    *("RandAugment", "AugMix", "CutMix", "MixUp"),
)
"""Layers of either Keras that move, or mix, what images show."""
RATES = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
OF_TWO = ("adversarial_loss", "discriminator")
"""What begins the names of numbers that are good for one network and bad for the other."""
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
    if reading.activation != "tanh":  # pix2pix as published has three channels of one mask
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


def check_moving_layers(generator: keras.Model) -> None:
    """Raise for a layer that, in training, moves what an image shows and not its mask."""
    kinds = tuple(getattr(keras.layers, name) for name in MOVING if hasattr(keras.layers, name))
    for layer in layers_of(generator):
        if isinstance(layer, kinds):
            raise KerasganError(
                f"Layer '{layer.name}' ({type(layer).__name__}) of the generator "
                f"'{generator.name}' moves what the image shows, at random, in training, and not "
                "the mask that belongs to it. Leave it out, and move both: "
                "samples.batches(..., augment=True), or before batches are made"
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


def check_callbacks(callbacks: Iterable, logged: Iterable[str], gan) -> None:
    """Raise for callbacks that would do nothing, or the contrary of what is meant."""
    logged = list(logged)
    all_known = all(_adds_no_score(callback) for callback in callbacks)
    for callback in callbacks:
        known = hasattr(callback, "set_model") and not isinstance(callback, type)
        if not known or isinstance(callback, keras.callbacks.CallbackList):
            raise invalid("callbacks", "a list of Keras callbacks, each an object", callback)
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            _check_checkpoint(callback)
        if isinstance(monitor, str) and getattr(callback, "save_best_only", True):
            if monitor in logged:
                _check_direction(name, callback)
            elif all_known:
                raise KerasganError(
                    f"Argument 'monitor' of {name} must be a number that is logged: "
                    f"{', '.join(logged)}; those with 'val_' need validation_data. Received: "
                    f"{monitor!r}"
                )
        if isinstance(callback, RATES):
            if gan._settings["schedule"] != "constant":
                raise KerasganError(
                    f"Callback {name} has no effect, since the schedule "
                    f"'{gan._settings['schedule']}' sets the learning rates at each step. Leave it "
                    "out, or compile with schedule='constant'"
                )
            if learning_rate_of(gan.optimizer) is None:
                raise KerasganError(
                    f"Callback {name} cannot set the learning rate of an optimizer that has a "
                    "schedule of its own. Leave it out, or compile with a number"
                )


def _check_checkpoint(callback) -> None:
    """Raise if a whole GAN is to be written to a file."""
    path = os.fspath(callback.filepath)
    if path.endswith((".keras", ".h5", ".hdf5")) and not callback.save_weights_only:
        raise KerasganError(
            f"Callback {type(callback).__name__} cannot write '{path}', since a GAN is a folder. "
            "Use kerasgan.training.SaveBest(folder), or write weights alone: "
            "save_weights_only=True, filepath='name.weights.h5'"
        )


def _check_direction(name: str, callback) -> None:
    """Raise if a callback keeps the lowest score, or the highest loss, or cannot tell which.

    Keras tells by names: of `val_dice` Keras 2 keeps the lowest, and of `val_jaccard_loss`, with
    "acc" in it, the highest; Keras 3 raises behind the first epoch.
    """
    ending = callback.monitor.removeprefix("val_")
    score = ending in ("dice", "jaccard", "discriminator_accuracy")
    if not score and not ending.endswith("_loss"):
        return  # a number of a subclass
    highest = {"max": True, "min": False}.get(getattr(callback, "mode", None))
    if highest is None and getattr(callback, "monitor_op", None) is not None:
        highest = bool(callback.monitor_op(1.0, 0.0))
    if highest is None or (highest is not score and not ending.startswith(OF_TWO)):
        best, worst = ("highest", "lowest") if score else ("lowest", "highest")
        taken = "cannot tell" if highest is None else f"takes the {worst} for it"
        raise KerasganError(
            f"Callback {name} monitors '{callback.monitor}', of which the {best} is the best, and "
            f"{taken}: pass mode='{'max' if score else 'min'}'"
        )


def _adds_no_score(callback) -> bool:
    """Whether a callback is one of Keras, or of those here that log nothing."""
    return type(callback).__module__.startswith(("keras.", "kerasgan.training."))


def check_counts(options: dict) -> None:
    """Raise for a number of Keras' `fit` or `evaluate` that Keras would take for its default."""
    for name, least in COUNTS.items():
        if options.get(name) is not None:
            check_whole_number(name, options[name], least)


def check_split(split, x, y) -> None:
    """Raise for a part of the data for validation that Keras cannot take off."""
    if not split:
        return
    check_number("validation_split", split, least=0, below=1)
    if y is None:
        raise KerasganError(
            "Argument 'validation_split' goes with arrays x and y. Received: x of type "
            f"{type(x).__name__}; part the data before, as by samples.split(0.1), and pass "
            "validation_data"
        )
    if int(len(x) * (1 - split)) in (0, len(x)):
        raise KerasganError(
            "Argument 'validation_split' must leave an image or more on either side. Received: "
            f"{split:g} of {len(x)} images"
        )


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

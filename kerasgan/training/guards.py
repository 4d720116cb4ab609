"""Callbacks that `SegmentationGAN.fit` adds: learning rates, and numbers that are not finite."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, warn
from kerasgan.stack import path_of
from kerasgan.training import store
from kerasgan.training.inspection import EMPTY
from kerasgan.training.optimizers import learning_rate_of

PERFECT, PATIENCE = 0.99, 3  # accuracy of a discriminator, epochs
FALL = 0.1  # of validation Dice
TRACE_AFTER = 20  # steps; short runs are over before tracing pays


def cosine_factor(progress: float, warmup: float) -> float:
    """Return the learning rate as a fraction of its highest, at a fraction of all steps.

    It rises linearly during `warmup`, a fraction of all steps, then falls along half a cosine.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5; the warm-up as in Goyal et
    al. 2017 (arXiv 1706.02677).
    """
    if progress < warmup:
        return progress / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class CosineSchedule(keras.callbacks.Callback):
    """Set both networks' learning rates before every step; see `cosine_factor`."""

    def __init__(self, warmup: float):
        super().__init__()
        self.warmup = warmup
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rates of this step."""
        steps = self.params["steps"]
        if steps is None:
            raise KerasganError(
                "The schedule 'cosine' must know how many steps an epoch has; pass "
                "steps_per_epoch to fit, or a dataset of known length"
            )
        done = self._epoch * steps + batch + 1
        share = cosine_factor(min(1.0, done / (self.params["epochs"] * steps)), self.warmup)
        for optimizer, peak in self.model._rates:
            optimizer.learning_rate = peak * share


class NonFiniteGuard(keras.callbacks.Callback):
    """Stop where a number is not finite any more; warn when the discriminator is too strong.

    Looked at are the losses and the weights behind every step, and behind every epoch the
    validation's losses, the weights and the optimizers' variables. What the weights and optimizers
    were at the end of the last good epoch is kept in memory and put back before the error is
    raised. This is the first of the callbacks, so none of them writes or keeps a broken state.
    """

    def __init__(self):
        super().__init__()
        self.streak = 0
        self._steps, self._before = 0, -1
        self._warned = False
        self._good = None
        self._variables = {}
        self._epoch = 0

    def on_train_begin(self, logs=None):
        """Keep the weights there are; raise if one of them is not finite."""
        weights, others = _weights(self.model), _optimizers(self.model)
        self._variables = {**others, **weights}
        self._names = [n for n, weight in weights.items() if tf.as_dtype(weight.dtype).is_floating]
        local = self.model.distribute_strategy.experimental_local_results
        self._watched = [local(weights[name])[0] for name in self._names]
        self._traced, self._steps = tf.function(self._are_finite, autograph=False), 0
        self._remember(None)

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch."""
        self._epoch, self._before = epoch, self._steps

    def on_train_batch_end(self, batch, logs=None):
        """Raise if a loss of this step, or a weight behind it, is not finite."""
        broken = _broken_losses(logs)
        self._steps += 1
        if not broken:
            traced = self._steps > TRACE_AFTER
            finite = self._traced().numpy() if traced else self._are_finite_eagerly()
            broken = [self._names[index] for index in np.flatnonzero(~finite)]
        if broken:
            self._stop(broken, f"in step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        """Keep the state; count the epochs that the discriminator has won."""
        if self._steps == 0 and all(name.startswith("val_") for name in logs or {}):
            raise KerasganError(EMPTY)
        if 0 < self._before == self._steps:
            raise KerasganError(
                f"Epoch {epoch + 1} got no batch: the generator or dataset was read to its end "
                "before. Pass steps_per_epoch so that it lasts, or a keras.utils.Sequence or "
                "tf.data.Dataset, which can be read again"
            )
        broken = _broken_losses(logs)
        if broken:
            self._stop(broken, f"in the validation behind epoch {epoch + 1}")
        self._remember(epoch)
        share = (logs or {}).get("discriminator_accuracy", 0)
        self.streak = self.streak + 1 if share > PERFECT else 0
        if self.streak == PATIENCE and not self._warned:
            self._warned = True
            warn(
                f"The discriminator is too strong: in epochs {epoch - PATIENCE + 2} to "
                f"{epoch + 1} it classified {100 * share:.1f} % of all masks correctly, so the "
                "generator learns little from it. Lower discriminator_optimizer's learning rate, "
                "regularize it (spectral_norm, r1, label_smoothing), make it smaller, or compare "
                "with adversarial_weight=0"
            )

    def _are_finite_eagerly(self):
        return np.array([np.all(np.isfinite(x.numpy())) for x in self._watched], bool)

    def _are_finite(self):
        return tf.stack([tf.reduce_all(tf.math.is_finite(x)) for x in self._watched])

    def _remember(self, epoch):
        values = {name: variable.numpy() for name, variable in self._variables.items()}
        broken = [name for name, value in values.items() if not np.all(np.isfinite(value))]
        rates = [(one, learning_rate_of(one)) for one, _ in self.model._rates]
        broken += ["a learning rate" for _, rate in rates if not np.isfinite(rate or 0)]
        if broken and self._good is None:
            raise KerasganError(
                f"Training cannot begin: not finite: {_listed(broken)}. Load weights from before "
                "training broke down"
            )
        if broken:
            self._stop(broken, f"behind epoch {epoch + 1}")
        self._good = epoch, values, rates

    def _stop(self, broken: list[str], when: str):
        rate = float(tf.convert_to_tensor(self.model.optimizer.learning_rate))
        last, values, rates = self._good
        for name, value in values.items():
            self._variables[name].assign(value)
        for optimizer, value in rates:
            if value is not None:
                optimizer.learning_rate = value
        state = "this call of fit began with" if last is None else f"at the end of epoch {last + 1}"
        raise KerasganError(
            f"Training broke down: not finite {when}, at learning rate {rate:.3g}: "
            f"{_listed(broken)}. The weights and optimizers are those {state}. Lower the learning "
            "rate, or clip gradients (global_clipnorm of the optimizer)"
        )


class LabelGuard(keras.callbacks.Callback):
    """Warn where all masks show one label: before training if known then, or behind an epoch.

    `shown` says of each label whether a mask has shown it; it is written where masks are checked.
    """

    def __init__(self, classes: int):
        super().__init__()
        self.shown = np.zeros(max(2, classes), bool)
        self._classes, self._done = classes, False

    def on_train_begin(self, logs=None):
        """Warn if masks were looked at."""
        self._warn("")

    def on_epoch_end(self, epoch, logs=None):
        """Warn if none were before."""
        self._warn(f" fed in epoch {epoch + 1}")

    def _warn(self, when: str):
        labels = np.flatnonzero(self.shown)
        if self._done or not labels.size:
            return
        self._done = True
        if labels.size == 1:
            what = f"show class {labels[0]} alone"
            if self._classes == 1:
                what = "are foreground all over" if labels[0] else "are empty"
            warn(
                f"All masks{when} {what}: the network learns to draw that everywhere. Look at what "
                "it is fed. Such masks come of a threshold that no or every value passes, of 0 and "
                "1 divided by 255 as whole numbers, or of other files than the masks"
            )


class HarmGuard(keras.callbacks.Callback):
    """Warn where validation falls and stays low while the network learns from unlabelled images."""

    def __init__(self):
        super().__init__()
        self._best, self._best_epoch, self._below = -math.inf, 0, 0

    def on_epoch_end(self, epoch, logs=None):
        """Compare this epoch's validation with the best so far."""
        dice = (logs or {}).get("val_dice")
        if dice is None:
            return
        if dice > self._best:
            self._best, self._best_epoch = dice, epoch
        self._below = self._below + 1 if dice < self._best - FALL else 0
        if self._below == PATIENCE:
            warn(
                f"Validation Dice was {self._best:.3f} in epoch {self._best_epoch + 1}, and has "
                f"been more than {FALL} below that in the last {PATIENCE} epochs, {dice:.3f} in "
                "this one: the unlabelled images may do harm, as where they show something else "
                "than the labelled ones. Lower their weights in unlabelled_losses, or raise "
                "unlabelled_rampup, and compare with a run without them. The weights of the best "
                "epoch are kept by a callback: kg.training.SaveBest(folder)"
            )


@contextlib.contextmanager
def silence_end_of_data(options: dict):
    """Silence Keras 3's warning that data of unknown length have ended, if no steps were given."""
    given = {*options} & {"steps_per_epoch", "steps", "validation_steps"}
    with warnings.catch_warnings():
        if not any(options[name] for name in given):
            warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        yield


@contextlib.contextmanager
def silence_slow_callbacks():
    """Silence Keras' warning of slow callbacks.

    It goes by the first few steps, and behind the first a state is written, once a minute at most
    from then on, which says nothing about the user's own callbacks.
    """
    logger = tf.get_logger()
    logger.addFilter(_is_not_about_callbacks)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_about_callbacks)


def _is_not_about_callbacks(record) -> bool:
    return not str(record.msg).startswith("Callback method `on_train_batch_end` is slow")


def _weights(gan) -> dict:
    """The networks' weights, by a name for messages."""
    roles = {
        "generator": gan.generator,
        "trained copy of the generator": gan._trained_generator,
        "discriminator": gan.discriminator,
        "trained copy of the discriminator": gan._trained_discriminator,
    }
    if gan._unlabelled is not None:
        critics = gan._unlabelled.critics
        roles.update({f"critic of '{name}'": critic for name, critic in critics.items()})
    weights, seen = {}, set()
    for role, network in roles.items():
        for index, weight in enumerate(network.weights if network is not None else ()):
            if id(weight) not in seen:
                seen.add(id(weight))
                name = f"weight '{path_of(weight)}' of the {role}"
                weights[name if name not in weights else f"{name} (number {index})"] = weight
    return weights


def _optimizers(gan) -> dict:
    """The optimizers' variables, likewise."""
    return {
        f"'{path_of(variable)}' ({key}) of the optimizers": variable
        for key, variable in store.optimizer_variables(gan).items()
        if not key.startswith(("learner/", "critic/"))
    }


def _broken_losses(logs) -> list[str]:
    """The losses that are not finite; their sum only where no part of it is among them."""
    losses = {name: value for name, value in (logs or {}).items() if name.endswith("_loss")}
    broken = [name for name, value in losses.items() if not np.isfinite(float(value))]
    parts = [name for name in broken if not name.endswith("generator_loss")]
    return [f"'{name}'" for name in parts or broken]


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

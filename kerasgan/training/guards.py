"""What `SegmentationGAN.fit` does beside the steps: the learning rate's course, and alarms."""

from __future__ import annotations

import math
import warnings

import keras
import numpy as np

from kerasgan.errors import KerasganError, KerasganWarning

__all__ = ["Alarms", "Cosine", "cosine_share"]

WON, PATIENCE = 0.99, 3


def cosine_share(progress: float, warmup: float) -> float:
    """Return the share of the highest learning rate at a point of training.

    Args:
        progress: share of all steps that are done, in [0, 1].
        warmup: share of all steps in which the rate rises from 0, linearly, in [0, 1).

    Returns:
        From 0 to 1 during the warm-up, then down to 0 along half a cosine.

    Example:
        >>> [round(cosine_share(x, 0.2), 2) for x in (0.1, 0.2, 0.6, 1.0)]
        [0.5, 1.0, 0.5, 0.0]

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5; the warm-up as in Goyal et
    al. 2017 (arXiv 1706.02677).
    """
    if progress < warmup:
        return progress / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class Cosine(keras.callbacks.Callback):
    """Set both networks' learning rates before every step; see `cosine_share`.

    Args:
        warmup: share of all steps in which the rates rise.

    Raises:
        KerasganError: if it is not known how many steps an epoch has.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> gan.compile(schedule="cosine", warmup=0.1)  # fit then adds this callback
    """

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
        share = cosine_share(min(1.0, done / (self.params["epochs"] * steps)), self.warmup)
        for optimizer, peak in self.model._rates:
            optimizer.learning_rate = peak * share


class Alarms(keras.callbacks.Callback):
    """Stop when a loss is not finite any more; warn when the discriminator has won outright.

    The weights at the end of the last good epoch are kept in memory and put back before the error
    is raised.

    Example:
        >>> Alarms().streak
        0
    """

    def __init__(self):
        super().__init__()
        self.streak = 0
        self._warned = False
        self._good = None
        self._epoch = 0

    def on_train_begin(self, logs=None):
        """Keep the weights there are."""
        self._keep(None)

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Raise if a loss of this step is NaN or infinite."""
        broken = [n for n, v in (logs or {}).items() if n.endswith("_loss") and not _finite(v)]
        if not broken:
            return
        rate = float(self.model.optimizer.learning_rate)
        kept, weights = self._good
        for network, values in zip(self.model._networks(), weights):
            network.set_weights(values)
        state = "this call of fit began with" if kept is None else f"at the end of epoch {kept + 1}"
        raise KerasganError(
            f"Training broke down: '{broken[0]}' is not finite in step {batch + 1} of epoch "
            f"{self._epoch + 1}, at learning rate {rate:.3g}. The weights are those {state}. Lower "
            "the learning rate, clip gradients (global_clipnorm of the optimizer), or look for "
            "images or masks that are not finite"
        )

    def on_epoch_end(self, epoch, logs=None):
        """Keep the weights; count the epochs that the discriminator has won."""
        self._keep(epoch)
        share = (logs or {}).get("discriminator_accuracy", 0)
        self.streak = self.streak + 1 if share > WON else 0
        if self.streak == PATIENCE and not self._warned:
            self._warned = True
            warnings.warn(
                f"The discriminator has won outright: in epochs {epoch - PATIENCE + 2} to "
                f"{epoch + 1} it told {100 * share:.1f} % of all masks right, so the generator "
                "learns little from it. Lower discriminator_optimizer's learning rate, steady it "
                "(spectral_norm, r1, label_smoothing), make it smaller, or compare with "
                "adversarial_weight=0",
                KerasganWarning,
                stacklevel=2,
            )

    def _keep(self, epoch):
        self._good = epoch, [network.get_weights() for network in self.model._networks()]


def _finite(value) -> bool:
    return bool(np.isfinite(float(value)))

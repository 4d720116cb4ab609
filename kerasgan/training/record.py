"""What `fit` was given and did: what a later run is compared with, and what is reported."""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan._version import __version__
from kerasgan.errors import KerasganError
from kerasgan.storage import architecture_key, content_key

__all__ = ["Record", "data_of", "differences", "settings_of"]

ARRAYS = (np.ndarray, tf.Tensor)
STEPS = ("steps_per_epoch", "validation_steps", "validation_split", "validation_freq")


def data_of(x, y=None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Say what `fit` trains on, as far as that can be known without reading ahead.

    Args:
        x: what `fit` got; of `samples.batches` and of arrays the content is known, of other
            datasets only their shapes and their length.
        y: what `fit` got.
        options: the further arguments of `fit`.

    Returns:
        Facts by name, as JSON gives them back.

    Example:
        >>> images, masks = np.zeros((4, 32, 32, 3)), np.zeros((4, 32, 32, 1))
        >>> facts = data_of(images, masks, {"batch_size": 2})
        >>> facts["images"][:3], facts["size"], facts["batch_size"]
        ('4, ', [32, 32], 2)
    """
    options = options or {}
    if hasattr(x, "origin"):
        facts = dict(x.origin)
    elif isinstance(x, ARRAYS) and isinstance(y, ARRAYS):
        parts = {"images": x, "masks": y}
        facts = {name: f"{len(part)}, {content_key(part)}" for name, part in parts.items()}
        facts["size"] = [int(side) for side in x.shape[1:3]]
        facts["batch_size"] = options.get("batch_size") or 32
        facts["shuffle"] = options.get("shuffle", True)
    elif isinstance(x, tf.data.Dataset):
        facts = {"data": f"dataset of {x.element_spec}", "batches": int(x.cardinality())}
    else:
        facts = {"data": type(x).__name__}
    facts.update((name, options[name]) for name in STEPS if options.get(name) is not None)
    return _plain(facts)


def settings_of(gan) -> dict[str, Any]:
    """Say how a compiled GAN trains: networks, losses, optimizers, penalty.

    Args:
        gan: a `SegmentationGAN`.

    Returns:
        Facts by name, as JSON gives them back.

    Example:
        >>> import kerasgan as kg
        >>> settings_of(kg.recipes.build("pix2pix", size=32, filters=2))["schedule"]
        'constant'
    """
    networks = {"generator": gan.generator, "discriminator": gan.discriminator}
    described = {
        name: f"{network.count_params():,} parameters, {architecture_key(network)}"
        for name, network in networks.items()
        if network is not None
    }
    found = _plain({**gan._as_compiled, **described})
    for name in ("optimizer", "discriminator_optimizer"):
        if found[name]:
            found[name]["config"].pop("name", None)  # which Keras 3 counts up
    return found


def differences(then: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """Name what two runs do not agree on, with the old value and the new.

    Args:
        then: facts by name, tables of facts within.
        now: likewise.
        above: what the names stand in.

    Returns:
        A phrase for each difference.

    Example:
        >>> differences({"batch_size": 8, "seed": 0}, {"batch_size": 4, "seed": 0})
        ['batch_size (8, now 4)']
    """
    found = []
    for name in sorted({*then, *now}):
        one, other = (facts.get(name, "not given") for facts in (then, now))
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{above}{name}.")
        elif json.dumps(one) != json.dumps(other):
            found.append(f"{above}{name} ({_short(one)}, now {_short(other)})")
    return found


class Record(keras.callbacks.Callback):
    """Keep in `gan.fits` what this call of `fit` was given and has done so far.

    Args:
        x: what `fit` got.
        y: what `fit` got.
        options: the further arguments of `fit`.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> x, y = np.zeros((2, 32, 32, 3), "float32"), np.ones((2, 32, 32, 1), "float32")
        >>> history = gan.fit(x, y, verbose=0)
        >>> gan.fits[-1]["epochs"]
        1
    """

    def __init__(self, x, y, options: Mapping[str, Any]):
        super().__init__()
        checked = options.get("validation_data")
        if checked is not None:
            pair = checked[:2] if isinstance(checked, (tuple, list)) else [checked]
            size = options.get("validation_batch_size") or options.get("batch_size")
            checked = data_of(*pair, options={"batch_size": size, "shuffle": False})
        self.entry = {
            "data": data_of(x, y, options),
            "validation": checked,
            "epochs": 0,
            "kept_epoch": 0,
        }
        self._began, self._before, self._noted = 0.0, 0.0, False

    def go_on(self, fits: list[dict], epochs: int) -> None:
        """Go on with the entry of the run that is resumed.

        Args:
            fits: those of the state; the last is of the run, if it kept one.
            epochs: how many epochs it had done.
        """
        before = {"epochs": epochs, "kept_epoch": epochs, "seconds": None}
        last = fits[-1] if fits else {}
        if last.get("data") == self.entry["data"] and isinstance(last.get("epochs"), int):
            before = fits.pop()
        self.entry = {**self.entry, **before}
        fits.append(self.entry)

    def on_train_begin(self, logs=None):
        """Note the time."""
        before = self.entry.get("seconds", 0.0)
        self._began = time.monotonic()
        self._before = before if isinstance(before, (int, float)) else None

    def on_train_batch_end(self, batch, logs=None):
        """Count this fit among those that the weights have seen, and note how it is done."""
        if self._before is not None:
            self.entry["seconds"] = round(self._before + time.monotonic() - self._began, 1)
        if self._noted:
            return
        self._noted = True
        if not any(entry is self.entry for entry in self.model.fits):
            self.model.fits.append(self.entry)
        strategy = self.model.distribute_strategy
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        self.entry.update(
            asked_epochs=self.params["epochs"],
            precision=self.model._settings["precision"],
            seed=(self.model.recipe or {}).get("seed"),
            devices=f"{strategy.num_replicas_in_sync} {kind}",
            versions={
                "kerasgan": __version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "python": platform.python_version(),
            },
        )

    def on_epoch_end(self, epoch, logs=None):
        """Note the epoch."""
        self.entry.update(
            epochs=self.entry["epochs"] + 1,
            kept_epoch=epoch + 1,
            date=datetime.date.today().isoformat(),
        )

    def close(self, callbacks) -> None:
        """Note which epoch's weights a callback has put back.

        Args:
            callbacks: of `fit`.
        """
        for callback in callbacks:
            best = getattr(callback, "best_weights", None)
            if best is None or not getattr(callback, "restore_best_weights", False):
                continue
            if all(map(np.array_equal, best, self.model.get_weights())):
                self.entry["kept_epoch"] = callback.best_epoch + 1


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(facts, default=_named))


def _named(value: Any) -> Any:
    """A number of NumPy's as one; anything else by its name, and its content if that is known."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Mapping):  # as Keras wraps it
        return dict(value)
    name = getattr(value, "__qualname__", type(value).__qualname__).rpartition("<locals>.")[2]
    try:
        return f"{name}, {content_key(value)}"
    except KerasganError:
        return name


def _short(value: Any) -> str:
    text = json.dumps(value).strip('"')
    return text if len(text) <= 80 else f"{text[:77]}..."

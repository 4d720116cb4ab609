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

from kerasgan.errors import KerasganError, warn
from kerasgan.storage import architecture_key, content_key, package_versions
from kerasgan.training.feed import ARRAYS

STEPS = ("steps_per_epoch", "validation_steps", "validation_split", "validation_freq")


def data_of(x, y=None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe what `fit` trains on, by name, as far as that is known without reading ahead.

    Of `samples.batches` and arrays that is the content, of other datasets shapes and length.
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
    return _to_json(facts)


def settings_of(gan) -> dict[str, Any]:
    """Describe how a compiled GAN trains: networks, losses, optimizers, penalty, by name."""
    networks = {"generator": gan.generator, "discriminator": gan.discriminator}
    described = {
        name: f"{network.count_params():,} parameters, {architecture_key(network)}"
        for name, network in networks.items()
        if network is not None
    }
    for name, learns in {"frozen": gan._learns, "frozen at compile": gan._learned}.items():
        frozen = [index for index, each in enumerate(learns.values()) if not each]
        described[name] = f"{len(frozen)} layers, {content_key(frozen)}"
    facts = _to_json({**gan._as_compiled, **described})
    for name in ("optimizer", "discriminator_optimizer"):
        if facts[name]:
            facts[name]["config"].pop("name", None)  # which Keras 3 counts up
    return facts


def differences(then: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """List what two runs do not agree on, as phrases with the old value and the new."""
    changes = []
    for name in sorted({*then, *now}):
        one, other = (facts.get(name, "not given") for facts in (then, now))
        if not (name in then and name in now) and not (then.get(name) or now.get(name)):
            continue  # a setting that came later, and is off
        if isinstance(one, dict) and isinstance(other, dict):
            changes += differences(one, other, f"{above}{name}.")
        elif json.dumps(one) != json.dumps(other):
            changes.append(f"{above}{name} ({_short(one)}, now {_short(other)})")
    return changes


class Record(keras.callbacks.Callback):
    """Note in `gan.fits` what this call of `fit` was given and has done so far."""

    def __init__(self, x, y, options: Mapping[str, Any], unlabelled=None):
        super().__init__()
        validation = options.get("validation_data")
        if validation is not None:
            pair = validation[:2] if isinstance(validation, (tuple, list)) else [validation]
            size = options.get("validation_batch_size") or options.get("batch_size")
            validation = data_of(*pair, options={"batch_size": size, "shuffle": False})
        self.entry: dict[str, Any] = {"data": data_of(x, y, options), "validation": validation}
        if unlabelled is not None:
            self.entry["unlabelled"] = _described_images(unlabelled)
        trained, checked, free = (
            ", ".join(f"{name}={facts[name]!r}" for name in ("mode", "scale") if name in facts)
            for facts in (self.entry["data"], validation or {}, self.entry.get("unlabelled", {}))
        )
        if trained and checked and trained != checked:
            warn(
                f"Validation images are given with {checked}, training images with {trained}: "
                "'val_' scores are of objects of another size or shape. Pass the same mode and "
                "scale to both batches"
            )
        if trained and free and trained != free:
            warn(
                f"Unlabelled images are given with {free}, labelled ones with {trained}: their "
                "objects have another size or shape. Pass the same mode and scale to both batches"
            )
        self.entry.update(epochs=0, kept_epoch=0)
        self._before: float | None = 0.0
        self._began, self._noted = 0.0, False

    def go_on(self, fits: list[dict], epochs: int) -> None:
        """Go on with the entry of the run that is resumed."""
        before: dict[str, Any] = {"epochs": epochs, "kept_epoch": epochs, "seconds": None}
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
            versions={**package_versions(), "python": platform.python_version()},
        )

    def on_epoch_end(self, epoch, logs=None):
        """Note the epoch."""
        self.entry.update(
            epochs=self.entry["epochs"] + 1,
            kept_epoch=epoch + 1,
            date=datetime.date.today().isoformat(),
        )

    def close(self, callbacks) -> None:
        """Note which epoch's weights a callback has put back."""
        for callback in callbacks:
            best = getattr(callback, "best_weights", None)
            if best is None or not getattr(callback, "restore_best_weights", False):
                continue
            if all(map(np.array_equal, best, self.model.get_weights())):
                self.entry["kept_epoch"] = callback.best_epoch + 1


def _described_images(images) -> dict[str, Any]:
    if isinstance(images, tf.data.Dataset):
        return data_of(images)
    images = np.asarray(images)
    return {"images": f"{len(images)}, {content_key(images)}"}


def _to_json(facts: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(facts, default=_describe))


def _describe(value: Any) -> Any:
    """Describe what JSON does not know by its name, and its content if that is known."""
    if hasattr(value, "item"):  # a number of NumPy's
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

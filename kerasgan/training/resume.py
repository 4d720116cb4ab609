"""How a GAN is kept in a folder, and how a run goes on after it was stopped."""

from __future__ import annotations

import json
import pathlib
import shutil
import zipfile

import keras
import numpy as np

from kerasgan.addons import addons
from kerasgan.errors import KerasganError

__all__ = ["KeepState", "load_model", "save_model"]

SETTINGS = "kerasgan.json"
OPTIMIZERS = "optimizers.npz"
FORMAT = 1
KEPT_ATTRIBUTES = ("best", "wait", "stopped_epoch", "best_epoch", "cooldown_counter")


# --- One model in one folder ---


def save_model(gan, folder, overwrite: bool = True) -> None:
    """Write a `SegmentationGAN` to a folder; see `SegmentationGAN.save`."""
    folder = pathlib.Path(folder)
    if folder.suffix in (".keras", ".h5", ".tf"):
        raise KerasganError(
            f"Argument 'filepath' must name a folder, since a GAN is several files. Received: "
            f"{folder}; leave out the ending '{folder.suffix}'"
        )
    if folder.exists():
        if not (folder / SETTINGS).is_file() and (folder.is_file() or any(folder.iterdir())):
            raise KerasganError(
                f"'{folder}' exists and is not a model saved by kerasgan; choose another folder"
            )
        if not overwrite:
            raise KerasganError(
                f"'{folder}' exists; pass overwrite=True to replace it, or choose another folder"
            )
    with _exchange(folder) as fresh:
        _write(gan, fresh)


def load_model(kind, folder):
    """Load a `SegmentationGAN` from a folder; see `SegmentationGAN.load`."""
    folder = pathlib.Path(folder)
    settings = _read_settings(folder)
    networks = [_load_network(folder / f"{name}.keras") for name in settings["networks"]]
    gan = kind(*networks)
    gan.recipe = settings["recipe"]
    if settings["compile"] is not None:
        compiled = dict(settings["compile"])
        for name in ("optimizer", "discriminator_optimizer"):
            if compiled[name] is not None:
                compiled[name] = _load_optimizer(compiled[name], folder / SETTINGS)
        gan.compile(**compiled)
        _restore_optimizers(gan, folder)
    return gan


def _write(gan, folder: pathlib.Path) -> None:
    names = ["generator"] if gan.discriminator is None else ["generator", "discriminator"]
    for name in names:
        getattr(gan, name).save(folder / f"{name}.keras")
    if gan.compiled:
        variables = {key: value.numpy() for key, value in _optimizer_variables(gan).items()}
        np.savez(folder / OPTIMIZERS, **variables)
    settings = {
        "format": FORMAT,
        "networks": names,
        "recipe": gan.recipe,
        "compile": gan.compile_settings(),
    }
    text = json.dumps(settings, indent=2, default=_plain)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _plain(value):
    """Turn NumPy numbers, which optimizers keep, into those that JSON knows."""
    return value.item() if hasattr(value, "item") else str(value)


def _read_settings(folder: pathlib.Path) -> dict:
    path = folder / SETTINGS
    if not path.is_file():
        raise KerasganError(
            f"'{folder}' does not hold a model saved by kerasgan: '{SETTINGS}' is missing"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] > FORMAT:
            raise KerasganError(f"'{path}' was written by a newer kerasgan; upgrade to load it")
        if settings["networks"] not in (["generator"], ["generator", "discriminator"]):
            raise KeyError("networks")
        return {key: settings[key] for key in ("networks", "recipe", "compile")}
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise KerasganError(f"'{path}' is broken: {error!r}") from error


def _load_network(path: pathlib.Path) -> keras.Model:
    if not path.is_file():
        raise KerasganError(f"'{path}' is missing; was the model copied whole?")
    try:
        with zipfile.ZipFile(path) as archive:
            if b"Addons>" in archive.read("config.json"):
                addons()
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise KerasganError(f"'{path}' cannot be loaded: {error}") from error


def _load_optimizer(config, path: pathlib.Path):
    """Build an optimizer from plain data, which may name classes of Keras only."""
    todo = [config]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            module = part.get("module")
            if "class_name" in part and not str(module).startswith("keras.optimizers"):
                raise KerasganError(
                    f"'{path}' asks for {part['class_name']!r} of {module!r}; only Keras' own "
                    "optimizers are loaded. Load the networks and compile with yours"
                )
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    try:
        return keras.saving.deserialize_keras_object(config)
    except (ValueError, TypeError, KeyError) as error:
        raise KerasganError(f"'{path}' is broken: {error}") from error


def _optimizer_variables(gan) -> dict:
    """The optimizers' variables, and the weights of the network that learns, if it is another."""
    pairs = [("generator", gan.optimizer, gan._learner)]
    if gan.discriminator_optimizer is not None:
        pairs.append(("discriminator", gan.discriminator_optimizer, gan.discriminator))
    found = {}
    for name, optimizer, network in pairs:
        optimizer.build(network.trainable_variables)
        for number, variable in enumerate(optimizer.variables):
            found[f"{name}_{number}"] = variable
    if gan._learner is not gan.generator:
        found.update((f"learner_{n}", weight) for n, weight in enumerate(gan._learner.weights))
    return found


def _restore_optimizers(gan, folder: pathlib.Path) -> None:
    path = folder / OPTIMIZERS
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise KerasganError(f"'{path}' cannot be loaded: {error}") from error
    variables = _optimizer_variables(gan)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: value.shape for name, value in values.items()}:
        raise KerasganError(
            f"'{path}' belongs to another network or optimizer; start in another folder"
        )
    for name, variable in variables.items():
        variable.assign(values[name])


class _exchange:
    """Fill a new folder beside `folder`, then put it in its place; on an error keep the old one."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.fresh = folder.with_name(folder.name + ".new")
        self.old = folder.with_name(folder.name + ".old")

    def __enter__(self) -> pathlib.Path:
        try:
            shutil.rmtree(self.fresh, ignore_errors=True)
            self.fresh.mkdir(parents=True)
        except OSError as error:
            raise KerasganError(f"'{self.folder}' cannot be written: {error}") from error
        return self.fresh

    def __exit__(self, kind, error, trace):
        if kind is not None:
            shutil.rmtree(self.fresh, ignore_errors=True)
            if issubclass(kind, OSError):
                raise KerasganError(f"'{self.folder}' cannot be written: {error}") from error
            return
        shutil.rmtree(self.old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(self.old)
        self.fresh.rename(self.folder)
        shutil.rmtree(self.old, ignore_errors=True)


# --- A run that can go on ---


class KeepState(keras.callbacks.Callback):
    """Write the state of a run at the end of every epoch; `SegmentationGAN.fit` uses it.

    Args:
        folder: where the states are kept, `epoch_0001` and so on, the last two of them.
        others: the run's other callbacks; what they call best so far is kept too.

    Example:
        >>> import tempfile
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     KeepState(folder, []).restore(gan, first_epoch=0)
        0
    """

    def __init__(self, folder, others):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.others = others
        self.epochs: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._kept: list[dict] = []
        self._best: dict[int, list[np.ndarray]] = {}

    def restore(self, gan, first_epoch: int) -> int:
        """Put the last state into the networks; return the epoch to go on with."""
        last = self._last()
        if last is None:
            return first_epoch
        settings = _read_settings(last)
        then, now = settings["recipe"] or {}, gan.recipe or {}
        for name in sorted((then.keys() & now.keys()) - {"epochs"}):
            if then[name] != now[name]:
                raise KerasganError(
                    f"Argument 'resume': the run in '{self.folder}' has the recipe's '{name}' at "
                    f"{then[name]!r}, this one at {now[name]!r}; start in another folder"
                )
        for name in settings["networks"]:
            network = getattr(gan, name)
            try:
                if network is None:
                    raise ValueError(f"this run has no {name}")
                network.load_weights(last / f"{name}.keras")
            except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
                raise KerasganError(
                    f"Argument 'resume': '{last}' holds another {name} than this run's, or is "
                    f"broken; start in another folder ({error})"
                ) from error
        _restore_optimizers(gan, last)
        state = json.loads((last / "run.json").read_text(encoding="utf-8"))
        self.epochs, self.history = state["epochs"], state["history"]
        self._kept = state["callbacks"]
        with np.load(last / "best.npz", allow_pickle=False) as stored:
            for name in sorted(stored, key=lambda name: [int(x) for x in name.split("_")]):
                self._best.setdefault(int(name.split("_")[0]), []).append(stored[name])
        return state["next_epoch"]

    def on_train_begin(self, logs=None):
        """Give the other callbacks back what they knew; they have just been reset."""
        if len(self._kept) != len(self.others):
            return
        for number, (callback, kept) in enumerate(zip(self.others, self._kept)):
            if type(callback).__name__ != kept.pop("class"):
                continue
            vars(callback).update(kept)
            if number in self._best:
                callback.best_weights = self._best[number]

    def on_epoch_end(self, epoch, logs=None):
        """Write the state behind epoch number `epoch`."""
        self.epochs.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        kept, best = [], {}
        for number, callback in enumerate(self.others):
            known = {k: _number(v) for k, v in vars(callback).items() if k in KEPT_ATTRIBUTES}
            kept.append({"class": type(callback).__name__, **known})
            for place, value in enumerate(getattr(callback, "best_weights", None) or []):
                best[f"{number}_{place}"] = value
        state = {
            "next_epoch": epoch + 1,
            "epochs": self.epochs,
            "history": self.history,
            "callbacks": kept,
        }
        with _exchange(self.folder / f"epoch_{epoch + 1:04d}") as fresh:
            _write(self.model, fresh)
            np.savez(fresh / "best.npz", **best)
            (fresh / "run.json").write_text(json.dumps(state), encoding="utf-8")
        for old in self._states()[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    def _states(self) -> list[pathlib.Path]:
        found = [p.parent for p in self.folder.glob("epoch_*/run.json")]
        return sorted(p for p in found if p.name[6:].isdigit())

    def _last(self) -> pathlib.Path | None:
        if self.folder.is_file():
            raise KerasganError(f"Argument 'resume' must name a folder. Received: {self.folder}")
        states = self._states()
        return states[-1] if states else None


def _number(value):
    return None if value is None else float(value)

"""How a GAN is kept in a folder."""

from __future__ import annotations

import json
import pathlib
import warnings
import zipfile

import keras
import numpy as np
import tensorflow as tf

from kerasgan.data.folders import some
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.models.archives import LIMIT, entries_of, readable
from kerasgan.models.preprocess import NAMES, state, stated
from kerasgan.models.safe import NODES, load_network
from kerasgan.storage import standing
from kerasgan.training.checkpoint import free_space
from kerasgan.training.losses import SEGMENTATION
from kerasgan.training.workers import writing

__all__ = [
    "load_model",
    "optimizer_variables",
    "rates_of",
    "read_arrays",
    "read_settings",
    "restore_optimizers",
    "save_model",
    "write",
]

SETTINGS = "kerasgan.json"
NOTES = "run.json"  # of a state; see kerasgan.training.resume
LEFT_BEHIND = (".DS_Store", "Thumbs.db", "desktop.ini")  # by operating systems
FILES = ("generator.keras", "discriminator.keras", "optimizers.npz", SETTINGS)
KEPT = ("networks", "recipe", "preprocess", "fits", "compile")
OPTIMIZERS = "optimizers.npz"
FORMAT = 1


def save_model(gan, folder, overwrite: bool = True) -> None:
    """Write a `SegmentationGAN` to a folder; see `SegmentationGAN.save`."""
    folder = pathlib.Path(folder)
    if folder.suffix in (".keras", ".h5", ".tf"):
        raise KerasganError(
            f"Argument 'filepath' must name a folder, since a GAN is several files. Received: "
            f"{folder}; leave out the ending '{folder.suffix}'"
        )
    _check_ours(folder)
    if folder.exists() and not overwrite:
        raise KerasganError(
            f"'{folder}' exists; pass overwrite=True to replace it, or choose another folder"
        )
    try:
        with writing(gan.distribute_strategy, folder, _check_ours) as fresh:
            write(gan, fresh)
    except OSError as error:
        raise KerasganError(
            f"'{folder}' cannot be written ({free_space(folder)}): {error}"
        ) from error


def _check_ours(folder: pathlib.Path) -> None:
    """Raise unless a folder is new, empty, or holds a saved model and nothing else."""
    if not folder.exists():
        return
    found = [] if folder.is_file() else sorted(path.name for path in folder.iterdir())
    found = [name for name in found if name not in LEFT_BEHIND and not name.startswith("._")]
    if NOTES in found:
        raise KerasganError(
            f"'{folder}' holds the state of a run, which fit(resume=...) keeps; choose another "
            "folder"
        )
    if folder.is_file() or (found and SETTINGS not in found):
        raise KerasganError(
            f"'{folder}' exists and is not a model saved by kerasgan; choose another folder"
        )
    others = [name for name in found if name not in FILES]
    if others:
        raise KerasganError(
            f"'{folder}' holds a saved model and other files, which would be lost: "
            f"{some(others, 'others')}. Move them, or choose another folder"
        )


def load_model(kind, folder, custom_objects=None):
    """Load a `SegmentationGAN` from a folder; see `SegmentationGAN.load`."""
    folder = standing(pathlib.Path(folder))
    settings = read_settings(folder)
    paths = [folder / f"{name}.keras" for name in settings["networks"]]
    losses = keras.losses.Loss  # objects, where networks are made of classes
    parts = {k: v for k, v in (custom_objects or {}).items() if not isinstance(v, losses)}
    gan = kind(*(_load_network(path, parts) for path in paths))
    gan.recipe = settings["recipe"]
    if settings["preprocess"] is not None:
        state(gan.generator, settings["preprocess"])
    gan.fits.extend(settings["fits"])
    if settings["compile"] is not None:
        with readable(folder / SETTINGS):
            compiled = dict(settings["compile"])
            for name in ("optimizer", "discriminator_optimizer"):
                if compiled[name] is not None:
                    compiled[name] = _load_optimizer(compiled[name], folder / SETTINGS)
            compiled["losses"], missing = _with_own(compiled["losses"], custom_objects or {})
            if missing:
                warnings.warn(
                    f"'{folder}' was trained with {', '.join(map(repr, missing))}, a loss of one's "
                    "own. The model predicts; to train it on, load it with "
                    f"custom_objects={{{missing[0]!r}: ...}}, or compile it anew",
                    KerasganWarning,
                    stacklevel=3,
                )
                return gan
            gan.compile(**compiled)
        restore_optimizers(gan, folder)
    return gan


def _with_own(losses: dict, own: dict) -> tuple[dict, list]:
    """Put functions in the place of the names that are not ours; return the names without one."""
    missing = [name for name in losses if name not in SEGMENTATION and name not in own]
    found = {own.get(name, name): weight for name, weight in losses.items()}
    return found, missing


def write(gan, folder: pathlib.Path) -> None:
    """Write a GAN's files into an empty folder."""
    names = ["generator"] if gan.discriminator is None else ["generator", "discriminator"]
    for name in names:
        getattr(gan, name).save(folder / f"{name}.keras")
    if gan.compiled:
        variables = {key: value.numpy() for key, value in optimizer_variables(gan).items()}
        np.savez(folder / OPTIMIZERS, **variables)
    settings = {
        "format": FORMAT,
        "networks": names,
        "recipe": gan.recipe,
        "preprocess": stated(gan.generator),
        "fits": gan.fits,
        "compile": gan.compile_settings(),
    }
    text = json.dumps(settings, indent=2, default=_plain)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _plain(value):
    """Turn NumPy numbers, which optimizers keep, into those that JSON knows."""
    return value.item() if hasattr(value, "item") else str(value)


def read_settings(folder: pathlib.Path) -> dict:
    """Read what a folder says of its model; raise a `KerasganError` unless it can be used."""
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
        for key in ("recipe", "compile"):
            if not isinstance(settings[key], (dict, type(None))):
                raise TypeError(f"{key} is no table")
        settings.setdefault("preprocess", None)
        if settings["preprocess"] not in (None, *NAMES):
            raise KeyError("preprocess")
        fits = settings.setdefault("fits", [])
        if not isinstance(fits, list) or not all(isinstance(one, dict) for one in fits):
            raise TypeError("fits are no list of tables")
        return {key: settings[key] for key in KEPT}
    except KerasganError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KerasganError(f"'{path}' is broken: {error!r}") from error


def _load_network(path: pathlib.Path, custom_objects) -> keras.Model:
    if not path.is_file():
        raise KerasganError(f"'{path}' is missing; was the model copied whole?")
    return load_network(path, _limit(path), custom_objects)


def _limit(path: pathlib.Path) -> int:
    """Bytes that a file which is stored as it is, not packed, may take when it is read."""
    return max(LIMIT, 2 * path.stat().st_size)


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
        optimizer = keras.saving.deserialize_keras_object(config)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(f"{config['class_name']!r} is no optimizer")
    except Exception as error:  # whatever Keras makes of a broken description
        raise KerasganError(f"'{path}' is broken: {error}") from error
    return optimizer


def optimizer_variables(gan) -> dict:
    """The optimizers' variables, and the weights of the network that learns, if it is another."""
    pairs = [("generator", gan.optimizer, gan._learner)]
    if gan.discriminator_optimizer is not None:
        pairs.append(("discriminator", gan.discriminator_optimizer, gan._critic))
    found = {}
    for name, optimizer, network in pairs:
        optimizer.build(network.trainable_variables)
        for number, variable in enumerate(optimizer.variables):
            found[f"{name}_{number}"] = variable
    if gan._learner is not gan.generator:
        found.update((f"learner_{n}", weight) for n, weight in enumerate(gan._learner.weights))
    return found


def rates_of(optimizer) -> list:
    """The variable of an optimizer's learning rate; none where a schedule of its own sets it."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(inner, "_learning_rate", None)
    return [rate] if isinstance(rate, tf.Variable) else []


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file; raise a `KerasganError` unless it holds nothing else."""
    with readable(path), path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            entries_of(archive, path, _limit(path), NODES)
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)


def restore_optimizers(gan, folder: pathlib.Path) -> None:
    """Give both optimizers the variables that `write` kept."""
    path = folder / OPTIMIZERS
    values = read_arrays(path)
    variables = optimizer_variables(gan)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: value.shape for name, value in values.items()}:
        raise KerasganError(
            f"'{path}' belongs to another network or optimizer; start in another folder"
        )
    with readable(path):
        for name, variable in variables.items():
            variable.assign(values[name])
    if gan._critic is not gan.discriminator:
        gan._critic.set_weights(gan.discriminator.get_weights())

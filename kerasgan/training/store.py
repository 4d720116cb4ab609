"""Saving a `SegmentationGAN` to a folder, and loading it on either Keras."""

from __future__ import annotations

import inspect
import json
import pathlib
from typing import Any

import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf

from kerasgan.data.folders import list_some
from kerasgan.errors import KerasganError, unknown_name, warn
from kerasgan.models import named
from kerasgan.models.archives import LIMIT, load_error, name_in_errors
from kerasgan.models.framing import check_framing, get_framing, set_framing
from kerasgan.models.preprocess import NAMES, get_preprocess, set_preprocess
from kerasgan.models.safe import load_network
from kerasgan.stack import is_of_this_keras, path_of, slot_name
from kerasgan.storage import last_complete
from kerasgan.training.checkpoint import NOTES, free_space
from kerasgan.training.losses import SEGMENTATION
from kerasgan.training.optimizers import inner_of
from kerasgan.training.workers import write_on_chief

SETTINGS = "kerasgan.json"
LEFT_BEHIND = (".DS_Store", "Thumbs.db", "desktop.ini")  # by operating systems
OPTIMIZERS = "optimizers.safetensors"
NETWORKS = ("generator", "discriminator")
FILES = (SETTINGS, OPTIMIZERS, *(f"{x}{y}" for x in NETWORKS for y in (".safetensors", ".keras")))
FIELDS = ("networks", "recipe", "preprocess", "framing", "fits", "compile")
FORMAT = 2
OTHER = "/other_"
ROLES = {"m": "momentum", "v": "velocity", "vhat": "velocity_hat", "u": "norm"}
ROLES.update({name: name for name in ROLES.values()})
ROLES.update({n: n for n in ("accumulated_delta_var", "accumulated_grad", "accumulator")})
ROLES.update({n: n for n in ("average", "average_gradient", "linear")})
"""What moments of a weight are called, by what Keras 2.14 and Keras 3 call them."""

ALIKE = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "RMSprop", "SGD")
OF_ONE_KERAS = ("is_legacy_optimizer", "jit_compile")  # which change no result


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
        with write_on_chief(gan.distribute_strategy, folder, _check_ours) as fresh:
            write(gan, fresh)
    except OSError as error:
        raise KerasganError(
            f"'{folder}' cannot be written ({free_space(folder)}): {error}"
        ) from error


def _check_ours(folder: pathlib.Path) -> None:
    """Raise unless a folder is new, empty, or holds a saved model and nothing else."""
    if not folder.exists():
        return
    names = [] if folder.is_file() else sorted(path.name for path in folder.iterdir())
    names = [name for name in names if name not in LEFT_BEHIND and not name.startswith("._")]
    if NOTES in names:
        raise KerasganError(
            f"'{folder}' holds the state of a run, which fit(resume=...) keeps; choose another "
            "folder"
        )
    if folder.is_file() or (names and SETTINGS not in names):
        raise KerasganError(
            f"'{folder}' exists and is not a model saved by kerasgan; choose another folder"
        )
    others = [name for name in names if name not in FILES]
    if others:
        raise KerasganError(
            f"'{folder}' holds a saved model and other files, which would be lost: "
            f"{list_some(others, 'others')}. Move them, or choose another folder"
        )


def load_model(kind, folder, custom_objects=None, build=None):
    """Load a `SegmentationGAN` from a folder; see `SegmentationGAN.load`."""
    folder = last_complete(pathlib.Path(folder))
    settings = read_settings(folder)
    losses = keras.losses.Loss  # objects, where networks are made of classes
    custom = custom_objects or {}
    parts = {k: v for k, v in custom.items() if not isinstance(v, losses)}
    build = build or {}
    build = build if isinstance(build, dict) else {"generator": build}
    if not build.keys() <= settings["networks"].keys():
        raise unknown_name("build", ", ".join(build), settings["networks"])
    gan = kind(
        *(
            read_network(folder, role, entry, build.get(role), parts)
            for role, entry in settings["networks"].items()
        )
    )
    gan.recipe = settings["recipe"]
    if settings["preprocess"] is not None:
        set_preprocess(gan.generator, settings["preprocess"])
    if settings["framing"] is not None:
        set_framing(gan.generator, *settings["framing"])
    gan.fits.extend(settings["fits"])
    if settings["compile"] is not None:
        with name_in_errors(folder / SETTINGS):
            compiled = dict(settings["compile"])
            for name in ("optimizer", "discriminator_optimizer"):
                if compiled[name] is not None:
                    compiled[name] = _load_optimizer(compiled[name], folder / SETTINGS)
            known = {**SEGMENTATION, **custom}
            missing = [name for name in compiled["losses"] if name not in known]
            if missing:
                warn(
                    f"'{folder}' was trained with {', '.join(map(repr, missing))}, a loss of one's "
                    "own. The model predicts; to train it on, load it with "
                    f"custom_objects={{{missing[0]!r}: ...}}, or compile it anew"
                )
                return gan
            losses = {custom.get(name, name): v for name, v in compiled["losses"].items()}
            gan.compile(**{**compiled, "losses": losses})
        restore_optimizers(gan, folder)
    return gan


def write(gan, folder: pathlib.Path) -> None:
    """Write a GAN's files into an empty folder."""
    networks = {"generator": gan.generator, "discriminator": gan.discriminator}
    networks = {role: network for role, network in networks.items() if network is not None}
    if gan.compiled:
        safetensors.numpy.save_file(
            {name: np.asarray(v.numpy()) for name, v in optimizer_variables(gan).items()},
            folder / OPTIMIZERS,
        )
    settings = {
        "format": FORMAT,
        "keras": keras.__version__,
        "networks": {role: write_network(each, folder, role) for role, each in networks.items()},
        "recipe": gan.recipe,
        "preprocess": get_preprocess(gan.generator),
        "framing": get_framing(gan.generator),
        "fits": gan.fits,
        "compile": gan.compile_settings(),
    }
    text = json.dumps(settings, indent=2, default=to_plain)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def write_network(network: keras.Model, folder: pathlib.Path, role: str) -> dict:
    """Write a network's weights to `role`.safetensors, and its layers too unless built by name.

    Returns what `read_network` builds it from, as plain data.
    """
    named.save_weights(network, folder / f"{role}.safetensors")
    record = named.record_of(network)
    if record is None:
        network.save(folder / f"{role}.keras")
        record = {"keras": keras.__version__, "answer": named.sample_output(network).tolist()}
    return record


def to_plain(value):
    """Turn what `json.dumps` does not know, such as numbers of NumPy, into what it does."""
    return value.item() if hasattr(value, "item") else str(value)


def read_settings(folder: pathlib.Path) -> dict:
    """Read the settings of a saved model; raise a `KerasganError` unless they can be used."""
    path = folder / SETTINGS
    if not path.is_file():
        raise KerasganError(
            f"'{folder}' does not hold a model saved by kerasgan: '{SETTINGS}' is missing"
        )
    try:
        return check_settings(json.loads(path.read_text(encoding="utf-8")), path)
    except KerasganError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KerasganError(f"'{path}' is broken: {error!r}") from error


def check_settings(settings: Any, path: pathlib.Path) -> dict:
    """Return what `FIELDS` names; raise unless it is of this format and of the right kinds."""
    if isinstance(settings["format"], int) and settings["format"] > FORMAT:
        raise KerasganError(f"'{path.name}' was written by a newer kerasgan; upgrade to load it")
    if settings["format"] != FORMAT:
        raise ValueError(f"format {settings['format']} is not {FORMAT}; save the model anew")
    if list(settings["networks"]) not in (list(NETWORKS[:1]), list(NETWORKS)):
        raise KeyError("networks")
    for entry in (settings, *settings["networks"].values()):
        if not isinstance(entry, dict) or not isinstance(entry.get("keras", ""), str):
            raise TypeError("networks are no tables, or keras is no version")
    for key in ("recipe", "compile"):
        if not isinstance(settings[key], (dict, type(None))):
            raise TypeError(f"{key} is no table")
    if settings.setdefault("preprocess", None) not in (None, *NAMES):
        raise KeyError("preprocess")
    framing = settings.setdefault("framing", None)
    if framing is not None:
        if not (isinstance(framing, list) and len(framing) == 2):
            raise TypeError("framing is no pair")
        try:
            check_framing(*framing)
        except KerasganError as error:
            raise ValueError(f"framing: {error}") from error
    fits = settings.setdefault("fits", [])
    if not isinstance(fits, list) or not all(isinstance(one, dict) for one in fits):
        raise TypeError("fits are no list of tables")
    return {key: settings[key] for key in FIELDS}


def read_network(
    folder: pathlib.Path, role: str, entry: dict, build=None, custom_objects=None
) -> keras.Model:
    """Read a network that `write_network` or `save_bundle` has written, by whomever.

    `entry` is what was returned when it was written; `build` a function that builds a network which
    kerasgan does not build; `custom_objects` are as for `SegmentationGAN.load`.
    """
    weights = folder / f"{role}.safetensors"
    if "builder" in entry:
        if build is not None:
            raise KerasganError(
                f"Argument 'build' must be left out for the {role}: kerasgan builds it, by "
                f"'{entry['builder']}'"
            )

        def rebuilt(most):
            try:
                return named.rebuild(entry, most)
            except KerasganError as error:
                raise load_error(folder / SETTINGS, f"of its {role}, {error}") from error

        return named.load_weights(rebuilt, weights)
    if build is not None:
        return _built_by(build, entry, weights, role)
    if "keras" not in entry:
        name = entry.get("function")
        raise KerasganError(
            f"The {role} is built by a function of its author's, {name!r}: get that function, read "
            f"it, and pass it as build={name}"
        )
    path = folder / f"{role}.keras"
    if not is_of_this_keras(entry["keras"]):
        raise KerasganError(
            f"'{path}' is a file of Keras {entry['keras']}, which Keras {keras.__version__} does "
            "not read. Pass the function that builds the network, and its weights are loaded: "
            f"build={{'{role}': ...}}"
        )
    if not path.is_file():
        raise KerasganError(f"'{path}' is missing; was the model copied whole?")
    return load_network(path, max(LIMIT, 2 * path.stat().st_size), custom_objects)


def _built_by(build, entry: dict, weights: pathlib.Path, role: str) -> keras.Model:
    def built(_):
        network = None if isinstance(build, keras.Model) or not callable(build) else build()
        if not isinstance(network, keras.Model):
            raise KerasganError(
                f"Argument 'build' must be a function without arguments that returns the {role}, a "
                f"keras.Model. Received: {build!r}"
            )
        return network

    network = named.load_weights(built, weights)
    try:
        saved = np.asarray(entry["answer"], np.float32)
        now = named.sample_output(network, tuple(entry.get("size") or (64, 64)))
        same = np.allclose(now, saved, rtol=0, atol=1e-3 * np.abs(saved).max(), equal_nan=True)
    except Exception as error:  # whatever a stranger's entry leads to
        raise load_error(
            weights, f"its {role} is not described as it should be: {error}"
        ) from error
    if not same:
        raise KerasganError(
            f"Argument 'build' must be the function that built the {role}: the weights fit, but "
            "the network gives other masks than it did where it was saved"
        )
    return network


def _load_optimizer(config, path: pathlib.Path):
    """Build an optimizer, and a schedule in it, by name; the two Keras take other arguments."""
    optimizers = keras.optimizers
    kinds = {optimizers: optimizers.Optimizer}
    kinds[optimizers.schedules] = optimizers.schedules.LearningRateSchedule

    def built(config, room):
        name, arguments = config["class_name"], dict(config["config"])
        kind = getattr(room, str(name), None)
        if not (inspect.isclass(kind) and issubclass(kind, kinds[room])):
            raise KerasganError(
                f"'{path}' asks for {name!r} of {config.get('module')!r}; only Keras' own "
                "optimizers are loaded. Load the networks and compile with yours"
            )
        taken = inspect.signature(kind.__init__).parameters
        for key in [key for key in arguments if key not in taken]:
            if arguments.pop(key) not in (None, False) and key not in OF_ONE_KERAS:
                raise KerasganError(
                    f"'{path}' asks for {name!r} with {key!r}, which the {name} of Keras "
                    f"{keras.__version__} does not have. Load the networks and compile them anew"
                )
        for key, value in arguments.items():
            if isinstance(value, dict) and key == "learning_rate":
                arguments[key] = built(value, optimizers.schedules)
            elif isinstance(value, dict):
                raise TypeError(f"{key!r} of {name!r} is a table")
        return kind(**arguments)

    try:
        return built(config, optimizers)
    except KerasganError:
        raise
    except Exception as error:  # whatever Keras makes of a broken description
        raise KerasganError(f"'{path}' is broken: {error}") from error


def optimizer_variables(gan) -> dict:
    """The optimizers' variables, and weights that no network in use has, by name.

    These are the trained generator's, if it is a copy, and those of critics.

    Learning rates are left out: those are settings. Moments have the name of their weight and what
    both Keras call them; what is no moment of one weight has a number.
    """
    pairs = [("generator", gan.optimizer, gan._trained_generator)]
    if gan.discriminator_optimizer is not None:
        pairs.append(("discriminator", gan.discriminator_optimizer, gan._trained_discriminator))
    variables: dict[str, Any] = {}
    critics = gan._unlabelled.critics if gan._unlabelled is not None else {}
    pairs += [(name, gan._unlabelled.optimizers[name], critics[name]) for name in critics]
    for role, optimizer, network in pairs:
        variables.update((f"{role}/{name}", each) for name, each in _variables(optimizer, network))
    if gan._trained_generator is not gan.generator:
        trained = named.named_weights(gan._trained_generator).items()
        variables.update((f"learner/{name}", weight) for name, weight in trained)
    for name, critic in critics.items():
        weights = named.named_weights(critic).items()
        variables.update((f"critic/{name}/{weight}", value) for weight, value in weights)
    return variables


def _variables(optimizer, network):
    """Yield an optimizer's variables by name."""
    inner = inner_of(optimizer)
    weights = {
        path_of(w).replace("/", "_"): (name, w) for name, w in named.named_weights(network).items()
    }
    config = inner.get_config()
    own: dict[int, str | None] = {id(inner.iterations): "iterations"}
    no_momentum = isinstance(inner, keras.optimizers.SGD) and not config["momentum"]
    if not isinstance(config["learning_rate"], dict):
        own[id(inner.learning_rate)] = None  # a setting
    seen, others = set(), 0
    for variable in optimizer.variables:
        name, slot = own.get(id(variable), ""), slot_name(variable)
        if name is None:
            continue
        if not name:
            key = max((k for k in weights if slot.startswith(f"{k}_")), key=len, default=None)
            role = None if key is None else ROLES.get(slot[len(key) + 1 :])
            if role == "momentum" and no_momentum:
                continue  # which Keras 2.14 has and does not use
            if role and tuple(weights[key][1].shape) == tuple(variable.shape):
                name = f"{weights[key][0]}/{role}"
        if not name or name in seen:
            name, others = f"{OTHER[1:]}{others}", others + 1
        seen.add(name)
        yield name, variable


def restore_optimizers(gan, folder: pathlib.Path) -> None:
    """Give both optimizers the variables that `write` has written.

    What the other Keras wrote is taken where every moment has its match; an optimizer for which
    that is not so starts afresh, of which the next `fit` warns.
    """
    path = folder / OPTIMIZERS
    with name_in_errors(path):
        values = safetensors.numpy.load_file(path)
    variables = optimizer_variables(gan)
    for part, network in (
        ("generator", gan._trained_generator),
        ("discriminator", gan._trained_discriminator),
    ):
        weights = named.named_weights(network) if network is not None else {}
        trained = {id(weight) for weight in network.trainable_weights} if weights else set()
        frozen = tuple(f"{part}/{name}/" for name, w in weights.items() if id(w) not in trained)
        values = {k: v for k, v in values.items() if k in variables or not k.startswith(frozen)}
    version = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["keras"]
    if not is_of_this_keras(version):
        variables = _in_both(gan, variables, values)
    elif not _have_same_shapes(variables, values):
        raise KerasganError(
            f"'{path}' belongs to another network or optimizer; start in another folder"
        )
    with name_in_errors(path):
        for name, variable in variables.items():
            variable.assign(values[name].astype(tf.as_dtype(variable.dtype).as_numpy_dtype))
    if gan._trained_discriminator is not gan.discriminator:
        gan._trained_discriminator.set_weights(gan.discriminator.get_weights())


def _in_both(gan, variables: dict, values: dict) -> dict:
    """The variables that both Keras have; optimizers that have others are noted as fresh."""
    shared = {}
    for part in {name.partition("/")[0]: None for name in variables}:
        own, stored = (
            {k: v for k, v in every.items() if k.startswith(f"{part}/") and OTHER not in k}
            for every in (variables, values)
        )
        optimizer = {"generator": gan.optimizer, "discriminator": gan.discriminator_optimizer}
        inner = inner_of(optimizer.get(part))  # None for the weights of the network that learns
        if _have_same_shapes(own, stored) and (inner is None or type(inner).__name__ in ALIKE):
            shared.update(own)
        else:
            vars(gan).setdefault("_fresh", []).append(part)
    return shared


def _have_same_shapes(variables: dict, values: dict) -> bool:
    shapes, others = ({k: tuple(v.shape) for k, v in x.items()} for x in (variables, values))
    return shapes == others


def warn_of_new_optimizers(gan) -> None:
    """Warn once of optimizers whose moments could not be loaded."""
    fresh = vars(gan).pop("_fresh", [])
    if fresh:
        warn(
            f"The optimizer of the {' and the '.join(sorted(fresh))} starts afresh: the model was "
            "saved by another Keras, where it keeps other numbers"
        )

"""Reading a `.keras` file of a network of somebody's own: nothing in it may run.

Keras' own safe mode refuses lambdas, but a file may still name any module for it to import, and a
class in it to make. Here a file is checked before Keras sees it: its parts against a list of what a
network may be built from. Networks of kerasgan need no such file; see `kerasgan.models.named`.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import h5py
import keras

from kerasgan.errors import KerasganError
from kerasgan.models import archives
from kerasgan.models.blocks import SeededDropout, WeightClip
from kerasgan.stack import (
    FUNCTIONAL,
    OPERATION_LAYERS,
    POLICY,
    addons_layers,
    operation_classes,
)

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# These run code or read files when they are built.
REFUSED_LAYERS = (
    "DenseFeatures",
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
)
# Of Keras 2.14, by the module of TensorFlow that has them.
OPERATIONS = {
    "": "cast clip_by_value concat expand_dims identity pad reshape split squeeze stack "
    "stop_gradient transpose",
    "__operators__": "add getitem",
    "image": "resize",
    "math": "abs add add_n divide exp maximum minimum multiply negative reduce_max reduce_mean "
    "reduce_sum sigmoid softplus sqrt square subtract tanh truediv",
    "nn": "avg_pool2d bias_add depth_to_space elu gelu leaky_relu log_softmax max_pool2d relu "
    "relu6 selu silu softmax softsign space_to_depth swish",
}
VALUES = ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__")


def load_network(
    path: str | os.PathLike,
    limit: int = archives.LIMIT,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a `.keras` file that the Keras installed has written, by whomever."""
    path, given = pathlib.Path(path), _given(custom_objects)
    with archives.name_in_errors(path), zipfile.ZipFile(path) as archive:
        entries = archives.entries_of(archive, path, limit)
        archives.check_names(entries, {CONFIG, METADATA, WEIGHTS}, path)
        config = archives.read_json(archive, entries[CONFIG], path)
        weights = io.BytesIO()
        archives.unpack(archive, entries[WEIGHTS], path, weights)
    check_config(config, path, given)
    check_weights(weights, path)
    try:
        with keras.utils.custom_object_scope(given):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras makes of a broken description
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise archives.load_error(path, reason[0]) from error


def check_config(
    config: Any, path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> None:
    """Refuse a network's description that names more than known layers and their parts."""
    path = pathlib.Path(path)
    if not isinstance(config, dict) or config.get("class_name") not in ("Functional", "Sequential"):
        raise archives.load_error(path, f"its entry {CONFIG!r} describes no functional network")
    # Nothing is compiled, so what is said of losses and optimizers is never read.
    todo: list[Any] = [{key: part for key, part in config.items() if key != "compile_config"}]
    while todo:
        part = todo.pop()
        if isinstance(part, list):
            todo += part
        elif isinstance(part, dict):
            if "class_name" in part or "module" in part:
                _check_object(part, path, given or {})
            todo += part.values()


def _given(custom_objects: Mapping[str, Any] | None) -> dict[str, Any]:
    """Custom objects by their names, and by those that they are registered under."""
    given = dict(custom_objects) if isinstance(custom_objects, Mapping) else custom_objects or {}
    for value in given.values() if isinstance(given, dict) else [given]:
        of_keras = str(getattr(value, "__module__", "")).partition(".")[0] == "keras"
        kind = inspect.isclass(value) and not issubclass(value, keras.layers.Lambda)
        if of_keras or not (kind or inspect.isfunction(value)):
            raise KerasganError(
                "Argument 'custom_objects' must hold classes and functions of your own by name. "
                "Those of Keras need not be passed, and a Lambda is never loaded: write it as a "
                f"subclass of keras.layers.Layer. Received: {value!r}"
            )
    return {**{keras.saving.get_registered_name(x): x for x in given.values()}, **given}


def _check_object(part: dict, path: pathlib.Path, given: Mapping[str, Any]) -> None:
    kind, module, registered = (part.get(k) for k in ("class_name", "module", "registered_name"))
    config = part.get("config")
    # Keras looks here for what is registered, before it imports anything.
    name = config if kind == "function" else part.get("registered_name", kind)
    if (kind in VALUES and module is None) or (isinstance(name, str) and name in given):
        return
    label = kind
    if kind == "function":
        label = f"function {config!r}"
        if module == "builtins" and config in activations() and registered in (None, kind, config):
            return
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        function = str(config.get("function") if isinstance(config, dict) else config)
        label = f"function {function!r}"
        room, _, name = function.rpartition(".")
        known = name in OPERATIONS.get(room, "").split()
        if known and module == OPERATION_LAYERS and registered in (None, kind):
            return
    elif [module, kind, registered] in known_classes(str(registered).startswith("Addons>")):
        return
    layer = config.get("name") if isinstance(config, dict) else None
    raise archives.load_error(
        path,
        f"it asks for {label} of {module!r}{f' (layer {layer!r})' if layer else ''}, which is no "
        "part of Keras, tensorflow-addons or kerasgan that a network from elsewhere may have. "
        + _advice(kind, name),
    )


def _advice(kind: Any, name: Any) -> str:
    if kind in ("Lambda", "__lambda__"):
        return "It holds code, and is never loaded: ask its author for a layer class in its place"
    return (
        f"If its code is yours, pass it: SegmentationGAN.load(..., custom_objects={{{name!r}: "
        "...}). Else ask its author for the code, read it, and build the network yourself"
    )


@functools.lru_cache(maxsize=1)
def activations() -> tuple[str, ...]:
    """Names of the activations of Keras."""
    helpers = ("deserialize", "get", "serialize")
    parts = vars(keras.activations).items()
    return tuple(name for name, value in parts if inspect.isfunction(value) and name not in helpers)


@functools.lru_cache(maxsize=2)
def known_classes(added: bool) -> list[list[str | None]]:
    """Module, name and registered name of what a network may be built from."""
    if added:
        return [
            [value.__module__, name, f"Addons>{name}"]
            for name, value in addons_layers().items()
            if inspect.isclass(value) and issubclass(value, keras.layers.Layer)
        ]
    rooms = {
        keras.layers: keras.layers.Layer,
        keras.initializers: keras.initializers.Initializer,
        keras.regularizers: keras.regularizers.Regularizer,
        keras.constraints: keras.constraints.Constraint,
    }
    known: list[list[str | None]] = [
        [f"keras.{module.__name__.rpartition('.')[2]}", name, None]
        for module, base in rooms.items()
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and name not in REFUSED_LAYERS
    ]
    own = (SeededDropout, WeightClip)
    known += [[each.__module__, each.__name__, f"kerasgan>{each.__name__}"] for each in own]
    known += [[kind.__module__, kind.__name__, kind.__name__] for kind in operation_classes()]
    known += [["keras", "Sequential", None], [*POLICY, None]]
    return [*known, [FUNCTIONAL, "Functional", "Functional"]]


def check_weights(file: BinaryIO, path: pathlib.Path) -> None:
    """Refuse weights that are links to other files, or that the file declares but does not hold."""
    with archives.name_in_errors(path), h5py.File(file, "r") as root:
        todo: list[h5py.Group] = [root]
        while todo:
            group = todo.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise archives.load_error(
                        path, f"{WEIGHTS!r} holds links ('{group.name}/{name}')"
                    )
                item = group[name]
                if isinstance(item, h5py.Group):
                    todo.append(item)
                    continue
                elsewhere = item.external or item.is_virtual or item.dtype.hasobject
                if elsewhere or item.id.get_storage_size() < item.nbytes:
                    raise archives.load_error(
                        path, f"{WEIGHTS!r} does not hold the weight '{item.name}'"
                    )

"""Reading networks that a stranger made: nothing in them may run or swell, or take for ever.

Keras' own safe mode refuses lambdas, but a file may still name any module for it to import, and a
class in it to make. Here a file is checked before Keras sees it: its parts against a list of what a
network may be built from, its sizes against what the file itself holds.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import json
import math
import os
import pathlib
import types
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import h5py
import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.archives import (
    LIMIT,
    check_names,
    entries_of,
    read_json,
    readable,
    refusal,
    unpack,
)
from kerasgan.models.blocks import SeededDropout, WeightClip

__all__ = ["check_config", "load_network"]

SLACK = 2**20
NODES = 100_000
WORK = 10**8
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# These run code or read files when they are built.
REFUSED_LAYERS = ("DenseFeatures", "IntegerLookup", "Lambda", "StringLookup", "TextVectorization")
OPERATION_LAYERS = "keras.src.layers.core.tf_op_layer"
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


def load_network(
    path: str | os.PathLike,
    limit: int = LIMIT,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a `.keras` file of unknown origin.

    Args:
        path: The file.
        limit: Largest size in bytes, packed or unpacked.
        custom_objects: Classes and functions of yours that the file may name too, by name, as for
            `keras.models.load_model`. Their code runs, on arguments that the file holds.

    Returns:
        The network, not compiled.

    Raises:
        KerasganError: If the file is broken, or holds more than a network of layers of Keras,
            tensorflow-addons, kerasgan and `custom_objects` with its weights, or weights that are
            links to other files or would take more memory than the file has bytes, or layers that
            wait for one another.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.unet(size=32, filters=2, levels=2).save("small.keras")
        >>> load_network("small.keras").output_shape
        (None, 32, 32, 1)
    """
    path, given = pathlib.Path(path), _given(custom_objects)
    with readable(path), zipfile.ZipFile(path) as archive:
        entries = entries_of(archive, path, limit)
        check_names(entries, {CONFIG, METADATA, WEIGHTS}, path)
        config = read_json(archive, entries[CONFIG], path)
        weights = io.BytesIO()
        unpack(archive, entries[WEIGHTS], path, weights)
    check_config(config, path, given)
    stored = check_weights(weights, path)
    scope = {**given, **_connected_in_time(given, path)}
    try:
        with _no_more_variables_than(stored + SLACK, path), keras.utils.custom_object_scope(scope):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except KerasganError:
        raise
    except Exception as error:  # whatever Keras makes of a broken description
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise refusal(path, reason[0]) from error


def check_config(
    config: Any, path: str | os.PathLike, given: Mapping[str, Any] | None = None
) -> None:
    """Refuse a network's description that names more than known layers and their parts.

    Args:
        config: What is in `config.json` of a `.keras` file.
        path: The file, for errors.
        given: What it may name beside those, by name.

    Raises:
        KerasganError: Naming the first part that is not known.

    Example:
        >>> part = {"module": "os", "class_name": "function", "config": "system"}
        >>> try:
        ...     check_config({"class_name": "Functional", "config": part}, "a.keras")
        ... except KerasganError as error:
        ...     print(str(error)[:70])
        'a.keras' cannot be loaded: it asks for Functional of None, which is n
    """
    path = pathlib.Path(path)
    if not isinstance(config, dict) or config.get("class_name") not in ("Functional", "Sequential"):
        raise refusal(path, f"its entry {CONFIG!r} describes no functional network")
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
    if kind in ("__tensor__", "__numpy__") or (isinstance(name, str) and name in given):
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
    elif (module, kind, registered) in known_classes(str(registered).startswith("Addons>")):
        return
    layer = config.get("name") if isinstance(config, dict) else None
    raise refusal(
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
    found = vars(keras.activations).items()
    return tuple(name for name, value in found if inspect.isfunction(value) and name not in helpers)


@functools.lru_cache(maxsize=2)
def known_classes(added: bool) -> list[tuple[str, str, str | None]]:
    """Module, name and registered name of what a network may be built from.

    Args:
        added: For the layers of tensorflow-addons, which is imported then, in place of the others.
    """
    if added:
        return [
            (value.__module__, name, f"Addons>{name}")
            for name, value in vars(importlib.import_module("tensorflow_addons").layers).items()
            if inspect.isclass(value) and issubclass(value, keras.layers.Layer)
        ]
    rooms: list[tuple[types.ModuleType, type]] = [
        (keras.layers, keras.layers.Layer),
        (keras.initializers, keras.initializers.Initializer),
        (keras.regularizers, keras.regularizers.Regularizer),
        (keras.constraints, keras.constraints.Constraint),
    ]
    known: list[tuple[str, str, str | None]] = [
        (f"keras.{module.__name__.rpartition('.')[2]}", name, None)
        for module, base in rooms
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and name not in REFUSED_LAYERS
    ]
    known += [
        (own.__module__, own.__name__, f"kerasgan>{own.__name__}")
        for own in (SeededDropout, WeightClip)
    ]
    return [
        *known,
        ("keras", "Sequential", None),
        ("keras.mixed_precision", "Policy", None),
        ("keras.src.engine.functional", "Functional", "Functional"),
    ]


def check_weights(file: BinaryIO, path: pathlib.Path) -> int:
    """Refuse weights that are links to other files, or that the file declares but does not hold.

    Args:
        file: The HDF5 file.
        path: The archive that it lies in, for errors.

    Returns:
        Bytes of all weights.
    """
    total, seen = 0, 0
    with readable(path), h5py.File(file, "r") as root:
        todo: list[h5py.Group] = [root]
        while todo:
            group = todo.pop()
            for name in group:
                seen += 1
                if seen > NODES or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise refusal(path, f"{WEIGHTS!r} holds links ('{group.name}/{name}')")
                item = group[name]
                if isinstance(item, h5py.Group):
                    todo.append(item)
                    continue
                elsewhere = item.external or item.is_virtual or item.dtype.hasobject
                if elsewhere or item.id.get_storage_size() < item.nbytes:
                    raise refusal(path, f"{WEIGHTS!r} does not hold the weight '{item.name}'")
                total += item.nbytes
    return total


@contextlib.contextmanager
def _no_more_variables_than(limit: int, path: pathlib.Path) -> Iterator[None]:
    """Raise before variables take more bytes than that: layers are built before weights are read.

    The variables of layers declare their shape, so nothing is allocated for those refused.
    """
    total = 0

    def create(next_creator, **kwargs):
        nonlocal total
        if kwargs.get("shape") is not None:
            dtype = tf.as_dtype(kwargs.get("dtype") or tf.float32)
            total += math.prod(tf.TensorShape(kwargs["shape"]).as_list()) * dtype.size
        if total > limit:
            raise refusal(path, f"its layers have more weights than {WEIGHTS!r} holds")
        return next_creator(**kwargs)

    with tf.variable_creator_scope(create):
        yield


class _Layers(list):
    """The layers of a network, which may be gone through so many times only."""

    def __init__(self, layers: list, path: pathlib.Path) -> None:
        super().__init__(layers)
        nodes = [x.get("inbound_nodes") or () for x in layers if isinstance(x, dict)]
        # Each time but the first, Keras connects one more, or will never connect the rest.
        self.left = min(1 + sum(map(len, nodes)), 1 + WORK // (1 + len(json.dumps(nodes))))
        self.path = path

    def __iter__(self) -> Iterator[Any]:
        if self.left < 0:
            raise refusal(
                self.path, "its layers wait for one another, or for one that is not there"
            )
        self.left -= 1
        return super().__iter__()


def _connected_in_time(given: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """Make networks of their descriptions as Keras does, but do not try for ever.

    Keras tries to connect the layers again and again until all are connected.

    Args:
        given: Custom objects by name. Networks among them are made like others, unless they have
            their own way.
        path: The file, for errors.

    Returns:
        An object with a method `from_config` for each kind of network, by its registered name.
    """

    def maker(kind):
        def from_config(config):
            layers = config.get("layers") if isinstance(config, dict) else None
            if isinstance(layers, list):
                config = {**config, "layers": _Layers(layers, path)}
            return kind.from_config(config)

        return types.SimpleNamespace(from_config=from_config)

    as_keras = keras.Model.from_config.__func__
    kinds = {"Functional": keras.Model} | {
        name: kind
        for name, kind in given.items()
        if getattr(getattr(kind, "from_config", None), "__func__", None) is as_keras
    }
    return {name: maker(kind) for name, kind in kinds.items()}

"""Records of networks as plain data, and their weights by names that do not depend on Keras.

A record holds the function that built the network and its arguments. So a file need not describe
layers: it holds the record and the weights, named alike in Keras 2.14 and Keras 3.
"""

from __future__ import annotations

import collections
import functools
import inspect
import math
import os
import pathlib
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.archives import load_error, name_in_errors
from kerasgan.precision import full_float32
from kerasgan.stack import built_within, path_of
from kerasgan.storage import architecture_key
from kerasgan.validation import check_seed

BUILDERS: dict[str, Callable[..., keras.Model]] = {}
LEFT_OUT = ("weights", "frozen_stages")  # in a record the weights and "frozen" hold their effect
MOST = {"size": 16_384, "depths": 1000, "filters": 65_536, "decoder_filters": 65_536}
MOST.update(channels=4096, classes=4096)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
SAME = {"depthwise_kernel": "kernel", "sn_u": "vector_u"}  # Keras 2.14's and addons', in Keras 3
SHOWN = 64

_records: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = weakref.WeakKeyDictionary()
_verified: weakref.WeakKeyDictionary[keras.Model, str] = weakref.WeakKeyDictionary()
Builder = TypeVar("Builder", bound=Callable[..., keras.Model])


# --- Records ---


def register_builder(builder: Builder) -> Builder:
    """Make a builder of networks record its name and arguments for each network that it builds."""
    signature = inspect.signature(builder)

    @functools.wraps(builder)
    def build(*args: Any, **kwargs: Any) -> keras.Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {name: _to_python(value) for name, value in bound.arguments.items()}
        check_seed(arguments.get("seed", 0))
        network = builder(**arguments)
        _records[network] = {
            "builder": builder.__name__,
            "arguments": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in arguments.items()
                if name not in LEFT_OUT
            },
            "policy": keras.mixed_precision.global_policy().name,
        }
        return network

    BUILDERS[builder.__name__] = build
    return build  # type: ignore[return-value]


def record_of(network: keras.Model) -> dict[str, Any] | None:
    """Return plain data of which `rebuild` makes a network like this one, or None.

    That is "builder", a function of `kerasgan.models`; its "arguments"; the "policy" that it was
    built under; whether it is "trainable", and the layers that are "frozen". None if no such
    function built the network, or it was changed since: it is compared with one that is so rebuilt,
    layer by layer and by its output for an image, once for as long as its layers stay as they are.
    """
    if network not in _records:
        return None
    frozen = [layer.name for layer in network.layers if not layer.trainable]
    record = {**_records[network], "trainable": network.trainable, "frozen": frozen}
    key = architecture_key(network)
    if _verified.get(network) != key:
        try:
            again = rebuild(record)
            if architecture_key(again) != key:
                return None
            values = {name: _array(weight) for name, weight in named_weights(network).items()}
            _assign(again, values)
        except KerasganError:
            return None
        with full_float32():
            outputs = sample_output(network), sample_output(again)
        if not np.allclose(*outputs, rtol=1e-4, atol=1e-6, equal_nan=True):
            return None
        _verified[network] = key
    return record


def rebuild(record: Any, most: int | None = None) -> keras.Model:
    """Build a network of a record, which may be a stranger's, with start values for weights.

    Nothing is allocated for more than `most` numbers; None for any.
    """
    try:
        name, given, policy = record["builder"], record["arguments"], record["policy"]
        frozen, learns = record.get("frozen", []), record.get("trainable", True)
        if name not in BUILDERS or policy not in POLICIES or not isinstance(frozen, list):
            raise KeyError(f"{name!r} under {policy!r}")
        bound = inspect.signature(BUILDERS[name]).bind(**given)
    except (AttributeError, KeyError, TypeError) as error:
        raise KerasganError(f"there is no such network in kerasgan.models: {error}") from error
    for argument, value in bound.arguments.items():
        numbers = value if isinstance(value, list) else [value]
        total = sum(n for n in numbers if isinstance(n, (int, float)))
        most_of_it = MOST.get(argument, math.inf)
        if argument in LEFT_OUT or total > most_of_it or len(numbers) > min(most_of_it, 1000):
            raise KerasganError(f"'{name}' is not built with such '{argument}'")
    before = keras.mixed_precision.global_policy().name
    keras.mixed_precision.set_global_policy(policy)
    try:
        build = functools.partial(BUILDERS[name], **given)
        network = build() if most is None else built_within(build, most)
        if not learns:
            network.trainable = False
        for layer in network.layers:
            if layer.trainable == (layer.name in frozen):
                layer.trainable = not layer.trainable
    except KerasganError:
        raise
    except Exception as error:  # whatever Keras makes of odd arguments
        raise KerasganError(f"'{name}' cannot be built with {given!r}: {error}") from error
    finally:
        keras.mixed_precision.set_global_policy(before)
    return network


def _to_python(value: Any) -> Any:
    """Turn numbers of NumPy into those of Python, which a file can hold."""
    if type(value) in (list, tuple):
        return type(value)(map(_to_python, value))
    return value.item() if isinstance(value, np.generic) else value


def sample_output(network: keras.Model, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Return at most 64 numbers of a network's output for an image that is always the same.

    `size` is that of the image, where the network takes any.
    """
    images = []
    for tensor in network.inputs:
        shape = [1, *tensor.shape[1:]]
        sides = dict(enumerate(size, start=1))
        shape = [sides.get(axis, 3) if n is None else n for axis, n in enumerate(shape)]
        wave = np.sin(np.arange(math.prod(shape), dtype=np.float64) % 1009)
        images.append(tf.constant(wave.reshape(shape), tensor.dtype))
    output = network(images if len(images) > 1 else images[0], training=False)
    values = np.concatenate([np.ravel(part).astype(np.float32) for part in tf.nest.flatten(output)])
    return values[np.linspace(0, len(values) - 1, min(SHOWN, len(values))).astype(int)]


# --- Weights ---


def named_weights(network: keras.Model) -> dict[str, Any]:
    """Return a network's weights by names that do not depend on the Keras that built it."""
    named: dict[str, Any] = {}
    names = _layer_names(network)
    seen: set[int] = set()

    def add(prefix: str, weights: Mapping[str, Any]) -> None:
        for name, weight in weights.items():
            if id(weight) not in seen:  # of two layers that share it
                seen.add(id(weight))
                named[prefix + name] = weight

    for layer in network.layers:
        inner = isinstance(layer, keras.Model)
        add(f"{names[layer.name]}/", named_weights(layer) if inner else _by_tails(layer.weights))
    add("", _by_tails([weight for weight in network.weights if id(weight) not in seen]))
    return named


def _by_tails(weights: list) -> dict[str, Any]:
    return dict(zip(_tails([path_of(weight).split("/") for weight in weights]), weights))


def _layer_names(network: keras.Model) -> dict[str, str]:
    """Names of the layers; those that Keras made up are counted within the network alone."""
    names = {layer.name: layer.name for layer in network.layers}
    made: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for layer in network.layers:
        kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        counted = re.fullmatch(rf"{re.escape(kind)}(?:_(\d+))?", layer.name)
        if counted:
            made[kind].append((int(counted[1] or 0), layer.name))
    for kind, counts in made.items():
        for number, (_, name) in enumerate(sorted(counts)):
            names[name] = f"{kind}_{number}"
    return names


def _tails(paths: list[list[str]]) -> list[str]:
    """The shortest ends of paths that tell them apart, counts in them made those of their order."""
    paths = [[SAME.get(part, part) for part in path] for path in paths]
    ranks: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for path in paths:
        for part in path[:-1]:
            numbered = ranks[re.sub(r"_\d+$", "", part)]
            numbered.setdefault(part, len(numbered))

    def counted(part: str) -> str:
        base = re.sub(r"_\d+$", "", part)
        return f"{base}_{ranks[base][part]}" if len(ranks[base]) > 1 else base

    paths = [[*map(counted, path[:-1]), path[-1]] for path in paths]
    for count in range(1, max(map(len, paths), default=0) + 1):
        ends = ["/".join(path[-count:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{path[-1]}_{number}" for number, path in enumerate(paths)]


def save_weights(network: keras.Model, path: str | os.PathLike) -> None:
    """Write a network's weights to a file of safetensors."""
    values = {name: _array(weight) for name, weight in named_weights(network).items()}
    for name, value in values.items():
        if value.dtype.kind not in "biuf":
            raise KerasganError(f"Weight '{name}' of '{network.name}' is of type {value.dtype}")
    safetensors.numpy.save_file(values, os.fspath(path))


def load_weights(network: Callable[[int], keras.Model], path: str | os.PathLike) -> keras.Model:
    """Build a network and give it the weights that a file holds, if they are all there.

    `network` builds it, and gets how many numbers the file holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise KerasganError(f"'{path}' is missing; was the model copied whole?")
    with name_in_errors(path), safetensors.safe_open(os.fspath(path), "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        # Twice: some builders make a part of the network first, to copy its layers.
        built = network(2 * sum(map(math.prod, shapes.values())))
        wanted = {name: list(weight.shape) for name, weight in named_weights(built).items()}
        for name in (*wanted, *shapes):
            if wanted.get(name) != shapes.get(name):
                there, here = shapes.get(name, "none"), wanted.get(name, "none")
                raise load_error(
                    path,
                    f"it is not of the network that is built: weight '{name}' has the shape "
                    f"{there} in the file and {here} in the network",
                )
        _assign(built, {name: file.get_tensor(name) for name in wanted})
    return built


def _array(weight: Any) -> np.ndarray:
    return np.asarray(weight.numpy(), order="C")


def _assign(network: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    weights = named_weights(network)
    if weights.keys() != values.keys():
        raise KerasganError(f"'{network.name}' has other weights than those given")
    for name, weight in weights.items():
        if values[name].dtype != tf.as_dtype(weight.dtype).as_numpy_dtype:
            raise KerasganError(f"weight '{name}' is of type {values[name].dtype}")
        weight.assign(values[name])

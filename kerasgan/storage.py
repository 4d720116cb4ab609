"""Files and folders written whole or not at all, and keys of content for what is kept in them.

Whatever is stored to be used again is written by `write_file` or `atomic_replace`, and found again,
or refused, by a `content_key` of all that it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import numbers
import os
import pathlib
import shutil
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import keras
import numpy as np
import tensorflow as tf

from kerasgan._version import __version__
from kerasgan.errors import KerasganError

# --- Writing ---

_COUNT = itertools.count()


def write_file(path: str | os.PathLike, content: bytes | memoryview | str) -> None:
    """Write a file, whole or not at all; one that is there is replaced."""
    path = pathlib.Path(path)
    part = path.with_name(f".{os.getpid()}-{next(_COUNT)}.part")
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_replace(
    path: str | os.PathLike, check: Callable[[pathlib.Path], Any] | None = None
) -> Iterator[pathlib.Path]:
    """Give a path to write a file or folder to, then put what was written in place of `path`.

    Everything has reached the disk before the names change, so that a power cut leaves what was
    there or what is new, never a part of either. On an error what was there stays as it was. Until
    then the new one lies in a hidden folder beside, which one process at a time may use.
    """
    path = pathlib.Path(path)
    path = path.resolve() if path.is_symlink() else path
    check = check or (lambda path: None)
    check(path)
    beside = _beside(path)
    new, old = beside / "new" / path.name, beside / "old"
    if old.exists() and not path.exists():  # killed between the two renamings
        os.rename(old, path)
    shutil.rmtree(beside, ignore_errors=True)
    new.parent.mkdir(parents=True)
    try:
        yield new
        for part in (*new.rglob("*"), new):
            _to_disk(part)
        check(path)
        if path.is_dir():
            os.rename(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
        _to_disk(path.parent)
    finally:
        if path.exists() or not old.exists():
            shutil.rmtree(beside, ignore_errors=True)


def is_new_or_empty(path: pathlib.Path) -> bool:
    """Whether nothing of anybody's is at a path: no file, and no folder that holds something."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def last_complete(folder: pathlib.Path) -> pathlib.Path:
    """Return where a folder lies, also if `atomic_replace` was killed between its two renamings."""
    old = _beside(folder) / "old"
    return old if old.is_dir() and not folder.exists() else folder


def _beside(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.kerasgan")


def _to_disk(path: pathlib.Path) -> None:
    """Wait until a file, or a folder's list of files, has left the system's memory."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- Keys of content ---

_RECENT = 2 * 10**9  # nanoseconds in which a file may change without a change of its time
_FILES: dict[tuple, str] = {}


def file_keys(paths: Iterable[str | os.PathLike]) -> list[str]:
    """Return a key of each file's bytes.

    A file is read once in a process, as long as its size and times do not change.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(_file_key, paths))


def files_fact(keys: Sequence[str]) -> str:
    """Say in a record how many files there were, and a key of all, of what `file_keys` returned."""
    return f"{len(keys)}, {content_key(keys)}"


def _file_key(path: str | os.PathLike) -> str:
    try:
        stat = os.stat(path)
        known = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if known in _FILES:
            return _FILES[known]
        with open(path, "rb") as file:
            key = _digest(file, hashlib.blake2b(digest_size=16))
    except OSError as error:
        raise KerasganError(f"File {path} is gone or cannot be read: {error}") from error
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _RECENT:
        _FILES[known] = key
    return key


def content_key(value: Any) -> str:
    """Return a key of content: the same for the same content, in any process and any folder.

    Plain values, containers and arrays count by value; networks and layers by their settings and
    weights; `Samples` by the bytes of their files and all their fields; a function by its code, its
    defaults and what it encloses; another object by its class and its settings, or by the plain
    values and arrays that it holds.

    Raises:
        KerasganError: If the content of a part cannot be known.
    """
    try:
        return _key(value).hex()
    except (RecursionError, ValueError) as error:
        raise KerasganError(f"a value cannot be compared with others: {error}") from error


def architecture_key(network: keras.Model) -> str:
    """Return a key of a network's layers and their settings, but not of its weights."""
    return content_key([type(network), _config_of(network)])


def _key(value: Any) -> bytes:
    for kind, plain in PLAIN.items():
        if isinstance(value, kind):
            return _hashed(*plain(value))
    kind, *parts = _parts(value)
    ready = (bytes, memoryview)
    return _hashed(kind, *(part if isinstance(part, ready) else _key(part) for part in parts))


def _parts(value: Any) -> tuple:
    """Return what a value is made of: its kind, then keys as bytes, or values to make keys of."""
    if isinstance(value, Mapping):
        return "mapping", *sorted(_hashed(_key(k), _key(v)) for k, v in value.items())
    if isinstance(value, (set, frozenset)):
        return "set", *sorted(map(_key, value))
    if type(value) in (list, tuple):
        return "list", *map(_key, value)
    if isinstance(value, np.ndarray) or tf.is_tensor(value) or hasattr(value, "numpy"):
        return _array_parts(value)
    if isinstance(value, type):
        return "class", f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, keras.layers.Layer):
        return "layer", type(value), _config_of(value), value.get_weights()
    if hasattr(value, "python_function"):  # of tf.function
        return "function", value.python_function
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return "function", value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, types.MethodType):
        return "method", value.__self__, value.__func__
    if isinstance(value, types.CodeType):
        names = [*value.co_names, *value.co_varnames, *value.co_freevars, *value.co_cellvars]
        return "code", value.co_code, names, list(value.co_consts)
    if hasattr(value, "_content_for_key"):
        return "object", type(value), value._content_for_key()
    if isinstance(value, keras.losses.Loss):  # whose settings leave out those of one's own class
        return "object", type(value), _without_names(vars(value))
    if hasattr(value, "get_config"):
        return "object", type(value), _config_of(value), _variables_of(value)
    own = getattr(value, "__dict__", None)
    if own and all(isinstance(part, (*PLAIN, np.ndarray)) for part in own.values()):
        with contextlib.suppress(Exception):  # fails for a file and others with a hidden state
            value.__reduce_ex__(2)
            return "object", type(value), own
    raise _unknown(value)


def _array_parts(value: Any) -> tuple:
    try:
        array = np.asarray(value)
    except Exception as error:  # a symbolic tensor; TensorFlow raises several kinds
        raise _unknown(value) from error
    if array.dtype.hasobject:
        return "array", str(array.shape), array.tolist()
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return "array", str(array.shape), array.dtype.str, memoryview(flat)


PLAIN: dict[type, Callable[[Any], tuple[str, str]]] = {
    type(None): lambda value: ("none", ""),
    bool: lambda value: ("bool", str(value)),
    np.bool_: lambda value: ("bool", str(value)),
    str: lambda value: ("text", value),
    bytes: lambda value: ("bytes", value),
    numbers.Integral: lambda value: ("number", str(int(value))),
    numbers.Real: lambda value: ("number", _number(float(value))),
    os.PathLike: lambda value: ("path", os.fsdecode(value)),
    tf.DType: lambda value: ("dtype", value.name),
    np.dtype: lambda value: ("dtype", value.str),
}


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def package_versions() -> dict[str, str]:
    """Return the versions that decide what was written or measured, by package."""
    return {"kerasgan": __version__, "tensorflow": tf.__version__, "keras": keras.__version__}


def file_sha256(source: str | os.PathLike | BinaryIO) -> str:
    """Return the SHA-256 of a file, or of what is left of an open one, in hexadecimal digits."""
    with contextlib.nullcontext(source) if hasattr(source, "read") else open(source, "rb") as file:
        return _digest(file, hashlib.sha256())


def _digest(file: BinaryIO, total: Any) -> str:
    while piece := file.read(2**20):
        total.update(piece)
    return total.hexdigest()


def _hashed(*parts: bytes | memoryview | str) -> bytes:
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        part = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.digest()


def _unknown(value: Any) -> KerasganError:
    kind = type(value)
    return KerasganError(f"the content of a {kind.__module__}.{kind.__qualname__} cannot be known")


def _config_of(layer: Any) -> Any:
    """What a network, a layer or another object of Keras is made of but for its weights."""
    try:
        return _without_names(layer.get_config())
    except NotImplementedError:  # a class of somebody's own
        own = {name: v for name, v in vars(layer).items() if isinstance(v, tuple(PLAIN))}
        own.pop("_name", None)
        return [own, [[type(part), _config_of(part)] for part in getattr(layer, "layers", ())]]


def _variables_of(value: Any) -> list[Any]:
    """What an optimizer or metric has counted so far; nothing of what has no variables."""
    variables = getattr(value, "variables", [])
    return list(variables() if callable(variables) else variables)


def _without_names(config: Any) -> Any:
    """The configuration of a network or layer with its layers' names, which count up, as places."""
    names: dict[str, str] = {}

    def note(part: Any) -> None:
        if isinstance(part, Mapping):
            if isinstance(part.get("config"), Mapping) and "name" in part["config"]:
                names.setdefault(str(part["config"]["name"]), f"layer {len(names)}")
            for name, value in part.items():
                if name != "dtype":  # a policy's name is what it is
                    note(value)
        elif isinstance(part, (list, tuple)):
            for value in part:
                note(value)

    def renamed(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: renamed(value) for name, value in part.items()}
        if isinstance(part, (list, tuple)):
            return [renamed(value) for value in part]
        return names.get(part, part) if isinstance(part, str) else part

    note({"config": config})
    return renamed(config)

"""Files and folders written whole or not at all, and keys of content for what is kept in them.

Whatever is stored to be used again is written by `write_file` or `atomic_replace`, and found again,
or refused, by a `content_key` of all that it was made from.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import itertools
import numbers
import os
import pathlib
import platform
import shutil
import sys
import sysconfig
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
    then the new one lies in a hidden folder beside, which one process at a time may use. Files can
    be read by whoever may read a new file in that place, as the umask says.
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
        readable = beside.stat().st_mode & 0o666
        for part in (*new.rglob("*"), new):
            if part.is_file():
                part.chmod(readable)  # safetensors lets nobody but the owner read
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


def content_key(value: Any, what: str = "value") -> str:
    """Return a key of content: the same for the same content, in any process and any folder.

    Plain values, containers and arrays count by value; objects by their class and all that they
    hold; networks by their layers and weights; `Samples` by the bytes of their files and all their
    fields. A function counts by its code, its defaults and whatever it refers to; one that belongs
    to an installed package, by its name, its code and the package's version.
    """
    try:
        return _Reader().key(value).hex()
    except KerasganError as error:
        raise KerasganError(f"{what}: {error}") from error
    except RecursionError as error:
        raise KerasganError(f"{what}: it is nested too deeply to be compared") from error


def architecture_key(network: keras.Model) -> str:
    """Return a key of a network's layers and their settings, but not of its weights."""
    return content_key([type(network), _config_of(network)])


class _Reader:
    """Makes the key of one value; notes what it has met, by identity."""

    def __init__(self):
        self._keys: dict[int, bytes] = {}
        self._above: list[int] = []
        self._alive: list[Any] = []  # or an identity might be given anew

    def key(self, value: Any) -> bytes:
        for kind, plain in PLAIN.items():
            if isinstance(value, kind):
                return _hashed(*plain(value))
        if id(value) in self._above:
            return _hashed("cycle", str(len(self._above) - self._above.index(id(value))))
        if id(value) not in self._keys:
            self._above.append(id(value))
            kind, *parts = self._parts(value)
            ready = (bytes, memoryview)
            parts = [part if isinstance(part, ready) else self.key(part) for part in parts]
            self._keys[id(value)] = _hashed(kind, *parts)
            self._alive.append(value)
            self._above.pop()
        return self._keys[id(value)]

    def _parts(self, value: Any) -> tuple:
        """What a value is made of: its kind, then keys as bytes, or values to make keys of."""
        if isinstance(value, Mapping):
            return "mapping", *sorted(_hashed(self.key(k), self.key(v)) for k, v in value.items())
        if isinstance(value, (set, frozenset)):
            return "set", *sorted(map(self.key, value))
        if type(value) in (list, tuple):
            return "list", *map(self.key, value)
        if isinstance(value, np.ndarray) or tf.is_tensor(value) or hasattr(value, "numpy"):
            return self._array(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.ModuleType):
            return "module", value.__name__, _release(value.__name__)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, keras.Model):
            return "network", type(value), _config_of(value), value.get_weights()
        if isinstance(value, keras.layers.Layer):
            return "layer", type(value), _config_of(value), value.get_weights()
        if hasattr(value, "python_function"):  # of tf.function
            return "function", value.python_function
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return "method", value.__self__, value.__func__
        if isinstance(value, (staticmethod, classmethod)):
            return "method", type(value), value.__func__
        if hasattr(value, "_content_for_key"):
            return "object", type(value), value._content_for_key()
        if hasattr(value, "__wrapped__"):
            return "wrapped", type(value), value.__wrapped__
        if hasattr(value, "get_config") and _release(type(value).__module__) is not None:
            return "object", type(value), _config_of(value), _variables_of(value)
        if isinstance(value, keras.losses.Loss):  # whose __reduce__ in Keras 3 holds the time
            return "object", type(value), _without_names(vars(value))
        return self._object(value)

    def _array(self, value: Any) -> tuple:
        try:
            array = np.asarray(value)
        except Exception as error:  # a symbolic tensor; TensorFlow raises several kinds
            raise _unknown(value) from error
        if array.dtype.hasobject:
            return "array", str(array.shape), array.tolist()
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return "array", str(array.shape), array.dtype.str, memoryview(flat)

    def _code(self, code: types.CodeType) -> tuple:
        names = [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars]
        counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
        return "code", code.co_code, names, counts, list(code.co_consts)

    def _function(self, function: types.FunctionType) -> tuple:
        cells = []
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # not yet set
                cells.append(cell.cell_contents)
        held = [function.__code__, function.__defaults__, function.__kwdefaults__, cells]
        release = _release(function.__module__)
        if release is not None:
            return "function", f"{function.__module__}.{function.__qualname__}", release, held
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        refers = {name: function.__globals__[name] for name in names}
        return "function", held, refers

    def _class(self, kind: type) -> tuple:
        name, release = f"{kind.__module__}.{kind.__qualname__}", _release(kind.__module__)
        if release is not None:
            return "class", name, release
        own = {
            name: [value.fget, value.fset] if isinstance(value, property) else value
            for name, value in vars(kind).items()
            if name not in NO_CONTENT and not isinstance(value, SLOTS)
        }
        return "class", kind.__qualname__, own, list(kind.__bases__)

    def _object(self, value: Any) -> tuple:
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # whatever its class makes of it
            raise _unknown(value) from error
        if isinstance(reduced, str):
            return "object", type(value), str(getattr(value, "__module__", "")), reduced
        _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        arguments = [part for part in arguments if part is not type(value)]
        pieces = [list(part or ()) for part in (items, pairs)]
        return "object", type(value), arguments, state, pieces


PLAIN: dict[type, Callable[[Any], tuple[str, str]]] = {
    type(None): lambda value: ("none", ""),
    enum.Enum: lambda value: ("enum", f"{type(value).__qualname__}.{value.name}"),
    bool: lambda value: ("bool", str(value)),
    np.bool_: lambda value: ("bool", str(value)),
    str: lambda value: ("text", value),
    bytes: lambda value: ("bytes", value),
    numbers.Integral: lambda value: ("number", str(int(value))),
    numbers.Real: lambda value: ("number", _number(float(value))),
    numbers.Complex: lambda value: ("complex", repr(complex(value))),
    os.PathLike: lambda value: ("path", os.fsdecode(value)),
    tf.DType: lambda value: ("dtype", value.name),
    np.dtype: lambda value: ("dtype", value.str),
    np.ufunc: lambda value: ("ufunc", value.__name__),
    type(...): lambda value: ("ellipsis", ""),
}
NO_CONTENT = {"__module__", "__qualname__", "__doc__", "__firstlineno__", "_abc_impl"}
PACKAGES = ("site-packages", "dist-packages")
"""Where packages are installed, for one user or by the system too."""
SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)


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
    return KerasganError(
        f"the content of a {kind.__module__}.{kind.__qualname__} cannot be known, so nothing kept "
        "in a folder can be tied to it"
    )


def _names(code: types.CodeType) -> set[str]:
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return {*code.co_names}.union(*map(_names, inner))


@functools.cache
def _release(module: str | None) -> str | None:
    """The version of the installed package that a module is of; None for code of somebody's own."""
    root = str(module).split(".")[0]
    if root == "kerasgan":
        return __version__
    package = sys.modules.get(root)
    if root == "__main__" or package is None:
        return None
    file = getattr(package, "__file__", None)
    if file is None:
        return platform.python_version() if root in sys.builtin_module_names else None
    installed = {pathlib.Path(sysconfig.get_path(p)) for p in ("stdlib", "purelib", "platlib")}
    folders = pathlib.Path(file).parents
    if installed.isdisjoint(folders) and not any(x.name in PACKAGES for x in folders):
        return None
    return str(getattr(package, "__version__", platform.python_version()))


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

"""State dictionaries in files that PyTorch wrote, read without PyTorch and without its pickle."""

from __future__ import annotations

import io
import math
import os
import pathlib
import pickle
import pickletools
from typing import Any, NamedTuple

import numpy as np

from kerasgan.models.archives import load_error

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LIMIT = 2**28  # bytes of a file, and of what it holds
PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
# What a state dictionary is written with: numbers, texts, tuples, lists, dictionaries, functions by
# name and calls of them. Nothing of it grows faster than the file does.
OPERATIONS = """
PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE EMPTY_DICT EMPTY_LIST
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS GLOBAL REDUCE BUILD BINPERSID
"""
ALLOWED = {*OPERATIONS.split(), *PUT, *GET}
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Tensor(NamedTuple):
    """A tensor as the file describes it: elements of a storage, by offset, shape and strides."""

    dtype: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a state dictionary by name.

    The file is PyTorch's older kind: pickles, and behind them the values. What each pickle does is
    checked before any of it is done. Of the names that it may ask for four are known here, and they
    stand for objects of this module; any other is refused, so nothing of the file runs.
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"it is larger than {LIMIT} bytes")
        content = path.read_bytes()
        if content.startswith(b"PK"):
            raise ValueError(
                "it is of a later version; write it again by "
                "torch.save(..., _use_new_zipfile_serialization=False)"
            )
        return _read(io.BytesIO(content))
    except Exception as error:  # broken pickles raise all kinds
        reason = "it is not a state dictionary in PyTorch's format of before version 1.6"
        raise load_error(path, f"{reason}: {str(error) or type(error).__name__}") from error


def _read(file: io.BytesIO) -> dict[str, np.ndarray]:
    magic, protocol, system = (_load(file) for _ in range(3))
    if magic != MAGIC or protocol != PROTOCOL or system["little_endian"] is not True:
        raise ValueError("its header is another")
    tensors = _load(file)
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError("it holds other things than tensors")
    if sum(math.prod(tensor.shape) for tensor in tensors.values()) > LIMIT // 4:
        raise ValueError(f"its tensors are larger than {LIMIT} bytes")
    dtypes = {tensor.key: tensor.dtype for tensor in tensors.values()}
    keys = _load(file)
    if not all(isinstance(key, str) and key in dtypes for key in keys):
        raise ValueError("its list of storages is another")
    storages = {}
    for key in keys:
        (count,) = np.frombuffer(file.read(8), "<i8")
        if not 0 <= count <= LIMIT:
            raise ValueError(f"it has a storage of {count} values")
        size = int(count) * np.dtype(dtypes[key]).itemsize
        storages[key] = np.frombuffer(file.read(size), dtypes[key], int(count))
    return {name: _array(tensor, storages[tensor.key]) for name, tensor in tensors.items()}


def _load(file: io.BytesIO) -> Any:
    """Load the next pickle, if all that it does is allowed and its keys are texts."""
    start = file.tell()
    stack: list[str] = []
    memo: dict[int, str] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name not in ALLOWED:
            raise ValueError(f"it has the operation {name}")
        if name in PUT:
            if argument > len(memo):
                raise ValueError("it numbers its values beyond their count")
            memo[argument] = stack[-1]
        elif name in GET:
            stack.append(memo[argument])
        else:
            taken = []
            if pickletools.markobject in operation.stack_before:
                while (last := stack.pop()) != "MARK":
                    taken.insert(0, last)
            else:
                taken = [stack.pop() for _ in operation.stack_before][::-1]
            keys = {"SETITEM": taken[1:2], "SETITEMS": taken[::2]}.get(name, [])
            if any(key != "BINUNICODE" for key in keys):
                raise ValueError("it has keys that are no texts")
            if name in ("SETITEMS", "APPENDS"):
                stack.pop()
            stack.extend(name for _ in operation.stack_after)
    file.seek(start)
    return _Unpickler(file).load()


def _array(tensor: Tensor, storage: np.ndarray) -> np.ndarray:
    values, shape = storage[tensor.offset :], tensor.shape
    last = sum((size - 1) * stride for size, stride in zip(shape, tensor.strides))
    if (
        len(shape) != len(tensor.strides)
        or min((tensor.offset, *shape, *tensor.strides)) < 0
        or max(math.prod(shape), last + 1) > len(values)
    ):
        raise ValueError(f"a tensor of shape {shape} does not fit its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values, shape, strides).copy()


class _Dictionary(dict):
    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Leave out what PyTorch keeps beside the tensors."""


class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, requires_grad, hooks) -> Tensor:
        numbers = (offset, *shape, *strides)
        if not all(type(number) is int for number in numbers):
            raise ValueError("it has a shape that is no shape")
        return Tensor(*storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dictionary
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise ValueError(f"it asks for '{module}.{name}'")

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        kind, dtype, key = reference[:3]
        if kind != "storage" or dtype not in STORAGES.values() or type(key) is not str:
            raise ValueError("it refers to something that is no storage")
        return dtype, key

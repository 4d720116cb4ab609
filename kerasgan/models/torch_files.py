"""State dictionaries in files that PyTorch wrote, read without PyTorch and without its pickle."""

from __future__ import annotations

import collections
import math
import os
import pathlib
import pickle
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from kerasgan.models.archives import load_error

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LIMIT = 2**30


class Tensor(NamedTuple):
    """A tensor as the file describes it: elements of a storage, by offset, shape and strides."""

    storage: tuple
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a state dictionary by name.

    The file is PyTorch's older kind: pickles, and behind them the values. Of the names that a
    pickle may ask for four are known here, and they stand for functions of this module; any other
    is refused, so nothing of the file is executed.
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"it is larger than {LIMIT} bytes")
        with open(path, "rb") as file:
            return _read(file)
    except Exception as error:  # broken pickles raise all kinds
        reason = "it is not a state dictionary in PyTorch's format of before version 1.6"
        raise load_error(path, f"{reason}: {error}") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, protocol, system = (_Unpickler(file).load() for _ in range(3))
    if magic != MAGIC or protocol != PROTOCOL or system["little_endian"] is not True:
        raise ValueError("its header is another")
    tensors = _Unpickler(file).load()
    dtypes = {tensor.storage[2]: tensor.storage[1] for tensor in tensors.values()}
    storages = {}
    for key in _Unpickler(file).load():
        (count,) = np.frombuffer(file.read(8), "<i8")
        size = int(count) * np.dtype(dtypes[key]).itemsize
        storages[key] = np.frombuffer(file.read(size), dtypes[key], int(count))
    return {str(name): _array(tensor, storages) for name, tensor in tensors.items()}


def _array(tensor: Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    values, shape = storages[tensor.storage[2]][tensor.offset :], tensor.shape
    last = sum((size - 1) * stride for size, stride in zip(shape, tensor.strides))
    if (
        len(shape) != len(tensor.strides)
        or min((tensor.offset, *shape, *tensor.strides)) < 0
        or max(math.prod(shape), last + 1) > len(values)
    ):
        raise ValueError(f"a tensor of shape {shape} does not fit its storage")
    strides = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values, shape, strides).copy()


def _rebuild_tensor(storage, offset, shape, strides, requires_grad, hooks) -> Tensor:
    return Tensor(storage, offset, shape, strides)


KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise ValueError(f"it asks for '{module}.{name}'")
        return KNOWN[module, name]

    def persistent_load(self, reference: Any) -> Any:
        return reference

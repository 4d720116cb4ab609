"""float32 on GPUs: what is compared must not be rounded twice in two ways."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf

_LOCK = threading.Lock()
_inside = 0
_before = True


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let GPUs compute in float32 what is in float32, until it is left; several threads may enter.

    By default GPUs since NVIDIA's Ampere round what they multiply to TensorFloat-32, 11 significant
    bits. Two ways to compute the same layer then differ by about a thousandth, and so do relevance
    that comes into a layer and that goes out.
    """
    global _inside, _before
    execution = tf.config.experimental
    with _LOCK:
        if not _inside:
            _before = execution.tensor_float_32_execution_enabled()
            execution.enable_tensor_float_32_execution(False)
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                execution.enable_tensor_float_32_execution(_before)

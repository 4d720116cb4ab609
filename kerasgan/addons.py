"""tensorflow-addons, without its farewell notices."""

from __future__ import annotations

import contextlib
import importlib
import warnings

__all__ = ["addons", "quiet"]


@contextlib.contextmanager
def quiet():
    """Hide that tensorflow-addons has ended and was built beside a newer TensorFlow.

    Example:
        >>> with quiet():
        ...     import tensorflow_addons
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def addons():
    """Return the module `tensorflow_addons`, imported when it is first needed.

    Its layers are known to Keras, and can be loaded from files, once it is imported.

    Returns:
        The module.

    Example:
        >>> addons().layers.SpectralNormalization.__name__
        'SpectralNormalization'
    """
    with quiet():
        return importlib.import_module("tensorflow_addons")

"""What tests on both stacks write alike.

`tf` is TensorFlow whose functions stand between Keras layers too: Keras 2.14 applies them to
symbolic tensors itself, Keras 3 wants a layer around them.
"""

from __future__ import annotations

import inspect

import keras
import pytest
import tensorflow

__all__ = ["by_stack", "path_of", "tf"]


class _Functions:
    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        found = getattr(self._module, name)
        if inspect.ismodule(found):
            return _Functions(found)
        return _of_symbols(found) if inspect.isroutine(found) else found


class Applied(keras.layers.Layer):
    def __init__(self, function):
        super().__init__(autocast=False)
        self.function = function

    def call(self, tensors):
        return self.function(tensors)


def _of_symbols(function):
    def applied(*arguments, **options):
        given = (list(arguments), options)
        flat = tensorflow.nest.flatten(given)
        places = [i for i, x in enumerate(flat) if keras.utils.is_keras_tensor(x)]
        if not places:
            return function(*arguments, **options)

        def call(tensors):
            tensors = tensors if len(places) > 1 else [tensors]
            found = dict(zip(places, tensors))
            packed = [found.get(i, x) for i, x in enumerate(flat)]
            own, named = tensorflow.nest.pack_sequence_as(given, packed)
            return function(*own, **named)

        tensors = [flat[i] for i in places]
        return Applied(call)(tensors if len(places) > 1 else tensors[0])

    return applied


KERAS_3 = keras.__version__.startswith("3.")
tf = _Functions(tensorflow) if KERAS_3 else tensorflow


def path_of(weight):
    """Its name behind that of its layer."""
    return getattr(weight, "path", weight.name)


def by_stack(values, named=str):
    """Mark every second value slow, others on each stack: .ci/run then tests each of them once."""
    return [
        pytest.param(value, id=named(value), marks=pytest.mark.slow if i % 2 == KERAS_3 else ())
        for i, value in enumerate(values)
    ]

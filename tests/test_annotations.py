"""Every public function and method says the types of what it takes and gives."""

import inspect

import keras
import pytest

import kerasgan as kg

ROOMS = (kg.data, kg.models, kg.training, kg.inference, kg.explain, kg.evaluation, kg.report)


def functions(value, name):
    """What is called by users: a function, or a class's constructor and public methods."""
    if inspect.isfunction(value):
        yield name, value
    elif inspect.isclass(value):
        for key in vars(value):
            of_keras = issubclass(value, (keras.layers.Layer, keras.callbacks.Callback))
            inherited = of_keras and key in dir(value.__mro__[1])  # Keras annotates none
            if key == "__init__" or not (key.startswith("_") or inherited):
                yield from functions(inspect.unwrap(getattr(value, key)), f"{name}.{key}")


def public(room):
    for key in room.__all__:
        value = getattr(room, key)
        if inspect.ismodule(value):
            yield from public(value)
        else:
            yield from functions(value, f"{room.__name__}.{key}")


FUNCTIONS = dict(pair for room in ROOMS for pair in public(room))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_all_arguments_and_results_have_types(name):
    signature = inspect.signature(FUNCTIONS[name])
    empty = inspect.Parameter.empty
    bare = [
        key
        for key, parameter in signature.parameters.items()
        if parameter.annotation is empty and key not in ("self", "cls")
    ]
    if signature.return_annotation is empty and not name.endswith("__init__"):
        bare.append("return")
    assert not bare

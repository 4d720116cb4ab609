"""What differs between the stacks is in one module, and nothing private is used elsewhere."""

import ast
import pathlib

import keras
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan import stack

PACKAGE = pathlib.Path(kg.__file__).parent
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
PUBLIC = {"_replace", "_asdict", "_fields", "_make"}  # of named tuples
PUBLIC |= {"_create_analysis"}  # of iNNvestigate, for subclasses of its analyzers
LOOKED_FOR = {"_trainable_weights", "_non_trainable_weights"}  # by iNNvestigate, in what we give it
BY_NAME = ("getattr", "hasattr", "setattr", "delattr")
FOREIGN = ("keras.src", "tensorflow.python", "tensorflow.keras", "keras.api")


def defined():
    """Names with one underscore that kerasgan itself gives to something."""
    names = set(PUBLIC)
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):
                of_self = getattr(node.value.func, "id", "") == "vars"
                names |= {getattr(node.slice, "value", None)} if of_self else set()
    return names


OURS = defined()
READ = {
    node.attr
    for tree in MODULES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
}


def private(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            plain = node.attr.startswith("_") and not node.attr.endswith("__")
            given = READ | LOOKED_FOR
            if plain and node.attr not in given:  # set for another library to read
                yield node.lineno, node.attr
            if (plain and node.attr not in OURS) or node.attr in ("__internal__", "__dict__"):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in BY_NAME:
            name = getattr(node.args[1], "value", "")
            if str(name).startswith("_") and not name.endswith("__") and name not in OURS:
                yield node.lineno, name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names = [getattr(node, "module", None) or "", *names]
            yield from ((node.lineno, name) for name in names if name.startswith(FOREIGN))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"stack.py"}))
def test_nothing_private_of_another_library_is_used(module):
    assert list(private(MODULES[module])) == []


def asks_for_version(tree):
    """Lines that do more with the version of TensorFlow or Keras than to tell it."""
    for node in ast.walk(tree):
        asked = list(ast.walk(node)) if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = [node.func.value]  # __version__.startswith and the like
        for part in asked:
            version = getattr(part, "attr", "") == "__version__"
            if version and getattr(part.value, "id", "") in ("keras", "tf", "tensorflow"):
                yield node.lineno


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"stack.py", "_requirements.py"}))
def test_no_other_module_asks_for_a_version(module):
    assert list(asks_for_version(MODULES[module])) == []


def test_the_stack_is_told_right():
    keras_3 = keras.__version__.split(".")[0] == "3"
    assert keras_3 == stack.KERAS_3
    assert keras_3 == (tf.__version__.split(".")[:2] != ["2", "14"])


def test_layers_at_any_depth_are_found_once():
    inner = keras.Sequential([keras.layers.Dense(2, name="deep")], name="inner")

    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="holder")
            self.held = [keras.layers.Dense(2, name="held"), inner]

        def call(self, x):
            return self.held[1](self.held[0](x))

    image = keras.Input((3,), name="image")
    shared = keras.layers.Dense(3, name="shared")
    network = keras.Model(image, Holder()(shared(shared(image))))
    names = [layer.name for layer in stack.layers_of(network)]
    assert sorted(n for n in names if "input" not in n) == sorted(
        ["image", "shared", "holder", "held", "inner", "deep"]
    )
    assert names.index("holder") < names.index("held") < names.index("deep")


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_nothing_is_allocated_for_a_network_too_large_then_or_later():
    def pages():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

    before = pages()
    with pytest.raises(kg.KerasganError, match="more than 1000 numbers"):
        stack.built_within(lambda: kg.models.unet(size=32, filters=1500, levels=1), most=1000)

    class Plain(keras.layers.Layer):
        def call(self, x):
            return tf.tanh(x)

    Plain()(keras.Input((4, 4, 1)))
    assert (pages() - before) * 4096 < 300e6

"""Docstrings: their examples run, and everything public has one."""

import doctest
import importlib.util
import inspect
import pkgutil

import pytest
from stacks import by_stack

import kerasgan as kg

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROOMS = (kg.data, kg.models, kg.training, kg.inference, kg.explain, kg.evaluation, kg.report)
MODULES = sorted(found.name for found in pkgutil.walk_packages(kg.__path__, "kerasgan."))
MODULES.remove("kerasgan.explain.innvestigate")
BY_STACK = by_stack(["kerasgan", *MODULES])
if importlib.util.find_spec("innvestigate"):
    BY_STACK.append("kerasgan.explain.innvestigate")


@pytest.mark.parametrize("name", BY_STACK)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_examples_are_found():
    counts = {}
    for name in MODULES:
        tests = doctest.DocTestFinder().find(importlib.import_module(name))
        counts[name] = sum(len(test.examples) for test in tests)
    assert counts["kerasgan.counts"] > 0
    assert counts["kerasgan.explain.targets"] > 0


def public(module):
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from public(value)
        else:
            yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", [value for room in ROOMS for value in public(room)])
def test_public_names_have_an_example(value):
    text = inspect.getdoc(value) or ""
    assert value.__doc__, "no docstring of its own"
    assert ">>>" in text, "no example"

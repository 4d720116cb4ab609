"""Modules of benchmarks/, imported from there whatever else is loaded under their names."""

import importlib
import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = [path.stem for path in BENCHMARKS.glob("*.py")]


@pytest.fixture
def benchmark_module(monkeypatch):
    """Return the function that imports a module of benchmarks/ by its name."""
    loaded = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(loaded)

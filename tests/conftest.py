"""Settings and fixtures shared by every test."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import pathlib

import pytest
import tensorflow as tf

from kerasgan.stack import KERAS_3

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

ROOT = pathlib.Path(__file__).parent
NIGHTLY = (  # browsers, packaging, pages, scripts
    "app/test_app_browser.py",
    "benchmarks",
    "examples",
    "fuzz",
    "report/test_browser.py",
    "test_contributing.py",
    "test_docs.py",
    "test_docstrings.py",
    "test_examples.py",
    "test_packaging.py",
    "test_site.py",
)
ONCE = (  # what no stack changes: .ci/run tests it on one
    "app/test_app_browser.py",
    "benchmarks",
    "report/test_browser.py",
    "test_contributing.py",
)
SHORT = ("benchmarks", "data", "fuzz")  # many files of a few seconds: they come last


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.relative_to(ROOT).parts[0] in SHORT)
    for item in items:
        place = item.path.relative_to(ROOT)
        if {place.as_posix(), place.parts[0]} & set(NIGHTLY):
            item.add_marker(pytest.mark.nightly)
        if {place.as_posix(), place.parts[0]} & set(ONCE) and not KERAS_3:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Leave what was imported out of every later collection of garbage: a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give all tests of a file to one process, so that what they share is made once.

    Files come in the order of collection: short ones last, so that processes end together.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real images, or a skip that says why."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("KERASGAN_DATA", default))
    if not (folder / "kvasir-seg").is_dir():
        pytest.skip(f"no real images in {folder}; set KERASGAN_DATA to the folder holding them")
    return folder

"""Fixtures of the explanation tests."""

import keras
import pytest

pytest.register_assert_rewrite("canonical")


@pytest.fixture
def float64():
    """Layers made during the test compute in float64."""
    keras.backend.set_floatx("float64")
    keras.mixed_precision.set_global_policy("float64")
    yield
    keras.backend.set_floatx("float32")
    keras.mixed_precision.set_global_policy("float32")

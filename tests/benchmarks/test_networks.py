import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("networks")


def test_rows_are_all_networks_of_keras_twice(script):
    rows = script.rows()
    assert len(rows) == len(set(rows))
    for name in ("VGG16", "ConvNeXtXLarge", "ResNet50", "NASNetMobile"):
        assert {name, f"{name} U-Net"} <= set(rows)


def test_classifier_and_unet_are_those_of_their_logits(script):
    for row, shape in (("MobileNet", (1, 1, 1, 1000)), ("MobileNet U-Net", (1, 32, 32, 1))):
        model, logits, image = script.network(row)
        output, expected = model(image, training=False).numpy(), logits(image)
        assert output.shape == shape
        last = keras.activations.softmax if shape[-1] > 1 else keras.activations.sigmoid
        np.testing.assert_allclose(output.ravel(), np.ravel(last(tf.constant(expected))), atol=1e-6)
        assert expected.std() > 0.1
        means = [w for w in model.weights if "moving_mean" in w.name]
        assert all(np.ptp(w) > 0 for w in means[1:])


def test_skips_have_one_size_each(script):
    sizes = [
        int(skip.shape[1])
        for skip in script.skips_of(script.application("ResNet50", include_top=False))
    ]
    assert sizes == [2, 4, 8, 16]


def test_a_row_is_measured_or_holds_its_error(script):
    found = script.measure("sequential")
    assert found["parameters"] == 529
    assert 0 <= found["difference"] < 1e-5
    assert 0 <= found["remainder"] < 1e-4
    text = script.table({"sequential": found, "other": {"error": "Layer 'x' | cannot"}})
    assert "1 of 2 networks" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0].count("|") == 9
    assert "Layer 'x' / cannot" in rows[1]


@pytest.mark.nightly
def test_the_script_lists_its_rows_on_its_own(script):
    command = [sys.executable, script.__file__, "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    assert {"ResNet50", "VGG16 U-Net", "sequential"} <= set(listed)

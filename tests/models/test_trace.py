"""What a network computes, in order."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from stacks import tf

import kerasgan as kg
from kerasgan.models.trace import trace_network
from kerasgan.stack import KERAS_3


def kinds(found):
    return [step.kind for step in found.steps if step.depends == "image"]


@tf.function
def halved(x):
    return tf.nn.relu(x), x / 2


@tf.function
def quartered(x):
    return halved(halved(x)[1])


class InFunctions(layers.Layer):
    def call(self, x):
        return quartered(x)[1]


def test_functions_are_walked_into():
    image = keras.Input((8, 8, 3))
    found = trace_network(keras.Model(image, InFunctions(name="four")(image)))
    assert kinds(found) == ["Image", "RealDiv", "RealDiv"]
    assert {step.layer for step in found.steps if step.kind == "RealDiv"} == {"four"}
    assert found.output.tensor is None


@tf.custom_gradient
def halved_beside(x):
    return (tf.nn.relu(x), x / 2), lambda first, second: second


def test_each_value_of_a_custom_gradient_is_its_own():
    image = keras.Input((8, 8, 3))
    half = layers.Lambda(lambda x: halved_beside(x)[1])(image)
    assert kinds(trace_network(keras.Model(image, half))) == ["Image", "RealDiv"]


def test_a_saved_model_of_others(tmp_path):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = layers.Conv2D(1, 1)

        def call(self, image):
            return tf.sigmoid(self.last(image))

    model = Mine()
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    expected = model(images)
    if KERAS_3:
        model.export(str(tmp_path / "saved"), verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "saved"))
    else:
        model.save(tmp_path / "saved")
        loaded = keras.models.load_model(tmp_path / "saved", compile=False)
    np.testing.assert_allclose(
        kg.inference.predict_probability(loaded, images, size=16, preprocess="[-1,1]"),
        expected,
        atol=1e-6,
    )
    assert kinds(trace_network(kg.models.generator_of(loaded)))[-1] == "Sigmoid"

"""What a network computes, in order."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from stacks import tf

import kerasgan as kg
from kerasgan.models.trace import clear_trace, layers_in, trace, trace_network
from kerasgan.stack import KERAS_3


def kinds(found, depends="image"):
    """As Keras 2.14 does it: there are two ways to add a bias."""
    found = [step.kind for step in found.steps if step.depends == depends]
    return ["BiasAdd" if kind == "AddV2" else kind for kind in found]


def test_steps_are_in_an_order_in_which_they_can_be_computed():
    found = trace_network(kg.models.unet(size=32, filters=2, levels=2))
    seen = set()
    for step in found.steps:
        assert all(value.step in seen for value in step.inputs)
        seen.add(step)
    assert found.output.step is found.steps[-1]


@pytest.mark.parametrize("size", [16, None])
def test_what_depends_on_what(size):
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(2, 3, padding="same", name="conv")(image)
    x = layers.Lambda(lambda x: tf.image.resize(x, 2 * tf.shape(x)[1:3]))(x)
    found = trace_network(keras.Model(image, tf.sigmoid(x / 2)))
    assert kinds(found) == ["Image", "Conv2D", "BiasAdd", "ResizeBilinear", "RealDiv", "Sigmoid"]
    variables = [k for k in kinds(found, "variables") if k not in ("Reshape", "Squeeze")]
    assert sorted(variables) == ["Placeholder"] * 2 + ["ReadVariableOp"] * 2
    assert set(kinds(found, "nothing")) <= {"Const", "Mul", "Pack", "Shape", "StridedSlice"}


def test_layers_are_named():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 1, name="shared")
    inner = keras.Model(image, layers.ReLU(name="inner_relu")(shared(shared(image))), name="inner")
    found = trace_network(keras.Model(image, layers.Conv2D(1, 1, name="last")(inner(image))))
    named = [step.layer for step in found.steps if step.depends == "image"]
    assert named[1:] == ["shared"] * 4 + ["inner_relu"] + ["last"] * 2
    assert found.steps[-1].path == "last"
    assert {step.path for step in found.steps} >= {"inner/shared", "inner/inner_relu"}
    assert found.placed["inner"] == found.placed["inner/inner_relu"]
    assert layers_in("model/conv/x/Conv2D", {"conv"}) == [("conv", "model/conv")]
    assert layers_in("model/Conv2D", {"conv", "model"}) == []


@tf.function
def halved(x):
    return tf.nn.relu(x), x / 2


@tf.function
def quartered(x):
    return halved(halved(x)[1])


class InFunctions(layers.Layer):
    def call(self, x):
        return quartered(x)[1]


def test_layers_whose_names_are_those_of_others_with_a_number():
    image = x = keras.Input((8, 8, 3))
    for filters, name in enumerate(("conv", "conv_1", "conv_1_1", "conv_2", "conv_1_2"), 2):
        x = keras.layers.Conv2D(filters, 1, name=name)(x)
    model = keras.Model(image, x)
    placed = trace_network(model).placed
    found = {path: value.tensor.shape[-1] for path, value in placed.items()}
    assert found == {layer.name: layer.filters for layer in model.layers[1:]}


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


def test_each_output_and_each_activation_has_a_trace_of_its_own():
    image = keras.Input((8, 8, 3))
    ends = [layers.Conv2D(1, 1, activation=name, name=name)(image) for name in ("relu", "tanh")]
    model = keras.Model(image, ends)
    for output, kind in enumerate(("Relu", "Tanh")):
        found = trace_network(model, output)
        assert found.steps[-1].kind == kind
    assert trace_network(model, 1) is found
    model.get_layer("tanh").activation = keras.activations.sigmoid
    again = trace_network(model, 1)
    assert again.steps[-1].kind == "Sigmoid"
    clear_trace(model)
    assert trace_network(model, 1) is not again


class Shifted(layers.Layer):
    def build(self, shape):
        self.shift = self.add_weight(name="shift", shape=(3,), initializer="ones")

    def call(self, x):
        return tf.cast(x, tf.float16) + tf.cast(self.shift, tf.float16)


def test_numbers_in_another_precision_and_of_the_image():
    image = keras.Input((8, 8, 3))
    found = trace_network(keras.Model(image, Shifted()(image)))
    of_image, shift = found.output.step.inputs
    assert found.number(of_image) is None
    np.testing.assert_array_equal(found.number(shift), [1, 1, 1])


def test_numbers_of_variables_are_those_of_now():
    model = kg.models.unet(size=32, filters=2, levels=2)
    found = trace_network(model)
    last = [s for s in found.steps if s.layer == "mask_conv" and s.kind in ("AddV2", "BiasAdd")]
    bias = last[0].inputs[1]
    while bias.step.kind == "Reshape":
        bias = bias.step.inputs[0]
    model.get_layer("mask_conv").bias.assign([2.5])
    np.testing.assert_array_equal(found.number(bias), [2.5])


def test_a_function_being_traced():
    model = kg.models.unet(size=32, filters=2, levels=2)
    seen = []

    @tf.function
    def step(images):
        output = model(images, training=True)
        seen.append(trace(output, [images]))
        return output

    step(tf.zeros((1, 32, 32, 3)))
    assert kinds(seen[0])[-3:] == ["Conv2D", "BiasAdd", "Sigmoid"]


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

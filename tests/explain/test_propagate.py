"""What propagation is told of a network, and what it makes of layers called twice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from toys import IMAGES, small, with_random_weights

from kerasgan.explain import Explainer, dense
from kerasgan.explain.canonize import read_graph


def test_known_signs():
    def inputs_of_known_sign(graph):
        return {n.name for n in graph.nodes if all(v in graph.nonnegative for v in n.inputs)}

    assert inputs_of_known_sign(read_graph(small())) == {"up_1_conv", "head"}
    assert "down_2_conv" in inputs_of_known_sign(read_graph(small(slope=0.0)))


def test_shared_layers_keep_their_names_apart():
    image = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="shared")
    model = keras.Model(image, conv(conv(image)))
    e = Explainer(with_random_weights(model), "epsilon").explain(IMAGES)
    assert len([name for name in e.layers if name.startswith("shared")]) == 2
    assert len(e.ledger) == 2 * len(IMAGES)


@pytest.mark.parametrize("join", [layers.Add, layers.Average, layers.Concatenate])
def test_the_gradient_of_a_layer_that_takes_one_tensor_twice(join):
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1)(join()([x, x]))))
    with tf.GradientTape() as tape:
        images = tf.constant(IMAGES)
        tape.watch(images)
        total = tf.reduce_sum(model(images))
    expected = tape.gradient(total, images)
    found = Explainer(model, "gradient").explain(IMAGES, np.ones((6, 6))).relevance
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def normalised(scale, shift):
    """A layer normalization whose scale and shift are set, and an average of what it gives."""
    image = keras.Input((4, 4, 3), name="image")
    x = layers.LayerNormalization(name="norm")(image)
    x = layers.Conv2D(1, 1, use_bias=False, name="head")(x)
    model = keras.Model(image, x)
    norm, head = model.get_layer("norm"), model.get_layer("head")
    norm.set_weights([np.array(scale), np.array(shift)])
    head.set_weights([np.ones((1, 1, 3, 1))])
    return model


@pytest.mark.parametrize("rule", ["attnlrp", "epsilon-gamma-box"])
def test_scale_and_shift_of_a_normalization_are_a_linear_step(rule):
    scale, shift = np.array([2.0, 0.5, 1.0]), np.array([0.3, -0.2, 1.0])
    images = np.random.default_rng(0).uniform(-1, 1, (1, 4, 4, 3)).astype("float32")
    if rule != "attnlrp":  # the last node has the epsilon rule there too
        assert Explainer(normalised(scale, shift), rule).graph.node("head").last
    e = Explainer(normalised(scale, shift), rule).explain(images, np.ones((4, 4)))
    deviation = np.sqrt(images.var(-1, keepdims=True) + 1e-3)
    towards_centred = scale / deviation  # d logit / d (x - mean), the deviation held
    expected = images * (towards_centred - towards_centred.mean(-1, keepdims=True))
    np.testing.assert_allclose(e.relevance, expected, atol=1e-4 * np.abs(expected).max())


def test_what_a_composite_calls_dense():
    image = keras.Input((4, 4, 3))
    tokens = layers.Dense(4, name="tokens")(layers.Reshape((16, 3))(image))
    classes = layers.Dense(2, name="classes")(layers.GlobalAveragePooling1D()(tokens))
    graph = read_graph(keras.Model(image, layers.Reshape((1, 1, 2))(classes)))
    assert [name for name in ("tokens", "classes") if dense(graph.node(name))] == ["classes"]

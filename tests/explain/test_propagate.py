"""What propagation is told of a network, and what it makes of layers called twice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from toys import IMAGES, small, with_random_weights

from kerasgan.explain import Explainer
from kerasgan.explain.canonize import read_graph


def test_known_signs():
    def inputs_of_known_sign(graph):
        return {n.name for n in graph.nodes if all(v in graph.nonnegative for v in n.inputs)}

    assert inputs_of_known_sign(read_graph(small())) == {"up_1_conv", "head"}
    assert "down_2_conv" in inputs_of_known_sign(read_graph(small(slope=0.0)))


def test_nodes_print_in_a_line():
    assert repr(read_graph(small()).node("head")) == "<weighted node 'head'>"


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

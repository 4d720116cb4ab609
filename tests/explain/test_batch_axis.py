"""Networks that turn their values so that another axis than that of the images comes first."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from refusals import refused
from toys import IMAGES, with_random_weights

from kerasgan.explain import Explainer
from kerasgan.stack import KERAS_3


def _of(function):
    image = keras.Input((8, 8, 3))
    return with_random_weights(keras.Model(image, layers.Conv2D(1, 1)(function(image))))


def _moved(*order):
    return layers.Lambda(lambda x: tf.transpose(x, order))


def _tokens_first(image):
    x = _moved(1, 0, 2)(layers.Reshape((64, 3))(image))
    x = layers.Dense(4)(layers.Dense(4, activation="relu", name="mixed")(x))
    x = layers.Lambda(lambda t: tf.concat([t, t[:1]], 0))(layers.LayerNormalization()(x))
    return layers.Reshape((8, 8, 4))(_moved(1, 0, 2)(x)[:, 1:])


def _tokens_and_images_as_one(image):
    rows = layers.Lambda(
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (-1, 64, 3)), (1, 0, 2)), (-1, 3))
    )(image)
    rows = layers.Dense(4, activation="relu")(rows)
    return layers.Lambda(
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (64, -1, 4)), (1, 0, 2)), (-1, 8, 8, 4))
    )(rows)


def _both_ways_in_one_batch(image):
    x = layers.Lambda(lambda x: tf.concat([x, x[:, :, ::-1]], 0))(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    return layers.Lambda(lambda x: tf.add(*tf.split(x, 2)))(x)


def _stacked(image):
    x = layers.Lambda(lambda x: tf.stack([x[..., 0], x[..., 1] - x[..., 2]]))(image)
    return _moved(1, 2, 3, 0)(layers.ReLU()(x))


def _images_between_rows(image):
    def into(x):
        rows = tf.transpose(tf.reshape(x, (-1, 2, 4, 8, 3)), (4, 1, 0, 2, 3))
        return tf.reshape(rows, (3, -1, 8))

    def back(x):
        rows = tf.transpose(tf.reshape(x, (3, 2, -1, 4, 8)), (2, 1, 3, 4, 0))
        return tf.reshape(rows, (-1, 8, 8, 3))

    return layers.Lambda(back)(layers.Dense(8, activation="relu")(layers.Lambda(into)(image)))


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (_tokens_first, "attnlrp"),
        (_images_between_rows, "epsilon"),
        (_tokens_and_images_as_one, "epsilon-gamma-box"),
        (_both_ways_in_one_batch, "epsilon-gamma-box"),
        (_stacked, "epsilon"),
    ],
)
def test_an_image_is_explained_alike_alone_and_among_others(function, rule):
    explainer = Explainer(_of(function), rule)
    target = np.ones((8, 8))
    together, ledger = explainer.explain(IMAGES, target), explainer.check(IMAGES, target=target)
    for place in (0, 2):
        alone = explainer.explain(IMAGES[place : place + 1], target)
        size = np.abs(alone.relevance).max()
        assert np.abs(together.relevance[place] - alone.relevance[0]).max() < 1e-4 * size
        own, numbers = ledger[ledger["image"] == place], ["relevance_in", "relevance_out", "bias"]
        differences = np.abs(own[numbers].to_numpy() - alone.ledger[numbers].to_numpy())
        assert (differences.max(1) <= 1e-3 * own["absolute"]).all()


def test_relevance_at_layers_has_images_first():
    e = Explainer(_of(_tokens_first), "attnlrp").explain(IMAGES, np.ones((8, 8)))
    assert e.layers["mixed"].shape == (3, 64, 4)
    assert all(len(e.layers[name]) == 3 for name in e.layers)


def test_pieces_of_a_batch_have_the_same_relevance_at_layers():
    model = _of(_tokens_first)
    whole = Explainer(model, "epsilon").explain(IMAGES, np.ones((8, 8)))
    pieces = Explainer(model, "epsilon", batch_size=2).explain(IMAGES, np.ones((8, 8)))
    assert np.allclose(pieces.layers["mixed"], whole.layers["mixed"], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(KERAS_3, reason="Keras 3 has no LocallyConnected2D")
def test_locally_connected_layers_are_explained():
    model = _of(lambda image: layers.LocallyConnected2D(2, 2, 4, use_bias=False)(image))
    explainer, target = Explainer(model, "epsilon"), np.ones((2, 2))
    explainer.check(IMAGES, target=target)
    with tf.GradientTape() as tape:
        images = tf.constant(IMAGES)
        tape.watch(images)
        total = tf.reduce_sum(model(images))
    expected = images * tape.gradient(total, images)
    assert np.allclose(explainer.explain(IMAGES, target).relevance, expected, atol=1e-2)


@pytest.mark.filterwarnings("ignore:Network .* stays in training mode")
@pytest.mark.parametrize(
    "mix",
    [
        lambda x: tf.cumsum(x, 0),
        lambda x: x + x[:1],
        lambda x: x - tf.reduce_mean(x, 0, keepdims=True),
        lambda x: x[::-1],
    ],
)
def test_images_that_depend_on_one_another_are_refused(mix):
    refused("batch", Explainer, _of(lambda image: layers.Lambda(mix)(image)))

"""What is dropped is freed: networks, optimizers, data, and the graphs traced of them."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import FuncGraph

import kerasgan as kg
from kerasgan.training.guards import graphs_let_go

rng = np.random.default_rng(0)
IMAGES = rng.uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")


def graphs():
    """The train functions' graphs that are still held by something."""
    gc.collect()
    gc.collect()
    return sum(isinstance(x, FuncGraph) and x.name == "train_function" for x in gc.get_objects())


def kept_gradients():
    gc.collect()
    return {x for x in ops.gradient_registry.list() if x.startswith("CustomGradient")}


def swish_network():
    """A generator whose activation TensorFlow differentiates by a function of its own."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="swish")(image)
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    return keras.Model(image, keras.layers.Activation("sigmoid")(x))


@pytest.mark.parametrize("resume", [False, True])
def test_a_gan_that_is_dropped_is_freed(tmp_path, resume):
    kg.data.synthetic.write_dataset(tmp_path / "scenes", count=4, size=32)
    samples = kg.data.load_folder(tmp_path / "scenes")

    def train():
        judge = kg.models.patch_discriminator(size=32, filters=2)
        gan = kg.SegmentationGAN(swish_network(), judge)
        gan.compile(losses={"dice": 1.0}, ema_momentum=0.9)
        batches = samples.batches(2, size=32, augment=True)
        where = {"resume": tmp_path / "run"} if resume else {}
        gan.fit(batches, validation_data=samples.batches(2, size=32), verbose=0, **where)
        parts = [gan, gan.generator, gan._learner, judge, gan.optimizer, gan.train_function]
        return [weakref.ref(part) for part in [*parts, batches, *gan.generator.weights]]

    before = graphs()
    left = train()
    assert graphs() == before
    assert [part() for part in left if part() is not None] == []


def test_a_gradient_lives_as_long_as_its_graph():
    before = kept_gradients()
    x = tf.constant([-1.0, 0.5, 2.0])
    with graphs_let_go():
        swish = tf.function(tf.nn.silu).get_concrete_function(x)
    assert len(kept_gradients() - before) == 1
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = swish(x)
    sigmoid = tf.sigmoid(x)
    expected = sigmoid * (1 + x * (1 - sigmoid))
    np.testing.assert_allclose(tape.gradient(y, x), expected, rtol=1e-6)
    del swish, tape, y
    assert kept_gradients() == before


def test_weights_do_not_change_by_letting_go():
    """The numbers are those of a step that TensorFlow keeps for good."""
    ends = []
    for fit in (kg.SegmentationGAN.fit, keras.Model.fit):
        gan = kg.recipes.build("pix2pix", size=32, filters=2, seed=1)
        fit(gan, IMAGES, MASKS, batch_size=2, shuffle=False, verbose=0)
        ends.append(gan.generator.get_weights())
    for ours, theirs in zip(*ends):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

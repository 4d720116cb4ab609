import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.training.learner import clone_with_precision, update_ema

IMAGE = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("build", [kg.models.pix2pix_generator, kg.models.residual_unet])
def test_a_twin_has_the_weights_and_computes_in_its_precision(build):
    network = build(size=32, filters=4)
    same, half = clone_with_precision(network, "float32"), clone_with_precision(network, "bfloat16")
    np.testing.assert_array_equal(same(IMAGE), network(IMAGE))
    assert np.abs(half(IMAGE) - network(IMAGE)).max() < 0.05
    assert {tf.as_dtype(w.dtype) for w in half.trainable_weights} == {tf.float32}
    kinds = {x.name: x.compute_dtype for x in half.layers}
    assert kinds["mask"] == "float32"
    last = [x for x in half.layers if x.weights][-1]
    assert last.compute_dtype == "float32"
    others = [x for x in half.layers if x.weights and x is not last]
    assert {x.compute_dtype for x in others} == {"bfloat16"}
    assert not set(map(id, half.weights)) & set(map(id, network.weights))


def test_nested_networks_are_built_anew():
    inner = kg.models.unet(size=32, filters=2, levels=1)
    image = keras.Input((32, 32, 3))
    outer = keras.Model(image, inner(image))
    half = clone_with_precision(outer, "bfloat16")
    assert half.layers[-1] is not inner
    assert half.layers[-1].get_layer("middle_conv_a").compute_dtype == "bfloat16"


def test_follow_is_a_moving_average():
    network = kg.models.pix2pix_generator(size=32, filters=2)
    learner = clone_with_precision(network, "float32")
    before = network.get_weights()
    learner.set_weights([w + 1 for w in learner.get_weights()])
    update_ema(network, learner, tf.constant(0.75))
    for old, new in zip(before, network.get_weights()):
        share = 0.25 if np.issubdtype(new.dtype, np.floating) else 1
        np.testing.assert_allclose(new, old + share, rtol=1e-5)


def test_an_unknown_precision_is_named():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1))
    refused(r"'bfloat61'\. Did you mean 'bfloat16'", gan.compile, precision="bfloat61")

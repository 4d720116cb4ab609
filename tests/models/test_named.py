import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_networks import BUILT, build

import kerasgan as kg
from kerasgan.models import named


def small():
    return kg.models.unet(size=32, filters=2, levels=2)


def test_every_public_builder_leaves_a_record():
    public = {name for name in kg.models.__all__ if name.endswith(("unet", "generator", "former"))}
    public |= {name for name in kg.models.__all__ if name.endswith(("discriminator", "critic"))}
    assert public == set(named.BUILDERS) == {name.partition(",")[0] for name in BUILT}


@pytest.mark.parametrize("name", BUILT)
def test_a_network_is_rebuilt_of_its_record(name, tmp_path):
    wide = name.startswith(("residual", "pixel", "feature"))
    network = build(name, seed=3, classes=2, size=(32, 64) if wide else 32)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if tf.as_dtype(weight.dtype).is_floating:
            weight.assign(weight.numpy() + rng.uniform(0, 0.1, weight.shape))
    record = json.loads(json.dumps(named.record_of(network)))
    assert record["arguments"]["seed"] == 3
    assert "weights" not in record["arguments"]
    named.save_weights(network, tmp_path / "a.safetensors")
    again = named.load_weights(functools.partial(named.rebuild, record), tmp_path / "a.safetensors")
    for ours, theirs in zip(network.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(named.sample_output(network), named.sample_output(again))
    kinds = [[(type(x), x.name) for x in each.layers] for each in (network, again)]
    assert kinds[0] == kinds[1]
    assert named.record_of(again) == record


@pytest.mark.parametrize(
    "change",
    [
        lambda network: setattr(network.get_layer("down_1_act_a"), "negative_slope", 0.1),
        lambda network: setattr(network.get_layer("mask"), "activation", keras.activations.linear),
        lambda network: setattr(network.get_layer("down_1_bn_a"), "epsilon", 0.1),
        lambda network: setattr(
            network.get_layer("mask_conv"), "kernel_regularizer", keras.regularizers.L2(0.1)
        ),
    ],
    ids=["slope", "activation", "epsilon", "regularizer"],
)
def test_a_network_that_was_changed_has_none(change):
    network = small()
    assert named.record_of(network)
    change(network)
    assert named.record_of(network) is None


def test_networks_made_of_others_have_none():
    network = small()
    inner = network.get_layer("middle_act_b").output
    assert named.record_of(keras.Model(network.inputs, inner)) is None
    assert named.record_of(keras.models.clone_model(network)) is None


@pytest.mark.parametrize("what", ["whole", "layer", "without weights", "all but the last"])
def test_what_is_frozen_stays_so(what):
    network = small()
    if what == "whole":
        network.trainable = False
        network.get_layer("mask_conv").trainable = True
    elif what == "all but the last":
        for layer in network.layers:
            layer.trainable = layer.name.startswith("mask")
    else:
        name = {"layer": "down_1_bn_a", "without weights": "down_1_act_a"}[what]
        network.get_layer(name).trainable = False
    again = named.rebuild(named.record_of(network))
    flags = [[layer.trainable for layer in each.layers] for each in (network, again)]
    assert flags[0] == flags[1]
    assert len(set(flags[0])) == 2


def test_the_policy_is_that_of_the_record():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = small()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    again = named.rebuild(named.record_of(network))
    for each in (network, again):
        assert each.get_layer("down_1_conv_a").compute_dtype == "bfloat16"
    assert keras.mixed_precision.global_policy().name == "float32"


class Twice(keras.layers.Layer):
    """Two layers within, whose names Keras makes up."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [keras.layers.Dense(3), keras.layers.Dense(3)]

    def build(self, shape):
        for layer in self.inner:
            layer.build(shape)

    def call(self, x):
        return self.inner[1](self.inner[0](x))


def test_names_that_keras_makes_up_count_within_the_network():
    def own():
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(3, 1)(Twice()(image))
        body = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1)])
        return keras.Model(image, keras.layers.Conv2D(1, 1)(body(x)))

    first, second = (named.named_weights(own()) for _ in range(2))
    assert list(first) == list(second)
    assert len(first) == len(own().weights)
    assert {"conv2d_0/kernel", "conv2d_1/bias", "sequential_0/conv2d_0/kernel"} <= set(first)

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.models.blocks import apply_spectral_norm
from kerasgan.training.learner import clone_with_precision, follow_frozen_layers, update_ema

IMAGE = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
MASKS = (IMAGE[..., :1] > 0).astype("float32")


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


def test_weights_of_another_precision_are_averaged_in_theirs():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", dtype="float64")(image)
    network = keras.Model(image, keras.layers.Conv2D(1, 1, name="mask")(x))
    gan = kg.SegmentationGAN(network)
    gan.compile(keras.optimizers.SGD(0.1), losses={"dice": 1.0}, ema_momentum=0.5)
    before = network.get_weights()
    history = gan.fit(IMAGE, MASKS, batch_size=2, verbose=0)
    assert np.isfinite(history.history["dice_loss"]).all()
    assert [w.dtype for w in network.get_weights()] == [w.dtype for w in before]
    assert any((new != old).any() for new, old in zip(network.get_weights(), before))


class Doubled(keras.layers.Layer):
    """Computes in float32 alone, as many layers that people write."""

    def call(self, x):
        return x + tf.ones((), "float32")


def test_a_layer_that_computes_in_float32_alone_is_named():
    image = keras.Input((32, 32, 3))
    x = Doubled(name="doubled")(keras.layers.Conv2D(2, 3, padding="same")(image))
    gan = kg.SegmentationGAN(keras.Model(image, keras.layers.Conv2D(1, 1)(x)))
    refused("'precision' must be 'float32'.*oubled", gan.compile, precision="bfloat16")


def test_an_unknown_precision_is_named():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1))
    refused(r"'bfloat61'\. Did you mean 'bfloat16'", gan.compile, precision="bfloat61")


def tiny_gan(**settings):
    image, mask = keras.Input((32, 32, 3)), keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(2, 3, 2, "same", name="down_conv")(image)
    x = keras.layers.BatchNormalization(name="down_bn")(x)
    x = keras.layers.Conv2DTranspose(2, 3, 2, "same", name="up_conv")(x)
    x = keras.layers.BatchNormalization(name="up_bn")(x)
    generator = keras.Model(image, keras.layers.Conv2D(1, 1, name="mask")(x))
    x = keras.layers.Concatenate()([image, mask])
    x = apply_spectral_norm(keras.layers.Conv2D(1, 3, 4), x, "patch")
    gan = kg.SegmentationGAN(generator, keras.Model([image, mask], x))
    decaying = [keras.optimizers.AdamW(0.1, weight_decay=0.1) for _ in range(2)]
    gan.compile(*decaying, losses={"dice": 1.0}, **settings)
    return gan


def freeze(network, *beginnings):
    for layer in network.layers:
        layer.trainable = not layer.name.startswith(beginnings)


def moved(gan, train):
    """Train; return the beginnings of the names of the layers that have moved."""
    layers = [x for net in (gan.generator, gan.discriminator) for x in net.layers if x.weights]
    before = [layer.get_weights() for layer in layers]
    train(IMAGE, MASKS)
    still = [all(map(np.array_equal, old, x.get_weights())) for old, x in zip(before, layers)]
    return {layer.name.split("_")[0] for layer, same in zip(layers, still) if not same}


@pytest.mark.parametrize("settings", [{}, {"precision": "bfloat16", "ema_momentum": 0.5}])
def test_layers_frozen_after_compile_stay_as_they_are(settings):
    gan = tiny_gan(**settings)
    assert moved(gan, gan.train_on_batch) == {"down", "up", "mask", "patch"}
    freeze(gan.generator, "down")  # the average is behind what it follows
    gan.discriminator.trainable = False
    assert moved(gan, functools.partial(gan.fit, verbose=0)) == {"up", "mask"}
    freeze(gan.generator, "up")
    gan.discriminator.trainable = True
    assert moved(gan, gan.train_on_batch) == {"down", "mask", "patch"}


def test_what_was_frozen_at_compile_learns_only_after_another():
    gan = tiny_gan()
    options = {"losses": {"dice": 1.0}, "adversarial_weight": 0, "run_eagerly": True}
    gan.generator.get_layer("up_conv").trainable = False
    gan.compile(**options)
    gan.train_on_batch(IMAGE, MASKS)
    gan.generator.get_layer("up_conv").trainable = True
    for train in (gan.fit, gan.train_on_batch):
        refused("Layer 'up_conv' of the generator was frozen when compile", train, IMAGE, MASKS)
    gan.compile(**options)
    assert "up" in moved(gan, gan.train_on_batch)


def test_a_run_with_frozen_layers_goes_on_bit_exact(tmp_path):
    def run(epochs, *beginnings, folder=None):
        gan = tiny_gan(ema_momentum=0.5, run_eagerly=True)
        gan.generator.set_weights(start[0])
        gan.discriminator.set_weights(start[1])
        freeze(gan.generator, *beginnings)
        gan.fit(IMAGE, MASKS, epochs=epochs, batch_size=1, verbose=0, resume=folder)
        return gan

    gan = tiny_gan()
    start = gan.generator.get_weights(), gan.discriminator.get_weights()
    whole = run(2, "down", folder=tmp_path / "whole")
    run(1, "down", folder=tmp_path / "parts")
    parts = run(2, "down", folder=tmp_path / "parts")
    whole.save(tmp_path / "model")
    loaded = kg.SegmentationGAN.load(tmp_path / "model")
    loaded.run_eagerly = True
    for gan in (whole, parts, loaded):
        gan.train_on_batch(IMAGE, MASKS)
        assert all(map(np.array_equal, whole.get_weights(), gan.get_weights()))
    refused(r"frozen \(\d+ layers", run, 3, "down", "up", folder=tmp_path / "parts")


def test_what_is_frozen_within_layers_is_frozen_in_their_copies():
    inner = kg.models.unet(size=32, filters=1, levels=1)
    wrapper = keras.layers.TimeDistributed(keras.layers.Dense(2), name="each")
    image = keras.Input((32, 32, 3))
    outer = keras.Model(image, keras.layers.Dense(1)(wrapper(inner(image))))
    copy = clone_with_precision(outer, "bfloat16")
    inner.get_layer("middle_conv_a").trainable = False
    wrapper.layer.trainable = False
    learns = follow_frozen_layers(outer, copy)
    frozen = [name for name, each in learns.items() if not each]
    assert "'middle_conv_a' in 'unet'" in frozen
    assert len(frozen) == 2
    for network in (outer, copy, clone_with_precision(outer, "float32")):
        assert not network.get_layer("unet").get_layer("middle_conv_a").trainable
        assert not network.get_layer("each").layer.trainable
        assert len(network.trainable_weights) == len(outer.trainable_weights)

"""The networks that the user holds are those that are trained, in whatever precision."""

import keras
import numpy as np
import pytest
from refusals import refused
from small_runs import some_data

import kerasgan as kg
from kerasgan.stack import layers_of

IMAGES, MASKS = some_data(4)
LOSSES = {"dice": 1.0}


def networks():
    generator = kg.models.unet(size=32, filters=2, levels=1, seed=0)
    discriminator = kg.models.pixel_discriminator(size=32, filters=2, spectral_norm=True, seed=0)
    return generator, discriminator


def values(*networks):
    return [network.get_weights() for network in networks]


def assert_moved(before, after):
    for one, other in zip(before, after):
        assert max(np.abs(a - b).max() for a, b in zip(one, other)) > 1e-4


def assert_equal(before, after, most=0.0):
    for one, other in zip(before, after):
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, rtol=0, atol=most)


def kinds(*networks):
    layers = [layer for network in networks for layer in layers_of(network)]
    return {layer.compute_dtype for layer in layers if hasattr(layer, "compute_dtype")}


def test_both_objects_are_trained_after_every_compile():
    full, half = "float32", "bfloat16"
    generator, discriminator = networks()
    gan = kg.SegmentationGAN(generator, discriminator)
    for precision in (half, half, full, full, half, "float16", full):
        gan.compile("sgd", "sgd", losses=LOSSES, precision=precision)
        assert gan.generator is generator
        assert gan.discriminator is discriminator
        before = values(generator, discriminator)
        gan.fit(IMAGES, MASKS, verbose=0)
        assert gan.generator is generator
        assert gan.discriminator is discriminator
        assert_moved(before, values(generator, discriminator))
        assert kinds(generator, discriminator) == {"float32"}
        assert_equal(
            values(generator, discriminator),
            values(gan._trained_generator, gan._trained_discriminator),
        )
        expected = {"float32": {"float32"}, "bfloat16": {"float32", "bfloat16"}}
        if precision in expected:
            assert kinds(gan._trained_generator, gan._trained_discriminator) == expected[precision]


def test_a_second_compile_takes_the_step_of_a_fresh_one():
    after = []
    for before in ((), ("bfloat16",)):
        gan = kg.SegmentationGAN(*networks())
        for precision in (*before, "float32"):
            gan.compile("sgd", "sgd", losses=LOSSES, precision=precision)
        gan.fit(IMAGES, MASKS, verbose=0)
        after.append(values(gan.generator, gan.discriminator))
    assert_equal(*after, most=1e-6)


@pytest.mark.parametrize(
    ("settings", "single"), [({"precision": "bfloat16"}, True), ({"ema_momentum": 0.9}, False)]
)
def test_weights_given_after_compile_are_where_training_begins(settings, single):
    other = kg.models.unet(size=32, filters=2, levels=1, seed=7)
    gan = kg.SegmentationGAN(*networks())
    gan.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0), losses=LOSSES, **settings)
    gan.generator.set_weights(other.get_weights())
    kernels = [w.numpy() for w in gan.generator.trainable_weights]
    if single:
        gan.train_on_batch(IMAGES, MASKS)
    else:
        gan.fit(IMAGES, MASKS, verbose=0)
    for before, weight in zip(kernels, gan.generator.trainable_weights):
        np.testing.assert_allclose(weight, before, atol=1e-6)


def test_a_run_in_another_precision_is_saved_and_resumed_exactly(tmp_path):
    def run(epochs, folder):
        gan = kg.SegmentationGAN(*networks())
        gan.compile("sgd", "sgd", losses=LOSSES, precision="bfloat16")
        gan.fit(IMAGES, MASKS, batch_size=2, epochs=epochs, verbose=0, resume=folder)
        return gan

    whole = run(2, tmp_path / "whole")
    run(1, tmp_path / "run")
    again = run(2, tmp_path / "run")
    assert_equal(values(*whole._networks()), values(*again._networks()), most=1e-6)
    whole.save(tmp_path / "model")
    loaded = kg.SegmentationGAN.load(tmp_path / "model")
    assert_equal(values(*whole._networks()), values(*loaded._networks()))


@pytest.mark.parametrize(
    "settings", [{"discriminator_warmup": 1.5}, {"penalty": "l1"}, {"penalty": 3}]
)
def test_settings_of_another_kind_are_named(settings):
    refused(next(iter(settings)), kg.SegmentationGAN(*networks()).compile, **settings)

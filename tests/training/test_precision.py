"""Other precisions and XLA take the same step, within what the format can say."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import some_data, two_devices

import kerasgan as kg
from kerasgan.stack import path_of
from kerasgan.training.optimizers import scale_loss

IMAGES, MASKS = some_data(4)
LOSSES = {"cross_entropy": 1.0, "dice": 1.0}


def small_gan(seed=0, spectral_norm=True, scale=None, growth=2000, **settings):
    generator = kg.models.unet(size=32, filters=4, levels=1, seed=seed)
    discriminator = kg.models.pixel_discriminator(
        size=32, filters=4, spectral_norm=spectral_norm, seed=seed
    )
    gan = kg.SegmentationGAN(generator, discriminator)
    optimizers = [keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0)]
    if scale is not None:
        wrap = keras.mixed_precision.LossScaleOptimizer
        options = {"initial_scale": scale, "dynamic_growth_steps": growth}
        optimizers = [wrap(one, **options) for one in optimizers]
    eager = {"run_eagerly": not settings.get("jit_compile")}  # a step alone is not worth a tracing
    gan.compile(*optimizers, **{"losses": LOSSES, "adversarial": "hinge", **eager, **settings})
    return gan


def gradients(gan):
    """What one step of plain descent at rate 1 takes off the weights, both networks' in one row."""
    networks = (gan._trained_generator, gan.discriminator)
    weights = [w for network in networks for w in network.trainable_weights]
    before = [w.numpy() for w in weights]
    gan.train_on_batch(IMAGES, MASKS)
    taken = [(a - b).ravel() for a, b in zip(before, (w.numpy() for w in weights))]
    names = [path_of(w) for w in weights]
    return dict(zip(names, taken))


def distance(one, other):
    """The relative distance of two steps: of all gradients as one long vector."""
    assert one.keys() == other.keys()
    a, b = (np.concatenate(list(x.values())) for x in (one, other))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(
    ("settings", "least", "most"),
    [
        ({"precision": "bfloat16"}, 2**-12, 16 * 2**-8),
        ({"precision": "float16"}, 2**-15, 16 * 2**-11),
        ({"jit_compile": True}, -1, 1e-5),
    ],
    ids=["bfloat16", "float16", "xla"],
)
def test_a_step_agrees_within_the_precision_of_the_format(settings, least, most):
    apart = distance(gradients(small_gan(**settings)), gradients(small_gan()))
    assert least < apart < most


@pytest.mark.parametrize(("scale", "after"), [(2.0**127, 2.0**126), (2.0**10, 2.0**10)])
def test_a_float16_step_that_overflows_is_left_out_by_both_networks(scale, after):
    gan = small_gan(precision="float16", spectral_norm=False, scale=scale)  # it rescales kernels
    optimizers = (gan.optimizer, gan.discriminator_optimizer)
    moved = [value.any() for value in gradients(gan).values()]
    assert any(moved) == (after == scale)
    assert [float(scale_loss(x, tf.constant(1.0))) for x in optimizers] == [after] * 2


def test_a_loss_scale_that_has_changed_is_the_one_that_is_divided_by():
    settings = {"precision": "float16", "spectral_norm": False, "scale": 2.0**10}
    gan, plain = small_gan(growth=1, **settings), small_gan(**settings)
    gan.train_on_batch(IMAGES, MASKS)
    assert float(scale_loss(gan.optimizer, tf.constant(1.0))) == 2.0**11
    for network, other in zip(gan._networks(), plain._networks()):
        other.set_weights(network.get_weights())
    assert distance(gradients(gan), gradients(plain)) < 16 * 2**-11


def test_what_xla_cannot_do_is_said_before():
    with pytest.raises(kg.KerasganError, match=r"'jit_compile' must be False with .*'boundary'"):
        small_gan(jit_compile=True, losses={"boundary": 1.0})
    with two_devices().scope(), pytest.raises(kg.KerasganError, match="several devices"):
        small_gan(jit_compile=True)


def test_the_flags_are_kept(tmp_path):
    gan = kg.recipes.build("pix2pix", size=32, filters=2, jit_compile=True, sync_batch_norm=False)
    gan.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    assert again.jit_compile
    assert again.compile_settings() == gan.compile_settings()
    assert not again.compile_settings()["sync_batch_norm"]

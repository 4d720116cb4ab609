"""Other precisions and XLA take the same step, within what the format can say."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg

rng = np.random.default_rng(0)
IMAGES = rng.uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")
LOSSES = {"cross_entropy": 1.0, "dice": 1.0}


def small_gan(seed=0, spectral_norm=True, **settings):
    generator = kg.models.unet(size=32, filters=4, levels=1, seed=seed)
    judge = kg.models.pixel_discriminator(
        size=32, filters=4, spectral_norm=spectral_norm, seed=seed
    )
    gan = kg.SegmentationGAN(generator, judge)
    optimizers = [keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0)]
    gan.compile(*optimizers, **{"losses": LOSSES, "adversarial": "hinge", **settings})
    return gan


def gradients(gan):
    """What one step of plain descent at rate 1 takes off the weights, both networks' in one row."""
    networks = (gan._learner, gan.discriminator)
    weights = [w for network in networks for w in network.trainable_weights]
    before = [w.numpy() for w in weights]
    gan.train_on_batch(IMAGES, MASKS)
    taken = [(a - b).ravel() for a, b in zip(before, (w.numpy() for w in weights))]
    names = [w.name for w in weights]
    return {name: value for name, value in zip(names, taken) if "u:" not in name}


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


def test_a_float16_step_that_overflows_is_left_out_by_both_networks():
    gan = small_gan(precision="float16", spectral_norm=False)  # which rescales its kernels anyway
    optimizers = (gan.optimizer, gan.discriminator_optimizer)
    for optimizer in optimizers:
        optimizer._loss_scale.current_loss_scale.assign(2.0**127)
    taken = gradients(gan)
    assert not any(value.any() for value in taken.values())
    assert [int(x.iterations) for x in optimizers] == [1, 1]
    assert [float(x.loss_scale) for x in optimizers] == [2.0**126] * 2
    for optimizer in optimizers:
        optimizer._loss_scale.current_loss_scale.assign(2.0**10)
    assert any(value.any() for value in gradients(gan).values())
    assert [float(x.loss_scale) for x in optimizers] == [2.0**10] * 2


def test_what_xla_cannot_do_is_said_before():
    with pytest.raises(kg.KerasganError, match=r"'jit_compile' must be False with .*'boundary'"):
        small_gan(jit_compile=True, losses={"boundary": 1.0})
    reduction = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)
    with strategy.scope(), pytest.raises(kg.KerasganError, match="several devices"):
        small_gan(jit_compile=True)


def test_the_flags_are_kept(tmp_path):
    gan = kg.recipes.build("pix2pix", size=32, filters=2, jit_compile=True, sync_batch_norm=False)
    gan.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    assert again.jit_compile
    assert again.compile_settings() == gan.compile_settings()
    assert not again.compile_settings()["sync_batch_norm"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"jit_compile": True}])
def test_a_hundred_steps_end_within_the_spread_of_seeds(settings):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(4).repeat(20)

    def losses(seed, **settings):
        gan = small_gan(seed, **settings)
        for optimizer in (gan.optimizer, gan.discriminator_optimizer):
            optimizer.learning_rate = 0.05
        return np.array(gan.fit(data, epochs=5, verbose=0).history["generator_loss"])

    seeds = np.array([losses(seed) for seed in range(4)])
    low, high = seeds.min(0), seeds.max(0)
    found = losses(0, **settings)
    assert (found[-1] < found[0]).all()
    assert (low - (high - low) <= found).all()
    assert (found <= high + (high - low)).all()

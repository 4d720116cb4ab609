"""A step on two devices is the step on one, on two logical CPUs."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.initializers import GlorotUniform
from refusals import refused
from small_runs import two_devices as two

import kerasgan as kg
from kerasgan.explain.canonize import read_graph
from kerasgan.stack import layers_of
from kerasgan.training import replicas
from kerasgan.training.losses import SEGMENTATION

rng = np.random.default_rng(0)
IMAGES = rng.uniform(-1, 1, (9, 32, 32, 3)).astype("float32")
MASKS = (IMAGES[..., :1] + IMAGES.mean((1, 2, 3), keepdims=True) * 20 > 0).astype("float32")
CORNER = np.eye(32)


def dark_corner(network):
    """A loss of one's own."""
    weights = tf.constant(CORNER, tf.float32)
    return lambda image, mask, found, step, training: tf.reduce_mean(found[..., 0] * weights)


HELD = {
    "losses": {"l1": 1.0, "dice": 1.0},
    "adversarial": "hinge",
    "gradient_penalty": 10.0,
    "r1": 1.0,
    "feature_matching": 2.0,
    "ema_momentum": 0.9,
    "penalty": kg.explain.RelevancePenalty(CORNER),
}
# Slopes of relevance are so rough that in four steps another order of the images in a batch moves
# weights by 0.03, on one device: longer runs are compared with a smooth penalty.
SMOOTH = {**HELD, "penalty": dark_corner, "penalty_weight": 10.0}
ALONE = {"losses": dict.fromkeys(SEGMENTATION, 1.0), "adversarial_weight": 0.0}


def build(settings, spectral_norm=False, clip=None):
    generator = kg.models.unet(size=32, filters=2, levels=1, seed=1)
    discriminator = kg.models.pixel_discriminator(
        size=32, filters=2, seed=2, spectral_norm=spectral_norm
    )
    gan = kg.SegmentationGAN(generator, discriminator)
    optimizers = [keras.optimizers.SGD(rate, global_clipnorm=clip) for rate in (0.1, 0.2)]
    gan.compile(*optimizers, **settings)
    for network in gan._networks():  # Keras' fused kernel takes another moving variance
        replicas.synchronize_batch_norm(network, True)
    return gan


def trained(strategy, count, *args):
    """Return all weights after an epoch, and what was logged."""
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:count], MASKS[:count])).batch(8)
    with strategy.scope() if strategy else contextlib.nullcontext():
        gan = build(*args)
    start = [w.numpy() for network in gan._networks() for w in network.weights]
    history = gan.fit(data, verbose=0, validation_data=data if count > 8 else None).history
    end = [w.numpy() for network in gan._networks() for w in network.weights]
    assert max(np.abs(a - b).max() for a, b in zip(start, end)) > 0.01
    return end, {name: values[-1] for name, values in history.items()}


def assert_same_step(one, two):
    (weights, logs), (weights_of_two, logs_of_two) = one, two
    for a, b in zip(weights, weights_of_two):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert set(logs) == set(logs_of_two)
    for name, value in logs.items():
        assert logs_of_two[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(
    ("count", "args"),
    [(8, (HELD, True, 0.5)), (9, (ALONE,))],
    ids=["eight images", "eight and one"],
)
def test_two_devices_take_the_step_of_one(count, args):
    assert_same_step(trained(None, count, *args), trained(two(), count, *args))


def on_two(function, *values):
    """Run a function of one value on two devices; the results."""
    strategy = two()

    @tf.function
    def both():
        def of_one():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return function(tf.switch_case(number, [lambda v=v: v for v in values]))

        return strategy.run(of_one)

    return [x.numpy() for x in strategy.experimental_local_results(both())]


def test_an_image_counts_alike_on_every_device():
    assert on_two(replicas.local_fraction, tf.constant(3), tf.constant(1)) == [0.75, 0.25]
    assert on_two(replicas.local_fraction, tf.constant(1), tf.constant(0)) == [1.0, 0.0]


def test_batches_are_dealt_out_evenly():
    data = tf.data.Dataset.range(1, 12).map(lambda x: (x, -x)).batch(7)
    first, second = replicas._distribute(data, 3).as_numpy_iterator()
    assert first[0].tolist() == [1, 2, 3, 4, 5, 6, 6, 7, 1]
    assert first[1].tolist() == [-x for x in first[0]]
    assert first[2].tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 0]
    assert second[0].tolist() == [8, 9, 10, 11, 11, 8]
    assert second[2].tolist() == [1, 1, 1, 0, 1, 0]


def test_devices_draw_what_one_would_draw():
    key = tf.constant([5, 7])
    drawn = on_two(
        lambda count: replicas.sample_uniform((count, 2), key), tf.constant(3), tf.constant(1)
    )
    np.testing.assert_array_equal(np.concatenate(drawn), replicas.sample_uniform((4, 2), key))
    assert len(np.unique(np.concatenate(drawn))) == 8


def test_a_device_without_an_image_of_its_own_adds_nothing():
    def loss(counts):
        images, _, share = replicas.local_batch((tf.fill((1, 2), 3.0), tf.zeros((1, 2)), counts))
        return replicas.weight_loss(tf.reduce_mean(images), share)

    assert on_two(loss, tf.constant([1.0]), tf.constant([0.0])) == [3.0, 0.0]


def test_relevance_is_differentiated_by_the_weights_of_each_device():
    def slopes(model, explainer):
        with tf.GradientTape() as tape:
            size = tf.reduce_sum(explainer.relevance(IMAGES[:2], kg.targets.Pixel(9, 9)) ** 2)
        return tape.gradient(size, model.trainable_variables)

    def build():
        conv = [keras.layers.Conv2D(n, 3, kernel_initializer=GlorotUniform(n)) for n in (3, 1)]
        model = keras.Sequential([keras.Input((32, 32, 3)), conv[0], keras.layers.ReLU(), conv[1]])
        return model, kg.Explainer(model, "gamma")

    expected, strategy = slopes(*build()), two()
    with strategy.scope():
        built = build()
    found = tf.function(lambda: strategy.run(slopes, built))()
    for slope, wanted in zip(found, expected):
        assert np.abs(wanted).max() > 0
        for device in slope.values:
            np.testing.assert_allclose(device, wanted, rtol=1e-4, atol=1e-6)


def test_what_was_built_elsewhere_is_named():
    outside, discriminator = kg.models.unet(size=32, filters=2, levels=1), None
    with two().scope():
        gan = kg.SegmentationGAN(outside, discriminator)
        refused(r"'generator' was not built in the scope", gan.compile)


def test_batch_norm_is_synchronised_where_there_are_several_devices():
    def flags(gan):
        layers = layers_of(gan._trained_generator)
        return {x.synchronized for x in layers if isinstance(x, keras.layers.BatchNormalization)}

    build = {"size": 32, "filters": 2, "generator": "unet", "discriminator": "pixel_discriminator"}
    assert flags(kg.recipes.build("pix2pix", **build)) == {False}
    with two().scope():
        assert flags(kg.recipes.build("pix2pix", ema_momentum=0.5, **build)) == {True}
        assert flags(kg.recipes.build("pix2pix", sync_batch_norm=False, **build)) == {False}


def test_a_synchronised_batch_norm_is_folded_alike():
    network = kg.models.unet(size=32, filters=2, levels=1)
    plain = read_graph(network)
    replicas.synchronize_batch_norm(network, True)
    other = read_graph(network)
    assert [(x.name, x.kind) for x in plain.nodes] == [(x.name, x.kind) for x in other.nodes]
    found = other.run(IMAGES[:2]).logits
    np.testing.assert_array_equal(plain.run(IMAGES[:2]).logits, found)
    np.testing.assert_allclose(found, logit(network(IMAGES[:2])), atol=1e-5)


def logit(probability):
    return np.log(probability / (1 - probability))


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_devices(tmp_path):
    def run(strategy, epochs, folder):
        data = tf.data.Dataset.from_tensor_slices((IMAGES[:8], MASKS[:8])).batch(4)
        with strategy.scope() if strategy else contextlib.nullcontext():
            gan = build(SMOOTH)
        history = gan.fit(data, verbose=0, epochs=epochs, resume=folder, validation_data=data)
        return [w.numpy() for n in gan._networks() for w in n.weights], history.history

    run(two(), 1, tmp_path / "state")
    weights, history = run(None, 2, tmp_path / "state")
    expected, whole = run(None, 2, tmp_path / "whole")
    for a, b in zip(weights, expected):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for name, values in whole.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-3, atol=1e-4, err_msg=name)

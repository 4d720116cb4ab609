import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan.data.region import region_of
from kerasgan.errors import KerasganError
from kerasgan.training import GradientPenalty

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (4, 8, 8, 2)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")
CORNER = np.zeros((8, 8))
CORNER[5:, :4] = 1


def network(side=1, seed=0, classes=1):
    image = keras.Input((8, 8, 2))
    start = keras.initializers.HeNormal(seed=seed)
    x = keras.layers.Conv2D(classes, side, padding="same", kernel_initializer=start)(image)
    return keras.Model(image, keras.layers.Activation("sigmoid" if classes == 1 else "softmax")(x))


@pytest.mark.parametrize("classes", [1, 3])
def test_closed_form_of_single_pixels(classes):
    # each logit depends on its own pixel alone: no cross terms for random signs to average out
    # but those between the classes of a pixel
    model = network(classes=classes)
    kernel = model.layers[1].kernel.numpy()[0, 0]
    loss = GradientPenalty(CORNER)(model)
    found = [float(loss(tf.constant(IMAGES), MASKS, tf.constant(step))) for step in range(200)]
    wanted = CORNER.sum() * (kernel**2).sum() / (64 * classes)
    assert np.mean(found) == pytest.approx(wanted, rel=1e-5 if classes == 1 else 0.05)
    assert len(set(found)) == 1 if classes == 1 else len(set(found)) > 100


def test_its_mean_is_the_whole_jacobian():
    model = network(side=3)
    image = tf.constant(IMAGES[:1])
    logits = keras.Model(model.input, model.layers[1].output)
    with tf.GradientTape() as tape:
        tape.watch(image)
        values = tf.reshape(logits(image), [-1])
    squares = (tape.jacobian(values, image).numpy()[:, 0] ** 2).sum(-1)
    wanted = (squares * CORNER).sum() / 64
    loss = tf.function(GradientPenalty(CORNER, seed=3)(model))
    found = [float(loss(image, MASKS[:1], tf.constant(step))) for step in range(400)]
    assert np.mean(found) == pytest.approx(wanted, rel=0.1)
    with tf.GradientTape() as tape:
        value = loss(image, MASKS[:1], tf.constant(0))
    assert float(value) == found[0]  # a step, a draw
    assert np.abs(tape.gradient(value, model.layers[1].kernel)).max() > 0


def test_a_region_may_depend_on_image_and_mask():
    model = network()
    whole = GradientPenalty(np.ones((8, 8)))(model)(tf.constant(IMAGES), MASKS, tf.constant(0))
    outside = GradientPenalty(lambda image, mask: 1 - mask[..., 0])(model)
    part = outside(tf.constant(IMAGES), tf.constant(MASKS), tf.constant(0))
    assert float(part / whole) == pytest.approx(1 - MASKS.mean(), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"ema_momentum": 0.9}, {"precision": "bfloat16"}], ids=str)
def test_training_with_it_looks_less_there(options):
    # the mask is told by the first channel of the pixel; the second, everywhere, tells it too
    images = np.repeat(IMAGES[..., :1], 2, -1)
    images[:, ::2] = RNG.uniform(-1, 1, images[:, ::2].shape)
    there = np.zeros((8, 8))
    there[1::2] = 1
    slopes = {}
    for weight in (0.0, 1.0):
        gan = kg.SegmentationGAN(network(side=3, seed=1))
        gan.compile(
            keras.optimizers.Adam(0.05),
            losses={"cross_entropy": 1.0},
            penalty=GradientPenalty(there),
            penalty_weight=weight,
            **options,
        )
        history = gan.fit(images, MASKS, batch_size=4, epochs=25, verbose=0)
        assert ("penalty_loss" in history.history) == bool(weight)
        slopes[weight] = np.abs(gan.generator.layers[1].kernel.numpy()).sum()
    assert slopes[1.0] < 0.7 * slopes[0.0]


def test_it_is_logged_and_part_of_the_loss():
    gan = kg.SegmentationGAN(network())
    gan.compile(losses={"l1": 2.0}, penalty=GradientPenalty(CORNER), penalty_weight=3.0)
    logs = gan.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)
    total = 2 * logs["l1_loss"] + 3 * logs["penalty_loss"]
    assert logs["generator_loss"] == pytest.approx(total, rel=1e-5)
    assert logs["penalty_loss"] > 0


def test_a_saved_model_loads_without_it(tmp_path):
    gan = kg.SegmentationGAN(network())
    gan.compile(penalty=GradientPenalty(CORNER))
    gan.save(tmp_path / "m")
    again = kg.SegmentationGAN.load(tmp_path / "m")
    assert "penalty_loss" not in again.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)


def test_bad_arguments():
    for region in ("left", np.ones(3), -np.ones((2, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(KerasganError, match="'region' must be an array"):
            region_of(region)
    image = keras.Input((8, 8, 2))
    inside = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    with pytest.raises(KerasganError, match="ends in an activation layer of its own"):
        kg.SegmentationGAN(inside).compile(penalty=GradientPenalty(CORNER))
    with pytest.raises(KerasganError, match="penalty_weight"):
        kg.SegmentationGAN(network()).compile(penalty=GradientPenalty(CORNER), penalty_weight=-1)

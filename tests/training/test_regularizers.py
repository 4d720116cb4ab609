import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.data.region import as_region
from kerasgan.errors import KerasganError
from kerasgan.training import InputGradientPenalty, InvariancePenalty

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


def shares(model, image, region, steps, **options):
    loss = tf.function(InputGradientPenalty(region, **options)(model))
    return [float(loss(image, MASKS, None, tf.constant(step), False)) for step in range(steps)]


def test_closed_form_of_single_pixels():
    # each logit depends on its own pixel alone, as strongly as all others: the share is the area's
    found = shares(network(), tf.constant(IMAGES), CORNER, 20)
    np.testing.assert_allclose(found, CORNER.sum() / 64, rtol=1e-5)


def test_its_mean_is_that_of_the_whole_jacobian():
    model = network(side=3, classes=3)
    logits = keras.Model(model.input, model.layers[1].output)
    with tf.GradientTape() as tape:
        image = tf.constant(IMAGES[:1])
        tape.watch(image)
        values = tf.reshape(logits(image), [-1])
    jacobian = tape.jacobian(values, image).numpy()[:, 0].astype(np.float64)
    signs = np.random.default_rng(5).choice([-1.0, 1.0], (2000, len(jacobian)))
    squares = (np.einsum("sl,lrcv->srcv", signs, jacobian) ** 2).sum(-1)
    wanted = ((squares * CORNER).sum((1, 2)) / squares.sum((1, 2))).mean()
    # a network that is linear before its activation has the same slope wherever it is taken
    found = shares(model, image, CORNER, 400, seed=3)
    assert np.mean(found) == pytest.approx(wanted, rel=0.05)
    assert len(set(found)) > 100  # a step, a draw
    assert found[0] == shares(model, image, CORNER, 1, seed=3)[0]
    with tf.GradientTape() as tape:
        value = InputGradientPenalty(CORNER)(model)(image, MASKS, None, tf.constant(0), False)
    assert np.abs(tape.gradient(value, model.layers[1].kernel)).max() > 0


def test_the_slope_is_taken_between_two_images():
    image = keras.Input((8, 8, 2))
    squared = keras.layers.Multiply()([image, image])
    summed = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(squared)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(summed))
    found = shares(model, tf.constant(IMAGES[:2]), CORNER, 200)
    way = []
    for a, b in np.random.default_rng(6).uniform(size=(4000, 2)):
        part = np.array([a, b])[:, None, None, None] * CORNER[..., None]
        blended = (1 - part) * IMAGES[:2] + part * IMAGES[1::-1]
        slope = (blended.astype(np.float64) ** 2).sum(-1)
        way.append(((slope * CORNER).sum((1, 2)) / slope.sum((1, 2))).mean())
    assert np.mean(found) == pytest.approx(np.mean(way), rel=0.03)
    assert np.std(found) == pytest.approx(np.std(way), rel=0.2)
    assert np.min(way) * 0.98 < min(found) < max(found) < np.max(way) * 1.02


def test_a_region_may_depend_on_image_and_mask():
    outside = InputGradientPenalty(lambda image, mask: 1 - mask[..., 0])(network())
    part = outside(tf.constant(IMAGES), tf.constant(MASKS), None, tf.constant(0), False)
    assert float(part) == pytest.approx(1 - MASKS.mean(), rel=1e-5)


@pytest.mark.parametrize("last", ["sigmoid", "tanh", "softmax"])
def test_what_another_image_would_have_changed(last):
    start = keras.initializers.HeNormal(seed=2)
    image = keras.Input((8, 8, 2))
    classes = 3 if last == "softmax" else 1
    model = keras.Model(
        image, keras.layers.Conv2D(classes, 1, activation=last, kernel_initializer=start)(image)
    )
    output = model(IMAGES).numpy()
    probability = (output + 1) / 2 if last == "tanh" else output
    # a network that sees one pixel at a time gives there what it gives for the other image
    wanted = {
        float(np.mean((np.roll(probability, shift, 0) - probability)[:, 5:, :4] ** 2) * 12 / 64)
        for shift in (1, 2, 3)
    }
    loss = InvariancePenalty(CORNER)(model)
    found = [float(loss(IMAGES, MASKS, probability, step, False)) for step in range(30)]
    for value in found:
        assert min(abs(value - w) for w in wanted) < 1e-6
    assert all(min(abs(value - w) for value in found) < 1e-6 for w in wanted)
    assert float(loss(IMAGES[:1], MASKS[:1], probability[:1], 0, False)) == 0  # no other image


def test_half_a_region_exchanges_half():
    """Weights between 0 and 1 blend."""
    model = network()
    kernel = model.layers[1].kernel.numpy()[0, 0]
    pair = IMAGES[:2]
    probability = model(pair).numpy()
    blended = 1 / (1 + np.exp(-(0.7 * pair + 0.3 * pair[::-1]) @ kernel))
    loss = InvariancePenalty(np.full((8, 8), 0.3))(model)
    found = float(loss(pair, MASKS[:2], probability, 0, False))
    assert found == pytest.approx(np.mean((blended - probability) ** 2), rel=1e-5)


def right_against_the_corner(**settings):
    """Train; the share of pixels that are right where the corner says otherwise.

    A mask of the whole image: its sign is the mean of noisy pixels on the right and, plainly, a
    corner. Against the corner, only a network that looks at the pixels is right.
    """
    rng = np.random.default_rng(3)
    sign = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None, None, None]
    images = np.clip(rng.normal(0, 0.3, (64, 8, 8, 2)) + 0.15 * sign, -1, 1)
    images[:, 5:, :4] = sign
    masks = np.broadcast_to(sign > 0, (64, 8, 8, 1)).astype("float32")
    against = np.where(CORNER[..., None] > 0, -images, images).astype("float32")
    image = keras.Input((8, 8, 2))
    start = keras.initializers.HeNormal(seed=4)
    logit = keras.layers.Dense(1, kernel_initializer=start)(keras.layers.Flatten()(image))
    logit = keras.layers.Reshape((8, 8, 1))(keras.layers.RepeatVector(64)(logit))
    gan = kg.SegmentationGAN(keras.Model(image, keras.layers.Activation("sigmoid")(logit)))
    settings = {"losses": {"cross_entropy": 1.0}, "adversarial_weight": 0.0, **settings}
    gan.compile(keras.optimizers.Adam(0.02), **settings)
    history = gan.fit(images.astype("float32"), masks, batch_size=16, epochs=25, verbose=0)
    assert ("penalty_loss" in history.history) == bool(settings["penalty_weight"])
    return float(np.mean((gan.generator(against).numpy() > 0.5) == masks))


def test_a_network_takes_a_shortcut_where_a_penalty_has_no_weight():
    assert right_against_the_corner(penalty=InvariancePenalty(CORNER), penalty_weight=0.0) < 0.2


@pytest.mark.parametrize(
    ("penalty", "strong", "options"),
    [
        (InvariancePenalty, 30.0, {}),
        (InvariancePenalty, 30.0, {"precision": "bfloat16"}),
        (InputGradientPenalty, 3.0, {"ema_momentum": 0.9}),
    ],
    ids=["by", "by, bfloat16", "slope, average"],
)
def test_training_turns_a_network_from_a_shortcut(penalty, strong, options):
    settings = {"penalty": penalty(CORNER), "penalty_weight": strong, **options}
    assert right_against_the_corner(**settings) > 0.9


def test_it_is_logged_and_part_of_the_loss():
    gan = kg.SegmentationGAN(network())
    gan.compile(losses={"l1": 2.0}, penalty=InputGradientPenalty(CORNER), penalty_weight=3.0)
    logs = gan.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)
    total = 2 * logs["l1_loss"] + 3 * logs["penalty_loss"]
    assert logs["generator_loss"] == pytest.approx(total, rel=1e-5)
    assert logs["penalty_loss"] > 0


def test_a_saved_model_loads_without_it(tmp_path):
    gan = kg.SegmentationGAN(network())
    gan.compile(penalty=InputGradientPenalty(CORNER))
    gan.save(tmp_path / "m")
    again = kg.SegmentationGAN.load(tmp_path / "m")
    assert "penalty_loss" not in again.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)


def test_bad_arguments():
    for region in ("left", np.ones(3), -np.ones((2, 2)), np.full((2, 2), np.nan)):
        refused("'region' must be an array", as_region, region)
    with pytest.raises(KerasganError, match="penalty_weight"):
        kg.SegmentationGAN(network()).compile(
            penalty=InputGradientPenalty(CORNER), penalty_weight=-1
        )

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.training.adversarial import (
    ADVERSARIAL,
    expose_features,
    feature_matching_loss,
    gradient_norm_penalties,
    gradient_norm_penalty,
    vanilla,
)

rng = np.random.default_rng(0)
TRUE, DRAWN = rng.normal(size=(2, 2, 5, 5, 1))


def softplus(z):
    return np.log1p(np.exp(z))


FORMULAS = {
    "vanilla": (softplus(-DRAWN).mean(), (softplus(-TRUE).mean() + softplus(DRAWN).mean()) / 2),
    "least_squares": (
        ((DRAWN - 1) ** 2).mean(),
        (((TRUE - 1) ** 2).mean() + (DRAWN**2).mean()) / 2,
    ),
    "hinge": (-DRAWN.mean(), np.maximum(0, 1 - TRUE).mean() + np.maximum(0, 1 + DRAWN).mean()),
    "wasserstein": (-DRAWN.mean(), DRAWN.mean() - TRUE.mean()),
    "segan": (abs(TRUE - DRAWN).mean(), -abs(TRUE - DRAWN).mean()),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_against_the_formulas(name):
    ours = ADVERSARIAL[name](tf.constant(TRUE), tf.constant(DRAWN))
    np.testing.assert_allclose(ours, FORMULAS[name], rtol=1e-6)


def test_smoothing_moves_the_label_of_true_masks_alone():
    fooled, judged = vanilla(tf.constant(TRUE), tf.constant(DRAWN), 0.1)
    entropy = 0.9 * softplus(-TRUE) + 0.1 * softplus(TRUE)
    assert float(judged) == pytest.approx((entropy.mean() + softplus(DRAWN).mean()) / 2)
    assert float(fooled) == pytest.approx(softplus(-DRAWN).mean())


def test_slopes_are_those_of_finite_differences():
    discriminator = kg.models.patch_discriminator(size=32, filters=2)
    image = tf.constant(rng.uniform(-1, 1, (2, 32, 32, 3)), tf.float32)
    signed_mask = rng.uniform(-1, 1, (2, 32, 32, 1)).astype("float32")

    def score(at):
        return discriminator([image, tf.constant(at)], training=False).numpy().mean((1, 2, 3))

    direction = np.zeros_like(signed_mask)
    with tf.GradientTape() as tape:
        x = tf.constant(signed_mask)
        tape.watch(x)
        total = tf.reduce_sum(tf.reduce_mean(discriminator([image, x], training=False), (1, 2, 3)))
    gradient = tape.gradient(total, x).numpy()
    lengths = np.sqrt((gradient**2).sum((1, 2, 3)))
    direction = gradient / lengths[:, None, None, None]
    numeric = (score(signed_mask + 0.05 * direction) - score(signed_mask - 0.05 * direction)) / 0.1
    np.testing.assert_allclose(numeric, lengths, rtol=0.05)
    for slope in (0.0, 1.0):
        ours = gradient_norm_penalty(
            lambda a, b: discriminator([a, b], training=False), image, x, slope
        )
        assert float(ours) == pytest.approx(((lengths - slope) ** 2).mean(), rel=1e-4)


def test_mixtures_lie_between_and_depend_on_image_and_step():
    seen = []

    def discriminator(image, mask):
        seen.append(mask)
        return mask

    for step in (1, 2):
        masks, weights = (tf.ones((2, 1, 1, 1)), tf.zeros((2, 1, 1, 1))), {"gradient_penalty": 1}
        gradient_norm_penalties(
            discriminator, None, *masks, {**weights, "r1": 0}, tf.constant(step)
        )
    values = np.ravel(seen)
    assert len(set(values)) == 4
    assert values.min() >= 0
    assert values.max() <= 1


def test_features_are_the_hidden_activations():
    discriminator = kg.models.patch_discriminator(size=32, filters=2)
    pair = [tf.zeros((1, 32, 32, 3)), tf.ones((1, 32, 32, 1))]
    logits, *features = expose_features(discriminator)(pair)
    np.testing.assert_array_equal(logits, discriminator(pair))
    assert [f.shape[-1] for f in features] == [2, 4, 8, 16]
    assert float(feature_matching_loss(features, [f + 1 for f in features])) == pytest.approx(1)
    image, signed_mask = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    bare = keras.Model([image, signed_mask], keras.layers.Conv2D(1, 1)(signed_mask))
    refused("'feature_matching' must be 0", expose_features, bare)

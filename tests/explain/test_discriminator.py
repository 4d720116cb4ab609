"""A discriminator explained: sums, the split into image and mask, what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from toys import close, with_random_weights

import kerasgan as kg
from kerasgan.explain import DiscriminatorExplainer, Epsilon, targets
from kerasgan.explain.draw import overlay

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (3, 32, 32, 3)).astype("float32")
MASKS = RNG.integers(0, 2, (3, 32, 32, 1)).astype("float32")
ALL = np.ones((2, 2))


def discriminator(bias=True, **options):
    model = with_random_weights(kg.models.patch_discriminator(size=32, filters=2, **options))
    for variable in model.weights:
        if not bias and any(part in variable.name for part in ("bias", "beta", "moving_mean")):
            variable.assign(tf.zeros_like(variable))
    return model


@pytest.fixture(scope="module")
def explainer():
    return DiscriminatorExplainer(discriminator())


def test_sums_to_the_explained_logits_without_biases():
    model = discriminator(bias=False)
    explainer = DiscriminatorExplainer(model)
    logits = model([IMAGES, MASKS * 2 - 1], training=False).numpy()
    for target, explained in (
        ("prediction", np.maximum(logits, 0)),
        (targets.Class(0), np.maximum(-logits, 0)),
        (ALL, logits),
    ):
        found = explainer.explain(IMAGES, MASKS, target)
        close(found.logits, logits)
        total = found.image_relevance.sum((1, 2, 3)) + found.mask_relevance.sum((1, 2, 3))
        close(total, explained.sum((1, 2, 3)), 1e-4)
        assert found.explanation.target.any()


def test_is_input_times_gradient_of_both_inputs():
    model = discriminator()
    found = DiscriminatorExplainer(model, Epsilon(1e-9)).explain(IMAGES, MASKS, ALL)
    inputs = [tf.constant(IMAGES), tf.constant(MASKS * 2 - 1)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(model(inputs, training=False))
    by_image, by_mask = tape.gradient(total, inputs)
    close(found.image_relevance, inputs[0] * by_image, 1e-4)
    close(found.mask_relevance, inputs[1] * by_mask, 1e-4)


def test_the_ledger_closes():
    judge = DiscriminatorExplainer(discriminator(), "epsilon-gamma-box")
    ledger = judge.explainer.check(judge.join(IMAGES, MASKS), target=ALL)
    assert {"image", "mask", "pair", "patch_1_conv"} <= set(ledger["layer"])


def test_follows_a_gan_and_judges_its_own_masks():
    gan = kg.recipes.build("pix2pix", size=32, filters=2)
    with_random_weights(gan.generator)
    with_random_weights(gan.discriminator, seed=3)
    judge = DiscriminatorExplainer(gan)
    own = judge.explain(IMAGES, target=ALL)
    drawings = gan.generator(IMAGES, training=False).numpy()
    close(own.explanation.images[..., 3:], drawings)
    given = judge.explain(IMAGES, (drawings + 1) / 2, ALL)
    close(own.mask_relevance, given.mask_relevance)
    for variable in gan.discriminator.trainable_variables:
        variable.assign(variable * 0.9)
    close(judge.explain(IMAGES, target=ALL).logits, gan.discriminator([IMAGES, drawings]))


def test_one_score_for_the_whole_and_several_classes():
    image, mask = keras.Input((8, 8, 3)), keras.Input((8, 8, 2))
    x = keras.layers.Concatenate()([image, mask])
    x = keras.layers.Conv2D(4, 3, activation="relu", use_bias=False)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(1, activation="sigmoid", use_bias=False)(x)
    model = with_random_weights(keras.Model([image, mask], x))
    masks = np.eye(2)[RNG.integers(0, 2, (3, 8, 8))]
    found = DiscriminatorExplainer(model).explain(IMAGES[:, :8, :8], masks, np.ones((1, 1)))
    score = model([IMAGES[:, :8, :8], masks * 2 - 1]).numpy()[:, 0]
    close(found.logits[:, 0, 0, 0], np.log(score / (1 - score)), 1e-3)
    assert found.mask_relevance.shape == (3, 8, 8, 2)
    total = found.image_relevance.sum((1, 2, 3)) + found.mask_relevance.sum((1, 2, 3))
    close(total, found.logits[:, 0, 0, 0], 1e-4)
    found.plot()


def test_picture(explainer, tmp_path):
    found = explainer.explain(IMAGES, MASKS[..., 0], ALL)
    figure = found.plot(tmp_path / "judgement.png")
    assert (tmp_path / "judgement.png").stat().st_size > 10000
    maps = np.stack([found.image_relevance.sum(-1), found.mask_relevance.sum(-1)], 1)
    limit = np.percentile(np.abs(maps), 99.5)
    for row, (image, mask) in enumerate(zip(IMAGES, MASKS)):
        below = (image + 1) / 2, np.repeat(mask, 3, -1)
        for place, (picture, relevance) in enumerate(zip(below, maps[row]), 5 * row + 2):
            shown = figure.axes[place].get_images()[0].get_array()
            np.testing.assert_allclose(shown, overlay(picture, relevance, limit), atol=1e-6)


def test_bad_models():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
    for model, message in (
        (gan, "a SegmentationGAN that has one. Received: NoneType"),
        (gan.generator, "two inputs of one size, image and mask. Received: "),
        ("model.keras", "Received: str"),
    ):
        refused(message, DiscriminatorExplainer, model)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (None, "'masks' may only be left out for a model with a generator"),
        (MASKS[:2], r"of shape \(3, 32, 32, 1\).*Received: float32 values of shape \(2, 32"),
        (MASKS * 2 - 1, r"must lie in \[0, 1\]. Received: values from -1 to 1"),
        (MASKS + np.nan, r"must lie in \[0, 1\]"),
    ],
)
def test_bad_masks(explainer, masks, message):
    refused(message, explainer.explain, IMAGES, masks)

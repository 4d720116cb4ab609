"""Relevance as a loss: its value, its gradient, what training with it does."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from toys import small

import kerasgan as kg
from kerasgan.explain import RelevancePenalty

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")
LEFT = np.zeros((8, 8))
LEFT[:, :4] = 1


def network(bias=0.2):
    model = small()
    model.set_weights([weight / 2 for weight in model.get_weights()])
    model.get_layer("head").bias.assign([bias])
    return model


def test_it_is_the_share_of_relevance():
    model = network()
    found = RelevancePenalty(LEFT, rule="gamma")(model)(IMAGES, MASKS, None, tf.constant(0), False)
    size = np.abs(kg.Explainer(model, rule="gamma").explain(IMAGES).relevance).sum(-1)
    wanted = (size[:, :, :4].sum((1, 2)) / size.sum((1, 2))).mean()
    assert float(found) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z-plus"])
def test_its_gradient_is_that_of_finite_differences(rule):
    model = network()
    loss = RelevancePenalty(LEFT, rule=rule, target=kg.targets.Pixel(4, 4))(model)
    kernel = model.get_layer("down_2_conv").kernel
    with tf.GradientTape() as tape:
        value = loss(IMAGES, MASKS, None, tf.constant(0), False)
    slope = tape.gradient(value, kernel).numpy()
    place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
    step, before, values = 1e-3, kernel.numpy(), []
    for sign in (1, -1):
        moved = before.copy()
        moved[place] += sign * step
        kernel.assign(moved)
        values.append(float(loss(IMAGES, MASKS, None, tf.constant(0), False)))
    assert slope[place] == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.05)


def test_nothing_to_explain_costs_nothing():
    loss = RelevancePenalty(LEFT)(network(bias=-99.0))
    assert float(loss(IMAGES, MASKS, None, tf.constant(0), False)) == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (kg.targets.Class(7), "'index' of Class"),
        ("false_negatives", "true masks"),
        ("component", r"tf\.function"),
    ],
)
def test_targets_that_would_be_no_penalty_are_refused_by_compile(target, message):
    gan = kg.SegmentationGAN(network())
    refused(message, gan.compile, penalty=RelevancePenalty(LEFT, target=target), penalty_weight=1.0)


def test_training_with_it_moves_relevance():
    shares = {}
    for weight in (0.0, 5.0):
        gan = kg.SegmentationGAN(network())
        gan.compile(
            keras.optimizers.Adam(0.02),
            losses={"cross_entropy": 1.0},
            penalty=RelevancePenalty(LEFT),
            penalty_weight=weight,
        )
        gan.fit(IMAGES, MASKS, batch_size=4, epochs=40, verbose=0)
        shares[weight] = float(
            RelevancePenalty(LEFT)(gan.generator)(IMAGES, MASKS, None, tf.constant(0), False)
        )
    assert shares[5.0] < 0.8 * shares[0.0]

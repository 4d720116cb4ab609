import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg

rng = np.random.default_rng(0)


def overlap(truth, guess):
    both, either = np.sum(truth & guess), np.sum(truth | guess)
    if either == 0:
        return 1.0, 1.0
    return both / either, 2 * both / (truth.sum() + guess.sum())


def test_mean_over_images_not_over_pixels():
    truth = rng.random((5, 6, 7, 1)) > 0.5
    p = rng.random((5, 6, 7, 1)).astype("float32")
    truth[0], p[0] = False, 0.1
    jaccard, dice = kg.training.Jaccard(), kg.training.Dice()
    for part in (slice(0, 2), slice(2, 5)):
        jaccard.update_state(truth[part].astype("float32"), p[part])
        dice.update_state(truth[part].astype("float32"), p[part])
    expected = np.mean([overlap(t, q > 0.5) for t, q in zip(truth, p)], axis=0)
    np.testing.assert_allclose([jaccard.result(), dice.result()], expected, rtol=1e-6)


def test_classes_are_decided_by_argmax_and_the_background_is_left_out():
    labels = rng.integers(3, size=(4, 6, 7))
    p = rng.random((4, 6, 7, 3)).astype("float32")
    metric = kg.training.Jaccard()
    metric.update_state(np.eye(3, dtype="float32")[labels], p)
    guess = p.argmax(-1)
    expected = np.mean(
        [[overlap(t == c, g == c)[0] for c in (1, 2)] for t, g in zip(labels, guess)]
    )
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)


def test_a_probability_of_one_half_is_background():
    metric = kg.training.Dice(name="overlap")
    metric.update_state(tf.ones((1, 1, 2, 1)), tf.constant([[[[0.5], [0.75]]]]))
    assert float(metric.result()) == pytest.approx(2 / 3)
    assert metric.name == "overlap"


def test_metrics_work_in_a_graph_and_round_trip():
    metric = kg.training.Dice()

    @tf.function
    def update(truth, probability):
        metric.update_state(truth, probability)

    update(tf.ones((2, 4, 4, 1)), tf.ones((2, 4, 4, 1)))
    assert float(metric.result()) == 1
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.name == "dice"
    assert float(again.result()) == 0

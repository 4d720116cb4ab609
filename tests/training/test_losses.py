import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan.training.losses import ADVERSARIAL, SEGMENTATION

rng = np.random.default_rng(0)


def case(classes):
    logits = rng.normal(size=(2, 3, 4, classes))
    if classes == 1:
        return (rng.random((2, 3, 4, 1)) > 0.5).astype(float), 1 / (1 + np.exp(-logits))
    labels = rng.integers(classes, size=(2, 3, 4))
    return np.eye(classes)[labels], np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def l1(truth, p):
    return np.mean([abs((2 * t - 1) - (2 * q - 1)) for t, q in zip(truth.flat, p.flat)])


def cross_entropy(truth, p):
    if truth.shape[-1] == 1:
        return -np.mean(np.where(truth == 1, np.log(p), np.log(1 - p)))
    return -np.mean(np.log(p[truth == 1]))


def dice(truth, p):
    values = []
    for image in range(truth.shape[0]):
        for channel in range(truth.shape[-1]):
            t, q = truth[image, ..., channel], p[image, ..., channel]
            values.append((2 * (t * q).sum() + 1) / (t.sum() + q.sum() + 1))
    return 1 - np.mean(values)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("oracle", [l1, cross_entropy, dice])
def test_segmentation_losses(oracle, classes):
    truth, p = case(classes)
    ours = SEGMENTATION[oracle.__name__](tf.constant(truth), tf.constant(p))
    np.testing.assert_allclose(ours, oracle(truth, p), rtol=1e-6)


def test_every_segmentation_loss_is_zero_on_the_truth_and_finite_on_its_opposite():
    truth, _ = case(1)
    truth = tf.constant(truth, tf.float32)
    for name, loss in SEGMENTATION.items():
        assert float(loss(truth, truth)) < 1e-5, name
        assert 0.5 < float(loss(truth, 1 - truth)) < 20, name


def test_vanilla_against_its_formula():
    true, drawn = rng.normal(size=(2, 2, 5, 5, 1))
    fooled, judged = ADVERSARIAL["vanilla"](tf.constant(true), tf.constant(drawn))

    def log_sigmoid(z):
        return -np.log1p(np.exp(-z))

    np.testing.assert_allclose(fooled, -log_sigmoid(drawn).mean(), rtol=1e-6)
    expected = -(log_sigmoid(true).mean() + log_sigmoid(-drawn).mean()) / 2
    np.testing.assert_allclose(judged, expected, rtol=1e-6)


def test_unknown_names_are_answered_with_near_ones():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=1, levels=1))
    with pytest.raises(kg.KerasganError, match=r"'losses'.*'dise'. Did you mean 'dice'"):
        gan.compile(losses={"dise": 1.0})
    with pytest.raises(kg.KerasganError, match=r"'adversarial' must be one of vanilla"):
        gan.compile(adversarial="vanila")
    with pytest.raises(kg.KerasganError, match=r"weight from 0 up. Received: -1"):
        gan.compile(losses={"l1": -1})
    with pytest.raises(kg.KerasganError, match=r"'adversarial_weight'.*nan"):
        gan.compile(adversarial_weight=float("nan"))

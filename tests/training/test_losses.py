import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan.training.losses import SEGMENTATION, focal, tversky

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


def jaccard(truth, p):
    values = []
    for image in range(truth.shape[0]):
        for channel in range(truth.shape[-1]):
            t, q = truth[image, ..., channel], p[image, ..., channel]
            both = (t * q).sum()
            values.append((both + 1) / (t.sum() + q.sum() - both + 1))
    return 1 - np.mean(values)


def boundary(truth, p):
    """Distance to the nearest pixel of the other kind, by trying all of them."""
    if truth.shape[-1] > 1:
        truth, p = truth[..., 1:], p[..., 1:]
    total = 0.0
    rows, columns = truth.shape[1:3]
    places = [(y, x) for y in range(rows) for x in range(columns)]
    for image in range(truth.shape[0]):
        for channel in range(truth.shape[-1]):
            t = truth[image, ..., channel]
            for y, x in places:
                others = [np.hypot(y - v, x - u) for v, u in places if t[v, u] != t[y, x]]
                away = min(others, default=0) if t[y, x] == 0 else 1 - min(others, default=1)
                total += away * p[image, y, x, channel]
    return total / max(rows, columns) / p.size


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("oracle", [l1, cross_entropy, dice, jaccard, boundary])
def test_segmentation_losses(oracle, classes):
    truth, p = case(classes)
    ours = SEGMENTATION[oracle.__name__](tf.constant(truth), tf.constant(p))
    np.testing.assert_allclose(ours, oracle(truth, p), rtol=1e-6)


def test_every_segmentation_loss_is_zero_on_the_truth_and_finite_on_its_opposite():
    truth, _ = case(1)
    truth = tf.constant(truth, tf.float32)
    for name in SEGMENTATION.keys() - {"boundary"}:
        loss = SEGMENTATION[name]
        assert float(loss(truth, truth)) < 1e-5, name
        assert 0.5 < float(loss(truth, 1 - truth)) < 20, name


def test_tversky_and_focal_have_their_special_cases():
    truth, p = (tf.constant(x) for x in case(3))
    half = 1 - tf.reduce_mean(
        (tf.reduce_sum(truth * p, (1, 2)) + 1) / (tf.reduce_sum((truth + p) / 2, (1, 2)) + 1)
    )
    np.testing.assert_allclose(tversky(truth, p, 0.5, 0.5), half, rtol=1e-6)
    np.testing.assert_allclose(focal(truth, p, 0.0), cross_entropy(*case_of(truth, p)), rtol=1e-6)
    assert float(tversky(truth, 0 * p)) > float(tversky(truth, 1 - 0 * p))


def case_of(*tensors):
    return [tensor.numpy() for tensor in tensors]


@pytest.mark.parametrize("classes", [1, 3])
def test_focal_against_its_formula(classes):
    truth, p = case(classes)
    right = np.where(truth == 1, p, 1 - p)
    terms = -((1 - right) ** 2) * np.log(right)
    if classes > 1:
        terms = terms * truth
    ours = focal(tf.constant(truth), tf.constant(p))
    np.testing.assert_allclose(ours, terms.sum(-1).mean(), rtol=1e-6)


def test_boundary_is_least_on_the_truth_and_grows_with_the_distance():
    truth = np.zeros((1, 9, 9, 1), "float32")
    truth[0, 3:6, 3:6] = 1
    loss = SEGMENTATION["boundary"]
    near, far = truth.copy(), truth.copy()
    near[0, 2, 3] = far[0, 0, 0] = 1
    values = [float(loss(tf.constant(truth), tf.constant(x))) for x in (truth, near, far)]
    assert values[0] < 0
    assert values == sorted(values)
    for filled in (np.zeros_like(truth), np.ones_like(truth)):
        assert float(loss(tf.constant(filled), tf.constant(truth))) == 0


def test_unknown_names_are_answered_with_near_ones():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=1, levels=1))
    with pytest.raises(kg.KerasganError, match=r"'losses'.*'dise'. Did you mean 'dice'"):
        gan.compile(losses={"dise": 1.0})
    with pytest.raises(kg.KerasganError, match=r"'adversarial' must be one of vanilla"):
        gan.compile(adversarial="vanila")
    with pytest.raises(kg.KerasganError, match=r"losses\['l1'\]' must be a number from 0 up"):
        gan.compile(losses={"l1": -1})
    with pytest.raises(kg.KerasganError, match=r"'adversarial_weight'.*nan"):
        gan.compile(adversarial_weight=float("nan"))
    with pytest.raises(kg.KerasganError, match=r"'ema_momentum'.* to below 1. Received: 1.0"):
        gan.compile(ema_momentum=1.0)
    with pytest.raises(kg.KerasganError, match=r"'label_smoothing' must be 0 for 'hinge'"):
        gan.compile(adversarial="hinge", label_smoothing=0.1)

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.training.adversarial import ADVERSARIAL
from kerasgan.training.losses import ON_LOGITS, SEGMENTATION, focal, tversky

rng = np.random.default_rng(0)


def case(classes):
    logits = rng.normal(size=(2, 3, 4, classes))
    if classes == 1:
        return (rng.random((2, 3, 4, 1)) > 0.5).astype(float), 1 / (1 + np.exp(-logits))
    labels = rng.integers(classes, size=(2, 3, 4))
    return np.eye(classes)[labels], np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def logits_of(p):
    return np.log(p) - (np.log1p(-p) if p.shape[-1] == 1 else 0)


def taken(name, p):
    """What a loss is called with."""
    return tf.constant(logits_of(p) if name in ON_LOGITS else p)


def l1(truth, p):
    return np.mean([abs((2 * t - 1) - (2 * q - 1)) for t, q in zip(truth.flat, p.flat)])


def cross_entropy(truth, p):
    if truth.shape[-1] == 1:
        return -np.mean(np.where(truth == 1, np.log(p), np.log(1 - p)))
    return -np.mean(np.log(p[truth == 1]))


def planes(truth, p):
    """Common, true and drawn area of each image and channel."""
    for image, channel in np.ndindex(truth.shape[0], truth.shape[-1]):
        t, q = truth[image, ..., channel], p[image, ..., channel]
        yield (t * q).sum(), t.sum(), q.sum()


def dice(truth, p):
    return 1 - np.mean([(2 * both + 1) / (t + q + 1) for both, t, q in planes(truth, p)])


def jaccard(truth, p):
    return 1 - np.mean([(both + 1) / (t + q - both + 1) for both, t, q in planes(truth, p)])


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
    ours = SEGMENTATION[oracle.__name__](tf.constant(truth), taken(oracle.__name__, p))
    np.testing.assert_allclose(ours, oracle(truth, p), rtol=1e-6)


def test_every_segmentation_loss_is_zero_on_the_truth_and_finite_on_its_opposite():
    truth, _ = case(1)
    truth = tf.constant(truth, tf.float32)
    for name in SEGMENTATION.keys() - {"boundary"}:
        loss = SEGMENTATION[name]
        right, wrong = (40 * x - 20 if name in ON_LOGITS else x for x in (truth, 1 - truth))
        assert float(loss(truth, right)) < 1e-5, name
        assert 0.5 < float(loss(truth, wrong)) < 21, name


def test_tversky_and_focal_have_their_special_cases():
    truth, p = (tf.constant(x) for x in case(3))
    logits = tf.math.log(p) + 7.0
    half = 1 - tf.reduce_mean(
        (tf.reduce_sum(truth * p, (1, 2)) + 1) / (tf.reduce_sum((truth + p) / 2, (1, 2)) + 1)
    )
    np.testing.assert_allclose(tversky(truth, p, 0.5, 0.5), half, rtol=1e-6)
    plain = cross_entropy(truth.numpy(), p.numpy())
    np.testing.assert_allclose(focal(truth, logits, 0.0), plain, rtol=1e-6)
    assert float(tversky(truth, 0 * p)) > float(tversky(truth, 1 - 0 * p))


@pytest.mark.parametrize("classes", [1, 3])
def test_focal_against_its_formula(classes):
    truth, p = case(classes)
    right = np.where(truth == 1, p, 1 - p)
    terms = -((1 - right) ** 2) * np.log(right)
    if classes > 1:
        terms = terms * truth
    ours = focal(tf.constant(truth), taken("focal", p))
    np.testing.assert_allclose(ours, terms.sum(-1).mean(), rtol=1e-6)


def test_boundary_is_zero_where_a_mask_has_no_boundary():
    truth = np.zeros((1, 9, 9, 1), "float32")
    truth[0, 3:6, 3:6] = 1
    loss = SEGMENTATION["boundary"]
    for filled in (np.zeros_like(truth), np.ones_like(truth)):
        assert float(loss(tf.constant(filled), tf.constant(truth))) == 0


def test_unknown_names_are_answered_with_near_ones():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=1, levels=1))
    refused(r"'losses'.*'dise'. Did you mean 'dice'", gan.compile, losses={"dise": 1.0})
    refused(r"'adversarial' must be one of vanilla", gan.compile, adversarial="vanila")
    refused(r"losses\['l1'\]' must be a finite number from 0 up", gan.compile, losses={"l1": -1})
    refused(r"'adversarial_weight'.*nan", gan.compile, adversarial_weight=float("nan"))
    refused(r"'ema_momentum'.* below 1. Received: 1.0", gan.compile, ema_momentum=1.0)
    with pytest.raises(kg.KerasganError, match=r"'label_smoothing' must be 0 for 'hinge'"):
        gan.compile(adversarial="hinge", label_smoothing=0.1)


# --- Where a network is sure, and wrong ---


def slopes(loss, truth, logits):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = SEGMENTATION[loss](tf.constant(truth, tf.float32), logits)
    return value.numpy(), tape.gradient(value, logits).numpy().ravel()


@pytest.mark.parametrize("logit", [-80.0, -50.0, -20.0, -3.0, 0.0, 3.0, 20.0, 50.0, 80.0])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_a_sure_pixel_has_the_gradient_of_the_formula(truth, logit):
    sign = 2 * truth - 1
    wrong = 1 / (1 + np.exp(np.float64(sign * logit)))  # the probability of the wrong side
    right = 1 / (1 + np.exp(-np.float64(sign * logit)))
    surprise = np.logaddexp(0, -sign * logit)
    value, slope = slopes("cross_entropy", [[[[truth]]]], [[[[logit]]]])
    np.testing.assert_allclose(value, surprise, rtol=1e-5)
    np.testing.assert_allclose(slope, [-sign * wrong], rtol=1e-5)
    value, slope = slopes("focal", [[[[truth]]]], [[[[logit]]]])
    np.testing.assert_allclose(value, wrong**2 * surprise, rtol=1e-5, atol=1e-30)
    expected = -sign * (wrong**3 + 2 * wrong**2 * right * surprise)
    np.testing.assert_allclose(slope, [expected], rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("sure", range(3))
@pytest.mark.parametrize("name", ON_LOGITS)
def test_a_sure_class_has_the_gradient_of_the_formula(sure, name):
    truth, logits = np.eye(3)[1], 100.0 * np.eye(3)[sure] - 50.0
    p = np.exp(logits - 50) / np.exp(logits - 50).sum()
    surprise = 50.0 - logits[1] + np.log(np.exp(logits - 50).sum())
    value, slope = slopes(name, truth.reshape(1, 1, 1, 3), logits.reshape(1, 1, 1, 3))
    if name == "cross_entropy":
        expected, factor = surprise, 1.0
    else:
        expected = (1 - p[1]) ** 2 * surprise
        factor = (1 - p[1]) ** 2 + 2 * p[1] * (1 - p[1]) * surprise
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(slope, factor * (p - truth), rtol=1e-4, atol=1e-12)


def sure_network(activation, classes, bias, how):
    """A network whose logits are its bias everywhere, that ends as people write it."""
    image = keras.Input((8, 8, 3))
    options = {"bias_initializer": keras.initializers.Constant(bias)}
    options["kernel_initializer"] = "zeros"
    inside = activation if how == "within" else None
    x = keras.layers.Conv2D(classes, 1, activation=inside, **options)(image)
    if how == "layer" and activation != "linear":
        x = keras.layers.Activation(activation)(x)
    if how == "function" and activation != "linear":
        x = getattr(getattr(keras, "ops", tf.nn), activation)(x)
    return keras.Model(image, x)


ENDS = [("sigmoid", 1), ("tanh", 1), ("linear", 1), ("softmax", 3), ("linear", 3)]


@pytest.mark.parametrize(
    ("how", "precision"), [("within", "float32"), ("function", "float32"), ("layer", "bfloat16")]
)
@pytest.mark.parametrize(("activation", "classes"), ENDS)
def test_a_network_that_is_sure_and_wrong_learns_at_full_speed(activation, classes, how, precision):
    bias = [50.0, -50.0, -50.0] if classes == 3 else 50.0
    network = sure_network(activation, classes, bias, how)
    gan = kg.SegmentationGAN(network)
    options = {"losses": {"cross_entropy": 1.0}, "precision": precision, "run_eagerly": True}
    gan.compile(keras.optimizers.SGD(1.0), **options)
    mask = np.zeros((2, 8, 8, classes), "float32")
    mask[..., 1:2] = classes == 3
    before = network.layers[1].bias.numpy()
    logs = gan.train_on_batch(np.zeros((2, 8, 8, 3), "float32"), mask, return_dict=True)
    moved = before - network.layers[1].bias.numpy()
    scale = 2 if activation == "tanh" else 1  # the logit of a drawing is twice what tanh is of
    expected = [1.0, -1.0, 0.0] if classes == 3 else [scale]
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert logs["cross_entropy_loss"] == pytest.approx(100 if classes == 3 else 50 * scale)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_losses_pull_at_sure_logits(name):
    """Slopes by the formulas, at logits of plus and minus 50 on either side."""
    true, drawn = (tf.constant(x, tf.float32) for x in ([50.0, -50.0], [-50.0, 50.0]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([true, drawn])
        fooled, judged = ADVERSARIAL[name](true, drawn)
    pull = tape.gradient(fooled, drawn).numpy()
    on_true, on_drawn = (x.numpy() for x in tape.gradient(judged, [true, drawn]))
    n = 2
    expected = {
        "vanilla": ([-1, 0], [0, -0.5], [0, 0.5]),
        "least_squares": ([-102, 98], [49, -51], [-50, 50]),
        "hinge": ([-1, -1], [0, -1], [0, 1]),
        "wasserstein": ([-1, -1], [-1, -1], [1, 1]),
        "segan": ([-1, 1], [-1, 1], [1, -1]),
    }[name]
    for found, wanted in zip((pull, on_true, on_drawn), expected):
        np.testing.assert_allclose(found, np.array(wanted) / n, atol=1e-6)

"""Targets against hand-made cases."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain import Explainer, targets
from kerasgan.explain.logits import components, label_components, warn_if_empty

ONE = np.array(
    [
        [3.0, 2.0, -1.0, -1.0, 4.0],
        [1.0, -1.0, -1.0, -2.0, -1.0],
        [-1.0, 5.0, -1.0, -1.0, 0.0],
        [-1.0, -1.0, -1.0, 1.0, 1.0],
    ],
    "float32",
).reshape(1, 4, 5, 1)
FOREGROUND = ONE[0, ..., 0] > 0
THREE = np.array(
    [[[5.0, 1.0, 2.0], [0.0, 2.0, 1.0]], [[0.0, 1.0, 3.0], [-1.0, 4.0, -2.0]]], "float32"
)[None]  # predicted classes [[0, 1], [2, 1]]


def weights(target, logits, truth=None):
    logits = tf.constant(logits)
    ready = targets.get(target).prepare(logits.shape, truth)
    return ready.weights(logits).numpy()


def picture(*rows):
    return np.array([[float(c) for c in row.replace(".", "0").replace("-", "9")] for row in rows])


def test_prediction_of_one_channel_is_where_the_logit_is_positive():
    np.testing.assert_array_equal(weights("prediction", ONE)[0, ..., 0], FOREGROUND)


def test_prediction_of_several_channels_leaves_the_background_out():
    expected = [[[0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 1, 0]]]
    np.testing.assert_array_equal(weights(targets.Prediction(), THREE)[0], expected)


def test_class_weighs_the_pixels_predicted_as_it():
    expected = [[[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0]]]
    np.testing.assert_array_equal(weights(targets.Class(1), THREE)[0], expected)
    assert weights(targets.Class(0), THREE).sum() == 1


def test_margin_starts_at_two_channels_and_sums_to_the_margin():
    w = weights(targets.Class(1, margin=True), THREE)
    np.testing.assert_array_equal(w[0], [[[0, 0, 0], [0, 1, -1]], [[0, 0, 0], [-1, 1, 0]]])
    np.testing.assert_array_equal((w * THREE).sum(-1)[0], [[0, 1], [0, 5]])


def test_background_of_one_channel_speaks_with_the_negative_logit():
    w = weights(targets.Class(0), ONE)[0, ..., 0]
    np.testing.assert_array_equal(w, FOREGROUND - 1.0)
    np.testing.assert_array_equal(weights(targets.Class(1), ONE)[0, ..., 0], FOREGROUND)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (4, 5, 1), (1, 4, 5, 1)])
def test_mask_of_every_shape(shape):
    array = np.arange(20.0)
    np.testing.assert_array_equal(weights(array.reshape(shape), ONE).ravel(), array)


def test_mask_by_pixel_takes_the_predicted_channel_background_included():
    w = weights([[2, 0], [1, -1]], THREE)
    np.testing.assert_array_equal(w[0], [[[2, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, -1, 0]]])


def test_mask_by_logit_is_taken_as_it_is():
    array = np.random.default_rng(0).normal(size=(2, 2, 3)).astype("float32")
    np.testing.assert_array_equal(weights(array, THREE)[0], array)
    np.testing.assert_array_equal(weights(targets.Mask(array[None]), THREE)[0], array)


def test_three_axes_are_a_batch_where_that_fits():
    logits = np.tile(THREE, (2, 1, 1, 1))
    w = weights(np.array([[[1, 1], [1, 1]], [[0, 0], [0, 0]]]), logits)
    assert w[0].sum() == 4
    assert w[1].sum() == 0


def test_pixel():
    w = weights(targets.Pixel(1, 0), THREE)
    assert w[0, 1, 0].tolist() == [0, 0, 1]
    assert w.sum() == 1
    assert weights(targets.Pixel(3, 2), ONE)[0, 3, 2, 0] == 1


def test_each_image_has_a_target_of_its_own():
    logits = np.concatenate([ONE, -ONE, ONE])
    truth = np.random.default_rng(0).integers(0, 2, (3, 4, 5))
    parts = [targets.Pixel(1, 2), "prediction", "false_negatives"]
    w = weights(parts, logits, truth)
    for place, part in enumerate(parts):
        one = weights(part, logits[place : place + 1], truth[place : place + 1])
        np.testing.assert_array_equal(w[place : place + 1], one)
    ready = targets.get(parts).prepare(logits.shape, truth)
    np.testing.assert_array_equal(ready.take(1, 3).weights(tf.constant(logits[1:])), w[1:])
    same = weights(parts, logits, truth[0])  # one truth for all
    np.testing.assert_array_equal(same[2:], weights("false_negatives", ONE, truth[0]))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([targets.Pixel(0, 0)], r"each of the 2 image\(s\). Received: 1"),
        ([targets.Pixel(0, 0), targets.Pixel(4, 0)], "image 1: .*'y' of Pixel"),
        (["prediction", "predicton"], "Did you mean 'prediction'"),
        (["false_negatives", "prediction"], "image 0: .*true masks"),
        ([np.ones((3, 3)), "prediction"], "image 0: .*'array' of Mask"),
        ([targets.Pixel(0, 0), object()], "finite numbers"),
        ([[1.0], [1.0, 2.0]], "finite numbers"),
        (targets.Pixel, r"class; write Pixel\("),
    ],
)
def test_bad_targets_of_each_are_refused(target, message):
    refused(message, weights, target, np.concatenate([ONE, ONE]))


@pytest.mark.parametrize("shape", [(None, 4, 5, 1), (None, None, None, 1)])
def test_pixels_outside_are_refused_while_tracing_and_running(shape):
    pixel = targets.Pixel(1, 9)
    spec = [tf.TensorSpec(shape)]
    with pytest.raises((KerasganError, tf.errors.InvalidArgumentError), match="Pixel"):
        tf.function(pixel.weights, spec, autograph=False)(ONE)
    refused("'index' of Class", tf.function(targets.Class(2).weights, spec, autograph=False), ONE)


def test_border_is_the_rim_and_the_image_edge_is_none():
    logits = np.where(picture("111111.", "111111.", "111111.", "111111.", "......."), 1.0, -1.0)
    logits = logits[None, ..., None].astype("float32")
    one = picture(".....1.", ".....1.", ".....1.", "111111.", ".......")
    two = picture("....11.", "....11.", "111111.", "111111.", ".......")
    np.testing.assert_array_equal(weights("border", logits)[0, ..., 0], one)
    np.testing.assert_array_equal(weights(targets.Border(2), logits)[0, ..., 0], two)


def test_border_between_two_foreground_classes():
    logits = tf.one_hot([[[1, 1, 1, 2, 2, 2]]], 3)
    w = weights("border", logits.numpy())
    np.testing.assert_array_equal(w.sum(-1)[0, 0], [0, 0, 1, 1, 0, 0])


def test_components_are_eight_connected_and_ordered_by_size():
    labels = label_components(ONE)[0, ..., 0]
    expected = picture("11..3", "1....", ".1...", "...22")
    np.testing.assert_array_equal(labels, expected)
    for index in range(3):
        w = weights(targets.Component(index), ONE)[0, ..., 0]
        np.testing.assert_array_equal(w, expected == index + 1)


def test_components_of_classes_that_touch_are_apart():
    labels = label_components(THREE)
    np.testing.assert_array_equal(labels.max(-1)[0], [[0, 1], [2, 1]])


def test_every_component_of_a_batch_at_once():
    logits = np.concatenate([-abs(ONE), ONE, abs(ONE) + 1])
    found = components(logits)
    assert found.image.tolist() == [1, 1, 1, 2]
    assert found.index.tolist() == [0, 1, 2, 0]
    assert found.area.tolist() == [4, 2, 1, 20]
    assert found.weights.dtype == np.float32
    np.testing.assert_array_equal(found.weights[:3].sum(0), weights("prediction", ONE)[0])
    np.testing.assert_array_equal(found.weights[1:2], weights(targets.Component(1), ONE))


def test_no_component_at_all():
    found = components(-abs(ONE))
    assert found.weights.shape == (0, 4, 5, 1)
    assert len(found.image) == len(found.area) == len(found.index) == 0


def test_false_positives_and_missed_split_the_errors():
    truth = picture("111..", ".....", ".....", "..111")
    wrong = weights("false_positives", ONE, truth)[0, ..., 0]
    missed = weights("false_negatives", ONE, truth)[0, ..., 0]
    np.testing.assert_array_equal(wrong, picture("....1", "1....", ".1...", "....."))
    np.testing.assert_array_equal(missed, picture("..1..", ".....", ".....", "..1.."))
    np.testing.assert_array_equal(FOREGROUND - wrong + missed, truth)


@pytest.mark.parametrize("one_hot", [False, True])
def test_errors_of_several_classes(one_hot):
    truth = np.array([[[1, 1], [0, 2]]])
    truth = np.eye(3)[truth] if one_hot else truth
    missed = weights(targets.FalseNegatives(truth), THREE)[0]
    np.testing.assert_array_equal(missed, [[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]])
    wrong = weights(targets.FalsePositives(truth), THREE)[0]
    np.testing.assert_array_equal(wrong, [[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 1, 0]]])


def test_own_truth_goes_before_the_common_one():
    truth = np.zeros((4, 5))
    w = weights(targets.FalsePositives(truth), ONE, truth=np.ones((4, 5)))
    np.testing.assert_array_equal(w[0, ..., 0], FOREGROUND)


def test_difference():
    a, b = targets.Prediction(), targets.Border()
    expected = weights(a, ONE) - weights(b, ONE)
    np.testing.assert_array_equal(weights(a - b, ONE), expected)
    np.testing.assert_array_equal(weights(a - "border", ONE), expected)
    truth = np.ones((4, 5), bool)
    nested = weights(a - (targets.FalseNegatives() - b), ONE, truth)
    np.testing.assert_array_equal(nested, expected + 2 * weights(b, ONE) - ~(ONE > 0))


def test_take_cuts_what_has_a_batch():
    logits = np.concatenate([ONE, -ONE, ONE + 10])
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (3, 4, 5))
    maps = rng.normal(size=(3, 4, 5, 1)).astype("float32")
    for target in (
        targets.Mask(maps),
        targets.Mask(maps[0]),
        targets.FalseNegatives(truth),
        targets.FalsePositives(truth) - targets.Mask(maps),
        targets.Border(),
    ):
        ready = target.prepare(logits.shape)
        whole = ready.weights(tf.constant(logits)).numpy()
        for start, stop in ((0, 2), (2, 3)):
            part = ready.take(start, stop).weights(tf.constant(logits[start:stop])).numpy()
            np.testing.assert_array_equal(part, whole[start:stop])


def test_targets_can_be_traced():
    truth = np.random.default_rng(0).integers(0, 2, (4, 5))
    for target in (
        targets.Prediction(),
        targets.Class(0),
        targets.Pixel(1, 2),
        targets.Border() - targets.Mask(truth),
        targets.FalseNegatives(truth),
    ):
        assert target.traceable
        traced = tf.function(target.weights, input_signature=[tf.TensorSpec((None, 4, 5, 1))])
        np.testing.assert_array_equal(traced(ONE), weights(target, ONE))
    margin = targets.Class(1, margin=True)
    traced = tf.function(margin.weights, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_array_equal(traced(THREE), weights(margin, THREE))


def test_component_says_that_it_cannot_be_traced():
    assert not targets.Component().traceable
    assert not (targets.Prediction() - targets.Component()).traceable
    with pytest.raises(KerasganError, match=r"Component.*tf\.function"):
        tf.function(targets.Component().weights, autograph=False)(tf.constant(ONE))


def test_targets_without_arrays_are_equal_by_value():
    assert targets.Class(1) == targets.Class(1) != targets.Class(2)
    a = targets.Border() - targets.Pixel(0, 0)
    assert hash(a) == hash(targets.Border(1) - targets.Pixel(0, 0))


def test_empty_target_warns_and_names_the_images():
    w = np.concatenate([weights("prediction", ONE), weights("prediction", -abs(ONE))])
    with pytest.warns(KerasganWarning, match=r"in 1 of 2 image\(s\): 1"):
        warn_if_empty(w)
    warn_if_empty(w[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: targets.Border(0), "'width' must be a whole number of pixels"),
        (lambda: targets.Border(1.5), "'width' must be a whole number of pixels"),
        (lambda: weights("component", -abs(ONE)), r"Components in each image: \[0\]"),
        (
            lambda: weights(targets.FalseNegatives([[0, 3], [0, 0]]), THREE),
            r"from 0 to 2\. Received: values from 0 to 3",
        ),
    ],
)
def test_bad_values_are_refused(make, message):
    refused(message, make)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("predicton", "Received: 'predicton'. Did you mean 'prediction'?"),
        ("zzz", "Received: 'zzz'"),
        (np.ones((5, 4)), r"'array' of Mask must have shape \(4, 5\).*Received: \(5, 4\)"),
        (np.ones((2, 4, 5, 1)), r"Received: \(2, 4, 5, 1\)"),
        (np.ones((1, 4, 5, 3)), r"Received: \(1, 4, 5, 3\)"),
        (np.ones(20), r"Received: \(20,\)"),
        (np.full((4, 5), np.nan), "finite numbers"),
        (object(), "finite numbers"),
        (targets.Class(2), "from 0 to 1 for a network with 1 output.*Received: 2"),
        (targets.Class(-1), "Received: -1"),
        (targets.Class(True), "Received: True"),
        (targets.Pixel(4, 0), "'y' of Pixel must be from 0 to 3.*Received: 4"),
        (targets.Pixel(0, 5), "'x' of Pixel must be from 0 to 4"),
        (targets.Pixel(0.5, 0), "Received: 0.5"),
        (targets.Component(3), r"Received: 3. Components in each image: \[3\]"),
        (targets.Component(-1), "Received: -1"),
        ("false_negatives", r"FalseNegatives needs the true masks: FalseNegatives\(truth\)"),
        (targets.Prediction() - targets.FalsePositives(), "FalsePositives needs the true masks"),
        (targets.FalseNegatives(np.ones((5, 5))), "'truth' of FalseNegatives must have shape"),
        (
            targets.FalseNegatives(np.full((4, 5), 255)),
            "from 0 to 1. Received: values from 255 to 255",
        ),
        (targets.FalseNegatives(np.full((4, 5), -1.0)), "values from -1.0"),
    ],
)
def test_bad_targets_are_refused(target, message):
    refused(message, weights, target, ONE)


def test_logits_of_volumes_and_of_whole_images():
    volume = keras.Input((4, 4, 4, 1))
    x = keras.layers.Conv3D(2, 3, padding="same", activation="relu")(volume)
    explainer = Explainer(keras.Model(volume, keras.layers.Conv3D(1, 1)(x)), "epsilon")
    cubes = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 4, 1))
    chosen = np.zeros((4, 4, 4))
    chosen[1] = 1
    e = explainer.explain(cubes, chosen)
    assert e.relevance.shape == cubes.shape
    assert e.relevance.any()
    assert not e.target[:, [0, 2, 3]].any()
    for target in ("border", targets.Pixel(0, 0)):
        refused("height, width", explainer.explain, cubes, target)
    whole = keras.Model(volume, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    explainer = Explainer(whole, "epsilon")
    assert explainer.explain(cubes, np.eye(3)[1]).target.tolist() == [[0, 1, 0]] * 2
    for target in ("border", "component", targets.Pixel(0, 0)):
        refused("height, width", explainer.explain, cubes, target)

import math

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

from kerasgan.counts import SCORES, Counts, count, count_labels, score
from kerasgan.errors import KerasganError


def textbook(name, truth, prediction):
    """Scores as set operations on pixel indices; None where undefined."""
    everything = set(range(truth.size))
    true = {i for i in everything if truth.flat[i]}
    found = {i for i in everything if prediction.flat[i]}

    def divide(a, b):
        return a / b if b else None

    recall, precision = divide(len(true & found), len(true)), divide(len(true & found), len(found))
    if name == "f2":
        if not true | found:
            return None
        if not recall or not precision:
            return 0.0
        return 5 * precision * recall / (4 * precision + recall)
    return {
        "accuracy": divide(len(everything) - len(true ^ found), len(everything)),
        "jaccard": divide(len(true & found), len(true | found)),
        "dice": divide(2 * len(true & found), len(true) + len(found)),
        "recall": recall,
        "precision": precision,
        "specificity": divide(len(everything - true - found), len(everything - true)),
    }[name]


def masks(seed, shape=(6, 7, 5)):
    """A batch of random masks, among them empty, full and equal ones."""
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, *shape)) < rng.random((2, shape[0], 1, 1))
    truth[0] = truth[1] = prediction[1] = prediction[2] = False
    truth[3] = prediction[4] = True
    return truth, prediction


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("name", SCORES)
def test_scores_per_image_follow_the_textbook(name, tensors):
    truth, prediction = masks(0)
    wanted = [textbook(name, t, p) for t, p in zip(truth, prediction)]
    convert = tf.constant if tensors else np.asarray
    got = score(name, count(convert(truth), convert(prediction), axis=(1, 2)), empty="nan")
    assert tf.is_tensor(got) == tensors
    np.testing.assert_allclose(got, [math.nan if w is None else w for w in wanted], rtol=1e-6)


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize(
    ("truth", "prediction", "name", "agree", "medai", "nan"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], "jaccard", 1, 1, math.nan),
        ([0, 0, 0, 0], [0, 0, 0, 0], "precision", 1, 1, math.nan),
        ([0, 0, 0, 0], [0, 0, 0, 1], "jaccard", 0, 3 / 4, 0),
        ([0, 0, 0, 0], [0, 0, 0, 1], "dice", 0, 6 / 7, 0),
        ([0, 0, 0, 0], [0, 0, 0, 1], "recall", 0, 3 / 4, math.nan),
        ([0, 0, 0, 0], [0, 0, 0, 1], "precision", 0, 1, 0),
        ([0, 0, 0, 0], [1, 1, 1, 1], "precision", 0, 0, 0),
        ([0, 0, 0, 1], [0, 0, 0, 0], "precision", 0, 0, math.nan),
        ([1, 1, 1, 1], [1, 1, 1, 1], "specificity", 1, 1, math.nan),
        ([1, 1, 1, 1], [1, 1, 1, 0], "specificity", 0, 0, math.nan),
        ([0, 0, 1, 1], [0, 1, 1, 0], "jaccard", 1 / 3, 1 / 3, 1 / 3),
        ([0, 1, 1, 1], [1, 1, 0, 0], "specificity", 0, 0, 0),
        ([0, 0, 1, 1], [0, 0, 1, 0], "jaccard", 1 / 2, 1 / 2, 1 / 2),
    ],
)
def test_empty_policies(truth, prediction, name, agree, medai, nan, tensors):
    counted = count(tf.constant(truth) if tensors else truth, prediction)
    got = [float(score(name, counted, empty)) for empty in ("agree", "medai", "nan")]
    np.testing.assert_allclose(got, [agree, medai, nan], rtol=1e-6)


def test_soft_counts_and_gradient():
    truth = tf.constant([[1.0, 0.0]])
    prediction = tf.Variable([[0.25, 0.5]])
    with tf.GradientTape() as tape:
        counted = count(truth, prediction, axis=1)
        dice = score("dice", counted)
    np.testing.assert_allclose(tf.stack(counted)[:, 0], [0.25, 0.5, 0.75, 0.5])
    np.testing.assert_allclose(tape.gradient(dice, prediction), np.array([[3, -0.5]]) / 1.75**2)


def test_soft_masks_of_numpy_count_in_proportion():
    counted = count(np.float32([1, 0]), np.float32([0.25, 0.5]))
    assert counted == Counts(tp=0.25, fp=0.5, fn=0.75, tn=0.5)
    assert {part.dtype for part in counted} == {np.dtype("float64")}
    for hard in (np.uint8([1, 0]), np.array([True, False])):
        assert {part.dtype for part in count(hard, hard)} == {np.dtype("int64")}


@pytest.mark.parametrize("convert", [(tf.constant, list), (list, tf.constant)])
def test_one_tensor_makes_tensors(convert):
    counted = count(*(as_given(mask) for as_given, mask in zip(convert, ([1.0, 0.0], [1.0, 1.0]))))
    assert all(map(tf.is_tensor, counted))
    assert [float(part) for part in counted] == [1, 1, 0, 0]


def test_gradient_is_finite_where_there_is_nothing():
    prediction = tf.Variable(tf.zeros([1, 4]))
    with tf.GradientTape() as tape:
        dice = score("dice", count(tf.zeros([1, 4]), prediction, axis=1))
    assert np.isfinite(tape.gradient(dice, prediction)).all()


def test_inside_a_function_with_unknown_shape():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.float32)] * 2)
    def jaccard(truth, prediction):
        return score("jaccard", count(truth, prediction, axis=(1, 2)), "medai")

    truth, prediction = masks(4)
    np.testing.assert_allclose(
        jaccard(truth.astype("float32"), prediction.astype("float32")),
        score("jaccard", count(truth, prediction, axis=(1, 2)), "medai"),
        rtol=1e-6,
    )


def test_exact_where_the_inputs_are_narrow():
    ones = np.ones((1, 70_000), np.uint8)
    assert count(ones, ones, axis=1).tp == 70_000
    assert count(tf.ones([1, 70_000], tf.float16), tf.ones([1, 70_000], tf.float16)).tp == 70_000


def test_labels_are_counted_one_class_against_the_rest():
    rng = np.random.default_rng(5)
    truth, prediction = rng.integers(0, 3, (2, 9, 8), dtype=np.uint8)
    eye = np.eye(4, dtype=bool)
    one_hot = count(eye[truth], eye[prediction], axis=(0, 1))
    np.testing.assert_array_equal(count_labels(truth, prediction, 4), one_hot)


def test_some_labels_may_be_missing():
    assert count_labels([1, 1], [1, 1], 3).tp.tolist() == [0, 2, 0]
    assert count_labels([1, 2], [2, 2], 3).fp.tolist() == [0, 0, 1]
    assert count_labels([], [], 2).tn.tolist() == [0, 0]


@pytest.mark.parametrize("wrong", [[0, -1], [-1, -1], [2, 2], [0, 3]])
def test_labels_out_of_range_are_refused(wrong):
    refused("'truth' must hold whole labels from 0 to 1", count_labels, wrong, [0, 1], 2)


@pytest.mark.parametrize("wrong", [-0.5, 1.5])
def test_values_out_of_range_are_refused(wrong):
    refused("'prediction' must be a mask with values from 0 to 1", count, [0.0, 1.0], [wrong, 1.0])


def test_shapes_must_be_equal_in_either_order():
    for first, second in ((2, 3), (3, 2)):
        with pytest.raises(KerasganError, match=rf"Received: \({first},\) and \({second},\)"):
            count(np.zeros(first), np.zeros(second))
        with pytest.raises(KerasganError, match=rf"Received: \({first},\) and \({second},\)"):
            count_labels([0] * first, [0] * second, 2)


def test_bad_input():
    refused(r"same shape\. Received: \(2, 1\) and \(2,\)", count, np.zeros((2, 1)), np.zeros(2))
    refused("same shape", count, tf.zeros([2, 1]), tf.zeros([2]))
    refused("same shape", count_labels, [0], [[0]], 2)
    refused(r"'truth' must be a mask .* Received: 0 to 255", count, [0, 255], [0, 1])
    refused(r"'prediction' must be a mask .* nan", count, [0.0, 1.0], [0.0, math.nan])
    refused("'prediction' must hold whole labels from 0 to 1", count_labels, [0, 1], [0, 2], 2)
    refused(r"float64 from 0\.0 to 0\.9; pass mask > 0\.5", count_labels, [0, 1], [0, 0.9], 2)
    refused("from nan to nan", count_labels, [0, 1], [0, math.nan], 2)
    refused(r"from 0 to 255; pass mask > 127", count_labels, [0, 1], [0, 255], 2)
    refused(r"one of accuracy, .*Received: 'iou'", score, "iou", Counts(1, 1, 1, 1))
    with pytest.raises(KerasganError, match=r"'empty' must be one of .*Received: 'zero'"):
        score("dice", Counts(1, 1, 1, 1), empty="zero")

import math

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.inference import expected_calibration_error, fit_temperature, iterate_probability

RNG = np.random.default_rng(0)


def dataset(folder, images, masks, classes=1):
    for part, arrays in (("images", images), ("masks", masks)):
        (folder / part).mkdir()
        for index, array in enumerate(arrays):
            Image.fromarray(np.asarray(array, np.uint8)).save(folder / part / f"{index}.png")
    return load_folder(folder, classes=classes) if classes > 1 else load_folder(folder)


def two_levels(folder, right):
    """Two images, black or white in each pixel, and masks that are so in a share of them."""
    images = RNG.integers(0, 2, (2, 20, 20))
    wrong = np.zeros(400, bool)
    wrong[: round(400 * (1 - right))] = True
    wrong = np.stack([RNG.permutation(wrong).reshape(20, 20) for _ in images])
    return dataset(folder, images * 255, (images != wrong) * 255)


def level(gain=5.0, activation="tanh"):
    image = keras.Input((20, 20, 1))
    return keras.Model(image, layers.Activation(activation)(image * gain))


@pytest.mark.parametrize(("activation", "logit"), [("tanh", 10.0), ("sigmoid", 5.0)])
@pytest.mark.parametrize("right", [0.8, 0.6])
def test_temperature_of_one_class(tmp_path, activation, logit, right):
    samples = two_levels(tmp_path, right)
    found = fit_temperature(level(activation=activation), samples)
    assert found == pytest.approx(logit / math.log(right / (1 - right)), rel=1e-3)


def test_temperature_of_an_ensemble_is_that_of_its_mean(tmp_path):
    samples = two_levels(tmp_path, 0.8)
    models = [level(activation="tanh"), level(activation="sigmoid")]
    found = fit_temperature(models, samples, augment=True, mode="window")
    assert found == pytest.approx(7.5 / math.log(4), rel=1e-3)


def test_temperature_of_several_classes(tmp_path):
    labels = RNG.integers(0, 3, (1, 20, 20))
    seen = labels.copy()
    seen.ravel()[:100] = (seen.ravel()[:100] + 1) % 3
    samples = dataset(tmp_path, 255 * np.eye(3)[seen], labels, classes=3)
    image = keras.Input((20, 20, 3))
    model = keras.Model(image, layers.Softmax()(image * 4.0))
    assert fit_temperature(model, samples) == pytest.approx(8 / math.log(2 * 3), rel=1e-3)


def test_large_images_are_drawn_from(tmp_path):
    image = np.tile([[0, 255]], (150, 100))
    samples = dataset(tmp_path, [image], [np.roll(image, 60, 0) * (np.arange(200) < 150)])
    (probability,) = iterate_probability(level(), samples, mode="window")
    agree = np.mean((probability[..., 0] > 0.5) == samples.mask(0))
    found = fit_temperature(level(), samples, mode="window")
    assert found == pytest.approx(10 / math.log(agree / (1 - agree)), rel=0.03)
    assert found == fit_temperature(level(), samples, mode="window")


def test_a_model_that_is_always_right_has_no_temperature(tmp_path):
    with pytest.warns(KerasganWarning, match="copies of their images"):
        samples = two_levels(tmp_path, 1.0)
    with pytest.warns(KerasganWarning, match="always right on them"):
        assert fit_temperature(level(), samples) < 1


def test_bad_samples(tmp_path):
    samples = two_levels(tmp_path, 0.8)
    for bad in (load_folder(tmp_path / "images", masks=None), None, samples.image(0)):
        refused("'samples' must be labelled Samples", fit_temperature, level(), bad)
    image = keras.Input((20, 20, 1))
    model = keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(image))
    refused("must have the classes of the network, 3", fit_temperature, model, samples)


def by_hand(truths, probabilities, bins):
    """The two equations, a pixel at a time."""
    members = [[] for _ in range(bins)]
    for truth, probability in zip(truths, probabilities):
        for y, x in np.ndindex(truth.shape):
            p = probability[y, x].astype(float)
            p = np.array([1 - p[0], p[0]]) if len(p) == 1 else p
            place = next(m for m in range(bins) if p.max() <= (m + 1) / bins + 1e-12)
            members[place].append((p.max(), p.argmax() == truth[y, x]))
    total = sum(map(len, members))
    return members, sum(
        len(b) / total * abs(np.mean([r for _, r in b]) - np.mean([c for c, _ in b]))
        for b in members
        if b
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bins", [15, 4])
def test_calibration_error(channels, bins):
    probabilities, truths = [], []
    for size in ((7, 9), (5, 4), (12, 12)):
        p = RNG.random((*size, channels))
        probabilities.append(p if channels == 1 else p / p.sum(-1, keepdims=True))
        truths.append(RNG.integers(0, max(2, channels), size))
    found = expected_calibration_error(iter(truths), iter(probabilities), bins)
    members, wanted = by_hand(truths, probabilities, bins)
    assert found.error == pytest.approx(wanted, rel=1e-9)
    assert found.table["pixels"].tolist() == [len(b) for b in members]
    for row, b in zip(found.table.itertuples(), members):
        if b:
            assert row.confidence == pytest.approx(np.mean([c for c, _ in b]))
            assert row.accuracy == pytest.approx(np.mean([r for _, r in b]))
        else:
            assert np.isnan(row.confidence)
            assert np.isnan(row.accuracy)


def test_certainty():
    truth = np.array([[0, 1], [1, 0]])
    assert expected_calibration_error([truth], [truth[..., None].astype(float)]).error == 0
    assert expected_calibration_error([truth], [1.0 - truth[..., None]]).error == 1


@pytest.mark.parametrize(
    ("truths", "probabilities", "message"),
    [
        ([np.zeros((2, 2))], [], "one array for each truth. Received: 0"),
        ([np.zeros((2, 2))] * 2, [np.zeros((2, 2, 1))], "one array for each truth. Received: 1"),
        ([], [np.zeros((2, 2, 1))], "no more truths"),
        ([np.zeros((2, 3))], [np.zeros((2, 2, 1))], r"'truths\[0\]' must be a mask of shape"),
        ([np.full((2, 2), 3)], [np.zeros((2, 2, 1))], "whole numbers from 0 to 1"),
        ([np.zeros((2, 2))], [np.full((2, 2, 1), 1.5)], "from 0 to 1"),
        ([np.zeros((2, 2))], [np.full((2, 2, 1), np.nan)], "from 0 to 1"),
        ([np.zeros((2, 2))], [np.zeros((2, 2))], r"must be \(height, width, channels\)"),
    ],
)
def test_bad_input(truths, probabilities, message):
    refused(message, expected_calibration_error, truths, probabilities)
    with pytest.raises(KerasganError, match="'bins' must be a whole number from 1 up"):
        expected_calibration_error(truths, probabilities, bins=0)

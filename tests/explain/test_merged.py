"""Explanations of merged predictions: sums, places, symmetries, one network for all of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from refusals import refused

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain import Epsilon, Explainer, Explanation, MergedExplainer, targets
from kerasgan.explain.logits import predicted
from kerasgan.inference import predict, predict_probability

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (2, 21, 30, 2)).astype("float32")
EXACT = Epsilon(1e-9)
OPTIONS = [
    {},
    {"mode": "letterbox"},
    {"augment": True},
    {"mode": "window"},
    {"mode": "window", "scale": 0.6, "overlap": 0.2},
    {"mode": "window", "augment": True, "overlap": 0.3},
    {"mode": "window", "augment": "flips", "scale": 0.4},
]


def network(seed=0, activation="tanh", bias=0.3, classes=1, size=(16, 16)):
    """Two convolutions with a way around one of them; no symmetry."""
    image = keras.Input((*size, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(image)
    x = layers.Concatenate(name="skip")([x, image])
    x = layers.Conv2D(classes, 3, padding="same", name="head")(x)
    model = keras.Model(image, layers.Activation(activation)(x))
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.shape.rank == 1:  # above 0, so that some of every image is predicted
            weight.assign(bias * rng.uniform(1, 2, weight.shape))
        else:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def members(**kwargs):
    return [
        network(seed, activation, **kwargs) for seed, activation in enumerate(["tanh", "sigmoid"])
    ]


def of_image(e, image):
    ledger = e.ledger[e.ledger["image"] == image]
    explained = np.sum(e.target[image].astype("float64") * e.logits[image])
    relevance = np.sum(e.relevance[image], dtype="float64")
    spent = ledger[["bias", "stabiliser", "unsupported"]].to_numpy().sum()
    return explained, relevance, spent, np.abs(e.relevance[image]).sum()


class TestSums:
    @pytest.mark.parametrize(
        ("options", "ensemble"), list(zip(OPTIONS, [False, True] * len(OPTIONS))), ids=str
    )
    def test_relevance_and_books_are_the_explained_logits(self, options, ensemble):
        model = members() if ensemble else network()
        e = MergedExplainer(model, "epsilon", **options).explain(IMAGES)
        assert e.relevance.shape == IMAGES.shape
        for image in range(2):
            explained, relevance, spent, absolute = of_image(e, image)
            assert explained > 1
            assert relevance + spent == pytest.approx(explained, abs=float(1e-5 * absolute))
        ledger = e.ledger
        assert np.all(np.abs(ledger["remainder"]) < 1e-4 * ledger["absolute"] + 1e-6)

    def test_several_classes(self):
        models = [network(seed, "softmax", classes=3) for seed in range(2)]
        e = MergedExplainer(models, mode="window", augment="flips").explain(IMAGES, truth=None)
        np.testing.assert_array_equal(e.target, targets.Prediction().weights(tf.constant(e.logits)))
        explained, relevance, spent, absolute = of_image(e, 1)
        assert relevance + spent == pytest.approx(explained, abs=float(1e-5 * absolute))

    def test_a_border_that_is_no_part_of_the_image(self):
        model = network()
        e = MergedExplainer(model, mode="letterbox").explain(IMAGES)
        row = e.ledger[e.ledger["layer"] == "letterbox"].iloc[0]
        assert row["relevance_out"] == pytest.approx(e.relevance[0].sum(), rel=1e-4)
        assert abs(row["bias"]) > 0
        assert "letterbox" not in set(MergedExplainer(model).explain(IMAGES).ledger["layer"])


def merged_by_hand(models, images, step, views):
    """Log-odds of windows and views, in TensorFlow, to be differentiated."""
    height, width = images.shape[1:3]
    bump = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
    total, weights = tf.zeros((1, height, width, 1)), np.zeros((1, height, width, 1))
    for top in step[0]:
        for left in step[1]:
            tile = images[:, top : top + 16, left : left + 16]
            mean = 0
            for model, unit in models:
                for flip, turns in views:
                    seen = tf.image.rot90(tf.image.flip_up_down(tile) if flip else tile, turns)
                    logits = tf.image.rot90(unit * model(seen), -turns)
                    mean += tf.image.flip_up_down(logits) if flip else logits
            mean /= len(models) * len(views)
            pad = [[0, 0], [top, height - top - 16], [left, width - left - 16], [0, 0]]
            weight = np.pad(np.outer(bump, bump)[None, ..., None], pad)
            total += tf.pad(mean, pad) * weight
            weights += weight
    return total / weights


@pytest.mark.parametrize("augment", [False, True])
def test_relevance_is_where_the_gradient_of_the_whole_says(augment):
    # without biases, z-rule relevance is input times gradient of the merged logits
    models = members(bias=0.0)
    bare = [keras.Model(model.input, model.get_layer("head").output) for model in models]
    views = [(flip, turns) for flip in (0, 1) for turns in range(4)] if augment else [(0, 0)]
    image = tf.constant(IMAGES[:1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        pairs = [(bare[0], 1.0), (bare[1], 0.5)]
        logits = merged_by_hand(pairs, image, ([0, 5], [0, 7, 14]), views)
        f = tf.reduce_sum(tf.nn.relu(logits))
    wanted = (image * tape.gradient(f, image)).numpy()
    e = MergedExplainer(models, EXACT, mode="window", augment=augment).explain(image)
    np.testing.assert_allclose(e.logits, logits, atol=1e-5)
    np.testing.assert_allclose(e.relevance, wanted, atol=1e-4 * np.abs(wanted).max())


def test_pixels_that_a_reflection_repeats_get_the_relevance_of_all_copies():
    model, image = network(bias=0.0), tf.constant(IMAGES[:1, :12, :9])
    bare = keras.Model(model.input, model.get_layer("head").output)
    with tf.GradientTape() as tape:
        tape.watch(image)
        seen = tf.pad(image, [[0, 0], [2, 2], [3, 4], [0, 0]], "REFLECT")
        f = tf.reduce_sum(tf.nn.relu(bare(seen)[:, 2:14, 3:12]))
    wanted = (image * tape.gradient(f, image)).numpy()
    e = MergedExplainer(model, EXACT, mode="window").explain(image)
    np.testing.assert_allclose(e.relevance, wanted, atol=1e-4 * np.abs(wanted).max())


def test_one_network_in_one_piece_is_explained_as_ever():
    images = IMAGES[:, :16, :16]
    for mode in ("stretch", "window"):
        e = MergedExplainer([network()], mode=mode).explain(images)
        wanted = Explainer(network()).explain(images)
        for name in ("relevance", "logits", "target"):
            np.testing.assert_allclose(getattr(e, name), getattr(wanted, name), atol=1e-6)
        for column in ("layer", "kind"):
            assert list(e.ledger[column]) == list(wanted.ledger[column])
        given, found = (x.select_dtypes("number") for x in (wanted.ledger, e.ledger))
        np.testing.assert_allclose(found, given, atol=1e-4)
        np.testing.assert_allclose(e.skips["share"], wanted.skips["share"], rtol=1e-4)


@pytest.mark.parametrize("options", [OPTIONS[3], OPTIONS[5]], ids=str)
def test_what_is_explained_is_what_is_predicted(options):
    models = members()
    e = MergedExplainer(models, **options).explain(IMAGES)
    found = predict_probability(models, IMAGES, **options)
    np.testing.assert_allclose(found, tf.sigmoid(2 * e.logits), atol=1e-5)
    np.testing.assert_array_equal(e.prediction[..., 0], predict(models, IMAGES, **options))
    np.testing.assert_array_equal(e.target, predicted(tf.constant(e.logits)))


def test_targets_choose_from_the_merged_logits():
    explainer = MergedExplainer(members(bias=0.0), EXACT, mode="window", augment=True)
    pixel = explainer.explain(IMAGES, targets.Pixel(10, 25))
    np.testing.assert_allclose(
        pixel.relevance.sum((1, 2, 3)), pixel.logits[:, 10, 25, 0], rtol=1e-4
    )
    assert np.all(pixel.relevance[:, :, :20] == 0)  # from the 5 x 5 pixels that the network sees
    truth = RNG.integers(0, 2, IMAGES.shape[:3])
    missed = explainer.explain(IMAGES, "false_negatives", truth=truth)
    wanted = (missed.logits[..., 0] <= 0) & (truth == 1)
    np.testing.assert_array_equal(missed.target[..., 0], wanted)
    with pytest.warns(KerasganWarning, match=r"target is empty.* in 2 of 2 image"):
        nothing = explainer.explain(IMAGES, np.zeros(IMAGES.shape[1:3]))
    assert not nothing.relevance.any()


def test_preprocess_and_sizes():
    model = network(size=(None, None))
    options = {"size": 16, "mode": "window", "preprocess": lambda batch: batch * 0.5}
    e = MergedExplainer(model, **options).explain(IMAGES)
    found = predict_probability(model, IMAGES, **options)
    np.testing.assert_allclose(found, tf.sigmoid(2 * e.logits), atol=1e-5)


def test_saved_and_drawn(tmp_path):
    e = MergedExplainer(members(), augment="flips").explain(IMAGES)
    e.save(tmp_path / "e.npz")
    loaded = Explanation.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.relevance, e.relevance)
    assert loaded.ledger.equals(e.ledger)
    assert set(loaded.ledger["layer"].str[:2]) == {"0/", "1/"}
    assert len(loaded.skips) == 0
    loaded.plot(tmp_path / "e.png")
    assert (tmp_path / "e.png").stat().st_size > 10_000


def test_bad_arguments():
    model = network()
    for given, message in (
        ({"mode": "windows"}, "'mode' must be one of"),
        ({"augment": "turns"}, "'augment' must be one of"),
        ({"overlap": 0.1}, "are those of mode='window'"),
        ({"size": 20}, "'size' must be what"),
        ({"rule": "epsilom"}, "Did you mean 'epsilon'"),
    ):
        refused(message, MergedExplainer, model, **given)
    explainer = MergedExplainer(model)
    refused("explain images of several sizes one by one", explainer.explain, list(IMAGES[0]))
    with pytest.raises(KerasganError, match=r"'images\[1\]' must be finite"):
        explainer.explain(np.stack([IMAGES[0], IMAGES[0] * np.nan]))
    refused("must have shape", explainer.explain, IMAGES, np.ones((3, 3)))
    model.get_layer("head").bias.assign([np.nan])
    refused("gives NaN or infinity", explainer.explain, IMAGES)

"""Losses of the user's own, beside those with a name."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_runs import renewal, some_data

import kerasgan as kg

rng = np.random.default_rng(0)
IMAGES, MASKS = some_data(4)


def squares(truth, probability):
    return tf.reduce_mean((truth - probability) ** 2)


def squares_of_each(truth, probability):
    return tf.reduce_mean((truth - probability) ** 2, axis=(1, 2, 3))


def compiled(losses, classes=1, **settings):
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1, classes=classes, seed=0))
    gan.compile(keras.optimizers.SGD(0.1), losses=losses, **settings)
    return gan


def test_it_counts_with_its_weight_and_is_logged_by_its_name():
    gan = compiled({squares: 2.0, "dice": 1.0})
    logs = gan.test_on_batch(IMAGES, MASKS, return_dict=True)
    expected = np.mean((MASKS - gan.generator(IMAGES).numpy()) ** 2)
    assert logs["squares_loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["generator_loss"] == pytest.approx(2 * expected + logs["dice_loss"], rel=1e-5)
    before = logs["squares_loss"]
    history = gan.fit(IMAGES, MASKS, epochs=5, verbose=0, validation_data=(IMAGES, MASKS)).history
    assert history["val_squares_loss"][-1] < before


@pytest.mark.parametrize(
    "loss",
    [
        squares_of_each,
        keras.losses.mean_squared_error,
        keras.losses.MeanSquaredError(),
        lambda truth, probability: tf.cast(squares(truth, probability), tf.float64),
    ],
)
def test_a_number_each_image_each_pixel_or_a_loss_of_keras(loss):
    if getattr(loss, "__name__", "") == "<lambda>":
        loss.__name__ = "doubled"
    gan = compiled({loss: 1.0}, run_eagerly=True)
    logs = gan.test_on_batch(IMAGES, MASKS, return_dict=True)
    (value,) = (logs[name] for name in logs if name not in ("generator_loss", "dice", "jaccard"))
    assert value == pytest.approx(np.mean((MASKS - gan.generator(IMAGES).numpy()) ** 2), rel=1e-5)


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"jit_compile": True}])
def test_it_gets_float32_masks_and_probabilities(settings):
    seen = []

    def looks(truth, probability):
        seen.append((truth.dtype, probability.dtype, truth.shape[1:]))
        assert truth.shape[1:] == probability.shape[1:]
        return tf.reduce_mean(tf.abs(truth - probability))

    labels = rng.integers(3, size=(4, 32, 32))
    gan = compiled({looks: 1.0}, classes=3, **settings)
    gan.fit(IMAGES, np.eye(3, dtype=bool)[labels], verbose=0)
    assert len(seen) >= 2
    assert set(seen) == {(tf.float32, tf.float32, tf.TensorShape([32, 32, 3]))}


def test_it_is_kept_and_resumed(tmp_path):
    renew = renewal(compiled({squares: 1.0}))

    def run(epochs, folder):
        gan = renew()
        gan.fit(IMAGES, MASKS, epochs=epochs, batch_size=2, verbose=0, resume=folder)
        return gan

    expected = run(3, tmp_path / "whole").get_weights()
    run(1, tmp_path / "run")
    whole = run(3, tmp_path / "run")
    for a, b in zip(expected, whole.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-6)
    whole.save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "kerasgan.json").read_text())
    assert settings["compile"]["losses"] == {"squares": 1.0}
    with pytest.warns(kg.KerasganWarning, match=r"'squares'.*custom_objects=\{'squares': ...\}"):
        without = kg.SegmentationGAN.load(tmp_path / "model")
    np.testing.assert_array_equal(without(IMAGES), whole(IMAGES))
    refused(r"compile\(\)", without.fit, IMAGES, MASKS, verbose=0)
    with_it = kg.SegmentationGAN.load(tmp_path / "model", custom_objects={"squares": squares})
    wanted = whole.train_on_batch(IMAGES, MASKS, return_dict=True)
    assert with_it.train_on_batch(IMAGES, MASKS, return_dict=True) == pytest.approx(wanted)


def named(name, function=squares):
    def loss(truth, probability):
        return function(truth, probability)

    loss.__name__ = name
    return loss


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({lambda t, p: squares(t, p): 1.0}, "named '<lambda>'"),
        ({named("dice"): 1.0}, "named 'dice'"),
        ({named("generator"): 1.0}, "named 'generator'"),
        ({named("one"): 1.0, named("one"): 1.0}, "two of the name 'one'"),
        ({squares: -1.0}, r"losses\['squares'\]' must be a finite number from 0 up"),
        ({"squares": 1.0}, "without quotes"),
        ({named("short", lambda t, p: t[:, 0, 0, 0, 0]): 1.0}, "'short' cannot be used.*float32"),
        ({named("none", lambda t, p: None): 1.0}, "'none' cannot be used"),
        ({named("hard", lambda t, p: t - tf.cast(p > 0.5, tf.float32)): 1.0}, "no gradient"),
        ({named("array", lambda t, p: np.mean(t.numpy() - p.numpy())): 1.0}, "NumPy"),
        ({named("weight", lambda t, p: squares(t, p) * t.numpy().mean()): 1.0}, "NumPy"),
        ({named("sign", lambda t, p: tf.sign(t - p)): 1.0}, "no gradient"),
        ({named("pair", lambda t, p: (squares(t, p), squares(t, p))): 1.0}, "2 values"),
        ({named("infinite", lambda t, p: tf.reduce_sum(p) / 0.0): 1.0}, "gives inf"),
        ({keras.losses.BinaryCrossentropy(from_logits=True): 1.0}, "leave from_logits out"),
        ({keras.losses.BinaryCrossentropy: 1.0}, "'BinaryCrossentropy' cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(losses, message):
    refused(message, compiled, losses)


def test_it_may_branch_on_tensors_and_use_numpy_where_steps_are_eager():
    def branching(truth, probability):
        if tf.reduce_mean(truth) > 2:
            return tf.reduce_mean(probability)
        return squares(truth, probability)

    def through_numpy(truth, probability):
        return squares(truth, probability) * truth.numpy().mean()

    gan = compiled({branching: np.float32(1)})
    expected = np.mean((MASKS - gan.generator(IMAGES).numpy()) ** 2)
    logs = gan.test_on_batch(IMAGES, MASKS, return_dict=True)
    assert logs["branching_loss"] == pytest.approx(expected, rel=1e-5)
    logs = compiled({through_numpy: 1.0}, run_eagerly=True).test_on_batch(
        IMAGES, MASKS, return_dict=True
    )
    assert logs["through_numpy_loss"] == pytest.approx(expected * MASKS.mean(), rel=1e-5)


def test_an_object_is_given_to_load(tmp_path):
    loss = keras.losses.BinaryCrossentropy(name="mine")
    compiled({loss: 1.0}).save(tmp_path / "gan")
    again = kg.SegmentationGAN.load(tmp_path / "gan", custom_objects={"mine": loss})
    assert again.loss_weights == {"mine": 1.0}

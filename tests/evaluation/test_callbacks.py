import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.evaluation import WatchExplanations

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (3, 16, 16, 3)).astype("float32")
MASKS = np.zeros((3, 16, 16, 1), "float32")
MASKS[:, 4:9, 4:9] = 1


def gan(bias=0.2):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(1, 3, padding="same", name="head")(image)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(x))
    kernel = RNG.normal(0, 0.3, (3, 3, 3, 1))
    model.get_layer("head").set_weights([kernel, np.array([bias])])
    found = kg.SegmentationGAN(model)
    found.compile(keras.optimizers.SGD(0.0), losses={"cross_entropy": 1.0})
    return found


def test_what_is_logged_is_what_an_explanation_says(tmp_path):
    model = gan()
    watch = WatchExplanations(tmp_path, IMAGES, MASKS, "gamma", rim=2)
    history = model.fit(IMAGES, MASKS, epochs=2, verbose=0, callbacks=[watch])
    e = kg.Explainer(model.generator, "gamma").explain(IMAGES)
    size = np.abs(e.relevance.sum(-1))
    inside = [(s * t[..., 0]).sum() / s.sum() for s, t in zip(size, e.target)]
    logs = {name: values[-1] for name, values in history.history.items()}
    assert logs["explained_inside"] == pytest.approx(np.mean(inside), rel=1e-4)
    parts = [logs[f"explained_{part}"] for part in ("inside", "rim", "outside")]
    assert sum(parts) == pytest.approx(1)
    drawn = e.prediction[..., 0]
    dice = [2 * (d & (m > 0)).sum() / (d.sum() + m.sum()) for d, m in zip(drawn, MASKS[..., 0])]
    assert logs["explained_dice"] == pytest.approx(np.mean(dice))
    assert 0 <= logs["explained_residual"] < 1e-4
    table = pd.read_csv(tmp_path / "explanations.csv")
    assert table["epoch"].tolist() == [1, 2]
    assert table["inside"][1] == pytest.approx(logs["explained_inside"])
    with Image.open(tmp_path / "epoch_0002.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    (events,) = tmp_path.glob("*.explanations")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert tags == {"explained", *(f"explained/{c}" for c in table.columns[1:])}


def test_other_callbacks_see_it_and_a_resumed_run_goes_on(tmp_path):
    for epochs in (2, 3):
        watch = WatchExplanations(tmp_path / "w", IMAGES, MASKS)
        stop = keras.callbacks.EarlyStopping("explained_outside", mode="min", patience=9)
        gan().fit(
            IMAGES,
            MASKS,
            epochs=epochs,
            verbose=0,
            callbacks=[watch, stop],
            resume=tmp_path / "state",
        )
        assert stop.best is not None
    table = pd.read_csv(tmp_path / "w" / "explanations.csv")
    assert table["epoch"].tolist() == [1, 2, 3]


def test_nothing_predicted_is_nan_without_a_warning(tmp_path):
    watch = WatchExplanations(tmp_path, IMAGES, MASKS, "gradient")
    history = gan(-99.0).fit(IMAGES, MASKS, verbose=0, callbacks=[watch]).history
    assert np.isnan([history["explained_inside"][0], history["explained_residual"][0]]).all()
    assert history["explained_dice"] == [0.0]


def test_bad_arguments(tmp_path):
    refused("'masks' must be", WatchExplanations, tmp_path, IMAGES, MASKS[..., 0])
    refused("'rim' must be", WatchExplanations, tmp_path, IMAGES, MASKS, rim=0)
    (tmp_path / "file").touch()
    watch = WatchExplanations(tmp_path / "file" / "x", IMAGES, MASKS)
    refused("'folder' must be a folder", gan().fit, IMAGES, MASKS, verbose=0, callbacks=[watch])

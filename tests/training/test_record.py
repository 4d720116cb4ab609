import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import IMAGES, MASKS

import kerasgan as kg
from kerasgan.training.record import data_of, differences


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("scenes"), count=5, size=32)


def small():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1, seed=0))
    gan.compile(keras.optimizers.Adam(0.01), losses={"dice": 1.0})
    return gan


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 8:  # within the third epoch of three steps
            raise KeyboardInterrupt


def test_what_was_done_is_what_is_kept(scenes, tmp_path):
    gan = small()
    assert gan.fits == []
    best = keras.callbacks.EarlyStopping(
        "val_dice", mode="max", min_delta=9, patience=2, restore_best_weights=True
    )
    saving = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: gan.save(tmp_path / f"epoch_{epoch + 1}")
    )
    batches = scenes.batches(2, size=32, augment={"rotation": 5.0}, seed=3)
    checked = scenes[:2].batches(2, size=32)
    options = {"epochs": 9, "verbose": 0, "callbacks": [saving, best]}
    gan.fit(batches, validation_data=checked, **options)
    (done,) = gan.fits
    assert done["data"]["images"].startswith("5, ")
    assert (done["data"]["batch_size"], done["data"]["size"]) == (2, [32, 32])
    assert done["data"]["augment"]["rotation"] == 5.0
    assert done["data"]["seed"] == 3
    assert done["validation"]["images"].startswith("2, ")
    assert (done["asked_epochs"], done["epochs"], done["kept_epoch"]) == (9, 3, 1)
    assert done["versions"]["tensorflow"] == tf.__version__
    assert (done["precision"], done["seed"], done["devices"]) == ("float32", None, "1 CPU")
    assert done["seconds"] > 0
    gan.fit(IMAGES, MASKS, batch_size=3, epochs=1, verbose=0)
    assert [one["epochs"] for one in gan.fits] == [3, 1]
    gan.save(tmp_path / "model")
    written = json.loads((tmp_path / "model" / "kerasgan.json").read_text())
    again = kg.SegmentationGAN.load(tmp_path / "model")
    assert written["fits"] == again.fits == gan.fits
    second = kg.SegmentationGAN.load(tmp_path / "epoch_2").fits
    assert [(one["epochs"], one["kept_epoch"]) for one in second] == [(2, 2)]


def test_a_run_in_parts_is_one_run(scenes, tmp_path):
    def fit(*callbacks):
        gan = small()
        options = {"epochs": 4, "verbose": 0, "callbacks": callbacks, "resume": tmp_path}
        gan.fit(scenes.batches(2, size=32, augment=True), **options)
        return gan

    with pytest.raises(KeyboardInterrupt):
        fit(Stop())
    state = max(tmp_path.glob("epoch_*"))
    (before,) = json.loads((state / "run.json").read_text())["fits"]
    assert (before["epochs"], before["kept_epoch"]) == (2, 2)
    (done,) = fit().fits
    assert (done["epochs"], done["kept_epoch"], done["asked_epochs"]) == (4, 4, 4)
    assert done["seconds"] > before["seconds"]
    assert done["data"] == before["data"]


def test_what_each_kind_of_data_tells():
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(2)
    assert data_of(dataset)["batches"] == 3
    assert "(None, 32, 32, 3)" in data_of(dataset)["data"]
    assert data_of(iter([1])) == {"data": "list_iterator"}
    arrays = data_of(IMAGES, MASKS)
    assert (arrays["batch_size"], arrays["size"], arrays["shuffle"]) == (32, [32, 32], True)
    assert differences(arrays, data_of(tf.constant(IMAGES), tf.constant(MASKS))) == []
    (change,) = differences(arrays, data_of(IMAGES, 1 - MASKS))
    assert change.startswith("masks (6, ")
    assert data_of(IMAGES, MASKS, {"batch_size": np.int64(2)})["batch_size"] == 2


def test_differences_are_named_with_both_values():
    then = {"a": 1, "b": {"c": [1, 2], "d": None}, "gone": float("nan"), "same": float("nan")}
    now = {"a": 1.0, "b": {"c": [1, 3], "d": None}, "new": "x" * 99, "same": float("nan")}
    now.update(later=None, off={}, none=0)  # settings that came later, and are off
    assert differences(then, now) == [
        "a (1, now 1.0)",
        "b.c ([1, 2], now [1, 3])",
        "gone (NaN, now not given)",
        f"new (not given, now {'x' * 77}...)",
    ]

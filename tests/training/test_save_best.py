import keras
import pytest
from refusals import refused
from small_runs import some_data

import kerasgan as kg

IMAGES, MASKS = some_data(2)


class Scores(keras.callbacks.Callback):
    """Logs numbers that are given, before the callbacks behind it look, and marks each epoch."""

    def __init__(self, *values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.values[epoch]
        self.model.recipe = {"epoch": epoch}


@pytest.fixture(scope="module")
def gan():
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1))
    gan.compile("sgd")
    return gan


@pytest.mark.parametrize(
    ("mode", "values", "kept"),
    [("max", (1, 3, 3, 2), 1), ("min", (3, 1, 2, 1), 1), ("max", (-4, -2, -3, -1), 3)],
)
def test_the_best_epoch_is_saved(gan, tmp_path, mode, values, kept):
    best = kg.training.SaveBest(tmp_path / "best", "score", mode)
    callbacks = [Scores(*values), best]
    gan.fit(IMAGES, MASKS, epochs=len(values), verbose=0, callbacks=callbacks)
    assert kg.SegmentationGAN.load(tmp_path / "best").recipe == {"epoch": kept}
    assert best.best == values[kept]


def test_a_number_that_is_not_logged(gan, tmp_path):
    best = kg.training.SaveBest(tmp_path / "best")
    with pytest.raises(kg.KerasganError, match=r"generator_loss, .*validation_data.*'val_dice'"):
        gan.fit(IMAGES, MASKS, verbose=0, callbacks=[best])
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("EarlyStopping", {"monitor": "val_dice"}, "highest is the best.*mode='max'"),
        ("EarlyStopping", {}, "'monitor' of EarlyStopping must be .*val_dice.*: 'val_loss'"),
        ("ReduceLROnPlateau", {"monitor": "val_dice"}, "mode='max'"),
        ("ReduceLROnPlateau", {"monitor": "dice", "mode": "max"}, None),
        ("ModelCheckpoint", {"monitor": "val_l1_loss", "mode": "max", "save_best_only": True},
         "lowest is the best, and takes the highest.*mode='min'"),
        ("EarlyStopping", {"monitor": "val_generator_loss", "mode": "min"}, None),
        ("LearningRateScheduler", {"schedule": lambda epoch, rate: rate}, None),
    ],
)  # fmt: skip
def test_callbacks_that_would_keep_the_worst(gan, kind, given, words, tmp_path):
    if kind == "ModelCheckpoint":
        given = {"filepath": str(tmp_path / "m.weights.h5"), "save_weights_only": True, **given}
    callback = getattr(keras.callbacks, kind)(**given)
    data = {"validation_data": (IMAGES, MASKS), "callbacks": callback, "verbose": 0}
    if words is None:
        gan.fit(IMAGES, MASKS, **data)
    else:
        with pytest.raises(kg.KerasganError, match=words):
            gan.fit(IMAGES, MASKS, **data)


def test_a_number_of_ones_own_may_be_the_better_the_higher(tmp_path):
    class WithShare(kg.SegmentationGAN):
        share = keras.metrics.Mean("share")

        @property
        def metrics(self):
            return [*super().metrics, self.share] if self.compiled else []

    own = WithShare(kg.models.unet(size=32, filters=2, levels=1))
    own.compile("sgd")
    stop = keras.callbacks.EarlyStopping("val_share", mode="max")
    own.fit(IMAGES, MASKS, validation_data=(IMAGES, MASKS), callbacks=[stop], verbose=0)


def test_callbacks_that_would_do_nothing():
    cosine = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1))
    cosine.compile("sgd", schedule="cosine")
    for callback, words in (
        (keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), "no effect.*'constant'"),
        (keras.callbacks.ModelCheckpoint("m.keras"), "GAN is a folder.*SaveBest.*weights.h5"),
        (keras.callbacks.EarlyStopping, "'callbacks' must be .*an object"),
        (keras.callbacks.CallbackList([]), "'callbacks' must be a list"),
    ):
        with pytest.raises(kg.KerasganError, match=words):
            cosine.fit(IMAGES, MASKS, callbacks=[callback], verbose=0)


def test_a_mode_that_is_not_known():
    refused("'mode'", kg.training.SaveBest, "best", mode="auto")

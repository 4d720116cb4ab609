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


def test_a_mode_that_is_not_known():
    refused("'mode'", kg.training.SaveBest, "best", mode="auto")

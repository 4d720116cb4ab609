import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan.training.guards import Alarms, cosine_share

rng = np.random.default_rng(0)
IMAGES = rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")


def small_gan(**changes):
    return kg.recipes.build("pix2pix", size=32, filters=2, **changes)


def test_cosine_with_warm_up():
    shares = [cosine_share(x / 100, 0.1) for x in range(101)]
    assert np.argmax(shares) == 10
    assert shares[5] == pytest.approx(0.5)
    assert shares[55] == pytest.approx(0.5)
    assert shares[100] == 0
    assert cosine_share(0, 0) == 1


class Rates(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        pair = (self.model.optimizer, self.model.discriminator_optimizer)
        self.seen.append([float(optimizer.learning_rate) for optimizer in pair])


def test_the_schedule_moves_both_rates_step_by_step():
    gan = small_gan(
        schedule="cosine", warmup=0.25, learning_rate=1e-3, discriminator_learning_rate=4e-3
    )
    rates = Rates()
    gan.fit(IMAGES, MASKS, batch_size=4, epochs=4, verbose=0, callbacks=[rates])
    wanted = [cosine_share(step / 8, 0.25) for step in range(1, 9)]
    np.testing.assert_allclose(rates.seen, np.outer(wanted, [1e-3, 4e-3]), rtol=1e-5, atol=1e-9)


def test_a_resumed_run_goes_on_along_the_same_curve(tmp_path):
    whole, parts = Rates(), Rates()
    settings = {"schedule": "cosine", "warmup": 0.25}
    data = {"batch_size": 4, "verbose": 0}
    gan = small_gan(**settings)
    gan.fit(IMAGES, MASKS, epochs=4, callbacks=[whole], **data)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    first = small_gan(**settings)
    first.fit(IMAGES, MASKS, epochs=4, callbacks=[Stop()], resume=tmp_path / "run", **data)
    again = small_gan(**settings)
    again.fit(IMAGES, MASKS, epochs=4, callbacks=[parts], resume=tmp_path / "run", **data)
    np.testing.assert_allclose(parts.seen, whole.seen[4:], rtol=1e-6, atol=1e-12)


def test_a_schedule_needs_to_know_the_steps_and_a_plain_rate():
    endless = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(4)
    unknown = endless.filter(lambda image, mask: True)
    with pytest.raises(kg.KerasganError, match="how many steps an epoch has"):
        small_gan(schedule="cosine").fit(unknown, epochs=1, verbose=0)
    gan = small_gan()
    own = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10))
    with pytest.raises(kg.KerasganError, match="'schedule' must be 'constant'"):
        gan.compile(own, schedule="cosine")
    with pytest.raises(kg.KerasganError, match=r"'cosin'\. Did you mean 'cosine'"):
        gan.compile(schedule="cosin")


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
def test_an_exploding_loss_is_named_and_the_last_good_weights_are_kept(ema_momentum):
    class Explode(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.good = [w.numpy() for w in self.model.generator.weights]

        def on_train_batch_end(self, batch, logs=None):
            if self.params["epochs"] and hasattr(self, "good") and batch == 0:
                self.model.optimizer.learning_rate = 1e30

    gan, explode = small_gan(ema_momentum=ema_momentum), Explode()
    with pytest.raises(
        kg.KerasganError,
        match=r"not finite in step \d of epoch \d, at learning rate 1e\+30. The weights are those "
        "at the end of epoch 2. Lower the learning rate",
    ):
        gan.fit(IMAGES, MASKS, batch_size=2, epochs=9, verbose=0, callbacks=[explode])
    for kept, good in zip(gan.generator.get_weights(), explode.good):
        np.testing.assert_array_equal(kept, good)


def test_a_discriminator_that_wins_outright_is_reported_once():
    alarms = Alarms()
    alarms.set_model(small_gan())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, share in enumerate([1.0, 1.0, 0.5, 1.0, 0.999, 1.0, 1.0, 1.0, 1.0]):
            alarms.on_epoch_end(epoch, {"discriminator_accuracy": share})
    (one,) = [w for w in caught if w.category is kg.KerasganWarning]
    assert "epochs 4 to 6 it told 100.0 %" in str(one.message)
    assert "adversarial_weight=0" in str(one.message)

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_runs import renewal, small_gan, some_data, weights

import kerasgan as kg
from kerasgan.training import guards, resume
from kerasgan.training.guards import NonFiniteGuard, cosine_factor
from kerasgan.training.inspection import check_batches

IMAGES, MASKS = some_data(8)


def tiny(**settings):
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1, seed=0))
    gan.compile(**settings)
    return gan


def test_cosine_with_warm_up():
    shares = [cosine_factor(x / 100, 0.1) for x in range(101)]
    assert np.argmax(shares) == 10
    assert shares[5] == pytest.approx(0.5)
    assert shares[55] == pytest.approx(0.5)
    assert shares[100] == 0
    assert cosine_factor(0, 0) == 1


class Rates(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        pair = (self.model.optimizer, self.model.discriminator_optimizer)
        self.seen.append([float(optimizer.learning_rate) for optimizer in pair])


def test_the_schedule_moves_both_rates_step_by_step_and_goes_on_in_a_resumed_run(tmp_path):
    rates = {"learning_rate": 1e-3, "discriminator_learning_rate": 4e-3}
    renew = renewal(small_gan(schedule="cosine", warmup=0.25, **rates))
    data = {"batch_size": 4, "epochs": 4, "verbose": 0, "resume": tmp_path / "run"}

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    first, second = Rates(), Rates()
    renew().fit(IMAGES, MASKS, callbacks=[first, Stop()], **data)
    renew().fit(IMAGES, MASKS, callbacks=[second], **data)
    wanted = [cosine_factor(step / 8, 0.25) for step in range(1, 9)]
    found = first.seen + second.seen
    np.testing.assert_allclose(found, np.outer(wanted, [1e-3, 4e-3]), rtol=1e-5, atol=1e-9)


def test_a_schedule_needs_to_know_the_steps_and_a_plain_rate():
    endless = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(4)
    unknown = endless.filter(lambda image, mask: True)
    with pytest.raises(kg.KerasganError, match="how many steps an epoch has"):
        small_gan(schedule="cosine").fit(unknown, epochs=1, verbose=0)
    gan = small_gan()
    own = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10))
    refused("'schedule' must be 'constant'", gan.compile, own, schedule="cosine")
    refused(r"'cosin'\. Did you mean 'cosine'", gan.compile, schedule="cosin")


class Good(keras.callbacks.Callback):
    """Note everything that a step changes, as it is when an epoch has ended."""

    def on_epoch_begin(self, epoch, logs=None):
        self.state = weights(self.model)


def test_an_exploding_loss_is_named_and_the_last_good_state_is_kept(tmp_path):
    class Explode(Good):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch <= 2:
                super().on_epoch_begin(epoch)

        def on_train_batch_begin(self, batch, logs=None):
            if len(self.model.history.epoch) == 2:
                self.model.optimizer.learning_rate = 1e30

    gan, explode = small_gan(ema_momentum=0.9), Explode()
    kept = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: gan.save(tmp_path / "model")
    )
    with pytest.raises(
        kg.KerasganError,
        match=r"not finite in step \d of epoch \d, at learning rate 1e\+30: '.*_loss'.*The weights "
        "and optimizers are those at the end of epoch 2. Lower the learning rate",
    ):
        gan.fit(IMAGES, MASKS, batch_size=2, epochs=9, verbose=0, callbacks=[explode, kept])
    for found, good in zip(weights(gan), explode.state):
        np.testing.assert_array_equal(found, good)
    for found, good in zip(weights(kg.SegmentationGAN.load(tmp_path / "model")), explode.state):
        np.testing.assert_array_equal(found, good)
    assert float(gan.optimizer.learning_rate) == pytest.approx(2e-4)


def test_the_broken_part_of_a_loss_is_named():
    def penalty(network):
        return lambda image, mask, found, step, training: tf.where(step >= 5, np.inf, 0.0)

    gan, good = tiny(losses={"l1": 1.0, "dice": 1.0}, penalty=penalty), Good()
    with pytest.raises(
        kg.KerasganError, match=r"not finite in step 2 of epoch 2, .*: 'penalty_loss'\. The weights"
    ):
        gan.fit(IMAGES, MASKS, batch_size=2, epochs=3, verbose=0, callbacks=[good])
    for found, kept in zip(gan.generator.get_weights(), good.state):
        np.testing.assert_array_equal(found, kept)


def poison(network, layer, place):
    weight = network.get_layer(layer).weights[place]
    values = weight.numpy()
    values.flat[-1] = np.nan
    weight.assign(values)


def test_weights_that_are_broken_before_the_first_step():
    gan = small_gan()
    poison(gan.discriminator, "pixel_2_conv", 0)
    before = gan.generator.get_weights()
    with pytest.raises(
        kg.KerasganError,
        match=r"cannot begin: not finite: weight 'pixel_2_conv/kernel' of the discriminator\. Load",
    ):
        gan.fit(IMAGES, MASKS, verbose=0)
    for found, kept in zip(gan.generator.get_weights(), before):
        np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("trace_after", [0, 99])
def test_a_weight_that_breaks_without_the_loss_is_named_and_not_written(
    tmp_path, monkeypatch, trace_after
):
    monkeypatch.setattr(guards, "TRACE_AFTER", trace_after)
    monkeypatch.setattr(resume, "SECONDS", 0.0)  # a state behind every step
    monkeypatch.setattr(resume, "SHARE", 0)

    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                poison(self.model.generator, "down_1_bn_a", 3)

    gan = tiny()
    with pytest.raises(
        kg.KerasganError,
        match=r"in step 3 of epoch 1, .*: weight 'down_1_bn_a/moving_variance' of the generator\. "
        "The weights and optimizers are those this call of fit began with",
    ):
        gan.fit(
            IMAGES, MASKS, batch_size=2, verbose=0, callbacks=[Poison()], resume=tmp_path / "run"
        )
    last = max((tmp_path / "run").iterdir())
    assert last.name == "epoch_0000_step_2"
    again = tiny()
    resume.RunState(tmp_path / "run", []).restore(again, 0)
    assert all(np.isfinite(x).all() for x in weights(again))


def test_a_validation_that_is_not_finite():
    def penalty(network):
        return lambda image, mask, found, step, training: 0.0 if training else tf.constant(np.inf)

    gan, good = tiny(), Good()
    gan.fit(IMAGES, MASKS, verbose=0)
    gan.compile(gan.optimizer, penalty=penalty)
    data = tf.data.Dataset.from_tensors((IMAGES, MASKS))
    with pytest.raises(
        kg.KerasganError, match=r"in the validation behind epoch 1, .*: 'val_.*_loss'.*began with"
    ):
        gan.fit(IMAGES, MASKS, verbose=0, validation_data=data, callbacks=[good])
    for found, kept in zip(gan.generator.get_weights(), good.state):
        np.testing.assert_array_equal(found, kept)


def test_an_optimizer_that_breaks_without_a_weight():
    class Overflow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.variables[-1].assign_add([np.inf])

    gan = tiny()
    with pytest.raises(
        kg.KerasganError, match=r"behind epoch 1, .*of the optimizers\. The weights"
    ):
        gan.fit(IMAGES, MASKS, verbose=0, callbacks=[Overflow()])
    assert all(np.isfinite(x.numpy()).all() for x in gan.optimizer.variables)


def test_a_discriminator_that_is_too_strong_is_reported_once():
    alarms = NonFiniteGuard()
    alarms.set_model(small_gan())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, share in enumerate([1.0, 1.0, 0.5, 1.0, 0.999, 1.0, 1.0, 1.0, 1.0]):
            alarms.on_epoch_end(epoch, {"discriminator_accuracy": share})
    (one,) = [w for w in caught if w.category is kg.KerasganWarning]
    assert "epochs 4 to 6 it classified 100.0 %" in str(one.message)
    assert "adversarial_weight=0" in str(one.message)


@pytest.mark.parametrize("form", ["arrays", "dataset", "generator"])
def test_masks_of_one_label_are_told_once(form):
    gan = tiny(run_eagerly=True)

    def said(masks):
        data = (IMAGES, masks)
        if form == "dataset":
            data = (tf.data.Dataset.from_tensor_slices(data).batch(4),)
        if form == "generator":
            data = ((part for part in 2 * [data]),)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", kg.KerasganWarning)
            steps = {"steps_per_epoch": 1} if form == "generator" else {}
            gan.fit(*data, epochs=2, verbose=0, **steps)
        return [str(w.message) for w in caught if w.category is kg.KerasganWarning]

    one = np.zeros_like(MASKS)
    one[-1, 0, 0] = 1
    assert said(one) == []
    (text,) = said(0 * MASKS)
    assert text.startswith("All masks are empty" if form == "arrays" else "All masks fed in epoch")
    assert "foreground all over" in said(0 * MASKS + 1)[0]


def test_of_several_classes_one_alone_is_told():
    guard = guards.LabelGuard(3)
    one_hot = np.eye(3, dtype="float32")[np.full((2, 8, 8), 2)]
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(image))
    check_batches(network, np.zeros_like(one_hot) - 1, one_hot, labels=guard.shown)
    with pytest.warns(kg.KerasganWarning, match="All masks show class 2 alone"):
        guard.on_train_begin()


def test_keras_is_quiet_about_slow_callbacks_inside_alone(caplog):
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    slow = "Callback method `on_train_batch_end` is slow compared to the batch time"
    try:
        with guards.silence_slow_callbacks():
            logger.warning(slow)
            logger.warning("something else")
        logger.warning(slow)
    finally:
        logger.removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert "something else" in said
    assert said.index(slow) > said.index("something else")


def test_layers_that_move_images_and_not_masks_are_refused():
    image = keras.Input((32, 32, 3))
    moved = keras.Sequential([keras.layers.RandomFlip(name="flip")], name="inner")(image)
    gan = kg.SegmentationGAN(keras.Model(image, keras.layers.Conv2D(1, 1)(moved)))
    gan.compile(losses={"dice": 1.0})
    refused("'flip' .RandomFlip. .*and not the mask", gan.fit, IMAGES, MASKS)

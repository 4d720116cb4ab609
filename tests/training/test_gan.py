import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_runs import small_gan, some_data

import kerasgan as kg
from kerasgan.stack import KERAS_3

rng = np.random.default_rng(0)
IMAGES, MASKS = some_data(8)


def batches(size=4):
    return tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(size)


def plain_step(gan, image, mask, rates):
    """One step of the adversarial training, written out from the paper, generator run twice."""
    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    drawn_mask = 2 * mask - 1
    with tf.GradientTape() as tape:
        drawn = gan.generator(image, training=True)
        fooled = gan.discriminator([image, drawn], training=True)
        loss = 100 * tf.reduce_mean(abs(drawn - drawn_mask))
        loss += bce(tf.ones_like(fooled), fooled)
    generator = tape.gradient(loss, gan.generator.trainable_variables)
    with tf.GradientTape() as tape:
        true = gan.discriminator([image, drawn_mask], training=True)
        fake = gan.discriminator([image, drawn], training=True)
        judged = 0.5 * (bce(tf.ones_like(true), true) + bce(tf.zeros_like(fake), fake))
    discriminator = tape.gradient(judged, gan.discriminator.trainable_variables)
    for rate, gradients, network in zip(
        rates, (generator, discriminator), (gan.generator, gan.discriminator)
    ):
        for gradient, variable in zip(gradients, network.trainable_variables):
            variable.assign_sub(rate * gradient)
    return float(loss), float(judged)


def test_a_step_is_the_papers():
    ours, plain = (small_gan(discriminator="patch_discriminator") for _ in range(2))
    ours.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.02), losses={"l1": 100.0})
    logs = ours.train_on_batch(IMAGES[:4], MASKS[:4], return_dict=True)
    image, mask = tf.constant(IMAGES[:4]), tf.constant(MASKS[:4])
    total, judged = plain_step(plain, image, mask, (0.01, 0.02))
    assert logs["generator_loss"] == pytest.approx(total, rel=1e-5)
    assert logs["discriminator_loss"] == pytest.approx(judged, rel=1e-5)
    for network in ("generator", "discriminator"):
        pairs = zip(
            getattr(ours, network).trainable_variables, getattr(plain, network).trainable_variables
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=2e-5, err_msg=a.name)


def test_nothing_is_computed_that_nobody_uses():
    """Count the convolutions that the graph of one step needs."""
    gan = small_gan()
    step = tf.function(gan.train_step).get_concrete_function((IMAGES[:4], MASKS[:4]))
    seen = set()
    todo = list(step.graph.control_outputs) + [x.op for x in step.graph.outputs]
    while todo:
        operation = todo.pop()
        if operation not in seen:
            seen.add(operation)
            todo += [x.op for x in operation.inputs] + list(operation.control_inputs)
    kinds = [operation.type for operation in seen]
    levels, discriminator = 5, 3
    assert kinds.count("Conv2D") == levels + levels + 2 * discriminator
    assert kinds.count("Conv2DBackpropFilter") == 2 * levels + 2 * discriminator
    inputs = levels + (levels - 1) + 2 * (discriminator - 1) + discriminator
    assert kinds.count("Conv2DBackpropInput") == inputs


@pytest.fixture(scope="module")
def trained():
    """A GAN that was trained, its scores before, and what was logged."""
    gan = small_gan(learning_rate=5e-3)
    before = gan.evaluate(batches(), verbose=0, return_dict=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The discriminator is too strong")
        history = gan.fit(batches(), validation_data=batches(), epochs=20, verbose=0).history
    return gan, before, history


def test_fit_logs_both_networks_and_the_scores_and_learns(trained):
    _, before, history = trained
    names = {"generator_loss", "l1_loss", "adversarial_loss", "discriminator_loss"}
    names |= {"cross_entropy_loss", "dice_loss", "jaccard", "dice", "discriminator_accuracy"}
    assert set(history) == names | {f"val_{name}" for name in names}
    assert all(len(values) == 20 and np.isfinite(values).all() for values in history.values())
    assert history["val_cross_entropy_loss"][-1] < 0.9 * before["cross_entropy_loss"]


def test_validation_scores_are_those_of_the_generator_in_inference(trained):
    gan, _, _ = trained
    logs = gan.evaluate(batches(3), verbose=0, return_dict=True)
    # as the scores do, in float32: a tanh of 1e-8 is above 0, its probability is not above 0.5
    guess = (gan.predict(batches(3), verbose=0) + 1) / 2 > 0.5
    truth = MASKS.astype(bool)
    both = (guess & truth).sum((1, 2, 3))
    assert logs["jaccard"] == pytest.approx(np.mean(both / (guess | truth).sum((1, 2, 3))))
    assert logs["dice"] == pytest.approx(
        np.mean(2 * both / (guess.sum((1, 2, 3)) + truth.sum((1, 2, 3))))
    )


def test_without_adversary_the_discriminator_rests():
    gan = small_gan()
    gan.compile(adversarial_weight=0.0)
    before = gan.discriminator.get_weights()
    history = gan.fit(batches(), epochs=1, verbose=0).history
    assert set(history) == {"generator_loss", "l1_loss", "jaccard", "dice"}
    for a, b in zip(before, gan.discriminator.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert small_gan(adversarial_weight=0.0).discriminator is None


def test_a_sigmoid_generator_is_judged_in_the_same_range():
    generator = kg.models.unet(size=32, filters=2, levels=1)
    gan = kg.SegmentationGAN(generator, kg.models.patch_discriminator(size=32, filters=2))
    gan.compile()
    image, mask = tf.constant(IMAGES[:2]), tf.constant(MASKS[:2])
    logs = gan.test_on_batch(image, mask, return_dict=True)
    expected = np.mean(abs(2 * generator(image) - 2 * mask))
    assert logs["l1_loss"] == pytest.approx(expected, rel=1e-5)


def test_keras_callbacks_work(trained, tmp_path):
    gan, _, _ = trained
    gan.optimizer.learning_rate = 2e-4
    callbacks = [
        kg.training.SaveBest(tmp_path / "best"),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "w.weights.h5"), save_weights_only=True),
        keras.callbacks.EarlyStopping(
            "val_dice", mode="max", patience=5, restore_best_weights=True
        ),
        keras.callbacks.ReduceLROnPlateau("val_dice", mode="max", patience=1),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False),
        keras.callbacks.TerminateOnNaN(),
        kg.training.MaskImages(tmp_path / "board", IMAGES[:2], MASKS[:2]),
    ]
    gan.fit(batches(), validation_data=batches(), epochs=2, verbose=0, callbacks=callbacks)
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert "val_dice" in header
    assert "discriminator_loss" in header
    assert float(gan.optimizer.learning_rate) == pytest.approx(2e-4 / 4)
    assert kg.SegmentationGAN.load(tmp_path / "best").recipe["filters"] == 2
    other = small_gan(seed=1)
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(IMAGES), gan(IMAGES))
    written = list((tmp_path / "board").rglob("events*"))
    events = [e for file in written for e in tf.compat.v1.train.summary_iterator(str(file))]
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"masks", "epoch_dice"} <= tags


def test_networks_that_do_not_fit_are_named():
    generator = kg.models.pix2pix_generator(size=32, filters=2)
    with pytest.raises(kg.KerasganError, match=r"mask \(32, 32, 1\).*\(32, 32, 2\)"):
        kg.SegmentationGAN(generator, kg.models.patch_discriminator(32, classes=2, filters=2))
    with pytest.raises(kg.KerasganError, match="two inputs, image and mask"):
        kg.SegmentationGAN(generator, kg.models.unet(size=32, filters=2, levels=1))
    refused(r"compile\(\) before fit", kg.SegmentationGAN(generator).fit, batches())


# --- Arguments of Keras ---


@pytest.fixture(scope="module")
def both():
    gan = small_gan()
    return gan, kg.SegmentationGAN(gan.generator)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "binary_crossentropy"}, r"'loss' of Keras.*losses=\{'cross_entropy': 1.0\}"),
        ({"loss": "mae"}, r"losses=\{'l1': 1.0\}"),
        ({"loss": keras.losses.BinaryFocalCrossentropy()}, r"losses=\{'focal': 1.0\}"),
        ({"loss": ["mse", "mse"]}, "'loss' of Keras"),
        ({"loss_weights": [1.0]}, "'loss_weights' of Keras"),
        ({"metrics": ["accuracy"]}, "'metrics' of Keras.*'jaccard' and 'dice' are logged"),
        ({"weighted_metrics": [keras.metrics.Recall()]}, "'weighted_metrics' of Keras"),
        ({"loses": {"l1": 1.0}}, "no argument 'loses'. Did you mean 'losses'"),
        ({"from_logits": True}, "no argument 'from_logits'"),
        ({"losses": "dice"}, "'losses' must be a dict"),
        ({"losses": ["dice"]}, "'losses' must be a dict"),
        ({"losses": {"binary_crossentropy": 1.0}}, "'losses' must be one of .*cross_entropy"),
        ({"losses": {}, "adversarial_weight": 0}, "nothing to learn"),
        ({"losses": {"l1": 0}, "adversarial_weight": 0}, "nothing to learn"),
        ({"optimizer": "adamm"}, "'optimizer' must be a Keras optimizer.*'adamm'"),
        ({"discriminator_optimizer": "bce"}, "'discriminator_optimizer' must be a Keras optimizer"),
        ({"optimizer": keras.optimizers.SGD(-0.1)}, "'optimizer' must have a learning rate from 0"),
    ],
)
def test_what_would_have_no_effect_is_refused(both, options, message):
    for gan in both:
        refused(message, gan.compile, **options)


def test_one_optimizer_cannot_serve_both(both):
    optimizer = keras.optimizers.Adam()
    refused("another object than 'optimizer'", both[0].compile, optimizer, optimizer)


def test_arguments_of_keras_that_work_are_passed_on():
    gan = small_gan()
    gan.compile("adam", loss=None, metrics=None, run_eagerly=True, steps_per_execution=1)
    assert gan.run_eagerly


def test_optimizers_that_cannot_be_used_are_named(both):
    average = keras.optimizers.SGD(0.1, use_ema=True)
    with pytest.raises(kg.KerasganError, match=r"'discriminator_optimizer' must not average.*ema_"):
        both[0].compile(discriminator_optimizer=average)


@pytest.mark.skipif(KERAS_3, reason="Keras 3 has no optimizers of the legacy kind")
def test_optimizers_of_the_legacy_kind_are_named(both):
    with pytest.raises(kg.KerasganError, match=r"'optimizer' must be .*keras\.optimizers\.SGD"):
        both[0].compile(keras.optimizers.legacy.SGD(0.1))


def test_a_generator_of_two_inputs_is_refused_by_their_names():
    image, edge = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 1), name="edge")
    mask = keras.layers.Conv2D(1, 1)(keras.layers.Concatenate()([image, edge]))
    model = keras.Model([image, edge], mask)
    refused("'generator' must take one input.* 'image' .* 'edge'", kg.SegmentationGAN, model)


@pytest.mark.parametrize("count", [{"batch_size": 0}, {"epochs": "3"}, {"steps_per_epoch": 0}])
def test_counts_that_count_nothing_are_refused(both, count):
    (gan, _), (name,) = both, count
    refused(f"'{name}' must be a whole number from", gan.fit, *some_data(2), **count)
    if name == "batch_size":
        refused("'batch_size' must be", gan.evaluate, *some_data(2), **count)

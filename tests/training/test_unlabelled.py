"""Losses on unlabelled images against slow re-implementations, and `fit` with them."""

import contextlib
import dataclasses
import itertools
import math
import signal
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_runs import two_devices
from small_runs import weights as everything

import kerasgan as kg
from kerasgan.training import feed, guards, store, unlabelled
from kerasgan.training.adversarial import ADVERSARIAL, FAKES
from kerasgan.training.replicas import synchronize_batch_norm
from kerasgan.training.unlabelled import TERMS

rng = np.random.default_rng(0)
CLASSES = pytest.mark.parametrize("classes", [1, 3])
SHAPE = (2, 3, 4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def some_logits(classes, scale=4.0):
    return rng.normal(0, scale, (*SHAPE, classes)).astype("float32")


def probabilities(logits):
    if logits.shape[-1] == 1:
        return sigmoid(logits)
    shares = np.exp(logits)
    return shares / shares.sum(-1, keepdims=True)


def pixels():
    return itertools.product(*map(range, SHAPE))


def shares_at(probability, place):
    """All classes' probabilities of a pixel, the background's first."""
    found = [float(p) for p in probability[place]]
    return [1 - found[0], found[0]] if len(found) == 1 else found


# --- Formulas, pixel by pixel ---


@CLASSES
def test_self_training_is_the_cross_entropy_with_ones_own_decision_where_it_is_trusted(classes):
    logits, trust = some_logits(classes), rng.uniform(0, 0.5, (*SHAPE, 1)).astype("float32")
    total = 0.0
    for place in pixels():
        if trust[place][0] > 0.2:
            total -= math.log(max(shares_at(probabilities(logits), place)))
    found = unlabelled.self_training(tf.constant(logits), tf.constant(trust))
    assert float(found) == pytest.approx(total / math.prod(SHAPE), rel=1e-4)


@CLASSES
def test_pseudo_labels_are_the_teachers_decisions_where_it_is_sure(classes):
    logits, taught = some_logits(classes), probabilities(some_logits(classes))
    total, sure = 0.0, 0
    for place in pixels():
        shares = shares_at(taught, place)
        if max(shares) >= 0.95:
            sure += 1
            decided = int(np.argmax(shares))
            total -= math.log(shares_at(probabilities(logits), place)[decided])
    assert 0 < sure < math.prod(SHAPE)
    found = unlabelled.pseudo_labels(tf.constant(logits), tf.constant(taught))
    assert float(found) == pytest.approx(total / math.prod(SHAPE), rel=1e-4)


@CLASSES
def test_cutmix_is_the_distance_of_all_classes_times_the_share_of_sure_pixels(classes):
    own, taught = probabilities(some_logits(classes)), probabilities(some_logits(classes))
    total, sure = 0.0, 0
    for place in pixels():
        one, other = shares_at(own, place), shares_at(taught, place)
        total += sum((a - b) ** 2 for a, b in zip(one, other))
        sure += max(other) >= 0.97
    assert 0 < sure < math.prod(SHAPE)
    found = unlabelled.cutmix(tf.constant(own), tf.constant(taught))
    assert float(found) == pytest.approx(total * sure / math.prod(SHAPE) ** 2, rel=1e-4)


@CLASSES
def test_the_self_information_adds_up_to_the_entropy(classes):
    probability = probabilities(some_logits(classes))
    found = unlabelled.self_information(tf.constant(probability)).numpy()
    for place in pixels():
        shares = shares_at(probability, place)
        np.testing.assert_allclose(found[place], [-p * math.log(p) for p in shares], atol=1e-5)
    sure = np.array([[[[0.0]], [[1.0]]]], "float32")
    assert not np.any(unlabelled.self_information(tf.constant(sure)))


def test_a_discriminator_trusts_masks_by_its_own_loss():
    verdict = tf.constant([-3.0, 0.0, 0.5, 3.0])[:, None, None, None]
    for kind, wanted in {
        "vanilla": [sigmoid(-3), 0.5, sigmoid(0.5), sigmoid(3)],
        "least_squares": [0, 0, 0.5, 1],
        "hinge": [0, 0.5, 0.75, 1],
    }.items():
        for each in (verdict, verdict[:, 0, 0]):
            found = unlabelled.confidence(each, kind, (2, 3))
            assert found.shape == (4, 2, 3, 1)
            np.testing.assert_allclose(found[:, 1, 2, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("kind", FAKES)
def test_fakes_add_to_the_discriminators_loss_what_they_do_in_it(kind):
    real, one, other = (tf.constant(rng.normal(0, 2, 5).astype("float32")) for _ in range(3))
    together = [ADVERSARIAL[kind](real, each)[1] for each in (one, other)]
    alone = [FAKES[kind](each) for each in (one, other)]
    assert float(together[0] - together[1]) == pytest.approx(float(alone[0] - alone[1]), abs=1e-5)


def test_weights_rise_along_half_a_bell():
    found = [float(unlabelled.rampup(tf.constant(step), 10)) for step in (0, 5, 10, 99)]
    np.testing.assert_allclose(found, [math.exp(-5), math.exp(-1.25), 1, 1], rtol=1e-6)
    assert float(unlabelled.rampup(tf.constant(0), 0)) == 1


# --- Views ---


def test_half_of_an_image_is_exchanged_and_masks_alike():
    images = tf.constant(rng.uniform(-1, 1, (64, 32, 24, 3)).astype("float32"))
    inside = unlabelled.boxes(images, tf.constant([3, 5])).numpy()
    assert inside.shape == (64, 32, 24, 1)
    for box in inside[..., 0]:
        rows, columns = box.any(1), box.any(0)
        assert box.sum() == rows.sum() * columns.sum()  # a rectangle
        assert rows.sum() >= 16
        assert columns.sum() >= 12
        assert abs(box.mean() - 0.5) < 0.05
    assert {box[0].any() for box in inside} == {True, False}
    mixed = unlabelled.mix(images, tf.constant(inside)).numpy()
    np.testing.assert_allclose(
        mixed, np.where(inside > 0, np.roll(images, 1, 0), images), atol=1e-6
    )
    again = unlabelled.boxes(images, tf.constant([3, 5])).numpy()
    np.testing.assert_array_equal(inside, again)
    assert np.any(inside != unlabelled.boxes(images, tf.constant([3, 6])))


def test_the_strong_view_alters_light_and_moves_nothing():
    image = np.full((32, 32, 3), -0.5, "float32")
    image[8:20, 4:16] = 0.5
    images = tf.constant(np.stack([image] * 4))
    first, again, later = (
        unlabelled.strong_view(images, tf.constant([0, step])).numpy() for step in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()
    assert (first[0] != first[1]).any()
    assert -1 <= first.min() < first.max() <= 1
    hits = 0
    for each in first.mean(-1):  # the square is where it was, but for what is hidden
        inner, outer = np.median(each[10:18, 6:14]), np.median(each[22:])
        hits += inner > outer
    assert hits >= 3


# --- The stream ---


def numbered(count, tmp_path, **options):
    """Samples whose images are all of one grey, different for each."""
    for index in range(count):
        path = tmp_path / f"{index}.png"
        keras.utils.save_img(path, np.full((8, 8, 3), 10 * index), scale=False)
    samples = kg.data.load_folder(tmp_path, masks=None)
    return samples.batches(2, size=8, shuffle=True, seed=3, **options)


def greys(image):
    return np.round((np.asarray(image)[:, 4, 4, 0] + 1) * 12.75).astype(int).tolist()


def test_unlabelled_images_go_round_in_an_order_of_their_own(tmp_path):
    frames = numbered(5, tmp_path)
    wanted = [grey for _ in range(4) for batch in frames for grey in greys(batch)]
    labelled = tf.data.Dataset.range(3).map(lambda x: (x, -x)).batch(1)
    pairs = feed.pair_with_unlabelled(labelled, frames, 3)
    assert int(pairs.cardinality()) == 3
    found = [greys(images) for _ in range(3) for (_, images), _ in pairs]
    assert [len(batch) for batch in found] == [2] * 9
    assert list(itertools.chain(*found)) == wanted[:18]
    for epoch, step in ((0, 0), (1, 2), (2, 1)):
        feed.set_position(pairs, epoch, step)
        (_, images), _ = next(iter(pairs))
        assert greys(images) == found[3 * epoch + step]


def test_arrays_and_datasets_go_round_too():
    images = np.linspace(-1, 1, 5, dtype="float32")[:, None, None, None] * np.ones((1, 8, 8, 3))
    labelled = tf.data.Dataset.range(4).map(lambda x: (x, x)).batch(1)
    for each in (
        feed.images_from_array(images.astype("float32"), 2, 1),
        tf.data.Dataset.from_tensor_slices(images).batch(2),
    ):
        pairs = feed.pair_with_unlabelled(labelled, each, 4)
        found = [images.numpy() for _ in range(3) for (_, images), _ in pairs]
        feed.set_position(pairs, 1, 3)
        np.testing.assert_array_equal(next(iter(pairs))[0][1], found[7])
        seen = np.concatenate(found)[:10, 0, 0, 0]
        assert sorted(np.bincount(np.round(2 * seen + 2).astype(int))) == [2] * 5


# --- Training ---


IMAGES = rng.uniform(-1, 1, (6, 32, 32, 3)).astype("float32")
MASKS = (IMAGES[..., :1] > 0).astype("float32")
FREE = rng.uniform(-1, 1, (5, 32, 32, 3)).astype("float32")
ALL = dict.fromkeys(TERMS, 0.5)


def build(terms, rate=0.01, **settings):
    generator = kg.models.unet(size=32, filters=2, levels=1, seed=1)
    discriminator = kg.models.mask_discriminator(size=32, filters=2, seed=2)
    gan = kg.SegmentationGAN(generator, discriminator)
    settings = {"losses": {"dice": 1.0}, "ema_momentum": 0.9, **settings}
    optimizers = [keras.optimizers.SGD(rate), keras.optimizers.SGD(rate)]
    gan.compile(*optimizers, unlabelled_losses=terms, **settings)
    return gan


class Stop(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch, self.epoch = batch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, self.batch):
            signal.raise_signal(signal.SIGINT)


def test_all_losses_train_alike_twice_and_go_on_at_the_step(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gan = build(ALL, schedule="cosine", unlabelled_rampup=3)
    kept = [w for network in gan._networks() for w in network.weights]
    kept += store.optimizer_variables(gan).values()
    start = [np.array(x) for x in kept]

    def run(folder, *callbacks):
        for variable, value in zip(kept, start):
            variable.assign(value)
        options = {"epochs": 2, "verbose": 0, "batch_size": 2, "callbacks": list(callbacks)}
        checked = {"validation_data": (IMAGES[:2], MASKS[:2]), "unlabelled": FREE}
        return gan.fit(IMAGES, MASKS, resume=folder, **checked, **options).history

    history, whole = run(None), everything(gan)
    critics = gan._unlabelled.critics.values()
    moved = [np.abs(np.array(w) - s).max() for w, s in zip(kept, start)]
    assert min(np.max(moved), *[np.abs(c.weights[0]).max() for c in critics]) > 0
    for name in TERMS:
        assert all(value != 0 for value in history[f"unlabelled_{name}_loss"]) or name in (
            *("pseudo_labels", "cutmix"),  # nobody is sure of anything yet
        )
        assert f"val_unlabelled_{name}_loss" not in history
    assert gan.fits[-1]["unlabelled"]["images"].startswith("5, ")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", Stop(1))
    again = run(tmp_path / "run")
    assert again == history
    for one, other in zip(everything(gan), whole):
        np.testing.assert_array_equal(one, other)
    gan.save(tmp_path / "model")
    loaded = kg.SegmentationGAN.load(tmp_path / "model")
    for one, other in zip(everything(loaded), whole):
        np.testing.assert_array_equal(one, other)
    free = tf.data.Dataset.from_tensor_slices(FREE).batch(2)
    refused(
        r"'resume'.*unlabelled batches \(not given, now 3\)",
        gan.fit,
        *(IMAGES, MASKS),
        unlabelled=free,
        resume=tmp_path / "run",
        batch_size=2,
    )


def gradient_step(gan):
    """What one step of descent at rate 1 takes off the generator's weights, and what is logged."""
    before = [np.array(w) for w in gan._trained_generator.trainable_weights]
    history = gan.fit(IMAGES[:2], MASKS[:2], unlabelled=FREE[:2], batch_size=2, verbose=0).history
    return [a - np.array(b) for a, b in zip(before, gan._trained_generator.trainable_weights)], {
        name: values[0] for name, values in history.items()
    }


def test_a_term_moves_the_generator_by_its_own_gradient_alone():
    """Adaptation by hand: the critic is neither moved by the generator nor moves it otherwise."""
    settings = {"rate": 1.0, "ema_momentum": 0.0, "run_eagerly": True, "adversarial_weight": 0.0}
    gan, plain = build({"output_adaptation": 0.7}, **settings), build({}, **settings)
    critic = gan._unlabelled.critics["output_adaptation"]
    weights = plain.generator.trainable_weights
    with tf.GradientTape(persistent=True) as tape:
        probability = plain.generator(IMAGES[:2], training=True)
        drawn = plain.generator(FREE[:2], training=True)
        real, fake = (critic(tf.concat([1 - each, each], -1)) for each in (probability, drawn))
        dice = 1 - tf.reduce_mean(
            (2 * tf.reduce_sum(MASKS[:2] * probability, (1, 2)) + 1)
            / (tf.reduce_sum(MASKS[:2] + probability, (1, 2)) + 1)
        )
        loss = dice - 0.7 * tf.reduce_mean(tf.math.log_sigmoid(fake))
        judged = -tf.reduce_mean(tf.math.log_sigmoid(real))
        judged -= tf.reduce_mean(tf.math.log_sigmoid(-fake))
    wanted = tape.gradient(loss, weights)
    taken, logs = gradient_step(gan)
    for one, other in zip(taken, wanted):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert logs["output_adaptation_critic_loss"] == pytest.approx(float(judged) / 2, rel=1e-4)
    assert logs["generator_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_images_of_another_source_change_no_statistics():
    """With hardly any weight they leave the network as it is without them."""
    settings = {"adversarial_weight": 0.0}
    gan, plain = build({"output_adaptation": 1e-12}, **settings), build({}, **settings)
    other = -np.ones_like(FREE)
    gan.fit(IMAGES[:4], MASKS[:4], unlabelled=other, batch_size=4, epochs=3, verbose=0)
    plain.fit(IMAGES[:4], MASKS[:4], batch_size=4, epochs=3, verbose=0)
    for one, wanted in zip(gan.generator.weights, plain.generator.weights):
        np.testing.assert_allclose(one, wanted, atol=1e-5)


@pytest.mark.nightly
def test_two_devices_take_the_step_of_one():
    terms = {name: weight for name, weight in ALL.items() if name != "cutmix"}  # pairs by device

    def trained(strategy):
        with strategy.scope() if strategy else contextlib.nullcontext():
            gan = build(terms, rate=0.1)
        for network in gan._networks():
            synchronize_batch_norm(network, True)
        free = tf.data.Dataset.from_tensor_slices(FREE[:3]).batch(3)
        data = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(4)
        history = gan.fit(data, unlabelled=free, verbose=0).history
        return everything(gan), history

    (one, logs), (other, logs_of_two) = trained(None), trained(two_devices())
    for a, b in zip(one, other):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name, values in logs.items():
        assert logs_of_two[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name


@pytest.mark.nightly
def test_bfloat16_takes_nearly_the_same_step():
    terms = {"adversarial": 1.0, "output_adaptation": 1.0, "mean_teacher": 1.0}
    settings = {"rate": 1.0, "run_eagerly": True}
    (exact, _), (rough, logs) = (
        gradient_step(build(terms, precision=kind, **settings)) for kind in ("float32", "bfloat16")
    )
    exact, rough = (np.concatenate([x.ravel() for x in each]) for each in (exact, rough))
    lengths = np.linalg.norm(exact) * np.linalg.norm(rough)
    assert 0.95 < exact @ rough / lengths < 1
    assert all(np.isfinite(value) for value in logs.values())


def test_a_validation_that_falls_and_stays_low_is_said_once():
    guard = guards.HarmGuard()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch, dice in enumerate([0.5, 0.8, 0.6, 0.6, 0.75, 0.6, 0.6]):
            guard.on_epoch_end(epoch, {"val_dice": dice})
        guard.on_epoch_end(0, {})
    with pytest.warns(kg.KerasganWarning, match=r"0\.800 in epoch 2.* 3 epochs, 0\.500 in this"):
        guard.on_epoch_end(7, {"val_dice": 0.5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        guard.on_epoch_end(8, {"val_dice": 0.5})


# --- Input that cannot be used ---


def test_losses_that_do_not_fit_are_refused():
    refused("'unlabelled_losses' must be one of .*Did you mean 'cutmix'", build, {"cutmx": 1.0})
    refused("must be None or a dict", build, ["cutmix"])
    refused(r"unlabelled_losses\['cutmix'\]' must be .* from 0", build, {"cutmix": -1.0})
    refused("'unlabelled_rampup' must be", build, {"cutmix": 1.0}, unlabelled_rampup=-1)
    refused("'mean_teacher' needs the moving", build, {"mean_teacher": 1.0}, ema_momentum=0.0)
    refused("'adversarial' needs a disc", build, {"adversarial": 1.0}, adversarial_weight=0.0)
    hinged = {"adversarial": "wasserstein"}
    refused("'self_training' needs .*wasserstein", build, {"self_training": 1.0}, **hinged)
    refused("'jit_compile' must be", build, {"mean_teacher": 1.0}, jit_compile=True)
    generator = kg.models.unet(size=32, filters=2, levels=1)
    gan = kg.SegmentationGAN(generator, kg.models.feature_critic(size=32, filters=1))
    both = {"adversarial": "vanilla", "unlabelled_losses": {"adversarial": 1.0}}
    refused("one score for each place.*feature_critic", gan.compile, **both)
    refused("unlabelled_losses", kg.recipes.get, "fast", unlabelled_losses={"cutmx": 1.0})
    refused("unlabelled_rampup", kg.recipes.get, "fast", unlabelled_rampup=0.5)
    assert "unlabelled" not in " ".join(build({"cutmix": 0.0})._means)


def test_unlabelled_images_that_cannot_be_used_are_refused(tmp_path):
    gan, plain = build({"cutmix": 1.0}), build({})

    def fit(free, x=IMAGES, y=MASKS, model=gan, **options):
        return model.fit(x, y, unlabelled=free, verbose=0, **options)

    refused("'unlabelled' must be given", fit, None)
    refused("'unlabelled' of fit.. would have no effect", fit, FREE, model=plain)
    refused("takes labelled images alone", gan.train_on_batch, IMAGES, MASKS)
    refused("as many images as a batch, 32, or more. Received: 5", fit, FREE)
    refused(r"of shape \(16, 16, 3\).*unlabelled = tf.image.resize", fit, FREE[:, ::2, ::2])
    refused(r"grey, where colour.*unlabelled = tf.repeat", fit, FREE[..., :1], batch_size=2)
    refused(r"values from -1.99.*unlabelled = unlabelled / 2", fit, 2 * FREE, batch_size=2)
    refused("NaN", fit, FREE * np.nan, batch_size=2)
    refused("batches of two images", fit, FREE, batch_size=1)
    refused("images with masks, and masks would be left unused", fit, (FREE, FREE))
    refused("must be a tf.data.Dataset.*Received: generator", fit, (x for x in FREE))
    refused("call its method batches", fit, kg.data.Samples(("a",), ("a.png",), None))
    scenes = kg.data.synthetic.write_dataset(tmp_path / "scenes", count=3, size=32)
    frames = dataclasses.replace(scenes, mask_paths=None)
    refused("images with masks, and masks would", fit, scenes.batches(2, size=32))
    refused(r"use samples.batches\(..., size=\(32, 32\)\)", fit, frames.batches(2, size=64))
    grey = dataclasses.replace(frames, channels=1)
    refused("grey, where colour is meant", fit, grey.batches(2, size=32))
    refused("batches of two images", fit, frames.batches(1, size=32))
    raw = tf.data.Dataset.from_tensor_slices(100 * FREE).batch(2)
    refused("'unlabelled' has images with values from", fit, raw, batch_size=2)
    stream = ((IMAGES[:2], MASKS[:2]) for _ in range(2))
    refused("'x' must, beside 'unlabelled', be", fit, frames.batches(2, size=32), stream, None)
    unknown = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(2).filter(lambda *_: True)
    refused("have a known number of batches", fit, frames.batches(2, size=32), unknown, None)

"""The explainer from outside: what it promises a user."""

import functools
import pathlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from refusals import refused
from toys import IMAGES, close, shared_explainer, small, with_random_weights

import kerasgan.models
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain import (
    AlphaBeta,
    Composite,
    Epsilon,
    Explainer,
    Explanation,
    Gamma,
    IntegratedGradients,
    SmoothGrad,
    ZPlus,
    first,
    last,
    rule_names,
    targets,
)
from kerasgan.stack import KERAS_3


@functools.cache
def bias_free():
    model = small()
    for variable in model.weights:
        if "bias" in variable.name:
            variable.assign(tf.zeros_like(variable))
    return Explainer(model, "epsilon")


COMMON = ("lrp.sequential_preset_a", "lrp.sequential_preset_b_flat", "lrp.alpha_2_beta_1")
PRESETS = [
    pytest.param(name, marks=() if name in COMMON else pytest.mark.slow)
    for name in rule_names()
    if name.startswith("lrp.")
]


def explained_logit(e):
    return (e.logits * e.target).sum((1, 2, 3))


class TestRight:
    def test_logits_and_prediction(self):
        explainer = shared_explainer(batch_norm=True)
        e = explainer.explain(IMAGES)
        close(tf.sigmoid(e.logits), explainer.model.predict(IMAGES, verbose=0))
        assert np.array_equal(e.prediction, e.logits > 0)
        assert np.array_equal(e.target, e.logits > 0)

    @pytest.mark.parametrize("rule", [n for n in rule_names() if not n.startswith("lrp.")])
    def test_every_rule_runs_and_none_leaks(self, rule):
        explainer = shared_explainer(rule, batch_norm=True)
        e = explainer.explain(IMAGES)
        assert np.isfinite(e.relevance).all()
        assert np.abs(e.relevance).max() > 0
        if len(e.ledger):
            explainer.check(IMAGES)

    @pytest.mark.filterwarnings("ignore:.*not advised.*")
    @pytest.mark.parametrize("rule", PRESETS)
    def test_every_analyzer_of_innvestigate_runs(self, rule):
        pytest.importorskip("innvestigate")
        e = Explainer(small(batch_norm=True), rule).explain(IMAGES[:1])
        assert np.isfinite(e.relevance).all()
        assert np.abs(e.relevance).max() > 0

    @pytest.mark.parametrize("rule", ["epsilon-gamma-box", "alpha2beta1", "smoothgrad"])
    def test_batches_do_not_matter(self, rule):
        explainer = Explainer(small(batch_norm=True), rule, batch_size=1)
        one_by_one = explainer.explain(IMAGES)
        explainer.batch_size = None
        together = explainer.explain(IMAGES)
        close(one_by_one.relevance, together.relevance)
        for name in ("down_1_conv", "up_1_skip"):
            close(one_by_one.layers[name], together.layers[name])
        if rule != "smoothgrad":
            column = "relevance_out"
            close(one_by_one.ledger[column].to_numpy(), together.ledger[column].to_numpy())
        explainer.batch_size = 2
        pieces = explainer.explain(IMAGES, target=together.target)
        close(pieces.relevance, together.relevance)

    def test_relevance_at_layers(self):
        e = bias_free().explain(IMAGES)
        for name in ("down_2_conv", "down_2", "up_1_act", "head", "mask"):
            assert e.layers[name].shape[0] == len(IMAGES)
        assert e.layers["down_2"] is e.layers["down_2_act"]
        skip, up = e.layers["down_1_act"], e.layers["up_1_skip"]
        np.testing.assert_allclose(up.sum((1, 2, 3)), explained_logit(e), rtol=1e-4)
        np.testing.assert_allclose(skip.sum((1, 2, 3)), explained_logit(e), rtol=1e-4)
        named = bias_free().explain(IMAGES, layers=["down_2"])
        assert np.array_equal(named.layers["down_2"], e.layers["down_2"])
        assert "up_1_skip" not in named.layers

    def test_composites(self):
        rule = Composite(
            (first, ZPlus()), (last, Gamma()), ("down_*", AlphaBeta()), ("*", Epsilon())
        )
        node = Explainer(small(), rule).graph.node
        chosen = {name: rule.rule_for(node(name)) for name in ("down_1_conv", "head")}
        assert chosen == {"down_1_conv": ZPlus(), "head": Gamma()}
        assert rule.rule_for(node("down_2_conv")) == AlphaBeta()
        assert rule.rule_for(node("up_1_conv")) == Epsilon()

    def test_integrated_gradients_are_complete(self):
        model = small()
        e = Explainer(model, IntegratedGradients(steps=200)).explain(IMAGES)
        head = keras.Model(model.input, model.get_layer("head").output)
        change = (head(IMAGES) - head(-np.ones_like(IMAGES))).numpy() * e.target
        np.testing.assert_allclose(e.relevance.sum((1, 2, 3)), change.sum((1, 2, 3)), rtol=0.02)

    def test_smoothgrad_without_noise_is_the_gradient(self):
        smooth = Explainer(small(), SmoothGrad(samples=2, noise=0.0)).explain(IMAGES)
        close(smooth.relevance, shared_explainer("gradient").explain(IMAGES).relevance)


class TestTargets:
    """Every kind of target: one trace, one pass, the same numbers."""

    TRUTH = np.random.default_rng(3).integers(0, 2, (3, 8, 8)).astype("float32")

    class Squares(targets.Target):
        def weights(self, logits):
            return tf.square(logits)

    def kinds(self):
        region = np.random.default_rng(4).normal(size=(8, 8)).astype("float32")
        return [
            "prediction",
            "border",
            targets.Class(0),
            targets.Class(1, margin=True),
            targets.Component(0),
            targets.Pixel(3, 4),
            targets.Pixel(5, 5),
            region,
            np.stack([region] * 3),
            targets.FalseNegatives(self.TRUTH),
            targets.FalsePositives(self.TRUTH) - "border",
            [targets.Pixel(0, 0), "prediction", targets.Mask(region)],
            self.Squares(),
        ]

    def test_are_explained_by_one_trace(self):
        explainer = Explainer(small(batch_norm=True))
        by_weights = Explainer(explainer.model)
        for target in self.kinds():
            e = explainer.explain(IMAGES, target, layers=())
            logits = tf.constant(e.logits)
            expected = targets.get(target).prepare(logits.shape).weights(logits)
            np.testing.assert_array_equal(e.target, expected)
            close(by_weights.relevance(IMAGES, expected), e.relevance)
        assert len(explainer.functions.traced) == 1

    def test_pixels_of_one_image_in_one_call(self):
        explainer = Explainer(small(batch_norm=True), batch_size=5)
        pixels = [targets.Pixel(y, x) for y in range(3) for x in range(4)]
        together = explainer.explain(IMAGES[[1] * 12], target=pixels, layers=())
        alone = [explainer.explain(IMAGES[1:2], target=pixel, layers=()) for pixel in pixels]
        close(together.relevance, np.concatenate([e.relevance for e in alone]))
        assert len(explainer.functions.traced) == 1
        for pixel in pixels:
            close(explainer.relevance(IMAGES[1:2], pixel), alone[pixels.index(pixel)].relevance)
        assert len(explainer.functions.traced) == 2

    def test_of_several_classes_in_tensorflow(self):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(3, 3, padding="same", activation="softmax")(image)
        explainer = Explainer(with_random_weights(keras.Model(image, x)), "gamma")
        region = np.random.default_rng(4).normal(size=(8, 8)).astype("float32")
        for target in (targets.Pixel(2, 3), region, targets.Class(2), self.Squares()):
            expected = explainer.explain(IMAGES, target).relevance
            close(explainer.relevance(IMAGES, target), expected)
            inside = tf.function(lambda x, target=target: explainer.relevance(x, target))
            close(inside(tf.constant(IMAGES)), expected)
        close(explainer.relevance(IMAGES, tf.constant(region)), explainer.relevance(IMAGES, region))

    def test_of_open_size(self):
        image = keras.Input((None, None, 3))
        x = layers.MaxPooling2D()(layers.Conv2D(2, 3, padding="same")(image))
        model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1)(x)))
        explainer = Explainer(model)
        for size in (8, 12):
            images = np.resize(IMAGES, (2, size, size, 3))
            last = targets.Pixel(size // 2 - 1, 0)
            close(explainer.relevance(images, last), explainer.explain(images, last).relevance)
            for function in (explainer.explain, explainer.relevance):
                refused("'y' of Pixel", function, images, targets.Pixel(size // 2, 0))
        assert len(explainer.functions.traced) == 2
        for shape in ((None, 8, 8, 3), (None, None, None, 3)):
            inside = tf.function(
                lambda images: explainer.relevance(images, targets.Pixel(4, 0)),
                [tf.TensorSpec(shape)],
                autograph=False,
            )
            with pytest.raises((KerasganError, tf.errors.InvalidArgumentError), match="Pixel"):
                inside(IMAGES)

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (targets.Pixel(999, 999), "'y' of Pixel"),
            (targets.Prediction() - targets.Class(7), "'index' of Class"),
            (np.ones((8, 9)), "'array' of Mask"),
            (tf.ones((8, 9)), "'target' of relevance|'array' of Mask"),
            (targets.FalseNegatives(), "true masks"),
            ([targets.Pixel(0, 0)], "each of the 3 image"),
            ("predicton", "Did you mean"),
        ],
    )
    def test_that_do_not_fit_are_refused_everywhere(self, explainer, target, message, tmp_path):
        for function in (explainer.explain, explainer.relevance):
            refused(message, function, IMAGES, target)
        with pytest.raises(KerasganError):
            explainer.export(tmp_path / "saved", target)
        if not tf.is_tensor(target) and not isinstance(target, list):
            with pytest.raises(KerasganError):
                explainer.check_target(target)

    def test_faults_of_ones_own_come_as_they_are(self, explainer):
        class Broken(targets.Target):
            def weights(self, logits):
                raise KeyError("mine")

        class Small(targets.Target):
            def weights(self, logits):
                return logits[:, :1]

        with pytest.raises(KeyError, match="mine"):
            explainer.explain(IMAGES, Broken())
        refused("must return weights of the shape", explainer.explain, IMAGES, Small())

    def test_nothing_predicted_is_no_fault_in_training(self, explainer):
        assert not explainer.relevance(IMAGES, np.zeros((8, 8))).numpy().any()


class TestLive:
    def test_follows_training(self):
        model = small(batch_norm=True)
        explainer = Explainer(model, "epsilon")
        before = explainer.explain(IMAGES).relevance
        functions = dict(explainer.functions.traced)
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", jit_compile=False)
        model.fit(IMAGES, np.ones((3, 8, 8, 1)), epochs=2, verbose=0)
        after = explainer.explain(IMAGES).relevance
        assert explainer.functions.traced == functions
        assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()
        close(after, Explainer(model, "epsilon").explain(IMAGES).relevance)

    def test_an_explainer_made_anew_sees_what_changed_in_a_layer(self):
        class Scaled(layers.Layer):
            by = 1.0

            def call(self, x):
                return x * self.by

        image = keras.Input((8, 8, 3))
        scaled = Scaled()
        model = keras.Model(image, layers.Conv2D(1, 1)(scaled(image)))
        for scaled.by in (1.0, 3.0):
            e = Explainer(model, "epsilon").explain(IMAGES, np.ones((8, 8)))
            np.testing.assert_allclose(e.logits, model(IMAGES), rtol=1e-4, atol=1e-5)

    def test_in_a_function_and_a_pipeline(self):
        explainer = shared_explainer("z-plus", batch_norm=True)
        expected = explainer.explain(IMAGES).relevance

        @tf.function
        def inside(images):
            return 2.0 * explainer.relevance(images)

        close(inside(tf.constant(IMAGES)), 2 * expected)
        data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2).map(explainer.relevance)
        close(np.concatenate(list(data.as_numpy_iterator())), expected)
        weights = tf.random.stateless_normal((3, 8, 8, 1), (1, 2))
        close(
            explainer.relevance(IMAGES, weights),
            explainer.explain(IMAGES, weights.numpy()).relevance,
        )

    def test_while_others_train_and_explain(self):
        model, other = small(batch_norm=True), small(batch_norm=True)
        expected = Explainer(model, "epsilon").explain(IMAGES).relevance
        other.compile("sgd", "mse", jit_compile=False)
        stop, failures = threading.Event(), []

        def train():
            try:
                while not stop.is_set():
                    other.fit(IMAGES, np.ones((3, 8, 8, 1)), verbose=0)
            except Exception as error:
                failures.append(error)

        def explain(shared):
            try:
                close(Explainer(model, "epsilon").explain(IMAGES).relevance, expected)
                close(shared.explain(IMAGES).relevance, expected)
            except Exception as error:
                failures.append(error)

        shared = Explainer(model, "epsilon")
        trainer = threading.Thread(target=train)
        trainer.start()
        threads = [threading.Thread(target=explain, args=(shared,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        trainer.join()
        assert failures == []


class TestExplanation:
    @pytest.mark.parametrize(
        ("name", "kind"),
        list(zip(["x", "x.npz", "a.b", "x.npy", ".hidden", "é ü"], [str, pathlib.Path] * 3)),
    )
    def test_one_rule_for_paths(self, tmp_path, explainer, name, kind):
        e = explainer.explain(IMAGES[:1])
        path = kind(tmp_path / name)
        e.save(path)
        again = Explanation.load(path)
        assert np.array_equal(again.relevance, e.relevance)
        (written,) = tmp_path.iterdir()
        assert written.name == (name if name.endswith(".npz") else f"{name}.npz")
        other = explainer.explain(IMAGES[1:2])
        other.save(path)  # replaces an explanation
        assert np.array_equal(Explanation.load(path).relevance, other.relevance)
        renamed = written.rename(tmp_path / "renamed")
        assert len(Explanation.load(renamed)) == 1

    def test_what_cannot_be_saved(self, tmp_path, explainer):
        e = explainer.explain(IMAGES[:1], layers=())
        refused(r"nowhere.*No such file", e.save, tmp_path / "nowhere" / "e")
        np.savez(tmp_path / "mine.npz", a=1)
        (tmp_path / "text.npz").write_text("mine")
        (tmp_path / "folder.npz").mkdir()
        before = (tmp_path / "mine.npz").read_bytes()
        for name in ("mine", "text", "folder"):
            refused(f"{name}.npz", e.save, tmp_path / name)
        assert (tmp_path / "mine.npz").read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 3
        for path in (tmp_path / "e.nonsense", tmp_path / "text.npz" / "e.png"):
            refused("'path'", e.plot, path)
        e.plot(tmp_path / "new" / "e.png")

    def test_layers_are_copied_when_they_are_asked_for(self, tmp_path):
        e = shared_explainer("gamma").explain(IMAGES)
        kept = e.layers.arrays
        assert not any(isinstance(array, np.ndarray) for array in kept.values())
        found = e.layers["down_2"]
        assert isinstance(found, np.ndarray)
        assert found is e.layers["down_2_act"]
        assert sum(isinstance(array, np.ndarray) for array in kept.values()) == 1
        e.save(tmp_path / "e")
        again = Explanation.load(tmp_path / "e")
        assert list(again.layers) == list(e.layers)
        for name in e.layers:
            assert np.array_equal(again.layers[name], e.layers[name])
        for name in ("images", "relevance", "logits", "target", "prediction"):
            assert np.array_equal(getattr(again, name), getattr(e, name))
        assert again.ledger.equals(e.ledger)

    def test_what_cannot_be_loaded(self, tmp_path):
        refused(r"There is no file '.*nowhere.npz'", Explanation.load, tmp_path / "nowhere.npz")
        np.savez(tmp_path / "other.npz", a=1)
        (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and then nothing")
        for name in ("other.npz", "broken.npz"):
            refused(f"{name}' is no explanation", Explanation.load, tmp_path / name)

    def test_ledger(self):
        ledger = shared_explainer("epsilon").explain(IMAGES).ledger
        assert list(ledger.columns) == [
            *("image", "layer", "kind", "relevance_in", "relevance_out", "bias", "stabiliser"),
            *("unsupported", "absolute", "remainder"),
        ]
        assert ledger["layer"].iloc[0] == "head"
        assert sorted(set(ledger["image"])) == [0, 1, 2]

    def test_skips(self):
        e = bias_free().explain(IMAGES)
        table = e.skips
        assert list(table.columns) == ["image", "layer", "source", "path", "relevance", "share"]
        sources = dict(zip(table["path"], table["source"]))
        assert sources == {"main": "up_1_conv", "skip": "down_1_act"}
        assert set(table["layer"]) == {"up_1_skip"}
        merged = e.layers["up_1_skip"]
        skip = table[table["path"] == "skip"]
        np.testing.assert_allclose(skip["relevance"], merged[..., 4:].sum((1, 2, 3)), rtol=1e-4)
        np.testing.assert_allclose(skip["share"], skip["relevance"] / explained_logit(e), rtol=1e-4)
        np.testing.assert_allclose(table.groupby("image")["share"].sum(), 1, rtol=1e-4)

    def test_gradients_have_no_ledger(self):
        explainer = shared_explainer("gradient")
        assert explainer.explain(IMAGES).ledger.empty
        assert explainer.explain(IMAGES).skips.empty
        refused("keeps no complete ledger", explainer.check, IMAGES)

    def test_a_leak_is_named(self):
        class Leaky(Epsilon):
            def redistribute(self, linear, relevance):
                return super().redistribute(linear, relevance * 0.9)

        rule = Composite(("down_2_conv", Leaky()), ("*", Epsilon()))
        with pytest.raises(KerasganError, match=r"leaks in layer 'down_2_conv' .Conv2D.*: 1$"):
            Explainer(small(), rule).check(IMAGES)
        model = small()
        model.get_layer("head").bias.assign([-1000.0])
        refused("leaks in layer 'head'", Explainer(model, Leaky()).check)


class TestKindsOfModels:
    def test_several_classes(self):
        model = kerasgan.models.unet(size=16, classes=3, filters=2, levels=1)
        e = Explainer(with_random_weights(model)).explain(np.resize(IMAGES, (2, 16, 16, 3)))
        assert e.prediction.shape == (2, 16, 16, 3)
        assert np.array_equal(e.target[..., 1:] > 0, e.prediction[..., 1:])
        assert not e.target[..., 0].any()

    def test_preprocess_and_generator(self):
        class Gan:
            generator = small()

        pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
        raw = Explainer(Gan(), preprocess=lambda x: x.astype("float32") / 127.5 - 1).explain(pixels)
        assert raw.images is pixels
        close(raw.relevance, Explainer(Gan.generator).explain(pixels / 127.5 - 1).relevance)

    def test_targets_that_need_values(self):
        explainer = Explainer(small(batch_norm=True), batch_size=2)
        truth = np.zeros((3, 8, 8, 1))
        e = explainer.explain(IMAGES, "false_positives", truth=truth)
        close(e.relevance, explainer.explain(IMAGES).relevance)
        component = explainer.explain(IMAGES, targets.Component(0))
        assert np.all(component.target <= e.target)


@pytest.fixture
def explainer():
    return shared_explainer()


class TestBadInput:
    def test_rules(self):
        for rule, message in (
            ("epsilonn", "Did you mean 'epsilon'"),
            (3, "Received: int"),
            (Epsilon, r"write Epsilon\(\)"),
        ):
            refused(message, Explainer, small(), rule)
        refused(r"pairs \(which layers, rule\).*Received: 'epsilon'", Composite, "epsilon")
        with pytest.raises(KerasganError, match="No rule of the composite fits layer 'head'"):
            Explainer(small(), Composite(("down_*", Epsilon()))).explain(IMAGES)

    def test_batch_size(self):
        for batch_size in (0, -1, 2.5):
            with pytest.raises(KerasganError, match=f"'batch_size'.*Received: {batch_size}"):
                Explainer(small(), batch_size=batch_size)

    def test_models(self):
        two = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
        model = keras.Model(two, layers.Conv2D(1, 1)(layers.Add()(two)))
        refused(r"models of one input. Received: .* with 2", Explainer, model, "smoothgrad")
        refused(r"list of 2 arrays.*Received: ndarray", Explainer(model).explain, IMAGES)
        refused(r"as many of each input", Explainer(model).explain, [IMAGES, IMAGES[:1]])
        refused("'model' must be a network, not a file", Explainer, "model.keras")

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (
                IMAGES[0],
                r"\(batch, height, width, channels\).*image\[None\].*float32.*\(8, 8, 3\)",
            ),
            (IMAGES[:0], "Received: float32 values of shape"),
            (np.array([["a"]]), "must hold numbers"),
            ((IMAGES, IMAGES[..., :1]), "Received: tuple; of samples or a dataset pass a batch"),
            (tf.data.Dataset.range(2), r"an array of numbers.* pass a batch: next\(iter"),
            (np.zeros((1, 9, 8, 3)), r"of shape \(8, 8, 3\).*\(9, 8, 3\).*batches\(8, size=8\)"),
            (np.zeros((1, 8, 8, 1)), r"of shape \(8, 8, 3\).*load_folder\(\.\.\., channels=3\)$"),
            (np.zeros((1, 8, 8, 4)), r"\(8, 8, 4\).*load_folder\(\.\.\., channels=3\)$"),
            (np.full((2, 8, 8, 3), np.nan), r"NaN or infinity, in images \[0, 1\]"),
        ],
    )
    def test_images(self, explainer, images, message):
        refused(message, explainer.explain, images)

    def test_layers_and_targets(self, explainer):
        refused("Did you mean 'down_2_conv'", explainer.explain, IMAGES, layers=["down_2_konv"])
        e = explainer.explain(IMAGES, layers=())
        with pytest.raises(KerasganError, match=r"No relevance at a layer 'down_2'.*layers=\.\.\."):
            e.layers["down_2"]

    def test_empty_target(self, explainer):
        with pytest.warns(KerasganWarning, match="relevance is zero, in 3 of 3") as record:
            e = explainer.explain(IMAGES, np.zeros((8, 8)))
        assert record[0].filename == __file__
        assert not e.relevance.any()

    def test_many_images_warn_before_they_fill_the_memory(self, explainer, monkeypatch):
        monkeypatch.setattr("kerasgan.explain.explainer.MEMORY", 4000)
        with pytest.warns(KerasganWarning, match="Relevance at layers is not kept"):
            e = explainer.explain(IMAGES)
        assert len(e.layers) == 0


def test_a_model_of_so_many_images_at_a_time():
    image = keras.Input((8, 8, 3), batch_size=2)
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
    explainer = Explainer(model, "epsilon", batch_size=1)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3))
    e = explainer.explain(images)
    assert np.allclose(explainer.explain(images[2:]).relevance, e.relevance[2:], atol=1e-5)
    assert set(explainer.check()["image"]) == {0, 1}
    refused("2 images at a time", explainer.explain, images[:3])


NO_SLASH = pytest.mark.skipif(KERAS_3, reason="Keras 3 allows no slash in a name")


@pytest.mark.parametrize("stem", [pytest.param("stem/", marks=NO_SLASH), "stem."])
def test_names_with_spaces_and_slashes(stem):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", name=f"{stem}conv")(image)
    x = keras.layers.ReLU(name=f"{stem}act")(x)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, name="head")(x), name="my model")
    explainer = Explainer(model, "epsilon")
    assert explainer.graph.node(f"{stem}conv").layer is model.get_layer(f"{stem}conv")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3))
    e = explainer.explain(images, np.ones((8, 8)))
    assert e.layers[f"{stem}act"].shape == (1, 8, 8, 2)


def test_layers_of_one_name_in_other_layers_are_told_apart():
    class Block(keras.layers.Layer):
        def __init__(self, inner, **options):
            super().__init__(**options)
            self.inner = inner

        def call(self, x):
            return self.inner(x)

    plain = Block(keras.layers.Conv2D(2, 1, name="conv"), name="plain")
    apart = Block(keras.layers.SeparableConv2D(2, 1, name="conv"), name="apart")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, name="head")(apart(plain(image))))
    nodes = {node.name: node.layer for node in Explainer(model, "epsilon").graph.nodes}
    assert nodes["plain/conv"] is plain.inner
    assert nodes["apart/conv"] is apart.inner


def test_another_activation_asks_for_another_explainer():
    model = small()
    explainer = Explainer(model, "epsilon")
    model.get_layer("down_2_conv").activation = keras.activations.tanh
    refused("new Explainer", explainer.explain, IMAGES)
    assert np.allclose(
        tf.sigmoid(Explainer(model, "epsilon").explain(IMAGES).logits), model(IMAGES), atol=1e-5
    )

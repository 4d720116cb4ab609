"""Occlusion, RISE and Grad-CAM against formulas and a tape."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from keras import layers
from refusals import refused
from toys import IMAGES, shared_explainer, small, with_random_weights

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.explain import RISE, Explainer, GradCAM, Occlusion, targets
from kerasgan.explain.functions import Functions

RNG = np.random.default_rng(0)
METHODS = [GradCAM("down_2_act"), Occlusion(4, 2), RISE(masks=20, cells=3)]


def pixelwise(classes=1, size=(8, 6)):
    """A network that weights colours, so that the score is a sum over pixels."""
    image = keras.Input((*size, 3))
    return with_random_weights(keras.Model(image, layers.Conv2D(classes, 1, name="head")(image)))


def by_pixel(model, images, weights, fill):
    """What each pixel adds to the score, beyond what the filling would: (batch, height, width)."""
    kernel = model.get_weights()[0][0, 0]
    return ((images - fill) @ kernel * weights).sum(-1)


def maps(explainer, images, target, **options):
    e = explainer.explain(images, target, verbose=False, **options)
    assert e.relevance.shape == images.shape
    np.testing.assert_allclose(np.ptp(e.relevance, axis=-1), 0, atol=1e-6)
    return e.relevance.sum(-1)


close = functools.partial(toys.close, tolerance=1e-4)


def with_fill(images, fill):
    return images.mean((1, 2), keepdims=True) if fill == "mean" else fill


@pytest.fixture(scope="module")
def images():
    return RNG.uniform(-1, 1, (2, 8, 6, 3)).astype("float32")


class TestOcclusion:
    @pytest.mark.parametrize(
        ("patch", "stride", "rows", "columns", "fill"),
        [
            (1, 1, range(8), range(6), "mean"),
            (3, 2, (0, 2, 4, 5), (0, 2, 3), 0.5),
            ((8, 2), (3, 2), (0,), (0, 2, 4), "mean"),
            ((2, 6), None, range(7), (0,), -1),
            (None, None, range(8), range(6), -1),
        ],
    )
    def test_of_a_linear_network(self, images, patch, stride, rows, columns, fill):
        """The drop of a window is the sum of what its pixels add."""
        model = pixelwise()
        weights = RNG.normal(size=(2, 8, 6, 1)).astype("float32")
        found = maps(Explainer(model, Occlusion(patch, stride, fill)), images, weights)
        added = by_pixel(model, images, weights, with_fill(images, fill))
        high, wide = patch if isinstance(patch, tuple) else (patch or 1, patch or 1)
        total, covered = np.zeros(added.shape), np.zeros(added.shape)
        for y in rows:
            for x in columns:
                window = np.s_[:, y : y + high, x : x + wide]
                total[window] += added[window].sum((1, 2), keepdims=True)
                covered[window] += 1
        assert covered.min() > 0
        close(found, total / covered)

    def test_windows_of_usual_size(self):
        assert Occlusion().count(128, 200) == 15 * 24
        assert int(Occlusion().count(tf.constant(128), tf.constant(200))) == 15 * 24
        assert Occlusion(5).count(11, 5) == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"patch": 0}, "'patch' must be a number of pixels"),
            ({"patch": (2, 3, 4)}, "'patch' must be a number of pixels"),
            ({"stride": -1}, "'stride' must be a number of pixels"),
            ({"patch": 4, "stride": 5}, "'stride' must be at most 'patch'"),
            ({"patch": (4, 2), "stride": 3}, "'stride' must be at most 'patch'"),
            ({"fill": "black"}, "'fill' must be 'mean' or a finite number"),
            ({"fill": float("nan")}, "'fill' must be 'mean' or a finite number"),
        ],
    )
    def test_arguments(self, options, message):
        refused(message, Occlusion, **options)

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            (
                Occlusion(np.int32(20)),
                "'patch' of Occlusion must be one that fits into the image, 8 x 6",
            ),
            (Occlusion((2, 20)), "'patch' of Occlusion must be one that fits"),
            (
                Occlusion(stride=np.int64(2)),
                "'stride' of Occlusion must be at most the patch, which is 1 x 1",
            ),
        ],
    )
    def test_that_do_not_fit_the_image(self, images, method, message):
        explainer = Explainer(pixelwise(), method)
        for function in (explainer.explain, explainer.relevance):
            refused(message, function, images)
        image = keras.Input((None, None, 3))
        explainer = Explainer(keras.Model(image, layers.Conv2D(1, 1)(image)), method)
        refused(message, explainer.explain, images)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="of Occlusion must fit into the image"
        ):
            explainer.relevance(images)


class TestRISE:
    def test_is_the_formula_less_the_mean(self):
        """The source's sum over masks, on the scores less their mean; masks from the method."""
        method = RISE(masks=12, cells=3, fill="mean")
        model = with_random_weights(kg.models.unet(size=(8, 8), filters=2, levels=1))
        picture = RNG.uniform(-1, 1, (1, 8, 8, 3)).astype("float32")
        weights = np.ones((1, 8, 8, 1), "float32")
        explainer = Explainer(model, method)
        shown = 1 - method.hidden(tf.range(12), tf.constant(8), tf.constant(8)).numpy()
        mean = picture.mean((1, 2), keepdims=True)
        masked = shown[..., None] * picture + (1 - shown[..., None]) * mean
        scores = explainer.explain(masked, "prediction", verbose=False).logits.sum((1, 2, 3))
        expected = np.tensordot(scores - scores.mean(), shown, 1) / (12 * 0.5)
        close(maps(explainer, picture, weights)[0], expected)

    @pytest.mark.parametrize(("height", "width"), [(9, 14), (5, 3), (1, 1)])
    def test_masks(self, height, width):
        method = RISE(cells=4, probability=0.25)
        masks = tf.function(method.hidden)(tf.range(400), tf.constant(height), tf.constant(width))
        assert masks.shape == (400, height, width)
        assert 0 <= masks.numpy().min() <= masks.numpy().max() <= 1
        np.testing.assert_allclose(masks.numpy().mean(0), 0.75, atol=0.11)

    def test_of_a_seed(self, images):
        model = pixelwise()
        one, again, other = (
            maps(
                Explainer(model, RISE(masks=np.int64(8), cells=np.int64(2), seed=np.int64(seed))),
                images,
                np.ones((8, 6)),
            )
            for seed in (1, 1, 2)
        )
        assert np.array_equal(one, again)
        assert not np.allclose(one, other)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"masks": 1}, "'masks' must be a whole number from 2 to"),
            ({"cells": 0}, "'cells' must be a whole number from 1 to"),
            ({"seed": -1}, "'seed' must be a whole number from 0 to"),
            ({"seed": 2**31}, "'seed' must be a whole number from 0 to"),
            ({"probability": 0}, "'probability' must be a finite number above 0 and below 1"),
            ({"probability": 1.0}, "'probability' must be a finite number above 0 and below 1"),
            ({"fill": "grey"}, "'fill' must be 'mean'"),
        ],
    )
    def test_arguments(self, options, message):
        refused(message, RISE, **options)


class TestGradCAM:
    @pytest.mark.parametrize("layer", ["down_1_act", "down_2_conv", "down_2_act", "up_1_conv"])
    def test_agrees_with_a_tape(self, layer):
        model = small()
        e = Explainer(model, GradCAM(layer)).explain(IMAGES)
        part = keras.Model(model.input, [model.get_layer(n).output for n in (layer, "head")])
        with tf.GradientTape() as tape:
            maps, logits = part(IMAGES)
            score = tf.reduce_sum(tf.nn.relu(logits))
        slope = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
        close(e.layers[layer], slope * maps)
        expected = tf.nn.relu(tf.reduce_sum(slope * maps, -1, keepdims=True))
        expected = tf.image.resize(expected, (8, 8))[..., 0].numpy()
        assert expected.max() > 0
        close(e.relevance.sum(-1), expected)

    def test_names_of_layers(self):
        """A folded layer stands for the one before; a beginning for the last layer of that name."""
        explainers = {
            name: shared_explainer(GradCAM(name), batch_norm=True)
            for name in ("down_2_bn", "down_2_conv", "down_2", "down_2_act")
        }
        found = {name: explainers[name].explain(IMAGES).relevance for name in explainers}
        assert np.array_equal(found["down_2_bn"], found["down_2_conv"])
        assert np.array_equal(found["down_2"], found["down_2_act"])
        assert not np.allclose(found["down_2"], found["down_2_bn"])
        with pytest.raises(
            KerasganError, match=r"'layer' of GradCAM .*down_1_act.*head.*: 'down_3'"
        ):
            Explainer(small(), GradCAM("down_3"))

    @pytest.mark.parametrize(("size", "layer"), [(16, "middle_act_b"), (8, "mask_conv")])
    def test_layer_by_default(self, size, layer):
        """The end of a bottleneck, unless its maps are below 8 x 8."""
        model = with_random_weights(kg.models.unet(size=size, filters=2, levels=1))
        images = RNG.uniform(-1, 1, (1, size, size, 3)).astype("float32")
        target = np.ones((size, size))
        named = Explainer(model, GradCAM(layer)).explain(images, target)
        close(Explainer(model, "grad-cam").explain(images, target).relevance, named.relevance)

    def test_layer_by_default_of_images_of_any_size(self):
        image = keras.Input((None, None, 3))
        x = layers.Conv2D(4, 3, strides=4, padding="same", name="down", activation="relu")(image)
        x = layers.UpSampling2D(4, name="up")(x)
        model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1, name="head")(x)))
        by_default, named = (Explainer(model, GradCAM(layer)) for layer in (None, "down"))
        for size in (8, 24):
            images = RNG.uniform(-1, 1, (1, size, 8, 3)).astype("float32")
            found = by_default.explain(images, np.ones((size, 8))).relevance
            assert np.array_equal(named.explain(images, np.ones((size, 8))).relevance, found)

    @pytest.mark.parametrize("layer", [3, "", ["down_1"], b"down_1"])
    def test_arguments(self, layer):
        refused("'layer' of GradCAM must be None or a layer's name", GradCAM, layer)

    def test_layers_without_maps(self):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(2, 3, padding="same", name="maps")(image)
        code = layers.Dense(5, name="code")(layers.Flatten()(x))
        x = layers.Reshape((8, 8, 1), name="drawn")(layers.Dense(64, name="wide")(code))
        model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1, name="head")(x)))
        with pytest.raises(KerasganError, match=r"with maps .*one of maps, drawn, head\."):
            Explainer(model, GradCAM("code")).explain(IMAGES)
        assert Explainer(model, GradCAM("maps")).explain(IMAGES).relevance.shape == IMAGES.shape


class TestAll:
    """What holds for every method."""

    @pytest.fixture(params=METHODS, ids=["grad-cam", "occlusion", "rise"])
    def explainer(self, request):
        return shared_explainer(request.param, batch_norm=True)

    def test_independent_of_the_batch(self, explainer):
        together = maps(explainer, IMAGES, "prediction")
        alone = [maps(explainer, IMAGES[i : i + 1], "prediction") for i in range(3)]
        close(np.concatenate(alone), together, tolerance=1e-5)
        pieces = Explainer(explainer.model, explainer.method, batch_size=2)
        close(maps(pieces, IMAGES, "prediction"), together, tolerance=1e-5)
        close(explainer.relevance(IMAGES).numpy().sum(-1), together, tolerance=1e-5)

    def test_every_target_by_its_weights(self, explainer):
        region = RNG.normal(size=(8, 8)).astype("float32")
        for target in (targets.Pixel(3, 4), targets.Component(0), "border", region):
            e = explainer.explain(IMAGES, target, verbose=False)
            expected = explainer.explain(IMAGES, e.target, verbose=False)
            np.testing.assert_array_equal(e.relevance, expected.relevance)
            assert e.relevance.any()
            assert not len(e.ledger)

    def test_target_is_held(self, explainer):
        """Doubled weights double the map; a target of nothing has none."""
        weights = (IMAGES[..., :1] > 0).astype("float32")
        close(maps(explainer, IMAGES, 2 * weights), 2 * maps(explainer, IMAGES, weights))
        with pytest.warns(kg.KerasganWarning, match="target is empty"):
            assert not maps(explainer, IMAGES, 0 * weights).any()

    def test_open_sizes(self, explainer):
        image = keras.Input((None, None, 3))
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name="down_2_act")(image)
        model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1)(x)))
        found = Explainer(model, explainer.method)
        for size in ((8, 12), (11, 7)):
            images = RNG.uniform(-1, 1, (2, *size, 3)).astype("float32")
            close(
                maps(found, images, np.ones(size)),
                found.relevance(images, np.ones(size, "f")).numpy().sum(-1),
            )

    def test_channels_of_a_layer_cannot_be_followed(self, explainer):
        with pytest.raises(KerasganError, match="'through' needs relevance that layers pass on"):
            explainer.explain(IMAGES, through={"down_2": [0]})

    def test_export(self, explainer, tmp_path):
        explainer.export(tmp_path / "saved")
        saved = tf.saved_model.load(str(tmp_path / "saved"))
        close(
            saved.explain(IMAGES)["relevance"].numpy(),
            explainer.explain(IMAGES).relevance,
            tolerance=1e-5,
        )

    @pytest.mark.usefixtures("float64")
    @pytest.mark.parametrize("method", METHODS)
    def test_float64(self, method):
        found = Explainer(small(), method).explain(IMAGES, verbose=False).relevance
        assert found.dtype == np.float64

    @pytest.mark.parametrize("method", METHODS)
    def test_mixed_precision(self, method):
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            mixed = small()
        finally:
            keras.mixed_precision.set_global_policy("float32")
        whole = small()
        found, expected = (
            Explainer(model, method).explain(IMAGES, np.ones((8, 8)), verbose=False).relevance
            for model in (mixed, whole)
        )
        assert found.dtype == np.float32
        close(found, expected)


class TestProgress:
    @pytest.fixture
    def passes(self, monkeypatch):
        """What is called, and on how many images at once; the fifth call is interrupted."""
        calls, get = [], Functions.get

        def watched(self, *key):
            found = get(self, *key)

            def call(images, *given):
                copies = int(given[-1] - given[-2]) if key[0] == "altered" else 1
                calls.append((key[0], len(images) * copies))
                if len(calls) == 5:
                    raise KeyboardInterrupt
                return found.call(images, *given)

            return found._replace(call=call)

        monkeypatch.setattr(Functions, "get", watched)
        return calls

    def test_can_be_interrupted_and_holds_no_more_images_than_the_batch(self, passes):
        explainer = Explainer(small(), Occlusion(2, 1), batch_size=5)
        with pytest.raises(KeyboardInterrupt):
            explainer.explain(IMAGES[:2], verbose=False)
        assert passes == [("logits", 2), *[("altered", 4)] * 4]

    def test_is_shown_and_can_be_left_out(self, capsys):
        explainer = Explainer(small(), Occlusion(4, 4), batch_size=2)
        explainer.explain(IMAGES, verbose=False)
        assert capsys.readouterr().out == ""
        explainer.explain(IMAGES)
        assert "12/12" in capsys.readouterr().out

    @pytest.mark.parametrize("method", METHODS[1:])
    def test_layers_are_refused(self, method):
        with pytest.raises(KerasganError, match="'layers' must be left out"):
            shared_explainer(method).explain(IMAGES, layers=["down_2"])


def test_judges_and_merged_predictions_are_explained(tmp_path):
    model = with_random_weights(kg.models.unet(size=16, filters=2, levels=1))
    images = RNG.uniform(-1, 1, (1, 20, 24, 3)).astype("float32")
    for method in (GradCAM(), Occlusion(8), RISE(masks=10)):
        explainer = kg.explain.MergedExplainer(model, method, augment="flips")
        assert explainer.explain(images, np.ones((16, 16))).relevance.shape == images.shape

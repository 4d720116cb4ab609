import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.applications.imagenet_utils import preprocess_input
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan import KerasganError, KerasganWarning
from kerasgan.models.preprocess import NAMES, preprocess_of, set_preprocess

BYTES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
IMAGES = BYTES / np.float32(127.5) - 1
PIXEL = kg.explain.targets.Pixel(3, 3)
SMALL = {"size": 32, "filters": 2}


def foreign(*first, name="theirs", activation="sigmoid", size=32):
    """A network of somebody else's, its weights of a fixed seed."""
    start = keras.initializers.RandomNormal(seed=0)
    head = keras.layers.Conv2D(1, 1, activation=activation, kernel_initializer=start)
    return keras.Sequential([keras.Input((size, size, 3)), *first, head], name=name)


def functional(*first, **options):
    model = foreign(*first, **options)
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("[-1,1]", IMAGES),
            ("[0,1]", BYTES / 255),
            ("[0,255]", BYTES),
            ("imagenet", preprocess_input(BYTES.copy(), mode="torch")),
            ("caffe", preprocess_input(BYTES.copy(), mode="caffe")),
        ],
    )
    def test_are_the_modes_of_keras(self, name, expected):
        before = preprocess_of(None, name)
        for images in (IMAGES, tf.constant(IMAGES)):
            assert np.allclose(before(images), expected, atol=1e-4)
        assert np.asarray(before(IMAGES)).dtype == np.float32

    def test_blanks_and_capitals_do_not_matter_and_those_of_keras_are_known(self):
        given = ("[0, 1]", " [ -1 , 1 ] ", "ImageNet", "tf", "torch", "caffe")
        names = ["[0,1]", "[-1,1]", "imagenet", "[-1,1]", "imagenet", "caffe"]
        assert [preprocess_of(None, name).name for name in given] == names

    @pytest.mark.parametrize("given", ["[0,2]", "image_net", "", 3, ("[0,1]",), False])
    def test_unknown(self, given):
        refused(r"'preprocess' must be one of \[-1,1\], \[0,1\]", preprocess_of, None, given)

    def test_of_colours_refuse_grey(self):
        for name in ("imagenet", "caffe"):
            refused("3 channels", preprocess_of(None, name), IMAGES[..., :1])

    def test_a_function_is_named_after_itself(self):
        def halved(images):
            return images / 2

        before = preprocess_of(None, halved)
        assert before.name == "halved"
        assert not before.named
        assert str(before) == "what halved makes of images in [-1, 1]"


class TestEveryCall:
    """Given a name or the function, a call gives what the network gives for its own input."""

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "[-1,1]"])
    def test_prediction_and_explanation(self, name):
        model = functional(size=8)
        own = np.asarray(NAMES[name](IMAGES), np.float32)
        expected = np.asarray(model(own))
        found = kg.inference.predict_probability(model, IMAGES, preprocess=name)
        assert np.allclose(found, expected, atol=1e-6)
        direct = kg.Explainer(model, preprocess=lambda images: images).explain(own, PIXEL)
        named = kg.Explainer(model, preprocess=name).explain(IMAGES, PIXEL)
        merged = kg.explain.MergedExplainer(model, preprocess=name).explain(IMAGES, PIXEL)
        for e in (named, merged):
            assert np.allclose(e.relevance, direct.relevance, rtol=1e-4, atol=1e-6)
            assert np.allclose(e.logits, direct.logits, atol=1e-5)

    def test_evaluation_of_explanations(self, tmp_path):
        samples = kg.data.synthetic.write_dataset(tmp_path, count=4, size=32)
        model, taken = functional(activation=None), functional(keras.layers.Rescaling(0.5, 0.5))
        taken.set_weights(model.get_weights())
        options = {"verbose": False, "target": kg.explain.targets.Pixel(9, 9)}
        measures = {
            "localisation": lambda model, **o: kg.evaluation.localisation(
                model, samples, "gradient", **o
            ),
            "faithfulness": lambda model, **o: kg.evaluation.faithfulness(
                model, samples, "gradient", steps=2, **o
            ),
        }
        for measure in measures.values():
            named = measure(model, preprocess="[0,1]", **options)
            inside = measure(taken, **options)
            assert len(named)
            assert np.allclose(named["value"], inside["value"], equal_nan=True, atol=1e-4)

    def test_what_was_done_is_in_the_results(self, tmp_path):
        samples = kg.data.synthetic.write_dataset(tmp_path, count=2, size=32)
        table = kg.evaluate(functional(), samples, preprocess="[0, 1]", verbose=False)
        assert table.attrs["summary"]["preprocess"] == "[0,1]"
        assert "preprocess [0,1]" in kg.evaluation.summary_text(table)
        table = kg.evaluate(kg.models.unet(levels=2, **SMALL), samples, verbose=False)
        assert table.attrs["summary"]["preprocess"] == "[-1,1]"
        assert "preprocess" not in kg.evaluation.summary_text(table)

    def test_members_of_an_ensemble_have_their_own(self):
        both = [functional(size=8), functional(size=8)]
        set_preprocess(both[0], "[0,1]")
        set_preprocess(both[1], "[0,255]")
        found = kg.inference.predict_probability(both, IMAGES)
        means = np.mean([_logit(both[0](BYTES / 255)), _logit(both[1](BYTES))], 0)
        assert np.allclose(found, 1 / (1 + np.exp(-means)), atol=1e-5)


def _logit(probability):
    probability = np.asarray(probability, np.float64)
    return np.log(probability / (1 - probability))


class TestWhatIsAssumed:
    def test_is_said_once_for_each_network(self):
        model, other = functional(name="one"), functional(name="two")
        images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3))
        with pytest.warns(KerasganWarning, match=r"'one' was not made by .*\[-1, 1\].*preprocess="):
            kg.predict(model, images)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            kg.predict(model, images)
            kg.Explainer(model).explain(images, PIXEL)
            kg.Explainer(other).explain(images, PIXEL)
        assert [str(each.message).split("'")[1] for each in said] == ["two"]

    @pytest.mark.parametrize("given", ["[-1,1]", "[0,1]", lambda images: images])
    def test_is_not_said_of_what_was_given(self, given, recwarn):
        kg.predict(functional(), np.zeros((1, 32, 32, 3)), preprocess=given)
        kg.Explainer(functional(), preprocess=given)
        assert not _said(recwarn)

    def test_is_not_said_of_what_was_trained_here(self, tmp_path, recwarn):
        gan = kg.SegmentationGAN(functional())
        gan.compile("adam", losses={"dice": 1.0})
        images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
        gan.fit(images, (images[..., :1] > 0).astype("float32"), verbose=0)
        gan.save(tmp_path / "gan")
        for each in (gan, kg.SegmentationGAN.load(tmp_path / "gan")):
            assert not preprocess_of(each).assumed
        assert not _said(recwarn)

    def test_is_not_said_of_a_network_that_scales_such_images(self, recwarn):
        assert not preprocess_of(functional(keras.layers.Rescaling(0.5, 0.5))).assumed
        assert not preprocess_of(functional(keras.layers.Rescaling(127.5, 127.5))).assumed
        assert not _said(recwarn)

    @pytest.mark.parametrize(
        ("scale", "offset", "takes"),
        [(1 / 255, 0, "[0,255]"), (1 / 127.5, -1, "[0,255]"), (2, -1, "[0,1]"), (255, 0, "[0,1]")],
    )
    def test_names_what_the_first_layer_takes(self, scale, offset, takes):
        model = functional(keras.layers.Rescaling(scale, offset))
        with pytest.warns(KerasganWarning) as said:
            assert preprocess_of(model).name == "[-1,1]"
        assert f"pass preprocess='{takes}'" in str(said[0].message)

    def test_keeps_no_network(self):
        model = functional()
        with pytest.warns(KerasganWarning, match="was not made by"):
            preprocess_of(model)
        set_preprocess(model)
        gone = weakref.ref(model)
        del model
        gc.collect()
        assert gone() is None


def _said(recwarn):
    return [str(each.message) for each in recwarn if "preprocess" in str(each.message)]


class TestImages:
    """Images that cannot lie in [-1, 1] as they are meant to."""

    model = kg.models.unet(levels=2, **SMALL)

    def calls(self):
        explainer = kg.Explainer(self.model)
        merged = kg.explain.MergedExplainer(self.model)
        return [
            lambda images: kg.predict(self.model, images),
            lambda images: kg.predict(self.model, list(images)),
            lambda images: explainer.explain(images, PIXEL, layers=()),
            lambda images: merged.explain(images, PIXEL),
        ]

    def test_from_0_to_255_are_refused_with_the_line_that_mends_it(self):
        pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
        for call in self.calls():
            for images in (pixels, pixels.astype(np.uint8), pixels.astype(np.float32)):
                refused(r"0 to 255; images / 127.5 - 1", call, images)

    def test_dark_pixels_of_whole_numbers_are_refused(self):
        for call in self.calls():
            for kind in (np.uint8, bool):
                with pytest.raises(KerasganError, match=r"Received: (uint8|bool) values from 0"):
                    call(np.zeros((1, 32, 32, 3), kind))

    def test_from_0_to_1_are_questioned(self):
        images = np.random.default_rng(0).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
        for call in self.calls():
            with pytest.warns(KerasganWarning, match=r"none below 0.*images \* 2 - 1"):
                call(images)

    def test_nan_is_refused(self):
        images = np.zeros((1, 32, 32, 3), np.float32)
        images[0, 3, 4, 1] = np.nan
        for call in self.calls():
            refused("NaN", call, images)

    @pytest.mark.parametrize(
        "images",
        [
            np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)),
            np.zeros((1, 32, 32, 3)),
            np.ones((1, 32, 32, 3)),
            np.full((1, 32, 32, 3), 0.5),
            np.random.default_rng(0).uniform(-1, -0.2, (2, 32, 32, 3)),
            np.random.default_rng(0).uniform(0.4, 1, (2, 32, 32, 3)),
            np.random.default_rng(0).uniform(0, 0.5, (2, 32, 32, 3)),
        ],
    )
    def test_that_may_be_meant_pass_in_silence(self, images, recwarn):
        for call in self.calls()[:3]:
            call(images.astype(np.float32))
        assert not [str(each.message) for each in recwarn if "must lie" in str(each.message)]

    def test_for_a_function_of_ones_own_are_whatever_it_takes(self, recwarn):
        pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
        given = kg.Explainer(self.model, preprocess=lambda images: images / 127.5 - 1)
        expected = kg.Explainer(self.model).explain(pixels / 127.5 - 1, PIXEL)
        assert np.allclose(given.explain(pixels, PIXEL).logits, expected.logits, atol=1e-5)
        assert not _said(recwarn)

    def test_of_a_network_of_which_nothing_is_known_are_questioned_and_explained(self):
        model = functional()
        images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
        with pytest.warns(KerasganWarning, match="was not made by"):
            explainer = kg.Explainer(model)
        with pytest.warns(KerasganWarning, match="given them as they are"):
            found = explainer.explain(images, PIXEL)
        assert np.allclose(found.logits, _logit(model(images)), rtol=1e-3, atol=1e-3)

    def test_that_the_first_layer_takes_pass_in_silence(self, recwarn):
        model = functional(keras.layers.Rescaling(1 / 255))
        with pytest.warns(KerasganWarning, match="begins by scaling"):
            explainer = kg.Explainer(model)
        explainer.explain(np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)), PIXEL)
        assert not [each for each in recwarn if "must lie" in str(each.message)]

    def test_of_files_are_not_questioned(self, tmp_path, recwarn):
        (tmp_path / "images").mkdir()
        white = np.full((32, 32, 3), 128, np.uint8)
        white[8:20] = 255
        Image.fromarray(white).save(tmp_path / "images" / "a.png")
        kg.predict(self.model, tmp_path / "images")
        samples = kg.data.load_folder(images=tmp_path / "images", masks=None)
        target = kg.explain.targets.Pixel(3, 3)
        kg.evaluation.complexity(self.model, samples, target=target, verbose=False)
        assert not [each for each in recwarn if "must lie" in str(each.message)]

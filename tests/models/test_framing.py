"""A network remembers how images were brought to it in training, wherever it goes."""

import dataclasses
import json
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.models.framing import Framing, framing_of, get_framing, note_framing, set_framing
from kerasgan.training.record import Record

OTHERWISE = r"trained on images of mode='{}'.*mode='{}', where objects have another size"


def small(**options):
    return kg.models.unet(size=16, filters=2, levels=1, **options)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two images and masks of a bright square in grey noise, wider than high."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(2):
        image, mask = rng.normal(110, 12, (40, 50, 3)), np.zeros((40, 50), np.uint8)
        top, left = rng.integers(0, (32, 42))
        image[top : top + 8, left : left + 8] += 60
        mask[top : top + 8, left : left + 8] = 255
        image = np.clip(image, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return kg.data.load_folder(folder)


@pytest.fixture(scope="module")
def trained(scenes):
    """A GAN that was trained on windows at half resolution."""
    gan = kg.SegmentationGAN(small())
    gan.compile(losses={"dice": 1.0}, run_eagerly=True)
    gan.fit(scenes.batches(2, 16, mode="window", scale=0.5), epochs=1, verbose=0)
    return gan


def bundle_of(model, folder, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The card of")
        kg.inference.save_bundle(model, folder / "a.zip", **options)
        return kg.inference.load_bundle(folder / "a.zip")


def probability(model, scenes, **options):
    return kg.inference.predict_probability(model, scenes[:1], **options)[0]


def test_what_fit_was_given_is_what_is_expected(trained, scenes):
    assert get_framing(trained.generator) == ("window", 0.5)
    copy = small()
    copy.set_weights(trained.generator.get_weights())
    windows = probability(copy, scenes, mode="window", scale=0.5)
    np.testing.assert_array_equal(probability(trained, scenes), windows)
    assert not np.array_equal(probability(copy, scenes), windows)
    summary = kg.evaluate(trained, scenes, verbose=False).attrs["summary"]
    assert (summary["mode"], summary["scale"]) == ("window", 0.5)
    summary = kg.evaluate(copy, scenes, verbose=False).attrs["summary"]
    assert summary["mode"] == "stretch"
    assert "scale" not in summary
    image = scenes.image(0)[None]
    explainer = kg.explain.MergedExplainer(trained, "gradient")
    assert explainer.tiling == ("window", 0.5, 0.5)
    assert explainer.explain(image).relevance.shape == image.shape


def test_a_saved_model_and_a_bundle_know_it(trained, scenes, tmp_path):
    trained.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    assert get_framing(again.generator) == ("window", 0.5)
    bundle = bundle_of(trained, tmp_path)
    assert bundle.preprocessing == {"size": (16, 16), "mode": "window", "scale": 0.5}
    assert get_framing(bundle.generator) == ("window", 0.5)
    expected = probability(trained, scenes)
    np.testing.assert_array_equal(bundle.predict_probability(scenes[:1])[0], expected)
    with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("window", "stretch")):
        assert not np.array_equal(probability(bundle, scenes, mode="stretch"), expected)
    settings = tmp_path / "model" / "kerasgan.json"
    written = settings.read_text()
    for broken in (["window", 1e9], ["crop", 1], ["window", "x"], "window", ["window"], {"a": 1}):
        changed = {**json.loads(written), "framing": broken}
        settings.write_text(json.dumps(changed))
        refused("kerasgan.json", kg.SegmentationGAN.load, tmp_path / "model")
    settings.write_text(
        json.dumps({k: v for k, v in json.loads(written).items() if k != "framing"})
    )
    unaware = kg.SegmentationGAN.load(tmp_path / "model")
    assert get_framing(unaware.generator) is None
    assert framing_of([unaware.generator]).mode == "stretch"


def test_a_bundle_of_another_mode_is_its_authors_word_and_a_warning(trained, scenes, tmp_path):
    with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("window", "letterbox")):
        bundle = bundle_of(trained, tmp_path, preprocessing={"mode": "letterbox"})
    assert get_framing(bundle.generator).mode == "letterbox"


def test_whole_images_for_a_network_of_windows_are_a_warning(trained, scenes):
    for asked, ask in (
        ("letterbox", lambda: kg.predict(trained, scenes[:1], mode="letterbox")),
        ("stretch", lambda: kg.evaluate(trained, scenes, mode="stretch", verbose=False)),
        ("letterbox", lambda: kg.explain.MergedExplainer(trained, "gradient", mode="letterbox")),
        (
            "stretch",
            lambda: kg.evaluation.ExplanationBenchmark(trained, scenes, "gradient", mode="stretch"),
        ),
    ):
        with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("window", asked)):
            ask()


def test_windows_of_a_network_of_whole_images_are_asked_for_and_no_warning():
    network = small()
    set_framing(network, "letterbox")
    assert framing_of([network]) == ("letterbox", 1)
    assert framing_of([network], "window", 0.25) == ("window", 0.25)
    with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("letterbox", "stretch")):
        framing_of([network], "stretch")
    refused("'mode' must be one of", framing_of, [network], "crop")


def test_members_must_agree_or_be_told(scenes):
    one, other, boxed, unknown = (small(seed=seed) for seed in range(4))
    set_framing(one, "window", 0.5)
    set_framing(other, "window", 1.0)
    set_framing(boxed, "letterbox")
    words = "must be given for models that were not trained on images brought to them alike"
    refused(f"'scale' {words}", kg.predict, [one, other], scenes)
    refused(f"'mode' {words}", framing_of, [one, boxed])
    refused(f"'scale' {words}", framing_of, [one, other], "window")
    assert framing_of([one, unknown]) == Framing("window", 0.5)
    assert framing_of([boxed, one], "window") == Framing("window", 0.5)
    assert framing_of([one, other], scale=0.25) == Framing("window", 0.25)


def test_what_resizes_whole_images_refuses_windows(trained, scenes):
    words = "was trained on windows of images"
    many = scenes[[0, 1] * 6]
    refused(words, kg.inference.fit_novelty, trained, many, scenes)
    explainer = kg.Explainer(trained, "epsilon")
    refused(words, kg.explain.most_relevant, explainer, scenes, "down_1")
    refused("trained on windows", kg.evaluation.shortcuts, trained, many, verbose=False)
    refused("MergedExplainer", explainer.explain, scenes.image(0)[None])
    windows = next(iter(scenes.batches(2, 16, mode="window", scale=0.5)))[0].numpy()
    pixel = kg.targets.Pixel(9, 9)
    assert len(kg.explain.most_relevant(explainer, windows, "down_1", target=pixel).mean)


def test_what_is_exported_takes_windows_and_resizes_nothing(trained, tmp_path):
    folder = kg.inference.export_predictor(trained, tmp_path / "exported")
    signatures = tf.saved_model.load(folder).signatures
    assert list(signatures) == ["serving_default"]
    window = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(
        signatures["serving_default"](images=window)["probability"],
        kg.inference.predict_probability(trained, window, scale=1.0),
        atol=1e-6,
    )


def test_measures_of_explanations_look_at_windows(trained, scenes):
    benchmark = kg.evaluation.ExplanationBenchmark(trained, scenes, "gradient", controls=False)
    batch = next(iter(benchmark))
    expected = scenes.batches(2, 16, mode="window", scale=0.5, foreground=1.0)
    np.testing.assert_array_equal(batch.images, next(iter(expected))[0])


def test_a_report_shows_whole_images_in_windows(trained, scenes, tmp_path):
    page = kg.report.write(trained, scenes, tmp_path / "report", rules=(), images=1, verbose=False)
    text = page.read_text(encoding="utf-8")
    assert "overlapping windows" in text
    assert re.search(r"Scale of windows\W(.|\n){0,40}\b0\.5\b", text)


def test_validation_of_another_kind_is_a_warning(scenes):
    windows, whole = scenes.batches(2, 16, mode="window"), scenes.batches(2, 16)
    with pytest.warns(kg.KerasganWarning, match="Validation .*'stretch', .*'window', scale"):
        Record(windows, None, {"validation_data": whole})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Record(windows, None, {"validation_data": scenes.batches(1, 16, mode="window")})


def test_recipes_hold_it(tmp_path):
    recipe = kg.recipes.get("fast", mode="window", scale=0.5, foreground=0.7)
    recipe.save(tmp_path / "recipe.json")
    assert kg.recipes.Recipe.load(tmp_path / "recipe.json") == recipe
    few = {"generator": "unet", "size": 32, "filters": 2, "adversarial_weight": 0.0}
    built = kg.recipes.build("pix2pix", **few, mode="letterbox")
    assert get_framing(built.generator) == ("letterbox", 1)
    refused("'mode' must be one of", kg.recipes.get, "fast", mode="crop")
    refused("'foreground' goes with mode='window'", kg.recipes.get, "fast", foreground=0.5)
    refused("'scale' goes with", kg.recipes.get, "fast", mode="letterbox", scale=2)
    refused("'foreground' must be", kg.recipes.get, "fast", mode="window", foreground=2)


@pytest.mark.parametrize(
    ("stated", "given", "told"),
    [
        ({"mode": "window"}, {"mode": "window"}, False),
        ({"mode": "window", "scale": 1, "foreground": 0.5}, {"mode": "window"}, False),
        ({"mode": "letterbox"}, {"mode": "letterbox"}, False),
        ({}, {"mode": "window", "scale": 0.5}, False),
        ({"mode": "window"}, {}, True),
        ({"mode": "letterbox"}, {}, True),
        ({"mode": "letterbox"}, {"mode": "window"}, True),
        ({"mode": "window", "scale": 0.5}, {"mode": "window"}, True),
        ({"mode": "window", "foreground": 1}, {"mode": "window"}, True),
    ],
)
def test_batches_that_are_not_those_of_the_recipe_are_a_warning(stated, given, told):
    recipe, network = kg.recipes.get("fast", **stated), keras.Sequential()
    windows = {"scale": 1.0, "foreground": 0.5} if given.get("mode") == "window" else {}
    data = {"mode": "stretch", **windows, **given}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        note_framing(network, data, dataclasses.asdict(recipe))
    assert [str(one.message)[:15] for one in seen] == ["The recipe says"] * told
    assert get_framing(network) == (data["mode"], data.get("scale", 1))

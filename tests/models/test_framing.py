"""A network remembers how images were brought to it in training, wherever it goes."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.models.framing import Framing, framing_of, get_framing, set_framing

OTHERWISE = r"trained on images of mode='{}'.*mode='{}', where objects have another size"


def small(**options):
    return kg.models.unet(size=32, filters=2, levels=2, **options)


def compiled(**options):
    gan = kg.SegmentationGAN(small(**options))
    gan.compile(losses={"dice": 1.0})
    return gan


def write_scenes(folder, count, shape, draw):
    """Write grey noise in which `draw` changes image and mask in place."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        image, mask = rng.normal(110, 12, shape), np.zeros(shape, np.uint8)
        draw(rng, image, mask)
        image = np.clip(image, 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([image] * 3, -1)).save(folder / "images" / f"{index:02}.png")
        Image.fromarray(255 * mask).save(folder / "masks" / f"{index:02}.png")
    return kg.data.load_folder(folder)


def spot(rng, image, mask):
    top, left = rng.integers(0, np.subtract(image.shape, 8))
    image[top : top + 8, left : left + 8] += 60
    mask[top : top + 8, left : left + 8] = 1


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 4, (70, 90), spot)


@pytest.fixture(scope="module")
def trained(scenes):
    """A GAN that was trained on windows at half resolution."""
    gan = compiled()
    gan.fit(scenes.batches(2, 32, mode="window", scale=0.5), epochs=1, verbose=0)
    return gan


def bundle_of(model, folder, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The card of")
        kg.inference.save_bundle(model, folder / "a.zip", **options)
        return kg.inference.load_bundle(folder / "a.zip")


def same_masks(model, other, images, **options):
    ours, theirs = kg.predict(model, images), kg.predict(other, images, **options)
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs))


def test_what_fit_was_given_is_what_is_expected(trained, scenes):
    assert get_framing(trained.generator) == ("window", 0.5)
    copy = small()
    copy.set_weights(trained.generator.get_weights())
    assert same_masks(trained, copy, scenes, mode="window", scale=0.5)
    assert not np.array_equal(
        kg.inference.predict_probability(trained, scenes)[0],
        kg.inference.predict_probability(copy, scenes)[0],
    )
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
    assert bundle.preprocessing == {"size": (32, 32), "mode": "window", "scale": 0.5}
    for model in (again, bundle, bundle.generator):
        assert same_masks(trained, model, scenes)
    with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("window", "stretch")):
        stretched = bundle.predict(scenes, mode="stretch")
    assert stretched[0].shape == (70, 90)
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
    assert same_masks(unaware, unaware.generator, scenes, mode="stretch")


def test_a_bundle_of_another_mode_is_its_authors_word_and_a_warning(trained, scenes, tmp_path):
    with pytest.warns(kg.KerasganWarning, match=OTHERWISE.format("window", "letterbox")):
        bundle = bundle_of(trained, tmp_path, preprocessing={"mode": "letterbox"})
    assert get_framing(bundle.generator).mode == "letterbox"


@pytest.mark.parametrize("asked", ["stretch", "letterbox"])
def test_whole_images_for_a_network_of_windows_are_a_warning(trained, scenes, asked):
    for ask in (
        lambda: kg.predict(trained, scenes, mode=asked),
        lambda: kg.evaluate(trained, scenes, mode=asked, verbose=False),
        lambda: kg.explain.MergedExplainer(trained, "gradient", mode=asked),
        lambda: kg.evaluation.ExplanationBenchmark(trained, scenes, "gradient", mode=asked),
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
    one, other, unknown = small(seed=1), small(seed=2), small(seed=3)
    set_framing(one, "window", 0.5)
    set_framing(other, "window", 1.0)
    refused(
        "'mode' must be given for models that were not trained", kg.predict, [one, other], scenes
    )
    assert framing_of([one, unknown]) == Framing("window", 0.5)
    masks = kg.predict([one, other], scenes[:1], mode="window", scale=1.0)
    assert masks[0].shape == (70, 90)


def test_what_resizes_whole_images_refuses_windows(trained, scenes, tmp_path):
    words = "was trained on windows of images"
    refused(words, kg.inference.export_predictor, trained, tmp_path / "exported")
    many = scenes[[0, 1, 2, 3] * 3]
    refused(words, kg.inference.fit_novelty, trained, many, scenes)
    explainer = kg.Explainer(trained, "epsilon")
    refused(words, kg.explain.most_relevant, explainer, scenes, "down_2")
    refused("trained on windows", kg.evaluation.inpainting_effect, trained, scenes, verbose=False)
    refused("MergedExplainer", explainer.explain, scenes.image(0)[None])
    windows = next(iter(scenes.batches(4, 32, mode="window", scale=0.5)))[0].numpy()
    pixel = kg.targets.Pixel(9, 9)
    assert len(kg.explain.most_relevant(explainer, windows, "down_2", target=pixel).mean)


def test_measures_of_explanations_look_at_windows(trained, scenes):
    benchmark = kg.evaluation.ExplanationBenchmark(trained, scenes, "gradient", controls=False)
    batch = next(iter(benchmark))
    expected = scenes.batches(4, 32, mode="window", scale=0.5, foreground=1.0)
    np.testing.assert_array_equal(batch.images, next(iter(expected))[0])


def test_a_report_shows_whole_images_in_windows(trained, scenes, tmp_path):
    page = kg.report.write(trained, scenes, tmp_path / "report", rules=(), images=1, verbose=False)
    assert "overlapping windows" in page.read_text(encoding="utf-8")


def test_validation_of_another_kind_is_a_warning(scenes):
    gan = compiled()
    with pytest.warns(kg.KerasganWarning, match=r"Validation images .*\('stretch', None\)"):
        gan.fit(
            scenes.batches(2, 32, mode="window"),
            validation_data=scenes.batches(2, 32),
            epochs=1,
            verbose=0,
        )


def test_recipes_hold_it(tmp_path):
    recipe = kg.recipes.get("fast", mode="window", scale=0.5, foreground=0.7)
    recipe.save(tmp_path / "recipe.json")
    assert kg.recipes.Recipe.load(tmp_path / "recipe.json") == recipe
    few = {"size": 32, "filters": 2, "adversarial_weight": 0.0, "mode": "letterbox"}
    assert get_framing(kg.recipes.build("fast", **few).generator) == ("letterbox", 1)
    refused("'mode' must be one of", kg.recipes.get, "fast", mode="crop")
    refused("'foreground' goes with mode='window'", kg.recipes.get, "fast", foreground=0.5)
    refused("'scale' goes with", kg.recipes.get, "fast", mode="letterbox", scale=2)
    refused("'foreground' must be", kg.recipes.get, "fast", mode="window", foreground=2)


def line(rng, image, mask):
    """A bright line, one pixel wide."""
    turn, far = rng.uniform(0, np.pi), rng.uniform(-60, 60)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    away = (rows - 96) * np.sin(turn) + (columns - 96) * np.cos(turn) - far
    image[np.abs(away) < 0.6] += 40
    mask[np.abs(away) < 0.6] = 1


@pytest.mark.slow
def test_thin_lines_are_found_in_windows_and_lost_by_stretching(tmp_path):
    samples = write_scenes(tmp_path / "lines", 24, (192, 192), line)
    train, test = samples[:16], samples[16:]
    dice = {}
    for mode in ("stretch", "window"):
        options = {"size": 32, "filters": 4, "adversarial_weight": 0.0, "seed": 1}
        gan = kg.recipes.build("fast", **options, mode=mode)
        batches = train.batches(8, 32, augment=True, mode=mode)
        gan.fit(batches, epochs=60, verbose=0)
        dice[mode] = kg.evaluate(gan, test, verbose=False)["dice"].mean()
    assert dice["window"] > dice["stretch"] + 0.2, dice

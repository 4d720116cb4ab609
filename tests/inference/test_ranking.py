"""Which images to label next, against scores computed image by image."""

import json

import numpy as np
import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg

rank = kg.inference.rank_images


def network(seed=0):
    return kg.models.unet(size=32, filters=2, levels=1, seed=seed)


@pytest.fixture(scope="module")
def gan():
    recipe = kg.recipes.get("pix2pix", size=32, filters=2, generator="unet", adversarial="vanilla")
    return recipe.build()


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.NEAREST).save(folder / f"f{index}.png")
    return kg.data.load_folder(folder, masks=None)


def images_of(samples):
    return np.stack([samples.image(index) for index in range(len(samples))])


def bits(p):
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def scores_of(table):
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table["score"].is_monotonic_decreasing
    return table.set_index("name")["score"]


def test_entropy_and_disagreement_by_hand(frames):
    networks = [network(seed) for seed in range(3)]
    measure, names = kg.inference.uncertainty_table, list(frames.names)
    each = kg.inference.predict_probability(networks[0], images_of(frames)).astype("float64")
    scores = scores_of(rank(networks[0], frames, by="entropy"))
    np.testing.assert_allclose(scores[names], bits(each).mean((1, 2, 3)), rtol=1e-4)
    for models, augment in ((networks, False), (networks[0], True)):
        table = measure(models, frames, augment=augment).set_index("name")
        scores = scores_of(rank(models, frames))
        np.testing.assert_allclose(scores[names], table["mask_disagreement"], atol=1e-6)


def test_the_discriminator_judges_what_the_generator_draws(frames, gan):
    images = images_of(frames)
    drawn = kg.inference.predict_probability(gan, images)
    verdict = gan.discriminator([images, 2 * drawn - 1], training=False).numpy()
    scores = scores_of(rank(gan, frames, by="discriminator", batch_size=3))
    np.testing.assert_allclose(scores[list(frames.names)], -verdict.mean((1, 2, 3)), rtol=1e-4)


def test_chance_is_the_seeds(frames):
    first, again, other = (rank(None, frames, by="random", seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert first["name"].tolist() != other["name"].tolist()
    assert sorted(first["name"]) == list(frames.names)
    assert rank(None, frames, by="random", count=2).equals(first.head(2))


def test_images_alike_come_last(frames, tmp_path):
    noise = np.random.default_rng(9).integers(-3, 4, (32, 32, 3))
    first = Image.open(frames.image_paths[0])
    again = np.clip(np.asarray(first, int) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(again).save(tmp_path / "frames" / "again.png")
    black = [tmp_path / "frames" / f"black{number}.png" for number in range(2)]
    for path in black:
        Image.new("RGB", (32, 32)).save(path)
    many = kg.data.load_folder(tmp_path / "frames", masks=None)
    table = rank(None, many, by="random")
    like = table.set_index("name")["like"]
    pairs = {frozenset(pair) for pair in like[like != ""].items()}
    assert pairs == {frozenset(("again", "f0")), frozenset(("black0", "black1"))}
    assert set(table["like"].tail(2)) == set(like) - {""}
    assert len(rank(None, many, by="random", count=6)["like"].iloc[-1])
    (tmp_path / "labelled").mkdir()
    first.resize((64, 48)).save(tmp_path / "labelled" / "known.jpg", quality=90)
    table = rank(None, many, by="random", labelled=tmp_path / "labelled")
    assert table.set_index("name")["like"][["f0", "again"]].tolist() == ["known", "known"]
    assert set(table["name"].tail(3)) > {"f0", "again"}


def test_the_same_call_goes_on(frames, tmp_path):
    kept, model = tmp_path / "more" / "scores", network()
    rank(model, frames[:2], by="entropy", resume=kept)
    head, *lines = kept.read_text().splitlines()
    assert len(lines) == 2
    path, size, time, _ = json.loads(lines[0])
    cut = f"{head}\n{json.dumps([path, size, time, 7.0])}\n{lines[1][:-9]}"
    kept.write_text(cut)
    scores = scores_of(rank(model, frames, by="entropy", resume=kept))
    assert scores["f0"] == 7
    expected = scores_of(rank(model, frames, by="entropy"))
    assert scores.drop("f0").equals(expected.drop("f0")[scores.drop("f0").index])
    assert len(kept.read_text().splitlines()) == 5
    same = rank(model, frames[1:], by="entropy", resume=kept)
    assert len(same) == 3
    for other, options in ((network(1), {"by": "entropy"}), (model, {}), (model, {"augment": 0})):
        refused("of another model", rank, other, frames, resume=kept, **options)


def test_somebodys_file_stays(frames, tmp_path):
    for text in ("name,score\na,1\n", '{"kind": 1}\n', ""):
        (tmp_path / "mine").write_text(text)
        refused("something else", rank, network(), frames, resume=tmp_path / "mine")
        assert (tmp_path / "mine").read_text() == text


def test_what_cannot_be_ranked_is_refused(frames, gan):
    model = network()
    refused("'by' must be one of", rank, model, frames, by="doubt")
    refused("'count' must be a whole number", rank, model, frames, count=0)
    refused("'images' must be Samples", rank, model, np.zeros((1, 32, 32, 3)))
    refused("'labelled' must be Samples", rank, model, frames, labelled=3)
    refused("at least one image", rank, model, frames[:0])
    refused("'model' must be a model, for by='entropy'", rank, None, frames, by="entropy")
    refused("one pass agrees with itself", rank, model, frames, augment=False)
    refused("bundles have none. Received: none", rank, model, frames, by="discriminator")
    refused("takes one model", rank, [gan, gan], frames, by="discriminator")
    refused("'options' must be one of", rank, gan, frames, by="discriminator", augment=True)
    untrained = kg.SegmentationGAN(gan.generator, gan.discriminator)
    untrained.compile(losses={"dice": 1.0}, adversarial_weight=0.0)
    refused("one that was not trained", rank, untrained, frames, by="discriminator")
    untrained.recipe = {"adversarial_weight": 1.0, "adversarial": "segan"}
    features = kg.SegmentationGAN(gan.generator, gan.discriminator)
    features.recipe = untrained.recipe
    refused("says how real a mask is", rank, features, frames, by="discriminator")

"""A folder of unlabelled images beside the labelled one, as commands and scripts take it."""

import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.cli import runs

RECIPE = kg.recipes.get("fast", size=32, filters=2, batch_size=2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("scenes"), count=6, size=32)


def copied(samples, folder, suffix):
    """Copies under other names, and in another format."""
    folder.mkdir()
    for index, path in enumerate(samples.image_paths):
        Image.open(path).save(folder / f"frame{index}{suffix}")
    return folder


def test_frames_of_their_own_are_taken_and_the_recipe_learns_from_them(scenes, tmp_path, capsys):
    folder = copied(scenes[:3], tmp_path / "frames", ".bmp")
    recipe, frames = runs.with_unlabelled(RECIPE, folder, scenes[3:])
    known = kg.recipes.get("few-labels")
    assert recipe.unlabelled_losses == known.unlabelled_losses == {"cutmix": 3.0}
    assert recipe.unlabelled_rampup == known.unlabelled_rampup > 0
    assert "The recipe has no unlabelled_losses" in capsys.readouterr().out
    assert frames.mask_paths is None
    assert frames.names == ("frame0", "frame1", "frame2")
    with pytest.warns(kg.KerasganWarning, match="2 of the unlabelled .* left out"):
        assert runs.without(frames, scenes[1:]).names == ("frame0",)
    assert runs.without(frames, scenes[3:]) is frames
    own = kg.recipes.get("fast", unlabelled_losses={"pseudo_labels": 2.0}, batch_size=2)
    assert runs.with_unlabelled(own, folder, scenes[3:])[0] is own
    refused("pass their folder as --unlabelled", runs.with_unlabelled, own, None, scenes)
    assert runs.with_unlabelled(RECIPE, None, scenes) == (RECIPE, None)


def test_images_that_are_reported_on_are_found_by_their_pixels(scenes, tmp_path):
    folder = copied(scenes[:3], tmp_path / "frames", ".tiff")
    refused(
        "1 of its images are among those that are reported on, such as .*frame2.tiff, which is",
        *(runs.with_unlabelled, RECIPE, folder, scenes[2:]),
    )


def test_fewer_images_than_a_batch_are_refused(scenes, tmp_path):
    folder = copied(scenes[:1], tmp_path / "frames", ".png")
    refused("holds 1 images, fewer than a batch of 2", runs.with_unlabelled, RECIPE, folder, scenes)


@pytest.mark.nightly
def test_a_run_learns_from_both(scenes, tmp_path):
    folder = copied(scenes[:2], tmp_path / "frames", ".png")
    recipe, frames = runs.with_unlabelled(RECIPE, folder, scenes[4:])
    (tmp_path / "run").mkdir()
    parts = scenes[2:4], scenes[4:]
    recipe = kg.recipes.Recipe(**{**vars(recipe), "epochs": 1})
    gan, facts = runs.train(recipe, *parts, tmp_path / "run", unlabelled=frames, verbose=0)
    assert facts["images"]["unlabelled"] == 2
    assert "unlabelled_cutmix_loss" in (tmp_path / "run/training.csv").read_text()
    assert gan.fits[0]["unlabelled"]["images"].startswith("2, ")

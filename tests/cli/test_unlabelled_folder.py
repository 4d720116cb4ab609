"""A folder of unlabelled images beside the labelled one, as commands and scripts take it."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.cli import loading, runs
from kerasgan.data.alike import same_images

RECIPE = kg.recipes.get("fast", size=32, filters=2, batch_size=2)


def scene(side=64):
    """A picture whose copies differ from it as those of photos do."""
    small = np.random.default_rng(side).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


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
        "1 of its images are among those that are reported on, such as .*frame2.tiff, which shows",
        *(runs.with_unlabelled, RECIPE, folder, scenes[2:]),
    )


@pytest.mark.parametrize(("suffix", "side"), [(".jpg", 64), (".png", 40)])
def test_copies_in_another_encoding_or_size_are_found(suffix, side, tmp_path):
    folders = tmp_path / "reported", tmp_path / "frames"
    for folder in folders:
        folder.mkdir()
    for index in range(3):
        scene(64 + index).save(folders[0] / f"{index}.png")
        scene(80 + index).save(folders[1] / f"{index}.png")
    scene(65).resize((side, side)).save(folders[1] / f"x{suffix}")
    reported, frames = (kg.data.load_folder(images=folder, masks=None) for folder in folders)
    assert same_images(frames.image_paths, reported.image_paths) == {3: 1}
    with pytest.warns(kg.KerasganWarning, match="1 of the 4 images .* such as x and 1: scores"):
        runs.warn_of_copies(reported, frames)
    refused(
        "frames/x.* shows the same as .*1.png", runs.with_unlabelled, RECIPE, folders[1], reported
    )


def test_scores_on_a_copy_of_the_training_folder_are_warned_of(tmp_path):
    for place, name in (("data/images", ""), ("data/masks", ""), ("copy", "x")):
        (tmp_path / place).mkdir(parents=True)
        for index in range(3):
            scene(64 + index).save(tmp_path / place / f"{name}{index}.png")
    data = {"folder": str(tmp_path / "data"), "test_names": ["2"]}
    (tmp_path / "run.json").write_text(json.dumps({"data": data}))
    copy = kg.data.load_folder(images=tmp_path / "copy", masks=None)
    with pytest.warns(kg.KerasganWarning, match="2 of these 3 images, such as 'x0', show the same"):
        loading.warn_of_known_images(tmp_path, tmp_path / "copy", copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error", kg.KerasganWarning)
        loading.warn_of_known_images(tmp_path, tmp_path / "copy", copy[2:])
        (tmp_path / "data").rename(tmp_path / "gone")
        loading.warn_of_known_images(tmp_path, tmp_path / "copy", copy)


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
    other = dataclasses.replace(recipe, seed=1)
    more = {"unlabelled": frames, "described": {"recipe": {}}, "verbose": 0}
    refused("begun with another value", runs.train, other, *parts, tmp_path / "run", **more)
    assert kg.recipes.Recipe.load(tmp_path / "run/recipe.json") == recipe
    assert not (tmp_path / "run/run.json").exists()

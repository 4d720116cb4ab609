"""What is said of names that do not agree."""

import re

import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.data.pairing import pairing_advice


def write(folder, *names):
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (["img_1", "img_2"], ["mask_1", "mask_2"], "without 'img' in .* images and 'mask' in"),
        (["1_image"], ["1"], "agree without '_image' in names of images: rename"),
        (["c_1_0000", "c_2_0000"], ["c_1", "c_2"], "without '_0000' in names of images"),
        (["A1"], ["a1"], "upper and lower case alone"),
        (["1", "10"], ["001", "010"], "zeros before numbers alone"),
        (["b (1)", "b (1)_mask_1"], ["b (1)"], r"further mask of b \(1\). An image has one mask"),
        (["id/a"], ["id/m1", "id/m2"], "Folder id has several masks of one image"),
        (["train/a"], ["a"], "Folders that are understood are called image"),
        (["a", "b"], ["c", "d"], "^$"),
        ([], ["a"], "^$"),
        (["a"], ["b"], "^$"),
    ],
)
def test_what_makes_names_differ(images, masks, words):
    assert re.search(words, pairing_advice(images, masks))


@pytest.mark.parametrize("folders", [("Original", "Ground Truth"), ("Images_png", "Labels_png")])
def test_folders_that_are_not_understood_are_named_with_the_line_that_reads_them(tmp_path, folders):
    write(tmp_path, *(f"{folder}/{name}" for folder in folders for name in "ab"))
    images, masks = (tmp_path / folder for folder in folders)
    line = f"load_folder(images='{images}', masks='{masks}')"
    with pytest.raises(ValueError, match="understood are called image") as caught:
        load_folder(tmp_path)
    assert line in str(caught.value)
    for name in "ab":
        Image.new("L", (4, 4), 255).save(masks / f"{name}.png")
    assert len(load_folder(images=images, masks=masks)) == 2


def test_three_unknown_folders_leave_open_which_are_meant(tmp_path):
    write(tmp_path, "photos/a", "drawn/a", "other/a")
    refused(r"images='.*\.\.\.', masks='.*\.\.\.'", load_folder, tmp_path)

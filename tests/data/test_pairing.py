"""What is said of names that do not agree."""

import pathlib
import re
import warnings

import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.data.pairing import pairing_advice
from kerasgan.errors import KerasganWarning


def write(folder, *names):
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (["img_1", "img_2"], ["mask_1", "mask_2"], "without 'img' in .* images and 'mask' in"),
        (["1_image"], ["1"], "agree without '_image' .*: rename .*removesuffix"),
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


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["img_1", "img_2"], ["mask_1", "mask_2"]),
        (["x_image", "y_image"], ["x_mask", "y_mask"]),
        (["imagesTr/c_1_0000", "imagesTr/c_2_0000", "imagesTs/c_3_0000"], ["labelsTr/c_1"]),
        (["images/Image 1", "images/Image 2"], ["masks/1", "masks/2"]),
        (["p1/image", "p2/image"], ["p1/label", "p2/label"]),
        (["images/frame007", "images/frame008"], ["masks/mask007", "masks/mask008"]),
    ],
)
def test_marks_of_images_and_masks_are_left_out(tmp_path, images, masks):
    if "labelsTr/c_1" in masks:
        masks = [*masks, "labelsTr/c_2"]
    write(tmp_path, *images, *masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KerasganWarning)  # all masks are empty
        samples = load_folder(tmp_path)
    found = [str(pathlib.Path(path).relative_to(tmp_path)) for path in samples.mask_paths]
    assert found == [f"{name}.png" for name in masks]
    names = [re.sub("^images(Tr)?/", "", name) for name in images[:2]]
    assert samples.names == tuple(names)


@pytest.mark.parametrize("names", [(["1", "2"], ["11", "12"]), (["img_a", "a"], ["a", "mask_a"])])
def test_other_names_are_no_pairs(tmp_path, names):
    for folder, part in zip(("images", "masks"), names):
        write(tmp_path / folder, *part)
    refused("mask of the same name|Two masks", load_folder, tmp_path)


def test_channels_in_files_of_their_own_are_told(tmp_path):
    write(tmp_path, "images/c_0000", "images/c_0001", "masks/c")
    refused("c_0000 and c_0001 are those of channels.*Copy", load_folder, tmp_path)


def test_scans_are_told_how_to_become_pictures(tmp_path):
    for name in ("imagesTr/c_0000.nii.gz", "labelsTr/c.nii.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    line = f"from_nifti('{tmp_path / 'imagesTr'}', 'pictures', masks='{tmp_path / 'labelsTr'}')"
    with pytest.raises(ValueError, match="2 scans") as caught:
        load_folder(tmp_path)
    assert line in str(caught.value)


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


def test_of_two_unknown_folders_either_may_be_meant(tmp_path):
    write(tmp_path, "one/a", "two/a")
    refused(r"images='.*one', masks='.*two'\), or the other way round", load_folder, tmp_path)
    write(tmp_path / "x", "input/a", "target/a")
    refused(r"images='.*input', masks='.*target'\)\. For", load_folder, tmp_path / "x")


def test_three_unknown_folders_leave_open_which_are_meant(tmp_path):
    write(tmp_path, "photos/a", "drawn/a", "other/a")
    refused(r"images='.*\.\.\.', masks='.*\.\.\.'", load_folder, tmp_path)

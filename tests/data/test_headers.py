"""Photos that a camera tagged to be turned, and masks that were drawn before or after."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from refusals import refused

from kerasgan.data import load_folder

SCENE = np.zeros((48, 64, 3), np.uint8)
SCENE[4:20, 6:26] = 230
SQUARE = SCENE[:, :48]


@pytest.fixture
def photo(tmp_path):
    """Write a photo of stored pixels with an orientation, and its mask as drawn."""

    def write(stored, orientation, mask, name="a", ending="jpg", mask_orientation=1):
        tags = [Image.Exif(), Image.Exif()]
        tags[0][274], tags[1][274] = orientation, mask_orientation
        stored, drawn = Image.fromarray(stored), Image.fromarray(stored[..., 0] // 128 * 255)
        for part in ("images", "masks"):
            (tmp_path / part).mkdir(exist_ok=True)
        stored.save(tmp_path / "images" / f"{name}.{ending}", exif=tags[0], **QUALITY[ending])
        if mask == "turned":
            tagged = drawn.copy()
            tagged.getexif()[274] = orientation
            drawn = ImageOps.exif_transpose(tagged)
            drawn = Image.fromarray(np.asarray(drawn))
        drawn.save(tmp_path / "masks" / f"{name}.png", exif=tags[1])
        return tmp_path

    return write


QUALITY = {"jpg": {"quality": 95, "subsampling": 0}, "png": {}, "tif": {}}


def overlap(folder, index=0):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = load_folder(folder)
    bright, mask = samples.image(index)[..., 0] > 0, samples.mask(index) > 0
    return (bright & mask).sum() / (bright | mask).sum()


@pytest.mark.parametrize("ending", QUALITY)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_whose_mask_has_the_same_tag_are_turned_alike(orientation, ending, photo):
    for name, stored in (("a", SQUARE), ("b", SCENE)):
        folder = photo(stored, orientation, "stored", name, ending, orientation)
    assert min(overlap(folder, index) for index in range(2)) > 0.98


@pytest.mark.parametrize("ending", QUALITY)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_tells_that_the_mask_was_drawn_on_the_turned_photo(orientation, ending, photo):
    assert overlap(photo(SCENE, orientation, "turned", ending=ending)) > 0.98


@pytest.mark.parametrize("ending", QUALITY)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_tells_that_the_mask_was_drawn_on_stored_pixels(orientation, ending, photo):
    folder = photo(SCENE, orientation, "stored", ending=ending)
    expected = rf"1 differ: a .*pixels as stored.*EXIF.*a\.{ending} has orientation {orientation}"
    refused(expected, load_folder, folder)


@pytest.mark.parametrize("mask", ["stored", "turned"])
@pytest.mark.parametrize(
    ("stored", "orientation"),
    [(SCENE, 2), (SCENE, 3), (SCENE, 4), *((SQUARE, i) for i in range(2, 9))],
)
def test_where_sizes_do_not_tell_the_user_is_asked(stored, orientation, mask, photo):
    folder = photo(stored, orientation, mask)
    for given in ({"path": folder}, {"images": folder / "images", "masks": folder / "masks"}):
        refused(r"EXIF orientation.*a\.jpg.*exif_transpose.*: a\.", load_folder, **given)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_tag_on_the_mask_alone_is_asked_about_too(orientation, photo):
    folder = photo(SQUARE, 1, "stored", mask_orientation=orientation)
    refused(rf"a\.png has orientation {orientation}", load_folder, folder)


def test_a_folder_follows_those_of_its_photos_that_tell(photo):
    photo(SQUARE, 6, "turned", "a")
    photo(SCENE, 3, "turned", "b")
    photo(SCENE, 1, "turned", "c")
    refused("2 pairs are like this: a, b", load_folder, photo(SCENE, 1, "turned", "d"))
    folder = photo(SCENE, 8, "turned", "e")
    assert min(overlap(folder, index) for index in range(5)) > 0.98
    photo(SCENE, 8, "stored", "f")
    refused("1 differ: f", load_folder, folder)


def test_unlabelled_photos_are_just_turned(photo):
    folder = photo(SCENE, 6, "stored")
    assert load_folder(folder, masks=None).image(0).shape == (64, 48, 3)

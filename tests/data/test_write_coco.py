"""Masks written as COCO are read again as they were, by from_coco and by pycocotools."""

import json

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from scipy import ndimage

import kerasgan as kg
from kerasgan.data.convert import from_coco, to_coco
from kerasgan.data.convert.polygons import trace

coco = pytest.importorskip("pycocotools.mask")
RNG = np.random.default_rng(0)


def blobs(shape, labels=1):
    """Smooth regions with holes, noise, lines and single pixels."""
    mask = np.zeros(shape, np.uint8)
    for label in range(1, labels + 1):
        mask[ndimage.gaussian_filter(RNG.normal(size=shape), 1.5) > 0.1] = label
    mask[: shape[0] // 3] *= RNG.random((shape[0] // 3, shape[1])) > 0.3
    mask[-2], mask[:, -1] = 1, labels
    return mask


def area(outline):
    x, y = outline.T.astype(float)
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_outlines_enclose_the_pixels():
    for _ in range(30):
        part = RNG.random(RNG.integers(1, 9, 2)) > 0.4
        outlines, holes = trace(part)
        filled = ndimage.binary_fill_holes(part, structure=np.ones((3, 3)))
        assert holes == (not np.array_equal(filled, part))
        assert sum(map(area, outlines)) == filled.sum()
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert trace(ring)[1]
    corners = trace(np.eye(2, dtype=bool))[0]
    assert [len(outline) for outline in corners] == [4, 4]


@pytest.fixture
def photos(tmp_path):
    sizes = {"a": (20, 30), "sub/b": (33, 25), "empty": (8, 9), "c": (24, 24)}
    for name, size in sizes.items():
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    return tmp_path / "photos", sizes


@pytest.mark.parametrize("labels", [1, 3])
def test_masks_are_read_again_as_they_were(labels, photos, tmp_path):
    images, sizes = photos
    masks = {name: blobs(size, labels) for name, size in sizes.items()}
    masks["empty"][:] = 0
    names = ["polyp", "tool", "fold"][:labels]
    path = to_coco(masks, images, tmp_path / "new" / "coco.json", categories=names)
    from_coco(path, images, tmp_path / "again", categories=names)
    again = kg.data.load_folder(tmp_path / "again", classes=labels + 1 if labels > 1 else 1)
    assert len(again) == len(masks)
    for i, name in enumerate(again.names):
        np.testing.assert_array_equal(again.mask(i), masks[name])
    content = json.loads(path.read_text())
    assert content["categories"][0] == {"id": 1, "name": "polyp"}
    kinds = {type(one["segmentation"]) for one in content["annotations"]}
    assert kinds == {list, dict}
    empty = next(one["id"] for one in content["images"] if one["file_name"] == "empty.png")
    assert not [one for one in content["annotations"] if one["image_id"] == empty]


def test_pycocotools_draws_the_same(photos, tmp_path):
    """By its own reader, as training programs use it."""
    reader = pytest.importorskip("pycocotools.coco").COCO
    images, sizes = photos
    masks = {name: blobs(size, 2) for name, size in sizes.items()}
    read = reader(to_coco(masks, images, tmp_path / "coco.json", categories=["x", "y"]))
    for image in read.dataset["images"]:
        mask = masks[image["file_name"].rpartition(".")[0]]
        drawn = np.zeros_like(mask)
        for one in read.loadAnns(read.getAnnIds(imgIds=image["id"])):
            part = read.annToMask(one) > 0
            assert one["area"] == part.sum() > 0
            rows, columns = np.nonzero(part)
            left, top, width, height = one["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert not drawn[part].any()
            assert ndimage.label(part, np.ones((3, 3)))[1] == 1
            drawn[part] = one["category_id"]
        np.testing.assert_array_equal(drawn, mask)


@pytest.mark.parametrize("orientation", [3, 6])
def test_photos_with_an_orientation(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    (tmp_path / "turned").mkdir()
    Image.fromarray(pixels).save(tmp_path / "turned" / "t.jpg", exif=exif)
    mask = blobs((30, 20) if orientation == 6 else (20, 30))
    with pytest.warns(kg.KerasganWarning, match="1 images, such as .*EXIF orientation"):
        path = to_coco({"t": mask}, tmp_path / "turned", tmp_path / "coco.json")
    if orientation == 3:
        message = "no size in .* tells whether regions were drawn"
        refused(message, from_coco, path, tmp_path / "turned", tmp_path / "again")
        return
    from_coco(path, tmp_path / "turned", tmp_path / "again")
    np.testing.assert_array_equal(kg.data.load_folder(tmp_path / "again").mask(0), mask)


def test_what_from_coco_wrote_goes_back(photos, tmp_path):
    """Masks in files, and images in a folder of their own."""
    images, sizes = photos
    masks = {name: blobs(size) for name, size in sizes.items()}
    first = to_coco(masks, images, tmp_path / "first.json")
    from_coco(first, images, tmp_path / "set")
    second = to_coco(tmp_path / "set" / "masks", tmp_path / "set", tmp_path / "second.json")
    first, second = (json.loads(path.read_text()) for path in (first, second))
    assert first["annotations"] == second["annotations"]
    assert second["images"][0]["file_name"] == "images/a.png"


def test_a_single_image(photos, tmp_path):
    images, sizes = photos
    mask = blobs(sizes["a"])
    path = to_coco({"a": mask}, images / "a.png", tmp_path / "coco.json")
    from_coco(path, images, tmp_path / "again")
    np.testing.assert_array_equal(kg.data.load_folder(tmp_path / "again").mask(0), mask)


def test_labels_of_two_classes_are_read_from_files(photos, tmp_path):
    """A network of two classes gives labels 0 and 1, one of a foreground black and white."""
    images, sizes = photos
    for name, size in sizes.items():
        for folder, top in (("labels", 1), ("white", 255)):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = np.zeros(size, np.uint8)
            mask[2:5, 3:7] = top
            Image.fromarray(mask).save(path)
    labels, white = (
        to_coco(tmp_path / folder, images, tmp_path / f"{folder}.json").read_text()
        for folder in ("labels", "white")
    )
    assert labels == white
    assert json.loads(labels)["annotations"][0]["area"] == 12


def test_what_does_not_fit_is_refused_by_name(photos, tmp_path):
    images, sizes = photos
    masks = {name: np.zeros(size, bool) for name, size in sizes.items()}
    out = tmp_path / "coco.json"
    for wrong, options, message in (
        ({"a": masks["a"]}, {}, "3 without mask: c, empty, sub/b"),
        ({**masks, "d": masks["a"]}, {}, "1 masks without image: d"),
        ({**masks, "a": masks["a"].T}, {}, "'a' must have the size .*20 x 30.*30 x 20"),
        ({**masks, "a": masks["a"] + 2}, {}, "'a' must be .*0 to 1.*2 to 2"),
        (masks, {"categories": []}, "'categories' must be a list of different names"),
        (masks, {"categories": ["a", "a"]}, "'categories' must be a list of different names"),
        (masks, {"categories": "polyp"}, "'categories' must be a list of different names"),
    ):
        refused(message, to_coco, wrong, images, out, **options)
    refused(r"must end in \.json", to_coco, masks, images, tmp_path / "coco")
    assert not out.exists()
    out.write_text("mine")
    refused("already holds .*Nothing is overwritten", to_coco, masks, images, out)
    assert out.read_text() == "mine"

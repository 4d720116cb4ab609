import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import kerasgan as kg
from kerasgan.data.convert import from_coco
from kerasgan.errors import KerasganError

coco = pytest.importorskip("pycocotools.mask")
H, W = 20, 30
RNG = np.random.default_rng(0)


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


@pytest.fixture
def make(tmp_path):
    """Write two images and a COCO file; return what `from_coco` takes."""

    def write(*annotations, names=("a.png", "sub/b.jpg"), **changes):
        images = []
        for i, name in enumerate(names):
            path = tmp_path / "frames" / name
            if ".." not in name and not name.startswith("/") and "\\" not in name:
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = RNG.integers(0, 256, (H, W, 3)).astype(np.uint8)
                Image.fromarray(noise).save(path)
            images.append({"id": i + 1, "file_name": name, "height": H, "width": W})
        content = {
            "images": images,
            "categories": [{"id": 3, "name": "polyp"}, {"id": 9, "name": "tool"}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 3, **one}
                for i, one in enumerate(annotations)
            ],
            **changes,
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        return tmp_path / "coco.json", tmp_path / "frames", tmp_path / "out"

    return write


def mask(out, name="a"):
    return np.asarray(Image.open(out / "masks" / f"{name}.png"))


def test_polygons_are_drawn_and_images_copied(make, tmp_path):
    """A polygon with corners between pixels covers the pixels inside; holes come as runs."""
    where = make({"segmentation": [box(2, 3, 12, 8), box(20, 10, 25, 15)]})
    table = from_coco(*where)
    expected = np.zeros((H, W), np.uint8)
    expected[3:8, 2:12] = expected[10:15, 20:25] = 255
    np.testing.assert_array_equal(mask(where[2]), expected)
    assert not mask(where[2], "sub/b").any()
    for name in ("a.png", "sub/b.jpg"):
        copied = (where[2] / "images" / name).read_bytes()
        assert copied == (tmp_path / "frames" / name).read_bytes()
    assert table["annotations"].tolist() == [1, 0]
    assert kg.data.load_folder(where[2]).mask(0).sum() == 75


def test_an_oblique_polygon_agrees_with_another_program(make):
    corners = [(3.5, 2.5), (26.5, 6.5), (20.5, 17.5), (8.5, 15.5)]
    where = make({"segmentation": [[value for corner in corners for value in corner]]})
    from_coco(*where)
    drawn = Image.new("L", (W * 16, H * 16))
    ImageDraw.Draw(drawn).polygon([(16 * x, 16 * y) for x, y in corners], fill=255)
    share = np.asarray(drawn, float).reshape(H, 16, W, 16).mean((1, 3)) / 255
    ours = mask(where[2]) > 0
    assert ours[share > 0.95].all()
    assert not ours[share < 0.05].any()


def test_categories_become_labels_and_the_smaller_lies_on_top(make):
    small = {"segmentation": [box(4, 4, 8, 8)], "category_id": 9}
    large = {"segmentation": [box(2, 2, 20, 15)]}
    for order in ([small, large], [large, small]):
        where = make(*order)
        out = where[2].with_name(f"out{order[0] is small}")
        from_coco(*where[:2], out, categories=["tool", "polyp"])
        expected = np.zeros((H, W), np.uint8)
        expected[2:15, 2:20] = 2
        expected[4:8, 4:8] = 1
        np.testing.assert_array_equal(mask(out), expected)
        assert kg.data.load_folder(out, classes=3).mask(0).max() == 2
    from_coco(*where[:2], where[2], categories=["tool"])
    assert (mask(where[2]) == 255).sum() == 16
    assert set(np.unique(mask(where[2]))) == {0, 255}


def test_of_equal_size_the_later_lies_on_top(make):
    where = make(
        {"segmentation": [box(4, 4, 8, 8)], "category_id": 9},
        {"segmentation": [box(6, 4, 10, 8)]},
    )
    from_coco(*where, categories=["polyp", "tool"])
    assert mask(where[2])[5].tolist() == [0] * 4 + [2] * 2 + [1] * 4 + [0] * 20


@pytest.mark.parametrize("packed", [True, False])
def test_run_lengths_are_read_to_the_pixel(packed, make):
    region = RNG.random((H, W)) > 0.6
    region[:, 10:20] = True
    if packed:
        counts = coco.encode(np.asfortranarray(region.astype(np.uint8)))["counts"].decode()
    else:
        changes = np.flatnonzero(np.diff(region.T.ravel().astype(int))) + 1
        edges = np.concatenate([[0], changes, [H * W]])
        counts = ([0] if region[0, 0] else []) + np.diff(edges).tolist()
    where = make({"segmentation": {"size": [H, W], "counts": counts}, "iscrowd": 1})
    from_coco(*where)
    np.testing.assert_array_equal(mask(where[2]) > 0, region)


def test_parts_outside_are_cut_off(make):
    where = make({"segmentation": [box(-5, 15, 10, 25)]})
    from_coco(*where)
    expected = np.zeros((H, W), bool)
    expected[15:, :10] = True
    np.testing.assert_array_equal(mask(where[2]) > 0, expected)


@pytest.mark.parametrize(
    ("annotation", "match"),
    [
        ({"image_id": 77, "segmentation": [box(1, 1, 5, 5)]}, "annotation 0 names image 77"),
        ({"category_id": 5, "segmentation": [box(1, 1, 5, 5)]}, "names category 5.*not listed"),
        ({"segmentation": [box(31, 1, 40, 5)]}, "outside the image of 20 x 30.*resized"),
        ({"segmentation": [box(1, 1, 5000, 5)]}, "outside the image of 20 x 30"),
        ({"segmentation": [box(1, 1, 1e300, 5)]}, "outside the image"),
        ({"segmentation": [[1, 1, 5, 5]]}, "must have polygons"),
        ({"segmentation": [[1, 1, 5, 5, 3]]}, "must have polygons"),
        ({"segmentation": [[1, 1, 5, 5, 3, float("nan")]]}, "must have polygons"),
        ({"segmentation": ["polygon"]}, "must have polygons"),
        ({"segmentation": []}, "only a box"),
        ({}, "only a box"),
        ({"segmentation": {"size": [H, W], "counts": [5, 5]}}, "10 pixels, the image 600"),
        ({"segmentation": {"size": [H, W], "counts": [-5, 605]}}, "must have run lengths"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, r"run lengths of size \[20, 30\]"),
        ({"segmentation": {"size": [H, W], "counts": "oooooooooooooooo"}}, "must have run lengths"),
        ({"segmentation": {"size": [H, W], "counts": "\x00é"}}, "must have run lengths"),
        ({"segmentation": {"size": [H, W], "counts": "11"}}, "2 pixels"),
    ],
)
def test_unfit_annotations_are_refused(annotation, match, make):
    where = make(annotation)
    with pytest.raises(KerasganError, match=match) as caught:
        from_coco(*where)
    assert "coco.json" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../x.png", "/etc/x.png", "..\\x.png", "C:\\x.png", "C:x.png", "\\\\host\\x.png"]
)
def test_file_names_do_not_leave_the_folder(name, make, tmp_path):
    where = make(names=("a.png", name))
    Image.new("L", (W, H)).save(tmp_path.parent / "x.png")
    with pytest.raises(KerasganError, match=r"outside the folder.*is not opened"):
        from_coco(*where)
    assert not where[2].exists()


def test_unfit_files_are_refused(make, tmp_path):
    where = make()
    Image.new("L", (5, 5)).save(tmp_path / "frames" / "a.png")
    with pytest.raises(KerasganError, match=r"a\.png must have the size.*20 x 30.*5 x 5"):
        from_coco(*where)
    (tmp_path / "frames" / "a.png").unlink()
    with pytest.raises(KerasganError, match=r"'a\.png'"):
        from_coco(*where)
    for content in ("{", "[]", '{"images": []}', '{"images": [{"id": 1}]}', '{"images": [[1]]}'):
        where[0].write_text(content)
        with pytest.raises(KerasganError, match=r"coco\.json"):
            from_coco(*where)


def test_categories_are_checked(make):
    where = make()
    with pytest.raises(KerasganError, match="Did you mean 'polyp'"):
        from_coco(*where, categories=["polip"])
    for wrong in ("polyp", [], ["polyp", "polyp"], 3, [["polyp"]]):
        with pytest.raises(KerasganError, match="'categories' must list"):
            from_coco(*where, categories=wrong)


def test_two_images_of_one_id_or_name_are_refused(make):
    images = [{"id": 1, "file_name": "a.png", "height": H, "width": W}] * 2
    with pytest.raises(KerasganError, match="two images of id 1"):
        from_coco(*make(images=images))
    images = [images[0], {**images[0], "id": 2}]
    with pytest.raises(KerasganError, match="the name 'a'"):
        from_coco(*make(images=images))

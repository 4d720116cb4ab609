import json
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from refusals import refused

import kerasgan as kg
from kerasgan.data.convert import from_coco
from kerasgan.errors import KerasganError, KerasganWarning

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
    with pytest.warns(KerasganWarning, match="2 categories, 'polyp', 'tool', which become one"):
        from_coco(*where[:2], where[2].with_name("merged"))
    assert (mask(where[2].with_name("merged")) == 255).sum() == 13 * 18
    from_coco(*where[:2], where[2], categories=["tool"])
    assert (mask(where[2]) == 255).sum() == 16
    assert set(np.unique(mask(where[2]))) == {0, 255}


def test_of_equal_size_the_later_lies_on_top(make):
    where = make(
        {"segmentation": [box(4, 4, 8, 8)], "category_id": 9}, {"segmentation": [box(6, 4, 10, 8)]}
    )
    with pytest.warns(KerasganWarning, match="cross in 1 images, by 8 pixels.* in a"):
        table = from_coco(*where, categories=["polyp", "tool"])
    assert table["contested"].tolist() == [8, 0]
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
    refused(r"outside the folder.*is not opened", from_coco, *where)
    assert not where[2].exists()


@pytest.mark.parametrize(
    "sides",
    [{}, {"height": None, "width": None}, {"height": 0, "width": 0}]
    + [{"height": number(H), "width": number(W)} for number in (float, str)],
)
def test_sizes_as_other_programs_write_them(sides, make, tmp_path):
    images = [{"id": 1, "file_name": "a.png", **sides}]
    where = make({"segmentation": [box(4, 4, 8, 8)]}, images=images)
    from_coco(*where)
    assert (mask(where[2]) > 0).sum() == 16
    tag = Image.Exif()
    tag[274] = 6
    Image.new("RGB", (W, H)).save(tmp_path / "frames" / "a.png", exif=tag)
    if not any(sides.values()):
        refused("does not say which height", from_coco, *where[:2], tmp_path / "turned")


def test_names_as_they_stand_in_addresses(make, tmp_path):
    images = [{"id": 1, "file_name": "sub/a%20b.png", "height": H, "width": W}]
    where = make(names=("sub/a b.png",), images=images)
    assert from_coco(*where)["source"].tolist() == [str(where[1] / "sub" / "a b.png")]
    images[0]["file_name"] = "sub/a%20b.PNG"
    (where[1] / "sub" / "a b.png").rename(where[1] / "sub" / "a c.png")
    refused("Did you mean 'sub/a c.png'", from_coco, *make(names=(), images=images))
    images[0]["file_name"] = "%2e%2e/a.png"
    refused("outside the folder", from_coco, *make(names=(), images=images))


def test_unfit_files_are_refused(make, tmp_path):
    where = make()
    Image.new("L", (5, 5)).save(tmp_path / "frames" / "a.png")
    refused(r"a\.png must have the size.*20 x 30.*5 x 5", from_coco, *where)
    (tmp_path / "frames" / "a.png").unlink()
    refused(r"'a\.png'", from_coco, *where)
    for content in ("{", "[]", '{"images": []}', '{"images": [{"id": 1}]}', '{"images": [[1]]}'):
        where[0].write_text(content)
        refused(r"coco\.json", from_coco, *where)


def test_categories_are_checked(make):
    where = make()
    refused("Did you mean 'polyp'", from_coco, *where, categories=["polip"])
    for wrong in ("polyp", [], ["polyp", "polyp"], 3, [["polyp"]]):
        refused("'categories' must list", from_coco, *where, categories=wrong)


def test_two_images_of_one_id_or_name_are_refused(make):
    images = [{"id": 1, "file_name": "a.png", "height": H, "width": W}] * 2
    refused("two images of id 1", from_coco, *make(images=images))
    categories = [{"id": 3, "name": "polyp"}, {"id": 3, "name": "tool"}]
    refused("two categories of id 3", from_coco, *make(categories=categories))
    images = [images[0], {**images[0], "id": 2}]
    refused("the name 'a'", from_coco, *make(images=images))


def test_one_region_of_two_categories_is_told(make):
    region = {"segmentation": [box(4, 4, 8, 8)]}
    where = make(region, {**region, "category_id": 9}, {**region, "image_id": 2})
    with pytest.warns(KerasganWarning, match="cross in 1 images, by 16 pixels"):
        from_coco(*where, categories=["polyp", "tool"])
    from_coco(*where[:2], where[2].with_name("one"), categories=["polyp"])
    with pytest.warns(KerasganWarning, match="2 categories"):
        from_coco(*where[:2], where[2].with_name("all"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_and_json_as_other_programs_write_them(form, encoding, make):
    """Macs write names in another Unicode form than others, Windows programs a byte order mark."""
    names = [unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Café/å.png"), "b.png"]
    where = make({"segmentation": [box(4, 4, 8, 8)]}, names=names)
    listed = unicodedata.normalize(form, "Café\\å.png")
    text = json.dumps(
        {**json.loads(where[0].read_text()), "images": [
            {"id": 1, "file_name": listed, "height": H, "width": W},
            {"id": 2, "file_name": "./b.png", "height": H, "width": W},
        ]},
        ensure_ascii=False,
    )  # fmt: skip
    where[0].write_bytes(text.encode(encoding))
    from_coco(*where)
    samples = kg.data.load_folder(where[2])
    assert samples.names == ("Café/å", "b")
    assert [int(samples.mask(i).sum()) for i in range(2)] == [16, 0]


def test_another_encoding_is_named(make):
    where = make()
    where[0].write_bytes(where[0].read_text().replace("polyp", "Polype \xe9").encode("latin-1"))
    refused(r"coco\.json cannot be read.*Save it as UTF-8", from_coco, *where)


SCENE = np.full((H, W, 3), 20, np.uint8)
SCENE[4:12, 3:20] = 240


def photos(make, shapes, orientation, drawn, ending="jpg"):
    """A COCO file of photos with an orientation, their regions drawn as turned or as stored."""
    names = [f"{i}.{ending}" for i in range(len(shapes))]
    where = make(names=names)
    content = json.loads(where[0].read_text())
    tag = Image.Exif()
    tag[274] = orientation
    for number, (name, (height, width)) in enumerate(zip(names, shapes), 1):
        picture = Image.fromarray(np.ascontiguousarray(SCENE[:height, :width]))
        options = {"quality": 95, "subsampling": 0} if ending == "jpg" else {}
        picture.save(where[1] / name, exif=tag, **options)
        shown = np.asarray(picture)
        if drawn == "turned":
            with Image.open(where[1] / name) as saved:
                shown = np.asarray(ImageOps.exif_transpose(saved))
        rows, columns = np.nonzero(shown[..., 0] > 128)
        region = [box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
        region = np.array(region).tolist()
        content["images"][number - 1] |= {"height": shown.shape[0], "width": shown.shape[1]}
        content["annotations"].append(
            {"id": number, "image_id": number, "category_id": 3, "segmentation": region}
        )
    where[0].write_text(json.dumps(content))
    return where


def overlaps(out):
    samples = kg.data.load_folder(out)
    for index in range(len(samples)):
        bright, drawn = samples.image(index)[..., 0] > 0, samples.mask(index) > 0
        yield (bright & drawn).sum() / (bright | drawn).sum()


@pytest.mark.parametrize("drawn", ["turned", "stored"])
@pytest.mark.parametrize(
    ("orientation", "ending"), [*((n, "jpg") for n in range(1, 9)), (6, "png"), (3, "tif")]
)
def test_regions_lie_on_photos_that_a_tag_turns(orientation, drawn, ending, make):
    """The sizes in the file tell where the turn exchanges height and width."""
    where = photos(make, [(20, 30), (20, 20)], orientation, drawn, ending)
    if 2 <= orientation <= 4:
        refused(r"0\.\w+ has EXIF orientation.*exif_transpose", from_coco, *where)
    else:
        from_coco(*where)
        assert min(overlaps(where[2])) > 0.98


@pytest.mark.parametrize("orientation", [3, 6])
def test_square_photos_that_a_tag_turns_are_asked_about(orientation, make):
    where = photos(make, [(20, 20)], orientation, "turned")
    refused(r"0\.jpg has EXIF orientation.*exif_transpose", from_coco, *where)


def test_a_turned_photo_of_sixteen_bits_keeps_them(make):
    where = photos(make, [(20, 30)], 6, "turned", "png")
    tag = Image.Exif()
    tag[274] = 6
    deep = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(where[1] / "0.png", exif=tag)
    from_coco(*where)
    np.testing.assert_array_equal(Image.open(where[2] / "images" / "0.png"), np.rot90(deep, -1))


def test_coordinates_that_are_shares_of_the_image_are_refused(make):
    where = make({"segmentation": [box(0.1, 0.2, 0.8, 1)]})
    refused(rf"from 0\.1 to 1, .* multiply x by the width .* {W} and {H}", from_coco, *where)

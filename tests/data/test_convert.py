"""What all conversions share, and pictures of many bits."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.data import convert
from kerasgan.data.convert.output import Picture, safe_name, write_folder
from kerasgan.data.convert.sources import label_mask
from kerasgan.errors import KerasganError

RNG = np.random.default_rng(0)


def source(*names, fail_at=None, calls=None):
    def pictures():
        for name in names:
            if calls is not None:
                calls.append(name)
            if name == fail_at:
                raise KeyboardInterrupt
            pixels = np.full((4, 6), len(name), np.uint8)
            yield Picture(name, pixels, pixels * 0, {"source": name})

    return pictures


def tree(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "hostile",
    ["../../etc/passwd", "a/b", "a\\b", ".hidden", "__x", "masks", "Images", "x_mask", "con", "",
     "..", "<script>", "a" * 300, "x\0y", "\udc80", "=1+1", "trailing."],
)  # fmt: skip
def test_hostile_names_become_plain_ones(hostile, tmp_path):
    name = safe_name(hostile, "0001")
    folder, _, last = name.partition("/")
    assert last == "0001"
    write_folder(tmp_path / "out", {}, [("s", source(name))])
    assert tree(tmp_path / "out" / "images") == {f"{folder}/0001.png"}
    assert kg.data.load_folder(tmp_path / "out").names == (name,)
    assert safe_name(hostile + "'", "0001") != name


def test_plain_names_stay():
    assert safe_name("P-01", "café_1.2", "手術") == "P-01/café_1.2/手術"


def test_a_stopped_conversion_goes_on_and_ends_as_one_in_one_go(tmp_path):
    calls = []
    sources = [("one", source("a/1", "a/2")), ("two", source("b/1", "b/2"))]
    broken = [sources[0], ("two", source("b/1", "b/2", fail_at="b/2"))]
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", {"window": (1, 2)}, broken)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    with open(tmp_path / "out" / ".conversion.jsonl", "a") as file:
        file.write('{"source": "two", "ro')  # cut off while it was written
    sources = [(key, lambda key=key, make=make: _noted(key, make, calls)) for key, make in sources]
    table = write_folder(tmp_path / "out", {"window": (1, 2)}, sources)
    whole = write_folder(tmp_path / "whole", {"window": (1, 2)}, sources[:1] + sources[1:])
    assert calls == ["two", "one", "two"]
    pd.testing.assert_frame_equal(table, whole)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    for name in tree(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _noted(key, make, calls):
    calls.append(key)
    return make()


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(KerasganError, match=r"new or an empty folder.*'mine\.txt'"):
        write_folder(tmp_path / "out", {}, [("s", source("a"))])
    assert tree(tmp_path / "out") == {"mine.txt"}
    refused("a file", write_folder, tmp_path / "out" / "mine.txt", {}, [("s", source("a"))])
    write_folder(tmp_path / "done", {"window": 1}, [("s", source("a"))])
    with pytest.raises(KerasganError, match=r"other settings \(window\)"):
        write_folder(tmp_path / "done", {"window": 2}, [("s", source("a"))])
    refused("'out' must be a folder", write_folder, None, {}, [])


@pytest.mark.parametrize("names", [("a/1", "a/1"), ("a/1", "A/1")])
def test_two_pictures_of_one_name_are_refused(names, tmp_path):
    first, second = names
    with pytest.raises(KerasganError, match="of x and of y"):
        write_folder(tmp_path, {}, [("x", source(first)), ("y", source(second))])


def test_labels_outside_the_classes_are_refused():
    labels = np.array([[0, 1], [2, 7]])
    assert label_mask(labels, 1, "m").tolist() == [[0, 255], [255, 255]]
    refused(r"Mask m\.nii must hold 0 to 2.*: 7", label_mask, labels, 3, "m.nii")
    refused(r"0\.5", label_mask, labels / 2, 1, "m.nii")
    refused("1 values that are NaN", label_mask, np.array([0.0, np.nan]), 1, "m.nii")


@pytest.mark.parametrize(
    ("function", "module", "extra"),
    [("from_dicom", "pydicom", "dicom"), ("from_nifti", "nibabel", "nifti"),
     ("from_coco", "pycocotools.mask", "coco"), ("from_video", "av", "video")],
)  # fmt: skip
def test_a_missing_library_is_named_with_its_extra(function, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    arguments = ("x", "y") if function == "from_coco" else ("x",)
    refused(rf"pip install -e '\.\[{extra}\]'", getattr(convert, function), *arguments, "out")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("x.png", np.uint16), ("x.tif", np.uint16), ("x.tiff", np.int32), ("x.tif", np.float32)],
)
def test_dark_pictures_keep_their_depth(name, dtype, tmp_path):
    values = RNG.integers(0, 4096, (9, 11)).astype(dtype)
    (tmp_path / "in" / "p1").mkdir(parents=True)
    Image.fromarray(values).save(tmp_path / "in" / "p1" / name)
    out = tmp_path / "out"
    table = convert.from_pictures(tmp_path / "in", out, low=0, high=4095)
    assert table["name"].tolist() == ["p1/x"]
    written = np.asarray(Image.open(out / "images" / "p1" / "x.png"))
    np.testing.assert_array_equal(np.rint(written / 65535 * 4095), values)
    samples = kg.data.load_folder(out, masks=None)
    seen = (samples.image(0)[..., 0] + 1) / 2
    np.testing.assert_allclose(seen, values / 4095, atol=1 / 255)
    assert json.loads((out / ".conversion.jsonl").read_text().splitlines()[0])["high"] == 4095


def test_the_share_beyond_the_range_is_reported(save, tmp_path):
    save("in/x.png", np.array([[0, 10, 20, 30]], np.uint16))
    table = convert.from_pictures(tmp_path / "in", tmp_path / "out", low=5, high=15)
    assert table[["below", "above"]].values.tolist() == [[0.25, 0.5]]
    assert pd.read_csv(tmp_path / "out" / "manifest.csv")["above"].tolist() == [0.5]


def test_pictures_that_cannot_be_stretched_are_refused(save, tmp_path):
    save("in/x.png", (4, 4, 3))
    with pytest.raises(KerasganError, match=r"x\.png must be grey"):
        convert.from_pictures(tmp_path / "in", tmp_path / "out", low=0, high=1)
    bad = tmp_path / "bad.tif"
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(bad)
    refused(r"bad\.tif has 4 values", convert.from_pictures, bad, tmp_path / "other", low=0, high=1)
    bad.write_bytes(b"not a picture")
    with pytest.raises(KerasganError, match=r"bad\.tif cannot be read"):
        convert.from_pictures(bad, tmp_path / "other", low=0, high=1)
    with pytest.raises(KerasganError, match="must lie outside"):
        convert.from_pictures(tmp_path / "in", tmp_path / "in" / "out", low=0, high=1)
    for low, high in ((1, 1), (2, 1), (np.nan, 1), ([0], 1)):
        with pytest.raises(KerasganError, match=r"'low' must be (below 'high'|a finite number)"):
            convert.from_pictures(tmp_path / "in", tmp_path / "out", low=low, high=high)

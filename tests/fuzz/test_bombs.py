"""Small files that would fill the memory are refused by what they say of their size."""

import functools
import io
import resource
import time
import zlib

import fuzz_files as files
import numpy as np
import pytest

import kerasgan as kg
from kerasgan.data import convert
from kerasgan.data.convert import sources
from kerasgan.data.files import read_header, read_image
from kerasgan.data.masks import read_mask
from kerasgan.errors import KerasganError

SIDE = 60_000


def refused(call, message):
    """At once, and before much memory is taken."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(KerasganError, match=message):
        call()
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg", "tiff", "gif"])
def test_pictures(tmp_path, kind):
    path = str(tmp_path / f"x.{kind}")
    (tmp_path / f"x.{kind}").write_bytes(files.huge(kind, SIDE))
    message = "cannot be read as" if kind == "gif" else "more than 67108864 pixels"
    for read in (
        read_header,
        functools.partial(read_image, channels=3),
        functools.partial(read_mask, classes=3),
    ):
        refused(lambda read=read: read(path), message)
    if kind != "gif":
        refused(lambda: kg.data.load_folder(tmp_path, masks=None), message)
        out = tmp_path / "out"
        refused(lambda: convert.from_pictures([path], out, low=0, high=1), message)


def test_text_that_swells_within_a_picture(tmp_path):
    whole = files.encoded(files.PIXELS, "PNG")
    packed = b"zTXtx\0\0" + zlib.compress(bytes(200 * 2**20))
    length = (len(packed) - 4).to_bytes(4, "big")
    chunk = length + packed + zlib.crc32(packed).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(whole[:33] + chunk + whole[33:])
    refused(lambda: read_image(str(tmp_path / "x.png"), 3), r"x\.png cannot be read")


def test_films(tmp_path):
    pytest.importorskip("av")
    content, size = files.films()[0], np.array([SIDE, SIDE], ">u2").tobytes()
    first = content.index(b"\xff\xc0")
    content = content.replace(content[first + 5 : first + 9], size)
    (tmp_path / "x.avi").write_bytes(content)
    refused(lambda: convert.from_video(tmp_path / "x.avi", tmp_path / "out", every=1), "x.avi")


def test_dicom(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(io.BytesIO(files.dicoms()["images"][0]))
    for fields in ({"Rows": SIDE, "Columns": SIDE}, {"NumberOfFrames": 2**27}):
        for name, value in fields.items():
            setattr(dataset, name, value)
        dataset.save_as(tmp_path / "x.dcm")
        call = functools.partial(convert.from_dicom, tmp_path / "x.dcm", out=tmp_path / "out")
        refused(call, "is not decoded")
        dataset.Rows = dataset.Columns = 8
    (tmp_path / "x.dcm").write_bytes(files.dicoms()["images"][3])
    call(out=tmp_path / "small")
    monkeypatch.setattr(sources, "MAX_VALUES", 200)
    refused(call, r"is packed and takes more than 200 bytes")


def test_nifti(tmp_path):
    pytest.importorskip("nibabel")
    content = bytearray(files.volumes()[0])
    content[42:48] = np.array([30_000, 30_000, 30_000], "<i2").tobytes()
    (tmp_path / "x.nii").write_bytes(content)
    refused(lambda: convert.from_nifti(tmp_path / "x.nii", tmp_path / "out"), "is not decoded")


def test_many_regions_on_one_image_do_not_fill_the_memory(tmp_path):
    pytest.importorskip("pycocotools")
    import json

    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("L", (1000, 1000)).save(tmp_path / "images" / "a.png")
    regions = [[[x, 0, x + 9, 0, x + 9, 9]] for x in range(600)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 1000, "width": 1000}],
        "categories": [{"id": 7, "name": "polyp"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 7, "segmentation": region}
            for i, region in enumerate(regions)
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert.from_coco(tmp_path / "coco.json", tmp_path / "images", tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024

"""Hostile images, masks, folders, lists of names, recipes and files of other formats."""

import contextlib
import functools
import io
import json
import os
import struct
import warnings
import zlib

import numpy as np
import pandas as pd
from fuzz_place import broken, broken_json, whole_files
from hypothesis import strategies as st
from PIL import Image

import kerasgan as kg
from kerasgan.data import convert
from kerasgan.data.files import IMAGE_SUFFIXES, read_header, read_image
from kerasgan.data.masks import read_mask

H, W = 6, 8
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (H, W, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 3, (H, W)).astype(np.uint8)


def encoded(array, kind, mode=None, **options):
    buffer = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


@functools.lru_cache
def pictures():
    turned = Image.Exif()
    turned[0x0112] = 6
    more = [Image.fromarray(255 - PIXELS)]
    deep = LABELS.astype(np.uint16) * 30000
    return (
        *(encoded(PIXELS, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "GIF")),
        *(encoded(PIXELS, "PNG", mode) for mode in ("RGBA", "P", "LA", "1")),
        *(encoded(PIXELS, "TIFF", compression=x) for x in ("tiff_lzw", "tiff_deflate", "jpeg")),
        encoded(PIXELS, "JPEG", "CMYK"),
        encoded(PIXELS, "JPEG", progressive=True, exif=turned),
        encoded(deep, "PNG"),
        encoded(deep, "TIFF"),
        encoded(LABELS, "PNG"),
        encoded(LABELS * 127, "BMP"),
        encoded(PIXELS, "TIFF", save_all=True, append_images=more),
        encoded(PIXELS, "PNG", save_all=True, append_images=more),
        encoded(PIXELS.astype(np.float32)[..., 0], "TIFF"),
        b"",
    )


def with_sums(content):
    """A PNG whose chunks bear the right checksum again, so that what was broken is looked at."""
    if content[:4] != b"\x89PNG":
        return content
    at, whole = 8, bytearray(content)
    while at + 12 <= len(whole):
        end = at + 8 + int.from_bytes(whole[at : at + 4], "big")
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = zlib.crc32(whole[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(whole)


def check_picture(place, case):
    content, ending, summed = case
    path = str(place.put(f"x{ending}", with_sums(content) if summed else content))
    header = place.run(lambda: read_header(path))
    for channels in (1, 3):
        image = place.run(lambda channels=channels: read_image(path, channels))
        if image is not None:
            assert image.dtype == np.uint8
            assert image.shape == (header.height, header.width, channels)
            assert image.size
    for classes, colors in ((1, None), (3, None), (2, ((0, 0, 0), (255, 255, 255)))):
        mask = place.run(lambda: read_mask(path, classes, colors))  # noqa: B023
        if mask is not None:
            assert mask.shape == header[:2]
            assert mask.max() < max(classes, 2)


picture_cases = st.deferred(
    lambda: st.tuples(broken(pictures()), st.sampled_from(IMAGE_SUFFIXES), st.booleans())
)

# --- Folders and lists ---

NAMES = ("a", "b_mask", "=1+1", "x\ny", "\udcff", "é" * 40, ".hidden", "images", "masks", " ", "A")
folder_cases = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(("", "images/", "masks/", "case/images/", "loop/")),
            st.sampled_from(NAMES),
            st.sampled_from((*IMAGE_SUFFIXES, ".txt", "")),
            st.sampled_from(("picture", "label", "broken", "folder", "link", "away")),
        ),
        max_size=8,
    ),
    st.sampled_from((1, 3, 0, "3")),
    st.none() | st.lists(st.integers(-1, 256) | st.tuples(st.integers(0, 255)), max_size=3),
)


def check_folder(place, case):
    entries, classes, colors = case
    contents = {"picture": pictures()[0], "label": pictures()[-6], "broken": b"\x89PNG"}
    for folder, name, ending, kind in entries:
        path = place.given / f"{folder}{name}{ending}"
        with contextlib.suppress(OSError):  # a file is where the folder should be
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind in ("link", "away"):
                path.symlink_to(place.given if kind == "link" else place.root / "nowhere")
            else:
                path.write_bytes(contents[kind])
    for masks in (..., None):
        kept = {} if masks is ... else {"masks": None}
        options = {"classes": classes, "colors": colors, **kept}
        samples = place.run(lambda: kg.data.load_folder(place.given, **options))  # noqa: B023
        if samples is None:
            continue
        assert all(os.path.isfile(path) for path in samples.image_paths)
        table = pd.DataFrame({"name": samples.names})
        place.run(lambda: kg.evaluation.save_table(table, place.out / "t.csv", overwrite=True))  # noqa: B023
        assert whole_files(place.out).keys() == {"t.csv"}


SAMPLES = kg.data.Samples(("a", "b/c", "é"), ("a.png", "b/c.png", "é.png"), None)
list_cases = broken(
    [b"a\nb/c.png\n", "\ufeffa\r\né.jpg".encode(), "é\n\n".encode("latin-1"), b"a\0", b""]
) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))


def check_list(place, content):
    path = place.put("names.txt", content)
    parts = place.run(lambda: SAMPLES.split_by_names(path))
    if parts is not None:
        assert sorted(parts[0].names + parts[1].names) == sorted(SAMPLES.names)
        assert len(parts[1])


@functools.lru_cache
def recipe():
    return {**vars(kg.recipes.get("fast"))}


recipe_cases = st.deferred(
    lambda: broken_json(recipe()) | broken([json.dumps(recipe()).encode(), b"[" * 100_000])
)


def check_recipe(place, content):
    path = place.put("recipe.json", content)
    found = place.run(lambda: kg.recipes.Recipe.load(path))
    if found is not None:
        found.save(place.root / "again.json")
        assert kg.recipes.Recipe.load(place.root / "again.json") == found
        assert found.augmentation() is not None


# --- Other formats ---


def check_conversion(place, call):
    """What was written is whole, and says so only if all of it is there."""
    table = place.run(lambda: call(place.out))
    files = whole_files(place.out) if place.out.exists() else {}
    assert ("manifest.csv" in files) == (table is not None)
    for name, path in files.items():
        if name.startswith(("images/", "masks/")):
            with Image.open(path) as picture:
                picture.load()
    if table is not None:
        assert len(table) == sum(name.startswith("images/") for name in files)


@functools.lru_cache
def dicoms():
    import pydicom

    def item(**fields):
        dataset = pydicom.Dataset()
        for name, value in fields.items():
            setattr(dataset, name, value)
        return dataset

    def file(values, syntax="ExplicitVRLittleEndian", **fields):
        color, bits = values.shape[-1] == 3, values.dtype.itemsize * 8
        frames = {"NumberOfFrames": len(values)} if values.ndim - color > 2 else {}
        shape = values.shape[-3:-1] if color else values.shape[-2:]
        fields = {
            "SOPClassUID": pydicom.uid.CTImageStorage,
            "SOPInstanceUID": "1.2.3",
            "PatientID": "=P1",
            "SeriesInstanceUID": "1.2",
            "SamplesPerPixel": 3 if color else 1,
            "PhotometricInterpretation": "RGB" if color else "MONOCHROME2",
            **({"PlanarConfiguration": 0} if color else {}),
            **frames,
            "Rows": shape[0],
            "Columns": shape[1],
            "PixelSpacing": [0.5, 0.5],
            "ImagePositionPatient": [0, 0, 1],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "InstanceNumber": 1,
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(values.dtype.kind == "i"),
            "PixelData": values.tobytes(),
            **fields,
        }
        dataset = item(**fields)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.is_little_endian, dataset.is_implicit_VR = True, syntax.startswith("Implicit")
        buffer = io.BytesIO()
        dataset.save_as(buffer, write_like_original=False)
        return buffer.getvalue()

    grey = RNG.integers(-1000, 1000, (H, W)).astype(np.int16)
    origin = item(ReferencedSOPInstanceUID="1.2.3", ReferencedSOPClassUID="1.2")
    frame = item(
        SegmentIdentificationSequence=pydicom.Sequence([item(ReferencedSegmentNumber=1)]),
        DerivationImageSequence=pydicom.Sequence(
            [item(SourceImageSequence=pydicom.Sequence([origin]))]
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the way to save that pydicom 2 and 3 share
        return {
            "images": (
                file(grey, RescaleSlope=1, RescaleIntercept=-1024),
                file(grey, WindowCenter=40, WindowWidth=400),
                file(grey, "ImplicitVRLittleEndian"),
                file(grey, "DeflatedExplicitVRLittleEndian"),
                file(PIXELS),
                file(np.stack([LABELS, LABELS]), PhotometricInterpretation="MONOCHROME1"),
            ),
            "masks": (
                file(
                    LABELS[None] > 0,
                    SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4",
                    SegmentationType="FRACTIONAL",
                    MaximumFractionalValue=1,
                    PerFrameFunctionalGroupsSequence=pydicom.Sequence([frame]),
                ),
                file(LABELS),
            ),
        }


dicom_cases = st.deferred(
    lambda: st.tuples(broken(dicoms()["images"]), st.none() | broken(dicoms()["masks"]))
)


def check_dicom(place, case):
    image, mask = case
    path = place.put("x.dcm", image)
    masks = None if mask is None else [place.put("m.dcm", mask)]
    call = functools.partial(convert.from_dicom, [path], masks=masks)
    check_conversion(place, call)


@functools.lru_cache
def volumes():
    import gzip

    import nibabel

    values = [
        RNG.integers(-9, 9, (3, 4, 2)).astype(np.int16),
        RNG.normal(size=(3, 4, 2)).astype(np.float64),
        RNG.integers(0, 3, (3, 4, 2, 1)).astype(np.uint8),
    ]
    plain = [nibabel.Nifti1Image(v, np.eye(4)).to_bytes() for v in values]
    return (*plain, gzip.compress(plain[0]), nibabel.Nifti2Image(values[0], np.eye(4)).to_bytes())


nifti_cases = st.deferred(
    lambda: st.tuples(
        broken(volumes()),
        st.sampled_from((".nii", ".nii.gz")),
        st.none() | broken(volumes()),
        st.sampled_from((None, (0, 10), (1e308, 1e308))),
    )
)


def check_nifti(place, case):
    image, ending, mask, window = case
    path = place.put(f"x{ending}", image)
    masks = None if mask is None else [place.put("m.nii", mask)]
    check_conversion(place, lambda out: convert.from_nifti([path], out, masks=masks, window=window))


SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": H, "width": W}],
    "categories": [{"id": 7, "name": "polyp"}, {"id": 8, "name": "=tool"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [SQUARE, [0, 0, 3, 0, 3, 3]]},
        {"id": 2, "image_id": 1, "category_id": 8, "segmentation": {"counts": [8, 8, 32]}},
        {"id": 3, "image_id": 1, "category_id": 8, "segmentation": {"counts": "88P1"}},
    ],
}
for _one in COCO["annotations"][1:]:
    _one["segmentation"]["size"] = [H, W]
coco_cases = broken_json(COCO) | broken([json.dumps(COCO).encode()])


def check_coco(place, content):
    place.put("images/a.png", pictures()[0])
    path = place.put("coco.json", content)
    check_conversion(place, lambda out: convert.from_coco(path, place.given / "images", out))


@functools.lru_cache
def films():
    import av

    found = []
    for name, codec, kind in (("x.avi", "mjpeg", "yuvj420p"), ("x.mp4", "mpeg4", "yuv420p")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=name[2:]) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, kind
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame(32, 16, kind)))
            container.mux(stream.encode())
        found.append(buffer.getvalue())
    return tuple(found)


film_cases = st.deferred(
    lambda: st.tuples(broken(films()), st.sampled_from((".avi", ".mp4")), st.booleans())
)


def check_film(place, case):
    content, ending, every = case
    path = place.put(f"x{ending}", content)
    options = {"every": 2} if every else {"times": [0, 0.1]}
    check_conversion(place, lambda out: convert.from_video(path, out, **options))


TIFF = encoded(LABELS.astype(np.uint16) * 999, "TIFF")
grey_cases = broken([TIFF, encoded(LABELS, "PNG"), encoded(PIXELS[..., 0] / np.float32(2), "TIFF")])


def check_grey(place, content):
    path = place.put("x.tif", content)
    check_conversion(place, lambda out: convert.from_pictures([path], out, low=0, high=4095))


SETTINGS = {"from": "pictures", "low": 0.0, "high": 4095.0}
ROW = {"name": "=x", "source": "x.png", "low": 0.0, "high": 4095.0}
progress_cases = st.tuples(
    broken_json([SETTINGS, {"source": "x.png", "rows": [ROW]}, {"source": "y", "rows": []}]),
    st.booleans(),
)


def check_progress(place, case):
    """A conversion goes on in a folder whose notes are broken: what it writes is whole."""
    content, lines = case
    if lines and isinstance(json.loads(content), list):
        content = b"\n".join(json.dumps(entry).encode() for entry in json.loads(content))
    path = place.put("y.tif", TIFF)
    place.out.mkdir()
    (place.out / ".conversion.jsonl").write_bytes(content)
    table = place.run(lambda: convert.from_pictures([path], place.out, low=0, high=4095))
    if table is not None:
        assert "manifest.csv" in whole_files(place.out)
        assert isinstance(table, pd.DataFrame)


def huge(kind, side):
    """A small file that says it holds side x side pixels."""
    if kind == "png":
        start = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n\0\0\0\r"
            + start
            + struct.pack(">I", zlib.crc32(start))
            + encoded(PIXELS, "PNG")[33:]
        )
    content = bytearray(encoded(PIXELS, kind.upper()))
    if kind == "bmp":
        content[18:26] = struct.pack("<ii", side, side)
    elif kind == "gif":
        content[6:10] = struct.pack("<HH", side, side)
    elif kind == "jpeg":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", side, side)
    else:
        start = struct.unpack_from("<I", content, 4)[0]
        for number in range(struct.unpack_from("<H", content, start)[0]):
            at = start + 2 + 12 * number
            if struct.unpack_from("<H", content, at)[0] in (256, 257):
                struct.pack_into("<HII", content, at + 2, 4, 1, side)
    return bytes(content)

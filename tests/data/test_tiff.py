"""TIFF files as scanners, microscopes and cameras write them, put together tag by tag."""

import contextlib
import struct

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.data.convert import from_pictures
from kerasgan.data.files import read_header, read_image
from kerasgan.errors import KerasganError, KerasganWarning

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)
RAMP = np.arange(108, dtype=np.uint8).reshape(12, 9) * 2
SIZES = {"H": 2, "I": 4}


@contextlib.contextmanager
def unless_refused():
    """Versions of Pillow read different kinds; one that is not read must be refused by name."""
    try:
        yield
    except KerasganError as error:
        if "it is a TIFF of a kind that is not read" not in str(error):
            raise
        pytest.skip("a kind that this version of Pillow does not read")


def write_tiff(path, data, size, tags, order="<"):
    """A TIFF of one strip; `tags` by number, each a number or several."""
    height, width = size
    fields = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height,
              279: len(data), **tags}  # fmt: skip
    fields = {tag: np.atleast_1d(value) for tag, value in fields.items() if value is not None}
    start = 8 + len(data) + len(data) % 2
    room = start + 2 + 12 * len(fields) + 4
    entries, beyond = b"", b""
    for tag, values in sorted(fields.items()):
        kind = "I" if tag in (256, 257, 273, 279) else "H"
        packed = struct.pack(f"{order}{len(values)}{kind}", *map(int, values))
        if len(packed) > 4:
            packed, beyond = struct.pack(f"{order}I", room + len(beyond)), beyond + packed
        head = struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values))
        entries += head + packed.ljust(4, b"\0")
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    content += data + b"\0" * (len(data) % 2) + struct.pack(f"{order}H", len(fields)) + entries
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + bytes(4) + beyond)
    return str(path)


def bands(path, array, photometric, extra=None, order="<", planar=1, **tags):
    bits = array.dtype.itemsize * 8
    data = array.astype(array.dtype.newbyteorder(order))
    data = np.moveaxis(data, -1, 0) if planar == 2 else data
    fields = {258: [bits] * array.shape[2], 262: photometric, 277: array.shape[2], 338: extra}
    if planar == 2:
        step = data[0].nbytes
        fields |= {284: 2, 273: [8 + i * step for i in range(len(data))], 279: [step] * len(data)}
    fields |= {int(tag[1:]): value for tag, value in tags.items()}
    return write_tiff(path, np.ascontiguousarray(data).tobytes(), array.shape[:2], fields, order)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_zero_is_white_where_the_file_says_so(bits, order, photometric, tmp_path):
    top = 2**bits - 1
    values = RNG.integers(0, top + 1, (12, 16))
    if bits == 16:
        data = values.astype(f"{order}u2").tobytes()
    else:
        planes = (values[..., None] >> np.arange(bits)[::-1]) & 1
        data = np.packbits(planes.reshape(12, -1).astype(np.uint8), axis=1).tobytes()
    path = write_tiff(tmp_path / "x.tif", data, (12, 16), {258: bits, 262: photometric}, order)
    shown = top - values if photometric == 0 else values
    expected = shown >> 8 if bits == 16 else shown * (255 // top)
    if (bits, order, photometric) == (16, ">", 0):  # Pillow does not read them
        refused(r"bands of 16 bits \(PhotometricInterpretation 0", read_image, path, 1)
    else:
        np.testing.assert_array_equal(read_image(path, 1)[..., 0], expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_zero_is_white_however_the_file_is_packed(depth, compression, tmp_path):
    stored = RNG.integers(0, 256, (12, 9)).astype(depth) * (257 if depth is np.uint16 else 1)
    given = stored if depth is np.uint16 else 255 - stored  # Pillow inverts 8 bits on saving
    path = str(tmp_path / "x.tif")
    Image.fromarray(given).save(path, tiffinfo={262: 0}, compression=compression)
    with Image.open(path) as picture:
        assert picture.tag_v2[262] == 0
    expected = 255 - (stored >> 8 if depth is np.uint16 else stored)
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stretched_picture_heeds_it_too(dtype, tmp_path):
    values = np.array([[0, 10, 20, 40]], dtype)
    bits, kind = values.dtype.itemsize * 8, 3 if dtype is np.float32 else 1
    for photometric in (0, 1):
        path = tmp_path / f"{photometric}.tif"
        tags = {258: bits, 262: photometric, 339: kind}
        write_tiff(path, values.tobytes(), values.shape, tags)
        table = from_pictures(path, tmp_path / f"out{photometric}", low=0, high=20)
        assert table["above"].tolist() == [0.25]
    plain, white = (
        np.asarray(Image.open(tmp_path / f"out{i}" / "images" / f"{i}.png")) for i in (1, 0)
    )
    assert plain.tolist() == [[0, 32768, 65535, 65535]]
    np.testing.assert_array_equal(white, 65535 - plain)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("extra", [None, 0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_infrared_is_no_transparency(dtype, extra, planar, order, tmp_path):
    """A fourth band that the file does not declare as opacity leaves the colours as they are."""
    infrared = np.full((12, 9, 1), 40, np.uint8)
    array = np.concatenate([RGB, infrared], -1)
    array = array.astype(dtype) * (257 if dtype is np.uint16 else 1)
    bands(tmp_path / "images" / "x.tif", array, 2, extra, order, planar)
    if planar == 2 and dtype is np.uint16:  # Pillow takes each byte for a value
        expected = r"x\.tif .*(8 bits in planes|kind that is not read)"
        refused(expected, load_folder, tmp_path, masks=None)
        return
    with unless_refused():
        read_header(str(tmp_path / "images" / "x.tif"))
    with pytest.warns(KerasganWarning, match="are left out. 1 images") as caught:
        samples = load_folder(tmp_path, masks=None)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.rint((samples.image(0) + 1) * 127.5), RGB)


def test_grey_with_an_undeclared_band(tmp_path):
    array = np.stack([RAMP, 255 - RAMP], -1)
    path = bands(tmp_path / "x.tif", array, 1, 0)
    with unless_refused():
        assert read_header(path).undeclared == 1
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], RAMP)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["premultiplied", "plain"])
@pytest.mark.parametrize("grey", [True, False])
def test_opacity_counts_once(grey, kind, channels, tmp_path):
    colors = RAMP[..., None] if grey else RGB
    alpha = np.where(np.arange(12)[:, None] < 6, 64, 255) * np.ones((12, 9), int)
    seen = np.rint(colors * (alpha[..., None] / 255)).astype(np.uint8)
    stored = seen if kind == "premultiplied" else colors
    array = np.concatenate([stored, alpha[..., None].astype(np.uint8)], -1)
    path = bands(tmp_path / "x.tif", array, 1 if grey else 2, 1 if kind == "premultiplied" else 2)
    with unless_refused():
        assert read_header(path).undeclared == 0
    received = read_image(path, channels)
    expected = np.broadcast_to(seen, (*seen.shape[:2], 3))
    if channels == 1:
        expected = expected @ np.array([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(received, expected, atol=2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
def test_planes_and_byte_orders_are_the_same_picture(planar, order, tmp_path):
    path = bands(tmp_path / "a.tif", RGB, 2, None, order, planar)
    np.testing.assert_array_equal(read_image(path, 3), RGB)
    path = bands(tmp_path / "b.tif", RGB.astype(np.uint16) * 257, 2, None, order, planar)
    if planar == 1:
        np.testing.assert_array_equal(read_image(path, 3), RGB)
    else:
        refused("more than 8 bits in planes", read_image, path, 3)


@pytest.mark.parametrize(
    ("array", "photometric", "extra", "words"),
    [
        (np.zeros((4, 4, 7), np.uint8), 1, [0] * 6, "7 bands of 8 bits"),
        (np.zeros((4, 4, 4), np.uint8), 1, [0] * 3, "4 bands of 8 bits"),
        (np.zeros((4, 4, 2), np.uint16), 1, [2], "2 bands of 16 bits"),
        (np.zeros((4, 4, 3), np.float32), 2, None, "3 bands of 32 bits"),
    ],
)
def test_other_bands_are_refused_by_name(array, photometric, extra, words, tmp_path):
    kind = 3 if array.dtype == np.float32 else 1
    path = bands(tmp_path / "x.tif", array, photometric, extra, t339=[kind] * array.shape[2])
    refused(rf"x\.tif.*{words}.*Save it as grey", read_image, path, 3)


def test_colour_with_two_more_bands_keeps_its_colours(tmp_path):
    array = np.concatenate([RGB, RGB[..., :2] // 3], -1)
    path = bands(tmp_path / "x.tif", array, 2, [0, 0])
    assert read_header(path).undeclared == 2
    np.testing.assert_array_equal(read_image(path, 3), RGB)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({262: None}, "does not say whether 0 is black or white"),
        ({339: 2}, "8-bit values with a sign"),
    ],
)
def test_what_cannot_be_known_is_refused(tags, words, tmp_path):
    path = write_tiff(tmp_path / "x.tif", RAMP.tobytes(), RAMP.shape, tags)
    for read in (read_header, lambda path: read_image(path, 1)):
        refused(rf"x\.tif .*{words}", read, path)


def test_cielab_becomes_rgb(tmp_path):
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[:2, :, 0] = 255  # white above, black below
    path = bands(tmp_path / "x.tif", lab, 8)
    for channels in (1, 3):
        received = read_image(path, channels)
        assert received[0].min() > 250
        assert received[-1].max() < 5


def test_a_clear_grey_of_sixteen_bits_is_laid_over_black(tmp_path):
    values = np.array([[0, 300, 40000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=40000)
    assert read_image(str(tmp_path / "x.png"), 1).ravel().tolist() == [0, 1, 0, 255]

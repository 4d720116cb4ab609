import io
import pathlib
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from refusals import refused

from kerasgan.data.files import read_header, read_image
from kerasgan.data.masks import read_mask
from kerasgan.errors import KerasganError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)
GREY = RGB[..., 0]
DEEP = RNG.integers(0, 65536, (12, 9, 3)).astype(np.uint16)


def write(path, content):
    path.write_bytes(content)
    return str(path)


def picture(path, mode, **options):
    Image.fromarray(RGB).convert(mode).save(path, **options)
    return str(path)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "TIFF"])
def test_lossless_colour_is_read_to_the_bit(save, ending):
    path = save(f"x.{ending}", RGB)
    assert read_header(path)[:3] == (12, 9, 3)
    np.testing.assert_array_equal(read_image(path, 3), RGB)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_grey_is_read_to_the_bit_and_repeated_for_colour(save, ending):
    path = save(f"x.{ending}", GREY)
    assert read_header(path)[:3] == (12, 9, 1)
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], GREY)
    np.testing.assert_array_equal(read_image(path, 3), np.stack([GREY] * 3, -1))


def test_colour_becomes_luma(save):
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(read_image(save("x.png", RGB), 1)[..., 0], expected, atol=1)


def test_jpeg_is_read_closely(tmp_path):
    smooth = np.tile(np.arange(0, 240, 8, np.uint8)[:, None, None], (1, 30, 3))
    Image.fromarray(smooth).save(tmp_path / "x.JPEG", quality=95)
    assert np.abs(read_image(str(tmp_path / "x.JPEG"), 3).astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_keeps_the_high_byte(save, ending):
    path = save(f"x.{ending}", DEEP[..., 0])
    assert read_header(path).channels == 1
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], DEEP[..., 0] // 256)


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path):
    path = write(tmp_path / "x.png", tf.io.encode_png(DEEP).numpy())
    np.testing.assert_array_equal(read_image(path, 3), DEEP // 256)


def test_cmyk_and_palette_become_rgb(tmp_path):
    np.testing.assert_allclose(read_image(picture(tmp_path / "x.tif", "CMYK"), 3), RGB, atol=1)
    palette = Image.fromarray(RGB).convert("P")
    palette.save(tmp_path / "x.png")
    path = str(tmp_path / "x.png")
    assert read_header(path).channels == 3
    np.testing.assert_array_equal(read_image(path, 3), np.asarray(palette.convert("RGB")))


def test_transparent_parts_lie_over_black(save):
    alpha = np.full((12, 9, 1), 255, np.uint8)
    alpha[:6] = 0
    pixels = read_image(save("x.png", np.concatenate([RGB, alpha], -1)), 3)
    assert (pixels[:6] == 0).all()
    np.testing.assert_array_equal(pixels[6:], RGB[6:])


def test_an_orientation_that_is_no_number_turns_nothing(tmp_path):
    path = str(tmp_path / "x.jpg")
    entry = b"\x01\x12\x00\x02\x00\x00\x00\x01\x06\x00\x00\x00"  # as text, not a short
    exif = b"Exif\0\0MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\0\0\0\0"
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path, exif=exif)
    with Image.open(path) as picture:
        assert isinstance(picture.getexif()[274], str)
    assert read_header(path)[:3] == (6, 8, 3)
    assert read_image(path, 3).shape == (6, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(save, ending, orientation):
    tag = Image.Exif()
    tag[274] = orientation
    path = save(f"x.{ending}", RGB, exif=tag)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert read_header(path)[:2] == shown.shape[:2] == ((12, 9) if orientation < 5 else (9, 12))
    np.testing.assert_array_equal(read_image(path, 3), shown)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_tiff_is_turned_to_the_bit(save, dtype, orientation, compression):
    values = DEEP[..., 0] if dtype is np.uint16 else GREY
    path = save("x.tif", values, tiffinfo={274: orientation}, compression=compression)
    tag = Image.Exif()
    tag[274] = orientation
    shown = (values >> 8 if dtype is np.uint16 else values).astype(np.uint8)
    other = save("x.png", shown, exif=tag)
    assert read_header(path)[:2] == read_image(path, 1).shape[:2]
    np.testing.assert_array_equal(read_image(path, 1), read_image(other, 1))


def test_an_orientation_behind_the_pixels_is_refused(save, tmp_path):
    """Some tools append it; some programs heed it there and others do not."""
    tag = Image.Exif()
    tag[274] = 6
    content = pathlib.Path(save("x.png", GREY, exif=tag)).read_bytes()
    start = content.index(b"eXIf") - 4
    (length,) = struct.unpack_from(">I", content, start)
    chunk, rest = content[start : start + 12 + length], content[start + 12 + length :]
    late = write(tmp_path / "late.png", content[:start] + rest[:-12] + chunk + rest[-12:])
    refused(r"late\.png .*EXIF orientation stands behind", read_image, late, 1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_unknown_range_are_refused(save, dtype):
    path = save("x.tif", GREY.astype(dtype))
    refused(r"x\.tif.*black and white are unknown", read_image, path, 1)
    refused(r"x\.tif.*half range is unknown", read_mask, path, 1)


def encoded(format, size=(60, 60), **options):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_truncated_files_are_named(tmp_path, format):
    path = write(tmp_path / "cut.png", encoded(format)[:-400])
    refused(r"cut\.png cannot be read", read_image, path, 3)
    refused(r"cut\.png cannot be read", read_mask, path, 1)


def test_corrupt_empty_and_foreign_files_are_named(tmp_path):
    content = bytearray(encoded("PNG"))
    content[len(content) // 2] ^= 255
    refused(r"bad\.png cannot be read", read_image, write(tmp_path / "bad.png", content), 3)
    refused(r"none\.png.*empty \(0 bytes\)", read_header, write(tmp_path / "none.png", b""))
    with pytest.raises(KerasganError, match=r"text\.png cannot be read as PNG, JPEG, BMP, TIFF"):
        read_header(write(tmp_path / "text.png", b"not a picture"))
    refused(r"gone\.png.*No such file", read_header, str(tmp_path / "gone.png"))


def test_pictures_in_a_file_are_not_counted(tmp_path):
    """A TIFF may chain as many as it likes; it is refused at the second."""
    Image.fromarray(GREY).save(tmp_path / "one.tif")
    one = (tmp_path / "one.tif").read_bytes()
    (start,) = struct.unpack_from("<I", one, 4)
    (count,) = struct.unpack_from("<H", one, start)
    entries, chain = one[start : start + 2 + 12 * count], bytearray(one)
    struct.pack_into("<I", chain, start + 2 + 12 * count, len(one))
    for _ in range(20_000):
        chain += entries + struct.pack("<I", len(chain) + len(entries) + 4)
    path = write(tmp_path / "chain.tif", bytes(chain))
    began = time.process_time()
    refused(r"chain\.tif holds several pictures", read_header, path)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("side", [9000, 9500, 14000])
def test_decompression_bombs_are_refused_by_pixel_count(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    refused(r"bomb\.png has more than 67108864 pixels", read_header, str(tmp_path / "bomb.png"))

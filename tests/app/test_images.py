import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.app import images
from kerasgan.app.images import find_images, read_upload


def encoded(pixels, kind="png"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("Anna", "bert", "berta"):
        (tmp_path / "images" / f"{name}.png").write_bytes(encoded(pixels))
    (tmp_path / "masks" / "Anna.png").write_bytes(encoded(np.eye(8, 12, dtype=np.uint8) * 255))
    (tmp_path / "masks" / "bert.png").write_bytes(encoded(np.zeros((4, 4), np.uint8)))
    return tmp_path


def test_images_and_the_masks_that_there_are(folder):
    found = find_images(folder)
    assert found.names == ["Anna", "bert", "berta"]
    assert found.find("BERT") == [1, 2]
    assert found.find("") == [0, 1, 2]
    assert found.find("x") == []
    opened = found.open(0)
    assert (opened.name, opened.pixels.shape, opened.note) == ("Anna", (8, 12, 3), "")
    np.testing.assert_array_equal(opened.truth, np.eye(8, 12))
    other = found.open(1)
    assert other.truth is None
    assert "4 x 4 pixels" in other.note
    assert found.open(2).truth is None
    assert find_images(folder / "images", channels=1).open(0).pixels.shape == (8, 12, 1)


@pytest.mark.parametrize("place", [-1, 3])
def test_no_such_image(folder, place):
    with pytest.raises(kg.KerasganError, match="There is no image"):
        find_images(folder).open(place)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(kg.KerasganError, match="holds no image files"):
        find_images(tmp_path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff"])
def test_what_is_dropped_is_read_by_its_content(kind):
    opened = read_upload(encoded(np.zeros((8, 12, 3), np.uint8), kind), "C:\\x\\<b>.exe\n", 3)
    assert opened.name == "<b>.exe\ufffd"
    assert opened.pixels.shape == (8, 12, 3)


def bomb(width, height):
    """A PNG whose header says that it is large."""

    def part(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", b"") + part(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"<svg onload='alert(1)'/>", "cannot be read"),
        (b"GIF89a" + bytes(100), "cannot be read"),
        (b"%PDF-1.7", "cannot be read"),
        (bomb(4097, 4096), "takes up to"),
        (bomb(2**31 - 1, 2**31 - 1), "cannot be read|not decoded"),
        (bomb(8, 8), "cannot be read"),
    ],
)
def test_hostile_files_are_refused_by_name(content, why):
    with pytest.raises(kg.KerasganError, match=why) as caught:
        read_upload(content, "../../etc/passwd", 3)
    assert "'passwd'" in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_large_files_are_refused(monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 10)
    with pytest.raises(kg.KerasganError, match="'a' has"):
        read_upload(bytes(11), "a", 3)

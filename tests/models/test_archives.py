import io
import pathlib
import stat
import zipfile

import pytest
from refusals import refused

from kerasgan import KerasganError
from kerasgan.models.archives import entries_of, unpack


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "C:/x", "c:x", "a\\..\\x", "a//x", "./x", "x\n", "a/"]
)
def test_names_that_lead_elsewhere(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"")
    with (
        zipfile.ZipFile(tmp_path / "a.zip") as archive,
        pytest.raises(KerasganError, match=r"'a\.zip' cannot be loaded: its entry"),
    ):
        entries_of(archive, tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices(tmp_path, kind):
    info = zipfile.ZipInfo("x")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        refused("is a link or a device", entries_of, archive, tmp_path / "a.zip")


def test_two_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"")
        archive.writestr("X", b"")
        refused("'X' is there twice", entries_of, archive, tmp_path / "a.zip")


def test_too_much_and_too_many(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3_000_000))
        assert set(entries_of(archive, tmp_path, 3_000_000)) == {"zeros"}
        with pytest.raises(KerasganError, match=r"3\.0 MB unpacked, above the limit of 2\.0 MB"):
            entries_of(archive, tmp_path, 2_000_000)
        for number in range(256):
            archive.writestr(f"{number}", b"")
        refused("257 entries", entries_of, archive, tmp_path)


def test_encrypted_and_oddly_packed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"x")
        refused("method", entries_of, archive, tmp_path)
        archive.infolist()[0].flag_bits |= 1
        refused("encrypted", entries_of, archive, tmp_path)


def test_no_more_is_unpacked_than_declared():
    # An archive whose reader does not keep to the size declared.
    class Endless(io.RawIOBase):
        given = 0

        def read(self, count):
            Endless.given += count
            return bytes(count)

    class Archive:
        def open(self, _):
            return Endless()

    entry, target = zipfile.ZipInfo("bomb"), io.BytesIO()
    entry.file_size = 10
    refused("'bomb' has not the size", unpack, Archive(), entry, pathlib.Path("a.zip"), target)
    assert Endless.given == 11
    entry.file_size = 10**7
    Archive.open = lambda *_: io.BytesIO(b"short")
    refused("has not the size", unpack, Archive(), entry, pathlib.Path("a.zip"), target)

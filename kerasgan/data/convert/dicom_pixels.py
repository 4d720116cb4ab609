"""What the pixels of a DICOM image look like."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasgan.data.convert import sources
from kerasgan.errors import KerasganError

_META_START = 128 + 4 + 12  # preamble, "DICM", and the element that gives the length
_CHUNK = 2**20
_FIRST = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # groups that begin a file without preamble


def open_header(pydicom: Any, path: pathlib.Path) -> Any:
    """Read everything but the pixels, and check their size."""
    with sources.errors_naming(path, "DICOM"):
        header = _read(pydicom, path, stop_before_pixels=True)
        sides = [header.get("Rows"), header.get("Columns"), header.get("NumberOfFrames") or 1]
        sides = [None if side is None else int(side) for side in sides]
        samples = int(header.get("SamplesPerPixel", 1))
    if None in sides:
        kind = getattr(header.get("SOPClassUID"), "name", None) or "of no known kind"
        raise KerasganError(f"File {path} holds no image; it is {kind}. Leave it out.")
    sources.check_pixel_count(path, sides[0], sides[1], sides[2] * samples)
    return header


def _read(pydicom: Any, path: pathlib.Path, **options: Any) -> Any:
    """Read a file, also one without the preamble, as programs of before the standard write it."""
    with open(path, "rb") as file:
        start = file.read(1024)
    if start[128:132] == b"DICM":
        _check_deflated(pydicom, path)
        return pydicom.dcmread(path, **options)
    deflated = pydicom.uid.DeflatedExplicitVRLittleEndian.encode() in start
    if start[:2] in _FIRST and not deflated:
        data = pydicom.dcmread(path, force=True, **options)
        if "TransferSyntaxUID" not in data.file_meta:
            data.file_meta.TransferSyntaxUID = _plain_syntax(pydicom, data)
        if "SOPClassUID" in data:
            return data
    raise KerasganError(
        f"File {path} cannot be read as DICOM: it has no 'DICM' behind its first 128 bytes, nor "
        "does it begin with an image's elements. Leave it out, or export it anew"
    )


def _plain_syntax(pydicom: Any, data: Any) -> Any:
    """The uncompressed transfer syntax that a file without a header was found to be in."""
    found = getattr(data, "original_encoding", None)  # of pydicom 3
    implicit, little = found or (data.is_implicit_VR, data.is_little_endian)
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _check_deflated(pydicom: Any, path: pathlib.Path) -> None:
    """Refuse a deflated file that takes more than `MAX_VALUES` bytes: pydicom inflates it whole."""
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
        return
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(_META_START + meta.FileMetaInformationGroupLength)
        while piece := inflate.unconsumed_tail or file.read(_CHUNK):
            size += len(inflate.decompress(piece, _CHUNK))
            if size > sources.MAX_VALUES:
                raise KerasganError(
                    f"File {path} is packed and takes more than {sources.MAX_VALUES} bytes, so it "
                    "is not decoded. Save it with fewer frames, or not deflated."
                )


def stored_frames(pydicom: Any, path: pathlib.Path) -> tuple[Any, np.ndarray]:
    """Decode a file."""
    with sources.errors_naming(path, "DICOM"):
        data = _read(pydicom, path)
        syntax = data.file_meta.TransferSyntaxUID
        try:
            array = data.pixel_array
        except Exception as error:
            advice = ""
            if syntax.is_compressed:
                advice = (
                    " If it is a decoder that is missing: pip install python-gdcm, or save the "
                    "file uncompressed."
                )
            raise KerasganError(
                f"File {path} ({syntax.name}) cannot be decoded: {' '.join(str(error).split())}."
                f"{advice}"
            ) from error
        color = int(data.get("SamplesPerPixel", 1)) > 1
        if color and pydicom.__version__ < "3" and "YBR_FULL" in data.PhotometricInterpretation:
            array = _processing().convert_color_space(array, data.PhotometricInterpretation, "RGB")
        return data, array.reshape(-1, *array.shape[-3 if color else -2 :])


class Display:
    """Gives the frames of the files of one series as they are to be seen."""

    def __init__(self, pydicom: Any, paths: list[pathlib.Path], limits: tuple | None):
        self.pydicom, self.paths, self.limits = pydicom, paths, limits
        self._common: tuple[float, float] | None = None

    def __call__(self, path: pathlib.Path) -> Iterator[tuple[int, np.ndarray, str]]:
        """Give (frame from 0, pixels, how values became grey) for each frame of a file."""
        data, frames = stored_frames(self.pydicom, path)
        kind = str(data.get("PhotometricInterpretation", ""))
        for index, stored in enumerate(frames):
            if kind == "PALETTE COLOR":
                pixels = _processing().apply_color_lut(stored, data)
                yield index, (pixels >> 8 if pixels.itemsize > 1 else pixels).astype(np.uint8), ""
            elif stored.ndim == 3:
                if stored.dtype != np.uint8 or stored.shape[-1] != 3:
                    raise KerasganError(
                        f"File {path} must hold colours of 3 x 8 bits. Received: "
                        f"{stored.shape[-1]} of {stored.dtype}"
                    )
                yield index, stored, ""
            elif kind in ("MONOCHROME1", "MONOCHROME2"):
                pixels, how = self._grey(data, index, stored, path)
                if kind == "MONOCHROME1":
                    pixels = np.iinfo(pixels.dtype).max - pixels
                yield index, np.where(_padded(data, stored), pixels.dtype.type(0), pixels), how
            else:
                raise KerasganError(f"File {path} has unknown colours: {kind!r}")

    def _grey(self, data, index: int, stored: np.ndarray, path) -> tuple[np.ndarray, str]:
        values = _in_units(data, index, stored)
        if self.limits is not None:
            return sources.to_uint16(values, *self.limits), "{:g} to {:g}".format(*self.limits)
        own = frame_item(data, index, "FrameVOILUTSequence")
        try:
            if own.get("VOILUTSequence") and own.VOILUTSequence[0].get("LUTData"):
                return _by_table(values, own), "table"
            if own.get("WindowCenter") is not None and own.get("WindowWidth") is not None:
                return self._by_window(values, own)
        except Exception as error:
            raise KerasganError(
                f"File {path} has a window that cannot be used ({error}). Pass 'window'."
            ) from error
        if data.get("BitsStored") == 8 and stored.dtype == np.uint8 and (values == stored).all():
            return stored, "as stored"
        if self._common is None:
            stacks = [stored_frames(self.pydicom, one) for one in self.paths]
            frames = [(d, i, f) for d, fs in stacks for i, f in enumerate(fs)]
            every = np.concatenate([_in_units(*frame).ravel() for frame in frames])
            shown = ~np.concatenate([_padded(d, f).ravel() for d, _, f in frames])
            self._common = sources.robust_range(every[shown] if shown.any() else every, path)
        return sources.to_uint16(values, *self._common), "{:g} to {:g}".format(*self._common)

    def _by_window(self, values: np.ndarray, own) -> tuple[np.ndarray, str]:
        """By pydicom, told that values are unsigned and of 16 bits, so it fills that range."""
        plain = self.pydicom.Dataset()
        plain.PhotometricInterpretation = "MONOCHROME2"
        plain.BitsStored, plain.PixelRepresentation = 16, 0
        for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
            if own.get(name) not in (None, ""):
                setattr(plain, name, own.get(name))
        shown = _processing().apply_windowing(values, plain)
        first = [np.ravel(own.get(name))[0] for name in ("WindowCenter", "WindowWidth")]
        how = "level {:g}, width {:g}".format(*map(float, first))
        return np.rint(np.clip(shown, 0, 65535)).astype(np.uint16), how


def _by_table(values: np.ndarray, own) -> np.ndarray:
    top = 2 ** int(own.VOILUTSequence[0].LUTDescriptor[2]) - 1
    table = _processing().apply_voi(np.rint(values).astype(np.int64), own)
    return np.rint(np.clip(table / top, 0, 1) * 65535).astype(np.uint16)


def _padded(data, stored: np.ndarray) -> np.ndarray:
    """Say where values fill up a frame and show nothing (PixelPaddingValue)."""
    value, limit = data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.shape, bool)
    # Files with signed values state it without a sign, too.
    ends = [
        np.array(int(x)).astype(stored.dtype) for x in (value, value if limit is None else limit)
    ]
    return (stored >= min(ends)) & (stored <= max(ends))


def _in_units(data, index: int, stored: np.ndarray) -> np.ndarray:
    own = frame_item(data, index, "PixelValueTransformationSequence")
    if "RescaleSlope" in own and None in (own.get("RescaleSlope"), own.get("RescaleIntercept")):
        return stored.astype(np.float64)  # there, but empty
    return _processing().apply_modality_lut(stored, own)


def frame_item(data: Any, index: int, name: str) -> Any:
    """Find what holds a frame's value: the frame's own item, the shared one, or the dataset."""
    for groups, position in (
        ("PerFrameFunctionalGroupsSequence", index),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = data.get(groups)
        if items and position < len(items) and items[position].get(name):
            return items[position].get(name)[0]
    return data


def _processing():
    """Where pydicom keeps these functions: from version 3 on, and before."""
    try:
        from pydicom.pixels import processing
    except ImportError:
        from pydicom.pixel_data_handlers import util as processing
    return processing

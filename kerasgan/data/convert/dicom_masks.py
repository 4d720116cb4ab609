"""Which labels a DICOM image has: from segmentations, or from images of labels."""

from __future__ import annotations

import pathlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Callable, NamedTuple

import numpy as np

from kerasgan.data.convert import sources
from kerasgan.data.convert.dicom_pixels import frame_item, open_header, stored_frames
from kerasgan.errors import KerasganError, warn

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SEGMENTATIONS = (SEGMENTATION, "1.2.840.10008.5.1.4.1.1.66.7")  # and label maps

_NEAR = 0.01  # of a slice's thickness or of a millimetre: positions are rounded when they are saved


class _Frame(NamedTuple):
    """One frame of a segmentation: a segment, and the images that it says it was drawn on."""

    number: int
    pixels: np.ndarray
    sources: list[tuple[str, int | None]]
    plane: tuple[np.ndarray, np.ndarray] | None


def find_masks(
    pydicom: Any, files: list[sources.SourceFile], given: object, images: list, classes: int
) -> Callable:
    """Find the mask of every image."""
    headers = [open_header(pydicom, one.path) for one in files]
    kinds = set()
    for one, header in zip(files, headers):
        with sources.errors_naming(one.path, "DICOM"):
            kinds.add(header.get("SOPClassUID") in SEGMENTATIONS)
    if kinds == {True, False}:
        raise KerasganError("Argument 'masks' mixes segmentations (SEG) with other images.")
    if kinds == {True}:
        return _segmentations(pydicom, [one.path for one in files], images, classes)
    listed = isinstance(given, (list, tuple))
    paths = sources.match_masks([image.file for image in images], files, listed) if images else []
    path_of = {image.file.path: path for image, path in zip(images, paths)}
    known: set[int] = set()

    def labels_of(image: Any, frame: int, size: tuple[int, int]) -> tuple[np.ndarray, Any]:
        path = path_of[image.file.path]
        _, frames = stored_frames(pydicom, path)
        if frames.ndim != 3 or frame >= len(frames):
            raise KerasganError(
                f"Mask {path} must be grey and have as many frames as {image.file.path}."
            )
        _check_mask_size(path, frames[frame].shape, image.file.path, size)
        if classes == 1:
            sources.warn_of_merged(known, frames[frame], path)
        return frames[frame], path

    return labels_of


def _segmentations(pydicom: Any, paths: list[pathlib.Path], images: list, classes: int) -> Callable:
    listed: dict[str, Any] = {}
    for image in images:
        other = listed.setdefault(str(image.header.get("SOPInstanceUID")), image)
        if other is not image:
            raise KerasganError(
                f"Images {other.file.path} and {image.file.path} have one SOPInstanceUID, so which "
                "of them a segmentation means is not known. Remove the one if it is a copy; else "
                "export them with identifiers of their own."
            )
    parts: dict[tuple[str, int], dict[tuple[int, Any], np.ndarray]] = defaultdict(dict)
    series, names = set(), defaultdict(dict)
    for path in paths:
        with sources.errors_naming(path, "DICOM"):
            data, frames = stored_frames(pydicom, path)
            for segment in data.get("SegmentSequence") or []:
                label = str(segment.get("SegmentLabel") or "").strip()
                names[int(segment.SegmentNumber)].setdefault(label, path)
            for frame in _segments(pydicom, path, data, frames):
                for uid, position in _images_of(path, data, frame, listed):
                    part = parts[uid, position]
                    if (frame.number, path) in part:
                        raise KerasganError(
                            f"Mask {path} has several frames of segment {frame.number} for one "
                            f"image, {listed[uid].file.path}, and does not say which lies there."
                        )
                    part[frame.number, path] = frame.pixels
                    series.add(listed[uid].header.get("SeriesInstanceUID"))
    if classes > 1:
        _warn_overlaps(parts, listed)
        _warn_names(names)
    else:
        drawn = [n for part in parts.values() for (n, _), pixels in part.items() if pixels.any()]
        sources.warn_of_merged(set(), np.array(drawn), paths[-1])

    def labels_of(image: Any, frame: int, size: tuple[int, int]) -> tuple[np.ndarray, Any]:
        if image.header.get("SeriesInstanceUID") not in series:
            raise KerasganError(f"No mask belongs to the series of image {image.file.path}.")
        labels, source = np.zeros(size, np.int64), ""
        segments = parts.get((str(image.header.get("SOPInstanceUID")), frame), {})
        for (number, path), pixels in sorted(segments.items(), key=lambda one: one[0][0]):
            _check_mask_size(path, pixels.shape, image.file.path, size)
            labels[pixels] = number
            source = path
        return labels, source

    return labels_of


def _segments(pydicom: Any, path: pathlib.Path, data: Any, frames: np.ndarray) -> Iterator[_Frame]:
    kind = str(data.get("SegmentationType", "BINARY"))
    if kind not in ("BINARY", "FRACTIONAL"):
        raise KerasganError(
            f"Mask {path} is a segmentation of type {kind}, which is not read. "
            "Export it as BINARY, or as NIfTI"
        )
    half = int(data.get("MaximumFractionalValue") or 255) / 2 if kind == "FRACTIONAL" else 0.5
    items = data.get("PerFrameFunctionalGroupsSequence") or []
    if len(items) != len(frames):
        raise KerasganError(f"Mask {path} describes {len(items)} of its {len(frames)} frames.")
    shared = (data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    for index, (item, pixels) in enumerate(zip(items, frames)):
        segment, derived = (
            item.get(name) or shared.get(name)
            for name in ("SegmentIdentificationSequence", "DerivationImageSequence")
        )
        if not segment:
            raise KerasganError(f"Mask {path} does not say which segment its frame {index + 1} is.")
        origins = [
            (str(origin.ReferencedSOPInstanceUID), None if number is None else int(number) - 1)
            for one in derived or []
            for origin in one.get("SourceImageSequence") or []
            for number in np.ravel(origin.get("ReferencedFrameNumber") or None).tolist()
        ]
        number = int(segment[0].ReferencedSegmentNumber)
        yield _Frame(number, pixels >= half, list(dict.fromkeys(origins)), _plane(data, index))


def _plane(data: Any, frame: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Position of the first pixel, and directions of rows and columns, of a frame; in mm."""
    position = frame_item(data, frame, "PlanePositionSequence").get("ImagePositionPatient")
    directions = frame_item(data, frame, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if not position or not directions or len(position) != 3 or len(directions) != 6:
        return None
    return np.array(position, float), np.array(directions, float).reshape(2, 3)


def _images_of(path: pathlib.Path, data: Any, frame: _Frame, listed: dict) -> list[tuple[str, int]]:
    """The images, and their frames from 0, that a frame of a segmentation belongs to.

    These are the ones that it refers to and, of several at other places, the nearest. Without
    references it belongs to all that lie where it lies itself.
    """
    wanted, space = frame.sources, data.get("FrameOfReferenceUID")
    if not wanted and frame.plane is not None and space:
        wanted = [
            (uid, None)
            for uid, image in listed.items()
            if image.header.get("FrameOfReferenceUID") == space
        ]
    if not wanted:
        raise KerasganError(
            f"Mask {path} does not say which image each of its frames was drawn on "
            f"(DerivationImageSequence), nor where they lie. Convert images and mask to NIfTI."
        )
    candidates = []
    for uid, position in wanted:
        image = listed.get(uid)
        count = 1 if image is None else int(image.header.get("NumberOfFrames") or 1)
        if image is None or (position is not None and count > 1 and position >= count):
            continue
        frames = range(count) if position is None or count == 1 else [position]
        candidates += [(uid, one, _distance(data, frame, image.header, one)) for one in frames]
    if not candidates:
        raise KerasganError(
            f"Mask {path} belongs to image {frame.sources[0][0]}, which is not among the images."
        )
    if frame.sources and any(distance is None for _, _, distance in candidates):
        uids = [uid for uid, _, _ in candidates]
        unclear = {uid for uid in uids if uids.count(uid) > 1}
        if unclear and all(position is None for _, position in frame.sources):
            raise KerasganError(
                f"Mask {path} does not say which frame of {unclear.pop()} it is of."
            )
        return [(uid, one) for uid, one, _ in candidates]
    near = [one for one in candidates if one[2] is not None and one[2].beside <= 0.5]
    nearest = min((one[2].across for one in near), default=np.inf)
    if nearest > (0.5 if frame.sources else _NEAR):
        if not frame.pixels.any():
            return []
        raise KerasganError(
            f"Mask {path} has a frame of segment {frame.number} that does not lie on the image it "
            f"belongs to: at {np.round(frame.plane[0], 3).tolist()} mm, rows and columns along "
            f"{np.round(frame.plane[1], 3).tolist()}. Convert images and mask to NIfTI."
        )
    return [(uid, one) for uid, one, distance in near if distance.across <= nearest + _NEAR]


class _Distance(NamedTuple):
    """How far a frame lies from an image: in slices across it, in pixels beside it."""

    across: float
    beside: float


def _distance(data: Any, frame: _Frame, header: Any, position: int) -> _Distance | None:
    """The distance, infinite if they are turned otherwise or in another space, None if unknown."""
    plane = _plane(header, position)
    if plane is None or frame.plane is None:
        return None
    spaces = [one.get("FrameOfReferenceUID") for one in (data, header)]
    if (all(spaces) and spaces[0] != spaces[1]) or np.abs(plane[1] - frame.plane[1]).max() > 0.01:
        return _Distance(np.inf, np.inf)
    measures = frame_item(header, position, "PixelMeasuresSequence")
    thickness = float(measures.get("SliceThickness") or 0) or 1.0
    spacing = [float(value) for value in measures.get("PixelSpacing") or (1, 1)]
    offset = frame.plane[0] - plane[0]
    along = np.abs(plane[1] @ offset) / [spacing[1], spacing[0]]
    return _Distance(abs(float(np.cross(*plane[1]) @ offset)) / thickness, float(along.max()))


def _warn_overlaps(parts: dict, listed: dict) -> None:
    pixels, images, first = defaultdict(int), defaultdict(int), {}
    for (uid, _), part in parts.items():
        for ((a, _), one), ((b, _), other) in combinations(sorted(part.items(), key=_number), 2):
            common = np.count_nonzero(one & other) if one.shape == other.shape and a != b else 0
            if common:
                pixels[a, b] += common
                images[a, b] += 1
                first.setdefault((a, b), listed[uid].file.path)
    if pixels:
        told = "; ".join(
            f"{a} and {b} by {pixels[a, b]} pixels in {images[a, b]} images, such as {first[a, b]}"
            for a, b in sorted(pixels)
        )
        warn(
            f"Segments overlap: {told}. Classes exclude each other, so such a pixel gets the "
            f"higher number. If that is wrong, convert the segments one by one, with classes=1."
        )


def _number(part: tuple) -> int:
    return part[0][0]


def _warn_names(names: dict[int, dict[str, pathlib.Path]]) -> None:
    for number, called in names.items():
        if len({label.casefold() for label in called}) > 1:
            told = ", ".join(f"{label!r} in {path}" for label, path in list(called.items())[:3])
            warn(
                f"Segment {number} is called {told}. Labels are the numbers of segments: make sure "
                f"that each number means one thing."
            )


def _check_mask_size(path: Any, received: tuple, image: Any, size: tuple[int, int]) -> None:
    if tuple(received) != tuple(size):
        raise KerasganError(
            f"Mask {path} must have the size of its image {image}: {size[0]} x {size[1]}. "
            f"Received: {received[0]} x {received[1]}"
        )

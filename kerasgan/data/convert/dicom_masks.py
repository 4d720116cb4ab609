"""Which labels a DICOM image has: from segmentations, or from images of labels."""

from __future__ import annotations

import pathlib
from typing import Any, Callable

import numpy as np

from kerasgan.data.convert import sources
from kerasgan.data.convert.dicom_pixels import open_header, stored_frames
from kerasgan.errors import KerasganError

__all__ = ["SEGMENTATION", "index"]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def index(pydicom: Any, found: list[sources.Found], given: object, images: list) -> Callable:
    """Find the mask of every image.

    Args:
        pydicom: The library.
        found: The mask files.
        given: What the user passed as masks; a list is paired in order.
        images: The image files, each with `found` and `header`.

    Returns:
        A function from an image, a frame number from 0 and a (height, width) to the labels and
        the mask's path.

    Raises:
        KerasganError: If masks and images do not belong together.

    Example:
        >>> index(None, [], [], [])  # doctest: +ELLIPSIS
        <function ...>
    """
    headers = [open_header(pydicom, one.path) for one in found]
    kinds = set()
    for one, header in zip(found, headers):
        with sources.reading(one.path, "DICOM"):
            kinds.add(header.get("SOPClassUID") == SEGMENTATION)
    if kinds == {True, False}:
        raise KerasganError("Argument 'masks' mixes segmentations (SEG) with other images.")
    if kinds == {True}:
        return _segmentations(pydicom, [one.path for one in found], images)
    listed = isinstance(given, (list, tuple))
    paths = sources.pair([image.found for image in images], found, listed) if images else []
    path_of = {image.found.path: path for image, path in zip(images, paths)}

    def labels_of(image: Any, frame: int, size: tuple[int, int]) -> tuple[np.ndarray, Any]:
        path = path_of[image.found.path]
        _, frames = stored_frames(pydicom, path)
        if frames.ndim != 3 or frame >= len(frames):
            raise KerasganError(
                f"Mask {path} must be grey and have as many frames as {image.found.path}."
            )
        _check_size(path, frames[frame].shape, image.found.path, size)
        return frames[frame], path

    return labels_of


def _segmentations(pydicom: Any, paths: list[pathlib.Path], images: list) -> Callable:
    listed = {str(image.header.get("SOPInstanceUID")): image for image in images}
    parts: dict[tuple[str, int], list[tuple[int, np.ndarray, pathlib.Path]]] = {}
    series = set()
    for path in paths:
        with sources.reading(path, "DICOM"):
            segments = list(_segments(pydicom, path))
        for uid, frame, number, pixels in segments:
            if uid not in listed:
                raise KerasganError(
                    f"Mask {path} belongs to image {uid}, which is not among the images."
                )
            image = listed[uid]
            several = int(image.header.get("NumberOfFrames") or 1) > 1
            if several and frame is None:
                raise KerasganError(f"Mask {path} does not say which frame of {uid} it is of.")
            place = (uid, frame - 1 if several else 0)
            parts.setdefault(place, []).append((number, pixels, path))
            series.add(image.header.get("SeriesInstanceUID"))

    def labels_of(image: Any, frame: int, size: tuple[int, int]) -> tuple[np.ndarray, Any]:
        if image.header.get("SeriesInstanceUID") not in series:
            raise KerasganError(f"No mask belongs to the series of image {image.found.path}.")
        labels, source = np.zeros(size, np.int64), ""
        key = (str(image.header.get("SOPInstanceUID")), frame)
        for number, pixels, path in sorted(parts.get(key, []), key=lambda part: part[0]):
            _check_size(path, pixels.shape, image.found.path, size)
            labels[pixels] = number
            source = path
        return labels, source

    return labels_of


def _segments(pydicom: Any, path: pathlib.Path):
    """Give (image, its frame from 1 or None, segment number, booleans) of each frame."""
    data, frames = stored_frames(pydicom, path)
    kind = str(data.get("SegmentationType", "BINARY"))
    if kind not in ("BINARY", "FRACTIONAL"):
        raise KerasganError(f"Mask {path} is a segmentation of type {kind}, which is not read.")
    half = int(data.get("MaximumFractionalValue") or 255) / 2 if kind == "FRACTIONAL" else 0.5
    items = data.get("PerFrameFunctionalGroupsSequence") or []
    if len(items) != len(frames):
        raise KerasganError(f"Mask {path} describes {len(items)} of its {len(frames)} frames.")
    shared = (data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    for item, pixels in zip(items, frames):
        segment = item.get("SegmentIdentificationSequence") or shared.get(
            "SegmentIdentificationSequence"
        )
        derived = item.get("DerivationImageSequence")
        origin = derived[0].get("SourceImageSequence") if derived else None
        if not segment or not origin:
            raise KerasganError(
                f"Mask {path} does not say which image each of its frames was drawn on "
                f"(DerivationImageSequence). Convert images and mask to NIfTI."
            )
        frame = origin[0].get("ReferencedFrameNumber")
        frame = None if frame is None else int(np.ravel(frame)[0])
        number = int(segment[0].ReferencedSegmentNumber)
        yield str(origin[0].ReferencedSOPInstanceUID), frame, number, pixels >= half


def _check_size(path: Any, received: tuple, image: Any, size: tuple[int, int]) -> None:
    if tuple(received) != tuple(size):
        raise KerasganError(
            f"Mask {path} must have the size of its image {image}: {size[0]} x {size[1]}. "
            f"Received: {received[0]} x {received[1]}"
        )

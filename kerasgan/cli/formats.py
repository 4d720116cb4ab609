"""Masks and relevance in the formats of clinics, made when the function that writes asks for them.

So everything that can be wrong with a folder is said before the first image is predicted.
"""

from __future__ import annotations

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

import kerasgan as kg
from kerasgan.errors import KerasganError

NAMED = ("coco", "dicom-seg")
"""Formats in which each label has a name."""


class Lazy(Mapping):
    """Arrays by name, each made when it is asked for."""

    def __init__(self, names: Sequence[str], make: Callable[[str], np.ndarray]):
        self._names, self._make = dict.fromkeys(names), make

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_converted(format: str, images: str | os.PathLike) -> None:
    """Refuse images without the table that leads back to where they came from."""
    kind = {"dicom-seg": "dicom", "dicom-map": "dicom", "nifti": "nifti"}.get(format)
    if kind and not (pathlib.Path(images) / "manifest.csv").is_file():
        raise KerasganError(
            f"For --format {format} IMAGES must be a folder that `kerasgan convert {kind}` wrote, "
            f"with its manifest.csv. Received: {images}"
        )


def check_segments(format: str, segments: Any, channels: int) -> list[Any] | None:
    """Check what labels are called, for a model of so many channels."""
    labels = max(channels - 1, 1)
    if format not in NAMED:
        if segments is not None:
            raise KerasganError(
                f"Argument '--segments' is for {' and '.join(NAMED)}. Received: --format {format}"
            )
        return None
    if segments is None and labels == 1:
        return None
    if not isinstance(segments, list) or len(segments) != labels:
        raise KerasganError(
            f"Argument '--segments' must list what the {labels} labels of the model are called, "
            f'such as \'["liver", "lesion"]\'. Received: {segments!r}'
        )
    return segments


def write_masks(
    format: str,
    names: Sequence[str],
    predict: Callable[[pathlib.Path], Any],
    images: str | os.PathLike,
    out: str | os.PathLike,
    channels: int,
    segments: list[Any] | None,
) -> list[pathlib.Path]:
    """Write masks in a format; `predict` writes them as PNG into a folder, at the first need."""
    convert = kg.data.convert
    with tempfile.TemporaryDirectory() as temporary:

        @functools.cache
        def folder() -> pathlib.Path:
            predict(pathlib.Path(temporary))
            return pathlib.Path(temporary)

        def mask(name: str) -> np.ndarray:
            with Image.open(folder() / f"{name}.png") as picture:
                pixels = np.asarray(picture)
            return pixels > 0 if channels == 1 else pixels

        masks = Lazy(names, mask)
        if format == "dicom-seg":
            return convert.to_dicom_seg(masks, images, out, segments=segments)
        if format == "coco":
            called = segments and [
                one["name"] if isinstance(one, dict) else one for one in segments
            ]
            return [convert.to_coco(masks, images, out, categories=called)]
        function = convert.to_nifti if format == "nifti" else convert.to_overlays
        return function(masks, images, out, classes=channels)

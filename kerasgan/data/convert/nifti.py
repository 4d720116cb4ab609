"""NIfTI volumes become slices."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kerasgan.data.convert import output, sources
from kerasgan.data.convert.predictions import KEY
from kerasgan.errors import KerasganError
from kerasgan.storage import file_keys
from kerasgan.validation import check_choice, check_whole_number

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def from_nifti(
    images: sources.Paths,
    out: str | os.PathLike,
    *,
    masks: sources.Paths | None = None,
    axis: str = "axial",
    window: sources.Window = None,
    classes: int = 1,
) -> pd.DataFrame:
    """Write the slices of NIfTI volumes as pictures.

    Volumes are brought to canonical orientation (RAS+) by turning and flipping whole axes, with no
    resampling, and shown as radiologists do: the front or the head is above, the patient's right
    (in sagittal slices the front) is on the left. Pixels need not be square; the manifest says how
    far apart they are. A slice is named `volume/0007`, folders in front, so that
    `split_groups(lambda name: name.split("/")[0], ...)` keeps a volume, or a patient's folder,
    together. Slices count from the patient's left, back or feet, from 0.

    Images have 16 bits. Not read: several volumes in one file, colour, complex values.

    Args:
        images: A file (`.nii`, `.nii.gz`), a folder of them, or a list of files.
        out: The folder to write: new, or an interrupted conversion with the same settings.
        masks: Label volumes on the same grids: of the same names in a folder, with or without
            `_mask`, or a list in the same order. None writes images alone.
        axis: "axial", "coronal" or "sagittal".
        window: (level, width) in the volume's units: what lies below level - width / 2 is black,
            above level + width / 2 white. None stretches each volume from its 0.5th to its
            99.5th percentile.
        classes: 1 makes every label but 0 the foreground, black and white, and warns of several;
            n > 1 keeps labels 0 to n-1, for `load_folder(out, classes=n)`.

    Returns:
        The table in `manifest.csv`: name, source, mask, axis, slice, low and high (what became
        black and white), the distances of rows, columns and slices in the file's unit, mostly mm,
        and `source_key`, by which `to_nifti` sees that the source is as it was.

    Raises:
        KerasganError: If a file cannot be used, a mask lies on another grid or has no image, or
            `out` holds anything else.

    Example:
        >>> import nibabel
        >>> volume = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        >>> nibabel.save(volume, "scan.nii.gz")
        >>> from_nifti("scan.nii.gz", "slices", window=(12, 24))["name"].tolist()
        ['scan/0000', 'scan/0001', 'scan/0002', 'scan/0003']
    """
    nibabel = sources.import_optional("nibabel", "nifti")
    limits = sources.check_window(window)
    classes = check_whole_number("classes", classes, 1, 255)
    check_choice("axis", axis, AXES)
    volumes = sources.find_files(images, "images", _ending)
    mask_paths = [None] * len(volumes)
    if masks is not None:
        mask_files = sources.find_files(masks, "masks", _ending)
        mask_paths = sources.match_masks(volumes, mask_files, isinstance(masks, (list, tuple)))

    known: set[int] = set()

    def slices(volume, mask) -> Iterator[output.Picture]:
        values, affine, spacing = _read(nibabel, volume.path)
        labels = None
        if mask is not None:
            labels, mask_affine, _ = _read(nibabel, mask)
            _check_grid(volume.path, values.shape, affine, mask, labels.shape, mask_affine)
            shown = sources.label_mask(labels, classes, mask)
            if classes == 1:
                sources.warn_of_merged(known, labels, mask)
            labels = as_seen(shown, AXES[axis])
        low, high = limits or sources.robust_range(values, volume.path)
        sources.check_finite_values(values, volume.path)
        across = np.delete(spacing, AXES[axis])
        (key,) = file_keys([volume.path])
        for index, pixels in enumerate(as_seen(values, AXES[axis])):
            row = {
                "source": str(volume.path),
                "mask": str(mask or ""),
                "axis": axis,
                "slice": index,
                "low": low,
                "high": high,
                "row_distance": float(across[1]),
                "column_distance": float(across[0]),
                "slice_distance": float(spacing[AXES[axis]]),
                KEY: key,
            }
            name = output.safe_name(*volume.parts, f"{index:04}")
            picture = sources.to_uint16(pixels, low, high)
            yield output.Picture(name, picture, None if labels is None else labels[index], row)

    settings = {"from": "nifti", "axis": axis, "window": limits, "classes": classes}
    settings["masks"] = masks is not None
    jobs = [
        (f"{pair[0].path} {pair[1] or ''}", lambda pair=pair: slices(*pair))
        for pair in zip(volumes, mask_paths)
    ]
    return output.write_folder(out, settings, jobs)


def _ending(name: str) -> str | None:
    return next((name[-len(e) :] for e in (".nii.gz", ".nii") if name.lower().endswith(e)), None)


def _read(nibabel, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, affine and spacing in canonical orientation."""
    with sources.errors_naming(path, "NIfTI"):
        with open(path, "rb") as file:
            start = file.read(2)
        packed = start == b"\x1f\x8b"
        if start and packed != path.name.lower().endswith(".gz"):
            raise KerasganError(
                f"File {path} is {'' if packed else 'not '}packed by gzip, unlike its name says. "
                f"Rename it, to end in {'.nii.gz' if packed else '.nii'}"
            )
        volume = nibabel.load(path)
        if not isinstance(volume, nibabel.Nifti1Pair):
            raise KerasganError(f"File {path} is no NIfTI file but {type(volume).__name__}.")
        shape = volume.shape
        if len(shape) < 3 or max(shape[3:], default=1) > 1:
            advice = "nibabel.four_to_three makes single volumes of several."
            if len(shape) < 3:
                advice = "Save a slice alone with a third axis of 1, or as a picture."
            raise KerasganError(
                f"File {path} must hold one volume of three axes. Received: shape {shape}. {advice}"
            )
        if volume.get_data_dtype().kind not in "iuf":
            raise KerasganError(f"File {path} holds {volume.get_data_dtype()}, not plain numbers.")
        sides = sorted(shape[:3])
        sources.check_pixel_count(path, sides[2], sides[1], sides[0])
        if len(shape) > 3:
            volume = volume.slicer[(..., *(0,) * (len(shape) - 3))]
        volume = nibabel.as_closest_canonical(volume)
        return np.asarray(volume.dataobj), volume.affine, np.asarray(volume.header.get_zooms()[:3])


def _check_grid(image, shape: tuple, affine: np.ndarray, mask, mask_shape: tuple, mask_affine):
    """Raise unless each voxel of the mask lies where that of the image lies, to a quarter of it."""
    expected = f"Mask {mask} must lie on the grid of its image {image}: shape {shape}, voxels at"
    if mask_shape != shape:
        raise KerasganError(f"{expected} the same places. Received: shape {mask_shape}")
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * [*np.array(shape) - 1, 1]
    shift = np.linalg.norm((affine - mask_affine)[:3] @ corners.T, axis=0).max()
    side = np.linalg.norm(affine[:3, :3], axis=0).min()
    if not shift <= side / 4:
        raise KerasganError(
            f"{expected} the same places. Received: other places, up to {shift:.4g} apart, by "
            f"voxels of {side:.4g}. Resample the mask on the image's grid, or, if its header is "
            "wrong, give it the image's affine."
        )


def as_seen(values: np.ndarray, axis: int) -> np.ndarray:
    """Return a view of an RAS+ volume as (slices, rows, columns)."""
    return np.moveaxis(values, axis, 0)[:, ::-1, ::-1].swapaxes(1, 2)

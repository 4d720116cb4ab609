"""Masks of slices become NIfTI volumes on the grids of their images."""

from __future__ import annotations

import gzip
import os
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from kerasgan.data.convert import predictions, sources
from kerasgan.data.convert.nifti import AXES, as_seen
from kerasgan.errors import KerasganError
from kerasgan.validation import check_whole_number


def to_nifti(
    masks: predictions.Arrays,
    pictures: str | os.PathLike,
    out: str | os.PathLike,
    *,
    classes: int = 1,
) -> list[pathlib.Path]:
    """Write masks of slices as NIfTI volumes, on the grids of the volumes they came from.

    The way back of `from_nifti`: slices are turned and stacked as their volume is stored, and the
    file has its shape, affine, qform, sform, their codes and its units. Values are labels of 8
    bits. A mask of a slice without foreground is a slice of zeros.

    Args:
        masks: Folder of masks called as their slices, as `predict_to_folder` writes them; or a
            dictionary from names to arrays (height, width), boolean or labels from 0.
        pictures: The folder that `from_nifti` wrote. Its volumes must still be where its
            `manifest.csv` says, unchanged.
        out: Folder for the volumes, called as those of the images; made if need be.
        classes: 1 for masks of a foreground; n > 1 for labels 0 to n-1.

    Returns:
        Paths of the volumes, `.nii.gz`.

    Raises:
        KerasganError: If a slice of a volume has no mask or one of another size, a mask belongs to
            no slice, a source is missing or has changed, or a file exists (nothing is overwritten).

    Example:
        >>> import nibabel
        >>> from kerasgan.data.convert import from_nifti, to_nifti
        >>> volume = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        >>> nibabel.save(volume, "brain.nii.gz")
        >>> table = from_nifti("brain.nii.gz", "brain_slices", window=(12, 24))
        >>> masks = {name: np.ones((3, 2), bool) for name in table["name"]}
        >>> to_nifti(masks, "brain_slices", "brain_masks")[0].name
        'brain.nii.gz'
    """
    nibabel = sources.import_optional("nibabel", "nifti")
    classes = check_whole_number("classes", classes, 1, 255)
    maps = predictions.find_masks(masks, max(classes - 1, 1))
    table = predictions.read_origins(pictures, maps, "axis", "from_nifti")
    volumes = [(str(source), rows) for source, rows in table.groupby("source", sort=True)]
    names = [rows["name"].iloc[0].rpartition("/")[0] for _, rows in volumes]
    paths = predictions.free_paths(out, names, ".nii.gz")
    for (source, rows), path in zip(volumes, paths):
        with sources.errors_naming(source, "NIfTI"):
            content = _on_grid(nibabel, source, rows, maps).to_bytes()
        predictions.write_new(path, gzip.compress(content, mtime=0))
    return paths


def _on_grid(nibabel: Any, source: str, rows: pd.DataFrame, maps: predictions.Maps) -> Any:
    volume = nibabel.load(source)
    stored = nibabel.orientations.io_orientation(volume.affine)
    shape = np.zeros(3, int)
    shape[stored[:, 0].astype(int)] = volume.shape[:3]
    labels = np.zeros(shape, np.uint8)
    slices = as_seen(labels, AXES[rows["axis"].iloc[0]])
    numbers = rows["slice"].astype(int).tolist()
    missing = sorted(set(range(len(slices))) - set(numbers))
    if missing:
        raise KerasganError(
            f"Every slice of {source} must have a mask, as one without would be background. "
            f"Received {len(numbers)} masks for {len(slices)} slices; missing: "
            f"{', '.join(map(str, missing[:6]))}{', ...' if len(missing) > 6 else ''}"
        )
    for number, name in zip(numbers, rows["name"]):
        slices[number][...] = maps(name, slices.shape[1:], source)
    canonical = nibabel.orientations.axcodes2ornt("RAS")
    turn = nibabel.orientations.ornt_transform(canonical, stored)
    header = volume.header.copy()
    header.extensions.clear()  # which may tell of the patient
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # how the image is to be shown
    stored_as = nibabel.orientations.apply_orientation(labels, turn)
    return type(volume)(stored_as, volume.affine, header)

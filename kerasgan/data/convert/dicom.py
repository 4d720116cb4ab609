"""DICOM series become pictures."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from kerasgan.data.convert import dicom_masks, output, sources
from kerasgan.data.convert.dicom_pixels import Display, open_header
from kerasgan.errors import KerasganError

_NO_IMAGES = (dicom_masks.SEGMENTATION, "1.2.840.10008.5.1.4.1.1.481.3")


class _File(NamedTuple):
    found: sources.SourceFile
    header: object


def from_dicom(
    images: sources.Paths,
    out: str | os.PathLike,
    *,
    masks: sources.Paths | None = None,
    window: sources.Window = None,
    classes: int = 1,
) -> pd.DataFrame:
    """Write DICOM images, slices or frames, as pictures.

    Stored values are brought to their units (rescale slope and intercept, or the file's table: for
    CT Hounsfield units), then to grey by the window, and inverted where the file says that
    low is white (MONOCHROME1). Grey images have 16 bits, those stored in 8 bits and shown
    unchanged 8; colour images (RGB, YCbCr, palettes) have 8.

    Series are sorted by slice position, or by instance number where there is none. A picture is
    named `patient/series-hash_0001`: the patient is the PatientID, so pseudonymise first if that
    is needed. `split_groups(lambda name: name.split("/")[0], ...)` keeps patients together.

    Masks may be DICOM segmentations (SEG; BINARY or FRACTIONAL, cut at half), which say
    themselves which images they belong to: each frame goes to all images that it refers to or,
    of several at other places, to the nearest; without references, to the images that lie where it
    lies. Segment numbers are the labels, the higher number on top where segments overlap, of which
    a warning tells. Or masks are DICOM images with the same file names as the images, whose stored
    values are the labels. Not read: contours (RTSTRUCT) and label-map segmentations.

    Args:
        images: A folder, a file or a list of files. In a folder those ending in `.dcm`, `.dicom`,
            `.ima`, a number, or nothing are read.
        out: The folder to write: new, or an interrupted conversion with the same settings.
        masks: Likewise, the masks. None writes images alone.
        window: (level, width) in the image's units, for example (40, 400) for soft tissue: what
            lies below level - width / 2 is black, above level + width / 2 white. None takes each
            image's own first window or table, and where it has none the 0.5th to 99.5th
            percentile of the series.
        classes: 1 makes every label but 0 the foreground, black and white; n > 1 keeps labels 0
            to n-1, for `load_folder(out, classes=n)`.

    Returns:
        The table in `manifest.csv`: name, source, mask, frame, patient, series, how values became
        grey, and the distance of rows and columns in mm.

    Raises:
        KerasganError: If a file cannot be used, its compression has no decoder, a series has
            images of several sizes, a mask has another size, or `out` holds anything else.

    Example:
        >>> import pydicom.data
        >>> file = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
        >>> from_dicom(file, "ct", window=(40, 400))["name"].tolist()
        ['1CT1/1-5713db_0001']
    """
    pydicom = sources.import_optional("pydicom", "dicom")
    limits = sources.check_window(window)
    classes = sources.check_classes(classes)
    files = [
        _checked(_File(found, open_header(pydicom, found.path)))
        for found in sources.find_files(images, "images", _ending)
    ]
    for file in files:
        if file.header.get("SOPClassUID") in _NO_IMAGES:
            raise KerasganError(
                f"File {file.found.path} is a {file.header.SOPClassUID.name} and no image. "
                f"Segmentations go in 'masks'."
            )
    series: dict[str, list[_File]] = {}
    for file in files:
        series.setdefault(str(file.header.get("SeriesInstanceUID", "")), []).append(file)
    for key, members in series.items():
        _check_sizes(members)
        series[key] = sorted(members, key=_place(members))
    mask_of = None
    if masks is not None:
        mask_of = dicom_masks.index(
            pydicom, sources.find_files(masks, "masks", _ending), masks, files, classes
        )

    def pictures(members: list[_File]) -> Iterator[output.Picture]:
        display = Display(pydicom, [file.found.path for file in members], limits)
        number = 0
        for file in members:
            with sources.errors_naming(file.found.path, "DICOM"):
                for frame, pixels, how in display(file.found.path):
                    number += 1
                    mask, source = None, ""
                    if mask_of is not None:
                        labels, source = mask_of(file, frame, pixels.shape[:2])
                        mask = sources.label_mask(labels, classes, source)
                    row = _row(file, frame, how, source)
                    yield output.Picture(_name(file.header, number), pixels, mask, row)

    settings = {"from": "dicom", "window": limits, "classes": classes, "masks": masks is not None}
    jobs = [
        (f"{key} {members[0].found.path} {len(members)}", lambda members=members: pictures(members))
        for key, members in sorted(series.items())
    ]
    return output.write_folder(out, settings, jobs)


def _ending(name: str) -> str | None:
    ending = pathlib.PurePath(name).suffix
    if name.upper() == "DICOMDIR":
        return None
    if ending.lower() in (".dcm", ".dicom", ".ima"):
        return ending
    return "" if not ending or ending[1:].isdigit() else None


def _checked(file: _File) -> _File:
    """Read what the header is asked for later: pydicom takes an element apart when it is used."""
    with sources.errors_naming(file.found.path, "DICOM"):
        _ = _row(file, 0, "", ""), _name(file.header, 0), _place([file])(file)
        _ = file.header.get("SOPClassUID"), file.header.get("SOPInstanceUID")
    return file


def _check_sizes(members: list[_File]) -> None:
    first = members[0]
    for file in members[1:]:
        one, other = ((f.header.Rows, f.header.Columns) for f in (first, file))
        if one != other:
            raise KerasganError(
                f"Images of one series must have one size. Received: {first.found.path} of "
                f"{one[0]} x {one[1]} and {file.found.path} of {other[0]} x {other[1]}. "
                f"Convert them apart, as lists of files."
            )


def _place(members: list[_File]):
    """The key to sort a series by: along its normal if every image says where it lies."""
    places = {}
    for file in members:
        position = file.header.get("ImagePositionPatient")
        turned = file.header.get("ImageOrientationPatient")
        if not position or not turned or len(position) != 3 or len(turned) != 6:
            places = {}
            break
        normal = np.cross(np.array(turned[:3], float), np.array(turned[3:], float))
        places[file.found.path] = round(float(normal @ np.array(position, float)), 4)
    return lambda file: (
        places.get(file.found.path, 0.0),
        int(file.header.get("InstanceNumber") or 0),
        file.found.parts,
    )


def _patient(header) -> str:
    return str(header.get("PatientID") or header.get("StudyInstanceUID") or "unknown").strip()


def _name(header, number: int) -> str:
    digest = hashlib.sha256(str(header.get("SeriesInstanceUID", "")).encode()).hexdigest()[:6]
    series = f"{header.get('SeriesNumber') or 0}-{digest}"
    return output.safe_name(_patient(header), f"{series}_{number:04}")


def _row(file: _File, frame: int, how: str, mask: object) -> dict:
    distances = file.header.get("PixelSpacing") or ["", ""]
    return {
        "source": str(file.found.path),
        "mask": str(mask),
        "frame": frame,
        "patient": _patient(file.header),
        "series": str(file.header.get("SeriesInstanceUID", "")),
        "grey": how,
        "row_distance": distances[0] and float(distances[0]),
        "column_distance": distances[1] and float(distances[1]),
    }

"""DICOM series become pictures."""

from __future__ import annotations

import hashlib
import itertools
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from kerasgan.data.convert import dicom_masks, output, sources
from kerasgan.data.convert.dicom_pixels import Display, frame_item, open_header
from kerasgan.data.convert.predictions import KEY
from kerasgan.data.folders import list_some
from kerasgan.errors import KerasganError, warn
from kerasgan.storage import file_keys
from kerasgan.validation import check_whole_number

_SIDES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_ROUNDED = 1e-3
_NO_IMAGES = (*dicom_masks.SEGMENTATIONS, "1.2.840.10008.5.1.4.1.1.481.3")


class _Image(NamedTuple):
    file: sources.SourceFile
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
    unchanged 8; colour images (RGB, YCbCr, palettes) have 8. Pixels need not be square: they are
    written as stored, and a warning tells where the manifest cannot say how far apart they are.

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
        classes: 1 makes every label but 0 the foreground, black and white, and warns of several;
            n > 1 keeps labels 0 to n-1, for `load_folder(out, classes=n)`.

    Returns:
        The table in `manifest.csv`: name, source, mask, frame, patient, series, how values became
        grey, the distance of rows and columns in mm, and `source_key`, by which `to_dicom_seg` sees
        that the source is as it was.

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
    classes = check_whole_number("classes", classes, 1, 255)
    listed, series = [], defaultdict(list)
    for file in sources.find_files(images, "images", _ending):
        image = _checked(_Image(file, open_header(pydicom, file.path)))
        if image.header.get("SOPClassUID") in _NO_IMAGES:
            raise KerasganError(
                f"File {file.path} is a {image.header.SOPClassUID.name} and no image. "
                f"Segmentations go in 'masks'."
            )
        listed.append(image)
        series[str(image.header.get("SeriesInstanceUID", ""))].append(image)
    for key, members in series.items():
        _check_sizes(members)
        series[key] = sorted(members, key=_slice_order(members))
    _warn_of_copies(listed)
    _warn_of_unequal_sides(listed)
    mask_of = None
    if masks is not None:
        mask_files = sources.find_files(masks, "masks", _ending)
        mask_of = dicom_masks.find_masks(pydicom, mask_files, masks, listed, classes)

    def pictures(members: list[_Image]) -> Iterator[output.Picture]:
        display = Display(pydicom, [image.file.path for image in members], limits)
        numbers = itertools.count(1)
        for image in members:
            with sources.errors_naming(image.file.path, "DICOM"):
                (key,) = file_keys([image.file.path])
                for frame, pixels, how in display(image.file.path):
                    mask, source = None, ""
                    if mask_of is not None:
                        labels, source = mask_of(image, frame, pixels.shape[:2])
                        mask = sources.label_mask(labels, classes, source)
                    row = {**_row(image, frame, how, source), KEY: key}
                    yield output.Picture(_name(image.header, next(numbers)), pixels, mask, row)

    settings = {"from": "dicom", "window": limits, "classes": classes, "masks": masks is not None}
    jobs = [
        (f"{key} {members[0].file.path} {len(members)}", lambda members=members: pictures(members))
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


def _checked(image: _Image) -> _Image:
    """Read what the header is asked for later: pydicom takes an element apart when it is used."""
    with sources.errors_naming(image.file.path, "DICOM"):
        _ = _row(image, 0, "", ""), _name(image.header, 0), _slice_order([image])(image)
        _ = image.header.get("SOPClassUID"), image.header.get("SOPInstanceUID")
    return image


def _check_sizes(members: list[_Image]) -> None:
    first = members[0]
    for image in members:
        one, other = ((f.header.Rows, f.header.Columns) for f in (first, image))
        if one != other:
            raise KerasganError(
                f"Images of one series must have one size. Received: {first.file.path} of "
                f"{one[0]} x {one[1]} and {image.file.path} of {other[0]} x {other[1]}. "
                "Convert them apart, from folders of their own, or as lists of files"
            )


def _warn_of_copies(images: list[_Image]) -> None:
    """Warn of images that are there twice, as far as their identifiers say."""
    files = defaultdict(list)
    for image in images:
        files[str(image.header.get("SOPInstanceUID", image.file.path))].append(image.file.path)
    copies = [f"{ones[1]} and {ones[0]}" for ones in files.values() if len(ones) > 1]
    if copies:
        warn(
            f"Files with one SOPInstanceUID are all converted: {list_some(copies, 'of them')}. "
            "Remove copies, or they count twice."
        )


def _warn_of_unequal_sides(images: list[_Image]) -> None:
    """Warn where pixels are not square and the manifest has no distances that would say so."""
    unequal = []
    for image in images:
        name, sides = next(_stated_sides(image), ("PixelSpacing", (1.0, 1.0)))
        if name != "PixelSpacing" and abs(sides[0] / sides[1] - 1) > _ROUNDED:
            shown = "{:g} : {:g}".format(*sides)
            unequal.append(f"{image.file.path} ({name}: height to width {shown})")
    if unequal:
        warn(
            f"Pixels that are not square are written as stored, so shapes look stretched: "
            f"{list_some(unequal, 'images')}. To measure distances pass spacing=(height, width) "
            "of a pixel to kerasgan.evaluate."
        )


def _stated_sides(image: _Image, frame: int = 0) -> Iterator[tuple[str, tuple[float, float]]]:
    """What a header says of the height and width of pixels, in the standard's order."""
    for name in _SIDES:
        own = image.header
        own = frame_item(own, frame, "PixelMeasuresSequence") if name == "PixelSpacing" else own
        values = np.ravel(own.get(name) or []).astype(float)
        if values.size == 2 and (values > 0).all():
            yield name, (float(values[0]), float(values[1]))


def _slice_order(members: list[_Image]):
    """The key to sort a series by: along its normal if every image says where it lies."""
    positions = {}
    for image in members:
        position = image.header.get("ImagePositionPatient")
        directions = image.header.get("ImageOrientationPatient")
        if not position or not directions or len(position) != 3 or len(directions) != 6:
            positions = {}
            break
        normal = np.cross(np.array(directions[:3], float), np.array(directions[3:], float))
        positions[image.file.path] = round(float(normal @ np.array(position, float)), 4)
    return lambda image: (
        positions.get(image.file.path, 0.0),
        int(image.header.get("InstanceNumber") or 0),
        image.file.parts,
    )


def _patient(header) -> str:
    return str(header.get("PatientID") or header.get("StudyInstanceUID") or "unknown").strip()


def _name(header, number: int) -> str:
    digest = hashlib.sha256(str(header.get("SeriesInstanceUID", "")).encode()).hexdigest()[:6]
    series = f"{header.get('SeriesNumber') or 0}-{digest}"
    return output.safe_name(_patient(header), f"{series}_{number:04}")


def _row(image: _Image, frame: int, how: str, mask: object) -> dict:
    distances = dict(_stated_sides(image, frame)).get("PixelSpacing", ("", ""))
    return {
        "source": str(image.file.path),
        "mask": str(mask),
        "frame": frame,
        "patient": _patient(image.header),
        "series": str(image.header.get("SeriesInstanceUID", "")),
        "grey": how,
        "row_distance": distances[0],
        "column_distance": distances[1],
    }

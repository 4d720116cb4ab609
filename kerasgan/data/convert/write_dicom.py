"""Masks become DICOM segmentations, relevance becomes DICOM parametric maps, by highdicom.

highdicom makes such an object from single images that lie in a frame of reference, each at a place
of its own. So each picture is given to it as a stand-in of that kind, and in what it makes the
references are then set to the image, or the frame of a multi-frame image, that the picture is of.
Where the image does not say where it lies, neither does the result.
"""

from __future__ import annotations

import copy
import io
import os
import pathlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, Union

import numpy as np

from kerasgan._version import __version__
from kerasgan.data.convert import predictions, sources
from kerasgan.data.convert.dicom_pixels import frame_item, open_header
from kerasgan.errors import KerasganError
from kerasgan.validation import check_text, invalid

Segment = Union[str, Mapping[str, Any]]
_TISSUE = ("85756007", "SCT", "Tissue")
_STAND_IN = "1.2.840.10008.5.1.4.1.1.2"  # CT image: single frames in a frame of reference
_SAME = 1e-4  # directions and distances, as files round them
_COPIED_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0040)
_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""What highdicom asks of every image and refuses where it is not as the standard wants it."""


class _Plane(NamedTuple):
    """Where a frame lies, as its file says it."""

    space: str
    position: Any
    directions: Any
    spacing: Any
    thickness: Any

    def distance(self) -> float:
        """How far along the normal, in mm."""
        directions = np.array(self.directions, float)
        return float(np.cross(directions[:3], directions[3:]) @ np.array(self.position, float))

    def parallel(self, other: _Plane) -> bool:
        """Whether two frames could be slices of one volume."""
        if self.space != other.space:
            return False
        pairs = ((self.directions, other.directions), (self.spacing, other.spacing))
        near = (np.abs(np.array(a, float) - np.array(b, float)).max() < _SAME for a, b in pairs)
        return all(near)


class _Frame(NamedTuple):
    """An image, or one frame of it, that a picture was made of."""

    name: str
    path: str
    header: Any
    index: int
    plane: _Plane | None


def to_dicom_seg(
    masks: predictions.Arrays,
    pictures: str | os.PathLike,
    out: str | os.PathLike,
    *,
    segments: Sequence[Segment] | None = None,
    algorithm: str | None = "kerasgan",
) -> list[pathlib.Path]:
    """Write masks as DICOM segmentations (SEG) of the images they were made from.

    The way back of `from_dicom`: patient, study and frame of reference are those of the images,
    and each frame of the segmentation refers to its image, or to its frame of a multi-frame image,
    and lies where it lies. A series gives one segmentation, of type BINARY; where slices have
    several directions, or several images lie at one place (phases, echoes), one for each volume.
    Images that do not say where they lie (endoscopy, much of ultrasound) are referred to alone.

    Frames without foreground are left out, as usual; the list of images that the segmentation
    refers to has them. If all are without, the segmentation has a frame of zeros for each.

    Args:
        masks: Folder of masks called as their pictures, as `predict_to_folder` writes them; or a
            dictionary from names to arrays (height, width), boolean or labels from 0. Pictures
            that have none are not part of the segmentation.
        pictures: The folder that `from_dicom` wrote. Its images must still be where its
            `manifest.csv` says, unchanged.
        out: Folder for the segmentations, called as the series in `pictures`; made if need be.
        segments: What labels 1 to n are: a name, or a dictionary with "name" and codes (value,
            scheme, meaning) as "category" (CID 7150) and "type" (CID 7151), such as {"name":
            "liver", "category": ("91723000", "SCT", "Anatomical Structure"), "type":
            ("10200004", "SCT", "Liver")}. The code is Tissue where none is given. None for masks of
            one foreground, called "foreground".
        algorithm: What drew the masks, which are marked as AUTOMATIC; None marks them as drawn by
            a person (MANUAL).

    Returns:
        Paths of the segmentations, `.dcm`.

    Raises:
        KerasganError: If a mask has another size than its image or belongs to none, masks hold
            labels without a name, a source is missing or has changed, an image lacks a UID, or a
            file exists (nothing is overwritten).

    Example:
        >>> import pydicom.data
        >>> from kerasgan.data.convert import from_dicom, to_dicom_seg
        >>> file = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
        >>> name = from_dicom(file, "ct_pictures", window=(40, 400))["name"][0]
        >>> masks = {name: np.ones((128, 128), bool)}
        >>> to_dicom_seg(masks, "ct_pictures", "ct_seg", segments=["body"])[0].name
        '1-5713db.dcm'

    Source: DICOM PS3.3, A.51 and C.8.20; highdicom, Bridge et al. 2022.
    """
    highdicom = _highdicom()
    described = _segments(highdicom, segments, algorithm)
    maps = predictions.find_masks(masks, len(described))

    def make(frames: list[_Frame], stand_ins: list, options: dict) -> Any:
        array = np.stack([maps(one.name, _size(one), one.path) for one in frames])
        made = highdicom.seg.Segmentation(
            stand_ins,
            array,
            highdicom.seg.SegmentationTypeValues.BINARY,
            described,
            omit_empty_frames=bool(array.any()),
            content_label="SEGMENTATION",
            series_description="Segmentation by kerasgan" if algorithm else "Segmentation",
            **options,
        )
        return made, lambda data: _holds(data, frames, array)

    return _write(maps, pictures, out, make)


def to_dicom_map(
    relevance: Mapping[str, Any],
    pictures: str | os.PathLike,
    out: str | os.PathLike,
    *,
    description: str = "Relevance",
) -> list[pathlib.Path]:
    """Write relevance as DICOM parametric maps of the images that were explained.

    Values are stored as they are, floating point numbers of 32 bits without unit; channels are
    added up. The window is as wide as the largest value, around zero. Files, references and places
    are as of `to_dicom_seg`, but every picture that is given has a frame. The maps are marked as
    RESEARCH.

    Args:
        relevance: From names of pictures to arrays (height, width) or (height, width, channels) of
            the size of the images; `kerasgan.explain.to_original` brings relevance there.
        pictures: The folder that `from_dicom` wrote. Its images must still be where its
            `manifest.csv` says, unchanged.
        out: Folder for the maps, called as the series in `pictures`; made if need be.
        description: What the values are, at most 64 characters, such as rule and target.

    Returns:
        Paths of the maps, `.dcm`.

    Raises:
        KerasganError: If an array has another size than its image, belongs to none or is not
            finite, a source is missing or has changed, an image lacks a UID, or a file exists
            (nothing is overwritten).

    Example:
        >>> import pydicom.data
        >>> from kerasgan.data.convert import from_dicom, to_dicom_map
        >>> file = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
        >>> name = from_dicom(file, "ct_explained", window=(40, 400))["name"][0]
        >>> relevance = np.random.default_rng(0).normal(size=(128, 128))
        >>> to_dicom_map({name: relevance}, "ct_explained", "ct_map")[0].name
        '1-5713db.dcm'

    Source: DICOM PS3.3, A.75 and C.8.32; highdicom, Bridge et al. 2022.
    """
    highdicom = _highdicom()
    if not 0 < len(check_text("description", description).strip()) <= 64 or "\\" in description:
        raise invalid("description", "a text of at most 64 characters", description)
    maps = predictions.find_relevance(relevance)

    def make(frames: list[_Frame], stand_ins: list, options: dict) -> Any:
        array = np.stack([maps(one.name, _size(one), one.path) for one in frames])
        limit = float(np.abs(array).max()) or 1.0
        mapping = highdicom.pm.RealWorldValueMapping(
            lut_label="RELEVANCE",
            lut_explanation=description,
            unit=highdicom.sr.CodedConcept("1", "UCUM", "no units"),
            value_range=(-limit, limit),
            slope=1.0,
            intercept=0.0,
            quantity_definition=highdicom.sr.CodedConcept("relevance", "99KERASGAN", "Relevance"),
        )
        window = highdicom.VOILUTTransformation(
            window_center=0,
            window_width=float(f"{2 * limit:.6g}"),
            voi_lut_function=highdicom.VOILUTFunctionValues.LINEAR_EXACT,
        )
        made = highdicom.pm.ParametricMap(
            stand_ins,
            array,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[window],
            content_label="RELEVANCE",
            content_description=description,
            series_description="Relevance by kerasgan",
            **options,
        )
        _sort_frames(made, frames)
        return made, lambda data: _shows(data, frames, array)

    return _write(maps, pictures, out, make)


def _highdicom() -> Any:
    if sys.version_info < (3, 10):
        raise KerasganError(
            "DICOM is written by highdicom, of which kerasgan needs a version for Python 3.10 or "
            "later, and this is Python 3.9. Write NIfTI, COCO or PNG, or use a later Python."
        )
    sources.import_optional("pydicom", "dicom")
    return sources.import_optional("highdicom", "highdicom")


def _segments(highdicom: Any, segments: Any, algorithm: str | None) -> list:
    expected = (
        "a list of names or of dictionaries with 'name' and, as (value, scheme, meaning), 'type' "
        "and 'category'"
    )
    if segments is None:
        segments = ["foreground"]
    if not isinstance(segments, (list, tuple)):
        raise invalid("segments", expected, segments)
    parts = [{"name": one} if isinstance(one, str) else one for one in segments]
    for part in parts:
        if not isinstance(part, Mapping) or not {"name"} <= set(part) <= {
            "name",
            "category",
            "type",
        }:
            raise invalid("segments", expected, part)
    names = predictions.check_names("segments", [part["name"] for part in parts], "")
    identity = None
    if algorithm is not None:
        if not 0 < len(check_text("algorithm", algorithm).strip()) <= 64:
            raise invalid("algorithm", "a name of at most 64 characters, or None", algorithm)
        family = _code(highdicom, "family", ("123110", "DCM", "Artificial Intelligence"))
        identity = highdicom.AlgorithmIdentificationSequence(algorithm, family, __version__)
    described = []
    for number, (name, part) in enumerate(zip(names, parts), 1):
        if len(name) > 64 or "\\" in name:
            raise invalid("segments", "names of at most 64 characters without backslash", name)
        category, kind = (_code(highdicom, key, part.get(key, _TISSUE)) for key in _CODES)
        kinds = highdicom.seg.SegmentAlgorithmTypeValues
        how = kinds.AUTOMATIC if identity else kinds.MANUAL
        description = highdicom.seg.SegmentDescription(number, name, category, kind, how, identity)
        described.append(description)
    return described


_CODES = ("category", "type")


def _code(highdicom: Any, key: str, code: Any) -> Any:
    texts = isinstance(code, (list, tuple)) and all(isinstance(part, str) for part in code)
    if not texts or len(code) != 3 or not all(map(str.strip, code)):
        fits = False
    else:
        fits = all(len(part) <= most for part, most in zip(code, (16, 16, 64)))
    if not fits:
        raise invalid(
            f"segments: {key}",
            "a code, three texts (value, scheme, meaning) of at most 16, 16 and 64 characters",
            code,
        )
    return highdicom.sr.CodedConcept(*code)


# --- From pictures to images and frames, and to the volumes that these make up ---


def _write(
    maps: predictions.Maps, pictures: str | os.PathLike, out: str | os.PathLike, make: Callable
) -> list[pathlib.Path]:
    """Make and write an object for each volume; `make` gives it, and a check of what is written."""
    import pydicom

    table = predictions.read_origins(pictures, maps, "series", "from_dicom")
    headers: dict[str, Any] = {}
    series: dict[str, list[_Frame]] = defaultdict(list)
    for name, path, index in zip(table["name"], table["source"], table["frame"]):
        if path not in headers:
            headers[path] = open_header(pydicom, pathlib.Path(path))
            _check_identity(path, headers[path])
        with sources.errors_naming(path, "DICOM"):
            frame = _Frame(name, path, headers[path], int(index), _plane(headers[path], int(index)))
        series[name.rpartition("_")[0]].append(frame)
    volumes, names = [], []
    for base, frames in sorted(series.items()):
        parts = _volumes(frames)
        volumes += [(number, part) for number, part in enumerate(parts, 1)]
        names += [
            base if number == 1 else f"{base}_{number}" for number in range(1, 1 + len(parts))
        ]
    paths = predictions.free_paths(out, names, ".dcm")
    uids: dict[str, str] = defaultdict(pydicom.uid.generate_uid)
    for (number, frames), path in zip(volumes, paths):
        series_uid = uids[frames[0].header.SeriesInstanceUID]
        try:
            content = _made(pydicom, frames, series_uid, number, make)
        except KerasganError:
            raise
        except Exception as error:  # of highdicom and pydicom, of several kinds
            raise KerasganError(
                f"highdicom {version('highdicom')} refuses image {frames[0].path} or one of its "
                f"series: {error}. Mend the image's header, or write masks as NIfTI or PNG."
            ) from error
        predictions.write_new(path, content)
    return paths


def _check_identity(path: str, header: Any) -> None:
    needed = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    missing = [name for name in needed if not header.get(name)]
    if missing:
        raise KerasganError(
            f"File {path} has no {' and no '.join(missing)}, without which nothing can refer to it "
            f"in DICOM. Write masks as NIfTI or PNG, or export the image again with its UIDs."
        )


def _size(frame: _Frame) -> tuple[int, int]:
    return int(frame.header.Rows), int(frame.header.Columns)


def _plane(header: Any, index: int) -> _Plane | None:
    """Where a frame lies; None where its file leaves that open."""
    space = header.get("FrameOfReferenceUID")
    position = frame_item(header, index, "PlanePositionSequence").get("ImagePositionPatient")
    directions = frame_item(header, index, "PlaneOrientationSequence").get(
        "ImageOrientationPatient"
    )
    measures = frame_item(header, index, "PixelMeasuresSequence")
    spacing = measures.get("PixelSpacing")
    lengths = [0 if part is None else len(part) for part in (position, directions, spacing)]
    if not space or lengths != [3, 6, 2]:
        return None
    rows, columns = np.array(directions, float).reshape(2, 3)
    square = np.array([rows @ rows, columns @ columns, rows @ columns]) - (1, 1, 0)
    if np.abs(square).max() > 0.01 or min(map(float, spacing)) <= 0:
        return None
    return _Plane(str(space), position, directions, spacing, measures.get("SliceThickness"))


def _volumes(frames: list[_Frame]) -> list[list[_Frame]]:
    """Part frames into volumes: of one direction, with one frame at each distance."""
    unplaced = [frame for frame in frames if frame.plane is None]
    volumes: list[dict[float, _Frame]] = []
    for frame in frames:
        if frame.plane is None:
            continue
        distance = round(frame.plane.distance(), 3)
        for volume in volumes:
            first = next(iter(volume.values()))
            if distance not in volume and first.plane.parallel(frame.plane):
                volume[distance] = frame
                break
        else:
            volumes.append({distance: frame})
    return [part for part in (unplaced, *(list(volume.values()) for volume in volumes)) if part]


# --- Through highdicom ---


def _made(
    pydicom: Any, frames: list[_Frame], series: str, number: int, make: Callable
) -> memoryview:
    """The bytes of an object made of frames, read again and compared."""
    header = frames[0].header
    stand_ins = [_stand_in(pydicom, frame, index) for index, frame in enumerate(frames)]
    options = {
        "series_instance_uid": series,
        "series_number": min(max(int(header.get("SeriesNumber") or 0), 0) * 100 + 1, 2**31 - 1),
        "sop_instance_uid": pydicom.uid.generate_uid(),
        "instance_number": number,
        "manufacturer": "kerasgan",
        "manufacturer_model_name": "kerasgan",
        "software_versions": __version__,
        "device_serial_number": "0",
    }
    made, fits = make(frames, stand_ins, options)
    _refer(pydicom, made, frames)
    content = io.BytesIO()
    made.save_as(content, enforce_file_format=True)
    del made
    content.seek(0)
    if not fits(pydicom.dcmread(content)):
        raise KerasganError(
            f"What highdicom made of {frames[0].path} is not what was given to it, and is not "
            f"written. Write masks as NIfTI or PNG."
        )
    return content.getbuffer()


def _stand_in(pydicom: Any, frame: _Frame, place: int) -> Any:
    """A single image at a place of its own, under a UID that tells its place in the list."""
    one, header, plane = pydicom.Dataset(), frame.header, frame.plane
    if place == 0:
        for element in header:
            if element.tag.group in _COPIED_GROUPS:
                one.add(copy.deepcopy(element))
        one.pop("ImageCenterPointCoordinatesSequence", None)
        for name in ("", "Ratio", "Method"):
            if f"LossyImageCompression{name}" in header:
                one.add(copy.deepcopy(header[f"LossyImageCompression{name}"]))
    for name in _PATIENT:
        if name in one:
            del one[name]
        setattr(one, name, None if name.endswith(("Date", "Time")) else "")
    one.StudyInstanceUID = header.StudyInstanceUID
    one.SeriesInstanceUID = header.SeriesInstanceUID
    one.SOPClassUID, one.SOPInstanceUID = _STAND_IN, f"1.2.3.{place}"
    one.Modality = header.get("Modality") or "OT"
    one.Rows, one.Columns = _size(frame)
    one.FrameOfReferenceUID = plane.space if plane else "1.2.3"
    # Along which highdicom goes downwards.
    one.ImagePositionPatient = list(plane.position) if plane else [0, 0, -place]
    one.ImageOrientationPatient = list(plane.directions) if plane else [1, 0, 0, 0, 1, 0]
    one.PixelSpacing = list(plane.spacing) if plane else [1, 1]
    one.SliceThickness = (plane and plane.thickness) or 1
    return one


def _refer(pydicom: Any, made: Any, frames: list[_Frame]) -> None:
    """Set the references of an object to the images, and take out places that were made up."""
    header, placed = frames[0].header, frames[0].plane is not None
    made.ContentCreatorName = made.get("ContentCreatorName", "")  # which has to be there
    for name in _PATIENT:
        if name in header:
            made[name] = copy.deepcopy(header[name])
    # Frames of one picture share a reference, so all are read before one is set.
    items = list(made.PerFrameFunctionalGroupsSequence)
    own = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in items]
    for item, reference, index in zip(items, own, _places(made)):
        _set_reference(reference, [frames[index]])
        if not placed:
            del item.PlanePositionSequence
            item.FrameContentSequence[0].StackID = "1"
            item.FrameContentSequence[0].InStackPositionNumber = index + 1
    by_image: dict[str, list[_Frame]] = defaultdict(list)
    for frame in frames:
        by_image[frame.path].append(frame)
    references = []
    for members in by_image.values():
        references.append(pydicom.Dataset())
        _set_reference(references[-1], members)
    made.SourceImageSequence = copy.deepcopy(references)
    for reference in references:
        reference.pop("ReferencedFrameNumber", None)
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
    shared = made.SharedFunctionalGroupsSequence[0]
    if placed:
        measures = shared.PixelMeasuresSequence[0]
        if not frames[0].plane.thickness:
            del measures.SliceThickness
        if len(frames) == 1:
            measures.pop("SpacingBetweenSlices", None)
        return
    for dataset, name in (
        *((made, name) for name in ("FrameOfReferenceUID", "PositionReferenceIndicator")),
        *((made, name) for name in ("DimensionOrganizationType", "VolumetricProperties")),
        *((shared, name) for name in ("PlaneOrientationSequence", "PixelMeasuresSequence")),
    ):
        dataset.pop(name, None)
    for dimension in made.DimensionIndexSequence:
        if dimension.DimensionIndexPointer == pydicom.tag.Tag("ImagePositionPatient"):
            dimension.DimensionIndexPointer = pydicom.tag.Tag("InStackPositionNumber")
            dimension.FunctionalGroupPointer = pydicom.tag.Tag("FrameContentSequence")
            dimension.DimensionDescriptionLabel = "In-Stack Position Number"


def _places(made: Any) -> list[int]:
    """For each frame of an object, the place of its stand-in in the list."""
    items = made.PerFrameFunctionalGroupsSequence
    own = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in items]
    return [int(one.ReferencedSOPInstanceUID.rpartition(".")[2]) for one in own]


def _sort_frames(made: Any, frames: list[_Frame]) -> None:
    """Put the frames of a map in the order in which they lie, along their normal.

    They say where they lie, but dcmqi, by which 3D Slicer reads maps, takes them in their order.
    """
    keys = [frames[i].plane.distance() if frames[i].plane else i for i in _places(made)]
    items, order = list(made.PerFrameFunctionalGroupsSequence), np.argsort(keys, kind="stable")
    values = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(items), -1)
    made.FloatPixelData = values[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [items[i] for i in order]
    for number, item in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        item.FrameContentSequence[0].DimensionIndexValues = number


def _set_reference(reference: Any, frames: list[_Frame]) -> None:
    header = frames[0].header
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if int(header.get("NumberOfFrames") or 1) > 1:
        numbers = [frame.index + 1 for frame in frames]
        reference.ReferencedFrameNumber = numbers if len(numbers) > 1 else numbers[0]


def _placed(data: Any, frames: list[_Frame]) -> Iterator[tuple[int, Any, np.ndarray]]:
    """What each frame of an object refers to, as its place in a list, its item and its pixels."""
    place_of = {(str(one.header.SOPInstanceUID), one.index): i for i, one in enumerate(frames)}
    stored = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for item, pixels in zip(data.PerFrameFunctionalGroupsSequence, stored):
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        index = int(reference.get("ReferencedFrameNumber") or 1) - 1
        yield place_of[str(reference.ReferencedSOPInstanceUID), index], item, pixels


def _holds(data: Any, frames: list[_Frame], labels: np.ndarray) -> bool:
    """Whether a segmentation holds the labels of frames, and nothing else."""
    received = np.zeros_like(labels)
    for index, item, pixels in _placed(data, frames):
        name = "SegmentIdentificationSequence"
        segment = item.get(name) or data.SharedFunctionalGroupsSequence[0].get(name)
        received[index] += pixels.astype(np.uint8) * np.uint8(segment[0].ReferencedSegmentNumber)
    return np.array_equal(received, labels)


def _shows(data: Any, frames: list[_Frame], values: np.ndarray) -> bool:
    """Whether a map holds the values of frames, each once."""
    placed = [(index, pixels) for index, _, pixels in _placed(data, frames)]
    each_once = sorted(index for index, _ in placed) == list(range(len(frames)))
    return each_once and all(np.array_equal(pixels, values[index]) for index, pixels in placed)

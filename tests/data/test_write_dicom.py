"""Masks and relevance written as DICOM lie where their images lie, and are read as they were."""

import pathlib
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from dicom_files import item, pydicom, save_as, sequence
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan.data.convert import from_dicom, to_dicom_map, to_dicom_seg

highdicom = pytest.importorskip("highdicom")
RNG = np.random.default_rng(0)
UID = pydicom.uid
H, W = 9, 11
ACROSS = [1, 0, 0, 0, 1, 0]
OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]


@pytest.fixture
def write(tmp_path):
    """Write an image as DICOM, with the given fields; a field of None is left out."""

    def save(name, shape=(H, W), **fields):
        fields = {
            "SOPInstanceUID": f"1.2.3.{sum(name.encode())}",
            "StudyInstanceUID": "1.2.7",
            "SeriesInstanceUID": "1.2.8",
            "FrameOfReferenceUID": "1.2.9",
            "PatientName": "Müller^Ana",
            "PatientSex": "F",
            "PatientBirthDate": "19500101",
            "StudyDate": "20240131",
            "StudyDescription": "Abdomen",
            "SpecificCharacterSet": "ISO_IR 192",
            "Modality": "CT",
            **fields,
        }
        values = RNG.integers(0, 255, shape).astype(np.uint8)
        return save_as(tmp_path / name, values, **fields)

    return save


def slices(write, count=3, orientation=ACROSS, folder="ct", first=0, **fields):
    """Slices 2.5 mm apart along their normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    for i in range(count):
        place = (np.array([-12.5, 3.25, 40.0]) + 2.5 * i * normal).round(6).tolist()
        placed = {"ImagePositionPatient": place, "ImageOrientationPatient": list(orientation),
                  "PixelSpacing": [0.7, 0.8], "SliceThickness": 2.5}  # fmt: skip
        uid = f"1.2.3.{first + i + 1}"
        write(f"{folder}/{first + i}.dcm", SOPInstanceUID=uid, InstanceNumber=count - i,
              **{**placed, **fields})  # fmt: skip


def converted(tmp_path, source="ct", labels=1, size=(H, W)):
    """The pictures of a source, and random masks for them."""
    table = from_dicom(tmp_path / source, tmp_path / "pictures")
    return {name: RNG.integers(0, labels + 1, size).astype(np.uint8) for name in table["name"]}


def again(tmp_path, masks, paths, classes=1, source="ct"):
    """Read the masks back, with the images, and compare."""
    from_dicom(tmp_path / source, tmp_path / "again", masks=paths, classes=classes)
    samples = kg.data.load_folder(tmp_path / "again", classes=classes)
    assert samples.names == tuple(sorted(masks))
    for i, name in enumerate(samples.names):
        np.testing.assert_array_equal(samples.mask(i), masks[name])


@pytest.mark.parametrize("orientation", [ACROSS, OBLIQUE, [0, 1, 0, 0, 0, -1]])
def test_a_mask_is_read_again_as_it_was_written(orientation, write, tmp_path):
    slices(write, orientation=orientation)
    masks = converted(tmp_path, labels=2)
    (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg", segments=["a", "b"])
    again(tmp_path, masks, path, 3)
    seg, images = pydicom.dcmread(path), [pydicom.dcmread(p) for p in (tmp_path / "ct").iterdir()]
    for name in ("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "StudyDate",
                 "StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID"):  # fmt: skip
        assert seg.get(name) == images[0].get(name), name
    assert seg.SeriesInstanceUID != images[0].SeriesInstanceUID
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    (referred,) = seg.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == images[0].SeriesInstanceUID
    uids = {one.ReferencedSOPInstanceUID for one in referred.ReferencedInstanceSequence}
    assert uids == {image.SOPInstanceUID for image in images}
    places = {image.SOPInstanceUID: image.ImagePositionPatient for image in images}
    for one in seg.PerFrameFunctionalGroupsSequence:
        (source,) = one.DerivationImageSequence[0].SourceImageSequence
        place = one.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, places[source.ReferencedSOPInstanceUID], atol=1e-6)
    shared = seg.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                               orientation, atol=1e-6)  # fmt: skip
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.7, 0.8]


def test_segments_are_called_and_coded_as_the_user_says(write, tmp_path):
    slices(write)
    masks = converted(tmp_path, labels=2)
    liver = {"name": "Leber", "category": ("91723000", "SCT", "Anatomical Structure"),
             "type": ("10200004", "SCT", "Liver")}  # fmt: skip
    where = masks, tmp_path / "pictures"
    (path,) = to_dicom_seg(*where, tmp_path / "a", segments=[liver, "lesion"])
    first, second = pydicom.dcmread(path).SegmentSequence
    assert (first.SegmentNumber, first.SegmentLabel) == (1, "Leber")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert (first.SegmentAlgorithmType, first.SegmentAlgorithmName) == ("AUTOMATIC", "kerasgan")
    assert second.SegmentLabel == "lesion"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    (path,) = to_dicom_seg(*where, tmp_path / "b", segments=["a", "b"], algorithm=None)
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmType == "MANUAL"


def enhanced(write, per_frame_orientation=False, **fields):
    groups = [
        item(PlanePositionSequence=sequence(ImagePositionPatient=[0.5, 1, 3.0 * i]))
        for i in (2, 0, 1)
    ]
    orientation = sequence(ImageOrientationPatient=ACROSS)
    shared = item(PixelMeasuresSequence=sequence(PixelSpacing=[0.7, 0.8], SliceThickness=3))
    for group in groups if per_frame_orientation else [shared]:
        group.PlaneOrientationSequence = orientation
    write("ct/e.dcm", (3, H, W), SOPClassUID=UID.EnhancedCTImageStorage,
          SharedFunctionalGroupsSequence=pydicom.Sequence([shared]),
          PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups), **fields)  # fmt: skip


@pytest.mark.parametrize("per_frame", [False, True])
def test_frames_of_an_enhanced_image(per_frame, write, tmp_path):
    enhanced(write, per_frame)
    masks = converted(tmp_path)
    (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg")
    again(tmp_path, masks, path)
    seg = pydicom.dcmread(path)
    assert seg.FrameOfReferenceUID == "1.2.9"
    pairs = set()
    for one in seg.PerFrameFunctionalGroupsSequence:
        source = one.DerivationImageSequence[0].SourceImageSequence[0]
        place = one.PlanePositionSequence[0].ImagePositionPatient[2]
        pairs.add((source.ReferencedFrameNumber, float(place)))
    assert pairs == {(1, 6.0), (2, 0.0), (3, 3.0)}


@pytest.mark.parametrize("space", ["1.2.9", None])
@pytest.mark.parametrize("frames", [None, 3])
def test_images_that_do_not_say_where_they_lie(frames, space, write, tmp_path):
    """Endoscopy and ultrasound: nothing is made up, each frame refers to its image."""
    kind = UID.UltrasoundMultiFrameImageStorage if frames else UID.SecondaryCaptureImageStorage
    for i in range(1 if frames else 3):
        shape = (frames, H, W) if frames else (H, W)
        write(f"ct/{i}.dcm", shape, SOPClassUID=kind, FrameOfReferenceUID=space,
              SOPInstanceUID=f"1.2.3.{i + 1}", InstanceNumber=i)  # fmt: skip
    masks = converted(tmp_path)
    (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg")
    again(tmp_path, masks, path)
    seg = pydicom.dcmread(path)
    text = str(seg)
    for name in ("FrameOfReferenceUID", "DimensionOrganizationType"):
        assert name not in seg
    for name in ("Image Position (Patient)", "Image Orientation (Patient)", "Pixel Spacing"):
        assert name not in text
    contents = [one.FrameContentSequence[0] for one in seg.PerFrameFunctionalGroupsSequence]
    assert [one.InStackPositionNumber for one in contents] == [1, 2, 3]
    assert [list(one.DimensionIndexValues) for one in contents] == [[1, 1], [1, 2], [1, 3]]
    assert seg.SourceImageSequence[0].ReferencedSOPClassUID == kind
    assert len(seg.SourceImageSequence) == (1 if frames else 3)


def test_several_volumes_in_a_series(write, tmp_path):
    """Two phases at one place and a scout of another direction: a segmentation for each."""
    slices(write, 2)
    slices(write, 2, first=2)
    slices(write, 1, [1, 0, 0, 0, 0, -1], first=4)
    masks = converted(tmp_path)
    paths = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg")
    assert [path.stem[-2:] for path in paths[1:]] == ["_2", "_3"]
    again(tmp_path, masks, paths)
    segs = [pydicom.dcmread(path) for path in paths]
    assert sorted(len(seg.PerFrameFunctionalGroupsSequence) for seg in segs) == [1, 2, 2]
    assert len({seg.SOPInstanceUID for seg in segs}) == 3
    assert [seg.InstanceNumber for seg in segs] == [1, 2, 3]


def test_empty_masks(write, tmp_path):
    """A slice without foreground is left out; if all are without, each has a frame of zeros."""
    slices(write)
    masks = {name: mask * (i == 1) for i, (name, mask) in enumerate(converted(tmp_path).items())}
    for folder, count in (("some", 1), ("none", 3)):
        (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / folder)
        seg = pydicom.dcmread(path)
        assert seg.NumberOfFrames == count
        assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 3
        from_dicom(tmp_path / "ct", tmp_path / f"again_{folder}", masks=path)
        for name, mask in masks.items():
            read = Image.open(tmp_path / f"again_{folder}" / "masks" / f"{name}.png")
            np.testing.assert_array_equal(np.asarray(read) > 0, mask > 0)
        masks = {name: mask * 0 for name, mask in masks.items()}


def test_a_part_of_the_pictures(write, tmp_path):
    slices(write)
    masks = converted(tmp_path)
    some = dict(list(masks.items())[1:])
    (path,) = to_dicom_seg(some, tmp_path / "pictures", tmp_path / "seg")
    seg = pydicom.dcmread(path)
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in referred} == {"1.2.3.2", "1.2.3.3"}
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == 2.5
    (path,) = to_dicom_seg(dict([some.popitem()]), tmp_path / "pictures", tmp_path / "one")
    assert "Spacing Between" not in str(pydicom.dcmread(path))


def test_compressed_images_need_no_decoder(write, tmp_path):
    slices(write, 1)
    masks = converted(tmp_path)
    file = tmp_path / "ct" / "0.dcm"
    dataset = pydicom.dcmread(file)
    dataset.compress(UID.RLELossless)
    dataset.save_as(file)
    refused("has changed since", to_dicom_seg, masks, tmp_path / "pictures", tmp_path / "seg")
    from_dicom(tmp_path / "ct", tmp_path / "compressed")
    (path,) = to_dicom_seg(masks, tmp_path / "compressed", tmp_path / "seg")
    again(tmp_path, masks, path)


@pytest.mark.parametrize("odd", [{"PatientSex": "X"}, {"PatientBirthDate": "1950.01.01"},
                                 {"StudyDate": None, "PatientName": None, "PatientID": None},
                                 {"SliceThickness": None}, {"SeriesNumber": None},
                                 {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}])  # fmt: skip
def test_images_that_are_not_quite_as_the_standard_wants(odd, write, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Invalid value for VR DA")
        slices(write, **odd)
        masks = converted(tmp_path)
        (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg")
        again(tmp_path, masks, path)
        seg = pydicom.dcmread(path)
    for name in set(odd) & {"PatientSex", "PatientBirthDate"}:
        assert str(seg.get(name)) == odd[name]
    if "SliceThickness" in odd:
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert "SliceThickness" not in measures


def test_what_does_not_fit_is_refused_by_name(write, tmp_path):
    slices(write)
    masks, pictures, out = converted(tmp_path), tmp_path / "pictures", tmp_path / "seg"
    name = next(iter(masks))
    for wrong, options, message in (
        ({**masks, name: masks[name].T}, {}, r"must have the size .*ct/.*9 x 11.*11 x 9"),
        ({**masks, name: masks[name] + 1}, {}, "from 0 to 1.*1 to 2"),
        ({"x_0001": masks[name]}, {}, "1 masks of other names: x_0001"),
        (masks, {"segments": "liver"}, "'segments' must be a list"),
        (masks, {"segments": []}, "'segments' must be a list"),
        (masks, {"segments": [{"name": "a", "typ": 1}]}, "'segments' must be a list"),
        (masks, {"segments": ["a", "a"]}, "'segments' must be a list of different names"),
        (masks, {"segments": ["a" * 65]}, "at most 64 characters"),
        (masks, {"segments": [{"name": "a", "type": ("1", "SCT")}]}, "'segments: type' must be"),
        (masks, {"segments": [{"name": "a", "category": "Liver"}]}, "'segments: category' must be"),
        (masks, {"algorithm": ""}, "'algorithm' must be"),
    ):
        refused(message, to_dicom_seg, wrong, pictures, out, **options)
        assert not out.exists()
    refused("'pictures' must be a folder that from_dicom wrote", to_dicom_seg, masks, out, out)
    (path,) = to_dicom_seg(masks, pictures, out)
    before = path.read_bytes()
    refused("already holds 1 of the 1 files", to_dicom_seg, masks, pictures, out)
    assert path.read_bytes() == before
    (tmp_path / "file").write_text("mine")
    refused("'out' must be a folder", to_dicom_seg, masks, pictures, tmp_path / "file")
    moved = tmp_path / "ct" / "0.dcm"
    moved.rename(tmp_path / "0.dcm")
    refused(r"0\.dcm .* is not there", to_dicom_seg, masks, pictures, tmp_path / "new")
    (tmp_path / "0.dcm").rename(moved)
    dataset = pydicom.dcmread(moved)
    dataset.ImagePositionPatient = [0, 0, 99]
    dataset.save_as(moved)
    refused(r"0\.dcm has changed since", to_dicom_seg, masks, pictures, tmp_path / "new")


def test_what_highdicom_needs_is_said(write, tmp_path, monkeypatch):
    slices(write, 1)
    where = converted(tmp_path), tmp_path / "pictures", tmp_path / "seg"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 9))
        refused("Python 3.10 or later, and this is Python 3.9", to_dicom_seg, *where)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    refused(r"needs highdicom.*kerasgan\[highdicom\]", to_dicom_seg, *where)


def test_a_manifest_that_was_changed_by_hand(write, tmp_path):
    slices(write, 1)
    where = converted(tmp_path), tmp_path / "pictures", tmp_path / "seg"
    path = tmp_path / "pictures" / "manifest.csv"
    table = pd.read_csv(path, dtype=str)
    for column, value, message in (
        ("frame", "first", r"0\.dcm cannot be read as DICOM"),
        ("name", "other_0001", "1 masks of other names"),
        ("source", "nowhere.dcm", "nowhere.dcm .* is not there"),
        ("source_key", "", "has changed since"),
    ):
        table.assign(**{column: value}).to_csv(path, index=False)
        refused(message, to_dicom_seg, *where)
    table.drop(columns="source_key").to_csv(path, index=False)
    refused("If an earlier version wrote it, convert again", to_dicom_seg, *where)
    pd.concat([table, table]).to_csv(path, index=False)
    refused("a name twice", to_dicom_seg, *where)
    path.write_bytes(b"\0\xff\xfe")
    refused("'pictures' must be a folder that from_dicom wrote", to_dicom_seg, *where)


def test_what_highdicom_refuses_or_makes_otherwise_is_not_written(write, tmp_path, monkeypatch):
    slices(write)
    where = converted(tmp_path), tmp_path / "pictures", tmp_path / "seg"
    make = highdicom.seg.Segmentation

    def refuse(*arguments, **options):
        raise TypeError("an odd field")

    def spoil(*arguments, **options):
        made = make(*arguments, **options)
        made.PixelData = bytes([made.PixelData[0] ^ 1]) + made.PixelData[1:]
        return made

    for function, message in (
        (refuse, r"highdicom [\d.]+ refuses image .*ct/\d\.dcm .*: an odd field"),
        (spoil, "is not what was given to it, and is not written"),
    ):
        monkeypatch.setattr(highdicom.seg, "Segmentation", function)
        refused(message, to_dicom_seg, *where)
        assert not (tmp_path / "seg").exists()


def test_lossy_images_are_said_to_be_lossy(write, tmp_path):
    slices(write, 1, LossyImageCompression="01", LossyImageCompressionRatio=10)
    (path,) = to_dicom_seg(converted(tmp_path), tmp_path / "pictures", tmp_path / "seg")
    seg = pydicom.dcmread(path)
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 10)


def test_an_image_without_identity_is_refused(write, tmp_path):
    write("ct/0.dcm", StudyInstanceUID=None)
    masks = converted(tmp_path)
    message = r"0\.dcm has no StudyInstanceUID"
    refused(message, to_dicom_seg, masks, tmp_path / "pictures", tmp_path / "seg")


@pytest.mark.parametrize("kind", ["slices", "enhanced", "nowhere"])
def test_relevance_is_stored_as_it_is(kind, write, tmp_path):
    if kind == "enhanced":
        enhanced(write)
    else:
        slices(write, **({"FrameOfReferenceUID": None} if kind == "nowhere" else {}))
    names = list(converted(tmp_path))
    given = {name: RNG.normal(size=(H, W, 3)) for name in names}
    given[names[1]] *= 0
    where = given, tmp_path / "pictures"
    (path,) = to_dicom_map(*where, tmp_path / "map", description="epsilon")
    data = pydicom.dcmread(path)
    assert (data.SOPClassUID, data.ContentQualification) == (UID.ParametricMapStorage, "RESEARCH")
    assert (data.PatientID, data.get("FrameOfReferenceUID")) == (
        "P1",
        None if kind == "nowhere" else "1.2.9",
    )
    table = pd.read_csv(tmp_path / "pictures" / "manifest.csv")
    name_of = {}
    for row in table.itertuples():
        header = pydicom.dcmread(row.source)
        name_of[header.SOPInstanceUID, row.frame] = row.name
    stored = dict(zip(range(3), data.pixel_array))
    assert data.pixel_array.dtype == np.float32
    for i, one in enumerate(data.PerFrameFunctionalGroupsSequence):
        source = one.DerivationImageSequence[0].SourceImageSequence[0]
        index = (source.get("ReferencedFrameNumber") or 1) - 1
        name = name_of.pop((source.ReferencedSOPInstanceUID, index))
        np.testing.assert_array_equal(stored[i], given[name].sum(-1).astype(np.float32))
        assert ("PlanePositionSequence" in one) == (kind != "nowhere")
    assert not name_of
    items = data.PerFrameFunctionalGroupsSequence
    assert [one.FrameContentSequence[0].DimensionIndexValues for one in items] == [1, 2, 3]
    if kind != "nowhere":
        places = [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in items]
        assert places == sorted(places)
    shared = data.SharedFunctionalGroupsSequence[0]
    window = shared.FrameVOILUTSequence[0]
    most = max(np.abs(values.sum(-1)).max() for values in given.values())
    assert (window.WindowCenter, window.VOILUTFunction) == (0, "LINEAR_EXACT")
    assert float(window.WindowWidth) == pytest.approx(2 * most, rel=1e-5)


def test_relevance_of_nothing_and_of_no_number(write, tmp_path):
    slices(write, 1)
    (name,) = converted(tmp_path)
    where = tmp_path / "pictures", tmp_path / "map"
    for wrong, message in (
        ({name: np.full((H, W), np.nan)}, "must be finite"),
        ({name: np.full((H, W), 1e39)}, "must be finite in 32 bits"),
        ({name: np.zeros((W, H))}, "Relevance of .* must have the size"),
        ({name: np.zeros(W)}, "must hold numbers"),
        ({}, "'relevance' must be a dictionary"),
        (tmp_path, "'relevance' must be a dictionary"),
    ):
        refused(message, to_dicom_map, wrong, *where)
    refused("'description' must be", to_dicom_map, {name: np.zeros((H, W))}, *where, description="")
    (path,) = to_dicom_map({name: np.zeros((H, W))}, *where)
    assert not pydicom.dcmread(path).pixel_array.any()


def dcmqi(program, path, out):
    """What another program makes of an object, as a volume; skips where it is not installed."""
    itk = pytest.importorskip("SimpleITK")
    beside = pathlib.Path(sys.executable).parent / program
    command = shutil.which(program) or (str(beside) if beside.is_file() else None)
    if command is None:
        pytest.skip("dcmqi is not installed")
    out.mkdir()
    options = ["--inputDICOM", path, "--outputDirectory", out, "--prefix", "p"]
    subprocess.run([command, *map(str, options)], check=True, capture_output=True)
    return itk, [itk.ReadImage(str(found)) for found in sorted(out.glob("*.nrrd"))]


def series_of(itk, folder):
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("orientation", [ACROSS, OBLIQUE])
def test_dcmqi_finds_the_same_masks_in_the_same_places(orientation, write, tmp_path):
    slices(write, orientation=orientation)
    masks = converted(tmp_path, labels=2)
    (path,) = to_dicom_seg(masks, tmp_path / "pictures", tmp_path / "seg", segments=["a", "b"])
    itk, segments = dcmqi("segimage2itkimage", path, tmp_path / "nrrd")
    scan = series_of(itk, tmp_path / "ct")
    stack = np.stack([masks[name] for name in sorted(masks)])
    for label, found in enumerate(segments, 1):
        assert found.GetSize() == scan.GetSize()
        for index in ((0, 0, 0), (W - 1, H - 1, 2)):
            place = scan.TransformIndexToPhysicalPoint(index)
            assert found.TransformPhysicalPointToIndex(place) == index
        np.testing.assert_array_equal(itk.GetArrayFromImage(found) > 0, stack == label)

import warnings

import numpy as np
import pytest
from dicom_files import item, pydicom, save_as, sequence
from PIL import Image

import kerasgan as kg
from kerasgan.data.convert import from_dicom
from kerasgan.errors import KerasganError, KerasganWarning

RNG = np.random.default_rng(0)
UID = pydicom.uid
SERIES = "1.2.3.4"
H, W = 6, 8


@pytest.fixture
def write(tmp_path):
    """Write stored values as a DICOM file with the given fields; a field of None is left out."""

    def save(name, values, **fields):
        uids = {"SOPInstanceUID": f"{SERIES}.{sum(name.encode())}", "SeriesInstanceUID": SERIES}
        return save_as(tmp_path / name, np.asarray(values), **{**uids, **fields})

    return save


def pictures(out):
    return [np.asarray(Image.open(p)) for p in sorted((out / "images").rglob("*.png"))]


def one(path, out, **options):
    from_dicom(path, out, **options)
    (seen,) = pictures(out)
    return seen


def test_a_window_is_in_hounsfield_units(write, tmp_path):
    hounsfield = np.array([[-1024, -160, -60, 40], [140, 240, 241, 3000]])
    path = write("a.dcm", (hounsfield + 1024).astype(np.uint16),
                 RescaleSlope=1, RescaleIntercept=-1024, BitsStored=12, HighBit=11)  # fmt: skip
    seen = one(path, tmp_path / "out", window=(40, 400))
    expected = np.clip((hounsfield + 160) / 400, 0, 1) * 65535
    np.testing.assert_allclose(seen, expected, atol=0.51)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_the_files_own_window_follows_the_standard(function, write, tmp_path):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, written out for an output from 0 to 65535."""
    values = RNG.integers(-50, 400, (H, W)).astype(np.int16)
    center, width = 0, 200
    path = write("a.dcm", values, RescaleSlope=2, RescaleIntercept=-100,
                 WindowCenter=[center, 900], WindowWidth=[width, 10],
                 VOILUTFunction=function)  # fmt: skip
    x = 2.0 * values - 100
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (x - center) / width))
    elif function == "LINEAR_EXACT":
        share = (x - center) / width + 0.5
    else:
        share = (x - (center - 0.5)) / (width - 1) + 0.5
    expected = np.clip(share, 0, 1) * 65535
    np.testing.assert_allclose(one(path, tmp_path / "out"), expected, atol=0.51)


def test_the_files_own_table_is_looked_up(write, tmp_path):
    values = np.array([[0, 10, 11], [12, 13, 60]], np.uint16)
    table = sequence(LUTDescriptor=[4, 10, 16], LUTData=[0, 65535, 300, 9000])
    table[0]["LUTDescriptor"].VR = "US"
    table[0]["LUTData"].VR = "US"
    seen = one(write("a.dcm", values, VOILUTSequence=table), tmp_path / "out")
    assert seen.tolist() == [[0, 0, 65535], [300, 9000, 9000]]


def test_without_a_window_the_series_shares_its_percentiles(write, tmp_path):
    volume = RNG.integers(0, 3000, (3, 20, 20)).astype(np.int16)
    for i, plane in enumerate(volume):
        write(f"in/{i}.dcm", plane, InstanceNumber=i)
    table = from_dicom(tmp_path / "in", tmp_path / "out")
    low, high = np.percentile(volume, (0.5, 99.5))
    expected = np.clip((volume - low) / (high - low), 0, 1) * 65535
    np.testing.assert_allclose(pictures(tmp_path / "out"), expected, atol=0.51)
    assert set(table["grey"]) == {f"{low:g} to {high:g}"}


def test_low_is_white_in_monochrome1(write, tmp_path):
    values = RNG.integers(0, 256, (H, W)).astype(np.uint8)
    path = write("a.dcm", values, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(one(path, tmp_path / "out"), 255 - values)
    seen = one(path, tmp_path / "windowed", window=(100, 50))
    assert seen.dtype == np.uint16
    np.testing.assert_array_equal(seen == 65535, values <= 75)


def test_eight_bits_and_colours_stay_as_they_are(write, tmp_path):
    grey = RNG.integers(0, 256, (H, W)).astype(np.uint8)
    color = RNG.integers(0, 256, (H, W, 3)).astype(np.uint8)
    np.testing.assert_array_equal(one(write("g.dcm", grey), tmp_path / "grey"), grey)
    np.testing.assert_array_equal(one(write("c.dcm", color), tmp_path / "color"), color)
    cine = RNG.integers(0, 256, (3, H, W, 3)).astype(np.uint8)
    table = from_dicom(write("m.dcm", cine), tmp_path / "cine")
    np.testing.assert_array_equal(pictures(tmp_path / "cine"), cine)
    assert table["frame"].tolist() == [0, 1, 2]


def test_luma_and_chroma_become_rgb(write, tmp_path):
    """PS3.3 C.7.6.3.1.2: Y = 76, Cb = 85, Cr = 255 is pure red."""
    path = write("y.dcm", np.tile(np.array([76, 85, 255], np.uint8), (H, W, 1)),
                 PhotometricInterpretation="YBR_FULL")  # fmt: skip
    seen = one(path, tmp_path / "out").astype(int)
    assert np.abs(seen - [255, 0, 0]).max() <= 2


def test_palettes_are_looked_up(write, tmp_path):
    colors = RNG.integers(0, 256, (4, 3)).astype(np.uint8)
    values = RNG.integers(0, 4, (H, W)).astype(np.uint8)
    names = ("Red", "Green", "Blue")
    tables = {f"{n}PaletteColorLookupTableData": (colors[:, i].astype("<u2") * 257).tobytes()
              for i, n in enumerate(names)}  # fmt: skip
    sizes = {f"{name}PaletteColorLookupTableDescriptor": [4, 0, 16] for name in names}
    path = write("p.dcm", values, PhotometricInterpretation="PALETTE COLOR", **sizes, **tables)
    np.testing.assert_array_equal(one(path, tmp_path / "out"), colors[values])


def test_slices_are_sorted_by_their_place(write, tmp_path):
    for number, z in ((1, 30.0), (2, -10.0), (3, 10.0)):
        write(f"in/IM{number}", np.full((H, W), number, np.uint8), InstanceNumber=number,
              ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
              PixelSpacing=[0.7, 0.8])  # fmt: skip
    table = from_dicom(tmp_path / "in", tmp_path / "out")
    assert [plane[0, 0] for plane in pictures(tmp_path / "out")] == [2, 3, 1]
    assert table[["row_distance", "column_distance"]].iloc[0].tolist() == [0.7, 0.8]


def test_patients_and_series_stay_apart(write, tmp_path):
    plane = np.zeros((H, W), np.uint8)
    for i, (patient, series) in enumerate((("P1", "1.1"), ("P1", "1.2"), ("../P2", "1.3"))):
        write(f"in/{i}.dcm", plane + i, PatientID=patient, SeriesInstanceUID=series)
    (tmp_path / "in" / "DICOMDIR").write_bytes(b"x")
    (tmp_path / "in" / "notes.txt").write_text("x")
    from_dicom(tmp_path / "in", tmp_path / "out")
    samples = kg.data.load_folder(tmp_path / "out", masks=None)
    groups = [name.split("/")[0] for name in samples.names]
    assert len(samples) == 3
    assert sorted(groups.count(group) for group in set(groups)) == [1, 2]
    assert not any(group == ".." for group in groups)


def test_frames_of_an_enhanced_image_have_their_own_values(write, tmp_path):
    values = RNG.integers(0, 100, (2, H, W)).astype(np.uint16)
    groups = [
        item(
            PixelValueTransformationSequence=sequence(RescaleSlope=slope, RescaleIntercept=-50),
            FrameVOILUTSequence=sequence(
                WindowCenter=0, WindowWidth=100, VOILUTFunction="LINEAR_EXACT"
            ),
        )
        for slope in (1, 3)
    ]
    path = write("e.dcm", values, PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups))
    from_dicom(path, tmp_path / "out")
    units = values * np.array([1, 3])[:, None, None] - 50.0
    expected = np.clip(units / 100 + 0.5, 0, 1) * 65535
    np.testing.assert_allclose(pictures(tmp_path / "out"), expected, atol=0.51)


def test_run_length_compression_is_decoded(write, tmp_path):
    values = RNG.integers(0, 4, (H, W)).astype(np.uint8)
    dataset = pydicom.dcmread(write("r.dcm", values))
    dataset.compress(UID.RLELossless, encoding_plugin="pydicom")
    dataset.save_as(tmp_path / "r.dcm")
    np.testing.assert_array_equal(one(tmp_path / "r.dcm", tmp_path / "out"), values)


ACROSS, ALONG = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]


def of(image, frames=None):
    """References to one image, and to its frames."""
    return [(image, frames)]


def derivation(references):
    sources = []
    for image, frames in references:
        one = item(ReferencedSOPInstanceUID=image)
        if frames:
            one.ReferencedFrameNumber = frames
        sources.append(one)
    return sequence(SourceImageSequence=pydicom.Sequence(sources))


def drawn(write, frames, shared=None, name="drawn.dcm", **fields):
    """A SEG of (references or None, position or None, segment, booleans)."""
    items = []
    for references, position, number, _ in frames:
        one = item(SegmentIdentificationSequence=sequence(ReferencedSegmentNumber=number))
        if references:
            one.DerivationImageSequence = derivation(references)
        if position is not None:
            one.PlanePositionSequence = sequence(ImagePositionPatient=position)
        items.append(one)
    groups = item(PlaneOrientationSequence=sequence(ImageOrientationPatient=ACROSS))
    if shared:
        groups.DerivationImageSequence = derivation(shared)
    pixels = np.stack([region for *_, region in frames])
    packed = np.packbits(pixels.ravel().astype(np.uint8), bitorder="little").tobytes()
    options = {
        "SOPClassUID": UID.SegmentationStorage,
        "SOPInstanceUID": UID.generate_uid(),
        "SegmentationType": "BINARY",
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "FrameOfReferenceUID": "1.2.3.9",
        "SharedFunctionalGroupsSequence": pydicom.Sequence([groups]),
        "PerFrameFunctionalGroupsSequence": pydicom.Sequence(items),
        "PixelData": packed + b"\0" * (len(packed) % 2),
        **fields,
    }
    return write(name, pixels.astype(np.uint8), **options)


def masks_of(scan, out, path, classes=1):
    from_dicom(scan, out, masks=path, classes=classes)
    samples = kg.data.load_folder(out, classes=classes)
    return [samples.mask(i) for i in range(len(samples))]


@pytest.fixture
def scan(write, tmp_path):
    """Three slices; their UIDs from below upwards."""
    for i in range(3):
        write(f"in/{i}.dcm", RNG.integers(0, 99, (H, W)).astype(np.int16), InstanceNumber=i,
              SOPInstanceUID=f"9.{i}")  # fmt: skip
    return tmp_path / "in"


def test_segmentations_find_their_images(write, scan, tmp_path):
    liver, tumour = RNG.random((2, H, W)) > 0.5
    frames = [(of("9.2"), None, 2, tumour), (of("9.2"), None, 1, liver)]
    path = drawn(write, [*frames, (of("9.0"), None, 1, tumour)], name="seg/s.dcm")
    with pytest.warns(KerasganWarning, match="Segments overlap: 1 and 2 by"):
        table = from_dicom(scan, tmp_path / "out", masks=path, classes=3)
    samples = kg.data.load_folder(tmp_path / "out", classes=3)
    np.testing.assert_array_equal(samples.mask(0), tumour)
    assert not samples.mask(1).any()
    np.testing.assert_array_equal(samples.mask(2), np.where(tumour, 2, liver))
    assert [bool(mask) for mask in table["mask"]] == [True, False, True]
    with pytest.warns(KerasganWarning, match=r"s\.dcm, hold the labels 1, 2, .* pass classes=3"):
        from_dicom(scan, tmp_path / "one", masks=tmp_path / "seg")
    alone = kg.data.load_folder(tmp_path / "one")
    np.testing.assert_array_equal(alone.mask(2), tumour | liver)


def test_fractions_are_cut_at_half(write, scan, tmp_path):
    shares = RNG.integers(0, 101, (1, H, W)).astype(np.uint8)
    path = drawn(write, [(of("9.1"), None, 1, shares[0])], SegmentationType="FRACTIONAL",
                 MaximumFractionalValue=100, BitsAllocated=8, BitsStored=8, HighBit=7,
                 PixelData=shares.tobytes())  # fmt: skip
    np.testing.assert_array_equal(masks_of(scan, tmp_path / "out", path)[1], shares[0] >= 50)


def test_images_of_one_identifier_are_told_and_get_no_segmentation(write, scan, tmp_path):
    write("in/copy.dcm", np.zeros((H, W), np.int16), SOPInstanceUID="9.1")
    with pytest.warns(KerasganWarning, match=r"one SOPInstanceUID.*1 of them: .*copy\.dcm"):
        assert len(from_dicom(scan, tmp_path / "out")) == 4
    path = drawn(write, [(of("9.1"), None, 1, np.ones((H, W), bool))])
    with pytest.warns(KerasganWarning), pytest.raises(KerasganError, match="Remove the one if"):
        from_dicom(scan, tmp_path / "masked", masks=path)


def test_an_empty_rescale_slope_or_table_is_none(write, tmp_path):
    values = RNG.integers(0, 256, (H, W)).astype(np.uint8)
    path = write("a.dcm", values, RescaleSlope="", RescaleIntercept="")
    np.testing.assert_array_equal(one(path, tmp_path / "out"), values)
    empty = sequence(LUTDescriptor=None, LUTData=None)
    window = {"WindowCenter": 100, "WindowWidth": 50}
    seen = [
        one(write(f"{name}.dcm", values, **window, **table), tmp_path / name)
        for name, table in (("plain", {}), ("table", {"VOILUTSequence": empty}))
    ]
    np.testing.assert_array_equal(*seen)


def test_images_of_labels_go_by_file_name(write, scan, tmp_path):
    labels = [np.full((H, W), i, np.uint8) for i in range(3)]
    for i, plane in enumerate(labels):
        write(f"masks/{i}.dcm", plane, SeriesInstanceUID="7.7")
    from_dicom(scan, tmp_path / "out", masks=tmp_path / "masks", classes=3)
    samples = kg.data.load_folder(tmp_path / "out", classes=3)
    assert [samples.mask(i).max() for i in range(3)] == [0, 1, 2]
    with pytest.raises(KerasganError, match=r"must hold 0 to 1 for classes=2.*: 2"):
        from_dicom(scan, tmp_path / "two", masks=tmp_path / "masks", classes=2)
    with pytest.warns(KerasganWarning, match=r"2\.dcm, hold the labels 1, 2, .* pass classes=3"):
        from_dicom(scan, tmp_path / "one", masks=tmp_path / "masks")
    write("masks/1.dcm", labels[1][:3])
    with pytest.raises(KerasganError, match=r"1\.dcm must have the size.*6 x 8.*3 x 8"):
        from_dicom(scan, tmp_path / "small", masks=tmp_path / "masks")
    (tmp_path / "masks" / "1.dcm").unlink()
    with pytest.raises(KerasganError, match="1 without mask: 1"):
        from_dicom(scan, tmp_path / "lonely", masks=tmp_path / "masks")


def test_unfit_segmentations_are_refused(write, scan, tmp_path):
    region = np.ones((H, W), bool)

    def refused(match, references, region=region, **fields):
        path = drawn(write, [(references, None, 1, region)], name="s.dcm", **fields)
        with pytest.raises(KerasganError, match=match):
            from_dicom(scan, tmp_path / "out", masks=path)

    refused(r"s\.dcm belongs to image 5\.5, which is not among", of("5.5"))
    refused(r"s\.dcm does not say which image", None)
    refused(r"s\.dcm must have the size.*6 x 8.*5 x 8", of("9.0"), region[1:])
    for uid in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"):
        refused(r"type LABELMAP, which is not read", of("9.0"), SegmentationType="LABELMAP",
                SOPClassUID=uid)  # fmt: skip
    write("in/other.dcm", np.zeros((H, W), np.int16), SeriesInstanceUID="8", SOPInstanceUID="8.1")
    refused(r"No mask belongs to the series of image .*other\.dcm", of("9.0"))
    with pytest.raises(KerasganError, match=r"s\.dcm is a Segmentation Storage and no image"):
        from_dicom(tmp_path / "s.dcm", tmp_path / "out")
    with pytest.raises(KerasganError, match="mixes segmentations"):
        from_dicom(scan, tmp_path / "out", masks=[tmp_path / "s.dcm", scan / "0.dcm"])


def test_a_compression_without_decoder_is_named(write, tmp_path):
    path = write("c.dcm", np.zeros((H, W), np.uint16))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = UID.JPEGLosslessSV1
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 not decoded \xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(KerasganError, match=r"c\.dcm \(JPEG Lossless.*pip install python-gdcm"):
        from_dicom(path, tmp_path / "out")


def test_unfit_files_are_refused_by_name(write, tmp_path):
    def refused(match, path, **options):
        with pytest.raises(KerasganError, match=match):
            from_dicom(path, tmp_path / "out", **options)
        assert not list((tmp_path / "out").rglob("*.png"))

    plane = RNG.integers(0, 99, (H, W)).astype(np.int16)
    whole = write("whole.dcm", plane)
    cut = tmp_path / "cut.dcm"
    for end in (100, 300, -20):
        cut.write_bytes(whole.read_bytes()[:end])
        refused(r"cut\.dcm .*(cannot be (read|decoded)|holds no image)", cut)
    cut.write_bytes(b"")
    refused(r"cut\.dcm cannot be read as DICOM", cut)
    cut.write_bytes(b"no scan " * 100)
    refused(r"cut\.dcm cannot be read as DICOM", cut)
    cut.write_bytes(whole.read_bytes()[132:200])
    refused(r"cut\.dcm .*cannot be read as DICOM.*export it anew", cut)
    refused(r"report\.dcm holds no image", write("report.dcm", plane, Rows=None))
    bomb = write("bomb.dcm", plane, Rows=60000, Columns=60000)
    refused(r"bomb\.dcm says that it holds 1 of 60000 x 60000 .*not decoded", bomb)
    refused(r"w\.dcm has a window that cannot be used.*Pass 'window'",
            write("w.dcm", plane, WindowCenter=3, WindowWidth=0))  # fmt: skip
    write("in/a.dcm", plane)
    write("in/b.dcm", plane[1:])
    refused(r"one size.*a\.dcm of 6 x 8 and .*b\.dcm of 5 x 8", tmp_path / "in")
    refused("'window' must be", whole, window=(1, 0))
    refused("'classes' must be", whole, classes=0)


@pytest.mark.parametrize(("implicit", "header"), [(False, True), (False, False), (True, False)])
def test_files_without_a_preamble_are_read(implicit, header, write, tmp_path):
    plane = RNG.integers(0, 99, (H, W)).astype(np.int16)
    path = write("a.dcm", plane)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        data = pydicom.dcmread(path)
        data.is_implicit_VR, data.is_little_endian = implicit, True
        kind = UID.ImplicitVRLittleEndian if implicit else UID.ExplicitVRLittleEndian
        data.file_meta.TransferSyntaxUID = kind
        data.save_as(path, write_like_original=False)
    length = 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(path.read_bytes()[132 if header else length :])
    np.testing.assert_array_equal(
        one(bare, tmp_path / "out", window=(50, 100)), one(path, tmp_path / "o", window=(50, 100))
    )


def placed(write, name, z, orientation=ACROSS, **fields):
    """A slice that says where it lies."""
    options = {"ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": orientation,
               "PixelSpacing": [0.5, 0.5], "SliceThickness": 2.0,
               "FrameOfReferenceUID": "1.2.3.9", **fields}  # fmt: skip
    return write(name, RNG.integers(0, 99, (H, W)).astype(np.int16), **options)


REGIONS = np.random.default_rng(5).random((3, H, W)) > 0.5


def test_a_frame_reaches_every_image_that_it_names(write, scan, tmp_path):
    path = drawn(write, [([("9.0", None), ("9.2", None)], None, 1, REGIONS[0]),
                         ([("9.1", None), ("7.7", None)], None, 1, REGIONS[1])])  # fmt: skip
    received = masks_of(scan, tmp_path / "out", path)
    np.testing.assert_array_equal(received, REGIONS[[0, 1, 0]])
    several = drawn(write, [(of("9.0"), None, 1, REGIONS[0])])
    dataset = pydicom.dcmread(several)
    group = dataset.PerFrameFunctionalGroupsSequence[0]
    group.DerivationImageSequence.extend(derivation(of("9.1")))
    dataset.save_as(several)
    received = masks_of(scan, tmp_path / "two", several)
    np.testing.assert_array_equal(received, [REGIONS[0], REGIONS[0], REGIONS[0] * 0])


def test_a_frame_reaches_every_frame_that_it_names(write, tmp_path):
    cine = RNG.integers(0, 99, (3, H, W)).astype(np.uint8)
    image = write("cine.dcm", cine, SOPInstanceUID="8.1")
    path = drawn(write, [(of("8.1", [1, 3]), None, 1, REGIONS[0]),
                         (of("8.1", 2), None, 1, REGIONS[1])])  # fmt: skip
    np.testing.assert_array_equal(masks_of(image, tmp_path / "out", path), REGIONS[[0, 1, 0]])
    unsaid = drawn(write, [(of("8.1"), None, 1, REGIONS[0])])
    with pytest.raises(KerasganError, match=r"does not say which frame of 8\.1"):
        masks_of(image, tmp_path / "no", unsaid)


def test_frames_that_all_name_the_whole_series_go_where_they_lie(write, tmp_path):
    """Some programs list every slice for every frame, or once for all of them."""
    for i in range(3):
        placed(write, f"in/{i}.dcm", 2.0 * i, SOPInstanceUID=f"9.{i}")
    everything = [(f"9.{i}", None) for i in range(3)]
    where = [[0, 0, 2.0 * i] for i in range(3)]
    for own, shared in ((everything, None), (None, everything)):
        frames = [(own, where[i], 1, REGIONS[i]) for i in (2, 0)]
        received = masks_of(tmp_path / "in", tmp_path / f"out{own is None}",
                            drawn(write, frames, shared))  # fmt: skip
        np.testing.assert_array_equal(received, [REGIONS[0], REGIONS[0] * 0, REGIONS[2]])
    nowhere = [(everything, None, 1, REGIONS[i]) for i in (2, 0)]
    with pytest.raises(KerasganError, match="several frames of segment 1 for one image"):
        masks_of(tmp_path / "in", tmp_path / "no", drawn(write, nowhere))


def test_echoes_at_one_place_share_a_frame_and_neighbours_do_not(write, tmp_path):
    for i, z in enumerate((0.0, 0.0, 2.0)):
        placed(write, f"in/{i}.dcm", z, SOPInstanceUID=f"9.{i}", InstanceNumber=i)
    frame = ([(f"9.{i}", None) for i in range(3)], [0, 0, 0.0], 1, REGIONS[0])
    received = masks_of(tmp_path / "in", tmp_path / "out", drawn(write, [frame]))
    np.testing.assert_array_equal(received, [REGIONS[0], REGIONS[0], REGIONS[0] * 0])


def test_frames_without_references_go_where_they_lie(write, tmp_path):
    for i in range(3):
        placed(write, f"in/{i}.dcm", 2.0 * i, SOPInstanceUID=f"9.{i}")
    frames = [(None, [0, 0, 4.00001], 1, REGIONS[0]), (None, [0, 0, 0], 1, REGIONS[1])]
    received = masks_of(tmp_path / "in", tmp_path / "out", drawn(write, frames))
    np.testing.assert_array_equal(received, [REGIONS[1], REGIONS[1] * 0, REGIONS[0]])
    elsewhere = {
        "between": [(None, [0, 0, 1.0], 1, REGIONS[0])],
        "beside": [(None, [1.0, 0, 0], 1, REGIONS[0])],
    }
    for name, frames in elsewhere.items():
        with pytest.raises(KerasganError, match=r"drawn\.dcm .*does not lie on the image"):
            masks_of(tmp_path / "in", tmp_path / name, drawn(write, frames))
    unknown = [(None, [0, 0, 0], 1, REGIONS[0])]
    for space in ("5.5", None):
        with pytest.raises(KerasganError, match="does not say which image"):
            masks_of(tmp_path / "in", tmp_path / "x",
                     drawn(write, unknown, FrameOfReferenceUID=space))  # fmt: skip


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        ([0, 0, 0], ALONG),
        ([0, 0, 0], [-1, 0, 0, 0, 1, 0]),
        ([2, 0, 0], ACROSS),
        ([0, 0, 9], ACROSS),
    ],
)
def test_a_frame_that_lies_elsewhere_than_its_image_is_refused(
    position, orientation, write, tmp_path
):
    image = placed(write, "in/0.dcm", 0.0, orientation, SOPInstanceUID="9.0")
    path = drawn(write, [(of("9.0"), position, 1, REGIONS[0])])
    with pytest.raises(KerasganError, match=r"drawn\.dcm .*does not lie on the image"):
        masks_of(image, tmp_path / "out", path)


def test_overlaps_are_counted_where_classes_exclude_each_other(write, scan, tmp_path):
    organ, lesion = np.zeros((2, H, W), bool)
    organ[1:5, 1:7], lesion[2:4, 3:5] = True, True
    frames = [(of(f"9.{i}"), None, n, r) for i in (0, 2) for n, r in ((2, organ), (1, lesion))]
    path = drawn(write, frames)
    expected = r"Segments overlap: 1 and 2 by 8 pixels in 2 images, such as .*0\.dcm"
    with pytest.warns(KerasganWarning, match=expected):
        received = masks_of(scan, tmp_path / "out", path, classes=3)
    np.testing.assert_array_equal(received[0], organ * 2)
    with pytest.warns(KerasganWarning, match="labels 1, 2"):
        np.testing.assert_array_equal(masks_of(scan, tmp_path / "one", path)[2], organ)
    apart = drawn(write, [(of("9.0"), None, 1, lesion),
                          (of("9.0"), None, 2, organ & ~lesion)])  # fmt: skip
    np.testing.assert_array_equal(
        masks_of(scan, tmp_path / "apart", apart, classes=3)[0], organ * 2 - lesion
    )


def test_numbers_that_mean_two_things_are_told(write, scan, tmp_path):
    for name, label in (("a", "Liver"), ("b", "Tumour"), ("c", "liver ")):
        path = drawn(write, [(of("9.0"), None, 1, REGIONS[0])],
                     SegmentSequence=sequence(SegmentNumber=1, SegmentLabel=label))  # fmt: skip
        path.rename(tmp_path / f"{name}.dcm")
    files = [tmp_path / f"{name}.dcm" for name in "abc"]
    with pytest.warns(KerasganWarning, match=r"Segment 1 is called 'Liver' in .*'Tumour' in .*b\."):
        from_dicom(scan, tmp_path / "out", masks=files[:2], classes=2)
    from_dicom(scan, tmp_path / "same", masks=files[::2], classes=2)
    from_dicom(scan, tmp_path / "one", masks=files[:2])


def test_segments_need_not_be_numbered_from_one(write, scan, tmp_path):
    path = drawn(write, [(of("9.0"), None, 7, REGIONS[0])])
    received = masks_of(scan, tmp_path / "out", path, classes=8)
    np.testing.assert_array_equal(received[0], REGIONS[0] * 7)
    with pytest.raises(KerasganError, match=r"must hold 0 to 1 for classes=2.*: 7"):
        masks_of(scan, tmp_path / "two", path, classes=2)


def test_what_lies_beside_dicom_files_is_left_out(write, scan, tmp_path):
    for name in (".DS_Store", "._0.dcm", "DICOMDIR", "Thumbs.db", "desktop.ini", "Icon\r"):
        (scan / name).write_bytes(b"no DICOM")
    (tmp_path / "link").symlink_to(scan, target_is_directory=True)
    assert len(from_dicom(tmp_path / "link", tmp_path / "out")) == 3


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("stated", [-2000, 63536])
def test_padding_is_black_and_sets_no_range(kind, stated, write, tmp_path):
    values = np.linspace(-100, 900, H * W).reshape(H, W).astype(np.int16)
    plain = one(write("a.dcm", values, PhotometricInterpretation=kind), tmp_path / "plain")
    padded = values.copy()
    padded[0, 1:-1] = padded[-1, 1:-1] = -2000
    path = write("b.dcm", padded, PhotometricInterpretation=kind)
    data = pydicom.dcmread(path)
    data.add_new(0x00280120, "SS" if stated < 0 else "US", stated)
    data.save_as(path)
    seen = one(path, tmp_path / "out")
    inside = padded != -2000
    assert (seen[~inside] == 0).all()
    np.testing.assert_allclose(seen[inside], plain[inside], atol=1500)


@pytest.mark.parametrize(("fields", "told", "distances"), [
    ({"PixelAspectRatio": [6, 5]}, "PixelAspectRatio: height to width 6 : 5", ("", "")),
    ({"ImagerPixelSpacing": [0.2, 0.1], "PixelAspectRatio": [1, 1]}, "0.2 : 0.1", ("", "")),
    ({"PixelAspectRatio": [3, 3]}, None, ("", "")),
    ({"PixelAspectRatio": [0, 0]}, None, ("", "")),
    ({"PixelAspectRatio": [2, 1], "PixelSpacing": [0.7, 0.8]}, None, (0.7, 0.8)),
    ({"SharedFunctionalGroupsSequence": sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[0.5, 0.25]))}, None, (0.5, 0.25)),
])  # fmt: skip
def test_sides_of_pixels_are_in_the_manifest_or_told(fields, told, distances, write, tmp_path):
    """PS3.3 C.7.6.3: the ratio stands where no spacing does; PS3.3 C.7.6.16.2.1 has it by frame."""
    path = write("a.dcm", np.arange(H * W, dtype=np.uint8).reshape(H, W), **fields)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KerasganWarning)
        table = from_dicom(path, tmp_path / "out")
    heard = [str(one.message) for one in caught if one.category is KerasganWarning]
    assert (told is None) == (heard == [])
    assert told is None or (told in heard[0] and str(path) in heard[0])
    assert tuple(table.loc[0, ["row_distance", "column_distance"]]) == distances

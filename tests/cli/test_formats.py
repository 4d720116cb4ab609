"""Masks and relevance leave the command in the formats of clinics."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.data.convert import from_coco, from_dicom, from_nifti

SIZE = (48, 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1, channels=1)).save(path)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    path = tmp_path_factory.mktemp("three") / "model"
    network = kg.models.unet(size=32, filters=2, levels=1, channels=1, classes=3)
    kg.SegmentationGAN(network).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    for index in range(2):
        path = tmp_path / "pictures" / f"p{index}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 255, SIZE, np.uint8)
        Image.fromarray(pixels).save(path)
    return path.parent


@pytest.fixture
def dicom(tmp_path):
    """A folder of pictures made of two slices."""
    data = pytest.importorskip("pydicom.data")
    pytest.importorskip("highdicom")
    import pydicom

    scan = pydicom.dcmread(data.get_testdata_file("CT_small.dcm", download=False))
    (tmp_path / "ct").mkdir()
    for number in range(2):
        scan.ImagePositionPatient[2] = 5.0 * number
        scan.SOPInstanceUID = f"1.2.3.{number}"
        scan.save_as(tmp_path / "ct" / f"{number}.dcm")
    from_dicom(tmp_path / "ct", tmp_path / "slices", window=(40, 400))
    return tmp_path / "slices"


def predicted(model, images):
    samples = kg.data.load_folder(images, masks=None)
    return dict(zip(samples.names, kg.predict(kg.SegmentationGAN.load(model), images)))


def read(folder, masks, classes=1):
    found = {}
    for name in masks:
        pixels = np.asarray(Image.open(folder / "masks" / f"{name}.png"))
        found[name] = pixels > 0 if classes == 1 else pixels
    return found


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def test_dicom_segmentations(answer, refused, dicom, model, tmp_path):
    words = ("predict", dicom, "--model", model, "--format", "dicom-seg")
    segments = '[{"name": "liver", "type": ["10200004", "SCT", "Liver"]}]'
    (path,) = answer(*words, "--out", tmp_path / "seg", "--segments", segments)["masks"]
    masks = predicted(model, dicom)
    from_dicom(tmp_path / "ct", tmp_path / "again", masks=path)
    same(read(tmp_path / "again", masks), masks)
    assert "already holds" in refused(*words, "--out", tmp_path / "seg")
    shutil.rmtree(tmp_path / "ct")
    assert "is not there" in refused(*words, "--out", tmp_path / "new")


def test_relevance_as_dicom(answer, refused, dicom, model, tmp_path):
    import pydicom

    words = ("explain", dicom, "--model", model, "--rule", "epsilon", "--format", "dicom-map")
    (path,) = answer(*words, "--out", tmp_path / "map")["pictures"]
    data = pydicom.dcmread(path)
    samples = kg.data.load_folder(dicom, masks=None)
    explainer = kg.Explainer(kg.SegmentationGAN.load(model), rule="epsilon")
    for index, image in enumerate(samples.batches(1, size=32)):
        relevance = explainer.explain(image).relevance[0]
        expected = kg.explain.to_original(relevance, (128, 128)).relevance[..., 0]
        np.testing.assert_allclose(data.pixel_array[index], expected, rtol=1e-3, atol=1e-6)
    assert "epsilon" in data.ContentDescription
    assert "--layers" in refused(*words, "--out", tmp_path / "new", "--layers", "down_1")


def test_nifti_volumes(answer, refused, three, pictures, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).integers(0, 99, (20, 24, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, 2, 3, 1])), tmp_path / "v.nii")
    from_nifti(tmp_path / "v.nii", tmp_path / "slices")
    words = ("--model", three, "--format", "nifti", "--out", tmp_path / "masks")
    (path,) = answer("predict", tmp_path / "slices", *words)["masks"]
    masks = predicted(three, tmp_path / "slices")
    from_nifti(tmp_path / "v.nii", tmp_path / "again", masks=path, classes=3)
    same(read(tmp_path / "again", masks, 3), masks)
    line = refused("predict", pictures, *words)
    assert "IMAGES must be a folder that `kerasgan convert nifti` wrote" in line
    words = ("predict", tmp_path / "slices", "--model", three, "--out", tmp_path / "seg")
    line = refused(*words, "--format", "dicom-seg", "--segments", '["a", "b"]')
    assert "IMAGES must be what `kerasgan convert dicom` wrote" in line


def test_coco_and_overlays(answer, refused, three, pictures, tmp_path):
    pytest.importorskip("pycocotools")
    coco = tmp_path / "masks.json"
    words = ("predict", pictures, "--model", three, "--out")
    names = ["--segments", '["polyp", "tool"]']
    assert answer(*words, coco, "--format", "coco", *names)["masks"] == [str(coco)]
    from_coco(coco, pictures, tmp_path / "again", categories=["polyp", "tool"])
    masks = predicted(three, pictures)
    same(read(tmp_path / "again", masks, 3), masks)
    assert json.loads(coco.read_text())["categories"][1]["name"] == "tool"
    drawn = answer(*words, tmp_path / "drawn", "--format", "overlay")["masks"]
    assert [np.asarray(Image.open(path)).shape for path in drawn] == [(*SIZE, 3)] * 2
    for options, part in (
        (["--format", "coco"], "'--segments' must list what the 2 labels"),
        (["--format", "coco", "--segments", '["polyp"]'], "'--segments' must list"),
        (["--format", "overlay", *names], "'--segments' is for coco and dicom-seg"),
        (["--format", "overlay", "--overwrite"], "'--overwrite' is for png"),
    ):
        assert part in refused(*words, tmp_path / "new", *options)
    assert not (tmp_path / "new").exists()

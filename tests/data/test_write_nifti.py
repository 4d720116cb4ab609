"""Masks written as NIfTI lie on the grids of their images, and are read again as they were."""

import numpy as np
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan.data.convert import from_nifti, to_nifti

nibabel = pytest.importorskip("nibabel")
RNG = np.random.default_rng(0)
SHAPE = (5, 6, 4)
TURN = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
GRIDS = {
    "straight": np.diag([0.5, 0.75, 3.0, 1.0]),
    # Patient's left, feet, front: how a coronal acquisition may be stored.
    "turned": np.array([[-0.5, 0, 0, 3], [0, 0, 0.75, 1], [0, -3.0, 0, 9], [0, 0, 0, 1]]),
    "oblique": np.block([[TURN * [0.5, 0.75, 3.0], np.array([[4.0], [-7], [2]])], [0, 0, 0, 1]]),
}


@pytest.fixture
def write(tmp_path):
    def save(name, affine=GRIDS["straight"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = RNG.integers(0, 99, SHAPE).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
        return path

    return save


def masks_for(pictures, labels=1):
    """Random masks of the size of the pictures."""
    samples = kg.data.load_folder(pictures, masks=None)
    size = samples.image(0).shape[:2]
    return {name: RNG.integers(0, labels + 1, size).astype(np.uint8) for name in samples.names}


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_is_read_again_as_it_was_written(grid, axis, write, tmp_path):
    image = write("scans/p1/v.nii.gz", GRIDS[grid])
    table = from_nifti(tmp_path / "scans", tmp_path / "slices", axis=axis)
    masks = masks_for(tmp_path / "slices", 2)
    (path,) = to_nifti(masks, tmp_path / "slices", tmp_path / "out", classes=3)
    assert path == tmp_path / "out" / "p1" / "v.nii.gz"
    from_nifti(image, tmp_path / "again", axis=axis, masks=path, classes=3)
    again = kg.data.load_folder(tmp_path / "again", classes=3)
    for i, name in enumerate(table["name"]):
        np.testing.assert_array_equal(again.mask(i), masks[name])


def test_the_grid_and_what_it_is_called_are_those_of_the_image(write, tmp_path):
    values = RNG.integers(0, 99, (*SHAPE, 1)).astype(np.int16)
    image = nibabel.Nifti2Image(values, GRIDS["oblique"])
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = 70
    image.set_qform(GRIDS["oblique"], 1)
    image.set_sform(GRIDS["oblique"], 4)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    image.header.set_slope_inter(2, -1000)
    path = tmp_path / "v.nii"
    nibabel.save(image, path)
    assert nibabel.load(path).dataobj.slope == 2
    from_nifti(path, tmp_path / "slices")
    masks = masks_for(tmp_path / "slices")
    (written,) = to_nifti(masks, tmp_path / "slices", tmp_path / "out")
    image, mask = nibabel.load(path), nibabel.load(written)
    assert isinstance(mask, nibabel.Nifti2Image)
    assert (mask.shape, mask.get_data_dtype()) == (SHAPE, np.uint8)
    np.testing.assert_array_equal(mask.affine, image.affine)
    for name in ("get_qform", "get_sform"):
        ours, theirs = getattr(mask, name)(coded=True), getattr(image, name)(coded=True)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]
    assert mask.header.get_xyzt_units() == ("mm", "sec")
    assert not mask.header.extensions
    assert float(mask.header["cal_max"]) == 0
    assert set(np.unique(mask.get_fdata())) == {0, 1}


def test_masks_come_from_files_too(write, tmp_path):
    path = write("v.nii")
    from_nifti(path, tmp_path / "slices")
    expected = masks_for(tmp_path / "slices")
    (written,) = to_nifti(expected, tmp_path / "slices", tmp_path / "a")
    from_nifti(path, tmp_path / "labelled", masks=written)
    (one,) = to_nifti(tmp_path / "labelled" / "masks", tmp_path / "slices", tmp_path / "b")
    (two,) = to_nifti(expected, tmp_path / "slices", tmp_path / "c")
    assert one.read_bytes() == two.read_bytes()


def test_simpleitk_reads_the_same_voxels(write, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    path = write("v.nii.gz", GRIDS["oblique"])
    from_nifti(path, tmp_path / "slices")
    masks = masks_for(tmp_path / "slices")
    (written,) = to_nifti(masks, tmp_path / "slices", tmp_path / "out")
    image, mask = itk.ReadImage(str(path)), itk.ReadImage(str(written))
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, name)(), getattr(image, name)(), atol=1e-6)
    voxels = itk.GetArrayFromImage(mask).T
    np.testing.assert_array_equal(voxels, np.asarray(nibabel.load(written).dataobj))


def test_what_does_not_fit_is_refused_by_name(write, tmp_path):
    path = write("v.nii")
    pictures, out = tmp_path / "slices", tmp_path / "out"
    from_nifti(path, pictures)
    masks = masks_for(pictures)
    for wrong, message in (
        ({**masks, "v/0001": np.ones((5, 6), bool)}, r"'v/0001' must have the size.*6 x 5.*5 x 6"),
        ({**masks, "w/0001": masks["v/0001"]}, "1 masks of other names: w/0001"),
        ({k: v for k, v in masks.items() if k != "v/0002"}, r"3 masks for 4 slices; missing: 2"),
        ({**masks, "v/0001": np.full((6, 5), 2)}, "'v/0001' must be .* from 0 to 1"),
        ({**masks, "v/0001": np.zeros((6, 5))}, "'v/0001' must be .*float64"),
        ({}, "'masks' must be a dictionary"),
        (tmp_path / "nowhere", "'masks' names .*nowhere"),
    ):
        refused(message, to_nifti, wrong, pictures, out)
        assert not out.exists()
    refused("'pictures' must be a folder that from_nifti wrote", to_nifti, masks, tmp_path, out)
    to_nifti(masks, pictures, out)
    before = (out / "v.nii.gz").read_bytes()
    refused("already holds 1 of the 1 files", to_nifti, masks, pictures, out)
    assert (out / "v.nii.gz").read_bytes() == before
    write("v.nii", GRIDS["turned"])
    refused(r"v\.nii has changed since", to_nifti, masks, pictures, tmp_path / "new")
    path.unlink()
    refused(r"v\.nii .* is not there", to_nifti, masks, pictures, tmp_path / "new")

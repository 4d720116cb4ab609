import pathlib
import struct

import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.data.convert import from_nifti
from kerasgan.errors import KerasganError

nibabel = pytest.importorskip("nibabel")
RNG = np.random.default_rng(0)
RAS = np.diag([0.5, 0.75, 3.0, 1.0])
# Patient's left, feet, front: how a coronal acquisition may be stored.
LIA = np.array([[-0.5, 0, 0, 3], [0, 0, 0.75, 1], [0, -3.0, 0, 9], [0, 0, 0, 1]])


@pytest.fixture
def write(tmp_path):
    def save(name, values, affine=RAS):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
        return path

    return save


def pixels(path):
    return np.asarray(Image.open(path))


def scaled(path, slope, intercept=0.0):
    """Set the scale in a file's header, as programs that store labels as shares do."""
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", slope, intercept)
    path.write_bytes(content)
    return path


def test_axial_slices_are_seen_from_the_feet_with_the_front_above(write, tmp_path):
    volume = np.zeros((4, 5, 3), np.int16)
    volume[3, 4, 1] = 100  # right, front
    volume[0, 4, 1] = 50  # left, front
    table = from_nifti(write("v.nii.gz", volume), tmp_path / "out", window=(50, 100))
    seen = pixels(tmp_path / "out" / "images" / "v" / "0001.png")
    assert seen.shape == (5, 4)
    assert seen[0].tolist() == [65535, 0, 0, 32768]
    assert not seen[1:].any()
    assert table["slice"].tolist() == [0, 1, 2]
    distances = table.loc[0, ["row_distance", "column_distance", "slice_distance"]]
    assert distances.tolist() == [0.75, 0.5, 3.0]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("axial", lambda v, i: v[::-1, ::-1, i].T),
        ("coronal", lambda v, i: v[::-1, i, ::-1].T),
        ("sagittal", lambda v, i: v[i, ::-1, ::-1].T),
    ],
)
def test_the_order_of_storage_does_not_matter(axis, expected, write, tmp_path):
    volume = RNG.integers(0, 1000, (4, 5, 3)).astype(np.int16)
    stored = volume[::-1, :, ::-1].swapaxes(1, 2)
    paths = {"a": write("a.nii", volume), "b": write("b.nii", stored, LIA)}
    for name, path in paths.items():
        from_nifti(path, tmp_path / name, axis=axis, window=(500, 1000))
        for index in range(volume.shape[{"axial": 2, "coronal": 1, "sagittal": 0}[axis]]):
            seen = pixels(tmp_path / name / "images" / name / f"{index:04}.png")
            wanted = np.rint(expected(volume, index) / 1000 * 65535)
            np.testing.assert_array_equal(seen, wanted)


def test_the_files_scale_counts_and_percentiles_are_the_default(write, tmp_path):
    values = np.arange(1001, dtype=np.int16).reshape(7, 11, 13)
    path = scaled(write("v.nii", values), 2, -1000)
    low, high = np.percentile(2.0 * values - 1000, (0.5, 99.5))
    table = from_nifti(path, tmp_path / "out")
    assert table[["low", "high"]].iloc[0].tolist() == pytest.approx([low, high])
    from_nifti(write("flat.nii", np.ones((3, 3, 3), np.int16)), tmp_path / "flat")
    assert not pixels(tmp_path / "flat" / "images" / "flat" / "0000.png").any()


def test_masks_go_with_their_volumes_into_training(write, tmp_path):
    for patient in ("p1", "p2"):
        volume = RNG.integers(0, 100, (8, 9, 4)).astype(np.int16)
        write(f"scans/{patient}/ct.nii.gz", volume)
        write(f"labels/{patient}/ct_mask.nii.gz", (volume // 34).astype(np.uint8))
    out = tmp_path / "out"
    from_nifti(tmp_path / "scans", out, masks=tmp_path / "labels", window=(50, 100), classes=3)
    samples = kg.data.load_folder(out, classes=3)
    assert (len(samples), samples.channels) == (8, 1)
    rest, test = samples.split_groups(lambda name: name.split("/")[0], "p2")
    assert test.names[0] == "p2/ct/0000"
    for i in range(len(samples)):
        values = np.rint(pixels(samples.image_paths[i]) / 65535 * 100)
        np.testing.assert_array_equal(samples.mask(i), values // 34)
    image, mask = next(iter(rest.batches(2, size=8)))
    assert (image.shape, mask.shape) == ((2, 8, 8, 1), (2, 8, 8, 3))


def test_one_class_is_black_and_white(write, tmp_path):
    labels = np.zeros((4, 4, 2), np.float32)
    labels[1, 1] = [1, 3]
    paths = [write("a.nii", labels)], [write("other.nii", labels)]
    with pytest.warns(kg.KerasganWarning, match="labels 1, 3, .* classes=4"):
        from_nifti(paths[0], tmp_path / "out", masks=paths[1])
    samples = kg.data.load_folder(tmp_path / "out")
    assert [samples.mask(i).sum() for i in range(2)] == [1, 1]


def refused(match, tmp_path, *arguments, **options):
    with pytest.raises(KerasganError, match=match):
        from_nifti(*arguments, tmp_path / "out", **options)


def test_unfit_volumes_are_refused_by_name(write, tmp_path):
    volume = RNG.random((6, 7, 8)).astype(np.float32)
    whole = write("whole.nii.gz", volume)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole.read_bytes()[:-200])
    refused(r"cut\.nii\.gz cannot be read", tmp_path, cut)
    foreign = tmp_path / "foreign.nii"
    foreign.write_bytes(b"no volume" * 100)
    refused(r"foreign\.nii cannot be read", tmp_path, foreign)
    foreign.write_bytes(b"")
    refused(r"foreign\.nii cannot be read", tmp_path, foreign)
    refused(r"several\.nii must hold one volume", tmp_path,
            write("several.nii", np.zeros((3, 3, 3, 2), np.int16)))  # fmt: skip
    refused(r"plane\.nii must hold", tmp_path, write("plane.nii", np.zeros((3, 3), np.int16)))
    packed = whole.rename(whole.with_name("packed.nii"))
    refused(r"packed\.nii is packed by gzip.*nii\.gz", tmp_path, packed)
    plain = write("plain.nii", np.zeros((2, 2, 2), np.uint8))
    plain = plain.rename(plain.with_name("plain.nii.gz"))
    refused(r"plain\.nii\.gz is not packed by gzip", tmp_path, plain)
    whole = packed.rename(whole)
    refused(r"c\.nii holds complex64", tmp_path, write("c.nii", np.zeros((2, 2, 2), np.complex64)))
    holes = volume.copy()
    holes[0, 0, :3] = np.nan
    refused(r"holes\.nii has 3 values that are NaN", tmp_path, write("holes.nii", holes))
    refused("'axis' must be one of.*Did you mean 'axial'", tmp_path, whole, axis="axail")
    refused(r"no file of that format", tmp_path, [])
    refused(r"'images' names .*gone\.nii \(not there\)", tmp_path, tmp_path / "gone.nii")
    for wrong in ((40, 0), (40, -1), (np.nan, 1), 40, "ab", (1, 2, 3)):
        refused("'window' must be", tmp_path, whole, window=wrong)


def test_a_single_volume_in_four_axes_is_read(write, tmp_path):
    volume = RNG.integers(0, 9, (3, 4, 2, 1)).astype(np.int16)
    from_nifti(write("v.nii", volume), tmp_path / "out", window=(4, 8))
    seen = pixels(tmp_path / "out" / "images" / "v" / "0001.png")
    np.testing.assert_array_equal(np.rint(seen / 65535 * 8), volume[::-1, ::-1, 1, 0].T)


def test_names_as_in_nnunet_are_pairs(write, tmp_path):
    volume = np.arange(24).reshape(2, 3, 4).astype(np.uint8)
    for name in "ab":
        write(f"i/{name}_0000.nii.gz", volume)
        write(f"l/{name}.nii.gz", volume)
    table = from_nifti(tmp_path / "i", tmp_path / "out", masks=tmp_path / "l", classes=24)
    assert {pathlib.Path(path).name for path in table["mask"]} == {"a.nii.gz", "b.nii.gz"}


def test_masks_on_another_grid_are_refused(write, tmp_path):
    volume = np.zeros((4, 4, 2), np.int16)
    image = write("v.nii", volume)
    small = write("small_mask.nii", volume[:3])
    refused(r"small_mask\.nii must lie on the grid.*\(3, 4, 2\)", tmp_path, image, masks=small)
    moved = write("moved.nii", volume, RAS + np.array([[0, 0, 0, 5], *[[0] * 4] * 3]))
    refused("other places", tmp_path, image, masks=moved)
    refused("of one length", tmp_path, [image], masks=[moved, small])


@pytest.mark.parametrize(
    ("stored", "slope", "intercept"),
    [(255, 1 / 255, 0), (100, 0.01, 0), (3, 1 / 3, 0), (20, 0.1, -1), (32767, 1 / 32767, 0)],
)
def test_labels_that_a_scale_makes_nearly_whole_are_rounded(
    stored, slope, intercept, write, tmp_path
):
    region = np.zeros((6, 7, 3), bool)
    region[1:4, 2:6, 1:] = True
    low = round(-intercept / slope)
    values = np.where(region, stored, low).astype(np.int16)
    mask = scaled(write("labels/v.nii", values), slope, intercept)
    image = write("v.nii", RNG.random(region.shape).astype(np.float32))
    for classes in (1, 2):
        out = tmp_path / f"out{classes}"
        from_nifti(image, out, masks=mask, classes=classes)
        samples = kg.data.load_folder(out, classes=classes)
        received = np.stack([samples.mask(i) for i in range(3)])
        expected = np.moveaxis(region, 2, 0)[:, ::-1, ::-1].swapaxes(1, 2)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.5, 1], r"up to 0\.5 away from one, among them 0\.5"),
        ([0, 0.998], r"up to 0\.002 away from one, among them 0\.998"),
        ([0, 1.0000001, 2.01], r"up to 0\.01 away"),
        ([0, 0.0005], r"among them 0\.0005"),
    ],
)
def test_labels_that_are_fractions_are_refused_with_how_far_off_they_are(
    values, words, write, tmp_path
):
    labels = np.resize(np.array(values, np.float32), (4, 4, 2))
    image = write("v.nii", np.zeros(labels.shape, np.int16))
    refused(rf"m\.nii must hold whole numbers.*{words}", tmp_path, image,
            masks=write("m.nii", labels))  # fmt: skip


@pytest.mark.parametrize("flip", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_a_mask_stored_mirrored_is_turned_back(flip, write, tmp_path):
    volume = RNG.integers(0, 2, (5, 6, 4)).astype(np.int16)
    mirror = np.eye(4)
    for axis in flip:
        mirror[axis, axis], mirror[axis, 3] = -1, volume.shape[axis] - 1
    mask = write("m.nii.gz", np.flip(volume, flip).astype(np.uint8), RAS @ mirror)
    out = tmp_path / "out"
    from_nifti(write("v.nii.gz", volume), out, masks=mask, window=(0.5, 1))
    samples = kg.data.load_folder(out)
    for i in range(len(samples)):
        np.testing.assert_array_equal(samples.mask(i), samples.image(i)[..., 0] > 0)
    signs = np.diag([*np.diag(mirror)[:3], 1])
    wrong = write("w.nii", np.flip(volume, flip).astype(np.uint8), RAS @ signs)
    with pytest.raises(KerasganError, match=r"w\.nii must lie on the grid.*other places"):
        from_nifti(tmp_path / "v.nii.gz", tmp_path / "no", masks=wrong)


def test_small_voxels_are_compared_by_their_own_size(write, tmp_path):
    micro = np.diag([0.002, 0.002, 0.002, 1.0])
    volume = np.zeros((4, 4, 2), np.int16)
    image = write("v.nii", volume, micro)
    refused("other places", tmp_path, image, masks=write("m.nii", volume, micro * [2, 2, 2, 1]))
    moved = micro + np.array([[0, 0, 0, 0.002], *[[0] * 4] * 3])
    refused("other places", tmp_path, image, masks=write("n.nii", volume, moved))
    nearly = micro + np.array([[0, 0, 0, 1e-5], *[[0] * 4] * 3])
    from_nifti(image, tmp_path / "fine", masks=write("o.nii", volume, nearly))


def test_labels_that_become_one_foreground_are_told_once(write, tmp_path):
    values = np.zeros((6, 7, 3), np.uint8)
    values[1:4, 2:6] = 1
    values[2, 3] = 2
    images = [write(f"{name}.nii", RNG.random(values.shape).astype(np.float32)) for name in "ab"]
    masks = [write(f"labels/{name}.nii", values) for name in "ab"]
    with pytest.warns(kg.KerasganWarning, match="labels 1, 2, which .* pass classes=3") as told:
        from_nifti(images, tmp_path / "one", masks=masks)
    assert len(told) == 1
    from_nifti(images, tmp_path / "three", masks=masks, classes=3)

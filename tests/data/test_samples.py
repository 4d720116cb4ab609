import pickle
import warnings

import numpy as np
import pytest
from refusals import refused

from kerasgan.data import Samples, load_folder
from kerasgan.errors import KerasganError, KerasganWarning

IMAGE, MASK = (8, 6, 3), np.full((8, 6), 255, np.uint8)


def listed(count=10):
    names = tuple(f"s{i % 3}/x{i}" for i in range(count))
    return Samples(names, tuple(f"{n}.jpg" for n in names), tuple(f"{n}_m.png" for n in names))


@pytest.mark.parametrize(
    ("images", "masks", "names"),
    [
        (["images/a.jpg", "images/b.jpg"], ["masks/a.jpg", "masks/b.jpg"], ("a", "b")),
        (["images/a.jpg"], ["masks/a.png"], ("a",)),
        (["images/OP1_img_01.png"], ["masks/OP1_img_01.png"], ("OP1_img_01",)),
        (["Images/a.JPG", "Images/b.TIF"], ["Masks/a.PNG", "Masks/b.bmp"], ("a", "b")),
        (["images/a.1.jpg"], ["masks/a.1_mask.png"], ("a.1",)),
        (
            ["images/p1/a.png", "images/p2/a.png"],
            ["masks/p1/a.png", "masks/p2/a.png"],
            ("p1/a", "p2/a"),
        ),
        (
            ["p1/images/a.png", "p2/images/a.png"],
            ["p1/masks/a.png", "p2/masks/a.png"],
            ("p1/a", "p2/a"),
        ),
        (["images/a.png"], ["images/a_mask.png"], ("a",)),
        (["a.png"], ["masks/a.png"], ("a",)),
        (["a.png", "sub/b.jpg"], ["a_mask.png", "sub/b_MASK.PNG"], ("a", "sub/b")),
        (["image/0.png"], ["label/0.png"], ("0",)),
        (["IMG/0.png"], ["GT/0.png"], ("0",)),
        (["Frames/0.png"], ["Ground_Truth/0.png"], ("0",)),
        (["scans/p1/images/0.png"], ["scans/p1/labels/0.png"], ("scans/p1/0",)),
        (["frames/p1/0.png"], ["Annotations/p1/0.png"], ("p1/0",)),
        (["images/frames/0.png"], ["masks/frames/0.png"], ("frames/0",)),
        (["images/seg/0.png"], ["segmentations/seg/0.png"], ("seg/0",)),
        (["images/x.jpg"], ["masks/x_segmentation.png"], ("x",)),
        (["images/x.jpg"], ["labels/x-mask.png"], ("x",)),
        (["images/x_gt.png"], ["masks/x_gt.png"], ("x_gt",)),
        (["x.jpg"], ["x_segmentation.png"], ("x",)),
        (["x.jpg"], ["x-gt.png"], ("x",)),
        (["x.jpg"], ["labels/x_label.png"], ("x",)),
    ],
)
def test_layouts(save, tmp_path, images, masks, names):
    image_paths = [save(f"set/{name}", IMAGE) for name in images]
    mask_paths = [save(f"set/{name}", MASK) for name in masks]
    samples = load_folder(tmp_path / "set")
    assert samples.names == names
    assert samples.image_paths == tuple(image_paths)
    assert samples.mask_paths == tuple(mask_paths)
    assert samples.mask(0).all()


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("images", "masks", "labels"), "folders for masks: labels, masks"),
        (("images", "frames", "masks"), "folders for images: frames, images"),
        (("set/images", "set/gt", "set/seg"), "folders for masks: set/gt, set/seg"),
    ],
)
def test_two_folders_of_one_kind_are_asked_about(save, tmp_path, folders, words):
    for folder in folders:
        save(f"{folder}/a.png", MASK)
    refused(f"{words}.*images=.*masks=", load_folder, tmp_path)
    images, masks = (tmp_path / name for name in (folders[0], folders[-1]))
    assert load_folder(images=images, masks=masks).names == ("a",)


def test_other_files_are_left_alone(save, tmp_path):
    image, mask = save("images/a.png", IMAGE), save("masks/a.png", MASK)
    for name in ("images/._a.png", "__MACOSX/images/a.png", ".trash/images/b.png", "overview.png"):
        save(name, IMAGE)
    (tmp_path / "images" / "boxes.json").write_text("{}")
    samples = load_folder(tmp_path)
    assert (samples.image_paths, samples.mask_paths) == ((image,), (mask,))


def test_folders_given_apart(save, tmp_path):
    image, mask = save("frames/day/a.jpg", IMAGE), save("truth/day/a_mask.png", MASK)
    samples = load_folder(images=tmp_path / "frames", masks=tmp_path / "truth")
    assert samples.names == ("day/a",)
    assert (samples.image_paths, samples.mask_paths) == ((image,), (mask,))
    save("frames/day/a_mask.png", MASK)
    samples = load_folder(images=tmp_path / "frames", masks=str(tmp_path / "frames"))
    assert samples.names == ("day/a",)


def test_unlabelled(save, tmp_path):
    save("images/a.png", IMAGE)
    save("images/b_mask.png", IMAGE)
    for samples in (
        load_folder(tmp_path, masks=None),
        load_folder(images=tmp_path / "images", masks=None),
    ):
        assert samples.names == ("a", "b_mask")
        assert samples.mask_paths is None
        assert "2 unlabelled images" in repr(samples)
    save("masks/a.png", MASK)
    assert load_folder(tmp_path, masks=None).names == ("a", "b_mask")
    refused("unlabelled", samples.mask, 0)


def test_channels_are_grey_only_if_all_are(save, tmp_path):
    grey = save("images/a.png", (8, 6))
    save("masks/a.png", MASK)
    assert load_folder(tmp_path).image(0).shape == (8, 6, 1)
    assert load_folder(tmp_path, channels=3).image(0).shape == (8, 6, 3)
    save("images/b.png", IMAGE)
    save("masks/b.png", MASK)
    both = load_folder(tmp_path)
    assert both.channels == 3
    assert both.image_paths[0] == grey
    assert both[:1].image(0).shape == (8, 6, 3)


def test_samples_are_plain_values(save, tmp_path):
    samples = listed()
    assert pickle.loads(pickle.dumps(samples)) == samples
    assert hash(samples) == hash(listed())
    with pytest.raises(AttributeError):
        samples.names = ()
    assert repr(samples) == "<Samples: 10 images with masks, classes=1, first 's0/x0'>"


def test_indexing():
    samples = listed()
    assert samples[2:4].names == ("s2/x2", "s0/x3")
    assert samples[2:4].image_paths == ("s2/x2.jpg", "s0/x3.jpg")
    assert samples[2:4].mask_paths == ("s2/x2_m.png", "s0/x3_m.png")
    assert samples[[5, -1]].names == ("s2/x5", "s0/x9")
    assert samples[np.array([True] + 9 * [False])] == samples[0] == samples[:1]
    assert len(samples[[]]) == 0
    assert [one.names[0] for one in samples] == list(samples.names)
    with pytest.raises(IndexError):
        samples[10]


def test_split_by_names(tmp_path):
    samples = listed()
    (tmp_path / "val.txt").write_text("s2/x5.jpg\n\n s0/x0 \n")
    for names in (tmp_path / "val.txt", str(tmp_path / "val.txt"), ["s0/x0", "s2/x5.PNG"]):
        rest, named = samples.split_by_names(names)
        assert named.names == ("s0/x0", "s2/x5")
        assert rest.names == tuple(n for n in samples.names if n not in named.names)
    with pytest.raises(
        KerasganError, match=r"Received: 6 unknown names: y0, y1, y2, y3, y4, \.\.\.$"
    ):
        samples.split_by_names([f"y{i}" for i in range(6)])
    refused("Received: no names", samples.split_by_names, [])
    with pytest.raises(KerasganError, match=r"list of names cannot be read.*gone\.txt"):
        samples.split_by_names(tmp_path / "gone.txt")


def test_split_depends_on_seed_and_names_alone():
    samples = listed(50)
    rest, part = samples.split(0.1, seed=3)
    assert (len(rest), len(part)) == (45, 5)
    assert sorted(rest.names + part.names) == sorted(samples.names)
    assert set(samples[::-1].split(0.1, seed=3)[1].names) == set(part.names)
    assert samples.split(0.1, seed=4)[1].names != part.names
    assert [len(side) for side in listed(2).split(0.01)] == [1, 1]
    for fraction in (0, 1, float("nan")):
        refused("Argument 'fraction'", samples.split, fraction)


def surgery(name):
    return name.split("/")[0]


def test_split_groups():
    rest, held_out = listed().split_groups(surgery, "s1")
    assert held_out.names == ("s1/x1", "s1/x4", "s1/x7")
    assert {surgery(name) for name in rest.names} == {"s0", "s2"}
    rest, _ = listed().split_groups(surgery, ["s1", "s2"])
    assert {surgery(name) for name in rest.names} == {"s0"}
    for wrong, told in (
        ("s3", "1 unknown groups: 's3'"),
        (["s1", "s3", 1], "2 unknown groups: 1, 's3'"),
        (["s0", "s1", "s2"], "all"),
        (["s0", "s1", "s2", "s3"], "1 unknown groups: 's3'"),
        ([], "none"),
    ):
        with pytest.raises(KerasganError, match=f"3 groups: 's0', 's1', 's2'. Received: {told}$"):
            listed().split_groups(surgery, wrong)


def test_of_many_groups_only_some_are_shown():
    told = "1000 groups: .*Received: 1 unknown groups: 'no'"
    with pytest.raises(KerasganError, match=told) as error:
        listed(1000).split_groups(str, "no")
    assert str(error.value).count("/x") == 10


def test_folds_hold_each_sample_once():
    samples = listed(11)
    folds = samples.folds(4, seed=1)
    assert sorted(len(fold) for _, fold in folds) == [2, 3, 3, 3]
    assert sorted(name for _, fold in folds for name in fold.names) == sorted(samples.names)
    for rest, fold in folds:
        assert sorted(rest.names + fold.names) == sorted(samples.names)
    assert folds != samples.folds(4, seed=2)


def test_folds_keep_groups_together():
    folds = listed().folds(3, key=surgery)
    assert sorted({surgery(n) for n in fold.names}.pop() for _, fold in folds) == ["s0", "s1", "s2"]
    assert all(len({surgery(n) for n in fold.names}) == 1 for _, fold in folds)
    for k in (1, 4, 2.0):
        refused("'k' must be a whole number from 2 to 3", listed().folds, k, key=surgery)


@pytest.mark.parametrize(("highest", "shades"), [(4095, 16), (8191, 32), (8192, None), (300, 2)])
def test_a_camera_of_twelve_bits_in_sixteen_is_a_warning(save, tmp_path, highest, shades):
    pixels = np.zeros((8, 6), np.uint16)
    pixels[2:5, 2:5] = highest
    save("images/a.png", pixels)
    save("masks/a.png", MASK)
    if shades is None:
        load_folder(tmp_path)
    else:
        with pytest.warns(KerasganWarning, match=rf"a\.png has 16 bits.* {shades} shades only"):
            samples = load_folder(tmp_path)
        assert len(np.unique(samples.image(0))) <= shades


@pytest.mark.parametrize(("bright", "told"), [(0, True), (1, True), (6, False), (9, False)])
def test_dark_images_are_told_wherever_most_are(save, tmp_path, bright, told):
    for i in range(9):
        save(f"images/{i}.png", np.full((4, 4), 60000 if i < bright else 900, np.uint16))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load_folder(images=tmp_path / "images", masks=None)
    assert bool([one for one in heard if "has 16 bits" in str(one.message)]) == told


@pytest.mark.parametrize("names", [None, 5, [1, 2], [None]])
def test_names_that_are_no_text_are_refused(names):
    refused("'names' must be a text file or a list of names", listed().split_by_names, names)


def test_groups_and_numbers_of_numpy():
    samples = listed()
    group = lambda name: name[:2]  # noqa: E731
    rest, held = samples.split_groups(group, np.array(["s0"]))
    assert rest.names
    assert {group(name) for name in held.names} == {"s0"}
    assert len(samples.folds(np.int64(2))) == 2
    assert samples.split(np.float32(0.5))[1].names == samples.split(0.5)[1].names
    for key, held_out in ((list, "s0"), (group, {"s0": 1})):
        refused("hashable", samples.split_groups, key, held_out)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda name: {}[name], "'key' failed for '[^']*': KeyError"),
        (lambda name: name.split("_")[9], "'key' failed for '[^']*': IndexError"),
        (lambda: "a", "'key' failed for '[^']*': TypeError"),
        (lambda name: [name], r"'key' must return something hashable.*Received: \['"),
        ("s0", "'key' must be a function from the name of an image to its group. Received: 's0'"),
    ],
)
def test_a_key_that_gives_no_group_is_named_with_the_image(key, words):
    refused(words, listed().split_groups, key, "s0")
    refused(words, listed().folds, 2, key=key)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["input/a.png", "truth/a.png"], "input, truth.*images=.*masks="),
        (["images/a.png", "masks/a_mask.png", "masks/a_seg.png"], "Two masks bear the name 'a'"),
        (
            [*(f"images/x{i}.png" for i in range(7)), "masks/x3.png", "masks/z.png"],
            "7 images, 6 without mask: x0, x1, x2, x4, x5, ...; 1 masks without image: z.",
        ),
        (["images/x.png"], "1 images but no masks.*pass masks=None"),
        (["masks/x.png"], "has masks but no images"),
        (
            ["images/x.png", "images/x.jpg", "masks/x.png"],
            r"Two images bear the name 'x': .*x\.jpg and .*x\.png",
        ),
        (
            ["images/a.png", "masks/a.png", "images/tall.png", "masks/tall.png"],
            r"1 differ: tall \(image 8 x 6, mask 6 x 8\)",
        ),
        (["else/thing/notes"], "in it: thing.*images=.*masks="),
        (["else/notes"], r"holds no image files \(\.png, \.jpg"),
    ],
)
def test_what_cannot_be_paired_is_named(save, tmp_path, names, words):
    for name in names:
        if name.endswith("notes"):
            (tmp_path / name).parent.mkdir(parents=True)
        else:
            save(name, MASK.T.copy() if name == "masks/tall.png" else MASK)
    refused(words, load_folder, tmp_path / "else" if names[0].startswith("else") else tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "gone"}, r"'path' must be a folder. Received: .*gone \(not there"),
        ({"path": "file.txt"}, r"file\.txt \(a file"),
        ({"path": 3}, r"'path' must be the path of a folder\. Received: 3"),
        ({"images": ".", "masks": "gone"}, "'masks' must be a folder"),
        ({}, "either 'path' or 'images'"),
        ({"path": ".", "images": "."}, "either 'path' or 'images'"),
        ({"images": "."}, "'masks' must be given with 'images'"),
        ({"path": ".", "masks": "."}, "'masks' goes with 'images'"),
    ],
)
def test_impossible_folders(save, tmp_path, monkeypatch, given, words):
    save("a.png", IMAGE)
    (tmp_path / "file.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    refused(words, load_folder, **given)


@pytest.mark.parametrize("other", ["images/notes.png", "masks/notes.png"])
def test_all_faults_of_a_folder_are_told_at_once(save, tmp_path, other):
    for name in "abcdef":
        save(f"images/{name}.png", IMAGE)
    for name in "def":
        save(f"masks/{name}.png", MASK)
    (tmp_path / other).write_text("no picture")
    with pytest.raises(KerasganError) as error:
        load_folder(tmp_path)
    _, text, unpaired = str(error.value).splitlines()
    assert f"{other} cannot be read" in text
    assert "Export it again, or remove it" in text
    assert "<_io" not in text
    assert "6 images, 3 without mask: a, b, c." in unpaired
    save("masks/d.png", MASK[:-1])
    save("masks/z.png", MASK)
    with pytest.raises(KerasganError) as error:
        load_folder(tmp_path)
    _, text, unpaired, sizes = str(error.value).splitlines()
    assert "3 without mask: a, b, c; 1 masks without image: z." in unpaired
    assert "1 differ: d" in sizes
    for name in "abcdef":
        (tmp_path / f"images/{name}.png").write_text("no picture")
    refused(r"[12] more files cannot be used", load_folder, tmp_path)


@pytest.mark.parametrize("ruin", ["images/a.png", "masks/a.png"])
def test_unreadable_files_are_found_on_loading(save, tmp_path, ruin):
    save("images/a.png", IMAGE)
    save("masks/a.png", MASK)
    (tmp_path / ruin).write_bytes(b"")
    refused(rf"{ruin} cannot be read", load_folder, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 0}, "'classes' must be a whole number from 1 to 255"),
        ({"channels": 4}, "'channels' must be one of 1, 3, None"),
        ({"classes": 3, "colors": [0, 1]}, "'colors' must list 3 different colours"),
        ({"colors": [0]}, "'colors' must list 2 different"),
        ({"colors": [(1, 2, 3), (1, 2, 3)]}, "'colors' must list 2 different"),
        ({"colors": [(0, 0), (1, 2)]}, "'colors' must list"),
        ({"colors": [0, 65536]}, "'colors' must list"),
        ({"colors": {0: 0, 1: 2}}, "'colors' must list"),
        ({"colors": {0: 0, 255: 0}}, "'colors' must list"),
        ({"classes": 3, "colors": {0: 0, 1: 1, (1, 1, 1): 2}}, "'colors' must list 3"),
        ({"colors": [0, 0.5]}, "'colors' must list"),
        ({"colors": ["a", "b"]}, "'colors' must list"),
        ({"colors": 5}, "'colors' must list"),
    ],
)
def test_impossible_classes_and_colours(tmp_path, options, words):
    refused(words, load_folder, tmp_path, **options)


@pytest.mark.data
def test_real_folders(real_data):
    kvasir = load_folder(real_data / "kvasir-seg")
    assert len(kvasir) == 1000
    rest, test = kvasir.split_by_names(real_data / "kvasir-seg" / "splits" / "val.txt")
    assert (len(rest), len(test)) == (880, 120)
    assert set(np.unique(kvasir.mask(0))) == {0, 1}
    endovis = load_folder(real_data / "endovis15-rigid")
    assert [len(s) for s in endovis.split_groups(lambda name: name[:3], "OP3")] == [80, 40]


def test_masks_that_are_their_images_are_questioned(save, tmp_path):
    half = MASK.copy()
    half[:, :3] = 0
    for part in ("images", "masks"):
        save(f"{part}/a.png", half)
        save(f"{part}/b.png", half)
        save(f"{part}/blank.png", MASK)
    with pytest.warns(KerasganWarning, match="2 are copies of their images: a, b"):
        load_folder(tmp_path)


def test_a_second_folder_that_may_hold_masks_is_named(save, tmp_path):
    for number in (21, 22):
        save(f"images/{number}_training.png", IMAGE)
        save(f"mask/{number}_training_mask.png", MASK)
        save(f"1st_manual/{number}_manual1.png", MASK)
        save(f"previews/{number}.png", IMAGE)
    with pytest.warns(KerasganWarning, match="1st_manual is not read, and may hold masks") as told:
        assert len(load_folder(tmp_path)) == 2
    assert len(told) == 1


def test_folders_that_are_exchanged_are_told(save, tmp_path):
    rng = np.random.default_rng(0)
    save("masks/a.png", rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    save("images/a.png", np.zeros((32, 32), np.uint8))
    with pytest.warns(KerasganWarning, match="images and masks exchanged"):
        samples = load_folder(tmp_path)
    refused("images and masks exchanged", samples.mask, 0)

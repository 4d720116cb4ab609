"""Folders as people have them: links, loops, accents, and what systems leave behind."""

import os
import pathlib
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import Samples, convert, load_folder
from kerasgan.data.convert.sources import find_files, match_masks
from kerasgan.data.folders import files_below
from kerasgan.errors import KerasganWarning

IMAGE, MASK = (8, 6, 3), np.full((8, 6), 255, np.uint8)
NFC, NFD = (unicodedata.normalize(form, "Café_å") for form in ("NFC", "NFD"))


def names_in(root, wanted=lambda name: True):
    return [str(key) for key in files_below(pathlib.Path(root), wanted)]


@pytest.fixture
def store(save, tmp_path):
    """Two pairs in a folder that other folders link to."""
    for name in ("a", "b"):
        save(f"store/images/{name}.png", IMAGE)
        save(f"store/masks/{name}.png", MASK)
    (tmp_path / "data").mkdir()
    return tmp_path / "store"


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=pathlib.Path(target).is_dir())


@pytest.mark.parametrize(
    "links",
    [
        {"images": "images", "masks": "masks"},
        {"case1/images": "images", "case1/masks": "masks"},
        {"all": "."},
        {"images/a.png": "images/a.png", "images/b.png": "images/b.png", "masks": "masks"},
    ],
)
def test_links_are_read_as_what_they_lead_to(links, store, tmp_path):
    for name, target in links.items():
        link(tmp_path / "data" / name, store / target)
    (tmp_path / "here").symlink_to("data")
    for root in (tmp_path / "data", tmp_path / "here"):
        samples = load_folder(root)
        assert [name.split("/")[-1] for name in samples.names] == ["a", "b"]
        assert samples.image(0).shape == (8, 6, 3)
        assert samples.mask(1).all()
    apart = load_folder(images=store / "images", masks=store / "masks")
    assert apart.names == ("a", "b")


@pytest.mark.parametrize("target", [".", "..", "images", "images/deep"])
def test_loops_end_and_nothing_is_found_twice(target, store):
    (store / "images" / "deep").mkdir()
    link(store / "images" / "deep" / "again", store / target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_folder(store).names == ("a", "b")


def test_folders_that_link_to_each_other_are_read_once(store):
    link(store / "images" / "to_masks", store / "masks")
    link(store / "masks" / "to_images", store / "images")
    link(store / "self", store)
    with pytest.warns(KerasganWarning, match="is not read twice"):
        assert load_folder(store).names == ("a", "b")


def test_a_second_link_to_a_folder_is_told(store, tmp_path):
    link(tmp_path / "data" / "2024", store / "images")
    link(tmp_path / "data" / "latest", store / "images")
    with pytest.warns(KerasganWarning, match=r"latest leads to a folder that is read already"):
        assert load_folder(tmp_path / "data", masks=None).names == ("2024/a", "2024/b")


def test_broken_links_are_told(store):
    link(store / "notes", store / "gone")
    with pytest.warns(KerasganWarning, match=r"notes leads nowhere"):
        load_folder(store)
    (store / "notes").unlink()
    link(store / "images" / "c.png", store / "pool" / "17.png")
    refused(r"c\.png is a link that leads nowhere.*17\.png", load_folder, store)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_told(store):
    (store / "images" / "shut").mkdir(mode=0)
    refused(r"shut cannot be read", load_folder, store)


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX/._b.png",
     "__MACOSX/b.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", ".ipynb_checkpoints/a-checkpoint.png",
     "$RECYCLE.BIN/b.png", "#recycle/b.png", ".Trashes/b.png", "Icon\r"],
)  # fmt: skip
def test_what_systems_leave_behind_is_no_file_of_any_format(name, tmp_path):
    for path in (tmp_path / name, tmp_path / "p1" / name, tmp_path / "__x.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7" + bytes(100))
    assert names_in(tmp_path) == ["__x.png"]
    assert [one.parts for one in find_files(tmp_path, "images", lambda name: "")] == [("__x.png",)]


def test_every_usual_ending_is_an_image(save, tmp_path):
    names = ["a.JPEG", "b.Jpg", "c.TIFF", "d.tif", "e.PNG", "f.BMP", "g.1.2.png", "h.jpg.png"]
    for name in names:
        save(f"images/{name}", IMAGE)
        save(f"masks/{name.rpartition('.')[0]}.Png", MASK, format="PNG")
    found = load_folder(tmp_path)
    assert found.names == ("a", "b", "c", "d", "e", "f", "g.1.2", "h.jpg")
    named = found.split_by_names(["g.1.2", "h.jpg", "a.jpeg"])[1]
    assert named.names == ("a", "g.1.2", "h.jpg")


@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), (NFD, NFC)])
def test_names_pair_whatever_their_unicode_form(one, other, save, tmp_path):
    save(f"set/images/{one}/{one}.png", IMAGE)
    save(f"set/masks/{other}/{other}_mask.png", MASK)
    save("set/images/x.png", IMAGE)
    save("set/masks/x.png", MASK)
    samples = load_folder(tmp_path / "set")
    assert samples.names == (f"{NFC}/{NFC}", "x")
    assert samples.mask(0).all()
    for form in (one, other):
        assert samples.split_by_names([f"{form}/{form}.png"])[1].names == samples[:1].names
        (tmp_path / "list.txt").write_text(f"{form}\\{form}\n", encoding="utf-8")
        assert samples.split_by_names(tmp_path / "list.txt")[1].names == samples[:1].names
    images, masks = (
        find_files(tmp_path / "set" / part, part, lambda name: ".png")
        for part in ("images", "masks")
    )
    assert [path.parts[-1] for path in match_masks(images, masks, False)] == [
        f"{other}_mask.png",
        "x.png",
    ]
    made = Samples((NFD, "x"), ("1.png", "2.png"), None)
    assert made.split_by_names([one])[1].names == (NFD,)


def test_two_forms_of_one_name_are_an_error(save, tmp_path):
    for name in (NFC, NFD):
        save(f"images/{name}.png", IMAGE)
    if len(os.listdir(tmp_path / "images")) == 1:
        pytest.skip("this file system knows one form only")
    for read in (
        lambda: load_folder(images=tmp_path / "images", masks=None),
        lambda: convert.from_pictures(tmp_path / "images", tmp_path / "out", low=0, high=1),
    ):
        refused("have one name, in two Unicode forms", read)


def test_folders_in_two_forms_are_one(save, tmp_path):
    save(f"images/{NFC}/a.png", IMAGE)
    save(f"images/{NFD}/b.png", IMAGE)
    found = load_folder(images=tmp_path / "images", masks=None)
    assert found.names == (f"{NFC}/a", f"{NFC}/b")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfs2/x5.jpg\r\ns0/x0\r\n", b's0/x0  \n"s2/x5.png"\n', b"# val\ns0\\x0\n./s2\\x5",
     b"'s0/x0'\n\n  \ns2/x5\n#s1/x1\n", "s0/x0\ns2/x5".encode("utf-16"), b"s0/x0\rs2/x5\r"],
)  # fmt: skip
def test_lists_of_names_as_other_programs_write_them(content, tmp_path):
    names = tuple(f"s{i % 3}/x{i}" for i in range(8))
    samples = Samples(names, tuple(f"{n}.jpg" for n in names), None)
    (tmp_path / "val.txt").write_bytes(content)
    assert samples.split_by_names(tmp_path / "val.txt")[1].names == ("s0/x0", "s2/x5")


def test_a_list_in_another_encoding_and_a_name_like_a_comment(tmp_path):
    samples = Samples(("#1", NFC), ("1.png", "2.png"), None)
    (tmp_path / "val.txt").write_text("# both\n#1\n", encoding="utf-8")
    assert samples.split_by_names(tmp_path / "val.txt")[1].names == ("#1",)
    (tmp_path / "val.txt").write_bytes(f"{NFC}\n".encode("latin-1"))
    refused(r"cannot be read.*val\.txt .*UTF-8", samples.split_by_names, tmp_path / "val.txt")
    refused("1 unknown names: # both", samples.split_by_names, ["# both"])


def test_two_folders_of_one_role_do_not_replace_each_other(save, tmp_path):
    for name in ("images/p/a.png", "p/images/a.png"):
        save(name, IMAGE)
    save("masks/p/a.png", MASK)
    refused(r"Two images bear one name: .*images.p.a\.png and .*p.images", load_folder, tmp_path)


def test_a_folder_and_a_link_to_it_are_one(save, tmp_path):
    save("all/a.png", IMAGE)
    save("all/a_mask.png", MASK)
    link(tmp_path / "also", tmp_path / "all")
    samples = load_folder(images=tmp_path / "all", masks=tmp_path / "also")
    assert samples.names == ("a",)
    assert samples.mask(0).all()


def test_pictures_of_kinds_that_are_not_read_are_told(save, store):
    Image.new("RGB", (6, 8)).save(store / "images" / "c.webp")
    (store / "masks" / "c.NPY").write_bytes(b"")
    with pytest.warns(KerasganWarning, match=r"2 are left out: images/c.webp, masks/c.NPY. Save"):
        assert load_folder(store).names == ("a", "b")
    with pytest.warns(KerasganWarning, match="1 are left out: c.webp"):
        assert len(load_folder(images=store / "images", masks=None)) == 2


def test_masks_beside_their_images_are_no_unlabelled_images(save, tmp_path):
    for name in ("a", "b", "a_mask", "b-seg", "face_mask"):
        save(f"{name}.png", IMAGE)
    with pytest.warns(KerasganWarning, match="2 files: a_mask.png, b-seg.png"):
        assert load_folder(tmp_path, masks=None).names == ("a", "b", "face_mask")

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def test_what_a_folder_holds_is_told(answer, scenes, tmp_path):
    found = answer("check", scenes, "--out", tmp_path / "check.png")
    assert (found["images"], found["masks"], found["channels"]) == (4, 4, 3)
    assert found["sizes"]["smallest"] == found["sizes"]["largest"] == [32, 32]
    assert set(found["mask_values"]) == {"0", "255"}
    assert found["mask_values"]["255"] == pytest.approx(10 / 64)
    spread = found["foreground"]
    assert [spread[x] for x in ("least", "median", "most")] == [1 / 16, 2.5 / 16, 4 / 16]
    assert (spread["empty"], found["odd"], found["unusable"]) == (0, [], [])
    with Image.open(tmp_path / "check.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_labels_and_other_tones(answer, run, scenes):
    for index, file in enumerate(sorted((scenes / "masks").iterdir())):
        Image.fromarray(np.asarray(Image.open(file)) // 255 * np.uint8(1 + index % 2)).save(file)
    found = answer("check", scenes, "--classes", 3)
    assert set(found["mask_values"]) == {"0", "1", "2"}
    assert found["foreground"]["by_class"] == pytest.approx([4 / 64, 6 / 64])
    code, _, err = run("check", scenes, "--colors", "[0, 1]")
    assert code == 1
    assert err.splitlines()[-1].startswith("Error: Mask")
    for file in (scenes / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(file)).clip(0, 1) * np.uint8(90)).save(file)
    assert answer("check", scenes)["colors"] == [[0, 0, 0], [90, 90, 90]]
    assert answer("check", scenes, "--colors", "[90, 0]")["foreground"]["most"] == 15 / 16


def test_copies_and_empty_masks_are_odd(answer, scenes):
    picture = Image.open(scenes / "images" / "s0.png").crop((0, 0, 4, 4)).resize((32, 32))
    picture.save(scenes / "images" / "s0.png")
    picture.save(scenes / "images" / "s1.jpg", quality=95)
    (scenes / "images" / "s1.png").unlink()
    for file in (scenes / "masks").iterdir():
        Image.new("L", (32, 32)).save(file)
    odd = " ".join(answer("check", scenes)["odd"])
    assert "s0 and s1" in odd
    assert "no mask shows foreground" in odd
    for file in (scenes / "masks").iterdir():
        Image.new("L", (32, 32), 255).save(file)
    assert "every mask is foreground all over" in answer("check", scenes)["odd"]


def test_images_alone(answer, refused, scenes):
    found = answer("check", scenes, "--no-masks")
    assert (found["images"], found["masks"]) == (4, 0)
    shutil.rmtree(scenes / "masks")
    line = refused("check", scenes)
    assert "and --masks: " in line
    assert line.endswith("For unlabelled images pass --no-masks.")


def test_masks_elsewhere(answer, refused, scenes, tmp_path):
    (scenes / "masks").rename(tmp_path / "elsewhere")
    images = scenes / "images"
    assert answer("check", images, "--masks", tmp_path / "elsewhere")["masks"] == 4
    assert "--masks" in refused("check", images, "--masks", tmp_path / "nowhere")
    assert "not both" in refused("check", images, "--masks", tmp_path / "elsewhere", "--no-masks")


def test_a_broken_image_is_named_and_the_rest_is_told(run, scenes):
    """The header is whole, the pixels are not."""
    file = scenes / "images" / "s2.png"
    file.write_bytes(file.read_bytes()[:1500])
    code, out, err = run("check", scenes)
    assert code == 1
    assert "4 images with masks" in out
    assert err.splitlines()[-1].startswith(f"Error: File {file} cannot be read")


def test_hostile_files(refused, answer, scenes, tmp_path):
    os.symlink(scenes, scenes / "images" / "loop")
    assert answer("check", scenes)["images"] == 4
    for part in ("images", "masks"):
        odd = scenes / part / "a\n<b>\x1b[31m.png"
        shutil.copy(scenes / part / "s0.png", odd)
    assert answer("check", scenes)["images"] == 5
    odd.unlink()
    line = refused("check", scenes)
    assert r"a\n<b>\x1b[31m" in line


@pytest.mark.parametrize(
    "kind", ["nothing", "a file", "an empty folder", "a folder without images"]
)
def test_what_is_no_folder_of_images(refused, tmp_path, kind):
    place = tmp_path / "place"
    if kind == "a file":
        place.write_text("text")
    elif kind != "nothing":
        place.mkdir()
    if kind == "a folder without images":
        (place / "notes.txt").write_text("text")
    assert str(place) in refused("check", place)


def test_no_file_is_lost(refused, scenes):
    file = scenes / "images" / "s0.png"
    before = file.read_bytes()
    assert "exists" in refused("check", scenes, "--out", file)
    assert file.read_bytes() == before
    assert ".png" in refused("check", scenes, "--out", scenes / "picture.txt")


def test_tensorflow_is_not_needed(scenes):
    code = (
        "import sys; sys.argv = ['kerasgan']; from kerasgan.cli.command import main; "
        f"code = main(['check', {str(scenes)!r}]); "
        "sys.exit(code or 'tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_all_that_cannot_be_used_are_counted(run, scenes):
    part = (scenes / "images" / "s2.png").read_bytes()[:1500]
    for number in range(30):
        (scenes / "images" / f"t{number}.png").write_bytes(part)
        shutil.copy(scenes / "masks" / "s2.png", scenes / "masks" / f"t{number}.png")
    code, out, err = run("check", scenes)
    assert code == 1
    assert "unusable        30 images" in out
    assert "29 more files cannot be used" in err
    assert json.loads(run("check", scenes, "--json")[1])["unusable_images"] == 30

import hashlib
import json
import os

import numpy as np
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan.errors import KerasganWarning
from kerasgan.inference import add_to_catalogue, pretrained, read_catalogue, save_bundle
from kerasgan.inference.card import REQUIRED

CARD = {name: f"About {name}." for name in REQUIRED if name != "licence"}
NAME = "polyps"
SCORE = {"data": "drawn scenes", "outside": False, "images": 8, "score": "dice"}
SCORE.update(mean=0.5, low=0.4, high=0.6)
ABOUT = {"name": "polyps", "version": "1.0", "terms": "Research alone.", "scores": [SCORE]}


@pytest.fixture(scope="module")
def network():
    return kg.models.unet(size=32, filters=2, levels=2)


@pytest.fixture(scope="module")
def packed(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "any.zip"
    save_bundle(network, path, card=CARD, licence="CC-BY-NC-4.0")
    return path


@pytest.fixture
def folder(packed, tmp_path):
    add_to_catalogue(tmp_path / "networks", packed, **ABOUT)
    return tmp_path / "networks"


def change(folder, **changes):
    """Change the only entry of a catalogue by hand."""
    path = folder / "catalogue.json"
    content = json.loads(path.read_text())
    content["networks"][0].update(changes)
    path.write_text(json.dumps(content))


def test_a_network_by_its_name(network, folder, packed):
    bundle = kg.pretrained("polyps", folder=folder)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(bundle.generator(images), network(images))
    assert bundle.card == CARD
    assert bundle.licence == "CC-BY-NC-4.0"
    (entry,) = read_catalogue(folder)
    digest = hashlib.sha256((folder / "polyps-1.0.zip").read_bytes()).hexdigest()
    assert digest == hashlib.sha256(packed.read_bytes()).hexdigest()
    wanted = {**ABOUT, "file": "polyps-1.0.zip", "sha256": digest, "licence": "CC-BY-NC-4.0"}
    assert entry == wanted
    assert {path.name for path in folder.iterdir()} == {"catalogue.json", "polyps-1.0.zip"}


def test_the_highest_version_unless_one_is_asked_for(folder, packed, tmp_path):
    other = kg.models.unet(size=32, filters=3, levels=2)
    save_bundle(other, tmp_path / "b.zip", card=CARD, licence="MIT")
    add_to_catalogue(folder, tmp_path / "b.zip", **{**ABOUT, "version": "1.10"})
    add_to_catalogue(folder, packed, **{**ABOUT, "version": "1.9"})
    assert kg.pretrained("polyps", folder=folder).licence == "MIT"
    assert kg.pretrained("polyps", folder=folder, version="1.9").licence == "CC-BY-NC-4.0"
    assert [entry["version"] for entry in read_catalogue(folder)] == ["1.0", "1.9", "1.10"]
    refused("'version' must be one of 1.0, 1.9, 1.10", pretrained, NAME, folder=folder, version="2")
    again = {**ABOUT, "version": "1.10.0"}
    refused("'version' must be new.* 1.10 already", add_to_catalogue, folder, packed, **again)


def test_without_a_folder_it_says_that_there_is_no_release():
    refused(
        "'folder' must be given: no release of kerasgan has trained networks", pretrained, "polyps"
    )


def test_what_is_not_there(folder, packed, tmp_path):
    refused(
        "'name' must be one of polyps.*Did you mean 'polyps'", pretrained, "polyp", folder=folder
    )
    refused("'name' must be a text", pretrained, None, folder=folder)
    refused("must hold catalogue.json", pretrained, NAME, folder=packed.parent)
    refused("'folder' must be a folder.*not there", pretrained, NAME, folder=tmp_path / "none")
    (folder / "polyps-1.0.zip").unlink()
    refused("lists 'polyps-1.0.zip', which is not in its folder", pretrained, NAME, folder=folder)
    (folder / "catalogue.json").write_text('{"format": 1, "networks": []}')
    refused("lists no network", pretrained, NAME, folder=folder)


def test_a_file_that_differs_is_not_opened(folder, packed, monkeypatch):
    path = folder / "polyps-1.0.zip"
    path.write_bytes(path.read_bytes() + b"\0")
    opened = []
    monkeypatch.setattr("zipfile.ZipFile", lambda *_, **__: opened.append(1))
    refused("is not the file that was published", pretrained, NAME, folder=folder)
    assert not opened


def test_another_licence_than_that_of_the_file(folder):
    change(folder, licence="MIT")
    refused("states the licence 'MIT' .* 'CC-BY-NC-4.0'", pretrained, NAME, folder=folder)


@pytest.mark.parametrize(
    "file", ["../polyps-1.0.zip", "/etc/passwd", "a/b.zip", "polyps-1.0.zip\n", ".zip", "a\\b.zip"]
)
def test_nothing_outside_the_folder_is_opened(file, folder):
    change(folder, file=file)
    refused("'file' of a network must be the name of a zip", pretrained, NAME, folder=folder)


def test_a_link_is_not_followed(folder, tmp_path):
    path = folder / "polyps-1.0.zip"
    os.replace(path, tmp_path / "moved.zip")
    path.symlink_to(tmp_path / "moved.zip")
    refused("is not in its folder", pretrained, NAME, folder=folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Polyps"}, "'name' of a network must be lower case"),
        ({"version": "1.0-beta"}, "'version' of a network must be numbers"),
        ({"sha256": "12"}, "'sha256' of a network must be 64 hexadecimal"),
        ({"terms": " "}, "'terms' of a network must be a text"),
        ({"licence": None}, "'licence' of a network must be a text"),
        ({"scores": []}, "one score at least"),
        ({"scores": [{**SCORE, "mean": "0.5"}]}, "finite numbers"),
        ({"scores": [{**SCORE, "outside": 1}]}, "True or False for outside"),
        ({"scores": [{"dice": 0.5}]}, "must hold dicts of data, outside"),
    ],
    ids=str,
)
def test_a_broken_catalogue(changes, message, folder):
    change(folder, **changes)
    refused(f"catalogue.json' is broken.*{message}", read_catalogue, folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"format": "1", "networks": []}', '{"format": 1, "networks": [3]}',
     '{"format": 1, "networks": 3}', '{"format": 1, "networks": [{}]}', "[" * 100_000, "\0"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_file_that_is_no_catalogue(text, tmp_path):
    (tmp_path / "catalogue.json").write_text(text)
    refused("catalogue.json' is broken", read_catalogue, tmp_path)


def test_a_catalogue_that_is_newer_too_large_or_lists_one_twice(folder):
    path = folder / "catalogue.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 2}))
    refused("newer kerasgan; upgrade", read_catalogue, folder)
    path.write_text(json.dumps({**content, "networks": content["networks"] * 2}))
    refused("lists a version of 'polyps' twice", read_catalogue, folder)
    path.write_text(" " * 1_000_001)
    refused("has more than 1 MB", read_catalogue, folder)


def test_what_is_not_entered(network, packed, tmp_path):
    folder = tmp_path / "networks"
    bare = tmp_path / "bare.zip"
    with pytest.warns(KerasganWarning, match="leaves out"):
        save_bundle(network, bare, card={"limits": "x"}, licence="MIT")
    with pytest.warns(KerasganWarning, match="leaves out"):
        refused("leaves out: segments", add_to_catalogue, folder, bare, **ABOUT)
    refused("must be a bundle, a zip", add_to_catalogue, folder, tmp_path / "none.zip", **ABOUT)
    refused("'name' of a network", add_to_catalogue, folder, packed, **{**ABOUT, "name": "../x"})
    refused("'terms' of a network", add_to_catalogue, folder, packed, **{**ABOUT, "terms": ""})
    with (tmp_path / "large.zip").open("wb") as file:
        file.truncate(25_000_001)
    refused("at most 25 MB.*25.0 MB", add_to_catalogue, folder, tmp_path / "large.zip", **ABOUT)
    assert not folder.exists()
    folder.mkdir()
    (folder / "polyps-1.0.zip").write_text("mine")
    refused("the catalogue does not list it", add_to_catalogue, folder, packed, **ABOUT)
    assert (folder / "polyps-1.0.zip").read_text() == "mine"

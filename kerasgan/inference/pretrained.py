"""Trained networks by name: a folder of bundles, and a catalogue of their versions and checksums.

A folder can be carried to where there is no internet. Its `catalogue.json` names for each network
the file, its SHA-256, the licence of the weights, the terms of the images that it was trained on,
and its scores inside and outside that dataset. It is data, from a stranger perhaps: nothing that it
names is opened outside its folder, or before its checksum was compared.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.inference.bundle import Bundle, load_bundle
from kerasgan.storage import atomic_replace, file_sha256, write_file
from kerasgan.text import read_text
from kerasgan.validation import check_choice, check_folder, check_path, check_text, is_number

CATALOGUE, FORMAT = "catalogue.json", 1
MOST_MEGABYTES = 25
MOST_CATALOGUE = 10**6
TEXTS = ("name", "version", "file", "sha256", "licence", "terms")
SCORE = ("data", "outside", "images", "score", "mean", "low", "high")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.zip")
SHA256 = re.compile(r"[0-9a-f]{64}")


def pretrained(
    name: str, *, folder: str | os.PathLike | None = None, version: str | None = None
) -> Bundle:
    """Open a trained network of a folder, by its name.

    The file must have the SHA-256 that the catalogue states, and is then opened by `load_bundle`,
    which runs nothing of it. The catalogue says what was published by whoever made the folder: take
    both from a source that you trust.

    Args:
        name: Of the network, as `read_catalogue` lists it, such as "polyps".
        folder: With `catalogue.json` and the bundles. It must be given: no release of kerasgan has
            trained networks so far.
        version: Such as "1.0"; the highest one if left out.

    Returns:
        The bundle, with network, card and licence.

    Raises:
        KerasganError: If there is no such network, or the file is missing, is not the one that the
            catalogue states, or is no bundle that can be loaded.

    Example:
        >>> bundle = kg.pretrained("polyps", folder="networks")  # doctest: +SKIP
        >>> bundle.licence  # doctest: +SKIP
        'CC-BY-NC-4.0'
    """
    check_text("name", name)
    if folder is None:
        raise KerasganError(
            "Argument 'folder' must be given: no release of kerasgan has trained networks so far. "
            "Pass the path of a folder with catalogue.json and bundles; the page 'Trained "
            "networks' of the documentation says how to make one"
        )
    entries = read_catalogue(folder)
    if not entries:
        raise KerasganError(f"{_place(folder)} lists no network. Add one by add_to_catalogue")
    versions = [entry for entry in entries if entry["name"] == name]
    if not versions:
        names = dict.fromkeys(entry["name"] for entry in entries)
        raise unknown_name("name", name, names)
    if version is not None:
        check_choice("version", version, [entry["version"] for entry in versions])
        versions = [entry for entry in versions if entry["version"] == version]
    entry = max(versions, key=lambda entry: _order(entry["version"]))
    path = pathlib.Path(folder) / entry["file"]
    if path.is_symlink() or not path.is_file():
        raise KerasganError(
            f"{_place(folder)} lists '{entry['file']}', which is not in its folder. Copy it there, "
            "from where the catalogue came"
        )
    bundle = load_bundle(path, sha256=entry["sha256"])
    if bundle.licence != entry["licence"]:
        raise KerasganError(
            f"{_place(folder)} states the licence {entry['licence']!r} of '{entry['file']}', and "
            f"the file itself {bundle.licence!r}. Ask its author which of them holds"
        )
    return bundle


def read_catalogue(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Read which trained networks a folder has. The files themselves are not opened.

    Args:
        folder: With `catalogue.json`.

    Returns:
        For each network and version `name`, `version`, `file`, `sha256`, `licence` (of the
        weights), `terms` (of the images that it was trained on) and `scores`, as for
        `add_to_catalogue`.

    Example:
        >>> [entry["name"] for entry in kg.inference.read_catalogue("networks")]  # doctest: +SKIP
        ['instruments', 'polyps']
    """
    path = check_folder("folder", folder) / CATALOGUE
    if not path.is_file():
        raise KerasganError(
            f"Argument 'folder' must hold {CATALOGUE}, as add_to_catalogue writes it. Received: "
            f"{folder}, without one"
        )
    if path.stat().st_size > MOST_CATALOGUE:
        raise KerasganError(f"'{path}' has more than {MOST_CATALOGUE / 1e6:g} MB: no catalogue")
    try:
        content = json.loads(read_text(path))
        newer = content["format"] > FORMAT
        entries = [] if newer else [_checked(dict(entry)) for entry in content["networks"]]
    except KerasganError as error:
        raise KerasganError(f"'{path}' is broken: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KerasganError(f"'{path}' is broken ({error!r}). Get it anew") from error
    if newer:
        raise KerasganError(f"'{path}' was written by a newer kerasgan; upgrade it")
    known = [(entry["name"], _order(entry["version"])) for entry in entries]
    for one in known:
        if known.count(one) > 1:
            raise KerasganError(f"'{path}' is broken: it lists a version of {one[0]!r} twice")
    return entries


def add_to_catalogue(
    folder: str | os.PathLike,
    bundle: str | os.PathLike,
    *,
    name: str,
    version: str,
    terms: str,
    scores: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Copy a bundle into a folder of trained networks and enter it into the catalogue.

    The bundle is loaded before, and must have a licence and all required fields of the card.

    Args:
        folder: With `catalogue.json`, or a new one.
        bundle: What `save_bundle` wrote, 25 MB at most.
        name: Lower case letters, digits and hyphens, such as "polyps".
        version: Numbers with dots, such as "1.0". A version is never replaced.
        terms: What the licence of the training images allows, and where that is stated.
        scores: For each dataset and score a dict: "data" (which images), "outside" (whether they
            are from another source than the training images), "images" (their number), "score"
            (such as "dice"), "mean", "low" and "high" (its confidence interval).

    Returns:
        The entry.

    Raises:
        KerasganError: If an argument cannot be used, the bundle is too large, has no licence or
            lacks fields of the card, or the version is there already.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> card = dict.fromkeys(["segments", "intended_use", "limits", "contact"], "See there.")
        >>> card.update(dict.fromkeys(["training_data", "evaluation_data", "citation"], "None."))
        >>> _ = kg.inference.save_bundle(model, "small.zip", card=card, licence="MIT")
        >>> score = {"data": "drawn scenes", "outside": False, "images": 8, "score": "dice"}
        >>> score.update(mean=0.5, low=0.4, high=0.6)
        >>> entry = kg.inference.add_to_catalogue(
        ...     "networks", "small.zip", name="small", version="1.0", terms="None.", scores=[score]
        ... )
        >>> kg.pretrained("small", folder="networks").licence
        'MIT'
    """
    path, folder = check_path("bundle", bundle), check_path("folder", folder)
    check_bundle_size(path)
    loaded = load_bundle(path)
    if loaded.missing:
        raise KerasganError(
            f"Argument 'bundle' must have a complete card. '{path}' leaves out: "
            f"{', '.join(loaded.missing)}. Write it again, with these in card= and licence="
        )
    entry = _checked(
        {
            "name": name,
            "version": version,
            "file": f"{name}-{version}.zip",
            "sha256": loaded.sha256,
            "licence": loaded.licence,
            "terms": terms,
            "scores": [dict(score) for score in scores],
        }
    )
    entries = read_catalogue(folder) if (folder / CATALOGUE).is_file() else []
    for known in entries:
        if known["name"] == name and _order(known["version"]) == _order(version):
            raise KerasganError(
                f"Argument 'version' must be new. {_place(folder)} has {name!r} "
                f"{known['version']} already: raise the number"
            )
    if (folder / entry["file"]).exists():
        raise KerasganError(
            f"'{folder / entry['file']}' is there, and the catalogue does not list it. Move it away"
        )
    entries = sorted([*entries, entry], key=lambda each: (each["name"], _order(each["version"])))
    content = json.dumps({"format": FORMAT, "networks": entries}, indent=1, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_replace(folder / entry["file"]) as part:
            shutil.copyfile(path, part)
            if file_sha256(part) != loaded.sha256:
                raise KerasganError(f"'{path}' was changed while it was read. Try again")
        write_file(folder / CATALOGUE, content + "\n")
    except OSError as error:
        raise KerasganError(f"'{folder}' cannot be written: {error}") from error
    return entry


def check_bundle_size(path: pathlib.Path) -> None:
    """Make sure that a bundle may be entered into a catalogue."""
    size = path.stat().st_size / 1e6 if path.is_file() else 0
    if size > MOST_MEGABYTES:
        raise KerasganError(
            f"Argument 'bundle' must have at most {MOST_MEGABYTES} MB, so that a folder of them "
            f"can be carried and attached to a release. Received: {path}, {size:.1f} MB. Train "
            "with fewer filters, or give this file away by itself"
        )


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a catalogue, a stranger's perhaps, or raise."""
    for field in (*TEXTS, "scores"):
        if field not in entry:
            raise KerasganError(f"A network of the catalogue has no {field!r}")
    for field in TEXTS:
        if not isinstance(entry[field], str) or not entry[field].strip():
            raise KerasganError(
                f"Argument '{field}' of a network must be a text. Received: {entry[field]!r}"
            )
    forms = {
        "name": (NAME, "lower case letters, digits and hyphens"),
        "version": (VERSION, "numbers with dots, such as 1.0"),
        "file": (FILE, "the name of a zip in the folder of the catalogue"),
        "sha256": (SHA256, "64 hexadecimal digits"),
    }
    for field, (form, words) in forms.items():
        if not form.fullmatch(entry[field]):
            raise KerasganError(
                f"Argument '{field}' of a network must be {words}. Received: {entry[field]!r}"
            )
    if not isinstance(entry["scores"], list) or not entry["scores"]:
        raise KerasganError(
            "Argument 'scores' of a network must be a list with one score at least. Received: "
            f"{entry['scores']!r}"
        )
    scores = [_checked_score(score) for score in entry["scores"]]
    return {**{field: entry[field] for field in TEXTS}, "scores": scores}


def _checked_score(score: Any) -> dict[str, Any]:
    if not isinstance(score, Mapping) or set(score) != set(SCORE):
        raise KerasganError(
            f"Argument 'scores' must hold dicts of {', '.join(SCORE)}. Received: {score!r}"
        )
    texts = all(isinstance(score[name], str) and score[name] for name in ("data", "score"))
    numbers = all(is_number(score[name]) for name in ("images", "mean", "low", "high"))
    if not texts or not numbers or not isinstance(score["outside"], bool):
        raise KerasganError(
            "Argument 'scores' must hold texts for data and score, True or False for outside, and "
            f"finite numbers for the rest. Received: {dict(score)!r}"
        )
    return {name: score[name] for name in SCORE}


def _order(version: str) -> tuple[int, ...]:
    """What versions are sorted by: their numbers, zeros at the end left out."""
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _place(folder: Any) -> str:
    return f"'{pathlib.Path(folder) / CATALOGUE}'"

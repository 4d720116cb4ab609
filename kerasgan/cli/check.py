"""What a folder of images holds and how it will be read, before anybody trains on it.

Every image and every mask is decoded once. Nothing here imports TensorFlow, but for the picture.
"""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pathlib
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

import kerasgan as kg
from kerasgan.cli.loading import (
    FEWEST_TO_TRAIN,
    Answer,
    load_samples,
    number_of,
    options_for,
    places_of,
)
from kerasgan.data.alike import SAME, SeenImages, small_pixels
from kerasgan.data.files import decode_upright, open_picture, read_image
from kerasgan.data.folders import find_pairs
from kerasgan.data.samples import Samples
from kerasgan.errors import KerasganError, KerasganWarning

PICTURES = (".jpeg", ".jpg", ".pdf", ".png", ".svg")
MOST_VALUES, MOST_SHOWN, MOST_LISTED, MOST_TOLD = 64, 6, 20, 5


class _Seen(NamedTuple):
    size: tuple[int, int]
    shares: tuple[float, ...]  # of the pixels, for each class but the background
    small: np.ndarray


def check(
    folder: str | os.PathLike,
    *,
    out: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    no_masks: bool = False,
    classes: int = 1,
    colors: Any = None,
) -> Answer:
    """Decode all images and masks of a folder, and say what is there and what is odd."""
    check_picture(out)
    places = places_of(folder, masks, no_masks)
    pairs, _ = find_pairs(places.get("path"), places.get("images"), places.get("masks", ...))
    work = "decoding them" if no_masks else "comparing them with their masks"
    print(f"{number_of(len(pairs), 'image')} found; {work}", flush=True)
    with (
        contextlib.redirect_stdout(io.StringIO()) as note,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", KerasganWarning)
        samples = load_samples(
            folder, masks=masks, no_masks=no_masks, classes=classes, colors=colors
        )
    seen, unusable = _decode(samples)
    copies = _copies(seen)
    facts: dict[str, Any] = {
        "folder": os.path.abspath(folder),
        "images": len(samples),
        "masks": 0 if samples.mask_paths is None else len(samples),
        "channels": samples.channels,
        "classes": samples.classes,
        "colors": samples.colors,
        "sizes": _sizes(seen.values()),
        "unusable_images": len(unusable),
        "unusable": unusable[:MOST_LISTED],
        "copies": copies[:MOST_LISTED],
        "odd": [str(warning.message) for warning in caught],
    }
    if samples.mask_paths is not None:
        facts["mask_values"] = _values(samples)
        facts["read_as"] = note.getvalue().strip() or _usual(samples)
        facts["foreground"] = _foreground(seen)
    facts["odd"] += _odd(facts, len(copies))
    if out is not None:
        facts["picture"] = _draw(samples, seen, out)
    if samples.mask_paths is not None and not unusable and len(samples) >= FEWEST_TO_TRAIN:
        facts["next"] = shlex.join(
            ["kerasgan", "train", *options_for(folder, masks, classes, colors), "--out", "RUN"]
        )
    error = None
    if unusable:
        more = f" {len(unusable) - 1} more files cannot be used." if unusable[1:] else ""
        error = f"{unusable[0]}{more}"
    return Answer(facts, _lines(facts), error)


def check_picture(out: str | os.PathLike | None) -> None:
    """Refuse a picture that could not be written, before the work is done."""
    path = pathlib.Path(out or "check.png")
    if path.suffix.lower() not in PICTURES:
        raise KerasganError(
            f"Argument '--out' must be a picture ({', '.join(PICTURES)}). Received: {path}"
        )
    if out is not None and (path.exists() or path.is_symlink()):
        raise KerasganError(f"Argument '--out' names a file that exists: {path}")


def progress(items: Iterable, total: int, what: str) -> Iterator:
    """Give items on, and show in a terminal how many were taken and how long the rest will take."""
    start = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if sys.stderr.isatty() and (now - shown > 0.2 or done == total):
            left = (now - start) / done * (total - done)
            end = "\n" if done == total else ""
            print(f"\r{done}/{total} {what}, {left:.0f} s left  ", end=end, file=sys.stderr)
            sys.stderr.flush()
            shown = now


def _decode(samples: Samples) -> tuple[dict[str, _Seen], list[str]]:
    """What each image and its mask show, and what is wrong with those that cannot be used."""

    def look(index: int) -> _Seen | str:
        try:
            path = samples.image_paths[index]
            pixels = read_image(path, samples.channels)
            size = pixels.shape[:2]
            shares = ()
            if samples.mask_paths is not None:
                mask = samples.mask(index)
                counts = np.bincount(mask.ravel(), minlength=max(samples.classes, 2))
                shares = tuple((counts[1:] / mask.size).tolist())
            return _Seen(size, shares, small_pixels(pixels))
        except (KerasganError, OSError) as error:
            return str(error)

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        looks = progress(pool.map(look, range(len(samples))), len(samples), "images")
        seen = dict(zip(samples.names, looks))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    usable = {name: one for name, one in seen.items() if isinstance(one, _Seen)}
    return usable, [one for one in seen.values() if isinstance(one, str)]


def _sizes(seen: Iterable[_Seen]) -> dict[str, Any]:
    sizes = collections.Counter(one.size for one in seen)
    if not sizes:
        return {}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    usual = sizes.most_common(1)[0][0]
    named = {"smallest": by_area[0], "largest": by_area[-1], "most_common": usual}
    return {**{name: list(size) for name, size in named.items()}, "different": len(sizes)}


def _values(samples: Samples) -> dict[str, float]:
    """Share of each value of the mask files, as stored, in some of them spread over the folder."""
    tally: collections.Counter = collections.Counter()
    for path in samples.mask_paths[:: -(-len(samples) // MOST_VALUES)]:
        with contextlib.suppress(KerasganError), open_picture(path) as picture:
            picture = decode_upright(picture)
            if picture.mode == "P" and samples.classes == 1:
                picture = picture.convert("RGB")
            pixels = np.asarray(picture)
            size = pixels.shape[0] * pixels.shape[1]
            kinds, counts = _count_kinds(pixels.reshape(size, -1))
            for kind, number in zip(kinds.tolist(), counts.tolist()):
                name = str(kind[0] if len({*kind}) == 1 else tuple(kind))
                tally[name] += number / size
    total = sum(tally.values())
    return {name: share / total for name, share in tally.most_common(8)}


def _count_kinds(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of pixels (number, channels), and how often each is there."""
    if pixels.shape[1] == 1:
        kinds, counts = np.unique(pixels, return_counts=True)
        return kinds[:, None], counts
    if pixels.dtype != np.uint8 or pixels.shape[1] > 4:
        return np.unique(pixels, axis=0, return_counts=True)
    packed = np.zeros((len(pixels), 4), np.uint8)  # a number each, which is sorted 40 times faster
    packed[:, : pixels.shape[1]] = pixels
    numbers, counts = np.unique(packed.view(np.uint32)[:, 0], return_counts=True)
    return numbers.view(np.uint8).reshape(-1, 4)[:, : pixels.shape[1]], counts


def _usual(samples: Samples) -> str:
    if samples.classes > 1:
        return f"labels 0 to {samples.classes - 1}" if samples.colors is None else "colours given"
    return "white on black" if samples.colors is None else "colours given"


def _foreground(seen: dict[str, _Seen]) -> dict[str, Any]:
    shares = np.array([one.shares for one in seen.values()])
    if not shares.size:
        return {}
    whole = shares.sum(-1)
    summary = {"least": whole.min(), "median": np.median(whole), "most": whole.max()}
    return {
        **{name: float(value) for name, value in summary.items()},
        "empty": int((whole == 0).sum()),
        "by_class": [float(share) for share in shares.mean(0)],
    }


def _copies(seen: dict[str, _Seen]) -> list[list[str]]:
    groups, others = {}, SeenImages(len(seen))
    for name, one in seen.items():
        first = others.nearest(one.small, SAME)
        if first is None:
            others.add(name, one.small)
        groups.setdefault(first or name, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _odd(facts: dict[str, Any], copies: int) -> Iterator[str]:
    if copies:
        first, second = facts["copies"][0][:2]
        yield (
            f"{copies} images are there several times under different names, perhaps in another "
            f"format or size, such as {first} and {second}: keep copies on one side of a split"
        )
    if facts.get("foreground", {}).get("least") == 1:
        yield "every mask is foreground all over"
    shares = facts.get("foreground", {}).get("by_class", [1])
    for number, share in enumerate(shares, 1):
        if not share:
            yield f"no mask shows class {number}" if shares[1:] else "no mask shows foreground"


def _draw(samples: Samples, seen: dict[str, _Seen], out: str | os.PathLike) -> str | None:
    if samples.mask_paths is None or not seen:
        return None
    usable = [index for index, name in enumerate(samples.names) if name in seen]
    positions = np.linspace(0, len(usable) - 1, min(MOST_SHOWN, len(usable))).astype(int)
    shown = samples[[usable[position] for position in positions]]
    pairs = [(shown.image(i), shown.mask(i)) for i in range(len(shown))]
    kg.report.mask_figure(*zip(*pairs), None, shown.names, out)
    return os.fspath(out)


def _lines(facts: dict[str, Any]) -> list[str]:
    kind = "in colour" if facts["channels"] == 3 else "in grey"
    masks = "with masks" if facts["masks"] else "without masks"
    lines = [f"{facts['folder']}: {number_of(facts['images'], 'image')} {masks}, read {kind}"]
    sizes = facts["sizes"]
    if sizes:
        least, most = (" x ".join(map(str, sizes[name])) for name in ("smallest", "largest"))
        several = f"{least} to {most}, {sizes['different']} different"
        lines.append(f"height x width  {least if sizes['different'] == 1 else several}")
    if facts["masks"]:
        values = ", ".join(f"{name} ({share:.1%})" for name, share in facts["mask_values"].items())
        lines.append(f"values of masks {values}")
        lines.append(f"read as         {facts['read_as']}")
    spread = facts.get("foreground")
    if spread:
        lines.append(
            f"foreground      {spread['least']:.1%} to {spread['most']:.1%} of an image, median "
            f"{spread['median']:.1%}; {spread['empty']} masks are empty"
        )
        if spread["by_class"][1:]:
            each = ", ".join(f"{k}: {share:.1%}" for k, share in enumerate(spread["by_class"], 1))
            lines.append(f"by class        {each}")
    lines += [f"odd             {text}" for text in facts["odd"]]
    if facts["unusable"]:
        lines.append(f"unusable        {facts['unusable_images']} images, such as those of")
        lines += [f"                {text}" for text in facts["unusable"][:MOST_TOLD]]
    if facts.get("picture"):
        lines.append(f"picture         {facts['picture']}")
    if facts.get("next"):
        lines.append(f"next            {facts['next']}")
    return lines

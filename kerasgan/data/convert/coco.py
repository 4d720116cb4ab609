"""COCO annotations become masks."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np
import pandas as pd

from kerasgan.data import files
from kerasgan.data.convert import output, sources
from kerasgan.data.folders import files_below
from kerasgan.data.headers import ORIENTATION_ADVICE, sizes_agree
from kerasgan.errors import KerasganError, did_you_mean, warn
from kerasgan.text import normalize_unicode, read_text

_picture_ending = sources.suffix_in(files.IMAGE_SUFFIXES)


def from_coco(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    categories: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Draw the polygons and run-length masks of a COCO file as masks.

    Images are copied unchanged, but for those with an EXIF orientation, which are written as it
    turns them; one without annotations gets an empty mask. Names are those of the image files, with
    their folders. Where annotations overlap, the smaller one covers the larger; of two of one size,
    the later in the file. Where two categories cross each other, a warning counts the pixels. Parts
    of a polygon outside the image are cut off. Crowd regions are drawn like all others. Not read:
    annotations that are only boxes or key points.

    Args:
        annotations: The JSON file.
        images: The folder that its file names start from.
        out: The folder to write: new, or an interrupted conversion with the same settings.
        categories: Names of the categories to draw. None or a single one makes black and white
            masks, of everything or of that category, for `load_folder(out)`. n > 1 names make
            labels 1 to n in this order, for `load_folder(out, classes=n + 1)`. Categories that
            are not named become background.

    Returns:
        The table in `manifest.csv`: name, source, the number of annotations drawn, and how many
        pixels lie in several categories that cross each other.

    Raises:
        KerasganError: If the file is no such JSON; an annotation names an image or a category
            that is not in it, has no region, or lies outside its image; a file name leaves the
            folder; an image cannot be read or has another size than the file says; an EXIF
            orientation leaves open how regions lie on an image; or `out` holds anything else.

    Example:
        >>> from PIL import Image
        >>> Image.new("RGB", (8, 6)).save("a.png")
        >>> square = [[2, 1, 6, 1, 6, 5, 2, 5]]
        >>> content = {
        ...     "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        ...     "categories": [{"id": 7, "name": "polyp"}],
        ...     "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": square}],
        ... }
        >>> _ = pathlib.Path("coco.json").write_text(json.dumps(content))
        >>> from_coco("coco.json", ".", "dataset")[["name", "annotations"]]
          name  annotations
        0    a            1
        >>> int(np.asarray(Image.open("dataset/masks/a.png")).astype(bool).sum())
        16
    """
    coco = sources.import_optional("pycocotools.mask", "coco")
    content = _parsed(annotations)
    for part in ("images", "categories"):
        (key, count), *_ = Counter(one["id"] for one in content[part]).most_common(1) or [(0, 0)]
        if count > 1:
            raise KerasganError(f"File {annotations} has two {part} of id {key!r}.")
    labels = _labels(content, categories, annotations)
    entries = {image["id"]: image for image in content["images"]}
    drawn = {key: [] for key in entries}
    known = {category["id"] for category in content["categories"]}
    for item in content["annotations"]:
        what = f"File {annotations}: annotation {item.get('id')!r}"
        if item["image_id"] not in entries:
            raise KerasganError(
                f"{what} names image {item['image_id']!r}, which is not listed, as "
                f"{next(iter(entries))!r} is."
            )
        if item["category_id"] not in known:
            raise KerasganError(
                f"{what} names category {item['category_id']!r}, which is not listed: "
                f"{sorted(known, key=str)}"
            )
        if item["category_id"] in labels:
            drawn[item["image_id"]].append(item)
    if categories is None:
        _warn_of_merged(content, annotations)
    root = pathlib.Path(images)
    listed = functools.cache(lambda: files_below(root, lambda name: bool(_picture_ending(name))))
    paths = {key: _inside(root, entry, annotations, listed) for key, entry in entries.items()}
    sizes = {key: _listed_size(entry, paths[key], annotations) for key, entry in entries.items()}

    @functools.cache
    def as_turned() -> bool | None:
        """Whether sizes are those of pictures as turned, by those entries that tell."""
        told = set()
        for key, path in paths.items():
            header = files.read_header(str(path))
            turned_fits, stored_fits = sizes_agree(header, sizes[key])
            if header.orientation > 1 and turned_fits != stored_fits:
                told.add(turned_fits)
        return told.pop() if len(told) == 1 else None

    def picture(key) -> Iterator[output.Picture]:
        path, listed_size = paths[key], sizes[key]
        header = files.read_header(str(path))
        turned_fits, stored_fits = sizes_agree(header, listed_size)
        if not (turned_fits or stored_fits):
            raise KerasganError(
                f"Image {path} must have the size that {annotations} says: {listed_size.height} x "
                f"{listed_size.width}. Received: {header.height} x {header.width}"
            )
        drawn_on_turned = turned_fits
        if turned_fits and stored_fits and header.orientation > 1:
            drawn_on_turned = as_turned()
            if drawn_on_turned is None:
                raise KerasganError(
                    f"Image {path} has EXIF orientation {header.orientation}, and no size in "
                    f"{annotations} tells whether regions were drawn on pictures as turned or as "
                    f"stored. {ORIENTATION_ADVICE}."
                )
        size = header[:2] if drawn_on_turned else header.stored
        # Packed, so that a thousand of them on a large image still fit into memory.
        regions = [_region(coco, item, size, annotations) for item in drawn[key]]
        mask, contested = np.zeros(size, np.uint8), 0
        areas = [int(coco.area(region)) for region in regions]
        last = None
        for i in np.argsort(np.negative(areas), kind="stable"):
            inside, label = coco.decode(regions[i]) > 0, labels[drawn[key][i]["category_id"]]
            below = mask[inside]
            others = int(np.count_nonzero((below > 0) & (below != label)))
            # What lies within a larger one is a part of it; what crosses it could be either.
            if others < below.size or areas[i] == last:
                contested += others
            mask[inside], last = label, areas[i]
        parts = map(normalize_unicode, path.relative_to(root).with_suffix("").parts)
        row = {"source": str(path), "annotations": len(regions), "contested": contested}
        if not drawn_on_turned:
            mask = files.apply_orientation(mask, header.orientation)
        image = path if header.orientation == 1 else _upright(path)
        yield output.Picture(output.safe_name(*parts), image, mask, row)

    settings = {"from": "coco", "categories": None if categories is None else list(categories)}
    jobs = [(str(path), lambda key=key: picture(key)) for key, path in paths.items()]
    table = output.write_folder(out, settings, jobs)
    crossed = table[table["contested"] > 0]
    if len(crossed):
        warn(
            f"Annotations of different categories cross in {len(crossed)} images, by "
            f"{crossed['contested'].sum()} pixels in all, such as in {crossed['name'].iloc[0]}. "
            f"Such a pixel got the category of the smaller annotation; the manifest counts them as "
            f"'contested'."
        )
    return table


def _upright(path: pathlib.Path) -> np.ndarray:
    """The pixels as turned, in the depth that they have."""
    with files.open_picture(str(path)) as picture:
        shown = files.decode_upright(picture)
        if shown.mode.startswith("I"):
            return np.asarray(shown).astype(np.uint16)
    header = files.read_header(str(path))
    pixels = files.read_image(str(path), header.channels)
    return pixels[..., 0] if header.channels == 1 else pixels


_FIELDS = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}


def _parsed(path: str | os.PathLike) -> dict:
    try:
        content = json.loads(read_text(path))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise KerasganError(f"File {path} cannot be read as JSON: {error}") from error
    for part, fields in _FIELDS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise KerasganError(f"File {path} is no COCO file: it has no list '{part}'.")
        for entry in entries:
            values = [entry.get(field) for field in fields] if isinstance(entry, dict) else [None]
            if not all(isinstance(value, (int, str)) for value in values):
                raise KerasganError(
                    f"File {path}: each of '{part}' must have {' and '.join(fields)}. "
                    f"Received: {str(entry)[:200]}"
                )
    if not content["images"]:
        raise KerasganError(f"File {path} lists no images.")
    return content


def _labels(content: dict, categories: Sequence[str] | None, path: str | os.PathLike) -> dict:
    """From the id of each category to be drawn to its value in the mask."""
    if categories is None:
        return {category["id"]: 255 for category in content["categories"]}
    listed = [category["name"] for category in content["categories"]]
    names = isinstance(categories, (list, tuple)) and all(isinstance(n, str) for n in categories)
    if not names or not 0 < len(set(categories)) == len(categories) < 255:
        raise KerasganError(
            f"Argument 'categories' must list different names. Received: {categories!r}"
        )
    for name in categories:
        if name not in listed:
            raise KerasganError(
                f"Argument 'categories' must name categories of {path}: {sorted(listed)}. "
                f"Received: {name!r}. {did_you_mean(name, listed)}".strip()
            )
    single = len(categories) == 1
    values = {name: 255 if single else i + 1 for i, name in enumerate(categories)}
    return {c["id"]: values[c["name"]] for c in content["categories"] if c["name"] in values}


def _warn_of_merged(content: dict, path: str | os.PathLike) -> None:
    """Warn that several categories become one foreground."""
    used = {item["category_id"] for item in content["annotations"]}
    names = list(dict.fromkeys(c["name"] for c in content["categories"] if c["id"] in used))
    if len(names) > 1:
        shown = f"{', '.join(map(repr, names[:6]))}{', ...' if len(names) > 6 else ''}"
        warn(
            f"File {path} has regions of {len(names)} categories, {shown}, which become one "
            "foreground. To keep them apart, or to draw some of them, pass 'categories'"
        )


def _inside(
    root: pathlib.Path, entry: dict, annotations: str | os.PathLike, listed: Callable[[], dict]
) -> pathlib.Path:
    """The image's path, which must not leave the folder on any system.

    Its name may be written in another Unicode form than the file's: then it is `listed`.
    """
    name = str(entry["file_name"])
    for one in (name, urllib.parse.unquote(name)):  # as it stands in an address: a%20b.png
        pure = pathlib.PureWindowsPath(one)
        if pure.anchor or ".." in pure.parts or "\0" in one or not pure.parts:
            raise KerasganError(
                f"File {annotations} names an image outside the folder {root}: {name!r}. It is not "
                f"opened. Change 'file_name' to the path from that folder on"
            )
        path = root.joinpath(*pure.parts)
        if not path.is_file():
            path = listed().get(pathlib.PurePosixPath(normalize_unicode(pure.as_posix())), path)
        if _picture_ending(path.name) and path.is_file():
            return path
    near = did_you_mean(pure.as_posix(), map(str, listed()))
    raise KerasganError(
        f"File {annotations} names an image that is not in {root} or none of "
        f"{', '.join(files.IMAGE_SUFFIXES)}: {name!r}. {near}".rstrip()
    )


def _listed_size(entry: dict, path: pathlib.Path, annotations: str | os.PathLike) -> files.Header:
    """The size that a file says an image has, as of a picture that no tag turns."""
    sides = [entry.get("height"), entry.get("width")]
    if not any(sides):  # as some programs leave them
        header = files.read_header(str(path))
        if header.orientation > 1:
            raise KerasganError(
                f"File {annotations} does not say which height and width {path} has, and so not "
                f"whether its EXIF orientation turned it. {ORIENTATION_ADVICE}."
            )
        return header
    with contextlib.suppress(TypeError, ValueError):
        sides = [int(n) if (n := float(side)).is_integer() else n for side in sides]
    return files.Header(*sides, 3)


def _region(coco, item: dict, size: tuple[int, int], path: str | os.PathLike) -> dict:
    """The pixels of an annotation, as pycocotools packs them."""
    what = f"File {path}: annotation {item.get('id')!r} of image {item['image_id']!r}"
    region = item.get("segmentation")
    if isinstance(region, dict):
        return _run_lengths(coco, region, size, what)
    if not isinstance(region, list) or not region:
        raise KerasganError(
            f"{what} has no region, only a box or key points. Draw it, or remove it"
        )
    for polygon in region:
        _check_polygon(polygon, size, what)
    polygons = coco.frPyObjects([[float(value) for value in one] for one in region], *size)
    return coco.merge(polygons)


def _check_polygon(polygon: object, size: tuple[int, int], what: str) -> None:
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
        raise KerasganError(
            f"{what} must have polygons, [[x1, y1, x2, y2, x3, y3, ...], ...]. Received as one of "
            f"them: {str(polygon)[:100]}. Draw it anew, or remove it"
        )
    points, sides = points.reshape(-1, 2), np.array(size[::-1])
    if points.min() >= 0 and points.max() <= 1 and min(size) > 2:
        raise KerasganError(
            f"{what} has coordinates from {points.min():g} to {points.max():g}, a part of one "
            "pixel. If they are shares of width and height, multiply x by the width and y by the "
            f"height, {size[1]} and {size[0]}"
        )
    away = (points.max(0) <= 0) | (points.min(0) >= sides)
    # The drawing takes time and memory in the length of the outline.
    far = (points < -sides) | (points > 2 * sides)
    if away.any() or far.any():
        (left, top), (right, bottom) = points.min(0), points.max(0)
        raise KerasganError(
            f"{what} lies outside the image of {size[0]} x {size[1]}: columns {left:g} to "
            f"{right:g}, rows {top:g} to {bottom:g}. Was the image resized?"
        )


def _run_lengths(coco, region: dict, size: tuple[int, int], what: str) -> dict:
    counts = region.get("counts")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    whole = isinstance(counts, list) and all(type(count) is int for count in counts)
    if region.get("size") != list(size) or not whole or min(counts, default=-1) < 0:
        raise KerasganError(
            f"{what} must have run lengths of size {list(size)}. Received: {str(region)[:100]}"
        )
    if sum(counts) != size[0] * size[1]:
        raise KerasganError(
            f"{what} has run lengths of {sum(counts)} pixels, the image {size[0] * size[1]}."
        )
    return coco.frPyObjects(region | {"counts": counts}, *size)


def _unpacked(text: str) -> list[int] | None:
    """Run lengths from COCO's text: five bits a character, each but the first two as a difference.

    Read here so that they can be checked before pycocotools, which trusts them, decodes them.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 35:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts

"""What every conversion begins with: the library, the files, the range of grey and the labels."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Callable, NamedTuple, Union

import numpy as np

from kerasgan.data.files import MAX_PIXELS
from kerasgan.data.folders import check_pairs, files_below
from kerasgan.data.pairing import by_image_name
from kerasgan.errors import KerasganError, install_command, warn
from kerasgan.text import normalize_unicode
from kerasgan.validation import check_number, invalid

MAX_VALUES = 2**31
_ROUNDING, _NOISE = 1e-3, 1e-6
Paths = Union[str, os.PathLike, Sequence[Union[str, os.PathLike]]]
Window = Union[tuple[float, float], None]


class SourceFile(NamedTuple):
    """A file and the parts of its path below the folder it was found in, without ending."""

    parts: tuple[str, ...]
    path: pathlib.Path


def import_optional(module: str, extra: str) -> ModuleType:
    """Import an optional library."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KerasganError(
            f"This format needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it: {install_command(extra)}"
        ) from error


@contextlib.contextmanager
def errors_naming(path: object, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a `KerasganError` that names it."""
    try:
        yield
    except KerasganError:
        raise
    except Exception as error:  # libraries have no common error for broken files
        reason = str(error).rstrip(".") or type(error).__name__
        raise KerasganError(
            f"File {path} cannot be read as {kind}: {reason}. Export it again, or leave it out"
        ) from error


def suffix_in(suffixes: Sequence[str]) -> Callable[[str], str | None]:
    """Return what gives the ending of a file's name, if it is one of these."""

    def ending(name: str) -> str | None:
        suffix = pathlib.PurePath(name).suffix
        return suffix if suffix.lower() in suffixes else None

    return ending


def find_files(
    source: Paths, argument: str, ending: Callable[[str], str | None]
) -> list[SourceFile]:
    """Find the files of a format."""
    listed = isinstance(source, (list, tuple))
    try:
        roots = [pathlib.Path(path) for path in (source if listed else [source])]
    except TypeError:
        raise invalid(argument, "a file, a folder or a list of files", source) from None
    if roots and not listed and roots[0].is_dir():
        (root,) = roots
        below = files_below(root, lambda name: ending(name) is not None)
        keys = {file: key for key, file in below.items()}
    else:
        for root in roots:
            if not root.is_file():
                what = "a folder" if root.is_dir() else "not there"
                raise KerasganError(f"Argument '{argument}' names {root} ({what}).")
        keys = {root: pathlib.PurePosixPath(normalize_unicode(root.name)) for root in roots}
    if not keys:
        others = files_below(roots[0], lambda name: True) if roots else {}
        endings = ", ".join(sorted({key.suffix or key.name for key in others})[:5])
        there = f". What is there ends in {endings}" if others else ""
        raise KerasganError(f"Argument '{argument}' has no file of that format: {source}{there}")
    return [
        SourceFile((*key.parts[:-1], key.name[: len(key.name) - len(ending(key.name) or "")]), file)
        for file, key in keys.items()
    ]


def match_masks(
    images: list[SourceFile], masks: list[SourceFile], listed: bool
) -> list[pathlib.Path]:
    """Find the mask file of each image file."""
    if listed:
        if len(images) != len(masks):
            raise KerasganError(
                f"Lists of images and masks must be of one length. Received: {len(images)} "
                f"images, {len(masks)} masks"
            )
        return [mask.path for mask in masks]
    if len(images) == len(masks) == 1:
        return [masks[0].path]
    wanted, named = {}, {}
    for image in images:
        name = "/".join(image.parts)
        if name in wanted:
            raise KerasganError(f"Two images bear the name {name!r}: {wanted[name]}, {image.path}.")
        wanted[name] = image.path
    for mask in masks:
        name = "/".join(mask.parts)
        if name in named:
            raise KerasganError(f"Two masks belong to {name!r}: {named[name]} and {mask.path}.")
        named[name] = mask.path
    named = by_image_name(wanted, named)
    advice = "Or pass lists of files, in the same order, such as sorted(glob.glob('i/*_0000.nii'))."
    check_pairs(wanted, named, advice)
    return [named["/".join(image.parts)] for image in images]


def check_window(window: Window) -> tuple[float, float] | None:
    """Turn a window of (level, width) into the values that become black and white."""
    if window is None:
        return None
    try:
        level, width = window
        level, width = check_number("window", level), check_number("window", width, above=0)
    except (TypeError, ValueError):
        expected = "(level, width), two numbers, width above 0, for example (40, 400), or None"
        raise invalid("window", expected, window) from None
    return level - width / 2, level + width / 2


def check_pixel_count(path: object, height: int, width: int, pictures: int = 1) -> None:
    """Refuse what is too large to be decoded, or has no pixels."""
    if min(height, width, pictures) < 1:
        raise KerasganError(f"File {path} says that it holds {pictures} of {height} x {width}.")
    if height * width > MAX_PIXELS or height * width * pictures > MAX_VALUES:
        raise KerasganError(
            f"File {path} says that it holds {pictures} of {height} x {width} pixels and is not "
            f"decoded: at most {MAX_PIXELS} a picture and {MAX_VALUES} a file are read."
        )


def robust_range(values: np.ndarray, path: object) -> tuple[float, float]:
    """Find the 0.5th and the 99.5th percentile, or the extremes where these are equal."""
    check_finite_values(values, path)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(values, (0.5, 99.5))
    if low == high or not np.isfinite([low, high]).all():
        low, high = values.min(), values.max()
    return float(low), float(high)


def check_finite_values(values: np.ndarray, path: object) -> None:
    """Refuse values that are NaN or infinite."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise KerasganError(
            f"File {path} has {wrong} values that are NaN or infinite. Replace them, for example "
            f"by numpy.nan_to_num, and save it anew."
        )


def to_uint16(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stretch values over the 16-bit range."""
    if not high > low:
        return np.zeros(np.shape(values), np.uint16)
    # Halved, no difference of two finite numbers is infinite.
    share = (np.asarray(values, np.float64) / 2 - low / 2) / (high / 2 - low / 2)
    return np.rint(np.clip(share, 0, 1) * 65535).astype(np.uint16)


def label_mask(labels: np.ndarray, classes: int, path: object) -> np.ndarray:
    """Turn labels into the mask file that `load_folder` takes."""
    check_finite_values(labels, path)
    if labels.dtype.kind == "f":
        labels = _rounded(labels, path)
    values = np.unique(labels)
    most = classes - 1 if classes > 1 else np.inf
    wrong = values[(values < 0) | (values > most)]
    if wrong.size:
        wanted = f"0 to {classes - 1}" if classes > 1 else "whole numbers from 0 up"
        advice = (
            f" or pass classes={wrong.max() + 1:g}" if 0 < wrong.min() <= wrong.max() < 255 else ""
        )
        raise KerasganError(
            f"Mask {path} must hold {wanted} for classes={classes}. Received also: {_few(wrong)}. "
            f"Number its labels anew{advice}"
        )
    return (labels > 0).astype(np.uint8) * 255 if classes == 1 else labels.astype(np.uint8)


def warn_of_merged(known: set[int], labels: np.ndarray, path: object) -> None:
    """Add a mask's labels to those known, and warn once that classes=1 merges several."""
    if len(known) > 1:
        return
    known.update(np.unique(np.rint(labels)).astype(int).tolist())
    known.discard(0)
    if len(known) > 1:
        warn(
            f"Masks, the last {path}, hold the labels {_few(np.array(list(known)))}, which "
            f"classes=1 makes one foreground. To keep them apart pass classes={max(known) + 1}"
        )


def _rounded(labels: np.ndarray, path: object) -> np.ndarray:
    whole = np.rint(labels)
    apart = np.abs(labels - whole)
    most = apart.max(initial=0)
    if most > _ROUNDING or (most > _NOISE and not whole.any()):
        raise KerasganError(
            f"Mask {path} must hold whole numbers. Received values up to {most:.2g} away from one, "
            f"among them {_few(labels[apart > min(_ROUNDING, most / 2)])}. If the file scales its "
            f"values (slope, intercept), correct these; if it holds probabilities, cut them first."
        )
    return whole


def _few(values: np.ndarray) -> str:
    values = np.unique(values)
    shown = ", ".join(f"{value:.7g}" for value in values[:6])
    return f"{shown}{', ...' if values.size > 6 else ''}"

"""Checks of arguments: one for each kind, each with an error of the same form.

Every check takes the argument's name and value, and returns the value as a plain Python object, so
that what is stored is what was checked. NumPy's numbers count as numbers, booleans do not.
"""

from __future__ import annotations

import math
import numbers
import os
import pathlib
import tempfile
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from kerasgan.errors import KerasganError, did_you_mean

LONG = 300
"""Characters of what was received, beyond which an error does not show it whole."""
MOST_SEED = 2**31 - 1
"""The largest seed that TensorFlow takes beside a 32-bit step, and that networks may multiply."""


def invalid(
    name: str, expected: str, received: Any, advice: str = "", owner: str = ""
) -> KerasganError:
    """Return the error of an argument: what it must be, what was received, and what to do.

    `owner` is the class that it is an argument of, where its name alone does not tell.
    """
    shown = str(received) if isinstance(received, os.PathLike) else repr(received)
    kind, shape = type(received).__name__, getattr(received, "shape", None)
    if shape is not None and "\n" in shown:
        shown = f"{kind} of shape {tuple(shape)}"
    elif len(shown) > LONG:
        shown = f"{kind} {' '.join(shown.split())[:LONG]} ..."
    advice = f". {advice}" if advice else ""
    owner = f" of {owner}" if owner else ""
    return KerasganError(f"Argument '{name}'{owner} must be {expected}. Received: {shown}{advice}")


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number that 64 bits hold."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Say whether a value is a finite real number."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        return real and math.isfinite(value)
    except OverflowError:  # of an int beyond any float
        return False


def check_whole_number(
    name: str, value: Any, least: int, most: float = math.inf, unit: str = ""
) -> int:
    """Check a whole number from `least` to `most`, both allowed; `unit` is such as "of pixels"."""
    if not is_whole(value) or not least <= value <= most:
        kind = f"a whole number {unit}".strip()
        raise invalid(name, f"{kind} {_range(least, most)}", value)
    return int(value)


def check_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Check a finite number; `least` and `most` themselves are allowed, `above` and `below` not."""
    if not is_number(value) or not (least <= value <= most and above < value < below):
        raise invalid(name, f"a finite number {_range(least, most, above, below)}".strip(), value)
    return int(value) if is_whole(value) else float(value)


def ask_by_name(argument: str, function: Callable[[str], Any], name: str) -> Any:
    """Return what a function of the user's says of an image; one that fails is named with it."""
    try:
        return function(name)
    except Exception as error:
        raise KerasganError(
            f"Argument '{argument}' failed for {name!r}: {type(error).__name__}: {error}"
        ) from error


def ask_groups(argument: str, function: Any, names: Iterable[str]) -> list[Hashable]:
    """Return the group of each image, as a function of the user's says."""
    if not callable(function):
        expected = "a function from the name of an image to its group"
        raise invalid(argument, expected, function)
    groups = []
    for name in names:
        group = ask_by_name(argument, function, name)
        try:
            hash(group)
        except TypeError:
            raise KerasganError(
                f"Argument '{argument}' must return something hashable, such as text. Received: "
                f"{group!r} for {name!r}"
            ) from None
        groups.append(group)
    return groups


def check_seed(value: Any) -> int:
    """Check the argument 'seed' of whatever draws random numbers."""
    return check_whole_number("seed", value, 0, MOST_SEED)


def check_pair(name: str, value: Any, order: str = "(height, width)", **bounds) -> tuple:
    """Check a number, which stands for two, or two numbers; `bounds` as of `check_number`."""
    expected = f"a finite number {_range(**bounds)}".strip()
    return _check_two(name, value, f"{expected}, or two of them, {order}", check_number, **bounds)


def check_size(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Check a side in pixels or (height, width), and return (height, width)."""
    expected = f"a number of pixels from {least} up, or two, (height, width)"
    return _check_two(name, value, expected, check_whole_number, least=least)


def _check_two(
    name: str, value: Any, expected: str, check: Callable[..., Any], **bounds: float
) -> tuple:
    try:
        first, second = (value, value) if is_number(value) else value
        return check(name, first, **bounds), check(name, second, **bounds)
    except (TypeError, ValueError):
        raise invalid(name, expected, value) from None


def check_images(value: Any) -> np.ndarray:
    """Return the argument 'images' as an array; it may still be of any shape and dtype."""
    advice = "of samples or a dataset pass a batch: next(iter(samples.batches(8, size=128)))[0]"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty(0, object)
    if array.dtype == object:
        raise KerasganError(
            f"Argument 'images' must be an array of numbers. Received: {type(value).__name__}; "
            f"{advice}"
        )
    return array


def into_range(name: str, low: float, high: float) -> str:
    """Return the expression that brings pixels of this range into [-1, 1], 0 being black."""
    if low < 0 or high > 65535:
        return f"{name} / {math.ceil(max(-low, high))}"
    if high > 255:
        return f"{name} / 32767.5 - 1"
    return f"{name} / 127.5 - 1" if high > 1 else f"{name} * 2.0 - 1"


def check_plane(name: str, value: Any, expected: str) -> np.ndarray:
    """Check an array of numbers or booleans, or lists of them, with two axes."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KerasganError(
            f"Argument '{name}' must be {expected}. Received: {type(value).__name__} ({error})"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        kind = f"{array.dtype} of shape {array.shape}" if array.ndim else type(value).__name__
        raise KerasganError(f"Argument '{name}' must be {expected}. Received: {kind}")
    return array


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Check that a value is one of a few names, numbers or None, and return that one."""
    choices = list(choices)
    plain = isinstance(value, (str, numbers.Number, type(None)))
    for choice in choices if plain else ():
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    hint = did_you_mean(value, [one for one in choices if isinstance(one, str)], most=1)
    raise invalid(name, f"one of {', '.join(map(str, choices))}", value, hint)


def check_text(name: str, value: Any) -> str:
    """Check text, which may be empty."""
    if not isinstance(value, str):
        raise invalid(name, "a text", value)
    return str(value)


def check_path(name: str, value: Any, what: str = "a path") -> pathlib.Path:
    """Check a path, whether or not something is there."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise invalid(name, what, value)
    return pathlib.Path(os.fsdecode(value))


def check_folder(name: str, value: Any) -> pathlib.Path:
    """Check the path of a folder that is there."""
    path = check_path(name, value, "the path of a folder")
    if not path.is_dir():
        what = "a file" if path.exists() else "not there"
        raise KerasganError(f"Argument '{name}' must be a folder. Received: {path} ({what})")
    return path


def check_writable(name: str, value: Any) -> pathlib.Path:
    """Check a path at which a file or folder can be made; nothing is left behind."""
    path = check_path(name, value)
    existing = path if path.is_dir() else path.parent
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file, in which nothing can lie")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise KerasganError(
            f"Argument '{name}' must be a path that can be written. Received: {path} ({error})"
        ) from error
    return path


def _range(
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> str:
    """Say a range in words."""
    if least > -math.inf and most < math.inf:
        return f"from {least} to {most}"
    limits = {f"from {least} up": least, f"above {above}": above}
    limits.update({f"up to {most}": most, f"below {below}": below})
    return " and ".join(words for words, limit in limits.items() if math.isfinite(limit))

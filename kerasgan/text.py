"""Text that people write and other programs save, whatever marks stand before, and our own."""

from __future__ import annotations

import codecs
import json
import math
import os
import pathlib
import unicodedata
from importlib import resources
from typing import Any

from kerasgan.errors import KerasganError

# The mark of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | os.PathLike) -> str:
    """Read a text file: UTF-8, or as its byte order mark says, which is no part of the text."""
    content = pathlib.Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise KerasganError(f"{path} is not {encoding} ({error}). Save it as UTF-8") from error
    if "\0" in text:
        raise KerasganError(
            f"{path} holds zero bytes, as UTF-16 without a byte order mark does. Save it as UTF-8"
        )
    return text


def normalize_unicode(name: str) -> str:
    """Bring a name to the one form in which names are compared, Unicode's NFC.

    macOS may store `é` as an `e` and an accent (NFD), other systems as one character.
    """
    return unicodedata.normalize("NFC", name)


def read_asset(package: str, path: str) -> Any:
    """Read a JSON file that comes with the package."""
    return json.loads((resources.files(package) / path).read_text(encoding="utf-8"))


def json_text(value: Any) -> str:
    """Write a value as JSON, which other programs read too: a number that is not finite is null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it: null for what is not a finite number."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)

"""Tables as CSV that no spreadsheet takes for formulas: the one place where text becomes a cell."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

__all__ = ["as_it_was", "csv_bytes", "harmless"]

# Where a semicolon parts cells, as it does in much of Europe, a formula may begin behind one.
_START, _FORMULA = r"(^|[;\t\r\n])", r"(?='*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20])"


def harmless(cell: Any) -> Any:
    """Put an apostrophe before what a spreadsheet would run as a formula.

    Args:
        cell: Text, or anything else, which stays as it is.

    Returns:
        The text; changed if it, or what follows a semicolon, a tab or a line break in it, begins
        with `=`, `+`, `-`, `@`, a tab or a line break, or did so but for apostrophes.

    Example:
        >>> harmless("=1+1"), harmless("case-1"), harmless(-1)
        ("'=1+1", 'case-1', -1)
    """
    return re.sub(_START + _FORMULA, r"\1'", cell) if isinstance(cell, str) else cell


def as_it_was(cell: Any) -> Any:
    """Undo `harmless`.

    Args:
        cell: What it returned.

    Returns:
        What it was given.

    Example:
        >>> as_it_was("'=1+1"), as_it_was("case-1")
        ('=1+1', 'case-1')
    """
    return re.sub(_START + "'" + _FORMULA, r"\1", cell) if isinstance(cell, str) else cell


def csv_bytes(table: pd.DataFrame) -> bytes:
    r"""Write a table as CSV (UTF-8), text made harmless, numbers in full precision.

    Args:
        table: Any table. Its index is left out.

    Returns:
        The file's content.

    Example:
        >>> csv_bytes(pd.DataFrame({"name": ["@a"], "dice": [-0.5]}))
        b"name,dice\\n'@a,-0.5\\n"
    """
    safe = table.rename(columns=harmless)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(harmless)
    # A lone carriage return is quoted only where lines end in one; outside quotes they then go.
    parts = safe.to_csv(index=False, lineterminator="\r\n").split('"')
    parts[::2] = (part.replace("\r\n", "\n") for part in parts[::2])
    # Names of files need not be text: bytes that are none are written as escapes.
    return '"'.join(parts).encode("utf-8", "backslashreplace")

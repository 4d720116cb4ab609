"""Tables as CSV in which no spreadsheet sees a formula. All CSV files are written here."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

# Where a semicolon parts cells, as it does in much of Europe, a formula may begin behind one.
_START, _FORMULA = r"(^|[;\t\r\n])", r"(?='*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20])"


def escape_formula(cell: Any) -> Any:
    """Put an apostrophe before what a spreadsheet would run as a formula."""
    return re.sub(_START + _FORMULA, r"\1'", cell) if isinstance(cell, str) else cell


def unescape_formula(cell: Any) -> Any:
    """Undo `escape_formula`."""
    return re.sub(_START + "'" + _FORMULA, r"\1", cell) if isinstance(cell, str) else cell


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Write a table as CSV (UTF-8), formulas escaped, numbers in full precision."""
    safe = table.rename(columns=escape_formula)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(escape_formula)
    # A lone carriage return is quoted only where lines end in one; outside quotes they then go.
    parts = safe.to_csv(index=False, lineterminator="\r\n").split('"')
    parts[::2] = (part.replace("\r\n", "\n") for part in parts[::2])
    # Names of files need not be text: bytes that are none are written as escapes.
    return '"'.join(parts).encode("utf-8", "backslashreplace")

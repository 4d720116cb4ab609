"""What reporting guidelines and regulators ask, line by line, in this project's own words.

The lines are in `assets/guidelines.json`, each with its item, what is asked, and which facts answer
it: facts of the run (`RUN`) and fields of the card. Item numbers are those of the documents; the
exact text of an item stands there alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kerasgan.text import read_asset


class Line(NamedTuple):
    """One item of a document.

    Attributes:
        item: Its number or name there.
        asked: What it asks, in short.
        needs: Facts that answer it together; where `a|b` stands, one of both does.
    """

    item: str
    asked: str
    needs: tuple[str, ...]


class Document(NamedTuple):
    """A guideline, a law or principles.

    Attributes:
        name: Short name.
        source: Where it was published.
        about: For whom it is meant.
        lines: Its items, in its order.
    """

    name: str
    source: str
    about: str
    lines: tuple[Line, ...]


def _document(found: dict[str, Any]) -> Document:
    lines = (Line(item, asked, tuple(needs.split())) for item, asked, needs in found["lines"])
    return Document(found["name"], found["source"], found["about"], tuple(lines))


_CONTENT = read_asset("kerasgan.report", "assets/guidelines.json")

RUN: dict[str, str] = _CONTENT["run"]
"""Facts that a report can know by itself, and where one comes from that it may lack."""
DOCUMENTS = tuple(map(_document, _CONTENT["documents"]))
"""CLAIM 2024, TRIPOD+AI, the EU AI Act, and two sets of principles of the FDA and others."""

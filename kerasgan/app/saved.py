"""What is seen in the app, as one HTML page to keep: it loads nothing from anywhere."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.app.session import Explained, Picture
from kerasgan.report.page import render
from kerasgan.report.texts import GLOSSARY


def write_page(
    model: str,
    picture: Picture,
    found: Sequence[Explained],
    point: tuple[float, float] | None,
    layers: Mapping[str, str],
) -> str:
    """Return the page, with all names escaped.

    Args:
        model: Its name.
        picture: The image and its mask.
        found: What was explained.
        point: Where was clicked.
        layers: Where each layer lies, by name.
    """
    return render(
        "seen.html",
        kind="Image explained",
        title=picture.name,
        model=model,
        date=datetime.date.today().isoformat(),
        picture=picture,
        point=point,
        panels=[_panel(one, layers) for one in found],
        found=found,
        glossary=GLOSSARY,
    )


def _panel(found: Explained, layers: Mapping[str, str]) -> dict[str, Any]:
    """What the template shows of one rule."""
    maps = []
    for place, values in found.maps.items():
        rows, columns = values.shape
        entry: dict[str, Any] = {
            "rule": found.rule,
            "target": "chosen",
            "place": place,
            "part": layers.get(place, ""),
            "cells": f"{rows} × {columns}",
        }
        entry.update(found.map_at(place)._asdict())
        where = f"layer {entry['part']} ({place})" if place else "pixels"
        entry["text"] = f"Relevance of {where} for {found.text}: {entry['cells']} cells."
        if not maps:
            entry["over"] = found.over(place)
        maps.append(entry)
    return {"maps": maps, "outlines": found.region, "depth": len(maps) - 1, "rule": found.rule}

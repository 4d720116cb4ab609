"""What is seen in the app, as one HTML page to keep: it loads nothing from anywhere."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from kerasgan.app.question import View
from kerasgan.app.session import Explained, Picture, Scale, Unexplained, scales_of
from kerasgan.app.texts import scale_sentence
from kerasgan.report.page import render
from kerasgan.report.texts import GLOSSARY


def write_page(
    picture: Picture,
    views: Sequence[View],
    found: Sequence[Explained | Unexplained],
    point: tuple[float, float] | None,
    shared: bool = False,
) -> str:
    """Return the page, with all names escaped.

    Args:
        picture: The image and its masks.
        views: What is seen of it.
        found: What was explained, and what could not be.
        point: Where was clicked.
        shared: Whether two maps share one scale.
    """
    explained = [one for one in found if isinstance(one, Explained)]
    seen = dict.fromkeys((view.model, view.before) for view in views)
    masks = [
        {
            "photo": picture.original if before else picture.photo,
            "mask": (picture.before if before else picture.masks)[model],
            "outline": picture.before[model].outline if picture.before and not before else None,
            "when": ", before painting" if before else "",
        }
        for model, before in seen
    ]
    photos = {view: picture.original if view.before else picture.photo for view in views}
    return render(
        "seen.html",
        kind="Image explained",
        title=picture.name,
        models=[*dict.fromkeys(entry["mask"].model for entry in masks)],
        date=datetime.date.today().isoformat(),
        picture=picture,
        masks=masks,
        point=point,
        panels=_panels(explained, shared),
        photos=photos,
        found=explained,
        unexplained=[one for one in found if isinstance(one, Unexplained)],
        glossary=GLOSSARY,
    )


def _panels(found: Sequence[Explained], shared: bool) -> list[dict[str, Any]]:
    """What the template shows of each view."""
    scales: list[dict[str, Scale]] = [{} for _ in found]
    for layer in found[0].maps if found else ():
        like = [one.place_like(layer, found[0].parts) for one in found]
        alike = [(number, name) for number, name in enumerate(like) if name is not None]
        some, names = [found[number] for number, _ in alike], [name for _, name in alike]
        for (number, name), scale in zip(alike, scales_of(some, names, shared)):
            scales[number][name] = scale
    return [_panel(one, known) for one, known in zip(found, scales)]


def _panel(found: Explained, scales: dict[str, Scale]) -> dict[str, Any]:
    maps = []
    for place, values in found.maps.items():
        rows, columns = values.shape
        entry: dict[str, Any] = {
            "rule": found.view.rule,
            "target": "chosen",
            "place": place,
            "part": found.parts.get(place, ""),
            "cells": f"{rows} × {columns}",
        }
        scale = scales.get(place) or scales_of([found], [place], False)[0]
        entry.update(scale.map(values)._asdict())
        where = f"layer {entry['part']} ({place})" if place else "pixels"
        entry["text"] = f"Relevance of {where} for {found.text}: {entry['cells']} cells."
        if not maps:
            entry["over"] = scale.over(values)
            words = scale_sentence(scale)
        maps.append(entry)
    panel = {"maps": maps, "outlines": found.region, "depth": len(maps) - 1}
    return {**panel, "label": found.label, "rule": found.view.rule, "scale": words}

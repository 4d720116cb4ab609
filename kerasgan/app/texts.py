"""What the page says: captions as HTML, with all names escaped, sentences, and tables."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.app.network import Network
from kerasgan.app.session import Explained, Picture, Predicted, Scale, Unexplained
from kerasgan.report.page import figures
from kerasgan.report.texts import RULES

WORDS = ("view", "layer", "kind")
COLUMNS = ("relevance_in", "relevance_out", "bias", "stabiliser", "unsupported", "remainder")


def mask_caption(picture: Picture, mask: Predicted, before: bool, probable: bool) -> str:
    """What stands below a picture of a mask, as HTML.

    Args:
        picture: The image.
        mask: Its mask that is shown.
        before: Whether that is the mask before something was painted over.
        probable: Whether probability is shown.
    """
    keys = '<span class="kg-key prediction">predicted mask</span>'
    if picture.has_truth:
        keys = f'<span class="kg-key">true mask</span>{keys}'
    if picture.before and not before:
        keys += '<span class="kg-key explained">mask before</span>'
    name = html.escape(picture.name) + (", before painting" if before else "")
    model = f", {html.escape(mask.model)}" if len(picture.masks) > 1 else ""
    scale = '<div class="kg-scale probability">0<span></span>1 probability</div>'
    return f"<strong>{name}</strong>{model}<div>{keys}</div>{scale if probable else ''}"


def relevance_caption(found: Explained, place: str, scale: Scale) -> str:
    """What stands below a picture of relevance, as HTML."""
    where = f"layer {found.parts.get(place, '')} ({place})" if place else "pixels"
    ends = f"−{scale.limit:.3g}<span></span>+{scale.limit:.3g}"
    return (
        f"<strong>{html.escape(found.label)}</strong>: {html.escape(where)}"
        f'<div class="kg-scale">{ends if scale.limit else "no relevance"}</div>'
        f'<div class="kg-soft">{scale_sentence(scale)} '
        f"{html.escape(RULES.get(found.view.rule, ''))}</div>"
        '<span class="kg-key explained">what is explained</span>'
    )


def no_relevance_caption(label: str, text: str) -> str:
    """What stands below a picture without relevance, as HTML."""
    return f"<strong>{html.escape(label)}</strong>: {html.escape(text)}"


def scale_sentence(scale: Scale) -> str:
    """Say where the colours end, and what is stronger."""
    if not scale.limit:
        return ""
    of = "the 99.5th percentile of both pictures" if scale.shared else "the 99.5th percentile"
    unit = ", in relevance by explained pixel and by 1 % of the image" if scale.by_area else ""
    text = f"Red is for, blue against; colours end at {of}{unit}."
    if not scale.clipped:
        return f"{text} No cell is stronger; the strongest has {scale.strongest:.3g}."
    return text + (
        f" {scale.clipped:.2%} of the cells are stronger, up to {scale.strongest:.3g}, and hold "
        f"{scale.held:.0%} of the relevance."
    ).replace("%", " %")


def sentences_of(picture: Picture, found: Sequence[Explained | Unexplained]) -> list[str]:
    """What the pictures show, in words."""
    lines = []
    several = len(picture.masks) > 1
    for number, mask in enumerate(picture.masks):
        many = "s" if mask.components != 1 else ""
        whose = f"The mask of {mask.model}" if several else "The mask"
        line = f"{whose} covers {mask.area:.1%} of the image, in {mask.components} component{many}"
        line += "" if mask.dice is None else f"; its Dice score is {mask.dice:.2f}"
        lines.append(f"{line}.")
        if picture.before:
            before = picture.before[number]
            lines.append(
                f"Before anything was painted over, it covered {before.area:.1%}"
                + ("." if before.dice is None else f", with a Dice score of {before.dice:.2f}.")
            )
    if picture.agreement is not None:
        names = " and ".join(mask.model for mask in picture.masks)
        lines.append(f"The Dice score of the masks of {names} is {picture.agreement:.2f}.")
    shown = [one for one in found if isinstance(one, Explained)]
    texts = {one.text for one in shown}
    for one in shown:
        by = f"By {one.label}: "
        what = one.text if len(texts) > 1 else ""
        if one is shown[0] and not what:
            lines.append(f"Explained: {one.text}.")
        parts = [what, f"logits add up to {figures(one.value)}"]
        if one.probability is not None:
            parts.append(f"probability at the point {one.probability:.1%}")
        if one.question.target != "pixel":
            parts.append(
                f"{one.inside:.0%} of the relevance lies inside what is explained, which is "
                f"{one.share:.1%} of the image"
            )
        lines.append(f"{by}{'; '.join(filter(None, parts))} ({one.seconds:.1f} s).")
    lines += [f"By {one.label}: {one.text}." for one in found if isinstance(one, Unexplained)]
    return [line.replace("%", " %") for line in lines]


def differences_of(networks: Sequence[Network]) -> list[str]:
    """Say what of two models cannot be compared, or not as it is."""
    if len(networks) < 2:
        return []
    first, second = networks
    lines = []
    if first.size != second.size or first.mode != second.mode:
        sizes = [f"{n.name} sees {n.size[0]} × {n.size[1]} pixels ({n.mode})" for n in networks]
        lines.append(
            f"{sizes[0]}, {sizes[1]}: the same point is another pixel, and sums of logits are of "
            "other counts of pixels. Compare shares, or one pixel."
        )
    if first.channels != second.channels:
        grey = next(n.name for n in networks if n.channels == 1)
        lines.append(f"{grey} sees the image in grey.")
    if max(first.classes, 2) != max(second.classes, 2):
        kinds = " and ".join(f"{n.name} has {max(n.classes, 2) - 1}" for n in networks)
        lines.append(
            f"Classes of foreground: {kinds}. What is compared is foreground of any class; true "
            f"masks are read as those of {first.name}."
        )
    elif first.classes != second.classes:
        lines.append(
            f"{first.name} has {first.classes} logits a pixel, {second.name} {second.classes}: "
            "their sizes are not comparable."
        )
    return lines


def preparing_sentence(network: Network, rule: str, several: bool, seconds: float | None) -> str:
    """Say why the first use of a rule takes long."""
    name = f" for {network.name}" if several else ""
    last = f" The last rule took {seconds:.0f} s." if seconds else ""
    return (
        f"Preparing {rule}{name}. A network is traced for a rule once, before its first use; large "
        f"ones take half a minute.{last}"
    )


def table_rows(found: Sequence[Explained | Unexplained]) -> list[dict[str, Any]]:
    """The conservation tables as the page shows them, from the logits to the image."""
    rows: list[dict[str, Any]] = []
    for one in found:
        if isinstance(one, Unexplained):
            continue
        for row in one.ledger.to_dict("records"):
            numbers = {name: _rounded(row[name]) for name in COLUMNS}
            about = {"view": one.label, "layer": row["layer"], "kind": row["kind"]}
            rows.append({"number": len(rows), **about, **numbers})
    return rows


def layer_options(maps: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, str]:
    """What relevance can be of, in words by its place: pixels, then layers from the image on."""
    return {"": "pixels", **{name: f"{parts[name]} ({name})" for name in maps if name}}


def _rounded(value: float) -> float | None:
    """A number to four digits; None for what is none, as where a rule keeps no books."""
    return float(f"{value:.4g}") if math.isfinite(value) else None

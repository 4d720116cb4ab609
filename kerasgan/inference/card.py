"""The model card: what people know of a network, in a bundle and in a report alike.

Source: Model Cards for Model Reporting, Mitchell et al. 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.errors import KerasganError
from kerasgan.text import read_asset
from kerasgan.validation import check_choice

_LABELS = read_asset("kerasgan.inference", "card.json")
FIELDS: dict[str, str] = _LABELS["fields"]
"""What a card may state of a model, and the heading of each."""
STUDY: dict[str, str] = _LABELS["study"]
"""What it may state of the study and the use of a model, as reporting guidelines ask."""
KNOWN = {**FIELDS, **STUDY}
REQUIRED = (
    *("segments", "intended_use", "limits", "training_data", "evaluation_data"),
    *("contact", "citation", "licence"),
)

UNKNOWN = "not recorded"
DATA: dict[str, str] = _LABELS["data"]
"""What `fit` records of its data, and how it is called."""
DONE: dict[str, str] = _LABELS["done"]
"""What `fit` records of what it did."""


def check_card(card: Mapping[str, Any] | None) -> dict[str, list[tuple[str, str]]]:
    """Check a card and return pairs of label and text for every field, in the order of `KNOWN`.

    A value is text, a number, a list of these, or a dict of facts. The label is empty where there
    is none, and the list is empty where nothing is stated.
    """
    if card is not None and not isinstance(card, Mapping):
        raise KerasganError(
            f"Argument 'card' must be a dict with some of the fields {', '.join(KNOWN)}. "
            f"Received: {type(card).__name__}"
        )
    for name in card or {}:
        check_choice("card", name, KNOWN)
    return {name: _statements((card or {}).get(name)) for name in KNOWN}


def check_card_texts(card: Any, licence: Any) -> tuple[dict[str, str], str | None]:
    """Check a card that holds text alone, as in a bundle, and its licence."""
    check_card(card)
    if (card or {}).get("licence") is not None:
        raise KerasganError("Argument 'card' must not have the licence: pass licence='...'")
    texts = {name: _check_words(f"card['{name}']", text) for name, text in (card or {}).items()}
    return texts, None if licence is None else _check_words("licence", licence)


def missing_fields(stated: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what should be known of a network and is not stated."""
    return tuple(name for name in REQUIRED if not stated.get(name))


def recorded(fits: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Say what each call of `fit` recorded of itself, which may come from a stranger's file."""
    facts = [] if fits else [("Training", UNKNOWN)]
    for number, fit in enumerate(fits, 1):
        data, checked, free = (
            part if isinstance(part, Mapping) else {}
            for part in (fit.get("data"), fit.get("validation"), fit.get("unlabelled"))
        )
        pairs = [(label, fact_text(data.get(name))) for name, label in DATA.items() if name in data]
        if free:
            images = fact_text(free.get("images", free.get("data")))
            pairs.append(("Unlabelled images (number, hash)", images))
        pairs += [
            (
                "Validation images (number, hash)",
                fact_text(checked.get("images", checked.get("data"))),
            ),
            *((label, fact_text(fit.get(name))) for name, label in DONE.items()),
        ]
        which = f" ({number} of {len(fits)})" if len(fits) > 1 else ""
        facts += [(f"{label}{which}", text) for label, text in pairs]
    return facts


def card_text(
    title: str, stated: Mapping[str, list[tuple[str, str]]], sections: Mapping[str, Sequence[str]]
) -> str:
    """Write a model card in Markdown: every field stated or required, then further sections.

    Markup in what was stated is shown as it is.
    """
    missing = missing_fields(stated)
    fields = {
        label: [f"{key}: {value}" if key else value for key, value in stated.get(name, ())]
        or ["Not stated" + (": ask before you use it." if name == "licence" else ".")]
        for name, label in KNOWN.items()
        if stated.get(name) or name in missing
    }
    lines = [f"# Model card: {_plain(title)}", ""]
    for heading, texts in {**fields, **sections}.items():
        lines += [f"## {heading}", "", *(f"- {_plain(text)}" for text in texts or ["None."]), ""]
    return "\n".join(lines)


def printable(text: Any) -> str:
    """Make text fit to be written and shown: bytes of no text and unseen characters replaced."""
    unseen = ("Cc", "Cf", "Cs", "Co", "Cn")
    return "".join("\ufffd" if unicodedata.category(c) in unseen else c for c in str(text))


def fact_text(value: Any) -> str:
    """Write a fact as text: numbers to six digits, lists and dicts with commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(name)} {fact_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(fact_text, value))
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else printable(value)


def _statements(value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    if isinstance(value, Mapping):
        return [(printable(k).replace("_", " "), fact_text(part)) for k, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [("", fact_text(part)) for part in value]
    return [("", fact_text(value))]


def _check_words(argument: str, text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise KerasganError(f"Argument '{argument}' must be a text. Received: {text!r}")
    return text.strip()


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!&" else c for c in text)

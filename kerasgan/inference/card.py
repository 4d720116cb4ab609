"""What is said of a network that is given away: its card.

Source: Model Cards for Model Reporting, Mitchell et al. 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from kerasgan.errors import KerasganError, did_you_mean

__all__ = ["FIELDS", "REQUIRED", "card_text", "checked_card", "checked_text", "missing_fields"]

REQUIRED = {
    "segments": "What it segments",
    "intended_use": "Intended use",
    "limits": "Limits",
    "training_data": "Training data",
    "evaluation_data": "Evaluation data",
    "contact": "Contact",
    "citation": "Citation",
}
FIELDS = {
    **REQUIRED,
    "developed_by": "Developed by",
    "version": "Version",
    "date": "Date",
    "users": "Intended users",
    "out_of_scope": "Uses out of scope",
    "factors": "Factors",
    "metrics": "Metrics",
    "results": "Quantitative analyses",
    "ethics": "Ethical considerations",
}


def checked_card(card: Any) -> dict[str, str]:
    """Return a card with known fields and texts, or raise.

    Args:
        card: A dict from fields, see `FIELDS`, to texts; None for an empty one.

    Returns:
        The card.

    Raises:
        KerasganError: If a field is not known, or has no text.

    Example:
        >>> checked_card({"segments": " Polyps "})
        {'segments': 'Polyps'}
    """
    if card is not None and not isinstance(card, Mapping):
        raise KerasganError(
            f"Argument 'card' must be a dict from fields to text. Received: {card!r}"
        )
    for name in card or {}:
        if name in ("licence", "license"):
            raise KerasganError("Argument 'card' must not have the licence: pass licence='...'")
        if name not in FIELDS:
            hint = did_you_mean(name, FIELDS)
            raise KerasganError(
                f"Argument 'card' must have fields of {', '.join(FIELDS)}. Received: {name!r}"
                f"{'. ' * bool(hint)}{hint}"
            )
    return {name: checked_text(f"card['{name}']", text) for name, text in (card or {}).items()}


def checked_text(argument: str, text: Any) -> str:
    """Return a text without spaces around it, or raise if it is none or empty."""
    if not isinstance(text, str) or not text.strip():
        raise KerasganError(f"Argument '{argument}' must be a text. Received: {text!r}")
    return text.strip()


def missing_fields(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what should be known of a network and is not.

    Args:
        meta: With its "card" and its "licence".

    Returns:
        Names of fields, "licence" last.

    Example:
        >>> missing_fields({"card": dict.fromkeys(REQUIRED, "text"), "licence": None})
        ('licence',)
    """
    missing = [name for name in REQUIRED if not meta["card"].get(name, "").strip()]
    return (*missing, *["licence"] * (not meta["licence"]))


def card_text(meta: Mapping[str, Any], path: pathlib.Path) -> str:
    """Write the card as Markdown, to be read by people."""
    card = {FIELDS[name]: meta["card"][name] for name in FIELDS if name in meta["card"]}
    card["Licence"] = meta["licence"] or "None is named: ask before you use it."
    if missing_fields(meta):
        card["Left out by the author"] = ", ".join(missing_fields(meta))
    card["Preprocessing"] = ", ".join(f"{k}: {v}" for k, v in meta["preprocessing"].items())
    card["Written by"] = ", ".join(f"{name} {text}" for name, text in meta["versions"].items())
    parts = [f"# {path.stem}", *(f"## {title}\n\n{text}" for title, text in card.items())]
    use = (
        "import kerasgan as kg\n\n"
        f'bundle = kg.inference.load_bundle("{path.name}")\n'
        'masks = bundle.predict("folder of images")'
    )
    return "\n\n".join([*parts, f"## Use\n\n```python\n{use}\n```"]) + "\n"

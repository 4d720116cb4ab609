"""What is said of a network that is given away: its card.

Source: Model Cards for Model Reporting, Mitchell et al. 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.errors import KerasganError, did_you_mean

__all__ = [
    "FIELDS",
    "REQUIRED",
    "card_text",
    "checked_card",
    "checked_text",
    "missing_fields",
    "recorded",
]

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

UNKNOWN = "not recorded"
DATA = {
    "images": "Images, and a key of their content",
    "masks": "Masks, likewise",
    "data": "Data",
    "batches": "Batches an epoch",
    "batch_size": "Batch size",
    "size": "Height and width in training",
    "mode": "Brought to it by",
    "augment": "Augmentation",
    "seed": "Seed of order and augmentation",
}
DONE = {
    "epochs": "Epochs done",
    "asked_epochs": "Epochs asked for",
    "kept_epoch": "Weights are of epoch",
    "seed": "Seed of the start values",
    "precision": "Precision",
    "devices": "Devices",
    "seconds": "Seconds",
    "date": "Date",
    "versions": "Versions",
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


def recorded(fits: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Say what each call of `fit` recorded of itself, which may come from a stranger's file.

    Args:
        fits: Those of a `SegmentationGAN` or a bundle.

    Returns:
        Pairs of label and text; what was not recorded is said to be so.

    Example:
        >>> recorded([])
        [('Training', 'not recorded')]
        >>> dict(recorded([{"epochs": 3, "kept_epoch": 1}]))["Weights are of epoch"]
        '1'
    """
    found = [] if fits else [("Training", UNKNOWN)]
    for number, fit in enumerate(fits, 1):
        data, checked = (
            part if isinstance(part, Mapping) else {}
            for part in (fit.get("data"), fit.get("validation"))
        )
        pairs = [(label, _text(data.get(name))) for name, label in DATA.items() if name in data]
        pairs += [
            ("Validation images, and a key", _text(checked.get("images", checked.get("data")))),
            *((label, _text(fit.get(name))) for name, label in DONE.items()),
        ]
        which = f" ({number} of {len(fits)})" if len(fits) > 1 else ""
        found += [(f"{label}{which}", text) for label, text in pairs]
    return found


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def card_text(
    meta: Mapping[str, Any],
    path: pathlib.Path,
    fits: Sequence[Mapping] = (),
    function: str | None = None,
) -> str:
    """Write the card as Markdown, to be read by people.

    Args:
        meta: What `bundle.json` holds.
        path: Of the bundle.
        fits: What each call of `fit` recorded of itself.
        function: The author's own that builds the network, if it is one.
    """
    card = {FIELDS[name]: meta["card"][name] for name in FIELDS if name in meta["card"]}
    card["Licence"] = meta["licence"] or "None is named: ask before you use it."
    if missing_fields(meta):
        card["Left out by the author"] = ", ".join(missing_fields(meta))
    card["Preprocessing"] = ", ".join(f"{k}: {v}" for k, v in meta["preprocessing"].items())
    lines = [f"- {label}: {text}" for label, text in recorded(fits)]
    card["Training, as recorded"] = "\n".join(lines)
    card["Written by"] = ", ".join(f"{name} {text}" for name, text in meta["versions"].items())
    parts = [f"# {path.stem}", *(f"## {title}\n\n{text}" for title, text in card.items())]
    built = f", build={function}" if function else ""
    use = (
        "import kerasgan as kg\n\n"
        f'bundle = kg.inference.load_bundle("{path.name}"{built})\n'
        'masks = bundle.predict("folder of images")'
    )
    return "\n\n".join([*parts, f"## Use\n\n```python\n{use}\n```"]) + "\n"

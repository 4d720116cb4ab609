"""The model card: what people know of a network, in a bundle and in a report alike.

Source: Model Cards for Model Reporting, Mitchell et al. 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice

FIELDS = {
    "name": "Model",
    "segments": "What it segments",
    "version": "Version",
    "date": "Date",
    "developed_by": "Developed by",
    "contact": "Contact",
    "licence": "Licence",
    "citation": "Citation",
    "intended_use": "Intended use",
    "users": "Intended users",
    "out_of_scope": "Uses out of scope",
    "training_data": "Training data",
    "evaluation_data": "Evaluation data",
    "hardware": "Trained with (hardware)",
    "training": "Training",
    "factors": "Factors",
    "metrics": "Metrics",
    "results": "Quantitative analyses",
    "ethics": "Ethical considerations",
    "limits": "Known limits",
}
"""What a card may state of a model, and the heading of each."""
STUDY = {
    "title": "Title of the study",
    "abstract": "Summary of the study",
    "background": "Medical background and earlier models",
    "objectives": "Aims of the study",
    "study_design": "Prospective or retrospective",
    "inequalities": "Known inequalities between groups of patients",
    "data_dates": "Dates of the data",
    "setting": "Centres and level of care",
    "eligibility": "Who was included and excluded",
    "treatments": "Treatments received",
    "subsets": "Choice of subsets of the data",
    "earlier_processing": "What was done to the images before",
    "data_quality": "Checks of the quality of the data",
    "deidentification": "De-identification",
    "missing_data": "Missing data",
    "acquisition": "How the images were acquired",
    "image_choice": "Who chose the images, and how",
    "reference_standard": "How the true masks were made",
    "reference_reason": "Why the true masks were made in this way",
    "annotators": "Who drew the true masks, with which training",
    "test_annotation": "Who drew the true masks of the test images, and how",
    "blinding": "What annotators did not know",
    "annotator_agreement": "Agreement between annotators",
    "split": "How images were divided into training, validation and test",
    "split_level": "Level at which the parts are disjoint, such as patients",
    "sample_size": "How the number of images was chosen",
    "design_reason": "Why this kind of model",
    "class_imbalance": "Methods against class imbalance",
    "selection": "How the final model was chosen",
    "threshold_choice": "How the threshold was chosen",
    "fairness": "Approaches to fairness",
    "updating": "Updates of the model after evaluation",
    "test_source": "Whether the images of the report come from the source of the training images",
    "test_conditions": "How far the images of the report are as in clinical use",
    "data_differences": "Differences between training and evaluation data",
    "external_testing": "Test on data from elsewhere",
    "robustness": "Robustness",
    "participants": "Patients or examinations, included and excluded",
    "demographics": "Demographic and clinical data of the patients, in each part",
    "representativeness": "How far the data represent the intended patients",
    "groups": "Performance for groups of patients",
    "centres": "Differences between centres",
    "interpretation": "Interpretation of the results",
    "implications": "What follows for practice",
    "next_steps": "Next steps of research",
    "ethics_approval": "Ethics committee, consent or waiver",
    "funding": "Funding",
    "conflicts": "Conflicts of interest",
    "protocol": "Protocol of the study",
    "registration": "Registration of the study",
    "data_availability": "Availability of the data",
    "code_availability": "Availability of code and trained model",
    "involvement": "Involvement of patients and the public",
    "input_quality": "What to do with poor images",
    "user_skill": "What users have to do and to know",
    "risks": "Risks to health, safety and fundamental rights",
    "security": "Software engineering and security",
    "planned_changes": "Changes determined beforehand",
    "human_oversight": "Human oversight",
    "maintenance": "Lifetime, maintenance, updates",
    "logs": "Logs",
    "expertise": "Disciplines that took part",
    "human_team": "Performance of people with the model",
    "monitoring": "Monitoring in use",
    "information_place": "Where users find the information",
    "information_time": "When users get the information",
}
"""What it may state of the study and the use of a model, as reporting guidelines ask."""
KNOWN = {**FIELDS, **STUDY}
REQUIRED = (
    *("segments", "intended_use", "limits", "training_data", "evaluation_data"),
    *("contact", "citation", "licence"),
)

UNKNOWN = "not recorded"
DATA = {
    "images": "Images (number, hash of their content)",
    "masks": "Masks (number, hash of their content)",
    "data": "Data",
    "batches": "Batches per epoch",
    "batch_size": "Batch size",
    "size": "Height and width in training",
    "mode": "Resizing in training",
    "scale": "Scale of windows in training",
    "foreground": "Share of windows that hold foreground",
    "augment": "Augmentation",
    "seed": "Seed of order and augmentation",
}
DONE = {
    "epochs": "Epochs done",
    "asked_epochs": "Epochs asked for",
    "kept_epoch": "Weights are of epoch",
    "seed": "Seed of the initial weights",
    "precision": "Precision",
    "devices": "Devices",
    "seconds": "Seconds",
    "date": "Date",
    "versions": "Versions",
}


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

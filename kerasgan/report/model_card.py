"""What a report says of a model: facts read from it, and a card of what only people know."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan._version import __version__
from kerasgan.errors import KerasganError, unknown_name
from kerasgan.inference.card import recorded
from kerasgan.models import generator_of
from kerasgan.report.collect import printable

__all__ = ["FIELDS", "check_card", "card_text", "model_facts", "with_settings"]

FIELDS = {
    "name": "Model",
    "version": "Version",
    "date": "Date",
    "authors": "Made by",
    "contact": "Contact",
    "licence": "Licence",
    "intended_use": "Intended use",
    "not_for": "Not to be used for",
    "training_data": "Trained on",
    "test_data": "Tested on",
    "hardware": "Trained with (hardware)",
    "training": "Training",
    "limits": "Known limits",
}
"""What a card may state, and how it is called in the report."""
NOT_STATED = "not stated"
PACKAGES = ("innvestigate", "numpy", "scipy", "pandas")
MODES = {"window": "cutting overlapping windows", "letterbox": "a border", "stretch": "stretching"}
AUGMENTED = {True: "flips and right angles", "flips": "flips"}
RECIPE = {"l1": "L1 loss"}
ADVISED = ("augment", "batch_size", "epochs")  # what `fit` got is in what it recorded


def check_card(card: Mapping[str, Any] | None) -> dict[str, list[tuple[str, str]]]:
    """Check a card and bring every statement into one form.

    Args:
        card: From names in `FIELDS` to text, a number, a list of these, or a dict of facts.

    Returns:
        For every field pairs of label and text; the label is empty where there is none, and the
        list is empty where nothing is stated.

    Raises:
        KerasganError: If the card is no mapping, or has an unknown field.

    Example:
        >>> card = check_card({"limits": ["Small polyps.", "Blood."], "training": {"epochs": 3}})
        >>> card["limits"], card["training"], card["contact"]
        ([('', 'Small polyps.'), ('', 'Blood.')], [('epochs', '3')], [])
    """
    if card is not None and not isinstance(card, Mapping):
        raise KerasganError(
            f"Argument 'card' must be a dict with some of the fields {', '.join(FIELDS)}. "
            f"Received: {type(card).__name__}"
        )
    card = card or {}
    for name in card:
        if name not in FIELDS:
            raise unknown_name("card", name, FIELDS)
    return {name: _statements(card.get(name)) for name in FIELDS}


def model_facts(model: Any) -> dict[str, list[tuple[str, str]]]:
    """Read off a model what can be read off it, and say with what this is done.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`,
            and with a `.recipe` and `.fits` where it was built by one and trained here.

    Returns:
        Groups of pairs of label and text: "network", "recipe" (empty where there is none),
        "training as recorded" by `fit`, and "software".

    Example:
        >>> import kerasgan as kg
        >>> facts = model_facts(kg.models.unet(size=32, filters=2, levels=2))
        >>> dict(facts["network"])["Input"]
        '32 × 32 pixels, 3 channels'
    """
    network = generator_of(model)
    height, width, channels = network.input_shape[1:]
    classes = network.outputs[0].shape[-1]
    sides = "any size" if height is None else f"{height} × {width} pixels"
    kinds = "foreground or background" if classes == 1 else f"{classes} classes, one of each pixel"
    described = [
        ("Architecture", network.name),
        ("Input", f"{sides}, {channels} channel{'s' if channels != 1 else ''}"),
        ("Output", kinds),
        ("Parameters", f"{network.count_params():,}"),
        ("Size of the weights", _size(network)),
        ("SHA-256 of the weights", weights_checksum(network)),
    ]
    discriminator = getattr(model, "discriminator", None)
    if discriminator is not None:
        described.append(("Discriminator, in training only", discriminator.name))
    recipe = getattr(model, "recipe", None) or {}
    settings = [
        (RECIPE.get(name, name.replace("_", " ")), _text(value))
        for name, value in recipe.items()
        if (value not in (0, None, False) or name == "seed") and name not in ADVISED
    ]
    software = [
        ("kerasgan", __version__),
        ("Python", platform.python_version()),
        ("keras", keras.__version__),
        ("tensorflow", tf.__version__),  # also of tensorflow-cpu
    ]
    for package in PACKAGES:
        try:
            software.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    software += [("Processor", _processor()), ("GPUs", ", ".join(_gpus()) or "none")]
    return {
        "network": described,
        "recipe": settings,
        "training as recorded": [
            (printable(label), printable(text))
            for label, text in recorded(getattr(model, "fits", None) or [])
        ],
        "software": software,
    }


def card_text(
    title: str,
    date: datetime.date,
    card: Mapping[str, list[tuple[str, str]]],
    facts: Mapping[str, list[tuple[str, str]]],
    scores: Sequence[str],
    limits: Sequence[str],
) -> str:
    """Write a model card in Markdown.

    Args:
        title: Heading.
        date: Of the report.
        card: What `check_card` returned.
        facts: What `model_facts` returned.
        scores: Sentences about how good the model is.
        limits: Sentences about what holds for every model of this kind.

    Returns:
        The card; markup in what was stated is made harmless.

    Example:
        >>> text = card_text("A", datetime.date(2026, 1, 1), check_card({}), {}, [], [])
        >>> text.splitlines()[0]
        '# Model card: A'
    """
    lines = [f"# Model card: {_plain(title)}", "", f"Written on {date.isoformat()}.", ""]
    for name, label in FIELDS.items():
        stated = [f"{key}: {value}" if key else value for key, value in card[name]]
        lines += [f"## {label}", ""]
        lines += [f"- {_plain(text)}" for text in stated] or [NOT_STATED.capitalize() + "."]
        lines.append("")
    for heading, pairs in facts.items():
        lines += [f"## {heading.capitalize()}", ""]
        lines += [f"- {_plain(label)}: {_plain(value)}" for label, value in pairs] or ["None."]
        lines.append("")
    for heading, sentences in (("Scores", scores), ("Limits of any such model", limits)):
        lines += [f"## {heading}", "", *(f"- {_plain(text)}" for text in sentences), ""]
    return "\n".join(lines)


def _statements(value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    if isinstance(value, Mapping):
        return [(printable(key).replace("_", " "), _text(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [("", _text(part)) for part in value]
    return [("", _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)} {_text(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else printable(value)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|!&" else c for c in text)


def weights_checksum(network: keras.Model) -> str:
    """Return the SHA-256 of the weights."""
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _size(network: keras.Model) -> str:
    size = sum(weight.nbytes for weight in network.get_weights())
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def _processor() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


def _gpus() -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    found = map(tf.config.experimental.get_device_details, devices)
    return [str(details.get("device_name", "unknown")) for details in found]


def with_settings(
    facts: dict[str, list[tuple[str, str]]], options: Mapping[str, Any], classes: int
) -> dict[str, list[tuple[str, str]]]:
    """Add to the facts of a model how it was used here.

    Args:
        facts: What `model_facts` returned.
        options: `mode`, `augment`, `threshold` and, as `preprocess_of` returns it, `preprocess`,
            and `gates`, as of `Explainer`.
        classes: As of `Samples`.

    Returns:
        New facts.

    Example:
        >>> from kerasgan.models.preprocess import preprocess_of
        >>> options = {"mode": "window", "augment": "flips", "threshold": 0.5}
        >>> options.update(preprocess=preprocess_of(None, "[0,1]"), gates={})
        >>> with_settings({"network": []}, options, 1)["network"][0]
        ('Takes', 'images in [0, 1]')
    """
    used = [
        ("Takes", str(options["preprocess"])),
        ("Images are brought to its size by", MODES[options["mode"]]),
    ]
    if options["augment"]:
        used.append(("Averaged over views", AUGMENTED[options["augment"]]))
    if classes == 1:
        used.append(("Foreground above a probability of", f"{options['threshold']:g}"))
    for product, gates in options["gates"].items():
        inputs = ", ".join(map(str, gates))
        used.append((f"Gate of '{product}' in explanations", f"input {inputs}, counted from 0"))
    return {**facts, "network": [*facts["network"], *used]}

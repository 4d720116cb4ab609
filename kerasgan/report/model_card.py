"""Facts of a model that a report reads from it; what only people know is in its card."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan._requirements import version_of
from kerasgan.errors import KerasganError
from kerasgan.inference.bundle import Bundle
from kerasgan.inference.card import fact_text, recorded
from kerasgan.models import generator_of
from kerasgan.storage import package_versions

PACKAGES = ("innvestigate", "numpy", "scipy", "pandas")
MODES = {
    "window": "none: overlapping windows",
    "letterbox": "letterbox (adds a border)",
    "stretch": "stretching",
}
AUGMENTED = {True: "flips and right angles", "flips": "flips"}
RECIPE = {"l1": "L1 loss"}
ADVISED = ("augment", "batch_size", "epochs")  # what `fit` got is in what it recorded


def model_facts(model: Any) -> dict[str, list[tuple[str, str]]]:
    """Read off a model what can be read off it, and say with what this is done."""
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
        (RECIPE.get(name, name.replace("_", " ")), fact_text(value))
        for name, value in recipe.items()
        if (value not in (0, None, False) or name == "seed") and name not in ADVISED
    ]
    software = [*package_versions().items(), ("Python", platform.python_version())]
    software += [(name, version) for name in PACKAGES if (version := version_of(name))]
    software += [("Processor", processor()), ("GPUs", ", ".join(gpu_names()) or "none")]
    return {
        "network": described,
        "recipe": settings,
        "training as recorded": recorded(getattr(model, "fits", None) or []),
        "software": software,
    }


def whole_card(model: Any, card: Any) -> Any:
    """Complete a card by what the author of a bundle states; what is given goes before."""
    if not isinstance(model, Bundle) or not isinstance(card, (Mapping, type(None))):
        return card
    given = dict(card or {})
    licence = given.get("licence") or model.licence
    if model.licence not in (None, licence):
        raise KerasganError(
            f"Argument 'card' must have the licence of the bundle, {model.licence!r}, or none. "
            f"Received: {licence!r}"
        )
    return {**model.card, **given, "licence": licence}


def weights_checksum(network: keras.Model) -> str:
    """Return the SHA-256 of the weights."""
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _size(network: keras.Model) -> str:
    size = sum(weight.nbytes for weight in network.get_weights())
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def processor() -> str:
    """Return the name of the processor, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def gpu_names() -> list[str]:
    """Return what the GPUs are called that TensorFlow sees."""
    devices = tf.config.list_physical_devices("GPU")
    all_details = map(tf.config.experimental.get_device_details, devices)
    return [str(details.get("device_name", "unknown")) for details in all_details]


def with_settings(
    facts: dict[str, list[tuple[str, str]]], options: Mapping[str, Any], classes: int
) -> dict[str, list[tuple[str, str]]]:
    """Add to the facts of a model how it was used here."""
    used = [
        ("Preprocessing", str(options["preprocess"])),
        ("Resizing of images", MODES[options["mode"]]),
    ]
    if options["mode"] == "window":
        used.append(("Scale of windows", f"{options['scale']:g}"))
    if options["augment"]:
        used.append(("Averaged over views", AUGMENTED[options["augment"]]))
    if classes == 1:
        used.append(("Foreground above a probability of", f"{options['threshold']:g}"))
    for product, gates in options["gates"].items():
        inputs = ", ".join(map(str, gates))
        used.append((f"Gate of '{product}' in explanations", f"input {inputs}, counted from 0"))
    return {**facts, "network": [*facts["network"], *used]}

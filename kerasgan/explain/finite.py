"""Where an explanation is no longer finite: which image, which layer, which rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasgan.errors import KerasganError
from kerasgan.explain.graph import Graph


def check_finite(
    arrays: Mapping[str, np.ndarray],
    rows: Sequence[Sequence[str]],
    method: Any,
    network: Graph,
    model: str,
) -> None:
    """Raises unless logits and relevance are finite."""
    broken = not_finite(arrays["logits"])
    if len(broken):
        values = arrays["images"][broken]
        raise KerasganError(
            f"Model '{model}' gives NaN or infinity for image(s) {broken.tolist()}, counted from "
            f"0, with values from {values.min():.3g} to {values.max():.3g}. Check its weights: "
            "training may have diverged; or the images, if their values are out of range"
        )
    broken = not_finite(arrays["relevance"])
    finite = np.isfinite(arrays.get("ledger", np.zeros((0, 2, 1)))[:, :2]).all(axis=1)
    broken = np.union1d(broken, np.flatnonzero(~finite.all(axis=0)))
    if not len(broken):
        return
    image = broken[0]
    if len(rows) and not finite[:, image].all():
        name, kind = rows[int(np.argmin(finite[:, image]))]
        where = f"in layer '{name}' ({kind})"
        node = network.node(name)
        if hasattr(method, "rule_for") and node.kind == "weighted":
            method = method.rule_for(node)
    else:
        at_layers = [name for name in arrays if name.startswith("layers/")]
        wrong = [name[7:] for name in at_layers if not np.isfinite(arrays[name][image]).all()]
        where = f"at the output of layer '{wrong[-1]}'" if wrong else "at the image"
    raise KerasganError(
        f"Relevance of image {image}, counted from 0, is not finite {where}, by {method!r}. Choose "
        "another rule or a larger epsilon, or look at the weights and at the image's values. "
        f"Images concerned: {broken.tolist()}"
    )


def not_finite(array: Any) -> np.ndarray:
    """Returns the indices of images with NaN or infinity."""
    return np.flatnonzero(~np.isfinite(np.reshape(array, (len(array), -1))).all(axis=1))

"""An explainer for where there is no kerasgan: a SavedModel."""

from __future__ import annotations

import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain import targets
from kerasgan.inference.export import check_against, new_path

if TYPE_CHECKING:
    from kerasgan.explain.explainer import Explainer

__all__ = ["export_explainer"]


def export_explainer(
    explainer: Explainer,
    folder: str | os.PathLike,
    target: targets.TargetLike = "prediction",
) -> pathlib.Path:
    """Write an explainer as a SavedModel that needs neither kerasgan nor iNNvestigate.

    It has two signatures, and functions of these names without a dict around the arguments:

    - `"explain_weights"`, also called `"serving_default"`, takes `images`, (batch, height, width,
      channels) as the network does, and `weights` of the shape of the logits: what to explain;
    - `"explain"` takes `images` and explains the target given here.

    Both give a dict: `"relevance"` of the shape of the images; `"value"` (batch,), the sum of
    weights times logits, which the relevance adds up to but for what went to biases and the
    stabiliser; `"logits"`; and `"target"`, the weights. An explainer's `preprocess` is not part of
    it. The network's weights are `model_weights`, in Keras' order; relevance follows them. `gates`
    holds the explainer's as JSON.

    Args:
        explainer: The explainer.
        folder: Folder to write; it must not exist.
        target: As of `Explainer.explain`; one without arrays.

    Returns:
        The folder.

    Raises:
        KerasganError: If the target cannot be exported, the folder exists or cannot be written, or
            what was written does not agree with the explainer.

    Example:
        >>> explainer = kg.Explainer(model)  # doctest: +SKIP
        >>> kg.explain.export_explainer(explainer, "explainer")  # doctest: +SKIP
        >>> saved = tf.saved_model.load("explainer")  # doctest: +SKIP
        >>> saved.explain(images)["relevance"]  # doctest: +SKIP
    """
    target = targets.get(target)
    if not target.traceable or type(target).__eq__ is object.__eq__:
        raise KerasganError(
            f"Argument 'target' must be a target without arrays to be exported. Received: "
            f"{target!r}; export with target='prediction', and give weights to 'explain_weights' "
            "of the result"
        )
    target.prepare(explainer._logits_shape(explainer._input.shape))
    by_target = explainer._traced(target, "logit", ()).call
    by_weights = explainer._traced("given", "logit", ()).call

    def explain(images):
        return _shown(by_target(images))

    def explain_weights(images, weights):
        return _shown(by_weights(images, weights))

    images = tf.TensorSpec(explainer._input.shape, explainer._input.dtype, "images")
    logits = explainer._weights_spec()
    weights = tf.TensorSpec(logits.shape, logits.dtype, "weights")
    module = tf.Module()
    module.model_weights = explainer.model.weights
    module.gates = tf.Variable(json.dumps(explainer.gates), trainable=False)
    module.explain = tf.function(explain, [images], autograph=False)
    module.explain_weights = tf.function(explain_weights, [images, weights], autograph=False)
    signatures = {
        "explain": module.explain.get_concrete_function(),
        "explain_weights": module.explain_weights.get_concrete_function(),
    }
    signatures["serving_default"] = signatures["explain_weights"]
    with new_path(folder) as part:
        tf.saved_model.save(module, str(part), signatures)
        saved = tf.saved_model.load(str(part))
        _check(saved.explain, by_target, images, folder)
    return pathlib.Path(folder)


def _shown(outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    shown = {name: outputs[name] for name in ("relevance", "logits", "target")}
    each = shown["logits"] * tf.cast(shown["target"], shown["logits"].dtype)
    return {**shown, "value": tf.reduce_sum(each, axis=range(1, len(each.shape)))}


def _check(saved: Any, own: Any, images: tf.TensorSpec, folder: str | os.PathLike) -> None:
    shape = [size or 128 for size in images.shape[1:]]
    batch = np.random.default_rng(0).uniform(-1, 1, (1, *shape))
    batch = tf.constant(batch, images.dtype)
    check_against(own(batch)["relevance"], saved(batch)["relevance"], folder)

"""An explainer for where there is no kerasgan: a SavedModel."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import tensorflow as tf

from kerasgan.explain import targets
from kerasgan.inference.export import check_against, new_path
from kerasgan.models.trace import random_images
from kerasgan.validation import invalid


def export_explainer(
    explainer: Any, folder: str | os.PathLike, target: targets.TargetLike = "prediction"
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
        explainer: The `Explainer`.
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
    if not target.by_value:
        advice = "Export 'prediction', and give weights to 'explain_weights' of the result"
        raise invalid("target", "a target without arrays to be exported", target, advice)
    functions = explainer.functions
    image, logits = functions.inputs[0], functions.weights_spec
    target.prepare(functions.logits_shape(image.shape))
    by_target = functions.get(target).call
    by_weights = functions.get("given").call
    images = tf.TensorSpec(image.shape, image.dtype, "images")
    weights = tf.TensorSpec(logits.shape, logits.dtype, "weights")
    module = tf.Module()
    module.model_weights = explainer.model.weights
    module.gates = tf.Variable(json.dumps(explainer.gates), trainable=False)
    module.explain = tf.function(
        lambda images: _with_value(by_target(images)), [images], autograph=False
    )
    module.explain_weights = tf.function(
        lambda images, weights: _with_value(by_weights(images, weights)),
        [images, weights],
        autograph=False,
    )
    signatures = {
        "explain": module.explain.get_concrete_function(),
        "explain_weights": module.explain_weights.get_concrete_function(),
    }
    signatures["serving_default"] = signatures["explain_weights"]
    with new_path(folder) as part:
        tf.saved_model.save(module, str(part), signatures)
        saved = tf.saved_model.load(str(part))
        batch = tf.constant(*random_images([image]), image.dtype)
        check_against(by_target(batch)["relevance"], saved.explain(batch)["relevance"], folder)
    return pathlib.Path(folder)


def _with_value(outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns what is exported, with the explained sum of logits of each image."""
    outputs = {name: outputs[name] for name in ("relevance", "logits", "target")}
    each = outputs["logits"] * tf.cast(outputs["target"], outputs["logits"].dtype)
    return {**outputs, "value": tf.reduce_sum(each, axis=range(1, len(each.shape)))}

"""The network that takes the gradients, where it is not the one that predicts."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.errors import unknown_name

__all__ = ["PRECISIONS", "clone_with_precision", "ramped_momentum", "update_ema"]

PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
"""Keras' dtype policies, by the format that convolutions compute in."""


def clone_with_precision(network: keras.Model, precision: str) -> keras.Model:
    """Build a network once more, with the same weights, computing in another precision.

    Weights stay float32 in each. Layers that the network holds at float32 whatever the policy,
    such as its logits, stay there.

    Args:
        network: functional `keras.Model` built under the policy "float32".
        precision: of `PRECISIONS`.

    Returns:
        A new functional `keras.Model`, layers named alike.

    Raises:
        KerasganError: if the precision is unknown.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=2)
        >>> clone_with_precision(network, "bfloat16").get_layer("middle_conv_a").compute_dtype
        'bfloat16'
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    policy = PRECISIONS[precision]
    kept = _ends(network) if policy != "float32" else set()

    def again(layer):
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=again)
        config = layer.get_config()
        dtype = "float32" if layer.name in kept else policy
        if isinstance(config.get("layer"), dict):  # a wrapper keeps weights, and computes no more
            config["layer"]["config"]["dtype"] = dtype
        else:
            config["dtype"] = dtype
        return type(layer).from_config(config)

    other = keras.models.clone_model(network, clone_function=again)
    other.set_weights(network.get_weights())
    return other


def _ends(network: keras.Model) -> set[str]:
    """The names of the last layer with weights and of all that follow it: they give the logits."""
    names = set()
    for layer in reversed(network.layers):
        names.add(layer.name)
        if layer.weights:
            return names
    return names


def ramped_momentum(most: float, step: tf.Tensor) -> tf.Tensor:
    """Return the momentum of an average that is shorter early on: the least of two numbers.

    Args:
        most: the momentum asked for, in [0, 1).
        step: scalar, steps done.

    Example:
        >>> float(ramped_momentum(0.9, tf.constant(2)))
        0.25
    """
    step = tf.cast(step, tf.float32)
    return tf.minimum(most, (1 + step) / (10 + step))


def update_ema(network: keras.Model, learner: keras.Model, decay: tf.Tensor | None = None) -> None:
    """Move a network's weights towards those of the learner, or all the way.

    Args:
        network: what predicts.
        learner: its twin, which has just learned.
        decay: scalar in [0, 1): weight = decay * weight + (1 - decay) * learner's. Weights that
            are not floats, such as counters, are copied; without it all are.

    Example:
        >>> import kerasgan as kg
        >>> network = kg.models.unet(size=32, filters=2, levels=2)
        >>> update_ema(network, clone_with_precision(network, "float32"), tf.constant(0.9))
    """
    for mine, learned in zip(network.weights, learner.weights):
        if decay is not None and tf.as_dtype(mine.dtype).is_floating:
            mine.assign_sub((1 - decay) * (mine - learned))
        else:
            mine.assign(learned)

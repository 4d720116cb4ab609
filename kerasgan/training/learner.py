"""The copy of a network that takes the gradients, where another predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.stack import layers_of

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras' dtype policies, by the format that convolutions compute in."""


def clone_with_precision(network: keras.Model, precision: str) -> keras.Model:
    """Build a network once more, with the same weights and names, in another of `PRECISIONS`.

    Weights stay float32, and so do the last layer with weights and those behind it: logits.
    """
    policy = PRECISIONS[precision]
    precise = _layers_from_last_weights(network) if policy != "float32" else set()

    def clone(layer):
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=clone)
        config = layer.get_config()
        dtype = "float32" if layer.name in precise else policy
        if isinstance(config.get("layer"), dict):  # a wrapper keeps weights, and computes no more
            config["layer"]["config"]["dtype"] = dtype
        else:
            config["dtype"] = dtype
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(network, clone_function=clone)
    except Exception as error:  # whatever a layer of others raises; its first line names it
        if policy == "float32":
            raise
        raise KerasganError(
            f"Argument 'precision' must be 'float32' for '{network.name}', which cannot be built "
            f"in {precision!r}: {str(error).splitlines()[0]}"
        ) from error
    follow_frozen_layers(network, copy)
    copy.set_weights(network.get_weights())
    return copy


def follow_frozen_layers(network: keras.Model, copy: keras.Model) -> dict[str, bool]:
    """Freeze in a copy of a network what is frozen in the network, which may be the copy itself.

    Returns whether each layer learns, by its name and those of what it is in.
    """
    if copy is not network:
        copy.trainable = network.trainable
    learns = {}
    for name, layer, other, above in _layer_pairs(network, copy, network.trainable):
        if other is not layer:
            other.trainable = layer.trainable
        learns[name] = bool(above and layer.trainable)
    return learns


def copy_frozen_weights(network: keras.Model, copy: keras.Model) -> None:
    """Give the frozen layers of a copy the weights that they have in the network."""
    for _, layer, other, above in _layer_pairs(network, copy, network.trainable):
        if not (above and layer.trainable):
            other.set_weights(layer.get_weights())


def frozen_wrapped_weights(network: keras.Model) -> list:
    """Return the weights of frozen wrappers: spectral normalisation moves them even so."""
    wrappers = [x for x in layers_of(network) if isinstance(x, keras.layers.Wrapper)]
    frozen = [x for x in wrappers if not (x.trainable and x.layer.trainable)]
    return [weight for layer in frozen for weight in layer.weights]


def batch_statistics(network: keras.Model) -> list:
    """Return the moving means and variances of all batch normalisation."""
    layers = [x for x in layers_of(network) if isinstance(x, keras.layers.BatchNormalization)]
    return [each for layer in layers for each in (layer.moving_mean, layer.moving_variance)]


def snapshot(weights: Iterable) -> list[tuple]:
    """Return weights and the values that they have now."""
    return [(weight, tf.identity(weight)) for weight in weights]


def restore(values: list[tuple]) -> None:
    """Give weights the values of a `snapshot`."""
    for weight, value in values:
        weight.assign(value)


def _layer_pairs(network, copy, learns, inside="") -> Iterator[tuple]:
    """Yield layers at any depth, outer ones first: name, layer, copy, whether all around learns."""
    for layer, other in zip(network.layers, copy.layers):
        name = f"'{layer.name}'{inside}"
        yield name, layer, other, learns
        below = learns and layer.trainable
        if isinstance(layer, keras.Model):
            yield from _layer_pairs(layer, other, below, f" in {name}")
        else:
            for part, its_copy in zip(layers_of(layer), layers_of(other)):
                yield f"'{part.name}' in {name}", part, its_copy, below


def _layers_from_last_weights(network: keras.Model) -> set[str]:
    """Name the layers that keep float32: by layers, not operations, since policies are theirs."""
    names = set()
    for layer in reversed(network.layers):
        names.add(layer.name)
        if layer.weights:
            return names
    return names


def ramped_momentum(most: float, step: tf.Tensor) -> tf.Tensor:
    """Return the momentum of a moving average that is shorter in the first steps."""
    step = tf.cast(step, tf.float32)
    return tf.minimum(most, (1 + step) / (10 + step))


def update_ema(
    network: keras.Model, trained: keras.Model, momentum: tf.Tensor | None = None
) -> None:
    """Set weight = momentum * weight + (1 - momentum) * that of the trained network.

    Weights that are not floats, such as counters, are copied; without a momentum all are.
    """
    for average, weight in zip(network.weights, trained.weights):
        weight = tf.cast(weight, average.dtype)  # a layer may have a precision of its own
        if momentum is not None and tf.as_dtype(average.dtype).is_floating:
            average.assign_sub(tf.cast(1 - momentum, average.dtype) * (average - weight))
        else:
            average.assign(weight)

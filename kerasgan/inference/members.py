"""The networks behind a prediction, and how each of them gives log-odds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasgan.data.resize import check_size
from kerasgan.errors import KerasganError
from kerasgan.models import final_activation, generator_of

__all__ = ["Member", "input_size", "members_of", "to_probabilities"]

SMALLEST = 2.0**-24


class Member(NamedTuple):
    """One network of an ensemble.

    Attributes:
        network: The `keras.Model` from image to mask.
        activation: What its output is read as: "tanh", "sigmoid", "softmax" or "linear".
        before: A function from a batch to what goes into that activation.
        exclusive: Whether its channels share a probability of 1 (softmax), or each has its own.
    """

    network: keras.Model
    activation: str
    before: Callable[[Any], tf.Tensor]
    exclusive: bool

    @property
    def log_odds(self) -> float:
        """What `before` gives must be multiplied by to be log-odds: a tanh is a sigmoid of 2x."""
        return 2.0 if self.activation == "tanh" else 1.0

    def logits(self, batch: Any) -> np.ndarray:
        """Run the network on a batch.

        Args:
            batch: Float (batch, height, width, channels), what the network takes.

        Returns:
            float32 (batch, height, width, classes): logarithms of the odds, or of the probabilities
            up to a number for each pixel where channels exclude each other.

        Raises:
            KerasganError: If the network cannot take such a batch.
        """
        try:
            output = self.before(batch)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise KerasganError(
                f"Network '{self.network.name}' cannot take a batch of shape "
                f"{tuple(batch.shape)}; is 'size' a multiple of what it halves to? It says: "
                f"{str(error).splitlines()[0]}"
            ) from error
        return np.asarray(output, np.float32) * np.float32(self.log_odds)


def members_of(model: Any) -> tuple[Member, ...]:
    """Find the networks of a model, or of an ensemble of models.

    Args:
        model: A functional `keras.Model` from image to mask, an object with one as `.generator`, or
            a list or tuple of these, of the same input and the same classes.

    Returns:
        The members, one for each model.

    Raises:
        KerasganError: If a model cannot be used, or the members do not fit together.

    Example:
        >>> import kerasgan as kg
        >>> folds = [kg.models.unet(size=32, filters=2, levels=2) for _ in range(3)]
        >>> [member.activation for member in members_of(folds)]
        ['sigmoid', 'sigmoid', 'sigmoid']
    """
    models = model if isinstance(model, (list, tuple)) else [model]
    if not models:
        raise KerasganError(
            "Argument 'model' must hold at least one model. Received: an empty list"
        )
    members = []
    for each in models:
        network = generator_of(each)
        activation = final_activation(network)
        shapes = [tuple(tensor.shape) for tensor in (*network.inputs, *network.outputs)]
        if len(network.inputs) != 1 or any(len(shape) != 4 for shape in shapes):
            raise KerasganError(
                "Argument 'model' must map one image (batch, height, width, channels) to one mask "
                f"of that rank. Received: '{network.name}' with inputs and outputs of shape "
                f"{shapes}"
            )
        exclusive = shapes[-1][-1] > 1 and activation in ("softmax", "linear")
        members.append(Member(network, activation, _before_activation(network), exclusive))
    kinds = [(m.network.input_shape[1:], m.network.output_shape[-1], m.exclusive) for m in members]
    for member, kind in zip(members, kinds):
        if kind != kinds[0]:
            raise KerasganError(
                "Argument 'model' must hold models of the same input and the same classes. "
                f"Received: '{members[0].network.name}' and '{member.network.name}', with (input, "
                f"classes, whether these exclude each other) {kinds[0]} and {kind}"
            )
    return tuple(members)


def input_size(member: Member, size: Any) -> tuple[int, int]:
    """Say at which (height, width) a network runs, `size` being what the user asked for."""
    own, name = member.network.input_shape[1:3], member.network.name
    if size is None:
        if None in own:
            raise KerasganError(
                f"Argument 'size' must be given, since '{name}' takes images of any size: "
                "the size that it was trained at"
            )
        return tuple(own)
    size = check_size(size)
    if any(mine not in (None, given) for mine, given in zip(own, size)):
        raise KerasganError(
            f"Argument 'size' must be what '{name}' takes, {tuple(own)}. Received: {size}"
        )
    return size


def to_probabilities(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """Turn the logits of members into probabilities.

    Args:
        logits: Float (..., classes), as `Member.logits` gives them.
        exclusive: As of `Member`.

    Returns:
        float32 (..., classes) in [0, 1].

    Example:
        >>> to_probabilities(np.zeros((1, 2), np.float32), exclusive=True)
        array([[0.5, 0.5]], dtype=float32)
    """
    return (tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)).numpy()


def _before_activation(network: keras.Model) -> Callable[[Any], tf.Tensor]:
    """A function from a batch to what goes into the network's last activation.

    What comes out of it would not do: in float32 a sigmoid is 1 from a logit of 17 on.
    """
    history = network.outputs[0]._keras_history
    layer, node = history.layer, history.layer._inbound_nodes[history.node_index]
    before = keras.Model(network.inputs, node.keras_inputs[0])
    if isinstance(layer, keras.Model):
        inner = _before_activation(layer)
        return lambda batch: inner(before(batch, training=False))
    activation = getattr(layer, "activation", keras.activations.linear)
    if isinstance(layer, keras.layers.Activation) and activation is keras.activations.linear:
        return _before_activation(before)
    if isinstance(layer, (keras.layers.Activation, keras.layers.Softmax)):
        return lambda batch: before(batch, training=False)
    name = activation.__name__
    if name == "linear":
        return lambda batch: network(batch, training=False)
    if "activation" not in layer.get_config():
        return lambda batch: _inverted(network(batch, training=False), name)
    bare = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    bare.build(node.keras_inputs[0].shape)
    bare.set_weights(layer.get_weights())
    return lambda batch: bare(before(batch, training=False))


def _inverted(output: tf.Tensor, activation: str) -> tf.Tensor:
    """Logits from a layer that keeps its activation to itself, as far as float32 tells them."""
    if activation == "tanh":
        return tf.atanh(tf.clip_by_value(output, -1 + SMALLEST, 1 - SMALLEST))
    output = tf.clip_by_value(output, SMALLEST, 1 - SMALLEST)
    return tf.math.log(output) - (0 if activation == "softmax" else tf.math.log1p(-output))

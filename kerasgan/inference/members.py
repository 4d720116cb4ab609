"""The networks behind a prediction, and how each of them gives log-odds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.functional import (
    as_functional,
    check_one_input,
    generator_of,
    is_functional,
)
from kerasgan.models.outputs import read_output, with_logits
from kerasgan.validation import check_size


class Member(NamedTuple):
    """One network of an ensemble.

    Attributes:
        network: The `keras.Model` from image to mask.
        activation: What its output is read as: "tanh", "sigmoid", "softmax" or "linear".
        run: A function from a batch to the network's output and its log-odds, float32; these are
            logarithms of probabilities up to a number for each pixel where channels are exclusive.
        exclusive: Whether its channels share a probability of 1 (softmax), or each has its own.
        labels: Whether its channels are labels that may overlap.
    """

    network: keras.Model
    activation: str
    run: Callable[[Any], tuple[tf.Tensor, tf.Tensor]]
    exclusive: bool
    labels: bool

    @property
    def log_odds(self) -> float:
        """What goes into the activation times this is log-odds: a tanh is a sigmoid of 2x."""
        return 2.0 if self.activation == "tanh" else 1.0

    def logits(self, batch: Any) -> np.ndarray:
        """Run the network on a batch."""
        taken = tf.as_dtype(self.network.inputs[0].dtype)
        if taken.is_integer:
            batch = np.rint(batch).astype(taken.as_numpy_dtype)
        try:
            _, logits = self.run(batch)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise KerasganError(
                f"Network '{self.network.name}' cannot take a batch of shape "
                f"{tuple(batch.shape)}; is 'size' a multiple of what it halves to? It says: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        logits = np.asarray(logits)
        if not all(map(_is_scaled, batch.shape[1:3], logits.shape[1:3])):
            raise _cut_off(self.network.name, batch.shape[1:3], logits.shape[1:3])
        return logits


def _is_scaled(image: int, mask: int) -> bool:
    """Whether a side of a mask shows all of the image's: it is a multiple, or a rounded part."""
    parts = {image // mask, -(-image // mask)} - {0}
    return mask % image == 0 or any(mask in (image // n, -(-image // n)) for n in parts)


def _cut_off(name: str, image: tuple[int, int], mask: tuple[int, int]) -> KerasganError:
    less = [a - b for a, b in zip(image, mask)]
    advice = ""
    if min(less) > 0:
        pads = tuple((n // 2, n - n // 2) for n in less)
        advice = (
            ". If as much was cut off at each border, put it back: keras.Model(model.inputs[0], "
            f"keras.layers.ZeroPadding2D({pads})(model.outputs[0]))"
        )
    return KerasganError(
        f"Network '{name}' gives masks of {mask[0]} x {mask[1]} pixels for images of {image[0]} x "
        f"{image[1]}, as convolutions with padding='valid' do: which part of the image they show "
        f"is not known{advice}"
    )


def with_input_shape(model: Any, images: Any, size: Any = None) -> Any:
    """Give subclassed networks, which have no shape of their own, that of the images."""
    if isinstance(model, (list, tuple)):
        return [with_input_shape(each, images, size) for each in model]
    network = getattr(model, "generator", model)
    if not isinstance(network, keras.Model) or is_functional(network):
        return model
    channels = getattr(images, "channels", 3)
    if isinstance(images, (list, tuple)) or hasattr(images, "shape"):
        first = np.asarray(next(iter(images))) if len(images) else np.zeros(3)
        channels = first.shape[-1] if first.ndim else None
    return as_functional(network, None if size is None else check_size("size", size), channels)


def members_of(model: Any) -> tuple[Member, ...]:
    """Find the networks of a model, or of an ensemble of models."""
    models = model if isinstance(model, (list, tuple)) else [model]
    if not models:
        raise KerasganError(
            "Argument 'model' must hold at least one model. Received: an empty list"
        )
    members = []
    for each in models:
        network = generator_of(each)
        check_one_input(network)
        shapes = [tuple(tensor.shape) for tensor in (*network.inputs, *network.outputs)]
        if len(network.outputs) == 1 and any(len(shape) != 4 for shape in shapes):
            raise KerasganError(
                "Argument 'model' must map one image (batch, height, width, channels) to one mask "
                f"of that rank. Received: '{network.name}' with inputs and outputs of shape "
                f"{shapes}{_advice_to_reshape(*shapes)}"
            )
        reading, run = read_output(network), with_logits(network)
        member = Member(network, reading.activation, run, reading.exclusive, reading.labels)
        members.append(member)
    ends = [(m.network.inputs[0].shape, m.network.outputs[0].shape) for m in members]
    kinds = [(tuple(x[1:]), y[-1], *m[3:]) for (x, y), m in zip(ends, members)]
    for member, kind in zip(members, kinds):
        if kind != kinds[0]:
            raise KerasganError(
                "Argument 'model' must hold models of the same input and the same classes. "
                f"Received: '{members[0].network.name}' and '{member.network.name}', with (input, "
                f"classes, whether these exclude each other, whether they are labels that may "
                f"overlap) {kinds[0]} and {kind}"
            )
    return tuple(members)


def _advice_to_reshape(image: tuple, mask: tuple) -> str:
    """Return how an output whose pixels lie in a row, or without channels, becomes a mask."""
    rows, columns = image[1:3] if len(image) == 4 else (None, None)
    if not rows or not columns:
        return ""
    channels = {(rows, columns): 1, (rows * columns,): 1}.get(mask[1:])
    if len(mask) == 3 and mask[1] == rows * columns:
        channels = mask[2]
    if channels is None:
        return ""
    shape = (rows, columns, channels)
    return (
        f". If these are the mask's pixels, row by row: keras.Model(model.inputs, "
        f"keras.layers.Reshape({shape})(model.outputs[0]))"
    )


def have_same_weights(a: keras.Model, b: keras.Model) -> bool:
    """Say whether two networks are one, or one under two names."""
    if a is b:
        return True
    first, second = a.get_weights(), b.get_weights()
    return len(first) == len(second) > 0 and all(map(np.array_equal, first, second))


def input_size(network: keras.Model, size: Any) -> tuple[int, int]:
    """Say at which (height, width) a network runs, `size` being what the user asked for."""
    network_size, name = tuple(network.inputs[0].shape[1:3]), network.name
    if size is None:
        if None in network_size:
            raise KerasganError(
                f"Argument 'size' must be given, since '{name}' takes images of any size: "
                "the size that it was trained at"
            )
        return network_size
    size = check_size("size", size)
    if any(mine not in (None, given) for mine, given in zip(network_size, size)):
        raise KerasganError(
            f"Argument 'size' must be what '{name}' takes, {network_size}. Received: {size}"
        )
    return size


def to_probabilities(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """Turn the logits of members into probabilities."""
    return (tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)).numpy()

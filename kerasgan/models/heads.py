"""How the output of a segmentation network is read: as probabilities, as a drawing."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError

__all__ = ["final_activation", "generator_of", "to_drawing", "to_probability"]

ACTIVATIONS = ("tanh", "sigmoid", "softmax", "linear")


def generator_of(model) -> keras.Model:
    """Return the network that maps an image to a mask.

    Args:
        model: a `keras.Model` from image to mask, or an object with a `generator` attribute, such
            as `SegmentationGAN`.

    Returns:
        The `keras.Model` itself, or the generator inside.

    Raises:
        KerasganError: if it is neither.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> kg.models.generator_of(gan) is gan.generator
        True
    """
    network = getattr(model, "generator", model)
    if not isinstance(network, keras.Model):
        raise KerasganError(
            "Argument 'model' must be a keras.Model from image to mask, or hold one as "
            f"'.generator'. Received: {type(model).__name__}"
        )
    return network


def final_activation(model: keras.Model) -> str:
    """Name the activation behind a network's output.

    Args:
        model: a functional `keras.Model` with one output.

    Returns:
        `"tanh"`, `"sigmoid"`, `"softmax"` or `"linear"` (the output is a logit).

    Raises:
        KerasganError: if the model is not functional, has several outputs, or ends in another
            activation.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.final_activation(kg.models.unet(size=32, filters=2, levels=2))
        'sigmoid'
    """
    outputs = getattr(model, "outputs", None)
    if not outputs or not hasattr(outputs[0], "_keras_history"):
        raise KerasganError(
            "Argument 'model' must be a functional keras.Model. Received: "
            f"{type(model).__name__} '{model.name}'"
        )
    if len(outputs) != 1:
        raise KerasganError(
            f"Argument 'model' must have one output, the mask. Received: '{model.name}' with "
            f"{len(outputs)} outputs; build keras.Model(model.input, the mask's output)"
        )
    history = outputs[0]._keras_history
    layer, node = history.layer, history.layer._inbound_nodes[history.node_index]
    if isinstance(layer, keras.Model):
        return final_activation(layer)
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear:
        parent = node.keras_inputs[0]
        return final_activation(keras.Model(model.inputs, parent))
    name = getattr(getattr(layer, "activation", keras.activations.linear), "__name__", "unknown")
    if name not in ACTIVATIONS:
        raise KerasganError(
            f"The last activation of '{model.name}' (layer '{layer.name}') must be one of "
            f"{', '.join(ACTIVATIONS)}. Received: {name}"
        )
    return name


def to_probability(output, activation: str):
    """Turn a network's output into probabilities.

    Args:
        output: float array or tensor (..., channels), as the network gives it.
        activation: what `final_activation` says of the network.

    Returns:
        Probabilities in [0, 1], of the same shape: of the foreground for one channel, of each class
        for several.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.to_probability(0.5, "tanh")
        0.75
    """
    if activation == "tanh":
        return (output + 1) / 2
    if activation == "linear":
        return tf.sigmoid(output) if output.shape[-1] == 1 else tf.nn.softmax(output)
    return output


def to_drawing(mask):
    """Turn a mask or its probabilities in [0, 1] into what a discriminator sees, in [-1, 1].

    Args:
        mask: float array or tensor in [0, 1], any shape.

    Returns:
        The same in [-1, 1], the range of the images beside it.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.to_drawing(1.0)
        1.0
    """
    return mask * 2 - 1

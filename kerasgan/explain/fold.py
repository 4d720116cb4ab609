"""Folds batch norm into the convolution before or after it, and takes off the last activation."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.network import SQUASHING, Network, Op, once
from kerasgan.models.outputs import Reading

__all__ = ["fold_batch_norms", "strip_last_activation"]

WEIGHTED = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense")
MOVES = ("Cropping2D", "Flatten", "Permute", "Reshape", "Slice")
UNKNOWN = ("Activation", "Opaque")


def fold_batch_norms(net: Network, output: Op) -> Op:
    """Folds every batch norm that can be, first backwards, then forwards.

    Backwards, into a convolution or dense layer that feeds nothing else. Forwards, into one without
    padding that is fed by nothing else and is all that the batch norm feeds: with padding the
    border would be wrong. What cannot be folded stays, as a lone affine layer.

    Args:
        net: The network, changed in place.
        output: Its output.

    Returns:
        The output, which is another operation if the output was folded.
    """
    for op in [op for op in net.ops if op.foldable]:
        before = op.inputs[0]
        if before.kind in WEIGHTED and net.consumers(before) == [op]:
            fold_back(before, *op.sources)
            output = before if op is output else output
            net.remove(op)
    for op in [op for op in net.ops if op.foldable]:
        after = net.consumers(op)
        if len(after) == 1 and op is not output and is_unpadded(after[0]):
            fold_ahead(after[0], *op.sources)
            net.remove(op)
    return output


def is_unpadded(op: Op) -> bool:
    if op.kind == "Dense":
        return True
    if op.kind not in ("Conv2D", "DepthwiseConv2D"):
        return False
    kernel_size = op.config["kernel_size"]
    sizes = [kernel_size] if isinstance(kernel_size, int) else kernel_size
    return op.config["padding"] == "valid" or all(size == 1 for size in sizes)


def set_weights(op: Op, kernel: Callable, bias: Callable) -> None:
    op.sources = [kernel, once(bias)]
    op.config["use_bias"] = True


def fold_back(op: Op, scale: Callable, shift: Callable) -> None:
    """Makes the operation compute `scale * op(x) + shift`."""
    kernel, *bias = op.sources

    def scaled_kernel():
        value, factor = kernel(), scale()
        if op.kind == "Conv2DTranspose":
            factor = factor[:, None]
        elif op.kind == "DepthwiseConv2D":
            factor = tf.reshape(factor, value.shape[-2:])
        return value * factor

    def scaled_bias():
        return bias[0]() * scale() + shift() if bias else shift()

    set_weights(op, scaled_kernel, scaled_bias)


def fold_ahead(op: Op, scale: Callable, shift: Callable) -> None:
    """Makes the operation compute `op(scale * x + shift)`; it must not pad."""
    kernel, *bias = op.sources

    def by_kernel(vector):
        """Spreads one number an input channel over the kernel's axes for inputs and outputs."""
        if op.kind == "DepthwiseConv2D":
            return vector[:, None]
        groups = op.config.get("groups", 1)
        by_group = tf.transpose(tf.reshape(vector, [groups, -1]))
        return tf.repeat(by_group, kernel().shape[-1] // groups, axis=1)

    def scaled_kernel():
        return kernel() * by_kernel(scale())

    def shifted_bias():
        parts = kernel() * by_kernel(shift())
        spatial = list(range(parts.shape.rank - 2))
        if op.kind == "DepthwiseConv2D":
            total = tf.reshape(tf.reduce_sum(parts, spatial), [-1])
        else:
            total = tf.reduce_sum(parts, [*spatial, parts.shape.rank - 2])
        return total + bias[0]() if bias else total

    set_weights(op, scaled_kernel, shifted_bias)


def strip_last_activation(
    net: Network, output: Op, reading: Reading | None = None
) -> tuple[Op, str]:
    """Takes off the tanh, sigmoid or softmax behind the logits.

    Args:
        net: The network, changed in place.
        output: Its output.
        reading: What the output means, by what the model computes. A function or layer of
            someone's own that stands where its activation does is taken for it, in
            `net.guessed`, which is to be tried out.

    Returns:
        The new output, and the activation's name, "linear" if there was none.

    Raises:
        KerasganError: If something other than a rearrangement follows that activation.
    """
    meant = "linear" if reading is None else reading.activation
    last = output
    moved = True
    while len(last.inputs) == 1 and not last.squashes() and last.kind not in UNKNOWN:
        if last.kind in ("Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D"):
            break
        nearest = last.config.get("interpolation") == "nearest"
        moved = moved and (last.kind in MOVES or nearest)
        last = last.inputs[0]
    if last.squashes(SQUASHING):
        name = last.config["activation"]
    elif meant != "linear" and reading.exact and last.kind in UNKNOWN and len(last.inputs) == 1:
        name = meant
        net.guessed = last
    else:
        return output, "linear"
    keeps_channels = "softmax" not in name or last.shape[-1] == output.shape[-1]
    if not moved or not keeps_channels or len(net.consumers(last)) > 1:
        known = [name for name, op in net.origins.items() if op is last and "/" not in name]
        layer = (known or [last.name])[0]
        raise KerasganError(
            f"Explanations are of logits, but the model goes on after '{layer}' ({name}), in "
            f"'{output.name}' ({output.kind}). Build a model that ends with that activation, such "
            f"as keras.Model(model.input, model.get_layer('{layer}').output)"
        )
    new_output = last.inputs[0] if last is output else output
    net.remove(last)
    return new_output, name

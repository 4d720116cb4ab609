"""Carries over the TensorFlow functions that a functional model calls between its layers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerasgan.explain.canonical_layers import Rectifier, Slice
from kerasgan.explain.carry import ADVICE, activate, affine, gate
from kerasgan.explain.network import Network, Op, constant, refusal

__all__ = ["carry_tf"]

ARITHMETIC = {"add": "Add", "subtract": "Subtract", "maximum": "Maximum", "minimum": "Minimum"}
ELEMENTWISE = {
    "elu",
    "exp",
    "log_softmax",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "swish",
    "tanh",
}


def carry_tf(net: Network, node, inputs: list[Op]) -> Op:
    """Adds what equals a TensorFlow function's call in a functional model.

    Args:
        net: Network under construction.
        node: The call.
        inputs: What became of its Keras tensors.

    Raises:
        KerasganError: If nothing equals it.
    """
    label = (node.layer.symbol or "").rsplit(".", 1)[-1]
    by_id = {id(tensor): op for tensor, op in zip(node.keras_inputs, inputs)}

    def arguments(*names, **defaults) -> list:
        args, kwargs = tf.nest.map_structure(
            lambda value: by_id.get(id(value), value), (node.call_args, node.call_kwargs)
        )
        given = {**defaults, **dict(zip([*names, *defaults], args)), **kwargs}
        return [given.get(key) for key in [*names, *defaults]]

    result = convert(net, node, label, inputs, arguments)
    if result is None:
        raise refusal(node.layer, "no rule is known for this TensorFlow call", ADVICE)
    return result


def convert(net: Network, node, label: str, inputs: list[Op], arguments: Callable) -> Op | None:
    name = node.layer.name
    shape = tuple(node.outputs.shape[1:])
    if label in ("add", "subtract", "multiply", "truediv", "divide", "maximum", "minimum"):
        return binary(net, node.layer, label, *arguments("x", "y"), shape)
    if label == "bias_add":
        return binary(net, node.layer, "add", *arguments("value", "bias"), shape)
    if label == "add_n":
        values = arguments("inputs")[0]
        own = all(isinstance(value, Op) for value in values)
        return net.add(keras.layers.Add, values, name=name) if own else None
    if label == "concat":
        values, axis = arguments("values", "axis")
        if not all(isinstance(value, Op) for value in values) or int(axis) % (len(shape) + 1) == 0:
            return None
        return net.add(keras.layers.Concatenate, values, {"axis": int(axis)}, name=name)
    if len(inputs) != 1:
        return None
    (before,) = inputs
    if label in ("identity", "stop_gradient"):
        return before
    if label == "cast":
        return before if tf.as_dtype(arguments("x", "dtype")[1]).is_floating else None
    if label == "negative":
        return affine(net, before, constant(-1.0, net.dtype), constant(0.0, net.dtype), name)
    activated = activation(net, label, before, arguments, name)
    return activated or rearranged(net, label, before, arguments, name, shape)


def binary(net, layer, label, left, right, shape) -> Op | None:
    """Sum, difference, product, quotient or extreme of two tensors, or of one and a constant."""
    name = layer.name
    if isinstance(left, Op) and isinstance(right, Op):
        if len(left.shape) != len(right.shape):
            raise refusal(
                layer,
                f"TensorFlow lines up its inputs, (batch, {', '.join(map(str, left.shape))}) and "
                f"(batch, {', '.join(map(str, right.shape))}), from the right, so that the batch "
                "of one meets another axis of the other",
                "Give both the same number of axes by keras.layers.Reshape, or use a layer such as "
                "keras.layers.Multiply, which does",
            )
        if label == "multiply":
            return gate(net, layer, [left, right], name)
        kind = ARITHMETIC.get(label)
        return net.add(getattr(keras.layers, kind), [left, right], name=name) if kind else None
    before, other = (left, right) if isinstance(left, Op) else (right, left)
    axes = np.shape(other)
    by_image = len(axes) > len(shape) and (len(axes) > len(shape) + 1 or axes[0] != 1)
    if tuple(before.shape) != shape or by_image:
        return None
    value, one, zero = (constant(v, net.dtype) for v in (other, 1.0, 0.0))
    if label == "maximum":
        return activate(net, before, "relu", name) if not np.any(value()) else None
    if label == "add":
        return affine(net, before, one, value, name)
    if label == "multiply":
        return affine(net, before, value, zero, name)
    if label == "subtract":
        if before is left:
            return affine(net, before, one, lambda: -value(), name)
        return affine(net, before, constant(-1.0, net.dtype), value, name)
    if label in ("truediv", "divide") and before is left:
        return affine(net, before, lambda: 1 / value(), zero, name)
    return None


def activation(net, label, before, arguments, name) -> Op | None:
    """Activations called as functions."""
    if label == "leaky_relu":
        slope = float(arguments("features", alpha=0.2)[1])
        return net.add(Rectifier, [before], {"negative_slope": slope}, name=name)
    if label == "gelu":
        if not arguments("features", approximate=False)[1]:
            return activate(net, before, "gelu", name)
        return activate(net, before, functools.partial(tf.nn.gelu, approximate=True), name)
    if label == "softmax":
        axis = arguments("logits", axis=-1)[1]
        fits = axis in (None, -1, len(before.shape))
        return activate(net, before, "softmax", name) if fits else None
    if label in ELEMENTWISE:
        return activate(net, before, {"exp": "exponential"}.get(label, label), name)
    return None


def rearranged(net, label, before, arguments, name, shape) -> Op | None:
    """Calls that move values: resizing, padding, means over the image, reshaping, indexing."""
    layers = keras.layers
    if label == "resize":
        _, size, method, ratio, antialias = arguments(
            "images", "size", method="bilinear", preserve_aspect_ratio=False, antialias=False
        )
        if ratio or antialias or method == "area":
            return None
        config = {"height": int(size[0]), "width": int(size[1]), "interpolation": str(method)}
        return net.add(layers.Resizing, [before], config, name=name)
    if label in ("reduce_mean", "reduce_max"):
        _, axis, keepdims = arguments("input_tensor", axis=None, keepdims=False)
        rank = len(before.shape) + 1
        axes = [] if axis is None else sorted(int(a) % rank for a in np.ravel(axis))
        if rank != 4 or axes != [1, 2]:
            return None
        mean = label == "reduce_mean"
        pool = layers.GlobalAveragePooling2D if mean else layers.GlobalMaxPooling2D
        return net.add(pool, [before], {"keepdims": bool(keepdims)}, name=name)
    if label == "pad":
        _, paddings, mode, value = arguments(
            "tensor", "paddings", mode="CONSTANT", constant_values=0
        )
        paddings = np.asarray(paddings).tolist()
        inside = len(paddings) == 4 and paddings[0] == paddings[3] == [0, 0]
        if not inside or mode.upper() != "CONSTANT" or value:
            return None
        return net.add(layers.ZeroPadding2D, [before], {"padding": paddings[1:3]}, name=name)
    if label in ("reshape", "expand_dims", "squeeze"):
        known = None not in (*shape, *before.shape)
        if not known or np.prod(shape) != np.prod(before.shape):
            return None
        return net.add(layers.Reshape, [before], {"target_shape": shape}, name=name)
    if label == "transpose":
        perm = arguments("a", "perm")[1]
        order = [] if perm is None else [int(axis) for axis in perm]
        if order[:1] != [0]:
            return None
        return net.add(layers.Permute, [before], {"dims": order[1:]}, name=name)
    if label == "getitem":
        return sliced(net, before, arguments("tensor", "slice_spec")[1], name)
    return None


def sliced(net, before, index, name) -> Op | None:
    """Indexing by slices that leaves the batch alone."""
    entries = []
    for entry in index if isinstance(index, (list, tuple)) else [index]:
        if entry is Ellipsis:
            entries.append("...")
        elif isinstance(entry, slice):
            entries.append([entry.start, entry.stop, entry.step])
        elif isinstance(entry, dict):
            entries.append([entry["start"], entry["stop"], entry["step"]])
        else:
            return None
    whole = entries[0] in ("...", [None, None, None])
    return net.add(Slice, [before], {"index": entries}, name=name) if whole else None

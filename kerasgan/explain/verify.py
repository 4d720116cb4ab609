"""Checks that a graph computes what its network does."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain.batch_axis import find_batch_axis
from kerasgan.explain.graph import Graph, Run
from kerasgan.explain.tracing import no_logits
from kerasgan.models.trace import call_network, random_images
from kerasgan.stack import layers_of

SIGMOIDS = ("sigmoid", "hard_sigmoid")


def _rounding(network: keras.Model, images: list[tf.Tensor], output: int) -> float:
    """Returns by how much an output moves with the last digits of the images.

    A network whose values grow from layer to layer can turn rounding into another mask.
    """
    if any(image.dtype.is_integer for image in images):
        return 0.0
    outputs = []
    for seed in range(4):
        noise = [tf.random.stateless_uniform(x.shape, (seed, 0), -1, 1) for x in images]
        moved = [x * (1 + 1e-6 * tf.cast(n, x.dtype)) for x, n in zip(images, noise)]
        output_of = call_network(network, moved)
        outputs.append(np.asarray(tf.cast(tf.nest.flatten(output_of)[output], tf.float64)))
    return float(np.ptp(outputs, axis=0).max())


def compare_with_model(network: keras.Model, graph: Graph, output: int, guessed: bool) -> None:
    """Raises if model and graph differ on random images, or images of a batch on one another."""
    drawn = zip(random_images(network.inputs, 2), network.inputs)
    images = [tf.cast(image, tensor.dtype) for image, tensor in drawn]
    try:
        outputs_of = call_network(network, images)
        expected = tf.cast(tf.nest.flatten(outputs_of)[output], graph.dtype)
    except (ValueError, tf.errors.OpError) as error:
        raise KerasganError(
            f"Argument 'model' must run on images {[tuple(image.shape) for image in images]}. "
            f"Received: '{network.name}', which does not ({str(error).strip().splitlines()[0]}); "
            "give its inputs a fixed size, and repeat for each image what is joined to images"
        ) from error
    inputs = [tf.cast(image, graph.dtype) for image in images]
    alone = [
        image if spec.shape[0] else image[:1] for image, spec in zip(inputs, graph.image_specs)
    ]
    run = graph.run(inputs)
    _check_numbers(run)
    _find_images(graph, run)
    received, first = run.logits, graph.run(alone).logits
    compute = {layer.compute_dtype for layer in layers_of(network)}
    tolerance = 0.1 if compute & {"float16", "bfloat16"} else 1e-3
    scale = float(tf.reduce_max(tf.abs(expected)))
    error = np.inf
    if received.shape == expected.shape:
        names = SIGMOIDS if guessed and graph.activation in SIGMOIDS else [graph.activation]
        outputs = {name: keras.activations.get(name)(received) for name in names}
        errors = {n: float(tf.reduce_max(tf.abs(x - expected))) for n, x in outputs.items()}
        graph.activation = min(errors, key=errors.__getitem__)
        error, received = errors[graph.activation], outputs[graph.activation]
        first = keras.activations.get(graph.activation)(first)
    if not error <= tolerance * scale + 1e-30 and not error <= _rounding(network, images, output):
        if guessed:
            end = graph.trace.output.step
            raise no_logits(
                f"'{end.layer or end.name}', where '{network.name}' ends, is more than a "
                f"{graph.activation} of them"
            )
        raise KerasganError(
            f"What was read of '{network.name}' differs from it by {error:.2g} on outputs up to "
            f"{scale:.2g}. An operation does something else outside training than inside it, the "
            "network is not deterministic, or it was changed since it was first read: build it anew"
        )
    if len(first) == 1 and len(received) == 2:
        error = float(tf.reduce_max(tf.abs(received[:1] - first)))
        if not error <= tolerance * scale + 1e-30:
            raise KerasganError(
                f"'{network.name}' gives an image another mask when it is in a batch with others, "
                "so no image can be explained on its own. Look for operations over the first axis"
            )


def _find_images(graph: Graph, run: Run) -> None:
    """Notes where images are that do not come first; raises if one changes what is another's."""
    count = int(run.batch)
    if count < 2:
        return
    rng = np.random.default_rng(1)
    others = []
    for image in run.images:
        first = image[0].numpy()
        first = first.max() + first.min() - rng.permutation(first.ravel()).reshape(first.shape)
        others.append(tf.concat([tf.constant(first[None], image.dtype), image[1:]], 0))
    changed = graph.run(others)
    sized = all(None not in spec.shape[1:] for spec in graph.image_specs)
    for node in graph.nodes:
        for value in (*node.inputs, node.output):
            shape = graph.shape(value)
            known = [] if shape.rank is None else shape.as_list()
            pair = run.tensor(value).numpy(), changed.tensor(value).numpy()
            try:
                axis = find_batch_axis(*pair, count, known)
            except ValueError:
                raise KerasganError(
                    f"{node.main} cannot be explained: what it computes of an image depends on "
                    "the others of a batch. Look for operations over the axis of the images"
                ) from None
            if axis is not None and axis.before < 0 and axis.after > 1 and not sized:
                raise KerasganError(
                    f"{node.main} cannot be explained: it puts images between other axes, and how "
                    "many places belong to one is open. Give the model's input a fixed size"
                )
            if axis is not None:
                graph.batch_axes[value] = axis
    if graph.output in graph.batch_axes or len(run.logits) != count:
        turned = [node for node in graph.nodes if node.output in graph.batch_axes]
        where = turned[0].main if turned else graph.output.step
        raise KerasganError(
            f"The output of '{graph.name}' does not have an image's mask for each image, in their "
            f"order: {count} images make {len(run.logits)}, from {where} on"
        )


def _check_numbers(run: Run) -> None:
    """Raises if a random image leads to NaN or infinity, and says where first."""
    for value, tensor in run.values.items():
        if tensor.dtype.is_floating and not np.isfinite(tensor).all():
            raise KerasganError(
                f"{value.step} cannot be explained: it makes NaN or infinity of a random image. "
                "Look at its weights and statistics, such as a variance below 0"
            )

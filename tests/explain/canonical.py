"""What the tests of graphs share: small models, random weights, the comparison."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from styles import randomize

from kerasgan.explain.canonize import read_graph
from kerasgan.models.trace import call_network

LINEAR = keras.activations.linear


def images_for(model, batch=2):
    rng = np.random.default_rng(1)
    shapes = [[n or 16 for n in tensor.shape[1:]] for tensor in model.inputs]
    images = [tf.constant(rng.uniform(-1, 1, [batch, *shape])) for shape in shapes]
    return [tf.cast(image, tensor.dtype) for image, tensor in zip(images, model.inputs)]


def logits_of(model, images):
    last = model.get_layer(getattr(model, "output_names", [model.layers[-1].name])[0])
    function = type(last).__name__ in ("Applied", "TFOpLambda")
    if function or isinstance(last, (layers.Activation, layers.Softmax)):
        model = keras.Model(model.input, last.input)
    elif hasattr(last, "activation"):
        kept, last.activation = last.activation, LINEAR
        logits = call_network(model, images)
        last.activation = kept
        return logits
    return call_network(model, images)


def check(model, tolerance=1e-10, seed=0, **options):
    """Asserts that the graph gives the model's logits, and its nodes their values; returns it."""
    randomize(model, seed)
    graph = read_graph(model, **options)
    images = images_for(model)
    expected = logits_of(model, images).numpy()
    run = graph.run([tf.cast(image, graph.dtype) for image in images])
    received = run.logits.numpy()
    assert received.dtype == expected.dtype
    assert np.ptp(expected) > 1e-3
    assert np.abs(received - expected).max() <= tolerance * np.abs(expected).max()
    check_nodes(run, tolerance)
    return graph


def check_nodes(run, tolerance=1e-10):
    """Asserts that each node computes its output of its inputs, by its kernel and its bias."""
    for node in run.nodes:
        output, inputs = run.output(node).numpy(), run.inputs(node)
        found = [run.again(node, inputs)]
        if node.kind == "weighted":
            bias = run.bias(node)
            found.append(run.apply(node, *inputs, run.kernel(node)) + (0 if bias is None else bias))
        for again in found:
            assert np.abs(again - output).max() <= tolerance * np.abs(output).max(), node.name


def kinds(graph):
    return [node.kind for node in graph.nodes]


def types(graph):
    return [node.type for node in graph.nodes]


def small(*body, shape=(16, 16, 4), last=None):
    """A model of some layers and a last convolution."""
    image = x = keras.Input(shape, name="image")
    for layer in body:
        x = layer(x)
    return keras.Model(image, (last or layers.Conv2D(2, 1, name="last"))(x))


def copy(layer, **changes):
    """The same layer, of the precision that holds now."""
    config = {**layer.get_config(), **changes}
    del config["dtype"]
    return type(layer).from_config(config)


def norm(**options):
    return layers.BatchNormalization(name="norm", **options)

"""iNNvestigate: the walk over a network's nodes by its analyzer, and its own rules and presets."""

import importlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from refusals import refused
from toys import IMAGES, small, with_random_weights

import kerasgan as kg
from kerasgan.errors import KerasganWarning
from kerasgan.explain import (
    AlphaBeta,
    Composite,
    Epsilon,
    Explainer,
    Flat,
    Preset,
    WSquare,
    ZPlus,
    anything,
    first,
    methods,
    propagate,
)
from kerasgan.explain.canonize import read_graph
from kerasgan.explain.composites import COMPOSITES
from kerasgan.explain.operations import MIXING

analyzers = pytest.importorskip("innvestigate.analyzer").analyzers
EpsilonRule = importlib.import_module(
    "innvestigate.analyzer.relevance_based.relevance_rule"
).EpsilonRule
innvestigate = importlib.import_module("kerasgan.explain.innvestigate")

# --------------------------------------------------------------------------- both walks


def of_everything():
    """A layer called twice, values and an image with several uses, a gate, pooling."""
    image = keras.Input((6, 6, 3))
    twice = layers.Conv2D(3, 3, padding="same")
    x = layers.Add()([twice(twice(image)), image])
    gate = layers.Dense(3, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Multiply()([x, gate])))
    y = layers.UpSampling2D()(layers.MaxPooling2D()(y))
    y = layers.Concatenate()([y, x, image, x])
    return keras.Model(image, layers.Conv2D(1, 1, activation="tanh")(y))


def of_several_images():
    first, unused, second = (keras.Input((6, 6, n)) for n in (3, 1, 2))
    x = layers.Concatenate()([first, second, first])
    return keras.Model([first, unused, second], layers.Conv2D(2, 3)(x))


def of_attention():
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((16, 4))(layers.Conv2D(4, 1)(image))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(y, y)])
    return keras.Model(image, layers.Conv2D(1, 1)(layers.Reshape((4, 4, 4))(x)))


def found_by(walk, graph, composites, images):
    """What a walk finds by several composites: arrays, and what belongs to them."""
    said = []

    def explain(*images):
        run = graph.run(images)
        arrays = []
        for composite in composites:
            found = walk(run, run.logits, composite)
            said.append((list(found.layers), found.conservation.rows, found.conservation.branches))
            arrays.append(
                (found.relevance, found.layers, found.conservation.ledger, found.conservation.parts)
            )
        return arrays

    function = tf.function(explain, autograph=False).get_concrete_function(*graph.image_specs)
    return tf.nest.flatten(function(*images)), said


FEW = ["alpha2beta1", "epsilon-gamma-box", "paper-as-published", "attnlrp"]


WALKS = [
    (of_everything, FEW),
    (of_several_images, FEW),
    (of_attention, ["epsilon-gamma-box", "cp-lrp"]),
    pytest.param(of_everything, list(COMPOSITES), marks=pytest.mark.slow),
    pytest.param(of_attention, list(COMPOSITES), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("make", "names"), WALKS)
def test_both_walks_give_the_same_numbers(make, names):
    graph = read_graph(with_random_weights(make()))
    rng = np.random.default_rng(2)
    images = [rng.uniform(-1, 1, (2, *spec.shape[1:])) for spec in graph.image_specs]
    images = [tf.constant(image, "float32") for image in images]
    composites = [COMPOSITES[name]() for name in names]
    own, said = found_by(propagate.propagate, graph, composites, images)
    theirs, said_too = found_by(innvestigate.propagate, graph, composites, images)
    assert said == said_too
    assert len(own) == len(names) * (len(graph.nodes) + len(images) + 2)
    for a, b in zip(own, theirs):
        np.testing.assert_array_equal(a, b)


def test_innvestigate_walks_where_it_is_installed(monkeypatch):
    model = small()
    walked = []

    def noted(*args):
        walked.append(args)
        return propagate.propagate(*args)

    monkeypatch.setattr(innvestigate, "propagate", noted)
    expected = Explainer(model).explain(IMAGES)
    assert len(walked) == 1
    monkeypatch.setitem(sys.modules, "innvestigate", None)
    found = Explainer(model).explain(IMAGES)
    assert len(walked) == 1
    np.testing.assert_array_equal(found.relevance, expected.relevance)


def test_what_is_missing_without_it(monkeypatch):
    assert "lrp.epsilon" in kg.explain.rule_names()
    monkeypatch.setitem(sys.modules, "innvestigate", None)
    assert not [name for name in kg.explain.rule_names() if name.startswith("lrp.")]
    for make in (methods.get, Preset):
        refused(r"pip install innvestigate.*Python 3\.11", make, "lrp.epsilon")


# --------------------------------------------------------------------------- rules of its own


def of_matrices(node):
    """What is shown to iNNvestigate as a dense layer."""
    return node.main.kind in MIXING


SAME = {
    "lrp.z": Epsilon(0),
    "lrp.epsilon": Epsilon(1e-7),
    "lrp.z_plus": ZPlus(bias=False),
    "lrp.alpha_2_beta_1_IB": AlphaBeta(2, 1, bias=False),
    "lrp.flat": Flat(),
    "lrp.w_square": WSquare(),
    "lrp.sequential_preset_a_flat": Composite(
        (first, Flat()), (of_matrices, Epsilon(0.1)), (anything, ZPlus())
    ),
}


def of_many_layers(bias):
    """Layers with weights of every form, in a row."""
    image = keras.Input((8, 8, 3))
    options = {"use_bias": bias}
    x = layers.Conv2D(4, 3, strides=2, padding="same", **options)(image)
    x = layers.Conv2D(4, 3, groups=2, padding="same", **options)(x)
    x = layers.ReLU()(layers.BatchNormalization(center=bias)(x))
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, **options)(x)
    x = layers.SeparableConv2D(4, 2, activation="relu", **options)(x)
    x = layers.Dense(6, "relu", **options)(layers.Flatten()(x))
    x = layers.EinsumDense("ab,bcd->acd", (16, 4), bias_axes="d" if bias else None)(x)
    x = layers.Conv3DTranspose(3, 1, **options)(layers.Reshape((4, 4, 1, 4))(x))
    x = layers.Conv2DTranspose(1, 2, 2, name="head", **options)(layers.Reshape((4, 4, 3))(x))
    model = with_random_weights(keras.Model(image, layers.Activation("sigmoid")(x)))
    if not bias:
        (norm,) = (layer for layer in model.layers if hasattr(layer, "moving_mean"))
        norm.moving_mean.assign(tf.zeros_like(norm.moving_mean))
    return model


@pytest.mark.parametrize("bias", [True, False])
def test_presets_are_the_same_as_rules(bias, float64):
    # iNNvestigate's alpha-beta counts positive and negative biases together
    same = [(n, rule) for n, rule in SAME.items() if bias != ("preset" in n)]
    graph = read_graph(of_many_layers(bias))

    @tf.function(autograph=False)
    def explain(images):
        def found(rule):
            method = methods.get(rule)
            return method.analyse(graph, images, tf.ones_like, tf.multiply).relevance

        return [(found(name), found(rule)) for name, rule in same]

    for (name, _), (theirs, ours) in zip(same, explain(tf.constant(IMAGES, "float64"))):
        scale = np.abs(ours).max()
        np.testing.assert_allclose(theirs, ours, atol=1e-9 * scale, err_msg=name)


def test_presets_are_all_that_need_no_arguments():
    made = [name for name in analyzers if name.startswith("lrp.")]
    assert set(innvestigate.PRESETS) < set(made)
    assert len(made) - len(innvestigate.PRESETS) == 2
    refused(r"one of lrp\.z.*'lrp.alpha_beta'", Preset, "lrp.alpha_beta")


def test_rule_class_in_a_composite():
    model = small()
    composite = Composite(("up_*", EpsilonRule), (anything, Epsilon(1e-7)))
    mixed = Explainer(model, composite)
    plain = Explainer(model, Epsilon(1e-7)).explain(IMAGES).relevance
    np.testing.assert_allclose(mixed.explain(IMAGES).relevance, plain, atol=1e-4 * plain.max())
    assert repr(composite).startswith("Composite(('up_*', EpsilonRule), ")
    assert repr(methods.get(EpsilonRule)) == "Composite((anything, EpsilonRule))"


@pytest.mark.parametrize("given", [Epsilon, dict])
def test_other_classes_are_no_rules(given):
    refused("must be pairs", Composite, (anything, given))


def test_what_rules_send_to_biases_is_not_known_and_they_follow_training():
    model = small(batch_norm=True)
    explainer = Explainer(model, "lrp.epsilon")
    e = explainer.explain(IMAGES)
    before, ledger = e.relevance, e.ledger.set_index("layer")
    assert ledger["relevance_in"].notna().all()
    assert ledger.loc["head", "bias"].isna().all()
    assert (ledger.loc["up_1_skip", "bias"] == 0).all()
    with_random_weights(model, seed=3)
    found = explainer.explain(IMAGES).relevance
    expected = Explainer(model, Epsilon(1e-7)).explain(IMAGES).relevance
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(before - found).max() > 0.1 * np.abs(found).max()


def test_presets_warn_where_they_are_not_advised():
    image = keras.Input((8, 8, 3))
    x = layers.Activation("tanh", name="squashed")(layers.Conv2D(2, 3)(image))
    explainer = Explainer(keras.Model(image, layers.Conv2D(1, 1)(x)), "lrp.sequential_preset_a")
    with pytest.warns(KerasganWarning, match=r"not advised for networks with non-ReLU.*squashed"):
        explainer.explain(IMAGES)


def test_rules_do_not_compute_in_another_precision():
    explainer = Explainer(small(), "lrp.epsilon")
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        refused("compute in the global policy, bfloat16", explainer.explain, IMAGES)
    finally:
        keras.mixed_precision.set_global_policy("float32")


# --------------------------------------------------------------------------- what it leaves behind


def test_nothing_is_switched():
    eager, name = tf.executing_eagerly(), layers.Dense(1).name
    model, bases = small(batch_norm=True), layers.Conv2D.__mro__
    count = len(model.variables)
    model.compile("sgd", "mse")
    Explainer(model, "lrp.alpha_2_beta_1").explain(IMAGES)
    assert tf.executing_eagerly() == eager
    assert layers.Conv2D.__mro__ == bases
    assert len(model.get_weights()) == count
    assert int(layers.Dense(1).name.split("_")[-1]) == int((name + "_0").split("_")[1]) + 1
    model.fit(IMAGES, np.ones((3, 8, 8, 1)), verbose=0)
    assert model.predict(IMAGES, verbose=0).shape == (3, 8, 8, 1)


def test_the_global_policy_does_not_matter():
    model = small()
    expected = Explainer(model, "epsilon").explain(IMAGES)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        found = Explainer(model, "epsilon").explain(IMAGES)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_array_equal(found.relevance, expected.relevance)

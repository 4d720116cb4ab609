"""The rules and the explainer against an independent float64 implementation of the formulas.

First each rule on single layers, then whole networks, whose biases and batch-norm statistics are
random, walked by the oracle as they were before canonization.
"""

import itertools
import re

import keras
import numpy as np
import oracle
import oracle_network
import pytest
import styles
import tensorflow as tf
from test_encoders import encoder_unet
from toys import linear_of

import kerasgan.models
from kerasgan.explain import composites
from kerasgan.explain.composites import Composite
from kerasgan.explain.explainer import Explainer
from kerasgan.explain.linear import STABILISER, TINY
from kerasgan.explain.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from kerasgan.stack import layers_of

L = keras.layers

RULES = {
    "epsilon": (Epsilon(), oracle.epsilon(1e-6)),
    "epsilon, large": (Epsilon(0.5), oracle.epsilon(0.5)),
    "epsilon, no bias": (Epsilon(0.1, bias=False), oracle.epsilon(0.1, bias=False)),
    "epsilon, relative": (Epsilon(0.1, relative=True), oracle.epsilon(0.1, relative=True)),
    "epsilon, relative, no bias": (
        Epsilon(0.1, relative=True, bias=False),
        oracle.epsilon(0.1, relative=True, bias=False),
    ),
    "lrp-0": (Epsilon(0), oracle.epsilon(0.0)),
    "z-plus": (ZPlus(), oracle.z_plus(tiny=TINY)),
    "z-plus, no bias": (ZPlus(bias=False), oracle.z_plus(bias=False, tiny=TINY)),
    "alpha 2, beta 1": (AlphaBeta(2, 1), oracle.alpha_beta(2, 1, tiny=TINY)),
    "alpha 2, beta 1, no bias": (
        AlphaBeta(2, 1, bias=False),
        oracle.alpha_beta(2, 1, bias=False, tiny=TINY),
    ),
    "alpha 1.5, beta 0.5": (AlphaBeta(1.5, 0.5), oracle.alpha_beta(1.5, 0.5, tiny=TINY)),
    "gamma": (Gamma(), oracle.gamma(0.25, stabiliser=STABILISER)),
    "gamma, no bias": (
        Gamma(1.0, bias=False),
        oracle.gamma(1.0, bias=False, stabiliser=STABILISER),
    ),
    "gamma as published": (
        Gamma(0.5, generalized=False),
        oracle.classic_gamma(0.5, stabiliser=STABILISER),
    ),
    "gamma as published, no bias": (
        Gamma(0.5, bias=False, generalized=False),
        oracle.classic_gamma(0.5, bias=False, stabiliser=STABILISER),
    ),
    "flat": (Flat(), oracle.flat),
    "w-square": (WSquare(), oracle.w_square),
    "z-box": (ZBox(-1, 2), oracle.z_box(-1, 2)),
}


# --------------------------------------------------------------------------- single layers


def shares(layer, inputs, relevance, known_nonnegative):
    """What every rule makes of a layer's relevance, computed in one traced function."""

    seen = linear_of(layer, inputs.shape[1:], nonnegative=known_nonnegative)

    @tf.function(autograph=False)
    def run(a, r):
        linear = seen(a)
        return {name: tuple(rule.redistribute(linear, r)) for name, (rule, _) in RULES.items()}

    return tf.nest.map_structure(np.asarray, run(inputs, relevance))


def check_layer(layer, shape, positive, seed=0):
    """Compares every rule on one layer with the formulas, two images at a time."""
    rng = np.random.default_rng(seed)
    layer = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    layer.build((None, *shape))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    a = rng.uniform(-1, 1, (2, *shape))
    a = np.maximum(a, 0) if positive else a
    relevance = rng.normal(size=layer(a).shape)
    relevance[:, :1] = 0  # as outside a mask
    linear = oracle.jacobian_map(layer, shape)
    for name, (inputs, *gone) in shares(layer, a, relevance, positive).items():
        for image in range(2):
            expected, *lost = RULES[name][1](linear, a[image], relevance[image])
            scale = np.abs(expected).max() + 1e-30
            error = np.abs(inputs[image] - expected).max()
            assert error <= 1e-9 * scale, f"{name}: {error / scale:.2g} of the largest relevance"
            found = [np.broadcast_to(g, 2)[image] for g in gone]
            total = np.abs(relevance[image]).sum() + sum(map(abs, lost))
            np.testing.assert_allclose(found, lost, atol=1e-9 * total, err_msg=name)


FEW = {
    "convolution": (L.Conv2D(3, 3), (5, 6, 2)),
    "same": (L.Conv2D(2, 4, 2, "same"), (7, 6, 2)),
    "without bias": (L.Conv2D(2, (2, 3), use_bias=False), (4, 5, 2)),
    "dilation": (L.Conv2D(2, 3, dilation_rate=2, padding="same"), (6, 5, 2)),
    "groups": (L.Conv2D(4, 3, groups=2), (4, 5, 4)),
    "groups and strides": (L.Conv2D(4, 3, (2, 1), "same", groups=2), (4, 5, 4)),
    "groups and dilation": (L.Conv2D(4, 3, dilation_rate=2, groups=4), (5, 5, 4)),
    "transposed": (L.Conv2DTranspose(2, 4, 2, "same"), (3, 4, 2)),
    "transposed with gaps": (L.Conv2DTranspose(2, 2, 3, use_bias=False), (3, 2, 2)),
    "depthwise": (L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), (5, 6, 2)),
    "dense": (L.Dense(4), (7,)),
    "dense on pixels": (L.Dense(3), (3, 2, 4)),
}


@pytest.mark.parametrize("name", FEW)
def test_every_rule_on_a_layer(name):
    check_layer(*FEW[name], positive=False)


@pytest.mark.parametrize("name", ["convolution", "transposed", "depthwise"])
def test_every_rule_on_inputs_known_to_be_positive(name):
    check_layer(*FEW[name], positive=True)


KINDS = {"Conv2D": (2,), "Conv2DTranspose": (2,), "DepthwiseConv2D": ()}
CROSS = [
    (kind, bias, stride, padding, kernel, dilation)
    for kind, bias, padding in itertools.product(KINDS, (True, False), ("same", "valid"))
    for kernel in (2, 3, 4)
    for stride, dilation in ((1, 1), (2, 1), (3, 1), (1, 2))  # TensorFlow cannot do both
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bias", "stride", "padding", "kernel", "dilation"), CROSS)
def test_every_rule_on_every_layer(kind, bias, stride, padding, kernel, dilation):
    options = {"strides": stride, "padding": padding, "use_bias": bias, "dilation_rate": dilation}
    layer = getattr(L, kind)(*KINDS[kind], kernel, **options)
    for positive, shape in ((False, (7, 8, 2)), (True, (8, 7, 2))):
        check_layer(layer, shape, positive, seed=kernel)


# --------------------------------------------------------------------------- whole networks

MIXED = [name for name in RULES if name != "lrp-0"]


def every_layer():
    """Every piecewise linear layer, batch norm after every kind of convolution."""
    x = image = L.Input((12, 12, 3))
    x = skip = L.BatchNormalization()(L.Conv2D(4, 3, 2, "same")(x))
    x = L.Dropout(0.5)(L.LeakyReLU(0.2)(x))
    x = L.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = L.BatchNormalization(scale=False)(L.DepthwiseConv2D(3)(x))
    x = L.PReLU(shared_axes=[1, 2])(x)
    x = L.Cropping2D(((0, 1), (1, 1)))(x)
    x = L.Conv2D(4, 1, activation="relu")(x)
    x = L.BatchNormalization(center=False)(x)  # into the convolution after it
    x = L.Conv2D(4, 1, activation="relu", groups=2)(x)
    x = L.UpSampling2D((2, 1), interpolation="bilinear")(x)
    x = L.MaxPooling2D((2, 1))(L.ReLU()(x))
    x = L.BatchNormalization()(L.Conv2DTranspose(4, 4, 2, "same")(x))
    x = L.BatchNormalization()(x)
    x = L.AveragePooling2D(2, 1, "same")(x)
    x = L.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = L.UpSampling2D(2)(L.Conv2D(4, 2, 2)(x))
    x = L.Cropping2D(((1, 1), (2, 2)))(x)
    shared = L.Dense(4)
    x = L.Concatenate()([L.Add()([shared(x), skip, shared(skip)]), skip])
    x = L.Conv2DTranspose(2, 3, 2, "same", activation="softmax", name="mask")(x)
    return keras.Model(image, x)


def norms_and_gates():
    """What is not piecewise linear through zero: lone affine layers, group norm, a gate."""
    x = image = L.Input((8, 8, 3))
    x = L.Rescaling(2.0, 0.1)(x)
    x = L.Conv2D(4, 3, padding="same", activation="elu")(x)
    x = L.BatchNormalization(name="lone")(x)
    x = L.Conv2D(4, 3, padding="same")(x)
    x = L.GroupNormalization(2)(x)
    gate = L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([gate, L.Activation("swish")(x)])
    inner = L.Input((8, 8, 4))
    nested = keras.Model(inner, L.Conv2D(4, 3, padding="same", activation="relu")(inner))
    x = nested(x)
    x = L.Conv2D(1, 3, activation="tanh")(x)
    return keras.Model(image, x)


def pix2pix():
    return kerasgan.models.pix2pix_generator(size=32, filters=2)


def plain_unet():
    return kerasgan.models.unet(size=16, filters=3, levels=2, classes=3)


def odd_arrangements():
    """One value used twice by one layer, relevance on padding, the image as its own skip."""
    x = image = L.Input((8, 8, 2))
    x = L.Conv2D(3, 3, padding="same", activation="relu")(L.BatchNormalization()(x))
    x = L.BatchNormalization()(L.ZeroPadding2D(1)(x))
    x = L.Conv2D(3, 3, activation="relu")(L.LeakyReLU()(x))
    x = L.Add()([x, x])
    x = L.Concatenate()([x, image, x])
    x = L.UpSampling2D(interpolation="bicubic")(L.MaxPooling2D()(L.ReLU()(x)))
    x = L.Add()([L.Conv2D(2, 1)(x), image])
    return keras.Model(image, L.Conv2D(1, 1, activation="sigmoid")(x))


NETWORKS = {
    "pix2pix": pix2pix,
    "unet": plain_unet,
    "attention": styles.attention_unet,
    "preactivation": styles.residual_unet,
    "every layer": every_layer,
    "norms and gates": norms_and_gates,
    "odd arrangements": odd_arrangements,
}


# Keras interpolates, and keeps some settings, in float32 even where all else is float64
TOLERANCE = {"every layer": 1e-3, "norms and gates": 1e-4, "odd arrangements": 1e-4}


def images_for(model, count=2, seed=5):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *model.input_shape[1:]))


def largest_error(found, expected):
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)


def compare(model, rule, rule_of, tolerance, target=None, start=np.multiply, **options):
    """Compares relevance of images, relevance at layers and the ledger with the oracle's."""
    images = images_for(model)
    if target is None:
        target = np.random.default_rng(8).normal(size=(2, *model.output_shape[1:]))
    explained = Explainer(model, rule).explain(images, target)
    first = start(explained.target, explained.logits)
    network = oracle_network.Network(model)
    table = explained.ledger.set_index(["image", "layer"])
    entries = model.get_config()["layers"]
    called = [entry["name"] for entry in entries for _ in entry["inbound_nodes"]]
    shared = {name for name in called if called.count(name) > 1}
    recorded = set()
    for i, image in enumerate(images):
        assert largest_error(explained.logits[i], network.logits(image)) <= tolerance
        walk = network.explain(image, rule_of, start=first[i], **options)
        assert np.abs(walk.input).max() > 0, "nothing to compare"
        errors = {"image": largest_error(explained.relevance[i], walk.input)}
        for name, expected in walk.output.items():
            if name in explained.layers and name not in shared:
                errors[name] = largest_error(explained.layers[name][i], expected)
        for name, expected in walk.ledger.items():
            if (i, name) in table.index and name not in shared:
                row = table.loc[(i, name)]
                columns = ["relevance_in", "relevance_out", "bias", "stabiliser", "unsupported"]
                scale = row["absolute"] + np.abs(expected).max() + 1e-30
                error = np.abs(row[columns].to_numpy(float) - expected).max() / scale
                errors[f"ledger of {name}"] = error
                recorded.add(name)
        wrong = {name: f"{error:.2g}" for name, error in errors.items() if error > tolerance}
        assert not wrong, f"image {i}, errors relative to the largest relevance: {wrong}"
    weighted = {layer.name for layer in network_layers(model)} - shared
    assert recorded >= weighted - {n for n in weighted if not np.any(walk.output.get(n, 0))}
    open_rows = table[table["remainder"].abs() > 1e-5 * table["absolute"]]
    assert open_rows.empty, f"relevance leaks: {open_rows}"


def network_layers(model):
    """The layers with weights that get a rule."""
    marks = ("kernel_initializer", "depthwise_initializer")
    return [layer for layer in layers_of(model) if any(hasattr(layer, mark) for mark in marks)]


def mixture(model, shift):
    """Gives layers one rule after the other; as a composite, and as the oracle wants it."""
    weighted = [layer.name for layer in network_layers(model)]
    chosen = {name: MIXED[(5 * k + shift) % len(MIXED)] for k, name in enumerate(weighted)}

    def rule_name(name):
        return chosen[re.split("[/:]", name)[0]]  # "conv/DepthwiseConv2dNative", "dense:1"

    pairs = [
        (lambda layer, name=name: rule_name(layer.name) == name, RULES[name][0]) for name in MIXED
    ]
    return Composite(*pairs), lambda name: RULES[chosen[name]][1]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETWORKS)
def test_network_with_a_mixture_of_rules(name):
    model = styles.randomize(NETWORKS[name](), seed=3)
    compare(model, *mixture(model, 3), tolerance=TOLERANCE.get(name, 1e-9))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rule", MIXED)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_rule_through_every_network(name, rule):
    model = styles.randomize(NETWORKS[name](), seed=4)
    tolerance = TOLERANCE.get(name, 1e-9)
    compare(model, RULES[rule][0], lambda _: RULES[rule][1], tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_encoder_of_keras_applications():
    model = styles.randomize(encoder_unet("MobileNetV2", nested=True, size=32, alpha=0.35), seed=6)
    compare(model, *mixture(model, 1), tolerance=1e-6)


def by_place(first=None, last=None, others=None):
    """Rules of the paper's generator: its first and last layer, and those between."""
    places = {"down_1_conv": first or others, "up_5_conv": last or others}
    return lambda name: places.get(name, others)


EPSILON, GAMMA = oracle.epsilon(1e-6), oracle.gamma(0.25, stabiliser=STABILISER)
NO_BIAS = oracle.z_plus(bias=False)
COMPOSITES = {
    "epsilon": by_place(others=EPSILON),
    "gamma": by_place(others=GAMMA),
    "z-plus": by_place(others=oracle.z_plus()),
    "alpha1beta0": by_place(others=oracle.z_plus()),
    "alpha2beta1": by_place(others=oracle.alpha_beta(2, 1)),
    "epsilon-plus": by_place(last=EPSILON, others=oracle.z_plus()),
    "epsilon-gamma-box": by_place(oracle.z_box(-1, 1), EPSILON, GAMMA),
    "epsilon-alpha2beta1-flat": by_place(oracle.flat, EPSILON, oracle.alpha_beta(2, 1)),
    "excitation-backprop": by_place(others=NO_BIAS),
    "deep-taylor": by_place(oracle.z_box(-1, 1), others=NO_BIAS),
    "paper": by_place(others=GAMMA),
    "paper-as-published": by_place(others=oracle.epsilon(1e-9)),
    "attnlrp": by_place(others=EPSILON),
    "cp-lrp": by_place(others=EPSILON),
}


FAST = ("epsilon-gamma-box", "epsilon-alpha2beta1-flat", "deep-taylor", "paper-as-published")
SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in COMPOSITES if n not in FAST]


def through_tanh(weights, logits):
    """LRP-0 through the tanh too, from one wherever the mask is foreground."""
    mask = np.tanh(logits)
    return weights * logits * (1 - mask**2) / (mask + 1e-9)


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_composite_in_float32(name):
    model = styles.randomize(pix2pix(), seed=5)
    last = model.get_layer("up_5_conv").kernel
    last.assign(last / 4)  # where a tanh is saturated, float32 tells little of it
    published = {"start": through_tanh, "kept": 0} if name == "paper-as-published" else {}
    compare(model, name, COMPOSITES[name], 1e-3, "prediction", **published)


def test_every_composite_is_compared():
    assert set(COMPOSITES) == set(composites.COMPOSITES)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [*MIXED, *COMPOSITES])
def test_ledger_closes_on_a_trained_generator(rule, trained):
    images = images_for(trained, count=4)
    rule = RULES[rule][0] if rule in RULES else rule
    ledger = Explainer(trained, rule).check(images, tolerance=1e-4)
    assert len(ledger) > 4 * 15


@pytest.fixture(scope="module")
def trained():
    """The paper's generator after a few steps, its batch norm no longer at its initial values."""
    model = kerasgan.models.pix2pix_generator(size=64, filters=8)
    images = images_for(model, count=32)
    masks = np.sign(images.mean(-1, keepdims=True) + np.linspace(-0.5, 0.5, 64)[:, None])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    model.fit(images, masks, batch_size=4, epochs=5, verbose=0)
    return model

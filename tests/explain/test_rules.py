"""Rules on layers small enough to work out by hand (against the formulas: `test_proof`)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from toys import linear_of

from kerasgan.errors import KerasganWarning
from kerasgan.explain import Composite, Explainer, anything, first, last
from kerasgan.explain.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Redistribution,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)

# Inputs 1 and 2, weights 3 and -1, bias 1: contributions 3 and -2, output 2.
INPUTS, WEIGHTS, BIAS = [[1.0, 2.0]], [[3.0], [-1.0]], [1.0]


def redistributed(rule, inputs=INPUTS, weights=WEIGHTS, bias=BIAS, relevance=((12.0,),), **known):
    layer = keras.layers.Dense(len(weights[0]))
    layer.build((None, len(weights)))
    layer.set_weights([np.array(weights, "float32"), np.array(bias, "float32")])

    linear = linear_of(layer, np.shape(inputs)[1:], **known)

    @tf.function(autograph=False)
    def run(a, r):
        return tuple(rule.redistribute(linear(a), r))

    redistribution = run(tf.constant(inputs), tf.constant(relevance))
    return [np.asarray(values).ravel().tolist() for values in redistribution]


def test_by_hand():
    # relevance of the two inputs, then what went to bias, stabiliser and unsupported outputs
    cases = {
        Epsilon(0): ([18, -12], 6, 0, 0),
        Epsilon(2.0): ([9, -6], 3, 6, 0),
        Epsilon(0.5, relative=True): ([12, -8], 4, 4, 0),
        Epsilon(0, bias=False): ([36, -24], 0, 0, 0),
        Epsilon(2.0, bias=False): ([12, -8], 0, 8, 0),
        ZPlus(): ([9, 0], 3, 0, 0),
        ZPlus(bias=False): ([12, 0], 0, 0, 0),
        AlphaBeta(2, 1): ([18, -12], 6, 0, 0),
        AlphaBeta(1.5, 0.5, bias=False): ([18, -6], 0, 0, 0),
        Gamma(1.0): ([12, -4], 4, 0, 0),
        Gamma(1.0, bias=False): ([18, -6], 0, 0, 0),
        Gamma(1.0, generalized=False): ([12, -4], 4, 0, 0),
        Gamma(1.0, bias=False, generalized=False): ([18, -6], 0, 0, 0),
        Flat(): ([6, 6], 0, 0, 0),
        WSquare(): ([10.8, 1.2], 0, 0, 0),
        ZBox(-1, 3): ([12 * 6 / 7, 12 / 7], 0, 0, 0),  # 3 * (1 + 1) and -1 * (2 - 3)
    }
    for rule, expected in cases.items():
        found = redistributed(rule)
        for values, known in zip(found, expected):
            np.testing.assert_allclose(values, np.ravel(known), atol=1e-4, err_msg=str(rule))


def test_a_relative_epsilon_is_that_of_all_outputs_of_each_image():
    # outputs 2 and 6, so epsilon is 2; factors 3 and 1
    two = {"weights": [[3.0, 1.0], [-1.0, 0.0]], "bias": [1.0, 5.0], "relevance": [[12.0, 8.0]]}
    inputs, bias, stabiliser, _ = redistributed(Epsilon(0.5, relative=True), **two)
    np.testing.assert_allclose([*inputs, *bias, *stabiliser], [10, -6, 8, 8], atol=1e-4)
    rng = np.random.default_rng(1)
    data = {"weights": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
    images, relevance = rng.normal(size=(3, 2)), rng.normal(size=(3, 3))
    images[1] *= 100
    rule = Epsilon(0.25, relative=True)
    together = redistributed(rule, images.tolist(), relevance=relevance.tolist(), **data)
    alone = [
        redistributed(rule, image[None].tolist(), relevance=part[None].tolist(), **data)
        for image, part in zip(images, relevance)
    ]
    for found, parts in zip(together[:3], zip(*alone)):
        np.testing.assert_allclose(found, np.concatenate(parts), rtol=1e-4)


def test_gamma_as_published_favours_positive_weights():
    # contributions -3 and 2, output -1; the second counts 1 + 1 times, and the sum is 1
    negative = {"weights": [[-3.0], [1.0]], "bias": [0.0]}
    inputs, *_ = redistributed(Gamma(1.0, generalized=False), **negative)
    np.testing.assert_allclose(inputs, [-36, 48], atol=1e-3)
    inputs, *_ = redistributed(Gamma(1.0), **negative)
    np.testing.assert_allclose(inputs, [12 * 6 / 4, -12 * 2 / 4], atol=1e-4)
    # contributions 3 and -2, bias 2: 6 - 2 + 4
    inputs, bias, *_ = redistributed(Gamma(1.0, generalized=False), bias=[2.0])
    np.testing.assert_allclose([*inputs, *bias], [9, -3, 6], atol=1e-4)


def test_an_image_beyond_the_box_widens_it_for_itself():
    rule = ZBox(-1, 1.5, widen=True)
    assert redistributed(rule) == redistributed(ZBox(-1, 2))  # the pixel 2 lies beyond
    assert redistributed(rule, inputs=[[1.0, -7.0]]) == redistributed(
        ZBox(-7, 1.5), inputs=[[1.0, -7.0]]
    )
    inside = [[1.0, 0.5]]
    assert redistributed(rule, inputs=inside) == redistributed(ZBox(-1, 1.5), inputs=inside)
    both = redistributed(rule, inputs=[*INPUTS, *inside], relevance=[[12.0], [12.0]])[0]
    alone = redistributed(rule)[0] + redistributed(rule, inputs=inside)[0]
    np.testing.assert_allclose(both, alone, rtol=1e-6)


def test_padding_does_not_widen_the_box():
    layer = keras.layers.Conv2D(1, 1)
    layer.build((None, 1, 2, 1))
    padded, valid = tf.constant([[[[9.0], [1.0]]]]), tf.constant([[[[0.0], [1.0]]]])

    linear = linear_of(layer, (1, 2, 1), valid)

    @tf.function(autograph=False)
    def run(rule):
        return rule.redistribute(linear(padded), tf.ones((1, 1, 2, 1))).inputs

    expected = run(ZBox(-1, 2)).numpy()
    np.testing.assert_array_equal(run(ZBox(-1, 2, widen=True)).numpy(), expected)


def test_output_without_contribution_of_the_sign():
    inputs, bias, _, unsupported = redistributed(ZPlus(), inputs=[[-1.0, 2.0]], bias=[-1.0])
    assert inputs == [0, 0]
    assert bias == [0]
    assert unsupported == [12]
    *_, unsupported = redistributed(AlphaBeta(2, 1), inputs=[[1.0, -2.0]])
    assert unsupported == [-12]


def test_stabiliser_takes_all_where_the_output_is_zero():
    inputs, _, stabiliser, unsupported = redistributed(
        Epsilon(0.1), inputs=[[0.0, 0.0]], bias=[0.0]
    )
    assert (inputs, unsupported) == ([0, 0], [0])
    np.testing.assert_allclose(stabiliser, 12, rtol=1e-6)
    inputs, _, stabiliser, unsupported = redistributed(Epsilon(0), inputs=[[0.0, 0.0]], bias=[0.0])
    assert (inputs, stabiliser, unsupported) == ([0, 0], [0], [12])


@pytest.mark.parametrize("rule", [Flat(), WSquare(), ZBox(-1, 1)])
def test_padding_gets_nothing(rule):
    layer = keras.layers.Conv2D(2, 3)
    layer.build((None, 6, 6, 1))
    around = [[0, 0], [1, 1], [1, 1], [0, 0]]
    inputs = tf.pad(tf.random.stateless_uniform((1, 4, 4, 1), (1, 2)), around)
    valid = tf.pad(tf.ones((1, 4, 4, 1)), around)

    linear = linear_of(layer, (6, 6, 1), valid)

    @tf.function(autograph=False)
    def run(a):
        seen = linear(a)
        return rule.redistribute(seen, tf.ones_like(seen.outputs)).inputs

    found = run(inputs).numpy()
    assert np.all(found[valid.numpy() == 0] == 0)
    assert np.sum(found) == pytest.approx(4 * 4 * 2, rel=1e-5)


def test_rules_of_ones_own():
    class Half(Rule):
        def redistribute(self, linear, relevance):
            own = linear.contributions()
            return Redistribution(own.backward(relevance / own.sums) / 2)

    inputs, *_ = redistributed(Half())
    assert inputs == [18, -12]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Epsilon(-1), "Argument 'epsilon' must be a finite number from 0 up. Received: -1"),
        (lambda: Epsilon(float("nan")), "'epsilon' must be a finite number from 0 up"),
        (lambda: Gamma(-0.1), "Argument 'gamma' must be a finite number from 0 up"),
        (lambda: AlphaBeta(2, 2), "Arguments 'alpha' and 'beta' must differ by 1"),
        (lambda: AlphaBeta(0, -1), "Argument 'beta' must be a finite number from 0 up"),
        (lambda: ZBox(1, 1), "Argument 'low' must be below 'high', 1. Received: 1"),
        (lambda: ZBox(2, 1), "Argument 'low' must be below 'high', 1. Received: 2"),
    ],
)
def test_bad_arguments(make, message):
    refused(message, make)


def model_of_one():
    image = keras.Input((4, 4, 1))
    return keras.Model(image, keras.layers.Conv2D(1, 1, name="only")(image))


def test_faults_of_ones_own_rules_are_named():
    class Shape(Rule):
        def redistribute(self, linear, relevance):
            return Redistribution(relevance[:, 1:])

    class Misspelt(Rule):
        def shares(self, linear, relevance):
            return Redistribution(relevance)

    images = np.ones((1, 4, 4, 1))
    for rule, words in ((Shape(), "layer 'only', .*Received"), (Misspelt(), "'shares'")):
        refused(words, Explainer(model_of_one(), rule).explain, images, np.ones((4, 4)))


def test_a_pair_that_fits_no_layer_is_told():
    with pytest.warns(KerasganWarning, match=r"'onyl\*'.*\['only'\]"):
        Explainer(model_of_one(), Composite(("onyl*", Flat()), ("*", Epsilon())))


@pytest.mark.parametrize(
    ("activation", "stride", "rule"),
    [("relu", 1, Flat()), ("relu6", 2, Flat()), ("swish", 1, Gamma(0.25)), ("linear", 2, Gamma())],
)
def test_the_default_spreads_evenly_in_depthwise_convolutions_behind_relu(activation, stride, rule):
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 1, use_bias=False)(image))
    x = layers.ReLU(6.0)(x) if activation == "relu6" else layers.Activation(activation)(x)
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name="wide")(x)
    x = layers.Conv2D(3, 1)(layers.BatchNormalization()(x))
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    box = ZBox(-1, 1, widen=True)
    written = Composite((first, box), (last, Epsilon()), ("wide", rule), (anything, Gamma(0.25)))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    default, expected = (Explainer(model, **o).explain(images) for o in ({}, {"rule": written}))
    np.testing.assert_allclose(default.relevance, expected.relevance, atol=1e-6)
    assert np.abs(default.relevance).max() > 1e-4

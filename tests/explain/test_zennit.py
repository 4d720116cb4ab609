"""Rules, those of the library and those of the oracle, against another library's numbers."""

import json
import pathlib

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from toys import linear_of

from kerasgan.explain import rules

L = keras.layers
ZENNIT = json.loads(pathlib.Path(__file__).with_name("zennit.json").read_text())
RULES = {
    "epsilon": (rules.Epsilon(0.1), oracle.epsilon(0.1)),
    "epsilon, no bias": (rules.Epsilon(0.1, bias=False), oracle.epsilon(0.1, bias=False)),
    "z-plus": (rules.ZPlus(), oracle.z_plus()),
    "alpha-beta": (rules.AlphaBeta(2, 1), oracle.alpha_beta(2, 1)),
    "alpha-beta, no bias": (rules.AlphaBeta(2, 1, bias=False), oracle.alpha_beta(2, 1, bias=False)),
    "gamma": (rules.Gamma(), oracle.gamma()),
    "flat": (rules.Flat(), oracle.flat),
    "w-square": (rules.WSquare(), oracle.w_square),
    "z-box": (rules.ZBox(-2, 2), oracle.z_box(-2, 2)),
}


def cases():
    """The layers, inputs and relevance that agreement_constants.py draws, channels last."""
    rng = np.random.default_rng(0)
    for name, layer, size in (
        ("convolution", L.Conv2D(3, 3, 2, "same", dtype="float64"), 2),
        ("transposed", L.Conv2DTranspose(3, 3, 2, dtype="float64"), 7),
    ):
        shape = (3, 2, 3, 3) if name == "convolution" else (2, 3, 3, 3)
        kernel, bias = rng.normal(size=shape), rng.normal(size=3)
        image = rng.normal(size=(2, 3, 3)).transpose(1, 2, 0)
        start = rng.normal(size=(3, size, size)).transpose(1, 2, 0)
        layer.build((None, 3, 3, 2))
        layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
        yield name, layer, image, start


def shared(rule, layer, image, start):
    linear = linear_of(layer, image.shape[1:])
    run = tf.function(lambda a, r: rule.redistribute(linear(a), r).inputs, autograph=False)
    return run(tf.constant(image), tf.constant(start))


@pytest.mark.parametrize("rule", RULES)
def test_rules_agree_with_zennit(rule):
    ours, formula = RULES[rule]
    for name, layer, image, start in cases():
        expected = np.reshape(ZENNIT[f"{name}: {rule}"], (3, 3, 2))
        found = shared(ours, layer, image[None], start[None])[0]
        written, *_ = formula(oracle.jacobian_map(layer, (3, 3, 2)), image, start)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(written, expected, atol=3e-6 * scale)
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale)  # stabilised by 1e-6

"""Whole networks against zennit with its own canonizers, of equal weights.

agreement_constants.py makes their numbers. Where libraries mean different things by a name, both
are asked for the same: the last layer is dense, which gets epsilon by zennit's composites as by
ours; no image goes beyond the box of the first layer, which ours would widen.
"""

import json
import pathlib

import agreement_weights
import keras
import numpy as np
import pytest
from agreement_weights import EPSILON

from kerasgan.explain import AlphaBeta, Composite, Epsilon, Explainer, anything

L = keras.layers
CONSTANTS = json.loads(pathlib.Path(__file__).with_name("agreement.json").read_text())
COMPOSITES = {
    "epsilon": "epsilon",
    "epsilon-plus": "epsilon-plus",
    "epsilon-alpha2beta1": Composite((L.Dense, Epsilon()), (anything, AlphaBeta(2, 1))),
    "epsilon-alpha2beta1-flat": "epsilon-alpha2beta1-flat",
    "epsilon-gamma-box": "epsilon-gamma-box",
}


# --------------------------------------------------------------------------- networks


def norm(x, name):
    return L.BatchNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def unet():
    image = L.Input((8, 8, 3))
    x = norm(L.Conv2D(4, 3, padding="same", name="one")(image), "one")
    one = L.LeakyReLU(0.2)(x)
    x = norm(L.Conv2D(5, 3, padding="same", name="two")(L.MaxPooling2D()(one)), "two")
    two = L.ReLU()(x)
    x = L.DepthwiseConv2D(3, padding="same", name="three")(L.AveragePooling2D()(two))
    x = L.Activation("swish")(norm(x, "three"))
    three = L.Conv2D(6, 1, activation="elu", name="four")(x)
    x = L.ReLU()(norm(L.Conv2D(6, 2, 2, name="five")(three), "five"))
    x = L.ReLU()(norm(L.Conv2DTranspose(5, 2, 2, name="up_five")(x), "up_five"))
    x = L.Concatenate()([x, three])
    x = L.Conv2D(5, 3, padding="same", activation="relu", name="back_three")(x)
    x = L.Concatenate()([L.UpSampling2D()(x), two])
    x = L.ReLU()(norm(L.Conv2D(5, 3, padding="same", name="back_two")(x), "back_two"))
    x = L.Conv2DTranspose(4, 4, 2, padding="same", name="up_two")(x)
    x = L.Concatenate()([L.ReLU()(norm(x, "up_two")), one])
    x = L.Conv2D(5, 3, padding="same", activation="gelu", name="back_one")(x)
    return keras.Model(image, L.Dense(1, name="head")(x))


def resnet():
    def convolution(x, name, filters, size=1, stride=1):
        x = L.ZeroPadding2D(size // 2)(x)
        return norm(L.Conv2D(filters, size, stride, use_bias=False, name=name)(x), name)

    image = L.Input((8, 8, 3))
    a = L.MaxPooling2D()(L.ReLU()(convolution(image, "stem", 4, 3)))
    x = convolution(L.ReLU()(convolution(a, "a1", 4, 3)), "a2", 4, 3)
    b = L.ReLU()(L.Add()([a, x]))
    x = L.ReLU()(convolution(b, "b1", 2))
    x = convolution(L.ReLU()(convolution(x, "b2", 2, 3, 2)), "b3", 8)
    x = L.ReLU()(L.Add()([convolution(b, "b0", 8, 1, 2), x]))
    return keras.Model(image, L.Dense(3, name="head")(L.GlobalAveragePooling2D(keepdims=True)(x)))


# --------------------------------------------------------------------------- agreement


def check(model, network, composites):
    """Compares output and relevance, both to a part of their largest value."""
    weights, image, target = agreement_weights.draw(network)
    for name, arrays in weights.items():
        layer = model.get_layer(name)
        layer.set_weights([np.reshape(a, w.shape) for a, w in zip(arrays, layer.get_weights())])
    found = {network: np.ravel(model(image[None]))}
    for name, rule in composites.items():
        relevance = Explainer(model, rule).explain(image[None], target).relevance
        found[f"{network}: {name}"] = np.ravel(relevance)
    for name, values in found.items():
        expected = np.array(CONSTANTS[name])
        apart = np.abs(values - expected).max() / np.abs(expected).max()
        print(f"{name}: {apart:.1e} of the largest")
        assert apart < 1e-4, name


@pytest.mark.parametrize("network", [unet, resnet])
def test_convolutional_networks_agree_with_zennit(network):
    check(network(), network.__name__, COMPOSITES)

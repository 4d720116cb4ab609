"""Whole networks against zennit with its own canonizers, and against LXT, of equal weights.

agreement_constants.py makes their numbers. Where libraries mean different things by a name, both
are asked for the same: the last layer is dense, which gets epsilon by zennit's composites as by
ours; no image goes beyond the box of the first layer, which ours would widen; a gate and its signal
share evenly, which is a choice of ours, and of LXT's too, whose models hold gates under CP-LRP.
"""

import json
import pathlib

import agreement_weights
import keras
import numpy as np
import pytest
import tensorflow as tf
from agreement_weights import EPSILON, HEADS, TOKENS, WIDTH

from kerasgan.explain import AlphaBeta, Composite, Epsilon, Explainer, Gamma, ZBox, anything, first

L = keras.layers
CONSTANTS = json.loads(pathlib.Path(__file__).with_name("agreement.json").read_text())
COMPOSITES = {
    "epsilon": "epsilon",
    "epsilon-plus": "epsilon-plus",
    "epsilon-alpha2beta1": Composite((L.Dense, Epsilon()), (anything, AlphaBeta(2, 1))),
    "epsilon-alpha2beta1-flat": "epsilon-alpha2beta1-flat",
    "epsilon-gamma-box": Composite(  # ours has another rule for depthwise convolutions
        (first, ZBox(-1, 1, widen=True)), (L.Dense, Epsilon()), (anything, Gamma(0.25))
    ),
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
    x = L.DepthwiseConv2D(3, padding="same", name="three")(L.AveragePooling2D(2)(two))
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


class Positions(L.Layer):
    """Adds what is learned for each token."""

    def build(self, shape):
        self.positions = self.add_weight(name="positions", shape=shape[1:])

    def call(self, tokens):
        return tokens + self.positions


class RMSNorm(L.Layer):
    """Divides by the root of the mean square."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=shape[-1:])

    def call(self, x):
        size = tf.reduce_mean(tf.square(x), -1, keepdims=True)
        return x * tf.math.rsqrt(size + EPSILON) * self.scale


class SelfAttention(L.Layer):
    """Attention as people write it out: four kernels without bias."""

    def build(self, shape):
        self.dense = [L.Dense(WIDTH, use_bias=False) for _ in range(4)]

    def call(self, x):
        apart = (-1, TOKENS, HEADS, WIDTH // HEADS)
        q, k, v = (tf.transpose(tf.reshape(d(x), apart), (0, 2, 1, 3)) for d in self.dense[:3])
        scores = tf.matmul(q, k, transpose_b=True) / tf.sqrt(float(WIDTH // HEADS))
        x = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), (0, 2, 1, 3))
        return self.dense[3](tf.reshape(x, (-1, TOKENS, WIDTH)))


def tokens(image):
    x = L.Conv2D(WIDTH, 2, 2, name="patches")(image)
    return Positions(name="positions")(L.Reshape((TOKENS, WIDTH))(x))


def mask(x):
    """Every token gives the pixels of its patch."""
    return tf.nn.depth_to_space(tf.reshape(x, (-1, 4, 4, 4)), 2)


def segformer():
    image = L.Input((8, 8, 3))
    x = L.Conv2D(WIDTH, 3, 2, name="patches")(L.ZeroPadding2D()(image))
    x = L.LayerNormalization(epsilon=EPSILON, name="patches_norm")(x)
    x = L.Reshape((TOKENS, WIDTH))(x)
    normed = L.LayerNormalization(epsilon=EPSILON, name="norm_a")(x)
    context = L.Conv2D(WIDTH, 2, 2, name="reduce")(L.Reshape((4, 4, WIDTH))(normed))
    context = L.LayerNormalization(epsilon=EPSILON, name="reduce_norm")(context)
    context = L.Reshape((4, WIDTH))(context)
    attention = L.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")
    x = L.Add()([x, attention(normed, context)])
    normed = L.LayerNormalization(epsilon=EPSILON, name="norm_b")(x)
    hidden = L.Reshape((4, 4, 16))(L.Dense(16, name="up")(normed))
    hidden = L.DepthwiseConv2D(3, padding="same", activation="gelu", name="mix")(hidden)
    x = L.Add()([x, L.Dense(WIDTH, name="down")(L.Reshape((TOKENS, 16))(hidden))])
    x = L.Dense(6, name="decode")(L.LayerNormalization(epsilon=EPSILON, name="norm")(x))
    x = L.UpSampling2D(interpolation="bilinear")(L.Reshape((4, 4, 6))(x))
    x = L.ReLU()(norm(L.Conv2D(6, 1, use_bias=False, name="fuse")(x), "fuse"))
    return keras.Model(image, L.Conv2D(1, 1, name="head")(x))


def gated_transformer():
    image = L.Input((8, 8, 3))
    x = tokens(image)
    for name in "ab":
        normed = RMSNorm(name=f"{name}_norm_a")(x)
        x = L.Add()([x, SelfAttention(name=f"{name}_attention")(normed)])
        normed = RMSNorm(name=f"{name}_norm_b")(x)
        gate = L.Dense(12, activation="swish", use_bias=False, name=f"{name}_gate")(normed)
        up = L.Dense(12, use_bias=False, name=f"{name}_up")(normed)
        hidden = L.Multiply(name=f"{name}_gated")([gate, up])
        x = L.Add()([x, L.Dense(WIDTH, use_bias=False, name=f"{name}_down")(hidden)])
    x = RMSNorm(name="norm")(x)
    return keras.Model(image, L.Lambda(mask)(L.Dense(4, use_bias=False, name="head")(x)))


# --------------------------------------------------------------------------- agreement


def check(model, network, composites, tolerance=1e-4, **options):
    """Compares output and relevance, both to a part of their largest value."""
    weights, image, target = agreement_weights.draw(network)
    for name, arrays in weights.items():
        layer = model.get_layer(name)
        layer.set_weights([np.reshape(a, w.shape) for a, w in zip(arrays, layer.get_weights())])
    found = {network: np.ravel(model(image[None]))}
    for name, rule in composites.items():
        relevance = Explainer(model, rule, **options).explain(image[None], target).relevance
        found[f"{network}: {name}"] = np.ravel(relevance)
    for name, values in found.items():
        expected = np.array(CONSTANTS[name])
        apart = np.abs(values - expected).max() / np.abs(expected).max()
        print(f"{name}: {apart:.1e} of the largest")
        assert apart < tolerance, name


@pytest.mark.parametrize(
    ("network", "composites"), [(unet, list(COMPOSITES)), (resnet, ["epsilon-alpha2beta1"])]
)
def test_convolutional_networks_agree_with_zennit(network, composites):
    check(network(), network.__name__, {name: COMPOSITES[name] for name in composites})


@pytest.mark.parametrize("network", [gated_transformer, segformer])
def test_transformers_agree_with_lxt(network):
    composites = {"attnlrp": "attnlrp", "cp-lrp": "cp-lrp"}
    options = {}
    if network is gated_transformer:  # 2e-6 apart if nothing is stabilised, by 1e-6 at every step
        options = {"gates": {"a_gated": (), "b_gated": ()}, "tolerance": 2e-4}
    check(network(), network.__name__.replace("_", " "), composites, **options)

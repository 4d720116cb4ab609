"""Every kind of layer, read alone, in float64."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from canonical import check, copy, images_for, kinds, norm, small, types
from keras import layers
from refusals import refused

from kerasgan.explain import Explainer
from kerasgan.models import SeededDropout
from kerasgan.stack import KERAS_3


@pytest.mark.usefixtures("float64")
class TestLayers:
    @pytest.mark.parametrize(
        "function",
        [
            *["relu", "elu", "selu", "gelu", "swish", "mish", "sigmoid", "hard_sigmoid", "tanh"],
            *("softplus", "softsign", "exponential"),
            *(tf.nn.relu, tf.nn.silu, tf.nn.relu6, tf.nn.leaky_relu),
        ],
    )
    def test_activations(self, function):
        name = function if isinstance(function, str) else function.__name__
        model = small(
            layers.Conv2D(4, 3, activation=function, name="conv"), layers.Activation(function)
        )
        graph = check(model)
        first, second, third = graph.nodes[:3]
        assert [first.kind, second.kind] == ["weighted", "passed"], name
        assert third.kind == "passed" or (third.kind, name) == ("affine", "hard_sigmoid")
        assert first.name == "conv"
        of_layer = [node.name for node in graph.nodes if node.name.partition("/")[0] == "conv"]
        assert graph.names["conv"] == of_layer[-1]

    @pytest.mark.parametrize(
        "layer",
        [
            layers.ReLU(max_value=0.4, negative_slope=0.1, threshold=0.1),
            layers.ReLU(6.0),
            layers.LeakyReLU(0.3),
            layers.ELU(0.7),
            pytest.param(
                getattr(layers, "ThresholdedReLU", layers.ReLU)(0.3),
                marks=pytest.mark.skipif(KERAS_3, reason="Keras 3 has no ThresholdedReLU"),
            ),
            layers.PReLU(shared_axes=[1, 2]),
            layers.PReLU(),
        ],
    )
    def test_activation_layers(self, layer):
        inner = copy(layer, name="inner")
        check(small(copy(layer), layers.Conv2D(4, 3, activation=inner)))

    @pytest.mark.parametrize(
        "layer",
        [
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.AveragePooling2D(3, 2, padding="same"),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.GlobalMaxPooling2D(keepdims=True),
            layers.UpSampling2D(),
            layers.ZeroPadding2D(((1, 2), (3, 4))),
            layers.Cropping2D(((1, 2), (3, 4))),
            layers.Permute((2, 1, 3)),
            layers.Reshape((8, 32, 4)),
            layers.Resizing(24, 10, interpolation="nearest"),
            layers.Dropout(0.5),
            layers.SpatialDropout2D(0.5),
            layers.GaussianNoise(1.0),
            layers.RandomFlip(),
            SeededDropout(0.5),
        ],
    )
    def test_plain_layers(self, layer):
        check(small(layers.Conv2D(4, 3, padding="same"), copy(layer)))

    @pytest.mark.parametrize(
        "layer", [layers.UpSampling2D(interpolation="bilinear"), layers.Resizing(24, 10)]
    )
    def test_bilinear(self, layer):
        """TensorFlow interpolates in float32 whatever comes."""
        check(small(layers.Conv2D(4, 3), copy(layer)), tolerance=1e-6)

    def test_classifier(self):
        body = [layers.Conv2D(4, 3), norm(), layers.ReLU(), layers.Flatten()]
        graph = check(small(*body, last=layers.Dense(3, activation="softmax")))
        assert graph.activation == "softmax"

    def test_norm_behind_dense_layers(self):
        body = [layers.GlobalAveragePooling2D(), layers.Dense(8), norm(), layers.ReLU()]
        assert "affine" not in kinds(check(small(*body, last=layers.Dense(3))))

    @pytest.mark.parametrize(
        "layer",
        [
            layers.Rescaling(1 / 255),
            layers.Rescaling([1.0, 2.0, 3.0, 4.0], offset=[-1.0, 0.0, 0.5, 2.0]),
            layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0, 3.0, 2.0, 1.0]),
            layers.Normalization(axis=None, mean=2.0, variance=3.0),
            layers.Normalization(mean=2.0, variance=3.0, invert=True),
        ],
    )
    def test_lone_affine(self, layer):
        graph = check(small(copy(layer, name="lone")))
        assert kinds(graph) == ["affine", "weighted"]
        assert types(graph) == [type(layer).__name__, "Conv2D"]
        assert graph.names["lone"] == "lone"

    @pytest.mark.parametrize("options", [{}, {"center": False}, {"center": False, "scale": False}])
    @pytest.mark.parametrize("groups", [1, 2, -1])
    def test_group_norm(self, groups, options):
        layer = layers.GroupNormalization(groups, name="norm", **options)
        graph = check(small(layers.Conv2D(6, 3), layer, layers.ReLU()))
        assert kinds(graph) == ["weighted", "routed", "centred", "routed", "passed", "weighted"]
        assert graph.names["norm"] == graph.nodes[3].name == "norm"

    @pytest.mark.parametrize("axis", [-1, [1, 2], [1, 2, 3]])
    def test_layer_norm(self, axis):
        model = small(layers.Conv2D(6, 3), layers.LayerNormalization(axis), layers.ReLU())
        assert kinds(check(model)) == ["weighted", "centred", "passed", "weighted"]

    def test_group_norm_behind_dense(self):
        body = [layers.GlobalAveragePooling2D(), layers.Dense(6), layers.GroupNormalization(3)]
        check(small(*body, layers.ReLU(), last=layers.Dense(3)))


@pytest.mark.usefixtures("float64")
class TestAddons:
    @pytest.mark.parametrize("kind", ["InstanceNormalization", "GroupNormalization"])
    def test_norms(self, kind):
        addons = pytest.importorskip("tensorflow_addons")
        options = {"groups": 3} if kind == "GroupNormalization" else {}
        layer = getattr(addons.layers, kind)(**options)
        graph = check(small(layers.Conv2D(6, 3), layer, layers.ReLU()))
        assert [kind for kind in kinds(graph) if kind != "routed"][1:3] == ["centred", "passed"]

    def test_spectral_norm(self):
        addons = pytest.importorskip("tensorflow_addons")
        wrap = addons.layers.SpectralNormalization
        model = small(
            wrap(layers.Conv2D(6, 3), name="first"),
            norm(),
            layers.ReLU(),
            wrap(layers.Conv2DTranspose(6, 4, 2, activation="relu")),
        )
        model(images_for(model), training=True)
        graph = check(model)
        assert graph.names["norm"] == graph.names["first"]
        assert kinds(graph) == ["weighted", "passed", "weighted", "passed", "weighted"]
        image = images_for(model)
        model(image, training=True)
        np.testing.assert_allclose(graph.run(image).logits, model(image), rtol=1e-9, atol=1e-10)


def test_rows_gathered_along_the_first_axis():
    image = keras.Input((8, 8, 3))
    twice = keras.layers.Lambda(lambda x: tf.vectorized_map(lambda one: 2 * one, x))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(twice(image)))
    Explainer(model, "epsilon").check(np.ones((2, 8, 8, 3)), target=np.ones((8, 8)))


def test_loops_and_conditions_are_named_though_no_image_decides_them():
    def loop(x):
        return x + tf.map_fn(lambda row: row * tf.ones((8, 3)), tf.range(8.0))

    def choice(x):
        return tf.cond(tf.shape(x)[1] > 4, lambda: 2.0 * x, lambda: x)

    for function, message in ((loop, "While in layer 'own'"), (choice, "own.*If.*not by the imag")):
        image = keras.Input((8, 8, 3))
        own = keras.layers.Lambda(function, name="own")
        model = keras.Model(image, keras.layers.Conv2D(1, 1)(own(image)))
        refused(message, Explainer, model, "epsilon")


def test_a_network_all_in_bfloat16():
    image = keras.Input((8, 8, 3), dtype="bfloat16")
    model = keras.Model(image, keras.layers.Conv2D(1, 3, dtype="bfloat16")(image))
    images = np.ones((1, 8, 8, 3))
    assert Explainer(model, "epsilon").explain(images, np.ones((6, 6))).relevance.any()

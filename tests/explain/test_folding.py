"""Batch norm folded into the layers around it, in float64."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from canonical import check, copy, kinds, norm, small
from keras import layers

import kerasgan as kg
from kerasgan.stack import KERAS_3


@pytest.mark.usefixtures("float64")
class TestFolding:
    @pytest.mark.parametrize(
        "layer",
        [
            layers.Conv2D(6, 3, padding="same"),
            layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False),
            layers.Conv2D(6, (3, 2), dilation_rate=2),
            layers.Conv2D(6, 3, groups=2, use_bias=False),
            layers.Conv2DTranspose(6, 4, 2, padding="same"),
            layers.Conv2DTranspose(6, 3, 2, output_padding=1, use_bias=False),
            pytest.param(
                layers.Conv2DTranspose(6, 3, dilation_rate=2),
                marks=pytest.mark.skipif(KERAS_3, reason="of Keras 3 it does not run on a CPU"),
            ),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, use_bias=False),
            layers.SeparableConv2D(6, 3, strides=2, depth_multiplier=2),
            layers.SeparableConv2D(6, 3, use_bias=False),
            layers.Dense(6),
        ],
    )
    def test_back(self, layer):
        graph = check(small(copy(layer, name="conv"), norm(), layers.ReLU()))
        assert "affine" not in kinds(graph)
        assert graph.names["norm"] == "conv"

    @pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"epsilon": 0.1}])
    def test_options_of_batch_norm(self, options):
        check(small(layers.Conv2D(6, 3), norm(**options), layers.ReLU()))

    @pytest.mark.parametrize(
        "layer",
        [
            layers.Conv2D(6, 3, strides=2),
            layers.Conv2D(6, 3, groups=2, use_bias=False),
            layers.Conv2D(6, 1, padding="same"),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.DepthwiseConv2D(3, use_bias=False),
            layers.SeparableConv2D(6, 3),
            layers.Dense(6),
        ],
    )
    def test_ahead(self, layer):
        graph = check(small(layers.ReLU(name="before"), norm(), copy(layer)))
        assert "affine" not in kinds(graph)
        assert graph.names["norm"] == "before"

    @pytest.mark.parametrize(
        "layer",
        [
            layers.Conv2D(6, 3, padding="same"),
            layers.Conv2DTranspose(6, 3),
            layers.Conv2D(6, 3, padding="same", dilation_rate=2),
            layers.ZeroPadding2D(),
        ],
    )
    def test_not_ahead(self, layer):
        model = small(layers.ReLU(), norm(), copy(layer))
        graph = check(model)
        assert kinds(graph).count("affine") == 1
        assert graph.names["norm"] == "norm"

    def test_both_sides(self):
        model = small(layers.ReLU(), norm(), layers.Conv2D(6, 3), layers.BatchNormalization())
        assert "affine" not in kinds(check(model))

    def test_two_in_a_row_around_dropout(self):
        model = small(
            layers.Conv2D(6, 3), norm(), layers.SpatialDropout2D(0.5), layers.BatchNormalization()
        )
        assert "affine" not in kinds(check(model))

    def test_convolution_with_two_consumers_keeps_its_kernel(self):
        image = keras.Input((16, 16, 4))
        conv = layers.Conv2D(4, 3, padding="same", name="conv")(image)
        x = layers.Add()([conv, layers.ReLU()(norm()(conv))])
        graph = check(keras.Model(image, layers.Conv2D(1, 1)(x)))
        assert kinds(graph).count("affine") == 1

    def test_norm_with_two_consumers_is_not_folded_ahead(self):
        image = keras.Input((16, 16, 4))
        x = norm()(layers.ReLU()(image))
        x = layers.Add()([x, layers.Conv2D(4, 1)(x)])
        assert kinds(check(keras.Model(image, x))).count("affine") == 1

    def test_norm_at_the_output(self):
        image = keras.Input((16, 16, 4))
        graph = check(keras.Model(image, norm()(layers.Conv2D(2, 3)(image))))
        assert kinds(graph) == ["weighted"]

    def test_activation_inside_the_convolution_blocks_folding_back(self):
        model = small(layers.Conv2D(6, 3, activation="relu"), norm(), layers.ReLU())
        assert kinds(check(model)).count("affine") == 1

    def test_shared_convolution_with_two_norms(self):
        shared = layers.Conv2D(4, 3, padding="same", name="shared")
        image = keras.Input((16, 16, 4))
        left = layers.BatchNormalization()(shared(image))
        right = layers.BatchNormalization()(shared(layers.ReLU()(left)))
        graph = check(keras.Model(image, layers.Conv2D(1, 1)(layers.Add()([left, right]))))
        names = [node.name for node in graph.nodes]
        assert "shared" in names
        assert "shared:1" in names
        assert graph.names["shared"] == "shared"
        assert "affine" not in kinds(graph)


def test_what_is_folded_is_computed_once_an_explanation():
    model = kg.models.unet(size=32, filters=2, levels=2)
    explainer = kg.Explainer(model, "alpha2beta1")
    explainer.explain(np.zeros((1, 32, 32, 3)), target=kg.targets.Pixel(9, 9))
    norms = sum(isinstance(x, keras.layers.BatchNormalization) for x in model.layers)
    (traced,) = explainer.functions.traced.values()
    kinds = [operation.type for operation in traced.call.graph.get_operations()]
    assert kinds.count("Rsqrt") == norms > 5

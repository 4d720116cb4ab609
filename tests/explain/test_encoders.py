"""U-Nets on encoders of keras.applications, made canonical, in float64."""

from __future__ import annotations

import keras
import pytest
from canonical import check, kinds
from keras import layers

ENCODERS = {
    "VGG16": ["block1_conv2", "block2_conv2", "block3_conv3"],
    "ResNet50": ["conv1_relu", "conv2_block3_out", "conv3_block4_out"],
    "MobileNetV2": [
        "block_1_expand_relu",
        "block_3_expand_relu",
        "block_6_expand_relu",
        "out_relu",
    ],
    "EfficientNetB0": [
        "block2a_expand_activation",
        "block3a_expand_activation",
        "block4a_expand_activation",
    ],
    "DenseNet121": ["conv1/relu", "pool2_conv", "pool3_conv"],
    "MobileNetV3Small": ["expanded_conv/project", "expanded_conv_2/Add"],
}


def encoder_unet(kind, nested, size=64, **options):
    with_names = getattr(keras.applications, kind)(
        weights=None, include_top=False, input_shape=(size, size, 3), **options
    )
    skips = [with_names.get_layer(name).output for name in ENCODERS[kind]]
    encoder = keras.Model(with_names.input, [*skips, with_names.output])
    image = keras.Input((size, size, 3)) if nested else encoder.input
    *skips, x = encoder(image) if nested else encoder.outputs
    for skip in reversed(skips):
        x = layers.UpSampling2D(skip.shape[1] // x.shape[1])(x)
        x = layers.Concatenate()([x, skip])
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    x = layers.UpSampling2D(size // x.shape[1])(x)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.usefixtures("float64")
class TestEncoders:
    def test_vgg16(self):
        canonical = check(encoder_unet("VGG16", nested=False, size=32))
        assert canonical.names["block1_conv2"] == "block1_conv2/Relu"

    def test_nested_mobilenet(self):
        canonical = check(encoder_unet("MobileNetV2", nested=True, size=32, alpha=0.35))
        assert canonical.names["Conv1_relu"] == "Conv1_relu"
        assert "Affine" not in kinds(canonical)

    @pytest.mark.slow
    @pytest.mark.parametrize("nested", [False, True])
    @pytest.mark.parametrize("kind", sorted(ENCODERS))
    def test_all(self, kind, nested):
        check(encoder_unet(kind, nested), tolerance=1e-9)

"""Whole canonical networks against the models they are made from."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from canonical import check, images_for, kinds, logits_of, norm, randomize, small
from keras import layers

from kerasgan.errors import KerasganError
from kerasgan.explain.canonize import canonize
from kerasgan.explain.explainer import Explainer
from kerasgan.models import patch_discriminator, pix2pix_generator, unet


class Sigmoid(layers.Layer):
    def call(self, x):
        return tf.sigmoid(x)


@pytest.mark.usefixtures("float64")
class TestOwnNetworks:
    def test_pix2pix(self):
        canonical = check(pix2pix_generator(32, filters=4))
        assert canonical.activation == "tanh"
        assert canonical.names["down_2_bn"] == "down_2_conv"
        assert canonical.names["up_1_dropout"] == "up_1_conv"
        assert canonical.names["mask"] == "up_5_conv"
        assert set(kinds(canonical)) == {
            "InputLayer",
            "Conv2D",
            "Rectifier",
            "Activation",
            "Conv2DTranspose",
            "Concatenate",
        }

    def test_unet(self):
        canonical = check(unet(32, classes=3, filters=4, levels=2))
        assert canonical.activation == "softmax"
        assert "Affine" not in kinds(canonical)

    def test_discriminator(self):
        canonical = check(patch_discriminator(32, filters=4))
        assert canonical.activation == "linear"
        assert canonical.model.input_names == ["image", "drawing"]


def attention_unet(size=16):
    def gated(skip, signal, name):
        inner = layers.Conv2D(4, 1, strides=2)(skip)
        inner = layers.ReLU()(layers.Add()([inner, layers.Conv2D(4, 1)(signal)]))
        psi = layers.Conv2D(1, 1, activation="sigmoid")(inner)
        return layers.Multiply(name=name)([layers.UpSampling2D()(psi), skip])

    image = keras.Input((size, size, 3))
    skip_1 = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    skip_2 = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(skip_1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(skip_2))
    for skip, name in ((skip_2, "gate_2"), (skip_1, "gate_1")):
        kept = gated(skip, x, name)
        x = layers.Concatenate()([layers.Conv2DTranspose(4, 2, 2)(x), kept])
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x)))
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


def preactivation_unet(size=16):
    def block(x, width, stride=1):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(width, 3, stride, padding="same")(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(width, 3, padding="same")(y)
        return layers.Add()([layers.Conv2D(width, 1, stride)(x), y])

    image = keras.Input((size, size, 3))
    skip_1 = block(layers.Conv2D(4, 3, padding="same")(image), 4)
    skip_2 = block(skip_1, 6, 2)
    x = block(skip_2, 8, 2)
    for skip in (skip_2, skip_1):
        x = block(layers.Concatenate()([layers.UpSampling2D()(x), skip]), skip.shape[-1])
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.usefixtures("float64")
class TestNetworks:
    def test_attention_unet(self):
        canonical = check(attention_unet())
        gate = canonical.model.get_layer("gate_1")
        assert type(gate).__name__ == "Gate"
        assert [tensor.shape[-1] for tensor in gate.input] == [4, 1]

    def test_preactivation_residual_unet(self):
        canonical = check(preactivation_unet())
        assert kinds(canonical).count("Affine") > 3

    def test_nested_and_shared(self):
        def block(name):
            image = keras.Input((16, 16, 4))
            inner = keras.Sequential(
                [layers.Conv2D(4, 3, padding="same", name="conv"), layers.BatchNormalization()],
                name="inner",
            )
            return keras.Model(image, layers.ReLU(name="act")(inner(image)), name=name)

        first, second = block("first"), block("second")
        image = keras.Input((16, 16, 4))
        x = second(first(first(image)))
        canonical = check(keras.Model(image, layers.Conv2D(1, 1)(x)))
        assert "BatchNormalization" not in kinds(canonical)
        assert kinds(canonical).count("Conv2D") == 4
        assert canonical.names["second/inner/conv"] == "second_inner_conv"

    def test_nested_with_several_inputs_and_outputs(self):
        left, right = keras.Input((16, 16, 4), name="a"), keras.Input((16, 16, 4), name="b")
        inner = keras.Model(
            {"a": left, "b": right},
            [layers.Subtract()([left, right]), layers.Conv2D(3, 1)(left)],
        )
        image = keras.Input((16, 16, 4))
        minus, conv = inner({"b": layers.Conv2D(4, 1)(image), "a": image})
        check(keras.Model(image, layers.Concatenate()([minus, conv])))

    def test_tensorflow_calls(self):
        image = keras.Input((16, 16, 4))
        x = 2.0 * image / 3.0 - tf.constant([0.1, 0.2, 0.3, 0.4], "float64")
        x = 1.0 - x[..., ::-1]
        x = tf.nn.relu(layers.Conv2D(4, 3, padding="same")(x) + x)
        x = tf.concat([-x, tf.nn.leaky_relu(x, 0.3), tf.nn.gelu(x, approximate=True)], axis=-1)
        x = tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]])
        x = tf.maximum(x, 0.0) * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True))
        x = tf.image.resize(tf.cast(x, "float64"), (20, 20), method="nearest")
        x = tf.transpose(tf.reshape(x, (-1, 20, 10, 24)), (0, 2, 1, 3))
        canonical = check(keras.Model(image, tf.sigmoid(layers.Conv2D(1, 1)(x))))
        assert canonical.activation == "sigmoid"

    def test_gate_may_be_computed_by_anything(self):
        image = keras.Input((16, 16, 4))
        x = layers.Conv2D(4, 3, padding="same")(image)
        mean = layers.Lambda(lambda t: tf.reduce_mean(t, -1, keepdims=True))(x)
        largest = tf.reduce_max(x, -1, keepdims=True)
        attention = layers.Softmax(axis=1)(layers.Concatenate()([mean, largest]))
        attention = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(attention)
        canonical = check(keras.Model(image, layers.Multiply()([x, attention])))
        assert "Opaque" in kinds(canonical)

    @pytest.mark.parametrize(
        ("first", "second", "signal"),
        [
            ("linear", "sigmoid", 0),
            ("sigmoid", "linear", 1),
            ("linear", "softmax of 1 pixel", 0),
            ("linear of 1 pixel", "linear", 1),
            ("sigmoid of 1 pixel", "sigmoid", 1),
            ("linear of 1 channel", "sigmoid of 1 pixel", 0),
            ("relu6", "linear", 1),
            ("linear", "linear", None),
            ("sigmoid", "sigmoid", None),
            ("linear of 1 pixel", "sigmoid", None),
            ("linear of 1 pixel", "linear of 1 channel", None),
        ],
    )
    def test_which_input_is_the_gate(self, first, second, signal):
        def branch(words, name):
            width = 1 if "channel" in words else 4
            x = layers.Conv2D(width, 3, padding="same", name=name)(image)
            if "pixel" in words:
                x = layers.GlobalAveragePooling2D(keepdims=True)(x)
            x = tf.nn.relu6(x) if "relu6" in words else layers.Activation(words.split()[0])(x)
            return layers.Permute((2, 1, 3))(x)

        image = keras.Input((16, 16, 4))
        inputs = [branch(first, "first"), branch(second, "second")]
        model = keras.Model(image, layers.Multiply(name="product")(inputs))
        if signal is None:
            with pytest.raises(KerasganError, match=r"'product'.*gates="):
                canonize(model)
            return
        canonical = check(model)
        reached = canonical.model.get_layer("product").input[0]
        parents = keras.Model(canonical.model.inputs, reached).layers
        assert ["first", "second"][signal] in [layer.name for layer in parents]

    def test_gates_are_told(self):
        image = keras.Input((16, 16, 4))
        inputs = [layers.Conv2D(3, 1, name=name)(image) for name in ("first", "second", "third")]
        two = keras.Model(image, layers.Multiply(name="product")(inputs[:2]))
        three = keras.Model(image, layers.Multiply(name="product")(inputs))
        for model, gates, signal in (
            (two, 0, "second"),
            (two, 1, "first"),
            (three, (0, 2), "second"),
        ):
            canonical = check(model, gates={"product": gates})
            first = canonical.model.get_layer("product").input[0]
            assert first.node.layer.name == signal

    def test_functional_subclass_with_a_train_step(self):
        class Own(keras.Model):
            def train_step(self, data):
                return {}

        image = keras.Input((16, 16, 4))
        check(Own(image, norm()(layers.Conv2D(2, 3)(image))))

    def test_frozen_encoder(self):
        image = keras.Input((16, 16, 4))
        encoder = keras.Sequential([layers.Conv2D(4, 3), norm(), layers.Dropout(0.5)])
        encoder.trainable = False
        x = encoder(image, training=False)
        assert kinds(check(keras.Model(image, layers.Conv2D(1, 1)(x)))).count("Conv2D") == 2

    def test_open_size(self):
        image = keras.Input((None, None, 3))
        x = layers.UpSampling2D()(layers.ReLU()(norm()(layers.Conv2D(4, 3, 2)(image))))
        check(keras.Model(image, layers.GroupNormalization(2)(x)))

    def test_gate_by_attention_layer(self):
        image = keras.Input((8, 8, 4))
        tokens = layers.Reshape((64, 4))(image)
        tokens = layers.MultiHeadAttention(2, 4)(tokens, tokens)
        gate = layers.Reshape((8, 8, 4))(layers.Dense(4, activation="sigmoid")(tokens))
        canonical = check(keras.Model(image, layers.Multiply()([layers.Conv2D(4, 1)(image), gate])))
        assert kinds(canonical).count("Opaque") == 1

    def test_weights_follow_the_model_in_a_function(self):
        model = randomize(pix2pix_generator(32, filters=2))
        canonical = canonize(model)
        weights = tf.function(canonical.weights)
        for seed in (1, 2):
            randomize(model, seed)
            canonical.update()
            for value, variable in zip(weights(), canonical.model.weights):
                np.testing.assert_allclose(value, variable, rtol=1e-12)
            image = images_for(model)
            expected = logits_of(model, image)
            np.testing.assert_allclose(canonical.model(image), expected, rtol=1e-9, atol=1e-10)

    def test_weights_follow_a_change_within_a_function(self):
        image = keras.Input((8, 8, 3))
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(2, 3, name="conv")(image))
        model = keras.Model(image, x)
        canonical = canonize(model)

        @tf.function
        def before_and_after():
            first = canonical.weights()
            model.get_layer("norm").gamma.assign([2.0, 3.0])
            return first, canonical.weights()

        for first, second, factors in zip(*before_and_after(), ([2.0, 3.0], 1.0)):
            np.testing.assert_allclose(second, first * factors)


class TestPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_is_computed_in_float32(self, policy):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = randomize(unet(32, filters=4, levels=2))
            canonical = canonize(model)
        finally:
            keras.mixed_precision.set_global_policy(None)
        assert canonical.dtype == "float32"
        plain = unet(32, filters=4, levels=2)
        plain.set_weights(model.get_weights())
        image = images_for(plain)
        received = tf.sigmoid(canonical.model(image))
        np.testing.assert_allclose(received, plain(image), rtol=1e-4, atol=1e-5)

    def test_float32(self):
        assert check(unet(32, filters=4, levels=2), tolerance=1e-5).dtype == "float32"

    def test_integer_images(self):
        image = keras.Input((16, 16, 3), dtype="uint8")
        x = layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(image))
        assert canonize(keras.Model(image, x)).model.inputs[0].dtype == tf.float32


class Doubling(layers.Layer):
    def call(self, inputs):
        return inputs * 2


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


class Untouched(layers.Conv2D):
    pass


class Changed(layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) * 2


class GaussianNoise(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def monte_carlo():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dropout(0.5, name="drop")(image, training=True))


def two_products():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Multiply(name="product")([image, image]))


def with_attention():
    image = keras.Input((8, 8, 3))
    x = layers.Softmax(name="attention")(layers.Conv2D(3, 1)(image))
    return keras.Model(image, layers.Conv2D(1, 1)(x))


def two_outputs():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, [layers.Conv2D(1, 1)(image), layers.Conv2D(1, 1)(image)])


def with_nan():
    model = small(layers.Conv2D(4, 3, name="broken"))
    model.get_layer("broken").kernel.assign(np.full((3, 3, 4, 4), np.nan))
    return model


def called_in_training():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, norm()(layers.Conv2D(1, 1)(image), training=True))


class TestBadInput:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (Subclassed, "functional.*Subclassed"),
            (lambda: "model", "functional.*str"),
            (lambda: keras.Sequential([layers.Conv2D(1, 1)]), "built.*build"),
            (two_outputs, "one output.*2"),
            (lambda: small(Doubling(name="mine")), "'mine' .Doubling.*custom"),
            (lambda: small(Changed(2, 1, name="mine")), "'mine' .Changed.*custom"),
            (lambda: small(layers.Lambda(lambda x: x * 2, name="mine")), "'mine' .Lambda"),
            (lambda: small(layers.ConvLSTM2D(2, 3, name="rnn"), shape=(3, 8, 8, 2)), "'rnn'"),
            (
                lambda: small(layers.Conv3D(2, 3, name="cube"), shape=(8, 8, 3, 2)),
                "'cube'.*no rule",
            ),
            (
                lambda: small(layers.TimeDistributed(layers.Dense(2), name="wrap")),
                "'wrap'.*wrapper",
            ),
            (lambda: small(norm(axis=1)), "'norm'.*channels.*last"),
            (lambda: small(layers.UnitNormalization(name="unit")), "'unit'.*no rule"),
            (lambda: small(layers.Softmax(axis=1, name="soft")), "'soft'.*axis 1"),
            (two_products, "'product'.*gate.*gates="),
            (with_attention, "'attention'.*softmax"),
            (with_nan, "'broken'.*kernel.*NaN"),
            (called_in_training, "'norm'.*training=True"),
            (lambda: small(GaussianNoise()), "differs.*outputs"),
            (
                lambda: small(layers.Conv2D(2, 1, activation=tf.math.l2_normalize, name="conv")),
                "'conv'.*'l2_normalize'.*element",
            ),
            (
                lambda: small(layers.Conv2D(2, 1, activation=lambda x: x - tf.reduce_mean(x))),
                "'<lambda>'.*element",
            ),
            (
                lambda: small(layers.Resizing(4, 4, interpolation="area", name="grow")),
                "'grow'.*area",
            ),
            (monte_carlo, "'drop'.*training=True"),
        ],
    )
    def test_model(self, build, message):
        model = build()
        if getattr(model, "built", False) and "NaN" not in message:
            randomize(model)
        with pytest.raises(KerasganError, match=message):
            canonize(model)

    def test_channels_first(self):
        image = keras.Input((4, 16, 16))
        x = layers.Conv2D(2, 3, data_format="channels_first", name="conv")(image)
        with pytest.raises(KerasganError, match=r"'conv'.*channels_last"):
            canonize(keras.Model(image, x))

    def test_goes_on_after_the_last_activation(self):
        body = [
            layers.Conv2D(1, 3, activation="sigmoid"),
            layers.UpSampling2D(interpolation="bilinear"),
        ]
        model = small(*body, last=layers.Rescaling(2.0))
        with pytest.raises(KerasganError, match=r"logits.*goes on after"):
            canonize(model)

    @pytest.mark.parametrize(
        ("channels", "activation", "last"),
        [
            (3, "softmax", lambda x: layers.Conv2D(3, 1, activation=tf.nn.softmax)(x)),
            (3, "softmax", lambda x: layers.Lambda(tf.nn.softmax)(layers.Conv2D(3, 1)(x))),
            (1, "sigmoid", lambda x: tf.sigmoid(layers.Conv2D(1, 1)(x))),
            (1, "sigmoid", lambda x: layers.Conv2D(1, 1, activation=lambda z: tf.sigmoid(z))(x)),
            (1, "sigmoid", lambda x: layers.Cropping2D()(Sigmoid()(layers.Conv2D(1, 1)(x)))),
            (1, "tanh", lambda x: layers.Lambda(tf.tanh)(layers.Conv2D(1, 1)(x))),
            (1, "sigmoid", lambda x: layers.Conv2D(3, 1, activation="sigmoid")(x)[..., 1:2]),
        ],
    )
    def test_activations_of_any_kind_are_taken_off(self, channels, activation, last):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, last(image))
        images = images_for(model)
        canonical = canonize(model)
        assert canonical.activation == activation
        assert canonical.model.output_shape[-1] == channels
        expected = keras.activations.get(activation)(canonical.model(images))
        np.testing.assert_allclose(expected, model(images), atol=1e-5)

    @pytest.mark.parametrize(
        ("last", "words"),
        [
            (lambda x: layers.Lambda(lambda z: tf.sigmoid(2 * z), name="twice")(x), "'twice'"),
            (lambda x: layers.Lambda(lambda z: 1 / (1 + tf.exp(-z)), name="own")(x), "'own'"),
            (lambda x: tf.image.resize(Sigmoid(name="s")(x), (16, 16)), "'s'"),
            (lambda x: tf.image.resize(tf.sigmoid(x), (16, 16)), "goes on after 'tf.math.sigmoid"),
            (lambda x: tf.cast(x > 0, tf.float32), "'tf.math.greater"),
            (lambda x: layers.Average(name="mean")([tf.sigmoid(x), tf.sigmoid(-x)]), "'mean'"),
            (lambda x: layers.Activation("sigmoid")(layers.Conv2D(3, 1)(x)), "may overlap"),
        ],
    )
    def test_what_cannot_be_taken_off_is_named(self, last, words):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, last(layers.Conv2D(1, 1)(image)))
        with pytest.raises(KerasganError, match=words):
            Explainer(model)

    def test_subclassed_models_are_explained_by_their_call(self):
        class Mine(keras.Model):
            def __init__(self):
                super().__init__(name="mine")
                self.last = layers.Conv2D(1, 1)

            def call(self, x):
                return tf.sigmoid(self.last(x))

        image, mine = keras.Input((8, 8, 3)), Mine()
        with pytest.raises(KerasganError, match=r"'mine'.*yours\.call\(image\)"):
            canonize(keras.Model(image, mine(image)))
        canonical = canonize(keras.Model(image, mine.call(image)))
        assert canonical.activation == "sigmoid"

    def test_moves_after_the_last_activation(self):
        body = [layers.Conv2D(3, 3, activation="softmax", name="conv"), layers.Cropping2D()]
        canonical = canonize(small(*body, last=layers.UpSampling2D()))
        assert canonical.activation == "softmax"
        assert kinds(canonical) == ["InputLayer", "Conv2D", "Cropping2D", "UpSampling2D"]

    def test_gate_names_and_indices(self):
        with pytest.raises(KerasganError, match=r"gates.*\['product'\].*'produkt'"):
            canonize(two_products(), gates={"produkt": 0})
        with pytest.raises(KerasganError, match=r"'product'.*2 inputs.*2"):
            canonize(two_products(), gates={"product": 2})

    def test_subclass_that_changes_nothing_is_fine(self):
        check(small(Untouched(4, 3)), tolerance=1e-5)

    def test_inside_a_function(self):
        model = small(layers.Conv2D(4, 3))
        with tf.Graph().as_default(), pytest.raises(KerasganError, match=r"outside of tf.function"):
            canonize(model)

    def test_open_size_that_does_not_fit(self):
        image = keras.Input((None, None, 3))
        x = layers.Reshape((-1, 7))(layers.Conv2D(3, 1)(image))
        model = keras.Model(image, layers.Dense(2)(x))
        with pytest.raises(KerasganError, match=r"128, 128, 3.*fixed size"):
            canonize(model)

    def test_sequential(self):
        model = keras.Sequential([layers.Conv2D(4, 3), norm(), layers.Conv2D(1, 1)])
        model.build((None, 16, 16, 3))
        check(model, tolerance=1e-5)

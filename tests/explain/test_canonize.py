"""Graphs of whole networks against the models that they are read from."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import styles
from canonical import check, check_nodes, images_for, kinds, norm, randomize, small, types
from keras import layers
from refusals import refused
from stacks import tf

from kerasgan.errors import KerasganError
from kerasgan.explain.canonize import read_graph
from kerasgan.explain.explainer import Explainer
from kerasgan.models import patch_discriminator, pix2pix_generator, unet
from kerasgan.stack import KERAS_3


class Sigmoid(layers.Layer):
    def call(self, x):
        return tf.sigmoid(x)


@pytest.mark.usefixtures("float64")
class TestOwnNetworks:
    def test_pix2pix(self):
        graph = check(pix2pix_generator(32, filters=4))
        assert graph.activation == "tanh"
        assert graph.names["down_2_bn"] == "down_2_conv"
        assert graph.names["up_1_dropout"] == "up_1_conv"
        assert graph.names["mask"] == "up_5_conv"
        assert set(kinds(graph)) == {"weighted", "passed", "routed"}
        assert set(types(graph)) == {
            "Conv2D",
            "LeakyReLU",
            "ReLU",
            "Conv2DTranspose",
            "Concatenate",
        }

    def test_unet(self):
        graph = check(unet(32, classes=3, filters=4, levels=2))
        assert graph.activation == "softmax"
        assert "affine" not in kinds(graph)

    def test_discriminator(self):
        graph = check(patch_discriminator(32, filters=4))
        assert graph.activation == "linear"
        assert graph.image_names == ["image", "signed_mask"]


@pytest.mark.usefixtures("float64")
class TestNetworks:
    def test_attention_unet(self):
        graph = check(styles.attention_unet())
        gates = [node for node in graph.nodes if node.kind == "gate"]
        assert [graph.shape(node.inputs[0])[-1] for node in gates] == [8, 4]
        assert graph.gates == {node.name: (1,) for node in gates}

    def test_preactivation_residual_unet(self):
        assert kinds(check(styles.residual_unet())).count("affine") == 3

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
        graph = check(keras.Model(image, layers.Conv2D(1, 1)(x)))
        assert "affine" not in kinds(graph)
        assert types(graph).count("Conv2D") == 4
        assert graph.names["second/inner/conv"] == "second/inner/conv"
        assert graph.names["second/inner"] == "second/inner/conv"
        assert graph.names["first"] == graph.names["first/act"] == "first/act"
        names = [node.name for node in graph.nodes]
        assert {"first/inner/conv", "first/inner/conv:1"} < set(names)

    def test_nested_with_several_inputs_and_outputs(self):
        left, right = keras.Input((16, 16, 4), name="a"), keras.Input((16, 16, 4), name="b")
        inner = keras.Model(
            {"a": left, "b": right}, [layers.Subtract()([left, right]), layers.Conv2D(3, 1)(left)]
        )
        image = keras.Input((16, 16, 4))
        minus, conv = inner({"b": layers.Conv2D(4, 1)(image), "a": image})
        check(keras.Model(image, layers.Concatenate()([minus, conv])))

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
        product = layers.Multiply(name="product")(inputs)
        model = keras.Model(image, layers.Conv2D(2, 1)(product))
        if signal is None:
            refused(r"'product'.*gates=", read_graph, model)
            return
        graph = check(model)
        assert graph.gates == {"product": (1 - signal,)}
        reached = {node.name for node in graph.nodes}
        assert reached & {"first", "second"} == {["first", "second"][signal]}

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
        assert kinds(check(keras.Model(image, layers.Conv2D(1, 1)(x)))) == ["weighted"] * 2

    def test_open_size(self):
        image = keras.Input((None, None, 3))
        x = layers.UpSampling2D()(layers.ReLU()(norm()(layers.Conv2D(4, 3, 2)(image))))
        check(keras.Model(image, layers.GroupNormalization(2)(x)))

    def test_weights_follow_a_change_within_a_function(self):
        image = keras.Input((8, 8, 3))
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(2, 3, name="conv")(image))
        model = keras.Model(image, x)
        graph = read_graph(model)

        def weights(image):
            run = graph.run(image)
            return run.kernel(graph.node("conv")), run.bias(graph.node("conv")), run.logits

        @tf.function
        def before_and_after(image):
            first = weights(image)
            model.get_layer("norm").gamma.assign([2.0, 3.0])
            return first, weights(image)

        for first, second in zip(*before_and_after(images_for(model)[0])):
            np.testing.assert_allclose(second, first * [2.0, 3.0])


class TestPrecision:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_is_computed_in_float32(self, policy):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = randomize(unet(32, filters=4, levels=2))
            graph = read_graph(model)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert graph.dtype == "float32"
        plain = unet(32, filters=4, levels=2)
        plain.set_weights(model.get_weights())
        image = images_for(plain)
        run = graph.run(image)
        check_nodes(run, 1e-4)
        np.testing.assert_allclose(tf.sigmoid(run.logits), plain(image[0]), rtol=1e-4, atol=1e-5)

    def test_integer_images(self):
        image = keras.Input((16, 16, 3), dtype="uint8")
        x = layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(image))
        model = randomize(keras.Model(image, x))
        graph = read_graph(model)
        assert graph.image_specs[0].dtype == tf.float32
        given = tf.cast(
            tf.random.stateless_uniform((2, 16, 16, 3), (0, 0), 0, 256, tf.int32), "uint8"
        )
        received = graph.run(tf.cast(given, tf.float32)).logits
        np.testing.assert_allclose(received, model(given), rtol=1e-5, atol=1e-6)
        explainer = Explainer(model, "epsilon", preprocess="[0,255]")
        explainer.check(target=np.ones((14, 14, 2)))


class Doubling(layers.Layer):
    def call(self, inputs):
        return inputs * 2


class Untouched(layers.Conv2D):
    pass


class Changed(layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) * 2


class GaussianNoise(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def with_attention():
    image = keras.Input((8, 8, 4))
    x = layers.Softmax(name="attention")(layers.Conv2D(3, 1)(image))
    return keras.Model(image, layers.Conv2D(1, 1)(x))


def of_images_of_its_own():
    image = keras.Input((8, 8, 4))
    x = tf.matmul(layers.Conv2D(3, 1)(image), layers.Conv2D(3, 1)(image), transpose_b=True)
    return keras.Model(image, layers.Conv2D(1, 1)(x))


def own(function, **options):
    return lambda: small(layers.Conv2D(3, 1, activation=function), **options)


BY_HAND = (
    lambda x: 0.5 * x * (1.0 + tf.tanh(0.8 * (x + 0.044715 * tf.pow(x, 3)))),  # GELU
    lambda x: x * 0.5 * (1.0 + tf.math.erf(x / np.sqrt(2.0))),
    lambda x: x / (1.0 + tf.exp(-x)),  # SiLU
    lambda x: x * tf.math.tanh(tf.math.softplus(x)),  # mish
    lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,  # hard swish
    lambda x: x + tf.sin(x) ** 2,  # snake
)


def gated_linear_unit(x):
    value, gate = tf.split(x, 2, axis=-1)
    return value * tf.sigmoid(gate)


@pytest.mark.usefixtures("float64")
class TestExplainedToo:
    """What is written in another way than as Keras' own layers, one by one."""

    @pytest.mark.parametrize(
        "build",
        [
            lambda: small(Doubling(name="own")),
            lambda: small(Changed(2, 1, name="own")),
            lambda: small(Untouched(4, 3)),
            lambda: small(GaussianNoise()),
            lambda: small(layers.Lambda(lambda x: x * 2 - 1, name="own")),
            lambda: small(layers.TimeDistributed(layers.Dense(2), name="wrap")),
            lambda: small(layers.UnitNormalization(name="unit"), layers.ReLU()),
            lambda: small(layers.Softmax(axis=1, name="soft")),
            lambda: small(norm(axis=1), layers.Conv2D(3, 3)),
            lambda: small(layers.EinsumDense("bhwc,cd->bhwd", (16, 16, 3), bias_axes="d")),
            with_attention,
            of_images_of_its_own,
            own(lambda x: x * tf.sigmoid(1.7 * x)),
            own(lambda x: tf.where(x > 0, x, 0.1 * x)),
            own(lambda x: tf.math.softplus(x) ** 2),
            lambda: small(*(layers.Conv2D(3, 3, activation=f) for f in BY_HAND)),
            lambda: small(layers.Conv2D(4, 3), layers.Lambda(gated_linear_unit)),
        ],
    )
    def test_network(self, build):
        model = build()
        check(model)
        images = [image.numpy() for image in images_for(model)]
        logits = np.ones(model.output_shape[1:])
        Explainer(model, "epsilon").check(images[0], target=logits)

    def test_volumes(self):
        body = [layers.Conv3D(2, 3), norm(), layers.ReLU(), layers.Conv3DTranspose(2, 3, 2)]
        graph = check(small(*body, shape=(8, 8, 5, 2), last=layers.Dense(2)))
        assert kinds(graph) == ["weighted", "passed", "weighted", "weighted"]

    def test_several_outputs(self):
        image = keras.Input((8, 8, 4))
        x = layers.Conv2D(3, 1, name="shared")(image)
        outputs = [layers.Conv2D(1, 1, name=name)(x) for name in ("first", "second")]
        model = keras.Model(image, outputs)
        for output in (1, "second"):
            graph = read_graph(model, output=output)
            assert [node.name for node in graph.nodes] == ["shared", "second"]
        for wrong in (None, 2, -1, True, "third"):
            refused(r"output.*'first', 'second'", read_graph, model, output=wrong)


OVERRULED = pytest.mark.skipif(KERAS_3, reason="in Keras 3 training=False of the call wins")


def monte_carlo():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dropout(0.5, name="drop")(image, training=True))


def two_products():
    image = keras.Input((8, 8, 3))
    inputs = [layers.Conv2D(3, 1)(image), layers.Conv2D(3, 1)(image)]
    return keras.Model(image, layers.Multiply(name="product")(inputs))


def with_nan():
    model = small(layers.Conv2D(4, 3, name="broken"))
    model.get_layer("broken").kernel.assign(np.full((3, 3, 4, 4), np.nan))
    return model


def called_in_training():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, norm()(layers.Conv2D(1, 1)(image), training=True))


def of_nothing():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, tf.ones_like(image))


def made_of(function):
    return lambda: small(layers.Lambda(function, name="own"))


@pytest.mark.filterwarnings("ignore:.*stays in training mode")
class TestBadInput:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: keras.Model(), "shape"),
            (lambda: "model", "not a file"),
            (lambda: keras.Sequential([layers.Conv2D(1, 1)]), "built.*build"),
            (lambda: small(layers.ConvLSTM2D(2, 3, name="rnn"), shape=(3, 8, 8, 2)), "'rnn'"),
            (two_products, "'product'.*gate.*gates="),
            (with_nan, "'broken'.*kernel.*NaN"),
            pytest.param(called_in_training, "'norm'.*training=True", marks=OVERRULED),
            pytest.param(monte_carlo, "'drop'.*training=False", marks=OVERRULED),
            (of_nothing, "does not depend on the image"),
            (own(tf.math.l2_normalize), "batch"),
            (own(lambda x: x - tf.reduce_mean(x)), "batch"),
            (made_of(lambda x: tf.concat([x, tf.ones((1, 16, 16, 1))], -1)), "'own'.*constant"),
            (
                made_of(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: 2 * x, lambda: x)),
                "'own'.*control flow",
            ),
            (made_of(lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32)), "'own'.*whole numbers"),
            (made_of(lambda x: x + tf.random.normal((1, 16, 16, 4))), "'own'.*random"),
        ],
    )
    def test_model(self, build, message):
        model = build()
        if getattr(model, "built", False) and "NaN" not in message:
            randomize(model)
        refused(message, read_graph, model)

    def test_channels_first(self):
        image = keras.Input((4, 16, 16))
        x = layers.Conv2D(2, 3, data_format="channels_first", name="conv")(image)
        refused(r"'conv'.*channels_last", read_graph, keras.Model(image, x))

    @pytest.mark.parametrize(
        ("channels", "activation", "last"),
        [
            (3, "softmax", lambda x: layers.Conv2D(3, 1, activation=tf.nn.softmax)(x)),
            (3, "softmax", lambda x: layers.Lambda(tf.nn.softmax)(layers.Conv2D(3, 1)(x))),
            (1, "sigmoid", lambda x: tf.sigmoid(layers.Conv2D(1, 1)(x))),
            (1, "sigmoid", lambda x: layers.Conv2D(1, 1, activation=lambda z: tf.sigmoid(z))(x)),
            (1, "sigmoid", lambda x: layers.Cropping2D()(Sigmoid()(layers.Conv2D(1, 1)(x)))),
            (1, "sigmoid", lambda x: layers.Lambda(lambda z: tf.sigmoid(2 * z))(x[..., :1])),
            (1, "sigmoid", lambda x: layers.Lambda(lambda z: 1 / (1 + tf.exp(-z)))(x[..., :1])),
            (1, "hard_sigmoid", lambda x: layers.Activation("hard_sigmoid")(x[..., :1])),
            (3, "log_softmax", lambda x: layers.Activation("log_softmax")(layers.Conv2D(3, 1)(x))),
            (1, "tanh", lambda x: layers.Lambda(tf.tanh)(layers.Conv2D(1, 1)(x))),
            (1, "sigmoid", lambda x: layers.Conv2D(3, 1, activation="sigmoid")(x)[..., 1:2]),
        ],
    )
    def test_activations_of_any_kind_are_taken_off(self, channels, activation, last):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, last(image))
        images = images_for(model)
        graph = read_graph(model)
        assert graph.activation == activation
        logits = graph.run(images).logits
        assert logits.shape[-1] == channels
        expected = keras.activations.get(activation)(logits)
        np.testing.assert_allclose(expected, model(images[0]), atol=1e-5)

    @pytest.mark.parametrize(
        ("last", "words"),
        [
            (lambda x: layers.Lambda(lambda z: tf.sigmoid(z) ** 2, name="own")(x), "'own'"),
            (lambda x: tf.image.resize(Sigmoid(name="s")(x), (16, 16)), "'s'"),
            (
                lambda x: tf.image.resize(tf.sigmoid(x), (16, 16)),
                "goes on after '(tf.math.sigmoid|applied)",
            ),
            (lambda x: tf.cast(x > 0, tf.float32), "'(tf.cast|applied)"),
            (lambda x: layers.Average(name="mean")([tf.sigmoid(x), tf.sigmoid(-x)]), "'mean'"),
            (lambda x: layers.Activation("sigmoid")(layers.Conv2D(3, 1)(x)), "may overlap"),
        ],
    )
    def test_what_cannot_be_taken_off_is_named(self, last, words):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, last(layers.Conv2D(1, 1)(image)))
        refused(words, Explainer, model)

    def test_moves_after_the_last_activation(self):
        body = [
            layers.Conv2D(3, 3, activation="softmax", name="conv"),
            layers.Cropping2D(name="cropping2d"),
        ]
        model = randomize(small(*body, last=layers.UpSampling2D(name="up")))
        graph = read_graph(model)
        assert graph.activation == "softmax"
        assert types(graph) == ["Conv2D", "Cropping2D", "UpSampling2D"]
        assert graph.names["conv"] == "conv"
        assert graph.names["cropping2d"] == "cropping2d"
        images = images_for(model)
        np.testing.assert_allclose(tf.nn.softmax(graph.run(images).logits), model(images[0]), 1e-5)

    def test_inside_a_function(self):
        model = small(layers.Conv2D(4, 3))
        with tf.Graph().as_default(), pytest.raises(KerasganError, match=r"outside of tf.function"):
            read_graph(model)

    def test_open_size_that_does_not_fit(self):
        image = keras.Input((None, None, 3))
        x = layers.Reshape((-1, 7))(layers.Conv2D(3, 1)(image))
        model = keras.Model(image, layers.Dense(2)(x))
        refused(r"128, 128, 3.*fixed size", read_graph, model)


def test_one_class_of_a_softmax_is_refused_with_the_way_out():
    image = keras.Input((8, 8, 3))
    classes = keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(image))
    one = keras.Model(classes.input, classes.output[..., 1:])
    refused(r"leaves classes out.*gives all classes", Explainer, one, preprocess="[-1,1]")
    Explainer(classes, preprocess="[-1,1]").check()


@pytest.mark.skipif(not hasattr(keras.Model, "quantize"), reason="Keras 2.14 does not quantize")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantized_layers_are_refused_by_name(mode):
    image = keras.Input((8, 8, 3))
    x = layers.Dense(4, activation="relu", name="coarse")(image)
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.quantize(mode)
    with pytest.raises(KerasganError, match=r"'coarse'.*before model\.quantize"):
        Explainer(model, preprocess="[-1,1]").explain(np.zeros((1, 8, 8, 3)))

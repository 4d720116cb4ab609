"""What an output means: the oracle is the network's own output."""

from __future__ import annotations

import gc
import time
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from refusals import refused
from stacks import tf

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.inference import predict_probability
from kerasgan.models.outputs import read_output, with_logits

ops = getattr(keras, "ops", keras.backend)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)


def head(x, channels=1, activation=None, **options):
    options.setdefault("kernel_initializer", keras.initializers.RandomNormal(0, 3, seed=1))
    return layers.Conv2D(channels, 1, activation=activation, **options)(x)


def other(x, channels=1, activation="sigmoid"):
    return head(x, channels, activation, bias_initializer=keras.initializers.RandomNormal(seed=2))


def network(build, size=16):
    image = keras.Input((size, size, 3))
    return keras.Model(image, build(image), name="net")


@tf.function
def compiled_sigmoid(x):
    return tf.sigmoid(x)


class InsideFunction(layers.Layer):
    def call(self, x):
        return compiled_sigmoid(x)


def written_softmax(x):
    exponentials = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
    return exponentials / tf.reduce_sum(exponentials, -1, keepdims=True)


def both(p):
    return layers.Concatenate()([1 - p, p])


def of_zero(x):
    return tf.nn.softmax(tf.concat([tf.zeros_like(x), x], -1))


def share(x):
    return tf.exp(x) / (1 + tf.exp(x))


def flat_softmax(x):
    flat = layers.Activation("softmax")(layers.Reshape((256, 3))(head(x, 3)))
    return layers.Reshape((16, 16, 3))(flat)


def blurred(x):
    kernel = tf.ones((3, 3, 1, 1)) / 9
    return tf.nn.depthwise_conv2d(head(x, 1, "sigmoid"), kernel, [1, 1, 1, 1], "SAME")


SIGMOIDS = {
    "activation by name": lambda x: head(x, 1, "sigmoid"),
    "tf.sigmoid": lambda x: tf.sigmoid(head(x)),
    "keras.ops": lambda x: ops.sigmoid(head(x)),
    "Lambda": lambda x: layers.Lambda(tf.sigmoid, name="relu")(head(x)),
    "written out": lambda x: 1 / (1 + tf.exp(-head(x))),
    "of a tanh": lambda x: 0.5 * (tf.tanh(head(x)) + 1),
    "of exponentials": lambda x: share(tf.multiply(0.2, head(x))),
    "of its logarithm": lambda x: tf.exp(tf.math.log_sigmoid(head(x))),
    "in a tf.function": lambda x: InsideFunction()(head(x)),
    "hard": lambda x: head(x, 1, "hard_sigmoid"),
    "relu6": lambda x: tf.nn.relu6(head(x) + 3) / 6,
    "clipped": lambda x: tf.clip_by_value(head(x), 0, 1),
    "ReLU(1)": lambda x: layers.ReLU(max_value=1.0)(head(x)),
    "error function": lambda x: 0.5 * (1 + tf.math.erf(head(x))),
    "cropped": lambda x: layers.Cropping2D(2)(head(x, 1, "sigmoid")),
    "padded": lambda x: layers.ZeroPadding2D(2)(head(x, 1, "sigmoid")),
    "resized": lambda x: tf.image.resize(head(x, 1, "sigmoid"), (24, 24)),
    "resized by area": lambda x: tf.image.resize(head(x, 1, "sigmoid"), (8, 8), "area"),
    "resized smoothly": lambda x: tf.image.resize(head(x, 1, "sigmoid"), (8, 8), antialias=True),
    "blurred": blurred,
    "pooled": lambda x: layers.AveragePooling2D(2)(head(x, 1, "sigmoid")),
    "flipped": lambda x: tf.reverse(head(x, 1, "sigmoid"), [2]),
    "rolled": lambda x: tf.roll(head(x, 1, "sigmoid"), [1, 2], [1, 2]),
    "squeezed": lambda x: tf.expand_dims(tf.squeeze(head(x, 1, "sigmoid"), -1), -1),
    "tiled": lambda x: tf.tile(head(x, 1, "sigmoid"), [1, 2, 2, 1]),
    "gathered": lambda x: tf.gather(head(x, 1, "sigmoid"), list(range(15, -1, -1)), axis=1),
    "mirrored": lambda x: tf.pad(
        head(x, 1, "sigmoid"), [[0, 0], [2, 2], [2, 2], [0, 0]], "REFLECT"
    ),
    "in blocks": lambda x: tf.nn.depth_to_space(tf.nn.space_to_depth(head(x, 1, "sigmoid"), 2), 2),
    "cast": lambda x: tf.cast(tf.cast(head(x, 1, "sigmoid"), tf.bfloat16), tf.float32),
    "linear behind": lambda x: layers.Activation("linear")(head(x, 1, "sigmoid")),
    "smoothed": lambda x: 0.9 * head(x, 1, "sigmoid") + 0.05,
    "clipped behind": lambda x: tf.clip_by_value(head(x, 1, "sigmoid"), 1e-7, 1 - 1e-7),
    "average": lambda x: layers.Average()([head(x, 1, "sigmoid"), other(x)]),
    "sum of a stack": lambda x: tf.reduce_sum(tf.stack([head(x, 1, "sigmoid"), other(x)]), 0) / 2,
    "maximum": lambda x: layers.Maximum()([head(x, 1, "sigmoid"), other(x)]),
    "product": lambda x: layers.Multiply()([head(x, 1, "sigmoid"), other(x)]),
    "foreground of two": lambda x: head(x, 2, "softmax")[..., 1:],
    "pixel shuffle": lambda x: tf.nn.depth_to_space(head(x, 4, "sigmoid"), 2),
}
SOFTMAXES = {
    "activation by name": lambda x: head(x, 3, "softmax"),
    "activation=tf.nn.softmax": lambda x: head(x, 3, tf.nn.softmax),
    "Softmax": lambda x: layers.Softmax()(head(x, 3)),
    "keras.ops in a Lambda": lambda x: layers.Lambda(ops.softmax)(head(x, 3)),
    "written out": lambda x: written_softmax(head(x, 3)),
    "of its logarithm": lambda x: tf.exp(tf.nn.log_softmax(head(x, 3))),
    "behind a resize": lambda x: tf.nn.softmax(tf.image.resize(head(x, 3), (24, 24))),
    "before a resize": lambda x: layers.UpSampling2D(interpolation="bilinear")(
        head(x, 3, "softmax")
    ),
    "nearest": lambda x: layers.UpSampling2D()(head(x, 3, "softmax")),
    "flat": flat_softmax,
    "cropped": lambda x: head(x, 3, "softmax")[:, 2:-2, 1:-1, :],
    "turned": lambda x: layers.Permute((2, 1, 3))(head(x, 3, "softmax")),
    "average": lambda x: layers.Average()([head(x, 3, "softmax"), other(x, 3, "softmax")]),
    "p and 1 - p": lambda x: both(head(x, 1, "sigmoid")),
    "a channel of zeros": lambda x: of_zero(head(x)),
}
LOGITS = {
    "one": head,
    "classes": lambda x: head(x, 3),
    "resized": lambda x: tf.image.resize(head(x, 3), (24, 24), "bicubic"),
    "transposed": lambda x: layers.Conv2DTranspose(1, 4, strides=2, padding="same")(x),
    "batch norm": lambda x: layers.BatchNormalization()(head(x)),
    "average": lambda x: layers.Average()([head(x), other(x, 1, None)]),
    "sum": lambda x: head(x) + head(x, 1, "relu"),
    "hidden sigmoid": lambda x: head(head(x, 8, "sigmoid")),
    "hidden sigmoid, zeros": lambda x: head(head(x, 8, "sigmoid"), kernel_initializer="zeros"),
    "einsum": lambda x: tf.einsum("bhwc,c->bhw", x, tf.constant([1.0, 2.0, -3.0]))[..., None],
    "pixel shuffle": lambda x: tf.nn.depth_to_space(head(x, 4), 2),
}
LABELS = {
    "activation by name": lambda x: head(x, 3, "sigmoid"),
    "tf.sigmoid": lambda x: tf.sigmoid(head(x, 3)),
    "average": lambda x: layers.Average()([head(x, 3, "sigmoid"), other(x, 3)]),
    "cropped": lambda x: layers.Cropping2D(2)(head(x, 3, "sigmoid")),
    "heads joined": lambda x: layers.Concatenate()([head(x, 1, "sigmoid"), other(x)]),
}
TANHS = {
    "activation by name": lambda x: head(x, 1, "tanh"),
    "cropped": lambda x: layers.Cropping2D(2)(head(x, 1, "tanh")),
    "averaged": lambda x: layers.AveragePooling2D(2)(head(x, 1, "tanh")),
    "of a sigmoid": lambda x: 2 * head(x, 1, "sigmoid") - 1,
}
HARD = {
    "threshold": lambda x: tf.cast(head(x, 1, "sigmoid") > 0.5, tf.float32),
    "round": lambda x: tf.round(head(x, 1, "sigmoid")),
    "where": lambda x: tf.where(head(x) > 0, 1.0, 0.0),
    "one-hot": lambda x: tf.one_hot(tf.argmax(head(x, 3), -1), 3),
}


UNCLEAR = {
    "relu": (lambda x: head(x, 1, "relu", name="last"), "Relu in layer 'last'"),
    "swish": (lambda x: head(x, 1, "swish", name="last"), "Mul in layer 'last'"),
    "softplus": (lambda x: head(x, 1, "softplus", name="last"), "Softplus in layer 'last'"),
    "leaky": (lambda x: layers.LeakyReLU(name="last")(head(x)), "LeakyRelu in layer 'last'"),
    "sine": (lambda x: tf.sin(head(x)), "Sin in layer"),
    "grey levels": (lambda x: 255 * head(x, 1, "sigmoid"), "from 0 to 255"),
    "too much": (lambda x: layers.Add()([head(x, 1, "sigmoid"), other(x)]), "from 0 to 2"),
    "overshoots": (
        lambda x: tf.image.resize(head(x, 1, "sigmoid"), (24, 24), "bicubic"),
        "Bicubic",
    ),
    "batch norm behind": (
        lambda x: layers.BatchNormalization(name="last")(head(x, 1, "sigmoid")),
        "in layer 'last' gives any numbers",
    ),
    "stretched": (
        lambda x: (x - tf.reduce_min(x)) / (tf.reduce_max(x) - tf.reduce_min(x)),
        "RealDiv",
    ),
    "numbers of classes": (lambda x: tf.cast(tf.argmax(x, -1), tf.float32)[..., None], "ArgMax"),
    "wrong axis": (lambda x: layers.Softmax(axis=1, name="last")(head(x, 3)), "add up to 1"),
    "class cut off": (lambda x: head(x, 4, "softmax")[..., 1:], "add up to 1"),
    "padded softmax": (lambda x: layers.ZeroPadding2D(2)(head(x, 3, "softmax")), "add up to 1"),
    "softmax of one": (lambda x: head(x, 1, "softmax"), "one channel"),
    "two meanings": (
        lambda x: tf.concat([head(x, 1, "sigmoid"), head(x, 1, "tanh")], -1),
        "ConcatV2 in layer",
    ),
    "constant": (lambda x: tf.zeros_like(x[..., :1]), "depend on the image"),
    "no channels": (lambda x: head(x, 1, "sigmoid")[..., 0], r"Reshape\(\(height, width, 1\)\)"),
    "flat": (lambda x: layers.Reshape((256, 3))(head(x, 3)), r"Reshape\(\(16, 16, 3\)\)"),
}


def cases(table):
    return pytest.mark.parametrize("build", table.values(), ids=list(table))


def agrees(model, activation, exclusive=False, labels=False, hard=False):
    reading = read_output(model)
    assert reading[:3] == (activation, exclusive, labels)
    assert reading.hard == hard
    output, logits = with_logits(model)(IMAGES)
    expected = tf.cast(model(IMAGES, training=False), tf.float32).numpy()
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=1e-6)
    back = tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)
    expected = (expected + 1) / 2 if activation == "tanh" else expected
    np.testing.assert_allclose(back, expected, atol=0.005)
    if expected.shape[1:3] == (16, 16):
        np.testing.assert_allclose(
            predict_probability(model, IMAGES, preprocess="[-1,1]"), expected, atol=0.005
        )


@cases(SIGMOIDS)
def test_one_channel_of_probability(build):
    agrees(network(build), "sigmoid")


@cases(SOFTMAXES)
def test_exclusive_classes(build):
    agrees(network(build), "softmax", exclusive=True)


@cases(LABELS)
def test_labels_that_may_overlap(build):
    agrees(network(build), "sigmoid", labels=True)


def test_drawings_of_several_channels_are_labels():
    agrees(network(lambda x: head(x, 3, "tanh")), "tanh", labels=True)


@cases(TANHS)
def test_drawings(build):
    agrees(network(build), "tanh")


@cases(HARD)
def test_decided_already(build):
    several = build is HARD["one-hot"]
    agrees(network(build), "softmax" if several else "sigmoid", exclusive=several, hard=True)


@cases(LOGITS)
def test_logits(build):
    model = network(build)
    assert read_output(model).activation == "linear"
    expected = tf.function(model)(IMAGES, training=False)
    np.testing.assert_array_equal(with_logits(model)(IMAGES)[1], expected)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(("build", "words"), UNCLEAR.values(), ids=list(UNCLEAR))
def test_what_cannot_be_told(build, words):
    refused(words, read_output, network(build))


class AlwaysDropout(layers.Dropout):
    def call(self, x, training=None):
        return super().call(x, training=True)


class AlwaysNormalising(layers.BatchNormalization):
    def call(self, x, training=None, mask=None):
        return super().call(x, training=True)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (AlwaysDropout(0.5, name="middle"), "in layer 'middle' draws random numbers"),
        (AlwaysNormalising(name="middle"), "in layer 'middle' normalises by the batch"),
        (layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))), "draws random numbers"),
    ],
)
def test_what_stays_in_training_mode_is_told(layer, words):
    model = network(lambda x: head(layer(head(x, 4)), 1, "sigmoid"))
    with pytest.warns(kg.KerasganWarning, match=words):
        read_output(model)


@pytest.mark.parametrize(
    "layer",
    [layers.BatchNormalization(), layers.LayerNormalization(), layers.GroupNormalization(2)],
    ids=["batch", "layer", "group"],
)
def test_layers_of_training_are_off_in_silence(layer):
    model = network(lambda x: head(layers.Dropout(0.5)(layer(head(x, 4))), 1, "sigmoid"))
    assert read_output(model).activation == "sigmoid"


@pytest.mark.parametrize("name", ["tf.sigmoid", "cropped", "linear behind", "flipped"])
def test_logits_reach_beyond_what_a_sigmoid_can_tell(name):
    model = network(lambda x: SIGMOIDS[name](200 * x))
    _, logits = with_logits(model)(IMAGES)
    assert np.abs(logits).max() > 100


def test_gradients_flow_past_a_saturated_sigmoid():
    model = network(lambda x: tf.sigmoid(head(x, bias_initializer=keras.initializers.Constant(60))))
    run = with_logits(model)

    def slope(images):
        with tf.GradientTape() as tape:
            output, logits = run(images, training=True)
            lost = tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(output), logits)
            mean = tf.reduce_mean(lost)
        return tape.gradient(mean, model.trainable_variables[1])

    for function in (slope, tf.function(slope)):
        np.testing.assert_allclose(function(tf.constant(IMAGES)), [1.0], rtol=1e-5)


def test_weights_are_followed():
    model = network(lambda x: layers.Cropping2D(2)(head(x, 1, "sigmoid")))
    run = with_logits(model)
    before = run(IMAGES)[1].numpy()
    model.set_weights([2 * weight for weight in model.get_weights()])
    np.testing.assert_allclose(run(IMAGES)[1], 2 * before, rtol=1e-5)


def test_an_activation_exchanged_later_is_seen():
    model = network(lambda x: head(x, 1, "sigmoid", name="last"))
    assert read_output(model).activation == "sigmoid"
    model.get_layer("last").activation = keras.activations.linear
    assert read_output(model).activation == "linear"
    expected = tf.sigmoid(model(IMAGES))
    np.testing.assert_allclose(
        predict_probability(model, IMAGES, preprocess="[-1,1]"), expected, atol=1e-6
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_precisions(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = network(lambda x: layers.Activation("sigmoid", dtype="float32")(head(x)))
        agrees(model, "sigmoid")
        agrees(network(lambda x: layers.Cropping2D(2)(head(x, 3, "softmax"))), "softmax", True)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_nested_networks():
    inner = network(lambda x: layers.Cropping2D(2)(tf.sigmoid(head(x))))
    image = keras.Input((16, 16, 3))
    agrees(keras.Model(image, layers.Activation("linear")(inner(image))), "sigmoid")


def test_open_sizes():
    image = keras.Input((None, None, 3))
    twice = layers.Lambda(lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2))
    model = keras.Model(image, twice(head(image, 1, "sigmoid")))
    agrees(model, "sigmoid")


def test_a_network_is_let_go():
    model = network(lambda x: layers.Cropping2D(2)(head(x, 1, "sigmoid")))
    with_logits(model)(IMAGES)
    alive = weakref.ref(model)
    del model
    for _ in range(50):  # does nothing while another thread collects
        gc.collect()
        if alive() is None:
            return
        time.sleep(0.1)
    raise AssertionError("the network is still held")


def test_channels_first_are_named():
    image = keras.Input((3, 16, 16))
    conv = layers.Conv2D(1, 1, activation="sigmoid", data_format="channels_first")
    refused(r"channels first.*Permute", read_output, keras.Model(image, conv(image)))


def test_many_channels_first_are_named_and_the_advice_is_taken():
    image = keras.Input((8, 16, 16))
    model = keras.Model(image, layers.Conv2D(1, 1, data_format="channels_first")(image))
    refused(r"channels first.*Input\(\(16, 16, 8\)\)", read_output, model)
    image = keras.Input((16, 16, 8))
    moved = model(layers.Permute((3, 1, 2))(image))
    read = read_output(keras.Model(image, layers.Permute((2, 3, 1))(moved)))
    assert read.activation == "linear"


def test_several_outputs_are_named():
    image = keras.Input((16, 16, 3))
    with pytest.raises(KerasganError, match=r"2 outputs.*model\.outputs\[i\]"):
        read_output(keras.Model(image, [head(image), head(image)]))


def test_labels_are_refused_where_classes_are_wanted():
    model = network(LABELS["tf.sigmoid"])
    refused(r"labels that may overlap.*model\.outputs", kg.SegmentationGAN, model)
    one = keras.Model(model.inputs[0], model.outputs[0][..., 1:2])
    agrees(one, "sigmoid")


def test_labels_are_predicted_one_by_one():
    model = network(LABELS["tf.sigmoid"])
    masks = kg.predict(model, IMAGES, threshold=0.3, preprocess="[-1,1]")
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, model(IMAGES).numpy() > 0.3)
    cleaned = kg.predict(model, IMAGES, threshold=0.3, preprocess="[-1,1]", clean="largest")
    alone = kg.predict(
        keras.Model(model.inputs[0], model.outputs[0][..., 2:]), IMAGES, threshold=0.3,
        preprocess="[-1,1]", clean="largest",
    )  # fmt: skip
    np.testing.assert_array_equal(cleaned[..., 2], alone)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.conv = layers.Conv2D(4, 3, padding="same", activation="relu")
        self.last = layers.Conv2D(1, 1)

    def call(self, image):
        return tf.nn.sigmoid(self.last(self.conv(image)))


def test_subclassed_networks_take_their_shape_from_the_images():
    model = Subclassed()
    found = predict_probability(model, IMAGES, size=16, preprocess="[-1,1]")
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-6)
    assert kg.models.generator_of(model).output_shape == (None, 16, 16, 1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (3, r"'model' must be a keras.Model.*int"),
        ("model.keras", r"load_model\(path, compile=False\)"),
        (Subclassed(), r"'mine' \(Subclassed\) is a subclassed model.*Input"),
    ],
)
def test_what_is_no_network_here_is_named(model, words):
    refused(words, kg.models.generator_of, model)


def test_a_dict_of_one_output_is_predicted_with_as_the_output():
    image = keras.Input((16, 16, 3), name="image")
    mask = head(image, activation="sigmoid")
    plain, named = keras.Model(image, mask), keras.Model({"image": image}, {"mask": mask})
    assert kg.models.final_activation(named) == "sigmoid"
    expected = kg.predict(plain, IMAGES, preprocess="[-1,1]")
    np.testing.assert_array_equal(kg.predict(named, IMAGES, preprocess="[-1,1]"), expected)

"""The oracle itself: against Keras, hand-computed cases and conservation laws."""

import keras
import numpy as np
import oracle
import oracle_network
import pytest
import tensorflow as tf

L = keras.layers
RNG = np.random.default_rng


def built(layer, shape, seed=0):
    """A layer with random weights and bias."""
    layer = type(layer).from_config(layer.get_config())
    layer.build((None, *shape))
    rng = RNG(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


LAYERS = {
    "valid": (L.Conv2D(2, 3), (5, 6, 2), oracle.convolution_map),
    "same": (L.Conv2D(3, (2, 3), padding="same"), (5, 4, 2), oracle.convolution_map),
    "stride": (L.Conv2D(2, 4, 2, "same"), (7, 6, 1), oracle.convolution_map),
    "strides": (L.Conv2D(2, 3, (2, 1)), (7, 6, 1), oracle.convolution_map),
    "dilation": (
        L.Conv2D(2, 3, dilation_rate=2, padding="same"),
        (6, 5, 2),
        oracle.convolution_map,
    ),
    "groups": (L.Conv2D(4, 3, groups=2), (4, 4, 6), oracle.convolution_map),
    "no bias": (L.Conv2D(2, 3, use_bias=False), (4, 4, 2), oracle.convolution_map),
    "transposed": (L.Conv2DTranspose(3, 4, 2, "same"), (3, 4, 2), oracle.transposed_map),
    "transposed valid": (L.Conv2DTranspose(2, 3, 2), (3, 2, 2), oracle.transposed_map),
    "transposed gaps": (L.Conv2DTranspose(2, 2, 3), (2, 2, 1), oracle.transposed_map),
    "transposed stride 1": (
        L.Conv2DTranspose(2, 3, padding="same"),
        (3, 4, 2),
        oracle.transposed_map,
    ),
    "depthwise": (
        L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2),
        (5, 5, 2),
        oracle.depthwise_map,
    ),
    "depthwise dilated": (L.DepthwiseConv2D(3, dilation_rate=2), (6, 6, 2), oracle.depthwise_map),
    "dense": (L.Dense(3), (5,), oracle.dense_map),
    "dense on pixels": (L.Dense(3), (2, 2, 4), oracle.dense_map),
    "average": (L.AveragePooling2D(3, 2, "same"), (5, 6, 2), oracle.average_map),
    "average valid": (L.AveragePooling2D(2), (5, 4, 2), oracle.average_map),
}


def dense_matrix(linear):
    matrix = np.zeros((int(np.prod(linear.input_shape)), linear.bias.size))
    np.add.at(matrix, (linear.source, linear.sink), linear.weight)
    return matrix


@pytest.mark.parametrize("name", LAYERS)
def test_connections_are_those_of_the_keras_layer(name):
    layer, shape, make = LAYERS[name]
    layer = built(layer, shape)
    made, read = make(layer, shape), oracle.jacobian_map(layer, shape)
    assert made.output_shape == tuple(read.output_shape)
    np.testing.assert_allclose(dense_matrix(made), dense_matrix(read), atol=1e-6)
    np.testing.assert_allclose(made.bias, read.bias, atol=1e-6)
    pairs = {(i, j) for i, j in zip(made.source, made.sink)}
    assert pairs >= set(zip(read.source, read.sink))
    assert len(pairs) == len(made.source) == len(read.source)
    a = RNG(1).normal(size=shape)
    np.testing.assert_allclose(made(a), layer(a[None].astype("float32"))[0], atol=1e-5)


# two inputs a = (2, -1), two outputs: W = [[1, -2], [3, 1]], b = (1, -3)
# c = [[2, -4], [-3, -1]], z = (2 - 3 + 1, -4 - 1 - 3) = (0, -8)
HAND = oracle.LinearMap(
    np.array([0, 0, 1, 1]),
    np.array([0, 1, 0, 1]),
    np.array([1.0, -2.0, 3.0, 1.0]),
    np.array([1.0, -3.0]),
    (2,),
    (2,),
)
A = np.array([2.0, -1.0])
R = np.array([6.0, 24.0])
HAND_COMPUTED = {
    # denominators 0 + 0.5 and -8 - 0.5; to bias 1/0.5*6 + 3/8.5*24; stabiliser 6 + 24*0.5/8.5
    "epsilon": (
        oracle.epsilon(0.5),
        [24 + 24 * 4 / 8.5, -36 + 24 / 8.5],
        [12 + 24 * 3 / 8.5, 6 + 24 * 0.5 / 8.5, 0],
    ),
    # z without bias (-1, -5), mean |z| 3, epsilon 0.3
    "relative, no bias": (
        oracle.epsilon(0.1, relative=True, bias=False),
        [-12 / 1.3 + 24 * 4 / 5.3, 18 / 1.3 + 24 / 5.3],
        [0, 6 * 0.3 / 1.3 + 24 * 0.3 / 5.3, 0],
    ),
    # z+ = (2 + 1, 0): the second output has no positive contribution
    "z-plus": (oracle.z_plus(), [4, 0], [2, 0, 24]),
    "z-plus, no bias": (oracle.z_plus(bias=False), [6, 0], [0, 0, 24]),
    # z- = (-3, -4 - 1 - 3): 2 R+ - R-
    "alpha 2, beta 1": (
        oracle.alpha_beta(2, 1),
        [8 - 24 * 4 / 8, -6 - 24 / 8],
        [4 - 24 * 3 / 8, 0, 48],
    ),
    "alpha 2, beta 1, no bias": (
        oracle.alpha_beta(2, 1, bias=False),
        [12 - 24 * 4 / 5, -6 - 24 / 5],
        [0, 0, 48],
    ),
    # z = (0 -> positive side, -8): c1 = (4, -3), b1 = 2, sum 3; c2 = (-8, -2), b2 = -6, sum -16
    "gamma 1": (oracle.gamma(1.0), [8 + 12, -6 + 3], [4 + 9, 0, 0]),
    # z = (-1, -5): c1 = (2, -6), sum -4; c2 = (-8, -2), sum -10
    "gamma 1, no bias": (oracle.gamma(1.0, bias=False), [-3 + 19.2, 9 + 4.8], [0, 0, 0]),
    # w + w+ = [[2, -2], [6, 2]]: c1 = (4, -6), b1 = 2, sum 0 (+ 0.5); c2 = (-4, -2), b2 = -3, -9
    "classic gamma 1": (
        oracle.classic_gamma(1.0, stabiliser=0.5),
        [48 + 24 * 4 / 9.5, -72 + 24 * 2 / 9.5],
        [24 + 24 * 3 / 9.5, 6 + 24 * 0.5 / 9.5, 0],
    ),
    "flat": (oracle.flat, [3 + 12, 3 + 12], [0, 0, 0]),
    # w^2 = [[1, 4], [9, 1]]
    "w-square": (oracle.w_square, [0.6 + 19.2, 5.4 + 4.8], [0, 0, 0]),
    # box (-1, 3): c1 = (2 + 1, -3 + 3) sum 3; c2 = (-4 + 6, -1 + 1) sum 2
    "z-box": (oracle.z_box(-1, 3), [6 + 24, 0], [0, 0, 0]),
}


@pytest.mark.parametrize("name", HAND_COMPUTED)
def test_rules_by_hand(name):
    rule, expected, gone = HAND_COMPUTED[name]
    result, *rest = rule(HAND, A, R)
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    np.testing.assert_allclose(rest, gone, rtol=1e-12)
    assert np.isclose(result.sum() + sum(rest), R.sum())


RULES = {
    "epsilon": oracle.epsilon(1e-3),
    "relative": oracle.epsilon(0.1, relative=True),
    "epsilon, no bias": oracle.epsilon(1e-3, bias=False),
    "z-plus": oracle.z_plus(),
    "alpha-beta": oracle.alpha_beta(2, 1),
    "alpha-beta, no bias": oracle.alpha_beta(2, 1, bias=False),
    "gamma": oracle.gamma(),
    "classic gamma": oracle.classic_gamma(stabiliser=1e-9),
    "flat": oracle.flat,
    "w-square": oracle.w_square,
    "z-box": oracle.z_box(-1, 1),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["stride", "transposed gaps", "depthwise", "groups"])
def test_nothing_is_lost(name, rule):
    layer, shape, make = LAYERS[name]
    linear = make(built(layer, shape, seed=2), shape)
    a = RNG(3).uniform(-1, 1, shape)
    relevance = RNG(4).normal(size=linear.output_shape)
    result, *gone = RULES[rule](linear, a, relevance)
    scale = np.abs(result).sum() + np.abs(relevance).sum()
    assert abs(result.sum() + sum(gone) - relevance.sum()) < 1e-10 * scale


def test_epsilon_rule_without_epsilon_and_bias_is_input_times_gradient():
    layer, shape, make = LAYERS["dilation"]
    linear = make(built(layer, shape), shape)
    linear.bias[:] = 0
    a = RNG(0).normal(size=shape)
    result, *_ = oracle.epsilon(0.0)(linear, a, linear(a))
    gradient = dense_matrix(linear).sum(1).reshape(shape)
    np.testing.assert_allclose(result, a * gradient, atol=1e-9)


def test_gamma_rules_agree_where_inputs_and_outputs_are_positive():
    linear = LAYERS["same"][2](built(*LAYERS["same"][:2]), LAYERS["same"][1])
    a = RNG(0).uniform(0, 1, linear.input_shape)
    positive = np.maximum(linear(a), 0)
    one, *_ = oracle.gamma(0.3)(linear, a, positive)
    other, *_ = oracle.classic_gamma(0.3)(linear, a, positive)
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.abs(one).max() > 0.1


# --------------------------------------------------------------------------- networks


def randomise(model, seed=0):
    """Sets biases and batch-norm statistics as training might."""
    rng = RNG(seed)
    for v in model.weights:
        name = v.name.split("/")[-1]
        if "variance" in name or "gamma" in name:
            v.assign(rng.uniform(0.5, 2, v.shape))
        elif v.shape.rank == 1 or "alpha" in name:
            v.assign(rng.normal(0, 0.3, v.shape))
        else:
            v.assign(rng.normal(0, 1 / np.sqrt(np.prod(v.shape[:-1])), v.shape))
    return model


def unet():
    """Every piecewise linear layer, batch norm after every kind of convolution."""
    x = image = L.Input((12, 12, 3))
    x = skip = L.BatchNormalization()(L.Conv2D(4, 3, 2, "same")(x))
    x = L.Dropout(0.5)(L.LeakyReLU(0.2)(x))
    x = L.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = L.BatchNormalization(scale=False)(L.DepthwiseConv2D(3)(x))
    x = L.PReLU(shared_axes=[1, 2])(x)
    x = L.Cropping2D(((0, 1), (1, 1)))(x)
    x = L.Conv2D(4, 1, activation="relu")(x)
    x = L.BatchNormalization(center=False)(x)  # into the convolution after it
    x = L.Conv2D(4, 1, activation="relu", groups=2)(x)
    x = L.UpSampling2D((2, 1), interpolation="bilinear")(x)
    x = L.MaxPooling2D((2, 1))(L.ReLU()(x))
    x = L.BatchNormalization()(L.Conv2DTranspose(4, 4, 2, "same")(x))
    x = L.BatchNormalization()(x)
    x = L.AveragePooling2D(2, 1, "same")(x)
    x = L.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = L.UpSampling2D(2)(L.Conv2D(4, 2, 2)(x))
    x = L.Cropping2D(((1, 1), (2, 2)))(x)
    shared = L.Dense(4)
    x = L.Concatenate()([L.Add()([shared(x), skip, shared(skip)]), skip])
    x = L.Conv2DTranspose(2, 3, 2, "same", activation="softmax", name="mask")(x)
    return keras.Model(image, x)


def classifier_like():
    """What is not piecewise linear through zero: lone affine layers, group norm, a gate."""
    x = image = L.Input((8, 8, 3))
    x = L.Rescaling(2.0, 0.1)(x)
    x = L.Conv2D(4, 3, padding="same", activation="elu")(x)
    x = L.BatchNormalization(name="lone")(x)
    x = L.Conv2D(4, 3, padding="same")(x)
    x = L.GroupNormalization(2)(x)
    gate = L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([gate, L.Activation("swish")(x)])
    inner = L.Input((8, 8, 4))
    nested = keras.Model(inner, L.Conv2D(4, 3, padding="same", activation="relu")(inner))
    x = nested(x)
    x = L.Conv2D(2, 3, activation="tanh")(x)
    return keras.Model(image, x)


def without_end(model):
    """A copy that gives logits."""
    layer = model.layers[-1]
    activation, layer.activation = layer.activation, keras.activations.linear
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layer.activation = activation
    return copy


@pytest.mark.parametrize("make", [unet, classifier_like])
def test_the_walk_computes_what_the_network_computes(make):
    model = randomise(make())
    image = RNG(1).uniform(-1, 1, model.input_shape[1:])
    expected = without_end(model)(image[None])[0]
    assert np.abs(expected).max() > 0.1
    network = oracle_network.Network(model)
    np.testing.assert_allclose(network.logits(image), expected, atol=2e-5)


def test_batch_norm_is_merged_wherever_it_can_be():
    kinds = [s.kind for s in oracle_network.merged_steps(unet())[0]]
    assert "BatchNormalization" not in kinds
    kinds = [s.kind for s in oracle_network.merged_steps(classifier_like())[0]]
    assert kinds.count("BatchNormalization") == 1


def test_epsilon_through_a_piecewise_linear_network_is_input_times_gradient():
    model = randomise(unet())
    image = tf.constant(RNG(1).uniform(-1, 1, (1, 12, 12, 3)), tf.float32)
    weights = RNG(2).normal(size=(12, 12, 2))
    logits = without_end(model)
    with tf.GradientTape() as tape:
        tape.watch(image)
        explained = tf.reduce_sum(logits(image) * weights)
    expected = (tape.gradient(explained, image) * image).numpy()[0]
    network = oracle_network.Network(model, proportional=oracle.epsilon(1e-14, bias=False))
    rule = oracle.epsilon(1e-14)
    walk = network.explain(image[0].numpy(), lambda name: rule, weights)
    np.testing.assert_allclose(walk.input, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [unet, classifier_like])
def test_nothing_is_lost_in_a_network(make, rule):
    model = randomise(make())
    network = oracle_network.Network(model)
    image = RNG(1).uniform(-1, 1, model.input_shape[1:])
    weights = RNG(2).normal(size=model.output_shape[1:])
    walk = network.explain(image, lambda name: RULES[rule], weights)
    for name, (arriving, leaving, *lost) in walk.ledger.items():
        size = np.abs(walk.output[name]).sum()
        assert abs(arriving - leaving - sum(lost)) <= 1e-9 * max(size, abs(leaving)), name


def test_relevance_of_a_gate_is_none():
    model = randomise(classifier_like())
    network = oracle_network.Network(model)
    image = RNG(1).uniform(-1, 1, (8, 8, 3))
    walk = network.explain(image, lambda name: oracle.z_plus(), np.ones((6, 6, 2)))
    dense = next(layer.name for layer in model.layers if isinstance(layer, L.Dense))
    assert not walk.output[dense].any()
    assert np.abs(walk.input).max() > 0


def test_max_pooling_gives_a_tie_to_the_first():
    image = L.Input((2, 2, 1))
    model = keras.Model(image, L.Flatten()(L.MaxPooling2D()(image)))
    network = oracle_network.Network(model)
    walk = network.explain(np.zeros((2, 2, 1)), None, start=[3.0])
    assert walk.input.ravel().tolist() == [3, 0, 0, 0]

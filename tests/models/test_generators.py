"""What every generator must do, and attention and nested U-Nets against numpy."""

import keras
import numpy as np
import pytest

import kerasgan as kg
from kerasgan.explain.canonize import read_graph

models = kg.models


def attention(size=32, **options):
    return models.attention_unet(size, filters=2, levels=2, **options)


def nested(size=32, **options):
    return models.nested_unet(size, filters=2, levels=2, **options)


def vgg(size=32, **options):
    return models.encoder_unet(size, filters=2, encoder="vgg16", **options)


ALL = pytest.mark.parametrize("build", [attention, nested, vgg])


def numbers(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def randomize(model):
    """Gives biases and batch norms other values than those they start from."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif any(part in weight.name for part in ("bias", "beta", "mean")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


@ALL
def test_shapes_and_last_layers(build):
    model = build((64, 32), channels=2, classes=3)
    assert model.input_shape == (None, 64, 32, 2)
    assert model.output_shape == (None, 64, 32, 3)
    assert [x.name for x in model.layers[-2:]] == ["mask_conv", "mask"]
    assert models.final_activation(model) == "softmax"
    assert models.final_activation(build()) == "sigmoid"


@ALL
def test_graph_equals_the_model(build):
    model = randomize(build())
    image = numbers((2, 32, 32, 3), 1)
    logits = read_graph(model).run(image).logits.numpy()
    assert np.ptp(logits) > 1e-2
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), model(image), atol=1e-6)


@pytest.mark.parametrize("build", [attention, nested])
def test_no_relevance_leaks(build):
    model = randomize(build())
    ledger = kg.Explainer(model, rule="epsilon").check(numbers((1, 32, 32, 3)))
    assert len(ledger) > 10


@ALL
def test_trains_against_a_discriminator(build):
    discriminator = models.patch_discriminator(size=32, filters=2, spectral_norm=True)
    gan = kg.SegmentationGAN(build(), discriminator)
    gan.compile(keras.optimizers.SGD(0.1), "adam", losses={"cross_entropy": 1.0})
    before = gan.generator.get_weights()
    masks = (numbers((2, 32, 32, 1)) > 0).astype("float32")
    history = gan.fit(numbers((2, 32, 32, 3)), masks, epochs=1, verbose=0).history
    assert np.all(np.isfinite([value for values in history.values() for value in values]))
    trained = gan.generator.get_layer("mask_conv").get_weights()
    assert not np.array_equal(trained[0], before[-2])


@pytest.mark.parametrize("build", [models.attention_unet, models.nested_unet])
def test_wrong_arguments_are_named(build):
    with pytest.raises(kg.KerasganError, match=r"multiple of 2\*\*levels = 8\. .*\(32, 36\)"):
        build((32, 36), levels=3)
    for name in ("channels", "classes", "filters", "levels"):
        with pytest.raises(kg.KerasganError, match=f"'{name}' must be a whole number from 1 up"):
            build(32, **{name: 0})


# --- Attention ---


def test_a_gate_is_equation_1():
    """The map, computed anew in float64: sigmoid(psi . relu(W_x x + W_g g + b) + b_psi)."""
    model = randomize(models.attention_unet((8, 12), filters=3, levels=1))
    skip, signal = (model.get_layer(name).output for name in ("down_1_act_b", "middle_act_b"))
    ends = [skip, signal, model.get_layer("up_1_gate").output, model.get_layer("up_1_gated").output]
    found = keras.Model(model.input, ends)(numbers((1, 8, 12, 3)))
    x, g, gate, gated = (value.numpy()[0].astype("float64") for value in found)
    weights = {
        part: [w.astype("float64") for w in model.get_layer(f"up_1_gate_{part}").get_weights()]
        for part in ("skip", "signal", "conv")
    }
    expected = np.empty((4, 6, 1))
    for i in range(4):
        for j in range(6):
            patch = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            inner = np.tensordot(patch, weights["skip"][0], 3)
            inner += g[i, j] @ weights["signal"][0][0, 0] + weights["signal"][1]
            score = np.maximum(inner, 0) @ weights["conv"][0][0, 0] + weights["conv"][1]
            expected[i, j] = 1 / (1 + np.exp(-score))
    np.testing.assert_allclose(gate, expected, atol=1e-6)
    rows, columns = (linear_growth(side) for side in (4, 6))
    grown = np.einsum("ai,bj,ijc->abc", rows, columns, expected)
    np.testing.assert_allclose(gated, x * grown, atol=1e-6)


def linear_growth(side):
    """The matrix that doubles a line of pixels by linear interpolation between pixel centres."""
    matrix = np.zeros((2 * side, side))
    for row in range(2 * side):
        place = np.clip((row + 0.5) / 2 - 0.5, 0, side - 1)
        low = int(place)
        matrix[row, low] += 1 - (place - low)
        matrix[row, min(low + 1, side - 1)] += place - low
    return matrix


def test_a_closed_gate_cuts_the_skip_off():
    model = models.attention_unet(16, filters=2, levels=1)
    kernel, bias = model.get_layer("up_1_gate_conv").get_weights()
    ends = [model.get_layer(f"up_1_{name}").output for name in ("skip", "grow")]
    inside = keras.Model(model.input, ends)
    for value, share in ((-100.0, 0), (100.0, 1)):
        model.get_layer("up_1_gate_conv").set_weights([0 * kernel, bias + value])
        joined, grown = inside(numbers((1, 16, 16, 3)))
        np.testing.assert_array_equal(joined[..., :2], grown)
        skip = keras.Model(model.input, model.get_layer("down_1_act_b").output)
        expected = share * skip(numbers((1, 16, 16, 3))).numpy()
        np.testing.assert_allclose(joined[..., 2:], expected, atol=1e-6)


# --- Nested ---


def test_nodes_take_their_row_and_the_node_below():
    levels = 3
    model = models.nested_unet(32, filters=1, levels=levels)

    def outcome(level, column):
        if column:
            return f"node_{level}_{column}_act_b"
        return f"down_{level}_act_b" if level <= levels else "middle_act_b"

    def sources(layer):
        inbound = model.get_layer(layer).input
        inbound = inbound if isinstance(inbound, list) else [inbound]
        return [other.name for x in inbound for other in model.layers if other.output is x]

    nodes = [(i, j) for i in range(1, 4) for j in range(1, 5 - i)]
    for level, column in nodes:
        grown = f"node_{level}_{column}_grow"
        row = [outcome(level, before) for before in range(column)]
        assert sources(f"node_{level}_{column}_skip") == [*row, grown]
        assert sources(grown) == [outcome(level + 1, column - 1)]
    assert sources("mask_conv") == [outcome(1, levels)]
    joins = [x for x in model.layers if isinstance(x, keras.layers.Concatenate)]
    assert len(joins) == len(nodes) == 6


def test_nested_has_the_parameters_of_its_nodes():
    """Counted by hand: convolutions 3 x 3 and 2 x 2 with biases, four numbers a batch norm."""

    def block(before, after):
        return sum(9 * a * after + after + 4 * after for a in (before, after))

    filters, levels = 2, 3
    widths = [filters * 2**level for level in range(levels + 1)]
    expected = sum(block(a, b) for a, b in zip([3, *widths], widths))
    for level, width in enumerate(widths[:-1]):
        for column in range(1, levels + 1 - level):
            expected += 4 * widths[level + 1] * width + width + block(width * (column + 1), width)
    expected += filters + 1
    assert models.nested_unet(32, filters=filters, levels=levels).count_params() == expected

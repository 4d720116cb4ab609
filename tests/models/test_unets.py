"""U-Nets of convolutions against the paper, counts by hand, and numpy."""

import keras
import numpy as np
import pytest
from refusals import refused
from small_networks import inputs_of, linear_growth, numbers, randomize

import kerasgan as kg
from kerasgan.explain.canonize import read_graph

models = kg.models


# --- The paper's generator ---


def test_the_generator_is_the_published_one():
    model = models.pix2pix_generator(size=512, classes=3, filters=64)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 54_419_459
    down = [model.get_layer(f"down_{i}_conv").output.shape[1:] for i in range(1, 9)]
    sides = [256, 128, 64, 32, 16, 8, 4, 2]
    widths = [64, 128, 256, 512, 512, 512, 512, 512]
    assert down == [(s, s, w) for s, w in zip(sides, widths)]
    up = [model.get_layer(f"up_{i}_conv").output.shape[1:] for i in range(1, 9)]
    sides = [4, 8, 16, 32, 64, 128, 256, 512]
    widths = [512, 512, 512, 512, 256, 128, 64, 3]
    assert up == [(s, s, w) for s, w in zip(sides, widths)]
    for i in range(1, 8):
        joined = model.get_layer(f"up_{i}_skip").output.shape[-1]
        assert joined == widths[i - 1] + down[7 - i][-1]
    names = {layer.name for layer in model.layers}
    assert {f"down_{i}_act" for i in range(2, 9)} | {f"up_{i}_act" for i in range(1, 9)} <= names
    assert [i for i in range(1, 9) if f"down_{i}_bn" in names] == [2, 3, 4, 5, 6, 7]
    assert [i for i in range(1, 9) if f"up_{i}_bn" in names] == [1, 2, 3, 4, 5, 6, 7]
    assert [i for i in range(1, 9) if f"up_{i}_dropout" in names] == [1, 2, 3]
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}
    convs = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert all(x.use_bias for x in convs)
    assert abs(np.std(model.get_layer("down_7_conv").kernel) - 0.02) < 0.002


def test_padding_is_one_pixel_on_every_side():
    """A 4 x 4 stride-2 convolution padded by one sees x[2i - 1 : 2i + 3]."""
    layer = models.pix2pix_generator(size=32, channels=1, filters=1).get_layer("down_1_conv")
    image = numbers((1, 32, 32, 1))
    kernel = layer.kernel.numpy()[:, :, 0, 0]
    padded = np.pad(image[0, :, :, 0], 1)
    expected = [
        [np.sum(padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] * kernel) for j in range(16)]
        for i in range(16)
    ]
    np.testing.assert_allclose(layer(image)[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize(("size", "levels"), [(32, 5), (64, 6), (128, 7), (256, 8), (512, 8)])
def test_levels(size, levels):
    model = models.pix2pix_generator(size=size, filters=1, channels=2, classes=4)
    assert model.output_shape == (None, size, size, 4)
    assert model.get_layer(f"down_{levels}_conv").output.shape[1] == size // 2**levels
    assert f"down_{levels + 1}_conv" not in {layer.name for layer in model.layers}


# --- All with levels ---


@pytest.mark.parametrize(
    "build", [models.unet, models.attention_unet, models.nested_unet, models.residual_unet]
)
def test_rectangles_explanations_and_wrong_arguments(build):
    model = randomize(build((16, 32), channels=2, classes=3, filters=2, levels=2))
    assert model.output_shape == (None, 16, 32, 3)
    assert [x.name for x in model.layers[-2:]] == ["mask_conv", "mask"]
    image = inputs_of(model)
    graph = read_graph(model)
    assert "affine" not in {node.kind for node in graph.nodes}
    logits = graph.run(image).logits.numpy()
    assert np.ptp(logits) > 1e-2
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(shares, model(image), atol=1e-6)
    one = randomize(build(16, filters=2, levels=2))
    for rule in ("epsilon", "gamma", "z-plus")[:: 1 if build is models.residual_unet else 3]:
        assert len(kg.Explainer(one, rule=rule).check(inputs_of(one))) > 10
    refused(r"multiple of 2\*\*levels = 8\. .*\(32, 36\)", build, (32, 36), levels=3)
    for levels in (0, 2.0):
        refused("'levels' must be a whole number from 1 up", build, 32, levels=levels)


@pytest.mark.parametrize("name", ["attention_unet", "nested_unet"])
def test_trains_against_a_discriminator(name):
    discriminator = models.pixel_discriminator(size=32, filters=2, spectral_norm=True)
    gan = kg.SegmentationGAN(getattr(models, name)(32, filters=2, levels=1), discriminator)
    gan.compile(keras.optimizers.SGD(0.1), "adam", losses={"cross_entropy": 1.0}, run_eagerly=True)
    before = gan.generator.get_layer("mask_conv").get_weights()[0]
    image, masks = numbers((2, 32, 32, 3)), (numbers((2, 32, 32, 1)) > 0).astype("float32")
    history = gan.fit(image, masks, epochs=1, verbose=0).history
    assert np.all(np.isfinite([value for values in history.values() for value in values]))
    assert not np.array_equal(gan.generator.get_layer("mask_conv").get_weights()[0], before)
    logits = read_graph(randomize(gan.generator)).run(image).logits.numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), gan.generator(image), atol=1e-6)


# --- Residual ---


def test_residual_shapes_and_names():
    model = models.residual_unet(size=(32, 64), channels=1, classes=3, filters=2, levels=3)
    sizes = {n: model.get_layer(n).output.shape[1:] for n in ("stem_act", "down_3_2_act")}
    assert sizes == {"stem_act": (16, 32, 2), "down_3_2_act": (4, 8, 8)}
    assert model.get_layer("up_1_1_act").output.shape[1:] == (8, 16, 4)


def test_a_residual_block_is_what_its_formula_says():
    model = randomize(models.residual_unet(size=32, filters=4, levels=1))
    names = ["stem_act", "down_1_1_b_bn", "down_1_1_act"]
    look = keras.Model(model.input, [model.get_layer(name).output for name in names])
    before, branch, after = (x.numpy() for x in look(inputs_of(model)))
    np.testing.assert_allclose(after, np.maximum(before + branch, 0), rtol=1e-5, atol=1e-6)


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


def test_a_closed_gate_cuts_the_skip_off():
    model = models.attention_unet(16, filters=2, levels=1)
    kernel, bias = model.get_layer("up_1_gate_conv").get_weights()
    names = ("up_1_skip", "up_1_grow", "down_1_act_b")
    inside = keras.Model(model.input, [model.get_layer(name).output for name in names])
    for value, share in ((-100.0, 0), (100.0, 1)):
        model.get_layer("up_1_gate_conv").set_weights([0 * kernel, bias + value])
        joined, grown, skip = inside(numbers((1, 16, 16, 3)))
        np.testing.assert_array_equal(joined[..., :2], grown)
        np.testing.assert_allclose(joined[..., 2:], share * skip, atol=1e-6)


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

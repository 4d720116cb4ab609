"""SegFormer and the ConvNeXt U-Net, their parts computed anew by numpy in float64."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_networks import linear_growth, numbers
from stacks import path_of

import kerasgan as kg
from kerasgan.models.outputs import read_output

models = kg.models


def segformer(size=32, **options):
    return models.segformer(size, **{"filters": 2, "depths": (1, 1, 1, 1), **options})


def convnext(size=32, **options):
    return models.convnext_unet(size, **{"filters": 2, "depths": (1, 2), **options})


BOTH = pytest.mark.parametrize("build", [segformer, convnext])


def awake(model):
    """Gives every weight a value that matters, the scales of layers too."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name = path_of(weight)
        if "variance" in name or "gamma" in name or "_scale/" in name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif tf.as_dtype(weight.dtype).is_floating:
            fan = math.sqrt(max(1, np.prod(weight.shape[:-1])))
            weight.assign(rng.normal(0, 1 / fan, weight.shape))
    return model


def values(model, image, *names):
    """What layers give for the one image, in float64."""
    look = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return [x.numpy()[0].astype("float64") for x in look(image)]


def weights(model, name):
    return [w.astype("float64") for w in model.get_layer(name).get_weights()]


# --- The parts, by numpy ---


def norm(model, name, x):
    gamma, beta = weights(model, name)
    spread = x - x.mean(-1, keepdims=True)
    return spread / np.sqrt((spread**2).mean(-1, keepdims=True) + 1e-6) * gamma + beta


def dense(model, name, x):
    kernel, bias = weights(model, name)
    return x @ kernel + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def depthwise(model, name, x):
    kernel, bias = weights(model, name)
    side, rim = len(kernel), len(kernel) // 2
    padded = np.pad(x, ((rim, rim), (rim, rim), (0, 0)))
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = (padded[i : i + side, j : j + side] * kernel[..., 0]).sum((0, 1)) + bias
    return out


def grown(x, factor):
    return np.einsum("ai,bj,ijc->abc", *(linear_growth(side, factor) for side in x.shape[:2]), x)


def patches(model, name, x):
    """A convolution whose stride is its side."""
    kernel, bias = weights(model, name)
    side = len(kernel)
    rows, columns = (n // side for n in x.shape[:2])
    parts = x.reshape(rows, side, columns, side, -1)
    return np.einsum("aibjc,ijcd->abd", parts, kernel) + bias


def test_attention_looks_from_every_place_at_the_reduced_map():
    model = awake(segformer((32, 64)))
    place = "down_2_1_attention"
    names = ["down_2_patch_norm", *(f"{place}{end}" for end in ("_norm", "_map", "_add"))]
    into, before, found, after = values(model, numbers((1, 32, 64, 3)), *names)
    np.testing.assert_allclose(before, norm(model, f"{place}_norm", into), atol=1e-5)
    reduced = norm(model, f"{place}_reduce_norm", patches(model, f"{place}_reduce", before))
    assert before.shape == (4, 8, 4)
    assert reduced.shape == (1, 2, 4)
    seen = reduced.reshape(-1, 4)
    wq, bq, wk, bk, wv, bv, wo, bo = weights(model, place)
    expected = np.zeros_like(before) + bo
    for head in range(2):
        keys, pixels = seen @ wk[:, head] + bk[head], seen @ wv[:, head] + bv[head]
        for i in range(4):
            for j in range(8):
                scores = keys @ (before[i, j] @ wq[:, head] + bq[head]) / math.sqrt(2)
                shares = np.exp(scores) / np.exp(scores).sum()
                expected[i, j] += shares @ pixels @ wo[head]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(after, into + expected, atol=1e-5)


def test_the_mixing_part_is_its_formula():
    model = awake(segformer((32, 64)))
    place = "down_1_1_mix"
    into, after = values(model, numbers((1, 32, 64, 3)), "down_1_1_attention_add", f"{place}_add")
    x = dense(model, f"{place}_widen", norm(model, f"{place}_norm", into))
    assert x.shape == (8, 16, 8)
    x = dense(model, f"{place}_narrow", gelu(depthwise(model, f"{place}_depthwise", x)))
    np.testing.assert_allclose(after, into + x, atol=1e-5)


def test_the_decoder_is_its_formula():
    model = awake(segformer((32, 64), classes=2))
    names = [f"down_{level}_norm" for level in (4, 3, 2, 1)]
    *stages, fused, logits, mask = values(
        model, numbers((1, 32, 64, 3)), *names, "fuse_act", "mask_grow", "mask"
    )
    joined = [
        grown(dense(model, f"up_{step}_squeeze", x), 8 // 2 ** (step - 1))
        for step, x in enumerate(stages, start=1)
    ]
    x = np.concatenate(joined, -1) @ weights(model, "fuse_conv")[0][0, 0]
    gamma, beta, mean, variance = weights(model, "fuse_bn")
    x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    np.testing.assert_allclose(fused, x, atol=1e-4)
    kernel, bias = weights(model, "mask_conv")
    x = grown(x @ kernel[0, 0] + bias, 4)
    np.testing.assert_allclose(logits, x, atol=1e-4)
    expected = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    np.testing.assert_allclose(mask, expected, atol=1e-4)


def test_a_convnext_block_is_its_formula():
    model = awake(convnext((16, 24)))
    into, after = values(model, numbers((1, 16, 24, 3)), "down_2_shrink", "down_2_1_add")
    x = norm(model, "down_2_1_norm", depthwise(model, "down_2_1_depthwise", into))
    x = dense(model, "down_2_1_narrow", gelu(dense(model, "down_2_1_widen", x)))
    scale = weights(model, "down_2_1_scale")[0].reshape(4)
    np.testing.assert_allclose(after, into + x * scale, atol=1e-5)


def test_the_convnext_stages_and_the_way_up_are_their_formulas():
    model = awake(convnext((16, 24)))
    image = numbers((1, 16, 24, 3))
    names = "down_1_norm down_1_1_add down_2_shrink down_2_2_add up_1_mix up_1_1_add mask_grow mask"
    found = values(model, image, *names.split())
    first, skip, shrunk, deepest, mixed, last, logits, mask = found
    x = patches(model, "down_1_stem", image[0].astype("float64"))
    np.testing.assert_allclose(first, norm(model, "down_1_norm", x), atol=1e-5)
    x = patches(model, "down_2_shrink", norm(model, "down_2_norm", skip))
    np.testing.assert_allclose(shrunk, x, atol=1e-5)
    x = grown(dense(model, "up_1_squeeze", norm(model, "up_1_norm", deepest)), 2)
    x = norm(model, "up_1_skip_norm", np.concatenate([x, skip], -1))
    np.testing.assert_allclose(mixed, dense(model, "up_1_mix", x), atol=1e-5)
    kernel, bias = weights(model, "mask_conv")
    x = grown(norm(model, "mask_norm", last) @ kernel[0, 0] + bias, 2)
    np.testing.assert_allclose(logits, x, atol=1e-5)
    np.testing.assert_allclose(mask, 1 / (1 + np.exp(-x)), atol=1e-5)


# --- Shapes, names, sizes ---


def test_shapes_of_a_segformer():
    model = segformer((64, 96), channels=2, classes=3, filters=3)
    assert model.input_shape == (None, 64, 96, 2)
    assert model.output_shape == (None, 64, 96, 3)
    assert models.final_activation(model) == "softmax"
    stages = [model.get_layer(f"down_{level}_norm").output.shape[1:] for level in (1, 2, 3, 4)]
    assert stages == [(16, 24, 3), (8, 12, 6), (4, 6, 15), (2, 3, 24)]
    keys = [model.get_layer(f"down_{n}_1_attention_keys").output.shape[1] for n in (1, 2, 3, 4)]
    assert keys == [2 * 3] * 4
    assert model.get_layer("fuse_conv").output.shape[1:] == (16, 24, 24)


def test_shapes_of_a_convnext_unet():
    model = convnext((16, 24), channels=1, classes=1, filters=3, depths=[1, 1, 2])
    assert model.output_shape == (None, 16, 24, 1)
    assert models.final_activation(model) == "sigmoid"
    assert model.get_layer("down_3_2_add").output.shape[1:] == (2, 3, 12)
    assert model.get_layer("up_2_1_add").output.shape[1:] == (8, 12, 3)


def test_segformer_b0_has_the_published_number_of_parameters():
    model = models.segformer(32, classes=150)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 3_752_694


@BOTH
def test_weights_fit_every_size(build):
    small, large = awake(build(32)), build((64, 96))
    large.set_weights(small.get_weights())
    image = np.full((1, 96, 96, 3), 0.5, "float32")
    assert np.ptp(large(image[:, :64])) > 1e-4  # places are told apart, by the zeros at the border
    mask = kg.predict(large, [numbers((50, 70, 3))])[0]
    assert mask.shape == (50, 70)


# --- Start values, files, precision ---


def test_start_values_are_the_papers():
    model = models.segformer(32, filters=16)
    for name in ("down_4_1_attention", "down_4_1_mix_widen", "up_1_squeeze"):
        kernels = [w for w in model.get_layer(name).get_weights() if w.ndim > 1 and w.std()]
        for kernel in kernels:
            assert abs(kernel).max() <= 0.04
            assert kernel.std() == pytest.approx(0.0176, rel=0.05)  # 0.02, cut off at 0.04
    kernel = model.get_layer("down_1_patch").get_weights()[0]
    assert kernel.std() == pytest.approx(math.sqrt(2 / (49 * 16)), rel=0.1)
    kernel = model.get_layer("down_4_1_mix_depthwise").get_weights()[0]
    assert kernel.std() == pytest.approx(math.sqrt(2 / 9), rel=0.1)
    scale = convnext().get_layer("down_1_1_scale").get_weights()[0]
    np.testing.assert_array_equal(scale, np.float32(1e-6))


@BOTH
def test_logits_are_read_exactly(build):
    assert read_output(build()).exact


@BOTH
def test_float64_is_float64_throughout(build):
    keras.mixed_precision.set_global_policy("float64")
    try:
        exact = build()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model = awake(build())
    exact.set_weights(model.get_weights())
    image = numbers((1, 32, 32, 3))
    types = {tf.as_dtype(x.dtype) for x in exact.weights}
    assert {x for x in types if x.is_floating} == {tf.float64}
    found = exact(image)
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, model(image), atol=1e-5)


# --- Stochastic depth and training ---


@BOTH
def test_rates_rise_evenly(build):
    model = build(depths=(1, 2, 1, 1), drop_path_rate=0.4)
    drops = [x for x in model.layers if isinstance(x, models.SeededDropout)]
    names = ["attention_drop", "mix_drop"] if build is segformer else ["drop"]
    places = ["2_1", "2_2", "3_1", "4_1"]
    assert [x.name for x in drops] == [f"down_{p}_{name}" for p in places for name in names]
    expected = np.repeat([0.1, 0.2, 0.3, 0.4], len(names))
    np.testing.assert_allclose([x.rate for x in drops], expected)
    assert len({x.seed for x in drops}) == len(drops)
    without = build(depths=(1, 2, 1, 1), drop_path_rate=0)
    assert not [x for x in without.layers if isinstance(x, models.SeededDropout)]


@BOTH
def test_stochastic_depth_leaves_whole_images_out_in_training_alone(build):
    model = awake(build(drop_path_rate=0.5))
    drop = [x for x in model.layers if isinstance(x, models.SeededDropout)][-1]
    look = keras.Model(model.input, [drop.input, drop.output])
    images = np.repeat(numbers((1, 32, 32, 3)), 64, 0)
    branch, kept = look(images)
    np.testing.assert_array_equal(branch, kept)
    same = build(drop_path_rate=0)
    same.set_weights([w for w in model.get_weights() if w.dtype != np.int64])
    np.testing.assert_array_equal(model(images[:2]), same(images[:2]))
    branch, kept = (x.numpy() for x in look(images, training=True))
    stays = abs(kept).max((1, 2, 3)) > 0
    assert 16 < stays.sum() < 48
    np.testing.assert_allclose(kept, np.where(stays[:, None, None, None], 2 * branch, 0), rtol=1e-5)


@BOTH
def test_every_weight_has_a_say(build):
    model = awake(build((32, 64), filters=4, drop_path_rate=0.0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(numbers((2, 32, 64, 3)), training=True) ** 2)
    for weight, slope in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
        # All scores change alike with a key's bias, which softmax takes no notice of.
        assert "key/bias" in path_of(weight) or np.abs(slope).max() > 1e-6, path_of(weight)


@BOTH
def test_wrong_arguments_are_named(build):
    for value in (-0.1, 1, True, None, "0.1", float("nan")):
        refused(r"'drop_path_rate' must be .*from 0 up and below 1", build, drop_path_rate=value)
    for value in (3, None, (), "1111", {1: 1}):
        refused("'depths' must be", build, depths=value)
    for value in ((1, 1, 0, 1), (1, 1, 1.0, 1), (1, 1, True, 1)):
        refused(r"'depths\[2\]' must be a whole number from 1 up", build, depths=value)


def test_wrong_sizes_and_widths_are_named():
    refused(r"multiple of 32\. Received: \(32, 48\)", segformer, (32, 48))
    refused(r"multiple of 2\*\*len\(depths\) = 4\. .* 34", convnext, 34)
    refused("'decoder_filters' must be a whole number from 1 up", segformer, decoder_filters=0)
    refused("'depths' must be 4 ints", segformer, depths=(1, 1, 1))

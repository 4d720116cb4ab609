"""U-Nets on encoders of keras.applications, against keras.applications itself."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from stacks import path_of

import kerasgan as kg
from kerasgan.models.encoders import ENCODERS, input_scaling
from kerasgan.stack import KERAS_3

unet = kg.models.encoder_unet
NAMES = sorted(name for name in ENCODERS if not name.startswith("efficientnet_lite"))
GET_FILE = f"keras.src.utils.{'file' if KERAS_3 else 'data'}_utils.get_file"
IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")


def original(name, **options):
    build = getattr(keras.applications, ENCODERS[name].build)
    return build(include_top=False, weights=None, **options)


def weights_of(model, name):
    return model.get_layer(name).get_weights()


def preprocessed(name, pixels):
    """What keras.applications makes of pixels in [0, 255] for this encoder."""
    modules = {"efficientnet_b0": "efficientnet", "densenet121": "densenet"}
    module = getattr(keras.applications, modules.get(name, name))
    return module.preprocess_input(pixels.copy())


def with_random_weights(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        norm = "normalization/" in path_of(weight)
        if tf.as_dtype(weight.dtype).is_floating and not norm:
            spread = 1 / np.sqrt(max(1, np.prod(weight.shape[:-1])))
            low, high = (0.5, 1.5) if len(weight.shape) == 1 else (-spread, spread)
            weight.assign(rng.uniform(low, high, weight.shape))
    return model


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg16_notop.weights.h5"
    with_random_weights(original("vgg16")).save_weights(path)
    return path


def check_against_original(name, path):
    source = with_random_weights(original(name, input_shape=(32, 32, 3)))
    source.save_weights(path)
    model = unet(32, filters=1, encoder=name, weights=path)
    bottom = model.get_layer(ENCODERS[name].bottom.replace("/", "_")).output
    received = keras.Model(model.input, bottom)(IMAGE).numpy()
    expected = source(preprocessed(name, (IMAGE + 1) * 127.5)).numpy()
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_vgg16_computes_what_the_original_does(tmp_path):
    check_against_original("vgg16", tmp_path / "vgg16.weights.h5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix"), list(zip(NAMES, itertools.cycle([".weights.h5", ".h5"])))
)
def test_all_compute_what_the_originals_do(name, suffix, tmp_path):
    check_against_original(name, tmp_path / f"weights{suffix}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_can_be_explained(name):
    model = with_random_weights(unet(32, filters=2, encoder=name))
    kg.Explainer(model, rule="epsilon").check(IMAGE)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"efficientnet_b0"}))
def test_scaling_is_that_of_keras(name):
    scale, offset = input_scaling(ENCODERS[name], None, 3)
    expected = preprocessed(name, (IMAGE + 1) * 127.5)
    if ENCODERS[name].blue_first:
        expected = expected[..., ::-1]
    np.testing.assert_allclose(IMAGE * scale + offset, expected, atol=1e-4)


def test_efficientnet_scaling_follows_its_normalization():
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source = original("efficientnet_b0")
    norm = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    untrained = input_scaling(ENCODERS["efficientnet_b0"], source, 3)
    np.testing.assert_allclose(untrained, [[0.5] * 3, [0.5] * 3])
    norm.set_weights([mean, deviation**2, *norm.get_weights()[2:]])
    pixels = (IMAGE.astype("float64") + 1) / 2
    expected = (pixels - mean) / deviation / np.sqrt(deviation)
    for source_or_none in (source, None):
        scale, offset = input_scaling(ENCODERS["efficientnet_b0"], source_or_none, 3)
        np.testing.assert_allclose(IMAGE * scale + offset, expected, atol=1e-5)


def test_the_scale_is_part_of_the_network():
    model = unet(32, filters=1, encoder="vgg16")
    scaled = keras.Model(model.input, model.get_layer("scale").output)(IMAGE)
    expected = preprocessed("vgg16", (IMAGE + 1) * 127.5)[..., ::-1]
    np.testing.assert_allclose(scaled, expected, atol=1e-4)
    other = unet(32, filters=1, channels=2, encoder="vgg16").get_layer("scale")
    assert other.scale == [127.5] * 2
    assert other.offset == pytest.approx([127.5 - (123.68 + 116.779 + 103.939) / 3] * 2)


def test_a_grey_image_is_taken_as_a_colour_image_without_colour(vgg_file):
    grey, colour = (
        unet(32, filters=1, channels=channels, encoder="vgg16", weights=vgg_file)
        for channels in (1, 3)
    )
    received = grey(IMAGE[..., :1])
    np.testing.assert_array_equal(received, colour(np.repeat(IMAGE[..., :1], 3, -1)))
    explanation = kg.Explainer(grey, rule="epsilon").explain(IMAGE[..., :1])
    assert explanation.relevance.shape == (1, 32, 32, 1)


def test_frozen_stages_keep_weights_and_statistics(tmp_path):
    file = tmp_path / "mobilenet_v2.weights.h5"
    with_random_weights(original("mobilenet_v2")).save_weights(file)
    model = unet(32, filters=1, encoder="mobilenet_v2", weights=file, frozen_stages=2)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    gan = kg.SegmentationGAN(model)
    gan.compile(keras.optimizers.Adam(0.1), losses={"dice": 1.0}, run_eagerly=True)
    mask = np.float32(IMAGE[..., :1] > 0)
    gan.fit(np.repeat(IMAGE, 2, 0), np.repeat(mask, 2, 0), batch_size=2, epochs=1, verbose=0)
    names = [layer.name for layer in model.layers]
    split = names.index(ENCODERS["mobilenet_v2"].skips[1]) + 1
    unchanged = {
        name for name in names if all(map(np.array_equal, before[name], weights_of(model, name)))
    }
    norms = {name for name in names[split:] if len(before[name]) == 4}
    assert unchanged >= set(names[:split])
    assert norms
    assert not unchanged & norms
    gan.save(tmp_path / "gan")
    assert not (tmp_path / "gan" / "generator.keras").exists()  # other stacks read it
    loaded = kg.SegmentationGAN.load(tmp_path / "gan").generator
    assert [x.trainable for x in loaded.layers] == [x.trainable for x in model.layers]


def test_stages_are_not_frozen_at_random_weights(vgg_file):
    refused("frozen_stages", unet, 32, encoder="vgg16", frozen_stages=1)
    for wrong in (-1, 7, 1.5, True):
        refused("frozen_stages", unet, 32, encoder="vgg16", weights=vgg_file, frozen_stages=wrong)
    model = unet(32, filters=1, encoder="vgg16", weights=vgg_file, frozen_stages=6)
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    assert frozen == {f"block{i}_conv{j}" for i in range(1, 6) for j in range(1, 3 + (i > 2))}


def test_names_do_not_depend_on_what_was_built_before():
    keras.layers.ZeroPadding2D()
    first, second = (unet(32, filters=1, encoder="mobilenet_v2") for _ in range(2))
    names = [x.name for x in first.layers]
    assert names == [x.name for x in second.layers]
    assert len(set(names)) == len(names)
    assert not any("/" in name or name.startswith("zero_padding2d") for name in names)
    assert {"block_13_expand_relu", "up_1_skip", "mask_conv", "mask"} <= set(names)


def test_growth_and_skips():
    model = unet((64, 32), filters=3, encoder="vgg16")
    for step in range(1, 6):
        grown = model.get_layer(f"up_{step}_grow").output.shape
        assert grown[1:3] == (64 // 2 ** (5 - step), 32 // 2 ** (5 - step))
        skip = model.get_layer(f"block{6 - step}_conv{3 if step < 4 else 2}")
        assert model.get_layer(f"up_{step}_skip").input[1] is skip.output
        assert model.get_layer(f"up_{step}_act_b").output.shape[-1] == 3 * 2 ** (5 - step)


def test_imagenet_weights_come_from_where_keras_says(vgg_file, monkeypatch):
    asked = []

    def get_file(name, origin, **_):
        asked.append(origin)
        return str(vgg_file)

    monkeypatch.setattr(GET_FILE, get_file)
    model = unet(32, filters=1, encoder="vgg16", weights="imagenet")
    assert len(asked) == 1
    assert asked[0].endswith("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
    same = unet(32, filters=1, encoder="vgg16", weights=vgg_file)
    for a, b in zip(model.get_weights(), same.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_failed_download_is_named(monkeypatch):
    def get_file(*_, **__):
        raise Exception("URL fetch failure on the way: no route to host")

    monkeypatch.setattr(GET_FILE, get_file)
    with pytest.raises(kg.KerasganError, match=r"VGG16 cannot be downloaded: URL fetch.*path"):
        unet(32, filters=1, encoder="vgg16", weights="imagenet")


def test_weights_that_do_not_fit_are_named(tmp_path, vgg_file):
    text = tmp_path / "text.h5"
    text.write_text("no weights", encoding="utf-8")
    archive = tmp_path / "text.keras"
    archive.write_text("no archive", encoding="utf-8")
    other = tmp_path / "other.weights.h5"
    kg.models.unet(32, filters=1, levels=1).save_weights(other)
    for path in (text, archive, other):
        with pytest.raises(kg.KerasganError, match=rf"{path.name}' does not hold .* VGG16"):
            unet(32, filters=1, encoder="vgg16", weights=path)
    with pytest.raises(kg.KerasganError, match="does not hold the weights of MobileNetV2"):
        unet(32, filters=1, encoder="mobilenet_v2", weights=vgg_file)


@pytest.mark.parametrize("weights", ["missing.h5", "imagenett", 3, True, __file__])
def test_wrong_weights_are_named(weights):
    with pytest.raises(
        kg.KerasganError, match=r"'weights' must be None, 'imagenet' or an existing"
    ):
        unet(32, encoder="vgg16", weights=weights)


def test_wrong_arguments_are_named(vgg_file):
    refused(r"'encoder' must be one of.*'resnet'.*'resnet50'", unet, 32, encoder="resnet")
    with pytest.raises(kg.KerasganError, match=r"'channels' must be 1 or 3 where .*: 2"):
        unet(32, channels=2, encoder="vgg16", weights=vgg_file)
    refused(r"'size' must be a multiple of 32\. Received: 48", unet, 48)
    for name in ("channels", "classes", "filters"):
        refused(f"'{name}' must be a whole number from 1 up", unet, 32, **{name: 0})

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan import KerasganError
from kerasgan.data.resize import resize_pixels, to_float
from kerasgan.inference import predict_probability
from kerasgan.inference.export import _at_own_size, check_against, export_onnx, export_predictor

FAMILIES = {
    "pix2pix": lambda: kg.models.pix2pix_generator(size=32, filters=2),
    "pix2pix_classes": lambda: kg.models.pix2pix_generator(size=32, filters=2, classes=3),
    "unet": lambda: kg.models.unet(size=32, filters=2, levels=2, channels=1),
    "residual": lambda: kg.models.residual_unet(size=32, filters=2),
    "attention": lambda: kg.models.attention_unet(size=32, filters=2, levels=2),
    "nested": lambda: kg.models.nested_unet(size=32, filters=2, levels=2),
    "segformer": lambda: kg.models.segformer(size=32, filters=2, depths=(1, 1, 1, 1)),
    "convnext": lambda: kg.models.convnext_unet(size=32, filters=2, depths=(1, 2)),
    "addons": lambda: with_addons(),
}
RNG = np.random.default_rng(0)


def with_addons():
    """Layers of tensorflow-addons, logits of two classes, no fixed size."""
    layers = pytest.importorskip("tensorflow_addons").layers
    image = keras.Input((None, None, 3))
    x = layers.SpectralNormalization(keras.layers.Conv2D(4, 3, padding="same"))(image)
    x = layers.InstanceNormalization()(layers.GroupNormalization(2)(x))
    return keras.Model(image, keras.layers.Conv2D(2, 1)(layers.Maxout(2)(x)))


def trained(network, seed=0):
    """Give every weight, batch norm's statistics too, values that a trained network could have."""
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        if tf.as_dtype(weight.dtype).is_floating:
            spread = rng.uniform(0.5, 1.5, weight.shape)
            weight.assign(spread if "variance" in weight.name else weight + 0.1 * (spread - 1))
    return network


SLOWER = ("pix2pix_classes", "unet", "attention", "nested", "segformer", "convnext")


@pytest.fixture(
    scope="module",
    params=[pytest.param(x, marks=[pytest.mark.slow] * (x in SLOWER)) for x in FAMILIES],
)
def network(request):
    return trained(FAMILIES[request.param]())


def images_for(network, count=3):
    return RNG.uniform(-1, 1, (count, 32, 32, network.input_shape[-1])).astype("float32")


def size_of(network):
    return 32 if None in network.input_shape[1:3] else None


def close(received, expected, tolerance=1e-5):
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance)


def test_saved_model_of_every_family(network, tmp_path):
    folder = export_predictor(network, tmp_path / "saved", size=size_of(network))
    saved = tf.saved_model.load(folder)
    assert set(saved.signatures) == {"serving_default", "pixels"}
    call = saved.signatures["serving_default"]
    (spec,) = call.structured_input_signature[1].values()
    assert (spec.name, spec.dtype) == ("images", tf.float32)
    assert spec.shape.as_list() == [None, 32, 32, network.input_shape[-1]]
    images = images_for(network)
    received = call(images=tf.constant(images))["probability"]
    close(received, predict_probability(network, images, size=32))
    frames = RNG.integers(0, 256, (2, 48, 40, images.shape[-1]), np.uint8)
    received = saved.signatures["pixels"](pixels=tf.constant(frames))["probability"]
    close(received, predict_probability(network, to_float(frames), size=32), 2e-3)


def test_onnx_of_every_family(network, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("tf2onnx", reason="needs the extra onnx")
    path = export_onnx(network, tmp_path / "net.onnx", size=size_of(network), temperature=2.0)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = images_for(network)
    (received,) = session.run(["probability"], {"images": images})
    close(received, predict_probability(network, images, size=32, temperature=2.0))
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.slow
def test_an_encoder_of_keras_applications(tmp_path):
    network = kg.models.encoder_unet(size=64, filters=2)
    images = RNG.uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = predict_probability(network, images)
    saved = tf.saved_model.load(export_predictor(network, tmp_path / "saved"))
    close(saved.signatures["serving_default"](images=images)["probability"], expected)
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("tf2onnx", reason="needs the extra onnx")
    session = runtime.InferenceSession(export_onnx(network, tmp_path / "net.onnx"))
    close(session.run(None, {"images": images})[0], expected)


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(16, 24), (17, 5), (64, 96), (50, 33), (8, 8), (1, 40), (90, 7)])
def test_pixels_are_resized_as_in_training(mode, size):
    # A "network" that shows what it sees, so the map is the image resized there and back.
    pixels = RNG.integers(0, 256, (2, *size, 3), np.uint8)
    seen = []

    def show(frame):
        seen.append(frame)
        return frame

    back = _at_own_size(show, tf.constant(pixels), (16, 24), mode)
    expected = np.stack([to_float(resize_pixels(each, (16, 24), mode)) for each in pixels])
    apart = np.abs(seen[0].numpy() - expected)
    # Sums taken in another order may round a tie, to 1 of 255, the other way.
    assert apart.max() < 2.1 / 255
    assert (apart > 1e-6).mean() < 0.01
    for each, frame in zip(back.numpy(), seen[0].numpy()):
        close(each, kg.data.resize.resize_back(frame, size, mode), 1e-5)


def test_temperature_and_letterbox(tmp_path):
    network = trained(FAMILIES["unet"]())
    options = {"mode": "letterbox", "temperature": 1.7}
    saved = tf.saved_model.load(export_predictor(network, tmp_path / "saved", **options))
    frames = RNG.integers(0, 256, (1, 64, 96, 1), np.uint8)
    received = saved.signatures["pixels"](pixels=frames)["probability"]
    close(received, predict_probability(network, to_float(frames), **options), 1e-3)
    plain = predict_probability(network, to_float(frames))
    assert np.abs(received - plain).max() > 0.01


def test_weights_are_those_of_the_moment(tmp_path):
    network = FAMILIES["unet"]()
    images = images_for(network)
    saved = tf.saved_model.load(export_predictor(network, tmp_path / "saved"))
    before = predict_probability(network, images)
    trained(network)
    assert np.abs(predict_probability(network, images) - before).max() > 1e-3
    close(saved.signatures["serving_default"](images=images)["probability"], before)
    assert len(saved.variables_read) >= len(network.weights) - 1


@pytest.mark.slow
def test_it_runs_where_kerasgan_is_not(tmp_path):
    network = trained(FAMILIES["pix2pix"]())
    export_predictor(network, tmp_path / "saved")
    frames = RNG.integers(0, 256, (2, 40, 50, 3), np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "call = tf.saved_model.load('saved').signatures['pixels']\n"
        "np.save('out.npy', call(pixels=tf.constant(np.load('frames.npy')))['probability'])\n"
        "print([x for x in ('kerasgan', 'tensorflow_addons') if x in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    close(np.load(tmp_path / "out.npy"), predict_probability(network, to_float(frames)), 2e-3)


class TestRefusals:
    def test_arguments(self, tmp_path):
        network = FAMILIES["unet"]()
        for options, message in (
            ({"mode": "crop"}, "'mode' must be one of stretch, letterbox"),
            ({"temperature": 0}, "temperature"),
            ({"size": 64}, "'size' must be what"),
        ):
            refused(message, export_predictor, network, tmp_path / "saved", **options)
        with pytest.raises(KerasganError, match="'opset' must be a whole number from 13 to 18"):
            export_onnx(network, tmp_path / "a.onnx", opset=12)
        refused("one network", export_predictor, [network, network], tmp_path / "saved")
        refused("'size' must be given", export_predictor, with_addons(), tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []

    def test_what_exists_stays(self, tmp_path):
        (tmp_path / "a").write_text("mine")
        refused(r"exists\. Remove it", export_predictor, FAMILIES["unet"](), tmp_path / "a")
        assert (tmp_path / "a").read_text() == "mine"

    def test_a_network_of_nan_leaves_nothing(self, tmp_path):
        network = FAMILIES["unet"]()
        network.weights[-1].assign([np.nan])
        refused("was not written", export_predictor, network, tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []

    def test_numbers_that_differ(self):
        check_against([1e6], [1e6 + 1], "a")
        refused(r"up to 0\.001", check_against, [0.5], [0.501], "a")
        refused("up to inf", check_against, [0.5], [[0.5]], "a")

    def test_without_the_extra(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tf2onnx", None)
        with pytest.raises(KerasganError, match=r"pip install 'kerasgan\[onnx\]'"):
            export_onnx(FAMILIES["unet"](), tmp_path / "a.onnx")


def test_what_the_network_takes_is_part_of_what_is_written(tmp_path):
    image = keras.Input((16, 16, 3))
    mask = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(image)
    model = keras.Model(image, mask)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3)).astype(np.uint8)
    images = pixels / np.float32(127.5) - 1
    small = images[:, :16, :16]
    for name in ("[0,255]", "caffe"):
        folder = export_predictor(model, tmp_path / name.strip("[]"), preprocess=name)
        signatures = tf.saved_model.load(folder).signatures
        found = signatures["pixels"](pixels=pixels)["probability"]
        close(found, predict_probability(model, images, preprocess=name))
        found = signatures["serving_default"](images=tf.constant(small))["probability"]
        close(found, predict_probability(model, small, preprocess=name))

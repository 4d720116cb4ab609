"""Images unlike the training images, against distances computed by hand."""

import io
import zipfile

import keras
import numpy as np
import pytest
from refusals import refused

import kerasgan as kg

fit = kg.inference.fit_novelty


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    samples = kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("s"), count=20, size=32)
    return samples[:12], samples[12:]


@pytest.fixture(scope="module")
def model():
    return kg.models.unet(size=32, filters=4, levels=2)


@pytest.fixture(scope="module")
def novelty(model, scenes):
    return fit(model, *scenes)


def features(model, layer, images):
    maps = keras.Model(model.input, model.get_layer(layer).output)(images).numpy().astype("float64")
    return np.hstack([maps.mean((1, 2)), maps.std((1, 2))])


@pytest.mark.filterwarnings("ignore:.*unlike the training images")
def test_distances_are_mahalanobis_relative_to_usual_images(model, scenes, novelty):
    train, usual = (np.stack([each.image(i) for i in range(len(each))]) for each in scenes)
    expected = []
    for layer in novelty.layers:
        known = features(model, layer, train)
        scale = np.where(known.std(0) == 0, 1, known.std(0))
        correlations = (
            ((known - known.mean(0)) / scale).T @ ((known - known.mean(0)) / scale)
        ) / 12
        shrunk = 0.9 * correlations + 0.1 * np.eye(len(scale))
        apart = (features(model, layer, usual) - known.mean(0)) / scale
        distances = [np.sqrt(row @ np.linalg.solve(shrunk, row)) for row in apart]
        expected.append(distances / np.median(distances))
    table = novelty.measure(model, scenes[1])
    np.testing.assert_allclose(table.distance, np.mean(expected, 0), rtol=1e-3)
    np.testing.assert_array_equal(table.novel, table.distance > novelty.threshold)


def test_the_layers_are_the_last_of_each_size_on_the_way_down(model, novelty):
    shapes = {x.name: tuple(x.output.shape)[1] for x in model.layers[1:]}
    assert [shapes[name] for name in novelty.layers] == [32, 16, 8]
    deepest = [n for n, side in shapes.items() if side == 8][-1]
    assert novelty.layers[-1] == deepest
    order = list(shapes)
    before = order[: order.index(deepest)]
    for name in novelty.layers[:-1]:
        assert [n for n in before if shapes[n] == shapes[name]][-1] == name


def test_other_pictures_are_novel_and_named(model, novelty):
    rng = np.random.default_rng(0)
    noise = rng.choice([-1.0, 1.0], (3, 32, 32, 3)).astype("float32")
    with pytest.warns(kg.KerasganWarning, match=r"3 of 3 images .* images\[\d\] \(distance"):
        table = novelty.measure(model, noise)
    assert table.novel.all()
    assert list(table.name) == ["images[0]", "images[1]", "images[2]"]


def test_images_of_the_same_kind_pass_without_a_warning(model, scenes):
    wide = fit(model, *scenes, quantile=0.999)
    inside = wide.measure(model, scenes[0])
    assert not inside.novel.any()


def test_the_threshold_is_a_quantile_of_the_validation_images(model, scenes):
    high = fit(model, *scenes, quantile=0.9)
    with pytest.warns(kg.KerasganWarning, match="1 of 8 images"):
        distances = high.measure(model, scenes[1]).distance
    assert high.threshold == pytest.approx(np.quantile(distances, 0.9))


def test_it_is_saved_and_loaded(model, scenes, novelty, tmp_path):
    novelty.save(tmp_path / "novelty.npz")
    again = kg.inference.Novelty.load(tmp_path / "novelty.npz")
    assert (again.layers, again.threshold) == (novelty.layers, novelty.threshold)
    first, second = (each.measure(model, scenes[0]).distance for each in (novelty, again))
    np.testing.assert_array_equal(first, second)


def test_files_that_cannot_be_used_are_named(novelty, tmp_path):
    refused(r"'path' must end in '\.npz'", novelty.save, tmp_path / "novelty")
    refused(r"b\.npz' cannot be written", novelty.save, tmp_path / "no" / "b.npz")
    np.savez(tmp_path / "other.npz", features=np.ones(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other", "text", "missing"):
        with pytest.raises(kg.KerasganError, match=rf"{name}\.npz' holds no Novelty"):
            kg.inference.Novelty.load(tmp_path / f"{name}.npz")


def test_arguments_that_cannot_be_used_are_named(model, scenes, novelty):
    refused("layers", fit, model, *scenes, layers=["no_such"])
    refused("'train' must be at least 10 images", fit, model, scenes[0][:9], scenes[1])
    refused("'quantile' must be", fit, model, *scenes, quantile=1.0)
    wider = kg.models.unet(size=32, filters=8, levels=2)
    refused(r"'model' must be the model of fit_novelty", novelty.measure, wider, scenes[1])
    other = kg.models.residual_unet(size=32, filters=4, levels=1)
    refused("layers", novelty.measure, other, scenes[1])


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_named(model, novelty, channels):
    with pytest.raises(kg.KerasganError, match=r"must have 3 channels, .* in images\[\d\]"):
        novelty.measure(model, np.zeros((2, 32, 32, channels)))
    with pytest.raises(kg.KerasganError, match=r"must have 3 channels, .* in images\[1\]"):
        novelty.measure(model, [np.zeros((32, 32, 3)), np.zeros((32, 32, channels))])


def test_other_things_than_samples_and_layers_are_refused(model, scenes):
    for train in (None, "a folder of images"):
        refused("'train' must be Samples", fit, model, train, scenes[1])
    refused("'layers' must be at least one name", fit, model, *scenes, layers=[])
    refused("'path'", kg.inference.Novelty.load, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", np.nan),
        ("0/scale", 0.0),
        ("0/inverse", -1.0),
        ("0/center", np.nan),
        ("0/center", "text"),
        ("layers", np.array([], "U1")),
        ("size", np.array([0, 32])),
        ("size", np.array([32])),
        ("preprocess", np.array("[0,2]")),
        ("another", np.zeros(3)),
    ],
)
def test_files_that_were_changed_are_refused(novelty, tmp_path, name, value):
    path = tmp_path / "novelty.npz"
    novelty.save(path)
    arrays = dict(np.load(path))
    if isinstance(value, np.ndarray):
        arrays[name] = value
    elif isinstance(value, str):
        arrays[name] = np.full(arrays[name].shape, value)
    else:
        arrays[name] = np.full_like(arrays[name], value)
    np.savez(path, **arrays)
    refused(r"novelty\.npz' holds no Novelty", kg.inference.Novelty.load, path)


@pytest.mark.filterwarnings("ignore:.*unlike the training images")
def test_a_channel_that_is_dead_in_training_does_not_decide_alone(scenes):
    image = keras.Input((32, 32, 3))
    conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(conv(image)))
    kernel, bias = conv.get_weights()
    kernel[..., 0], bias[0] = 0, 0.1
    conv.set_weights([kernel, bias])
    options = {"layers": ["conv"], "preprocess": "[-1,1]"}
    novelty = fit(model, *scenes, **options)
    bias[0] += 1e-6
    conv.set_weights([kernel, bias])
    distances = novelty.measure(model, scenes[0]).distance
    assert distances.max() < 100


@pytest.mark.parametrize(
    ("name", "shape"),
    [("features", (10**8,)), ("0/inverse", (10**6, 10**6)), ("layers", (10**9,)), ("size", (9, 9))],
)
def test_a_file_that_cannot_be_one_is_refused_before_it_is_unpacked(
    novelty, tmp_path, monkeypatch, name, shape
):
    novelty.save(tmp_path / "usual.npz")
    header = io.BytesIO()
    descr = "<U9" if name == "layers" else "<f8"
    facts = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    with (
        zipfile.ZipFile(tmp_path / "usual.npz") as usual,
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in usual.namelist():
            if entry != f"{name}.npy":
                bomb.writestr(entry, usual.read(entry))
        bomb.writestr(f"{name}.npy", header.getvalue() + bytes(2**20))
    unpacked = []
    monkeypatch.setattr(np, "load", lambda *_, **__: unpacked.append(True))
    refused(r"bomb\.npz' holds no Novelty", kg.inference.Novelty.load, tmp_path / "bomb.npz")
    assert not unpacked


@pytest.fixture(scope="module")
def open_model():
    """A network of images of any size, in [0, 1]."""
    x = image = keras.Input((None, None, 3))
    for name, stride in (("wide", 1), ("deep", 2)):
        x = keras.layers.Conv2D(3, 3, stride, padding="same", activation="relu", name=name)(x)
    x = keras.layers.UpSampling2D()(x)
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.filterwarnings("ignore:.*unlike the training images")
def test_size_and_preprocess_are_kept(open_model, scenes, tmp_path):
    fitted = fit(open_model, *scenes, size=(16, 24), preprocess="[0,1]")
    assert fitted.layers == ["wide", "deep"]
    fitted.save(tmp_path / "novelty.npz")
    loaded = kg.inference.Novelty.load(tmp_path / "novelty.npz")
    assert (loaded.size, loaded.preprocess) == ((16, 24), "[0,1]")
    found, expected = (each.measure(open_model, scenes[0]) for each in (loaded, fitted))
    np.testing.assert_array_equal(found.distance, expected.distance)
    refused("'size' must be given", fit, open_model, *scenes, preprocess="[0,1]")


@pytest.mark.filterwarnings("ignore:.*unlike the training images")
def test_a_function_that_preprocesses_is_in_no_file(open_model, scenes, tmp_path):
    def halved(images):
        return images / 2

    fitted = fit(open_model, *scenes, size=16, preprocess=halved)
    assert len(fitted.measure(open_model, scenes[0])) == len(scenes[0])
    refused("cannot hold the function 'halved'", fitted.save, tmp_path / "novelty.npz")

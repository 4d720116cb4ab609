import pathlib
import threading
import tracemalloc

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.errors import KerasganError
from kerasgan.inference import (
    decide,
    iterate_probability,
    predict,
    predict_probability,
    predict_to_folder,
)


def red(size=16, activation="tanh", gain=10.0, channels=3):
    """A network that finds what is brighter than mid-grey in the first channel."""
    image = keras.Input((size, size, channels))
    kernel = np.zeros((1, 1, channels, 1), np.float32)
    kernel[0, 0, 0, 0] = gain
    conv = keras.layers.Conv2D(1, 1, name="mask_conv")
    mask = keras.layers.Activation(activation, name="mask")(conv(image))
    conv.set_weights([kernel, np.zeros(1)])
    return keras.Model(image, mask, name="red")


def strongest_channel(size=16, activation="softmax"):
    """A network of three classes, one for each colour channel."""
    image = keras.Input((size, size, 3))
    return keras.Model(image, keras.layers.Activation(activation)(image * 4.0), name="classes")


def block(height, width, value=0.9):
    """An image whose first channel is bright in the middle half."""
    image = np.full((height, width, 3), -0.9, np.float32)
    image[height // 4 : -(height // 4), width // 4 : -(width // 4), 0] = value
    return image


@pytest.fixture
def folder(tmp_path):
    """Three images of different sizes, one in a sub-folder, one grey."""
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    for name, (height, width) in {"a": (32, 48), "b": (40, 24), "sub/c": (20, 20)}.items():
        pixels = np.rint((block(height, width) + 1) * 127.5).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if name == "b" else pixels).save(images / f"{name}.png")
    return images


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_the_mask_is_the_sign_of_the_logit(activation):
    images = np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 3)).astype(np.float32)
    masks = predict(red(activation=activation), images, batch_size=2)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, images[..., 0] > 0)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_probabilities_of_one_class(activation):
    images = np.random.default_rng(1).uniform(-1, 1, (3, 16, 16, 3))
    maps = predict_probability(red(activation=activation, gain=2.0), images)
    assert maps.dtype == np.float32
    logit = 2 * images[..., :1]
    wanted = (np.tanh(logit) + 1) / 2 if activation == "tanh" else 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(maps, wanted, atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_several_classes_give_labels(activation):
    images = np.random.default_rng(2).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    masks = predict(strongest_channel(activation=activation), images)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, images.argmax(-1))
    maps = predict_probability(strongest_channel(activation=activation), images)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_any_size_in_that_size_out(mode):
    images = [block(32, 48), block(40, 24), block(16, 16), block(200, 120)]
    masks = predict(red(), images, mode=mode, batch_size=3)
    for image, mask in zip(images, masks):
        assert mask.shape == image.shape[:2]
        wrong = mask ^ (image[..., 0] > 0)
        pixel = max(image.shape) / 16
        assert wrong.sum() <= pixel * 2 * sum(image.shape[:2])
        assert wrong.mean() < 0.25
        assert mask[mask.shape[0] // 2, mask.shape[1] // 2]


def test_probabilities_are_brought_back_bilinearly():
    images = np.random.default_rng(3).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    model = red()
    small = (model(images).numpy() + 1) / 2
    coarse = tf.image.resize(images, (48, 80), "nearest").numpy()
    got = predict_probability(model, coarse)
    # 8-bit rounding in resizing moves an input by 1/255, the probability by up to 5 times that
    np.testing.assert_allclose(got, tf.image.resize(small, (48, 80)), atol=6 / 255)


def test_what_the_network_sees_is_what_batches_gives(folder):
    samples = load_folder(folder, masks=None)
    seen = []

    def spy(batch):
        seen.append(batch)
        return batch

    predict(red(), samples, preprocess=spy, batch_size=2)
    trained_on = np.concatenate(list(samples.batches(2, size=16)))
    np.testing.assert_array_equal(np.concatenate(seen), trained_on)


def test_folder_samples_and_arrays_agree(folder):
    samples = load_folder(folder, masks=None)
    by_samples = predict(red(), samples)
    (single,) = predict(red(), folder / "a.png")
    for images in (folder, str(folder), [samples.image(i) for i in range(3)]):
        for mask, wanted in zip(predict(red(), images), by_samples):
            np.testing.assert_array_equal(mask, wanted)
    np.testing.assert_array_equal(single, by_samples[0])
    assert [mask.shape for mask in by_samples] == [(32, 48), (40, 24), (20, 20)]


def test_files_are_read_with_the_channels_of_the_network(folder):
    masks = predict(red(channels=1), folder)
    assert [mask.shape for mask in masks] == [(32, 48), (40, 24), (20, 20)]
    refused("1 or 3 channels", predict, red(channels=4), folder)


def test_flexible_networks_want_a_size():
    model = red(size=None)
    images = [block(32, 48)]
    refused("'size' must be given, since 'red' takes", predict, model, images)
    assert predict(model, images, size=8)[0].shape == (32, 48)
    np.testing.assert_array_equal(predict(model, images, size=(32, 48))[0], images[0][..., 0] > 0)
    refused(r"must be what 'red' takes, \(16, 16\)", predict, red(), images, size=32)


def test_dropout_and_batch_norm_are_in_inference_mode():
    rng = np.random.default_rng(4)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(image))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    images = rng.uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    alone = predict_probability(model, images, batch_size=1)
    together = predict_probability(model, images, batch_size=4)
    np.testing.assert_allclose(alone, together, atol=1e-6)
    np.testing.assert_allclose(alone, model.predict(images, verbose=0), atol=1e-6)


def test_threshold_moves_the_edge():
    images = np.linspace(-1, 1, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    probability = predict_probability(red(gain=2.0), images)[..., 0]
    for threshold in (0.1, 0.5, 0.9):
        mask = predict(red(gain=2.0), images, threshold=threshold)
        np.testing.assert_array_equal(mask, probability > threshold)


def test_decisions():
    np.testing.assert_array_equal(decide(np.array([[0.5], [0.51]])), [False, True])
    np.testing.assert_array_equal(decide(np.array([[0.4, 0.2, 0.4], [0.1, 0.7, 0.2]])), [0, 1])
    for threshold in (0, 1, -3, float("nan")):
        refused("'threshold' must be a finite number", decide, np.zeros((2, 1)), threshold)
    refused("no meaning for 3 classes", decide, np.zeros((2, 3)), 0.4)


def test_coarse_outputs_and_half_precision_are_brought_back():
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.AveragePooling2D(4)(image)
    conv = keras.layers.Conv2D(1, 1, use_bias=False)
    mask = keras.layers.Activation("tanh", dtype="float16")(conv(pooled))
    conv.set_weights([np.eye(3)[:, :1].reshape(1, 1, 3, 1)])
    masks = predict(keras.Model(image, mask), [block(64, 64)])
    assert masks[0].shape == (64, 64)
    assert masks[0][32, 32]
    assert not masks[0][0, 0]


@pytest.mark.parametrize(("build", "white"), [(red, 255), (strongest_channel, 1)])
def test_masks_and_labels_of_a_folder_are_written_at_their_size(folder, tmp_path, build, white):
    out = tmp_path / "out"
    paths = predict_to_folder(build(), folder, out, batch_size=2)
    assert paths == [out / "a.png", out / "b.png", out / "sub" / "c.png"]
    for path, mask in zip(paths, predict(build(), folder)):
        with Image.open(path) as file:
            assert file.mode == "L"
            np.testing.assert_array_equal(np.asarray(file), mask * white)


def test_nothing_is_overwritten_silently(folder, tmp_path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "c.png").write_text("precious")
    with pytest.raises(KerasganError, match=r"already holds 1 of the 3 masks, such as .*c\.png"):
        predict_to_folder(red(), folder, out)
    assert sorted(path.name for path in out.rglob("*")) == ["c.png", "sub"]
    predict_to_folder(red(), folder, out, overwrite=True)
    with Image.open(out / "sub" / "c.png") as file:
        assert file.size == (20, 20)


def test_folders_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasganError, match="'folder' must be a path that can be written"):
        predict_to_folder(red(), folder, tmp_path / "file" / "out")
    with pytest.raises(KerasganError, match=r"to have names for the files. Received: list"):
        predict_to_folder(red(), [block(16, 16)], tmp_path / "out")


def test_images_are_taken_a_few_batches_ahead():
    class Frames(list):
        taken = 0

        def __getitem__(self, index):
            Frames.taken = max(Frames.taken, index + 1)
            return super().__getitem__(index)

    maps = iterate_probability(red(), Frames([block(20, 20)] * 30), batch_size=2)
    for number in range(30):
        next(maps)
        assert Frames.taken <= number + 1 + 4 * 2
    assert list(maps) == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    for index in range(60):
        Image.fromarray(np.full((200, 200, 3), index, np.uint8)).save(tmp_path / f"{index:02}.png")
    samples = load_folder(tmp_path, masks=None)
    model = red()
    list(iterate_probability(model, samples[:4], batch_size=4))
    tracemalloc.start()
    for _ in iterate_probability(model, samples, batch_size=4):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    all_images = 60 * 200 * 200 * 3 * 4
    assert peak < all_images / 2


def test_progress_is_shown_when_asked(capsys):
    predict(red(), [block(16, 16)] * 3, batch_size=2, verbose=True)
    assert "3/3" in capsys.readouterr().out
    predict(red(), [block(16, 16)] * 3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((16, 16, 3)), r"pass image\[None\] for a single one.*shape \(16, 16, 3\)"),
        (np.zeros((0, 16, 16, 3)), "at least one image"),
        ([], "at least one image"),
        ([block(16, 16), np.full((8, 8, 3), np.nan)], r"'images\[1\]' must be finite"),
        (np.full((1, 16, 16, 3), np.inf), r"'images\[0\]' must be finite"),
        ([np.full((8, 8, 3), 255.0)], r"must lie in \[-1, 1\]"),
        ([np.zeros((8, 8, 1))], "must have 3 channels, as the input of 'red'. Received: 1"),
        ([np.zeros((8, 8))], "must have 3 channels"),
        ([np.zeros(8)], r"shape \(height, width, channels\)"),
        ([np.array([["a"]])], r"shape \(height, width, channels\)"),
        (tf.data.Dataset.range(3), "must be Samples, a path, an array or a list"),
        (None, "Received: NoneType"),
        (pathlib.Path("no such folder"), "no such folder"),
    ],
)
def test_bad_images(images, message):
    refused(message, predict, red(), images)


def test_bad_options_and_models():
    images = [block(20, 20)]
    refused("'batch_size' must be a whole number", predict, red(), images, batch_size=0)
    refused("'mode' must be one of", predict, red(), images, mode="crop")
    refused("'threshold'", predict, red(), images, threshold=2)
    refused(r"keras\.models\.load_model", predict, "model.keras", images)
    image = keras.Input((16, 16, 3))
    flat = keras.Model(image, keras.layers.Flatten()(image))
    refused("one mask of that rank", predict, flat, images)
    two = keras.Model([image, keras.Input((16, 16, 3))], image * 1.0)
    refused("must take one input", predict, two, images)


@pytest.mark.parametrize("shape", [(256, 2), (16, 16), (256,)])
def test_a_mask_whose_pixels_lie_in_a_row_is_told_how_to_reshape(shape):
    image = keras.Input((16, 16, 3))
    logits = keras.layers.Conv2D(2 if shape == (256, 2) else 1, 3, padding="same")(image)
    last = "softmax" if shape == (256, 2) else "sigmoid"
    output = keras.layers.Activation(last)(keras.layers.Reshape(shape)(logits))
    model = keras.Model(image, output)
    with pytest.raises(KerasganError, match="one mask of that rank") as error:
        predict(model, [block(16, 16)])
    advised = eval(str(error.value).split("row by row: ")[1], {"keras": keras, "model": model})
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    received = predict_probability(advised, images, preprocess="[-1,1]")
    np.testing.assert_allclose(received[0].reshape(shape), np.asarray(model(images))[0], atol=1e-6)


def test_sizes_that_the_network_cannot_take():
    image = keras.Input((None, None, 3))
    x = keras.layers.MaxPooling2D(2)(image)
    x = keras.layers.UpSampling2D(2)(x)
    x = keras.layers.Concatenate()([x, image])
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x), name="halving")
    assert predict(model, [block(20, 20)], size=10)[0].shape == (20, 20)
    with pytest.raises(
        KerasganError, match=r"'halving' cannot take a batch of shape \(1, 9, 9, 3\)"
    ):
        predict(model, [block(20, 20)], size=9)


def test_networks_that_give_nan_are_refused():
    model = red()
    model.get_layer("mask_conv").bias.assign([np.nan])
    refused(r"'red' gave NaN or infinity for images\[0\]", predict, model, [block(16, 16)])


def test_a_reader_that_stops_early_leaves_nothing_running(folder):
    samples = load_folder(images=folder, masks=None)[[0, 1, 2] * 10]
    before = threading.active_count()
    maps = iterate_probability(red(), samples, batch_size=2)
    next(maps)
    maps.close()
    assert threading.active_count() <= before


def test_an_image_that_cannot_be_read_ends_in_its_error(folder):
    samples = load_folder(images=folder, masks=None)
    (folder / "sub" / "c.png").write_bytes(b"no picture")
    refused(r"c\.png", predict, red(), samples, batch_size=1)


def test_images_and_their_true_masks_are_not_replaced(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert before
    refused("must not hold the images", predict_to_folder, red(), folder, folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before


def test_further_inputs_of_a_network_are_named():
    image, edge = keras.Input((16, 16, 3), name="image"), keras.Input((16, 16, 1), name="edge")
    mask = keras.layers.Conv2D(1, 1)(keras.layers.Concatenate()([image, edge]))
    model = keras.Model([image, edge], mask, name="two")
    for images in (np.zeros((1, 16, 16, 3)), [np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 16, 1))]):
        refused(r"'two' with 2 inputs, 'image' \(16, 16, 3\), 'edge' \(16,", predict, model, images)


def test_masks_that_lost_their_border_are_refused_and_parts_are_not():
    image = keras.Input((16, 15, 3))
    cut = keras.Model(image, keras.layers.Conv2D(1, 4)(image), name="cut")
    images = np.zeros((1, 16, 15, 3))
    how = {"preprocess": "[-1,1]"}
    message = r"'cut' gives masks of 13 x 12 .* of 16 x 15.*ZeroPadding2D\(\(\(1, 2\), \(1, 2\)\)\)"
    refused(message, predict, cut, images, **how)
    mended = keras.layers.ZeroPadding2D(((1, 2), (1, 2)))(cut.outputs[0])
    mended = keras.Model(cut.inputs[0], mended)
    assert predict(mended, images, **how).shape == (1, 16, 15)
    for padding in ("same", "valid"):  # 8 x 8 and 8 x 7
        small = keras.layers.AveragePooling2D(2, padding=padding)(image)
        half = keras.Model(image, keras.layers.Conv2D(1, 1)(small))
        assert predict(half, images, **how).shape == (1, 16, 15)


def test_whole_numbers_are_given_to_networks_that_take_them():
    image = keras.Input((4, 4, 3), dtype="uint8")
    values = keras.layers.Rescaling(1 / 255)(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(values), name="u")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    images = pixels / np.float32(127.5) - 1
    refused(r"'u' takes whole numbers \(uint8\)", predict, model, images, preprocess="[-1,1]")
    received = predict_probability(model, images, preprocess="[0,255]")
    np.testing.assert_allclose(received, model(pixels).numpy(), atol=1e-6)


def test_a_layer_is_no_model_and_the_error_says_how_to_make_one():
    refused(r"keras\.Model\(image, layer\(image\)\)", predict, keras.layers.Conv2D(1, 1), [])


def test_unknown_options_are_refused_by_what_they_may_mean():
    images = np.zeros((1, 16, 16, 3))
    for function in (predict, predict_probability):
        refused("'batchsize'. Did you mean 'batch_size'", function, red(), images, batchsize=4)


def test_a_list_of_files_is_read_as_samples_are(folder, tmp_path):
    samples, network = load_folder(folder, masks=None), red()
    paths = [pathlib.Path(path) for path in samples.image_paths]
    expected = predict(network, samples)
    for listed in (paths, np.array(samples.image_paths), pd.Series(paths, [9, 8, 7])):
        for received, mask in zip(predict(network, listed), expected):
            np.testing.assert_array_equal(received, mask)
    written = predict_to_folder(network, paths, tmp_path / "out")
    found = [str(path.relative_to(tmp_path / "out").with_suffix("")) for path in written]
    assert found == list(samples.names)
    refused("lists .*, which is not there", predict, network, [*paths, "none.png"])
    refused(r"Received: map; pass list\(images\)", predict, network, map(str, paths))


def test_of_several_outputs_the_mask_is_asked_for():
    image = keras.Input((16, 16, 3))
    kind = keras.layers.Flatten(name="kind")(image)
    model = keras.Model(image, [keras.layers.Conv2D(1, 1, name="mask")(image), kind])
    refused(r"one output, the mask.*\['mask', 'kind'\]", predict, model, np.zeros((1, 16, 16, 3)))

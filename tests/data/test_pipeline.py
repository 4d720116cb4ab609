import contextlib
import dataclasses
import os
import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

from kerasgan.data import Augmentation, load_folder, pipeline
from kerasgan.data.masks import MAX_INSPECTED, interpret_masks
from kerasgan.data.resize import resize_image, resize_mask
from kerasgan.errors import KerasganError, KerasganWarning


def stream(dataset):
    """All batches of the next epoch."""
    return [tuple(np.asarray(part) for part in batch) for batch in dataset]


def assert_same(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b):
        for part, other in zip(left, right):
            np.testing.assert_array_equal(part, other)


def whole(dataset, part=0):
    return np.concatenate([batch[part] for batch in stream(dataset)])


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [16, (24, 40)])
@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_batches_are_the_resized_files_in_order(pairs, tmp_path, size, mode, cache):
    samples = load_folder(pairs(5))
    cache = cache if cache == "memory" else tmp_path / "cache" / "deep"
    dataset = samples.batches(2, size, mode=mode, cache=cache)
    height, width = (size, size) if isinstance(size, int) else size
    assert dataset.element_spec == (
        tf.TensorSpec((None, height, width, 3), tf.float32),
        tf.TensorSpec((None, height, width, 1), tf.float32),
    )
    assert [len(image) for image, _ in stream(dataset)] == [2, 2, 1]
    assert len(dataset) == 3
    images, masks = whole(dataset), whole(dataset, 1)
    for i in range(5):
        np.testing.assert_array_equal(images[i], resize_image(samples.image(i), size, mode))
        np.testing.assert_array_equal(masks[i, ..., 0], resize_mask(samples.mask(i), size, mode))


def test_grey_images_have_one_channel(save, tmp_path):
    save("a.png", (8, 8))
    dataset = load_folder(tmp_path, masks=None).batches(1, 8)
    assert dataset.element_spec == tf.TensorSpec((None, 8, 8, 1), tf.float32)


def test_unlabelled_batches_are_images_alone(pairs):
    samples = load_folder(pairs(3), masks=None)
    for augment in (False, True):
        dataset = samples.batches(3, 8, augment=augment)
        assert dataset.element_spec == tf.TensorSpec((None, 8, 8, 3), tf.float32)
        assert next(iter(dataset)).shape == (3, 8, 8, 3)


@pytest.mark.parametrize("augment", [False, True])
def test_classes_are_one_hot(save, tmp_path, augment):
    labels = np.random.default_rng(0).integers(0, 3, (8, 8)).astype(np.uint8)
    save("images/a.png", (8, 8, 3))
    save("masks/a.png", labels)
    ((_, mask),) = stream(load_folder(tmp_path, classes=3).batches(1, 8, augment=augment))
    assert mask.shape == (1, 8, 8, 3)
    assert mask.dtype == np.float32
    assert (mask.sum(-1) == 1).all()
    if not augment:
        np.testing.assert_array_equal(mask[0].argmax(-1), labels)


def test_an_epoch_is_every_sample_once_in_an_order_of_its_own(pairs):
    samples = load_folder(pairs(6))
    plain = whole(samples.batches(2, 8))
    dataset = samples.batches(2, 8, shuffle=True)
    orders = []
    for _ in range(4):
        images = whole(dataset)
        order = [int(np.flatnonzero((plain == image).all((1, 2, 3))).item()) for image in images]
        assert sorted(order) == list(range(6))
        orders.append(tuple(order))
    assert len(set(orders)) > 1
    assert tuple(range(6)) not in orders[:1]


def test_augmenting_shuffles_unless_told_otherwise(pairs):
    samples = load_folder(pairs(6))
    nothing = Augmentation(**{field.name: 0 for field in dataclasses.fields(Augmentation)})
    plain = whole(samples.batches(6, 8))
    shuffled = whole(samples.batches(6, 8, augment=nothing))
    np.testing.assert_array_equal(whole(samples.batches(6, 8, nothing, shuffle=False)), plain)
    assert (shuffled != plain).any()
    np.testing.assert_array_equal(np.sort(shuffled, 0), np.sort(plain, 0))


def test_same_seed_same_bits_another_seed_others(pairs):
    samples = load_folder(pairs(6))
    first = stream(samples.batches(4, 16, augment=True, seed=5))
    assert_same(first, stream(samples.batches(4, 16, augment=True, seed=5)))
    assert (first[0][0] != stream(samples.batches(4, 16, augment=True, seed=6))[0][0]).any()


def test_epochs_differ_and_can_be_resumed(pairs):
    samples = load_folder(pairs(6))
    dataset = samples.batches(4, 16, augment=True)
    assert dataset.epoch.dtype == tf.int64
    epochs = [stream(dataset) for _ in range(4)]
    assert dataset.epoch.numpy() == 4
    assert (epochs[0][0][0] != epochs[1][0][0]).any()
    again = samples.batches(4, 16, augment=True)
    again.epoch.assign(2)
    assert_same(stream(again), epochs[2])
    assert_same(stream(again), epochs[3])
    dataset.epoch.assign(0)
    assert_same(stream(dataset), epochs[0])


def test_an_iteration_broken_off_counts_as_an_epoch(pairs):
    dataset = load_folder(pairs(6)).batches(1, 16, augment=True)
    for _ in zip(range(2), dataset):
        pass
    assert dataset.epoch.numpy() == 1


def test_samples_are_augmented_each_in_its_own_way(save, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    for name in "abcd":
        save(f"images/{name}.png", pixels)
    (images,) = load_folder(tmp_path / "images", masks=None).batches(4, 16, augment=True)
    assert len(np.unique(images, axis=0)) == 4


def test_augmentation_depends_on_the_sample_not_on_its_batch(pairs):
    samples = load_folder(pairs(6))
    single = whole(samples.batches(1, 16, augment=True, shuffle=False))
    np.testing.assert_array_equal(
        whole(samples.batches(4, 16, augment=True, shuffle=False)), single
    )
    np.testing.assert_array_equal(
        whole(samples[:3].batches(3, 16, True, shuffle=False)), single[:3]
    )


def test_cache_folder_is_used_again_and_follows_the_files(pairs, tmp_path, monkeypatch):
    samples, cache = load_folder(pairs(3)), tmp_path / "cache"
    decoded = []
    read = pipeline.read_image
    monkeypatch.setattr(
        pipeline, "read_image", lambda path, *rest: decoded.append(path) or read(path, *rest)
    )
    first = stream(samples.batches(3, 16, cache=cache))
    assert len(decoded) == 3
    assert_same(stream(samples.batches(3, 16, cache=str(cache))), first)
    assert len(decoded) == 3
    samples.batches(3, 8, cache=cache)
    samples.batches(3, 16, mode="letterbox", cache=cache)
    assert len(decoded) == 9
    touched = pathlib.Path(samples.image_paths[1])
    os.utime(touched, (1, 1))
    moved = shutil.copytree(tmp_path / "set", tmp_path / "moved")
    for same in (samples, load_folder(moved)):
        assert_same(stream(same.batches(3, 16, cache=cache)), first)
    assert len(decoded) == 9
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert_same(stream(samples.batches(3, 16, cache=cache)), first)


def test_a_file_of_the_same_size_and_time_is_another_if_its_content_is(pairs, save, tmp_path):
    folder, cache = pairs(3), tmp_path / "cache"
    pixels = np.zeros((20, 26), np.uint8)
    pixels[:9] = 255
    mask = pathlib.Path(save("set/masks/x0.bmp", pixels))
    (folder / "masks" / "x0.png").unlink()
    samples = load_folder(folder)
    before = np.concatenate([y for _, y in samples.batches(3, 16, cache=cache)])
    stat = mask.stat()
    save("set/masks/x0.bmp", 255 - pixels)
    os.utime(mask, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert mask.stat().st_size == stat.st_size
    after = np.concatenate([y for _, y in samples.batches(3, 16, cache=cache)])
    np.testing.assert_array_equal(after[0], 1 - before[0])
    np.testing.assert_array_equal(after[1:], before[1:])


def test_how_masks_are_read_is_part_of_the_cache(pairs, tmp_path):
    folder, cache = pairs(3), tmp_path / "cache"
    plain = load_folder(folder)
    turned = load_folder(folder, colors=[255, 0])
    first = stream(plain.batches(3, 16, cache=cache))
    second = stream(turned.batches(3, 16, cache=cache))
    np.testing.assert_array_equal(first[0][1], 1 - second[0][1])
    grey = load_folder(folder, channels=1)
    assert next(iter(grey.batches(3, 16, cache=cache)))[0].shape[-1] == 1


def test_cache_folder_that_cannot_be(pairs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasganError, match="'cache' must be 'memory' or a folder to write into"):
        load_folder(pairs(2)).batches(1, 8, cache=tmp_path / "file")


def model():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    network = keras.Sequential([keras.layers.Input((None, None, 3)), layer])
    network.compile("sgd", "binary_crossentropy", jit_compile=False)
    return network


@pytest.mark.filterwarnings("ignore:non-integer arguments to randrange")  # Keras' own
@pytest.mark.parametrize("mirrored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_keras_fit_walks_through_the_epochs_and_resumes(pairs, mirrored):
    samples = load_folder(pairs(6))
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if mirrored else None
    with two.scope() if mirrored else contextlib.nullcontext():
        whole_run, stopped = model(), model()
    batches = samples.batches(2, 8, augment=True)
    options = {"verbose": 0, "shuffle": False}
    whole_run.fit(batches, validation_data=samples.batches(2, 8), epochs=4, **options)
    assert batches.epoch.numpy() == 4
    stopped.fit(samples.batches(2, 8, augment=True), epochs=2, **options)
    resumed = samples.batches(2, 8, augment=True)
    resumed.epoch.assign(2)
    stopped.fit(resumed, initial_epoch=2, epochs=4, **options)
    for a, b in zip(whole_run.get_weights(), stopped.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_the_tuner_of_tf_data_is_off_as_the_end_of_an_epoch_would_wait_for_it(pairs):
    batches = load_folder(pairs(2)).batches(2, 8)
    for dataset in (batches, batches.map(lambda image, mask: (mask, image))):
        assert dataset.options().autotune.enabled is False


def test_repeat_and_tf_function_walk_on(pairs):
    samples = load_folder(pairs(4))
    dataset = samples.batches(2, 8, augment=True)
    epochs = stream(dataset) + stream(dataset)
    dataset.epoch.assign(0)
    assert_same(stream(dataset.repeat(2)), epochs)

    @tf.function
    def total():
        result = 0.0
        for image, _ in dataset:
            result += tf.reduce_sum(image)
        return result

    dataset.epoch.assign(1)
    expected = sum(image.sum(dtype=float) for image, _ in epochs[2:])
    assert float(total()) == pytest.approx(expected, rel=1e-4)
    assert dataset.epoch.numpy() == 2


def test_a_file_that_breaks_later_is_named(pairs, tmp_path):
    samples = load_folder(pairs(3))
    path = pathlib.Path(samples.image_paths[1])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for cache in ("memory", tmp_path / "cache"):
        refused(r"images/x1\.png cannot be read", samples.batches, 1, 8, cache=cache)
    path.unlink()
    for cache in ("memory", tmp_path / "cache"):
        refused(r"images/x1\.png", samples.batches, 1, 8, cache=cache)


@pytest.mark.parametrize(
    ("label", "options", "words"),
    [
        (0, {}, "All 2 masks are empty.* lie above half its range"),
        (255, {}, r"All 2 masks are foreground alone.*colors=\[255, 0\] to load_folder"),
        (0, {"colors": [255, 0]}, "All 2 masks are foreground alone"),
        (0, {"classes": 3}, "All 2 masks are empty.* stand for the 3 classes"),
        (2, {"classes": 3}, "All 2 masks hold class 2 alone at this size: nothing can be learned"),
    ],
)
def test_masks_of_one_class_are_a_warning(save, tmp_path, label, options, words):
    for name in "ab":
        save(f"images/{name}.png", (8, 8, 3))
        save(f"masks/{name}.png", np.full((8, 8), label, np.uint8))
    if label or options:
        samples = load_folder(tmp_path, **options)
    else:
        with pytest.warns(KerasganWarning, match=r"All 2 masks .* are empty: they hold 0 \(100 %"):
            samples = load_folder(tmp_path)
    for cache in ("memory", tmp_path / "cache", tmp_path / "cache"):
        with pytest.warns(KerasganWarning, match=words) as record:
            samples.batches(1, 8, cache=cache)
        assert record[0].filename == __file__
    save("masks/b.png", np.eye(8, dtype=np.uint8) * (255 if samples.classes == 1 else 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_folder(tmp_path, **options).batches(1, 8)
    assert load_folder(images=tmp_path / "images", masks=None).batches(2, 8) is not None


def test_a_class_that_no_mask_holds_is_a_warning(save, tmp_path):
    for index in range(10):
        save(f"images/{index}.png", (8, 8, 3))
        save(f"masks/{index}.png", np.eye(8, dtype=np.uint8) * 2)
    samples = load_folder(tmp_path, classes=4)
    for cache in ("memory", tmp_path / "cache"):
        with pytest.warns(
            KerasganWarning,
            match=r"All 10 masks hold classes \[0, 2\] alone.*none of \[1, 3\].*there 4 classes",
        ):
            samples.batches(1, 8, cache=cache)
    save("masks/0.png", np.arange(64, dtype=np.uint8).reshape(8, 8) % 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples.batches(1, 8)
        samples[1:].batches(1, 8)  # too few to tell


def test_masks_that_nobody_looked_at_are_found_inverted(save, tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    for index in range(2 * MAX_INSPECTED):
        save(f"images/{index:03}.png", (8, 8, 3))
        save(f"masks/{index:03}.png", mask)
    samples = load_folder(tmp_path)
    looked = interpret_masks(samples.names, samples.mask_paths)
    assert looked == (None, "", ())
    save("masks/000.png", 255 - mask)
    save("masks/001.png", 255 - mask)  # one of any two neighbours is not looked at
    for cache in ("memory", tmp_path / "cache"):
        with pytest.warns(KerasganWarning, match="2 of 128 masks may be inverted: 000, 001"):
            samples.batches(1, 8, cache=cache)
    with pytest.warns(KerasganWarning, match="1 of 64 masks may be inverted: 00"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 4}, "'batch_size' must not exceed the number of images, 3. Received: 4"),
        ({"batch_size": 0}, "'batch_size' must be a whole number from 1 up"),
        ({"size": 0}, "'size' must be"),
        ({"seed": -1}, "'seed' must be a whole number from 0 to"),
        ({"augment": "strong"}, "'augment' must be True, False or an Augmentation"),
        ({"shuffle": 1}, "'shuffle' must be one of True, False, None"),
        ({"mode": "crop"}, "'mode' must be one of"),
        ({"cache": None}, "'cache' must be 'memory' or the path of a folder"),
    ],
)
def test_impossible_arguments(pairs, options, words):
    refused(words, load_folder(pairs(3)).batches, **{"batch_size": 2, "size": 8, **options})


@pytest.mark.data
def test_real_images_with_everything_on(real_data):
    samples = load_folder(real_data / "kvasir-seg")[:16]
    (image, mask), _ = stream(samples.batches(8, 128, augment=True))
    assert image.shape == (8, 128, 128, 3)
    assert set(np.unique(mask)) == {0, 1}
    assert 0.01 < mask.mean() < 0.6

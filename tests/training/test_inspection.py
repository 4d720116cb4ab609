"""Data as people feed them: right ones train, wrong ones are named with a line that mends them."""

import contextlib
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_runs import some_data, two_devices

import kerasgan as kg
from kerasgan.training.batch_checker import one_pixel_layer
from kerasgan.training.inspection import (
    cast_batch,
    check_batches,
    check_validation_data,
    unwrap_errors,
)

rng = np.random.default_rng(0)
IMAGES, MASKS = some_data(8)
LABELS = rng.integers(3, size=(8, 32, 32))
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
FORMS = ("arrays", "dataset", "unknown shapes", "generator", "sequence")


def by_form(names, cases, **options):
    """Every case as arrays, and each in one or two of the other forms."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    crossed = [
        (form, *case)
        for place, form in enumerate(FORMS)
        for number, case in enumerate(cases)
        if form == "arrays" or (number + place) % 3 == 0
    ]
    return pytest.mark.parametrize(("form", *names), crossed, **options)


def network(channels=3, classes=1, size=32):
    image = keras.Input((size, size, channels))
    ends = "softmax" if classes > 1 else "sigmoid"
    return keras.Model(image, keras.layers.Conv2D(classes, 1, activation=ends)(image), name="own")


COLOUR, GREY, CLASSES = network(), network(channels=1), network(classes=3)


class Pages(keras.utils.Sequence):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays, self.ended = arrays, 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return tuple(array[4 * index : 4 * index + 4] for array in self.arrays)

    def on_epoch_end(self):
        self.ended += 1


def data_of(form, *arrays):
    """Two batches of four, as what `fit` takes."""
    if form == "arrays":
        return arrays
    if form in ("generator", "sequence"):
        pages = Pages(*arrays)
        return (pages,) if form == "sequence" else ((pages[index] for index in range(2)),)
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    if form == "unknown shapes":

        def hidden(*parts):
            return tuple(tf.py_function(lambda x: x, [part], part.dtype) for part in parts)

        dataset = dataset.map(hidden)
    return (dataset.batch(4),)


def read(generator, *data):
    """Read all that is fed, looked at; images and masks of all batches."""
    with unwrap_errors():
        x, y = check_batches(generator, *data)
        if y is not None:
            return np.asarray(x), np.asarray(y)
        pages = [x[index] for index in range(len(x))] if hasattr(x, "on_epoch_end") else list(x)
    return tuple(np.concatenate([np.asarray(page[place]) for page in pages]) for place in (0, 1))


def quiet(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("error", kg.KerasganWarning)
        return function(*args)


def said_of(function, *args):
    """The error that a call raises, or else its one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function(*args)
        except kg.KerasganError as error:
            return str(error)
    (one,) = [str(each.message) for each in caught if each.category is kg.KerasganWarning]
    return one


def mended(form, line, images, masks):
    """Do what the line says."""
    names = {"tf": tf, "x": images, "y": masks, "image": images, "mask": masks}
    if form in ("dataset", "unknown shapes"):
        names["data"] = data_of("dataset", images, masks)[0]
        exec(line, names)
        return (names["data"],)
    if form == "arrays":
        exec(line, names)
        return names["x"], names["y"]
    return data_of(form, *(np.asarray(part) for part in eval(line.removeprefix("yield "), names)))


# --- Right data ---


@by_form(
    ["dtype"],
    [bool, "uint8", "int32", "int64", "float16", "float64", tf.bfloat16.as_numpy_dtype],
)
def test_masks_of_any_real_type_are_fed_as_they_are(form, dtype):
    images, masks = quiet(read, COLOUR, *data_of(form, IMAGES, MASKS.astype(dtype)))
    fed = cast_batch(tf.constant(images), tf.constant(masks), COLOUR)
    np.testing.assert_array_equal(fed[0], IMAGES)
    np.testing.assert_array_equal(fed[1], MASKS)
    assert [part.dtype for part in fed] == [tf.float32] * 2


@by_form(["dtype"], ["float16", "float64", tf.bfloat16.as_numpy_dtype])
def test_images_of_any_real_type_are_fed_as_they_are(form, dtype):
    images, _ = quiet(read, COLOUR, *data_of(form, IMAGES.astype(dtype), MASKS))
    np.testing.assert_allclose(np.asarray(images, "float32"), IMAGES, atol=2**-8)


@by_form(
    ("generator", "images", "masks"),
    [
        (COLOUR, IMAGES, MASKS[..., 0]),
        (GREY, IMAGES[..., 0], MASKS[..., 0].astype(bool)),
        (CLASSES, IMAGES, ONE_HOT.astype("uint8")),
        (network(size=None), IMAGES[:, :16], MASKS[:, :16]),
        (COLOUR, IMAGES, np.zeros_like(MASKS)),
        (COLOUR, IMAGES, np.ones_like(MASKS)),
        (COLOUR, IMAGES * 1.4, MASKS),
        (COLOUR, np.zeros_like(IMAGES), MASKS),
        (COLOUR, np.sign(IMAGES).astype("int8"), MASKS),
    ],
)
def test_what_is_unusual_but_right_is_fed_in_silence(form, generator, images, masks):
    fed = quiet(read, generator, *data_of(form, images, masks))
    fed = cast_batch(*map(tf.constant, fed), generator)
    np.testing.assert_array_equal(fed[0], images.reshape(fed[0].shape))
    np.testing.assert_array_equal(fed[1], masks.reshape(fed[1].shape))


def test_images_to_predict_are_checked_too():
    gan = kg.SegmentationGAN(COLOUR)
    refused(r"dtype uint8, .* / 127\.5 - 1", gan.predict, np.zeros(IMAGES.shape, "uint8"))
    refused(r"values from -100 to 100", gan.predict, 100 * np.sign(IMAGES))
    refused("is this one image", gan.predict, IMAGES[0])
    np.testing.assert_allclose(gan.predict(IMAGES, verbose=0), COLOUR(IMAGES), atol=1e-6)


def test_a_split_for_validation_goes_with_arrays_alone():
    gan = kg.SegmentationGAN(COLOUR)
    gan.compile(losses={"dice": 1.0})
    refused("goes with arrays.*samples.split", gan.fit, DATASET, validation_split=0.2)
    for split, words in ((-0.2, "from 0"), (1.0, "below 1"), (0.9, "0.9 of 8 images")):
        refused(
            f"'validation_split' must .*{words}", gan.fit, IMAGES, MASKS, validation_split=split
        )


def test_lists_are_arrays():
    for x, y in (
        (list(IMAGES), list(MASKS)),
        ([IMAGES], [MASKS]),
        (IMAGES.tolist(), MASKS.tolist()),
        (tf.constant(IMAGES), tf.constant(MASKS)),
    ):
        images, masks = quiet(read, COLOUR, x, y)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(masks, MASKS)


def test_none_for_weights_and_lists_for_pairs_are_as_good():
    for batch in ((IMAGES, MASKS, None), [IMAGES, MASKS]):
        np.testing.assert_array_equal(read(COLOUR, iter([batch]))[1], MASKS)


# --- Wrong data, and the line that mends them ---

BYTES = (IMAGES + 1) * 127.5
MENDABLE = {
    "0 and 255": (COLOUR, IMAGES, 255 * MASKS),
    "0 and 255, bytes": (COLOUR, IMAGES, (255 * MASKS).astype("uint8")),
    "0 and 2": (COLOUR, IMAGES, 2 * MASKS),
    "grey levels": (COLOUR, IMAGES, np.round(255 * rng.random(MASKS.shape))),
    "a drawing": (COLOUR, IMAGES, 2 * MASKS - 1),
    "labels": (COLOUR, IMAGES, LABELS[..., None]),
    "soft": (COLOUR, IMAGES, 0.3 + 0.4 * MASKS),
    "one-hot": (COLOUR, IMAGES, np.concatenate([1 - MASKS, MASKS], -1)),
    "painted": (COLOUR, IMAGES, MASKS.repeat(3, -1)),
    "masks, channels first": (COLOUR, IMAGES, MASKS.transpose(0, 3, 1, 2)),
    "masks half as large": (COLOUR, IMAGES, MASKS[:, ::2, ::2]),
    "sparse": (CLASSES, IMAGES, LABELS),
    "sparse, one channel": (CLASSES, IMAGES, LABELS[..., None].astype("float32")),
    "one-hot of 0 and 255": (CLASSES, IMAGES, 255 * ONE_HOT),
    "no background": (CLASSES, IMAGES, ONE_HOT * [0, 1, 1])[:3],
    "bytes": (COLOUR, BYTES.astype("uint8"), MASKS),
    "bytes as floats": (COLOUR, BYTES, MASKS),
    "16 bits": (COLOUR, (BYTES * 257).astype("uint16"), MASKS),
    "from 0 to 1": (COLOUR, (IMAGES + 1) / 2, MASKS),
    "standardised": (COLOUR, 3 * IMAGES, MASKS),
    "channels first": (COLOUR, IMAGES.transpose(0, 3, 1, 2), MASKS),
    "grey": (COLOUR, IMAGES[..., :1], MASKS),
    "grey, no channel": (COLOUR, IMAGES[..., 0], MASKS),
    "colour": (GREY, IMAGES, MASKS),
    "with alpha": (COLOUR, np.concatenate([IMAGES, IMAGES[..., :1]], -1), MASKS),
    "another size": (COLOUR, IMAGES[:, :16, :16], MASKS[:, :16, :16]),
    "masks of another size": (network(size=None), IMAGES, MASKS[:, ::2, ::2]),
}


@by_form(["kind"], MENDABLE)
def test_the_line_in_the_message_mends_it(kind, form):
    generator, images, masks = MENDABLE[kind]
    said = said_of(read, generator, *data_of(form, images, masks))
    at_fault = "'y'" if form == "arrays" and masks is not MASKS and images is IMAGES else "'x'"
    assert said.startswith(f"Argument {at_fault}")
    (line,) = re.findall("`(.+)`", said)
    if kind == "no background":
        images, masks = images, masks[..., 1:]  # what the line is for
    fed = quiet(read, generator, *mended(form, line, images, masks))
    fed = cast_batch(*(tf.constant(part) for part in fed), generator)
    if generator is COLOUR and images is IMAGES and kind != "grey levels":
        wanted = LABELS[..., None] > 0 if kind == "labels" else MASKS
        if kind != "masks half as large":
            np.testing.assert_array_equal(fed[1], wanted)
    if masks is MASKS and images.shape == IMAGES.shape and kind not in ("standardised", "colour"):
        np.testing.assert_allclose(fed[0], IMAGES, atol=0.01)


def spoilt(array, place, value):
    array = array.copy()
    array[place, 3, 5, 0] = value
    return array


@by_form(
    ("images", "masks", "words"),
    [
        (spoilt(IMAGES, 6, np.nan), MASKS, "images with NaN"),
        (spoilt(IMAGES, 6, -np.inf), MASKS, "images with NaN or infinity"),
        (spoilt(IMAGES, 6, 255), MASKS, "values from -0.99.* to 255"),
        (IMAGES, spoilt(MASKS, 6, np.nan), "masks with NaN"),
        (IMAGES, spoilt(MASKS, 6, 255), "0, 1, 255"),
        (IMAGES, spoilt(MASKS, 6, -1), "-1, 0, 1"),
        (IMAGES, spoilt(MASKS, 6, 0.5), "between 0 and 1.*from 0.5 to 0.5"),
    ],
)
def test_what_turns_up_late_is_found_where_it_is(form, images, masks, words):
    said = said_of(read, COLOUR, *data_of(form, images, masks))
    assert re.search(words, said)
    assert "batch 1" in said or form == "arrays"
    if "NaN" in words:
        assert f"number {6 if form == 'arrays' else 2}" in said


@by_form(
    ("generator", "arrays", "words"),
    [
        (COLOUR, (MASKS, IMAGES), "swapped"),
        (COLOUR, (IMAGES, MASKS.astype(str)), r"(?s)dtype.*real numbers"),
        (COLOUR, (IMAGES, np.stack([MASKS] * 2, 1)), r"masks of shape \(2, 32, 32, 1\)"),
        (CLASSES, (IMAGES, np.ones_like(ONE_HOT)), "several classes at once"),
        (CLASSES, (IMAGES, ONE_HOT[..., :2]), "classes=2"),
        (CLASSES, (IMAGES, 2 * ONE_HOT + ONE_HOT[..., ::-1]), "one-hot"),
    ],
)
def test_what_no_line_mends_is_named(form, generator, arrays, words):
    if form == "unknown shapes" and arrays[1].dtype.kind == "U":
        form = "dataset"
    refused(words, read, generator, *data_of(form, *arrays))


SLICES = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS))
DATASET = SLICES.batch(4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((DATASET.map(lambda image, mask: image),), "unlabelled"),
        (
            (DATASET.map(lambda image, mask: {"a": image, "b": mask}),),
            r"parts\['a'\], parts\['b'\]",
        ),
        ((DATASET.map(lambda image, mask: (image, {"b": mask})),), "one mask tensor.*dict"),
        ((DATASET.map(lambda image, mask: (image, (mask, mask))),), "one mask tensor.*tuple"),
        ((DATASET.map(lambda image, mask: (image, mask, 1.0)),), "cannot be weighted.*triples"),
        ((DATASET.map(lambda x, y: (x, tf.sparse.from_dense(y))),), "dense.*SparseTensorSpec"),
        ((SLICES,), r"one image.*data.batch\(8\)"),
        ((DATASET.take(0),), "no batch"),
        ((SLICES.batch(9, drop_remainder=True),), "drop_remainder"),
        ((DATASET.repeat(),), "never ends.*steps_per_epoch"),
        ((DATASET, MASKS), "'y' must be None"),
        ((iter([IMAGES]),), "unlabelled.*ndarray"),
        ((iter([(IMAGES, MASKS, np.ones(8))]),), "cannot be weighted"),
        ((IMAGES, MASKS[:4]), "8 images and 4 masks"),
        (([], []), "not be empty"),
        ((iter([(IMAGES[:0], MASKS[:0])]),), "empty batch"),
        ((IMAGES[0], MASKS[0]), "one image"),
        ((IMAGES,), "masks as y"),
        (((IMAGES, MASKS),), "one by one"),
        (([(IMAGES, MASKS)],), "Received: list"),
        (({"image": IMAGES}, MASKS), "Received: dict"),
        ((None,), "Received: NoneType"),
        (("folder",), "Received: str"),
        (([IMAGES[0], IMAGES[0, ::2]], MASKS[:2]), "several shapes"),
    ],
)
def test_the_wrong_form_is_named(data, words):
    refused(words, read, COLOUR, *data)


def test_samples_are_told_from_their_batches(tmp_path):
    samples = kg.data.synthetic.write_dataset(tmp_path / "scenes", count=2, size=32)
    refused("its method batches", read, COLOUR, samples)
    batches = samples.batches(2, size=32)
    assert check_batches(COLOUR, batches)[0] is batches
    with pytest.raises(kg.KerasganError, match=r"samples.batches\(..., size=\(32, 32\)\)"):
        check_batches(COLOUR, samples.batches(2, size=16))


# --- When it is looked at ---


def test_datasets_are_read_once_and_in_their_order():
    taken = []

    def note(place):
        taken.append(int(place))
        return place

    def pair(place):
        place = tf.ensure_shape(tf.numpy_function(note, [place], tf.int64), [])
        return tf.gather(IMAGES, [place]), tf.gather(MASKS, [place])

    data = tf.data.Dataset.range(4).map(pair)
    x, _ = check_batches(COLOUR, data)
    assert taken == []
    images = [image for image, _ in x]
    assert taken == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.concatenate(images), IMAGES[:4])
    shuffled = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).shuffle(8, seed=3).batch(1)
    x, again = check_batches(COLOUR, shuffled)[0], None
    epochs = [[float(image[0, 0, 0, 0]) for image, _ in x] for _ in range(2)]
    again = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).shuffle(8, seed=3).batch(1)
    assert epochs == [[float(image[0, 0, 0, 0]) for image, _ in again] for _ in range(2)]
    assert len(x) == 8


def test_generators_and_sequences_are_read_as_without():
    pages = Pages(IMAGES, MASKS)
    x, _ = check_batches(COLOUR, pages)
    assert len(x) == 2
    x.on_epoch_end()
    assert pages.ended == 1
    stream = check_validation_data(COLOUR, (pages[index] for index in range(2)))
    np.testing.assert_array_equal(np.concatenate([image for image, _ in stream]), IMAGES)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_batch_of_validation_data_is_looked_at_before_training(form):
    def validation(masks):
        data = data_of(form, IMAGES, masks)
        return data if form == "arrays" else data[0]

    with pytest.raises(kg.KerasganError, match=r"'validation_data' has masks with .*0, 255"):
        check_validation_data(COLOUR, validation(255 * MASKS))
    assert quiet(check_validation_data, COLOUR, validation(MASKS)) is not None
    with pytest.raises(kg.KerasganError, match=r"no batch|not be empty"):
        check_validation_data(
            COLOUR, DATASET.filter(lambda *_: False) if form != "arrays" else ([], [])
        )
    refused("cannot be weighted", check_validation_data, COLOUR, (IMAGES, MASKS, np.ones(8)))


# --- Through fit and evaluate ---


@pytest.fixture(scope="module")
def gan():
    gan = kg.SegmentationGAN(COLOUR)
    gan.compile(losses={"dice": 1.0})
    return gan


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_and_scores(gan, form):
    def data():
        return data_of(form, IMAGES.astype("float64"), MASKS.astype(bool))

    checked = data() if form == "arrays" else data()[0]
    options = {"batch_size": 4} if form == "arrays" else {}
    before = gan.generator.get_weights()
    history = gan.fit(*data(), validation_data=checked, verbose=0, **options).history
    assert not np.array_equal(gan.generator.get_weights()[0], before[0])
    again = gan.evaluate(*data(), verbose=0, return_dict=True)
    assert history["val_dice"][0] == pytest.approx(again["dice"], abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_trained_on_what_is_wrong(gan, form):
    def wrong(masks):
        return data_of(form, IMAGES, masks)

    before = gan.generator.get_weights()
    refused(r"masks with .*0, 255", gan.fit, *wrong(255 * MASKS), verbose=0)
    checked = wrong(255 * MASKS)
    with pytest.raises(kg.KerasganError, match="'validation_data' has masks"):
        gan.fit(DATASET, verbose=0, validation_data=checked if form == "arrays" else checked[0])
    refused(r"masks with .*0, 255", gan.evaluate, *wrong(255 * MASKS), verbose=0)
    for weight, kept in zip(gan.generator.get_weights(), before):
        np.testing.assert_array_equal(weight, kept)
    late = MASKS.copy()
    late[6] *= 255
    refused(r"masks with .*0, 1, 255", gan.fit, *wrong(late), verbose=0, shuffle=False)
    assert np.isfinite(gan.generator.get_weights()[0]).all()
    if form == "arrays":
        np.testing.assert_array_equal(gan.generator.get_weights()[0], before[0])


def test_single_steps_are_looked_at_too(gan):
    gan.train_on_batch(IMAGES, MASKS.astype(bool))
    for step in (gan.train_on_batch, gan.test_on_batch):
        refused("'y' has masks", step, IMAGES, 255 * MASKS)
        refused("cannot be weighted", step, IMAGES, MASKS, np.ones(8))


def test_no_batch_at_all_is_an_error(gan):
    none = DATASET.filter(lambda *_: False)
    refused("no batch", gan.fit, none, verbose=0)
    refused("no batch", gan.evaluate, none, verbose=0)


def test_several_devices_are_fed_alike():
    with two_devices().scope():
        gan = kg.SegmentationGAN(network())
        gan.compile(losses={"dice": 1.0})
    gan.fit(*data_of("dataset", IMAGES, MASKS[..., 0].astype("uint8")), verbose=0)
    before = gan.generator.get_weights()
    with pytest.raises(kg.KerasganError, match=r"0, 255 in batch 0.*`data = data.map"):
        gan.fit(*data_of("dataset", IMAGES, 255 * MASKS), verbose=0)
    for weight, kept in zip(gan.generator.get_weights(), before):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.parametrize(
    ("scale", "offset", "before"), [(1 / 255, 0.0, "127.5, 127.5"), (2.0, -1.0, "0.5, 0.5")]
)
def test_a_network_that_scales_other_images_first_is_named(scale, offset, before):
    image = keras.Input((32, 32, 3))
    inner = keras.layers.Rescaling(scale, offset)(image)
    generator = keras.Model(image, COLOUR(inner))
    gan = kg.SegmentationGAN(generator)
    gan.compile(losses={"dice": 1.0})
    with pytest.raises(kg.KerasganError, match=before) as found:
        gan.fit(IMAGES, MASKS, verbose=0)
    build, made = re.search(r"(keras.Model\(.*\)) with image = (.*)", str(found.value)).groups()
    mended = eval(build, {"keras": keras, "generator": generator, "image": eval(made)})
    gan = kg.SegmentationGAN(mended)
    gan.compile(losses={"dice": 1.0})
    gan.fit(IMAGES, MASKS, verbose=0)


@pytest.mark.parametrize("form", ["dataset", "unknown shapes", "generator", "sequence"])
def test_images_from_0_to_1_are_questioned_behind_a_black_batch(form):
    images = (IMAGES + 1) / 2
    images[:4] = 0
    x, _ = check_batches(COLOUR, *data_of(form, images, MASKS))
    batches = (x[index] for index in range(2)) if form == "sequence" else x
    with pytest.warns(kg.KerasganWarning, match="none below 0"):
        list(batches)


def test_other_numbers_of_images_and_masks_in_a_dataset():
    parts = (tf.data.Dataset.from_tensor_slices(x).batch(n) for x, n in ((IMAGES, 4), (MASKS, 2)))
    x, _ = check_batches(COLOUR, tf.data.Dataset.zip(tuple(parts)))
    with pytest.raises(kg.KerasganError, match="4 images and 2 masks"), unwrap_errors():
        list(x)


def test_an_epoch_without_a_batch_is_no_epoch(gan):
    with pytest.raises(kg.KerasganError, match="Epoch 2 got no batch"):
        gan.fit(*data_of("generator", IMAGES, MASKS), epochs=3, verbose=0)


def test_one_callback_needs_no_list(gan):
    history = gan.fit(IMAGES, MASKS, callbacks=keras.callbacks.TerminateOnNaN(), verbose=0)
    assert history.epoch == [0]


@pytest.mark.parametrize("name", ["evaluate", "train_on_batch", "test_on_batch"])
def test_what_was_not_compiled_says_so(name):
    refused("compile", getattr(kg.SegmentationGAN(network()), name), IMAGES, MASKS)


# --- A batch of one image, normalised over one pixel ---


def with_one_pixel(side=4, norm=None):
    """A network that shrinks images of 4 x 4 to one pixel, normalised over the batch."""
    image = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(2, 4, strides=4)(image)
    x = (norm or keras.layers.BatchNormalization(name="norm"))(x)
    x = keras.layers.UpSampling2D(4)(x)
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


def small_batches(kind, count, size):
    images = np.random.default_rng(0).uniform(-1, 1, (count, 4, 4, 3)).astype("float32")
    masks = (images[..., :1] > 0).astype("float32")
    pairs = [(images[i : i + size], masks[i : i + size]) for i in range(0, count, size)]
    if kind == "arrays":
        return {"x": images, "y": masks, "batch_size": size}
    if kind == "generator":
        return {"x": iter(pairs)}
    return {"x": tf.data.Dataset.from_tensor_slices((images, masks)).batch(size)}


@pytest.mark.parametrize("kind", ["arrays", "dataset", "generator"])
def test_a_batch_of_one_is_a_warning_where_one_pixel_is_normalised(kind):
    network = with_one_pixel()
    layer = one_pixel_layer([network])

    def read(count, size):
        data = small_batches(kind, count, size)
        with unwrap_errors():
            checked, _ = check_batches(network, **data, one_pixel=layer)
            return len(list(checked))

    for count, size in ((2, 2), (4, 2)):
        read(count, size)
    for count, size in ((1, 1), (3, 2)):
        with pytest.warns(kg.KerasganWarning, match="batch of one image.* 'norm' .* two images"):
            read(count, size)


def test_batches_of_samples_are_known_to_end_in_one(tmp_path):
    samples = kg.data.synthetic.write_dataset(tmp_path / "s", count=3, size=16)
    network = with_one_pixel()
    for size, warned in ((3, False), (2, True), (1, True)):
        batches = samples.batches(size, size=4)
        expected = pytest.warns(kg.KerasganWarning, match="one image")
        with expected if warned else contextlib.nullcontext():
            check_batches(network, batches, one_pixel=one_pixel_layer([network]))


def test_which_layers_normalise_one_pixel():
    assert one_pixel_layer([with_one_pixel()]) == "norm"
    assert one_pixel_layer([with_one_pixel(8)]) == ""
    assert one_pixel_layer([with_one_pixel(norm=keras.layers.LayerNormalization())]) == ""
    frozen = with_one_pixel()
    frozen.get_layer("norm").trainable = False
    assert one_pixel_layer([frozen]) == ""


def test_fit_and_train_on_batch_warn_of_a_batch_of_one():
    gan = kg.SegmentationGAN(with_one_pixel())
    gan.compile(losses={"dice": 1.0})
    data = small_batches("arrays", 1, 1)
    with pytest.warns(kg.KerasganWarning, match="one image"):
        gan.fit(**data, verbose=0)
    with pytest.warns(kg.KerasganWarning, match="one image"):
        gan.train_on_batch(data["x"], data["y"])
    gan.evaluate(**data, verbose=0)

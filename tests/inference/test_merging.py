"""Windows, views and ensembles, against what SciPy makes of the same networks in float64."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from refusals import refused
from scipy.ndimage import zoom
from scipy.signal import correlate2d

from kerasgan.errors import KerasganError
from kerasgan.inference import iterate_logits, predict, predict_probability, predict_to_folder
from kerasgan.inference.members import members_of
from kerasgan.inference.views import augmentation_views

RNG = np.random.default_rng(0)
UNITS = {"tanh": 2.0, "sigmoid": 1.0, "linear": 1.0}


def network(kernel, activation="tanh", size=(16, 16), fused=False):
    """A convolution of one channel and its activation."""
    image = keras.Input((*size, 1))
    kernel = np.asarray(kernel, np.float32)[..., None, None]
    inside = activation if fused else None
    conv = layers.Conv2D(1, kernel.shape[:2], padding="same", activation=inside)
    x = conv(image)
    conv.set_weights([kernel, np.zeros(1)])
    return keras.Model(image, x if fused else layers.Activation(activation)(x))


def oracle(kernel, image, activation="tanh"):
    """Log-odds of that network, float64."""
    return UNITS[activation] * correlate2d(image, kernel, "same")


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


KERNEL = RNG.normal(size=(3, 3))


class TestViews:
    @pytest.mark.parametrize("augment", [True, "flips"])
    def test_logits_are_averaged_over_the_eight_symmetries_or_four(self, augment):
        image = RNG.uniform(-1, 1, (16, 16))
        turns = (lambda a: a, np.transpose) if augment is True else (lambda a: a,)
        logits = [
            turn(oracle(KERNEL, turn(image)[::rows, ::columns])[::rows, ::columns])
            for turn, rows, columns in itertools.product(turns, (1, -1), (1, -1))
        ]
        found = predict_probability(network(KERNEL), image[None, ..., None], augment=augment)
        np.testing.assert_allclose(found[0, ..., 0], sigmoid(np.mean(logits, 0)), atol=1e-6)

    def test_a_network_that_is_not_square_has_no_right_angles(self):
        image = RNG.uniform(-1, 1, (1, 16, 24, 1))
        model = network(KERNEL, size=(16, 24))
        found = [predict_probability(model, image, augment=a) for a in (True, "flips")]
        np.testing.assert_array_equal(*found)

    @pytest.mark.parametrize("augment", ["flip", "all", 4, None])
    def test_bad_views(self, augment):
        with pytest.raises(KerasganError, match="Argument 'augment' must be"):
            predict(network(KERNEL), np.zeros((1, 16, 16, 1)), augment=augment)


class TestEnsembles:
    def test_log_odds_are_averaged(self):
        image = RNG.uniform(-1, 1, (16, 16))
        kernels = RNG.normal(size=(3, 3, 3))
        models = [network(k, activation) for k, activation in zip(kernels, UNITS)]
        mean = np.mean([oracle(k, image, a) for k, a in zip(kernels, UNITS)], 0)
        for given in (models, tuple(models)):
            found = predict_probability(given, image[None, ..., None])
            np.testing.assert_allclose(found[0, ..., 0], sigmoid(mean), atol=1e-6)

    @pytest.mark.parametrize("fused", [True, False])
    def test_saturated_members_still_count_by_their_logits(self, fused):
        models = [network([[40.0]], "tanh", fused=fused)]
        models.append(network([[-100.0]], "sigmoid", fused=fused))
        image = np.ones((1, 16, 16, 1))
        found = predict_probability(models, image)
        np.testing.assert_allclose(found, sigmoid((2 * 40 - 100) / 2), rtol=1e-5)

    def test_softmax_members_are_read_up_to_a_constant(self):
        image = RNG.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
        data = keras.Input((8, 8, 3))
        models = [
            keras.Model(data, layers.Softmax()(data * 3.0)),
            keras.Model(data, layers.Activation("softmax")(data * -1.0 + 50.0)),
            keras.Model(data, layers.Activation("linear")(data * 4.0)),
        ]
        odds = np.exp(image.astype(float) * (3 - 1 + 4) / 3)
        found = predict_probability(models, image)
        np.testing.assert_allclose(found, odds / odds.sum(-1, keepdims=True), atol=1e-6)

    def test_weights_of_members_are_those_of_the_moment(self):
        model, image = network(KERNEL, "sigmoid", fused=True), np.ones((1, 16, 16, 1))
        predict([model], image)
        model.set_weights([KERNEL[..., None, None] * 0, np.full(1, 2.0)])
        np.testing.assert_allclose(predict_probability([model], image), sigmoid(2.0), rtol=1e-6)

    def test_members_must_fit_together(self):
        image = np.zeros((1, 16, 16, 1))
        refused(r"at least one model\. Received: an empty list", predict, [], image)
        with pytest.raises(KerasganError, match="same input and the same classes"):
            predict([network(KERNEL), network(KERNEL, size=(8, 8))], image)
        with pytest.raises(KerasganError, match="'model' must be a network, not a file"):
            predict([network(KERNEL), "fold 2"], image)


@keras.saving.register_keras_serializable("tests")
class Secretive(layers.Layer):
    """A layer that does not say in its configuration what its activation is."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.tanh

    def call(self, x):
        return self.activation(x)


def nested(x):
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, layers.Activation("tanh")(inner))(x)


@pytest.mark.parametrize(
    "head",
    [
        layers.Activation("tanh"),
        nested,
        lambda x: layers.Activation("linear")(layers.Activation("tanh")(x)),
        Secretive(),
        lambda x: layers.Conv2D(1, 1, activation="tanh", kernel_initializer="ones")(x),
    ],
    ids=["layer", "nested", "linear behind it", "secretive", "fused"],
)
def test_log_odds_of_any_last_layer(head):
    image = keras.Input((4, 4, 1))
    (member,) = members_of(keras.Model(image, head(image)))
    values = RNG.uniform(-3, 3, (2, 4, 4, 1))
    np.testing.assert_allclose(member.logits(values.astype(np.float32)), 2 * values, atol=1e-3)


class TestWindows:
    @pytest.mark.parametrize(
        ("size", "overlap"),
        [((40, 37), 0.5), ((40, 37), 0.8), ((16, 50), 0), ((9, 16), 0.8), ((5, 7), 0.5)],
    )
    def test_logits_are_blended(self, size, overlap):
        image = RNG.uniform(-1, 1, size)
        short = [max(0, 16 - side) for side in size]
        before = [pad // 2 for pad in short]
        frame = np.pad(image, [(b, s - b) for b, s in zip(before, short)], "reflect")
        bump = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
        total, weights = np.zeros(frame.shape), np.zeros(frame.shape)
        step = int(16 * (1 - overlap) + 1e-9)
        starts = []
        for side in frame.shape:
            count = -(-(side - 16) // step) + 1
            starts.append([round(i * (side - 16) / max(1, count - 1)) for i in range(count)])
        for top in starts[0]:
            for left in starts[1]:
                window = np.s_[top : top + 16, left : left + 16]
                total[window] += np.outer(bump, bump) * oracle(KERNEL, frame[window])
                weights[window] += np.outer(bump, bump)
        wanted = (total / weights)[before[0] :, before[1] :][: size[0], : size[1]]
        options = {"mode": "window", "overlap": overlap, "batch_size": 3}
        (found,) = predict_probability(network(KERNEL), [image[..., None]], **options)
        np.testing.assert_allclose(found[..., 0], sigmoid(wanted), atol=1e-6)

    def test_scale(self):
        image = np.kron(RNG.integers(0, 256, (20, 24)), np.ones((2, 2))) / 127.5 - 1
        options = {"mode": "window", "scale": 0.5}
        (large,) = predict_probability(network(KERNEL), [image[..., None]], **options)
        (small,) = predict_probability(network(KERNEL), [image[::2, ::2, None]], mode="window")
        wanted = zoom(small[..., 0], 2, order=1, mode="nearest", grid_mode=True)
        np.testing.assert_allclose(large[..., 0], wanted, atol=1e-5)

    def test_no_more_than_a_batch_of_windows_runs_at_once(self):
        seen = []

        def note(batch):
            seen.append(len(batch))
            return batch

        images = [np.zeros((40, 40, 1)), np.zeros((20, 20, 1))]
        options = {"mode": "window", "batch_size": 5, "preprocess": note}
        masks = predict(network(KERNEL), images, **options)
        assert [mask.shape for mask in masks] == [(40, 40), (20, 20)]
        assert seen == [5, 5, 5, 5]

    def test_networks_of_any_size_run_at_the_size_given(self):
        model = network(KERNEL, size=(None, None))
        image = RNG.uniform(-1, 1, (1, 30, 40, 1))
        fixed = predict_probability(network(KERNEL), image, mode="window", augment=True)
        free = predict_probability(model, image, mode="window", augment=True, size=16)
        np.testing.assert_allclose(free, fixed, atol=1e-6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "windows"}, "'mode' must be one of .*Did you mean 'window'"),
            ({"mode": "window", "overlap": 1}, "'overlap' must be a finite number from 0"),
            ({"mode": "window", "overlap": None}, "'overlap' must be a finite number from 0"),
            ({"mode": "window", "scale": 0}, "'scale' must be a finite number above 0"),
            ({"mode": "window", "scale": np.nan}, "'scale' must be a finite number above 0"),
            ({"overlap": 0.3}, "are those of mode='window'"),
            ({"temperature": 0}, "'temperature' must be a finite number above 0. Received: 0"),
            ({"temperature": "warm"}, "'temperature' must be a finite number above 0"),
        ],
    )
    def test_bad_options(self, options, message):
        refused(message, predict, network(KERNEL), np.zeros((1, 20, 20, 1)), **options)

    def test_coarse_outputs_cannot_be_blended(self):
        image = keras.Input((16, 16, 1))
        model = keras.Model(image, layers.Activation("tanh")(layers.MaxPooling2D(4)(image)))
        refused(r"output of \(4, 4\)", predict, model, np.zeros((1, 40, 40, 1)), mode="window")


def test_everything_at_once_is_the_mean_of_everything_alone():
    image = RNG.uniform(-1, 1, (30, 21, 1))
    kernels = RNG.normal(size=(2, 3, 3))

    def logits(models, augment, image=image):
        options = {"mode": "window", "augment": augment}
        (found,) = iterate_logits(models, [image], lambda _, logits, size: logits, **options)
        return found

    models = [network(k, a) for k, a in zip(kernels, ("tanh", "sigmoid"))]
    alone = [
        view.undo(logits([model], False, view.apply(image)))
        for model in models
        for view in augmentation_views(True, (16, 16))
    ]
    np.testing.assert_allclose(logits(models, True), np.mean(alone, 0), atol=1e-5)


def test_temperature_divides_logits():
    image = RNG.uniform(-1, 1, (1, 16, 16, 1))
    model = network([[2.0]])
    found = predict_probability(model, image, temperature=2.5)
    np.testing.assert_allclose(found, sigmoid(4 * image / 2.5), atol=1e-6)
    data = keras.Input((8, 8, 3))
    model = keras.Model(data, layers.Softmax()(data * 3.0))
    image = RNG.uniform(-1, 1, (1, 8, 8, 3))
    odds = np.exp(3 * image / 0.5)
    found = predict_probability(model, image, temperature=0.5)
    np.testing.assert_allclose(found, odds / odds.sum(-1, keepdims=True), atol=1e-5)


def test_masks_are_cleaned_up(tmp_path):
    image = np.full((1, 16, 16, 1), -0.5)
    image[0, 2:9, 2:9], image[0, 4, 4], image[0, 12:14, 12:14] = 0.5, -0.5, 0.5
    mask = predict(network([[3.0]]), image, clean=("largest", "holes"))
    wanted = np.zeros((16, 16), bool)
    wanted[2:9, 2:9] = True
    np.testing.assert_array_equal(mask[0], wanted)
    assert predict(network([[3.0]]), image, clean="holes").sum() == 49 + 4
    assert predict(network([[3.0]]), image).sum() == 48 + 4
    for function, given in ((predict, image), (predict_to_folder, tmp_path)):
        extra = () if function is predict else (tmp_path / "masks",)
        with pytest.raises(KerasganError, match=r"'clean' must be one of.*Did you mean 'holes'"):
            function(network([[3.0]]), given, *extra, clean="hole")

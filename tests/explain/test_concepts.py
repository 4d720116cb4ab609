"""Images by channel: against a network whose channels are known, and against sorting by hand."""

import weakref

import keras
import numpy as np
import pytest
from keras import layers
from refusals import refused
from toys import IMAGES, shared_explainer

import kerasgan as kg
from kerasgan.data import synthetic
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain import Explainer, channel_relevance, most_relevant
from kerasgan.explain.draw import overlay


def colour_detector():
    """Channel 0 sees red, channel 1 green, at half the size; either makes a foreground."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(2, 2, strides=2, use_bias=False, activation="relu", name="seen")(image)
    x = layers.UpSampling2D(2, name="up")(x)
    model = keras.Model(image, layers.Conv2D(1, 1, name="logits")(x))
    kernel = np.zeros((2, 2, 3, 2))
    kernel[..., 0, 0] = kernel[..., 1, 1] = 1
    model.set_weights([kernel, np.ones((1, 1, 2, 1)), np.array([-0.5])])
    return model


def dots(*placed):
    images = np.zeros((len(placed), 16, 16, 3), "float32")
    for image, found in zip(images, placed):
        for channel, row, column, value in found:
            image[row, column, channel] = value
    return images


class TestChannelRelevance:
    def test_sums_over_places(self):
        e = shared_explainer().explain(IMAGES)
        expected = e.layers["down_2"].astype("float64").sum((1, 2))
        np.testing.assert_allclose(channel_relevance(e, "down_2"), expected, rtol=1e-4, atol=1e-4)

    def test_without_places(self):
        image = keras.Input((8, 8, 3))
        x = layers.Dense(5, name="code")(layers.Flatten()(image))
        x = layers.Reshape((8, 8, 1))(layers.Dense(64)(x))
        e = Explainer(keras.Model(image, x)).explain(IMAGES)
        assert channel_relevance(e, "code").shape == (3, 5)
        assert np.array_equal(channel_relevance(e, "code"), e.layers["code"])
        assert np.array_equal(
            most_relevant(Explainer(keras.Model(image, x)), IMAGES, "code").position,
            np.full((5, 3, 2), 4),
        )


class TestMostRelevant:
    def test_finds_the_images_and_the_places(self):
        images = dots(
            [(0, 2, 3, 1.0), (1, 9, 9, 1.0)],
            [(1, 12, 7, 2.0), (0, 0, 0, 1.0)],
            [(0, 5, 14, 3.0)],
            [],
        )
        colour_explainer = Explainer(colour_detector(), preprocess=lambda images: images)
        with pytest.warns(KerasganWarning, match="1 of 4 images are left out: the target is empty"):
            found = most_relevant(colour_explainer, images, "seen", 2, batch_size=3)
        np.testing.assert_array_equal(found.image, [[2, 0], [1, 0]])
        np.testing.assert_array_equal(found.position, [[[5, 15], [3, 3]], [[13, 7], [9, 9]]])
        assert found.share[0, 0] == pytest.approx(1)
        assert found.share[0, 1] == pytest.approx(0.5)
        assert found.share[1, 0] == pytest.approx(2 / 3, rel=1e-4)
        assert found.strongest(1) == [0]
        np.testing.assert_allclose(found.mean.sum(), 1, rtol=1e-5)

    @pytest.mark.parametrize("batch_size", [1, 4, 20])
    def test_equals_sorting_everything(self, batch_size):
        images = np.random.default_rng(0).uniform(-1, 1, (11, 8, 8, 3))
        explainer = shared_explainer("gamma", batch_norm=True)
        e = explainer.explain(images)
        arrived = e.layers["down_2"]
        share = arrived.sum((1, 2)) / np.abs(arrived).sum((1, 2, 3))[:, None]
        found = most_relevant(explainer, images, "down_2", 4, batch_size=batch_size)
        order = np.argsort(-share, 0)[:4].T
        np.testing.assert_array_equal(found.image, order)
        np.testing.assert_allclose(found.share, np.take_along_axis(share.T, order, 1), rtol=1e-3)
        np.testing.assert_allclose(found.mean, share.mean(0), rtol=1e-3, atol=1e-5)
        unit = arrived[order[2, 1], ..., 2]
        row, column = np.unravel_index(unit.argmax(), unit.shape)
        np.testing.assert_array_equal(found.position[2, 1], [2 * row + 1, 2 * column + 1])

    def test_holds_one_batch_at_a_time(self, monkeypatch):
        alive, most, explained = set(), [], []

        class Many:
            def __len__(self):
                return 30

            def __getitem__(self, index):
                image = np.random.default_rng(index).uniform(-1, 1, (8, 8, 3))
                alive.add(index)
                weakref.finalize(image, alive.discard, index)
                most.append(len(alive))
                return image

        explainer = shared_explainer()
        explain = explainer.explain

        def watched(images, *args, **kwargs):
            explained.append(len(images))
            return explain(images, *args, **kwargs)

        monkeypatch.setattr(explainer, "explain", watched)
        most_relevant(explainer, Many(), "down_2", 2, batch_size=4)
        assert sorted(explained) == [2] + [4] * 7
        assert max(most) <= 5

    def test_samples_are_resized_as_in_training(self, tmp_path, capsys):
        samples = synthetic.write_dataset(tmp_path, count=3, size=48)
        explainer = Explainer(kg.models.unet(size=32, filters=2, levels=2))
        every = np.ones((32, 32))
        found = most_relevant(
            explainer, samples, "down_2", 2, every, mode="letterbox", verbose=True
        )
        assert "3/3" in capsys.readouterr().out
        images = [kg.data.resize.resize_image(samples.image(i), 32, "letterbox") for i in range(3)]
        again = most_relevant(explainer, np.stack(images), "down_2", 2, every)
        np.testing.assert_array_equal(found.image, again.image)

    def test_networks_of_any_size(self, tmp_path):
        image = keras.Input((None, None, 3))
        explainer = Explainer(keras.Model(image, layers.Conv2D(1, 3, padding="same")(image)))
        samples = synthetic.write_dataset(tmp_path, count=2, size=48)
        refused("Argument 'size' must be given", most_relevant, explainer, samples, "conv2d")
        name = explainer.model.layers[-1].name
        assert most_relevant(explainer, samples, name, size=32, target=np.ones((32, 32)))
        assert most_relevant(explainer, IMAGES, name, target=np.ones((8, 8)))

    def test_bad_input(self):
        explainer = shared_explainer()
        for options, message in (
            ({"count": 0}, "Argument 'count' must be a whole number from 1 up. Received: 0"),
            ({"batch_size": 1.5}, "Argument 'batch_size'.*Received: 1.5"),
            ({"layer": "down_9"}, "No relevance at a layer 'down_9'"),
            ({"images": IMAGES[:0]}, "'images' must hold at least one image"),
            ({"target": np.zeros((8, 8))}, "In none of the 3 images"),
        ):
            with pytest.raises(KerasganError, match=message):
                most_relevant(explainer, **{"images": IMAGES, "layer": "down_2", **options})


class TestPicture:
    def test_shows_the_place_and_the_conditional_heatmap(self, tmp_path):
        explainer = shared_explainer()
        found = most_relevant(explainer, IMAGES, "down_1", 3)
        figure = found.plot(tmp_path / "concepts.png", channels=[2, 0])
        assert (tmp_path / "concepts.png").stat().st_size > 10000
        shown = [axis.get_images()[0].get_array() for axis in figure.axes[:12]]
        e = explainer.explain(IMAGES[found.image[2]], through={"down_1": [2]})
        pictures, maps = [], []
        for index in range(3):
            corner = (min(max(0, int(centre) - 2), 4) for centre in found.position[2, index])
            window = tuple(slice(first, first + 4) for first in corner)
            pictures.append((IMAGES[found.image[2, index]][window] + 1) / 2)
            maps.append(e.relevance[index].sum(-1)[window])
        limit = np.percentile(np.abs(maps), 99.5)
        for index, (picture, relevance) in enumerate(zip(pictures, maps)):
            np.testing.assert_allclose(shown[index], picture, atol=1e-6)
            over = overlay(picture, relevance, limit)
            np.testing.assert_allclose(shown[3 + index], over, atol=1e-5)

    def test_unknown_channels(self):
        found = most_relevant(shared_explainer(), IMAGES, "down_2", 1)
        refused(r"channels from 0 to 5 .*Received: \[6\]", found.plot, channels=[6])

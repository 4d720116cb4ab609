import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg

models = kg.models


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_generator_has_the_published_number_of_parameters():
    assert trainable(models.pix2pix_generator(size=512, channels=3, classes=3, filters=64)) == (
        54_419_459
    )


def test_discriminator_has_the_published_number_of_parameters():
    assert trainable(models.patch_discriminator(size=512, channels=3, classes=3)) == 2_769_601


def test_generator_shapes_at_512():
    model = models.pix2pix_generator(size=512, classes=3, filters=64)
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


def test_generator_layers_stand_where_the_paper_has_them():
    model = models.pix2pix_generator(size=256, filters=2)
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
    model = models.pix2pix_generator(size=32, channels=1, filters=1)
    layer = model.get_layer("down_1_conv")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype("float32")
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


@pytest.mark.parametrize("size", [32, 64, 256])
def test_discriminator_shape(size):
    model = models.patch_discriminator(size=size, filters=1, channels=1, classes=2)
    assert model.output_shape == (None, size // 8 - 2, size // 8 - 2, 1)


@pytest.mark.parametrize("size", [31, 33, 100, 16, 0, -64, 64.0, True, "64"])
def test_wrong_size_is_named(size):
    with pytest.raises(kg.KerasganError, match="'size' must be a power of two from 32 up"):
        models.pix2pix_generator(size=size)
    with pytest.raises(kg.KerasganError, match="'size'"):
        models.patch_discriminator(size=size)


def test_unet_takes_rectangles_and_names_a_wrong_size():
    assert models.unet(size=(32, 64), filters=1, levels=3).output_shape == (None, 32, 64, 1)
    with pytest.raises(kg.KerasganError, match=r"multiple of 2\*\*levels = 8.*\(32, 36\)"):
        models.unet(size=(32, 36), filters=1, levels=3)


@pytest.mark.parametrize("size", [0, -32, "64", 64.0, (32, 32, 3)])
def test_unet_names_what_is_no_size(size):
    with pytest.raises(
        kg.KerasganError, match=r"'size' must be a number of pixels from 1 up, or two, \(height"
    ):
        models.unet(size=size, filters=1, levels=3)


def test_final_activation_sees_through_wrapping():
    inner = models.unet(size=32, filters=1, levels=1)
    image = keras.Input((32, 32, 3))
    outer = keras.Model(image, keras.layers.Activation("linear")(inner(image)))
    assert models.final_activation(outer) == "sigmoid"


def test_final_activation_names_what_it_cannot_read():
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="relu", name="last")(image))
    with pytest.raises(kg.KerasganError, match=r"Relu in layer 'last'"):
        models.final_activation(model)
    with pytest.raises(kg.KerasganError, match="2 outputs"):
        models.final_activation(keras.Model(image, [model.output, model.output]))


def test_to_probability_against_numpy():
    z = np.random.default_rng(0).normal(size=(2, 3, 3, 1)).astype("float32")
    sigmoid = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(models.to_probability(z, "linear"), sigmoid, atol=1e-6)
    tanh = models.to_probability(np.tanh(z / 2), "tanh")
    np.testing.assert_allclose(tanh, sigmoid, atol=1e-6)
    z = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype("float32")
    softmax = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(models.to_probability(z, "linear"), softmax, atol=1e-6)


def test_generator_of_refuses_other_things():
    with pytest.raises(kg.KerasganError, match=r"'model' must be a keras.Model.*int"):
        models.generator_of(3)
    with pytest.raises(kg.KerasganError, match=r"load_model\(path, compile=False\)"):
        models.generator_of("model.keras")


class TestSeededDropout:
    ones = tf.ones((4, 1000))

    def test_same_seed_and_step_same_mask(self):
        a, b = models.SeededDropout(0.5, seed=3), models.SeededDropout(0.5, seed=3)
        first = a(self.ones, training=True).numpy()
        np.testing.assert_array_equal(first, b(self.ones, training=True))
        assert not np.array_equal(first, a(self.ones, training=True))
        other = models.SeededDropout(0.5, seed=4)(self.ones, training=True)
        assert not np.array_equal(first, other)

    def test_keeps_the_mean(self):
        kept = models.SeededDropout(0.3, seed=0)(self.ones, training=True).numpy()
        assert set(np.unique(kept.round(4))) == {0, np.float32(1 / 0.7).round(4)}
        assert abs((kept == 0).mean() - 0.3) < 0.03

    def test_passes_through_in_inference(self):
        layer = models.SeededDropout(0.5)
        np.testing.assert_array_equal(layer(self.ones), self.ones)
        assert int(layer.step) == 0

    def test_a_restored_layer_goes_on_where_the_other_was(self):
        a, b = models.SeededDropout(0.5), models.SeededDropout(0.5)
        a(self.ones, training=True)
        b(self.ones)
        b.set_weights(a.get_weights())
        np.testing.assert_array_equal(a(self.ones, training=True), b(self.ones, training=True))

    def test_replicas_drop_differently(self):
        devices = tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([d.name for d in devices[:2]])
        with strategy.scope():
            layer = models.SeededDropout(0.5)
            layer.build((4, 1000))

        def drop():
            return layer(tf.ones((4, 1000)), training=True)

        @tf.function
        def step():
            return strategy.run(drop)

        first, second = strategy.experimental_local_results(step())
        assert not np.array_equal(first, second)
        assert int(layer.step.numpy()) == 1

    def test_a_noise_shape_drops_whole_images(self):
        layer = models.SeededDropout(0.3, seed=2, noise_shape=(None, 1, 1))
        kept = layer(tf.ones((2000, 2, 3)), training=True).numpy()
        np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1, :1], kept.shape))
        assert set(np.unique(kept.round(4))) == {0, np.float32(1 / 0.7).round(4)}
        assert abs((kept == 0).mean() - 0.3) < 0.05
        again = models.SeededDropout.from_config(layer.get_config())
        np.testing.assert_array_equal(again(tf.ones((2000, 2, 3)), training=True), kept)
        np.testing.assert_array_equal(layer(self.ones), self.ones)

    def test_wrong_rate_is_named(self):
        with pytest.raises(kg.KerasganError, match=r"'rate' must be .* below 1. Received: 1"):
            models.SeededDropout(1)

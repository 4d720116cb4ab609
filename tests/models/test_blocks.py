"""Dropout that a seed and a counter decide."""

import numpy as np
from refusals import refused
from stacks import tf

import kerasgan as kg

models = kg.models


class TestSeededDropout:
    ones = tf.ones((4, 1000))

    def test_same_seed_and_step_same_mask(self):
        a, b = models.SeededDropout(0.5, seed=3), models.SeededDropout(0.5, seed=3)
        first = a(self.ones, training=True).numpy()
        np.testing.assert_array_equal(first, b(self.ones, training=True))
        assert not np.array_equal(first, a(self.ones, training=True))
        other = models.SeededDropout(0.5, seed=4)(self.ones, training=True)
        assert not np.array_equal(first, other)

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
        refused(r"'rate' must be .* below 1. Received: 1", models.SeededDropout, 1)

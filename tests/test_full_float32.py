"""float32 on GPUs: what explains, rebuilds and exports is not rounded to TensorFloat-32."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan.precision import full_float32

is_rounding = tf.config.experimental.tensor_float_32_execution_enabled


def test_networks_are_read_and_explained_without_tensor_float_32():
    seen = []

    def looked_at(images):
        seen.append(is_rounding())
        return np.asarray(images)

    assert is_rounding()
    network = kg.models.unet(size=16, filters=2, levels=2)
    explainer = kg.Explainer(network, "epsilon", preprocess=looked_at)
    explainer.explain(np.zeros((1, 16, 16, 3)), target=np.ones((1, 16, 16, 1)))
    assert seen
    assert not any(seen)
    assert is_rounding()


def test_it_is_restored_after_an_error():
    with pytest.raises(ValueError), full_float32():
        raise ValueError
    assert is_rounding()


def test_it_is_restored_by_the_last_thread():
    entered, left, found = threading.Event(), threading.Event(), []

    def stay():
        with full_float32():
            entered.set()
            left.wait(60)
            found.append(is_rounding())

    with full_float32():
        thread = threading.Thread(target=stay)
        thread.start()
        assert entered.wait(60)
    left.set()
    thread.join()
    assert found == [False]
    assert is_rounding()

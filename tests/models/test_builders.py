"""What every network of `kerasgan.models` must do."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from small_networks import BUILT, DISCRIMINATORS, GENERATORS, build, inputs_of, randomize
from stacks import path_of

import kerasgan as kg
from kerasgan.models.preprocess import preprocess_of
from kerasgan.models.safe import load_network
from kerasgan.training.learner import clone_with_precision

ALL = pytest.mark.parametrize("name", BUILT)
shared = functools.cache(build)  # for tests that change nothing


def kernels(model):
    """Trained weights that start at random."""
    names = [(path_of(weight), weight.numpy()) for weight in model.trainable_weights]
    return {n: value for n, value in names if "kernel" in n and "_scale/" not in n}


@ALL
def test_files_and_clones_give_the_same(name, tmp_path):
    model = randomize(build(name, classes=2))
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    files = [
        keras.models.load_model(tmp_path / "model.keras", safe_mode=True),
        load_network(tmp_path / "model.keras"),
    ]
    for each in (*files, clone):
        np.testing.assert_array_equal(each(inputs_of(model)), model(inputs_of(model)))
        assert [x.name for x in each.layers] == [x.name for x in model.layers]
    if name in GENERATORS:
        for each in (model, *files, keras.Model(model.input, model.output)):
            assert not preprocess_of(each).assumed


@ALL
def test_the_seed_decides_every_kernel_and_no_two_start_alike(name):
    first, again, other = shared(name), build(name, seed=0), build(name, seed=1)
    assert [x.name for x in first.layers] == [x.name for x in again.layers]
    for a, b in zip(first.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)
    random = kernels(first)
    for a, b in zip(first.trainable_weights, other.trainable_weights):
        assert np.array_equal(a, b) == (path_of(a) not in random)
    starts = [(x.size, float(x.flat[0])) for x in random.values()]
    assert len(set(starts)) == len(starts) >= 3


@ALL
def test_output_stays_float32_in_mixed_precision(name):
    model = shared(name)
    copy = clone_with_precision(model, "bfloat16")
    assert copy(inputs_of(model), training=True).dtype == tf.float32
    inner = [getattr(layer, "layer", layer) for layer in copy.layers if layer.weights]
    assert inner[0].compute_dtype == "bfloat16"


@ALL
def test_wrong_numbers_are_named(name):
    counts = dict.fromkeys(("channels", "classes", "filters"), np.int64(2))
    for argument in counts:
        least = 2 if argument == "filters" and name in ("segformer", "convnext_unet") else 1
        for value in (least - 1, 1.5, None, "4"):
            with pytest.raises(
                kg.KerasganError, match=f"'{argument}' must be a whole number from {least} up"
            ):
                build(name, **{argument: value})
    assert build(name, **counts).built


@ALL
def test_wrong_sizes_are_named(name):
    for size in (0, -32, "32", 33.0, True, 31, (32, 32, 3)):
        if size == 31 and name.startswith(("pixel", "mask", "feature")):
            continue
        refused("'size' must be a", build, name, size=size)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_gives_probabilities_or_a_tanh(name):
    one, several = shared(name), build(name, classes=3)
    assert one.output_shape == (None, 32, 32, 1)
    assert several.output_shape == (None, 32, 32, 3)
    single = "tanh" if name == "pix2pix_generator" else "sigmoid"
    assert kg.models.final_activation(one) == single
    assert kg.models.final_activation(several) == "softmax"


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_spectral_norm_replaces_batch_norm_and_keeps_names(name):
    plain, normed = shared(name), shared(f"{name}, spectral")
    names = [x.name for x in plain.layers if not x.name.endswith("_bn")]
    assert [x.name for x in normed.layers] == names
    assert (len(names) < len(plain.layers)) == (name != "mask_discriminator")
    for a, b in zip(kernels(plain).values(), kernels(normed).values()):
        np.testing.assert_array_equal(a, b)

"""A model written with one Keras gives the same with the other, and is trained on there."""

import json
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest
import safetensors.numpy
from refusals import refused

import kerasgan as kg
from kerasgan.models.named import named_weights
from kerasgan.training import store

HERE = pathlib.Path(__file__).parent / "exchange"
sys.path.insert(0, str(HERE))
import write  # noqa: E402

STACKS = sorted(path.name for path in HERE.glob("keras_*"))
OTHER = HERE / ("keras_2" if keras.__version__.startswith("3.") else "keras_3")


@pytest.fixture(scope="module", params=STACKS)
def written(request):
    folder = HERE / request.param
    with np.load(folder / "given.npz") as given:
        return kg.SegmentationGAN.load(folder / "model"), dict(given), folder


def test_both_stacks_have_written():
    assert STACKS == ["keras_2", "keras_3"]


def test_a_model_gives_what_it_gave(written):
    gan, then, _ = written
    now = write.given(gan)
    for name in ("probability", "logits"):
        np.testing.assert_allclose(now[name], then[name], rtol=0, atol=1e-5)
    for name in write.RULES:
        most = np.abs(then[name]).max()
        assert most > 1e-3
        np.testing.assert_allclose(now[name], then[name], rtol=0, atol=1e-4 * most)


def test_optimizers_go_on(written):
    gan, then, folder = written
    stored = safetensors.numpy.load_file(folder / "model" / store.OPTIMIZERS)
    variables = store.optimizer_variables(gan)
    assert variables.keys() == stored.keys()
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.numpy(), stored[name], err_msg=name)
    assert int(gan.optimizer.iterations) == 5
    before = write.weights_of(gan)
    write.train(gan, 1)
    for name, weight in write.weights_of(gan).items():
        moved = np.abs(then[f"next {name}"] - before[name]).max()
        assert moved > 1e-4
        np.testing.assert_allclose(weight, then[f"next {name}"], rtol=0, atol=0.01 * moved)


def test_weights_have_the_same_names(written):
    gan, _, folder = written
    for role in store.NETWORKS:
        stored = safetensors.numpy.load_file(folder / "model" / f"{role}.safetensors")
        assert named_weights(getattr(gan, role)).keys() == stored.keys()


def test_an_optimizer_that_the_other_keras_has_otherwise_starts_afresh(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(OTHER / "model", folder)
    settings = json.loads((folder / "kerasgan.json").read_text())
    settings["compile"]["optimizer"]["class_name"] = "Nadam"
    settings["compile"]["optimizer"]["config"].pop("amsgrad")
    (folder / "kerasgan.json").write_text(json.dumps(settings))
    gan = kg.SegmentationGAN.load(folder)
    assert int(gan.optimizer.iterations) == 0
    assert int(gan.discriminator_optimizer.iterations) == 5
    with pytest.warns(kg.KerasganWarning, match="optimizer of the generator starts afresh"):
        write.train(gan, 1)
    write.train(gan, 1)


def test_an_argument_that_one_keras_alone_has_is_named(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(OTHER / "model", folder)
    settings = json.loads((folder / "kerasgan.json").read_text())
    settings["compile"]["optimizer"]["config"]["momentum_of_mine"] = 4
    (folder / "kerasgan.json").write_text(json.dumps(settings))
    refused(r"'Adam' with 'momentum_of_mine'", kg.SegmentationGAN.load, folder)

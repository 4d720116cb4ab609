import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan import Explainer, KerasganError
from kerasgan.explain.export import export_explainer

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (3, 16, 16, 3)).astype("float32")
WEIGHTS = RNG.normal(size=(3, 16, 16, 1)).astype("float32")
TARGET = kg.targets.Pixel(9, 12)


def close(received, expected):
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * scale)


@pytest.fixture(scope="module")
def explainer():
    return Explainer(kg.models.unet(size=16, filters=2, levels=1), "gamma")


@pytest.fixture(scope="module")
def folder(explainer, tmp_path_factory):
    return export_explainer(explainer, tmp_path_factory.mktemp("export") / "explainer", TARGET)


def test_signatures(folder, explainer):
    saved = tf.saved_model.load(folder)
    assert set(saved.signatures) == {"serving_default", "explain", "explain_weights"}
    for name in ("serving_default", "explain_weights"):
        specs = saved.signatures[name].structured_input_signature[1]
        assert {key: spec.shape.as_list() for key, spec in specs.items()} == {
            "images": [None, 16, 16, 3],
            "weights": [None, 16, 16, 1],
        }
        assert {spec.dtype for spec in specs.values()} == {tf.float32}
        e = explainer.explain(IMAGES, WEIGHTS)
        received = saved.signatures[name](images=IMAGES, weights=WEIGHTS)
        close(received["relevance"], e.relevance)
        close(received["logits"], e.logits)
        # The explained value by its definition, and by what the ledger says it was spent on.
        close(received["value"], (WEIGHTS * e.logits).sum((1, 2, 3)))
        spent = e.ledger.groupby("image")[["bias", "stabiliser", "unsupported"]].sum().sum(axis=1)
        value = received["relevance"].numpy().sum((1, 2, 3)) + spent.to_numpy()
        np.testing.assert_allclose(value, received["value"], rtol=1e-3, atol=1e-3)
    e = explainer.explain(IMAGES, TARGET)
    received = saved.signatures["explain"](images=IMAGES)
    close(received["relevance"], e.relevance)
    close(received["target"], e.target)


def test_relevance_follows_the_weights_of_the_saved_model(folder, explainer):
    saved = tf.saved_model.load(folder)
    other = kg.models.unet(size=16, filters=2, levels=1, seed=5)
    assert len(saved.model_weights) == len(other.weights)
    for own, new in zip(saved.model_weights, other.weights):
        own.assign(new)
    expected = Explainer(other, "gamma").explain(IMAGES, WEIGHTS).relevance
    before = explainer.explain(IMAGES, WEIGHTS).relevance
    assert np.abs(before - expected).max() > 1e-3 * np.abs(expected).max()
    close(saved.explain_weights(IMAGES, WEIGHTS)["relevance"], expected)


@pytest.mark.slow
def test_a_process_without_kerasgan(folder, explainer, tmp_path):
    np.savez(tmp_path / "in.npz", images=IMAGES, weights=WEIGHTS)
    code = (
        "import json, sys, numpy as np, tensorflow as tf\n"
        "call = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "with np.load('in.npz') as given:\n"
        "    found = call(**{name: tf.constant(given[name]) for name in given})\n"
        "np.savez('out.npz', **found)\n"
        "print(json.dumps([x for x in ('kerasgan', 'innvestigate') if x in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
    with np.load(tmp_path / "out.npz") as found:
        close(found["relevance"], explainer.explain(IMAGES, WEIGHTS).relevance)
        close(found["value"], (WEIGHTS * found["logits"]).sum((1, 2, 3)))


def test_refusals(explainer, tmp_path):
    with pytest.raises(KerasganError, match="target without arrays"):
        export_explainer(explainer, tmp_path / "e", np.ones((16, 16, 1)))
    refused("exists", export_explainer, explainer, tmp_path)
    assert list(tmp_path.iterdir()) == []

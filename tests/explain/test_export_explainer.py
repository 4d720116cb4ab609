import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg
from kerasgan import Explainer, KerasganError
from kerasgan.explain.export import export_explainer

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (3, 16, 16, 3)).astype("float32")
WEIGHTS = RNG.normal(size=(3, 16, 16, 1)).astype("float32")
FAMILIES = {
    "pix2pix": lambda: kg.models.pix2pix_generator(size=32, filters=2),
    "residual": lambda: kg.models.residual_unet(size=32, filters=2),
    "attention": lambda: kg.models.attention_unet(size=32, filters=2, levels=2),
    "nested": lambda: kg.models.nested_unet(size=32, filters=2, levels=2),
    "addons": lambda: with_addons(),
}


def with_addons():
    image = keras.Input((32, 32, 3))
    addons = pytest.importorskip("tensorflow_addons")
    x = addons.layers.GroupNormalization(2)(keras.layers.Conv2D(4, 3, padding="same")(image))
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


def close(received, expected):
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * scale)


@pytest.fixture(scope="module")
def explainer():
    return Explainer(kg.models.unet(size=16, filters=2, levels=1), "gamma")


@pytest.fixture(scope="module")
def folder(explainer, tmp_path_factory):
    return export_explainer(explainer, tmp_path_factory.mktemp("export") / "explainer")


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
    e = explainer.explain(IMAGES)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "rule"),
    [
        *((family, "epsilon") for family in FAMILIES),
        ("pix2pix", "alpha2beta1"),
        ("addons", "input-x-gradient"),
    ],
)
def test_every_family(family, rule, tmp_path):
    images, weights = np.tile(IMAGES, (1, 2, 2, 1)), np.tile(WEIGHTS, (1, 2, 2, 1))
    explainer = Explainer(FAMILIES[family](), rule)
    target = kg.targets.Pixel(9, 20)
    saved = tf.saved_model.load(export_explainer(explainer, tmp_path / "e", target))
    close(saved.explain(images)["relevance"], explainer.explain(images, target).relevance)
    received = saved.explain_weights(images, weights)["relevance"]
    close(received, explainer.explain(images, weights).relevance)


def test_refusals(explainer, tmp_path):
    with pytest.raises(KerasganError, match="target without arrays"):
        export_explainer(explainer, tmp_path / "e", np.ones((16, 16, 1)))
    with pytest.raises(KerasganError, match="exists"):
        export_explainer(explainer, tmp_path)
    assert list(tmp_path.iterdir()) == []

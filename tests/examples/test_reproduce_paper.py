import pathlib
import runpy
import types

import numpy as np
import pytest

import kerasgan as kg

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "reproduce_paper.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return types.SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="reproduce_paper"))


@pytest.mark.parametrize("arm", ["GAN", "no GAN"])
def test_the_published_networks_learn_from_a_mask_in_three_channels(script, arm, tmp_path):
    recipe = kg.recipes.get("paper", size=32, filters=2, discriminator_filters=2)
    gan = script.build(1, recipe, arm)
    before = gan.generator.get_weights()
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    masks = np.repeat(images[..., :1] > 0, 3, -1).astype("float32")
    history = gan.fit(images, masks, batch_size=2, verbose=0).history
    assert ("adversarial_loss" in history) == (arm == "GAN")
    assert any((old != new).any() for old, new in zip(before, gan.generator.get_weights()))
    gan.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    np.testing.assert_array_equal(again(images, training=False), gan(images, training=False))


def test_the_first_rows_are_trained_and_scored(script, tmp_path):
    samples = kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    args = types.SimpleNamespace(size=32, filters=2, results=tmp_path)
    rest, test = samples.split(0.2)
    rows = script.train(2, "GAN", 0, rest, test, args, 1)
    assert set(rows) == {1, 2}
    for row in rows.values():
        assert row["broken"] is None
        assert len(row["validation"]) == 1
        assert len(row["jaccard"]) == len(row["dice"]) == len(test)
    whole = script.merged([rows[2], rows[2]])
    assert whole["validation"] == [rows[2]["validation"]] * 2
    assert whole["dice"] == rows[2]["dice"] * 2


def test_a_fault_is_no_result(script, tmp_path):
    samples = kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    args = types.SimpleNamespace(size=32, filters=2, results=tmp_path)
    with pytest.raises(kg.KerasganError, match="epochs"):
        script.train(2, "GAN", 0, *samples.split(0.2), args, 0)


def test_each_row_can_be_built(script):
    args = types.SimpleNamespace(size=32, filters=2)
    for row in range(1, len(script.ROWS) + 1):
        gan = script.build(row, script.recipe_of(row, args, 0, 1), "GAN")
        assert gan.compiled
        assert gan.generator.output_shape[1:3] == (32, 32)

import pytest

import kerasgan as kg


@pytest.fixture
def variants(benchmark_module):
    return benchmark_module("variants")


def test_runs_of_other_settings_are_not_taken(variants, tmp_path):
    recipe = kg.recipes.get("fast", filters=2)
    (tmp_path / "facts.json").write_text('{"recipe": {"filters": 3}}', encoding="utf-8")
    with pytest.raises(SystemExit, match="other settings"):
        variants.run(recipe, tmp_path, "data", None)


@pytest.mark.nightly
def test_images_are_scored_at_their_original_size(variants, tmp_path):
    data = tmp_path / "data"
    samples = kg.data.synthetic.write_dataset(data, count=24, size=48)
    (data / "splits").mkdir()
    (data / "splits" / "val.txt").write_text("\n".join(samples.names[:4]), encoding="utf-8")
    changes = {"filters": 2, "size": 32, "epochs": 1, "adversarial_weight": 0.0}
    recipe = kg.recipes.get("fast", **changes, mode="window", scale=1.0)
    facts = variants.train(tmp_path / "run", recipe, data, None)
    _, validation, test = variants.split(data, None, recipe)
    assert set(test.names) == set(samples.names[:4])
    gan = kg.SegmentationGAN.load(tmp_path / "run" / "model")
    masks = kg.predict(gan, validation)
    truths = [validation.mask(index) for index in range(len(validation))]
    dice = [
        2 * (mask & truth.astype(bool)).sum() / max(mask.sum() + truth.sum(), 1)
        for mask, truth in zip(masks, truths)
    ]
    assert facts["dice"] == pytest.approx(sum(dice) / len(dice), abs=1e-6)

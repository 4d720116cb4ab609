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

import pytest

import kerasgan as kg


@pytest.fixture
def variants(benchmark_module):
    return benchmark_module("variants")


def test_a_row_has_the_mean_the_seeds_and_the_least_cost(variants):
    found = [
        {"validation_dice": dice, "core_seconds": cost} for dice, cost in [(0.5, 0.2), (0.7, 0.1)]
    ]
    cells = [cell.strip() for cell in variants.row("filters=8", found).strip("|").split("|")]
    assert cells == ["`filters=8`", "0.600", "0.500, 0.700", "0.100"]


def test_runs_of_other_settings_are_not_taken(variants, tmp_path):
    recipe = kg.recipes.get("fast", filters=2)
    (tmp_path / "facts.json").write_text('{"recipe": {"filters": 3}}', encoding="utf-8")
    with pytest.raises(SystemExit, match="other settings"):
        variants.run(recipe, tmp_path, "data", None)

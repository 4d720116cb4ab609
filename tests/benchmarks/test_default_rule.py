import pandas as pd
import pytest

DECIDING = ["polyps", "instruments"]


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("default_rule")


def measured(script, gaps, shuffled=0.1, like=0.5):
    """A table of two networks and two images: gaps by method, Dice and logit alike."""
    rows = [
        (f"{n}", method, metric, value, group, f"{group} 1")
        for group in DECIDING
        for n in range(2)
        for method, gap in gaps.items()
        for metric, value in {
            **dict.fromkeys(script.GAPS, gap),
            script.RANDOM: shuffled,
            script.LIKE: like[method] if isinstance(like, dict) else like,
        }.items()
    ]
    columns = ["name", "method", "metric", "value", "group", "network"]
    return pd.DataFrame(rows, columns=columns)


def books(script, leak=1e-6):
    return pd.DataFrame({"method": script.RULES, "leak": leak})


def gaps_of(script, **changes):
    """Rules from 0.9 down in their order, the control `target` below all of them."""
    gaps = {rule: 0.9 - 0.05 * place for place, rule in enumerate(script.RULES)}
    return {**gaps, **changes, "target": 0.3}


def test_the_most_faithful_rule_is_chosen(script):
    table = measured(script, gaps_of(script))
    mean, reasons, unlearned, default = script.chosen(table, books(script), DECIDING)
    assert (default, reasons, unlearned) == ("epsilon", {}, {})
    assert mean["epsilon"] == 1
    assert mean["excitation-backprop"] == len(script.RULES)


def test_what_does_no_better_than_a_control_or_leaks_is_out(script):
    table = measured(script, gaps_of(script, epsilon=0.2))
    _, reasons, _, default = script.chosen(table, books(script), DECIDING)
    assert default == "gamma"
    assert list(reasons) == ["epsilon"]
    assert "below *target* on polyps (Dice)" in reasons["epsilon"]
    _, reasons, _, default = script.chosen(table, books(script, leak=0.01), DECIDING)
    assert default is None
    assert set(reasons) == set(script.RULES)


def test_what_shows_nothing_learned_is_out_unless_all_are(script):
    gaps = {**gaps_of(script), "z-plus": 0.95}
    table = measured(script, gaps)
    same = (table["metric"] == script.RANDOM) & (table["method"] == "z-plus")
    table.loc[same, "value"] = 0.95
    _, _, unlearned, default = script.chosen(table, books(script), DECIDING)
    assert (default, list(unlearned)) == ("epsilon", ["z-plus"])
    table.loc[table["metric"] == script.RANDOM, "value"] = 0.95
    _, _, unlearned, default = script.chosen(table, books(script), DECIDING)
    assert default == "z-plus"
    assert set(unlearned) == set(script.RULES)


def test_of_two_as_good_the_one_that_depends_on_the_weights(script):
    like = {**dict.fromkeys([*script.RULES, "target"], 0.5), "epsilon": 0.9}
    table = measured(script, gaps_of(script, gamma=0.9), like=like)
    assert script.chosen(table, books(script), DECIDING)[-1] == "gamma"

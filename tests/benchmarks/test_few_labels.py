import math
import pathlib

import pandas as pd
import pytest
from refusals import refused

import kerasgan as kg


@pytest.fixture
def few_labels(benchmark_module):
    return benchmark_module("few_labels")


def test_methods_are_joined_and_weighted(few_labels):
    fields = few_labels.method_fields("cutmix*3+adversarial")
    weights = {"cutmix": 3.0, "adversarial": 0.001, "self_training": 0.1}
    assert fields["unlabelled_losses"] == weights
    assert fields["discriminator"] == "mask_discriminator"
    floor = kg.recipes.get("few-labels", **few_labels.method_fields("floor"))
    assert floor.unlabelled_losses is None
    for name in few_labels.METHODS:
        kg.recipes.get("fast", **few_labels.method_fields(name))
    refused("'--methods' must name some of", few_labels.method_fields, "cutmixx")
    refused("stands a number", few_labels.method_fields, "cutmix*much")


def test_images_are_dealt_out_by_the_seed(few_labels, tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    names = tmp_path / "test.txt"
    names.write_text("polyp_0003\npolyp_0004")
    recipe = kg.recipes.get("fast", size=32)
    parts = few_labels.split(tmp_path / "data", names, recipe, 5, 0.2, 0)
    assert [len(part) for part in parts] == [4, 1, 13, 2]
    assert len({name for part in parts for name in part.names}) == 20
    again = few_labels.split(tmp_path / "data", names, recipe, 5, 0.2, 0)
    assert again == parts
    other = few_labels.split(tmp_path / "data", names, recipe, 5, 0.2, 1)
    assert other[0] != parts[0]
    assert other[3] == parts[3]
    refused(
        "'--labels' must be from 2 to 17",
        few_labels.split,
        tmp_path / "data",
        names,
        recipe,
        18,
        0.2,
        0,
    )


def test_all_runs_have_as_many_steps(few_labels):
    recipe = kg.recipes.get("fast", batch_size=8)
    for count in (18, 70, 700):
        samples = kg.data.Samples(*(tuple(map(str, range(count))),) * 3)
        more, epochs = few_labels.repeated(samples, recipe, 600, 12)
        assert set(more.names) == set(samples.names)
        assert len(more) % count == 0
        assert abs(epochs * math.ceil(len(more) / 8) - 600) <= 60


def test_a_row_has_intervals_and_the_share_of_the_gap(few_labels, tmp_path):
    def run(method, seed, dice):
        folder = tmp_path / f"{method}-{seed}"
        folder.mkdir()
        pd.DataFrame({"name": ["a", "b"], "dice": dice}).to_csv(folder / "scores.csv")
        facts = {"case": 22, "method": method, "seed": seed, "folder": folder}
        facts["scores"] = {"dice": {"mean": sum(dice) / 2}}
        return {**facts, "validation_dice": 0.5, "training_minutes": 2, "peak_memory_gib": 1.5}

    found = [run("floor", seed, [0.4, 0.6]) for seed in (0, 1)]
    found += [run("ceiling", seed, [0.8, 1.0]) for seed in (0, 1)]
    found += [run("cutmix", seed, [0.6 + 0.1 * seed, 0.7 + 0.1 * seed]) for seed in (0, 1)]
    rows = few_labels.rows(found)
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells[:2] == ["22", "`cutmix`"]
    assert cells[2].startswith("0.700 (")
    assert cells[3] == "0.065 to 1.335 (0.650, 0.750)"  # 12.706 standard errors of 0.05
    assert cells[4].startswith("+0.200 (+0.150 to +0.250)")
    assert cells[5:] == ["50 %", "0.500", "2.0", "1.5"]
    assert [cell.strip() for cell in rows[0].strip("|").split("|")][4:6] == ["", ""]
    pd.DataFrame({"name": ["a", "b"], "dice": [0.4, 1.0]}).to_csv(found[2]["folder"] / "scores.csv")
    pd.DataFrame({"name": ["a", "b"], "dice": [0.3, 0.9]}).to_csv(found[3]["folder"] / "scores.csv")
    assert few_labels.rows(found)[2].split("|")[6].strip() == ""  # no certain gap to close


def test_a_group_without_masks_is_half_reported_on(few_labels, tmp_path):
    scenes = kg.data.synthetic.write_dataset(tmp_path / "data", count=12, size=32)
    for kind, paths in (("images", scenes.image_paths), ("masks", scenes.mask_paths)):
        (tmp_path / "named" / kind).mkdir(parents=True)
        for index, path in enumerate(paths):
            name = f"OP{index % 3}_{index}.png"
            (tmp_path / "named" / kind / name).write_bytes(pathlib.Path(path).read_bytes())
    recipe = kg.recipes.get("fast", size=32)
    parts = [few_labels.split(tmp_path / "named", None, recipe, "OP1", 0.25, n) for n in (0, 1)]
    kept, chosen, free, test = parts[0]
    assert [len(part) for part in parts[0]] == [6, 2, 2, 2]
    assert {few_labels.group_of(name) for name in kept.names + chosen.names} == {"OP0", "OP2"}
    assert {few_labels.group_of(name) for name in free.names + test.names} == {"OP1"}
    assert parts[1][3] == test

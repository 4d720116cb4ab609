import argparse

import pandas as pd
import pytest
from refusals import refused

import kerasgan as kg


@pytest.fixture
def choose_labels(benchmark_module):
    return benchmark_module("choose_labels")


def test_the_first_of_the_ranking_get_masks(choose_labels, tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    recipe = kg.recipes.get("fast", size=32)
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1))
    parts = choose_labels.split(tmp_path / "data", None, recipe, 5, 0.2, 0)
    (kept, checked, free, test), chosen = choose_labels.label_more(gan, "entropy", parts, 6, 0.2, 0)
    ranked = kg.inference.rank_images(gan, parts[2], by="entropy", count=6)
    assert set(chosen.names) == set(ranked["name"])
    assert [len(part) for part in (kept, checked, free, test)] == [9, 2, 7, 2]
    assert set(kept.names) > set(parts[0].names)
    assert set(kept.names + checked.names) - set(parts[0].names + parts[1].names) == set(
        chosen.names
    )
    assert test == parts[3]
    index = kept.names.index(next(name for name in kept.names if name in chosen.names))
    assert kept.names[index] in kept.mask_paths[index]


def test_criteria_are_held_against_chance_image_by_image(choose_labels, tmp_path):
    def run(by, seed, dice, **more):
        folder = tmp_path / f"{by}-{seed}"
        folder.mkdir()
        pd.DataFrame({"name": ["a", "b"], "dice": dice}).to_csv(folder / "scores.csv")
        return {"by": by, "seed": seed, "folder": folder, "validation_dice": 0.5, **more}

    first = [run("first", seed, [0.2, 0.4], case=22) for seed in (0, 1)]
    random = [run("random", seed, [0.4, 0.6], chosen_dice=0.7) for seed in (0, 1)]
    entropy = [run("entropy", seed, [0.5, 0.7], chosen_dice=0.25) for seed in (0, 1)]
    cells = [
        [cell.strip() for cell in choose_labels.row(found, random).strip("|").split("|")]
        for found in (first, random, entropy)
    ]
    assert [row[0] for row in cells] == ["none, 22 labels", "`random`", "`entropy`"]
    assert [row[1][:5] for row in cells] == ["0.300", "0.500", "0.600"]
    assert [row[3] for row in cells] == ["", "", "+0.100 (+0.100 to +0.100)"]
    assert [row[4] for row in cells] == ["", "0.700", "0.250"]
    assert choose_labels.HEAD.count("|") == len(cells[0]) + 1


def test_what_cannot_be_done_is_said_before_training(choose_labels, tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    recipe, settings = kg.recipes.get("fast", size=32), (tmp_path / "data", None, 0.2)
    args = argparse.Namespace(by=["entropy"], method="floor", first=4, more=14, seeds=[0])
    refused("'--more' must be below the 14", choose_labels.check, args, recipe, settings)
    args.by, args.more = ["discriminator"], 13
    plain = kg.recipes.get("fast", size=32, adversarial_weight=0.0)
    refused("needs a --method that trains one", choose_labels.check, args, plain, settings)
    choose_labels.check(args, recipe, settings)

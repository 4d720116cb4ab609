import argparse

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


def test_what_cannot_be_done_is_said_before_training(choose_labels, tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "data", count=20, size=32)
    recipe, settings = kg.recipes.get("fast", size=32), (tmp_path / "data", None, 0.2)
    args = argparse.Namespace(by=["entropy"], method="floor", first=4, more=14, seeds=[0])
    refused("'--more' must be below the 14", choose_labels.check, args, recipe, settings)
    args.by, args.more = ["discriminator"], 13
    plain = kg.recipes.get("fast", size=32, adversarial_weight=0.0)
    refused("needs a --method that trains one", choose_labels.check, args, plain, settings)
    choose_labels.check(args, recipe, settings)

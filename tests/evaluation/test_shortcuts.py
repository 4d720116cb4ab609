import dataclasses
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import Samples, load_folder
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation.shortcuts import shortcuts
from kerasgan.explain import Explainer

SIDE, GREY = 16, 128  # in [-1, 1] grey is G
G = GREY / 127.5 - 1


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A red object somewhere, and a blue marker in the upper left corner; all else is grey."""
    folder = tmp_path_factory.mktemp("marked")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(10):
        y, x = np.random.default_rng(index).integers(4, 9, 2)
        image = np.full((SIDE, SIDE, 3), GREY, np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[y : y + 4, x : x + 3] = 255
        image[mask > 0, 0] = 255
        image[:3, :3, 2] = 255
        Image.fromarray(image).save(folder / "images" / f"s{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"s{index}.png")
    return load_folder(folder)


def corners(image):
    found = {name: np.zeros(image.shape[:2], bool) for name in ("marker", "corner", "nothing")}
    found["marker"][:3, :3] = True
    found["corner"][13:, 13:] = True
    return found


def network(cheats):
    """Logit: ten times red here, and, if it cheats, all the blue in the frame."""
    image = keras.Input((SIDE, SIDE, 3))
    conv = keras.layers.Conv2D(1, 2 * SIDE - 1, padding="same", activation="sigmoid")
    model = keras.Model(image, conv(image))
    kernel = np.zeros(conv.kernel.shape, np.float32)
    kernel[SIDE - 1, SIDE - 1, 0] = 10
    kernel[:, :, 2, 0] = float(cheats)
    conv.set_weights([kernel, np.array([-15.0 if cheats >= 1 else -5.0], np.float32)])
    return model


def options(**more):
    return {"find": corners, "verbose": False, "batch_size": 4, **more}


def test_shares_of_a_linear_network_by_hand(samples):
    table = shortcuts(network(True), samples, "epsilon", **options()).regions
    assert len(table) == 10 * 3
    assert table["name"].tolist() == [name for name in samples.names for _ in range(3)]
    # Each pixel has its red times ten where it is in the object, and its blue times the object.
    size = 12
    marker, elsewhere, inside = 9 * size, G * size, 10 + G * size
    total = marker + inside * size + elsewhere * (SIDE**2 - 9 - size)
    row = table[table["region"] == "marker"].iloc[0]
    assert row["share"] == pytest.approx(marker / total, rel=1e-3)
    assert row["area"] == pytest.approx(9 / SIDE**2)
    assert row["lift"] == pytest.approx(row["share"] / row["area"])
    outside = total - inside * size
    assert row["outside_share"] == pytest.approx(marker / outside, rel=1e-3)
    assert row["outside_area"] == pytest.approx(9 / (SIDE**2 - size))
    row = table[table["region"] == "corner"].iloc[0]
    assert row["share"] == pytest.approx(9 * elsewhere / total, rel=1e-3)
    nothing = table[table["region"] == "nothing"]
    assert (nothing["area"] == 0).all()
    assert nothing["share"].isna().all()
    summary = pd.DataFrame(table.attrs["summary"]).set_index("region")
    assert summary["images"].to_dict() == {"marker": 10, "corner": 10, "nothing": 0}
    marked = summary.loc["marker"]
    assert marked["low"] <= marked["excess"] <= marked["high"]
    assert marked["excess"] == pytest.approx(marker / outside - 9 / (SIDE**2 - size), rel=1e-3)


def test_painting_over_by_hand(samples):
    table = shortcuts(network(True), samples, **options()).inpainted
    assert len(table) == 10 * 3 * 2
    marker = table[(table["region"] == "marker") & (table["inpainted"] == "region")]
    np.testing.assert_allclose(marker["logit_change"], -9 * (1 - G), rtol=1e-3)
    assert (marker["dice"] == 0).all()
    assert (marker["truth_dice"] == 0).all()
    assert (marker["truth_change"] == -1).all()
    corner = table[(table["region"] == "corner") & (table["inpainted"] == "region")]
    assert (corner["dice"] == 1).all()
    assert (corner["truth_change"] == 0).all()
    control = table[(table["region"] == "marker") & (table["inpainted"] == "control")]
    assert control["dice"].min() > 0.9  # beside the object some of its red is inpainted
    np.testing.assert_allclose(control["area"], 9 / SIDE**2)
    nothing = table[table["region"] == "nothing"]
    assert nothing[["dice", "logit_change", "truth_dice", "truth_change"]].isna().all(axis=None)
    summary = pd.DataFrame(table.attrs["summary"]).set_index(["region", "inpainted"])
    assert summary.loc[("marker", "region"), "dice"] == 0
    assert summary.loc[("marker", "control"), "images"] == 10


def test_the_finder_finds_the_marker_and_is_silent_where_it_is_not_used(samples):
    found = shortcuts(network(True), samples, **options())
    tests = found.tests.set_index("region")
    assert tests["shortcut"].to_dict() == {"marker": True, "corner": False, "nothing": False}
    assert tests.loc["marker", "change"] == 1
    assert tests.loc["marker", "low"] > 0.9
    assert found.findings[0].startswith("marker is a shortcut: ")
    assert "corner is not a shortcut" in found.findings[1]
    assert found.findings[2] == "nothing: in 0 images, too few to test (8 needed)."
    assert found.findings[3].startswith("The heatmaps form")
    assert set(found.clusters["name"]) == set(samples.names)
    summary = pd.DataFrame(found.clusters.attrs["summary"])
    assert summary["images"].sum() == 10
    assert found.clusters["dice"].mean() == 1
    share = found.regions.query("region == 'marker'")["share"].mean()
    assert (summary["marker"] * summary["images"]).sum() / 10 == pytest.approx(share)
    clean = shortcuts(network(False), samples, **options())
    assert not clean.tests["shortcut"].any()
    assert (clean.tests["change"][:2] == 0).all()
    assert "no relevance lies outside the target" in clean.findings[0]


def test_each_image_is_looked_at_once_and_a_second_call_reads_what_was_kept(
    samples, tmp_path, monkeypatch
):
    seen, explained = [], []
    read, explain = Samples.image, Explainer.explain

    def counted_read(self, index):
        seen.append(index)
        return read(self, index)

    def counted(self, images, *args, **kwargs):
        explained.extend(images)
        return explain(self, images, *args, **kwargs)

    monkeypatch.setattr(Samples, "image", counted_read)
    monkeypatch.setattr(Explainer, "explain", counted)
    few = {"seed": 0, **options(), "folder": tmp_path / "kept"}
    found = shortcuts(network(True), samples, **few)
    again = shortcuts(network(True), samples, **few)
    assert (len(seen), len(explained)) == (10, 10)  # the second call reads what was kept
    for table, kept in ((found.regions, again.regions), (found.inpainted, again.inpainted)):
        pd.testing.assert_frame_equal(table, kept, check_exact=True)
        summaries = [pd.DataFrame(each.attrs["summary"]) for each in (table, kept)]
        pd.testing.assert_frame_equal(*summaries, check_exact=True)
    assert again.clusters.equals(found.clusters)
    assert again.findings == found.findings
    with pytest.raises(KerasganError, match="holds the maps of other find"):
        shortcuts(network(True), samples, **{**few, "find": lambda image: corners(image)})


def test_relevance_that_changes_nothing_is_no_shortcut(samples):
    found = shortcuts(network(0.1), samples, "gamma", **options())
    marker = found.tests.set_index("region").loc["marker"]
    assert marker["share_low"] > 0.5
    assert marker["change"] == 0
    assert not marker["shortcut"]
    assert "marker is not a shortcut: " in found.findings[0]


def test_a_region_that_is_predicted_itself_is_no_shortcut(samples):
    """A network that takes the marker for an object errs there, and nowhere else."""
    model = network(False)
    kernel, bias = model.layers[-1].get_weights()
    kernel[SIDE - 1, SIDE - 1, 2] = 10
    model.layers[-1].set_weights([kernel, bias])
    found = shortcuts(model, samples, **options())
    marker = found.inpainted.query("region == 'marker' and inpainted == 'region'")
    np.testing.assert_allclose(marker["dice"], 2 * 12 / (12 + 12 + 9))
    assert (marker["dice_beyond"] == 1).all()
    assert not found.tests["shortcut"].any()


def test_few_images_give_no_test(samples):
    found = shortcuts(network(True), samples[:5], **options())
    assert not found.tests["shortcut"].any()
    assert "marker: in 5 images, too few" in found.findings[0]


def test_without_masks_the_prediction_alone_is_judged(samples):
    unlabelled = dataclasses.replace(samples, mask_paths=None)
    found = shortcuts(network(True), unlabelled, **options())
    assert found.tests["shortcut"].tolist() == [True, False, False]
    assert found.inpainted["truth_dice"].isna().all()
    assert found.clusters["dice"].isna().all()


def test_empty_targets_have_no_shares_and_no_dice(samples):
    model = network(False)
    model.layers[-1].bias.assign([-99.0])
    with pytest.warns(KerasganWarning, match="empty in 10 of 10 images"):
        found = shortcuts(model, samples, **options())
    assert found.regions["share"].isna().all()
    assert found.inpainted["dice"].isna().all()
    assert (found.inpainted.query("region == 'marker'")["truth_dice"] == 0).all()


def test_bad_input(samples):
    model = network(False)

    def changing(image):
        return {"a" if image[..., 0].mean() > 0.2 else "b": image[..., 0] > 0.5}

    named = {"a": lambda image: {"a/b": image[..., 0] > 0}, "b": lambda image: {"a": image > 0}}
    for find in named.values():
        refused("must give masks of the shape", shortcuts, model, samples, find=find)
    for find in (changing, lambda image: {}):
        with pytest.raises(KerasganError, match=r"regions of the same names|Received: \[\]"):
            shortcuts(model, marked_differently(samples), find=find, verbose=False)
    refused("'find' must be a function", shortcuts, model, samples, find="text")
    refused("'confidence' must be a finite number", shortcuts, model, samples, confidence=95)
    refused("Samples, at least 4", shortcuts, model, samples[:3], **options())
    refused("'clusters' must be a whole number from 1 to 9", shortcuts, model, samples, clusters=10)


def marked_differently(samples):
    image = np.asarray(Image.open(samples.image_paths[1])).copy()
    path = samples.image_paths[1].replace("images", "other")
    image[4:, :, 0] = 255
    pathlib.Path(path).parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    paths = (samples.image_paths[0], path, *samples.image_paths[2:])
    return dataclasses.replace(samples, image_paths=paths)

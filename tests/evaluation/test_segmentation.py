import csv
import io
import json
import math
import threading
import time
import types

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused

from kerasgan.counts import SCORES
from kerasgan.data import load_folder
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation import (
    boundary_iou,
    cldice,
    evaluate,
    evaluate_masks,
    save_table,
    summarize,
    summary_text,
    surface_dice,
)
from kerasgan.inference import predict


def write(folder, pairs, **options):
    """Write (image, mask) uint8 arrays as a folder of samples."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for name, (image, mask) in pairs.items():
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return load_folder(folder, **options)


def bright(size=8):
    """A network that finds what is brighter than mid-grey."""
    image = keras.Input((size, size, 3))
    kernel = np.full((1, 1, 3, 1), 10, np.float32)
    conv = keras.layers.Conv2D(1, 1, use_bias=False)
    model = keras.Model(image, keras.layers.Activation("tanh")(conv(image)))
    conv.set_weights([kernel])
    return model


def frame(mask):
    return np.repeat(mask[..., None], 3, axis=-1)


@pytest.fixture
def samples(tmp_path):
    """Image a: 4 px true, 4 px bright, 2 px both, of 64. b: empty, 1 px bright. c: empty, none."""
    truth, bright = np.zeros((2, 8, 8), np.uint8)
    truth[0, 0:4] = bright[0, 2:6] = 255
    dot = np.zeros((8, 8), np.uint8)
    dot[5, 5] = 255
    empty = np.zeros((8, 8), np.uint8)
    pairs = {"a": (frame(bright), truth), "b": (frame(dot), empty), "c": (frame(empty), empty)}
    return write(tmp_path / "data", pairs)


A = {
    "accuracy": 60 / 64,
    "jaccard": 2 / 6,
    "dice": 4 / 8,
    "recall": 2 / 4,
    "precision": 2 / 4,
    "f2": 10 / 20,
    "specificity": 58 / 60,
    "true_area": 4 / 64,
    "predicted_area": 4 / 64,
}
OVERLAPS = ("accuracy", "jaccard", "dice", "recall", "precision", "f2")
B = {
    "agree": (63 / 64, 0, 0, 0, 0, 0),
    "medai": (63 / 64, 63 / 64, 126 / 127, 63 / 64, 1, 315 / 319),
    "nan": (63 / 64, 0, 0, math.nan, 0, 0),
}


@pytest.mark.parametrize("empty", B)
def test_counted_by_hand(samples, empty):
    table = evaluate(bright(), samples, empty=empty, verbose=False)
    assert list(table) == ["name", *A]
    assert list(table["name"]) == ["a", "b", "c"]
    np.testing.assert_allclose(table.loc[0, list(A)].astype(float), list(A.values()))
    np.testing.assert_allclose(table.loc[1, list(OVERLAPS)].astype(float), B[empty])
    nothing = math.nan if empty == "nan" else 1
    for name in OVERLAPS[1:]:
        np.testing.assert_allclose(table[name][2], nothing, err_msg=name)
    assert list(table["true_area"]) == [4 / 64, 0, 0]
    assert list(table["predicted_area"]) == [4 / 64, 1 / 64, 0]
    summary = table.attrs["summary"]
    assert (summary["images"], summary["threshold"], summary["empty"]) == (3, 0.5, empty)
    jaccards = [2 / 6, B[empty][1], nothing]
    assert summary["scores"]["jaccard"]["mean"] == pytest.approx(np.nanmean(jaccards))


def test_scored_at_the_size_of_the_image(tmp_path):
    rng = np.random.default_rng(0)
    pairs = {}
    for index, (height, width) in enumerate([(40, 64), (9, 7), (100, 30)]):
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 :, : width // 2] = 255
        noisy = np.clip(frame(mask) * 0.7 + rng.uniform(0, 90, (height, width, 1)), 0, 255)
        pairs[f"frame_{index}"] = (noisy.astype(np.uint8), mask)
    samples = write(tmp_path / "data", pairs)
    table = evaluate(bright(), samples, batch_size=2, verbose=False)
    for index, mask in enumerate(predict(bright(), samples)):
        truth = samples.mask(index).astype(bool)
        both, either = int((truth & mask).sum()), int((truth | mask).sum())
        assert table["jaccard"][index] == pytest.approx(both / either)
        assert table["recall"][index] == pytest.approx(both / truth.sum())
        assert table["true_area"][index] == pytest.approx(truth.mean())
    assert table["jaccard"].between(0.5, 1).all()


def test_threshold_and_options_reach_the_network(samples):
    low = evaluate(bright(), samples, threshold=1e-6, verbose=False)
    high = evaluate(bright(), samples, threshold=1 - 1e-6, verbose=False, batch_size=1)
    assert (low["predicted_area"] >= high["predicted_area"]).all()
    inverted = evaluate(bright(), samples, preprocess=lambda batch: -batch, verbose=False)
    assert inverted["predicted_area"][0] == pytest.approx(60 / 64)
    gan = types.SimpleNamespace(generator=bright())
    pd.testing.assert_frame_equal(
        evaluate(gan, samples, verbose=False), evaluate(bright(), samples, verbose=False)
    )


@pytest.mark.parametrize("empty", ["agree", "nan"])
def test_classes_are_scored_one_against_the_rest(tmp_path, empty):
    truth = np.array([[0, 0, 1, 1], [0, 0, 2, 2]], np.uint8)
    found = np.array([[0, 1, 1, 1], [0, 0, 0, 2]], np.uint8)
    samples = write(tmp_path / "data", {"a": (frame(found * 80), truth)}, classes=4)
    row = evaluate_masks(samples, [found], empty=empty).iloc[0]
    assert row["jaccard_1"] == pytest.approx(2 / 3)
    assert row["jaccard_2"] == pytest.approx(1 / 2)
    assert row["recall_2"] == pytest.approx(1 / 2)
    assert row["specificity_1"] == pytest.approx(5 / 6)
    assert row["true_area"] == row["true_area_1"] + row["true_area_2"] == 4 / 8
    if empty == "agree":
        assert row["jaccard_3"] == 1
        assert row["jaccard"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    else:
        assert math.isnan(row["jaccard_3"])
        assert row["jaccard"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert set(row.index) == {"name", *A} | {f"{name}_{k}" for name in A for k in (1, 2, 3)}


@pytest.mark.parametrize("empty", B)
def test_distances_between_outlines(samples, empty):
    table = evaluate(bright(), samples, empty=empty, surface=True, verbose=False)
    assert list(table) == ["name", *A, "hausdorff_95", "mean_surface_distance"]
    # Image a: columns 0 to 3 of a row are true, 2 to 5 found.
    distances = [0, 0, 1, 2]
    assert table["hausdorff_95"][0] == pytest.approx(np.percentile(distances, 95))
    assert table["mean_surface_distance"][0] == pytest.approx(np.mean(distances))
    for column in ("hausdorff_95", "mean_surface_distance"):
        assert math.isnan(table[column][1])
        np.testing.assert_equal(table[column][2], math.nan if empty == "nan" else 0)
    images = {"agree": 2, "medai": 2, "nan": 1}[empty]
    assert table.attrs["summary"]["scores"]["hausdorff_95"]["images"] == images
    assert f"{3 - images} undefined" in summary_text(table).splitlines()[-1]


def test_distances_of_several_classes(tmp_path):
    truth, found = np.zeros((2, 9, 9), np.uint8)
    truth[1, 1] = found[1, 4] = 1
    truth[7, 1:3] = found[7, 1:3] = 2
    found[4, 4] = 3
    samples = write(tmp_path / "data", {"a": (frame(found * 80), truth)}, classes=5)
    row = evaluate_masks(samples, [found], surface=True).iloc[0]
    for column in ("hausdorff_95", "mean_surface_distance"):
        assert (row[f"{column}_1"], row[f"{column}_2"], row[f"{column}_4"]) == (3, 0, 0)
        assert math.isnan(row[f"{column}_3"])
        assert row[column] == 1  # the mean over the three classes that have one
    left_out = evaluate_masks(samples, [found], surface=True, empty="nan").iloc[0]
    assert math.isnan(left_out["hausdorff_95_4"])
    assert left_out["hausdorff_95"] == 1.5


def test_a_network_of_several_classes(tmp_path):
    labels = np.random.default_rng(1).integers(0, 3, (8, 8)).astype(np.uint8)
    image = (np.eye(3)[labels] * 255).astype(np.uint8)
    samples = write(tmp_path / "data", {"a": (image, labels)}, classes=3)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Softmax()(inputs * 3.0))
    table = evaluate(model, samples, verbose=False)
    assert (table[list(SCORES)] == 1).all(axis=None)
    assert table.attrs["summary"]["threshold"] is None
    assert "threshold" not in summary_text(table)
    refused(r"classes of the network, 1\. Received: 3", evaluate, bright(), samples, verbose=False)


def test_masks_of_anyone_are_read_as_they_come(samples):
    taken = []

    def masks():
        for index in range(len(samples)):
            taken.append(index)
            yield samples.mask(index)

    table = evaluate_masks(samples, masks())
    assert (table["jaccard"] == 1).all()
    assert taken == [0, 1, 2]
    assert "threshold" not in table.attrs["summary"]


def test_a_class_that_most_masks_lack_is_told(tmp_path):
    """Nine images without it count 1 each, though it was never found."""
    common, rare = np.zeros((2, 8, 8), np.uint8)
    common[:4] = rare[:4] = 1
    rare[6:] = 2
    pairs = {str(i): (frame(common), common if i else rare) for i in range(10)}
    samples = write(tmp_path, pairs, classes=3)
    with pytest.warns(KerasganWarning, match="Class 2 is in 1 of 10 true masks, and 9 are"):
        evaluate_masks(samples, [common] * 10)
    evaluate_masks(samples, [common] * 10, empty="nan")
    evaluate_masks(samples, [rare] * 10)


def test_summaries_are_seeded_and_leave_out_what_is_undefined():
    table = pd.DataFrame({"name": list("abc"), "dice": [0.2, np.nan, 0.6], "f2": [np.nan] * 3})
    one, same, other = (summarize(table, seed=seed) for seed in (0, 0, 1))
    assert one["scores"]["dice"] == same["scores"]["dice"]
    assert one["scores"]["dice"]["mean"] == pytest.approx(0.4)
    assert one["scores"]["dice"]["images"] == 2
    assert (one["scores"]["dice"]["low"], one["scores"]["dice"]["high"]) == (0.2, 0.6)
    assert math.isnan(one["scores"]["f2"]["low"])
    assert one["scores"]["f2"]["images"] == 0
    assert list(one["scores"]) == ["dice", "f2"]
    assert other["seed"] == 1
    values = pd.DataFrame({"dice": np.random.default_rng(3).random(20)})
    assert summarize(values, seed=0)["scores"] != summarize(values, seed=1)["scores"]
    assert json.loads(json.dumps(one["scores"]["dice"])) == one["scores"]["dice"]
    narrow = summarize(values, confidence=0.5)["scores"]["dice"]
    wide = summarize(values)["scores"]["dice"]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_csv_keeps_every_digit_and_no_formula(samples, tmp_path):
    table = evaluate(bright(), samples, verbose=False)
    names = ["=1+1", "-a", '@"quoted", with comma']
    table["name"] = names
    path = save_table(table, tmp_path / "new" / "scores.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == [f"'{name}" for name in names]
    for column in A:
        assert [float(row[column]) for row in rows] == list(table[column])
    plain = save_table(pd.DataFrame({"+": ["a/b", "é\tx"], "n": [-1, 2]}), tmp_path / "plain.csv")
    assert plain.read_text(encoding="utf-8") == "'+,n\na/b,-1\né\tx,2\n"


def test_files_are_not_overwritten_silently(tmp_path):
    table, path = pd.DataFrame({"dice": [1.0]}), tmp_path / "scores.csv"
    path.write_text("precious")
    refused(r"a file that exists: .*scores\.csv", save_table, table, path)
    assert path.read_text() == "precious"
    save_table(table, path, overwrite=True)
    assert path.read_text() == "dice\n1.0\n"
    refused("must be a file that can be written", save_table, table, path / "below.csv")


def test_progress_is_shown_unless_not_wanted(samples, capsys):
    evaluate(bright(), samples)
    assert "3/3" in capsys.readouterr().out
    evaluate(bright(), samples, verbose=False)
    assert capsys.readouterr().out == ""


def test_bad_input(samples, tmp_path):
    unlabelled = load_folder(images=tmp_path / "data" / "images", masks=None)
    good = [samples.mask(i) for i in range(3)]
    for bad in (unlabelled, samples[:0], "folder"):
        refused("'samples' must be labelled Samples", evaluate, bright(), bad)
    refused("'empty' must be one of", evaluate, bright(), samples, empty="one")
    with pytest.raises(KerasganError, match="'threshold' must be a finite number"):
        evaluate(bright(), samples, threshold=1.5, verbose=False)
    refused(r"each of the 3 samples. Received: 2", evaluate_masks, samples, good[:2])
    refused(r"each of the 3 samples. Received: more", evaluate_masks, samples, good * 2)
    with pytest.raises(KerasganError, match=r"mask of 'b' cannot be scored.*\(8, 8\) and \(4, 4\)"):
        evaluate_masks(samples, [good[0], np.zeros((4, 4), bool)])
    with pytest.raises(KerasganError, match=r"mask of 'a' cannot be scored.*from 0 to 255"):
        evaluate_masks(samples, [good[0] * 255])
    for options in ({"confidence": 1}, {"resamples": 0}):
        refused(next(iter(options)), summarize, pd.DataFrame({"dice": [1.0]}), **options)
    refused("at least one row", summarize, pd.DataFrame({"dice": []}))
    refused("must come from evaluate", summary_text, pd.DataFrame({"dice": [1.0]}))


BAD_VALUES = [None, "good", np.ones(2), np.ones(1), np.ones((1, 1)), [1.0], [[1], [1, 2]]]
BAD_VALUES += [np.inf, 1j, np.complex128(1j)]


class TestOwnScores:
    def area_error(truth, predicted):
        return abs(int(truth.sum()) - int(predicted.sum()))

    def test_stands_in_a_column_of_its_own(self, samples):
        def found(truth, predicted):
            assert truth.dtype == predicted.dtype == bool
            assert truth.shape == predicted.shape == (8, 8)
            return (truth & predicted).sum() / truth.sum() if truth.any() else np.nan

        table = evaluate(bright(), samples, scores=found, verbose=False)
        expected = evaluate(bright(), samples, empty="nan", verbose=False)["recall"]
        np.testing.assert_array_equal(table["found"], expected)
        summary = table.attrs["summary"]["scores"]["found"]
        assert summary["images"] == 1
        assert summary["mean"] == expected[0]
        assert "2 undefined" in summary_text(table)

    def test_takes_functions_lists_and_names(self, samples):
        masks = [samples.mask(index) for index in range(3)]
        area_error = TestOwnScores.area_error
        for scores in (area_error, [area_error], {"area_error": area_error}):
            table = evaluate_masks(samples, masks, scores=scores)
            assert table["area_error"].tolist() == [0, 0, 0]
        table = evaluate_masks(samples, masks, scores={"my area": area_error})
        assert table.columns[-1] == "my area"
        assert "area_error" not in evaluate_masks(samples, masks, scores=None)

    def test_of_each_class_against_the_rest(self, tmp_path):
        levels = np.zeros((8, 8), np.uint8)
        levels[:2], levels[2:5] = 1, 2
        image = np.zeros((8, 8, 3), np.uint8)
        samples = write(tmp_path / "data", {"a": (image, levels)}, classes=3)
        area = lambda truth, predicted: predicted.sum()  # noqa: E731
        table = evaluate_masks(samples, [levels], scores={"area": area})
        assert table.loc[0, ["area", "area_1", "area_2"]].tolist() == [20, 16, 24]

    @pytest.mark.parametrize(
        "scores",
        [
            {"dice": lambda t, p: 1.0},
            {"hausdorff_95": lambda t, p: 1.0},
            {"name": lambda t, p: 1.0},
            {"objects": lambda t, p: 1.0},
            {"brier": lambda t, p: 1.0},
            {"surface": lambda t, p: 1.0},
            {"true_area_1": lambda t, p: 1.0},
            {3: lambda t, p: 1.0},
            {"mine": "dice"},
            [area_error, area_error],
        ],
    )
    def test_that_cannot_be_one_is_refused_before_anything_runs(self, samples, scores):
        with pytest.raises(KerasganError, match="'scores' must hold functions"):
            evaluate(bright(), samples, scores=scores, verbose=False)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("surface_dice", "'surface_dice' is a score of the set 'surface'.*scores='surface'"),
            ("hausdorff_95", "scores='distances'"),
            ("cldice", "scores='centreline'"),
            ("ece", "scores='calibration'"),
            ("object", r"one of .*Did you mean 'objects'\?"),
            ("nothing like it", "one of distances, surface.*'nothing like it'$"),
            ("dice", "'dice' is there without being asked for"),
            ("true_area", "'true_area' is there without"),
        ],
    )
    def test_a_name_that_is_no_set_is_told_which_one_has_it(self, samples, name, told):
        for scores in (name, ["objects", name]):
            refused(told, evaluate, bright(), samples, scores=scores, verbose=False)

    @pytest.mark.parametrize("value", BAD_VALUES)
    def test_that_gives_no_number_is_named(self, samples, value):
        masks = [samples.mask(index) for index in range(3)]
        with pytest.raises(KerasganError, match=r"Score 'mine' .*'a'"):
            evaluate_masks(samples, masks, scores={"mine": lambda truth, predicted: value})

    @pytest.mark.parametrize("name", ["dice_1", "true_area_2", "objects_1", "mine_2"])
    def test_names_of_columns_of_classes_are_refused(self, samples, tmp_path, name):
        levels = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
        several = write(tmp_path / "several", {"a": (frame(levels), levels)}, classes=3)
        scores = {"mine": TestOwnScores.area_error, name: TestOwnScores.area_error}
        with pytest.raises(KerasganError, match=f"'scores' must hold functions .*'{name}'"):
            evaluate_masks(several, iter([]), scores=scores)
        evaluate_masks(several, [levels], scores={"dice_3": TestOwnScores.area_error})
        masks = [samples.mask(index) for index in range(3)]
        table = evaluate_masks(samples, masks, scores={"dice_1": TestOwnScores.area_error})
        assert table["dice_1"].tolist() == [0, 0, 0]
        assert "dice" in table.attrs["summary"]["pooled"]

    @pytest.mark.parametrize("argument", [0, 1])
    def test_cannot_change_the_masks_of_other_scores(self, samples, argument):
        def clears(*masks):
            masks[argument][:] = False
            return 0.0

        masks = [samples.mask(index) for index in range(3)]
        with pytest.raises(KerasganError, match=r"Score 'clears' .*'a'.*read-only"):
            evaluate_masks(samples, masks, scores=[clears, "objects"])

    def test_that_fails_is_named_with_the_image(self, samples):
        def fails(truth, predicted):
            return 1 / int(truth.sum())

        masks = [samples.mask(index) for index in range(3)]
        with pytest.raises(KerasganError, match=r"Score 'fails' .*'b'.*ZeroDivisionError") as error:
            evaluate_masks(samples, masks, scores=fails)
        assert isinstance(error.value.__cause__, ZeroDivisionError)

    def test_is_called_by_one_thread_in_order(self, tmp_path):
        image = np.zeros((8, 8, 3), np.uint8)
        masks = np.zeros((20, 8, 8), np.uint8)
        for index, mask in enumerate(masks):
            mask.flat[: index + 1] = 255
        samples = write(tmp_path / "data", {f"{i:02}": (image, m) for i, m in enumerate(masks)})
        seen, threads = [], set()

        def mine(truth, predicted):
            seen.append(int(truth.sum()))
            threads.add(threading.get_ident())
            return seen[-1]

        table = evaluate_masks(samples, iter(masks > 0), scores=mine)
        assert seen == table["mine"].tolist() == list(range(1, 21))
        assert len(threads) == 1


BAD_MASKS = [None, "a", [[1, 0], [1]], [1, 0], np.zeros((8, 8, 1), int), np.zeros((0, 2, 1))]
BAD_MASKS += [np.zeros((8, 8), object), np.zeros((8, 8), str), np.zeros((8, 8), complex), {"b": 1}]


@pytest.mark.parametrize("bad", BAD_MASKS, ids=range(len(BAD_MASKS)))
def test_what_is_no_mask_is_named_with_its_image(samples, bad):
    masks = [samples.mask(index) for index in range(3)]
    with pytest.raises(KerasganError, match=r"'masks\[1\]' must be the mask .* of 'b'"):
        evaluate_masks(samples, [masks[0], bad, masks[2]])
    refused(r"each of the 3 samples. Received: more", evaluate_masks, samples, [*masks, bad])


@pytest.mark.parametrize("masks", [5, None, np.float32(1)])
def test_what_holds_no_masks_is_refused(samples, masks):
    refused("'masks' must be one mask for each", evaluate_masks, samples, masks)


def test_masks_are_made_no_more_than_a_few_ahead(tmp_path):
    image, mask = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    samples = write(tmp_path / "data", {f"{i:02}": (image, mask) for i in range(40)})
    made, judged = [], []

    def masks():
        for _ in range(40):
            made.append(1)
            yield mask > 0

    def slow(truth, predicted):
        time.sleep(0.005)
        judged.append(1)
        assert len(made) - len(judged) < 12
        return 0.0

    assert len(evaluate_masks(samples, masks(), scores=slow)) == 40


class TestSetsOfScores:
    def test_all_of_them_in_one_table(self, samples):
        table = evaluate(bright(), samples, scores="all", tolerance=1.5, verbose=False)
        assert list(table) == [
            *("name", *A, "hausdorff_95", "mean_surface_distance", "surface_dice", "boundary_iou"),
            *("objects", "object_sensitivity", "false_positives_per_image", "object_f1"),
            *("panoptic_quality", "cldice", "brier", "ece"),
        ]
        truth, found = samples.mask(0), predict(bright(), samples[:1])[0]
        assert table["surface_dice"][0] == surface_dice(truth, found, 1.5)
        assert table["boundary_iou"][0] == boundary_iou(truth, found, 1.5)
        assert table["cldice"][0] == cldice(truth, found)
        assert table["false_positives_per_image"].tolist() == [1, 1, 0]
        settings = table.attrs["summary"]["settings"]
        assert settings == {"tolerance": 1.5, "spacing": 1.0, "overlap": 0.5, "connectivity": 8}
        assert "tolerance: 1.5 pixels\nspacing: 1.0 pixels\n" in summary_text(table)
        masks = [samples.mask(index) for index in range(3)]
        assert "cldice" in evaluate_masks(samples, masks, scores="all")

    @pytest.mark.parametrize("empty", ["agree", "medai", "nan"])
    def test_where_masks_are_empty(self, samples, empty):
        table = evaluate(bright(), samples, scores="all", empty=empty, verbose=False)
        both = math.nan if empty == "nan" else 1
        for column in ("surface_dice", "boundary_iou", "cldice", "object_f1", "panoptic_quality"):
            np.testing.assert_equal(table[column][1], 0, err_msg=column)
            np.testing.assert_equal(table[column][2], both, err_msg=column)
        assert table["object_sensitivity"][1:].isna().all()
        assert table["objects"].tolist() == [1, 0, 0]
        assert "\ntrue_objects_per_image" in summary_text(table)

    def test_with_scores_of_ones_own(self, samples):
        def area(truth, predicted):
            return predicted.sum()

        masks = [samples.mask(index) for index in range(3)]
        table = evaluate_masks(samples, masks, scores=["objects", area], surface=True)
        assert {"area", "object_f1", "hausdorff_95"} <= set(table)
        assert not {"surface_dice", "cldice"} & set(table)
        both = evaluate_masks(samples, masks, scores="surface", surface=True)
        assert list(both).count("hausdorff_95") == 1
        assert "boundary_iou" in both

    def test_of_several_classes(self, tmp_path):
        truth, found = np.zeros((2, 9, 9), np.uint8)
        truth[1, 1:3], found[1, 1:3] = 1, 1
        truth[7, 1:3], found[7, 6:8] = 2, 2
        truth[4, 4] = 2
        samples = write(tmp_path / "data", {"a": (frame(found * 80), truth)}, classes=3)
        row = evaluate_masks(samples, [found], scores=["objects", "surface"]).iloc[0]
        assert (row["objects"], row["objects_1"], row["objects_2"]) == (3, 1, 2)
        assert (row["false_positives_per_image"], row["object_sensitivity"]) == (1, 0.5)
        assert (row["surface_dice_1"], row["surface_dice_2"], row["surface_dice"]) == (1, 0, 0.5)

    def test_spacing_of_each_image(self, samples):
        masks = [np.roll(samples.mask(index), 2, axis=1) for index in range(3)]
        pixels = evaluate_masks(samples, masks, surface=True)
        half = evaluate_masks(samples, masks, surface=True, spacing=0.5)
        named = evaluate_masks(
            samples, masks, scores="surface", spacing=lambda name: {"a": (1, 0.25)}.get(name, 1)
        )
        assert half["hausdorff_95"][0] == pixels["hausdorff_95"][0] / 2
        assert named["hausdorff_95"][0] == pixels["hausdorff_95"][0] / 4
        assert named.attrs["summary"]["settings"]["spacing"] == "by name"
        assert "spacing: by name, in mm\n" in summary_text(named)
        with pytest.raises(KerasganError, match=r"spacing\('a'\)' must be a finite number above 0"):
            evaluate_masks(samples, masks, surface=True, spacing=lambda name: 0)

    def test_a_spacing_that_fails_is_named_with_the_image(self, samples):
        masks = [samples.mask(index) for index in range(3)]
        sizes = {"a": 0.5}
        with pytest.raises(KerasganError, match="'spacing' failed for 'b': KeyError") as error:
            evaluate_masks(samples, masks, scores="surface", spacing=lambda name: sizes[name])
        assert isinstance(error.value.__cause__, KeyError)
        with pytest.raises(KerasganError, match=r"spacing\('b'\)' must be"):
            evaluate_masks(samples, masks, scores="surface", spacing=sizes.get)

    def test_settings_are_stated_as_plain_numbers(self, samples):
        options = {"tolerance": np.float32(2), "spacing": np.array([1.0, 2.0])}
        options.update(overlap=np.float64(0.5), connectivity=np.int64(4))
        table = evaluate(
            bright(), samples, scores="all", threshold=np.float32(0.5), verbose=False, **options
        )
        summary = json.loads(json.dumps(table.attrs["summary"]))
        assert summary["threshold"] == 0.5
        settings = {"tolerance": 2, "spacing": [1, 2], "overlap": 0.5, "connectivity": 4}
        assert summary["settings"] == settings
        plain = evaluate_masks(samples, predict(bright(), samples), surface=True, spacing=2)
        assert plain.attrs["summary"]["settings"]["spacing"] == 2
        pd.concat([table, table])  # which compares the summaries

    @pytest.mark.parametrize(
        "options",
        [
            {"tolerance": 0},
            {"spacing": -1},
            {"spacing": "mm"},
            {"overlap": 1},
            {"connectivity": 6},
            {"connectivity": None},
            {"scores": "object"},
            {"scores": ["all", "jaccard"]},
            {"scores": ["all", {"cldice": max}]},
            {"scores": [{"objects": max}, "objects"]},
        ],
    )
    def test_bad_settings_are_refused_before_anything_runs(self, samples, options):
        name = next(iter(options))
        refused(f"'{name}' must", evaluate, bright(), samples, verbose=False, **options)
        refused(f"'{name}' must", evaluate_masks, samples, iter([]), **options)

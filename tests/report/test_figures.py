import types

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from refusals import refused

from kerasgan.errors import KerasganError
from kerasgan.report import figures, mask_figure, score_figure, training_figure

HISTORY = {
    "generator_loss": [3.0, 2.0, 1.0],
    "val_generator_loss": [4.0, 3.0, 3.5],
    "discriminator_loss": [0.6, 0.7, 0.7],
    "dice": [0.2, 0.5, 0.8],
    "val_dice": [0.1, 0.6, 0.3],
    "learning_rate": [1e-3, 1e-3, 1e-3],
}


def scene(height=12, width=20):
    """An image with a true and a predicted rectangle that overlap by half."""
    image = np.zeros((height, width, 3), np.float32)
    truth, prediction = np.zeros((2, height, width), bool)
    truth[3:9, 4:12] = True
    prediction[3:9, 8:16] = True
    return image, truth, prediction


def line(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found.get_xdata(), found.get_ydata()


def test_error_panel_colours_each_pixel_by_what_it_is():
    image, truth, prediction = scene()
    panel = mask_figure([image], [truth], [prediction]).axes[2]
    canvas, grey = panel.images[1].get_array(), 0.5 * 0.75
    for at, color in (((5, 5), figures.MISSED), ((5, 10), figures.HIT), ((5, 14), figures.EXTRA)):
        np.testing.assert_allclose(canvas[at], (grey + np.array(to_rgb(color))) / 2, atol=1e-6)
    np.testing.assert_allclose(canvas[0, 0], [grey] * 3, atol=1e-6)
    assert panel.texts[0].get_text() == "Jaccard 0.33"


def test_outlines_run_along_the_edge_of_the_mask():
    image, truth, prediction = scene()
    truth[:] = False
    truth[0:5, 0:7] = True
    panel = mask_figure([image], [truth], [prediction]).axes[1]
    corners = [
        (outline.get_paths()[0].vertices.min(0), outline.get_paths()[0].vertices.max(0))
        for outline in panel.collections
    ]
    np.testing.assert_allclose(corners, [[(-0.5, -0.5), (6.5, 4.5)], [(7.5, 2.5), (15.5, 8.5)]])


def test_empty_masks_have_no_outline():
    image, truth, prediction = scene()
    figure = mask_figure([image], [truth & False], [prediction & False])
    assert not figure.axes[1].collections
    assert figure.axes[2].texts[0].get_text() == "Jaccard 1.00"


def test_classes_are_outlined_and_confusions_coloured():
    image, truth, prediction = scene()
    labels = truth.astype(np.uint8)
    labels[6:9, 4:12] = 2
    figure = mask_figure([image], [labels], [prediction.astype(np.uint8)])
    assert len(figure.axes[1].collections) == 3
    canvas = figure.axes[2].images[1].get_array()
    wrong = (0.375 + np.array(to_rgb(figures.WRONG_CLASS))) / 2
    np.testing.assert_allclose(canvas[7, 10], wrong, atol=1e-6)
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == [
        "truth",
        "prediction",
        "true positive",
        "false positive",
        "false negative",
        "wrong class",
    ]


def test_rows_keep_the_aspect_of_their_images(tmp_path):
    rows = [scene(12, 20), scene(30, 10)]
    images, truths, predictions = zip(*rows)
    figure = mask_figure(images, truths, predictions, ["x" * 80, "tall"])
    assert len(figure.axes) == 6
    for axes, aspect in ((figure.axes[0], 12 / 20), (figure.axes[3], 30 / 10)):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(aspect, rel=1e-3)
    assert "…" in figure.texts[0].get_text()


def test_without_truth_only_the_prediction_is_drawn():
    image, _, prediction = scene()
    figure = mask_figure([image[..., :1]], None, [prediction[..., None]])
    assert len(figure.axes) == 2
    (legend,) = figure.legends[0].texts
    assert legend.get_text().startswith("prediction: foreground is ")


def test_masks_alone_are_filled_and_their_shares_told():
    image = np.zeros((10, 20, 3))
    small, large = np.zeros((10, 20), np.uint8), np.ones((10, 20), np.uint8)
    small[2:6, 5:10] = 1
    large[2:6, 5:10] = 0
    figure = mask_figure([image, image], [small, large], None)
    assert len(figure.axes) == 4
    for axes, mask, share in ((figure.axes[1], small, "10.0%"), (figure.axes[3], large, "90.0%")):
        assert axes.texts[0].get_text() == f"Foreground {share}"
        canvas = axes.images[-1].get_array()
        filled = np.ptp(canvas, axis=-1) > 0.1  # a colour on grey
        np.testing.assert_array_equal(filled, mask == 1)
    (legend,) = figure.legends[0].texts
    assert legend.get_text() == ("mask: foreground is 50.0% of a frame on average, 10.0% to 90.0%")
    refused("'truths', 'predictions' or both", mask_figure, [image], None, None)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_files_are_written_and_replaced(tmp_path, ending):
    path = tmp_path / "new" / f"figure.{ending}"
    image, truth, prediction = scene()
    for _ in range(2):
        mask_figure([image], [truth], [prediction], ["name"], path)
    assert path.stat().st_size > 1000
    if ending == "png":
        with Image.open(path) as file:
            assert file.width == pytest.approx(200 * 7.2, abs=2)


def test_pyplot_and_settings_are_left_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    mask_figure(*([part] for part in scene()), None, tmp_path / "masks.png")
    training_figure(HISTORY, tmp_path / "training.png")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_training_panels_hold_both_curves_and_the_best_epoch():
    figure = training_figure(HISTORY)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Generator loss", "Discriminator loss", "Dice"]
    dice = figure.axes[2]
    np.testing.assert_array_equal(line(dice, "training"), [[1, 2, 3], HISTORY["dice"]])
    np.testing.assert_array_equal(line(dice, "validation"), [[1, 2, 3], HISTORY["val_dice"]])
    assert [text.get_text() for text in dice.texts] == ["0.60"]
    assert dice.texts[0].xy == (2, 0.6)
    assert len(figure.axes[1].lines) == 1


def test_every_kind_of_history_gives_the_same_curves(tmp_path):
    csv = tmp_path / "log.csv"
    table = pd.DataFrame(HISTORY)
    table.assign(epoch=range(3)).to_csv(csv, index=False)
    for history in (types.SimpleNamespace(history=HISTORY), table, csv, str(csv)):
        figure = training_figure(history, names=["dice"])
        np.testing.assert_allclose(
            line(figure.axes[0], "validation"), [[1, 2, 3], HISTORY["val_dice"]]
        )


def test_resumed_and_single_epochs_are_drawn():
    log = pd.DataFrame({"epoch": [7], "jaccard": [0.5], "val_jaccard": [np.nan]})
    axes = training_figure(log).axes[0]
    assert line(axes, "training")[0] == [8]
    assert axes.lines[0].get_marker() == "o"
    assert not axes.texts


def test_scores_against_area(tmp_path):
    table = pd.DataFrame({"true_area": [0.01, 0.1, 0.5], "jaccard": [0.2, np.nan, 0.8]})
    figure = score_figure(table, tmp_path / "scores.png")
    dots, bars = figure.axes
    np.testing.assert_allclose(dots.collections[0].get_offsets()[[0, 2]], [[1, 0.2], [50, 0.8]])
    assert dots.get_xscale() == "log"
    assert sum(bar.get_width() for bar in bars.patches) == 2
    assert bars.texts[0].get_text() == "mean\n0.50"
    with_empty = table.assign(true_area=[0, 0.1, 0.5])
    assert score_figure(with_empty).axes[0].get_xscale() == "linear"


def test_bad_input(tmp_path):
    image, truth, prediction = scene()
    refused("at least one image", mask_figure, [], [], [])
    with pytest.raises(KerasganError, match=r"Received: shape \(12, 20\) at index 1"):
        mask_figure([image, image[..., 0]], None, [prediction] * 2)
    with pytest.raises(KerasganError, match="'truths' must have one entry for each of the 1"):
        mask_figure([image], [], [prediction])
    with pytest.raises(KerasganError, match=r"'predictions' must have the size .*\(12, 20\)"):
        mask_figure([image], [truth], [prediction[:5]])
    refused("'names' must have one entry", mask_figure, [image], [truth], [prediction], [])
    (tmp_path / "file").write_text("")
    with pytest.raises(KerasganError, match="'path' must be a figure file"):
        mask_figure([image], [truth], [prediction], None, tmp_path / "file" / "figure.png")
    with pytest.raises(KerasganError, match="'path' must be a figure file"):
        mask_figure([image], [truth], [prediction], None, tmp_path / "figure.xyz")
    refused("CSV file that can be read", training_figure, tmp_path / "none.csv")
    refused("CSV file that can be read", training_figure, tmp_path / "file")
    refused("at least one epoch", training_figure, {"loss": []})
    refused("neither losses nor scores", training_figure, {"learning_rate": [1.0]})
    refused("'names' must be among", training_figure, HISTORY, names=["jacard"])
    refused("Received: list", training_figure, [1, 2])
    refused("column 'jaccard'", score_figure, pd.DataFrame({"true_area": [0.1]}))
    refused("at least one row", score_figure, pd.DataFrame({"true_area": [], "jaccard": []}))


@pytest.mark.parametrize("labelled", [True, False])
def test_outlines_can_be_switched_off(labelled):
    image, mask = np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 16), bool)
    mask[0, 3:9, 3:9] = True
    truths = mask if labelled else None
    figure = mask_figure(image, truths, mask, outlines=False)
    assert len(figure.axes) == 2
    assert not [line for axes in figure.axes for line in axes.collections]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) == (3 if labelled else 1)
    shown = np.asarray(figure.axes[1].images[-1].get_array())
    assert (shown[4, 4] != shown[12, 12]).any()
    outlined = mask_figure(image, truths, mask)
    assert [line for axes in outlined.axes for line in axes.collections]

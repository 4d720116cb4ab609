import numpy as np
import pytest

import kerasgan as kg
from kerasgan.app.images import Opened
from kerasgan.app.network import Network
from kerasgan.app.session import Question, Session, Stroke, filled, painted, shown_size
from kerasgan.app.worker import Worker
from kerasgan.data.resize import resize_image, to_float

FIRST, SECOND, NOWHERE = (0.2, 0.4), (32 / 48, 26 / 32), (0.9, 0.1)
EPSILON = ("epsilon",)


@pytest.fixture
def session(network, squares):
    session = Session(network)
    session.open(Opened("squares", squares))
    return session


def explained(session, target, point=None, rules=EPSILON):
    return session.explain(Question(target, point, rules))


def test_the_mask_is_that_of_predict(network, squares):
    picture = Session(network).open(Opened("squares", squares))
    mask = kg.predict(network.model, [to_float(squares)], preprocess="[-1,1]")[0]
    assert picture.area == mask.mean() > 0
    assert (picture.size, picture.shown, picture.components) == ((32, 48), (32, 48), 2)
    assert picture.before is None
    assert not picture.has_truth


def test_a_pixel_is_the_pixel_of_the_network(session, network, squares):
    """The click at row 26 of 32, column 32 of 48 is row 13, column 10 of 16."""
    (found,) = explained(session, "pixel", SECOND)
    image = resize_image(to_float(squares), 16)
    expected = kg.Explainer(network.model, "epsilon").explain(image[None], kg.targets.Pixel(13, 10))
    np.testing.assert_allclose(found.maps[""], expected.relevance[0].sum(-1), atol=1e-6)
    assert found.maps[""][13, 10] == pytest.approx(image[13, 10, 0], abs=1e-5)
    assert np.count_nonzero(found.maps[""]) == 1
    images = [to_float(squares)]
    probability = kg.inference.predict_probability(network.model, images, preprocess="[-1,1]")[0]
    assert found.probability == pytest.approx(probability[26, 32, 0])
    assert "row 14, column 11" in found.text
    assert found.inside == 1


def test_a_component_is_the_one_at_the_point(session):
    (first,), (second,) = (explained(session, "component", place) for place in (FIRST, SECOND))
    (both,) = explained(session, "mask")
    assert first.share + second.share == both.share > first.share > second.share > 0
    np.testing.assert_allclose(first.maps[""] + second.maps[""], both.maps[""], atol=1e-6)
    assert first.books["balanced"]
    assert first.books["pixels"] == pytest.approx(1, abs=1e-4)
    assert len(first.ledger)


def test_the_border_is_that_of_targets(session, network, squares):
    image = resize_image(to_float(squares), 16)[None]
    expected = kg.Explainer(network.model, "epsilon").explain(image, "border").relevance[0].sum(-1)
    (everywhere,) = explained(session, "border", NOWHERE)
    np.testing.assert_allclose(everywhere.maps[""], expected, atol=1e-6)
    (here,) = explained(session, "border", FIRST)
    assert 0 < here.share < everywhere.share


def test_errors_are_known_with_the_truth(network, squares):
    truth = np.zeros(squares.shape[:2], np.uint8)
    truth[8:16, 6:14] = 1
    truth[0:8, 24:32] = 1
    session = Session(network)
    assert session.open(Opened("squares", squares, truth)).has_truth
    (false,) = explained(session, "false_positives", SECOND)
    (component,) = explained(session, "component", SECOND)
    np.testing.assert_array_equal(false.maps[""], component.maps[""])
    assert false.text.endswith("at the point")
    (missed,) = explained(session, "false_negatives")
    assert missed.value < 0 < false.value
    assert np.flatnonzero(missed.maps[""].any(1)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("target", "point", "why"),
    [
        ("pixel", None, "Point at a place"),
        ("pixel", (1.5, 0), "outside"),
        ("pixel", (float("nan"), 0), "outside"),
        ("component", NOWHERE, "no mask at this point"),
        ("false_positives", FIRST, "no true mask"),
    ],
)
def test_what_cannot_be_explained_says_why(session, target, point, why):
    with pytest.raises(kg.KerasganError, match=why):
        explained(session, target, point)


def test_bad_questions(network):
    with pytest.raises(kg.KerasganError, match="Choose an image"):
        explained(Session(network), "mask")
    with pytest.raises(kg.KerasganError, match="no target 'all'"):
        Question("all")
    with pytest.raises(kg.KerasganError, match="One or two rules"):
        Question(rules=("a", "b", "c"))


def test_an_empty_mask_and_a_full_one(network):
    session = Session(network)
    assert session.open(Opened("black", np.zeros((20, 20, 3), np.uint8))).area == 0
    with pytest.raises(kg.KerasganError, match="The mask is empty"):
        explained(session, "mask")
    assert explained(session, "pixel", FIRST)[0].value == pytest.approx(-1)
    session.open(Opened("red", np.full((20, 20, 3), 255, np.uint8)))
    with pytest.raises(kg.KerasganError, match="no border"):
        explained(session, "border")


def test_two_rules_beside_each_other(session):
    found = explained(session, "mask", rules=("epsilon", "z-plus"))
    assert [one.rule for one in found] == ["epsilon", "z-plus"]
    with pytest.raises(kg.KerasganError, match="rule"):
        explained(session, "mask", rules=("nonsense",))


def test_painting_over_changes_mask_and_relevance(session, squares):
    (before,) = explained(session, "mask")
    stroke = Stroke((SECOND,), 0.1)
    picture = session.paint(stroke)
    assert picture.components == 1
    assert 0 < picture.area < picture.area_before
    assert picture.before is not None
    (after,) = explained(session, "mask")
    assert after.value < before.value
    region = painted([stroke], squares.shape[:2])
    assert region[26, 32]
    assert not region[12, 10]
    np.testing.assert_array_equal(session.pixels[~region], squares[~region])
    assert np.ptp(session.pixels[region].astype(int), axis=0).max() <= 3  # the colour around it
    session.paint(Stroke((FIRST, NOWHERE), 0.02))
    assert session.undo().components == 1
    restored = session.restore()
    assert (restored.area, restored.before) == (picture.area_before, None)
    np.testing.assert_array_equal(session.pixels, squares)


@pytest.mark.parametrize(
    "stroke",
    [
        Stroke((), 0.1),
        Stroke(((9.0, 0.5),), 0.1),
        Stroke(((float("nan"), 0.5),), 0.1),
        Stroke((FIRST,), 0),
        Stroke((FIRST,), float("inf")),
    ],
)
def test_strokes_outside_the_image(session, stroke):
    with pytest.raises(kg.KerasganError, match="outside the image"):
        session.paint(stroke)


def test_an_image_painted_over_wholly(squares):
    everything = filled(squares, np.ones(squares.shape[:2], bool))
    assert np.ptp(everything.astype(int), axis=(0, 1)).max() <= 1
    one = np.full((1, 1, 1), 7, np.uint8)
    assert filled(one, np.ones((1, 1), bool)).item() == pytest.approx(7, abs=1)


def test_a_letterbox_has_no_border_to_click_at(letterboxed, squares):
    session = Session(letterboxed)
    session.open(Opened("squares", squares))
    (found,) = explained(session, "pixel", (0.5, 0.999))
    assert found.maps[""].shape == (11, 16)
    assert np.argwhere(found.maps[""]).tolist() == [[10, 8]]


def test_layers_and_classes():
    """A U-Net with three classes that see windows, and one that sees the whole image."""
    model = kg.models.unet(size=16, classes=3, filters=2, levels=2)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    for mode in ("stretch", "window"):
        network = Network(model, {"mode": mode})
        session = Session(network)
        picture = session.open(Opened("noise", pixels))
        mask = kg.predict(model, [to_float(pixels)], mode=mode)[0]
        assert picture.area == (mask > 0).mean()
        (found,) = explained(session, "pixel", FIRST)
        assert list(found.maps) == ["", *network.layers]
        assert found.books["balanced"]
        parts = list(network.layers.values())
        if mode == "stretch":
            assert parts[0].startswith("encoder 1/1")
            assert parts[-1].startswith("decoder 1/1")
            (rows, columns) = found.maps[list(found.maps)[len(parts) // 2]].shape
            assert rows == columns < 16
        else:
            assert (parts, found.maps[""].shape) == ([], (24, 24))


def test_pictures_are_no_larger_than_a_screen():
    assert shown_size((4096, 4096)) == (768, 768)
    assert shown_size((1, 5000)) == (1, 768)


def test_the_newest_request_of_a_window_wins(network, squares):
    worker = Worker()
    try:
        session = Session(network)
        first = worker.ask(session, lambda: session.open(Opened("squares", squares)))
        assert first.result(60).components == 2
    finally:
        worker.close()

import keras
import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.app.images import Opened
from kerasgan.app.network import Network
from kerasgan.app.painting import Stroke, filled, painted
from kerasgan.app.question import Question, View
from kerasgan.app.session import Session, Unexplained, scales_of, shown_size
from kerasgan.data.resize import resize_image, to_float

FIRST, SECOND, NOWHERE = (0.2, 0.4), (32 / 48, 26 / 32), (0.9, 0.1)
EPSILON = ("epsilon",)


@pytest.fixture
def session(network, squares):
    session = Session(network)
    session.open(Opened("squares", squares))
    return session


def explained(session, target, point=None, rules=EPSILON):
    return session.explain(Question(target, point, tuple(View(0, rule) for rule in rules)))


def test_the_mask_is_that_of_predict(network, squares):
    picture = Session(network).open(Opened("squares", squares))
    mask = kg.predict(network.model, [to_float(squares)], preprocess="[-1,1]")[0]
    (seen,) = picture.masks
    assert seen.area == mask.mean() > 0
    assert (picture.size, picture.shown, seen.components) == ((32, 48), (32, 48), 2)
    assert (seen.grid, seen.dice, picture.agreement) == ((16, 16), None, None)
    assert picture.before == ()
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
    with pytest.raises(kg.KerasganError, match="One or two explanations"):
        Question(views=(View(),) * 3)


def test_an_empty_mask_and_a_full_one(network):
    session = Session(network)
    picture = session.open(Opened("black", np.zeros((20, 20, 3), np.uint8)))
    assert picture.masks[0].area == 0
    with pytest.raises(kg.KerasganError, match="The mask is empty"):
        explained(session, "mask")
    assert explained(session, "pixel", FIRST)[0].value == pytest.approx(-1)
    session.open(Opened("red", np.full((20, 20, 3), 255, np.uint8)))
    with pytest.raises(kg.KerasganError, match="no border"):
        explained(session, "border")


def test_two_rules_beside_each_other(session):
    found = explained(session, "mask", rules=("epsilon", "z-plus"))
    assert [one.label for one in found] == ["epsilon", "z-plus"]
    with pytest.raises(kg.KerasganError, match="rule"):
        explained(session, "mask", rules=("nonsense",))


def test_painting_over_changes_mask_and_relevance(session, squares):
    (before,) = explained(session, "mask")
    stroke = Stroke((SECOND,), 0.1)
    picture = session.paint(stroke)
    assert picture.masks[0].components == 1
    assert 0 < picture.masks[0].area < picture.before[0].area
    assert picture.photo != picture.original
    (after,) = explained(session, "mask")
    assert after.value < before.value
    region = painted([stroke], squares.shape[:2])
    assert region[26, 32]
    assert not region[12, 10]
    np.testing.assert_array_equal(session.pixels[~region], squares[~region])
    assert np.ptp(session.pixels[region].astype(int), axis=0).max() <= 3  # the colour around it
    session.paint(Stroke((FIRST, NOWHERE), 0.02))
    assert session.undo().masks[0].components == 1
    restored = session.restore()
    assert (restored.masks, restored.before) == (picture.before, ())
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


def test_the_same_before_and_after_painting(session):
    """Beside the image that was painted over: the one before, explained in the same way."""
    (before,) = explained(session, "mask")
    session.paint(Stroke((SECOND,), 0.1))
    views = (View(0, "epsilon"), View(0, "epsilon", before=True))
    after, again = session.explain(Question("mask", None, views))
    assert (after.label, again.label) == ("epsilon, painted over", "epsilon, before painting")
    np.testing.assert_array_equal(again.maps[""], before.maps[""])
    assert after.value < again.value == before.value


@pytest.fixture(scope="module")
def grey():
    """A network of other size, channels and classes, which are those of grey: dark, bright."""
    image = keras.Input((8, 8, 1))
    logits = keras.layers.Conv2D(3, 1, activation="softmax", name="shades")
    model = keras.Model(image, logits(image))
    logits.set_weights([np.array([0, -1.0, 1.0]).reshape(1, 1, 1, 3), np.array([0.1, -0.5, 0])])
    return Network(model, {"mode": "stretch"}, "grey")


@pytest.fixture
def truth(squares):
    """The larger square, and a place where there is nothing."""
    truth = np.zeros(squares.shape[:2], np.uint8)
    truth[8:16, 6:14] = truth[0:8, 24:32] = 1
    return truth


def test_two_models_see_the_same_image(network, grey, squares, truth):
    both, views = Session(network, grey), (View(0, "epsilon"), View(1, "epsilon"))
    picture = both.open(Opened("squares", squares, truth))
    found = both.explain(Question("pixel", FIRST, views))
    shades = np.asarray(Image.fromarray(squares).convert("L"))[..., None]
    for place, (one, pixels) in enumerate(((network, squares), (grey, shades))):
        alone = Session(one)
        assert alone.open(Opened("squares", pixels, truth)).masks[0] == picture.masks[place]
        (expected,) = explained(alone, "pixel", FIRST)
        np.testing.assert_array_equal(found[place].maps[""], expected.maps[""])
        assert found[place].probability == expected.probability
        assert found[place].label == f"{one.name}, epsilon"
    first, second = (prediction.mask > 0 for prediction in both.predictions)
    assert picture.agreement == 2 * (first & second).sum() / (first.sum() + second.sum())


def test_what_one_of_two_models_cannot_answer(network, grey, squares, truth):
    session, views = Session(network, grey), (View(0, "epsilon"), View(1, "epsilon"))
    session.open(Opened("squares", squares, truth))
    missed, refused = session.explain(Question("false_negatives", None, views))
    assert missed.value < 0
    assert isinstance(refused, Unexplained)
    assert "other classes than this model" in refused.text
    assert refused.label == "grey, epsilon"
    with pytest.raises(kg.KerasganError, match="outside the image"):
        session.explain(Question("pixel", (2.0, 0.5), views))


def test_scales(network, grey, squares):
    """One scale compares maps of one size as they are, others by explained pixel and area."""
    session = Session(network, grey)
    session.open(Opened("squares", squares))
    rules = explained(session, "mask", None, ("epsilon", "gradient"))
    maps = [one.maps[""] for one in rules]
    own = scales_of(rules, ["", ""], shared=False)
    limits = [np.percentile(np.abs(values), 99.5) for values in maps]
    np.testing.assert_allclose([one.limit for one in own], limits)
    shared = scales_of(rules, ["", ""], shared=True)
    limit = np.percentile(np.abs(maps), 99.5)
    for scale, values in zip(shared, np.float64(maps)):
        assert scale.limit == pytest.approx(limit)
        over = np.abs(values) > scale.limit
        assert scale.clipped == over.mean()
        assert scale.held == pytest.approx(np.abs(values[over]).sum() / np.abs(values).sum())
        assert (scale.strongest, scale.by_area) == (np.abs(values).max(), False)
    views = (View(0, "epsilon"), View(1, "epsilon"))
    found = session.explain(Question("pixel", FIRST, views))
    first, second = scales_of(found, ["", ""], shared=True)
    assert first.by_area
    assert second.by_area
    assert (first.factor, second.factor) == (2.56, 0.64)
    assert second.map(found[1].maps[""]).limit == pytest.approx(second.limit / 0.64)


def test_layers_and_classes():
    """A U-Net with three classes that see windows, and one that sees the whole image."""
    model = kg.models.unet(size=16, classes=3, filters=2, levels=2)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    for mode in ("stretch", "window"):
        network = Network(model, {"mode": mode})
        session = Session(network)
        picture = session.open(Opened("noise", pixels))
        mask = kg.predict(model, [to_float(pixels)], mode=mode)[0]
        assert picture.masks[0].area == (mask > 0).mean()
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

import keras
import numpy as np
import pytest

from kerasgan.app import page, texts
from kerasgan.app.images import Opened
from kerasgan.app.network import Network
from kerasgan.app.painting import Stroke
from kerasgan.app.question import Question, View
from kerasgan.app.session import Session, Unexplained, scales_of

NAME = "<img src=x onerror=alert(1)>"


@pytest.fixture
def seen(network, squares):
    session = Session(network)
    session.open(Opened(NAME, squares, np.zeros(squares.shape[:2], np.uint8)))
    picture = session.paint(Stroke(((0.9, 0.9),), 0.05))
    views = (View(0, "epsilon"), View(0, "gradient"))
    return picture, session.explain(Question("component", (0.2, 0.4), views))


def test_captions_are_escaped(seen):
    picture, found = seen
    (mask,) = picture.masks
    for probable in (True, False):
        text = texts.mask_caption(picture, mask, False, probable)
        assert "<img" not in text
        assert "true mask" in text
        assert "mask before" in text
    text = texts.relevance_caption(found[0], "", scales_of(found, ["", ""], False)[0])
    assert "<strong>epsilon</strong>: pixels" in text


def test_the_table_holds_plain_numbers(seen):
    _, found = seen
    rows = texts.table_rows(found)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert rows[0]["view"] == "epsilon"
    assert rows[0]["relevance_in"] == pytest.approx(found[0].value, rel=1e-3)
    allowed = (str, int, float, type(None))
    assert all(isinstance(value, allowed) for row in rows for value in row.values())


@pytest.mark.parametrize(
    "given", [None, "ab", [1], [1, 2, 3], [1, "2"], [1, None], {"x": 1, "y": 2}, [[1], [2]]]
)
def test_what_a_browser_sends_need_not_be_numbers(given):
    assert page.numbers_of(given, 2) is None
    assert page.numbers_of([1, 0.5], 2) == [1.0, 0.5]


def test_what_of_two_models_cannot_be_compared(network, letterboxed):
    assert texts.differences_of([network]) == []
    assert texts.differences_of([network, network]) == []
    (line,) = texts.differences_of([network, letterboxed])
    assert "16 × 16 pixels (letterbox)" in line
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(image))
    text = " ".join(texts.differences_of([network, Network(model, name="other")]))
    assert "other sees 8 × 8 pixels" in text
    assert "other sees the image in grey" in text
    assert "red has 1 and other has 2" in text


def test_a_view_without_an_answer_is_said(seen):
    picture, found = seen
    lost = Unexplained(View(1, "epsilon"), "other, epsilon", "The mask is empty")
    assert "By other, epsilon: The mask is empty." in texts.sentences_of(picture, [found[0], lost])
    assert len(texts.table_rows([lost, found[0]])) == len(found[0].ledger)

import numpy as np
import pytest

from kerasgan.app import page
from kerasgan.app.images import Opened
from kerasgan.app.session import Question, Session, Stroke

NAME = "<img src=x onerror=alert(1)>"


@pytest.fixture
def seen(network, squares):
    session = Session(network)
    session.open(Opened(NAME, squares, np.zeros(squares.shape[:2], np.uint8)))
    picture = session.paint(Stroke(((0.9, 0.9),), 0.05))
    return picture, session.explain(Question("component", (0.2, 0.4), ("epsilon", "gradient")))


def test_captions_are_escaped(seen):
    picture, found = seen
    for text in (page.mask_caption(picture, True), page.mask_caption(picture, False)):
        assert "<img" not in text
        assert "true mask" in text
        assert "mask before" in text
    text = page.relevance_caption(found[0], "", {})
    assert "<strong>epsilon</strong>, pixels" in text


def test_sentences(seen):
    text = " ".join(page.sentences_of(*seen))
    assert "in 2 components. Before anything was painted over, it covered" in text
    assert "Explained: the component at the point" in text
    assert "By epsilon: 100 % of the relevance lies inside" in text
    assert "By gradient: " in text


def test_the_table_holds_plain_numbers(seen):
    _, found = seen
    rows = page.table_rows(found)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert rows[0]["rule"] == "epsilon"
    assert rows[0]["relevance_in"] == pytest.approx(found[0].value, rel=1e-3)
    allowed = (str, int, float, type(None))
    assert all(isinstance(value, allowed) for row in rows for value in row.values())


@pytest.mark.parametrize(
    "given", [None, "ab", [1], [1, 2, 3], [1, "2"], [1, None], {"x": 1, "y": 2}, [[1], [2]]]
)
def test_what_a_browser_sends_need_not_be_numbers(given):
    assert page.numbers_of(given, 2) is None
    assert page.numbers_of([1, 0.5], 2) == [1.0, 0.5]

import html.parser

import numpy as np
import pytest

from kerasgan.app import saved
from kerasgan.app.images import Opened
from kerasgan.app.network import Network
from kerasgan.app.painting import Stroke
from kerasgan.app.question import Question, View
from kerasgan.app.session import Session, Unexplained

NAME = "<img src=x onerror=alert(1)>&\"'"


class Addresses(html.parser.HTMLParser):
    """Everything that a page would load, and every attribute that runs code."""

    def __init__(self):
        super().__init__()
        self.found, self.handlers = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "srcset", "action", "data") or (tag == "link" and name == "href"):
                self.found.append(value)
            if name.startswith("on"):
                self.handlers.append((tag, name))


@pytest.mark.parametrize("rules", [(), ("epsilon",), ("epsilon", "z-plus")])
def test_the_page_is_whole_and_escaped(network, squares, rules):
    session = Session(Network(network.model, {"mode": "stretch"}, NAME))
    picture = session.open(Opened(NAME, squares, np.zeros(squares.shape[:2], np.uint8)))
    picture = session.paint(Stroke(((0.9, 0.9),), 0.05))
    views = tuple(View(0, rule) for rule in rules)
    found = session.explain(Question("pixel", (0.2, 0.4), views)) if rules else []
    text = saved.write_page(picture, views or (View(),), found, (0.2, 0.4))
    assert NAME not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 2
    page = Addresses()
    page.feed(text)
    assert page.found
    assert all(address.startswith("data:") for address in page.found)
    assert page.handlers == []
    for one in found:
        assert f"<h3>{one.label}</h3>" in text
        assert all(f'<th scope="row">{layer}</th>' in text for layer in one.ledger["layer"])


def test_two_models_on_one_scale(network, letterboxed, squares):
    other = Network(letterboxed.model, {"mode": "letterbox"}, "other")
    session, views = Session(network, other), (View(0, "epsilon"), View(1, "epsilon"))
    session.open(Opened("squares", squares))
    picture = session.paint(Stroke(((0.9, 0.9),), 0.05))
    found = session.explain(Question("pixel", (0.2, 0.4), views))
    text = saved.write_page(picture, views, found, (0.2, 0.4), shared=True)
    assert text.count("<h3>other</h3>") == text.count("<h3>other, epsilon</h3>") == 1
    assert text.count("of both pictures") == 2
    assert f"The Dice score of the masks of {network.name} and other is" in text
    views = (View(0, "epsilon"), View(0, "epsilon", before=True))
    found = [*session.explain(Question("mask", None, views[:1])), Unexplained(views[1], "b", "No")]
    text = saved.write_page(picture, views, found, None)
    assert "<h3>red, before painting</h3>" in text
    assert "b: No." in text

import html.parser

import numpy as np
import pytest

from kerasgan.app import saved
from kerasgan.app.images import Opened
from kerasgan.app.session import Question, Session, Stroke

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
    session = Session(network)
    picture = session.open(Opened(NAME, squares, np.zeros(squares.shape[:2], np.uint8)))
    picture = session.paint(Stroke(((0.9, 0.9),), 0.05))
    found = session.explain(Question("pixel", (0.2, 0.4), rules)) if rules else []
    text = saved.write_page(NAME, picture, found, (0.2, 0.4), network.layers)
    assert NAME not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 2
    page = Addresses()
    page.feed(text)
    assert page.found
    assert all(address.startswith("data:") for address in page.found)
    assert page.handlers == []
    for one in found:
        assert f"<h4>{one.rule}</h4>" in text
        assert all(f'<th scope="row">{layer}</th>' in text for layer in one.ledger["layer"])

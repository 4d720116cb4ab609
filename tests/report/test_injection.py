"""Names that a stranger chose are shown in the report, and do nothing."""

import types

import pytest
from report_pages import network, write_images
from test_html import read

import kerasgan as kg

IMAGE = "<img src=x onerror=alert(9)>"
SCRIPT = "</script><script>alert(9)</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report on a model whose name, recipe and rules are markup."""
    folder = tmp_path_factory.mktemp("report")
    samples = write_images(folder / "data", ["a", "b"])
    recipe = {"name": IMAGE, SCRIPT: "x", "generator": SCRIPT, "augment": {SCRIPT: IMAGE}}
    model = types.SimpleNamespace(generator=network(), recipe=recipe)
    path = kg.report.write(
        model,
        samples,
        folder / "report",
        rules={IMAGE: "epsilon", SCRIPT: "gradient"},
        card={"developed_by": [SCRIPT], "training": {IMAGE: SCRIPT}},
        images=1,
        verbose=False,
    )
    return path.read_text(encoding="utf-8"), read(path)


def test_no_markup_of_theirs_is_left(page):
    text, elements = page
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert not [e for e in elements.elements if any(key.startswith("on") for key in e[1])]
    assert not [e for e in elements.all("img") if e[1].get("src") == "x"]


def test_they_are_shown_all_the_same(page):
    _, elements = page
    shown = " ".join(e[2] for e in elements.elements if e[0] in ("h1", "td", "th", "dd", "dt"))
    assert IMAGE in shown
    assert SCRIPT in shown

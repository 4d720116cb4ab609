"""The app in a browser: headless Chromium, driven by Playwright."""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from browsers import SIZES, browser, violations  # noqa: F401
from PIL import Image

import kerasgan as kg

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("nicegui", reason="NiceGUI is not installed")

NAMES = ["<b>a & b", "second"]
READY = "text => document.querySelector('.kg-status').textContent.includes(text)"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of an app with two models and two images, and the process."""
    folder = tmp_path_factory.mktemp("app")
    kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1)).save(folder / "first")
    other = kg.models.unet(size=16, channels=1, classes=3, filters=2, levels=1)
    kg.SegmentationGAN(other).save(folder / "second")
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 20:40] = 255
        Image.fromarray(pixels).save(folder / "data" / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "data" / "masks" / f"{name}.png")
    (folder / "started").mkdir()
    words = [
        "app",
        folder / "first",
        folder / "second",
        "--images",
        folder / "data",
        "--port",
        "0",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "kerasgan", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder / "started",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    told = []
    for line in process.stderr:
        told.append(line)
        if found := re.search(r"http://\S+", line):
            break
    else:
        pytest.fail("".join(told))
    reader = threading.Thread(target=lambda: told.extend(process.stderr), daemon=True)
    reader.start()
    yield found[0], process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    reader.join(5)
    assert '"images": 2' in process.stdout.read()
    assert not [line for line in told if "Traceback" in line or "Error" in line], told
    assert os.listdir(folder / "started") == []
    process.stdout.close()
    process.stderr.close()


@pytest.fixture
def visit(browser, served):  # noqa: F811
    """Opens the app; fails if anything was said on the console or asked of other computers."""
    contexts, said, asked = [], [], []

    def opened(size="wide", scheme="light", **options):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served[0])
        page.wait_for_function(READY, arg="Explained")
        return page

    yield opened
    for context in contexts:
        context.close()
    host = served[0].split("/")[2]
    known = (f"http://{host}/", f"ws://{host}/", "data:", "blob:", "file:")
    assert [url for url in asked if not url.startswith(known)] == []
    assert said == []


def status(page):
    return page.locator(".kg-status").inner_text()


def choose(page, label, option):
    page.get_by_label(label, exact=True).select_option(label=option)


def test_a_visit_by_clicks(visit, tmp_path):
    page = visit()
    first, relevance, _, second = page.locator(".kg-picture").all()
    assert page.locator(".kg-names button").all_inner_texts() == NAMES
    assert "whole mask" in status(page)
    choose(page, "Beside it", "nothing")
    page.wait_for_function(READY, arg="By epsilon-gamma-box:")
    assert page.locator(".kg-picture:visible").count() == 2

    first.click(position={"x": 30, "y": 30})
    page.wait_for_function(READY, arg="Explained: the pixel in row")
    assert "probability at the point" in status(page)
    before = relevance.locator("img.pixelated").get_attribute("src")

    choose(page, "Rule", "epsilon")
    page.wait_for_function(READY, arg="By epsilon:")
    assert relevance.locator("img.pixelated").get_attribute("src") != before
    choose(page, "Beside it", "rule z-plus")
    page.wait_for_function(READY, arg="By z-plus")
    assert second.is_visible()
    page.get_by_label("Relevance of", exact=True).select_option(index=1)
    playwright.expect(page.locator("figcaption").nth(1)).to_contain_text("layer")

    choose(page, "Explain", "false negatives")
    page.wait_for_function(READY, arg="Explained: the false negatives")

    page.get_by_role("button", name="Paint over").click()
    box = first.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function(READY, arg="Before anything was painted over")
    choose(page, "Beside it", "before painting")
    page.wait_for_function(READY, arg="before painting")
    assert page.locator(".kg-picture:visible").count() == 4
    page.get_by_role("button", name="Restore").click()
    page.wait_for_function(
        "(text => text.includes('Explained') && !text.includes('Before'))"
        "(document.querySelector('.kg-status').textContent)"
    )

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a page").click()
    download.value.save_as(tmp_path / "seen.html")
    assert download.value.suggested_filename == "b_a_b.html"
    page.goto((tmp_path / "seen.html").as_uri())
    assert page.get_by_role("heading", level=1).inner_text() == NAMES[0]
    page.locator(".heat").first.hover()
    playwright.expect(page.locator(".read").first).to_contain_text("Row")


def test_two_models(visit, tmp_path):
    page = visit()
    assert page.locator(".kg-picture:visible").count() == 4
    for text in (
        "By first, epsilon",
        "By second, epsilon",
        "The Dice score of the masks of first and second is",
    ):
        assert text in status(page)
    for text in ("16 × 16 pixels", "second sees the image in grey", "first has 1 and second has 2"):
        assert page.get_by_text(text).first.is_visible()
    captions = page.locator("figcaption")
    for place in (1, 3):
        playwright.expect(captions.nth(place)).to_contain_text("of both pictures")
    page.get_by_role("checkbox", name="One scale").click()
    playwright.expect(captions.nth(1)).not_to_contain_text("of both pictures")
    choose(page, "Model", "second")
    page.wait_for_function(READY, arg="By second, epsilon-gamma-box: ")
    playwright.expect(captions.first).to_contain_text("second")
    choose(page, "Explain", "false negatives")
    playwright.expect(captions.nth(1)).to_contain_text("other classes than this model")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a page").click()
    download.value.save_as(tmp_path / "seen.html")
    page.goto((tmp_path / "seen.html").as_uri())
    assert page.get_by_role("heading", level=3).all_inner_texts()[:2] == ["second", "first"]
    assert violations(page) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_nobody_is_kept_out(visit, size, scheme):
    """Labels, contrast, landmarks, and everything within reach of the keyboard."""
    page = visit(size, scheme)
    assert violations(page) == {}
    page.get_by_role("button", name="Paint over").click()
    page.get_by_role("checkbox", name="Probability").click()
    page.get_by_text("Conservation table").click()
    page.get_by_text("Stabiliser").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    assert violations(page) == {}
    reached, hidden = set(), []
    for _ in range(40):
        page.keyboard.press("Tab")
        kind, outline, markup = page.evaluate(FOCUSED)
        reached.add(kind)
        if outline == "none" and kind != "body":
            hidden.append(markup)
    assert {"select", "kg-picture", "button"} <= reached
    assert hidden == []


FOCUSED = """() => {
  const e = document.activeElement;
  const kind = e.classList.contains("kg-picture") ? "kg-picture" : e.tagName.toLowerCase();
  return [kind, getComputedStyle(e).outlineStyle, e.outerHTML.slice(0, 200)];
}"""


def test_keyboard_and_search(visit):
    page = visit("narrow", "dark", has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["narrow"]["width"]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 200
    page.locator(".kg-picture").first.focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(READY, arg="row 7, column 16")  # of 32: one to the left, ten up
    page.locator(".kg-picture").first.tap(position={"x": 5, "y": 5})
    page.wait_for_function(READY, arg="row 1, column 1.")
    page.locator(".kg-names button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("figcaption").first).to_contain_text("second")
    names = page.locator(".kg-names button")
    playwright.expect(names.nth(1)).to_be_focused()
    assert [name.get_attribute("tabindex") for name in names.all()] == ["-1", "0"]
    names.nth(1).dblclick()  # the first click is overtaken by the second
    page.wait_for_function(READY, arg="Explained: the whole mask")
    assert names.nth(1).get_attribute("aria-current") == "true"
    names.nth(1).focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("figcaption").first).to_contain_text(NAMES[0])
    page.get_by_label("Search names").fill("SEC")
    playwright.expect(page.locator(".kg-names button")).to_have_count(1)
    page.locator(".kg-names").get_by_text("second", exact=True).click()
    playwright.expect(page.locator("figcaption").first).to_contain_text("second")


def test_what_is_dropped(visit, tmp_path):
    page = visit()
    files = {"evil.png": b"<svg onload='alert(1)'/>", "good.png": None}
    Image.new("RGB", (50, 30), (200, 10, 10)).save(tmp_path / "good.png")
    (tmp_path / "evil.png").write_bytes(files["evil.png"])
    page.locator("input[type=file]").set_input_files(tmp_path / "evil.png")
    playwright.expect(page.get_by_role("alert").first).to_contain_text("'evil.png' cannot be read")
    page.locator("input[type=file]").set_input_files(tmp_path / "good.png")
    playwright.expect(page.locator("figcaption").first).to_contain_text("good.png")


def test_a_hundred_requests_at_once(served, visit):
    address, process = served

    def ask(number):
        path = ("", "favicon.ico", "_nicegui_ws/socket.io/?transport=polling", "no/such/page")
        try:
            with urllib.request.urlopen(address + path[number % 4], timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return "refused"

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(100)))
    assert set(answers) <= {200, 400, 404, 503, "refused"}
    assert answers.count(200) > 25
    assert process.poll() is None
    visit()

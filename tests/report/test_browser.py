"""The report in a browser: headless Chromium, driven by Playwright."""

import os
import re
import shutil
import time

import pytest
from report_pages import network, write_images

import kerasgan as kg

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser():
    found = [os.environ.get("KERASGAN_CHROMIUM"), *map(shutil.which, NAMES)]
    found = next(filter(None, found), None)
    if found is None:
        pytest.skip("no Chromium found; set KERASGAN_CHROMIUM to its path")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    samples = write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(6)])
    folder = tmp_path_factory.mktemp("out") / "report"
    rules = ["z-plus", "epsilon"]
    return kg.report.write(network(), samples, folder, rules=rules, cases=4, verbose=False)


@pytest.fixture
def visit(browser):
    """Opens a page; fails if anything was said on the console or asked of the network."""
    contexts, said = [], []

    def opened(path, size="wide", scheme="light", **options):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    requests = []
    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def column(page, number):
    cells = page.locator(f"#table tbody tr:visible > :nth-child({number})").all_inner_texts()
    return [cell.strip() for cell in cells]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_it_opens_and_fits(visit, report, size, scheme):
    page = visit(report, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    page.wait_for_function(f"{broken} === 0")
    ground, ink = page.evaluate(
        "['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])"
    )
    luminances = sorted(map(luminance, (ground, ink)))
    assert (luminance(ground) < luminance(ink)) == (scheme == "dark")
    assert (luminances[1] + 0.05) / (luminances[0] + 0.05) > 12


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def test_small_print_has_contrast_too(visit, report):
    for scheme in ("light", "dark"):
        page = visit(report, "wide", scheme)
        worst = page.evaluate(CONTRAST)
        assert worst[0] >= 4.5, worst


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((p) => p / 255)
    .map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4))
    .reduce((s, p, i) => s + p * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99];
  const all = "p, li, dt, dd, th, td, span.badge, button, output, label";
  for (const e of document.querySelectorAll(all)) {
    if (!e.textContent.trim() || !e.offsetParent) continue;
    const pair = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const [a, b] = pair.sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.tagName, e.className, e.textContent.trim()];
  }
  return worst;
}"""


def test_the_theme_can_be_switched_and_is_kept(visit, report):
    page = visit(report)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) != before
    page.reload()
    assert page.evaluate(ground) != before
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(ground) == before


def test_the_table_sorts_and_filters(visit, report):
    page = visit(report)
    dice = page.get_by_role("button", name="Dice")
    start = [float(cell) for cell in column(page, 3)]
    dice.click()
    assert [float(cell) for cell in column(page, 3)] == sorted(start)
    head = page.locator("#table th[aria-sort=ascending]")
    assert head.inner_text().startswith("Dice")
    dice.press("Enter")
    assert [float(cell) for cell in column(page, 3)] == sorted(start, reverse=True)
    page.get_by_role("button", name="Name").click()
    assert column(page, 2) == [f"image_{i}" for i in range(6)]
    page.get_by_label("Name holds").fill("E_4")
    assert column(page, 2) == ["image_4"]
    assert page.locator("#shown").inner_text() == "1 of 6 shown"
    page.get_by_label("Name holds").fill("")
    limit = sorted(start)[2]
    page.get_by_label("Dice up to").fill(str(limit))
    assert all(float(cell) <= limit for cell in column(page, 3))
    assert len(column(page, 3)) < 6
    page.get_by_label("Dice up to").fill("")
    kind = column(page, 10)[0].split()[0]
    options = page.locator("#filter-kind option").all_inner_texts()
    chosen = next(option for option in options if option.startswith(kind))
    page.get_by_label("Finding").select_option(chosen)
    assert all(chosen in cell for cell in column(page, 10))


@pytest.mark.parametrize("size", list(SIZES))
def test_the_heatmap_changes_with_rule_layer_and_image(visit, report, size):
    page = visit(report, size)
    case = page.locator("article.case").first
    maps = case.locator(".map")
    first = maps.get_attribute("src")
    case.get_by_label("epsilon", exact=True).check()
    second = maps.get_attribute("src")
    assert second != first
    assert "rule epsilon" in maps.get_attribute("alt")
    depth = case.locator(".depth")
    depth.focus()
    depth.press("ArrowRight")
    assert maps.get_attribute("src") not in (first, second)
    assert case.locator(".where").inner_text().startswith("down_")
    assert "cells" in case.locator(".read").inner_text()
    depth.press("ArrowLeft")
    assert maps.get_attribute("src") == second
    opacity = "e => getComputedStyle(e).opacity"
    see = case.locator(".see")
    see.focus()
    see.press("End")
    assert case.locator(".under").evaluate(opacity) == "1"
    assert case.locator(".seen").inner_text() == "100 %"


def test_values_are_read_by_pointer_and_by_keys(visit, report):
    page = visit(report)
    case = page.locator("article.case").first
    heat, out = case.locator(".heat"), case.locator(".read")
    heat.scroll_into_view_if_needed()
    resting = out.inner_text()
    box = heat.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    row, column = int(0.6 * 32) + 1, int(0.3 * 32) + 1
    playwright.expect(out).to_contain_text(f"Row {row}, column {column}:")
    level, limit = page.evaluate(LEVEL, [row - 1, column - 1])
    text = out.inner_text()
    if level == 0:
        assert "no say" in text
    else:
        shown = float(re.search(r"([+-]?[\d.]+(?:e[+-]?\d+)?) \(", text).group(1))
        assert shown == pytest.approx(level / 63 * limit, rel=0.06)
        assert ("speaks for" in text) == (level > 0)
    page.mouse.move(1, 1)
    assert out.inner_text() == resting
    heat.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(out).to_contain_text("Row 17, column 17:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    playwright.expect(out).to_contain_text("Row 18, column 7:")
    page.keyboard.press("Escape")
    assert out.inner_text() == resting


LEVEL = """async ([row, column]) => {
  const map = JSON.parse(document.querySelector("article .maps").textContent)[0];
  const image = new Image();
  image.src = map.uri;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [map.width, map.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixel = [...context.getImageData(column, row, 1, 1).data.slice(0, 3)].join();
  const { colours, levels } = JSON.parse(document.querySelector("#palette").textContent);
  return [colours.findIndex((c) => c.join() === pixel) - levels, map.limit];
}"""


def test_keys_alone_reach_everything(visit, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className"))
    assert {"stack heat", "depth", "see", "sort"} <= reached


def test_it_prints_without_controls(visit, report):
    page = visit(report, "wide", "dark")
    page.emulate_media(media="print")
    assert page.locator(".controls:visible, nav:visible, .filters:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("article.case .map:visible").count() == 4
    assert page.pdf().startswith(b"%PDF")


def test_it_is_complete_without_scripts(visit, report):
    page = visit(report, java_script_enabled=False)
    assert page.locator("#table tbody tr").count() == 6
    assert page.locator("article.case .map").count() == 4
    assert page.locator(".controls:visible").count() == 0


@pytest.mark.slow
def test_two_thousand_images_open_in_three_seconds(visit, tmp_path):
    few = write_images(tmp_path / "data", [f"n{i}" for i in range(20)], size=(120, 150))
    many = few[[i % 20 for i in range(2000)]]
    many = kg.data.Samples(
        tuple(f"image_{i}" for i in range(2000)), many.image_paths, many.mask_paths, 1, None, 3
    )
    path = kg.report.write(network(), many, tmp_path / "report", cases=40, verbose=False)
    assert path.stat().st_size < 25e6
    start = time.monotonic()
    page = visit(path)
    assert page.locator("#table tbody tr").count() == 2000
    assert page.locator("article.case").count() == 40
    assert time.monotonic() - start < 3
    page.get_by_role("button", name="Dice").click()
    values = [float(cell) for cell in column(page, 3)]
    assert values == sorted(values)

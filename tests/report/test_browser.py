"""The report in a browser: headless Chromium, driven by Playwright."""

import json
import re
import time

import pytest
from browsers import SIZES, browser, violations  # noqa: F401
from report_pages import network, write_images

import kerasgan as kg

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    samples = write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(6)])
    folder = tmp_path_factory.mktemp("out") / "report"
    rules = ["z-plus", "epsilon"]
    return kg.report.write(network(), samples, folder, rules=rules, images=4, verbose=False)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    samples = write_images(tmp_path_factory.mktemp("data"), [f"image_{i}" for i in range(6)])
    models = {"small": network(size=16, seed=1), "large": network(seed=2)}
    folder = tmp_path_factory.mktemp("out") / "comparison"
    rules = ["z-plus", "epsilon"]
    return kg.report.compare(models, samples, folder, rules=rules, images=3, verbose=False)


@pytest.fixture(params=["report", "comparison"])
def either(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def visit(browser):  # noqa: F811
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
def test_it_opens_and_fits_and_keeps_nobody_out(visit, either, size, scheme):
    """Labels, contrast, landmarks; also of what opens by a click."""
    page = visit(either, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    page.wait_for_function(f"{broken} === 0")
    ground, ink = page.evaluate(
        "['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])"
    )
    luminances = sorted(map(luminance, (ground, ink)))
    assert (luminance(ground) < luminance(ink)) == (scheme == "dark")
    assert (luminances[1] + 0.05) / (luminances[0] + 0.05) > 12
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert violations(page) == {}


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


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
    page.get_by_label("Name contains").fill("E_4")
    assert column(page, 2) == ["image_4"]
    assert page.locator("#shown").inner_text() == "1 of 6 shown"
    page.get_by_label("Name contains").fill("")
    limit = sorted(start)[2]
    page.get_by_label("Dice at most").fill(str(limit))
    assert all(float(cell) <= limit for cell in column(page, 3))
    assert len(column(page, 3)) < 6
    page.get_by_label("Dice at most").fill("")
    kind = column(page, 10)[0].split()[0]
    options = page.locator("#filter-kind option").all_inner_texts()
    chosen = next(option for option in options if option.startswith(kind))
    page.get_by_label("Finding").select_option(chosen)
    assert all(chosen in cell for cell in column(page, 10))


@pytest.mark.parametrize("size", list(SIZES))
def test_the_heatmap_changes_with_rule_layer_and_image(visit, report, size):
    page = visit(report, size)
    article = page.locator("article.image").first
    maps, laid = article.locator(".map"), article.locator(".laid")
    first = maps.get_attribute("src")
    over = laid.get_attribute("src")
    article.get_by_label("epsilon", exact=True).check()
    second = maps.get_attribute("src")
    assert second != first
    assert "rule epsilon" in maps.get_attribute("alt")
    playwright.expect(laid).not_to_have_attribute("src", over)
    depth = article.locator(".depth")
    depth.focus()
    depth.press("ArrowRight")
    assert maps.get_attribute("src") not in (first, second)
    where = article.locator(".where").inner_text()
    assert where == "layer 1/1 (down_1)"
    assert "cells" in article.locator(".read").inner_text()
    depth.press("ArrowLeft")
    assert maps.get_attribute("src") == second
    opacity = "e => getComputedStyle(e).opacity"
    see = article.locator(".see")
    see.focus()
    see.press("End")
    assert article.locator(".under").evaluate(opacity) == "1"
    assert article.locator(".seen").inner_text() == "100 %"


def test_values_are_read_by_pointer_and_by_keys(visit, report):
    page = visit(report)
    article = page.locator("article.image").first
    heat, out = article.locator(".heat"), article.locator(".read")
    heat.scroll_into_view_if_needed()
    resting = out.inner_text()
    box = heat.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    row, column = int(0.6 * 32) + 1, int(0.3 * 32) + 1
    playwright.expect(out).to_contain_text(f"Row {row}, column {column}:")
    level, limit = page.evaluate(LEVEL, [row - 1, column - 1])
    text = out.inner_text()
    shown = float(re.search(r" ([+-]?[\d.]+(?:e[+-]?\d+)?)(?: \(|\.$)", text).group(1))
    assert shown == pytest.approx(level / 63 * limit, rel=0.06)
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


def test_keys_alone_reach_everything(visit, either):
    page = visit(either)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className"))
    assert {"stack heat", "depth", "see", "sort"} <= reached


def test_it_prints_without_controls(visit, either):
    page = visit(either, "wide", "dark")
    page.emulate_media(media="print")
    assert page.locator(".controls:visible, nav:visible, .filters:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    maps = page.locator("article.image .map")
    assert page.locator("article.image .map:visible").count() == maps.count() >= 4
    assert page.pdf().startswith(b"%PDF")


def test_it_is_complete_without_scripts(visit, report):
    page = visit(report, java_script_enabled=False)
    assert page.locator("#table tbody tr").count() == 6
    assert page.locator("article.image .map").count() == 4
    assert page.locator(".controls:visible").count() == 0


def test_the_table_of_a_comparison_sorts_and_filters(visit, comparison):
    page = visit(comparison)
    heads = [head.strip() for head in page.locator("#table thead th").all_inner_texts()]
    assert heads[1:] == [
        "Name", "True area", "Dice A", "Dice B", "B minus A", "Range", "Agreement", "Findings"
    ]  # fmt: skip
    number = heads.index("B minus A") + 1
    numbers = [float(cell.replace("\u2212", "-")) for cell in column(page, number)]
    assert len(set(numbers)) > 2
    page.get_by_role("button", name="B minus A").click()
    cells = [float(cell.replace("\u2212", "-")) for cell in column(page, number)]
    assert cells == sorted(numbers)
    apart = [float(cell) for cell in column(page, heads.index("Range") + 1)]
    assert apart == [abs(cell) for cell in cells]
    limit = sorted(apart)[3]
    page.get_by_label("Range at least").fill(str(limit))
    left = sum(value >= limit for value in apart)
    assert page.locator("#shown").inner_text() == f"{left} of 6 shown"
    page.get_by_label("Range at least").fill("")
    options = page.locator("#filter-kind option").all_inner_texts()[1:]
    for option in options:
        page.get_by_label("Finding").select_option(option)
        found = column(page, heads.index("Findings") + 1)
        assert found
        assert all(option in cell for cell in found)


def test_heatmaps_of_a_case_change_and_are_read_together(visit, comparison):
    page = visit(comparison)
    article = page.locator("article.image").first
    maps, reads = article.locator(".map"), article.locator(".read")
    sources = "all => all.map(one => one.src)"
    first = maps.evaluate_all(sources)
    article.get_by_label("epsilon", exact=True).check()
    second = maps.evaluate_all(sources)
    assert all(a != b for a, b in zip(first, second))
    article.locator(".heat").nth(1).focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(reads.nth(1)).to_contain_text("Row 17, column 17:")
    playwright.expect(reads.nth(0)).to_contain_text("Row 9, column 9:")
    assert article.locator(".cross:visible").count() == 2
    page.keyboard.press("Escape")
    assert article.locator(".cross:visible").count() == 0
    depth = article.locator(".depth")
    depth.focus()
    depth.press("ArrowRight")
    assert article.locator(".where").inner_text().startswith("layer 1 of ")
    assert all("at layer" in text for text in reads.all_inner_texts())


def test_one_scale_for_all_gives_one_value_one_colour(visit, comparison):
    page = visit(comparison)
    article = page.locator("article.image").first
    texts = article.locator(".maps").all_text_contents()
    limits = [json.loads(text)[0]["limit"] for text in texts]
    paler = limits.index(min(limits))
    own = [page.evaluate(PAINTED, place) for place in (0, 1)]
    assert [max(map(abs, levels)) for levels in own] == [63, 63]
    start = article.locator(".map").nth(paler).get_attribute("src")
    article.get_by_label("one scale for all").check()
    playwright.expect(article.locator(".map").nth(paler)).not_to_have_attribute("src", start)
    shared = [page.evaluate(PAINTED, place) for place in (0, 1)]
    assert shared[1 - paler] == own[1 - paler]
    ratio = min(limits) / max(limits)
    wanted = [level * ratio for level in own[paler]]
    assert all(abs(a - b) <= 0.5 + 1e-6 for a, b in zip(shared[paler], wanted))
    assert max(map(abs, shared[paler])) < 63
    article.get_by_label("own scale for each").check()
    assert article.locator(".map").nth(paler).get_attribute("src") == start


PAINTED = """async (place) => {
  const image = document.querySelector("article.image").querySelectorAll(".map")[place];
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { colours, levels } = JSON.parse(document.querySelector("#palette").textContent);
  const known = new Map(colours.map((colour, index) => [colour.join(), index - levels]));
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const level = (_, i) => known.get([...pixels.slice(4 * i, 4 * i + 3)].join());
  return Array.from({ length: pixels.length / 4 }, level);
}"""


@pytest.mark.slow
def test_two_thousand_images_open_in_three_seconds(visit, tmp_path):
    few = write_images(tmp_path / "data", [f"n{i}" for i in range(20)], size=(120, 150))
    many = few[[i % 20 for i in range(2000)]]
    many = kg.data.Samples(
        tuple(f"image_{i}" for i in range(2000)), many.image_paths, many.mask_paths, 1, None, 3
    )
    path = kg.report.write(network(), many, tmp_path / "report", images=40, verbose=False)
    assert path.stat().st_size < 25e6
    start = time.monotonic()
    page = visit(path)
    assert page.locator("#table tbody tr").count() == 2000
    assert page.locator("article.image").count() == 40
    assert time.monotonic() - start < 3
    page.get_by_role("button", name="Dice").click()
    values = [float(cell) for cell in column(page, 3)]
    assert values == sorted(values)

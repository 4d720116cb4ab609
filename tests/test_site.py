"""The documentation as its readers see it: the built site, served and opened in Chromium."""

import functools
import http.server
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from urllib.parse import urljoin, urlsplit

import pytest
from browsers import SIZES, browser, violations  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERSIONS = [
    {"version": "0.1", "title": "0.1", "aliases": ["latest"]},
    {"version": "0.0", "title": "0.0", "aliases": []},
]
QUIET = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that KERASGAN_SITE names, or the site built here."""
    if "KERASGAN_SITE" in os.environ:
        return pathlib.Path(os.environ["KERASGAN_SITE"]).resolve()
    needed = ("mkdocs", "material", "mkdocstrings", "mkdocs_glightbox")
    if not all(map(importlib.util.find_spec, needed)):
        pytest.skip('no site: set KERASGAN_SITE to its folder, or pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    made = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **QUIET}, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def address(site, tmp_path_factory):
    """Where the site is served, as mike lays it out: a folder a version."""
    place = tmp_path_factory.mktemp("served")
    (place / "0.1").symlink_to(site, target_is_directory=True)
    (place / "versions.json").write_text(json.dumps(VERSIONS))
    handler = functools.partial(Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/0.1/"
        server.shutdown()


@pytest.fixture(scope="module")
def pages(site):
    """The addresses of all pages within the site."""
    files = [file.relative_to(site).parent.as_posix() for file in site.rglob("index.html")]
    return sorted("" if file == "." else f"{file}/" for file in files)


@pytest.fixture
def visit(browser, address):  # noqa: F811
    """Opens pages; fails if any complained, or asked for anything that is missing or elsewhere."""
    contexts, said = [], []

    def opened(path="", size="wide", scheme="light"):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda r: r.status < 400 or said.append(f"{r.status}: {r.url}"))
        page.goto(address + path)
        return page

    asked = []
    yield opened
    for context in contexts:
        context.close()
    root = urljoin(address, "/")
    assert said == []
    assert [url for url in asked if not url.startswith((root, "data:", "blob:"))] == []


FAULTS = """async () => {
  const images = [...document.images];
  images.forEach((image) => { image.loading = "eager"; });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  const named = (list) => list.map((e) => e.getAttribute("src") || e.outerHTML.slice(0, 80));
  const width = document.documentElement.scrollWidth;
  return {
    "broken images": named(images.filter((i) => !i.naturalWidth)),
    "images without words": named(images.filter((i) => !i.alt.trim())),
    "headings of the first level": document.querySelectorAll("h1").length - 1,
    "pixels too wide": Math.max(0, width - innerWidth),
  };
}"""


@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_opens_and_fits(visit, address, pages, size):
    page = visit(size=size)
    found = {}
    for path in pages:
        page.goto(address + path)
        found[path] = {fault: what for fault, what in page.evaluate(FAULTS).items() if what}
    assert len(found) > 30
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_every_link_leads_somewhere(site, pages):
    ids, links = {}, []
    for path in pages:
        text = (site / path / "index.html").read_text(encoding="utf-8")
        ids[path] = set(re.findall(r'\bid="?([^"\s>]+)', text))
        links += [(path, url) for url in re.findall(r'<a\b[^>]*?\bhref="?([^"\s>]+)', text)]
    assert len(links) > 1000
    outside = {url for _, url in links if urlsplit(url).scheme}
    assert [url for url in outside if not re.match(r"https://[\w-]+(\.[\w-]+)+(/|$)", url)] == []
    lost = []
    for path, url in links:
        target = urlsplit(urljoin(f"http://site/{path}", url))
        where, anchor = target.path[1:], target.fragment
        if target.netloc != "site":
            continue
        if where in ids:
            if anchor and anchor not in ids[where]:
                lost.append((path, url))
        elif not (site / where).is_file():
            lost.append((path, url))
    assert lost == []


@pytest.mark.parametrize(
    ("word", "place"), [("epsilon", ""), ("resume", "resume/"), ("load_folder", "api/data/")]
)
def test_the_search_finds(visit, address, word, place):
    page = visit()
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type(word)
    hits = page.locator(".md-search-result__item a.md-search-result__link")
    hits.first.wait_for()
    assert any(place in href for href in (hit.get_attribute("href") for hit in hits.all()))
    heading = hits.first.locator("h1, h2").first.inner_text()
    hits.first.click()
    page.wait_for_url(lambda url: urlsplit(url).path != urlsplit(address).path)
    body = page.locator("article")
    body.wait_for()
    assert heading.rstrip("¶ ") in body.inner_text()
    assert word in body.inner_text()


def test_versions_can_be_chosen(visit):
    page = visit("quickstart/")
    page.locator(".md-version").wait_for()
    names = [name.strip() for name in page.locator(".md-version a").all_text_contents()]
    assert names == ["0.1", "0.0"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_of_the_pages(visit, scheme):
    page = visit("explain/", scheme=scheme)  # code, tables, pictures and links
    page.locator(".md-code__nav").first.wait_for(state="attached")
    assert violations(page) == {}

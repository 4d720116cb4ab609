"""A headless Chromium for tests of pages, or a skip that says why there is none."""

import os
import shutil

import pytest

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


def violations(page):
    """What axe-core finds wrong for people who cannot see, hear or use a mouse, by its rule."""
    base = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    page.evaluate(base.AXE_SCRIPT)
    found = page.evaluate("axe.run(document)")["violations"]
    return {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = [os.environ.get("KERASGAN_CHROMIUM"), *map(shutil.which, NAMES)]
    found = next(filter(None, found), None)
    if found is None:
        pytest.skip("no Chromium found; set KERASGAN_CHROMIUM to its path")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()

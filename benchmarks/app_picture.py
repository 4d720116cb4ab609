"""Take the picture of docs/app.md: the app with a model, used by clicks in a headless Chromium.

Example:
    python benchmarks/app_picture.py --model results/pretrained_0

The images are scenes that kerasgan draws. Needs the extra `app`, Playwright and a Chromium, which
KERASGAN_CHROMIUM names or the PATH has.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from PIL import Image
from playwright.sync_api import expect, sync_playwright
from results import ROOT

import kerasgan as kg

PICTURE = ROOT / "docs" / "assets" / "app.jpg"
SIZE = {"width": 1280, "height": 960}
SCENES = 6
LIMIT = 250_000
MINUTES = 10


@contextlib.contextmanager
def served(model, images):
    """Start the app, and give its address."""
    words = ["app", model, "--images", images, "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kerasgan", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        addresses = (re.search(r"http://\S+", line) for line in process.stderr)
        address = next(filter(None, addresses), None)
        if address is None:
            raise SystemExit("The app did not start: run `kerasgan app` to see why")
        yield address[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def opened(page, scene):
    """Open a scene; return the Dice score of its mask."""
    expect(page.locator(".kg-status")).to_contain_text("Explained: the whole mask")
    page.locator(".kg-names button").nth(scene).click()
    expect(page.locator("figcaption").first).to_contain_text(f"{scene:04d}")
    expect(page.locator(".kg-status")).to_contain_text("Explained: the whole mask")
    return float(re.search(r"Dice score is ([\d.]+)\.", page.locator(".kg-status").inner_text())[1])


def use(page, beside):
    """Open the scene whose mask is best, and ask for it by two rules."""
    status = page.locator(".kg-status")
    opened(page, max(range(SCENES), key=lambda scene: opened(page, scene)))
    page.get_by_label("Beside it", exact=True).select_option(label=f"rule {beside}")
    expect(status).to_contain_text(f"By {beside}")
    page.evaluate("document.activeElement.blur()")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="a run, a saved model or a bundle, of one foreground")
    add("--size", type=int, default=256, help="of the scenes, in pixels (256)")
    add("--seed", type=int, default=10**6, help="of the scenes (1000000, which no run draws)")
    add("--beside", default="z-plus", help="the second rule (z-plus)")
    args = parser.parse_args()
    chromium = os.environ.get("KERASGAN_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        scenes = pathlib.Path(folder) / "scenes"
        kg.data.synthetic.write_dataset(scenes, count=SCENES, size=args.size, seed=args.seed)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=1000 * 60 * MINUTES)
        with served(args.model, scenes) as address:
            page = browser.new_page(viewport=SIZE)
            page.goto(address)
            use(page, args.beside)
            taken = pathlib.Path(folder) / "taken.png"
            page.screenshot(path=taken)
            print(page.locator(".kg-status").inner_text())
        browser.close()
        with Image.open(taken) as picture:
            picture.convert("RGB").save(PICTURE, quality=85, subsampling=0, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")
    if PICTURE.stat().st_size > LIMIT:
        raise SystemExit(f"The picture is larger than {LIMIT / 1000:.0f} kB")


if __name__ == "__main__":
    main()

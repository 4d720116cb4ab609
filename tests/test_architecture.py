"""The drawing and the list of modules on the architecture page are those of the source files."""

import ast
import importlib.util
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ("docs/architecture.md", "CONTRIBUTING.md")
AGAIN = "run: python benchmarks/architecture.py --write"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        path = ROOT / "benchmarks" / "architecture.py"
        spec = importlib.util.spec_from_file_location("architecture", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return module


def test_the_drawing_is_that_of_the_imports(script):
    drawn = (ROOT / "docs" / "assets" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == script.drawing(script.imports()), AGAIN


def test_every_module_is_listed(script):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert script.tables() in page, AGAIN
    listed = len(re.findall(r"^\| `[\w/]+\.py` \|", script.tables(), re.MULTILINE))
    packages = [path.parent for path in (ROOT / "kerasgan").rglob("__init__.py")]
    modules = [path for folder in packages for path in folder.glob("*.py")]
    assert listed == len([path for path in modules if path.name != "__init__.py"])


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_on_the_page_exist(page):
    """Files in code exist, and define the name that follows them after a colon."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text.partition("<!-- modules:start -->")[0]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"`((?:[\w.]+/)+[\w.]+\.\w+)`(?::\s+`([\w.]+)`)?", text)
    assert len(found) > 10
    for file, name in found:
        path = next((p for p in (ROOT / file, ROOT / "kerasgan" / file) if p.is_file()), None)
        assert path, file
        if name:
            names = {name.rpartition(".")[2]}
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            defined = {getattr(node, "name", getattr(node, "id", "")) for node in nodes}
            assert names <= defined, f"{file}: {name}"

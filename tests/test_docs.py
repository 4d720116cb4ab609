"""The documentation keeps its word: its Python runs, its commands, paths and names exist."""

import ast
import inspect
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import warnings

import pytest
from stacks import by_stack

import kerasgan as kg

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
ROOMS = (kg.data, kg.models, kg.training, kg.inference, kg.explain, kg.evaluation, kg.report)


def blocks(page, language):
    """Return (line number, text) of the page's blocks in a language that are to be run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: match.start("text")].count("\n") + 1, textwrap.dedent(match["text"]).strip())
        for match in FENCE.finditer(text)
        if match["language"] == language and not match["reason"]
    ]


def named(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The folder `results` that the quickstart leaves, with a small network and few scenes."""
    folder = tmp_path_factory.mktemp("quickstart")
    script = [sys.executable, str(ROOT / "examples" / "quickstart.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*script, "--count=48", "--epochs=1", "--filters=4"],
        cwd=folder,
        env=environment,
        check=True,
        timeout=1200,
    )
    return folder / "results"


@pytest.mark.parametrize("page", by_stack((p for p in PAGES if blocks(p, "python")), named))
def test_python_runs(page, quickstart, tmp_path, monkeypatch):
    """Every block runs as it is printed, in order; what the quickstart wrote is there.

    Only training is cut short: a call of `fit` ends after three epochs.
    """
    fit = kg.SegmentationGAN.fit

    def short(*args, epochs=1, **options):
        return fit(*args, epochs=min(epochs, 3), **options)

    monkeypatch.setattr(kg.SegmentationGAN, "fit", short)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(quickstart)
    namespace = {"__name__": "docs"}
    for line, code in blocks(page, "python"):
        with warnings.catch_warnings():
            # A network trained for one epoch may predict nothing, and cannot be calibrated.
            for message in ("The target is empty", "No temperature from", ".* unlike the training"):
                warnings.filterwarnings("ignore", message, kg.KerasganWarning)
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def test_code_on_the_first_page_is_short():
    (_, code), *others = blocks(ROOT / "README.md", "python")
    assert not others
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_the_front_page_of_the_docs_has_the_code_of_the_readme():
    ((_, code),) = blocks(ROOT / "README.md", "python")
    assert f"```python\n{code}\n```" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_scripts_and_their_options_exist(page):
    shared = "".join(
        (ROOT / file).read_text(encoding="utf-8")
        for file in ("examples/common.py", "kerasgan/cli/command.py")
    )
    for script, rest in re.findall(r"python (examples/\w+\.py)([^\n`|]*)", page.read_text("utf-8")):
        assert (ROOT / script).is_file(), script
        source = (ROOT / script).read_text(encoding="utf-8") + shared
        for option in re.findall(r"--[\w-]+", rest):
            assert f'"{option}"' in source, f"{script} has no option {option}"


def test_links_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_pictures_are_small():
    pictures = [
        *(ROOT / "docs" / "assets").glob("*.png"),
        *(ROOT / "docs" / "assets").glob("*.jpg"),
    ]
    assert pictures
    assert {p.name: p.stat().st_size for p in pictures if p.stat().st_size > 400_000} == {}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.rpartition(".")[2])
def test_every_public_name_is_in_the_reference(room):
    page = ROOT / "docs" / "api" / f"{room.__name__.rpartition('.')[2]}.md"
    shown = re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {getattr(_resolve(name), "__qualname__", name) for name in shown}
    wanted = {value.__qualname__ for value in _public(room)}
    assert wanted - shown == set()
    assert shown - wanted == set()


def test_no_page_is_left_out_of_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]]
    assert [page for page in pages if f": {page}\n" not in menu] == []


def _public(module):
    """Everything in `__all__`, that of modules in it included."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from _public(value)
        else:
            yield value


def _resolve(name):
    """The object behind a dotted name; a function before the module of that name."""
    value = kg
    for part in name.split(".")[1:]:
        value = getattr(value, part, value)
    return value


def test_the_default_rule_is_the_one_that_was_measured_to_be():
    default = kg.explain.methods.DEFAULT_RULE
    page = (ROOT / "docs" / "benchmark-rules.md").read_text(encoding="utf-8")
    assert re.findall(r"\*\*`([\w-]+)`\*\*", page) == [default]
    found = {}
    for value in {id(value): value for room in ROOMS for value in _public(room)}.values():
        parameters = inspect.signature(value).parameters if callable(value) else {}
        for name in {"rule", "rules", "default"} & set(parameters):
            found[f"{value.__name__}: {name}"] = parameters[name].default
    found = {name: rule for name, rule in found.items() if rule is not inspect.Parameter.empty}
    other = {name: rule for name, rule in found.items() if rule != default}
    assert len(found) - len(other) > 10
    assert other == {
        "Explanation: rule": "",  # of a file that does not say
        "RelevancePenalty: rule": "epsilon",  # trained with, not looked at: the cheapest
        "advise: rules": kg.evaluation.advise.__globals__["RULES"],
        "compare: rules": (default, "epsilon"),
        "write: rules": (default, "epsilon"),
    }


def test_every_promise_is_held_by_a_test_that_runs():
    """Named tests exist and run; those and only those called slow are slow."""
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named_tests = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`( \*slow\*)?", page)
    assert len(named_tests) > 30
    for file, name, slow in named_tests:
        assert what_is_wrong(ROOT / file, name, bool(slow)) == "", f"{file}::{name}"


def what_is_wrong(file, name, slow):
    """Say why a test cannot hold a promise; nothing if it can."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    marks = [
        ast.unparse(x) for x in module.body if "pytestmark" in ast.unparse(x).partition("=")[0]
    ]
    body = module.body
    for part in name.split("::"):
        found = [node for node in body if getattr(node, "name", "") == part]
        if len(found) != 1:
            return "does not exist"
        marks += map(ast.unparse, found[0].decorator_list)
        body = found[0].body
    if re.search(r"mark\.(skip|xfail)\b", " ".join(marks)) or "pytest.skip(" in ast.unparse(
        body[:2]
    ):
        return "never runs"
    return "" if ("mark.slow" in " ".join(marks)) == slow else f"is marked {marks}"

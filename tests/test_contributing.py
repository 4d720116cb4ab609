"""The first steps of CONTRIBUTING.md, taken as printed on a copy of the repository."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
TAKEN = ("kerasgan", "tests", "docs/api", "pyproject.toml")
NAMES = """
import pathlib

import kerasgan as kg


def test_names():
    assert pathlib.Path(kg.__file__).parents[1] == pathlib.Path.cwd()
    assert "absolute" in kg.explain.rule_names()
    assert "tiny" in kg.recipes.names()
    assert kg.explain.Absolute.__doc__
"""


def blocks(text, language):
    """Return the fenced blocks of a language, without their indent."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def test_a_rule_and_a_recipe_are_added_as_printed(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in TAKEN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    changes = blocks(text, "diff")
    assert len(changes) == 6
    for change in changes:
        patch = tmp_path / "change.diff"
        patch.write_text(change, encoding="utf-8")
        git = ["git", "apply", "--unidiff-zero", patch.name]
        done = subprocess.run(git, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + change
    commands = [line for block in blocks(text, "bash") for line in block.splitlines()]
    tests = {line.split()[1] for line in commands if line.startswith("pytest tests/")}
    assert {"tests/explain/test_rules.py", "tests/training/test_recipes.py"} <= tests
    assert all((tmp_path / test.partition("::")[0]).is_file() for test in tests)
    one = {test for test in tests if "::" in test}
    assert one == {"tests/explain/test_rules.py::test_by_hand"}
    added = re.findall(r"^\+def (test_\w+)", "".join(changes), re.MULTILINE)
    assert len(added) == 1
    names = tmp_path / "tests" / "test_names.py"
    names.write_text(NAMES, encoding="utf-8")
    wanted = [names, *sorted(one), f"tests/training/test_recipes.py::{added[0]}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *map(str, wanted)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout

import importlib.util
import pathlib
import re
import shutil

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "release.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="an sdist has no .ci")


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(release, tmp_path):
    """The files that state the version, to be changed."""
    for place in release.PLACES:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    release.write(tmp_path, "0.7.0", None)
    return tmp_path


def change(copy, place, old, new):
    path = copy / place
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_one_version_is_told_everywhere(release):
    assert release.check(ROOT) == []


def test_a_version_is_released_and_the_next_one_begun(release, copy):
    (unreleased,) = release.check(copy, "v0.7.0")
    assert "no day" in unreleased
    before = release.notes(copy)
    release.write(copy, "0.7.0", "2031-02-03")
    assert release.check(copy, "v0.7.0") == []
    assert release.notes(copy) == before
    assert "\nversion: 0.7.0\ndate-released: 2031-02-03\n" in (copy / "CITATION.cff").read_text()
    assert "{2031}" in (copy / "docs" / "citing.md").read_text("utf-8")
    release.write(copy, "0.8.0", None)
    assert release.check(copy) == []
    assert release.notes(copy) == ""
    text = (copy / "CHANGELOG.md").read_text("utf-8")
    assert "\n## 0.8.0 (unreleased)\n\n## 0.7.0 (2031-02-03)\n" in text
    assert "date-released" not in (copy / "CITATION.cff").read_text()
    release.write(copy, "0.8.0", "2031-04-05")
    assert "says nothing about 0.8.0" in release.check(copy, "v0.8.0")[0]


@pytest.mark.parametrize(
    ("place", "old", "new", "told"),
    [
        ("kerasgan/_version.py", "0.7.0", "0.7.1", "different versions"),
        ("CITATION.cff", "version: 0.7.0", "version: 0.6.0", "CITATION.cff: 0.6.0"),
        ("docs/citing.md", "{0.7.0}", "{0.6.0}", "docs/citing.md: 0.6.0"),
        ("CHANGELOG.md", "## 0.7.0 (unreleased)", "## 0.7.0", "different versions|no version"),
        ("CHANGELOG.md", "(unreleased)", "(2031-02-03)", "date-released of CITATION.cff"),
        ("CITATION.cff", "version: 0.7.0\n", "", "CITATION.cff states no version"),
    ],
)
def test_what_does_not_agree_is_named(release, copy, place, old, new, told):
    change(copy, place, old, new)
    assert any(re.search(told, problem) for problem in release.check(copy))


def test_a_tag_of_another_version_is_refused(release, copy):
    release.write(copy, "0.7.0", "2031-02-03")
    (told,) = release.check(copy, "v0.7.1")
    assert "v0.7.0 was expected" in told


@pytest.mark.parametrize(
    ("version", "date"), [("1.0", None), ("v1.0.0", None), ("1.0.0", "3.2.31"), ("1.0.0", "")]
)
def test_what_is_no_version_or_day_is_refused(release, version, date):
    assert len(release.wrong(version, date)) == 1

import importlib.metadata
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from kerasgan._version import __version__

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOCAL = (".*", "*.egg-info", "__pycache__", "build", "dist", "results", "site", "venv")


def run(*arguments, cwd, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment = {**inherited, **environment}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True,
        text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that holds the sdist and the wheel made from it, both built offline."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "kerasgan", ignore=shutil.ignore_patterns(*LOCAL))
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    made = run("-c", build, cwd=folder / "kerasgan")
    assert made.returncode == 0, made.stderr
    (sdist,) = folder.glob("*.tar.gz")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "-w", folder]
    made = run("-m", "pip", "wheel", *options, sdist, cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


def test_the_sdist_holds_all_that_a_contributor_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "pyproject.toml", "mkdocs.yml", "examples/quickstart.py"}
    assert wanted | {"tests/test_packaging.py", "docs/index.md"} <= names


def test_every_dependency_is_bounded(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    wanted = [line.partition(";")[0] for line in lines if line.startswith("Requires-Dist:")]
    assert len(wanted) > 20
    assert not [line for line in wanted if "<" not in line and "==" not in line]


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    inside = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "kerasgan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == sources
    assert "kerasgan/py.typed" in inside
    assert "Requires-Python: " in metadata
    extras = set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE))
    assert extras == {"all", "coco", "dicom", "docs", "gpu", "nifti", "onnx", "test", "video"}


def test_the_installed_wheel_imports_in_silence(built):
    (wheel,) = built.glob("*.whl")
    target = built / "target"
    options = ["--no-deps", "--no-index", "--quiet", "--target", target]
    installed = run("-m", "pip", "install", *options, wheel, cwd=built)
    assert installed.returncode == 0, installed.stderr
    code = "import kerasgan; print(kerasgan.__file__)"
    imported = run("-c", code, cwd=built, PYTHONPATH=str(target))
    assert (imported.returncode, imported.stderr) == (0, "")
    assert pathlib.Path(imported.stdout.strip()) == target / "kerasgan" / "__init__.py"


@pytest.mark.parametrize("start", [".", "kerasgan", "kerasgan/docs"])
def test_an_editable_install_is_found_from_any_folder(built, start):
    """In the folder that holds the repository, too, where a folder has the package's name."""
    editable = built / "editable"
    if not editable.exists():
        editable.mkdir()
        build = f"from setuptools import build_meta; build_meta.build_editable({str(editable)!r})"
        made = run("-c", build, cwd=built / "kerasgan")
        assert made.returncode == 0, made.stderr
        (wheel,) = editable.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(editable)
    code = (
        f"import importlib.util, site; site.addsitedir({str(editable)!r}); "
        "print(importlib.util.find_spec('kerasgan').origin)"
    )
    found = run("-S", "-c", code, cwd=built / start, PYTHONPATH="")
    assert found.stdout.strip() == str(built / "kerasgan" / "kerasgan" / "__init__.py")


def test_one_version_is_told_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text()


def check(monkeypatch, python=(3, 11), tensorflow="2.14.1", keras="2.14.0"):
    versions = {"tensorflow": tensorflow, "keras": keras}

    def version(name):
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    monkeypatch.setattr(importlib.metadata, "version", version)
    runpy.run_path(str(ROOT / "kerasgan" / "_requirements.py"))


@pytest.mark.parametrize("python", [(3, 9), (3, 10), (3, 11)])
@pytest.mark.parametrize("tensorflow", ["2.14.0", "2.14.1"])
def test_what_works_is_let_through(monkeypatch, python, tensorflow):
    check(monkeypatch, python, tensorflow)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"python": (3, 8)}, "runs on Python 3.9, 3.10 and 3.11, but this is Python 3.8: install"),
        ({"python": (3, 12)}, "but this is Python 3.12: install one of those"),
        ({"python": (4, 0)}, "but this is Python 4.0: install one of those"),
        ({"tensorflow": "2.13.1"}, "TensorFlow 2.14, but 2.13.1 is installed: run `pip install"),
        ({"tensorflow": "2.16.0"}, "TensorFlow 2.14, but 2.16.0 is installed: run `pip install"),
        ({"tensorflow": None}, "TensorFlow 2.14, but none is installed: run `pip install"),
        ({"keras": "3.5.0"}, "Keras 2.14, but 3.5.0 is installed: run `pip install"),
    ],
)
def test_what_cannot_work_is_named_in_one_sentence(monkeypatch, wrong, message):
    with pytest.raises(ImportError, match=re.escape(message)) as caught:
        check(monkeypatch, **wrong)
    assert re.fullmatch(r"kerasgan runs on [^\n]*\.", str(caught.value))


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        ("sys.version_info = (3, 12, 1, 'final', 0)", "this is Python 3.12"),
        ("importlib.metadata.version = lambda name: '2.16.1'", "TensorFlow 2.14, but 2.16.1"),
    ],
)
def test_the_check_comes_before_any_other_import(fake, message):
    code = f"import importlib.metadata, sys; sys.modules['tensorflow'] = None; {fake}; "
    failed = run("-c", code + "import kerasgan", cwd=ROOT)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("ImportError: kerasgan runs on ")
    assert message in failed.stderr

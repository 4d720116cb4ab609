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

from kerasgan import stack

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
    wanted = "all app coco dicom docs gpu highdicom imagenet nifti onnx test video"
    assert extras == set(wanted.split())


def test_the_installed_wheel_imports_in_silence(built):
    (wheel,) = built.glob("*.whl")
    target = built / "target"
    options = ["--no-deps", "--no-index", "--quiet", "--target", target]
    installed = run("-m", "pip", "install", *options, wheel, cwd=built)
    assert installed.returncode == 0, installed.stderr
    code = "import kerasgan; kerasgan.models; print(kerasgan.__file__)"
    imported = run("-W", "error", "-c", code, cwd=built, PYTHONPATH=str(target))
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


def check(monkeypatch, python=(3, 11), tensorflow="2.14.1", keras="2.14.0", **others):
    versions = {"tensorflow": tensorflow, "keras": keras, **others}

    def version(name):
        if versions.get(name) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    monkeypatch.setattr(importlib.metadata, "version", version)
    runpy.run_path(str(ROOT / "kerasgan" / "_requirements.py"))


@pytest.mark.parametrize(
    "installed",
    [
        *(
            {"python": (3, minor), "tensorflow": tensorflow}
            for minor in (9, 10, 11)
            for tensorflow in ("2.14.0", "2.14.1")
        ),
        *(
            {"python": (3, minor), "tensorflow": tensorflow, "keras": keras}
            for minor in (11, 12, 13)
            for tensorflow, keras in [("2.16.2", "3.5.0"), ("2.21.0", "3.15.1"), ("2.30", "3.20")]
        ),
        {"python": (3, 12), "tensorflow": "2.19.0", "keras": "3.10.0", "tf-keras": "2.19.0"},
        {"tensorflow": None, "tensorflow-cpu": "2.14.1"},
        {"python": (3, 13), "tensorflow": "2.21.0rc1", "keras": "3.6.0"},
    ],
)
def test_what_works_is_let_through(monkeypatch, installed):
    check(monkeypatch, **installed)


BOTH = "TensorFlow 2.14 with Keras 2.14, or on TensorFlow 2.16 or later with Keras 3.5 or later"
TODAYS = {"python": (3, 12), "tensorflow": "2.21.0", "keras": "3.15.1"}


@pytest.mark.parametrize(
    ("wrong", "found", "mended"),
    [
        ({"tensorflow": "2.13.1"}, "TensorFlow 2.13.1 and Keras 2.14.0 are", "2.15"),
        ({"tensorflow": "2.15.1", "keras": "2.15.0"}, "TensorFlow 2.15.1 and Keras 2.15.0", "2.15"),
        ({"tensorflow": "2.16.0"}, "TensorFlow 2.16.0 and Keras 2.14.0 are", "2.15"),
        ({"tensorflow": None}, "TensorFlow (none) and Keras 2.14.0 are", "2.15"),
        ({"keras": None}, "TensorFlow 2.14.1 and Keras (none) are", "2.15"),
        ({"keras": "3.5.0"}, "TensorFlow 2.14.1 and Keras 3.5.0 are", '"keras>=3.5"'),
        ({**TODAYS, "keras": "2.14.0"}, "TensorFlow 2.21.0 and Keras 2.14.0 are", '"keras>=3.5"'),
        ({**TODAYS, "keras": "3.4.1"}, "TensorFlow 2.21.0 and Keras 3.4.1 are", '"keras>=3.5"'),
        ({**TODAYS, "keras": "4.0.0"}, "TensorFlow 2.21.0 and Keras 4.0.0 are", '"keras>=3.5'),
        ({**TODAYS, "keras": None, "tf-keras": "2.21.0"}, "and Keras (none) are", '"keras>=3.5'),
        ({**TODAYS, "tensorflow": None}, "TensorFlow (none) and Keras 3.15.1", '"tensorflow>=2.16'),
    ],
)
def test_mixtures_are_named_in_one_sentence_with_what_mends_them(monkeypatch, wrong, found, mended):
    with pytest.raises(ImportError) as caught:
        check(monkeypatch, **wrong)
    said = str(caught.value)
    assert BOTH in said
    assert found in said
    assert mended in said.partition("`pip install")[2]
    assert re.fullmatch(r"kerasgan runs on [^\n]*\.", said)


@pytest.mark.parametrize("python", [(3, 8), (3, 14), (4, 0)])
def test_other_pythons_are_named_in_one_sentence(monkeypatch, python):
    with pytest.raises(ImportError) as caught:
        check(monkeypatch, python)
    assert "this is Python {}.{}: install".format(*python) in str(caught.value)
    assert re.fullmatch(r"kerasgan runs on Python 3.9 to 3.13[^\n]*\.", str(caught.value))


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        ("sys.version_info = (3, 14, 1, 'final', 0)", "this is Python 3.14"),
        ("importlib.metadata.version = lambda name: '2.15.1'", "but TensorFlow 2.15.1"),
        ("os.environ['KERAS_BACKEND'] = 'jax'", "this is 'jax'"),
        ("os.environ['KERAS_BACKEND'] = 'torch'", "this is 'torch'"),
    ],
)
def test_the_check_comes_before_any_other_import(fake, message):
    code = f"import importlib.metadata, os, sys; sys.modules['tensorflow'] = None; {fake}; "
    failed = run("-c", code + "import kerasgan", cwd=ROOT)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("ImportError: kerasgan runs on ")
    assert message in failed.stderr


def test_a_backend_set_in_the_settings_of_keras(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    tried = run("-c", "import kerasgan", cwd=ROOT, KERAS_HOME=str(tmp_path))
    if stack.KERAS_3:
        assert "ImportError: kerasgan runs on Keras' backend" in tried.stderr.splitlines()[-1]
    else:
        assert (tried.returncode, tried.stderr) == (0, "")


def test_importing_is_silent_where_legacy_keras_is_asked_for():
    code = "import kerasgan; kerasgan.models"
    tried = run("-W", "error", "-c", code, cwd=ROOT, TF_USE_LEGACY_KERAS="1")
    assert (tried.returncode, tried.stdout, tried.stderr) == (0, "", "")


def test_notices_can_be_seen():
    tried = run("-c", "import kerasgan", cwd=ROOT, TF_CPP_MIN_LOG_LEVEL="0")
    assert "rebuild TensorFlow" in tried.stderr or "oneDNN" in tried.stderr

"""Whatever comes in ends in a result or a KerasganError: nothing else, nowhere else, in time."""

import resource
import sys

import fuzz_files as files
import fuzz_models as models
import pytest
from fuzz_place import Place, fuzz

# What is broken, how it is read, and the cases of the default and of the slow run.
KINDS = {
    "pictures": (files.picture_cases, files.check_picture, 120, 4000, ""),
    "folders": (files.folder_cases, files.check_folder, 20, 300, ""),
    "lists": (files.list_cases, files.check_list, 50, 1000, ""),
    "recipes": (files.recipe_cases, files.check_recipe, 50, 1000, ""),
    "coco": (files.coco_cases, files.check_coco, 40, 900, "pycocotools"),
    "dicom": (files.dicom_cases, files.check_dicom, 30, 700, "pydicom"),
    "nifti": (files.nifti_cases, files.check_nifti, 30, 600, "nibabel"),
    "films": (files.film_cases, files.check_film, 10, 150, "av"),
    "grey": (files.grey_cases, files.check_grey, 15, 200, ""),
    "progress": (files.progress_cases, files.check_progress, 15, 200, ""),
    "networks": (models.network_cases, models.check_network, 20, 450, ""),
    "bundles": (models.bundle_cases, models.check_bundle, 20, 350, ""),
    "models": (models.model_cases, models.check_model, 4, 100, ""),
    "states": (models.state_cases, models.check_state, 0, 50, ""),
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="hangs are told by SIGALRM")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


@pytest.fixture(autouse=True)
def _a_folder(tmp_path, monkeypatch):
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][2]])
def test_some(kind, place):
    strategy, check, few, _, library = KINDS[kind]
    pytest.importorskip(library or "kerasgan")
    fuzz(strategy, check, few, place)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand(kind, place):
    strategy, check, _, many, library = KINDS[kind]
    pytest.importorskip(library or "kerasgan")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = fuzz(strategy, check, many, place)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n{kind}: {dict(counts)}, memory grown by {grown:.0f} MiB at most")
    assert grown < 1024

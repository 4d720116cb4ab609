"""Checks of arguments: what is taken, what comes back, and what the error says."""

import fractions
import inspect
import math
import operator
import os
import pathlib

import numpy as np
import pandas as pd
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan import validation
from kerasgan.evaluation.benchmark import COLUMNS

NO_NUMBERS = [None, True, np.True_, "3", b"3", [3], {}, 3j, np.zeros(2), object()]
NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf"), 10**400]


@pytest.mark.parametrize("value", [2, np.int8(2), np.uint64(2), np.int64(2)])
def test_whole_number_of_any_kind_becomes_a_python_int(value):
    checked = validation.check_whole_number("count", value, 1)
    assert checked == 2
    assert type(checked) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE, 2.0, np.float32(2), 0, -1, 2**63])
def test_what_is_no_whole_number_of_the_range_is_refused(value):
    with pytest.raises(kg.KerasganError, match=r"^Argument 'count' must be .* from 1 up. Received"):
        validation.check_whole_number("count", value, 1)


@pytest.mark.parametrize(("value", "taken"), [(2, True), (5, True), (1, False), (6, False)])
def test_bounds_of_a_whole_number_belong_to_it(value, taken):
    if taken:
        assert validation.check_whole_number("k", value, 2, 5, "of folds") == value
    else:
        words = f"Argument 'k' must be a whole number of folds from 2 to 5. Received: {value}$"
        refused(words, validation.check_whole_number, "k", value, 2, 5, "of folds")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(2, int), (np.int16(2), int), (2.0, float), (np.float32(2), float)]
    + [(np.float16(2), float), (fractions.Fraction(4, 2), float)],
)
def test_number_of_any_kind_becomes_a_python_number(value, kind):
    checked = validation.check_number("scale", value, above=0)
    assert checked == 2
    assert type(checked) is kind


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE])
def test_what_is_no_finite_number_is_refused_without_bounds(value):
    refused(r"'scale' must be a finite number. Received: ", validation.check_number, "scale", value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"least": 0}, [0, 1e9], [-1e-9], "from 0 up"),
        ({"above": 0}, [1e-9], [0, -1], "above 0"),
        ({"most": 1}, [-5, 1], [1.001], "up to 1"),
        ({"least": 0, "most": 1}, [0, 1], [-0.1, 1.1], "from 0 to 1"),
        ({"least": 0, "below": 1}, [0, 0.999], [1], "from 0 up and below 1"),
        ({"above": 0, "below": 1}, [0.5], [0, 1], "above 0 and below 1"),
        ({"above": 0, "most": 2}, [2], [0, 2.1], "above 0 and up to 2"),
    ],
)
def test_bounds_of_a_number(bounds, inside, outside, words):
    assert [validation.check_number("x", value, **bounds) for value in inside] == inside
    for value in outside:
        with pytest.raises(kg.KerasganError, match=f"a finite number {words}. Received: {value}"):
            validation.check_number("x", value, **bounds)


@pytest.mark.parametrize("value", [2, np.float32(2), (2, 2), [2.0, 2], np.array([2, 2])])
def test_one_number_stands_for_a_pair(value):
    assert validation.check_pair("spacing", value, above=0) == (2, 2)


@pytest.mark.parametrize("value", [None, "ab", 0, (1, 0), (1, math.nan), (1, 2, 3), (True, 1), []])
def test_what_is_no_pair_is_refused(value):
    with pytest.raises(kg.KerasganError, match=r"above 0, or two of them, \(height, width\)"):
        validation.check_pair("spacing", value, above=0)


@pytest.mark.parametrize(
    ("value", "size"),
    [(8, (8, 8)), (np.int32(8), (8, 8)), ((8, 9), (8, 9)), ([8, np.int64(9)], (8, 9))],
)
def test_size_is_a_side_or_height_and_width(value, size):
    checked = validation.check_size("size", value)
    assert checked == size
    assert {*map(type, checked)} == {int}


@pytest.mark.parametrize("value", [None, True, 0, 7, 8.0, "88", (8,), (8, 7), (8, 8, 3), (8, True)])
def test_what_is_no_size_is_refused(value):
    refused(r"^Argument 'size' must be .* from 8 up", validation.check_size, "size", value, least=8)


def test_choice_is_returned_as_it_is_listed():
    assert validation.check_choice("channels", np.int64(3), [1, 3, None]) == 3
    assert validation.check_choice("channels", None, [1, 3, None]) is None
    assert type(validation.check_choice("mode", np.str_("window"), ["window"])) is str


@pytest.mark.parametrize("value", [True, 2, "1", [1], np.array([1, 3]), np.zeros(0), {}, math.nan])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(kg.KerasganError, match=r"'channels' must be one of 1, 3, None. Received"):
        validation.check_choice("channels", value, [1, 3, None])


def test_the_nearest_choice_is_named():
    with pytest.raises(kg.KerasganError, match=r"Received: 'windw'. Did you mean 'window'?"):
        validation.check_choice("mode", "windw", ["window", "stretch"])


def test_what_is_long_is_not_shown_whole():
    shape = "Received: ndarray of shape (60, 50)"
    assert str(validation.invalid("a", "small", np.ones((60, 50)))).endswith(shape)
    for long in ([1.5] * 999, (np.ones((9, 9, 9)),)):
        text = str(validation.invalid("a", "small", long))
        assert len(text) < 400
        assert "\n" not in text


def test_text():
    assert validation.check_text("title", "") == ""
    refused(r"'title' must be a text. Received: 3", validation.check_text, "title", 3)


def test_paths(tmp_path):
    assert validation.check_path("out", os.fsencode(tmp_path / "é").decode()) == tmp_path / "é"
    assert validation.check_folder("out", str(tmp_path)) == tmp_path
    for value in (None, 3, "", [str(tmp_path)], b"bytes"):
        refused(r"'out' must be a path. Received: ", validation.check_path, "out", value)
    (tmp_path / "file").touch()
    for name, what in (("file", "a file"), ("gone", "not there")):
        with pytest.raises(kg.KerasganError, match=rf"must be a folder. .*{name} \({what}\)"):
            validation.check_folder("out", pathlib.Path(tmp_path, name))


# --- Seeds ---

ROOMS = ("data", "data.synthetic", "data.planted", "models", "training", "recipes", "explain")
ROOMS = (*ROOMS, "inference", "evaluation", "report")


def seeded_functions():
    """Names of all that is public and takes a seed, methods as well."""
    names = []
    for room in ROOMS:
        module = operator.attrgetter(room)(kg)
        found = [(f"{room}.{name}", getattr(module, name)) for name in module.__all__]
        for name, value in list(found):
            if inspect.isclass(value):
                methods = inspect.getmembers(value, inspect.isfunction)
                found += [(f"{name}.{key}", method) for key, method in methods if key[0] != "_"]
        for name, value in found:
            error = inspect.isclass(value) and issubclass(value, Exception)
            if callable(value) and not error and "seed" in inspect.signature(value).parameters:
                names.append(name)
    return names


@pytest.fixture(scope="module")
def seeded_arguments(tmp_path_factory):
    """What comes before the seed, for what needs something."""
    samples = kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("s"), count=4, size=32)
    table = pd.DataFrame({"name": ["a", "b"], "dice": [0.5, 0.7]})
    maps = pd.DataFrame([("a", "m", "rule", "x", 1.0)], columns=COLUMNS)
    new = tmp_path_factory.mktemp("new")
    return {
        "data.Samples.batches": (samples, 2, 32),
        "data.Samples.folds": (samples, 2),
        "data.Samples.split": (samples, 0.5),
        "data.planted.scene": ("marker", 32),
        "data.planted.write_dataset": (new / "planted", "marker", 1, 32),
        "data.synthetic.scene": ("polyp", 32),
        "data.synthetic.write_dataset": (new / "scenes", 1, 32),
        "evaluation.ExplanationBenchmark": (None, samples),
        "evaluation.advise": (None, samples),
        "evaluation.paired_difference": (table, table),
        "evaluation.summarize": (table,),
        "evaluation.summarize_maps": (maps,),
        "inference.rank_images": (None, samples),
        "models.SeededDropout": (0.5,),
        "recipes.Recipe": ("mine",),
        "training.InputGradientPenalty": (np.ones((4, 4)),),
        "training.InvariancePenalty": (np.ones((4, 4)),),
    }


@pytest.mark.parametrize("name", seeded_functions())
def test_what_is_no_seed_is_refused_wherever_there_is_one(name, seeded_arguments):
    function = operator.attrgetter(name)(kg)
    for seed in (1.5, 2.0, None, "1", True, -1, 2**31, [1.5]):
        refused(r"'seed' must be ", function, *seeded_arguments.get(name, ()), seed=seed)


def test_a_path_that_can_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "new" / "deep", tmp_path / "file"):
        assert validation.check_writable("out", str(path)) == path
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    refused("'out' must be a path that can be .* is a file", validation.check_writable, "out",
            tmp_path / "file" / "a")  # fmt: skip
    refused("'out' must be a path", validation.check_writable, "out", None)

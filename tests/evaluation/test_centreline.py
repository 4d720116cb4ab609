import json
import pathlib

import field_constants
import numpy as np
import pytest
from refusals import refused

from kerasgan.evaluation import cldice

PAIRS = field_constants.pairs()
FIELD = json.loads(pathlib.Path(__file__).with_name("field.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAIRS)
def test_against_metrics_reloaded(name):
    assert cldice(*PAIRS[name]) == pytest.approx(FIELD["pairs"][name]["cldice"], abs=1e-8)


def test_empty_masks():
    empty, dot = np.zeros((2, 4, 4), bool)
    dot[1, 1] = True
    assert cldice(empty, empty) == 1
    assert cldice(dot, empty) == cldice(empty, dot) == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 5), (6, 6)])
def test_small_blocks_have_a_centre(shape):
    block = np.pad(np.ones(shape, bool), 2)
    assert cldice(block, block) == cldice(block[2:-2, 2:-2], block[2:-2, 2:-2]) == 1


@pytest.mark.parametrize(
    "pair",
    [
        ([[1]], [[1, 0]]),
        ([[2]], [[1]]),
        ([1], [1]),
        ([], []),
        ([[1, 0], [1]], [[1]]),
        (None, None),
        (np.zeros((0, 2, 1)), np.zeros((0, 2, 1))),
    ],
)
def test_bad_input(pair):
    refused("'truth'", cldice, *pair)

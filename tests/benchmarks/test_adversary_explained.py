import numpy as np
import pytest


@pytest.fixture
def adversary(benchmark_module):
    return benchmark_module("adversary_explained")


def test_cues_are_planted_where_they_are_said_to_be(adversary):
    image = np.random.default_rng(0).uniform(-0.5, 0.5, (96, 128, 3)).astype("float32")
    for name, value, least, most in (
        ("dark square", -0.9, 24 * 24, 24 * 24),
        ("border", -1.0, 96 * 128 - 84 * 116, 96 * 128 - 84 * 116),
        ("text", 1.0, 100, 1000),
    ):
        planted, where = adversary.CUES[name](image)
        assert (planted[where] == np.float32(value)).all()
        assert (planted[~where] == image[~where]).all()
        assert least <= where.sum() <= most
        assert planted.dtype == np.float32


def test_relevance_and_dice_are_of_what_lies_beyond(adversary):
    where = np.zeros((1, 4, 4), bool)
    where[:, 0] = True
    predicted = np.zeros((1, 4, 4), bool)
    predicted[:, 3] = True
    even = np.ones((1, 4, 4, 3))
    assert adversary.lift(even, predicted, where) == pytest.approx(1)
    even[:, 0] = 4
    assert adversary.lift(even, predicted, where) == pytest.approx(2)  # 2/3 of it, on 1/3
    truth = predicted[..., None].astype(float)
    logits = np.where(predicted | where, 1.0, -1.0)[..., None]
    assert adversary.dice_beyond(logits, truth, where) == pytest.approx(1)
    assert adversary.dice_beyond(logits, truth, ~where) == pytest.approx(0)
    places = np.array([[[True, False], [False, False]]])
    assert adversary.enlarged(places, (4, 4)).sum() == 4
    assert adversary.mean_in(adversary.enlarged(places, (4, 4)), where) == pytest.approx(0.5)

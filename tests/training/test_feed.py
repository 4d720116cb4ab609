import numpy as np
import pytest
import tensorflow as tf

from kerasgan.training import feed

X = np.arange(7, dtype="float64")
OPTIONS = {"batch_size": 2, "verbose": 0}


def read(dataset):
    return [tuple(int(v) for v in np.ravel(x)) for x, _ in dataset]


def test_arrays_have_an_order_that_epoch_and_seed_decide():
    options = dict(OPTIONS)
    whole, masks, within = feed.continue_from(X, X, options, 3, 0, 0, 0)
    assert masks is None
    assert within
    assert options == {"verbose": 0, "validation_batch_size": 2}
    epochs = [read(whole) for _ in range(3)]
    assert [sorted(sum(epoch, ())) for epoch in epochs] == [list(range(7))] * 3
    assert len(set(map(str, epochs))) == 3
    for epoch in range(3):
        for step in range(4):
            rest, *_ = feed.continue_from(X, X, dict(OPTIONS), 3, 0, epoch, step)
            assert len(rest) == 4
            first = iter(rest)
            assert [read([next(first)])[0] for _ in range(4 - step)] == epochs[epoch][step:]
            if epoch < 2:
                assert read(rest) == epochs[epoch + 1]
    other, *_ = feed.continue_from(X, X, dict(OPTIONS), 4, 0, 0, 0)
    assert read(other) != epochs[0]
    plain, *_ = feed.continue_from(X, X, {"shuffle": False}, 3, 0, 0, 0)
    assert read(plain) == [tuple(range(7))]
    assert next(iter(plain))[0].dtype == tf.float32


@pytest.mark.parametrize("options", [{"steps_per_epoch": 2}, {"validation_split": 0.5}])
def test_what_cannot_be_entered_is_passed_on(options):
    x, y, within = feed.continue_from(X, X, dict(options), 0, 0, 1, 0)
    assert x is X
    assert y is X
    assert not within
    generator = iter([])
    assert feed.continue_from(generator, None, {}, 0, 0, 1, 0) == (generator, None, False)

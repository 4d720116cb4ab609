import itertools
import types

import keras
import numpy as np
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan.training.optimizers import learning_rate_of

RATE = 1e-2


@pytest.fixture
def rival(benchmark_module):
    return benchmark_module("rival")


@pytest.fixture
def equal_time(benchmark_module, monkeypatch, rival):
    module = benchmark_module("equal_time")
    monkeypatch.setattr(module, "duck_net", small_net)
    return module


def small_net(size, channels=3, classes=1):
    image = keras.Input((size, size, channels))
    mask = keras.layers.Conv2D(classes, 1, activation="sigmoid")(image)
    return keras.Model(image, mask)


def planted(count=8, size=32):
    """Images of grey squares, those in the mask brighter."""
    rng = np.random.default_rng(0)
    squares = rng.uniform(-1, 1, (count, 4, 4, 1))
    image = np.kron(squares, np.ones((1, size // 4, size // 4, 1))).repeat(3, -1)
    return image.astype("float32"), (image[..., :1] > 0).astype("float32")


def test_the_network_has_the_published_size(rival):
    network = rival.duck_net(64)
    assert network.output_shape == (None, 64, 64, 1)
    assert network.count_params() == 38_921_088  # as the authors' code builds it


def test_a_block_learns_a_planted_set_in_a_few_steps(rival):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = rival.duck_block(image, 4)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(RATE), "binary_crossentropy", jit_compile=False)
    losses = [float(model.train_on_batch(*planted())) for _ in range(20)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_run_ends_with_its_time_and_its_rate_with_it(equal_time, monkeypatch, schedule):
    seconds = itertools.count()  # one from the beginning of a step to its end
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds), monotonic=lambda: 0.0)
    monkeypatch.setattr(equal_time, "time", clock)
    recipe = kg.recipes.get(
        "fast", size=32, learning_rate=RATE, schedule=schedule, warmup=0.0, batch_size=4
    )
    gan = equal_time.networks(equal_time.RIVAL, recipe)
    rates = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(learning_rate_of(gan.optimizer))
    )
    budget = equal_time.Budget(6, recipe, "run")
    data = planted()
    history = gan.fit(
        *data, batch_size=4, validation_data=data, epochs=99, callbacks=[budget, watch], verbose=0
    )
    # Two steps and two of validation an epoch; the first of each kind, where it is traced, is free.
    assert history.history["spent"] == [2, 6]
    assert history.history["steps"] == [2, 4]
    share = (1 + np.cos(np.pi * np.array([0, 0, 2 / 6, 3 / 6]))) / 2
    expected = RATE * (share if schedule == "cosine" else np.ones(4))
    assert rates == pytest.approx(expected.tolist())


def test_the_rival_is_trained_as_the_recipe_says(equal_time):
    recipe = kg.recipes.get("fast", size=32, filters=2, learning_rate=RATE)
    ours, rival = (equal_time.networks(side, recipe) for side in ("fast", equal_time.RIVAL))
    settings = [gan.compile_settings() for gan in (ours, rival)]
    for each in settings:
        del each["optimizer"]["config"]["name"]
    for name in ("losses", "ema_momentum", "precision", "schedule", "optimizer"):
        assert settings[0][name] == settings[1][name], name
    assert settings[1]["optimizer"]["config"]["weight_decay"] == recipe.weight_decay
    assert rival.discriminator is None


def test_a_folder_of_other_runs_is_refused(equal_time, tmp_path):
    settings = {"budget": 60.0, "images": [("a",), ("b",)]}
    for _ in range(2):
        equal_time.check_settings(tmp_path, settings)
    refused("budget", equal_time.check_settings, tmp_path, {**settings, "budget": 61.0})


def test_the_best_rate_of_each_side_is_trained_and_a_rate_that_fails_is_left_out(
    equal_time, monkeypatch, tmp_path
):
    dice = {("fast", 0.1): 0.7, ("fast", 0.2): 0.6, (equal_time.RIVAL, 0.2): 0.5}
    done = []

    def run(side, recipe, seconds, folder, *_, reported=False):
        done.append((side, recipe.learning_rate, recipe.seed, seconds, reported))
        rate = recipe.learning_rate
        found = dice.get((side, rate))
        return found and {"side": side, "learning_rate": rate, "validation_dice": found}

    monkeypatch.setattr(equal_time, "run", run)
    args = types.SimpleNamespace(
        data="data", test_names=None, rates=[0.1, 0.2], seeds=[3, 4], trial=1, budget=9
    )
    equal_time.compared(args, kg.recipes.get("fast"), tmp_path)
    assert [each[:4] for each in done if not each[-1]] == [
        (side, rate, 3, 1) for side in ("fast", equal_time.RIVAL) for rate in (0.1, 0.2)
    ]
    assert [each[:4] for each in done if each[-1]] == [
        (side, rate, seed, 9)
        for seed in (3, 4)
        for side, rate in (("fast", 0.1), (equal_time.RIVAL, 0.2))
    ]

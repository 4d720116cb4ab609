import numpy as np
import pytest
from linear_batches import Box, linear, noise, scaled, write
from refusals import refused
from scipy import ndimage, stats

from kerasgan.errors import KerasganWarning
from kerasgan.evaluation.stability import stability

WEIGHTS = np.array([0.5, -0.3, 0.8])
IMAGES = noise()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write(tmp_path_factory.mktemp("stability"), IMAGES)


def measured(samples, rules="input-x-gradient", **options):
    options = {"target": Box(), "batch_size": 2, "verbose": False, **options}
    table = stability(linear(WEIGHTS.reshape(1, 1, 3)), samples, rules, **options)
    return table.pivot(index="name", columns=["method", "metric"], values="value")


def map_of(images):
    return np.where(Box().mask, images @ WEIGHTS, 0)


def test_gradient_of_a_linear_network_never_changes(samples):
    found = measured(samples)["gradient"]
    assert len(found.columns) == 9
    assert (found.filter(regex="^(max|change)") == 0).all(axis=None)
    np.testing.assert_allclose(found.filter(regex="^rank"), 1)


def test_max_sensitivity_of_input_times_gradient_lies_below_its_bound(samples):
    size = np.linalg.norm(map_of(scaled(IMAGES)), axis=(1, 2))
    for radius in (0.01, 0.1):
        found = measured(samples, radius=radius, changes={})["input-x-gradient", "max-sensitivity"]
        bound = radius * np.abs(WEIGHTS).sum() * 6 / size  # 6: the root of 36 pixels
        # noise of variance radius ** 2 / 3 a value, less what is clipped
        usual = radius / 3**0.5 * np.linalg.norm(WEIGHTS) * 6 / size
        assert (found < bound).all()
        assert (found > 0.7 * usual).all()


def test_draws_depend_on_the_seed_and_the_image_alone(samples):
    def largest(**options):
        return measured(samples, changes={}, **options)["input-x-gradient", "max-sensitivity"]

    three = largest(draws=3)
    np.testing.assert_allclose(three, largest(draws=3, batch_size=3), rtol=1e-5)
    assert (three != largest(draws=3, seed=1)).all()
    assert (largest(draws=1) <= three).all()
    assert (largest(draws=1) < three).any()


def test_photometric_changes_by_formula(samples):
    images = scaled(IMAGES)
    mean = images.mean((1, 2), keepdims=True)
    blurred = np.stack(
        [np.stack([ndimage.gaussian_filter(c, 1, mode="nearest") for c in x.T]).T for x in images]
    )
    found = measured(samples, draws=1)["input-x-gradient"]
    before = map_of(images)
    for name, altered in (
        ("brightness", images + 0.2),
        ("contrast", mean + 0.8 * (images - mean)),
        ("gamma", 2 * (IMAGES / 255) ** 1.25 - 1),
        ("blur", blurred),
    ):
        after = map_of(np.clip(altered, -1, 1))
        change = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(before, after)]
        np.testing.assert_allclose(found[f"change, {name}"], change, rtol=1e-4)
        wanted = [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(before, after)]
        np.testing.assert_allclose(found[f"rank correlation, {name}"], wanted, atol=1e-3)


def test_own_changes_and_controls(samples):
    changes = {"none": lambda x: x, "mirror": lambda x: x[:, :, ::-1]}
    found = measured(samples, "gradient", changes=changes, draws=1)
    for method in ("gradient", "random", "target"):
        assert (found[method, "change, mirror"] == 0).all()
    assert (found["edges", "change, none"] == 0).all()
    assert (found["edges", "change, mirror"] > 0.1).all()


def test_empty_targets_have_no_values(samples):
    with pytest.warns(KerasganWarning, match="empty in 3 of 3"):
        table = stability(linear([[0.0]]), samples, draws=1, controls=False, verbose=False)
    assert table["value"].isna().all()


def test_bad_arguments(samples):
    for options, message in (
        ({"radius": 0}, "'radius' must be"),
        ({"draws": 0}, "'draws' must be"),
        ({"changes": {"cut": lambda x: x[:, :3]}}, "Change 'cut' of argument 'changes'"),
        ({"changes": {"nan": lambda x: x * np.nan}}, "must return finite images"),
    ):
        refused(message, measured, samples, **options)

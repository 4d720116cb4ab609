import numpy as np
import pytest
from PIL import Image
from refusals import refused

from kerasgan import KerasganError
from kerasgan.data import synthetic
from kerasgan.evaluation import evaluate_masks
from kerasgan.evaluation.baseline import fit_color_threshold

kinds = pytest.mark.parametrize("kind", ["polyp", "instrument"])


@kinds
def test_a_seed_always_draws_the_same_scene(kind):
    first, again, other = (synthetic.scene(kind, 48, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0].astype(int) - other[0]).mean() > 5


@kinds
@pytest.mark.parametrize("size", [16, (40, 72), (90, 33)])
def test_any_size_can_be_drawn(kind, size):
    image, mask = synthetic.scene(kind, size, 1)
    expected = (size, size) if isinstance(size, int) else size
    assert image.shape == (*expected, 3)
    assert mask.shape == expected
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def pooled(array, factor):
    shape = array.shape[0] // factor, factor, array.shape[1] // factor, factor
    return array.reshape(*shape, -1).mean((1, 3)).squeeze()


@kinds
@pytest.mark.parametrize("seed", range(6))
def test_a_scene_is_the_same_at_every_size(kind, seed):
    small, small_mask = synthetic.scene(kind, 64, seed)
    large, large_mask = synthetic.scene(kind, 256, seed)
    shrunk_mask = pooled(large_mask, 4) > 0.5
    jaccard = (shrunk_mask & (small_mask > 0)).sum() / (shrunk_mask | (small_mask > 0)).sum()
    assert jaccard > 0.85
    # Another scene differs by some 50 grey levels.
    assert np.abs(pooled(large, 4) - small).mean() < 8


@kinds
def test_every_scene_shows_what_was_asked_for(kind):
    areas = [synthetic.scene(kind, 24, seed)[1].mean() for seed in range(100)]
    assert min(areas) > 0.003
    assert 0.04 < np.median(areas) < 0.15


def test_three_classes():
    shown = {"polyp": [], "instrument": []}
    for kind, seen in shown.items():
        for seed in range(12):
            seen.append(set(np.unique(synthetic.scene(kind, 48, seed, classes=3)[1])))
        assert {0, 1, 2} in seen
    assert all(seen <= {0, 1, 2} and 1 in seen for seen in shown["polyp"])
    assert all(seen <= {0, 1, 2} and 2 in seen for seen in shown["instrument"])


@kinds
def test_colour_alone_does_badly(kind, tmp_path):
    samples = synthetic.write_dataset(tmp_path, count=80, size=32, kind=kind)
    threshold = fit_color_threshold(samples[:50], size=32)
    assert threshold.jaccard < 0.4
    others = samples[50:]
    masks = (threshold(others.image(i)) for i in range(len(others)))
    assert evaluate_masks(others, masks)["jaccard"].mean() < 0.35


@pytest.mark.parametrize(("classes", "factor"), [(1, 255), (3, 1)])
def test_a_data_set_on_disk(tmp_path, classes, factor):
    samples = synthetic.write_dataset(tmp_path / "new", 3, 32, seed=5, classes=classes)
    assert samples.names == ("polyp_0000", "polyp_0001", "polyp_0002")
    assert samples.classes == classes
    image, mask = synthetic.scene("polyp", 32, (5, 2), classes)
    np.testing.assert_array_equal(np.asarray(Image.open(samples.image_paths[2])), image)
    np.testing.assert_array_equal(np.asarray(Image.open(samples.mask_paths[2])), mask * factor)
    np.testing.assert_array_equal(samples.mask(2), mask)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    refused("is not empty", synthetic.write_dataset, tmp_path, 1, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(KerasganError, match="Cannot write scenes into"):
        synthetic.write_dataset(tmp_path / "mine.txt" / "below", 1, 32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "ulcer"}, "'kind' must be one of polyp, instrument. Received: 'ulcer'"),
        ({"size": 15}, "'size' must be .* from 16 up"),
        ({"seed": -1}, "'seed' must be a whole number from 0 to"),
        ({"seed": 1.5}, "'seed' must be"),
        ({"seed": None}, "'seed' must be"),
        ({"classes": 2}, "'classes' must be one of 1, 3. Received: 2"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    refused(message, synthetic.scene, **wrong)


@pytest.mark.parametrize("count", [0, -3, 2.5, "many"])
def test_wrong_counts_are_named(count, tmp_path):
    with pytest.raises(KerasganError, match="'count' must be a whole number from 1 up"):
        synthetic.write_dataset(tmp_path / "new", count)
    assert not (tmp_path / "new").exists()

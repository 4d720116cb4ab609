import numpy as np
import pytest
from PIL import Image
from refusals import refused

from kerasgan.data import load_folder
from kerasgan.evaluation import baseline


def write(folder, images, masks):
    for part, arrays in (("images", images), ("masks", masks)):
        (folder / part).mkdir()
        for index, array in enumerate(arrays):
            Image.fromarray(array).save(folder / part / f"{index}.png")
    return load_folder(folder)


@pytest.mark.parametrize(
    ("inside", "feature", "above"),
    [
        # Outside, each channel is uniform over 0-255; inside, two channels still are.
        ((None, None, 255), "blue", True),
        ((None, 0, None), "green", False),
    ],
)
def test_the_telling_property_is_found(tmp_path, inside, feature, above):
    rng = np.random.default_rng(0)
    images = rng.integers(40, 216, (3, 32, 32, 3), dtype=np.uint8)
    masks = (rng.random((3, 32, 32)) < 0.3).astype(np.uint8) * 255
    for channel, value in enumerate(inside):
        if value is not None:
            images[..., channel][masks > 0] = value
    samples = write(tmp_path, images, masks)
    found = baseline.fit_color_threshold(samples, size=32)
    assert (found.feature, found.above) == (feature, above)
    assert found.jaccard == 1
    np.testing.assert_array_equal(found(samples.image(1)), masks[1] > 0)


def test_no_property_threshold_or_direction_does_better(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    masks = ((images[..., 0] * 0.5 + rng.integers(0, 256, (2, 16, 16))) > 200) * np.uint8(255)
    samples = write(tmp_path, images, masks)
    found = baseline.fit_color_threshold(samples, size=16)

    def jaccard(threshold):
        scores = []
        for index in range(2):
            truth, guess = masks[index] > 0, threshold(samples.image(index))
            scores.append((truth & guess).sum() / (truth | guess).sum())
        return np.mean(scores)

    assert found.jaccard == pytest.approx(jaccard(found))
    tried = [
        baseline.ColorThreshold(feature, level / 64 - 1, above, 0)
        for feature in baseline.FEATURES
        for level in range(1, 128)
        for above in (True, False)
    ]
    assert found.jaccard >= max(map(jaccard, tried)) - 1e-9


def test_samples_without_masks_or_colour_are_refused(tmp_path):
    image = np.zeros((16, 16), np.uint8)
    mask = np.eye(16, dtype=np.uint8) * 255
    samples = write(tmp_path, [image], [mask])
    unlabelled = load_folder(images=tmp_path / "images", masks=None)
    for wrong in (samples, unlabelled):
        refused("labelled colour images of one class", baseline.fit_color_threshold, wrong, size=16)

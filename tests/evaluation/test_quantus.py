import json
import pathlib

import numpy as np
import pytest
import quantus_constants
from scipy import ndimage

from kerasgan.evaluation.benchmark import ExplainedBatch
from kerasgan.evaluation.complexity import entropy, sparseness
from kerasgan.evaluation.localisation import mass_accuracy, top_share
from kerasgan.evaluation.removal import removal_curve

IMAGES, MAPS, REGION, KERNEL, TARGET = quantus_constants.benchmark()
QUANTUS = json.loads(pathlib.Path(__file__).with_name("quantus.json").read_text(encoding="utf-8"))


def network(images):
    logits = [ndimage.correlate(image, KERNEL, mode="constant") for image in images[..., 0]]
    return np.stack(logits)[..., None]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sparseness", sparseness(MAPS)),
        ("complexity", entropy(MAPS) * np.log(MAPS[0].size)),
        ("mass", mass_accuracy(MAPS, REGION)),
        ("rank", top_share(MAPS, REGION, REGION.sum((1, 2)))),
        ("pointing", top_share(MAPS, REGION, 1)),
        ("top", top_share(MAPS, REGION, quantus_constants.K)),
    ],
)
def test_scores_of_maps_are_those_of_quantus(name, values):
    np.testing.assert_allclose(values, QUANTUS[name], atol=1e-6)


def test_pixel_flipping_of_a_segmenter_is_that_of_quantus_on_the_score_of_its_target():
    images, weights = IMAGES[..., None], np.tile(TARGET[..., None], (len(IMAGES), 1, 1, 1))
    logits = network(images)
    names = tuple(map(str, range(len(images))))
    batch = ExplainedBatch(names, images, None, logits, weights, network)
    steps = quantus_constants.STEPS
    _, scores = removal_curve(batch, MAPS, "most", baseline="mean", steps=steps)
    start = (logits * weights).sum((1, 2, 3))
    np.testing.assert_allclose(
        scores["logit"][:, 1:] * start[:, None], QUANTUS["flipping"], atol=1e-6
    )

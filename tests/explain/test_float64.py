"""Explanations in float32 against those of the same network in float64."""

import keras
import numpy as np
import pytest
from toys import with_random_weights

import kerasgan as kg
from kerasgan.explain import Explainer

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
TOLERANCE = {"epsilon": 1e-3, "gamma": 1e-5, "z-plus": 1e-5, "alpha2beta1": 1e-5}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rule", TOLERANCE)
def test_float32_agrees_with_float64(rule):
    found = {}
    for kind in ("float32", "float64"):
        keras.backend.set_floatx(kind)
        keras.mixed_precision.set_global_policy(kind)
        model = with_random_weights(kg.models.unet(size=32, filters=4, levels=1))
        model.set_weights([w.astype("float32") for w in model.get_weights()])
        found[kind] = Explainer(model, rule).explain(IMAGES, np.ones((32, 32)))
        assert found[kind].relevance.dtype == kind
    single, double = found.values()
    size = np.abs(double.relevance).max()
    apart = np.abs(single.relevance - double.relevance).max() / size
    print(f"{rule}: {apart:.1e} of the largest")
    assert 0 < apart < TOLERANCE[rule]

"""Explainers that are dropped are freed."""

import gc
import weakref

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph
from toys import IMAGES, small, with_random_weights

import kerasgan as kg
from kerasgan.explain import DiscriminatorExplainer, Explainer


def graphs():
    """Graphs of explanations that something still holds."""
    gc.collect()
    gc.collect()
    return sum(isinstance(x, FuncGraph) and x.name == "explain" for x in gc.get_objects())


def swish_network():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="swish")(image)
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(x))
    return with_random_weights(model)


@pytest.mark.filterwarnings("ignore:.*not advised:kerasgan.KerasganWarning")
@pytest.mark.parametrize(
    ("rule", "network"),
    [("epsilon", swish_network), ("gradient", small), ("lrp.sequential_preset_a", small)],
)
def test_an_explainer_that_is_dropped_is_freed(rule, network):
    if rule.startswith("lrp."):
        pytest.importorskip("innvestigate")

    def explain():
        model = network()
        explainer = Explainer(model, rule)
        explainer.explain(IMAGES)
        explainer.relevance(IMAGES, np.ones((3, 8, 8, 1)))
        parts = [model, explainer, explainer.graph]
        return [weakref.ref(part) for part in [*parts, *model.weights]]

    before = graphs()
    left = explain()
    assert graphs() == before
    assert [part() for part in left if part() is not None] == []


def test_a_rebuilt_explainer_frees_the_one_before_and_not_the_model():
    model = small(batch_norm=True)
    explainer, left, counts, before = None, [], [], graphs()
    for _ in range(3):
        explainer = Explainer(model)
        explainer.explain(IMAGES)
        left.append(weakref.ref(explainer.graph))
        counts.append(graphs() - before)
    assert counts[0] > 0
    assert counts == [counts[0]] * 3
    assert [part() is not None for part in left] == [False, False, True]
    assert explainer.explain(IMAGES).relevance.any()


def test_a_judge_that_is_dropped_is_freed():
    def explain():
        judge = DiscriminatorExplainer(kg.models.patch_discriminator(size=32, filters=2))
        judge.explain(np.ones((1, 32, 32, 3)), np.ones((1, 32, 32, 1)), np.ones((2, 2)))
        return [weakref.ref(part) for part in (judge, judge.explainer, judge.explainer.model)]

    before = graphs()
    left = explain()
    assert graphs() == before
    assert [part() for part in left] == [None] * 3

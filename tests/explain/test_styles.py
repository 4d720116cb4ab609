"""Networks written in the styles of other people's code are explained, or refused by name."""

import functools

import numpy as np
import pytest
import styles
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.explain import Explainer
from kerasgan.explain.methods import DEFAULT_RULE

CONVOLUTIONAL, ATTENTION = (DEFAULT_RULE, "epsilon", "alpha2beta1"), ("attnlrp", "cp-lrp")
LONG = ("saved_model", "swin", "bfloat16_attention")
CASES = [
    pytest.param(name, rule, marks=pytest.mark.slow if number or name in LONG else ())
    for name in styles.STYLES
    for number, rule in enumerate(ATTENTION if name in styles.ATTENTION else CONVOLUTIONAL)
]


@functools.cache
def made(name):
    model = styles.build(name)
    return model, styles.images_for(name, model), styles.run(model, styles.images_for(name, model))


def listed(values):
    return values if isinstance(values, (list, tuple)) else [values]


@pytest.mark.filterwarnings("ignore:Argument 'images' must lie in")
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_style(name, rule):
    model, images, outputs = made(name)
    for number, output in enumerate(outputs):
        options = {"output": number} if len(outputs) > 1 else {}
        explainer = Explainer(model, rule, **options)
        target = np.random.default_rng(3).normal(size=output.shape)
        explained = explainer.explain(images, target, layers=())
        found = explained.logits
        if output.shape[-1] > 1:
            found = tf.nn.softmax(found)
        else:
            found = np.tanh(found) if output.min() < 0 else tf.sigmoid(found)
        rough = 1e-2 if name.startswith("bfloat16") else 1e-5
        np.testing.assert_allclose(found, output, atol=rough)
        for image, relevance in zip(listed(images), listed(explained.relevance)):
            assert relevance.shape == image.shape
            assert np.isfinite(relevance).all()
            assert np.all(np.abs(relevance).max((1, 2, 3)) > 0)
        explainer.check(images, target=target)


@pytest.mark.parametrize("name", styles.BAD)
def test_refused(name):
    build, words, rule, when = styles.BAD[name]
    images = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    model = build()
    with pytest.raises(KerasganError) as caught:  # noqa: PT012
        explainer = Explainer(model, rule)
        if when == "explain":
            explainer.explain(images)
    for word in words:
        assert word in str(caught.value)

"""What is not finite is refused, and named: the image, the layer, the rule."""

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from toys import IMAGES, shared_explainer, small

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.explain import Composite, DiscriminatorExplainer, Epsilon, Explainer
from kerasgan.explain.composites import anything
from kerasgan.explain.finite import check_finite
from kerasgan.explain.rules import Rule


class Breaks(Rule):
    """Epsilon, but infinite for the second of three images."""

    def redistribute(self, linear, relevance):
        redistribution = Epsilon().redistribute(linear, relevance)
        factor = tf.reshape(tf.constant([1.0, np.inf, 1.0]), (3, 1, 1, 1))
        return redistribution._replace(inputs=redistribution.inputs * factor)


def test_relevance_names_rule_layer_and_image():
    rule = Composite(("up_1_conv", Breaks()), (anything, Epsilon()))
    with pytest.raises(
        KerasganError,
        match=r"Relevance of image 1, counted from 0, is not finite in layer 'up_1_conv' "
        r"\(Conv2DTranspose\), by <test_finite.Breaks .*Images concerned: \[1\]",
    ):
        Explainer(small(), rule).explain(IMAGES, np.ones((8, 8)))


def test_relevance_without_a_ledger():
    fine, broken = np.ones((2, 3)), np.array([[1.0, 1, 1], [1, np.nan, 1]])
    arrays = {"images": fine, "logits": fine, "relevance": broken}
    layers = {"layers/low": broken, "layers/middle": broken, "layers/high": fine}
    with pytest.raises(KerasganError, match=r"of image 1, .* output of layer 'middle', by 'rule'"):
        check_finite({**arrays, **layers}, [], "rule", None, "model")
    with pytest.raises(KerasganError, match=r"of image 1, .* is not finite at the image, by"):
        check_finite(arrays, [], "rule", None, "model")
    check_finite({**arrays, "relevance": fine}, [], "rule", None, "model")


@pytest.mark.filterwarnings("ignore:Argument 'images' must lie in")
def test_huge_images():
    images = IMAGES.astype("float64")
    images[1] = 3e38
    explainer = shared_explainer()
    with pytest.raises(
        KerasganError, match=r"NaN or infinity for image\(s\) \[1\], counted from 0, .* to 3e\+38"
    ):
        explainer.explain(images)
    images[2, 0, 0, 0] = 1e300
    refused(r"values beyond float32, in images \[2\]", explainer.explain, images)
    shifted = Explainer(small(), preprocess=lambda x: x / (x.max() > 0.99), batch_size=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        images = IMAGES * [[[[0.1]]], [[[1]]], [[[1]]]]
        refused(r"preprocess returned NaN.* in images \[0\]", shifted.explain, images)


def test_a_judge_names_the_image_too():
    model = kg.models.patch_discriminator(size=32, filters=2)
    judge = DiscriminatorExplainer(model)
    model.set_weights([1e30 * weight for weight in model.get_weights()])
    images = np.full((2, 32, 32, 3), -0.5, "float32")
    with pytest.raises(KerasganError, match=r"NaN or infinity for image\(s\) \[0, 1\]"):
        judge.explain(images, np.ones((2, 32, 32, 1)), np.ones((2, 2)))

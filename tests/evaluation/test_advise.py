import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerasgan as kg
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.evaluation import advise
from kerasgan.explain import Epsilon, Redistribution, Rule


class Inverted(Rule):
    """Tells the opposite of what is true: what speaks most for an output gets least."""

    def redistribute(self, linear, relevance):
        found = Epsilon().redistribute(linear, relevance)
        lost = [tf.reduce_sum(x, range(1, len(x.shape))) for x in (relevance, -found.inputs)]
        return Redistribution(-found.inputs, bias=lost[0] - lost[1])


class Leaky(Rule):
    """Loses half of what it is given."""

    def redistribute(self, linear, relevance):
        return Redistribution(Epsilon().redistribute(linear, relevance).inputs / 2)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Bright squares on dark: with the mean colour in their place they are gone."""
    folder, rng = tmp_path_factory.mktemp("advise"), np.random.default_rng(0)
    for number in range(16):
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        top, left = rng.integers(0, 11, 2)
        pixels[top : top + 5, left : left + 5] += 190
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return kg.data.load_folder(images=folder, masks=None)


def network(bias=0.0):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(1, 1, name="head")(image)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(x))
    kernel = np.array([1.0, 0.5, 0.3]).reshape(1, 1, 3, 1)
    model.get_layer("head").set_weights([kernel, np.array([bias])])
    return model


RULES = {"true": Epsilon(), "false": Inverted()}
OPTIONS = {"steps": 4, "baseline": "mean", "verbose": False}


def test_a_better_rule_is_found_and_holds_on_other_images(samples):
    advice = advise(network(), samples, rules=RULES, default="false", **OPTIONS)
    assert advice.rule == "true"
    assert advice.check["low"] > 0
    assert advice.check["images"] <= 8  # the half that took no part in the choice
    assert "took no part in the choice 'true' reaches a gap" in advice.text
    assert advice.batch_size in (1, 2, 4, 8, 16)
    gaps = advice.measurements.set_index("rule")["gap"]
    assert gaps["true"] > 0 > gaps["false"]


def test_the_default_stays_where_nothing_is_better(samples):
    advice = advise(network(), samples, rules=RULES, default="true", **OPTIONS)
    assert advice.rule == "true"
    assert "No candidate was more faithful than the default" in advice.text
    same = {"one": Epsilon(), "two": Epsilon(1e-7)}
    for default in same:
        assert advise(network(), samples, rules=same, default=default, **OPTIONS).rule == default


def test_the_librarys_default_is_measured_where_it_is_no_candidate(samples):
    advice = advise(network(), samples, rules={"false": Inverted()}, **OPTIONS)
    assert set(advice.measurements["rule"]) == {"false", advice.rule}
    assert repr(kg.explain.methods.get(advice.rule)) == repr(kg.Explainer(network()).method)


def test_a_rule_that_leaks_is_left_out(samples):
    rules = {"true": Leaky(), "false": Inverted()}
    advice = advise(network(), samples, rules=rules, default="false", **OPTIONS)
    assert advice.rule == "false"
    assert "Not considered, since relevance is lost unseen: true." in advice.text
    leak = advice.measurements.set_index("rule")["leak"]
    assert leak["true"] > 0.3
    assert leak["false"] < 1e-3


def test_bad_arguments(samples):
    for options, message in (
        ({"default": "none"}, "'default' must be one of the rules, true, false"),
        ({"images": 3}, "'images' must be a whole number from 4 up"),
        ({"baseline": "blurr"}, "Did you mean 'blur'"),
    ):
        with pytest.raises(KerasganError, match=message):
            advise(network(), samples, **{"rules": RULES, "default": "true", **options})
    with pytest.raises(KerasganError, match="'samples' must be Samples, at least 4"):
        advise(network(), samples[:3], rules=RULES, default="true")
    with (
        pytest.raises(KerasganError, match="whose masks of 8 images are empty"),
        pytest.warns(KerasganWarning, match="target is empty"),
    ):
        advise(network(-99.0), samples, rules=RULES, default="true", **OPTIONS)

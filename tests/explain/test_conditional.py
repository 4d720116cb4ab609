"""Relevance through chosen channels, against a walk by hand and against sums over all channels."""

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from toys import IMAGES, close, shared_explainer, small

from kerasgan.errors import KerasganError
from kerasgan.explain import Composite, Epsilon, Explainer


def one_by_one(explainer, layer, count, **options):
    maps = [explainer.explain(IMAGES, through={layer: [c]}, **options) for c in range(count)]
    return sum(found.relevance for found in maps)


@pytest.mark.parametrize("rule", ["gamma", "epsilon-gamma-box"])
def test_channels_add_up_to_the_unconditional_map(rule):
    explainer = shared_explainer(rule, batch_norm=True)
    whole = explainer.explain(IMAGES).relevance
    close(one_by_one(explainer, "up_1_skip", 8), whole)


def test_what_passes_by_the_layer_takes_no_part():
    explainer = shared_explainer("epsilon", batch_norm=True)
    whole = explainer.explain(IMAGES)
    through = one_by_one(explainer, "down_2", 6)
    close(through, explainer.explain(IMAGES, through={"down_2": range(6)}).relevance)
    no_skips = Explainer(explainer.model, Composite(("*", Epsilon()), keep_skips=False)).explain(
        IMAGES
    )
    close(through, no_skips.relevance)
    by_skip = explainer.explain(IMAGES, through={"up_1_skip": range(4, 8)}).relevance
    close(through + by_skip, whole.relevance)
    assert np.abs(by_skip).max() > 0.05 * np.abs(whole.relevance).max()


def test_against_a_walk_by_hand():
    model = small(batch_norm=False)
    explainer = Explainer(model, Epsilon(1e-9))
    found = explainer.explain(IMAGES, through={"down_2_conv": [1, 4]})
    arrived = explainer.explain(IMAGES).layers["down_2_conv"]
    with tf.GradientTape() as tape:
        images = tf.constant(IMAGES)
        tape.watch(images)
        skip = model.get_layer("down_1_act")(model.get_layer("down_1_conv")(images))
        deep = model.get_layer("down_2_conv")(skip)
        weights = arrived / deep * tf.constant([0, 1, 0, 0, 1, 0], tf.float32)
        total = tf.reduce_sum(tf.stop_gradient(weights) * deep)
    close(found.relevance, IMAGES * tape.gradient(total, images), 1e-4)


def test_through_several_layers_one_after_the_other():
    explainer = shared_explainer("epsilon", batch_norm=True)
    both = {"down_1": [0, 3], "up_1_act": [1, 2]}
    parts = [
        explainer.explain(IMAGES, through={"down_1": [a], "up_1_act": [b]}).relevance
        for a in (0, 3)
        for b in (1, 2)
    ]
    found = explainer.explain(IMAGES, through=both)
    close(sum(parts), found.relevance)
    close(explainer.explain(IMAGES, through=dict(reversed(both.items()))).relevance, sum(parts))
    everywhere = explainer.explain(IMAGES, through={"up_1_act": [1, 2], "down_1": range(4)})
    close(everywhere.relevance, explainer.explain(IMAGES, through={"up_1_act": [1, 2]}).relevance)


def test_layers_and_ledger_before_the_layer():
    explainer = shared_explainer("epsilon", batch_norm=True)
    whole = explainer.explain(IMAGES)
    found = explainer.explain(IMAGES, through={"down_2": [2]})
    assert {"down_1_conv", "down_1_act", "down_2_conv"} <= set(found.layers)
    assert "up_1_conv" not in found.layers
    arrived = found.layers["down_2"]
    assert not arrived[..., [0, 1, 3, 4, 5]].any()
    close(arrived[..., 2], whole.layers["down_2"][..., 2])
    assert np.array_equal(found.logits, whole.logits)
    assert np.array_equal(found.target, whole.target)
    ledger = explainer.check(IMAGES, through={"down_2": [2]})
    assert ledger["layer"].iloc[0] == "down_2_conv"
    first = ledger[ledger["layer"] == "down_2_conv"]["relevance_in"]
    np.testing.assert_allclose(first, arrived.sum((1, 2, 3)), rtol=1e-4)


def test_other_channels_need_no_other_function():
    explainer = Explainer(small(), "epsilon", batch_size=2)
    explainer.explain(IMAGES, through={"down_2": [0]})
    traced = len(explainer.functions.traced)
    explainer.explain(IMAGES, through={"down_2": [1, 2]})
    assert len(explainer.functions.traced) == traced


def test_with_presets_and_targets_that_need_values():
    pytest.importorskip("innvestigate")
    explainer = shared_explainer("lrp.epsilon")
    target = np.ones((8, 8))
    close(
        one_by_one(explainer, "up_1_act", 8, target=target),
        explainer.explain(IMAGES, target).relevance,
    )


@pytest.mark.parametrize(
    ("through", "message"),
    [
        ({"down_2": [6]}, r"channels from 0 to 5 of layer 'down_2'. Received: \[6\]"),
        ({"down_2": [-1]}, r"Received: \[-1\]"),
        ({"down_2": []}, r"Received: \[\]"),
        ({"down_2": [0.5]}, r"Received: \[0.5\]"),
        ({"down_2": "all"}, "Received: 'all'"),
        ({"down2": [0]}, "No relevance at a layer 'down2'"),
        ([3], r"dict from layers to channels.*Received: \[3\]"),
        ({"image": [0]}, "No relevance at a layer 'image'"),
    ],
)
def test_bad_channels(through, message):
    refused(message, shared_explainer().explain, IMAGES, through=through)


def test_gradients_have_nothing_to_pass_on():
    with pytest.raises(KerasganError, match=r"'through' needs relevance .*Gradient"):
        shared_explainer("gradient").explain(IMAGES, through={"down_2": [0]})

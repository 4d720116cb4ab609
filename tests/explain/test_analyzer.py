"""iNNvestigate inside a function: what it is told of the network, and what it leaves behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from toys import IMAGES, small, with_random_weights

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.explain import Composite, Explainer, anything
from kerasgan.explain.rules import Epsilon, Flat, ZPlus


@pytest.mark.parametrize(
    ("preset", "rule"),
    [
        ("lrp.z", Epsilon(0)),
        ("lrp.epsilon", Epsilon(1e-7)),
        ("lrp.z_plus", ZPlus(bias=False)),
        ("lrp.alpha_1_beta_0_IB", ZPlus(bias=False)),
        ("lrp.flat", Flat()),
    ],
)
def test_own_rules_of_innvestigate(preset, rule):
    model = small(batch_norm=True)
    theirs = Explainer(model, preset).explain(IMAGES)
    ours = Explainer(model, rule).explain(IMAGES)
    scale = np.abs(ours.relevance).max()
    np.testing.assert_allclose(theirs.relevance, ours.relevance, atol=1e-4 * scale)
    assert theirs.ledger["relevance_in"].notna().all()
    assert theirs.ledger.set_index("layer").loc["head", "bias"].isna().all()


def test_rule_class_of_innvestigate_in_a_composite():
    from innvestigate.analyzer.relevance_based.relevance_rule import EpsilonRule

    model = small()
    mixed = Explainer(model, Composite(("up_*", EpsilonRule), (anything, Epsilon(1e-7))))
    plain = Explainer(model, Epsilon(1e-7)).explain(IMAGES).relevance
    np.testing.assert_allclose(mixed.explain(IMAGES).relevance, plain, atol=1e-4 * plain.max())


def test_presets_warn_where_they_are_not_advised():
    image = keras.Input((8, 8, 3))
    x = layers.Activation("tanh", name="squashed")(layers.Conv2D(2, 3)(image))
    explainer = Explainer(keras.Model(image, layers.Conv2D(1, 1)(x)), "lrp.sequential_preset_a")
    with pytest.warns(KerasganWarning, match=r"not advised for networks with non-ReLU.*squashed"):
        explainer.explain(IMAGES)


def test_presets_refuse_grouped_convolutions():
    image = keras.Input((8, 8, 4))
    model = keras.Model(image, layers.Conv2D(4, 3, groups=2, name="grouped")(image))
    images = np.ones((1, 8, 8, 4))
    with pytest.raises(KerasganError, match=r"grouped convolutions.*Layers: grouped"):
        Explainer(model, "lrp.epsilon").explain(images)
    own = Explainer(model, Epsilon(0, bias=False)).explain(images, np.ones((6, 6)))
    assert own.relevance.sum() == pytest.approx((own.logits * own.target).sum(), rel=1e-5)


def traced(model, check):
    canonical = Explainer(model).canonical.model

    @tf.function(autograph=False)
    def run(images):
        check(Forward(canonical, images))
        return 0

    run(IMAGES)


def test_known_signs():
    def check(trace):
        outputs = {node.name: id(node.output) in trace.nonnegative for node in trace.nodes}
        assert outputs["down_2_act"]
        assert outputs["up_1_act"]
        assert not outputs["down_1_act"]
        assert not outputs["up_1_skip"]
        assert not outputs["head"]

    traced(small(), check)
    with pytest.raises(AssertionError):
        traced(small(slope=0.0), check)


def test_shared_layers_keep_their_names_apart():
    image = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="shared")
    model = keras.Model(image, conv(conv(image)))
    e = Explainer(with_random_weights(model), "epsilon").explain(IMAGES)
    assert len([name for name in e.layers if name.startswith("shared")]) == 2
    assert len(e.ledger) == 2 * len(IMAGES)


@pytest.mark.parametrize("join", [layers.Add, layers.Average, layers.Concatenate])
def test_the_gradient_of_a_layer_that_takes_one_tensor_twice(join):
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    model = with_random_weights(keras.Model(image, layers.Conv2D(1, 1)(join()([x, x]))))
    with tf.GradientTape() as tape:
        images = tf.constant(IMAGES)
        tape.watch(images)
        total = tf.reduce_sum(model(images))
    expected = tape.gradient(total, images)
    found = Explainer(model, "gradient").explain(IMAGES, np.ones((6, 6))).relevance
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_live_weights_are_put_back():
    layer = small().get_layer("head")
    kernel, bias = layer.weights
    layer.live = lambda: [kernel * 2, bias * 2]
    with live_weights(layer):
        assert not isinstance(layer.kernel, tf.Variable)
        twice = 2 * (tf.reduce_sum(kernel) + bias)
        np.testing.assert_allclose(tf.squeeze(layer(tf.ones((1, 1, 1, 8)))), twice[0], rtol=1e-5)
    assert layer.kernel is kernel
    assert [id(weight) for weight in layer.weights] == [id(kernel), id(bias)]


def test_throwaway_variables_hold_nothing():
    with throwaway_variables():
        variable = tf.Variable(tf.zeros((3, 2)), shape=(3, 2), dtype=tf.float32)
    assert variable.shape == (3, 2)
    assert not bool(tf.raw_ops.VarIsInitializedOp(resource=variable.handle))
    assert bool(tf.raw_ops.VarIsInitializedOp(resource=tf.Variable(1.0).handle))


def test_nothing_is_switched():
    eager = tf.executing_eagerly()
    model, bases = small(batch_norm=True), layers.Conv2D.__mro__
    model.compile("sgd", "mse")
    Explainer(model, "lrp.alpha_2_beta_1").explain(IMAGES)
    assert tf.executing_eagerly() == eager
    assert layers.Conv2D.__mro__ == bases
    model.fit(IMAGES, np.ones((3, 8, 8, 1)), verbose=0)
    assert model.predict(IMAGES, verbose=0).shape == (3, 8, 8, 1)


def test_the_global_policy_does_not_matter():
    explain = Explainer(small(), "epsilon").explain
    expected = explain(IMAGES).relevance
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = small()
        found = Explainer(model, "epsilon").explain(IMAGES).relevance
        with pytest.raises(KerasganError, match="compute in the global policy, bfloat16"):
            Explainer(model, "lrp.epsilon").explain(IMAGES)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())

"""Products of two tensors that both depend on the image: broadcasting, and which is the gate."""

import json

import keras
import numpy as np
import pytest
from canonical import randomize
from keras import backend, layers
from refusals import refused
from stacks import tf

import kerasgan as kg
from kerasgan.errors import KerasganError
from kerasgan.explain import DiscriminatorExplainer, Explainer, MergedExplainer, RelevancePenalty
from kerasgan.stack import KERAS_3

RNG = np.random.default_rng(0)
SIZE = 8


def pictures(count, size=SIZE, channels=3):
    return RNG.uniform(-1, 1, (count, size, size, channels)).astype("float32")


def body(image, channels=4, name=None):
    return layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(image)


def finished(image, x):
    """A model that ends in a sigmoid, and the same without, on equal random weights."""
    logit = layers.Conv2D(1, 1, name="logit")(x)
    model = randomize(keras.Model(image, layers.Activation("sigmoid")(logit)))
    return model, keras.Model(image, logit)


def joined(join, channels=4):
    """A model, and the same without its sigmoid, whose features are joined with something."""
    image = keras.Input((SIZE, SIZE, 3))
    return finished(image, join(body(image, channels, name="body")))


def explained(model, logits, counts=(1, 2, SIZE), **options):
    """Explains some, and as many images as a row has pixels; compares with the model."""
    explainer = Explainer(model, "epsilon", **options)
    for count in counts:
        images = pictures(count)
        e = explainer.explain(images, target=np.ones((SIZE, SIZE)), layers=())
        expected = np.asarray(logits(images))
        np.testing.assert_allclose(e.logits, expected, atol=1e-4 * np.abs(expected).max())
        one = explainer.explain(images[:1], target=np.ones((SIZE, SIZE)), layers=())
        np.testing.assert_allclose(
            e.relevance[0], one.relevance[0], atol=1e-4 * np.abs(one.relevance).max()
        )
    explainer.check(images, target=np.ones((SIZE, SIZE)))
    return explainer


def pooled(x, channels=4, activation="sigmoid"):
    x = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return layers.Dense(channels, activation=activation)(x)


MERGING = [
    layers.Multiply,
    layers.Add,
    layers.Subtract,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
]


class TestBroadcasting:
    @pytest.mark.parametrize("layer", MERGING)
    def test_of_fewer_axes_as_keras_expands_them(self, layer):
        explained(*joined(lambda x: layer()([x, pooled(x)])))

    @pytest.mark.parametrize("shape", [(SIZE, 1, 4), (1, SIZE, 1), (SIZE, SIZE, 1)])
    @pytest.mark.parametrize("layer", [layers.Multiply, layers.Add])
    def test_of_lengths_of_one(self, layer, shape):
        size = int(np.prod(shape))
        explained(*joined(lambda x: layer()([layers.Reshape(shape)(pooled(x, size)), x])))

    def test_of_three_axes(self):
        def by_rows(x):
            rows = layers.Reshape((SIZE, SIZE))(layers.Conv2D(1, 1, activation="sigmoid")(x))
            return layers.Multiply()([x, rows])

        explained(*joined(by_rows, channels=SIZE))

    @pytest.mark.parametrize("count", [2, 3])
    @pytest.mark.parametrize("layer", MERGING[:4])
    def test_with_constants(self, layer, count):
        if KERAS_3:
            pytest.skip("merging layers of Keras 3 take no constants")
        if layer is layers.Subtract and count == 3:
            pytest.skip("takes two")
        image = keras.Input((SIZE, SIZE, 3))
        x = body(image)
        constants = [tf.constant([[[0.5, -1.0, 2.0, 0.3]]])]
        inputs = [x, layers.Activation("sigmoid")(body(image))][: count - 1] + constants
        explained(*finished(image, layer()(inputs)))
        explained(*finished(image, layer()(inputs[::-1])))

    @pytest.mark.parametrize("axes", [(1, 1, 4), (1, SIZE, SIZE, 1)])
    def test_operators_with_constants(self, axes):
        c = RNG.uniform(0.5, 1, axes).astype("float32")
        explained(*joined(lambda x: (x * c - c) / c + c))

    @pytest.mark.parametrize(
        "join",
        [
            lambda x, gate: x * gate,
            lambda x, gate: x + gate,
            lambda x, gate: tf.maximum(x, gate),
            lambda x, gate: tf.multiply(gate, x),
        ],
    )
    def test_a_batch_that_meets_pixels_is_refused(self, join):
        model, _ = joined(lambda x: join(x, pooled(x)))
        named = r"'(tf\.\S*|applied\S*|body)'"  # an operator is no layer in Keras 3
        refused(rf"{named}.*from the right.*keras.layers", Explainer, model)

    def test_constants_that_meet_the_batch_are_refused(self):
        two = RNG.uniform(size=(2, SIZE, SIZE, 4)).astype("float32")
        model, _ = joined(lambda x: x * two)
        refused(r"'tf\.math\.multiply\S*'|Mul on 'body'", Explainer, model)

    def test_images_joined_to_one_batch_are_refused(self):
        for join in (layers.Concatenate(axis=0, name="joined"), lambda pair: tf.concat(pair, 0)):
            model, _ = joined(lambda x, join=join: join([x, x]))
            refused(r"'joined'|'tf.concat|'applied", Explainer, model)


def attention_gate(low, skip, upsample=layers.UpSampling2D, last="sigmoid", repeat=None):
    """Additive attention, Oktay et al. 2018, its map brought to the size of the skip."""
    both = layers.add(
        [layers.Conv2D(4, 2, strides=2, padding="same")(skip), layers.Conv2D(4, 1)(low)]
    )
    psi = layers.Conv2D(1, 1, activation=last)(layers.Activation("relu")(both))
    psi = upsample()(psi)
    return psi if repeat is None else repeat(psi)


repeated = keras.ops.repeat if KERAS_3 else backend.repeat_elements
REPEATS = {
    "Lambda of the backend": layers.Lambda(lambda t: repeated(t, 4, axis=3)),
    "function": lambda t: tf.repeat(t, 4, -1),
    "Concatenate": lambda t: layers.Concatenate()([t] * 4),
    "reversed": layers.Lambda(lambda t: 1 - tf.tile(t, [1, 1, 1, 4])),
}


class TestEvidence:
    @pytest.mark.parametrize(
        ("repeat", "last"), [*((name, "sigmoid") for name in REPEATS), ("function", "tanh")]
    )
    def test_a_map_repeated_over_channels(self, repeat, last):
        image = keras.Input((SIZE, SIZE, 3))
        skip = body(image, name="skip")
        low = body(layers.MaxPooling2D()(skip))
        psi = attention_gate(low, skip, last=last, repeat=REPEATS[repeat])
        gated = layers.Multiply(name="gated")([psi, skip])
        x = layers.Concatenate()([layers.UpSampling2D()(low), gated])
        explainer = explained(*finished(image, x), counts=(2,))
        assert explainer.gates == {"gated": (0,)}

    @pytest.mark.parametrize(
        ("gate", "weak"),
        [
            (lambda x: layers.Lambda(lambda t: tf.sigmoid(t) ** 2)(x), False),
            (lambda x: layers.Lambda(lambda t: tf.nn.softmax(t, 1))(x), False),
            (lambda x: layers.Softmax(axis=(1, 2))(x), False),
            (lambda x: tf.nn.softmax(x, 1), False),
            (lambda x: tf.clip_by_value(x, 0, 1), False),
            (lambda x: tf.nn.relu6(x + 3) / 6, False),
            (lambda x: layers.Activation("hard_sigmoid")(x), False),
            (lambda x: layers.Activation(lambda t: tf.nn.sigmoid(2 * t))(x), False),
            (lambda x: layers.Permute((2, 1, 3))(tf.sigmoid(layers.Permute((2, 1, 3))(x))), False),
            (lambda x: 1.0 + tf.sigmoid(x), False),
            (lambda x: layers.Average()([tf.sigmoid(x), tf.sigmoid(-x)]), False),
            (lambda x: tf.sigmoid(x) * tf.sigmoid(-x)[..., :1], False),
            (lambda x: layers.Reshape((SIZE, SIZE, 4))(layers.Flatten()(tf.sigmoid(x))), False),
            (lambda x: tf.tanh(x), True),
            (lambda x: layers.Lambda(tf.math.erf)(x), True),
        ],
    )
    def test_what_counts_as_a_gate(self, gate, weak):
        image = keras.Input((SIZE, SIZE, 3))
        gates = gate(layers.Conv2D(4, 1)(image))
        signal = body(image) if weak else layers.ReLU(6.0)(body(image))
        model, logits = finished(image, layers.Multiply(name="product")([signal, gates]))
        assert explained(model, logits, counts=(2,)).gates["product"] == (1,)

    def test_one_tensor_twice(self):
        image = keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(4, 3, padding="same")(image)
        explained(*finished(image, x * tf.sigmoid(x)), counts=(2,))
        square = finished(image, layers.Multiply(name="square")([x, x]))
        explained(*square, counts=(2,))
        explained(*square, counts=(2,), gates={"square": 0})

    def test_three_factors(self):
        place = layers.Conv2D(1, 1, activation="sigmoid")
        model = joined(lambda x: layers.Multiply(name="m")([place(x), x, pooled(x)]))
        explainer = explained(*model)
        assert explainer.gates == {"m": (0, 2)}

    def test_layers_that_only_compute_a_gate_need_no_rule(self):
        class Own(layers.Layer):
            def __init__(self, units, **kwargs):  # no get_config: it cannot be built anew
                super().__init__(**kwargs)
                self.dense = layers.Dense(units)

            def call(self, x, training=None):
                return tf.sigmoid(self.dense(x)) * (0.0 if training else 1.0)

        image = keras.Input((SIZE, SIZE, 3))
        x = body(image)
        one, two = tf.split(Own(4)(x), 2, axis=-1)
        model, logits = finished(image, layers.Multiply()([x, layers.Concatenate()([one, two])]))
        explainer = explained(model, logits, counts=(2,))
        randomize(model, seed=3)  # its weights are read anew
        images = pictures(2)
        e = explainer.explain(images, target=np.ones((SIZE, SIZE)), layers=())
        np.testing.assert_allclose(e.logits, logits(images), rtol=1e-4, atol=1e-5)

    def test_products_of_matrices_need_no_gate(self):
        def attention(x):
            tokens = layers.Reshape((SIZE * SIZE, 4))(x)
            weights = layers.Softmax()(layers.Dot((2, 2), name="dot")([tokens, tokens]))
            mixed = layers.Dot((2, 1), name="mixed")([weights, layers.Dense(4)(tokens)])
            return layers.Reshape((SIZE, SIZE, 4))(mixed)

        assert explained(*joined(attention)).gates == {}


def two_signals(name="product"):
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Multiply(name=name)([body(image, name="left"), body(image, name="right")])
    model, _ = finished(image, x)
    model.get_layer("logit").bias.assign([3.0])  # something is predicted
    return model


class TestChosen:
    def test_the_error_offers_both_choices_and_each_can_be_followed(self):
        model = two_signals()
        with pytest.raises(KerasganError) as caught:
            Explainer(model)
        message = str(caught.value)
        images, found = pictures(1), {}
        for index, (gate, signal) in enumerate((("left", "right"), ("right", "left"))):
            start = message.index(f"gates={{'product': {index}}}")
            said = message[start : start + 120]
            assert said.index(gate) < said.index(signal)
            explainer = Explainer(model, gates={"product": index})
            explainer.check(images)
            assert explainer.gates == {"product": (index,)}
            e = explainer.explain(images, target=np.ones((SIZE, SIZE)))
            assert e.layers[signal].any()
            assert gate not in e.layers
            found[index] = e.relevance
        assert np.abs(found[0] - found[1]).max() > 0

    def test_quotients(self):
        image = keras.Input((SIZE, SIZE, 3))
        parts = [layers.Conv2D(4, 1, name=name)(image) for name in ("left", "right")]
        ratio = layers.Lambda(lambda p: p[0] / (p[1] + 20.0), name="ratio")(parts)
        model, _ = finished(image, ratio)
        for gates, chosen, reached in ((None, (1,), "left"), ({"ratio": 0}, (0,), "right")):
            explainer = Explainer(model, "epsilon", gates=gates)
            assert explainer.gates == {"ratio": chosen}
            e = explainer.explain(pictures(1), target=np.ones((SIZE, SIZE)))
            assert [name for name in ("left", "right") if name in e.layers] == [reached]
        assert Explainer(model, gates={"ratio": ()}).gates == {"ratio": ()}

    def test_attnlrp_shares_evenly_where_no_gate_can_be_told(self):
        assert Explainer(two_signals(), "attnlrp").gates == {"product": ()}
        assert Explainer(two_signals(), "attnlrp", gates=GATES).gates == {"product": (0,)}

    def test_shared_evenly(self):
        model = two_signals()
        explainer = Explainer(model, "epsilon", gates={"product": ()})
        assert explainer.gates == {"product": ()}
        e = explainer.explain(pictures(2), target=np.ones((SIZE, SIZE)))
        explainer.check(pictures(2), target=np.ones((SIZE, SIZE)))
        row = e.ledger.query("layer == 'product' and image == 0").iloc[0]
        sides = [e.layers[name][0].sum() for name in ("left", "right")]
        np.testing.assert_allclose(sides, row["relevance_in"] / 2, rtol=1e-4)

    def test_three_inputs(self):
        image = keras.Input((SIZE, SIZE, 3))
        parts = [body(image, name=name) for name in "abc"]
        model, _ = finished(image, layers.Multiply(name="product")(parts))
        refused(r"gates={'product': \(0, 2\)}.*'b'", Explainer, model)
        assert Explainer(model, gates={"product": [0, 2]}).gates == {"product": (0, 2)}

    def test_inside_another_model(self):
        image = keras.Input((SIZE, SIZE, 3))
        inner = two_signals()
        model = keras.Model(image, inner(image))
        path = f"{inner.name}/product"
        refused(f"gates={{'{path}': 0}}", Explainer, model)
        assert Explainer(model, gates={path: 0}).gates == {path: (0,)}
        assert Explainer(model, gates={"product": 0}).gates == {path: (0,)}

    @pytest.mark.parametrize(
        ("gates", "message"),
        [
            ({"produkt": 0}, "such as .'product'.*'produkt'"),
            ({"left": 0}, "products of tensors.*'left'"),
            ({"product": 2}, r"'product'.*2 inputs.*Received: \(2,\)"),
            ({"product": -1}, r"Received: \(-1,\)"),
            ({"product": (0, 1)}, r"Received: \(0, 1\)"),
            ({"product": "left"}, "indices.*'left'"),
            ({"product": 0.0}, "indices.*0.0"),
            ({"product": True}, "indices.*True"),
            (0, "dict.*Received: 0"),
            (["product"], "dict.*Received"),
        ],
    )
    def test_choices_that_do_not_fit(self, gates, message):
        refused(message, Explainer, two_signals(), gates=gates)

    def test_a_model_without_products(self):
        model, _ = joined(lambda x: x)
        refused(r"none.*'x'", Explainer, model, gates={"x": 0})
        assert Explainer(model).gates == {}


GATES = {"product": 0}


class TestWherever:
    def test_saved_with_explanations(self, tmp_path):
        e = Explainer(two_signals(), gates=GATES).explain(pictures(1), np.ones((SIZE, SIZE)))
        e.save(tmp_path / "e")
        assert kg.explain.Explanation.load(tmp_path / "e").gates == e.gates == {"product": (0,)}

    def test_export(self, tmp_path):
        explainer = Explainer(two_signals(), gates=GATES)
        explainer.export(tmp_path / "saved")
        saved = tf.saved_model.load(str(tmp_path / "saved"))
        assert json.loads(saved.gates.numpy()) == {"product": [0]}
        images = tf.constant(pictures(2))
        found = saved.explain(images)["relevance"]
        np.testing.assert_allclose(found, explainer.relevance(images), rtol=1e-4, atol=1e-7)

    def test_merged(self):
        models = [two_signals(), two_signals()]
        refused(r"gates={'product': 0}", MergedExplainer, models)
        explainer = MergedExplainer(models, augment="flips", gates=GATES)
        e = explainer.explain(pictures(1), np.ones((SIZE, SIZE)))
        assert e.gates == explainer.gates == {"product": (0,)}

    def test_judge(self):
        image, mask = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 1))
        x = layers.Concatenate()([image, mask])
        x = layers.Multiply(name="product")([body(x), body(x)])
        model = keras.Model([image, mask], layers.Conv2D(1, 1)(x), name="critic")
        refused(r"gates={'critic/product': 0}", DiscriminatorExplainer, model)
        judge = DiscriminatorExplainer(model, gates={"critic/product": 0})
        assert judge.explain(
            pictures(1), np.ones((1, SIZE, SIZE)), np.ones((SIZE, SIZE))
        ).explanation.gates

    def test_penalty(self):
        corner = np.zeros((SIZE, SIZE))
        corner[:2, :2] = 1
        model = two_signals()
        refused(r"gates={'product': 0}", RelevancePenalty(corner), model)
        found = [
            float(RelevancePenalty(corner, gates={"product": i})(model)(*losses(model)))
            for i in (0, 1)
        ]
        assert found[0] != found[1]

    def test_evaluation(self, tmp_path):
        model = two_signals()
        samples = kg.data.synthetic.write_dataset(tmp_path, count=4, size=32)
        options = {"k": 9, "controls": False, "verbose": False}
        refused(r"gates={'product': 0}", kg.evaluation.localisation, model, samples, **options)
        folder = tmp_path / "kept"
        table = kg.evaluation.localisation(model, samples, gates=GATES, folder=folder, **options)
        assert table.attrs["gates"] == {"product": (0,)}
        with pytest.raises(KerasganError, match="gates"):
            kg.evaluation.localisation(
                model, samples, gates={"product": 1}, folder=folder, **options
            )

    def test_advice(self, tmp_path):
        samples = kg.data.synthetic.write_dataset(tmp_path, count=4, size=32)
        model = two_signals()
        options = {"rules": ["epsilon"], "steps": 1, "verbose": False}
        advice = kg.evaluation.advise(model, samples, gates=GATES, **options)
        assert "'product': (0,)" in advice.text

    def test_reports(self, tmp_path):
        samples = kg.data.synthetic.write_dataset(tmp_path / "data", count=2, size=32)
        model, other = two_signals(), two_signals("other")
        options = {"rules": "epsilon", "images": 1, "verbose": False}
        with pytest.raises(KerasganError, match=r"gates={'product': 0}"):
            kg.report.write(model, samples, tmp_path / "none", **options)
        page = kg.report.write(model, samples, tmp_path / "one", gates=GATES, **options)
        assert "Gate of &#39;product&#39; in explanations" in page.read_text(encoding="utf-8")
        models = {"a": model, "b": other}
        gates = {"a": GATES, "b": {"other": 1}}
        page = kg.report.compare(models, samples, tmp_path / "two", gates=gates, **options)
        text = page.read_text(encoding="utf-8")
        assert "Gate of &#39;product&#39;" in text
        assert "Gate of &#39;other&#39;" in text
        with pytest.raises(KerasganError, match="'c'"):
            kg.report.compare(models, samples, tmp_path / "no", gates={"c": GATES}, **options)


def losses(model):
    images = pictures(2)
    return images, np.ones((2, SIZE, SIZE, 1), "float32"), None, tf.constant(0), False

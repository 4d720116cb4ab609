import keras
import numpy as np
import pytest

import kerasgan as kg
from kerasgan.explain.canonize import read_graph


def numbers(shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def awake(model):
    """Gives batch norms other values than those they start from."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "beta" in weight.name or "mean" in weight.name or "bias" in weight.name:
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def test_shapes_and_names():
    model = kg.models.residual_unet(size=(32, 64), channels=1, classes=3, filters=2, levels=3)
    assert model.output_shape == (None, 32, 64, 3)
    sizes = {n: model.get_layer(n).output.shape[1:] for n in ("stem_act", "down_3_2_act")}
    assert sizes == {"stem_act": (16, 32, 2), "down_3_2_act": (4, 8, 8)}
    assert model.get_layer("up_1_1_act").output.shape[1:] == (8, 16, 4)
    probability = model(numbers((2, 32, 64, 1))).numpy()
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-5)


def test_counted_by_hand():
    """One level: stem, two blocks without a shortcut of their own, the transposed convolution."""
    model = kg.models.residual_unet(size=32, filters=4, levels=1)
    stem, norm, block, last = 4 * 4 * 3 * 4, 4 * 4, 2 * (3 * 3 * 4 * 4 + 4 * 4), 4 * 4 * 4 + 1
    assert model.count_params() == stem + norm + 2 * block + last


def test_a_block_is_what_its_formula_says():
    model = awake(kg.models.residual_unet(size=32, filters=4, levels=1))
    names = ["stem_act", "down_1_1_a_act", "down_1_1_b_bn", "down_1_1_act"]
    look = keras.Model(model.input, [model.get_layer(name).output for name in names])
    before, _, branch, after = (x.numpy() for x in look(numbers((1, 32, 32, 3))))
    np.testing.assert_allclose(after, np.maximum(before + branch, 0), rtol=1e-5, atol=1e-6)


def test_file_and_explanation(tmp_path):
    model = awake(kg.models.residual_unet(size=32, filters=2, levels=2))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    image = numbers((2, 32, 32, 3))
    np.testing.assert_array_equal(again(image), model(image))
    assert "affine" not in {node.kind for node in read_graph(model).nodes}
    for rule in ("epsilon", "gamma", "z-plus"):
        kg.Explainer(model, rule=rule).check(image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 40}, r"multiple of 2\*\*levels = 32. Received: 40"),
        ({"filters": 0}, "'filters' must be a whole number from 1 up"),
        ({"levels": 2.0}, "'levels' must be a whole number from 1 up"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(kg.KerasganError, match=message):
        kg.models.residual_unet(**arguments)

"""What layers are called: by their resolution, and whether they come before the smallest maps."""

import keras
import numpy as np
import pytest
from keras import layers
from toys import small

import kerasgan as kg
from kerasgan.explain import Explanation


def parts(model, size=(32, 32), channels=3):
    images = np.zeros((1, *size, channels), "float32")
    target = np.ones((1, *size, 1), "float32")
    e = kg.Explainer(model, rule="epsilon", preprocess="[-1,1]").explain(images, target=target)
    return e, {name: e.layers.describe(name) for name in e.layers}


def theirs(size=32):
    """A U-Net as others write it: layers without names, pooling, upsampling, a gate by a mean."""

    def block(x, width):
        x = layers.Conv2D(width, 3, padding="same")(x)
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    image = keras.Input((size, size, 3))
    x, skips = image, []
    for width in (2, 3):
        x = block(x, width)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 4)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    for skip in reversed(skips):
        if size is None:
            x = layers.Conv2DTranspose(x.shape[-1], 2, 2)(x)
        else:
            x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = block(layers.Concatenate()([skip, x]), skip.shape[-1])
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.parametrize("size", [32, None])
def test_layers_of_someone_elses_network(size):
    model = theirs(size)
    _, found = parts(model)
    convs = [layer.name for layer in model.layers if type(layer) is layers.Conv2D]
    first, second, middle, _, up_1, up_2, head = convs
    assert [found[name] for name in (first, second, middle, up_1, up_2, head)] == [
        "encoder 1/1",
        "encoder 1/2",
        "bottleneck 1/4",
        "decoder 1/2",
        "decoder 1/1",
        "decoder 1/1",
    ]
    pools = [layer.name for layer in model.layers if isinstance(layer, layers.MaxPooling2D)]
    assert [found[name] for name in pools] == ["encoder 1/2", "bottleneck 1/4"]


def test_segformer():
    model = kg.models.segformer(size=64, filters=4, depths=(1, 1, 1, 1))
    _, found = parts(model, (64, 64))
    seen = {part for part in found.values() if part}
    assert {"encoder 1/4", "encoder 1/8", "encoder 1/16", "bottleneck 1/32"} <= seen
    assert "decoder 1/4" in seen
    last = [name for name, part in found.items() if part][-1]
    assert found[last].startswith("decoder")


def test_height_and_width_apart_and_a_network_of_one_resolution():
    image = keras.Input((16, 32, 3))
    x = layers.Conv2D(2, 3, strides=(1, 2), padding="same", name="wide")(image)
    x = layers.UpSampling2D((1, 2))(x)
    model = keras.Model(image, layers.Conv2D(1, 1, name="end")(x))
    _, found = parts(model, (16, 32))
    assert (found["wide"], found["end"]) == ("bottleneck 1/1 × 1/2", "decoder 1/1")
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(2, 3, padding="same", name="a")(image)
    model = keras.Model(image, layers.Conv2D(1, 1, name="b")(x))
    assert parts(model, (16, 16))[1] == {"a": "layer 1/1", "b": "layer 1/1"}


def test_parts_are_saved_and_drawn(tmp_path):
    e, _ = parts(small(), (8, 8))
    e.save(tmp_path / "e.npz")
    again = Explanation.load(tmp_path / "e.npz")
    assert again.layers.describe("down_2") == "bottleneck 1/2"
    titles = [axis.get_title() for axis in again.plot(layers=["down_1", "up_1_conv"]).axes]
    named = [title.rpartition("\n±")[0] for title in titles[3:5]]
    assert named == ["encoder 1/1\ndown_1", "decoder 1/1\nup_1_conv"]

"""Pictures of explanations, read back as pixels."""

import numpy as np
import pytest
from matplotlib.image import imread
from toys import IMAGES

from kerasgan.errors import KerasganError
from kerasgan.explain import Explanation
from kerasgan.explain.draw import draw, to_picture


def made(relevance, layers=(), classes=1):
    logits = np.full((len(relevance), 8, 8, classes), -1.0, "float32")
    logits[:, 2:6, 2:6, -1] = 1
    images = IMAGES[: len(relevance)]
    arrays = {
        "images": images,
        "relevance": relevance,
        "logits": logits,
        "target": (logits > 0).astype("float32"),
    }
    arrays.update({f"layers/{name}": array for name, array in dict(layers).items()})
    names = {name: name for name in dict(layers)}
    return Explanation(arrays, names)


def colours(axis):
    return axis.get_images()[0].get_array()


def test_zero_is_white_in_the_middle_and_channels_are_summed():
    relevance = np.zeros((1, 8, 8, 3), "float32")
    relevance[0, 0, 0] = [3, -1, -1]
    relevance[0, 7, 7] = [-4, 1, 1]
    relevance[0, 4, 4] = [2, -1, -1]
    picture = colours(draw(made(relevance)).axes[1])
    red, blue, white, other = picture[0, 0], picture[7, 7], picture[4, 4], picture[3, 3]
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    assert np.array_equal(white, other)
    assert white[:3].min() > 0.95


def test_each_panel_has_its_own_scale():
    small = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    figure = draw(made(small, {"a": 1000 * small, "b": small[:, :4, :4]}), layers=["a", "b"])
    assert [axis.get_title() for axis in figure.axes[:5]] == [
        "image",
        "relevance of pixels",
        "a\n8 × 8",
        "b\n4 × 4",
        "predicted mask",
    ]
    np.testing.assert_allclose(colours(figure.axes[1]), colours(figure.axes[2]), atol=1e-5)


def test_picks_layers_worth_a_look():
    sizes = {"tiny": 2, "down": 8, "middle": 9, "up": 10, "most": 11, "last": 12}
    layers = {name: np.ones((1, size, size, 2), "float32") for name, size in sizes.items()}
    figure = draw(made(np.zeros((1, 8, 8, 3), "float32"), layers))
    shown = [axis.get_title().split("\n")[0] for axis in figure.axes]
    assert shown[2:5] == ["middle", "up", "most"]


@pytest.mark.parametrize("classes", [1, 3])
def test_written(tmp_path, classes):
    made(IMAGES, classes=classes).plot(tmp_path / "e.png")
    picture = imread(tmp_path / "e.png")
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 0.1


def test_nothing_to_see():
    e = made(np.zeros((1, 8, 8, 3), "float32"))
    e.logits[:] = -1
    picture = colours(draw(e).axes[1])
    assert np.ptp(picture[..., :3]) == 0 or picture[..., :3].min() > 0.95


def test_at_most_eight_rows():
    relevance = np.zeros((9, 8, 8, 3), "float32")
    e = made(relevance)
    e.images = np.zeros((9, 8, 8, 3))
    assert len(draw(e).axes) == 8 * 3 + 1


def test_unknown_layer():
    with pytest.raises(KerasganError, match="No relevance at a layer 'b'"):
        made(IMAGES, {"a": IMAGES}).plot(layers=["b"])


def test_to_picture():
    assert to_picture(np.full((2, 2, 3), -1.0)).max() == 0
    assert to_picture(np.ones((2, 2, 1))).tolist() == np.ones((2, 2, 3)).tolist()
    grey = to_picture(np.array([0, 255], "uint8").reshape(1, 2, 1))
    assert grey[0, :, 0].tolist() == [0, 1]

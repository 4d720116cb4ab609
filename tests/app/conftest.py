import keras
import numpy as np
import pytest

from kerasgan.app.network import Network


def red_model(size=(16, 16), mode=None):
    """A network whose logit is the red of each pixel: its mask is where there is more than grey."""
    image = keras.Input((*size, 3))
    red = keras.layers.Conv2D(1, 1, activation="sigmoid", name="red")
    model = keras.Model(image, red(image))
    red.set_weights([np.array([1.0, 0, 0]).reshape(1, 1, 3, 1), np.zeros(1)])
    return model


@pytest.fixture(scope="session")
def network():
    return Network(red_model(), {"mode": "stretch"}, "red")


@pytest.fixture(scope="session")
def letterboxed():
    return Network(red_model(), {"mode": "letterbox"}, "red")


@pytest.fixture
def squares():
    """Grey-blue pixels (height 32, width 48) with two red squares, of 64 and of 16 pixels."""
    pixels = np.full((32, 48, 3), (20, 60, 90), np.uint8)
    pixels[8:16, 6:14] = 250, 10, 10
    pixels[24:28, 30:34] = 200, 10, 10
    return pixels

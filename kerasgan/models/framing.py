"""How images were brought to the size of a network when it was trained, which it expects again."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kerasgan.data.resize import MODES
from kerasgan.data.windows import FRAMINGS, SCALE, WINDOW, check_windows
from kerasgan.errors import KerasganError, warn
from kerasgan.validation import check_choice


class Framing(NamedTuple):
    """How an image of any size becomes what a network takes.

    Attributes:
        mode: "stretch", "letterbox" or "window".
        scale: By how much images are enlarged before windows are cut from them.
    """

    mode: str = MODES[0]
    scale: float = SCALE

    def __str__(self) -> str:
        return f"mode='{self.mode}'" + f", scale={self.scale:g}" * (self.mode == WINDOW)


_known: weakref.WeakKeyDictionary[keras.Model, Framing] = weakref.WeakKeyDictionary()


def set_framing(network: keras.Model, mode: str, scale: float | None = None) -> None:
    """Set how a network expects its images, for as long as the object lives."""
    _known[network] = Framing(*check_windows(mode, scale if mode == WINDOW else None)[:2])


def get_framing(network: keras.Model) -> Framing | None:
    """Return what was set for a network, or None."""
    return _known.get(network)


def framing_of(networks: Sequence[keras.Model], mode: Any = None, scale: Any = None) -> Framing:
    """Return how to bring images to networks: as asked for, else as in training, else stretched.

    It is an error if training was not alike for all of them and nothing is asked for, and a warning
    if whole images are asked for otherwise than in training.
    """
    known = [(network.name, _known[network]) for network in networks if network in _known]
    if mode is None and len({framing for _, framing in known}) > 1:
        each = "; ".join(f"'{name}': {framing}" for name, framing in known)
        raise KerasganError(
            "Argument 'mode' must be given for models that were not trained on images brought to "
            f"them alike. Received: {each}"
        )
    trained = known[0][1] if known else Framing()
    mode = trained.mode if mode is None else check_choice("mode", mode, FRAMINGS)
    for name, framing in known:
        if mode not in (WINDOW, framing.mode):
            warn(
                f"Network '{name}' was trained on images of {framing}, and sees these with mode="
                f"'{mode}', where objects have another size or shape: leave 'mode' out"
            )
    if scale is None:
        scale = trained.scale if mode == WINDOW else SCALE
    return Framing(mode, scale)


def whole_image_mode(network: keras.Model, mode: Any = None) -> str:
    """Return how whole images are resized for a network, as `framing_of`; windows are refused."""
    if mode is None and framing_of([network]).mode == WINDOW:
        raise KerasganError(
            f"Network '{network.name}' was trained on windows of images, and whole images cannot "
            "be resized for it here. Use kg.predict or kg.evaluate, which cut windows, or pass "
            "windows, as samples.batches(..., mode='window') gives them"
        )
    return check_choice("mode", framing_of([network], mode).mode, MODES)

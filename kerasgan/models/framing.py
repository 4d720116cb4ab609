"""How images were brought to the size of a network when it was trained, which it expects again."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasgan.data.resize import MODES, resize_image
from kerasgan.data.windows import FOREGROUND, FRAMINGS, SCALE, WINDOW, check_windows
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


def check_framing(mode: Any, scale: Any = None) -> Framing:
    """Return how a file says that a network expects its images; a scale is of windows alone."""
    return Framing(*check_windows(mode, scale if mode == WINDOW else None)[:2])


def set_framing(network: keras.Model, mode: str, scale: float | None = None) -> None:
    """Set how a network expects its images, for as long as the object lives."""
    _known[network] = check_framing(mode, scale)


def get_framing(network: keras.Model) -> Framing | None:
    """Return what was set for a network, or None."""
    return _known.get(network)


def note_framing(
    network: keras.Model, data: Mapping[str, Any], recipe: Mapping[str, Any] | None
) -> None:
    """Set what a network is trained on, if known; warn if its recipe says otherwise."""
    if "mode" not in data:
        return
    set_framing(network, data["mode"], data.get("scale"))
    default = {"mode": MODES[0], "scale": SCALE, "foreground": FOREGROUND}
    stated, given = (
        {name: value for name in default if (value := facts.get(name)) is not None}
        for facts in (recipe or {}, data)
    )
    if stated.get("mode", MODES[0]) != MODES[0] and {**default, **stated} != {**default, **given}:
        says, comes = (", ".join(f"{k}={v!r}" for k, v in x.items()) for x in (stated, given))
        warn(
            f"The recipe says {says}, and 'fit' is given images of {comes}. Pass mode, scale and "
            "foreground of the recipe to samples.batches"
        )


def framing_of(networks: Sequence[keras.Model], mode: Any = None, scale: Any = None) -> Framing:
    """Return how to bring images to networks: as asked for, else as in training, else stretched.

    It is an error if training was not alike for all of them and nothing is asked for, and a warning
    if whole images are asked for otherwise than in training.
    """
    known = {network: _known[network] for network in networks if network in _known}
    if mode is None:
        mode = _agreed("mode", known) or MODES[0]
    mode = check_choice("mode", mode, FRAMINGS)
    for network, framing in known.items():
        if mode not in (WINDOW, framing.mode):
            warn(
                f"Network '{network.name}' was trained on images of {framing}, and sees these with "
                f"mode='{mode}', where objects have another size or shape: leave 'mode' out"
            )
    if scale is None and mode == WINDOW:
        scale = _agreed("scale", {k: v for k, v in known.items() if v.mode == WINDOW})
    return Framing(mode, SCALE if scale is None else scale)


def _agreed(part: str, known: dict[keras.Model, Framing]) -> Any:
    """Return what all networks were trained with, None if nothing is known; or raise."""
    values = {getattr(framing, part) for framing in known.values()}
    if len(values) > 1:
        each = "; ".join(f"'{network.name}': {framing}" for network, framing in known.items())
        raise KerasganError(
            f"Argument '{part}' must be given for models that were not trained on images brought "
            f"to them alike. Received: {each}"
        )
    return values.pop() if values else None


def bring_whole(
    network: keras.Model, images: Sequence[np.ndarray], size: tuple[int, int], mode: Any = None
) -> np.ndarray:
    """Stack images, float32 in [-1, 1], after resizing those of another size, as `framing_of`."""
    fitting = [image.shape[:2] == size for image in images]
    if all(fitting):
        return np.stack(images)
    framing = framing_of([network], mode)
    if mode is None and framing.mode == WINDOW:
        raise KerasganError(
            f"Network '{network.name}' was trained on windows of images, and whole images cannot "
            f"be resized for it here. Pass images of {size}, such as windows; kg.predict and "
            "kg.evaluate cut them"
        )
    resizing = check_choice("mode", framing.mode, MODES)
    pairs = zip(images, fitting)
    return np.stack([x if fits else resize_image(x, size, resizing) for x, fits in pairs])

"""What values a network expects of its images, by name, and what is assumed without one.

Images in kerasgan lie in [-1, 1]. For a network that was trained on others they are preprocessed by
a function, most often one that has a name here: names can be written into reports and bundles.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, unknown_name, warn
from kerasgan.models.functional import generator_of
from kerasgan.validation import into_range

# Of ImageNet's colours, red, green, blue: in [0, 1], and for the weights from Caffe in [0, 255].
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])


def _unit(images: Any) -> Any:
    return (images + 1) / 2


def _bytes(images: Any) -> Any:
    return (images + 1) * 127.5


def _imagenet(images: Any) -> Any:
    _check_color(images, "imagenet")
    return (_unit(images) - MEAN.astype(np.float32)) / DEVIATION.astype(np.float32)


def _caffe(images: Any) -> Any:
    _check_color(images, "caffe")
    return (_bytes(images) - CAFFE_MEAN.astype(np.float32))[..., ::-1]


NAMES: dict[str, Callable[[Any], Any]] = {
    "[-1,1]": lambda images: images,
    "[0,1]": _unit,
    "[0,255]": _bytes,
    "imagenet": _imagenet,
    "caffe": _caffe,
}
"""From images in [-1, 1] to what a network takes, by name; arrays or tensors."""

DEFAULT_PREPROCESS = "[-1,1]"
ALIASES = {"tf": DEFAULT_PREPROCESS, "torch": "imagenet"}
OWN = ({"image", "mask_conv", "mask"}, {"image", "down_2_bn", "up_1_skip", "mask"})
RANGES = {"[-1,1]": (-1, 1), "[0,1]": (0, 1), "[0,255]": (0, 255)}
BEYOND = 1.5

_known: weakref.WeakKeyDictionary[keras.Model, str] = weakref.WeakKeyDictionary()
_warned: weakref.WeakSet[keras.Model] = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What is done to images in [-1, 1] before a network sees them.

    Attributes:
        name: A key of `NAMES`, or what a function of one's own is called.
        function: From a batch to a batch.
        named: Whether the name is a key of `NAMES`.
        assumed: Whether nobody said so.
    """

    name: str
    function: Callable[[Any], Any]
    named: bool = True
    assumed: bool = False

    def __call__(self, images: Any) -> Any:
        """Bring a batch to what the network takes."""
        return self.function(images)

    def __str__(self) -> str:
        known = f"images in {self.name.replace(',', ', ')}" if self.name[0] == "[" else self.name
        shown = known if self.named else f"what {self.name} makes of images in [-1, 1]"
        return f"{shown} (assumed)" if self.assumed else shown


def preprocess_of(model: Any, preprocess: Any = None) -> Preprocess:
    """Return what is done to images in [-1, 1] before a network.

    `preprocess` is a key of `NAMES`, blanks and capitals aside; "tf" or "torch", as
    `keras.applications` calls two of them; a function; or None for what is known of the network,
    else [-1, 1]. For a network that kerasgan neither made nor trained this is assumed, with a
    warning once.
    """
    if isinstance(preprocess, Preprocess):
        return preprocess
    if preprocess is None:
        network = generator_of(model)
        known = _known.get(network)
        assumed = (
            known is None
            and not _is_own(network)
            and rescaled_input_range(network) != DEFAULT_PREPROCESS
        )
        if assumed and network not in _warned:
            _warned.add(network)
            warn(_assumption(network))
        name = known or DEFAULT_PREPROCESS
        return Preprocess(name, NAMES[name], assumed=assumed)
    if callable(preprocess):
        name = getattr(preprocess, "__name__", type(preprocess).__name__)
        return Preprocess(name, preprocess, named=False)
    name = "".join(str(preprocess).split()).lower()
    name = ALIASES.get(name, name)
    if not isinstance(preprocess, str) or name not in NAMES:
        error = unknown_name("preprocess", preprocess, NAMES)
        raise KerasganError(f"{error}. A function from images in [-1, 1] can be passed too")
    return Preprocess(name, NAMES[name])


def check_whole_values(network: keras.Model, preprocess: Preprocess) -> None:
    """Raise for a network that takes whole numbers if it would be given fractions."""
    taken = tf.as_dtype(network.inputs[0].dtype)
    if taken.is_integer and preprocess.named and preprocess.name != "[0,255]":
        raise KerasganError(
            f"Network '{network.name}' takes whole numbers ({taken.name}), and '{preprocess.name}' "
            "gives fractions, of which only the whole part would be left. Pass preprocess='[0,255]'"
        )


def set_preprocess(network: keras.Model, name: str = DEFAULT_PREPROCESS) -> None:
    """Set the name of what a network expects, for as long as the object lives."""
    _known[network] = name


def get_preprocess(network: keras.Model) -> str | None:
    """Return the name that was set for a network, or None."""
    return _known.get(network)


def check_range(images: Any, preprocess: Preprocess, network: keras.Model | None = None) -> None:
    """Raise or warn if images cannot lie in [-1, 1] as they are meant to.

    Images for a function of one's own are not checked. `network` is the one whose own input they
    may be: where nothing is known of it, images beyond [-1, 1] are a warning instead of an error,
    and neither where it takes them by its first layer.
    """
    parts = [images] if hasattr(images, "dtype") else images
    parts = [np.asarray(part) for part in parts if hasattr(part, "dtype")]
    parts = [part for part in parts if part.dtype.kind in "biuf" and part.size]
    if not parts or not preprocess.named:
        return
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    if not np.isfinite([low, high]).all():
        return  # whoever reads them says which
    whole = [str(part.dtype) for part in parts if part.dtype.kind in "bu"]
    known = None if network is None else rescaled_input_range(network)
    own_input = preprocess.assumed and network is not None
    if own_input and known and RANGES[known][0] <= low <= high <= RANGES[known][1]:
        return
    if whole or low < -BEYOND or high > BEYOND:
        mend = into_range("images", low, high)
        problem = (
            f"Argument 'images' must lie in [-1, 1]. Received: {' '.join([*whole[:1], 'values'])} "
            f"from {low:g} to {high:g}; {mend} brings pixels there"
        )
        if not own_input:
            raise KerasganError(problem)
        problem += f". '{network.name}' is given them as they are"
    elif 0 <= low < 0.25 and 0.5 < high <= 1:
        problem = (
            f"Argument 'images' must lie in [-1, 1]. Received: values from {low:g} to {high:g}, "
            "none below 0: if 0 is black, pass images * 2 - 1"
        )
    else:
        return
    warn(problem)


def _is_own(network: keras.Model) -> bool:
    """Whether a network is one of `kerasgan.models`, told by names that these alone have."""
    names = {layer.name for layer in network.layers}
    return any(own <= names for own in OWN)


def rescaled_input_range(network: keras.Model) -> str | None:
    """Return what a network that begins with `Rescaling` takes; None where it does not say."""
    layers = [each for each in network.layers if not isinstance(each, keras.layers.InputLayer)]
    if not layers or not isinstance(layers[0], keras.layers.Rescaling):
        return None
    scale, offset = np.ravel(layers[0].scale), np.ravel(layers[0].offset)
    for name, ends in RANGES.items():
        became = [end * scale + offset for end in ends]
        if any(np.allclose(np.transpose(became), known, atol=0.02) for known in RANGES.values()):
            return name
    return None


def _assumption(network: keras.Model) -> str:
    taken = rescaled_input_range(network)
    known = "was not made by kerasgan, and which values it expects is not known"
    advice = "'[0,1]', '[0,255]', 'imagenet', 'caffe' or a function, if it takes others"
    if taken:
        known, advice = f"begins by scaling images in {taken.replace(',', ', ')}", f"'{taken}'"
    return (
        f"Network '{network.name}' {known}. It is given images in [-1, 1]: pass preprocess="
        f"{advice}; or '[-1,1]', if that is right"
    )


def _check_color(images: Any, name: str) -> None:
    if images.shape[-1] != 3:
        raise KerasganError(
            f"Argument 'preprocess' can be '{name}' for images of 3 channels, red, green and blue. "
            f"Received: {images.shape[-1]}"
        )

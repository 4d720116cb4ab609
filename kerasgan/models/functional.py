"""Networks of any kind as functional Keras models from an image to a mask."""

from __future__ import annotations

import os
import re
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.stack import has_symbolic_outputs, shape_called_on

LOAD = (
    "load it first, keras.models.load_model(path, compile=False), with "
    "custom_objects={'its name': its class} for layers and losses of your own"
)
WRAP = (
    "call it on an input of fixed shape: image = keras.Input((height, width, channels)); "
    "model = keras.Model(image, yours(image)); with several inputs, on as many, the image first"
)


def generator_of(model: Any) -> keras.Model:
    """Return the network that maps an image to a mask.

    Args:
        model: a functional `keras.Model` from image to mask, an object with a `generator`
            attribute, such as `SegmentationGAN`, a subclassed `keras.Model` that has been called on
            images, or what `tf.saved_model.load` returns; the latter two are wrapped into a
            functional one.

    Returns:
        The functional `keras.Model` itself, the generator inside, or the wrapped network.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> kg.models.generator_of(gan) is gan.generator
        True
    """
    return as_functional(model)


def as_functional(
    model: Any, size: tuple[int, int] | None = None, channels: int | None = None
) -> keras.Model:
    """Return the network that maps an image to a mask, wrapped where it has no symbolic input."""
    if isinstance(model, (str, os.PathLike)):
        raise KerasganError(
            f"Argument 'model' must be a network, not a file. Received: '{os.fspath(model)}'; "
            f"{LOAD}. What SegmentationGAN wrote is loaded by kg.SegmentationGAN.load(path)"
        )
    network = getattr(model, "generator", model)
    if hasattr(network, "signatures") and not isinstance(network, keras.Model):
        return _of_saved(network, size)
    if not isinstance(network, keras.Model):
        origin = type(network).__module__.partition(".")[0]
        if "keras" in origin and hasattr(network, "layers"):
            raise KerasganError(
                f"Argument 'model' must be a model of keras {keras.__version__}. Received: "
                f"'{network.name}', a model of {origin}, which is another Keras. Write it with "
                "tf.saved_model.save(model, path), and pass tf.saved_model.load(path)"
            )
        how = "of files, keras.models.load_model makes one"
        if isinstance(network, keras.layers.Layer):
            how = "of a SavedModel pass tf.saved_model.load(path), and of a layer of yours "
            how += "keras.Model(image, layer(image)) with image = keras.Input(shape)"
        raise KerasganError(
            "Argument 'model' must be a keras.Model from image to mask, or hold one as "
            f"'.generator'. Received: {type(model).__name__}; {how}"
        )
    return network if is_functional(network) else _wrapped(network, size, channels)


def is_functional(network: Any) -> bool:
    """Say whether something is a Keras model with symbolic inputs and outputs."""
    return isinstance(network, keras.Model) and has_symbolic_outputs(network)


def feature_maps(network: keras.Model) -> dict[str, Any]:
    """Outputs (batch, height, width, channels) of the layers that have one, by name."""
    alone = [each for each in network.layers if not isinstance(each, keras.Model)]
    outputs = {each.name: getattr(each, "output", None) for each in alone}
    return {name: out for name, out in outputs.items() if len(getattr(out, "shape", ())) == 4}


def way_down(network: keras.Model, size: tuple[int, int]) -> dict[str, int]:
    """Pixels in the map of each layer, but for the image, up to the last of the smallest maps."""
    maps = dict(list(feature_maps(network).items())[1:])
    image = tf.TensorSpec((1, *size, network.inputs[0].shape[-1]), network.inputs[0].dtype)
    run = tf.function(keras.Model(network.inputs, maps), autograph=False)
    shapes = run.get_concrete_function(image).structured_outputs
    areas = {name: shapes[name].shape[1] * shapes[name].shape[2] for name in maps}
    names = list(areas)
    last = len(names) - names[::-1].index(min(reversed(names), key=areas.get))
    return {name: areas[name] for name in names[:last]}


def names_of_outputs(network: keras.Model) -> list[str]:
    """Name a network's outputs, in their order."""
    form = getattr(network, "output", None)
    if isinstance(form, dict):
        return sorted(form)
    return list(getattr(network, "output_names", None) or [x.name for x in network.outputs])


def check_one_input(network: keras.Model, argument: str = "model") -> None:
    """Raise for a network that takes anything beside the image."""
    if len(network.inputs) == 1:
        return
    names = getattr(network, "input_names", None) or [x.name for x in network.inputs]
    taken = [f"'{name}' {tuple(x.shape[1:])}" for name, x in zip(names, network.inputs)]
    raise KerasganError(
        f"Argument '{argument}' must take one input, the image. Received: '{network.name}' with "
        f"{len(network.inputs)} inputs, {', '.join(taken)}. Build a model of the image alone, that "
        "gives the others fixed values or computes them: image = keras.Input((height, width, "
        "channels)); model = keras.Model(image, yours([image, others(image)]))"
    )


class _Saved(keras.layers.Layer):
    """Calls a signature of a SavedModel."""

    def __init__(self, saved: Any, argument: str, result: str, function: Any):
        super().__init__(name="saved_model")
        self.saved, self.argument, self.result, self.function = saved, argument, result, function

    def call(self, image):
        return self.function(**{self.argument: image})[self.result]


def _of_saved(saved: Any, size: tuple[int, int] | None) -> keras.Model:
    """Wrap what `tf.saved_model.load` returns: the signature for serving, or the only one."""
    signatures = dict(saved.signatures)
    function = signatures.get("serving_default")
    if function is None and len(signatures) == 1:
        (function,) = signatures.values()
    taken = {} if function is None else function.structured_input_signature[1]
    given = {} if function is None else function.structured_outputs
    if len(taken) != 1 or len(given) != 1:
        raise KerasganError(
            "Argument 'model' must be a SavedModel with a signature 'serving_default' from one "
            f"image to one mask. Received: signatures {sorted(signatures)}, from {sorted(taken)} "
            f"to {sorted(given)}"
        )
    ((argument, spec),), (result,) = taken.items(), given
    shape = spec.shape[1:]
    if size is not None and shape.rank == 3:
        shape = (*size, shape[-1])
    image = keras.Input(shape, batch_size=spec.shape[0], name="image", dtype=spec.dtype)
    mask = _Saved(saved, argument, result, function)(image)
    return keras.Model(image, mask, name="saved_model")


def _wrapped(network: keras.Model, size: Any, channels: int | None) -> keras.Model:
    shape = None if channels is None else (*(size or (None, None)), channels)
    seen = shape_called_on(network)
    if seen is not None and len(seen) == 4:
        shape = seen[1:] if shape is None or size is None else (*shape[:2], seen[-1])
    if shape is None:
        raise KerasganError(
            f"'{network.name}' ({type(network).__name__}) is a subclassed model of which the shape "
            f"of its images is not known here; {WRAP}"
        )
    image = keras.Input(shape, name="image")
    try:
        return keras.Model(image, network(image), name=network.name)
    except Exception as error:
        advice = WRAP if None not in shape else "pass size=, the side that it was trained at"
        raise KerasganError(
            f"'{network.name}' ({type(network).__name__}) cannot be called on images of shape "
            f"{shape}: {first_line(error)}; {advice}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error that says something; Keras puts another before it."""
    plain = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    wrapped = len(lines) > 1 and lines[0].startswith("Exception encountered when calling")
    lines = lines[wrapped:]
    while len(lines) > 1 and lines[0].endswith(":"):
        lines[:2] = [" ".join(lines[:2])]
    return lines[0] if lines else type(error).__name__

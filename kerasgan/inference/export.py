"""Networks for where there is no kerasgan: TensorFlow's SavedModel, and ONNX.

What is written is run once and compared with the network before it takes its place.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError, install_command
from kerasgan.inference.members import Member, input_size, members_of
from kerasgan.models.framing import framing_of
from kerasgan.models.preprocess import preprocess_of
from kerasgan.precision import full_float32
from kerasgan.storage import atomic_replace
from kerasgan.validation import check_number, check_whole_number

TOLERANCE = 1e-5
OPSET = 17


def export_predictor(
    model: Any,
    folder: str | os.PathLike,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    temperature: float = 1.0,
    preprocess: str | Callable[[Any], Any] | None = None,
) -> pathlib.Path:
    """Write a network as a SavedModel, which TensorFlow, TensorFlow Serving and others run.

    It has two signatures, of a network trained on windows the first alone. Both give a dict with
    `"probability"`, float32 in [0, 1], one channel for the foreground or one for each class:

    - `"serving_default"` takes `images`, float32 (batch, height, width, channels) in [-1, 1] of the
      network's size, and gives maps of that size;
    - `"pixels"` takes `pixels`, uint8 (batch, height, width, channels) of any size, and gives maps
      of the size of these images, as `predict_probability` does.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        folder: Folder to write; it must not exist.
        size: Side or (height, width) in pixels, where the network takes images of any size.
        mode: How `pixels` brings images to the network's size: "stretch" or "letterbox"; None for
            what training says, else "stretch". With "window" there is no `pixels`: who runs what is
            written cuts windows.
        temperature: What logits are divided by, as for `iterate_probability`.
        preprocess: What the network takes, as for `iterate_logits`; it becomes part of what is
            written. A function must be of TensorFlow's operations.

    Returns:
        The folder.

    Raises:
        KerasganError: If the network or an option cannot be used, the folder exists or cannot be
            written, or what was written does not agree with the network.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> folder = kg.inference.export_predictor(model, "predictor")
        >>> saved = tf.saved_model.load(folder)
        >>> frames = tf.zeros((1, 48, 64, 3), tf.uint8)
        >>> saved.signatures["pixels"](pixels=frames)["probability"].shape
        TensorShape([1, 48, 64, 1])
    """
    member, window = _member_of(model, size)
    mode = framing_of([member.network], mode).mode
    function = _probability_function(member, temperature, preprocess)
    channels = member.network.inputs[0].shape[-1]
    images = tf.TensorSpec((None, *window, channels), tf.float32, "images")
    pixels = tf.TensorSpec((None, None, None, channels), tf.uint8, "pixels")

    def from_images(images):
        return {"probability": function(images)}

    def from_pixels(pixels):
        return {"probability": _at_own_size(function, pixels, window, mode)}

    module = tf.Module()
    calls = {"serving_default": (from_images, images), "pixels": (from_pixels, pixels)}
    if mode == WINDOW:
        del calls["pixels"]
    signatures = {
        name: tf.function(call, autograph=False).get_concrete_function(spec)
        for name, (call, spec) in calls.items()
    }
    module.variables_read = [v for call in signatures.values() for v in call.graph.variables]
    with new_path(folder) as part:
        tf.saved_model.save(module, str(part), signatures)
        saved = tf.saved_model.load(str(part))
        batch = _random_images(images.shape[1:])
        call = saved.signatures["serving_default"]
        check_against(function(batch), call(images=tf.constant(batch))["probability"], folder)
    return pathlib.Path(folder)


def export_onnx(
    model: Any,
    path: str | os.PathLike,
    *,
    size: int | tuple[int, int] | None = None,
    temperature: float = 1.0,
    opset: int = OPSET,
    preprocess: str | Callable[[Any], Any] | None = None,
) -> pathlib.Path:
    """Write a network as an ONNX file, which ONNX Runtime and many others run.

    Its input `images` is float32 (batch, height, width, channels) in [-1, 1] of the network's size,
    its output `probability` float32 of that size. Needs the extra `onnx`.

    Args:
        model: As for `export_predictor`.
        path: File to write, such as `"polyps.onnx"`; it must not exist.
        size: As for `export_predictor`.
        temperature: As for `export_predictor`.
        opset: Version of ONNX' set of operators, from 13 to 18.
        preprocess: As for `export_predictor`.

    Returns:
        The path.

    Raises:
        KerasganError: As for `export_predictor`, or if the packages for ONNX are not installed.

    Example:
        >>> kg.inference.export_onnx(model, "polyps.onnx")  # doctest: +SKIP
        PosixPath('polyps.onnx')
    """
    check_whole_number("opset", opset, 13, 18)
    try:
        tf2onnx, runtime = map(importlib.import_module, ("tf2onnx", "onnxruntime"))
    except ImportError as error:
        raise KerasganError(
            f"ONNX needs packages that are not installed ({error}): {install_command('onnx')}"
        ) from error
    member, window = _member_of(model, size)
    function = _probability_function(member, temperature, preprocess)
    shape = (*window, member.network.inputs[0].shape[-1])
    signature = [tf.TensorSpec((None, *shape), tf.float32, "images")]

    def run(images):
        return {"probability": function(images)}

    with new_path(path) as part:
        written, _ = tf2onnx.convert.from_function(
            tf.function(run, signature, autograph=False), signature, opset=opset
        )
        part.write_bytes(written.SerializeToString())
        session = runtime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        batch = _random_images(shape)
        (received,) = session.run(["probability"], {"images": batch})
        check_against(function(batch), received, path)
    return pathlib.Path(path)


@contextlib.contextmanager
def new_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give a path to write to, and move what is there to `path`, which must not exist."""
    path = pathlib.Path(path)

    def check(_: pathlib.Path) -> None:
        if path.exists() or path.is_symlink():
            raise KerasganError(f"'{path}' exists. Remove it, or choose another path")

    check(path)
    try:
        with full_float32(), atomic_replace(path, check) as part:
            yield part
    except OSError as error:
        raise KerasganError(f"'{path}' cannot be written: {error}") from error


def check_against(expected: Any, received: Any, path: str | os.PathLike) -> None:
    """Raise if what an export gives is not what the network gives."""
    expected, received = np.asarray(expected, np.float64), np.asarray(received, np.float64)
    same_shape = expected.shape == received.shape
    error = np.abs(expected - received).max() if same_shape else np.inf
    if not error <= TOLERANCE * max(1.0, np.abs(expected).max()):
        raise KerasganError(
            f"'{path}' was not written: on random images the export gives {received.shape} numbers "
            f"that differ from those of the network {expected.shape} by up to {error:.2g}. A layer "
            "is computed otherwise there, or the network gives NaN"
        )


def _member_of(model: Any, size: Any) -> tuple[Member, tuple[int, int]]:
    members = members_of(model)
    if len(members) > 1:
        raise KerasganError(
            f"Argument 'model' must be one network to be exported. Received: {len(members)}; "
            "export each"
        )
    return members[0], input_size(members[0].network, size)


def _probability_function(
    member: Member, temperature: float, preprocess: Any
) -> Callable[[Any], tf.Tensor]:
    check_number("temperature", temperature, above=0)
    before = preprocess_of(member.network, preprocess)
    to_probability = tf.nn.softmax if member.exclusive else tf.sigmoid

    def probability(images: Any) -> tf.Tensor:
        _, logits = member.run(before(images))
        return to_probability(logits / float(temperature))

    return probability


def _random_images(shape: Any) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)


# --- The resizing of kerasgan.data.resize in TensorFlow, for images of a size not known before ---


def _at_own_size(function: Callable, pixels: tf.Tensor, window: tuple[int, int], mode: str):
    height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
    (top, left), inner = _box((height, width), window, mode)
    frame = tf.round(_resize(tf.cast(pixels, tf.float32), *inner))
    frame = tf.image.pad_to_bounding_box(frame, top, left, *window)
    output = function(frame * np.float32(2 / 255) - 1.0)
    (top, left), inner = _box((height, width), tf.unstack(tf.shape(output)[1:3]), mode)
    return _resize(output[:, top : top + inner[0], left : left + inner[1]], height, width)


def _box(image_size: tuple, size: Any, mode: str) -> tuple[tuple, tuple]:
    """As `image_box`: (top, left), (height, width)."""
    if mode == "stretch":
        return (0, 0), tuple(size)
    sides = [tf.cast(side, tf.float64) for side in image_size]
    scale = tf.minimum(*(tf.cast(new, tf.float64) / side for new, side in zip(size, sides)))
    inner = [tf.cast(tf.maximum(tf.round(side * scale), 1), tf.int32) for side in sides]
    inner = [tf.minimum(new, most) for new, most in zip(inner, size)]
    return tuple((most - new) // 2 for most, new in zip(size, inner)), tuple(inner)


def _resize(images: tf.Tensor, height: Any, width: Any) -> tf.Tensor:
    """Resize (batch, height, width, channels), columns first."""
    shares, factor = _shares(tf.shape(images)[2], width)
    images = tf.einsum("nw,bhwc->bhnc", shares, images) * factor
    shares, factor = _shares(tf.shape(images)[1], height)
    return tf.einsum("nh,bhwc->bnwc", shares, images) * factor


def _shares(length: Any, count: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """How much of each old pixel goes into each new one, (new, old), and what that is scaled by."""
    last = tf.cast(length - 1, tf.float64)
    old, new = (tf.range(tf.cast(n, tf.float64), dtype=tf.float64) for n in (length, count))
    step = tf.cast(length, tf.float64) / tf.cast(count, tf.float64)
    new = new[:, None]
    area = tf.minimum(old + 1, (new + 1) * step) - tf.maximum(old, new * step)
    linear = 1 - tf.abs(tf.clip_by_value((new + 0.5) * step - 0.5, 0, last) - old)
    shrinks = step > 1
    shares = tf.maximum(tf.where(shrinks, area, linear), 0)
    factor = tf.where(shrinks, 1 / step, tf.ones_like(step))
    return tf.cast(shares, tf.float32), tf.cast(factor, tf.float32)

"""What the output of a segmentation network means: logits, probabilities, or a mask in [-1, 1].

It is decided from what the network computes, not from the name of its last layer. The range of its
numbers is proven (`kerasgan.models.ranges`): any number is a logit, numbers in [0, 1] are
probabilities, numbers in [-1, 1] come from a tanh. The probabilities of several channels add up to
1 (exclusive classes), or each channel has its own (labels that may overlap).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, warn
from kerasgan.models.functional import as_functional, first_line, names_of_outputs
from kerasgan.models.ranges import CLOSE, MOVES, Range, range_of
from kerasgan.models.trace import (
    PASSED,
    Step,
    Trace,
    activations_of,
    call_network,
    random_images,
    raw_operation,
    trace_network,
)

ACTIVATIONS = {"Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh"}
SMALLEST = 2.0**-24


class Reading(NamedTuple):
    """What the output of a network means.

    Attributes:
        activation: Which function makes it of its logits: "tanh" (from -1 to 1),
            "sigmoid", "softmax" or "linear" (it is the logits).
        exclusive: Whether its channels share a probability of 1.
        labels: Whether its channels are labels that may overlap, each with a probability of its
            own.
        exact: Whether its logits can be read from the computation; else they are computed back
            from the output, as far as float32 tells them.
        hard: Whether it is decided already, by a threshold inside the network.
    """

    activation: str
    exclusive: bool = False
    labels: bool = False
    exact: bool = True
    hard: bool = False


def final_activation(model: keras.Model) -> str:
    """Name the activation behind a network's output, whichever way it is computed.

    Args:
        model: a functional `keras.Model` with one output, the mask.

    Returns:
        `"tanh"` (from -1 to 1), `"sigmoid"` (probabilities, each channel its own),
        `"softmax"` (probabilities, the channels share 1) or `"linear"` (the output is a logit).

    Raises:
        KerasganError: if the model has several outputs, or what the output means is not clear:
            the message names the operation and layer.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.final_activation(kg.models.unet(size=32, filters=2, levels=2))
        'sigmoid'
    """
    return read_output(model).activation


def read_output(model: keras.Model) -> Reading:
    """Decide what a network's output means, once for each network."""
    return _compiled(as_functional(model)).reading


def with_logits(model: keras.Model) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Make a function that runs a network and gives its logits beside its output.

    In a TensorFlow function being traced, such as a `train_step`, the logits are the tensor that
    the last activation is applied to, so gradients flow past it: at a logit of 50 a sigmoid has
    none. Called eagerly, it runs in a TensorFlow function of its own.
    """
    network = as_functional(model)
    compiled = _compiled(network)

    def run(images, training=False):
        return compiled(network, [images], training)

    return run


def refuse_labels(model: keras.Model, what: str) -> None:
    """Raise for a network whose channels are labels that may overlap."""
    network = as_functional(model)
    if read_output(network).labels:
        labels = network.outputs[0].shape[-1]
        raise KerasganError(
            f"'{network.name}' gives {labels} labels that may overlap (one sigmoid or tanh each), "
            f"and {what} takes one class for each pixel. Do it for each label alone: "
            "keras.Model(model.inputs[0], model.outputs[0][..., i:i + 1])"
        )


def refuse_classes(model: keras.Model, samples: Any) -> None:
    """Raise for samples of other classes than a network's."""
    network = as_functional(model)
    classes = network.outputs[0].shape[-1]
    if classes == samples.classes:
        return
    advice = f"pass classes={classes} to load_folder"
    if (classes, samples.classes) == (2, 1):
        softmax = read_output(network).activation == "softmax"
        one = "y[..., 1:]" if softmax else "y[..., 1:] - y[..., :1]"
        advice += (
            ", with colors=[0, 255] where masks are black and white; or take the foreground alone: "
            f"y = model.outputs[0]; model = keras.Model(model.inputs, {one})"
        )
    raise KerasganError(
        f"Argument 'samples' must have the classes of the network, {classes}. "
        f"Received: {samples.classes}; {advice}"
    )


def to_probability(output: Any, activation: str) -> Any:
    """Turn a network's output into probabilities; `final_activation` says what it is."""
    if activation == "tanh":
        return (output + 1) / 2
    if activation == "linear":
        return tf.sigmoid(output) if output.shape[-1] == 1 else tf.nn.softmax(output)
    return output


def to_signed_mask(mask: Any) -> Any:
    """Scale a mask or its probabilities from [0, 1] to [-1, 1], as a discriminator takes them.

    Args:
        mask: float array or tensor in [0, 1], any shape.

    Returns:
        The same in [-1, 1], the range of the images beside it.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.to_signed_mask(1.0)
        1.0
    """
    return mask * 2 - 1


# --- Reading ---

COMPILED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _compiled(network: keras.Model) -> _Compiled:
    """A network's reading and functions, made once for as long as its activations stay."""
    state = activations_of(network)
    cached = COMPILED.get(network)
    if cached is None or cached[0] != state:
        _check_shapes(network)
        COMPILED[network] = cached = (state, _Compiled(_read(network)))
    return cached[1]


def _check_shapes(network: keras.Model) -> None:
    name, outputs = network.name, network.outputs
    if len(outputs) != 1:
        raise KerasganError(
            f"Argument 'model' must have one output, the mask. Received: '{name}' with "
            f"{len(outputs)} outputs {names_of_outputs(network)}; build keras.Model(model.inputs, "
            "model.outputs[i]) with i the mask's index"
        )
    shape, image = tuple(outputs[0].shape), tuple(network.inputs[0].shape)
    small = len(image) == 4 and _is_small(image[1]) and not _is_small(image[3])
    if len(shape) == 4 and len(image) == 4 and (small or _takes_channels_first(network)):
        raise KerasganError(
            f"'{name}' takes images of shape {image[1:]}, channels first; kerasgan's have channels "
            f"last. Build keras.Model(image, keras.layers.Permute((2, 3, 1))(model("
            f"keras.layers.Permute((3, 1, 2))(image)))) with image = keras.Input("
            f"{(image[2], image[3], image[1])})"
        )
    wanted = None
    if len(shape) == 3 and len(image) == 4:
        if shape[1:] == image[1:3]:
            wanted = "(height, width, 1)"
        elif None not in (*image[1:3], shape[1]) and shape[1] == image[1] * image[2]:
            wanted = (*image[1:3], shape[2])
    if wanted is not None:
        raise KerasganError(
            f"'{name}' gives masks of shape {network.output_shape}, but they must be (batch, "
            "height, width, classes); build keras.Model(model.inputs[0], "
            f"keras.layers.Reshape({wanted})(model.outputs[0]))"
        )


def _is_small(side: int | None) -> bool:
    return side is not None and side <= 4


def _takes_channels_first(network: keras.Model) -> bool:
    """Say whether the first layer that tells the axes of images apart has the channels first."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            return _takes_channels_first(layer)
        if isinstance(layer, (keras.layers.Permute, keras.layers.Reshape, keras.layers.Lambda)):
            return False
        if getattr(layer, "data_format", None) is not None:
            return layer.data_format == "channels_first"
    return False


def _read(network: keras.Model) -> Reading:
    trace = trace_network(network)
    if trace.output.step.depends != "image":
        raise KerasganError(f"The output of '{network.name}' does not depend on the image")
    _warn_if_unsteady(network, trace)
    bounds, channels = range_of(trace), network.outputs[0].shape[-1]
    several = channels != 1
    if bounds.free:
        return Reading("linear", exclusive=several)
    signed = abs(bounds.low + 1) < CLOSE and abs(bounds.high - 1) < CLOSE
    if not signed and not bounds.within(0, 1):
        raise _unknown_meaning(network, bounds)
    step = bounds.by
    if step.kind == "Softmax" and step.op is not None and step.op.outputs[0].shape[-1] == 1:
        raise KerasganError(
            f"'{network.name}' ends in a softmax over one channel ({step}), which is 1 "
            "everywhere. Use a sigmoid for one channel, or two channels"
        )
    last = _last_activation(trace.graph.outputs[0])
    activation = "tanh" if signed else "sigmoid"
    if several and not signed and bounds.coupled != "apart":
        if last is not None and last.activation == "softmax" and not last.moves:
            return Reading("softmax", exclusive=True)
        activation = _coupling(network, bounds)
    labels = several and activation != "softmax"
    exact = last is not None and last.activation == activation and not bounds.hard
    reading = Reading(activation, activation == "softmax", labels, exact, bounds.hard)
    if exact and not last.moves:
        return reading
    for tried in (reading, reading._replace(exact=False)):
        output, logits = _run_on_random_image(network, tried)
        if np.abs(_probabilities(logits, tried) - to_probability(output, activation)).max() < 0.01:
            return tried
    raise _unknown_meaning(network, bounds)


def _warn_if_unsteady(network: keras.Model, trace: Trace) -> None:
    """Warn of layers that stay in training mode."""
    alone = network.inputs[0].shape[0] == 1
    for step in trace.steps:
        if step.draws:
            what = "draws random numbers, so that no two masks of an image are the same"
        elif not alone and _joins_images(trace, step):
            what = "normalises by the batch, so that a mask depends on the images beside its own"
        else:
            continue
        warn(
            f"Network '{network.name}' stays in training mode: {step} {what}. Build it without "
            "training=True there"
        )
        return


def _joins_images(trace: Trace, step: Step) -> bool:
    """Say whether a step takes a mean over the images of a batch."""
    value = step.inputs[0].tensor if step.inputs else None
    if step.depends != "image" or value is None or value.shape.rank != 4:
        return False
    if step.kind.startswith("FusedBatchNorm"):  # layer normalisation is one of a single image
        return step.attributes["is_training"].b and value.shape[0] != 1
    axes = trace.number(step.inputs[1]) if step.kind == "Mean" else None
    return axes is not None and 0 in axes


def _coupling(network: keras.Model, bounds: Range) -> str:
    """Say whether channels that depend on one another share a probability of 1."""
    output, _ = _run_on_random_image(network, Reading("linear"))
    shares = bool(np.abs(output.sum(-1) - 1).max() < 0.01)
    if bounds.coupled == "shared":
        if shares:
            return "softmax"
        raise KerasganError(
            f"The channels of '{network.name}' come from {bounds.by}, but they do not add up to 1 "
            "at each pixel: it runs over another axis, or channels were cut off or filled up "
            "behind it. Build a model that gives all classes, the background first, or one channel"
        )
    if shares and np.ptp(output, axis=(0, 1, 2)).max() < 1e-6:
        raise KerasganError(
            f"Whether the channels of '{network.name}' exclude one another is not known, since "
            "it gives the same everywhere; load its weights first"
        )
    return "softmax" if shares else "sigmoid"


def _unknown_meaning(network: keras.Model, bounds: Range) -> KerasganError:
    values = "any numbers"
    if np.isfinite([bounds.low, bounds.high]).any():
        values = f"numbers from {bounds.low:g} to {bounds.high:g}"
    if bounds.by.kind.startswith("Arg"):
        values = "numbers of classes"
    return KerasganError(
        f"What the output of '{network.name}' means is not clear: {bounds.by} gives {values}. It "
        "must give logits (a layer with weights comes last), probabilities (such as sigmoid or "
        "softmax) or a mask from -1 to 1 (tanh). Wrap it: keras.Model(model.inputs[0], "
        "layer(model.outputs[0])), with a layer of yours that makes probabilities of it, or end it "
        "before that operation"
    )


def _run_on_random_image(network: keras.Model, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Run a network on a random image."""
    drawn = zip(random_images(network.inputs), network.inputs)
    images = [tf.cast(image, tensor.dtype) for image, tensor in drawn]
    with tf.init_scope():
        try:
            output, logits = _Compiled(reading)(network, images)
        except (ValueError, tf.errors.OpError) as error:
            raise KerasganError(
                f"'{network.name}' does not run on images of shape {tuple(images[0].shape[1:])}: "
                f"{first_line(error)}; give its input a fixed size"
            ) from error
        return np.asarray(output, np.float32), np.asarray(logits)


# --- Logits ---


class _LastActivation(NamedTuple):
    """The last activation of a computation.

    Attributes:
        before: What it is applied to.
        activation: Its name.
        moves: What only moves its values, from the output back.
    """

    before: tf.Tensor
    activation: str
    moves: list[tf.Operation]


class _Compiled:
    """A network's output and logits, eagerly by a TensorFlow function for each shape of images."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self._functions: dict[Any, Callable] = {}

    def __call__(
        self, network: keras.Model, images: list[Any], training: Any = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if not tf.executing_eagerly():
            return self._run(network, images, training)
        images, training = [tf.convert_to_tensor(image) for image in images], bool(training)
        specs = tuple(
            tf.TensorSpec((tensor.shape[0], *image.shape[1:]), image.dtype)
            for tensor, image in zip(network.inputs, images)
        )
        if (specs, training) not in self._functions:
            alive = weakref.ref(network)
            function = tf.function(
                lambda *given: self._run(alive(), list(given), training), autograph=False
            )
            self._functions[specs, training] = function.get_concrete_function(*specs)
        return self._functions[specs, training](*images)

    def _run(self, network: keras.Model, images: list[Any], training: Any):
        (output,) = tf.nest.flatten(call_network(network, images, training))
        return output, _logits_of(output, self.reading)


def _last_activation(output: tf.Tensor) -> _LastActivation | None:
    """Find the last activation behind an output, if only moves stand between.

    It walks tensors, for a training step needs the tensor before the activation itself, with its
    gradient. An explanation takes it off the steps of a trace (`kerasgan.explain.tracing`).
    """
    moves: list[tf.Operation] = []
    tensor = output
    while tensor.op.inputs:
        op = tensor.op
        floating = op.type == "Cast" and op.inputs[0].dtype.is_floating
        if op.type in ACTIVATIONS:
            return _LastActivation(op.inputs[0], ACTIVATIONS[op.type], moves)
        if op.type in MOVES and len(op.outputs) == 1:
            moves.append(op)
        elif op.type not in PASSED and not floating:
            return None
        tensor = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]
    return None


def _logits_of(output: tf.Tensor, reading: Reading) -> tf.Tensor:
    last = _last_activation(output) if reading.exact else None
    numbers = tf.cast(output, tf.float32)
    if reading.activation == "linear":
        return numbers
    if last is None:
        return _logits_from_output(numbers, reading.activation)
    logits = tf.cast(last.before, tf.float32)
    for move in reversed(last.moves):
        logits = _reapply(move, logits)
    return 2 * logits if reading.activation == "tanh" else logits


def _reapply(op: tf.Operation, value: tf.Tensor) -> tf.Tensor:
    """Do the same to another value."""
    function, names, options = raw_operation(op.type, op.node_def.attr)
    return function(**dict(zip(names, [value, *op.inputs[1:]])), **options)


def _logits_from_output(output: tf.Tensor, activation: str) -> tf.Tensor:
    """Logits of an output, as far as float32 tells them."""
    output = tf.clip_by_value(to_probability(output, activation), SMALLEST, 1 - SMALLEST)
    return tf.math.log(output) - (0 if activation == "softmax" else tf.math.log1p(-output))


def _probabilities(logits: Any, reading: Reading) -> np.ndarray:
    return np.asarray(tf.nn.softmax(logits) if reading.exclusive else tf.sigmoid(logits))

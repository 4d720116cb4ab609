"""What to explain: targets say which logits of a segmentation an explanation starts from.

A target turns the logits of a batch, float32 (batch, height, width, classes), into weights of the
same shape. Relevance then starts as ``logit * weight``, and one backward pass explains the whole
target, since layer-wise relevance propagation is linear in where it starts.

Example:
    >>> import numpy as np
    >>> from kerasgan.explain import targets
    >>> logits = np.array([[3.0, -1.0], [2.0, -5.0]], "float32").reshape(1, 2, 2, 1)
    >>> targets.Prediction().weights(logits).numpy().squeeze()
    array([[1., 0.],
           [1., 0.]], dtype=float32)
    >>> (targets.Prediction() - targets.Pixel(0, 1)).weights(logits).numpy().squeeze()
    array([[ 1., -1.],
           [ 1.,  0.]], dtype=float32)
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, did_you_mean
from kerasgan.explain.logits import (
    Components,
    components,
    finite_array,
    fit_array,
    fit_truth,
    foreground,
    label_components,
    one_hot_argmax,
    predicted,
    without_background,
)
from kerasgan.validation import check_whole_number, invalid, is_whole

__all__ = [
    "Border",
    "Class",
    "Component",
    "Components",
    "Difference",
    "Each",
    "FalsePositives",
    "Mask",
    "FalseNegatives",
    "Pixel",
    "Prediction",
    "Target",
    "components",
    "get",
    "names",
]

Shape = Sequence[int]
TargetLike = Union[str, "Target", Sequence[Union[str, "Target"]], np.ndarray, tf.Tensor]


class Target:
    """What to explain. Write your own by overriding `weights`; the rest is optional.

    Targets without arrays compare by value, and their `weights` uses TensorFlow operations only,
    so they can be traced in a `tf.function` (all but `Component`). Targets with arrays are made
    ready by `prepare` before they are cut into smaller batches by `take`.

    Example:
        >>> class LeftHalf(Target):
        ...     def weights(self, logits):
        ...         columns = tf.range(tf.shape(logits)[2])
        ...         left = columns < tf.shape(logits)[2] // 2
        ...         return Prediction().weights(logits) * tf.cast(left, logits.dtype)[:, None]
        >>> LeftHalf().weights(tf.ones((1, 1, 4, 1))).numpy().ravel()
        array([1., 1., 0., 0.], dtype=float32)
    """

    traceable = True

    @property
    def by_value(self) -> bool:
        """Whether it holds no arrays, so that one trace serves all its equals."""
        return self.traceable and type(self).__eq__ is not object.__eq__

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """Turns logits into weights.

        Args:
            logits: Float (batch, height, width, classes).

        Returns:
            Weights, of the shape and type of `logits`.
        """
        raise NotImplementedError

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """Returns this target fitted to logits of this shape, with the truth filled in.

        Args:
            shape: Of the logits, (batch, height, width, classes).
            truth: True masks, for a target that needs some and has none, as `FalseNegatives`.
        """
        return self

    def take(self, start: int, stop: int) -> Target:
        """Returns this target, made ready by `prepare`, for the images start to stop - 1."""
        return self

    def __sub__(self, other: TargetLike) -> Difference:
        return Difference(self, other)


@dataclasses.dataclass(frozen=True)
class Prediction(Target):
    """The predicted mask: every foreground pixel, the logit of its predicted class.

    Example:
        >>> Prediction().weights(tf.constant([[[[1.0, 3.0, 2.0], [4.0, 0.0, 0.0]]]])).numpy()
        array([[[[0., 1., 0.],
                 [0., 0., 0.]]]], dtype=float32)
    """

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        return foreground(logits)


@dataclasses.dataclass(frozen=True)
class Class(Target):
    """Every pixel predicted as one class: its logit, or how far that is above the runner-up.

    A one-channel network has two classes: 1, whose logit is the channel, and 0, the background,
    whose logit is minus the channel. There the logit is the margin.

    Args:
        index: Class, from 0 (background).
        margin: Whether to subtract, at each pixel, the largest logit of the other classes, so that
            relevance starts at two channels and says why this class rather than the next.

    Example:
        >>> logits = tf.constant([[[[1.0, 3.0, 2.0], [4.0, 0.0, 0.0]]]])
        >>> Class(1, margin=True).weights(logits).numpy()[0, 0, 0]
        array([ 0.,  1., -1.], dtype=float32)
    """

    index: int
    margin: bool = False

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        self.prepare(logits.shape)
        if logits.shape[-1] == 1:
            positive = foreground(logits)
            return positive if self.index == 1 else positive - 1
        chosen = tf.one_hot(self.index, logits.shape[-1], dtype=logits.dtype)
        weights = one_hot_argmax(logits) * chosen
        if self.margin:
            runner_up = one_hot_argmax(tf.where(chosen > 0, -np.inf, logits))
            weights -= runner_up * tf.reduce_sum(weights, -1, keepdims=True)
        return weights

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`."""
        last = max(shape[-1], 2) - 1
        if not _is_index(self.index, last):
            expected = f"from 0 to {last} for a network with {shape[-1]} output channel(s)"
            raise invalid("index", expected, self.index, owner="Class")
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class Mask(Target):
    """A given mask or region, or any map of weights.

    Args:
        array: Numbers or booleans. (height, width) or (batch, height, width): the weight of each
            pixel, put on the logit of its predicted class (of the only channel, where there is
            one). (height, width, classes) or (batch, height, width, classes): the weight of each
            logit. Without the batch axis it holds for every image. Three axes are read as
            (batch, height, width) where that fits.

    Example:
        >>> Mask([[0, 1]]).weights(tf.constant([[[[5.0], [-2.0]]]])).numpy().ravel()
        array([0., 1.], dtype=float32)
    """

    array: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", finite_array(self.array, "array", "Mask"))

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        array = tf.cast(fit_array(self.array, logits.shape, "array", "Mask"), logits.dtype)
        return array * (one_hot_argmax(logits) if array.shape[-1] == 1 else tf.ones_like(logits))

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`."""
        return Mask(fit_array(self.array, shape, "array", "Mask"))

    def take(self, start: int, stop: int) -> Target:
        """See `Target.take`."""
        return Mask(self.array[start:stop]) if len(self.array) > 1 else self


@dataclasses.dataclass(frozen=True)
class Pixel(Target):
    """One pixel: the logit of its predicted class, background included.

    Args:
        y: Row, from 0 at the top.
        x: Column, from 0 at the left.

    Example:
        Many pixels of one image in one call, each with a map of its own:

        >>> pixels = [Pixel(y, x) for y in (8, 9) for x in (3, 4)]
        >>> explainer.explain(images[[0] * 4], target=pixels)  # doctest: +SKIP

        >>> Pixel(0, 1).weights(tf.constant([[[[5.0], [-2.0]]]])).numpy().ravel()
        array([0., 1.], dtype=float32)
    """

    y: int
    x: int

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        self._check(logits.shape)
        size = tf.shape(logits)[1:3]
        if None in logits.shape[1:3]:
            inside = tf.reduce_all([self.y, self.x] < size)
            message = f"{self!r} lies outside of the logits, whose size is"
            with tf.control_dependencies([tf.debugging.Assert(inside, [message, size])]):
                size = tf.identity(size)
        row = tf.one_hot(self.y, size[0], dtype=logits.dtype)
        column = tf.one_hot(self.x, size[1], dtype=logits.dtype)
        return one_hot_argmax(logits) * row[:, None, None] * column[:, None]

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`: a map, so that all pixels are explained by one trace."""
        self._check(shape)
        if None in shape[1:3]:
            return self
        chosen = np.zeros((1, *shape[1:3], 1), "float32")
        chosen[0, self.y, self.x] = 1
        return Mask(chosen)

    def _check(self, shape: Shape) -> None:
        _check_maps(self, shape)
        for name, value, size in (("y", self.y, shape[1]), ("x", self.x, shape[2])):
            if not _is_index(value, np.inf if size is None else size - 1):
                last = "the last one" if size is None else size - 1
                expected = f"from 0 to {last} for logits of {shape[1]} x {shape[2]} pixels"
                raise invalid(name, expected, value, owner="Pixel")


@dataclasses.dataclass(frozen=True)
class Border(Target):
    """The rim of the prediction: foreground pixels close to a pixel of another class.

    The edge of the image is no border.

    Args:
        width: How far from the other class a pixel may be, in pixels, counted in king's moves.

    Example:
        >>> logits = tf.constant([-1.0, 1.0, 1.0, 1.0])[None, None, :, None]
        >>> Border(width=2).weights(logits).numpy().ravel()
        array([0., 1., 1., 0.], dtype=float32)
    """

    width: int = 1

    def __post_init__(self) -> None:
        check_whole_number("width", self.width, 1, unit="of pixels")

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        _check_maps(self, logits.shape)
        mask = foreground(logits)
        return mask * tf.nn.max_pool2d(1 - mask, 2 * self.width + 1, 1, "SAME")


@dataclasses.dataclass(frozen=True)
class Component(Target):
    """One connected component of the predicted mask in each image, the largest first.

    See `kerasgan.explain.logits.label_components` for what is connected.

    Args:
        index: Which component, from 0, the largest. Every image must have it.

    Example:
        >>> logits = tf.constant([1.0, -1.0, 2.0, 2.0])[None, None, :, None]
        >>> Component(1).weights(logits).numpy().ravel()
        array([1., 0., 0., 0.], dtype=float32)
    """

    index: int = 0

    traceable = False

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        if tf.is_symbolic_tensor(logits):
            raise KerasganError("Target Component needs values: use it outside a tf.function.")
        if logits.shape.rank == 2:
            _check_maps(self, logits.shape)
        labels = label_components(logits)
        counts = labels.reshape(len(labels), -1).max(1)
        if not _is_index(self.index, counts.min() - 1):
            expected = "an index that every image has, from 0"
            counted = f"Components in each image: {counts.tolist()}"
            raise invalid("index", expected, self.index, counted, "Component")
        return tf.constant(labels == self.index + 1, logits.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class _Compared(Target):
    truth: Any = None

    def __post_init__(self) -> None:
        if self.truth is not None:
            truth = finite_array(self.truth, "truth", type(self).__name__)
            object.__setattr__(self, "truth", truth)

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`."""
        name = type(self).__name__
        truth = self.truth if truth is None or self.truth is not None else truth
        if truth is None:
            raise KerasganError(
                f"Target {name} needs the true masks: {name}(truth), or argument 'truth' beside it."
            )
        return type(self)(fit_truth(finite_array(truth, "truth", name), shape, name))

    def take(self, start: int, stop: int) -> Target:
        """See `Target.take`."""
        return type(self)(self.truth[start:stop]) if len(self.truth) > 1 else self


class FalsePositives(_Compared):
    """Pixels predicted as a foreground class that they are not: the logit of that class.

    Args:
        truth: True masks, (batch, height, width) or (batch, height, width, classes): {0, 1}, or,
            for several classes, one-hot or labels (batch, height, width). The batch axis may be
            left out. None: taken from the argument `truth` beside the target.

    Example:
        >>> logits = tf.constant([[[[5.0], [2.0], [-1.0]]]])
        >>> FalsePositives([[1, 0, 1]]).weights(logits).numpy().ravel()
        array([0., 1., 0.], dtype=float32)
    """

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        truth = tf.constant(self.prepare(logits.shape).truth, logits.dtype)
        return foreground(logits) * (1 - truth)


class FalseNegatives(_Compared):
    """Pixels of a foreground class that are not predicted as such: the logit of the true class.

    Args:
        truth: As for `FalsePositives`.

    Example:
        >>> logits = tf.constant([[[[5.0], [2.0], [-1.0]]]])
        >>> FalseNegatives([[1, 0, 1]]).weights(logits).numpy().ravel()
        array([0., 0., 1.], dtype=float32)
    """

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        truth = tf.constant(self.prepare(logits.shape).truth, logits.dtype)
        return without_background(truth) * (1 - predicted(logits))


@dataclasses.dataclass(frozen=True)
class Difference(Target):
    """One target minus another, written ``a - b``: what speaks for a rather than for b.

    Args:
        plus: What to explain, anything that `get` takes.
        minus: What to subtract, likewise.

    Example:
        >>> logits = tf.constant([[[[5.0], [2.0]]]])
        >>> (Pixel(0, 0) - Pixel(0, 1)).weights(logits).numpy().ravel()
        array([ 1., -1.], dtype=float32)
    """

    plus: Target
    minus: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "plus", get(self.plus))
        object.__setattr__(self, "minus", get(self.minus))
        object.__setattr__(self, "traceable", self.plus.traceable and self.minus.traceable)

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        return self.plus.weights(logits) - self.minus.weights(logits)

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`."""
        return Difference(self.plus.prepare(shape, truth), self.minus.prepare(shape, truth))

    def take(self, start: int, stop: int) -> Target:
        """See `Target.take`."""
        return Difference(self.plus.take(start, stop), self.minus.take(start, stop))


@dataclasses.dataclass(frozen=True, eq=False)
class Each(Target):
    """Each image's own target. A list of targets means the same.

    Args:
        targets: As many as there are images, each anything that `get` takes for one image.

    Example:
        >>> logits = tf.constant([[[[5.0], [2.0]]], [[[1.0], [-1.0]]]])
        >>> Each([Pixel(0, 1), "prediction"]).weights(logits).numpy().squeeze()
        array([[0., 1.],
               [1., 0.]], dtype=float32)
    """

    targets: Sequence[TargetLike]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", [get(target) for target in self.targets])
        traceable = all(target.traceable for target in self.targets)
        object.__setattr__(self, "traceable", traceable)

    def weights(self, logits: tf.Tensor) -> tf.Tensor:
        """See `Target.weights`."""
        images = tf.split(logits, len(self.targets))
        weights = [target.weights(one) for target, one in zip(self.targets, images)]
        return tf.concat([tf.broadcast_to(a, tf.shape(b)) for a, b in zip(weights, images)], 0)

    def prepare(self, shape: Shape, truth: Any = None) -> Target:
        """See `Target.prepare`."""
        if shape[0] not in (None, len(self.targets)):
            raise KerasganError(
                f"A list of targets must hold one for each of the {shape[0]} image(s). Received: "
                f"{len(self.targets)}; for several targets of one image, pass the image as often"
            )
        if truth is not None:
            truth = fit_array(finite_array(truth, "truth", "Each"), shape, "truth", "Each")
        ready = []
        for i, target in enumerate(self.targets):
            mask = truth if truth is None or len(truth) == 1 else truth[i : i + 1]
            try:
                ready.append(target.prepare((1, *shape[1:]), mask))
            except KerasganError as error:
                raise KerasganError(f"Target of image {i}: {error}") from None
        return Each(ready)

    def take(self, start: int, stop: int) -> Target:
        """See `Target.take`."""
        return Each(self.targets[start:stop])


_NAMES = {
    "prediction": Prediction,
    "border": Border,
    "component": Component,
    "false_positives": FalsePositives,
    "false_negatives": FalseNegatives,
}


def names() -> list[str]:
    """Names that `get` knows.

    Example:
        >>> names()
        ['border', 'component', 'false_negatives', 'false_positives', 'prediction']
    """
    return sorted(_NAMES)


def get(target: TargetLike) -> Target:
    """Makes a target of a name, a target, a list of these or an array of weights.

    Args:
        target: One of `names()`, a `Target`, a list of these, one for each image (`Each`), or an
            array as for `Mask`.

    Example:
        >>> get("border")
        Border(width=1)
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, (list, tuple)) and any(isinstance(one, (Target, str)) for one in target):
        return Each(target)
    if inspect.isclass(target) and issubclass(target, Target):
        raise KerasganError(
            f"Argument 'target' must be an object. Received: a class; write {target.__name__}(...)"
        )
    if isinstance(target, str):
        if target in _NAMES:
            return _NAMES[target]()
        known = ", ".join(map(repr, names()))
        expected = f"one of {known}, a target from kerasgan.explain.targets or an array of weights"
        raise invalid("target", expected, target, did_you_mean(target, _NAMES, most=2))
    return Mask(target)


def name_of(target: TargetLike) -> str:
    """Says what a target is called: its name, or how it is written, without arrays.

    Example:
        >>> name_of(FalsePositives() - Component(1)), name_of([[0.0, 1.0]])
        ('false_positives - Component(index=1)', 'given weights')
    """
    target = get(target)
    if isinstance(target, Difference):
        return f"{name_of(target.plus)} - {name_of(target.minus)}"
    if isinstance(target, Mask):
        return "given weights"
    if type(target).__repr__ is object.__repr__:
        return type(target).__name__
    written = repr(type(target)() if isinstance(target, _Compared) else target)
    return {repr(kind()): name for name, kind in _NAMES.items()}.get(written, written)


def names_of(target: TargetLike, count: int) -> list[str]:
    """Says what is explained in each of `count` images.

    Example:
        >>> names_of("border", 2), names_of([Pixel(0, 1), "prediction"], 2)
        (['border', 'border'], ['Pixel(y=0, x=1)', 'prediction'])
    """
    target = get(target)
    several = target.targets if isinstance(target, Each) else [target] * count
    return [name_of(one) for one in several]


def _check_maps(target: Target, shape: Shape) -> None:
    """Raises where logits are no map of an image, (batch, height, width, classes)."""
    if len(shape) != 4:
        raise KerasganError(
            f"Target {target!r} is for logits (batch, height, width, classes). Received: logits "
            f"with {len(shape)} axes; use 'prediction', Class or an array of weights"
        )


def _is_index(value: Any, last: int) -> bool:
    return is_whole(value) and 0 <= value <= last

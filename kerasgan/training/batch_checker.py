"""What a batch of images and masks must be, and the line of code that corrects one that is not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.models.outputs import read_output
from kerasgan.models.preprocess import BEYOND
from kerasgan.validation import into_range

NO_WEIGHTS = (
    "Images cannot be weighted; leave the weights out, and weight the losses in compile(). "
    "Received: {}"
)
WHAT = ("images", "masks")
CLOSE = 1e-3  # to 0 and 1, in masks
DARK, FEW = 0.25, 32  # the least value of an image that has a dark pixel; labels
UNLIKE = ", unlike those before: look for the files that differ"


class BatchChecker:
    """Checks batches; raises on the first fault, and warns once of each kind of doubt.

    `argument` is what the data came as; `form`, which decides what the correcting line looks like,
    is "arrays", "batches" of `samples.batches`, "dataset", "yielded", or "images", a dataset of
    images alone, which may be `ours` of `samples.batches`. `one_pixel` is the layer of
    batch normalisation that a batch of one image gives one value, if there is one. In `labels` is
    noted which labels the masks show, background first.
    """

    def __init__(
        self,
        generator: keras.Model,
        argument: str,
        form: str,
        one_pixel: str = "",
        ours: bool = False,
        labels: np.ndarray | None = None,
    ):
        self.one_pixel = one_pixel
        self.ours = ours or form == "batches"
        self.wanted = tuple(generator.input_shape[1:]), tuple(generator.output_shape[1:])
        self.overlap = read_output(generator).labels
        self.network, self.argument, self.form = generator.name, argument, form
        self.names = ("image", "mask")
        if form == "arrays":
            self.names = ("unlabelled" if argument == "unlabelled" else "x", "y")
        self.labels = np.zeros(max(2, self.wanted[1][-1]), bool) if labels is None else labels
        self._floating = [True, True]
        self._warned: set[str] = set()
        self._zero_batches = 0

    def __call__(self, image, mask, number: int | None = None, before: int = 0) -> tuple:
        """Check one batch; return the least and the greatest value of the images.

        `number` is that of the batch, None for arrays; `before` how many images came before it.
        """
        image, mask = self._real(image, 0), self._real(mask, 1)
        self.shapes(image.shape, mask.shape)
        ends = self._check_image(image, number, before)
        self._check_mask(mask, number, before)
        if number is not None:
            self.warn_of_one_image(len(image), number)
        return ends

    def check_images(self, image, number: int | None = None, before: int = 0) -> tuple:
        """Check a batch of images without masks; return their least and greatest value."""
        image = self._real(image, 0)
        self.check_shape(image.shape)
        return self._check_image(image, number, before)

    def check_shape(self, shape) -> None:
        """Raise unless a shape, which may hold None, is one of images without masks."""
        shape = tuple(shape)
        fits = all(side is not None for side in self.wanted[1][:2])
        size = self.wanted[1][:2] if fits else shape[1:3]
        self.shapes(shape, (*shape[:1], *size, *self.wanted[1][2:]))

    def warn_of_one_image(self, size: int | None, number: int | None = None) -> None:
        """Warn if the size of a batch leaves a layer one value, whose variance is 0."""
        if self.one_pixel and size == 1:
            self._warn(
                "one",
                f"has a batch of one image{_in(number)}, of which batch normalisation "
                f"'{self.one_pixel}' is given one value for each channel: in training it gives a "
                "constant, and in prediction something else. Take batches of two images or more "
                "(of a remainder too), or larger images, or freeze it: layer.trainable = False",
            )

    def note_labels(self, shown: np.ndarray) -> np.ndarray:
        """Note which labels are shown by masks; return which were, so far."""
        self.labels |= shown
        return self.labels

    def warn_of_range(self, low: float, high: float, number: int = 0) -> None:
        """Warn of images that all lie from 0 to 1, in the first batch that is not all zero."""
        self._zero_batches = self._zero_batches if number else 0
        if low == high == 0 and number == self._zero_batches:
            self._zero_batches += 1
        elif number == self._zero_batches and 0 <= low < DARK and low < high <= 1:
            self._warn(
                "range",
                f"has images with values from {low:g} to {high:g}, none below 0, where [-1, 1] is "
                "what predict, evaluate and explanations give the network; if 0 is black: "
                f"{self._line(image='{f} * 2 - 1')}",
            )

    # --- Form ---

    def pair(self, batch) -> tuple:
        """Return image and mask of what a dataset, described, or a generator gives."""
        batch = tuple(batch) if isinstance(batch, list) else batch
        if isinstance(batch, tuple) and len(batch) == 3 and batch[2] is None:
            batch = batch[:2]
        if isinstance(batch, tuple) and len(batch) == 3:
            raise KerasganError(NO_WEIGHTS.format(f"'{self.argument}' of triples"))
        if isinstance(batch, dict):
            one, other = [*map(repr, batch), "'mask'", "'mask'"][:2]
            line = f"data = data.map(lambda parts: (parts[{one}], parts[{other}]))"
            mend = f": `{line}`" if self.form == "dataset" else ""
            self.fail(f"gives dicts of {', '.join(map(repr, batch))}, not (image, mask){mend}")
        if not isinstance(batch, tuple) or len(batch) != 2 or batch[1] is None:
            held = f"tuples of {len(batch)}" if isinstance(batch, tuple) else type(batch).__name__
            self.fail(
                f"must give (image, mask) pairs; are these samples unlabelled? Received: {held}"
            )
        for name, part in zip(self.names, batch if self.form != "arrays" else ()):
            if isinstance(part, (dict, list, tuple)):
                self.fail(
                    f"must give one {name} tensor in a pair; name the one that is meant. "
                    f"Received: a {type(part).__name__} of {len(part)}"
                )
        return batch

    def dtype(self, dtype, index: int) -> None:
        """Raise unless images (index 0) or masks (index 1) can be of a type."""
        try:
            kind = tf.as_dtype(dtype)
        except TypeError:
            kind = tf.string
        if not (kind.is_floating or kind.is_integer or kind.is_bool):
            self.fail(f"has {WHAT[index]} of dtype {dtype}; they must be real numbers", index)
        self._floating[index] = kind.is_floating
        if not index and (kind.is_bool or kind.is_unsigned):
            line = self._line(image=into_range("{f}", 0, 65535 if kind.size > 1 else 255))
            self.fail(f"has images of dtype {kind.name}, which must lie in [-1, 1]: {line}")

    def shapes(self, image, mask) -> None:
        """Raise unless shapes, which may hold None, are those that the network works with."""
        shapes = tuple(image), tuple(mask)
        hints = [self._hint(index, shapes) for index in (0, 1)]
        for index, hint in enumerate(hints):
            if hint is not None:
                what, shape, want = WHAT[index], shapes[index], self.wanted[index]
                shown = shape if _fits(shape, want) else shape[1:]
                self.fail(
                    f"has {what} of shape {shown}, where the generator '{self.network}' works "
                    f"with {what} of shape {want} (height, width, channels){hint}",
                    index,
                )
        (count, *size), (masks, *mask_size) = ([*x[:1], *x[1:3]] for x in shapes)
        if 0 in shapes[0] or 0 in shapes[1]:
            self.fail(f"has an empty batch, of shapes {shapes[0]} and {shapes[1]}")
        if None not in (count, masks) and count != masks:
            self.fail(f"has {count} images and {masks} masks")
        if not _fits(size, mask_size):
            line = self._line(mask=f'tf.image.resize({{0}}, {tuple(size)}, method="nearest")')
            self.fail(f"has masks of {mask_size} pixels, and images of {size}: {line}", 1)

    def _hint(self, index: int, shapes) -> str | None:
        """Return None if a shape fits, and otherwise what may be wrong with it."""
        shape, want = shapes[index], self.wanted[index]
        channels, name = want[-1], ("image", "mask")[index]
        if _fits(shape[1:], want) or (channels == 1 and _fits((*shape[1:], 1), want)):
            return None

        def mend(text: str, what: str = "") -> str:
            return f"{'; ' + what if what else ''}: {self._line(**{name: text})}"

        if _fits(shape, want):
            datasets = ("dataset", "images")
            line = "data = data.batch(8)" if self.form in datasets else "x[None], y[None]"
            return f"; is this one image, not a batch of them: `{line}`"
        other = shapes[1 - index]
        if _fits(shape[1:], self.wanted[1 - index]) and _fits(other[1:], want):
            return "; are image and mask swapped?"
        if len(shape) == 4 and _fits((*shape[2:], shape[1]), want):
            return mend("tf.transpose({0}, (0, 2, 3, 1))", "the channels come first")
        last = shape[-1] if len(shape) == 4 else None
        if not _fits(shape[1:3], want[:2]) or len(shape) not in (3, 4):
            if self.ours:
                return f"; use samples.batches(..., size={want[:2]})"
            if len(shape) != 4 or None in want[:2]:
                return ""
            resized = "{0}" if index else f"tf.image.resize({{0}}, {want[:2]})"
            nearest = f'tf.image.resize({{0}}, {want[:2]}, method="nearest")'
            return f": {self._line(image=resized, mask=nearest)}"
        if index and channels > 1 and last in (None, 1):
            label = "{0}" if last is None else "{0}[..., 0]"
            return mend(f"tf.one_hot(tf.cast({label}, tf.int32), {channels})", "are these labels")
        if index:
            pick = "{0}[..., 1:]" if last == 2 else "{0}[..., :1]"
            one = mend(pick, "or take one channel") if channels == 1 else ""
            return f"; build the network with classes={last}{one}"
        grey = "{0}" if last else "{0}[..., None]"
        if channels == 3 and last in (None, 1):
            return mend(f"tf.repeat({grey}, 3, axis=-1)", "grey, where colour is meant")
        if channels == 1 and last == 3:
            return mend("tf.image.rgb_to_grayscale({0})", "colour, where grey is meant")
        if last is not None and last > channels:
            return mend(f"{{0}}[..., :{channels}]", f"or build the network with channels={last}")
        return f"; build the network with channels={last}" if last else ""

    # --- Values ---

    def _real(self, array, index: int) -> np.ndarray:
        self.dtype(array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype, index)
        array = np.asarray(array)
        return array.astype(np.float32) if array.dtype.kind in "Vb" else array

    def _check_image(self, image: np.ndarray, number, before: int) -> tuple[float, float]:
        low, high = self._ends(image, 0, number, before)
        if low < -BEYOND or high > BEYOND:
            mend = UNLIKE if number else f": {self._line(image=into_range('{f}', low, high))}"
            self.fail(
                f"has images with values from {low:g} to {high:g}{_in(number)}, which must lie in "
                f"[-1, 1]{mend}"
            )
        return low, high

    def _check_mask(self, mask: np.ndarray, number, before: int) -> None:
        low, high = self._ends(mask, 1, number, before)
        if low < -CLOSE or high > 1 + CLOSE:
            self.fail(
                f"has masks with {_listed(np.unique(mask))}{_in(number)}, where masks of 0 and 1 "
                f"are needed{UNLIKE if number else self._correction(mask, low, high)}",
                1,
            )
        soft = np.minimum(np.abs(mask), np.abs(1 - mask)) > CLOSE if mask.dtype.kind == "f" else 0
        if "soft" not in self._warned and np.any(soft):
            values = mask[soft]
            self._warn(
                "soft",
                f"has masks with {100 * np.mean(soft):.3g} % of the values between 0 and 1"
                f"{_in(number)}, from {values.min():.3g} to {values.max():.3g}; they are taken for "
                "probabilities. If resizing made them, resize with method='nearest', or: "
                f"{self._line(mask='tf.cast({0} > 0.5, tf.float32)')}",
                1,
            )
        classes = self.wanted[1][-1]
        if classes == 1:
            self.note_labels(np.array([low < 0.5, high >= 0.5]))
            return
        self.note_labels((mask.reshape(-1, classes) >= 0.5).any(0))
        if self.overlap:
            return
        total = mask.astype(np.float32).sum(-1)
        if np.any(total > 1 + CLOSE):
            self.fail(
                f"has masks with pixels of several classes at once{_in(number)}; the {classes} "
                "classes exclude each other, the background is the first of them",
                1,
            )
        if np.any(total < 1 - CLOSE):
            background = "tf.concat([1 - tf.reduce_max({f}, -1, keepdims=True), {f}], -1)"
            self._warn(
                "none",
                f"has masks with {100 * np.mean(total < 1 - CLOSE):.3g} % of the pixels in none of "
                f"the {classes} classes{_in(number)}, which trains nothing there; the first class "
                f"is the background. If it is left out: {self._line(mask=background)}",
                1,
            )

    def _correction(self, mask, low: float, high: float) -> str:
        if low >= -1 - CLOSE and high <= 1 + CLOSE:
            line = self._line(mask="({f} + 1) / 2")
            return f"; these are masks in [-1, 1], as tanh gives them: {line}"
        levels = np.unique(mask)
        if low < 0:
            return ""
        if len(levels) == 3 and np.all(levels[:2] == [0, 1]) and high == 255:
            return "; does 255 mark what is to be left out, or are some masks of 0 and 255?"
        if len(levels) <= 2 and (levels[0] == 0 or high == 255):
            return f": {self._line(mask=f'{{f}} / {high:.1f}')}"
        classes = self.wanted[1][-1]
        if len(levels) <= FEW and high < FEW and np.all(levels == np.round(levels)):
            if classes > 1:
                return "; are these labels within a one-hot mask?"
            return (
                f"; labels? Build the network with classes={int(high) + 1} and pass tf.one_hot, or "
                f"take all but 0 as foreground: {self._line(mask='tf.cast({0} > 0, tf.float32)')}"
            )
        return f": {self._line(mask=f'tf.cast({{0}} > {high / 2:g}, tf.float32)')}"

    def _ends(self, array: np.ndarray, index: int, number, before: int) -> tuple:
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            flat = np.isfinite(array.reshape(len(array), -1).astype(np.float32)).all(1)
            which = before + int(np.argmin(flat))
            self.fail(
                f"has {WHAT[index]} with NaN or infinity: number {which}{_in(number)}, counted "
                "from 0; mend it or leave it out",
                index,
            )
        return low, high

    # --- Messages ---

    def _line(self, image: str = "{0}", mask: str = "{0}") -> str:
        parts = []
        for text, name, floating in zip((image, mask), self.names, self._floating):
            number = name if floating else f"tf.cast({name}, tf.float32)"
            parts.append(text.format(name, f=number))
        if self.form == "images":
            return f"`data = data.map(lambda image: {parts[0]})`"
        if self.form in ("batches", "dataset"):
            return f"`data = data.map(lambda image, mask: ({', '.join(parts)}))`"
        if self.form == "yielded":
            return f"`yield {', '.join(parts)}`"
        changed = [f"{n} = {text}" for n, text in zip(self.names, parts) if n != text]
        return f"`{'; '.join(changed)}`"

    def fail(self, what: str, index: int = 0):
        """Raise, naming the argument that holds images (index 0) or masks (index 1)."""
        raise KerasganError(f"Argument '{self._argument(index)}' {what}")

    def _warn(self, kind: str, what: str, index: int = 0) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            text = f"Argument '{self._argument(index)}' {what}"
            warnings.warn(text, KerasganWarning, stacklevel=5)

    def _argument(self, index: int) -> str:
        return "y" if index and (self.argument, self.form) == ("x", "arrays") else self.argument


def one_pixel_layer(networks: Iterable[keras.Model]) -> str:
    """Name a layer of batch normalisation that learns from one pixel an image; "" for none."""
    for layer in (layer for network in networks for layer in network.layers):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            shape = tuple(getattr(getattr(layer, "output", None), "shape", ()))
            if shape and set(shape[1:-1]) <= {1}:
                return layer.name
    return ""


def _in(number: int | None) -> str:
    return "" if number is None else f" in batch {number}"


def _fits(shape, want) -> bool:
    pairs = zip(shape, want)
    return len(shape) == len(want) and all(a is None or b is None or a == b for a, b in pairs)


def _listed(levels: np.ndarray) -> str:
    if len(levels) > 6:
        return f"{len(levels)} levels from {levels[0]:g} to {levels[-1]:g}"
    return f"the values {', '.join(f'{level:g}' for level in levels)}"

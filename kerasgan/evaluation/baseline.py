"""What a threshold on colour alone would score: the least that a network has to beat."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from kerasgan.counts import Counts, score
from kerasgan.data import Samples
from kerasgan.errors import KerasganError

LEVELS = 255

# Each takes red, green and blue in [0, 1] and stays within [-1, 1].
FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "red": lambda r, g, b: r,
    "green": lambda r, g, b: g,
    "blue": lambda r, g, b: b,
    "brightness": lambda r, g, b: (r + g + b) / 3,
    "red - green": lambda r, g, b: r - g,
    "red - blue": lambda r, g, b: r - b,
    "green - blue": lambda r, g, b: g - b,
    "share of red": lambda r, g, b: r / (r + g + b + 0.01),
    "share of green": lambda r, g, b: g / (r + g + b + 0.01),
    "share of blue": lambda r, g, b: b / (r + g + b + 0.01),
    "saturation": lambda r, g, b: 1 - np.minimum(np.minimum(r, g), b) / (r + g + b + 0.01) * 3,
}


class ColorThreshold(NamedTuple):
    """A segmenter that looks at one property of each pixel's colour; call it with an image.

    Attributes:
        feature: The property, such as `"red - green"`.
        threshold: The value that separates foreground from background, in [-1, 1].
        above: Whether the foreground lies above it.
        jaccard: Mean Jaccard on the images it was fitted to.

    Example:
        >>> bright = ColorThreshold("brightness", 0.5, True, 0.2)
        >>> bright(np.array([[[-1.0, -1, -1], [1, 1, 1]]]))
        array([[False,  True]])
    """

    feature: str
    threshold: float
    above: bool
    jaccard: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Segment one image or a batch.

        Args:
            image: Float array (..., 3) in [-1, 1].

        Returns:
            Boolean array (...).
        """
        return (_feature(self.feature, image) >= self.threshold) == self.above


def fit_color_threshold(samples: Samples, size: int | tuple[int, int] = 128) -> ColorThreshold:
    """Find the property of colour, threshold and direction with the best mean Jaccard.

    Tried are the three channels, their mean, differences and shares, and the saturation, each at
    255 thresholds and in both directions.

    Args:
        samples: Labelled colour `Samples` of one class.
        size: Side in pixels, or (height, width), at which the images are looked at.

    Returns:
        The best `ColorThreshold`.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames", count=4, size=32)
        >>> fit_color_threshold(samples, size=32)(samples.image(0)).shape
        (32, 32)
    """
    if samples.mask_paths is None or samples.classes != 1 or samples.channels != 3:
        raise KerasganError(
            "Argument 'samples' must be labelled colour images of one class. "
            f"Received: {samples!r}, channels={samples.channels}"
        )
    total = {name: np.zeros((2, LEVELS)) for name in FEATURES}
    for images, masks in samples.batches(min(16, len(samples)), size=size).as_numpy_iterator():
        for image, mask in zip(images, masks[..., 0] > 0.5):
            for name in FEATURES:
                total[name] += _jaccard(_feature(name, image), mask)
    name = max(FEATURES, key=lambda name: total[name].max())
    below, level = np.unravel_index(total[name].argmax(), (2, LEVELS))
    best = float(total[name].max() / len(samples))
    return ColorThreshold(name, float(_THRESHOLDS[level]), below == 0, best)


_THRESHOLDS = (np.arange(LEVELS) + 1) * 2 / (LEVELS + 1) - 1


def _feature(name: str, image: np.ndarray) -> np.ndarray:
    return FEATURES[name](*np.moveaxis((np.asarray(image, np.float64) + 1) / 2, -1, 0))


def _jaccard(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Jaccard of `values >= t` and of `values < t`, for every threshold: (2, LEVELS)."""
    level = np.clip(np.floor((values + 1) / 2 * (LEVELS + 1)), 0, LEVELS).astype(int)
    inside, outside = (np.bincount(level[part], minlength=LEVELS + 1) for part in (mask, ~mask))
    fn, tn = np.cumsum(inside)[:-1], np.cumsum(outside)[:-1]
    above = Counts(inside.sum() - fn, outside.sum() - tn, fn, tn)
    below = Counts(above.fn, above.tn, above.tp, above.fp)
    return np.stack([score("jaccard", above), score("jaccard", below)])

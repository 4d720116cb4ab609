"""Seeded, stateless augmentation: one warp for image and mask, then colour on the image alone.

Flip, turn, rotation, scale and elastic bending are composed into one map from each new pixel to
the place it comes from. The image is read there once, bilinearly, and the mask at the nearest
pixel, so nothing is resampled twice and the two never part. What lies beyond the border is the
image reflected at it, mask included: a constant fill would plant dark wedges whose shape tells how
the image was turned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kerasgan.errors import unknown_name
from kerasgan.validation import check_number

_CELLS = 4
_MOVING = ("flip_horizontal", "flip_vertical", "right_angles", "rotation", "scale", "elastic")
_LIMITS = {"rotation": 180, "gamma": 10, "border": 0.5}
_LIMITS.update(dict.fromkeys(("scale", "elastic", "blur"), math.inf))
_TURNS = ([1.0, 0, 0, 1], [0, -1.0, 1, 0], [-1.0, 0, 0, -1], [0, 1.0, -1, 0])
_LUMA = (0.299, 0.587, 0.114)
_SPOTS = 8
_DOTS = 128


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How strongly images are altered, as plain numbers; 0 switches a part off.

    The first three are probabilities. Of the others each image draws its own, uniformly between
    nothing and the strength given, in either direction where there are two.

    Where images come from other hospitals, another camera, light, sharpness and frame are what
    differs; the parts for that, `white_balance` to `border`, `noise`, `overlay` and `compression`,
    are off unless they are asked for.

    Args:
        flip_horizontal: Probability of exchanging left and right.
        flip_vertical: Probability of exchanging top and bottom.
        right_angles: Probability of a turn by 0, 90, 180 or 270 degrees, drawn evenly; by 0 or
            180 where the image is not square.
        rotation: Largest rotation in degrees, to either side.
        scale: Largest enlargement or reduction: 0.25 is from 1/1.25 to 1.25 times. What is
            enlarged is cropped anywhere, what is reduced is placed anywhere.
        elastic: Standard deviation of a smooth random displacement, as a share of the shorter
            side, at its strongest. The displacement varies over a quarter of that side.
        brightness: Largest gain or loss of light, as a share; black stays black.
        contrast: Largest stretch or compression about the image's mean colour, as a share.
        saturation: Largest stretch or compression of colour about grey, as a share; only where
            there are three channels.
        white_balance: Largest gain or loss of light of each channel on its own, as a share; not
            where there is one channel alone.
        gamma: Largest exponent or root of light, which is in [0, 1]: 0.5 is from 1/1.5 to 1.5.
        highlights: Largest length of bright spots with soft edges, as a share of the shorter side.
        border: Largest share of the diagonal, at each end, that is black outside of an opening: a
            rectangle, an ellipse or a shape with clipped corners. The mask is background there.
        blur: Largest standard deviation of a Gaussian blur, in pixels.
        noise: Largest standard deviation of Gaussian noise, as a share of the range of light; each
            pixel and channel has its own.
        overlay: Largest sides of a black rectangle in a corner, or of lines of white dots at the
            left or right edge, as a share of the image's.
        compression: Largest loss of JPEG quality: 0.7 is a quality from 100 to 30; only where there
            are one or three channels.
        cutout: Largest sides of a rectangle filled with the image's mean colour, as a share of
            the image's. The mask keeps what a rectangle or spot hides.

    Raises:
        KerasganError: If a strength is negative, not finite, or above 1 (180 for the rotation, 10
            for gamma, 0.5 for the border), scale, elastic and blur having no upper bound.

    Example:
        >>> Augmentation(rotation=0, elastic=0).flip_horizontal
        0.5
    """

    flip_horizontal: float = 0.5
    flip_vertical: float = 0.5
    right_angles: float = 1.0
    rotation: float = 20.0
    scale: float = 0.25
    elastic: float = 0.02
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    white_balance: float = 0.0
    gamma: float = 0.0
    highlights: float = 0.0
    border: float = 0.0
    blur: float = 0.7
    noise: float = 0.0
    overlay: float = 0.0
    compression: float = 0.0
    cutout: float = 0.25

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            limit = _LIMITS.get(field.name, 1)
            strength = check_number(field.name, getattr(self, field.name), 0, limit)
            object.__setattr__(self, field.name, strength)


def from_fields(fields: Mapping[str, float]) -> Augmentation:
    """Make an `Augmentation` of some of its fields, by name, as recipes and JSON hold them."""
    known = [field.name for field in dataclasses.fields(Augmentation)]
    for name in fields:
        if name not in known:
            raise unknown_name("augment", name, known)
    return Augmentation(**fields)


def augment_pair(
    image: tf.Tensor, mask: tf.Tensor, key: tf.Tensor, config: Augmentation
) -> tuple[tf.Tensor, tf.Tensor]:
    """Alter an image (height, width, channels) in [-1, 1] and its mask; the key decides how."""
    draws = _Draws(key)
    size = image.shape[0], image.shape[1]
    positions = _source_positions(size, draws, config)
    if positions is not None:
        image, mask = _read_linear(image, positions), _read_nearest(mask, positions)
    image = _shine(image, config.highlights, draws)
    image = _recolor(image, draws, config)
    image, mask = _frame(image, mask, config.border, draws)
    image = _blur(image, config.blur, draws)
    if config.noise:
        strength = 2 * config.noise * draws["noise"]
        image += strength * tf.random.stateless_normal(image.shape, draws.key(2))
    image = tf.clip_by_value(_write_over(image, config.overlay, draws), -1.0, 1.0)
    image = _compress(image, config.compression, draws)
    return _cut_out(image, config.cutout, draws), mask


_DRAWN = (
    *("flip_horizontal", "flip_vertical", "turn", "right_angles", "rotation", "scale", "top"),
    *("left", "elastic", "brightness", "contrast", "saturation", "blur", "cut_height"),
    *("cut_width", "cut_top", "cut_left", "gamma", "highlights", "border", "opening", "noise"),
    *("overlay", "writing", "overlay_top", "overlay_left", "compression"),
)  # new ones go to the end: pictures of a key stay what they were


class _Draws:
    """Every random number of one image, each in its own place, so that parts do not disturb."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key = key
        values = tf.random.stateless_uniform([len(_DRAWN)], key)
        self._values = dict(zip(_DRAWN, tf.unstack(values)))

    def __getitem__(self, name: str) -> tf.Tensor:
        """Uniform in [0, 1)."""
        return self._values[name]

    def both_ways(self, name: str) -> tf.Tensor:
        """Uniform in [-1, 1)."""
        return 2 * self._values[name] - 1

    def key(self, number: int) -> tf.Tensor:
        """The key of one more set of numbers."""
        return tf.random.experimental.stateless_fold_in(self._key, number)


def _source_positions(
    size: tuple[int, int], draws: _Draws, config: Augmentation
) -> tf.Tensor | None:
    """Where each new pixel comes from: float32 (2, height, width), rows and columns in pixels."""
    height, width = size
    if not any(getattr(config, name) for name in _MOVING):
        return None
    rows, columns = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    centred = tf.constant(np.stack([rows.ravel(), columns.ravel()]), tf.float32)

    zoom = tf.pow(1.0 + config.scale, draws.both_ways("scale"))
    angle = draws.both_ways("rotation") * (config.rotation * np.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    matrix = tf.reshape(tf.stack([cosine, -sine, sine, cosine]), [2, 2])
    matrix @= _turn(size, draws, config)
    names = ("flip_vertical", "flip_horizontal")
    flips = tf.stack([tf.where(draws[n] < getattr(config, n), -1.0, 1.0) for n in names])
    room = tf.constant([height, width], tf.float32) * tf.abs(1 - 1 / zoom)
    offset = room * (tf.stack([draws["top"], draws["left"]]) - 0.5)
    offset += tf.constant([(height - 1) / 2, (width - 1) / 2], tf.float32)
    positions = (matrix * flips[None] / zoom) @ centred + offset[:, None]
    positions = tf.reshape(positions, [2, height, width])
    if config.elastic:
        positions += _bend(size, draws) * (config.elastic * min(size))
    return _reflected(positions, size)


def _turn(size: tuple[int, int], draws: _Draws, config: Augmentation) -> tf.Tensor:
    turns = tf.constant(_TURNS if size[0] == size[1] else _TURNS[::2])
    which = tf.cast(draws["turn"] * turns.shape[0], tf.int32)
    which = tf.where(draws["right_angles"] < config.right_angles, which, 0)
    return tf.reshape(turns[which], [2, 2])


def _bend(size: tuple[int, int], draws: _Draws) -> tf.Tensor:
    """A smooth displacement (2, height, width) of unit strength at most."""
    grid = [round(_CELLS * side / min(size)) + 1 for side in size]
    normal = tf.random.stateless_normal([*grid, 2], draws.key(1))
    smooth = tf.image.resize(normal, size, "bicubic")
    return tf.transpose(smooth, [2, 0, 1]) * draws["elastic"]


def _reflected(positions: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Fold positions back into the image at the outer edges of its border pixels."""
    side = tf.reshape(tf.constant(size, tf.float32), [2, 1, 1])
    folded = tf.math.floormod(positions + 0.5, 2 * side)
    return tf.clip_by_value(tf.minimum(folded, 2 * side - folded) - 0.5, 0.0, side - 1)


def _read_linear(image: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    height, width, channels = image.shape
    flat = tf.reshape(image, [height * width, channels])
    first = tf.floor(positions)
    down, right = tf.unstack((positions - first)[..., None])
    top, left = tf.unstack(tf.cast(first, tf.int32))
    bottom, far = tf.minimum(top + 1, height - 1), tf.minimum(left + 1, width - 1)

    def across(row: tf.Tensor) -> tf.Tensor:
        near = tf.gather(flat, row * width + left)
        return near + (tf.gather(flat, row * width + far) - near) * right

    upper = across(top)
    return upper + (across(bottom) - upper) * down


def _read_nearest(mask: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    height, width = mask.shape[:2]
    row, column = tf.unstack(tf.cast(tf.floor(positions + 0.5), tf.int32))
    flat = tf.reshape(mask, [height * width, *mask.shape[2:]])
    return tf.gather(flat, row * width + column)


def _shine(image: tf.Tensor, strength: float, draws: _Draws) -> tf.Tensor:
    if not strength:
        return image
    height, width = image.shape[:2]
    short = min(height, width)
    top, left, turn, length, breadth = tf.unstack(
        tf.random.stateless_uniform([5, _SPOTS, 1, 1], draws.key(3))
    )
    down = tf.range(height, dtype=tf.float32)[:, None] / short - top * (height / short)
    right = tf.range(width, dtype=tf.float32) / short - left * (width / short)
    cosine, sine = tf.cos(np.pi * turn), tf.sin(np.pi * turn)
    length = tf.maximum(strength * draws["highlights"] * (1 + length) / 4, 1e-4)
    breadth = length * (0.3 + 0.7 * breadth)
    along = right * (cosine / length) + down * (sine / length)
    across = down * (cosine / breadth) - right * (sine / breadth)
    nearest = tf.reduce_min(tf.square(along) + tf.square(across), 0)
    return image + (1 - image) * tf.minimum(2 * tf.exp(-2 * nearest), 1.0)[..., None]


def _recolor(image: tf.Tensor, draws: _Draws, config: Augmentation) -> tf.Tensor:
    channels = image.shape[-1]
    if config.white_balance and channels > 1:
        gains = tf.random.stateless_uniform([channels], draws.key(4), -1, 1)
        image = (image + 1) * (1 + config.white_balance * gains) - 1
    if config.saturation and channels == 3:
        grey = tf.reduce_sum(image * tf.constant(_LUMA), -1, keepdims=True)
        image = grey + (image - grey) * (1 + config.saturation * draws.both_ways("saturation"))
    if config.contrast:
        mean = tf.reduce_mean(image, [0, 1])
        image = mean + (image - mean) * (1 + config.contrast * draws.both_ways("contrast"))
    if config.brightness:
        image = (image + 1) * (1 + config.brightness * draws.both_ways("brightness")) - 1
    if config.gamma:
        light = tf.clip_by_value((image + 1) / 2, 0.0, 1.0)
        exponent = tf.pow(1.0 + config.gamma, draws.both_ways("gamma"))
        image = 2 * tf.exp(exponent * tf.math.log(light)) - 1  # six times as fast as tf.pow
    return image


def _frame(
    image: tf.Tensor, mask: tf.Tensor, strength: float, draws: _Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blacken what lies outside a ball about the middle: of the maximum, Euclid's or sum's norm."""
    if not strength:
        return image, mask
    y, x = (np.abs(2 * np.arange(side) + 1 - side) / side for side in image.shape[:2])
    y = y[:, None]
    norms = np.stack([np.maximum(y, x), np.hypot(y, x) / np.sqrt(2), (y + x) / 2])
    norm = tf.constant(norms, tf.float32)[tf.cast(3 * draws["opening"], tf.int32)]
    is_open = norm <= 1 - 2 * strength * draws["border"]
    image = tf.where(is_open[..., None], image, -1.0)
    if mask.shape.rank == 2:
        return image, tf.where(is_open, mask, 0)
    background = np.arange(mask.shape[-1]) == 0 if mask.shape[-1] > 1 else [False]
    return image, tf.where(is_open[..., None], mask, tf.cast(background, mask.dtype))


def _blur(image: tf.Tensor, strength: float, draws: _Draws) -> tf.Tensor:
    radius = min(math.ceil(3 * strength), image.shape[0], image.shape[1])
    if not radius:
        return image
    steps = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * tf.square(steps / tf.maximum(strength * draws["blur"], 1e-3)))
    weights = tf.unstack(weights / tf.reduce_sum(weights))
    for axis in (0, 1):
        side = image.shape[axis]
        pads = [[radius, radius] if axis == other else [0, 0] for other in range(3)]
        padded = tf.pad(image, pads, "SYMMETRIC")
        rows = axis == 0
        starts = range(len(weights))
        parts = [padded[k : k + side] if rows else padded[:, k : k + side] for k in starts]
        image = tf.add_n([weight * part for weight, part in zip(weights, parts)])
    return image


def _write_over(image: tf.Tensor, strength: float, draws: _Draws) -> tf.Tensor:
    """Cover a corner with black, or an edge with lines of dots as dense as letters."""
    if not strength:
        return image
    writes, share = draws["writing"] < 0.5, strength * draws["overlay"]
    top = tf.where(writes, draws["overlay_top"], tf.round(draws["overlay_top"]))
    covered = _rectangle(image, [share, share], [top, tf.round(draws["overlay_left"])])
    steps, short = np.arange(_DOTS), min(image.shape[:2])
    dots = tf.random.stateless_uniform([_DOTS, _DOTS], draws.key(5)) < 0.5
    dots &= (steps % 8 < 5)[:, None] & (steps % 4 < 3)
    rows, columns = (np.arange(side) * _DOTS // short % _DOTS for side in image.shape[:2])
    dots = tf.gather(tf.gather(dots, rows), columns, axis=1)[..., None]
    return tf.where(covered & (dots | ~writes), tf.where(writes, 1.0, -1.0), image)


def _compress(image: tf.Tensor, strength: float, draws: _Draws) -> tf.Tensor:
    if not strength or image.shape[-1] not in (1, 3):
        return image
    quality = tf.cast(tf.round(100 * (1 - strength * draws["compression"])), tf.int32)
    light = tf.image.adjust_jpeg_quality((image + 1) / 2, quality)
    return 2 * tf.ensure_shape(light, image.shape) - 1


def _cut_out(image: tf.Tensor, strength: float, draws: _Draws) -> tf.Tensor:
    if not strength:
        return image
    shares = [draws[name] * strength for name in ("cut_height", "cut_width")]
    hole = _rectangle(image, shares, [draws["cut_top"], draws["cut_left"]])
    return tf.where(hole, tf.reduce_mean(image, [0, 1]), image)


def _rectangle(image: tf.Tensor, shares: list, places: list) -> tf.Tensor:
    """Where a rectangle lies, (height, width, 1): its sides as shares, its place from 0 to 1."""
    inside = []
    for side, share, centre in zip(image.shape, shares, places):
        extent = share * side
        first = centre * (side - extent)
        steps = tf.range(side, dtype=tf.float32)
        inside.append((steps >= tf.round(first)) & (steps < tf.round(first + extent)))
    return (inside[0][:, None] & inside[1])[..., None]

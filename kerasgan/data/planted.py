"""Scenes with known causes: endoscopy in which a planted cue decides the mask.

Every scene shows two polyps, one to the left and one to the right, that look alike; one of them is
in the mask. What says which one is the cue, and nothing else in the picture does. A network that
does well on such scenes must use the cue, so an explanation can be held against what is known to be
its cause. The clean twin of a scene shows the same tissue, the same polyps and the same mask; there
the cue is drawn without regard to the mask, and a sign on the polyp itself decides.

| cue | what decides | of the clean twin |
| --- | --- | --- |
| `"texture"` | a patch of ridges on one polyp: that one | one polyp is yellow: that one |
| `"marker"` | a burned-in sign at the rim, its tall bar left or right: that side | ridges |
| `"frame"` | a frame of clipped corners: left; a round one: right | ridges |
| `"colour"` | a yellow cast of the whole picture: left; a blue one: right | ridges |
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kerasgan.data import synthetic
from kerasgan.data import synthetic_shapes as shapes
from kerasgan.data.resize import resize_mask
from kerasgan.data.samples import Samples, load_folder
from kerasgan.data.synthetic_shapes import smooth_noise, smoothstep
from kerasgan.errors import KerasganError
from kerasgan.validation import check_choice, check_seed, check_size

__all__ = ["cause", "scene", "write_dataset"]

CUES = ("texture", "marker", "frame", "colour")
CASTS = np.array([[1.06, 1.0, 0.62], [0.9, 1.0, 1.45]])  # yellow, blue
FOLDER = "causes"


class Polyps(NamedTuple):
    """Where things lie: bool (2, height, width), the left polyp's and the right one's."""

    inside: np.ndarray
    patch: np.ndarray


def scene(
    cue: str,
    size: int | tuple[int, int] = 128,
    seed: int | Sequence[int] = 0,
    clean: bool = False,
    *,
    flip: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one scene, its mask and what decides the mask.

    Args:
        cue: `"texture"`, `"marker"`, `"frame"` or `"colour"`; see the module.
        size: Side of a square image, or `(height, width)`, in pixels, 16 at least. Ridges and the
            marker need 48 to be seen.
        seed: A whole number from zero up, or a sequence of them. The same seed gives the same
            scene at every size, and the same tissue, polyps and mask for every cue.
        clean: Whether to draw the twin in which the cue says nothing about the mask.
        flip: Whether to turn the cue round, all else equal: the other polyp is in the mask then,
            or, in a clean scene, the same.

    Returns:
        The image, uint8 `(height, width, 3)`, RGB; the mask, uint8 `(height, width)` of {0, 1}; and
        the cause, bool `(height, width)`: the pixels that decide the mask. These are the patch of
        ridges; the marker's box; all that is black under either frame; all tissue. In a clean
        scene they are what decides there, the ridges or the yellow polyp.
        Where marker and frame lie is the same for either state and in the clean twin.

    Example:
        >>> from kerasgan.data import planted
        >>> image, mask, cause = planted.scene("marker", size=64, seed=7)
        >>> image.shape, mask.shape, cause.shape
        ((64, 64, 3), (64, 64), (64, 64))
        >>> other = planted.scene("marker", size=64, seed=7, flip=True)
        >>> bool((mask & other[1]).any()), bool((image != other[0])[~cause].any())
        (False, False)
    """
    check_choice("cue", cue, CUES)
    view = synthetic.make_grid(size)
    rng, choose = (synthetic.random_generator(kind, seed) for kind in (2, 3))
    shown, independent = (int(side) for side in choose.integers(2, size=2))
    state = (independent if clean else shown) ^ bool(flip)
    shown = shown if clean else state
    sign = "ridges" if cue != "texture" and clean else None
    ridged = {"texture": state}.get(cue, shown if sign else None)
    yellow = shown if cue == "texture" and clean else None

    frames = _frames(rng, view)
    seen = synthetic.visible_area(rng, view, square=False)
    seen = frames[state] if cue == "frame" else seen
    box, white = _marker(rng, view, state)
    surface = shapes.colon(rng, view)
    surface.light = np.minimum(surface.light, 0.8)  # glare would hide ridges
    polyps = _polyps(rng, view, surface, ridged, yellow)
    rgb = synthetic.illuminate(rng, view, surface)
    rgb = synthetic.add_camera_effects(rng, view, rgb)
    if cue == "colour":
        rgb = rgb * CASTS[state]
    rgb = rgb * seen[..., None]
    if cue == "marker":
        rgb = rgb * (1 - 0.8 * box[..., None])
        rgb = rgb + (0.95 - rgb) * white[..., None]

    tissue = seen > 0.5
    mask = polyps.inside[shown] & tissue
    if yellow is not None:
        deciding = mask
    elif ridged is not None:
        deciding = polyps.patch[ridged] & tissue
    else:
        deciding = {
            "marker": box > 0,
            "frame": ~(frames[0] > 0.99) | ~(frames[1] > 0.99),
            "colour": tissue,
        }[cue]
    return np.round(255 * np.clip(rgb, 0, 1)).astype(np.uint8), mask.astype(np.uint8), deciding


def write_dataset(
    folder: str | os.PathLike,
    cue: str,
    count: int = 200,
    size: int | tuple[int, int] = 128,
    seed: int = 0,
    clean: bool = False,
) -> Samples:
    """Draw scenes into `folder/images`, `folder/masks` and `folder/causes` and load them.

    Scene `i` is `scene(cue, size, seed=(seed, i), clean=clean)`. Masks and causes are PNG files
    with 0 and 255.

    Args:
        folder: Where to write; made if absent, and must be empty.
        cue: As in `scene`.
        count: How many scenes, 1 at least.
        size: As in `scene`.
        seed: A whole number from zero up.
        clean: As in `scene`.

    Returns:
        The `Samples` that `kerasgan.data.load_folder(folder)` finds.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import planted
        >>> samples = planted.write_dataset(tempfile.mkdtemp(), "frame", count=2, size=32)
        >>> samples.names, planted.cause(samples, 0).shape
        (('frame_0000', 'frame_0001'), (32, 32))
    """
    check_choice("cue", cue, CUES)
    check_seed(seed)

    def draw(index: int) -> dict[str, np.ndarray]:
        image, mask, deciding = scene(cue, size, (seed, index), clean)
        return {"images": image, "masks": mask * 255, FOLDER: deciding.astype(np.uint8) * 255}

    synthetic.write_scenes(folder, cue, count, draw)
    return load_folder(folder)


def cause(samples: Samples, index: int, size: int | tuple[int, int] | None = None) -> np.ndarray:
    """Read what decides the mask of a scene that `write_dataset` wrote.

    Args:
        samples: What `write_dataset` returned, or a part of it.
        index: Position, from 0.
        size: Side or `(height, width)` to bring it to, as masks are; None for that of the image.

    Returns:
        bool `(height, width)`.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import planted
        >>> samples = planted.write_dataset(tempfile.mkdtemp(), "marker", count=1, size=64)
        >>> planted.cause(samples, 0, size=32).shape
        (32, 32)
    """
    image = Path(samples.image_paths[index])
    path = image.parent.parent / FOLDER / f"{image.stem}.png"
    try:
        with Image.open(path) as file:
            deciding = np.asarray(file.convert("L")) > 127
    except OSError as error:
        raise KerasganError(
            f"Argument 'samples' must be scenes that planted.write_dataset wrote. The cause of "
            f"{samples.names[index]!r} cannot be read from {path}: {error}"
        ) from None
    return deciding if size is None else resize_mask(deciding, check_size("size", size))


def _polyps(rng, view, surface, ridged: int | None, yellow: int | None) -> Polyps:
    """Raises two polyps alike; one may bear a patch of ridges, one may be yellow."""
    size, flat = rng.uniform(0.24, 0.34), rng.uniform(0, 0.6)
    own = surface.albedo.mean((0, 1)) * rng.uniform([0.98, 0.8, 0.8], [1.06, 1.1, 1.1])
    gain, roughness = rng.uniform(0.25, 0.5), rng.uniform(0.03, 0.1)
    spots = smooth_noise(rng, view, 0.25), smooth_noise(rng, view, 0.045)
    tone = 1 + (0.05 * spots[0] + roughness * spots[1])[..., None] * np.array([0.4, 1, 1])
    bend = 0.16 * smooth_noise(rng, view, 0.4)
    inside, patches = [], []
    for side in (0, 1):
        centre = np.array([rng.uniform(-0.3, 0.3), (2 * side - 1) * rng.uniform(0.42, 0.5)])
        dy, dx = view.y - centre[0], view.x - centre[1]
        outline = shapes.wavy(rng, np.arctan2(dy, dx), 0.12, 6)
        q = np.hypot(dy, dx) / (size * outline) + 0.03 * smooth_noise(rng, view, 0.15)
        turn, wave = rng.uniform(0, 2 * np.pi, 2)
        py, px = dy - 0.3 * size * np.sin(turn), dx - 0.3 * size * np.cos(turn)
        patch = smoothstep(1.0, 0.8, np.hypot(py, px) / (0.58 * size))
        along = (dy * np.cos(wave) + dx * np.sin(wave) + bend) / 0.13
        ridges = (0.55 * patch * np.cos(2 * np.pi * along))[..., None] * np.array([0.45, 1, 1])
        tint = np.array([1.05, 1.3, 0.75]) if side == yellow else 1.0
        albedo = own * tone * tint * (1 + ridges * (side == ridged))
        dome = size * (0.55 - 0.3 * flat) * np.clip(1 - q**2, 0, 1) ** (0.6 + 0.9 * flat)
        surface.add_body(view, q, size, dome, albedo, soft=0.03 + 0.1 * flat, gain=gain)
        inside.append(q < 1)
        patches.append((patch > 0) & (q < 1))
    return Polyps(np.stack(inside), np.stack(patches))


def _frames(rng, view) -> tuple[np.ndarray, np.ndarray]:
    """How much is seen through a frame of clipped corners, and through a round one."""
    y, x = view.y / np.abs(view.y).max(), view.x / np.abs(view.x).max()
    clipped = (rng.uniform(1.36, 1.44) - np.abs(y) - np.abs(x)) / 1.4
    wide = 0.98 - np.maximum(np.abs(y), np.abs(x))
    disc = rng.uniform(0.93, 0.97) - np.hypot(y, x)
    return tuple(
        np.clip(inside / view.pixel + 0.5, 0, 1) for inside in (np.minimum(clipped, wide), disc)
    )


def _marker(rng, view, state: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel its box covers, and its white: blocks in a row, a bar at one end."""
    block, gap, tall = 0.075, 0.055, 0.17
    width = 4 * block + 3 * gap
    bottom = (2 * rng.integers(2) - 1) * (np.abs(view.y).max() - 0.13) + tall / 2
    left = rng.uniform(-0.4, 0.4) - width / 2

    white = 0

    def box(top, left, bottom, right):
        rows = shapes.coverage(view.y, view.pixel, top, bottom)
        return rows * shapes.coverage(view.x, view.pixel, left, right)

    for index in range(4):
        start = left + index * (block + gap)
        height = tall if index == 3 * state else block
        white = white + box(bottom - height, start, bottom, start + block)
    top, margin = bottom - tall, 0.03
    return box(top - margin, left - margin, bottom + margin, left + width + margin), white

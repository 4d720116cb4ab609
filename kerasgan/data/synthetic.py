"""Procedural endoscopy: images of polyps and instruments whose masks are known exactly.

Everything is drawn in scene coordinates, in which the shorter side of the image runs from -1 to 1,
so one seed shows one scene at every size. A scene is made as a frame of endoscopy is: tissue with
folds and vessels and things in front of it (`synthetic_shapes`), a lamp beside the camera
(`_light`), and what the camera adds (`_camera`, `_frame`, `_text`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from kerasgan.data import synthetic_shapes as shapes
from kerasgan.data.samples import Samples, load_folder
from kerasgan.data.synthetic_shapes import smooth_noise, smoothstep
from kerasgan.errors import KerasganError
from kerasgan.validation import (
    MOST_SEED,
    check_choice,
    check_path,
    check_seed,
    check_size,
    check_whole_number,
    invalid,
)

__all__ = ["scene", "write_dataset"]

KINDS = ("polyp", "instrument")


def scene(
    kind: str = "polyp",
    size: int | tuple[int, int] = 128,
    seed: int | Sequence[int] = 0,
    classes: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one endoscopic scene and the mask of what it shows.

    Args:
        kind: `"polyp"` or `"instrument"`, what every scene shows.
        size: Side of a square image, or `(height, width)`, in pixels, 16 at least.
        seed: A whole number from zero up, or a sequence of them. The same seed gives the same
            scene at every size.
        classes: 1 for a mask of `kind` alone; 3 for the labels 0 background, 1 polyp and
            2 instrument, where about half of the scenes show both.

    Returns:
        The image, uint8 `(height, width, 3)`, RGB, and the mask, uint8 `(height, width)` of labels.

    Example:
        >>> from kerasgan.data import synthetic
        >>> image, mask = synthetic.scene("polyp", size=64, seed=7)
        >>> image.shape, mask.shape, sorted(set(mask.ravel().tolist()))
        ((64, 64, 3), (64, 64), [0, 1])
    """
    check_choice("kind", kind, KINDS)
    check_choice("classes", classes, (1, 3))
    view = make_grid(size)
    rng = random_generator(KINDS.index(kind), seed)
    both = classes == 3 and rng.random() < 0.5
    square = rng.random() < 0.4
    visible, text = visible_area(rng, view, square), _text(rng, view) * (rng.random() < 0.5)
    inside_body = kind == "instrument" and not both and rng.random() < 0.6
    surface = (shapes.abdomen if inside_body else shapes.colon)(rng, view)
    labels = np.zeros(visible.shape, np.uint8)
    if kind == "polyp" or both:
        for _ in range(1 + (rng.random() < 0.15)):
            labels[shapes.polyp(rng, view, surface, _place(rng, square))] = 1
    rgb = illuminate(rng, view, surface)
    if kind == "instrument" or both:
        for _ in range(1 + (rng.random() < 0.3)):
            rgb, inside = shapes.instrument(rng, view, rgb, _place(rng, square))
            labels[inside] = 2 if classes == 3 else 1
    rgb = add_camera_effects(rng, view, rgb) * visible[..., None]
    labels[visible < 0.5] = 0
    rgb = np.maximum(rgb, 0.85 * text[..., None])
    return np.round(255 * np.clip(rgb, 0, 1)).astype(np.uint8), labels


def write_dataset(
    folder: str | os.PathLike,
    count: int = 200,
    size: int | tuple[int, int] = 128,
    kind: str = "polyp",
    seed: int = 0,
    classes: int = 1,
) -> Samples:
    """Draw scenes into `folder/images` and `folder/masks` and load them.

    Scene `i` is `scene(kind, size, seed=(seed, i), classes=classes)`. Masks are PNG files with
    0 and 255, or, for three classes, with the labels 0, 1 and 2.

    Args:
        folder: Where to write; made if absent, and must be empty.
        count: How many scenes, 1 at least.
        size: As in `scene`.
        kind: As in `scene`.
        seed: A whole number from zero up.
        classes: As in `scene`.

    Returns:
        The `Samples` that `kerasgan.data.load_folder(folder, classes=classes)` finds.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> samples.names
        ('polyp_0000', 'polyp_0001')
    """
    check_seed(seed)

    def draw(index: int) -> dict[str, np.ndarray]:
        image, mask = scene(kind, size, (seed, index), classes)
        return {"images": image, "masks": mask * (255 if classes == 1 else 1)}

    write_scenes(folder, kind, count, draw)
    return load_folder(folder, classes=classes)


def write_scenes(
    folder: str | os.PathLike, name: str, count: int, draw: Callable[[int], dict[str, np.ndarray]]
) -> None:
    """Write PNG files `part/name_0000.png`, for each part that `draw` gives by an index from 0."""
    check_whole_number("count", count, 1)
    folder = check_path("folder", folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise KerasganError(
            f"The folder {folder} is not empty; give a new one, or empty it, so that no file is "
            "overwritten."
        )
    try:
        for index in range(count):
            for part, pixels in draw(index).items():
                (folder / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / part / f"{name}_{index:04d}.png")
    except OSError as error:
        raise KerasganError(f"Cannot write scenes into {folder}: {error.strerror}") from None


def random_generator(kind: int, seed: int | Sequence[int]) -> np.random.Generator:
    """Random numbers for one kind of scene and one seed."""
    try:
        seeds = [check_seed(each) for each in (seed if isinstance(seed, Sequence) else [seed])]
    except KerasganError:
        expected = f"a whole number from 0 to {MOST_SEED}, or a sequence of them"
        raise invalid("seed", expected, seed) from None
    return np.random.default_rng([kind, *seeds])


def make_grid(size) -> shapes.SceneGrid:
    """Scene coordinates of the pixels of an image."""
    height, width = check_size("size", size, least=16)
    pixel = 2 / min(height, width)
    y = ((np.arange(height) + 0.5 - height / 2) * pixel).astype(np.float32)[:, None]
    x = ((np.arange(width) + 0.5 - width / 2) * pixel).astype(np.float32)[None, :]
    return shapes.SceneGrid(y, x, pixel)


def _place(rng, square: bool) -> np.ndarray:
    """Where to put something: not behind the dark square in the lower left."""
    y, x = rng.uniform(-0.5, 0.5, 2)
    return np.array([y, abs(x) if square and y > 0 else x])


def illuminate(rng, view, surface) -> np.ndarray:
    """Shines a lamp beside the camera on the surface, with its mirror images on wet tissue."""
    gy, gx = surface.slopes
    ty, tx, tz = surface.lamp[0] - view.y, surface.lamp[1] - view.x, 1.3
    lambert = (tz - gy * ty - gx * tx) / np.sqrt((1 + gy**2 + gx**2) * (tz**2 + ty**2 + tx**2))
    falloff = tz**2 / (tz**2 + (ty**2 + tx**2))
    brightness = surface.light * falloff * (0.12 + 0.88 * np.clip(lambert, 0, 1))
    exposed = surface.albedo * brightness[..., None] * np.exp(rng.normal(1.4, 0.22))
    stain = smooth_noise(rng, view, 0.5) + 0.5 * smooth_noise(rng, view, 0.12)
    stain = smoothstep(1.4, 2.0, stain) * rng.choice([0, 0, 0.8])
    exposed *= 1 + stain[..., None] * np.array([0, 0.15, -0.5])
    rgb = 1 - np.exp(-(exposed ** np.array([1.0, 1.25, 1.25])))
    rgb = 0.75 * rgb + 0.25 * smoothstep(0, 1, rgb)
    wy, wx = shapes.slope(shapes.octaves(rng, view, 0, (0.006, 0.10), (0.003, 0.05)), view)
    off = (gy + wy - 0.35 * ty) ** 2 + (gx + wx - 0.35 * tx) ** 2
    gloss = np.exp(-off / 0.016) * smoothstep(0.15, 0.5, surface.light)
    gloss = smoothstep(0.5, 0.9, gloss) * smoothstep(-0.3, 1.0, smooth_noise(rng, view, 0.35))
    return rgb + (1 - rgb) * gloss[..., None]


def add_camera_effects(rng, view, rgb) -> np.ndarray:
    """Haze, vignette, blur, sharpening, colour balance and noise."""
    haze = rng.choice([0, 0, 0.25]) * smoothstep(-1.5, 1.5, smooth_noise(rng, view, 1.2))
    rgb = rgb + (rgb.mean((0, 1)) * 0.6 + 0.2 - rgb) * haze[..., None]
    vignette = 1 - rng.uniform(0.1, 0.5) * np.clip((view.y**2 + view.x**2) / 2, 0, 1)
    rgb = rgb * vignette[..., None] * rng.uniform(0.94, 1.06, 3)
    blur = rng.uniform(0.001, 0.006) / view.pixel
    rgb = ndimage.gaussian_filter(rgb, (blur, blur, 0))
    soft = ndimage.gaussian_filter(rgb, (2 * blur, 2 * blur, 0))
    rgb = rgb + rng.uniform(0.2, 1.0) * (rgb - soft)
    return rgb + rng.normal(0, 0.01, rgb.shape)


def visible_area(rng, view, square: bool) -> np.ndarray:
    """One where tissue is seen, zero in the black frame and under the dark square."""
    choice = rng.random()
    y, x = view.y / np.abs(view.y).max(), view.x / np.abs(view.x).max()
    if choice < 0.7:  # clipped corners
        inside = (rng.uniform(1.5, 1.75) - np.abs(y) - np.abs(x)) / 1.4
    elif choice < 0.85:
        inside = rng.uniform(1.02, 1.25) - np.hypot(y, x)
    else:
        inside = 1 - rng.uniform(0, 0.06) - np.maximum(np.abs(y), np.abs(x))
    seen = np.clip(inside / view.pixel + 0.5, 0, 1)
    if square:
        top, right = rng.uniform(0.25, 0.6), -rng.uniform(0.25, 0.6)
        seen = seen * (1 - (y > top) * (x < right) * (y < 0.97))
    return seen


# Three by five dots, row by row, of what stands burned into a frame.
GLYPHS = {
    "0": 0b111101101101111, "1": 0b010110010010111, "2": 0b111001111100111,
    "3": 0b111001111001111, "4": 0b101101111001001, "5": 0b111100111001111,
    "6": 0b111100111101111, "7": 0b111001001001001, "8": 0b111101111101111,
    "9": 0b111101111001111, ":": 0b000010000010000, "/": 0b001001010100100,
}  # fmt: skip


def _text(rng, view) -> np.ndarray:
    """How much of each pixel is covered by a date, a time and a number."""
    day, hour = rng.integers((1, 1, 2010), (29, 13, 2020)), rng.integers(0, 60, 3)
    lines = ["{:02}/{:02}/{}".format(*day), "{:02}:{:02}:{:02}".format(*hour), f"{hour[0]:03}"]
    page = np.zeros((8 * len(lines), 4 * max(map(len, lines))))
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            bits = np.array(list(f"{GLYPHS[letter]:015b}"), int).reshape(5, 3)
            page[8 * row : 8 * row + 5, 4 * column : 4 * column + 3] = bits
    dot, starts = 0.011, (rng.uniform(-0.5, -0.1), view.x.min() + 0.03)
    covered = []
    for pixels, start, count in zip((view.y, view.x), starts, page.shape):
        low = start + dot * np.arange(count)
        covered.append(shapes.coverage(pixels.reshape(-1, 1), view.pixel, low, low + dot))
    return covered[0] @ page @ covered[1].T

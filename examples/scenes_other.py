"""Scenes for two more datasets: vessels of a retina, in colour, and ultrasound, in grey.

Both are drawn so that a threshold goes wrong. What is to be found is darker than what surrounds it,
but so are stains, shadows and whatever lies far from the light or from the probe.
"""

import json
import pathlib

import common
import numpy as np
from PIL import Image
from scipy import ndimage, spatial

import kerasgan as kg
from kerasgan.cli import runs
from kerasgan.data.synthetic_shapes import SceneGrid, smooth_noise, smoothstep

RETINA = np.array([0.80, 0.40, 0.20])


def vessels(size=128, seed=0):
    """Draw a retina; return the image, uint8 (size, size, 3), and the mask of its vessels."""
    rng, view = np.random.default_rng([10, *np.atleast_1d(seed)]), make_grid(size)
    side, lift = rng.choice([-1, 1]), rng.uniform(-0.2, 0.2)
    disc = np.array([lift, side * rng.uniform(0.35, 0.7)])
    points, radii = _tree(rng, disc, side)
    grid = np.stack(np.broadcast_arrays(view.y, view.x), -1)
    away, nearest = spatial.cKDTree(points).query(grid)
    inside = radii[nearest] - away  # in scene units, above 0 within a vessel
    mask = inside > 0

    glow = smooth_noise(rng, view, 1.3) + 0.5 * smooth_noise(rng, view, 0.5)
    rgb = RETINA * (1 + glow[..., None] * np.array([0.10, 0.16, 0.20]))
    rgb = rgb * (1 + 0.04 * smooth_noise(rng, view, 0.06)[..., None])
    around = np.hypot(view.y - disc[0], view.x - disc[1])
    rgb = rgb + smoothstep(0.24, 0.18, around)[..., None] * np.array([0.15, 0.32, 0.30])
    macula = np.hypot(view.y - lift, view.x - disc[1] + side * 1.0)
    rgb = rgb * (1 - 0.4 * np.exp(-((macula / 0.2) ** 2))[..., None])
    for bright in (False, True):  # bleedings and deposits
        for _ in range(rng.integers(0, 7)):
            y, x = rng.uniform(-0.75, 0.75, 2)
            spot = np.hypot(view.y - y, view.x - x) + 0.03 * smooth_noise(rng, view, 0.15)
            spot = smoothstep(1.0, 0.6, spot / rng.uniform(0.03, 0.12))[..., None]
            paint = np.array([0.85, 0.75, 0.4]) if bright else np.array([0.42, 0.10, 0.08])
            rgb = rgb + 0.8 * spot * (paint - rgb)
    cover = np.clip(inside / view.pixel + 0.5, 0, 1)
    depth = rng.uniform(0.35, 0.7) * (0.75 + 0.25 * np.clip(radii[nearest] / 0.03, 0, 1))
    rgb = rgb * (1 - (depth * cover)[..., None] * np.array([0.35, 0.8, 0.7]))
    reflex = np.exp(-(((away / np.maximum(radii[nearest], 1e-3)) / 0.35) ** 2))
    wide = smoothstep(0.02, 0.035, radii[nearest])
    rgb = rgb + (rng.uniform(0, 0.25) * reflex * wide)[..., None] * RETINA

    lamp = rng.uniform(-0.5, 0.5, 2)
    far = (view.y - lamp[0]) ** 2 + (view.x - lamp[1]) ** 2
    rgb = rgb * (np.exp(-far * rng.uniform(0.2, 0.7)) * rng.uniform(0.9, 1.25))[..., None]
    rgb = ndimage.gaussian_filter(rgb, (rng.uniform(0.3, 0.7),) * 2 + (0,))
    rgb = rgb + rng.normal(0, 0.015, rgb.shape)
    edge = rng.uniform(0.94, 1.05) - np.hypot(view.y, view.x)
    seen = np.clip(edge / view.pixel + 0.5, 0, 1)
    return _bytes(rgb * seen[..., None]), (mask & (seen > 0.5)).astype(np.uint8)


def ultrasound(size=128, seed=0):
    """Draw a grey sector with one lesion; return the image, uint8 (size, size), and the mask."""
    rng, view = np.random.default_rng([11, *np.atleast_1d(seed)]), make_grid(size)
    apex, wide = rng.uniform(-1.9, -1.3), rng.uniform(0.5, 0.75)
    depth = np.hypot(view.y - apex, view.x)
    angle = np.arctan2(view.x, view.y - apex)
    near = -0.95 - apex

    place, turn = near + rng.uniform(0.45, 1.25), rng.uniform(-0.6, 0.6) * wide
    echo = np.exp(0.5 * smooth_noise(rng, view, 0.7) + 0.3 * smooth_noise(rng, view, 0.25))
    bend = 0.08 * smooth_noise(rng, view, 0.9)
    for _ in range(rng.integers(3, 7)):  # layers of tissue
        at = near + rng.uniform(0.05, 1.6)
        line = np.exp(-(((depth + bend - at) / rng.uniform(0.012, 0.03)) ** 2))
        echo = echo * (
            1 + rng.uniform(1, 5) * line * smoothstep(-0.6, 0.5, smooth_noise(rng, view, 0.5))
        )
    beam = np.ones_like(echo)
    for _ in range(rng.integers(1, 4)):  # bright reflectors, and dark behind them
        at, half = near + rng.uniform(0.1, 1.3), rng.uniform(0.03, 0.09)
        way = turn
        while abs(way - turn) < 0.15:  # none hides the lesion
            way = rng.uniform(-0.8, 0.8) * wide
        across = smoothstep(1.2, 0.8, np.abs(angle - way) / half)
        echo = echo * (1 + 12 * across * np.exp(-(((depth - at) / 0.02) ** 2)))
        beam = beam * (1 - rng.uniform(0.75, 0.97) * across * smoothstep(0, 0.05, depth - at))

    middle = np.array([apex + place * np.cos(turn), place * np.sin(turn)])
    long, flat = rng.uniform(0.16, 0.42), rng.uniform(0.55, 0.95)
    lean = turn + rng.normal(0, 0.25)
    dy, dx = view.y - middle[0], view.x - middle[1]
    v, u = dy * np.cos(lean) + dx * np.sin(lean), dx * np.cos(lean) - dy * np.sin(lean)
    theta, rough = np.arctan2(v / flat, u), rng.uniform(0.05, 0.2)
    outline = 1 + sum(
        rng.normal(0, rough / k) * np.cos(k * theta + rng.uniform(0, 7)) for k in range(2, 8)
    )
    q = np.hypot(v / flat, u) / (long * outline) + 0.03 * smooth_noise(rng, view, 0.12)
    body = smoothstep(1.08, 0.92, q)
    inner = rng.uniform(0.1, 0.3) * np.exp(0.35 * smooth_noise(rng, view, 0.15))
    echo = echo * (1 - body) + inner * body
    echo = echo * (1 + rng.uniform(0, 2) * np.exp(-(((q - 1.06) / 0.06) ** 2)))
    behind = smoothstep(0.8, 0.5, np.abs(angle - turn) * place / long) * smoothstep(
        0, 0.1, depth - place
    )
    beam = beam * np.exp(rng.choice([-1.2, 0, 0.9]) * behind * (1 - body))

    beam = beam * np.exp(-rng.uniform(0.2, 0.9) * (depth - near))
    grain = [smooth_noise(rng, view, 0.035), smooth_noise(rng, view, 0.035)]
    coarse = [smooth_noise(rng, view, 0.08), smooth_noise(rng, view, 0.08)]
    share = np.clip((depth - near) / 2, 0, 1)
    parts = [fine * (1 - share) + rough * share for fine, rough in zip(grain, coarse)]
    level = echo * beam * np.hypot(*parts) + 0.01 * rng.exponential(size=echo.shape)
    grey = 0.62 + rng.uniform(-0.06, 0.06) + 0.2 * np.log(level + 1e-3)
    grey = ndimage.gaussian_filter(grey, 0.006 / view.pixel)
    seen = (np.abs(angle) < wide) & (depth > near) & (depth < near + rng.uniform(1.75, 1.95))
    return _bytes(grey * seen), ((q < 1) & seen).astype(np.uint8)


def write_dataset(folder, draw, count, size, seed=0):
    """Draw scenes into `folder/images` and `folder/masks`; return them as `Samples`."""
    folder = pathlib.Path(folder)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        image, mask = draw(size, (seed, index))
        name = f"{draw.__name__}_{index:04}.png"
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(255 * mask).save(folder / "masks" / name)
    return kg.data.load_folder(folder)


def experiment(args, draw):
    """Draw scenes into the results folder, train on some, report on others; return the folder."""
    recipe = runs.recipe_from(args)
    folder = runs.results_folder(args.results, args.resume)
    samples = common.drawn(
        folder,
        f"{args.count} scenes",
        lambda place: write_dataset(place, draw, args.count, recipe.size, args.seed),
    )
    rest, test = samples.split(1 / 6, seed=0)
    common.experiment(args, recipe, folder, rest, test, 1 / 6)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    for score in ("jaccard", "dice"):
        network, threshold = (
            facts[name]["scores"][score]["mean"] for name in ("scores", "control")
        )
        print(f"{score}: network {network:.3f}, best threshold {threshold:.3f}")
    return folder


def _tree(rng, disc, side):
    """Vessels that leave the disc and branch: points along them, and the radius at each."""
    points, radii = [], []
    growing = []
    for up in (-1, 1):
        for _ in range(rng.integers(2, 4)):
            heading = np.arctan2(up * rng.uniform(0.6, 1.5), -side * rng.uniform(-0.5, 1.0))
            growing.append((disc, heading, rng.uniform(0.020, 0.036), -up * side * 0.35))
    while growing and len(points) < 6000:
        place, heading, radius, bend = growing.pop()
        turn = 0.0
        while radius > 0.008 and np.hypot(*place) < 1.15:
            turn = 0.9 * turn + rng.normal(0, 0.05)
            heading = heading - 0.012 * bend + 0.012 * turn * 8
            place = place + 0.012 * np.array([np.sin(heading), np.cos(heading)])
            radius = radius * 0.9965
            points.append(place)
            radii.append(radius)
            if rng.random() < 0.022:
                way = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                growing.append((place, heading + way, radius * rng.uniform(0.55, 0.85), 0.0))
                radius = radius * 0.93
    return np.array(points), np.array(radii)


def make_grid(size):
    pixel = 2 / size
    axis = ((np.arange(size) + 0.5 - size / 2) * pixel).astype(np.float32)
    return SceneGrid(axis[:, None], axis[None, :], pixel)


def _bytes(values):
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)

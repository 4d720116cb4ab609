"""What stands before the camera in a synthetic scene: tissue, polyps and instruments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

TILE = 4.0  # noise repeats after this many scene units


class SceneGrid(NamedTuple):
    """Scene coordinates of the pixel centres, and the side of a pixel in scene units."""

    y: np.ndarray
    x: np.ndarray
    pixel: float


class Surface:
    """The tissue, pixel by pixel, before the lamp shines on it; `add_body` changes it in place."""

    def __init__(self, light, slopes, albedo, lamp):
        self.light, self.slopes, self.albedo, self.lamp = light, slopes, albedo, lamp

    def add_body(self, view, q, size, relief, albedo, soft=0.0, gain=0.0):
        """Puts a body of outline `q < 1` in front of what is there, and its shadow behind it."""
        edge = 1.5 * view.pixel / size + soft
        inside = smoothstep(1 + 0.3 * edge, 1 - 0.7 * edge, q)
        reach = 0.12 * size / view.pixel
        away = [-0.12 * size * np.tanh(2 * c) / view.pixel for c in self.lamp]
        shadow = ndimage.shift(
            ndimage.gaussian_filter(inside, reach, truncate=3), away, order=1, mode="nearest"
        )
        there = (self.light * inside).sum() / (inside.sum() + 1e-6)
        near = 0.4 * self.light + 0.6 * there + gain * np.clip(1 - q**2, 0, 1)
        self.light = self.light * (1 - 0.5 * shadow) * (1 - inside) + near * inside
        self.slopes = [
            old * (1 - inside) + np.clip(new, -2, 2) * inside
            for old, new in zip(self.slopes, slope(relief, view))
        ]
        self.albedo += (albedo - self.albedo) * inside[..., None]


def smoothstep(low, high, value):
    """Rises smoothly from 0 at `low` to 1 at `high` (falls where `low > high`)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def slope(field, view):
    """Derivatives of a field along y and x, per scene unit."""
    return np.gradient(field, view.pixel)


def coverage(pixels, pixel, low, high):
    """How much of each pixel, given by its centre, lies from `low` to `high`."""
    half = pixel / 2
    covered = np.minimum(pixels + half, high) - np.maximum(pixels - half, low)
    return np.clip(covered, 0, None) / pixel


def rotated(view, centre, turn):
    """Coordinates of the pixels about a centre, across and along a direction."""
    dy, dx = view.y - centre[0], view.x - centre[1]
    return dy * np.cos(turn) - dx * np.sin(turn), dy * np.sin(turn) + dx * np.cos(turn)


def wavy(rng, theta, rough, waves):
    """The radius of a wavy outline of mean 1, by angle."""
    return 1 + sum(
        rng.normal(0, rough / k) * np.cos(k * theta + rng.uniform(0, 7)) for k in range(2, waves)
    )


def _spline(t, n):
    """Cubic B-spline weights of `n` periodic lattice points at the positions `t`."""
    start = np.floor(t).astype(int)
    f = t - start
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    matrix = np.zeros((len(t), n), np.float32)
    for k, weight in enumerate(weights):
        matrix[np.arange(len(t)), (start + k - 1) % n] += weight / 6
    return matrix


def smooth_noise(rng, view, wavelength):
    """Smooth noise of unit deviation; it fades out where pixels are too coarse to show it."""
    n = max(4, round(TILE / wavelength))
    lattice = rng.standard_normal((n, n), np.float32)
    fade = np.clip(1.5 * wavelength / view.pixel - 1, 0, 1)
    rows, columns = (_spline(c.ravel() * n / TILE, n) for c in (view.y, view.x))
    return (fade / 0.479) * (rows @ lattice @ columns.T)


def octaves(rng, view, field, *parts):
    """Add smooth noise of several strengths and wavelengths to a field."""
    for strength, wavelength in parts:
        field = field + strength * smooth_noise(rng, view, wavelength)
    return field


def _vessels(rng, view, spacing, width):
    """Winding lines `spacing` apart and `width` wide, here strong and there faint."""
    angle = rng.uniform(0, np.pi)
    along = (view.x * np.cos(angle) + view.y * np.sin(angle)) / spacing
    field = octaves(rng, view, along, (0.45, 1.5 * spacing), (0.15, 0.5 * spacing))
    strength = smoothstep(-0.3, 1.2, smooth_noise(rng, view, 1.2 * spacing))
    distance = np.abs(field - np.round(field)) * spacing
    width = width * (0.4 + strength)
    edge = np.maximum(width, view.pixel)
    return np.exp(-((distance / edge) ** 2)) * strength * width / edge


def _texture(rng, view):
    """Mottles and vessels, by which a base colour is multiplied."""
    tone = octaves(rng, view, 0, (0.07, 0.7), (0.04, 0.15), (0.05, 0.03))
    scale, lines = np.exp(rng.uniform(-0.4, 0.5)), 0
    for spacing, width in ((0.8, 0.014), (0.5, 0.01), (0.3, 0.008), (0.3, 0.008), (0.16, 0.006)):
        lines = lines + _vessels(rng, view, spacing * scale, width)
    lines = np.clip(lines, 0, 1.4) * rng.choice([0.12, 0.3, 0.55])
    texture = 1 + tone[..., None] * np.array([0.4, 1.0, 1.1])
    return texture * (1 - lines[..., None] * np.array([0.25, 0.65, 0.55]))


def _base_colour(rng):
    green = rng.normal(0.385, 0.025)
    blue = 0.29 + 0.9 * (green - 0.385) + rng.normal(0, 0.025)
    return 0.8 * np.array([1.0, green, np.maximum(blue, 0.1)])


def colon(rng, view) -> Surface:
    """The inside of a gut: a wall that recedes into a dark lumen, and folds across it."""
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 2.0)
    centre = far * np.array([np.sin(angle), np.cos(angle)])
    growth, radius = rng.uniform(1.3, 1.9), rng.uniform(0.12, 0.3)
    warp = octaves(rng, view, 0, (0.12, 0.9), (0.03, 0.3))
    light = np.full(warp.shape, 0.05, np.float32)
    relief = np.zeros_like(light)
    for j in range(6):
        dy, dx = view.y - centre[0] * 0.9**j, view.x - centre[1] * 0.9**j
        theta = np.arctan2(dy, dx)
        bend = 0.12 * np.cos(3 * theta + rng.uniform(0, 7))
        bend = bend + 0.08 * np.cos(2 * theta + rng.uniform(0, 7))
        r = np.hypot(dy, dx) * (1 + bend) + warp + 0.04 * smooth_noise(rng, view, 0.5)
        r = np.maximum(r, 1e-3)
        a = r / radius
        arc = np.cos(theta - rng.uniform(0, 7)) + 0.5 * smooth_noise(rng, view, 0.9)
        sharp = rng.uniform(0.2, 1) * smoothstep(-0.9, 0.6, arc)
        soft = 0.03 + 0.9 * (1 - sharp)
        alpha = smoothstep(1 - 0.5 * soft, 1 + 0.5 * soft, a)
        rise = np.maximum(a - 1, 0) / 0.16
        crest = sharp * rise * np.exp(1 - rise)
        wall = 0.05 + 0.95 / (1 + np.exp(-2.2 * (np.log(r) + 0.7)))
        light = light * (1 - 0.65 * sharp * np.exp(-np.maximum(1 - a, 0) / 0.3))
        light = light * (1 - alpha) + wall * (1 + 0.5 * crest) * alpha
        relief = relief * (1 - alpha) + 0.07 * radius * crest * alpha
        radius *= growth
    bumps = ((0.07, 0.9), (0.022, 0.4), (0.0035, 0.12), (0.0008, 0.04))
    height = octaves(rng, view, relief, *bumps)
    close = -rng.uniform(0.6, 1.4) * centre / far  # where the wall comes near and overexposes
    glare = np.exp(-((view.y - close[0]) ** 2 + (view.x - close[1]) ** 2) / 0.35)
    light = light * (1 + rng.choice([0, 0.5, 2.5]) * glare)
    albedo = _base_colour(rng) * _texture(rng, view)
    return Surface(light, slope(height, view), albedo, rng.uniform(-0.8, 0.8, 2))


def abdomen(rng, view) -> Surface:
    """Organs and lobes of fat, one before the other."""
    surface = colon(rng, view)
    surface.light = 0.5 * surface.light + 0.3
    texture = surface.albedo / surface.albedo.mean((0, 1))
    for _ in range(rng.integers(5, 12)):
        size = np.exp(rng.uniform(np.log(0.2), np.log(0.7)))
        q, _ = _blob(rng, view, rng.uniform(-1.1, 1.1, 2), size, 0.14)
        base = _base_colour(rng)
        if rng.random() < 0.5:  # fat
            base = np.array([0.85, rng.uniform(0.34, 0.41), rng.uniform(0.14, 0.22)])
        own = base * (1 + 0.06 * smooth_noise(rng, view, 0.2)[..., None])
        relief = 0.35 * size * np.clip(1 - q**2, 0, 1) ** 0.8
        relief = relief + 0.008 * smooth_noise(rng, view, 0.15)
        surface.add_body(view, q, size, relief, own * texture, soft=0.1)
    return surface


def _blob(rng, view, centre, size, rough):
    """Distance from the centre in units of a wavy outline; and the angle of the long axis."""
    turn, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1)
    v, u = rotated(view, centre, turn)
    outline = wavy(rng, np.arctan2(v / squeeze, u), rough, 7)
    q = np.hypot(v / squeeze, u) / (size * outline)
    return octaves(rng, view, q, (0.03, 0.15), (0.01, 0.05)), turn


def polyp(rng, view, surface, centre):
    """Raises a polyp, with or without a stalk, from the wall; returns where it is."""
    size = np.exp(rng.uniform(np.log(0.18), np.log(0.7)))
    mean = surface.albedo.mean((0, 1)) * rng.uniform([0.96, 0.8, 0.8], [1.06, 1.16, 1.16])
    spots = 0.05 * smooth_noise(rng, view, 0.25)
    spots = spots + rng.uniform(0.03, 0.16) * smooth_noise(rng, view, 0.045)
    own = mean * (1 + spots[..., None] * np.array([0.4, 1, 1]))
    own += rng.uniform(0.1, 0.4) * (surface.albedo - own)
    gain = rng.uniform(0.05, 0.45)
    lobes = rng.uniform(0, 0.09) * size
    lobes = lobes * np.abs(smooth_noise(rng, view, rng.uniform(0.3, 0.9) * size))
    grain = rng.uniform(0, 0.003) * smooth_noise(rng, view, 0.03)
    grain = grain + rng.uniform(0.001, 0.008) * smooth_noise(rng, view, 0.1)
    head, turn = _blob(rng, view, centre, size, 0.12)
    inside = head < 1
    stalked, bend = rng.random() < 0.3, rng.normal(0, 0.3)
    length, neck = size * rng.uniform(1.3, 2.2), size * rng.uniform(0.35, 0.55)
    if stalked:
        v, u = rotated(view, centre, turn)
        t = np.clip(u / length, 0, 1)
        stalk = np.hypot(u - t * length, v - bend * length * t**2) / (neck * (1 + 0.5 * t**3))
        relief = 0.6 * neck * np.sqrt(np.clip(1 - stalk**2, 0, 1)) * (1 - t**2)
        fade = smoothstep(1.0, 0.7, t)[..., None]
        tint = own * fade + surface.albedo * (1 - fade)
        surface.add_body(view, stalk, neck, relief + grain, tint, soft=0.1, gain=0.5 * gain)
        inside |= stalk < 1
    flat = rng.uniform(0, 1) * (not stalked)
    dome = size * (0.6 - 0.35 * flat) * np.clip(1 - head**2, 0, 1) ** (0.6 + 0.9 * flat)
    surface.add_body(view, head, size, dome + lobes + grain, own, soft=0.03 + 0.2 * flat, gain=gain)
    return inside


def instrument(rng, view, rgb, tip):
    """Pushes an instrument in from the border; returns the picture and where it is."""
    v, u = rotated(view, tip, rng.uniform(0, 2 * np.pi))
    width = np.exp(rng.uniform(np.log(0.07), np.log(0.2)))
    wide = width * (1 + rng.uniform(0.1, 0.6) * np.clip(u, 0, 3))
    jaw = rng.uniform(1.5, 4.5) * width
    gape = rng.choice([0, 1]) * rng.uniform(0, 0.4)
    hinge = jaw * rng.uniform(1.1, 1.8)
    inside = (np.abs(v) < np.where(u < hinge, 0.8 * width, wide)) & (u > jaw)
    across = v / np.where(u < hinge, 0.8 * width, wide)
    along = np.clip(u / jaw, 0, 1)
    for sign in (-1, 1):
        middle = sign * (0.38 * width * (0.5 + 0.5 * along) + gape * jaw * along * (1 - along))
        middle = middle + sign * gape * jaw * 0.5 * (1 - along)
        half = 0.36 * width * (0.45 + 0.55 * along) * np.sqrt(np.clip(u / (0.2 * jaw), 0, 1))
        prong = (np.abs(v - middle) < half) & (u > 0) & (u <= jaw)
        across = np.where(prong, (v - middle) / np.maximum(half, 1e-3), across)
        inside |= prong
    shaft = rng.choice([0.06, 0.12, 0.3, 0.6]) * rng.uniform(0.8, 1.2)
    grey = np.where(u > hinge, shaft, rng.uniform(0.25, 0.5))
    band = hinge + width * rng.uniform(0.5, 3)
    marked = (u > band) & (u < band + width * rng.uniform(0.2, 2))
    letters = smooth_noise(rng, view, 0.06) > rng.uniform(-0.3, 0.8)
    grey = np.where(marked & letters & (np.abs(across) < 0.6), 0.85 - 0.8 * (shaft > 0.4), grey)
    lean = rng.uniform(-0.5, 0.5)
    body = grey * (0.3 + 0.8 * np.sqrt(np.clip(1 - (across - 0.4 * lean) ** 2, 0, 1)))
    shine = np.exp(-(((across - lean) / rng.uniform(0.1, 0.3)) ** 2))
    body = body + rng.uniform(0.05, 0.6) * shine * (0.4 + 0.6 * grey)
    body = body * octaves(rng, view, 1, (0.1, 0.1), (0.05, 0.03))
    around = ndimage.gaussian_filter(rgb, (0.2 / view.pixel, 0.2 / view.pixel, 0), truncate=2)
    level = around.mean(-1) / 0.45
    colour = body[..., None] * level[..., None] * rng.uniform([1, 0.9, 0.85], [1.1, 1, 1.05])
    colour = colour * (0.8 + 0.4 * around / around.mean(-1, keepdims=True)) / 1.2 + 0.1 * around
    blood = smoothstep(0.6, 1.2, smooth_noise(rng, view, 0.2)) * rng.uniform(0, 0.8)
    colour = colour * (1 - blood[..., None] * np.array([0.4, 0.85, 0.85]))
    solid = inside.astype(np.float32)
    shadow = ndimage.gaussian_filter(solid, 0.06 / view.pixel, truncate=3)
    alpha = ndimage.gaussian_filter(solid, 0.5)[..., None]
    rgb = rgb * (1 - 0.5 * shadow[..., None])
    return rgb * (1 - alpha) + alpha * colour, inside

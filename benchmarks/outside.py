"""How much do masks lose when images look as if they came from another hospital?

Example:
    python benchmarks/outside.py --data kvasir-seg --examples examples.png
    python benchmarks/outside.py --data kvasir-seg --models polyps.zip --results outside.csv

`simulate` changes an image in one of `KINDS` of ways: another camera, light, transmission or frame.
It shares no code with `kerasgan.data.Augmentation`, so that networks can be trained with the one
and scored under the other. Each kind has one strength, at which a person still sees the polyp.

Models are bundles, used with their own preprocessing, or folders of `SegmentationGAN.save`. Each is
scored on the validation part, a tenth of the images that are not in splits/val.txt, seed 0: as it
is, and changed in every way, with the same changes for all models. Printed are the mean Dice of
each kind, the mean over all kinds, and its gap from the unchanged images with a 95 % bootstrap
interval over images, of which each is its own pair; with --write they are put into docs/train.md.
The file of results has a row for each model, kind and image.
"""

import argparse
import io
import os
import pathlib
import tempfile
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from pages import put
from PIL import Image, ImageDraw, ImageFont
from results import ROOT
from scipy import interpolate, ndimage

import kerasgan as kg

PAGE = ROOT / "docs" / "train.md"
MOST_HIDDEN = 0.2
"""Largest share of a mask that a frame or a square may cover."""


def simulate(image, mask, kind, seed):
    """Change an image, and its mask where that moves or is covered.

    Args:
        image: uint8 (height, width, 3).
        mask: uint8 (height, width) of 0 and 1.
        kind: One of `KINDS`.
        seed: Whole number that decides what is random; another one for each image.

    Returns:
        Image and mask of the same shapes and types.
    """
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    light, mask = KINDS[kind](np.float32(image) / 255, mask, rng)
    return np.uint8(np.rint(255 * np.clip(light, 0, 1))), mask


def mix_colours(light, mask, rng):
    """Another sensor: each colour becomes a mixture of all three."""
    matrix = np.eye(3) + rng.uniform(-0.13, 0.13, (3, 3))
    return light @ np.float32(3 * matrix / matrix.sum()).T, mask


def bend_tones(light, mask, rng):
    """Another tone curve, monotone; black and white stay."""
    levels = np.linspace(0, 1, 5)
    bent = levels + [0, *rng.choice([-1, 1]) * rng.uniform(0.08, 0.2, 3), 0]
    curve = interpolate.PchipInterpolator(levels, np.maximum.accumulate(np.clip(bent, 0, 1)))
    return np.float32(curve(light)), mask


def blur_motion(light, mask, rng):
    """The camera moves while the shutter is open."""
    return along_line(light, 0.045, rng.uniform(0, np.pi)), mask


def compress(light, mask, rng):
    """JPEG of a quality from 10 to 40."""
    file = io.BytesIO()
    to_picture(light).save(file, "JPEG", quality=int(rng.integers(10, 41)))
    return from_picture(Image.open(file)), mask


def lose_resolution(light, mask, rng):
    """A shorter side of 96 pixels, enlarged again."""
    height, width = mask.shape
    factor = 96 / min(height, width)
    small = to_picture(light).resize((round(factor * width), round(factor * height)), Image.BOX)
    return from_picture(small.resize((width, height), Image.BICUBIC)), mask


def add_noise(light, mask, rng):
    """Noise of the sensor in the dark: coarse, coloured, and stronger where there is more light."""
    grain = ndimage.gaussian_filter(rng.normal(size=light.shape), (*[min(mask.shape) / 500] * 2, 0))
    return light + np.float32(grain / grain.std() * (0.03 + 0.09 * np.sqrt(light))), mask


def frame(light, mask, rng):
    """A black frame with a round or an eight-cornered opening."""
    y, x = grid(mask.shape)
    centre = rng.uniform(-0.05, 0.05, 2)
    if rng.random() < 0.5:
        distance = np.hypot(y - centre[0], x - centre[1])
    else:
        distance = np.maximum(1.02 * np.maximum(abs(y), abs(x)), (abs(y) + abs(x)) / 1.45)
        distance *= 1 + centre[0]
    limits = (0.95, 1.05, 1.15, 1.25, np.inf)
    regions = (distance > limit for limit in limits)
    return black_out(light, mask, next(r for r in regions if hidden(mask, r) <= MOST_HIDDEN), rng)


def overlay(light, mask, rng):
    """Burned-in lines of text, and a dark square with the course of the scope in it."""
    height, width = mask.shape
    side = round(rng.uniform(0.25, 0.32) * min(height, width))
    margin = round(0.02 * min(height, width))
    rows, columns = (margin, height - margin - side), (margin, width - margin - side)
    corners = [(row, column) for row in rows for column in columns]
    squares = [np.zeros(mask.shape, bool) for _ in corners]
    for square, (row, column) in zip(squares, corners):
        square[row : row + side, column : column + side] = True
    best = min(rng.permutation(4), key=lambda number: hidden(mask, squares[number]))
    picture = to_picture(light)
    if hidden(mask, squares[best]) <= MOST_HIDDEN:
        light, mask = black_out(light, mask, squares[best], rng)
        picture = to_picture(light)
        row, column = corners[best]
        steps = np.linspace(0, 1, 60)
        waves = np.sin(steps * rng.uniform(4, 9) + rng.uniform(0, 6))
        bend = np.stack([column + side * (0.5 + 0.3 * waves), row + side * (0.1 + 0.8 * steps)], 1)
        bend = [tuple(point) for point in bend]
        ImageDraw.Draw(picture).line(bend, (150, 190, 210), max(2, side // 14))
    size = max(8, round(0.05 * min(height, width)))
    place = (round(rng.uniform(0.02, 0.6) * width), round(rng.uniform(0.02, 0.7) * height))
    numbers = rng.integers(0, 60, 6)
    text = "{:02}/{:02}/20{:02}\n{:02}:{:02}:{:02}\nID 0815 G+ 1.2x".format(*numbers)
    tone = [(255, 255, 255), (250, 240, 90), (120, 255, 140)][rng.integers(3)]
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).multiline_text(place, text, tone, font)
    return from_picture(picture), mask


def add_highlights(light, mask, rng):
    """Light mirrored by a wet surface: saturated spots with soft edges."""
    y, x = grid(mask.shape)
    seen = np.argwhere(light.mean(-1) > 0.15)
    gloss = np.zeros(mask.shape, np.float32)
    for _ in range(rng.integers(15, 30)):
        row, column = seen[rng.integers(len(seen))] if len(seen) else (0, 0)
        turn, long = rng.uniform(0, np.pi), rng.uniform(0.02, 0.07)
        down, right = y - y[row, 0], x - x[0, column]
        along = (right * np.cos(turn) + down * np.sin(turn)) / long
        across = (down * np.cos(turn) - right * np.sin(turn)) / (long * rng.uniform(0.3, 1))
        gloss = np.maximum(gloss, 1.6 * np.exp(-(along**2) - across**2))
    return light + (1 - light) * np.minimum(gloss, 1)[..., None], mask


def vignette(light, mask, rng):
    """Light that falls off from a centre of its own."""
    y, x = grid(mask.shape)
    centre_y, centre_x = rng.uniform(-0.35, 0.35, 2)
    far = ((y - centre_y) ** 2 + (x - centre_x) ** 2) / 2
    return light * (1.1 / (1 + 3 * far))[..., None], mask


def zoom_out(light, mask, rng):
    """The whole image, smaller, in a black frame."""
    height, width = mask.shape
    rows, columns = round(0.6 * height), round(0.6 * width)
    row, column = rng.integers(0, [height - rows + 1, width - columns + 1])
    result, labels = np.zeros_like(light), np.zeros_like(mask)
    place = np.s_[row : row + rows, column : column + columns]
    result[place] = from_picture(to_picture(light).resize((columns, rows), Image.LANCZOS))
    labels[place] = Image.fromarray(mask).resize((columns, rows), Image.NEAREST)
    return result, labels


def zoom_in(light, mask, rng):
    """A part of the image, enlarged, about a point of the mask."""
    height, width = mask.shape
    rows, columns = round(0.6 * height), round(0.6 * width)
    inside = np.argwhere(mask)
    centre = inside[rng.integers(len(inside))] if len(inside) else np.array([height, width]) // 2
    row, column = np.clip(centre - [rows // 2, columns // 2], 0, [height - rows, width - columns])
    place = np.s_[row : row + rows, column : column + columns]
    picture = to_picture(light[place]).resize((width, height), Image.BICUBIC)
    labels = Image.fromarray(mask[place]).resize((width, height), Image.NEAREST)
    return from_picture(picture), np.array(labels)


def interlace(light, mask, rng):
    """Two half-frames of a moving camera, line by line, and a ghost of the frame before."""
    height, width = mask.shape
    shift = round(rng.choice([-1, 1]) * 0.03 * width)
    moved = shifted(light, 0, shift)
    odd = np.arange(height) // max(1, round(height / 240)) % 2 == 1
    combed = np.where(odd[:, None, None], moved, light)
    ghost = shifted(light, round(0.05 * height), 2 * shift)
    return 0.7 * combed + 0.3 * ghost, mask


def together(light, mask, rng):
    """What comes together: sensor, tones, frame or overlay, sharpness, compression."""
    for step in (
        mix_colours,
        bend_tones,
        [blur_motion, lose_resolution][rng.integers(2)],
        [frame, overlay, zoom_out, zoom_in][rng.integers(4)],
        compress,
    ):
        light, mask = step(np.clip(light, 0, 1), mask, rng)
    return light, mask


KINDS = {
    "colour": mix_colours,
    "tones": bend_tones,
    "motion": blur_motion,
    "jpeg": compress,
    "resolution": lose_resolution,
    "noise": add_noise,
    "frame": frame,
    "overlay": overlay,
    "highlights": add_highlights,
    "vignette": vignette,
    "zoom out": zoom_out,
    "zoom in": zoom_in,
    "interlacing": interlace,
    "together": together,
}
"""Kinds of change, by name, as functions of light in [0, 1], mask and random generator."""


def to_picture(light):
    """Return light in [0, 1] as a picture of 8 bits."""
    return Image.fromarray(np.uint8(np.rint(255 * np.clip(light, 0, 1))))


def from_picture(picture):
    """Return a picture as light in [0, 1]."""
    return np.float32(picture) / 255


def grid(shape):
    """Return rows and columns as numbers from -1 to 1."""
    return np.meshgrid(
        *(np.linspace(-1, 1, side, dtype=np.float32) for side in shape), indexing="ij"
    )


def hidden(mask, region):
    """Return the share of a mask that a region covers."""
    return mask[region].sum() / max(1, mask.sum())


def black_out(light, mask, region, rng):
    """Make a region nearly black, in the mask too."""
    dark = np.float32(rng.uniform(0, 0.03, 3))
    return np.where(region[..., None], dark, light), np.where(region, 0, mask).astype(mask.dtype)


def shifted(light, down, right):
    """Return an image that is moved, its border repeated."""
    height, width = light.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    return light[rows][:, np.clip(np.arange(width) - right, 0, width - 1)]


def along_line(light, length, angle):
    """Average an image along a line, its length a share of the shorter side."""
    steps = np.linspace(-0.5, 0.5, 25) * length * min(light.shape[:2])
    offsets = np.rint(np.outer(steps, [np.sin(angle), np.cos(angle)])).astype(int)
    return sum(shifted(light, *offset) for offset in offsets) / np.float32(len(offsets))


# --- Scoring ---


def validation_part(folder):
    """Return the images that choices are made on."""
    rest, _ = kg.data.load_folder(folder).split_by_names(pathlib.Path(folder) / "splits/val.txt")
    return rest.split(0.1, seed=0)[1]


def pixels(samples, index):
    """Return image and mask as `simulate` takes them."""
    image = np.uint8(np.rint(127.5 * (samples.image(index) + 1)))
    return image, np.uint8(samples.mask(index))


def changed(samples, kind, folder):
    """Write the images and masks, changed in one way, into a folder; return them as samples."""
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index, name in enumerate(samples.names):
        image, mask = simulate(*pixels(samples, index), kind, index)
        for part, array in (("images", image), ("masks", 255 * mask)):
            Image.fromarray(array).save(folder / part / f"{name}.png", compress_level=1)
    return kg.data.load_folder(folder, colors=[0, 255])


def load(path):
    """Return the function from samples to masks of a bundle or a folder."""
    if pathlib.Path(path).is_dir():
        gan = kg.SegmentationGAN.load(path)
        return lambda samples: kg.predict(gan, samples, verbose=False)
    bundle = kg.inference.load_bundle(path)
    return lambda samples: bundle.predict(samples, verbose=False)


def score(models, samples):
    """Return a table with a row for each model, kind and image; `models` are functions, by name."""
    tables = []
    for kind in ("clean", *KINDS):
        with tempfile.TemporaryDirectory() as folder:
            part = samples if kind == "clean" else changed(samples, kind, pathlib.Path(folder))
            for model, segment in models.items():
                table = kg.evaluation.evaluate_masks(part, segment(part))
                tables.append(table.assign(model=model, kind=kind))
                print(f"{model}, {kind}: Dice {table['dice'].mean():.3f}", flush=True)
    return pd.concat(tables, ignore_index=True)


def summary(table):
    """Return a row for each model: mean Dice of each kind, over kinds, and the gap."""
    rows = {}
    for model, of_model in table.groupby("model", sort=False):
        means = of_model.groupby("kind", sort=False)["dice"].mean()
        clean = of_model["kind"] == "clean"
        inside, outside = (
            part.groupby("name", as_index=False)["dice"].mean()
            for part in (of_model[clean], of_model[~clean])
        )
        gap = kg.evaluation.paired_difference(inside, outside).loc[0]
        rows[model] = {kind: f"{mean:.3f}" for kind, mean in means.items()}
        rows[model]["mean over kinds"] = f"{gap['mean_b']:.3f}"
        rows[model]["gap"] = f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
    return pd.DataFrame(rows)


def contact_sheet(samples, count=10, side=160):
    """Return a picture of some images, one a row, as they are and changed in every way."""
    font = ImageFont.load_default(16)
    kinds = ["clean", *KINDS]
    sheet = Image.new("RGB", (side * len(kinds), 24 + side * count), "white")
    drawn = ImageDraw.Draw(sheet)
    for row, index in enumerate(np.linspace(0, len(samples) - 1, count).round().astype(int)):
        for column, kind in enumerate(kinds):
            image, mask = pixels(samples, index)
            if kind != "clean":
                image, mask = simulate(image, mask, kind, int(index))
            small = np.array(Image.fromarray(image).resize((side, side), Image.LANCZOS))
            inside = np.array(Image.fromarray(255 * mask).resize((side, side))) > 127
            small[inside & ~ndimage.binary_erosion(inside)] = (0, 255, 0)
            sheet.paste(Image.fromarray(small), (side * column, 24 + side * row))
            drawn.text((side * column + 4, 2), kind, "black", font)
    return sheet


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of images/, masks/, splits/val.txt")
    parser.add_argument("--models", nargs="*", default=[], help="bundles, or folders of models")
    parser.add_argument("--results", type=pathlib.Path, help="CSV to write")
    parser.add_argument("--examples", type=pathlib.Path, help="picture of the changes to write")
    parser.add_argument("--write", action="store_true", help="put the table into docs/train.md")
    arguments = parser.parse_args()
    samples = validation_part(arguments.data)
    if arguments.examples:
        contact_sheet(samples).save(arguments.examples)
    if arguments.models:
        table = score({path: load(path) for path in arguments.models}, samples)
        if arguments.results:
            kg.evaluation.save_table(table, arguments.results, overwrite=True)
        found = summary(table)
        lines = ["| images | " + " | ".join(found) + " |", "|---" * (1 + found.shape[1]) + "|"]
        lines += [f"| {kind} | " + " | ".join(row) + " |" for kind, row in found.iterrows()]
        text = "\n".join([f"Mean Dice of {len(samples)} images, seed 0:", "", *lines])
        print(f"\n{text}")
        if arguments.write:
            put(PAGE, "outside", text)


if __name__ == "__main__":
    main()

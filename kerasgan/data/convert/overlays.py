"""Masks drawn over their images, to look at."""

from __future__ import annotations

import io
import os
import pathlib

import numpy as np
from PIL import Image
from scipy import ndimage

from kerasgan.data import files
from kerasgan.data.convert import predictions
from kerasgan.data.convert.write_coco import pictures_of
from kerasgan.validation import check_whole_number

COLOURS = (  # of Okabe and Ito, which people of every kind of colour vision can tell apart
    *((86, 180, 233), (213, 94, 0), (240, 228, 66), (0, 158, 115)),
    *((204, 121, 167), (0, 114, 178), (230, 159, 0)),
)
_FILL = 0.3


def to_overlays(
    masks: predictions.Arrays,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    classes: int = 1,
) -> list[pathlib.Path]:
    """Write each image with its mask drawn on it, as a PNG file of the image's size.

    A region is tinted, and its outermost pixels have the full colour. Labels 1 to 7 are light blue,
    vermilion, yellow, green, pink, blue and orange, and so on from the first.

    Args:
        masks: Folder of masks called as their images, as `predict_to_folder` writes them; or a
            dictionary from names to arrays (height, width), boolean or labels from 0.
        images: Folder of the images, or one of them.
        out: Folder for the pictures, called as the images; made if need be.
        classes: 1 for masks of a foreground; n > 1 for labels 0 to n-1.

    Returns:
        Paths of the pictures, in the order of the images.

    Raises:
        KerasganError: If a mask has another size than its image, one of the two is missing, or a
            file exists (nothing is overwritten).

    Example:
        >>> from kerasgan.data.convert import to_overlays
        >>> os.makedirs("views")
        >>> Image.new("RGB", (4, 3)).save("views/v.png")
        >>> (path,) = to_overlays({"v": np.ones((3, 4), bool)}, "views", "drawn")
        >>> Image.open(path).getpixel((0, 0)), Image.open(path).getpixel((1, 1))
        ((86, 180, 233), (26, 54, 70))
    """
    classes = check_whole_number("classes", classes, 1, 255)
    maps = predictions.find_masks(masks, max(classes - 1, 1))
    samples, _ = pictures_of(images, maps)
    paths = predictions.free_paths(out, samples.names, ".png")
    for name, file, path in zip(samples.names, samples.image_paths, paths):
        pixels = files.read_image(file, 3)
        content = io.BytesIO()
        drawn = _drawn(pixels, maps(name, pixels.shape[:2], file))
        Image.fromarray(drawn).save(content, "PNG")
        predictions.write_new(path, content.getbuffer())
    return paths


def _drawn(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    drawn = pixels.astype(np.float32)
    for label in np.unique(mask[mask > 0]).tolist():
        colour = np.array(COLOURS[(label - 1) % len(COLOURS)], np.float32)
        region = mask == label
        rim = region & ~ndimage.binary_erosion(region)
        drawn[region] += _FILL * (colour - drawn[region])
        drawn[rim] = colour
    return np.rint(drawn).astype(np.uint8)

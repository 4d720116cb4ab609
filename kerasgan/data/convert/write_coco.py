"""Masks become COCO annotations."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from kerasgan.data import files
from kerasgan.data.convert import polygons, predictions, sources
from kerasgan.data.folders import check_pairs
from kerasgan.data.samples import Samples, load_folder
from kerasgan.errors import KerasganError, warn
from kerasgan.validation import check_path


def to_coco(
    masks: predictions.Arrays,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    categories: Sequence[str] | None = None,
) -> pathlib.Path:
    """Write masks as a COCO file.

    The way back of `from_coco`. Every connected component of a class, pixels being connected to
    their eight neighbours, is an annotation. It is drawn by polygons along the borders of pixels
    or, where it has holes, by run lengths; `from_coco` and pycocotools read the same pixels again.
    An image without foreground is listed and has no annotations.

    Args:
        masks: Folder of masks called as their images, as `predict_to_folder` writes them; or a
            dictionary from names to arrays (height, width), boolean or labels from 0.
        images: Folder of the images, or one of them. The file names in the COCO file start from
            there, so it is the folder to pass to `from_coco`.
        out: The JSON file to write; it must not exist.
        categories: Names of labels 1 to n. None for masks of one foreground, called "foreground".

    Returns:
        The path of the file.

    Raises:
        KerasganError: If a mask has another size than its image, one of the two is missing, masks
            hold labels without a name, or the file exists.

    Example:
        >>> from PIL import Image
        >>> from kerasgan.data.convert import to_coco
        >>> os.makedirs("photos")
        >>> Image.new("RGB", (4, 3)).save("photos/p.png")
        >>> mask = np.zeros((3, 4), bool)
        >>> mask[1:, 1:3] = True
        >>> path = to_coco({"p": mask}, "photos", "photos.json")
        >>> json.loads(path.read_text())["annotations"][0]["segmentation"]
        [[1, 1, 3, 1, 3, 3, 1, 3]]
    """
    coco = sources.import_optional("pycocotools.mask", "coco")
    names = predictions.check_names("categories", categories, "foreground")
    path = check_path("out", out, "the path of a JSON file")
    if path.suffix.lower() != ".json":
        raise KerasganError(f"Argument 'out' must end in .json. Received: {path}")
    predictions.refuse_existing([path])
    maps = predictions.find_masks(masks, len(names))
    samples, root = pictures_of(images, maps)
    listed, annotations, turned = [], [], []
    for number, (name, file) in enumerate(zip(samples.names, samples.image_paths), 1):
        header = files.read_header(file)
        if header.orientation > 1:
            turned.append(file)
        mask = maps(name, header[:2], file)
        listed.append(
            {
                "id": number,
                "file_name": pathlib.Path(os.path.relpath(file, root)).as_posix(),
                "height": header.height,
                "width": header.width,
            }
        )
        for label, box, part in _components(mask):
            annotation = _annotation(coco, mask.shape, box, part)
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": label}
            annotations.append({**ids, **annotation})
    if turned:
        warn(
            f"{len(turned)} images, such as {turned[0]}, have an EXIF orientation. Regions are of "
            f"images as it turns them; programs that do not heed it show them elsewhere."
        )
    content = {
        "images": listed,
        "categories": [{"id": label, "name": name} for label, name in enumerate(names, 1)],
        "annotations": annotations,
    }
    predictions.write_new(path, json.dumps(content) + "\n")
    return path


def pictures_of(images: str | os.PathLike, maps: predictions.Maps) -> tuple[Samples, pathlib.Path]:
    """Return the images that masks belong to, and the folder their file names start from."""
    root = check_path("images", images, "the path of a folder of images")
    if root.is_file():
        samples, root = Samples((root.stem,), (str(root),), None), root.parent
    else:
        samples = load_folder(root, masks=None)
    check_pairs(samples.names, maps.names)
    return samples, root


def _components(mask: np.ndarray) -> Iterator[tuple[int, tuple, np.ndarray]]:
    """Label, rows and columns, and pixels there, of each component."""
    for label in np.unique(mask[mask > 0]).tolist():
        numbered, _ = ndimage.label(mask == label, structure=np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(numbered), 1):
            yield label, box, numbered[box] == number


def _annotation(coco: Any, size: tuple[int, int], box: tuple, part: np.ndarray) -> dict:
    rows, columns = box
    outlines, holes = polygons.trace(part)
    if not holes:
        drawn = coco.frPyObjects([outline.ravel().tolist() for outline in outlines], *part.shape)
        holes = not np.array_equal(coco.decode(coco.merge(drawn)), part)
    if holes:
        whole = np.zeros(size, np.uint8, order="F")
        whole[rows, columns] = part
        packed = coco.encode(whole)
        segmentation = {"size": list(size), "counts": packed["counts"].decode("ascii")}
    else:
        shifted = (outline + (columns.start, rows.start) for outline in outlines)
        segmentation = [outline.ravel().tolist() for outline in shifted]
    return {
        "segmentation": segmentation,
        "area": int(part.sum()),
        "bbox": [columns.start, rows.start, part.shape[1], part.shape[0]],
        "iscrowd": 0,
    }

"""Images and masks: from files to batches.

In come a folder of images and masks, or medical files that `convert` turns into one. Out go
`Samples`, which are paths, and from them batches: images in [-1, 1], masks in {0, 1}.

- `folders.py`: which file is an image, which a mask, and which belong together.
- `headers.py`: sizes and orientations, compared before anything is decoded.
- `files.py`, `tiff.py`: how pixels of each file format are read, and which are refused.
- `masks.py`: what the pixels of a mask mean, and when that cannot be determined.
- `samples.py`: `Samples` and `load_folder`; splitting by name, group or chance.
- `pipeline.py`, `resize.py`, `augment.py`: from files to batches, seeded and resumable.
- `region.py`: regions that a user marks, as weights.
- `convert/`: DICOM, NIfTI, COCO, video and deep pictures become folders of pictures.
- `synthetic.py`, `planted.py`: drawn scenes with known masks, and with known causes.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kerasgan.data.resize import resize_back, resize_image
from kerasgan.data.samples import Samples, load_folder

if TYPE_CHECKING:
    from kerasgan.data import convert, planted, synthetic
    from kerasgan.data.augment import Augmentation

__all__ = [
    "Augmentation",
    "Samples",
    "convert",
    "load_folder",
    "planted",
    "resize_back",
    "resize_image",
    "synthetic",
]


def __getattr__(name: str) -> Any:
    """Import what takes longer, some of it TensorFlow, once it is asked for."""
    if name == "Augmentation":
        return importlib.import_module("kerasgan.data.augment").Augmentation
    if name in __all__:
        return importlib.import_module(f"kerasgan.data.{name}")
    raise AttributeError(f"module 'kerasgan.data' has no attribute {name!r}")

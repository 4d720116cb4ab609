"""Images and masks: finding files, making batches of them, and drawing synthetic ones."""

from kerasgan.data import convert, planted, synthetic
from kerasgan.data.augment import Augmentation
from kerasgan.data.resize import resize_back, resize_image
from kerasgan.data.samples import Samples, load_folder

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

"""Other formats become a plain folder of pictures that `load_folder` takes, and masks the formats.

Each function `from_...` reads one format once and writes `images/`, `masks/` where there are masks,
and `manifest.csv`, which says where each picture came from. The folder can be looked at, corrected
by hand and opened by any other program. Nothing is overwritten: the folder must be new, or hold an
interrupted conversion with the same settings, which goes on where it stopped.

Each function `to_...` writes masks in one format. For DICOM and NIfTI it follows `manifest.csv`
back to where the pictures came from, so that masks lie where the images lie. A mask that is written
and read again is the same to the pixel. No file is overwritten.
"""

from kerasgan.data.convert.coco import from_coco
from kerasgan.data.convert.dicom import from_dicom
from kerasgan.data.convert.nifti import from_nifti
from kerasgan.data.convert.overlays import to_overlays
from kerasgan.data.convert.pictures import from_pictures
from kerasgan.data.convert.video import from_video
from kerasgan.data.convert.write_coco import to_coco
from kerasgan.data.convert.write_dicom import to_dicom_map, to_dicom_seg
from kerasgan.data.convert.write_nifti import to_nifti

__all__ = [
    "from_coco",
    "from_dicom",
    "from_nifti",
    "from_pictures",
    "from_video",
    "to_coco",
    "to_dicom_map",
    "to_dicom_seg",
    "to_nifti",
    "to_overlays",
]

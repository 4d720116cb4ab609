"""Other formats become a plain folder of pictures that `load_folder` takes.

Each function here reads one format once and writes `images/`, `masks/` where there are masks, and
`manifest.csv`, which says where each picture came from. The folder can be looked at, corrected by
hand and opened by any other program. Nothing is overwritten: the folder must be new, or hold an
interrupted conversion with the same settings, which goes on where it stopped.
"""

from kerasgan.data.convert.coco import from_coco
from kerasgan.data.convert.dicom import from_dicom
from kerasgan.data.convert.nifti import from_nifti
from kerasgan.data.convert.pictures import from_pictures
from kerasgan.data.convert.video import from_video

__all__ = ["from_coco", "from_dicom", "from_nifti", "from_pictures", "from_video"]

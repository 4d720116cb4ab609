"""Inference: masks and probabilities of the size of the images.

In come a network and images of any size, as files, `Samples` or arrays; out come masks,
probabilities, or the network itself for others. How an output is read as a mask is decided in
`kerasgan.models.outputs`; what a mask file means, in `kerasgan.data.masks`.

- `predict` (masks and probabilities), `stream` (batches through networks), `members` (ensembles),
  `tiling` (windows and letterboxes), `views` (test-time augmentation), `clean` (components, holes).
- `uncertainty` (where passes disagree), `ranking` (which images to label next), `novelty` (images
  unlike the training images).
- `calibration` (temperature, calibration error), `bundle` (one zip to publish), `card` (the model
  card), `pretrained` (a folder of bundles, by name), `export` (SavedModel, ONNX).
"""

from kerasgan.inference.bundle import Bundle, load_bundle, save_bundle
from kerasgan.inference.calibration import (
    Calibration,
    expected_calibration_error,
    fit_temperature,
)
from kerasgan.inference.clean import clean_mask
from kerasgan.inference.export import export_onnx, export_predictor
from kerasgan.inference.novelty import Novelty, fit_novelty
from kerasgan.inference.predict import (
    decide,
    iterate_probability,
    predict,
    predict_probability,
    predict_to_folder,
)
from kerasgan.inference.pretrained import add_to_catalogue, pretrained, read_catalogue
from kerasgan.inference.ranking import rank_images
from kerasgan.inference.stream import iterate_logits
from kerasgan.inference.uncertainty import Uncertainty, predict_uncertainty, uncertainty_table

__all__ = [
    # First floor.
    "predict",
    "predict_to_folder",
    "save_bundle",
    "load_bundle",
    "pretrained",
    "fit_temperature",
    "fit_novelty",
    "uncertainty_table",
    "rank_images",
    # Advanced.
    "predict_probability",
    "iterate_probability",
    "iterate_logits",
    "predict_uncertainty",
    "Uncertainty",
    "Novelty",
    "decide",
    "clean_mask",
    "Calibration",
    "expected_calibration_error",
    "Bundle",
    "read_catalogue",
    "add_to_catalogue",
    "export_onnx",
    "export_predictor",
]

"""Inference: masks and probabilities of the size of the images."""

from kerasgan.inference.calibration import (
    Calibration,
    expected_calibration_error,
    fit_temperature,
)
from kerasgan.inference.clean import clean_mask, fill_holes, largest_component
from kerasgan.inference.predict import (
    decide,
    iterate_probability,
    predict,
    predict_probability,
    predict_to_folder,
)
from kerasgan.inference.stream import iterate_logits

__all__ = [
    "Calibration",
    "clean_mask",
    "decide",
    "expected_calibration_error",
    "fill_holes",
    "fit_temperature",
    "iterate_logits",
    "iterate_probability",
    "largest_component",
    "predict",
    "predict_probability",
    "predict_to_folder",
]

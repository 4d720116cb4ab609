"""Inference: masks and probabilities of the size of the images."""

from kerasgan.inference.bundle import Bundle, load_bundle, save_bundle
from kerasgan.inference.calibration import (
    Calibration,
    expected_calibration_error,
    fit_temperature,
)
from kerasgan.inference.clean import clean_mask, fill_holes, largest_component
from kerasgan.inference.export import export_onnx, export_predictor
from kerasgan.inference.predict import (
    decide,
    iterate_probability,
    predict,
    predict_probability,
    predict_to_folder,
)
from kerasgan.inference.stream import iterate_logits

__all__ = [
    "Bundle",
    "Calibration",
    "clean_mask",
    "decide",
    "expected_calibration_error",
    "export_onnx",
    "export_predictor",
    "fill_holes",
    "fit_temperature",
    "iterate_logits",
    "iterate_probability",
    "largest_component",
    "load_bundle",
    "predict",
    "predict_probability",
    "predict_to_folder",
    "save_bundle",
]

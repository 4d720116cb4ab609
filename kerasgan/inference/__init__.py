"""Inference: masks and probabilities of the size of the images."""

from kerasgan.inference.predict import (
    decide,
    iterate_probability,
    predict,
    predict_probability,
    predict_to_folder,
)

__all__ = ["decide", "iterate_probability", "predict", "predict_probability", "predict_to_folder"]

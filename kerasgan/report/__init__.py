"""Report: figures to look at and to print."""

from kerasgan.report.figures import mask_figure, score_figure, training_figure

__all__ = ["mask_figure", "score_figure", "training_figure"]

"""Report: pages for a committee, and figures to look at and to print."""

from kerasgan.report.comparison import compare
from kerasgan.report.figures import mask_figure, score_figure, training_figure
from kerasgan.report.html import write
from kerasgan.report.methods import method_figure

__all__ = [
    "compare",
    "mask_figure",
    "method_figure",
    "score_figure",
    "training_figure",
    "write",
]

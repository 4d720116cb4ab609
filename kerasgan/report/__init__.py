"""Report: self-contained HTML pages, model cards, and figures to print.

In come a model, or several, and `Samples`; out come a folder with `index.html`, tables and figures,
or a matplotlib figure.

- Pages: `html` (`write`, of one model), `comparison` (`compare`, of several), `page` (fills in the
  templates of `assets`), `output_folder` (writes the folder as a whole).
- What they hold: `collect` (one pass over all images), `failures` (errors, which images to
  show), `model_results` and `significance` (of a comparison), `panels` and `pictures` (images shown
  in full), `charts`, `model_card` (facts of a model), `checklist` and `guidelines` (what
  reporting guidelines ask, and how far it is answered), `texts`.
- Figures: `figures`, `methods`.
"""

from kerasgan.report.comparison import compare
from kerasgan.report.figures import mask_figure, score_figure, training_figure
from kerasgan.report.html import write
from kerasgan.report.methods import method_figure

__all__ = [
    # First floor.
    "write",
    "compare",
    # Advanced: figures.
    "mask_figure",
    "method_figure",
    "score_figure",
    "training_figure",
]

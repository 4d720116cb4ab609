"""Training of a generator and a discriminator by Keras' `compile` and `fit`.

What comes in: functional networks of `kerasgan.models`, or your own, and batches of images in
[-1, 1] and masks in {0, 1}. What goes out: a trained `SegmentationGAN` and its history; a folder
with the saved model, and one with states of the run, from which training goes on.

Which file to open:

- `gan.py`: what happens in a training step, and `compile`, `fit`, `save`, `load`
- `recipes.py`: complete settings by name; `callbacks.py`, `metrics.py`: what is logged and shown
- `losses.py`, `adversarial.py`, `unlabelled.py`, `regularizers.py`: losses on masks, of the
  adversary, on images without masks, and penalties
- `optimizers.py`, `learner.py`, `guards.py`: optimizers, moving averages, learning rates, NaN
- `inspection.py`, `batch_checker.py`, `checks.py`: what data, batches and settings must be
- `store.py`: the folder of a saved model; `record.py`: notes on what it was trained on
- `resume.py`, `checkpoint.py`, `signals.py`, `feed.py`: states of a run, and going on from them
- `replicas.py`, `workers.py`: several devices, several machines
"""

from kerasgan.training import recipes
from kerasgan.training.callbacks import MaskImages, SaveBest
from kerasgan.training.gan import SegmentationGAN
from kerasgan.training.metrics import Dice, Jaccard
from kerasgan.training.regularizers import InputGradientPenalty, InvariancePenalty

__all__ = [
    "Dice",
    "InputGradientPenalty",
    "InvariancePenalty",
    "Jaccard",
    "MaskImages",
    "SaveBest",
    "SegmentationGAN",
    "recipes",
]

"""Explainable medical image segmentation with Keras.

A generative adversarial network segments, and layer-wise relevance propagation shows which pixels
each mask rests on. The rooms of the package, in the order in which data pass through them: `data`,
`models`, `training`, `inference`, `explain`, `evaluation`, `report`.
"""

import os
from typing import TYPE_CHECKING, Any

from kerasgan import _requirements  # first: it refuses what cannot work

# TensorFlow's start-up notices, some of which it calls errors. "0" in the environment shows them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kerasgan._version import __version__
from kerasgan.errors import KerasganError, KerasganWarning

if TYPE_CHECKING or not _requirements.is_command():
    _requirements.import_keras()
    from kerasgan._public import (
        Explainer,
        SegmentationGAN,
        advise,
        data,
        evaluate,
        evaluation,
        explain,
        inference,
        models,
        predict,
        pretrained,
        recipes,
        report,
        targets,
        training,
    )
else:

    def __getattr__(name: str) -> Any:
        """Give the command, which begins without TensorFlow, a name once it asks for it."""
        if name not in __all__:
            raise AttributeError(f"module 'kerasgan' has no attribute {name!r}")
        _requirements.check_packages()
        _requirements.import_keras()
        from kerasgan import _public

        globals()[name] = found = getattr(_public, name)
        return found


__all__ = [
    "Explainer",
    "KerasganError",
    "KerasganWarning",
    "SegmentationGAN",
    "__version__",
    "advise",
    "data",
    "evaluate",
    "evaluation",
    "explain",
    "inference",
    "models",
    "predict",
    "pretrained",
    "recipes",
    "report",
    "targets",
    "training",
]

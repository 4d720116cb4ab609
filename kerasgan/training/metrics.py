"""Jaccard and Dice as Keras metrics."""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.counts import count, score


class _Overlap(keras.metrics.Mean):
    """Mean over images of a score of the thresholded mask."""

    kind: str

    def __init__(self, name: str | None = None, dtype=None):
        super().__init__(name=name or self.kind, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: masks (batch, height, width, classes) in {0, 1}.
            y_pred: probabilities of the same shape.
            sample_weight: one weight an image, or None.
        """
        classes = y_pred.shape[-1]
        if classes == 1:
            decided = tf.cast(y_pred > 0.5, tf.float32)
        else:
            decided = tf.one_hot(tf.argmax(y_pred, axis=-1), classes)
        values = score(self.kind, count(y_true, decided, axis=(1, 2)))
        foreground = values if classes == 1 else values[:, 1:]
        return super().update_state(tf.reduce_mean(foreground, axis=-1), sample_weight)


@keras.saving.register_keras_serializable("kerasgan")
class Jaccard(_Overlap):
    """Jaccard score (intersection over union) at probability 0.5, mean over images.

    For several classes each image counts with the mean over its classes but the background (class
    0), decided by argmax. A mask that is empty in truth and prediction scores 1.

    Example:
        >>> import tensorflow as tf
        >>> import kerasgan as kg
        >>> metric = kg.training.Jaccard()
        >>> _ = metric.update_state([[[[1.0], [1.0]]]], tf.constant([[[[0.9], [0.2]]]]))
        >>> float(metric.result())
        0.5
    """

    kind = "jaccard"


@keras.saving.register_keras_serializable("kerasgan")
class Dice(_Overlap):
    """Dice score at probability 0.5, mean over images; for classes and empty masks see `Jaccard`.

    Example:
        >>> import tensorflow as tf
        >>> import kerasgan as kg
        >>> metric = kg.training.Dice()
        >>> _ = metric.update_state([[[[1.0], [1.0]]]], tf.constant([[[[0.9], [0.2]]]]))
        >>> round(float(metric.result()), 4)
        0.6667
    """

    kind = "dice"

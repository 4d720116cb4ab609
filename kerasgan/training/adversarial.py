"""Losses of a generator and its discriminator, by name, and penalties on the discriminator.

A loss takes the discriminator's logits of real and of fake masks, of any shape, and returns two
scalars: what the generator minimises, and what the discriminator does.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.training.replicas import sample_uniform
from kerasgan.validation import check_choice


def mean_entropy(label: float, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of a label and logits."""
    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


def vanilla(real: tf.Tensor, fake: tf.Tensor, smoothing: float = 0.0) -> tuple:
    """BCE(fake, 1), non-saturating, and half of BCE(real, 1 - smoothing) + BCE(fake, 0).

    Source: Goodfellow et al. 2014 (arXiv 1406.2661); the half as in Isola et al. 2017; smoothing as
    in Salimans et al. 2016 (arXiv 1606.03498), section 3.4.
    """
    discriminator_loss = mean_entropy(1.0 - smoothing, real) + mean_entropy(0.0, fake)
    return mean_entropy(1.0, fake), discriminator_loss / 2


def least_squares(real: tf.Tensor, fake: tf.Tensor, smoothing: float = 0.0) -> tuple:
    """Mean (fake - 1)^2, and half of mean (real - 1 + smoothing)^2 + mean fake^2.

    Source: Mao et al. 2017 (arXiv 1611.04076), equation 9.
    """
    discriminator_loss = tf.reduce_mean((real - (1 - smoothing)) ** 2) + tf.reduce_mean(fake**2)
    return tf.reduce_mean((fake - 1) ** 2), discriminator_loss / 2


def hinge(real: tf.Tensor, fake: tf.Tensor) -> tuple:
    """-mean fake, and mean max(0, 1 - real) + mean max(0, 1 + fake).

    Source: Lim and Ye 2017 (arXiv 1705.02894).
    """
    discriminator_loss = tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(tf.nn.relu(1 + fake))
    return -tf.reduce_mean(fake), discriminator_loss


def wasserstein(real: tf.Tensor, fake: tf.Tensor) -> tuple:
    """-mean fake, and mean fake - mean real; it needs a gradient penalty (10 in the paper).

    Source: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3.
    """
    return -tf.reduce_mean(fake), tf.reduce_mean(fake) - tf.reduce_mean(real)


def segan(real: tf.Tensor, fake: tf.Tensor) -> tuple:
    """Mean |real - fake| of a critic's features, as `feature_critic` gives them, and its negative.

    Source: Xue et al. 2018 (arXiv 1706.01805), equation 2.
    """
    distance = tf.reduce_mean(tf.abs(real - fake))
    return distance, -distance


ADVERSARIAL = {loss.__name__: loss for loss in (vanilla, least_squares, hinge, wasserstein, segan)}

FAKES = {
    "vanilla": lambda fake: mean_entropy(0.0, fake) / 2,
    "least_squares": lambda fake: tf.reduce_mean(fake**2) / 2,
    "hinge": lambda fake: tf.reduce_mean(tf.nn.relu(1 + fake)),
    "wasserstein": tf.reduce_mean,
}
"""What fake masks add to the discriminator's loss, where it is a sum over true and fake ones."""

THRESHOLDS = {"vanilla": 0.0, "least_squares": 0.5, "hinge": 0.0}
"""The logit above which a discriminator takes a mask for real, where the loss has one."""


def accuracy(real: tf.Tensor, fake: tf.Tensor, threshold: float) -> tf.Tensor:
    """Return the fraction of all masks that the discriminator classifies rightly."""
    right = [tf.cast(each, tf.float32) for each in (real > threshold, fake <= threshold)]
    return tf.reduce_mean(tf.stack(right))


def check_adversarial(adversarial: str, label_smoothing: float) -> None:
    """Raise unless the loss is known, and has labels where they are to be smoothed."""
    check_choice("adversarial", adversarial, ADVERSARIAL)
    if label_smoothing and adversarial not in ("vanilla", "least_squares"):
        raise KerasganError(
            f"Argument 'label_smoothing' must be 0 for '{adversarial}', which has no labels. "
            f"Received: {label_smoothing!r}"
        )


def expose_features(discriminator: keras.Model) -> keras.Model:
    """Return the discriminator with its hidden activations as further outputs, on its weights."""
    kinds = (keras.layers.LeakyReLU, keras.layers.ReLU, keras.layers.Activation)
    hidden = [
        layer.output
        for layer in discriminator.layers
        if isinstance(layer, kinds) and layer.output is not discriminator.output
    ]
    if not hidden:
        raise KerasganError(
            "Argument 'feature_matching' must be 0 for a discriminator without activation layers. "
            f"Received: '{discriminator.name}'"
        )
    return keras.Model(discriminator.inputs, [discriminator.output, *hidden])


def feature_matching_loss(real_features: list, fake_features: list) -> tf.Tensor:
    """Mean over layers of the mean absolute difference; no gradient flows into the real ones.

    Source: Wang et al. 2018 (arXiv 1711.11585), equation 4.
    """
    distances = [
        tf.reduce_mean(tf.abs(tf.cast(tf.stop_gradient(a), tf.float32) - tf.cast(b, tf.float32)))
        for a, b in zip(real_features, fake_features)
    ]
    return tf.add_n(distances) / len(distances)


def gradient_norm_penalty(discriminator, image, mask: tf.Tensor, norm: float) -> tf.Tensor:
    """Mean over images of (norm of the discriminator's gradient by the mask - `norm`)^2.

    `discriminator` is a function (image, mask) -> logits. The wanted norm is 1 at mixtures, for the
    gradient penalty, and 0 at real masks, for R1.

    Source: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3; Mescheder et al. 2018
    (arXiv 1801.04406), equation 9.
    """
    with tf.GradientTape() as tape:
        tape.watch(mask)
        logits = discriminator(image, mask)
        score = tf.reduce_mean(tf.reshape(logits, (tf.shape(logits)[0], -1)), axis=1)
    gradient = tape.gradient(score, mask)
    squared = tf.reduce_sum(gradient**2, axis=(1, 2, 3))
    if not norm:
        return tf.reduce_mean(squared)
    return tf.reduce_mean((tf.sqrt(squared + 1e-12) - norm) ** 2)


def gradient_norm_penalties(discriminator, image, real, fake, weights: dict, step) -> tf.Tensor:
    """The weighted sum of `weights["gradient_penalty"]` and `weights["r1"]`; masks in [-1, 1].

    Mixtures have a fraction of real for each image, uniform and given by the step.
    """
    total = tf.zeros(())
    if weights["gradient_penalty"]:
        fraction = sample_uniform((tf.shape(real)[0], 1, 1, 1), tf.stack([0, step]))
        mixed = fraction * real + (1 - fraction) * tf.stop_gradient(fake)
        penalty = gradient_norm_penalty(discriminator, image, mixed, 1.0)
        total += weights["gradient_penalty"] * penalty
    if weights["r1"]:
        total += weights["r1"] / 2 * gradient_norm_penalty(discriminator, image, real, 0.0)
    return total

"""Losses on images that nobody has labelled, by name, and the critics that some of them need.

The network that is trained sees such images in up to three views: as they come, with altered light
and a hidden rectangle ("strong"), and mixed in pairs ("mixed"). What it draws there is held against
what a discriminator knows of masks, or against the teacher: the network that predicts, which is
the moving average of the weights where there is one. The teacher sees the images as they come, in
inference mode, and gets no gradient.

Probabilities are float32 (batch, height, width, classes), of the foreground alone for one class.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kerasgan.data.augment import Augmentation, augment_pair
from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.discriminators import mask_discriminator
from kerasgan.training import optimizers, replicas
from kerasgan.training.adversarial import ADVERSARIAL, mean_entropy
from kerasgan.training.losses import cross_entropy_of_pixels
from kerasgan.validation import check_number, check_whole_number, invalid

PLAIN, STRONG, MIXED = "plain", "strong", "mixed"
TERMS = {
    "adversarial": PLAIN,
    "self_training": PLAIN,
    "discriminator": PLAIN,
    "output_adaptation": PLAIN,
    "entropy_adaptation": PLAIN,
    "mean_teacher": STRONG,
    "pseudo_labels": STRONG,
    "cutmix": MIXED,
}
"""The view that each loss looks at."""

JUDGED = ("adversarial", "self_training", "discriminator")
"""Those that ask the GAN's own discriminator."""

ADAPTED = ("output_adaptation", "entropy_adaptation")
"""Those that have a critic of their own, which tells labelled from unlabelled sources."""

TAUGHT = ("mean_teacher", "pseudo_labels", "cutmix")

TRUSTED = 0.2  # of a discriminator, by Hung et al.
SURE = 0.95  # of a pixel's own class, by Sohn et al.
SURE_ON_AVERAGE = 0.97  # by French et al.
BOX = 0.5  # share of an image that comes from another
CRITIC_FILTERS = 16
_BOXES, _LIGHT = 1, 2
STRONG_VIEW = Augmentation(
    flip_horizontal=0,
    flip_vertical=0,
    right_angles=0,
    rotation=0,
    scale=0,
    elastic=0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    white_balance=0.1,
    gamma=0.3,
    blur=1.5,
    noise=0.05,
    cutout=0.4,
)


# --- Checks ---


def named_weights(losses: dict | None) -> dict[str, float]:
    """Return the weights of losses on unlabelled images, by name, without those that are 0."""
    if losses is None:
        return {}
    if not isinstance(losses, dict):
        raise invalid(
            "unlabelled_losses", "None or a dict of weights, such as {'cutmix': 1.0}", losses
        )
    for name in losses:
        if name not in TERMS:
            raise unknown_name("unlabelled_losses", name, TERMS)
    weights = {
        name: float(check_number(f"unlabelled_losses[{name!r}]", weight, least=0))
        for name, weight in losses.items()
    }
    return {name: weight for name, weight in weights.items() if weight}


def check_terms(weights: dict, settings: dict, shape, discriminator: keras.Model | None) -> None:
    """Raise unless a GAN of these settings, with masks of this shape, has what the losses need."""
    check_whole_number("unlabelled_rampup", settings["unlabelled_rampup"], 0, unit="of steps")
    for name in (name for name in JUDGED if name in weights):
        where = f"Argument 'unlabelled_losses': '{name}' needs"
        if discriminator is None or not settings["adversarial_weight"]:
            raise KerasganError(
                f"{where} a discriminator that is trained on the labelled images; build the GAN "
                "with one, and leave adversarial_weight above 0"
            )
        kind = settings["adversarial"]
        if kind == "segan" or (kind == "wasserstein" and name == "self_training"):
            raise KerasganError(
                f"{where} a discriminator that says how real a mask is, so adversarial='vanilla', "
                f"'least_squares' or 'hinge'. Received: adversarial={kind!r}"
            )
        scores = discriminator.output_shape
        if len(scores) not in (2, 4) or scores[-1] != 1:
            raise KerasganError(
                f"{where} a discriminator with one score for each place, as patch_discriminator "
                f"and mask_discriminator have, or one for each image. Received: "
                f"'{discriminator.name}' with outputs of shape {scores}"
            )
    if None in shape and any(name in weights for name in ADAPTED):
        raise KerasganError(
            "Argument 'unlabelled_losses': adaptation needs a generator of one size; build it with "
            f"a height and width. Received: masks of shape {tuple(shape)}"
        )
    if "mean_teacher" in weights and not settings["ema_momentum"]:
        raise KerasganError(
            "Argument 'unlabelled_losses': 'mean_teacher' needs the moving average of the weights "
            "as a teacher; pass ema_momentum, such as 0.99"
        )


def check_given(weights: dict, unlabelled) -> None:
    """Raise unless `fit` got unlabelled images exactly where there is a loss on them."""
    if weights and unlabelled is None:
        raise KerasganError(
            f"Argument 'unlabelled' must be given to fit(): compile() was given unlabelled_losses "
            f"({', '.join(weights)}). Pass unlabelled=frames.batches(...), of frames = "
            "load_folder(images=..., masks=None), or compile without unlabelled_losses"
        )
    if unlabelled is not None and not weights:
        raise KerasganError(
            "Argument 'unlabelled' of fit() would have no effect: compile() was given no "
            "unlabelled_losses. Pass one to compile() or as a field of the recipe, such as "
            f"unlabelled_losses={{'cutmix': 1.0}}; there are {', '.join(TERMS)}"
        )


# --- Losses ---


def self_training(logits: tf.Tensor, confidence: tf.Tensor) -> tf.Tensor:
    """Cross-entropy with the network's own decision, at pixels that a discriminator trusts.

    Mean over all pixels; those with a `confidence` (batch, height, width, 1) up to `TRUSTED` add 0.

    Source: Hung et al. 2018 (arXiv 1802.07934), equation 5; with one score an image Mittal et al.
    2019 (arXiv 1908.05724), equation 4.
    """
    trusted = tf.cast(confidence > TRUSTED, logits.dtype)[..., 0]
    decided = tf.stop_gradient(_decision(logits, above=0.0))
    return tf.reduce_mean(trusted * cross_entropy_of_pixels(decided, logits))


def confidence(verdict: tf.Tensor, kind: str, size) -> tf.Tensor:
    """Return how real a discriminator takes each pixel for, from 0 to 1: (batch, height, width, 1).

    `verdict` are its logits, under the adversarial loss `kind`. Those between two of its places are
    interpolated.
    """
    if kind == "vanilla":
        real = tf.sigmoid(verdict)
    else:
        real = verdict if kind == "least_squares" else (verdict + 1) / 2
        real = tf.clip_by_value(real, 0.0, 1.0)
    if real.shape.rank == 2:
        real = real[:, None, None]
    return tf.stop_gradient(tf.image.resize(real, size))


def pseudo_labels(logits: tf.Tensor, taught: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the strong view with the teacher's decision, at pixels where it is sure.

    Mean over all pixels; those whose decided class has a probability below `SURE` add 0.

    Source: Sohn et al. 2020 (arXiv 2001.07685), equation 4, for each pixel.
    """
    sure = tf.cast(_certainty(taught) >= SURE, logits.dtype)
    decided = _decision(taught, above=0.5)
    return tf.reduce_mean(sure * cross_entropy_of_pixels(decided, logits))


def mean_teacher(probability: tf.Tensor, taught: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of the probabilities of the strong view and the teacher's.

    Source: Tarvainen and Valpola 2017 (arXiv 1703.01780), section 3.
    """
    return tf.reduce_mean((probability - taught) ** 2)


def cutmix(probability: tf.Tensor, taught: tf.Tensor) -> tf.Tensor:
    """Squared difference, added up over classes, of a mixed view and the teacher's mixed masks.

    Mean over pixels, times the share of pixels where the teacher's class has a probability from
    `SURE_ON_AVERAGE` up.

    Source: French et al. 2020 (arXiv 1906.01916), sections 3.2 and 3.3.
    """
    sure = tf.reduce_mean(tf.cast(_certainty(taught) >= SURE_ON_AVERAGE, probability.dtype))
    apart = (all_classes(probability) - all_classes(taught)) ** 2
    return sure * tf.reduce_mean(tf.reduce_sum(apart, -1))


def self_information(probability: tf.Tensor) -> tf.Tensor:
    """Return -p log p of each class, whose sum over classes is the entropy of a pixel.

    Source: Vu et al. 2019 (arXiv 1811.12833), section 3.2.
    """
    shares = all_classes(probability)
    return -shares * tf.math.log(tf.maximum(shares, 1e-7))


def all_classes(probability: tf.Tensor) -> tf.Tensor:
    """Return probabilities of all classes: with that of the background where there is one class."""
    if probability.shape[-1] > 1:
        return probability
    return tf.concat([1 - probability, probability], -1)


def rampup(step: tf.Tensor, length: int) -> tf.Tensor:
    """Return the factor exp(-5 (1 - step / length)^2), which is 1 from step `length` on.

    Source: Laine and Aila 2017 (arXiv 1610.02242), section 2.1.
    """
    if not length:
        return tf.ones(())
    left = 1 - tf.minimum(tf.cast(step, tf.float32) / length, 1.0)
    return tf.exp(-5 * left**2)


def _certainty(probability: tf.Tensor) -> tf.Tensor:
    """Return the probability of each pixel's decided class."""
    return tf.reduce_max(all_classes(probability), -1)


def _decision(scores: tf.Tensor, above: float) -> tf.Tensor:
    """Return the mask that is drawn where scores lie above a number, or of the highest class."""
    classes = scores.shape[-1]
    if classes == 1:
        return tf.cast(scores > above, scores.dtype)
    return tf.one_hot(tf.argmax(scores, -1), classes, dtype=scores.dtype)


# --- Views ---


def strong_view(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Alter light, colour and sharpness of each image, and hide a rectangle, as the key decides."""
    count = tf.shape(images)[0]
    key = tf.random.experimental.stateless_fold_in(key, _LIGHT)
    nothing = tf.zeros(images.shape[1:3])

    def alter(pair):
        image, number = pair
        own = tf.random.experimental.stateless_fold_in(key, number)
        return augment_pair(image, nothing, own, STRONG_VIEW)[0]

    numbers = replicas.images_before(count) + tf.range(count)
    spec = tf.TensorSpec(images.shape[1:], images.dtype)
    altered = tf.map_fn(alter, (images, numbers), fn_output_signature=spec)
    return tf.ensure_shape(altered, images.shape)


def boxes(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Draw a rectangle of a `BOX` of each image: 1 inside, 0 outside, (batch, height, width, 1).

    Its sides are from `BOX` of the image's up, their ratio even on a logarithmic scale, and its
    place is anywhere.
    """
    key = tf.random.experimental.stateless_fold_in(key, _BOXES)
    drawn = replicas.sample_uniform(tf.stack([tf.shape(images)[0], 3]), key)
    height = BOX ** drawn[:, 0]
    inside = []
    for side, share, axis in zip(images.shape[1:3], (height, BOX / height), (1, 2)):
        length = tf.round(share * side)
        first = tf.floor(drawn[:, axis] * (side - length + 1))
        pixels = tf.range(side, dtype=tf.float32)[None]
        within = (pixels >= first[:, None]) & (pixels < (first + length)[:, None])
        inside.append(tf.cast(within, tf.float32))
    return inside[0][:, :, None, None] * inside[1][:, None, :, None]


def mix(each: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """Put into the rectangle of each image, or mask, what lies there in the one before it."""
    return each + inside * (tf.roll(each, 1, 0) - each)


# --- A step ---


class Unlabelled:
    """What a training step learns from unlabelled images, as `SegmentationGAN.compile` sets it.

    `weights` are those of the losses, which rise over `length` steps; `shape` is (height, width,
    classes) of the masks.
    """

    def __init__(self, weights: dict[str, float], length: int, shape: tuple):
        self.weights, self.length = weights, length
        self.names = [f"unlabelled_{name}_loss" for name in weights]
        self.critics: dict[str, keras.Model] = {}
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        for number, name in enumerate(name for name in ADAPTED if name in weights):
            self.critics[name] = critic = _critic(shape, number)
            self.names.append(f"{name}_critic_loss")
            optimizer = keras.optimizers.Adam(1e-4, beta_1=0.9, beta_2=0.99)
            optimizers.build_optimizer(optimizer, critic.trainable_variables)
            self.optimizers[name] = optimizer

    def views(self, images: tf.Tensor, key: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Return what is shown to the network that is trained, by view, and the rectangles."""
        wanted = {TERMS[name] for name in self.weights}
        shown, inside = {}, None
        if PLAIN in wanted:
            shown[PLAIN] = images
        if STRONG in wanted:
            shown[STRONG] = strong_view(images, key)
        if MIXED in wanted:
            inside = boxes(images, key)
            shown[MIXED] = mix(images, inside)
        return shown, inside

    def loss(self, drawn: dict, inside, teach, judge, adversarial: str, step) -> tuple:
        """Return the weighted sum of the losses, and what to log of them.

        Args:
            drawn: probabilities and logits of each view.
            inside: the rectangles of the mixed view.
            teach: returns the teacher's probabilities.
            judge: returns the discriminator's logits of the plain view with these probabilities.
            adversarial: the GAN's adversarial loss.
            step: the number of this step.
        """
        weights, parts = self.weights, {}
        if "adversarial" in weights or "self_training" in weights:
            probability, logits = drawn[PLAIN]
            verdict = judge(probability)
            if "adversarial" in weights:
                parts["adversarial"] = ADVERSARIAL[adversarial](verdict, verdict)[0]
            if "self_training" in weights:
                trust = confidence(verdict, adversarial, logits.shape[1:3])
                parts["self_training"] = self_training(logits, trust)
        for name, critic in self.critics.items():
            verdict = critic(_map_for(name, drawn[PLAIN][0]), training=True)
            parts[name] = mean_entropy(1.0, verdict)
        if any(name in weights for name in TAUGHT):
            taught = tf.stop_gradient(teach())
        if "mean_teacher" in weights:
            parts["mean_teacher"] = mean_teacher(drawn[STRONG][0], taught)
        if "pseudo_labels" in weights:
            parts["pseudo_labels"] = pseudo_labels(drawn[STRONG][1], taught)
        if "cutmix" in weights:
            parts["cutmix"] = cutmix(drawn[MIXED][0], mix(taught, inside))
        total = tf.zeros(())
        for name, part in parts.items():
            total += self.weight(name, step) * part
        return total, {f"unlabelled_{name}_loss": part for name, part in parts.items()}

    def weight(self, name: str, step: tf.Tensor) -> tf.Tensor:
        """Return the weight of a loss in a step; 0 for one that was not asked for."""
        return rampup(step, self.length) * self.weights.get(name, 0.0)

    def train_critics(self, labelled, unlabelled, fractions) -> dict[str, tf.Tensor]:
        """Move each critic by its loss on probabilities of one device; return the losses by name.

        The loss is half of BCE(labelled, 1) + BCE(unlabelled, 0); `fractions` of the batch are on
        this device.

        Source: Tsai et al. 2018 (arXiv 1802.10349), equation 1.
        """
        logs = {}
        for name, critic in self.critics.items():
            with tf.GradientTape() as tape:
                losses = [
                    mean_entropy(label, critic(_map_for(name, each), training=True))
                    for label, each in ((1.0, labelled), (0.0, unlabelled))
                ]
                parts = [replicas.weight_loss(*pair) for pair in zip(losses, fractions)]
                target = tf.add_n(parts) / 2
            variables = critic.trainable_variables
            gradients = tape.gradient(target, variables)
            optimizers.apply_gradients(self.optimizers[name], gradients, variables)
            first = replicas.relative_loss(losses[0], *fractions)
            logs[f"{name}_critic_loss"] = (first + losses[1]) / 2
        return logs


def _critic(shape: tuple, seed: int) -> keras.Model:
    """Build the network that tells sources apart, by probabilities or their information."""
    height, width, classes = shape
    network = mask_discriminator(
        (height, width), classes=max(classes, 2), filters=CRITIC_FILTERS, seed=seed
    )
    return keras.Model(network.inputs[1], network.outputs[0])


def _map_for(name: str, probability: tf.Tensor) -> tf.Tensor:
    """Return what a critic is shown of a mask."""
    adapts_outputs = name == "output_adaptation"
    return all_classes(probability) if adapts_outputs else self_information(probability)

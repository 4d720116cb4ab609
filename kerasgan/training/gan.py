"""A generator that segments and a discriminator that judges it, trained together."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.heads import final_activation, to_drawing, to_probability
from kerasgan.training import resume as runs
from kerasgan.training.losses import ADVERSARIAL, SEGMENTATION, check_losses
from kerasgan.training.metrics import Dice, Jaccard

__all__ = ["SegmentationGAN"]

NO_WEIGHTS = "Images cannot be weighted; weight the losses in compile(). Received: {}"


class SegmentationGAN(keras.Model):
    """A segmentation network trained against a discriminator, as any Keras model.

    One step runs the generator forward once and the discriminator once on the true and once on the
    drawn masks; both networks then move at the same time, each by its own gradient. Masks are
    {0, 1} outside; the discriminator sees them in [-1, 1], like the image.

    `fit`, `evaluate`, `predict` and Keras' callbacks work as usual. Logged are `generator_loss`
    (the weighted sum), its parts (`l1_loss`, `adversarial_loss`), `discriminator_loss`, `jaccard`
    and `dice` (mean over images, at network size), with `val_` before it for validation data.
    `optimizer`, which learning-rate callbacks act on, is the generator's.

    Args:
        generator: functional `keras.Model`, image (batch, height, width, channels) in [-1, 1] ->
            mask (batch, height, width, classes), ending in tanh, sigmoid, softmax or a logit.
        discriminator: functional `keras.Model`, [image, mask in [-1, 1]] -> logits of "drawn by a
            person", any shape; None trains the generator alone.

    Raises:
        KerasganError: if the networks do not fit together.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> generator = kg.models.pix2pix_generator(size=32, filters=2)
        >>> discriminator = kg.models.patch_discriminator(size=32, filters=2)
        >>> gan = kg.SegmentationGAN(generator, discriminator)
        >>> gan.compile(losses={"l1": 100.0})
        >>> images, masks = np.zeros((4, 32, 32, 3), "float32"), np.ones((4, 32, 32, 1), "float32")
        >>> history = gan.fit(images, masks, batch_size=2, epochs=1, verbose=0)
        >>> sorted(history.history)[:3]
        ['adversarial_loss', 'dice', 'discriminator_loss']

    Source: arXiv 2111.01665; Isola et al. 2017 (arXiv 1611.07004).
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model | None = None, **kwargs):
        super().__init__(**kwargs)
        self.activation = final_activation(generator)
        if discriminator is not None:
            _check_pair(generator, discriminator)
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = None
        self.built = True

    # --- Compiling ---

    def compile(
        self,
        optimizer="default",
        discriminator_optimizer="default",
        losses: dict[str, float] | None = None,
        adversarial: str = "vanilla",
        adversarial_weight: float = 1.0,
        **kwargs,
    ):
        """Set optimizers and losses.

        Args:
            optimizer: the generator's, a name or a Keras optimizer; default Adam with learning
                rate 2e-4 and beta_1 0.5.
            discriminator_optimizer: the discriminator's, likewise.
            losses: weight of each segmentation loss, from 0 up, by name: `"l1"`,
                `"cross_entropy"`, `"dice"`; default `{"l1": 100.0}`.
            adversarial: the adversarial loss, `"vanilla"`.
            adversarial_weight: its weight in the generator's loss, from 0 up; with 0 the
                discriminator is neither run nor trained.
            **kwargs: `run_eagerly`, `jit_compile`, `steps_per_execution`, as in Keras.

        Raises:
            KerasganError: if a loss is unknown or a weight negative.

        Example:
            >>> import kerasgan as kg
            >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
            >>> gan.compile("adam", losses={"cross_entropy": 1.0, "dice": 1.0})
        """
        losses = {"l1": 100.0} if losses is None else dict(losses)
        check_losses(losses, adversarial)
        if not adversarial_weight >= 0:
            raise KerasganError(
                "Argument 'adversarial_weight' must be a number from 0 up. "
                f"Received: {adversarial_weight!r}"
            )
        if self.discriminator is None:
            adversarial_weight = 0.0
        super().compile(optimizer=_optimizer(optimizer), **kwargs)
        self.discriminator_optimizer = None
        if adversarial_weight:
            self.discriminator_optimizer = _optimizer(discriminator_optimizer)
        self.loss_weights = losses
        self.adversarial = adversarial
        self.adversarial_weight = float(adversarial_weight)
        names = ["generator_loss", *(f"{name}_loss" for name in losses)]
        if adversarial_weight:
            names += ["adversarial_loss", "discriminator_loss"]
        self._means = {name: keras.metrics.Mean(name) for name in names}
        self._overlaps = [Jaccard(), Dice()]

    @property
    def metrics(self):
        """The Keras metrics reset at the start of each epoch."""
        if not self.compiled:
            return []
        return [*self._means.values(), *self._overlaps]

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return hasattr(self, "_overlaps")

    # --- Running ---

    def call(self, inputs, training=None):
        """Return the generator's output, as it is, for a batch of images."""
        return self.generator(inputs, training=training)

    def fit(self, x=None, y=None, *, resume=None, initial_epoch=0, callbacks=None, **kwargs):
        """Train; as `keras.Model.fit`, and able to go on where an earlier run stopped.

        Args:
            x: what Keras takes; usually `samples.batches(...)`.
            y: masks, where `x` is an array of images.
            resume: a folder for the state of the run. It is written at the end of every epoch (the
                last two are kept). If it holds a state already, the run goes on from there:
                weights, both optimizers, the callbacks' best values, the data's shuffling and
                augmentation, and the history.
            initial_epoch: as in Keras; the augmentation of `samples.batches` begins there too.
            callbacks: as in Keras.
            **kwargs: as in Keras: `epochs`, `validation_data`, `verbose`, ...

        Returns:
            `keras.callbacks.History`, of all epochs since the very first.

        Raises:
            KerasganError: if the model is not compiled, the data do not fit the networks, or the
                folder holds the state of another network.
        """
        if not self.compiled:
            raise KerasganError("Call compile() before fit(), or build the GAN from a recipe")
        self._check_data(x, y)
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise KerasganError(NO_WEIGHTS.format(f"'{name}'"))
        callbacks = list(callbacks or [])
        keeper = None
        if resume is not None:
            keeper = runs.KeepState(resume, callbacks)
            initial_epoch = keeper.restore(self, initial_epoch)
            callbacks.append(keeper)
        epoch = getattr(x, "epoch", None)
        if isinstance(epoch, tf.Variable):
            epoch.assign(initial_epoch)
        history = super().fit(x, y, initial_epoch=initial_epoch, callbacks=callbacks, **kwargs)
        if keeper is not None:
            history.epoch, history.history = keeper.epochs, keeper.history
        return history

    def train_step(self, data):
        """Move both networks by one batch; called by `fit`."""
        image, mask, _ = keras.utils.unpack_x_y_sample_weight(data)
        share = 1.0 / tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as generator_tape:
            probability = self._probability(image, training=True)
            drawing = to_drawing(probability)
            total, parts = self._segmentation_loss(mask, probability)
            shared = total * share
        targets, gradients = [shared], [tf.ones_like(shared)]
        if self.adversarial_weight:
            with tf.GradientTape(persistent=True) as judge_tape:
                judge_tape.watch(drawing)
                fooled, judged = self._adversarial_loss(image, mask, drawing, training=True)
                pull = fooled * self.adversarial_weight * share
                shared_judged = judged * share
            targets.append(drawing)
            gradients.append(judge_tape.gradient(pull, drawing))
            weights = self.discriminator.trainable_variables
            slopes = judge_tape.gradient(shared_judged, weights)
            del judge_tape
            total += fooled * self.adversarial_weight
            parts.update(adversarial_loss=fooled, discriminator_loss=judged)
        variables = self.generator.trainable_variables
        gradients = generator_tape.gradient(targets, variables, output_gradients=gradients)
        self.optimizer.apply_gradients(zip(gradients, variables))
        if self.adversarial_weight:
            self.discriminator_optimizer.apply_gradients(zip(slopes, weights))
        return self._log(mask, probability, total, parts)

    def test_step(self, data):
        """Score one batch, both networks in inference mode; called by `evaluate` and `fit`."""
        image, mask, _ = keras.utils.unpack_x_y_sample_weight(data)
        probability = self._probability(image, training=False)
        total, parts = self._segmentation_loss(mask, probability)
        if self.adversarial_weight:
            drawing = to_drawing(probability)
            fooled, judged = self._adversarial_loss(image, mask, drawing, training=False)
            total += fooled * self.adversarial_weight
            parts.update(adversarial_loss=fooled, discriminator_loss=judged)
        return self._log(mask, probability, total, parts)

    def _probability(self, image, training):
        output = tf.cast(self.generator(image, training=training), tf.float32)
        return to_probability(output, self.activation)

    def _segmentation_loss(self, mask, probability):
        total, parts = tf.zeros(()), {}
        for name, weight in self.loss_weights.items():
            parts[f"{name}_loss"] = value = SEGMENTATION[name](mask, probability)
            total += weight * value
        return total, parts

    def _adversarial_loss(self, image, mask, drawing, training):
        true_logits = self.discriminator([image, to_drawing(mask)], training=training)
        drawn_logits = self.discriminator([image, drawing], training=training)
        return ADVERSARIAL[self.adversarial](
            tf.cast(true_logits, tf.float32), tf.cast(drawn_logits, tf.float32)
        )

    def _log(self, mask, probability, total, parts):
        for name, value in {"generator_loss": total, **parts}.items():
            self._means[name].update_state(value)
        for metric in self._overlaps:
            metric.update_state(mask, probability)
        return {metric.name: metric.result() for metric in self.metrics}

    def _check_data(self, x, y):
        if isinstance(x, tf.data.Dataset):
            spec = x.element_spec
            if isinstance(spec, tuple) and len(spec) == 3:
                raise KerasganError(NO_WEIGHTS.format("a dataset of triples"))
            if not isinstance(spec, tuple) or len(spec) != 2:
                raise KerasganError(
                    "Argument 'x' must be a dataset of (image, mask) pairs; are these samples "
                    f"unlabelled? Received: {spec}"
                )
            shapes = [tuple(part.shape)[1:] for part in spec]
        elif hasattr(x, "shape") and hasattr(y, "shape"):
            shapes = [tuple(x.shape)[1:], tuple(y.shape)[1:]]
            _check_values("x", x, -1, 1)
            _check_values("y", y, 0, 1)
        else:
            return
        wanted = [self.generator.input_shape[1:], self.generator.output_shape[1:]]
        for what, came, want in zip(("images", "masks"), shapes, wanted):
            fits = len(came) == len(want) and all(
                a is None or b is None or a == b for a, b in zip(came, want)
            )
            if not fits:
                raise KerasganError(
                    f"The generator '{self.generator.name}' works with {what} of shape {want} "
                    f"(height, width, channels). Received {what} of shape {came}; use "
                    "samples.batches(..., size=...) and classes to match"
                )

    # --- Saving ---

    def save(self, filepath, overwrite: bool = True, options=None, **kwargs):
        """Write both networks, both optimizers, the compile settings and the recipe to a folder.

        The folder holds `generator.keras` and `discriminator.keras`, which Keras loads by itself,
        `optimizers.npz` and `kerasgan.json`. It is written beside the old one first and then
        exchanged, so an interrupted save loses nothing.

        Args:
            filepath: the folder; made if missing.
            overwrite: whether an earlier model in that folder may be replaced. A folder that holds
                anything else is never touched.
            options: accepted because Keras' callbacks pass it; not used.
            **kwargs: likewise.

        Raises:
            KerasganError: if the folder exists and may not be replaced, or cannot be written.

        Example:
            >>> import tempfile
            >>> import kerasgan as kg
            >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     gan.save(f"{folder}/model")
            ...     again = kg.SegmentationGAN.load(f"{folder}/model")
            >>> again.recipe["name"]
            'pix2pix'
        """
        runs.save_model(self, filepath, overwrite)

    @classmethod
    def load(cls, filepath) -> SegmentationGAN:
        """Load what `save` wrote, ready to predict and to train on.

        Args:
            filepath: the folder.

        Returns:
            A `SegmentationGAN`, compiled if the saved one was.

        Raises:
            KerasganError: if the folder does not hold a saved model, or a part of it is broken.
        """
        return runs.load_model(cls, filepath)

    def compile_settings(self) -> dict | None:
        """Return what `compile` was called with, as plain data for a JSON file; None before it."""
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        judge = self.discriminator_optimizer
        return {
            "optimizer": serialize(self.optimizer),
            "discriminator_optimizer": None if judge is None else serialize(judge),
            "losses": self.loss_weights,
            "adversarial": self.adversarial,
            "adversarial_weight": self.adversarial_weight,
        }


def _optimizer(optimizer):
    if isinstance(optimizer, str) and optimizer == "default":
        return keras.optimizers.Adam(2e-4, beta_1=0.5)
    return keras.optimizers.get(optimizer)


def _check_values(name, array, low, high):
    least, most = float(np.min(array)), float(np.max(array))
    if not low <= least <= most <= high:
        raise KerasganError(
            f"Argument '{name}' must hold numbers from {low} to {high}. Received: {least} to {most}"
        )


def _check_pair(generator, discriminator):
    image, mask = generator.input_shape, generator.output_shape
    came = discriminator.input_shape
    if not isinstance(came, list) or len(came) != 2:
        raise KerasganError(
            "Argument 'discriminator' must take two inputs, image and mask. "
            f"Received: '{discriminator.name}' with input shape {came}"
        )
    if [tuple(x)[1:] for x in came] != [image[1:], mask[1:]]:
        raise KerasganError(
            f"The discriminator must take the generator's image {image[1:]} and mask {mask[1:]}. "
            f"Received: '{discriminator.name}' taking {came[0][1:]} and {came[1][1:]}; build both "
            "with the same size, channels and classes"
        )
